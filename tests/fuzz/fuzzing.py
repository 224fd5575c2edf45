"""What the fuzz tests share: how many cases, scripts of answers, and reading without a socket.

`make test` runs a few cases of each test, the same ones each time; with FUZZ_EXAMPLES=N in the
environment (`make fuzz`) each test runs N, others each time, and keeps what failed in
`.hypothesis/`.
"""

import itertools
import json
import os
from types import SimpleNamespace
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.outputs import ChatGeneration

from langchain_glm._message import ChunkWriter, EventWriter, settle_calls
from langchain_glm._reader import StreamReader, WholeReader
from langchain_glm.testing import Call, Reply
from langchain_glm.testing._frames import Ask, render

_MANY = os.environ.get("FUZZ_EXAMPLES")


def cases(few: int) -> settings:
    """How many cases a test runs: `few`, or FUZZ_EXAMPLES."""
    return settings(
        max_examples=int(_MANY or few),
        derandomize=not _MANY,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


# Scripts

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
texts = words | st.sampled_from(["\n\n", "data: [DONE]", "a\r\nb\u2028c\x00", "\ufeff😀好", "{}"])
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(words, values, max_size=4)
HALF = '{"a": "\\ud83d"}'
BROKEN = ["", " ", "null", "[1]", '{"a": 1', '{"a": "\\ud83d', HALF, '{"a": 1}}', "x"]
broken = st.one_of(
    st.sampled_from(BROKEN),
    texts,
    st.builds(
        lambda value, keep: json.dumps(value, ensure_ascii=False)[:keep],
        objects,
        st.integers(0, 30),
    ),
)
names = st.text("abcXYZ_-.09é", min_size=1, max_size=6)
counts = st.integers(0, 10**6)
usages = st.none() | st.builds(
    lambda prompt, completion, cached: {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    },
    counts,
    counts,
    counts,
)
searches = st.none() | st.lists(
    st.fixed_dictionaries({"title": texts, "link": st.just("https://h/"), "refer": texts}),
    min_size=1,
    max_size=2,
)
CUTS = ["length", "sensitive", "model_context_window_exceeded", "abort", "content_filter"]
REASONS = [None, "stop", "tool_calls", *CUTS, "network_error", "something_new"]


@st.composite
def replies(draw, arguments=objects | broken):
    """A script: what a model says."""
    said = draw(st.lists(st.tuples(names, arguments), max_size=3))
    return Reply(
        reasoning=draw(texts),
        text=draw(texts),
        tool_calls=[Call(name, args, f"call_{n}") for n, (name, args) in enumerate(said)],
        finish_reason=draw(st.sampled_from(REASONS)),
        usage=draw(usages),
        web_search=draw(searches),
    )


def raw(call: Call) -> str:
    """The arguments as they are written."""
    if isinstance(call.arguments, str):
        return call.arguments
    return json.dumps(call.arguments, ensure_ascii=False)


def frames_of(reply: Reply, size: int = 3, *, tool_stream: bool = True) -> list[dict[str, Any]]:
    """The frames that GLMServer sends of a script, without `[DONE]`."""
    body = {"model": "glm-4.7", "messages": [{"role": "user"}], "stream": True}
    body["tool_stream"] = tool_stream
    *pieces, _done = render(reply, Ask(1, body, 0, size)).pieces
    return [json.loads(piece.removeprefix(b"data: ")) for piece in pieces]


def whole_of(reply: Reply) -> bytes:
    """The body that GLMServer sends of a script to who does not stream."""
    body = {"model": "glm-4.7", "messages": [{"role": "user"}]}
    (piece,) = render(reply, Ask(1, body, 0, 1)).pieces
    return piece


def stream_of(frames: list[dict[str, Any]]) -> bytes:
    """The body of a stream of frames."""
    events = [json.dumps(frame, ensure_ascii=False).encode() for frame in frames]
    return b"".join(b"data: %b\n\n" % event for event in [*events, b"[DONE]"])


def cuts(body: bytes) -> st.SearchStrategy[list[int]]:
    """Where to cut a body: some places, or each."""
    some = st.lists(st.integers(0, len(body)), max_size=30)
    return st.one_of(some, some, some, st.just("everywhere"))


def split(body: bytes, at: Any) -> list[bytes]:
    """A body in pieces, some of them empty; or byte by byte."""
    edges = range(len(body)) if at == "everywhere" else sorted(at)
    return [body[start:end] for start, end in itertools.pairwise([0, *edges, len(body)])]


# Reading without a socket

RESPONSE = SimpleNamespace(
    status_code=200, headers={}, request=SimpleNamespace(url="http://glm/", headers={})
)


def read_through(reader: Any, pieces: list[bytes], given: list[Any]) -> None:
    """Do with a reader what the client does; what it gives is put into `given`."""
    for piece in pieces:
        given += reader.feed(piece)
        if reader.done:
            return
        reader.listen()
    given += reader.close()
    reader.listen()


def stream_reader(writer: Any, **options: Any) -> StreamReader[Any]:
    return StreamReader(writer, model="glm-4.7", response=RESPONSE, **options)


def chunks_of(pieces: list[bytes]) -> list[AIMessageChunk]:
    given: list[Any] = []
    read_through(stream_reader(ChunkWriter()), pieces, given)
    for generation in given:  # as core does
        facts = generation.message.response_metadata
        generation.message.response_metadata = {**(generation.generation_info or {}), **facts}
    return [generation.message for generation in given]


def events_of(pieces: list[bytes]) -> list[Any]:
    given: list[Any] = []
    read_through(stream_reader(EventWriter("lc_1")), pieces, given)
    return given


def whole_message(pieces: list[bytes]) -> Any:
    given: list[Any] = []
    read_through(WholeReader(model="glm-4.7", response=RESPONSE), pieces, given)
    return given[0].message


def summed(chunks: list[AIMessageChunk]) -> Any:
    """What core makes of the chunks, settled as `ChatGLM` does."""
    merged = chunks[0] + chunks[1:] if chunks[1:] else chunks[0]
    generation = ChatGeneration(message=message_chunk_to_message(merged))
    settle_calls(generation)
    return generation.message


class Said(NamedTuple):
    """What an answer says; calls are (id, name, arguments), of the invalid ones their text."""

    text: str
    reasoning: str
    calls: list[tuple[Any, str, dict[str, Any]]]
    invalid: list[tuple[Any, Any, str]]
    finish_reason: str | None
    usage: dict[str, Any] | None
    web_search: Any


def said(message: Any) -> Said:
    """Read a message."""
    facts = message.response_metadata
    return Said(
        message.text,
        message.additional_kwargs.get("reasoning_content", ""),
        [(call["id"], call["name"], call["args"]) for call in message.tool_calls],
        [(call["id"], call["name"], call["args"]) for call in message.invalid_tool_calls],
        facts.get("finish_reason"),
        facts.get("token_usage"),
        facts.get("web_search"),
    )


def said_by(events: list[Any]) -> Said:
    """Read a v3 stream: the ends of its blocks, which have to be the sums of their deltas."""
    ends = [event["content"] for event in events if event["event"] == "content-block-finish"]
    sums: dict[int, str] = {}
    for event in events:
        if event["event"] == "content-block-delta":
            (piece,) = (v for k, v in event["delta"].items() if k != "type")
            sums[event["index"]] = sums.get(event["index"], "") + piece
    for at, block in enumerate(ends):
        if block["type"] != "tool_call":
            field = "args" if block["type"] == "invalid_tool_call" else block["type"]
            assert sums.get(at, "") == block[field]
        elif sums.get(at):
            assert encodable(json.loads(sums[at], strict=False)) == block["args"]
    by_kind = {kind: [b for b in ends if b["type"] == kind] for kind in _KINDS}
    facts = events[-1]["metadata"]
    return Said(
        "".join(block["text"] for block in by_kind["text"]),
        "".join(block["reasoning"] for block in by_kind["reasoning"]),
        [(block["id"], block["name"], block["args"]) for block in by_kind["tool_call"]],
        [(block["id"], block["name"], block["args"]) for block in by_kind["invalid_tool_call"]],
        facts.get("finish_reason"),
        facts.get("token_usage"),
        facts.get("web_search"),
    )


def encodable(value: Any) -> Any:
    """A value with U+FFFD in place of each half of a character."""
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, list):
        return [encodable(item) for item in value]
    if isinstance(value, dict):
        return {encodable(name): encodable(item) for name, item in value.items()}
    return value


_KINDS = ("text", "reasoning", "tool_call", "invalid_tool_call")
