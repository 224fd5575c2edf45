"""Recorded bodies through the whole of `ChatGLM`, over HTTP: `pytest --recordings DIR`.

Three bodies written by hand always run, so that these tests are known to work.
"""

import functools
import json
import operator

import openai
import pytest
from langchain_core.messages import AIMessageChunk
from recordings import Answer, Recording, reassemble, recordings_in, seed

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMError
from langchain_glm.testing import GLMServer, Raw

STREAM = Recording(
    "by-hand.sse",
    b""": a comment

data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":{"role":"assistant",\
"reasoning_content":"Two "}}]}

data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":{"role":"assistant",\
"reasoning_content":"cities."}}]}

data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":{"role":"assistant",\
"content":"\xe5\xa5\xbd"}}]}

data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,\
"id":"call_a","type":"function","function":{"name":"weather","arguments":"{\\"city\\": "}}]}}]}

data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,\
"function":{"arguments":"\\"\xe5\x8c\x97\xe4\xba\xac\\"}"}}]}}]}

data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,\
"id":"call_b","type":"function","function":{"name":"weather","arguments":"{}"}}]}}]}

data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"finish_reason":"tool_calls","delta":{\
"role":"assistant","content":""}}],"usage":{"prompt_tokens":5,"completion_tokens":7,\
"total_tokens":12,"prompt_tokens_details":{"cached_tokens":3}}}

data: [DONE]

""",
)
WHOLE = Recording(
    "by-hand.json",
    b"""{"id": "1", "model": "glm-4.7", "choices": [{"index": 0, "finish_reason": "length",
    "message": {"role": "assistant", "content": "Well", "tool_calls": [{"index": 0, "id": "call_a",
    "type": "function", "function": {"name": "weather", "arguments": "{\\"city\\": \\"Ber"}}]}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}""",
)
REFUSAL = Recording("refused.http429.json", b'{"error": {"code": "1302", "message": "Wait"}}', 429)
BROKEN_OFF = Recording(
    "broken-off.sse",
    b"""data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":{"content":"Hi"}}]}

event: error
data: {"error":{"code":"1305","message":"Busy"}}

""",
)

ERRORS = {
    "401": openai.AuthenticationError,
    "1113": openai.RateLimitError,
    "1210": openai.BadRequestError,
    "1214": openai.BadRequestError,
    "1302": openai.RateLimitError,
    "1305": openai.RateLimitError,
}


def pytest_generate_tests(metafunc):
    for kind in {"stream", "whole", "failure"}.intersection(metafunc.fixturenames):
        every = [STREAM, WHOLE, REFUSAL, BROKEN_OFF, *recordings_in(metafunc.config)]
        wanted = [recording for recording in every if kind_of(recording) == kind]
        metafunc.parametrize(kind, wanted, ids=[recording.name for recording in wanted])


def kind_of(recording):
    if reassemble(recording).error:
        return "failure"
    return "stream" if recording.is_stream else "whole"


async def ask(way, model):
    if way == "invoke":
        return model.invoke("Hello")
    if way == "ainvoke":
        return await model.ainvoke("Hello")
    if way == "stream":
        return functools.reduce(operator.add, model.stream("Hello"))
    if way == "astream":
        return functools.reduce(operator.add, [chunk async for chunk in model.astream("Hello")])
    if way == "v3":
        return model.stream_events("Hello", version="v3").output
    return await (await model.astream_events("Hello", version="v3")).output


async def replay(recording, way, pieces=None):
    media = "text/event-stream" if recording.is_stream else "application/json"
    body = recording.body if pieces is None else pieces
    with GLMServer(Raw(body, recording.status, media)) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=0)
        return await ask(way, model)


def value_of(arguments):
    """The arguments as a dict, as text where they are no JSON."""
    if isinstance(arguments, dict):
        return arguments
    try:
        return json.loads(arguments or "")
    except ValueError:
        return arguments or ""


