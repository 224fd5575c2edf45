"""What the encoders for browsers share: what is open on the wire, ids, errors as text.

Both protocols bracket what ours leaves open: a block of text or reasoning has a start and an end,
an id may be used once, and no call may be left without an end.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from langchain_core.tools import ToolException

from langchain_glm._surrogates import joined
from langchain_glm.errors import GLMError
from langchain_glm.streaming._sources import aopened, opened
from langchain_glm.streaming.events import (
    CallEvent,
    Event,
    ToolCallDelta,
    ToolCallInvalid,
    ToolEvent,
    ToolFailed,
)

Wire = TypeVar("Wire")
Kind = Literal["reasoning", "text"]
OnError = Callable[[BaseException], str]

STOPPED = "The run stopped before the call was complete. It was not run."
_SPECIAL = re.compile(r'["\\\x00-\x1f]')


def error_text(error: BaseException) -> str:
    """Say what a browser may know of an error.

    Errors of GLM's endpoints say what went wrong and what to do, and hold no key. What any other
    code raises may hold anything (a query, a path, a secret), and is named only as an error.
    """
    return error.message if isinstance(error, GLMError) else "An error occurred."


def tool_error_text(event: ToolFailed, on_error: OnError) -> str:
    """Say what a browser may know of a failed tool: what it answered, not what it raised."""
    return on_error(ToolException(event.error)) if event.raised else event.error


def invalid_text(event: ToolCallInvalid) -> str:
    """Say why a call is invalid, where the event does not."""
    return f"The call is invalid: {event.reason}. It was not run."


def as_text(value: Any) -> str:
    """Write JSON compactly, in characters that UTF-8 has."""
    return joined(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


class StrictJson:
    """Escapes the control characters that models write into strings as they are.

    Our parser takes them, `JSON.parse` in a browser does not, and would show `{}` instead.
    """

    __slots__ = ("_after_backslash", "_in_string")

    def __init__(self) -> None:
        self._in_string = False
        self._after_backslash = False

    def feed(self, text: str) -> str:
        """Give the next fragment of a JSON text as a fragment of the same text in strict JSON."""
        pieces: list[str] = []
        done, at = 0, int(self._after_backslash and bool(text))
        self._after_backslash = self._after_backslash and not text
        while found := _SPECIAL.search(text, at):
            at = found.end()
            if found[0] == '"':
                self._in_string = not self._in_string
            elif found[0] == "\\":
                self._after_backslash = at == len(text)
                at += 1
            elif self._in_string:
                pieces += (text[done : found.start()], json.dumps(found[0])[1:-1])
                done = at
        return "".join((*pieces, text[done:])) if pieces else text


class Ids:
    """Gives ids that are used once."""

    __slots__ = ("_count", "_prefix", "_used")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._used: set[str] = set()
        self._count = 0

    def take(self, wanted: str | None = None) -> str:
        """Give the wanted id, or one made of it where it was used before or there is none."""
        taken = wanted
        while not taken or taken in self._used:
            self._count += 1
            taken = f"{wanted or self._prefix}-{self._count}"
        self._used.add(taken)
        return taken


@dataclass(slots=True)
class Block:
    """A stretch of text or of reasoning that has begun."""

    kind: Kind
    id: str


@dataclass(slots=True)
class Message:
    """A message that a model writes; at most one of its blocks is open."""

    id: str
    origin: Event
    block: Block | None = None


class Messages:
    """The messages that models write at this moment."""

    __slots__ = ("_ids", "_known", "_open")

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._open: dict[object, Message] = {}
        self._known: dict[object, str] = {}

    def __iter__(self) -> Iterator[Message]:
        return iter(list(self._open.values()))

    def find(self, event: Event) -> Message | None:
        """Give the open message that an event belongs to."""
        return self._open.get(_message_key(event))

    def open(self, event: Event) -> Message:
        """Open the message that an event belongs to; one that goes on keeps its id."""
        key = _message_key(event)
        wanted = self._known.get(key) or self._ids.take(event.message_id)
        if event.message_id is not None:
            self._known[key] = wanted
        message = self._open[key] = Message(wanted, event)
        return message

    def close(self, event: Event) -> None:
        """Forget the message that an event belongs to."""
        self._open.pop(_message_key(event), None)


@dataclass(slots=True)
class Call:
    """A tool call, as the wire knows it."""

    id: str
    name: str
    origin: Event
    strict: StrictJson = field(default_factory=StrictJson)
    newest: ToolCallDelta | None = None

    @property
    def raw(self) -> str:
        """The text of the arguments that came."""
        return "" if self.newest is None else self.newest.raw


class Calls:
    """The calls that are written at this moment, and those that tools may answer."""

    __slots__ = ("_ids", "_known", "_open")

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._open: dict[object, Call] = {}
        self._known: dict[str, Call] = {}

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._open.values()))

    def find(self, event: CallEvent) -> Call | None:
        """Give the open call that an event belongs to, and learn its id where it came late."""
        call = self._open.get(_call_key(event))
        if call is not None and event.id is not None:
            self._known[event.id] = call
        return call

    def open(self, event: CallEvent) -> Call:
        """Open a call that a model writes."""
        call = self._open[_call_key(event)] = Call(self._ids.take(event.id), event.name, event)
        if event.id is not None:
            self._known[event.id] = call
        return call

    def close(self, event: CallEvent) -> None:
        """Take a call from those that are written; a tool may answer it."""
        self._open.pop(_call_key(event), None)

    def run_by(self, event: ToolEvent) -> Call | None:
        """Give the call that a tool runs for, None for one that no model wrote in this stream."""
        return None if event.id is None else self._known.get(event.id)

    def adopt(self, event: ToolEvent) -> Call:
        """Take up a call that is seen first when its tool runs."""
        call = Call(self._ids.take(event.id), event.name, event)
        if event.id is not None:
            self._known[event.id] = call
        return call


def _message_key(event: Event) -> tuple[object, ...]:
    if event.message_id is None:
        return (event.namespace, None, event.node)
    return (event.namespace, event.message_id)


def _call_key(event: CallEvent) -> tuple[object, ...]:
    return (*_message_key(event), event.index)


class Encoder(Protocol[Wire]):
    """What both encoders can do."""

    def start(self) -> list[Wire]:
        """Give what comes before all events."""
        ...

    def feed(self, event: Event) -> list[Wire]:
        """Encode the next event."""
        ...

    def fail(self, error: BaseException) -> list[Wire]:
        """End a stream that raised."""
        ...

    def close(self) -> list[Wire]:
        """End a stream that ended."""
        ...


def drive(encoder: Encoder[Wire], events: Iterable[Event]) -> Generator[Wire, None, None]:
    """Encode a whole stream, and close it when its reader goes away."""
    with opened(events) as source:
        yield from encoder.start()
        try:
            for event in source:
                yield from encoder.feed(event)
        except Exception as error:
            yield from encoder.fail(error)
            raise
    yield from encoder.close()


async def adrive(
    encoder: Encoder[Wire], events: AsyncIterable[Event]
) -> AsyncGenerator[Wire, None]:
    """Do as `drive`, for the async streams."""
    async with aopened(events) as source:
        for encoded in encoder.start():
            yield encoded
        try:
            async for event in source:
                for encoded in encoder.feed(event):
                    yield encoded
        except Exception as error:
            for encoded in encoder.fail(error):
                yield encoded
            raise
    for encoded in encoder.close():
        yield encoded
