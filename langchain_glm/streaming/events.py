"""What is seen while a model writes and an agent works: frozen values, one class for each kind.

Every event has a literal `type` (its class name in snake case) and `to_dict()`, which gives JSON.
Where it comes from stands on each: `namespace` (the path of the subgraph, `()` at the top), `node`
(the node of the graph), `message_id` (the model's message that it belongs to).

```text
Event
├── ReasoningDelta, TextDelta, MessageFinished
├── CallEvent                      id, index, name of the tool call
│   ├── ToolCallStarted, ToolCallDelta, ToolCallFinished, ToolCallInvalid
│   └── ArgumentStarted, ArgumentDelta, ArgumentFinished
├── ToolEvent                      id, name of the tool call that runs
│   └── ToolStarted, ToolProgress, ToolFinished, ToolFailed
└── RunFinished, RunInterrupted, RunFailed
```

A call's events come in this order, and nothing of it comes after its end:

```text
ToolCallStarted (ToolCallDelta (ArgumentStarted | ArgumentDelta | ArgumentFinished)*)*
(ToolCallFinished | ToolCallInvalid)
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_glm._calls import InvalidReason
from langchain_glm.streaming._json import to_json

Path = tuple[str | int, ...]
"""Where a value stands in the arguments: keys and positions, as `("edits", 0, "text")`."""


class TypedArguments(Protocol):
    """The arguments of a call while they are typed, shared by the events of that call."""

    def text_at(self, count: int) -> str:
        """Give the raw text of the first `count` fragments."""
        ...

    def arguments_at(self, count: int) -> dict[str, Any]:
        """Give the partial value of the first `count` fragments."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """Something that happened.

    Attributes:
        namespace: The path of the subgraph that it happened in, `()` at the top and outside graphs.
        node: The node of the graph, None outside graphs.
        message_id: The id of the model's message, None where it has none or belongs to none.
    """

    type: ClassVar[str]

    namespace: tuple[str, ...] = field(default=(), kw_only=True)
    node: str | None = field(default=None, kw_only=True)
    message_id: str | None = field(default=None, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Give the event as JSON: `type` and the fields.

        Messages are given as `langchain_core.messages.message_to_dict` has them, errors as
        `{"type", "message", "code"}`; what JSON has no word for is given as text.
        """
        shown = {name: to_json(getattr(self, name)) for name in _field_names(type(self))}
        return {"type": self.type, **shown}

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in _field_names(type(self))}
        said = (f"{k}={v!r}" for k, v in values.items() if k not in _SOURCE or v)
        return f"{type(self).__name__}({', '.join(said)})"


def _field_names(event: type[Event]) -> tuple[str, ...]:
    """Name what an event carries, its own fields first and where it comes from last."""
    names = [f.name for f in fields(event) if not f.name.startswith("_")]
    return (*(name for name in names if name not in _SOURCE), *_SOURCE)


_SOURCE = ("namespace", "node", "message_id")


@dataclass(frozen=True, slots=True, repr=False)
class ReasoningDelta(Event):
    """The model thinks: the next piece of its reasoning."""

    type: ClassVar[Literal["reasoning_delta"]] = "reasoning_delta"

    text: str


@dataclass(frozen=True, slots=True, repr=False)
class TextDelta(Event):
    """The model answers: the next piece of its text."""

    type: ClassVar[Literal["text_delta"]] = "text_delta"

    text: str


@dataclass(frozen=True, slots=True, repr=False)
class CallEvent(Event):
    """Something about a tool call that the model writes.

    Attributes:
        id: The call's id, None until the server gives it (most do with the first fragment).
        index: Its position among the calls of the message, from 0.
        name: The tool.
    """

    id: str | None = field(kw_only=True)
    index: int = field(kw_only=True)
    name: str = field(kw_only=True)


@dataclass(frozen=True, slots=True, repr=False)
class ToolCallStarted(CallEvent):
    """The model begins a call; the tool is known."""

    type: ClassVar[Literal["tool_call_started"]] = "tool_call_started"


