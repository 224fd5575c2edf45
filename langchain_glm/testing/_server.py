"""`GLMServer`: a script, a listener, and what has arrived."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from langchain_glm.testing._answers import Answer, Fail
from langchain_glm.testing._frames import Ask, Response, render
from langchain_glm.testing._listener import Listener
from langchain_glm.testing._received import Received
from langchain_glm.testing._script import script, settle

if TYPE_CHECKING:  # Python 3.10 has no Self, and nothing here needs more than the library
    from typing_extensions import Self

_HOST = "127.0.0.1"
_PREFIX = "/api/paas/v4"
# How often the accepting thread looks for a stop that could not wake it.
_POLL_SECONDS = 0.05


class GLMServer:
    """A scripted GLM chat-completions endpoint on loopback.

    Every POST to a path that ends in `/chat/completions` takes the next answer of the script;
    any other request gets HTTP 404. Connections are kept alive. The key is not checked.

    ```python
    with GLMServer(Reply(text="Hello")) as server:
        model = ChatGLM(base_url=server.base_url, api_key="any")
    ```

    Args:
        answers: `None` for the built-in demonstration, one answer for every request, or an
            iterable of answers, one a request in order of arrival. An answer is a `Reply`,
            `Fail`, `Cut`, `Raw`, a `pathlib.Path` to a recorded body (`.sse` or `.json`;
            `….http429.json` gives the status), or a callable from `Received` to an answer.
            A request beyond the end of the script, and one whose answer raises, gets
            HTTP 400 with code 1210, which nobody retries, and a message that says so.
        pace: Seconds of silence between two frames.
        fragment_size: Characters in a fragment of reasoning, text or arguments.
        port: `0` for a free one.

    Attributes:
        requests: What has arrived, in order.

    Raises:
        TypeError: `answers` is neither an answer nor an iterable.
        ValueError: `pace` is negative or `fragment_size` below one.
    """

    def __init__(
        self,
        answers: Answer | Iterable[Answer] | None = None,
        *,
        pace: float = 0.0,
        fragment_size: int = 4,
        port: int = 0,
    ) -> None:
        if pace < 0 or fragment_size < 1:
            raise ValueError(f"pace={pace} must be >= 0 and fragment_size={fragment_size} >= 1")
        self.requests: list[Received] = []
        self._script = script(answers)
        self._pace = pace
        self._fragment_size = fragment_size
        self._port = port
        self._numbers = itertools.count(1)
        self._call_numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._accepting: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT/api/paas/v4`; it stays readable after a stop.

        Raises:
            RuntimeError: The server has no port before it is started.
        """
        if not self._port:
            raise RuntimeError("the server has no port yet: start it, or use it in `with`")
        return f"http://{_HOST}:{self._port}{_PREFIX}"

    def start(self) -> Self:
        """Listen, and answer in threads of the server's own.

        Raises:
            RuntimeError: The server is running.
            OSError: The port is taken.
        """
        if self._listener is not None:
            raise RuntimeError("the server is running")
        self._listener = Listener((_HOST, self._port), self._respond)
        self._port = self._listener.server_address[1]
        self._accepting = threading.Thread(
            target=self._listener.serve_forever,
            args=(_POLL_SECONDS,),
            name=f"GLMServer {self._port}",
            daemon=True,
        )
        self._accepting.start()
        return self

    def stop(self) -> None:
        """Close every connection, also in the middle of an answer, and end every thread.

        Stopping twice is harmless. A started-again server keeps its port and its script.
        """
        listener, self._listener = self._listener, None
        if listener is None or self._accepting is None:
            return
        listener.shutdown()
        self._accepting.join()
        listener.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def wait_until(self, predicate: Callable[[], object], timeout: float = 5.0) -> bool:
        """Whether `predicate()` became true within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not predicate():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def _respond(self, received: Received) -> Response:
        number = 0
        try:
            # One lock for both, so that the order of `requests` is the order of the script.
            with self._lock:
                self.requests.append(received)
                if not _is_completion(received):
                    return self._render(_unknown(received), received, number)
                number = next(self._numbers)
                answer = next(self._script, None) or _run_out(number)
            settled = settle(answer, received, self._call_numbers)
            return self._render(settled, received, number)
        except Exception as error:  # noqa: BLE001 - a script is anybody's code; see the class
            fail = Fail(400, "1210", f"the script's answer for request {number} failed: {error!r}")
            return self._render(fail, received, number)

    def _render(self, answer: Answer, received: Received, number: int) -> Response:
        return render(answer, Ask(number, received.body, self._pace, self._fragment_size))


def _is_completion(received: Received) -> bool:
    path = received.path.partition("?")[0]
    return received.method == "POST" and path.endswith("/chat/completions")


def _unknown(received: Received) -> Fail:
    return Fail(404, "404", f"no such endpoint: {received.method} {received.path}")


def _run_out(number: int) -> Fail:
    return Fail(400, "1210", f"the script has no answer for request {number}")
