"""`collect` gives what core's own merge gives, in linear time, and no cut call among the good."""

import copy
import json
import operator
import sys
from collections import Counter
from functools import reduce

import pytest
from chunk_streams import ANSWERS, PROVIDERS, USAGE, Answer, chunk, pieces, read
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.utils import message_chunk_to_message
from langchain_openai import ChatOpenAI

from langchain_glm import ChatGLM
from langchain_glm.streaming.merge import acollect, collect
from langchain_glm.streaming.tool_calls import tool_call_events
from langchain_glm.testing import Call, Cut, GLMServer, Reply


def core(chunks):
    """Core's own bulk merge."""
    first, *rest = chunks
    return message_chunk_to_message(first + rest)


def fold(chunks):
    return message_chunk_to_message(reduce(operator.add, chunks))


def without_calls(message):
    """A message but for its calls."""
    return message.model_copy(update={"tool_calls": [], "invalid_tool_calls": []})


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("said", ANSWERS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_it_is_what_core_makes(provider, said, size):
    chunks = PROVIDERS[provider](ANSWERS[said], size)
    before = copy.deepcopy(chunks)
    assert collect(chunks) == core(chunks) == fold(chunks)
    assert chunks == before


async def test_async_it_is_the_same():
    chunks = PROVIDERS["anthropic"](ANSWERS["three_calls"], 3)

    async def stream():
        for item in chunks:
            yield item

    assert await acollect(stream()) == collect(chunks)


CUT = '{"path": "a'
WAS_CUT = "The call was cut off (finish_reason {!r})."
NO_OBJECT = "The arguments are not a JSON object: "
BROKEN = [
    pytest.param(CUT, True, WAS_CUT, id="cut"),
    pytest.param('{"path": "a"}', True, WAS_CUT, id="cut_but_whole"),
    pytest.param(CUT, False, NO_OBJECT + "Unterminated string", id="ends_in_a_string"),
    pytest.param('{"a": 1]', False, NO_OBJECT + "Expecting ','", id="wrong_bracket"),
    pytest.param("[1]", False, NO_OBJECT + "it is of type list.", id="a_list"),
]


@pytest.mark.parametrize(("raw", "cut", "error"), BROKEN)
@pytest.mark.parametrize("provider", sorted(PROVIDERS.keys() - {"interleaved"}))
def test_a_call_that_must_not_run(provider, raw, cut, error):
    answer = Answer("Hm.", "Both.", (("c1", "now", "{}"), ("c2", "write", raw)), cut)
    chunks = PROVIDERS[provider](answer, 100)
    message, merged = collect(chunks), core(chunks)
    (invalid,) = message.invalid_tool_calls
    facts = message.response_metadata
    reason = facts.get("stop_reason") or facts["finish_reason"]
    assert invalid["error"].startswith(error.format(reason))
    assert (invalid["id"], invalid["name"], invalid["args"]) == ("c2", "write", raw)
    assert [call["id"] for call in message.tool_calls] == ["c1"]
    blocks = [block for block in merged.content if not is_of(block, "c2")]
    assert message.content == (blocks if isinstance(merged.content, list) else merged.content)
    message.content = merged.content
    assert without_calls(message) == without_calls(merged)


def is_of(block, id_):
    return isinstance(block, dict) and block.get("id") == id_


# A model on a server.

REPLY = Reply(
    reasoning="Let me think.",
    text="I write.",
    tool_calls=[
        Call("write", {"path": "a.py", "n": [1, {"b": "你好"}]}, id="c1"),
        Call("now", id="c2"),
    ],
    usage={"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
)
TOOLS = [{"type": "function", "function": {"name": "write", "parameters": {"type": "object"}}}]


def glm(server, **fields):
    return ChatGLM(model="glm-4.7", api_key="test-key", base_url=server.base_url, **fields)


def gpt(server, **fields):
    return ChatOpenAI(model="gpt-4o", api_key="test-key", base_url=server.base_url, **fields)


def said(message):
    """A message but for what names the request."""
    told = message.model_dump(exclude={"id"})
    told["additional_kwargs"].pop("raw_response", None)
    for name in ("id", "request_id"):
        told["response_metadata"].pop(name, None)
    return told


MODELS = [
    pytest.param(glm, {}, id="glm"),
    pytest.param(glm, {"output_version": "v1"}, id="glm_v1"),
    pytest.param(glm, {"include_raw_response": True}, id="glm_raw_response"),
    pytest.param(gpt, {"extra_body": {"tool_stream": True}}, id="openai"),
]


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(("make", "fields"), MODELS)
async def test_a_model_on_a_server(make, fields, size):
    with GLMServer([REPLY] * 3, fragment_size=size) as server:
        model = make(server, **fields).bind_tools(TOOLS)
        chunks = list(model.stream("hi"))
        message = await acollect(model.astream("hi"))
        invoked = await model.ainvoke("hi")
    assert collect(chunks) == core(chunks) == fold(chunks)
    assert said(message) == said(collect(chunks))
    assert [block["type"] for block in message.content_blocks] == [
        block["type"] for block in invoked.content_blocks
    ]
    assert (message.text, message.tool_calls) == (invoked.text, invoked.tool_calls)
    assert message.usage_metadata == invoked.usage_metadata
    if make is glm and "output_version" not in fields:
        assert said(message) == said(invoked)


@pytest.mark.parametrize("fields", [{}, {"output_version": "v1"}])
def test_a_cut_answer_is_as_from_invoke(fields):
    reply = Reply(text="Both.", tool_calls=[Call("now", id="c1"), Call("write", CUT, id="c2")],
                  finish_reason="length")  # fmt: skip
    with GLMServer([reply] * 2) as server:
        model = glm(server, **fields).bind_tools(TOOLS)
        message, invoked = collect(model.stream("hi")), model.invoke("hi")
    assert message.tool_calls == invoked.tool_calls
    assert message.invalid_tool_calls == invoked.invalid_tool_calls
    assert message.additional_kwargs == invoked.additional_kwargs == {}
    assert message.invalid_tool_calls[0]["args"] == CUT


def test_an_error_of_the_stream_is_raised():
    with GLMServer([Cut(REPLY, after=900)]) as server, pytest.raises(Exception, match="broke"):
        collect(glm(server).stream("hi"))


# What cannot be merged, and what is odd.


def test_no_chunk():
    with pytest.raises(ValueError, match="no chunk"):
        collect([])


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([HumanMessage("Hi")], id="not_the_models"),
        pytest.param([chunk("Hi"), AIMessage("Hi")], id="a_whole_one_after_a_chunk"),
        pytest.param([AIMessage("Hi"), AIMessage("Bye")], id="two_whole_ones"),
    ],
)
def test_what_is_refused(messages):
    with pytest.raises(TypeError):
        collect(messages)


