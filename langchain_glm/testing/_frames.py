"""Pure: an answer and the request it answers -> the pieces of an HTTP response.

Time is data here. A `bytes` piece is to be written and flushed by itself, a `float` is a
silence in seconds, and `Response.delay` is a silence before the response line. Whatever the
request asks for, one `Reply` takes the same time: each fragment costs one pace, whether it
is sent or held back.

Evidence: [W] recorded traffic of Z.ai, [D] its documentation, [R] a reseller's recording.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from langchain_glm.testing._answers import Answer, Call, Cut, Fail, Raw, Reply
from langchain_glm.testing._refusals import refusal

Ending = Literal["complete", "hang up", "reset", "open"]
Piece: TypeAlias = "bytes | float"

_DONE = b"data: [DONE]\n\n"
_EVENT_STREAM = "text/event-stream"
_JSON = "application/json"
# 2026-01-01; the number of the request is added, so that no two responses are alike
# and no run differs from the next.
_EPOCH = 1767225600


@dataclass(frozen=True)
class Ask:
    """A request, as far as rendering depends on it: its number, its body, the server's rate."""

    number: int
    body: Mapping[str, Any]
    pace: float
    fragment_size: int

    @property
    def disables_thinking(self) -> bool:
        thinking = self.body.get("thinking")
        return isinstance(thinking, dict) and thinking.get("type") == "disabled"

    @property
    def streams_tools(self) -> bool:
        # [D] the field needs `stream: true`; the body that is sent whole never looks here.
        return self.body.get("tool_stream") is True


@dataclass(frozen=True)
class Response:
    """What is to be written, and when. `chunked` is false for a body of known length."""

    status: int
    headers: Mapping[str, str]
    pieces: tuple[Piece, ...]
    chunked: bool
    delay: float = 0.0
    ending: Ending = "complete"


def render(answer: Answer, ask: Ask) -> Response:
    """The response to `ask`.

    Raises:
        TypeError: `answer` is a callable or a path, which `_script` settles first; or it is no
            answer at all, or holds what JSON cannot.
    """
    if isinstance(answer, Reply):
        return _reply(answer, ask)
    if isinstance(answer, Fail):
        return _fail(answer)
    if isinstance(answer, Raw):
        return _raw(answer, ask.pace)
    if isinstance(answer, Cut):
        return _cut(render(answer.answer, ask), answer)
    raise TypeError(f"not an answer: {answer!r}")


def _reply(reply: Reply, ask: Ask) -> Response:
    refused = refusal(ask.body)
    if refused:
        return _fail(refused)
    if ask.disables_thinking:
        reply = replace(reply, reasoning="")
    return _stream(reply, ask) if ask.body.get("stream") is True else _whole(reply, ask)


def _stream(reply: Reply, ask: Ask) -> Response:
    deltas = [*_texts(reply, ask), *_calls(reply, ask)]
    choices = [(beats, {"index": 0, "delta": delta}) for beats, delta in deltas]
    choices.append((1, _finish(reply)))
    extras: list[dict[str, Any]] = [{} for _ in choices]
    if reply.web_search is not None:
        # [D] only; no recording has it. Which frame carries it is not documented.
        extras[0]["web_search"] = reply.web_search
    # [W] usage rides on the finishing chunk, whose `choices` is not empty.
    extras[-1]["usage"] = _usage(reply, ask)
    head = _head(reply, ask)
    pieces: list[Piece] = []
    for number, ((beats, choice), extra) in enumerate(zip(choices, extras, strict=True)):
        silent = beats - (number == 0)
        pieces.extend([ask.pace * silent] if ask.pace and silent else [])
        pieces.append(_frame({**head, "choices": [choice], **extra}))
    return Response(200, {"Content-Type": _EVENT_STREAM}, (*pieces, _DONE), chunked=True)


def _whole(reply: Reply, ask: Ask) -> Response:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = [_call(i, call) for i, call in enumerate(reply.tool_calls)]
    head = _head(reply, ask)
    body: dict[str, Any] = {
        **head,
        "object": "chat.completion",
        "request_id": head["id"],
        "choices": [{"index": 0, "finish_reason": _finish_reason(reply), "message": message}],
        "usage": _usage(reply, ask),
    }
    if reply.web_search is not None:
        body["web_search"] = reply.web_search  # [D] only
    # [W] a whole body has its keys in alphabetical order, at every depth; a chunk has not.
    text = _dump(body, sort_keys=True)
    beats = sum(beats for beats, _ in (*_texts(reply, ask), *_calls(reply, ask)))
    return _of_length(200, {"Content-Type": _JSON}, text.encode(), ask.pace * beats)


