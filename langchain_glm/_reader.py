"""The body of a response, read: bytes in, what LangChain wants out.

Pure but for a clock: no I/O, no `async`, so that the sync and the async path run the same code.
A `StreamReader` is fed by `stream`, `astream` and the v3 event streams, a `WholeReader` by
`invoke` and `ainvoke`; the exchange (`_exchange.py`) knows only `feed` and `close`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from langchain_protocol.protocol import MessagesData

from langchain_glm._delta import Delta, Reply
from langchain_glm._json import parse_json
from langchain_glm._message import ChunkWriter, EventWriter, to_generation, to_message
from langchain_glm._repeats import Repeats
from langchain_glm._sse import SSEDecoder
from langchain_glm.errors import (
    GLMError,
    GLMMalformedStreamError,
    GLMStreamInterruptedError,
    error_from_body,
    inference_failed,
    malformed,
    stalled,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

_DONE = b"[DONE]"
MAX_BODY_BYTES = 64 * 1024 * 1024
"""The longest answer that comes whole, in bytes as decoded; a longer one is an error."""

MAX_EMPTY_FRAMES = 10_000
"""How many frames without a choice may follow each other (they are used to keep alive)."""

# What reading a frame raises when a field is of another type than GLM's.
_WRONG_SHAPE = (AttributeError, KeyError, IndexError, TypeError, ValueError)


class Writer(Protocol[T]):
    """What turns the parts of an answer into LangChain's values."""

    def keep(self, raw: str) -> None:
        """Keep the text of a frame."""

    def write(self, delta: Delta) -> list[T]:
        """Write what a frame added."""

    def finish(self, reply: Reply) -> list[T]:
        """Write the end of the answer."""


@dataclass(frozen=True)
class Reading:
    """What a model wants to be kept of its responses, and how long it waits; makes the readers.

    Attributes:
        keep_raw: Whether messages keep the text of each frame.
        keep_headers: Whether they keep the response's headers.
        silence: Seconds without a frame after which a stream has stalled; None or 0 for ever.
    """

    keep_raw: bool
    keep_headers: bool
    silence: float | None

    def whole(self, model: str, response: Any) -> WholeReader:
        """Make the reader of an answer that comes whole."""
        return WholeReader(
            model=model,
            response=response,
            headers=self._headers(response),
            keep_raw=self.keep_raw,
        )

    def chunks(self, model: str, response: Any) -> StreamReader[ChatGenerationChunk]:
        """Make the reader of a stream of chunks."""
        return self._stream(ChunkWriter(headers=self._headers(response)), model, response)

    def events(self, message_id: str | None) -> Callable[[str, Any], StreamReader[MessagesData]]:
        """Make what makes the reader of a stream of protocol events, for one message."""

        def read(model: str, response: Any) -> StreamReader[MessagesData]:
            writer = EventWriter(message_id, headers=self._headers(response))
            return self._stream(writer, model, response)

        return read

    def _stream(self, writer: Writer[T], model: str, response: Any) -> StreamReader[T]:
        return StreamReader(
            writer,
            model=model,
            response=response,
            keep_raw=self.keep_raw,
            silence=self.silence,
        )

    def _headers(self, response: Any) -> Mapping[str, str] | None:
        return response.headers if self.keep_headers else None


