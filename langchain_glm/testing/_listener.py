"""The sockets: accepting, reading requests, and leaving nothing open behind."""

from __future__ import annotations

import itertools
import json
import socket
import socketserver
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_glm.testing._frames import Response
from langchain_glm.testing._playback import Playback
from langchain_glm.testing._received import Received

# How long a stop waits for a connection's thread; only a callable answer can hold one.
_JOIN_SECONDS = 5.0
# On, and for no time at all: closing then sends a reset.
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Listener(ThreadingHTTPServer):
    """Accepts connections, one thread each, and knows all that are open.

    The threads are daemons, so a forgotten `stop` does not keep the interpreter alive; the
    standard library joins only threads that are not, hence the list here.
    """

    daemon_threads = True
    request_queue_size = 128  # many clients at once; the library's 5 drops connections

    def __init__(self, address: tuple[str, int], respond: Callable[[Received], Response]) -> None:
        self.respond = respond
        self.stopping = threading.Event()
        self.numbers: dict[socket.socket, int] = {}  # of the open connections
        self._accepted = itertools.count(1)
        self._resetting: set[socket.socket] = set()
        self._threads_started: list[threading.Thread] = []
        self._lock = threading.Lock()
        super().__init__(address, _Connection)

    def server_bind(self) -> None:
        # HTTPServer's own asks the name service for the host's name, which can take seconds.
        socketserver.TCPServer.server_bind(self)

    def shutdown(self) -> None:
        # Wakes the accepting thread now; where a system refuses this, it polls.
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        super().shutdown()

    def process_request(self, request: Any, client_address: Any) -> None:
        number = next(self._accepted)
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=f"GLMServer {self.server_address[1]} connection {number}",
            daemon=True,
        )
        with self._lock:
            self.numbers[request] = number
        self._threads_started = [t for t in self._threads_started if t.is_alive()]
        self._threads_started.append(thread)
        thread.start()

    def reset(self, connection: socket.socket) -> None:
        """Let the closing of this connection be a reset."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._resetting.add(connection)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self.numbers.pop(request, None)
        if request in self._resetting:
            # Without the orderly shutdown: the client would see that first.
            self._resetting.discard(request)
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def server_close(self) -> None:
        self.stopping.set()
        super().server_close()
        with self._lock:
            for connection in self.numbers:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads_started:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                message = f"{thread.name} goes on after stop: a callable answer is still running"
                warnings.warn(message, ResourceWarning, stacklevel=3)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            raise error  # ours, not a client that went away: let the thread's hook report it


class _Connection(BaseHTTPRequestHandler):
    """Reads the requests of one connection and has each answered."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def do_POST(self) -> None:  # the standard library looks these up by name
        received = self._receive()
        response = self.server.respond(received)
        try:
            Playback(self.connection, self.server.stopping).play(response, received)
        except OSError:
            self.close_connection = True
            if not self.server.stopping.is_set():
                received.hung_up.set()
            return
        if response.ending != "complete":
            self.close_connection = True
        if response.ending == "reset":
            self.server.reset(self.connection)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 - as above

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Nothing: a test's output is the test's own."""

    def _receive(self) -> Received:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        if len(raw) < length:
            raise ConnectionAbortedError("the client hung up in the middle of its request")
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        number = self.server.numbers[self.connection]
        return Received(self.command, self.path, headers, raw, _parsed(raw), number)


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
