"""AG-UI: the Agent User Interaction Protocol 1.0, as CopilotKit and others read it (extra `ag-ui`).

Events become those of the `ag-ui-protocol` package, in an order that the verifier of
`@ag-ui/client` accepts:

```python
from ag_ui.core import RunAgentInput
from langchain_glm.streaming.encoders import ag_ui

@app.post("/agent")
async def agent(body: RunAgentInput) -> StreamingResponse:
    events = astream_agent(graph, {"messages": to_langchain(body.messages)})
    wire = ag_ui.aencode_sse(events, thread_id=body.thread_id, run_id=body.run_id)
    return StreamingResponse(wire, media_type=ag_ui.MEDIA_TYPE)
```

| ours | AG-UI |
|---|---|
| `ReasoningDelta`, `TextDelta` | `REASONING_*`, `TEXT_MESSAGE_*`; one block at a time |
| `ToolCallStarted`, `ToolCallDelta`, `ToolCallFinished` | `TOOL_CALL_START`, `_ARGS`, `_END` |
| `ToolCallInvalid` | `TOOL_CALL_END`, its `metadata` says why; a `TOOL_CALL_RESULT` |
| `ToolFinished`, `ToolFailed` | `TOOL_CALL_RESULT`, of a failed tool with `metadata` |
| `ToolProgress` | `CUSTOM`, name `tool_progress` |
| `RunFinished` | `RUN_FINISHED` with the usage of each model |
| `RunInterrupted` | `RUN_FINISHED` with an `interrupt` outcome |
| `RunFailed` | `RUN_ERROR` |
| no end | `RUN_FINISHED`: `cancelled`, or a success where the stream is of a bare model |
| `ToolStarted`, `Argument...` | nothing: a call that was seen runs, a client parses arguments |

An invalid call gets a result like any other, or a client would take it for one of its own tools'
and wait: what a middleware answers, else the error, at the end of the run.

What a subgraph does carries `subagent_run_id`, the path of its namespace; a message says it in
`metadata` too. Our own metadata stands under the key `langchain`. State is not sent: a graph's
state may hold what no browser should see. Send a `StateSnapshotEvent` of your own beside these.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator
from typing import Any, ClassVar

try:
    from ag_ui import core
    from ag_ui.encoder import EventEncoder
except ImportError as _missing:
    msg = (
        "langchain_glm.streaming.encoders.ag_ui needs ag-ui-protocol 1.0: "
        'pip install "langchain-glm-zai[ag-ui]"'
    )
    raise ImportError(msg) from _missing

from langchain_glm._surrogates import joined
from langchain_glm.streaming import events as ev
from langchain_glm.streaming._json import to_json
from langchain_glm.streaming._sources import aopened, opened
from langchain_glm.streaming.encoders._ag_ui_values import (
    CONTENT,
    arguments_of,
    as_content,
    as_value,
    block_begun,
    block_ended,
    code_of,
    interrupt_of,
    metadata_of,
    owner_of,
)
from langchain_glm.streaming.encoders._wire import (
    STOPPED,
    Block,
    Call,
    Calls,
    Ids,
    Kind,
    Message,
    Messages,
    OnError,
    adrive,
    as_text,
    drive,
    error_text,
    invalid_text,
    tool_error_text,
)

__all__ = ["MEDIA_TYPE", "AGUIEncoder", "aencode", "aencode_sse", "encode", "encode_sse"]

MEDIA_TYPE = "text/event-stream"
"""The content type of `encode_sse` and `aencode_sse`."""

_SSE = EventEncoder()


class AGUIEncoder:
    """One run's encoder: `start`, `feed` each event as it comes, `close` at the end.

    Pure: no clock, no randomness; ids that are missing are made of the run's.

    Attributes:
        thread_id: The conversation, from the client's `RunAgentInput`.
        run_id: The run, likewise; unique in the conversation.
        on_error: Says what the browser is told of an error that ended the run, or that a tool
            raised (as a `ToolException`). As it stands, the message of an error of GLM's, and of
            any other that there was one.
    """

    def __init__(self, thread_id: str, run_id: str, *, on_error: OnError = error_text) -> None:
        self.thread_id = thread_id
        self.run_id = run_id
        self.on_error = on_error
        self._ids = Ids(run_id)
        self._messages = Messages(self._ids)
        self._calls = Calls(self._ids)
        self._refused: dict[str, tuple[Call, str]] = {}  # invalid calls that nobody answered yet
        self._usage: list[core.TokenUsage] = []
        self._started = False
        self._ended = False
        self._last: ev.Event | None = None

    def start(self) -> list[core.BaseEvent]:
        """Give `RUN_STARTED`, once; `feed` and `close` do it where nobody did."""
        if self._started:
            return []
        self._started = True
        started = core.RunStartedEvent(
            thread_id=self.thread_id, run_id=self.run_id, protocol_version=core.PROTOCOL_VERSION
        )
        return [started]

    def feed(self, event: ev.Event) -> list[core.BaseEvent]:
        """Encode the next event; nothing comes after the end of the run."""
        if self._ended:
            return []
        self._last = event
        return [*self.start(), *self._METHODS[type(event)](self, event)]

    def fail(self, error: BaseException) -> list[core.BaseEvent]:
        """End a run whose stream raised, where no `RunFailed` told of it."""
        return self.feed(ev.RunFailed(error))

    def close(self) -> list[core.BaseEvent]:
        """End the run, where no event did: a bare model's as finished, any other as cancelled."""
        if self._ended:
            return []
        return [*self.start(), *self._close()]

    def _close(self) -> Iterator[core.BaseEvent]:
        if isinstance(self._last, ev.MessageFinished) and self._last.node is None:
            return self._finish()
        return self._finish(core.RunFinishedCancelledOutcome())

    def _reasoning(self, event: ev.ReasoningDelta) -> Iterator[core.BaseEvent]:
        return self._delta(event, "reasoning", event.text)

    def _text(self, event: ev.TextDelta) -> Iterator[core.BaseEvent]:
        return self._delta(event, "text", event.text)

    def _delta(self, event: ev.Event, kind: Kind, text: str) -> Iterator[core.BaseEvent]:
        if not text:
            return
        message = self._message(event)
        if message.block is None or message.block.kind != kind:
            yield from self._leave(message)
            message.block = self._block(message, kind)
            yield from block_begun(message.block, message.origin)
        yield CONTENT[kind](message_id=message.block.id, delta=joined(text), **owner_of(event))

    def _message(self, event: ev.Event) -> Message:
        return self._messages.find(event) or self._messages.open(event)

    def _block(self, message: Message, kind: Kind) -> Block:
        # Text that goes on after a call is the same message; reasoning is one of its own.
        is_text = kind == "text"
        return Block(kind, message.id if is_text else self._ids.take(f"{message.id}-reasoning"))

    def _leave(self, message: Message, **said: Any) -> Iterator[core.BaseEvent]:
        block, message.block = message.block, None
        if block is not None:
            yield from block_ended(block, message.origin, metadata_of(said))

    def _call_started(self, event: ev.CallEvent) -> Generator[core.BaseEvent, None, Call]:
        message = self._message(event)
        yield from self._leave(message)
        call = self._calls.open(event)
        about = {"tool_call_id": call.id, "tool_call_name": call.name, **owner_of(event)}
        yield core.ToolCallStartEvent(parent_message_id=message.id, **about)
        return call

    def _call(self, event: ev.CallEvent) -> Generator[core.BaseEvent, None, Call]:
        return self._calls.find(event) or (yield from self._call_started(event))

    def _call_delta(self, event: ev.ToolCallDelta) -> Iterator[core.BaseEvent]:
        call = yield from self._call(event)
        call.newest = event
        yield arguments_of(call, call.strict.feed(event.text))

    def _call_finished(self, event: ev.ToolCallFinished) -> Iterator[core.BaseEvent]:
        call = yield from self._call(event)
        if call.newest is None:
            yield arguments_of(call, as_text(to_json(event.arguments)))
        self._calls.close(event)
        yield core.ToolCallEndEvent(tool_call_id=call.id, **owner_of(event))

    def _call_invalid(self, event: ev.ToolCallInvalid) -> Iterator[core.BaseEvent]:
        call = yield from self._call(event)
        if call.newest is None and event.raw:
            yield arguments_of(call, call.strict.feed(event.raw))
        self._calls.close(event)
        yield self._refuse(call, event.reason, event.error or invalid_text(event))

    def _refuse(self, call: Call, reason: str, text: str) -> core.BaseEvent:
        self._refused[call.id] = (call, text)
        return core.ToolCallEndEvent(
            tool_call_id=call.id,
            metadata=metadata_of({"invalid": reason, "error": joined(text)}),
            **owner_of(call.origin),
        )

    def _tool_started(self, event: ev.ToolStarted) -> Iterator[core.BaseEvent]:
        yield from self._run(event, event.arguments)

    def _run(
        self, event: ev.ToolEvent, arguments: Any = None
    ) -> Generator[core.BaseEvent, None, Call]:
        """Find the call that a tool runs for; show one that no model wrote in this stream."""
        call = self._calls.run_by(event)
        if call is None:
            call = self._calls.adopt(event)
            owner = owner_of(event)
            yield core.ToolCallStartEvent(tool_call_id=call.id, tool_call_name=call.name, **owner)
            yield arguments_of(call, as_text(to_json(arguments or {})))
            yield core.ToolCallEndEvent(tool_call_id=call.id, **owner)
        return call

    def _tool_progress(self, event: ev.ToolProgress) -> Iterator[core.BaseEvent]:
        call = self._calls.run_by(event)
        value = {
            "toolCallId": event.id if call is None else call.id,
            "toolName": event.name,
            "data": as_value(event.data),
        }
        yield core.CustomEvent(name=event.type, value=value, **owner_of(event))

    def _tool_finished(self, event: ev.ToolFinished) -> Iterator[core.BaseEvent]:
        call = yield from self._run(event)
        yield self._result(call, event, as_content(event.content))

    def _tool_failed(self, event: ev.ToolFailed) -> Iterator[core.BaseEvent]:
        call = yield from self._run(event)
        yield self._result(call, event, tool_error_text(event, self.on_error), status="error")

    def _result(self, call: Call, origin: ev.Event, content: str, **said: Any) -> core.BaseEvent:
        self._refused.pop(call.id, None)
        return core.ToolCallResultEvent(
            message_id=self._ids.take(f"{call.id}-result"),
            tool_call_id=call.id,
            content=joined(content),
            role="tool",
            metadata=metadata_of(said),
            **owner_of(origin),
        )

    def _message_finished(self, event: ev.MessageFinished) -> Iterator[core.BaseEvent]:
        self._count(event)
        message = self._messages.find(event)
        if message is not None:
            yield from self._leave(message, finish_reason=event.finish_reason)
        self._messages.close(event)

    def _count(self, event: ev.MessageFinished) -> None:
        about = event.message.response_metadata
        usage = core.token_usage_from_langchain_metadata(
            event.usage, provider=about.get("model_provider"), model=about.get("model_name")
        )
        if usage is not None:
            self._usage.append(usage)

    def _run_finished(self, _event: ev.RunFinished) -> Iterator[core.BaseEvent]:
        return self._finish()

    def _run_interrupted(self, event: ev.RunInterrupted) -> Iterator[core.BaseEvent]:
        asked = [interrupt_of(item, self._ids) for item in event.interrupts]
        # A breakpoint of the graph asks nothing, and the protocol wants something to answer.
        asked = asked or [core.Interrupt(id=self._ids.take(), reason="langgraph:breakpoint")]
        return self._finish(core.RunFinishedInterruptOutcome(interrupts=asked))

    def _run_failed(self, event: ev.RunFailed) -> Iterator[core.BaseEvent]:
        yield from self._wind_up()
        yield core.RunErrorEvent(
            message=joined(self.on_error(event.error)),
            code=code_of(event.error),
            usage=self._used(),
        )

    def _finish(self, outcome: Any = None) -> Iterator[core.BaseEvent]:
        yield from self._wind_up()
        yield core.RunFinishedEvent(
            thread_id=self.thread_id, run_id=self.run_id, outcome=outcome, usage=self._used()
        )

    def _wind_up(self) -> Iterator[core.BaseEvent]:
        """Close what is open; answer the invalid calls, or the client waits for its own tools."""
        self._ended = True
        for message in self._messages:
            yield from self._leave(message)
        for call in self._calls:
            yield self._refuse(call, "stopped", STOPPED)
        for call, text in list(self._refused.values()):
            yield self._result(call, call.origin, text, status="error")

    def _used(self) -> list[core.TokenUsage] | None:
        return core.aggregate_token_usage(self._usage) or None

    def _nothing(self, _event: ev.Event) -> Iterator[core.BaseEvent]:
        return iter(())  # the client parses the arguments itself

    _METHODS: ClassVar[dict[type[ev.Event], Callable[[Any, Any], Iterator[core.BaseEvent]]]] = {
        ev.ReasoningDelta: _reasoning,
        ev.TextDelta: _text,
        ev.ToolCallStarted: _call_started,
        ev.ToolCallDelta: _call_delta,
        ev.ArgumentStarted: _nothing,
        ev.ArgumentDelta: _nothing,
        ev.ArgumentFinished: _nothing,
        ev.ToolCallFinished: _call_finished,
        ev.ToolCallInvalid: _call_invalid,
        ev.MessageFinished: _message_finished,
        ev.ToolStarted: _tool_started,
        ev.ToolProgress: _tool_progress,
        ev.ToolFinished: _tool_finished,
        ev.ToolFailed: _tool_failed,
        ev.RunFinished: _run_finished,
        ev.RunInterrupted: _run_interrupted,
        ev.RunFailed: _run_failed,
    }


