"""What a script is made of: frozen values, each one answer or a part of one.

Nothing here is rendered or sent; `_frames` does the first, `_playback` the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from langchain_glm.testing._received import Received

# The server counts the bytes itself: a second length or encoding would make
# the response unreadable for reasons that have nothing to do with the test.
_FRAMING = frozenset({"content-length", "transfer-encoding"})


@dataclass(frozen=True)
class Call:
    """One tool call of a `Reply`.

    Attributes:
        name: The name of the tool.
        arguments: A `str` is sent verbatim, valid JSON or not. A `dict` is sent as
            `json.dumps(arguments, ensure_ascii=False)`.
        id: `None` means the next of the server's own: `call_0001`, `call_0002`, …
    """

    name: str
    arguments: str | dict[str, Any] = "{}"
    id: str | None = None


@dataclass(frozen=True)
class Reply:
    """What the model says: reasoning, then text, then tool calls.

    It is sent as the request asks: as a stream or whole, with the arguments in fragments
    or each call whole, with reasoning or (`thinking: {"type": "disabled"}`) without. A request
    that GLM would refuse gets GLM's error instead.

    Attributes:
        reasoning: Goes out as `reasoning_content`.
        text: Goes out as `content`.
        tool_calls: The calls, in the order of their `index`.
        finish_reason: `None` means `"tool_calls"` with calls, else `"stop"`.
        usage: Sent verbatim. `None` means an estimate, one token for four characters.
        web_search: A list of search results, sent at the top level as documented.
        model: `None` means the model that the request names.
    """

    reasoning: str = ""
    text: str = ""
    tool_calls: Sequence[Call] = ()
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    web_search: Sequence[Mapping[str, Any]] | None = None
    model: str | None = None


@dataclass(frozen=True)
class Fail:
    """An HTTP error: `{"error": {"code": ..., "message": ...}}`.

    Attributes:
        status: The HTTP status.
        code: GLM's business code, a string on the wire. `None` leaves the key out.
        message: The text of the error.
        headers: Added to the response, such as `{"Retry-After": "1"}`.
        body: Sent instead of the JSON, such as the HTML page of a gateway's 502.

    Raises:
        ValueError: `headers` sets the length or the transfer encoding.
    """

    status: int = 500
    code: str | int | None = "500"
    message: str = "Internal server error"
    headers: Mapping[str, str] | None = None
    body: str | bytes | None = None

    def __post_init__(self) -> None:
        _refuse_framing(self.headers)


@dataclass(frozen=True)
class Cut:
    """Another answer, hung up on in the middle.

    Attributes:
        answer: The answer to begin with.
        after: How many bytes of the response body, as the client decodes it, still go out.
            At or above its length the whole body does; a stream then lacks only the
            terminator of its chunked encoding.
        reset: Whether to end with a TCP reset instead of an orderly close. Bytes that the
            client's system had not taken by then may be lost, as with any reset.

    Raises:
        ValueError: `after` is negative.
    """

    answer: Answer
    after: int
    reset: bool = False

    def __post_init__(self) -> None:
        if self.after < 0:
            raise ValueError(f"after is a number of bytes, not {self.after}")


@dataclass(frozen=True)
class Raw:
    """A response body, verbatim.

    Attributes:
        body: One piece, or a sequence whose pieces are written and flushed one by one, with
            the server's pace between them. A number in it is a pause in seconds.
        status: The HTTP status.
        content_type: The media type.
        headers: Added to the response.
        end: `False` leaves the connection open and silent after the last piece, until the
            client hangs up or the server stops.

    Raises:
        ValueError: `headers` sets the length or the transfer encoding.
    """

    body: str | bytes | Sequence[bytes | float]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] | None = None
    end: bool = True

    def __post_init__(self) -> None:
        _refuse_framing(self.headers)


Answer: TypeAlias = Reply | Fail | Cut | Raw | Path | Callable[["Received"], "Answer"]
"""What a request is answered with: one of these, a recorded `.sse` or `.json` file, or a function
of the request that gives one. A script is one answer, or an iterable of them."""


def _refuse_framing(headers: Mapping[str, str] | None) -> None:
    refused = sorted(_FRAMING.intersection(name.lower() for name in headers or ()))
    if refused:
        raise ValueError(f"the server writes these headers itself: {', '.join(refused)}")