def _texts(reply: Reply, ask: Ask) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each fragment of reasoning and text, with the paces it takes."""
    fields = {"reasoning_content": reply.reasoning, "content": reply.text}
    for field, text in fields.items():
        for fragment in _split(text, ask.fragment_size):
            yield 1, {"role": "assistant", field: fragment}  # [W] `role` in every one


def _calls(reply: Reply, ask: Ask) -> Iterator[tuple[int, dict[str, Any]]]:
    """The deltas of the calls, one call after the other, with the paces each takes."""
    for index, call in enumerate(reply.tool_calls):
        fragments = _split(_arguments(call), ask.fragment_size)
        if not ask.streams_tools:
            # [W] one call, one delta, no `role`. [R] users report the silence before it.
            yield 1 + len(fragments), {"tool_calls": [_call(index, call)]}
            continue
        # [R] a reseller's recording of GLM-5.2 has these two shapes; no first-party
        # recording with `tool_stream: true` is public.
        function = {"name": call.name, "arguments": ""}
        opening = {"index": index, "id": call.id, "type": "function", "function": function}
        yield 1, {"tool_calls": [opening]}
        for fragment in fragments:
            piece = {"index": index, "type": "function", "function": {"arguments": fragment}}
            yield 1, {"tool_calls": [piece]}


def _call(index: int, call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _arguments(call)}
    return {"id": call.id, "index": index, "type": "function", "function": function}


def _arguments(call: Call) -> str:
    if isinstance(call.arguments, str):
        return call.arguments
    return json.dumps(call.arguments, ensure_ascii=False)


def _finish(reply: Reply) -> dict[str, Any]:
    delta = {"role": "assistant", "content": ""}
    return {"index": 0, "finish_reason": _finish_reason(reply), "delta": delta}


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _head(reply: Reply, ask: Ask) -> dict[str, Any]:
    # [W] an id is 14 digits of time and 16 hexadecimal ones.
    return {
        "id": f"20260101000000{ask.number:016x}",
        "created": _EPOCH + ask.number,
        "object": "chat.completion.chunk",
        "model": reply.model or ask.body["model"],
    }


def _usage(reply: Reply, ask: Ask) -> Mapping[str, Any]:
    if reply.usage is not None:
        return reply.usage
    reasoning = _tokens(reply.reasoning)
    calls = (call.name + _arguments(call) for call in reply.tool_calls)
    completion = reasoning + _tokens(reply.text) + sum(map(_tokens, calls))
    prompt = _tokens(_dump([ask.body.get("messages"), ask.body.get("tools")]))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,  # [W] includes reasoning
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _tokens(text: str) -> int:
    return -(-len(text) // 4)


def _fail(fail: Fail) -> Response:
    error = {"code": fail.code, "message": fail.message}
    if fail.code is None:
        del error["code"]
    body = _bytes(_dump({"error": error}) if fail.body is None else fail.body)
    media = "text/html" if body.lstrip().startswith(b"<") else _JSON
    return _of_length(fail.status, _headers(media, fail.headers), body)


def _raw(raw: Raw, pace: float) -> Response:
    headers = _headers(raw.content_type, raw.headers)
    ending: Ending = "complete" if raw.end else "open"
    if not isinstance(raw.body, str | bytes):
        pieces = tuple(_paced(raw, pace))
    else:
        pieces = (_bytes(raw.body),)
        if raw.end and not raw.content_type.startswith(_EVENT_STREAM):
            return _of_length(raw.status, headers, _bytes(raw.body))
    return Response(raw.status, headers, pieces, chunked=True, ending=ending)


def _paced(raw: Raw, pace: float) -> Iterator[Piece]:
    """The pieces with the pace between them; a pause of the script's own replaces it."""
    after_bytes = False
    for piece in raw.body:
        written = isinstance(piece, str | bytes)
        if written and after_bytes and pace:
            yield pace
        yield _bytes(piece) if isinstance(piece, str | bytes) else float(piece)
        after_bytes = written


def _cut(response: Response, cut: Cut) -> Response:
    kept: list[Piece] = []
    left = cut.after
    for piece in response.pieces:
        if not left:
            break
        if isinstance(piece, bytes):
            piece = piece[:left]  # noqa: PLW2901 - the rest of it is what is cut off
            left -= len(piece)
        kept.append(piece)
    return replace(response, pieces=tuple(kept), ending="reset" if cut.reset else "hang up")


def _of_length(
    status: int, headers: Mapping[str, str], body: bytes, delay: float = 0.0
) -> Response:
    headers = {**headers, "Content-Length": str(len(body))}
    return Response(status, headers, (body,), chunked=False, delay=delay)


def _headers(content_type: str, more: Mapping[str, str] | None) -> dict[str, str]:
    more = dict(more or {})
    named = any(name.lower() == "content-type" for name in more)
    return more if named else {"Content-Type": content_type, **more}


def _frame(chunk: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % _dump(chunk).encode()


def _dump(value: Any, *, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _split(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]