def assert_says(message, answer):
    assert message.text == answer.text
    assert message.additional_kwargs.get("reasoning_content", "") == answer.reasoning
    # The parsed calls of a sum are core's: of a cut call they are a guess.
    calls = (
        message.tool_call_chunks
        if isinstance(message, AIMessageChunk)
        else [*message.tool_calls, *message.invalid_tool_calls]
    )
    assert [(c["id"], c["name"], value_of(c["args"])) for c in calls] == [
        (id_, name, value_of(arguments)) for id_, name, arguments in answer.calls
    ]
    assert message.response_metadata.get("finish_reason") == answer.finish_reason
    assert message.response_metadata["model_name"] == answer.model
    assert message.response_metadata.get("token_usage") == answer.usage
    assert_counts(message.usage_metadata, answer.usage)


def assert_counts(counts, usage):
    if usage is None:
        assert counts is None
        return
    named = ("input_tokens", "output_tokens", "total_tokens")
    wire = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert [counts[name] for name in named] == [usage[name] for name in wire]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    assert counts.get("input_token_details", {}).get("cache_read") == cached
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    assert counts.get("output_token_details", {}).get("reasoning") == reasoning


def test_the_plain_reassembly_of_a_stream():
    assert reassemble(STREAM) == Answer(
        text="好",
        reasoning="Two cities.",
        calls=[("call_a", "weather", '{"city": "北京"}'), ("call_b", "weather", "{}")],
        usage={
            "prompt_tokens": 5,
            "completion_tokens": 7,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
        finish_reason="tool_calls",
        model="glm-4.7",
        error=None,
    )


def test_the_plain_reassembly_of_a_whole_answer():
    assert reassemble(WHOLE) == Answer(
        text="Well",
        reasoning="",
        calls=[("call_a", "weather", '{"city": "Ber')],
        usage={"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        finish_reason="length",
        model="glm-4.7",
        error=None,
    )


def test_the_pieces_of_a_split_make_the_body_and_the_seed_decides():
    assert b"".join(STREAM.split(1)) == STREAM.body
    assert STREAM.split(1) == STREAM.split(1) != STREAM.split(2)
    assert any(len(piece) == 1 for piece in STREAM.split(1))


@pytest.mark.parametrize("way", ["stream", "astream", "v3", "async v3"])
async def test_a_stream_in_one_piece(stream, way):
    assert_says(await replay(stream, way), reassemble(stream))


@pytest.mark.parametrize("way", ["stream", "astream", "v3", "async v3"])
async def test_a_stream_split_at_random(stream, way, pytestconfig):
    print(f"--recordings-seed {seed(pytestconfig)}")
    pieces = stream.split(seed(pytestconfig))
    assert_says(await replay(stream, way, pieces), reassemble(stream))


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_whole_answer(whole, way):
    assert_says(await replay(whole, way), reassemble(whole))


@pytest.mark.parametrize("way", ["stream", "astream", "v3", "async v3", "invoke", "ainvoke"])
async def test_a_failure(failure, way):
    error = reassemble(failure).error
    if failure.is_stream and way in {"invoke", "ainvoke"}:
        way = "stream"
    with pytest.raises(GLMError) as raised:
        await replay(failure, way)
    assert raised.value.code == error["code"]
    assert raised.value.status_code == failure.status
    assert error["message"] in str(raised.value)
    assert isinstance(raised.value, ERRORS.get(error["code"], openai.APIError))
    assert type(raised.value) is not GLMError


def test_a_stream_recorded_as_contributing_says(stream, tmp_path):
    with GLMServer(Raw(stream.body)) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key", include_raw_response=True)
        with (tmp_path / "stream.sse").open("w", encoding="utf-8", newline="\n") as file:
            for chunk in model.stream("Hello"):
                for frame in chunk.additional_kwargs.get("raw_response", ()):
                    file.write(f"data: {frame}\n\n")
            file.write("data: [DONE]\n\n")
    again = Recording("stream.sse", (tmp_path / "stream.sse").read_bytes())
    assert reassemble(again) == reassemble(stream)
