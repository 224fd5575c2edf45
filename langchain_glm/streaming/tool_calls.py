"""A model's chunks become events: reasoning, text, and tool calls while they are written."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from langchain_glm._calls import CUT_FINISH_REASONS, CallDelta, Calls, InvalidReason, Verdict
from langchain_glm.streaming._sources import aopened, opened
from langchain_glm.streaming.events import (
    ArgumentDelta,
    ArgumentFinished,
    ArgumentStarted,
    Event,
    MessageFinished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallInvalid,
    ToolCallStarted,
)
from langchain_glm.streaming.json_stream import (
    Complete,
    Finished,
    JSONEvent,
    JSONStream,
    Started,
    Text,
)
from langchain_glm.streaming.merge import CallPiece, Merge, call_pieces, finish_reason


def tool_call_events(chunks: Iterable[BaseMessage]) -> Generator[Event, None, None]:
    """Watch a model write: the events of its stream, as its chunks come.

    Args:
        chunks: What a chat model's `stream` gives; several messages may follow each other.

    Yields:
        `ReasoningDelta`, `TextDelta`, the events of tool calls, and `MessageFinished` at the end of
        each message. If the stream breaks, `ToolCallInvalid` for each call that was open, then
        its error is raised. Closing this closes the stream.
    """
    parser = ToolCallParser()
    with opened(chunks) as source:
        try:
            for chunk in source:
                yield from parser.feed(chunk)
        except Exception:
            yield from parser.close(ended=False)
            raise
        yield from parser.close()


async def atool_call_events(chunks: AsyncIterable[BaseMessage]) -> AsyncGenerator[Event, None]:
    """Watch a model write: the events of its stream; see `tool_call_events`."""
    parser = ToolCallParser()
    async with aopened(chunks) as source:
        try:
            async for chunk in source:
                for event in parser.feed(chunk):
                    yield event
        except Exception:
            for event in parser.close(ended=False):
                yield event
            raise
        for event in parser.close():
            yield event


class ToolCallParser:
    """Makes events of chunks: `feed` it each chunk, `close` it at the end of the stream.

    A message ends with the chunk whose `chunk_position` is `"last"`, or with the stream.

    Args:
        namespace: The path of the subgraph that the model writes in, for the events.
        node: The node of the graph, for the events.
    """

    def __init__(self, *, namespace: tuple[str, ...] = (), node: str | None = None) -> None:
        self._source = {"namespace": namespace, "node": node}
        self._calls = TypedCalls(self._source)
        self._merge = Merge(self._calls.calls)

    def feed(self, chunk: BaseMessage) -> list[Event]:
        """Take a chunk, or a message that came whole.

        Raises:
            TypeError: It is not the model's.
        """
        is_chunk = isinstance(chunk, AIMessageChunk)
        # A whole message ends the one before, whose end was not said.
        events = self.close() if isinstance(chunk, AIMessage) and not is_chunk else []
        self._merge.feed(chunk)
        self._calls.source["message_id"] = self._calls.source.get("message_id") or chunk.id
        events += self._read_content(chunk)
        if isinstance(chunk, AIMessageChunk):
            for piece in call_pieces(chunk) if chunk.tool_call_chunks else ():
                events += self._calls.take(piece)
        if not isinstance(chunk, AIMessageChunk) or chunk.chunk_position == "last":
            events += self.close()
        return events

    def close(self, *, ended: bool = True) -> list[Event]:
        """End the message, if one is open; with `ended=False` the stream has broken off.

        Returns:
            The ends of its calls, and `MessageFinished` where it has ended.
        """
        if self._merge.is_empty:
            return []
        events = self._end_message() if ended else self._calls.break_off()
        self._calls = TypedCalls(self._source)
        self._merge = Merge(self._calls.calls)
        return events

    def _end_message(self) -> list[Event]:
        message, verdicts, is_whole = self._merge.close()
        ends = self._calls.take_whole(message) if is_whole else self._calls.end(verdicts)
        return [*ends, message_finished(message, self._calls.source)]

    def _read_content(self, message: BaseMessage) -> list[Event]:
        if isinstance(message.content, str):
            reasoning = message.additional_kwargs.get("reasoning_content") or ""
            parts = (("reasoning", reasoning), ("text", message.content))
            return [_PART[kind](text, **self._calls.source) for kind, text in parts if text]
        return [
            _PART[block["type"]](text, **self._calls.source)
            for block in message.content_blocks
            if block["type"] in _PART and (text := block.get(block["type"]))
        ]


_PART: Mapping[str, Any] = {"reasoning": ReasoningDelta, "text": TextDelta}


def message_finished(message: AIMessage, source: Mapping[str, Any]) -> MessageFinished:
    """Make the event of a message's end."""
    return MessageFinished(message, finish_reason(message), message.usage_metadata, **source)


