"""A `Response` onto a socket, with its silences, until it ends or somebody leaves."""

from __future__ import annotations

import select
import socket
import threading
import time
from http import HTTPStatus

from langchain_glm.testing._frames import Response
from langchain_glm.testing._received import Received

_LAST_CHUNK = b"0\r\n\r\n"


class Playback:
    """Plays responses on one connection.

    Args:
        connection: The client's socket, blocking.
        stopping: Set when the server stops; its sockets are shut down right after.
    """

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection = connection
        self._stopping = stopping

    def play(self, response: Response, received: Received) -> None:
        """Write the response, piece by piece, and note in `received` how far it came.

        Raises:
            OSError: The client hung up or the server stops before the answer was finished.
        """
        self._pause(response.delay)
        self._connection.sendall(_head(response))
        for piece in response.pieces:
            if not isinstance(piece, bytes):
                self._pause(piece)
            elif piece:  # an empty chunk would be the last one
                self._write(piece, response, received)
        if response.chunked and response.ending == "complete":
            self._connection.sendall(_LAST_CHUNK)
        received.answered.set()
        if response.ending == "open":
            self._pause(None)

    def _write(self, piece: bytes, response: Response, received: Received) -> None:
        data = b"%x\r\n%b\r\n" % (len(piece), piece) if response.chunked else piece
        received.sent.append((time.monotonic(), piece))
        try:
            self._connection.sendall(data)
        except OSError:
            received.sent.pop()
            raise

    def _pause(self, seconds: float | None) -> None:
        """Be silent for so long (`None`: for ever), but not beyond the client's leaving."""
        if seconds is not None and seconds <= 0:
            return
        start = time.monotonic()
        readable, _, _ = select.select([self._connection], [], [], seconds)
        if not readable:
            return
        if not self._connection.recv(1, socket.MSG_PEEK):
            raise ConnectionAbortedError("the client hung up")
        # The client has sent its next request already, so its leaving can no longer be
        # seen from here: an unread byte stands before the end of the stream.
        left = None if seconds is None else seconds - (time.monotonic() - start)
        if self._stopping.wait(left):
            raise ConnectionAbortedError("the server stops")


def _head(response: Response) -> bytes:
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:  # a status of the script's own, such as 529
        phrase = "Unknown"
    headers = dict(response.headers)
    if response.chunked:
        headers["Transfer-Encoding"] = "chunked"
    lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
