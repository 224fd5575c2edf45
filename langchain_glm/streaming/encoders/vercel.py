"""The Vercel AI SDK's UI message stream, as `useChat` reads it (`ai` 5, 6 and 7; no extra).

Events become chunks, plain dicts, and these become server-sent events:

```python
from langchain_glm.streaming.encoders import vercel

@app.post("/api/chat")
async def chat(body: ChatRequest) -> StreamingResponse:
    events = astream_agent(graph, {"messages": to_langchain(body.messages)})
    return StreamingResponse(vercel.aencode_sse(events), headers=vercel.HEADERS)
```

| ours | chunks |
|---|---|
| `ReasoningDelta`, `TextDelta` | `reasoning-*`, `text-*`; one block of a message at a time |
| `ToolCallStarted`, `ToolCallDelta`, `ToolCallFinished` | `tool-input-start`, `tool-input-delta`, \
`tool-input-available` |
| `ToolCallInvalid` | `tool-input-error`, its `input` the text that came |
| `ToolFinished`, `ToolFailed` | `tool-output-available`, `tool-output-error` |
| `ToolProgress` | `data-tool-progress`, transient: for `onData`, not kept in the message |
| `RunInterrupted` | a `data-interrupt` for each, kept in the message, then `finish` |
| `RunFinished` | `finish`, with the usage in `messageMetadata` |
| `RunFailed` | `error` |
| no end | `abort`, or `finish` where the stream is of a bare model |
| `ToolStarted`, `Argument...` | nothing: a call that was seen runs, a client parses arguments |

A step is what lies between two answers of models: `start-step` comes when a model begins while no
other writes, `finish-step` before the next one or at the end, so that the results of tools stand
in the step of their calls. All subgraphs write into the one message that the protocol has; their
blocks say where they come from in `providerMetadata.langchain`. To leave them out, feed
`(event for event in events if not event.namespace)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, ClassVar
from uuid import uuid4

from langchain_core.messages.ai import UsageMetadata

from langchain_glm.streaming import events as ev
from langchain_glm.streaming._json import to_json
from langchain_glm.streaming._sources import aopened, opened
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

__all__ = [
    "DONE",
    "HEADERS",
    "Chunk",
    "VercelEncoder",
    "aencode",
    "aencode_sse",
    "encode",
    "encode_sse",
    "to_sse",
]

Chunk = dict[str, Any]
"""A `UIMessageChunk` of the AI SDK, JSON all through."""

HEADERS: Mapping[str, str] = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "x-vercel-ai-ui-message-stream": "v1",
    "x-accel-buffering": "no",
}
"""The headers of a response that carries the stream; the last one keeps nginx from holding it."""

DONE = "data: [DONE]\n\n"
"""The last frame."""

# What the AI SDK 5, 6 and 7 know alike; a client refuses a stream with another word.
_FINISH_REASONS = {
    "stop": "stop",
    "tool_calls": "tool-calls",
    "length": "length",
    "model_context_window_exceeded": "length",
    "sensitive": "content-filter",
    "content_filter": "content-filter",
}


class VercelEncoder:
    """One response's encoder: `start`, `feed` each event as it comes, `close` at the end.

    Attributes:
        message_id: The id that the client shall give the message, None to leave it to the client.
        on_error: Says what the browser is told of an error that ended the run, or that a tool
            raised (as a `ToolException`). As it stands, the message of an error of GLM's, and of
            any other that there was one.
    """

    def __init__(self, message_id: str | None = None, *, on_error: OnError = error_text) -> None:
        self.message_id = message_id
        self.on_error = on_error
        self._ids = Ids(message_id or uuid4().hex)
        self._messages = Messages(self._ids)
        self._calls = Calls(self._ids)
        self._usage: Counter[str] = Counter()
        self._finish_reason = "other"
        self._in_step = False
        self._started = False
        self._ended = False
        self._last: ev.Event | None = None

    def start(self) -> list[Chunk]:
        """Give `start`, once; `feed` and `close` do it where nobody did."""
        if self._started:
            return []
        self._started = True
        named = {} if self.message_id is None else {"messageId": self.message_id}
        return [{"type": "start", **named}]

    def feed(self, event: ev.Event) -> list[Chunk]:
        """Encode the next event; nothing comes after the end of the run."""
        if self._ended:
            return []
        self._last = event
        return [*self.start(), *self._METHODS[type(event)](self, event)]

    def fail(self, error: BaseException) -> list[Chunk]:
        """End a run whose stream raised, where no `RunFailed` told of it."""
        return self.feed(ev.RunFailed(error))

    def close(self) -> list[Chunk]:
        """End the message, where no event did: a bare model's as finished, else as aborted."""
        if self._ended:
            return []
        return [*self.start(), *self._close()]

    def _close(self) -> Iterator[Chunk]:
        if isinstance(self._last, ev.MessageFinished) and self._last.node is None:
            return self._finish()
        return self._abort()

    def _reasoning(self, event: ev.ReasoningDelta) -> Iterator[Chunk]:
        return self._delta(event, "reasoning", event.text)

    def _text(self, event: ev.TextDelta) -> Iterator[Chunk]:
        return self._delta(event, "text", event.text)

    def _delta(self, event: ev.Event, kind: Kind, text: str) -> Iterator[Chunk]:
        if not text:
            return
        message = yield from self._message(event)
        if message.block is None or message.block.kind != kind:
            yield from self._leave(message)
            message.block = Block(kind, self._ids.take())
            yield {"type": f"{kind}-start", "id": message.block.id, **_origin(event)}
        yield {"type": f"{kind}-delta", "id": message.block.id, "delta": text}

    def _message(self, event: ev.Event) -> Generator[Chunk, None, Message]:
        message = self._messages.find(event)
        if message is None:
            yield from self._step()
            message = self._messages.open(event)
        return message

    def _step(self) -> Iterator[Chunk]:
        """Begin a step. Not while a model writes: a step hides the calls before it from deltas."""
        if not list(self._messages):
            yield from self._end_step()
            self._in_step = True
            yield {"type": "start-step"}

    def _end_step(self) -> Iterator[Chunk]:
        if self._in_step:
            self._in_step = False
            yield {"type": "finish-step"}

    def _leave(self, message: Message) -> Iterator[Chunk]:
        block, message.block = message.block, None
        if block is not None:
            yield {"type": f"{block.kind}-end", "id": block.id}

    def _call_started(self, event: ev.CallEvent) -> Generator[Chunk, None, Call]:
        message = yield from self._message(event)
        yield from self._leave(message)
        call = self._calls.open(event)
        yield {"type": "tool-input-start", "toolCallId": call.id, "toolName": call.name}
        return call

    def _call(self, event: ev.CallEvent) -> Generator[Chunk, None, Call]:
        return self._calls.find(event) or (yield from self._call_started(event))

    def _call_delta(self, event: ev.ToolCallDelta) -> Iterator[Chunk]:
        call = yield from self._call(event)
        call.newest = event
        text = call.strict.feed(event.text)
        yield {"type": "tool-input-delta", "toolCallId": call.id, "inputTextDelta": text}

    def _call_finished(self, event: ev.ToolCallFinished) -> Iterator[Chunk]:
        return self._call_ended(event, "tool-input-available", input=to_json(event.arguments))

    def _call_invalid(self, event: ev.ToolCallInvalid) -> Iterator[Chunk]:
        error = event.error or invalid_text(event)
        return self._call_ended(event, "tool-input-error", input=event.raw, errorText=error)

    def _call_ended(self, event: ev.CallEvent, kind: str, **said: Any) -> Iterator[Chunk]:
        call = yield from self._call(event)
        self._calls.close(event)
        yield {"type": kind, **_about(call), **said, **_origin(event)}

    def _tool_started(self, event: ev.ToolStarted) -> Iterator[Chunk]:
        yield from self._run(event, event.arguments)

    def _run(self, event: ev.ToolEvent, arguments: Any = None) -> Generator[Chunk, None, Call]:
        """Find the call that a tool runs for; show one that no model wrote in this stream."""
        call = self._calls.run_by(event)
        if call is None:
            if not self._in_step:
                yield from self._step()
            call = self._calls.adopt(event)
            known = {"input": to_json(arguments or {}), **_origin(event)}
            yield {"type": "tool-input-available", **_about(call), **known}
        return call

    def _tool_progress(self, event: ev.ToolProgress) -> Iterator[Chunk]:
        call = self._calls.run_by(event)
        data = {
            "toolCallId": event.id if call is None else call.id,
            "toolName": event.name,
            "data": to_json(event.data),
        }
        yield {"type": "data-tool-progress", "data": data, "transient": True}

    def _tool_finished(self, event: ev.ToolFinished) -> Iterator[Chunk]:
        call = yield from self._run(event)
        output = to_json(event.content)
        yield {"type": "tool-output-available", "toolCallId": call.id, "output": output}

    def _tool_failed(self, event: ev.ToolFailed) -> Iterator[Chunk]:
        call = yield from self._run(event)
        text = tool_error_text(event, self.on_error)
        yield {"type": "tool-output-error", "toolCallId": call.id, "errorText": text}

    def _message_finished(self, event: ev.MessageFinished) -> Iterator[Chunk]:
        self._usage.update(_counts(event.usage))
        if not event.namespace:
            self._finish_reason = _FINISH_REASONS.get(event.finish_reason or "", "other")
        message = self._messages.find(event)
        if message is not None:
            yield from self._leave(message)
        self._messages.close(event)

    def _run_finished(self, _event: ev.RunFinished) -> Iterator[Chunk]:
        return self._finish()

    def _run_interrupted(self, event: ev.RunInterrupted) -> Iterator[Chunk]:
        for item in event.interrupts:
            asked = getattr(item, "id", None) or self._ids.take()
            data = {"id": asked, "value": to_json(getattr(item, "value", item))}
            yield {"type": "data-interrupt", "id": asked, "data": data}
        yield from self._finish()

    def _run_failed(self, event: ev.RunFailed) -> Iterator[Chunk]:
        yield from self._wind_up()
        yield {"type": "error", "errorText": self.on_error(event.error)}

    def _finish(self) -> Iterator[Chunk]:
        yield from self._wind_up()
        yield from self._end_step()
        usage = {"messageMetadata": {"usage": dict(self._usage)}} if self._usage else {}
        yield {"type": "finish", "finishReason": self._finish_reason, **usage}

    def _abort(self) -> Iterator[Chunk]:
        yield from self._wind_up()
        yield {"type": "abort"}

    def _wind_up(self) -> Iterator[Chunk]:
        """End the blocks and the calls that are open, or the client shows them as running."""
        self._ended = True
        for message in self._messages:
            yield from self._leave(message)
        for call in self._calls:
            said = {"input": call.raw, "errorText": STOPPED, **_origin(call.origin)}
            yield {"type": "tool-input-error", **_about(call), **said}

    def _nothing(self, _event: ev.Event) -> Iterator[Chunk]:
        return iter(())  # the client parses the arguments itself

    _METHODS: ClassVar[dict[type[ev.Event], Callable[[Any, Any], Iterator[Chunk]]]] = {
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
    events: Iterable[ev.Event], *, message_id: str | None = None, on_error: OnError = error_text
) -> Generator[Chunk, None, None]:
    """Encode a stream of events; `start` comes before the first of them.

    Args:
        events: What `stream_agent` or `tool_call_events` gives. It is closed, and so its run
            stopped, when this iterator is.
        message_id: As of `VercelEncoder`.
        on_error: As of `VercelEncoder`.

    Raises:
        Exception: What the stream raised, after the `error` chunk.
    """
    return drive(VercelEncoder(message_id, on_error=on_error), events)


