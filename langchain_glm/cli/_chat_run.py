"""A run of the agent, read in a thread of its own, that ctrl-c ends at once.

The thread that draws only takes what lies in a queue, so a slow terminal delays no reading. Ctrl-c
is a mark in that queue, not an exception at some point of a drawing or of LangGraph.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from typing_extensions import Self

from langchain_glm._stopping import StopSignal
from langchain_glm.streaming import Event

_TICK = 1 / 15  # seconds; a tick lets a drawing go on while nothing arrives
_PATIENCE = 3.0  # seconds that a run has to end in, after it was stopped


class Line:
    """The connections that an HTTP client makes.

    A `StopSignal` hangs up on a server that answers. This also hangs up on one that has not begun.

    Args:
        client: An `httpx.Client`, of whichever httpx openai stands on.
    """

    def __init__(self, client: Any) -> None:
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "request": [*hooks["request"], self._follow]}

    def hang_up(self) -> None:
        """Wake who waits for the server, for good."""
        for stream in list(self._streams):
            sock = stream.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _follow(self, request: Any) -> None:
        request.extensions = {**request.extensions, "trace": self._note}

    def _note(self, name: str, info: dict[str, Any]) -> None:
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._streams.add(info["return_value"])


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


_CTRL_C = object()


class Run:
    """The events of a run; a context manager that leaves nothing running.

    Args:
        begin: Begins the run, with a signal that it is to have among its callbacks.
        line: The connections of its model.

    Attributes:
        was_stopped: Whether ctrl-c ended it.
    """

    def __init__(self, begin: Callable[[StopSignal], Iterable[Event]], line: Line) -> None:
        self.was_stopped = False
        self._has_ended = False
        self._stop = StopSignal()
        self._line = line
        # Its `put` may be interrupted by itself, which a signal handler does.
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._read, args=(begin,), name="chat run", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._has_ended:  # or its connection serves the next run
            self._hang_up()
        self._thread.join(_PATIENCE)

    def __iter__(self) -> Iterator[Event | None]:
        """Give the events, and None after a while without one; ctrl-c ends it.

        Raises:
            Exception: What the run raised.
        """
        with _on_ctrl_c(lambda: self._queue.put(_CTRL_C)):
            while True:
                item = self._next()
                if item is _CTRL_C:
                    self.was_stopped = True
                    self._hang_up()
                    return
                if isinstance(item, _End):
                    self._has_ended = True
                    if item.error is not None:
                        raise item.error
                    return
                yield item

    def _next(self) -> Any:
        with contextlib.suppress(queue.Empty):
            return self._queue.get(timeout=_TICK)
        return None

    def _hang_up(self) -> None:
        self._stop.stop()
        self._line.hang_up()

    def _read(self, begin: Callable[[StopSignal], Iterable[Event]]) -> None:
        error: BaseException | None = None
        try:
            for event in begin(self._stop):
                self._queue.put(event)
        except BaseException as raised:  # noqa: BLE001 - the other thread raises it
            error = raised
        self._queue.put(_End(error))


@contextmanager
def _on_ctrl_c(action: Callable[[], None]) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