def encode(
    events: Iterable[ev.Event], *, thread_id: str, run_id: str, on_error: OnError = error_text
) -> Generator[core.BaseEvent, None, None]:
    """Encode a stream of events; `RUN_STARTED` comes before the first of them.

    Args:
        events: What `stream_agent` or `tool_call_events` gives. It is closed, and so its run
            stopped, when this iterator is.
        thread_id: As of `AGUIEncoder`.
        run_id: As of `AGUIEncoder`.
        on_error: As of `AGUIEncoder`.

    Raises:
        Exception: What the stream raised, after `RUN_ERROR`.
    """
    return drive(AGUIEncoder(thread_id, run_id, on_error=on_error), events)


def aencode(
    events: AsyncIterable[ev.Event], *, thread_id: str, run_id: str, on_error: OnError = error_text
) -> AsyncGenerator[core.BaseEvent, None]:
    """Do as `encode`, for the async streams; it is closed with `aclose`."""
    return adrive(AGUIEncoder(thread_id, run_id, on_error=on_error), events)


def encode_sse(
    events: Iterable[ev.Event], *, thread_id: str, run_id: str, on_error: OnError = error_text
) -> Generator[str, None, None]:
    """Do as `encode`, and give the frames of the event stream that `HttpAgent` reads."""
    encoded = encode(events, thread_id=thread_id, run_id=run_id, on_error=on_error)
    with opened(encoded):
        for event in encoded:
            yield _SSE.encode(event)


async def aencode_sse(
    events: AsyncIterable[ev.Event], *, thread_id: str, run_id: str, on_error: OnError = error_text
) -> AsyncGenerator[str, None]:
    """Do as `encode_sse`, for the async streams."""
    encoded = aencode(events, thread_id=thread_id, run_id=run_id, on_error=on_error)
    async with aopened(encoded):
        async for event in encoded:
            yield _SSE.encode(event)
