"""The server of the benchmarks: answers any POST with bytes that were rendered before.

    python -m benchmarks.server     # prints its port, serves until its input ends

`/KIND/COUNT/SIZE/...` asks for an answer of COUNT fragments of SIZE characters. `/agent/...` calls
the tool first, then says a text. `/paced/COUNT/STREAMS/...` sends a fragment each `PACE` seconds,
whose text is the time of its sending; each of the STREAMS has a moment of its own to send at.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.bodies import STREAM_END, STREAM_HEAD, http_chunk, response
from benchmarks.environment import ROOT

_GONE = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
PACE = 0.1
"""Seconds between two fragments of a paced stream."""

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run the server in another process, and give its address."""
    command = [sys.executable, "-m", "benchmarks.server"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:  # noqa: S603
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


async def _serve() -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(*_GONE):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            _, kind, count, size, *_ = head.split(b" ", 2)[1].decode().split("/")
            if kind == "paced":
                await _send_paced(writer, int(count), int(size))
            else:
                writer.write(_response(kind, int(count), int(size), body))
                await writer.drain()
    writer.close()


def _response(kind: str, count: int, size: int, body: bytes) -> bytes:
    asked = json.loads(body)
    if kind == "agent":
        kind = "text" if asked["messages"][-1]["role"] == "tool" else "arguments"
    return response(kind, count, size, streamed=asked.get("stream") is True)


_numbers = itertools.count()


async def _send_paced(writer: asyncio.StreamWriter, count: int, streams: int) -> None:
    writer.write(STREAM_HEAD)
    turn = next(_numbers) % streams / streams
    at = (time.monotonic() // PACE + 1 + turn) * PACE
    for _ in range(count):
        at += PACE
        await asyncio.sleep(at - time.monotonic())
        writer.write(http_chunk(_FRAME % (b'"content":"%d"' % time.monotonic_ns(), b"null")))
    writer.write(http_chunk(_FRAME % (b'"content":""', b'"stop"')) + http_chunk(_DONE))
    writer.write(STREAM_END)
    await writer.drain()


_FRAME = (
    b'data: {"id":"1","created":1,"object":"chat.completion.chunk","model":"glm-4.7",'
    b'"choices":[{"index":0,"delta":{"role":"assistant",%b},"finish_reason":%b}]}\n\n'
)
_DONE = b"data: [DONE]\n\n"


if __name__ == "__main__":
    asyncio.run(_serve())
