"""The same reply is the same message, whichever way it was asked for.

LangChain itself makes these differences, and only these are allowed for: its v3 numbers the
blocks of a message (`index`) and shows a call that must not run as a block, which the
`content_blocks` of other messages never do; and chunks that a caller adds up by hand have such
calls parsed leniently.
"""

import json

import pytest
import ways

from langchain_glm import ChatGLM
from langchain_glm.testing import GLMServer, Raw

ENVELOPE = {"id": "20260101abcd", "request_id": "r-17", "created": 1, "model": "glm-4.7-0101"}
SEARCH = [{"title": "T", "link": "https://a.example", "refer": "ref_1"}]
CITATIONS = [
    {
        "type": "citation",
        "title": "T",
        "url": "https://a.example",
        "extras": {"refer": "ref_1"},
    }
]
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 45,
    "total_tokens": 165,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
USAGE_METADATA = {
    "input_tokens": 120,
    "output_tokens": 45,
    "total_tokens": 165,
    "input_token_details": {"cache_read": 100},
    "output_token_details": {"reasoning": 30},
}


def call(index, id_, name, arguments):
    function = {"name": name, "arguments": arguments}
    return {"id": id_, "index": index, "type": "function", "function": function}


READ = call(0, "call_r", "read", '{"path": "é.py"}')
WRITE = call(1, "call_w", "write", '{"path": "b", "lines": [1, 2.5, null]}')
TWO = [READ, WRITE]


def split(text, size=3):
    return [text[start : start + size] for start in range(0, len(text), size)]


