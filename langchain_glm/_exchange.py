"""A request and its answer: sent, sent again where that helps, read to its end.

Retries have one owner, `run` and `arun`: they know by GLM's code what is worth a retry, and retry
only while nothing has been given to the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import openai
from langchain_core.messages import AIMessage

from langchain_glm._stopping import StoppedError, StopSignal, shut_down
from langchain_glm.errors import HTTP_ERRORS, GLMError, typed_errors

T = TypeVar("T")

DEFAULT_MAX_RETRIES = openai.DEFAULT_MAX_RETRIES
_LONGEST_RETRY_AFTER = 120.0  # seconds; openai's client gives up beyond the same limit
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 8.0  # seconds
_DRAIN_SECONDS = 1.0
_DRAIN_PIECES = 64


class Reader(Protocol[T]):
    """What `run` feeds with the body of a response."""

    done: bool

    def listen(self) -> None:
        """Begin to wait for the next bytes, or raise what was wrong with the last."""

    def feed(self, data: bytes) -> list[T]:
        """Take the next bytes."""

    def close(self) -> list[T]:
        """End the body."""

    def partial(self) -> AIMessage | None:
        """Make the message of what has arrived."""


class _Attempt:
    """One try of a request: what `run` and `arun` have to remember of it."""

    def __init__(self, silence: float | None) -> None:
        self._silence = silence
        self.reader: Reader[Any] | None = None
        self.delivered = False

    def errors(self) -> contextlib.AbstractContextManager[None]:
        return typed_errors(
            began=lambda: self.reader is not None,
            partial=lambda: self.reader.partial() if self.reader else None,
            silence=self._silence,
        )


class _Retries:
    """Decides whether, and after how many seconds, a request is sent again."""

    def __init__(self, most: int | None) -> None:
        self._left = DEFAULT_MAX_RETRIES if most is None else most
        self._taken = 0

    def delay(self, error: GLMError, attempt: _Attempt) -> float | None:
        """Give the seconds to wait, None where the error stands."""
        asked = error.retry_after or 0.0
        if (
            not error.is_retryable
            or attempt.delivered
            or self._taken >= self._left
            or asked > _LONGEST_RETRY_AFTER
        ):
            return None
        backoff = min(_FIRST_DELAY * 2**self._taken, _LONGEST_DELAY)
        self._taken += 1
        # Jitter keeps many callers that failed together from coming back together.
        return asked or backoff * random.uniform(0.75, 1.0)  # noqa: S311


def run(
    send: Callable[[], Any],
    read: Callable[[Any], Reader[T]],
    *,
    max_retries: int | None,
    silence: float | None = None,
    stop: StopSignal | None = None,
) -> Generator[T, None, None]:
    """Send a request, again where that helps, and give out what its reader makes of the body.

    Args:
        send: Makes the context manager of a streamed response (`with_streaming_response`).
        read: Makes the reader of a response.
        max_retries: How often to send it again at most, None for openai's default.
        silence: The seconds after which the HTTP client gives up a silent body, for the error.
        stop: What may hang up on the server in the middle of its answer.

    Raises:
        GLMError: The request failed, or what had begun to arrive broke.
        StoppedError: `stop` was called.
    """
    retries = _Retries(max_retries)
    while True:
        attempt = _Attempt(silence)
        try:
            with attempt.errors(), send() as response, _hung_up_by(stop, response):
                reader = attempt.reader = read(response.http_response)
                body = response.iter_bytes()
                for data in body:
                    items = reader.feed(data)
                    last = [items.pop()] if reader.done else []
                    for item in items:
                        attempt.delivered = True
                        yield item
                    if last:
                        _drain(body, response.http_response)
                        yield from last
                        return
                    reader.listen()
                for item in reader.close():
                    attempt.delivered = True
                    yield item
                reader.listen()
                return
        except GLMError as error:
            if stop and stop.is_stopped:  # no error of the model, for nobody to handle
                raise StoppedError from error
            delay = retries.delay(error, attempt)
            if delay is None:
                raise
        (stop.wait if stop else time.sleep)(delay)


async def arun(
    send: Callable[[], Any],
    read: Callable[[Any], Reader[T]],
    *,
    max_retries: int | None,
    silence: float | None = None,
) -> AsyncGenerator[T, None]:
    """The async twin of `run`."""
    retries = _Retries(max_retries)
    while True:
        attempt = _Attempt(silence)
        try:
            with attempt.errors():
                async with send() as response:
                    reader = attempt.reader = read(response.http_response)
                    body = response.iter_bytes()
                    async for data in body:
                        items = reader.feed(data)
                        last = [items.pop()] if reader.done else []
                        for item in items:
                            attempt.delivered = True
                            yield item
                        if last:
                            await _adrain(body, response.http_response)
                            yield last[0]
                            return
                        reader.listen()
                    for item in reader.close():
                        attempt.delivered = True
                        yield item
                    reader.listen()
                    return
        except GLMError as error:
            delay = retries.delay(error, attempt)
            if delay is None:
                raise
        await asyncio.sleep(delay)


def _hung_up_by(stop: StopSignal | None, response: Any) -> AbstractContextManager[None]:
    if stop is None:
        return contextlib.nullcontext()
    return stop.reading(response.http_response)


# A connection can be used again only when its response has been read to the end. After the last
# frame that end is nearly always at hand, and it is read before the last item goes out: core's
# sync v3 streams come back for nothing after it. A server that holds the body open is not waited
# for beyond a bound.


def _drain(body: Iterator[bytes], response: Any) -> None:
    hang_up = threading.Timer(_DRAIN_SECONDS, shut_down, (response,))
    hang_up.daemon = True
    hang_up.start()
    try:
        with contextlib.suppress(*HTTP_ERRORS):
            for _ in itertools.islice(body, _DRAIN_PIECES):
                pass
    finally:
        hang_up.cancel()
        hang_up.join()
        response.close()  # what was not read to its end is hung up on


async def _adrain(body: AsyncIterator[bytes], response: Any) -> None:
    async def read_on() -> None:
        pieces = 0
        async for _ in body:
            pieces += 1
            if pieces == _DRAIN_PIECES:
                return

    with contextlib.suppress(asyncio.TimeoutError, *HTTP_ERRORS):
        await asyncio.wait_for(read_on(), _DRAIN_SECONDS)
    await response.aclose()


def read_timeout(timeout: Any, silence: float | None) -> openai.Timeout:
    """Bound the wait for each piece of a stream by `silence` seconds, too."""
    limits = timeout if hasattr(timeout, "read") else openai.Timeout(timeout)
    read = min((s for s in (limits.read, silence) if s), default=None)
    return openai.Timeout(connect=limits.connect, read=read, write=limits.write, pool=limits.pool)