class TypedCalls:
    """The calls of one message while they are typed.

    Args:
        source: `namespace` and `node` of their events.

    Attributes:
        source: The same and, once it is known, `message_id`.
        calls: The calls, assembled.
    """

    def __init__(self, source: Mapping[str, Any]) -> None:
        self.source = dict(source)
        self.calls = Calls()
        self._typed: list[_TypedCall] = []

    def take(self, piece: CallPiece) -> list[Event]:
        """Take a fragment of a call."""
        delta = self.calls.take(*piece)
        return self._type(delta) if delta else []

    def take_whole(self, message: AIMessage) -> list[Event]:
        """Take the calls of a message that came whole, and end them."""
        events: list[Event] = []
        verdicts: list[Verdict] = []
        for call in message.tool_calls:
            arguments = json.dumps(call["args"], ensure_ascii=False)
            events += self._take_next(call["id"], call["name"], arguments)
            verdicts.append(Verdict(self.calls[-1], call["args"]))
        for broken in message.invalid_tool_calls:
            if not any((broken["id"], broken["name"], broken["args"])):
                continue
            events += self._take_next(broken["id"], broken["name"] or "", broken["args"] or "")
            problem = broken["error"] or "The call is invalid."
            verdicts.append(Verdict(self.calls[-1], {}, problem, _reason_of(message)))
        return events + self.end(verdicts)

    def end(self, verdicts: Sequence[Verdict]) -> list[Event]:
        """End the calls, each as its verdict says."""
        return [event for verdict in verdicts for event in self._end_call(verdict)]

    def break_off(self) -> list[Event]:
        """End the calls of a stream that has broken off."""
        return self.end(self.calls.verdicts(ended=False))

    def _take_next(self, id_: str | None, name: str, arguments: str) -> list[Event]:
        return self.take((len(self.calls), id_, name, arguments))

    def _type(self, delta: CallDelta) -> list[Event]:
        if delta.position == len(self._typed):
            self._typed.append(_TypedCall())
        typed = self._typed[delta.position]
        call = self.calls[delta.position]
        if not typed.source or delta.id or delta.name:
            typed.source = {**self.source, "id": call.id, "index": call.index, "name": call.name}
        if not call.name:  # the events of a call carry its name: they wait for it
            typed.waiting += [delta.arguments] if delta.arguments else []
            return []
        events = typed.start() if not typed.is_started else []
        return events + typed.type(delta.arguments) if delta.arguments else events

    def _end_call(self, verdict: Verdict) -> list[Event]:
        typed = self._typed[verdict.call.index]
        events = typed.start() if not typed.is_started else []
        return [*events, typed.end(verdict)]


class _TypedCall:
    """One call while it is typed; its events share it as their `TypedArguments`."""

    __slots__ = ("_fragments", "_json", "is_started", "source", "waiting")

    def __init__(self) -> None:
        self.source: dict[str, Any] = {}  # what its events say of the call
        self.is_started = False
        self.waiting: list[str] = []  # fragments that came before the name
        self._fragments: list[str] = []
        self._json = JSONStream()

    def __reduce__(self) -> tuple[Any, ...]:
        # Events may be copied and pickled; the parser's lock cannot.
        return _typed_again, (self._fragments,)

    def start(self) -> list[Event]:
        self.is_started = True
        events: list[Event] = [ToolCallStarted(**self.source)]
        for fragment in self.waiting:
            events += self.type(fragment)
        self.waiting = []
        return events

    def type(self, fragment: str) -> list[Event]:
        source = self.source
        self._fragments.append(fragment)
        events: list[Event] = [ToolCallDelta(fragment, self, len(self._fragments), **source)]
        # What is known of the whole, at the path `()`, the events of the call itself say.
        events += [
            _ARGUMENT[known.__class__](*known, **source)
            for known in self._json.feed(fragment)
            if known.path
        ]
        return events

    def end(self, verdict: Verdict) -> Event:
        outcome = self._json.close()
        if verdict.reason is None:
            whole = outcome.value if isinstance(outcome, Complete) else None
            arguments = whole if isinstance(whole, dict) else verdict.arguments
            return ToolCallFinished(arguments, **self.source)
        raw = verdict.call.arguments
        position = len(raw) if isinstance(outcome, Complete) else outcome.position
        return ToolCallInvalid(raw, verdict.reason, position, verdict.problem or "", **self.source)

    def text_at(self, count: int) -> str:
        return "".join(self._fragments[:count])

    def arguments_at(self, count: int) -> dict[str, Any]:
        if count == len(self._fragments):
            value = self._json.value
        else:
            then = JSONStream()
            then.feed(self.text_at(count))
            value = then.value
        return value if isinstance(value, dict) else {}


def _typed_again(fragments: list[str]) -> _TypedCall:
    typed = _TypedCall()
    typed._fragments = fragments
    typed._json.feed("".join(fragments))
    return typed


_ARGUMENT: Mapping[type[JSONEvent], Any] = {
    Started: ArgumentStarted,
    Text: ArgumentDelta,
    Finished: ArgumentFinished,
}


def _reason_of(message: AIMessage) -> InvalidReason:
    return "cut" if finish_reason(message) in CUT_FINISH_REASONS else "invalid_json"
