"""Server-sent events: each event one frame, named, numbered, with its JSON on one line.

```text
id: 7
event: argument_delta
data: {"type":"argument_delta","path":["content"],"text":"def fib",...}
```

`encode` and `aencode` make frames of a stream of events; `SSEEncoder` is what decides, without
I/O. `to_json` is the same JSON for WebSockets; `langchain_glm.streaming.schema.event_schema` says
what is in it.

The last frame of a whole stream is `DONE`. A browser's `EventSource` comes back when a connection
ends, and asks for the rest with `Last-Event-ID`: the client closes it at `done`, or the server
answers it with status 204.

The JSON has all that an event has: results, states, what an exception says. What a client may not
see is left out before: by a filter, or by `langchain_glm.streaming.redaction`.

Events do not carry the time: a frame is sent when its event happens. For streams that are stored,
`SSEEncoder(clock=time.time)` adds `time` to the JSON.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable
from itertools import islice
from types import MappingProxyType

from langchain_glm.streaming._sources import ReadAhead, aopened, opened
from langchain_glm.streaming.events import Event, RunFailed, RunFinished, RunInterrupted

HEADERS = MappingProxyType(
    {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-cache",
        "X-Accel-Buffering": "no",  # nginx would hold the frames back
    }
)
"""The headers of a response with these frames."""

HEARTBEAT = ": heartbeat\n\n"
"""A comment that clients skip: it keeps proxies from closing a silent connection."""

DONE = "event: done\ndata: [DONE]\n\n"
"""The end of the stream: nothing comes after it, and there is nothing to come back for."""

_LAST = (RunFinished, RunInterrupted, RunFailed)

# These end a line in many clients' libraries (not in the standard).
_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}
# Half a surrogate pair has no bytes: a file name that is no UTF-8, say, in a tool's result.
_TROUBLE = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


def to_json(event: Event, time: float | None = None) -> str:
    """Give an event as JSON on one line, as a frame has it and a WebSocket may.

    Args:
        event: The event.
        time: Becomes the field `time`.
    """
    fields = event.to_dict()
    if time is not None:
        fields["time"] = round(time, 3)
    text = json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _TROUBLE.sub(lambda match: _LINE_ENDS.get(match[0], "\ufffd"), text)


class SSEEncoder:
    """One stream's encoder: `feed` events, `close` at the end.

    Args:
        first_id: The number of the first frame.
        keep: How many of the last frames are kept for `after`.
        clock: Seconds; where it is given, each event's JSON has its `time`.
    """

    def __init__(
        self, first_id: int = 1, *, keep: int = 0, clock: Callable[[], float] | None = None
    ) -> None:
        self._first_id = first_id
        self._next_id = first_id
        self._kept: deque[str] = deque(maxlen=keep)
        self._clock = clock
        self._done = False

    def feed(self, event: Event) -> str:
        """Give an event's frame; after the last event of a run also `DONE`."""
        time = None if self._clock is None else self._clock()
        frame = f"id: {self._next_id}\nevent: {event.type}\ndata: {to_json(event, time)}\n\n"
        self._next_id += 1
        self._kept.append(frame)
        return frame + self.close() if isinstance(event, _LAST) else frame

    def close(self) -> str:
        """Give `DONE`, or nothing where it was given."""
        if self._done:
            return ""
        self._done = True
        return DONE

    def after(self, last_event_id: str | None = None) -> list[str]:
        """Give the frames again that a client has not seen.

        Args:
            last_event_id: The request's header `Last-Event-ID`, None for all from the first on.

        Raises:
            LookupError: They are not kept any more, or the id is none of this stream.
        """
        seen = self._first_id - 1
        if last_event_id:
            seen = int(last_event_id) if last_event_id.isdecimal() else self._next_id
        missing = self._next_id - 1 - seen
        if not 0 <= missing <= len(self._kept):
            raise LookupError(
                f"The frames after {last_event_id or 'the beginning'!r} are not here: the last "
                f"{len(self._kept)} are, up to {self._next_id - 1}. Start the stream anew, or "
                "keep more with SSEEncoder(keep=...)."
            )
        frames = [*islice(reversed(self._kept), missing)][::-1]
        return [*frames, DONE] if self._done else frames


def encode(
    events: Iterable[Event], encoder: SSEEncoder | None = None
) -> Generator[str, None, None]:
    """Make frames of events.

    Args:
        events: The events. Closed when this is.
        encoder: For ids that go on, frames that are kept, and times; a new one by default.

    Raises:
        BaseException: The source's own error. After a `RunFailed` the client has been told, and
            its stream is whole; else it sees the connection break, without `DONE`.
    """
    encoder = encoder or SSEEncoder()
    with opened(events) as source:
        for event in source:
            yield encoder.feed(event)
    end = encoder.close()
    if end:
        yield end


async def aencode(
    events: AsyncIterable[Event],
    encoder: SSEEncoder | None = None,
    *,
    heartbeat: float | None = 15.0,
) -> AsyncGenerator[str, None]:
    """Make frames of events, and heartbeats while there are none.

    Args:
        events: The events. Closed at once when this is.
        encoder: For ids that go on, frames that are kept, and times; a new one by default.
        heartbeat: Seconds of silence before a `HEARTBEAT`, None for none.

    Raises:
        BaseException: The source's own error; see `encode`.
    """
    frames = _frames(events, encoder or SSEEncoder())
    async with aopened(frames if heartbeat is None else heartbeats(frames, heartbeat)) as source:
        async for frame in source:
            yield frame


async def heartbeats(
    frames: AsyncIterable[str], seconds: float = 15.0
) -> AsyncGenerator[str, None]:
    """Put a `HEARTBEAT` into each silence of a stream of frames, of any protocol over SSE.

    Args:
        frames: The frames. Read in a task of its own, one frame ahead; closed at once when this
            is.
        seconds: How long a silence is.
    """
    async with ReadAhead(frames, most=1) as ahead:
        while await ahead.wait(seconds) or not ahead.has_ended:
            for frame in ahead.take() or (HEARTBEAT,):
                yield frame
        ahead.take()  # raises what ended the source


async def _frames(events: AsyncIterable[Event], encoder: SSEEncoder) -> AsyncGenerator[str, None]:
    async with aopened(events) as source:
        async for event in source:
            yield encoder.feed(event)
    end = encoder.close()
    if end:
        yield end