class StreamReader(Generic[T]):
    """Reads the body of one streamed answer.

    Args:
        writer: Makes the values that `feed` and `close` return.
        model: The model that was asked.
        response: The HTTP response, for the errors.
        keep_raw: Whether the text of each frame goes to the writer.
        silence: Seconds without a frame after which the stream has stalled; None or 0 for ever.

    Attributes:
        done: Whether the end of the answer has been written.
    """

    def __init__(
        self,
        writer: Writer[T],
        *,
        model: str,
        response: Any,
        keep_raw: bool = False,
        silence: float | None = None,
    ) -> None:
        self.done = False
        self._writer = writer
        self._reply = Reply(model)
        self._repeats: Repeats[Delta] = Repeats()
        self._response = response
        self._frames: list[str] | None = [] if keep_raw else None
        self._failure: GLMError | None = None
        self._first_frame = ""  # for the error, should none carry an answer
        self._empty_frames = 0  # in a row
        self._longest_silence = silence
        self._silence = 0.0  # seconds spent waiting since the last frame
        self._listening_since = time.monotonic()
        self._decoder = SSEDecoder()

    def feed(self, data: bytes) -> list[T]:
        """Take the next bytes of the body.

        Returns:
            What they completed. What is wrong with the bytes behind that is raised by `listen`.

        Raises:
            GLMError: The server reports an error, or the stream is broken or has stalled.
        """
        events = self._decoder.feed(data)
        self._watch_silence(heard=bool(events))
        return self._before_failure(map(self._take, events))

    def listen(self) -> None:
        """Begin to wait for the next bytes: what the caller did before is no silence.

        Raises:
            GLMError: What was wrong behind the items that `feed` or `close` returned last.
        """
        self._listening_since = time.monotonic()
        if self._failure:
            raise self._failure

    def close(self) -> list[T]:
        """End the body.

        Raises:
            GLMStreamInterruptedError: It ended before the answer did.
            GLMServerError: Inference failed.
            GLMMalformedResponseError: It was no event stream and no answer.
        """
        return self._before_failure(self._last_steps())

    def partial(self) -> AIMessage | None:
        """Make the message of what has arrived, None before the first frame that says anything."""
        if not (self._reply.has_choices or self._frames):
            return None
        return self._message_so_far()

    def _before_failure(self, steps: Iterable[list[T]]) -> list[T]:
        # An error must not swallow the items that arrived with it: they are given out first.
        written: list[T] = []
        try:
            for items in steps:
                written += items
        except GLMError as error:
            if not written:
                raise
            self._failure = error
        return written

    def _last_steps(self) -> Iterator[list[T]]:
        for event in self._decoder.close():
            yield self._take_last(event)
        if self.done:
            return
        if self._decoder.strays:
            yield self._read(b"\n".join(self._decoder.strays), stray=True)
        yield self._end()

    def _take(self, event: bytes) -> list[T]:
        if self.done:
            return []
        if event.strip() != _DONE:
            return self._read(event)
        if self._decoder.strays:
            raise self._broken(b"\n".join(self._decoder.strays), "it is no event", stray=True)
        return self._end(finished=True)

    def _take_last(self, event: bytes) -> list[T]:
        # The end of the body cut this event short, unless only its empty line is missing.
        if self.done:
            return []
        rest = event.strip()
        if rest != _DONE and _DONE.startswith(rest) and self._reply.finish_reason:
            return []
        try:
            return self._take(event)
        except GLMMalformedStreamError as error:
            raise self._interrupted() from error

    def _read(self, event: bytes, *, stray: bool = False) -> list[T]:
        repeated = self._repeats.read(event)
        if repeated is not None:
            return self._writer.write(repeated)
        frame, text = self._decode(event, stray=stray)
        if _reports_error(frame):
            raise error_from_body(frame, self._response)
        self._first_frame = self._first_frame or text
        self._empty_frames = 0 if frame.get("choices") else self._empty_frames + 1
        if self._empty_frames > MAX_EMPTY_FRAMES:
            because = f"{MAX_EMPTY_FRAMES} frames in a row have no choices"
            raise self._broken(event, because, stray=not self._reply.has_choices)
        if self._frames is not None:
            self._writer.keep(text)
        try:
            written = self._writer.write(self._reply.read(frame))
        except _WRONG_SHAPE as error:
            raise self._broken(event, f"{type(error).__name__}: {error}", stray=stray) from error
        if self._frames is None:  # nobody asked for the text of each frame
            self._repeats.keep(event, frame, self._reply.fragment_of(frame))
        return written

    def _decode(self, event: bytes, *, stray: bool) -> tuple[dict[str, Any], str]:
        if self._frames is not None:
            self._frames.append(event.decode(errors="replace"))
        try:
            text = event.decode()
            frame = parse_json(text, apart="choices")
        except ValueError as error:
            raise self._broken(event, str(error), stray=stray) from error
        if not isinstance(frame, dict):
            raise self._broken(event, f"it is of type {type(frame).__name__}", stray=stray)
        return frame, text

    def _broken(self, event: bytes, because: str, *, stray: bool) -> Exception:
        text = event.decode(errors="replace")
        if stray and not self._reply.has_choices:
            return malformed(text, because=because, response=self._response)
        return GLMMalformedStreamError(
            f"A frame of the stream is broken ({because}): {text[:200]}. What had arrived before "
            "is in .partial; send the request again.",
            body=text[:200],
            request=self._response.request,
            response=self._response,
        )

    def _end(self, *, finished: bool = False) -> list[T]:
        if not self._reply.has_choices and (self._first_frame or finished):
            because = "no frame had any choices"
            raise malformed(self._first_frame, because=because, response=self._response)
        if self._reply.finish_reason is None and not finished:
            raise self._interrupted()
        if self._reply.has_failed:  # not before the end: the usage may come after the reason
            raise inference_failed(self._message_so_far(), self._response)
        self.done = True
        written = self._writer.finish(self._reply)
        _warn_of_cut_calls(self._reply)
        return written

    def _interrupted(self) -> GLMStreamInterruptedError:
        return GLMStreamInterruptedError(
            "The stream ended with neither a finish reason nor [DONE]. What had arrived is in "
            ".partial; send the request again.",
            request=self._response.request,
            response=self._response,
        )

    def _message_so_far(self) -> AIMessage:
        return to_message(self._reply, raw=self._frames or (), ended=False)

    def _watch_silence(self, *, heard: bool) -> None:
        # The HTTP client's read timeout covers a silent socket; this covers one that only sends
        # comments to stay open.
        self._silence = 0.0 if heard else self._silence + time.monotonic() - self._listening_since
        if self._longest_silence and self._silence > self._longest_silence:
            raise stalled(self._longest_silence, request=self._response.request)


