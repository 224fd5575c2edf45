"""What the scripted server says to each prompt of `observing`.

The prompt of a request is its first human message, so that one server serves all questions and
its requests can be told apart afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_glm.testing import Call, Fail, GLMServer, Raw, Received, Reply

REASONING = "A file is wanted."
FILE = {"path": "fib.py", "content": "def fib(n):\n    return n if n < 2 else fib(n - 1)\n"}
LINK = "https://example.com/glm"
CITY = {"name": "Shanghai", "country": "China"}
USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
_UNKNOWN = Fail(400, "1210", "no answer is scripted for this prompt")
_QUICK = {"retry-after-ms": "1", "Retry-After": "0"}  # so that retries take no time


def server() -> GLMServer:
    """Give the server, not started."""
    return GLMServer(_answer)


def prompt(body: Mapping[str, Any]) -> str:
    """Tell which question a request belongs to."""
    messages = body.get("messages") or ()
    said = [message.get("content") for message in messages if message.get("role") == "user"]
    first = said[0] if said else ""
    return first if isinstance(first, str) else "".join(part.get("text", "") for part in first)


def requests_of(asked: GLMServer, name: str) -> list[Received]:
    """Give the requests of one question."""
    return [received for received in asked.requests if prompt(received.body) == name]


def _answer(received: Received) -> Any:
    body = received.body
    if body["messages"][-1]["role"] == "tool":
        return _done(received)
    made = _ANSWERS.get(prompt(body), _UNKNOWN)
    return made(received) if callable(made) else made


def _frames(*deltas: Mapping[str, Any] | str, done: bool = True) -> Raw:
    """Give a stream of bare deltas; a text is a frame as it stands."""
    frames = [d if isinstance(d, str) else json.dumps(_chunk(d)) for d in deltas]
    return Raw([f"data: {frame}\n\n".encode() for frame in [*frames, *["[DONE]"] * done]])


def _chunk(delta: Mapping[str, Any]) -> dict[str, Any]:
    """Give a chunk; a `finish_reason` in the delta is the choice's."""
    delta = dict(delta)
    ending = {"finish_reason": delta.pop("finish_reason")} if "finish_reason" in delta else {}
    choice = {"index": 0, "delta": delta, **ending}
    head = {"id": "1", "created": 1, "object": "chat.completion.chunk", "model": "glm-4.7"}
    return {**head, "choices": [choice]}


def _done(received: Received) -> Raw:
    """End an agent's run, whatever its history is like: a `Reply` refuses turns without content."""
    if received.body.get("stream"):
        return _frames({"role": "assistant", "content": "Done."}, {"finish_reason": "stop"})
    message = {"role": "assistant", "content": "Done."}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return _whole({**_chunk({}), "object": "chat.completion", "choices": [choice]})


def _whole(body: Mapping[str, Any]) -> Raw:
    return Raw(json.dumps(body), content_type="application/json", headers=_QUICK)


def _piece(arguments: str, **call: Any) -> dict[str, Any]:
    name = {"name": call.pop("name")} if "name" in call else {}
    return {"tool_calls": [{**call, "function": {**name, "arguments": arguments}}]}


def _without_index() -> Raw:
    """Two calls one after the other, as resellers send them: only the first delta has an id."""
    deltas: list[Mapping[str, Any]] = [{"role": "assistant", "content": ""}]
    for number, city in enumerate(("Shanghai", "Paris")):
        arguments = json.dumps({"city": city})
        deltas.append(_piece("", id=f"call_{number}", type="function", name="weather"))
        deltas += [_piece(arguments[start : start + 5]) for start in range(0, len(arguments), 5)]
    return _frames(*deltas, {"finish_reason": "tool_calls"})


def _cut(arguments: str) -> Reply:
    return Reply(tool_calls=[Call("write_file", arguments)], finish_reason="length")


def _of_a_shape(data: Mapping[str, Any], text: str = "{}") -> Any:
    """Answer as a model does whose host enforces no schema: with the tool it got, or in a text."""

    def answer(received: Received) -> Reply:
        tools: Sequence[Mapping[str, Any]] = received.body.get("tools") or ()
        if tools:
            return Reply(tool_calls=[Call(tools[0]["function"]["name"], dict(data))])
        return Reply(text=text.format(json.dumps(data)))

    return answer


_ERROR = {"error": {"code": "1305", "message": "the model is overloaded"}}
_TEXT = {"role": "assistant", "content": "Hel"}
_ANSWERS: Mapping[str, Any] = {
    "arguments": Reply(
        reasoning=REASONING,
        tool_calls=[Call("write_file", FILE), Call("weather", {"city": "Paris"})],
    ),
    "no index": _without_index(),
    "reasoning": Reply(reasoning=REASONING, text="Hello"),
    "history": Reply(reasoning=REASONING, tool_calls=[Call("weather", {"city": "Paris"})]),
    "usage": Reply(text="Hello", usage=USAGE),
    "cut in a string": _cut('{"path": "big.txt", "content": "half of'),
    "cut and closed": _cut('{"path": "big.txt"}'),
    "balance": Fail(429, "1113", "Insufficient balance", headers=_QUICK),
    "rate limit": Fail(429, "1302", "Rate limit reached", headers=_QUICK),
    "overflow": Fail(400, "1261", "Prompt exceeds max length"),
    "error in a body": _whole(_ERROR),
    "error in a stream": _frames(_TEXT, json.dumps(_ERROR)),
    "no end": _frames(_TEXT, done=False),
    "city": _of_a_shape(CITY),
    "city in a fence": _of_a_shape(CITY, "```json\n{}\n```"),
    "no city": _of_a_shape({"name": "Shanghai", "country": {"code": 86}}),
    "search": Reply(text="Hello", web_search=[{"title": "GLM", "link": LINK, "content": "New."}]),
    **dict.fromkeys(("hello", "thinking own", "thinking extra"), Reply(text="Hello")),
}