def answer(*, reasoning="", text="", calls=(), finish="stop", usage=USAGE, web_search=None):
    """The same reply twice over: whole, and as a stream with the very same ids."""
    envelope = {**ENVELOPE, **({"web_search": web_search} if web_search else {})}
    message = {"role": "assistant", "content": text}
    message |= {"reasoning_content": reasoning} if reasoning else {}
    message |= {"tool_calls": list(calls)} if calls else {}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    whole = {**envelope, "choices": [choice], **({"usage": usage} if usage else {})}

    deltas = [{"reasoning_content": piece} for piece in split(reasoning)]
    deltas += [{"content": piece} for piece in split(text)]
    for one in calls:
        name, arguments = one["function"].values()
        deltas.append({"tool_calls": [{**one, "function": {"name": name, "arguments": ""}}]})
        for piece in split(arguments):
            fragment = {"index": one["index"], "function": {"arguments": piece}}
            deltas.append({"tool_calls": [fragment]})
    frames = [{**ENVELOPE, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    end = {"index": 0, "finish_reason": finish, "delta": {"role": "assistant", "content": ""}}
    frames.append({**envelope, "choices": [end], **({"usage": usage} if usage else {})})
    return serve(whole, frames)


def serve(whole, frames):
    events = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames) + "data: [DONE]\n\n"
    streamed, whole = Raw(events), Raw(json.dumps(whole), content_type="application/json")
    return lambda request: streamed if request.body["stream"] else whole


async def by_invoke_of_a_streaming_model(model):
    return model.invoke("hi", stream=True)


async def by_ainvoke_of_a_streaming_model(model):
    return await model.ainvoke("hi", stream=True)


ADDED_BY_HAND = [ways.stream, ways.astream, ways.bulk_merge]
SETTLED = [
    ways.ainvoke,
    ways.v3,
    ways.av3,
    by_invoke_of_a_streaming_model,
    by_ainvoke_of_a_streaming_model,
]
EVERY_OTHER_WAY = [*ADDED_BY_HAND, ways.v2, *SETTLED]


def blocks(message):
    plain = [{k: v for k, v in block.items() if k != "index"} for block in message.content_blocks]
    return [block for block in plain if block["type"] != "invalid_tool_call"]


def invalid_blocks(message):
    return [block for block in message.content_blocks if block["type"] == "invalid_tool_call"]


def facts(message):
    """All that a reader of a message goes by."""
    metadata = message.response_metadata
    return {
        "text": message.text,
        "content_blocks": blocks(message),
        "tool_calls": message.tool_calls,
        "usage_metadata": message.usage_metadata,
        "reasoning_content": message.additional_kwargs.get("reasoning_content"),
        "response_metadata": {key: metadata[key] for key in metadata if key != "output_version"},
    }


async def ask_each_way(reply, each, **fields):
    with GLMServer(reply) as server:
        model = ChatGLM(api_key="test-key", base_url=server.base_url, **fields)
        return {ask.__name__: await ask(model) for ask in [ways.invoke, *each]}


REPLIES = [
    pytest.param(
        {
            "reasoning": "Überlegt",
            "text": "Ich lese.",
            "calls": TWO,
            "finish": "tool_calls",
            "web_search": SEARCH,
        },
        id="everything",
    ),
    pytest.param({"text": "Hello"}, id="text only"),
    pytest.param({"text": "Hello", "usage": None}, id="no usage"),
    pytest.param({"text": "Hello", "web_search": SEARCH}, id="text and web search"),
    pytest.param(
        {"calls": [READ], "finish": "tool_calls", "web_search": SEARCH}, id="web search, no text"
    ),
    pytest.param({"reasoning": "Hm.", "text": "Hello"}, id="reasoning and text"),
    pytest.param({"reasoning": "Hm."}, id="reasoning only"),
    pytest.param({"calls": TWO, "finish": "tool_calls"}, id="calls only"),
    pytest.param({"text": "I", "calls": [READ], "finish": "tool_calls"}, id="text and a call"),
    pytest.param(
        {"reasoning": "Hm.", "calls": [READ], "finish": "tool_calls"}, id="reasoning and a call"
    ),
    pytest.param({"calls": [call(0, "c", "now", "{}")], "finish": "tool_calls"}, id="no arguments"),
    pytest.param(
        {"calls": [call(0, "c", "now", "")], "finish": "tool_calls"}, id="empty arguments"
    ),
    pytest.param({"text": ""}, id="nothing"),
    pytest.param({"text": "Hel", "finish": "length"}, id="cut text"),
    pytest.param({"text": " \n", "finish": "sensitive"}, id="blanks"),
]


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("reply", REPLIES)
async def test_every_way_gives_the_same_message(reply, version):
    messages = await ask_each_way(answer(**reply), EVERY_OTHER_WAY, output_version=version)
    expected = facts(messages.pop("invoke"))
    for way, message in messages.items():
        assert facts(message) == expected, way
        assert message.invalid_tool_calls == [], way


async def test_the_message_of_everything():
    reply = REPLIES[0].values[0]
    message = (await ask_each_way(answer(**reply), []))["invoke"]
    read = {"type": "tool_call", "id": "call_r", "name": "read", "args": {"path": "é.py"}}
    write_args = {"path": "b", "lines": [1, 2.5, None]}
    write = {"type": "tool_call", "id": "call_w", "name": "write", "args": write_args}
    assert facts(message) == {
        "text": "Ich lese.",
        "content_blocks": [
            {"type": "reasoning", "reasoning": "Überlegt"},
            {"type": "text", "text": "Ich lese.", "annotations": CITATIONS},
            read,
            write,
        ],
        "tool_calls": [read, write],
        "usage_metadata": USAGE_METADATA,
        "reasoning_content": "Überlegt",
        "response_metadata": {
            "finish_reason": "tool_calls",
            "model_name": "glm-4.7-0101",
            "model_provider": "zai",
            "id": "20260101abcd",
            "request_id": "r-17",
            "web_search": SEARCH,
            "token_usage": USAGE,
        },
    }


async def test_no_usage_is_no_key():
    messages = await ask_each_way(answer(text="Hello", usage=None), EVERY_OTHER_WAY)
    for way, message in messages.items():
        assert message.usage_metadata is None, way
        assert "token_usage" not in message.response_metadata, way


# Calls that must not run

OPEN = call(0, "call_o", "write", '{"path": "big.txt", "content": "half of')
CLOSED = call(0, "call_c", "write", '{"path": "big.txt"}')
BROKEN = call(0, "call_b", "write", '{"path": }')
INVALID = [
    pytest.param([OPEN], "length", ["call_o"], id="cut inside a string"),
    pytest.param([CLOSED], "length", ["call_c"], id="cut though the JSON is valid"),
    pytest.param([call(0, "c", "write", "")], "length", ["c"], id="cut after the name"),
    pytest.param([READ, {**OPEN, "index": 1}], "length", ["call_o"], id="cut in the second call"),
    pytest.param([BROKEN], "tool_calls", ["call_b"], id="broken, not cut"),
    pytest.param([{**OPEN}], "tool_calls", ["call_o"], id="unterminated, not cut"),
    pytest.param([call(0, "c", "write", "[1]")], "tool_calls", ["c"], id="no object"),
]


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize(("calls", "finish", "invalid"), INVALID)
async def test_calls_that_must_not_run_are_the_same(calls, finish, invalid, version):
    reply = answer(reasoning="Hm.", text="I write.", calls=calls, finish=finish)
    messages = await ask_each_way(reply, SETTLED, output_version=version)
    first = messages["invoke"]
    assert [call["id"] for call in first.invalid_tool_calls] == invalid
    texts = {call["id"]: call["function"]["arguments"] for call in calls}
    for way, message in messages.items():
        assert facts(message) == facts(first), way
        found = [{**one, "args": one["args"] or ""} for one in message.invalid_tool_calls]
        assert found == first.invalid_tool_calls, way  # core's v3 makes None of ""
        assert [one["args"] for one in found] == [texts[id_] for id_ in invalid], way
        shown = first.invalid_tool_calls if "v3" in way else []
        assert invalid_blocks(message) == shown, way


@pytest.mark.parametrize(("calls", "finish", "invalid"), INVALID)
async def test_chunks_added_by_hand_differ_only_in_such_calls(calls, finish, invalid):
    reply = answer(reasoning="Hm.", text="I write.", calls=calls, finish=finish)
    messages = await ask_each_way(reply, ADDED_BY_HAND)
    expected = facts(messages.pop("invoke"))
    for way, message in messages.items():
        found = facts(message)
        for difference in ("tool_calls", "content_blocks"):
            found.pop(difference)
        assert found == {key: expected[key] for key in found}, way
        assert {c["id"] for c in message.tool_calls + message.invalid_tool_calls} == {
            call["id"] for call in calls
        }, way


# Usage, wherever a server puts it

HALF = {"prompt_tokens": 120, "completion_tokens": 20, "total_tokens": 140}


def frame(delta=None, finish=None, *, usage=None, choices=True):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {**ENVELOPE, "choices": [choice] if choices else [], "usage": usage}


USAGE_PLACES = [
    pytest.param([frame({"content": "Hi"}), frame({}, "stop", usage=USAGE)], id="finishing chunk"),
    pytest.param(
        [frame({"content": "Hi"}), frame({}, "stop"), frame(choices=False, usage=USAGE)],
        id="no choices",
    ),
    pytest.param(
        [frame({"content": "Hi"}), frame({}, "stop"), frame({}, usage=USAGE)],
        id="a null finish after the finish",
    ),
    pytest.param(
        [frame({"content": "Hi"}), frame({}, "stop"), frame({}, "stop", usage=USAGE)],
        id="a second finishing chunk",
    ),
    pytest.param(
        [
            frame({"content": "H"}, usage=HALF),
            frame({"content": "i"}, usage=HALF),
            frame({}, "stop", usage=USAGE),
            frame(choices=False, usage=USAGE),
        ],
        id="running totals on every chunk",
    ),
    pytest.param([frame({"content": "Hi"}, "stop", usage=USAGE)], id="one chunk for all"),
    pytest.param(
        [frame(choices=False, usage=USAGE), frame({"content": "Hi"}), frame({}, "stop")],
        id="before all else",
    ),
]


@pytest.mark.parametrize("frames", USAGE_PLACES)
async def test_usage_is_there_once(frames):
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "Hi"}}
    whole = {**ENVELOPE, "choices": [choice], "usage": USAGE}
    messages = await ask_each_way(serve(whole, frames), EVERY_OTHER_WAY)
    for way, message in messages.items():
        assert message.usage_metadata == USAGE_METADATA, way
        assert message.response_metadata["token_usage"] == USAGE, way
        assert (message.text, message.response_metadata["finish_reason"]) == ("Hi", "stop"), way


@pytest.mark.parametrize("frames", USAGE_PLACES)
async def test_one_chunk_alone_carries_the_usage(frames):
    with GLMServer(serve({}, frames)) as server:
        model = ChatGLM(api_key="test-key", base_url=server.base_url)
        sync = list(model.stream("hi"))
        asynchronous = [chunk async for chunk in model.astream("hi")]
    for chunks in (sync, asynchronous):
        carried = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
        assert carried == [USAGE_METADATA]