def aencode(
    events: AsyncIterable[ev.Event],
    *,
    message_id: str | None = None,
    on_error: OnError = error_text,
) -> AsyncGenerator[Chunk, None]:
    """Do as `encode`, for the async streams; it is closed with `aclose`."""
    return adrive(VercelEncoder(message_id, on_error=on_error), events)


def to_sse(chunk: Chunk) -> str:
    """Give a chunk as a frame of the event stream."""
    return f"data: {as_text(chunk)}\n\n"


def encode_sse(
    events: Iterable[ev.Event], *, message_id: str | None = None, on_error: OnError = error_text
) -> Generator[str, None, None]:
    """Do as `encode`, and give the frames of a response with `HEADERS`, `[DONE]` at the end."""
    chunks = encode(events, message_id=message_id, on_error=on_error)
    with opened(chunks):
        try:
            for chunk in chunks:
                yield to_sse(chunk)
        except Exception:
            yield DONE
            raise
    yield DONE


async def aencode_sse(
    events: AsyncIterable[ev.Event],
    *,
    message_id: str | None = None,
    on_error: OnError = error_text,
) -> AsyncGenerator[str, None]:
    """Do as `encode_sse`, for the async streams."""
    chunks = aencode(events, message_id=message_id, on_error=on_error)
    async with aopened(chunks):
        try:
            async for chunk in chunks:
                yield to_sse(chunk)
        except Exception:
            yield DONE
            raise
    yield DONE


def _about(call: Call) -> Chunk:
    return {"toolCallId": call.id, "toolName": call.name}


def _origin(event: ev.Event) -> Chunk:
    """Say of what a subgraph does where it comes from."""
    if not event.namespace:
        return {}
    about = {"namespace": list(event.namespace), "node": event.node}
    return {"providerMetadata": {"langchain": about}}


def _counts(usage: UsageMetadata | None) -> dict[str, int]:
    """Give token counts by the AI SDK's names."""
    if usage is None:
        return {}
    said, read = usage.get("output_token_details") or {}, usage.get("input_token_details") or {}
    counts = {
        "inputTokens": usage["input_tokens"],
        "outputTokens": usage["output_tokens"],
        "totalTokens": usage["total_tokens"],
        "reasoningTokens": said.get("reasoning"),
        "cachedInputTokens": read.get("cache_read"),
    }
    return {name: count for name, count in counts.items() if count is not None}