@dataclass(frozen=True, slots=True, repr=False)
class ToolCallDelta(CallEvent):
    """The next fragment of a call's arguments.

    Attributes:
        text: The raw fragment, a piece of JSON.
    """

    type: ClassVar[Literal["tool_call_delta"]] = "tool_call_delta"

    text: str
    _typed: TypedArguments = field(compare=False)
    _count: int = field(compare=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as far as they were typed with this fragment, parsed when read.

        `{}` until a value is known. Half keys, numbers, literals and escapes are left out, an open
        string is a prefix of the final one. Of a call's newest fragment it costs a copy of the open
        containers; who reads later, in order, has the text parsed once more. Containers may be
        shared with other events: do not change them.
        """
        return self._typed.arguments_at(self._count)

    @property
    def raw(self) -> str:
        """The raw text of the arguments up to and with this fragment."""
        return self._typed.text_at(self._count)


@dataclass(frozen=True, slots=True, repr=False)
class ArgumentStarted(CallEvent):
    """The model begins a value in the arguments.

    Attributes:
        path: Where it stands.
    """

    type: ClassVar[Literal["argument_started"]] = "argument_started"

    path: Path


@dataclass(frozen=True, slots=True, repr=False)
class ArgumentDelta(CallEvent):
    """The next piece of a string in the arguments.

    Attributes:
        path: Where the string stands.
        text: Decoded characters, never half an escape or half a surrogate pair.
    """

    type: ClassVar[Literal["argument_delta"]] = "argument_delta"

    path: Path
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class ArgumentFinished(CallEvent):
    """A value in the arguments is whole.

    Attributes:
        path: Where it stands.
        value: The value; an object or a list may be shared with other events.
    """

    type: ClassVar[Literal["argument_finished"]] = "argument_finished"

    path: Path
    value: Any


@dataclass(frozen=True, slots=True, repr=False)
class ToolCallFinished(CallEvent):
    """A call is whole and may run.

    Attributes:
        arguments: All of them; `{}` for a call without any.
    """

    type: ClassVar[Literal["tool_call_finished"]] = "tool_call_finished"

    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, repr=False)
class ToolCallInvalid(CallEvent):
    """A call ended that must not run.

    Attributes:
        raw: The text of the arguments as far as they came.
        reason: Why: `cut` (the answer ended before the call did, `finish_reason` says so),
            `broken_stream` (the connection did), `invalid_json` (the arguments are no JSON
            object), `no_name` (it names no tool), `stopped` (who read the stream went away; only
            `watch` tells of it).
        position: Where in `raw` the JSON broke, its length where it merely stopped; in characters.
        error: The reason in a sentence, as in the message's `invalid_tool_calls`.
    """

    type: ClassVar[Literal["tool_call_invalid"]] = "tool_call_invalid"

    raw: str
    reason: InvalidReason
    position: int
    error: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class MessageFinished(Event):
    """The model's message is whole.

    Attributes:
        message: The message, with the calls that may run in `tool_calls`, the others in
            `invalid_tool_calls`.
        finish_reason: Why it ended, by the server's word.
        usage: Token counts, None where the server gave none.
    """

    type: ClassVar[Literal["message_finished"]] = "message_finished"

    message: AIMessage
    finish_reason: str | None
    usage: UsageMetadata | None


@dataclass(frozen=True, slots=True, repr=False)
class ToolEvent(Event):
    """Something about a tool that runs.

    Attributes:
        id: The id of the call that it answers. None on a `ToolProgress` where LangGraph does not
            say which of several tools wrote it.
        name: The tool, `""` where LangGraph does not say.
    """

    id: str | None = field(kw_only=True)
    name: str = field(kw_only=True)


@dataclass(frozen=True, slots=True, repr=False)
class ToolStarted(ToolEvent):
    """A tool begins to run.

    Attributes:
        arguments: What it was called with.
    """

    type: ClassVar[Literal["tool_started"]] = "tool_started"

    arguments: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ToolProgress(ToolEvent):
    """Something that a tool, or a node, wrote while it ran.

    Attributes:
        data: What it gave to LangGraph's stream writer or to `ToolRuntime.emit_output_delta`.
    """

    type: ClassVar[Literal["tool_progress"]] = "tool_progress"

    data: Any


@dataclass(frozen=True, slots=True, repr=False)
class ToolFinished(ToolEvent):
    """A tool has its result.

    Attributes:
        content: What the model will read.
        artifact: What the tool kept for the program, None where it kept nothing.
    """

    type: ClassVar[Literal["tool_finished"]] = "tool_finished"

    content: Any
    artifact: Any = None


@dataclass(frozen=True, slots=True, repr=False)
class ToolFailed(ToolEvent):
    """A tool failed, or a call was refused.

    Attributes:
        error: What the model is told or, where the tool raised, what the exception says.
        raised: Whether the tool raised: what its exception says may be for the program alone.
    """

    type: ClassVar[Literal["tool_failed"]] = "tool_failed"

    error: str
    raised: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class RunFinished(Event):
    """The run ended by itself. The last event.

    Attributes:
        output: The final state of the graph.
        messages: The messages that the run added: save these to a history.
    """

    type: ClassVar[Literal["run_finished"]] = "run_finished"

    output: Any
    messages: Sequence[BaseMessage] = ()


@dataclass(frozen=True, slots=True, repr=False)
class RunInterrupted(Event):
    """The run waits for a person. The last event; go on with `Command(resume=...)`.

    Attributes:
        interrupts: LangGraph's `Interrupt` values (`.id`, `.value`).
        output: The state of the graph so far.
        messages: The messages that the run added so far.
    """

    type: ClassVar[Literal["run_interrupted"]] = "run_interrupted"

    interrupts: Sequence[Any]
    output: Any = None
    messages: Sequence[BaseMessage] = ()


@dataclass(frozen=True, slots=True, repr=False)
class RunFailed(Event):
    """The run failed. The last event; the error is raised after it.

    Attributes:
        error: What was raised.
        messages: What the run had added, and what had arrived of the last message. Calls may be
            without an answer: `complete_history` makes a history of it that a model accepts.
    """

    type: ClassVar[Literal["run_failed"]] = "run_failed"

    error: BaseException
    messages: Sequence[BaseMessage] = ()


AnyCallEvent: TypeAlias = (
    ToolCallStarted
    | ToolCallDelta
    | ArgumentStarted
    | ArgumentDelta
    | ArgumentFinished
    | ToolCallFinished
    | ToolCallInvalid
)
"""Every event of a call; a type checker narrows it by `type` and in `match`."""

AnyEvent: TypeAlias = (
    ReasoningDelta
    | TextDelta
    | AnyCallEvent
    | MessageFinished
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | ToolFailed
    | RunFinished
    | RunInterrupted
    | RunFailed
)
"""Every event; a type checker narrows it by `type` and in `match`."""
