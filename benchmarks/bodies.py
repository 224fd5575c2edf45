"""What the server of the benchmarks answers, and the message that it makes.

The frames are those of `GLMServer`, one for each fragment of four characters.
"""

from __future__ import annotations

import functools
import json
from typing import Any, NamedTuple

from langchain_glm.testing import Call, Reply
from langchain_glm.testing._frames import Ask, render

FRAGMENT = 4
"""The characters of a fragment."""

_TOOL = "write_file"
# As files are: line ends and quotes, which JSON escapes, and a comment in Chinese.
LINE = 'def fib(n):  # "n" 从 0 数起\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n'
_ASKED = {
    "model": "glm-4.7",
    "messages": [{"role": "user", "content": "hi"}],
    "tool_stream": True,
}
_USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}


class Message(NamedTuple):
    """What an answer says; the sides of a pair must agree on it.

    Attributes:
        text: The text.
        reasoning: The reasoning.
        calls: Name and arguments of each call.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()


def prose(count: int, *, size: int = FRAGMENT) -> str:
    """Write a text of `count` fragments."""
    length = count * size
    return (LINE * (length // len(LINE) + 1))[:length]


def arguments(count: int, *, size: int = FRAGMENT, line: str = LINE) -> str:
    """Write the arguments of a call in `count` fragments: a path, and a file of like lines."""
    empty = json.dumps({"path": "fib.py", "content": ""})
    line = json.dumps(line, ensure_ascii=False)[1:-1]
    lines, rest = divmod(count * size - len(empty), len(line))
    return empty[:-2] + line * lines + "x" * rest + '"}'


def reply(kind: str, count: int, size: int = FRAGMENT) -> Reply:
    """Give the answer of one kind, of `count` fragments."""
    return Reply(**_KINDS[kind](count, size), usage=_USAGE)


def _call(count: int, size: int) -> dict[str, Any]:
    return {"tool_calls": [Call(_TOOL, arguments(count, size=size), id="call_1")]}


_KINDS: dict[str, Any] = {
    "text": lambda count, size: {"text": prose(count, size=size)},
    "reasoning": lambda count, size: {"reasoning": prose(count, size=size)},
    "arguments": _call,
    "mixed": lambda count, size: {
        "reasoning": prose(count // 3, size=size),
        "text": prose(count // 3, size=size),
        **_call(count - 2 * (count // 3), size),
    },
}


def message(kind: str, count: int, size: int = FRAGMENT) -> Message:
    """Give the message that an answer makes."""
    said = reply(kind, count, size)
    calls = tuple(
        (call.name, json.dumps(json.loads(str(call.arguments)), sort_keys=True))
        for call in said.tool_calls
    )
    return Message(said.text, said.reasoning, calls)


@functools.lru_cache(maxsize=8)
def response(kind: str, count: int, size: int, *, streamed: bool) -> bytes:
    """Render a whole HTTP response; a stream has each frame in an HTTP chunk of its own."""
    asked = {**_ASKED, "stream": streamed}
    rendered = render(reply(kind, count, size), Ask(1, asked, 0.0, size))
    pieces = [piece for piece in rendered.pieces if isinstance(piece, bytes)]
    if streamed:
        return STREAM_HEAD + b"".join(map(http_chunk, pieces)) + STREAM_END
    whole = b"".join(pieces)
    return b"%sContent-Length: %d\r\n\r\n%s" % (_head("application/json"), len(whole), whole)


def http_chunk(data: bytes) -> bytes:
    """Frame a piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _head(media: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n".encode()


STREAM_HEAD = _head("text/event-stream") + b"Transfer-Encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"
