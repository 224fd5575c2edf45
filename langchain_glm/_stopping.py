"""A way to stop a run from outside.

LangGraph's sync runs cannot be cancelled: closing one waits for the model that is writing. A
`StopSignal` among the callbacks of a run ends it: `ChatGLM` lets the signal hang up on the server,
any other model is stopped by an error at its next fragment.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import ensure_config


class StoppedError(BaseException):
    """The run was stopped from outside. Whoever stopped it does not need to see this.

    No `Exception`, as asyncio's `CancelledError` is none: what retries, answers or logs the errors
    of a model is passed by.
    """


class StopSignal(BaseCallbackHandler):
    """Stops the runs that it is a callback of; safe to use from any thread.

    Give it as `stream_agent(..., stop=stop)`, or to any sync run as `config={"callbacks": [stop]}`,
    which then raises `StoppedError` (a `BaseException`, as asyncio's `CancelledError` is). A
    `ChatGLM` that is answering is hung up on at once, any other model stops at its next fragment.
    """

    raise_error = True
    run_inline = True

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._responses: list[Any] = []
        self.waiting: bool = True  # whether LangGraph is waited for, not the reader of the events

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Stop the runs, and whatever begins under them from now on."""
        with self._lock:
            self._stopped.set()
            responses, self._responses = self._responses, []
        for response in responses:
            shut_down(response)

    def wait(self, seconds: float) -> None:
        """Sleep.

        Raises:
            StoppedError: `stop` was called meanwhile, or before.
        """
        self._stopped.wait(seconds)
        self._check()

    @contextlib.contextmanager
    def on_ctrl_c(self) -> Iterator[None]:
        """Stop at SIGINT too, while `waiting`, before it is raised as KeyboardInterrupt.

        LangGraph waits for its model before it lets a KeyboardInterrupt pass.
        """
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            yield
            return

        def stop_first(number: int, frame: Any) -> None:
            if self.waiting:
                self.stop()
            before(number, frame)

        signal.signal(signal.SIGINT, stop_first)
        try:
            yield
        finally:
            # Another run, or the user, may have set one since, which goes on to this one.
            is_ours = signal.getsignal(signal.SIGINT) is stop_first
            if is_ours and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, before)
            self.waiting = False

    @contextlib.contextmanager
    def reading(self, response: Any) -> Iterator[None]:
        """Hang up on `response` if `stop` is called inside the `with` block, or was before."""
        with self._lock:
            self._responses.append(response)
            late = self.is_stopped
        if late:
            shut_down(response)
        try:
            yield
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._responses.remove(response)

    def _check(self, *_args: Any, **_kwargs: Any) -> None:
        if self.is_stopped:
            msg = "The run was stopped"
            raise StoppedError(msg)

    on_chat_model_start = _check
    on_llm_new_token = _check
    on_stream_event = _check


def stop_signal(run_manager: Any) -> StopSignal | None:
    """Find the signal among the callbacks of a run, or of the graph's node that it is in."""
    # Core gives `_stream` no run manager.
    callbacks: Any = run_manager or ensure_config().get("callbacks")
    handlers = getattr(callbacks, "handlers", callbacks) or ()
    return next((h for h in handlers if isinstance(h, StopSignal)), None)


def shut_down(response: Any) -> None:
    """Wake the thread that reads from the socket of an httpx response, for good."""
    stream = response.extensions.get("network_stream")
    sock = stream.get_extra_info("socket") if stream else None
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
