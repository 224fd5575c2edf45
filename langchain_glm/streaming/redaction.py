"""Events without what they tell: for watching, logging and measuring what one may not read.

| seen | not seen |
|---|---|
| what happens, in which order, and when | what is thought, said, written, answered |
| names: tools, nodes, parameters | values of arguments, and the keys inside of them |
| classes of errors, finish reasons | what an error says |
| ids: of messages, calls, interrupts | results, artifacts, progress, the graph's state |
| sizes in characters, counts of tokens | messages |

A redacted event is an event of the same class, so every encoder takes it, and none needs to know.
A text becomes as many `MASK` characters as it had, so sizes survive every protocol; other values
become as many as all texts within them have. The raw fragments of a call's JSON are masked too:
joined they have the length of the JSON, but are none. `ToolCallFinished.arguments` stays an object,
`{"path": "••••••", "content": "•••"}`.

A parameter's name is what the model wrote as a key at the top level of the arguments; keys inside
values may be data and are masked. What is shown is listed here and everything else is masked or
left out; an event of a class that is not this package's own is dropped.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    InvalidToolCall,
    SystemMessage,
    ToolCall,
    ToolMessage,
)

from langchain_glm.streaming import events as _events
from langchain_glm.streaming._json import to_json
from langchain_glm.streaming._sources import aopened, opened
from langchain_glm.streaming.events import Event, Path, TypedArguments

E = TypeVar("E", bound=Event)

MASK = "•"
"""What stands for one character."""


def redact(event: E) -> E | None:
    """Take away what an event tells; `langchain_glm.streaming.redaction` lists what stays.

    Returns:
        An event of the same class, or None for one of a class that is not this package's own.
    """
    kind: Any = type(event)
    rules = _rules(kind)
    if rules is None:
        return None
    return replace(event, **{name: hide(getattr(event, name)) for name, hide in rules})


def redacted(events: Iterable[E]) -> Generator[E, None, None]:
    """Redact a stream of events; closes it when closed, and raises its errors unchanged."""
    with opened(events) as source:
        for event in source:
            hidden = redact(event)
            if hidden is not None:
                yield hidden


async def aredacted(events: AsyncIterable[E]) -> AsyncGenerator[E, None]:
    """Redact an async stream of events; closes it when closed, and raises its errors unchanged."""
    async with aopened(events) as source:
        async for event in source:
            hidden = redact(event)
            if hidden is not None:
                yield hidden


def _mask(value: Any) -> str:
    return MASK * _size(to_json(value))


def _size(value: Any) -> int:
    """How many characters the texts in a JSON value have; a number, true, false or null is one."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + _size(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    return 1


def _mask_if_any(value: Any) -> str | None:
    return None if value is None else _mask(value)


def _values(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): _mask(value) for key, value in arguments.items()}


def _arguments(arguments: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if arguments is None else _values(arguments)


def _path(path: Path) -> Path:
    inside = (_mask(step) if isinstance(step, str) else step for step in path[1:])
    return (*path[:1], *inside)


@dataclass(frozen=True)
class _MaskedTyping:
    """The arguments of a call while they are typed, masked when they are read."""

    _typed: TypedArguments

    def text_at(self, count: int) -> str:
        return _mask(self._typed.text_at(count))

    def arguments_at(self, count: int) -> dict[str, Any]:
        return _values(self._typed.arguments_at(count))


class _RedactedError(Exception):
    """An error without what it says; its class has the name of the real one."""

    def __init__(self, message: str, code: str | int | None) -> None:
        super().__init__(message)
        self.code = code


def _error(error: Any) -> Any:
    if not isinstance(error, BaseException):
        return _mask(error)
    code = getattr(error, "code", None)
    is_number = isinstance(code, int) or (isinstance(code, str) and code.isdecimal())
    named = type(type(error).__name__, (_RedactedError,), {})
    return named(_mask(str(error)), code if is_number else None)


@dataclass(frozen=True)
class _RedactedInterrupt:
    id: str | None
    value: str


def _interrupts(interrupts: Iterable[Any]) -> tuple[_RedactedInterrupt, ...]:
    return tuple(
        _RedactedInterrupt(getattr(one, "id", None), _mask(getattr(one, "value", one)))
        for one in interrupts
    )


def _usage(usage: Mapping[str, Any] | None) -> Any:
    """Keep the counts; a server may have put other things beside them."""
    if usage is None:
        return None
    counts = {key: _usage(n) if isinstance(n, Mapping) else n for key, n in usage.items()}
    return {key: n for key, n in counts.items() if isinstance(n, (int, dict))}


def _messages(messages: Iterable[BaseMessage]) -> tuple[BaseMessage, ...]:
    return tuple(map(_message, messages))


def _message(message: BaseMessage) -> BaseMessage:
    """Build the message anew from what may be seen: a copy would keep what nobody thought of."""
    text, message_id = _mask(str(message.text)), message.id
    if isinstance(message, AIMessage):
        return _ai_message(message, text)
    if isinstance(message, ToolMessage):
        return ToolMessage(
            text,
            id=message_id,
            name=message.name,
            tool_call_id=message.tool_call_id,
            status=message.status,
        )
    for kind in (HumanMessage, SystemMessage):
        if isinstance(message, kind):
            return kind(text, id=message_id)
    return ChatMessage(content=text, id=message_id, role=message.type)


def _ai_message(message: AIMessage, text: str) -> AIMessage:
    calls = [
        ToolCall(name=call["name"], args=_values(call["args"]), id=call["id"], type="tool_call")
        for call in message.tool_calls
    ]
    invalid = [
        InvalidToolCall(
            name=call["name"],
            args=_mask_if_any(call["args"]),
            id=call["id"],
            error=_mask_if_any(call["error"]),
            type="invalid_tool_call",
        )
        for call in message.invalid_tool_calls
    ]
    return AIMessage(
        text,
        id=message.id,
        name=message.name,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=_usage(message.usage_metadata),
    )


_SEEN = frozenset(
    {
        "namespace",
        "node",
        "message_id",
        "id",
        "index",
        "name",
        "finish_reason",
        "reason",
        "position",
        "raised",
        "_count",
    }
)

# What becomes of a field, whatever event it is of. A field in neither table is an error.
_HIDDEN: Mapping[str, Callable[[Any], Any]] = {
    "text": _mask,
    "raw": _mask,
    "value": _mask,
    "content": _mask,
    "data": _mask,
    "artifact": _mask_if_any,
    "arguments": _arguments,
    "path": _path,
    "_typed": _MaskedTyping,
    "error": _error,
    "message": _message,
    "messages": _messages,
    "usage": _usage,
    "interrupts": _interrupts,
    "output": lambda _: None,
}


@functools.cache
def _rules(kind: type[Any]) -> tuple[tuple[str, Callable[[Any], Any]], ...] | None:
    if vars(_events).get(kind.__name__) is not kind:
        return None
    return tuple((f.name, _HIDDEN[f.name]) for f in fields(kind) if f.name not in _SEEN)