class WholeReader:
    """Reads the body of an answer that comes whole; `close` returns its generations."""

    done = False

    def __init__(
        self,
        *,
        model: str,
        response: Any,
        headers: Mapping[str, str] | None = None,
        keep_raw: bool = False,
    ) -> None:
        self._model = model
        self._response = response
        self._info: dict[str, Any] = {"headers": dict(headers)} if headers else {}
        self._keep_raw = keep_raw
        self._pieces: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> list[ChatGeneration]:
        """Take the next bytes; nothing is known before the last.

        Raises:
            GLMMalformedResponseError: They are more than `MAX_BODY_BYTES`.
        """
        self._pieces.append(data)
        self._held += len(data)
        if self._held > MAX_BODY_BYTES:
            text = self._pieces[0].decode(errors="replace")
            because = f"it is longer than {MAX_BODY_BYTES} bytes"
            raise malformed(text, because=because, response=self._response)
        return []

    def listen(self) -> None:
        """Do nothing: silence is the HTTP client's to judge."""

    def close(self) -> list[ChatGeneration]:
        """Read the body.

        Raises:
            GLMError: It reports an error (GLM does so under HTTP 200 too), or inference failed.
            GLMMalformedResponseError: It is no chat completion.
        """
        text = b"".join(self._pieces).decode(errors="replace")
        try:
            body = parse_json(text)
        except ValueError as error:
            raise malformed(text, because=str(error), response=self._response) from error
        if not isinstance(body, dict):
            raise malformed(text, because="it is no JSON object", response=self._response)
        if _reports_error(body):
            raise error_from_body(body, self._response)
        if not body.get("choices"):
            raise malformed(text, because="it has no choices", response=self._response)
        raw = (text,) if self._keep_raw else ()
        try:
            wholes = [{**body, "choices": [choice]} for choice in body["choices"]]
            return [self._generation(whole, raw) for whole in wholes]
        except _WRONG_SHAPE as error:
            because = f"{type(error).__name__}: {error}"
            raise malformed(text, because=because, response=self._response) from error

    def partial(self) -> None:
        """Nothing: half of a body is no message."""

    def _generation(self, body: dict[str, Any], raw: Sequence[str]) -> ChatGeneration:
        reply = Reply(self._model)
        delta = reply.read(body)
        if reply.has_failed:
            raise inference_failed(to_message(reply, raw=raw, ended=False), self._response)
        _warn_of_cut_calls(reply)
        info = {**self._info, "logprobs": delta.logprobs} if delta.logprobs else self._info
        return to_generation(reply, raw=raw, info=info)


def _reports_error(body: Mapping[str, Any]) -> bool:
    return bool(body.get("error")) or ("choices" not in body and "code" in body)


_REMEDIES = {
    "length": "Raise max_tokens, or ask for smaller pieces.",
    "model_context_window_exceeded": "Shorten the conversation, or ask for smaller pieces.",
    "sensitive": "The content policy ended the answer: rephrase what was asked.",
    "content_filter": "The content policy ended the answer: rephrase what was asked.",
}


def _warn_of_cut_calls(reply: Reply) -> None:
    for verdict in reply.verdicts():
        if verdict.problem and reply.was_cut:
            logger.warning(
                "The model's call of %r was cut off (finish_reason %r) and will not run: its text "
                "is in invalid_tool_calls. %s",
                verdict.call.name,
                reply.finish_reason,
                _REMEDIES.get(reply.finish_reason or "", "The server ended the answer: ask again."),
            )
