"""What the server remembers of one request and of what became of its answer."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class Received:
    """One request as it arrived, and how far its answer has come.

    Attributes:
        method: `"POST"`, in upper case.
        path: The request target as sent, with its query.
        headers: By lower-case name; repeated ones are joined with `", "`.
        raw: The body as sent.
        body: The body as parsed; `{}` if it is not a JSON object.
        connection: The number of the TCP connection, from 1 on; equal numbers mean that the
            client used a connection again.
        sent: What has been written of the response body: (`time.monotonic()`, bytes) for each
            piece, without the chunked encoding. The time is taken before the piece is
            written, so whoever has read a piece finds it here.
        hung_up: Set as soon as the client is seen to have closed before the answer was finished.
        answered: Set when all that the answer has to write is written; for a `Cut` that is
            the part before the cut.
    """

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: dict[str, Any]
    connection: int
    sent: list[tuple[float, bytes]] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)