REASONING = [
    pytest.param([None, "a", "b"], "ab", id="null"),
    pytest.param(["a", None, "b"], "ab", id="null_between"),
    pytest.param([["a"], ["b"]], ["a", "b"], id="lists"),
]


@pytest.mark.parametrize(("values", "merged"), REASONING)
def test_reasoning_that_is_no_text(values, merged):
    chunks = [chunk(additional_kwargs={"reasoning_content": value}) for value in values]
    assert collect(chunks) == core(chunks)
    assert collect(chunks).additional_kwargs == {"reasoning_content": merged}


def test_a_finish_reason_that_comes_twice():
    chunks = [chunk("Hi"), *[chunk(response_metadata={"finish_reason": "stop"})] * 2]
    assert core(chunks).response_metadata["finish_reason"] == "stopstop"
    assert collect(chunks).response_metadata["finish_reason"] == "stop"


def test_a_server_tool_call_is_whole_at_the_end():
    said = {"type": "server_tool_call_chunk", "id": "s1", "name": "web", "args": '{"q": 1}'}
    version = {"output_version": "v1"}
    chunks = [chunk([said], response_metadata=version), chunk(), chunk(chunk_position="last")]
    assert collect(chunks) == core(chunks)
    assert collect(chunks).content == [{**said, "type": "server_tool_call", "args": {"q": 1}}]


# Any chunks.

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@st.composite
def raw_arguments(draw):
    """The text of a call's arguments, sometimes a part of it."""
    value = draw(st.dictionaries(st.text(max_size=3), json_values, max_size=2))
    raw = json.dumps(value, ensure_ascii=draw(st.booleans()))
    kept = draw(st.integers(1, len(raw))) if draw(st.integers(0, 3)) == 0 else len(raw)
    return draw(st.sampled_from(["", raw[:kept], raw[:kept]]))


@st.composite
def call_chunks(draw, index):
    """One call: its raw arguments, and its chunks in their order."""
    raw, size = draw(raw_arguments()), draw(st.integers(1, 9))
    first, *rest = pieces(raw, size) or [""]
    bundled = draw(st.booleans())  # the first fragment comes with the name
    chunks = [chunk("", (first if bundled else "", f"tool{index}", f"c{index}", index))]
    rest = rest if bundled else [first, *rest]
    text = st.sampled_from(["", "", "", "beside"])
    return raw, chunks + [chunk(draw(text), (piece, None, None, index)) for piece in rest]


plain_chunks = st.one_of(
    st.text(max_size=4).map(chunk),
    st.text(max_size=4).map(lambda text: chunk(additional_kwargs={"reasoning_content": text})),
    st.text(max_size=4).map(lambda text: chunk([{"type": "text", "text": text, "index": 0}])),
    st.text(max_size=4).map(lambda text: chunk([text])),
    st.sampled_from(
        [
            chunk([]),
            chunk([{"type": "thinking", "thinking": "hm", "index": 1}]),
            chunk(usage_metadata=USAGE),
            chunk(response_metadata={"count": 1, "list": [1], "flags": {"a": "b"}}),
            chunk("said", additional_kwargs={"other": "text"}),
            chunk("said", additional_kwargs={"reasoning_content": "both"}),
            chunk(provider="zai"),
            chunk("said", provider="zai"),
            chunk("named").model_copy(update={"id": "msg_1"}),
            chunk("nameless").model_copy(update={"id": None}),
        ]
    ),
)


