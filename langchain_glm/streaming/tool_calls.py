"""A model's chunks become events: reasoning, text, and tool calls while they are written."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from langchain_glm._calls import CUT_FINISH_REASONS, CallDelta, Calls, InvalidReason, Verdict
from langchain_glm.streaming._sources import aopened, opened
from langchain_glm.streaming.events import (
    AnyEvent,
    ArgumentDelta,
    ArgumentFinished,
    ArgumentStarted,
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
from langchain_glm.streaming.merge import Merge, finish_reason


def tool_call_events(chunks: Iterable[BaseMessage]) -> Generator[AnyEvent, None, None]:
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


async def atool_call_events(chunks: AsyncIterable[BaseMessage]) -> AsyncGenerator[AnyEvent, None]:
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
        self._merge = Merge()
        self._calls = TypedCalls(self._merge.calls, self._source)

    def feed(self, chunk: BaseMessage) -> list[AnyEvent]:
        """Take a chunk, or a message that came whole.

        Raises:
            TypeError: It is not the model's.
        """
        if not isinstance(chunk, AIMessageChunk):
            return self._feed_whole(chunk)
        deltas = self._merge.feed(chunk)
        self._name_message(chunk)
        events = self._read_content(chunk) if chunk.content or chunk.additional_kwargs else []
        for delta in deltas:
            events += self._calls.type(delta)
        if chunk.chunk_position == "last":
            events += self.close()
        return events

    def close(self, *, ended: bool = True) -> list[AnyEvent]:
        """End the message, if one is open; with `ended=False` the stream has broken off.

        Returns:
            The ends of its calls, and `MessageFinished` where it has ended.
        """
        if self._merge.is_empty:
            return []
        events = self._end_message() if ended else self._calls.break_off()
        self._merge = Merge()
        self._calls = TypedCalls(self._merge.calls, self._source)
        return events

    def _feed_whole(self, message: BaseMessage) -> list[AnyEvent]:
        # It ends the message before, whose end was not said.
        events = self.close() if isinstance(message, AIMessage) else []
        self._merge.feed(message)
        self._name_message(message)
        return [*events, *self._read_content(message), *self.close()]

    def _name_message(self, chunk: BaseMessage) -> None:
        source = self._calls.source
        if not source.get("message_id"):
            source["message_id"] = chunk.id

    def _end_message(self) -> list[AnyEvent]:
        message, verdicts, is_whole = self._merge.close()
        ends = self._calls.take_whole(message) if is_whole else self._calls.end(verdicts)
        return [*ends, message_finished(message, self._calls.source)]

    def _read_content(self, message: BaseMessage) -> list[AnyEvent]:
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
        calls: The calls, where they are assembled.
        source: `namespace` and `node` of their events.

    Attributes:
        source: The same and, once it is known, `message_id`.
    """

    def __init__(self, calls: Calls, source: Mapping[str, Any]) -> None:
        self.source: dict[str, Any] = dict(source)
        self._calls = calls
        self._typed: list[_TypedCall] = []

    def take_whole(self, message: AIMessage) -> list[AnyEvent]:
        """Take the calls of a message that came whole, and end them."""
        events: list[AnyEvent] = []
        verdicts: list[Verdict] = []
        for call in message.tool_calls:
            arguments = json.dumps(call["args"], ensure_ascii=False)
            events += self._take_next(call["id"], call["name"], arguments)
            verdicts.append(Verdict(self._calls[-1], call["args"]))
        for broken in message.invalid_tool_calls:
            if not any((broken["id"], broken["name"], broken["args"])):
                continue
            events += self._take_next(broken["id"], broken["name"] or "", broken["args"] or "")
            problem = broken["error"] or "The call is invalid."
            verdicts.append(Verdict(self._calls[-1], {}, problem, _reason_of(message)))
        return events + self.end(verdicts)

    def end(self, verdicts: Sequence[Verdict]) -> list[AnyEvent]:
        """End the calls, each as its verdict says."""
        return [event for verdict in verdicts for event in self._end_call(verdict)]

    def break_off(self) -> list[AnyEvent]:
        """End the calls of a stream that has broken off."""
        return self.end(self._calls.verdicts(ended=False))

    def _take_next(self, id_: str | None, name: str, arguments: str) -> list[AnyEvent]:
        delta = self._calls.take(len(self._calls), id_, name, arguments)
        return self.type(delta) if delta else []

    def type(self, delta: CallDelta) -> list[AnyEvent]:
        """Take what a fragment adds to its call."""
        if delta.position == len(self._typed):
            self._typed.append(_TypedCall())
        typed = self._typed[delta.position]
        if not typed.source or delta.id or delta.name:
            call = self._calls[delta.position]
            typed.source = {**self.source, "id": call.id, "index": call.index, "name": call.name}
        if typed.is_started:
            return typed.type(delta.arguments) if delta.arguments else []
        if delta.arguments:
            typed.waiting.append(delta.arguments)
        # The events of a call carry its name: they wait for it.
        return typed.start() if typed.source["name"] else []

    def _end_call(self, verdict: Verdict) -> list[AnyEvent]:
        typed = self._typed[verdict.call.index]
        events = typed.start() if not typed.is_started else []
        return [*events, typed.end(verdict)]


class _TypedCall:
    """One call while it is typed; its events share it as their `TypedArguments`."""

    __slots__ = ("_again", "_fragments", "_json", "_lock", "is_started", "source", "waiting")

    def __init__(self) -> None:
        self.source: dict[str, Any] = {}  # what its events say of the call
        self.is_started = False
        self.waiting: list[str] = []  # fragments that came before the name
        self._fragments: list[str] = []
        self._json = JSONStream()
        self._again = (0, JSONStream())  # for those who read late: how far they have come
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # Events may be copied and pickled; the parser's lock cannot.
        return _typed_again, (self._fragments,)

    def start(self) -> list[AnyEvent]:
        self.is_started = True
        events: list[AnyEvent] = [ToolCallStarted(**self.source)]
        for fragment in self.waiting:
            events += self.type(fragment)
        self.waiting = []
        return events

    def type(self, fragment: str) -> list[AnyEvent]:
        source = self.source
        self._fragments.append(fragment)
        events: list[AnyEvent] = [ToolCallDelta(fragment, self, len(self._fragments), **source)]
        # What is known of the whole, at the path `()`, the events of the call itself say.
        events += [
            _ARGUMENT[known.__class__](*known, **source)
            for known in self._json.feed(fragment)
            if known.path
        ]
        return events

    def end(self, verdict: Verdict) -> AnyEvent:
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
        is_newest = count == len(self._fragments)
        value = self._json.value if is_newest else self._value_again(count)
        return value if isinstance(value, dict) else {}

    def _value_again(self, count: int) -> Any:
        # Who reads late reads in order (a queue, a list of events), so the text is read once more,
        # not once for each event.
        with self._lock:
            done, json_ = self._again
            if count < done:
                done, json_ = 0, JSONStream()
            json_.feed("".join(self._fragments[done:count]))
            self._again = (count, json_)
            return json_.value


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
