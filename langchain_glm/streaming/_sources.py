"""Streams that others give: closed when their reader leaves, or read ahead of it in a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@contextmanager
def opened(source: Iterable[T]) -> Iterator[Iterator[T]]:
    """Iterate over a source and close it at the end, if it can be."""
    iterator = iter(source)
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


@asynccontextmanager
async def aopened(source: AsyncIterable[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Iterate over an async source and close it at the end, if it can be."""
    iterator = aiter(source)
    try:
        yield iterator
    finally:
        await _aclose(iterator)


async def _aclose(iterator: Any) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


class ReadAhead(Generic[T]):
    """What a source has given and nobody has taken yet: `wait`, then `take`.

    `async with` starts to read and, at its end, closes the source at once and leaves no task. One
    task reads the whole source, not one for each `anext`: cancel scopes, timeouts and context
    variables that the source holds across its `yield`s stay in one place.

    Args:
        source: What is read.
        most: The source is held up while this many items are here.

    Attributes:
        items: What is here.
    """

    def __init__(self, source: AsyncIterable[T], *, most: int) -> None:
        self.items: list[T] = []
        self._source = aiter(source)
        self._most = most
        self._woken = asyncio.Event()
        self._room = asyncio.Event()

    async def __aenter__(self) -> ReadAhead[T]:
        self._task = asyncio.create_task(self._read())
        self._task.add_done_callback(lambda _: self._woken.set())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        had_ended = self.has_ended
        self._task.cancel()
        await asyncio.wait((self._task,))
        failure = None if self._task.cancelled() else self._task.exception()
        # One from before was raised by `take`, or came after the consumer had left.
        if failure is not None and not had_ended:
            raise failure

    @property
    def is_full(self) -> bool:
        """Whether the source is held up until the next `take`."""
        return len(self.items) >= self._most

    @property
    def has_ended(self) -> bool:
        """Whether all was read, or the source failed."""
        return self._task.done()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until something came, or the source ended, or the time is over.

        Returns:
            Whether anything is here.
        """
        if not self.has_ended:
            # A timer that sets the same event needs no second task, and loses nothing to a race.
            loop = asyncio.get_running_loop()
            timer = None if seconds is None else loop.call_later(seconds, self._woken.set)
            try:
                await self._woken.wait()
            finally:
                if timer is not None:
                    timer.cancel()
            self._woken.clear()
        return bool(self.items)

    def take(self) -> list[T]:
        """Take everything that is here, and let the source go on.

        Raises:
            BaseException: The source's own error, when nothing is here any more.
        """
        taken, self.items = self.items, []
        self._room.set()
        if not taken and self.has_ended:
            self._task.result()
        return taken

    async def _read(self) -> None:
        try:
            async for item in self._source:
                self.items.append(item)
                self._woken.set()
                while self.is_full:
                    self._room.clear()
                    await self._room.wait()
        finally:
            await _aclose(self._source)