@st.composite
def streams(draw):
    """The raw arguments of some calls, and chunks in which they and other things take turns."""
    calls = [draw(call_chunks(index)) for index in range(draw(st.integers(0, 3)))]
    queues = [list(chunks) for _, chunks in calls]
    queues += [[item] for item in draw(st.lists(plain_chunks, max_size=8))]
    turns = draw(st.permutations([at for at, queue in enumerate(queues) for _ in queue]))
    if draw(st.booleans()):
        turns = sorted(turns)  # as most servers do it: runs of like chunks
    finish = draw(st.sampled_from(["stop", "tool_calls", "length"]))
    last = chunk(response_metadata={"finish_reason": finish}, chunk_position="last")
    return [raw for raw, _ in calls], [*(queues[at].pop(0) for at in turns), last], finish


def is_object(raw):
    try:
        return isinstance(json.loads(raw or "{}"), dict)
    except ValueError:
        return False


@settings(max_examples=150, deadline=None)
@given(streams())
def test_any_chunks(stream):
    raws, chunks, finish = stream
    message, merged = collect(chunks), core(chunks)
    assert without_calls(message) == without_calls(merged)
    if finish != "length" and all(map(is_object, raws)):
        assert message == merged
    all_calls = message.tool_calls + message.invalid_tool_calls
    assert {call["id"] for call in all_calls} == {f"c{index}" for index in range(len(raws))}
    for call in message.tool_calls:
        assert call["args"] == json.loads(raws[int(call["id"][1:])] or "{}")
    for call in message.invalid_tool_calls:
        assert call["args"] == raws[int(call["id"][1:])]
        assert finish == "length" or not is_object(call["args"])


@settings(max_examples=100, deadline=None)
@given(streams())
def test_the_events_of_any_chunks(stream):
    chunks = [item for item in stream[1] if isinstance(item.content, str)]
    (seen,) = read(tool_call_events(chunks))
    assert seen.finished.message == collect(chunks)
    assert len(seen.calls) == len(stream[0])


# Linear time. Calls are counted: they are the same on every machine.


def calls_made(function, *arguments):
    """How often each function is called meanwhile."""
    counts = Counter()

    def count(frame, event, called):
        if event == "call":
            counts[frame.f_code.co_name] += 1
        elif event == "c_call":
            counts[called.__name__] += 1

    sys.setprofile(count)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return counts


PIECE = "abcdefgh" * 10


def long_stream(provider, fragments, begin='{"text": "'):
    """A call whose arguments have this many fragments; of "interleaved" two, in turns."""
    raw = begin.rjust(len(PIECE)) + PIECE + '"}'
    calls = [(f"c{n}", "write", raw) for n in range(1 + (provider == "interleaved"))]
    chunks = PROVIDERS[provider](Answer(calls=tuple(calls)), len(PIECE))
    middle = [c for c in chunks if any(p["args"] == PIECE for p in c.tool_call_chunks)]
    at = chunks.index(middle[0])
    return [*chunks[:at], *middle * (fragments // len(middle)), *chunks[at + len(middle) :]]


IN_FRAGMENTS = sorted(PROVIDERS.keys() - {"gemini"})


@pytest.mark.parametrize("provider", IN_FRAGMENTS)
def test_four_times_the_text_is_four_times_the_work(provider):
    little, much = (
        calls_made(collect, long_stream(provider, fragments)).total()
        for fragments in (1_000, 4_000)
    )
    assert much < 4.1 * little
    assert much < 100 * 4_000


@pytest.mark.parametrize("provider", IN_FRAGMENTS)
def test_broken_json_is_parsed_once(provider):
    """Core drops character after character from the end and parses each time."""
    chunks = long_stream(provider, 2_500, begin='{"a": 1,, "text": "')  # 200 KB
    counts = calls_made(collect, chunks)
    assert counts["raw_decode"] <= 4
    assert counts["parse_partial_json"] == 0


@pytest.mark.parametrize("fragments", [1_000, 20_000])
def test_a_run_of_like_chunks_is_merged_as_one(fragments, monkeypatch):
    seen = []
    bulk = type(chunk()).__add__
    monkeypatch.setattr(type(chunk()), "__add__", lambda a, b: seen.append(len(b)) or bulk(a, b))
    item = chunk("", ("abcd", None, None, 0))
    chunks = [chunk("a"), chunk("", ('{"a": "', "write", "c1", 0)), *[item] * fragments]
    chunks += [chunk("b"), chunk("c"), chunk("", ('"}', None, None, 0))]
    assert collect(chunks).content == "abc"
    assert seen == [3]
