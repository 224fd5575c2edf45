"""What matters most, as recorded requests and answers: `cassettes/`, replayed without a network.

Each scenario is one cassette: what is asked, and what comes out. `make record` makes them again
(see `tests/cassettes.py`); the scripts here are what `GLMServer` says where no live API does. What
an answer says is also read plainly from the cassette, so that a live recording is held to it too.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import json
import operator
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import openai
import pytest
import yaml
from langchain_core.messages import HumanMessage, ToolMessage
from recordings import reassemble

from cassettes import (
    FOLDER,
    answers_in,
    cassette,
    is_scripted,
    read,
    record,
    replay,
    requests_in,
)
from langchain_glm import ChatGLM
from langchain_glm.errors import (
    GLMAuthenticationError,
    GLMContentFilterError,
    GLMContextOverflowError,
    GLMError,
    GLMInvalidRequestError,
    GLMModelNotFoundError,
    GLMOverloadedError,
    GLMPermissionDeniedError,
    GLMQuotaError,
    GLMRateLimitError,
    GLMServerError,
)
from langchain_glm.testing import Call, Fail, GLMServer, Raw, Reply


def function(name, description, **properties):
    """A tool as it is sent: nothing in it depends on the version of a library."""
    fields = {key: {"type": "string", "description": text} for key, text in properties.items()}
    parameters = {"type": "object", "properties": fields, "required": list(fields)}
    described = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": described}


WRITE_FILE = function("write_file", "Write a file.", path="Where", content="The whole text")
WEATHER = function("weather", "The weather in a city.", city="The city's English name")

WHOLE = ("invoke", "ainvoke")
STREAMED = ("stream", "astream", "v3", "async v3")


@dataclass(frozen=True)
class Scenario:
    name: str
    """Of the file in `cassettes/`."""
    question: str
    script: Sequence[Any]
    """The answer to each request. Between two of them the calls get `result`."""
    ways: tuple[str, ...]
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """All that the model calls."""
    bound: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    result: str = ""
    live: bool = True
    """Whether the live API can be made to answer like that."""

    @property
    def path(self):
        return FOLDER / f"{self.name}.yaml"


PROGRAM = {"path": "hello.py", "content": 'print("你好, GLM!")\nprint(2 ** 10)\n'}
WRITE_PROGRAM = "Call write_file once: hello.py, with these two lines:\n" + PROGRAM["content"]

WITH_TOOL_STREAM = Scenario(
    "tool-stream",
    question=WRITE_PROGRAM,
    bound={"tools": [WRITE_FILE]},
    script=[
        Reply(
            reasoning="The user wants a file. One call will do.",
            text="I'll write it.",
            tool_calls=[Call("write_file", PROGRAM)],
        )
    ],
    calls=[("write_file", PROGRAM)],
    ways=STREAMED,
)
WITHOUT_TOOL_STREAM = replace(
    WITH_TOOL_STREAM, name="tool-stream-off", fields={"tool_stream": False}
)
PARALLEL_CALLS = Scenario(
    "parallel-calls",
    question="What is the weather in Berlin and in Beijing? Call weather for both at once.",
    bound={"tools": [WEATHER]},
    script=[
        Reply(
            reasoning="Two cities: two calls.",
            tool_calls=[Call("weather", {"city": "Berlin"}), Call("weather", {"city": "Beijing"})],
        )
    ],
    calls=[("weather", {"city": "Berlin"}), ("weather", {"city": "Beijing"})],
    ways=STREAMED,
)
REASONING_SENT_BACK = Scenario(
    "reasoning-sent-back",
    question="Call weather for Berlin, then tell me in one sentence what to wear.",
    bound={"tools": [WEATHER]},
    script=[
        Reply(
            reasoning="First the weather, then the coat.",
            tool_calls=[Call("weather", {"city": "Berlin"})],
        ),
        Reply(reasoning="Rain it is, as I wondered.", text="Take a raincoat."),
    ],
    result="9 °C and rain",
    calls=[("weather", {"city": "Berlin"})],
    ways=STREAMED,
)
REASONING_SENT_BACK_WHOLE = replace(
    REASONING_SENT_BACK, name="reasoning-sent-back-whole", ways=WHOLE
)
STRUCTURED_OUTPUT = Scenario(
    "structured-output",
    question='The capital of Germany, as JSON: {"city": "...", "country": "..."}. Nothing else.',
    bound={"response_format": {"type": "json_object"}},
    script=[Reply(text='{"city": "Berlin", "country": "Germany"}')],
    ways=WHOLE,
)
USAGE = {
    "prompt_tokens": 13,
    "completion_tokens": 9,
    "total_tokens": 22,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 7},
}
USAGE_STREAMED = Scenario(
    "usage-streamed",
    question="Say: ready.",
    script=[Reply(reasoning="One word is asked for.", text="Ready.", usage=USAGE)],
    ways=STREAMED,
)
USAGE_WHOLE = replace(USAGE_STREAMED, name="usage-whole", ways=WHOLE)

ANSWERS = [
    WITH_TOOL_STREAM,
    WITHOUT_TOOL_STREAM,
    PARALLEL_CALLS,
    REASONING_SENT_BACK,
    REASONING_SENT_BACK_WHOLE,
    STRUCTURED_OUTPUT,
    USAGE_STREAMED,
    USAGE_WHOLE,
]


class Failure(NamedTuple):
    scenario: Scenario
    error: type[Exception]
    openais: type[Exception]
    code: str
    status: int


def failure(name, error, openais, fail, **more):
    asked = {"question": "Hello", "ways": WHOLE, "live": False, **more}
    scenario = Scenario(f"error-{fail.code}-{name}", script=[fail], **asked)
    return Failure(scenario, error, openais, fail.code, fail.status)


BROKEN_OFF = Failure(
    Scenario(
        "error-1305-in-a-stream",
        question="Hello",
        script=[
            Raw(
                'data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":'
                '{"role":"assistant","content":"Good mor"}}]}\n\n'
                'data: {"error":{"code":"1305","message":"The model is busy"}}\n\n'
            )
        ],
        ways=STREAMED,
        live=False,
    ),
    GLMOverloadedError,
    openai.RateLimitError,
    "1305",
    200,
)
FAILURES = [
    failure(
        "authentication",
        GLMAuthenticationError,
        openai.AuthenticationError,
        Fail(401, "401", "token expired or incorrect"),
        fields={"api_key": "not-a-key"},
        live=True,
    ),
    failure(
        "permission",
        GLMPermissionDeniedError,
        openai.PermissionDeniedError,
        Fail(403, "1220", "You do not have permission to access this API"),
    ),
    failure(
        "quota",
        GLMQuotaError,
        openai.RateLimitError,
        Fail(429, "1113", "Insufficient balance or no resource package. Please recharge."),
    ),
    failure(
        "rate-limit",
        GLMRateLimitError,
        openai.RateLimitError,
        Fail(429, "1302", "High concurrency usage of this API"),
    ),
    failure(
        "invalid-request",
        GLMInvalidRequestError,
        openai.BadRequestError,
        Fail(400, "1210", "This model always engages in thinking and cannot be disabled"),
        fields={"model": "glm-5.3"},
        bound={"extra_body": {"thinking": {"type": "disabled"}}},  # by name it would not be sent
        live=True,
    ),
    failure(
        "model-not-found",
        GLMModelNotFoundError,
        openai.NotFoundError,
        Fail(400, "1211", "Unknown model, please check the model code"),
        fields={"model": "glm-0"},
    ),
    failure(
        "context-overflow",
        GLMContextOverflowError,
        openai.BadRequestError,
        Fail(400, "1261", "Prompt exceeds the maximum length"),
    ),
    failure(
        "content-filter",
        GLMContentFilterError,
        openai.BadRequestError,
        Fail(400, "1301", "系统检测到输入或生成内容可能包含不安全或敏感内容"),
    ),
    failure(
        "server",
        GLMServerError,
        openai.InternalServerError,
        Fail(500, "500", "Internal error"),
    ),
    BROKEN_OFF,
]
SCENARIOS = [*ANSWERS, *(failure.scenario for failure in FAILURES)]


def in_each_way(scenarios):
    return [
        pytest.param(scenario, way, id=f"{scenario.name} {way}")
        for scenario in scenarios
        for way in scenario.ways
    ]


async def ask(model, way, messages):
    if way == "invoke":
        return model.invoke(messages)
    if way == "ainvoke":
        return await model.ainvoke(messages)
    if way == "stream":
        return functools.reduce(operator.add, model.stream(messages))
    if way == "astream":
        return functools.reduce(operator.add, [chunk async for chunk in model.astream(messages)])
    if way == "v3":
        return model.stream_events(messages, version="v3").output
    return await (await model.astream_events(messages, version="v3")).output


async def converse(scenario, way, connection):
    """Make the scenario's requests; the answers."""
    model = ChatGLM(**(connection | scenario.fields)).bind(**scenario.bound)
    messages, answers = [HumanMessage(scenario.question)], []
    for _ in scenario.script:
        answer = await ask(model, way, messages)
        results = [ToolMessage(scenario.result, tool_call_id=c["id"]) for c in answer.tool_calls]
        messages += [answer, *results]
        answers.append(answer)
    return answers


async def play(scenario, way):
    with cassette(scenario.name, scenario.script, live=scenario.live) as connection:
        return await converse(scenario, way, connection)


def assert_says(message, answer):
    """The message is what the plain reading of the recorded answer gives."""
    assert message.text == answer.text
    assert message.additional_kwargs.get("reasoning_content", "") == answer.reasoning
    assert [(call["id"], call["name"], call["args"]) for call in message.tool_calls] == [
        (id_, name, json.loads(arguments)) for id_, name, arguments in answer.calls
    ]
    assert message.invalid_tool_calls == []
    assert message.response_metadata["finish_reason"] == answer.finish_reason
    assert message.response_metadata["model_name"] == answer.model
    assert message.response_metadata["token_usage"] == answer.usage


@pytest.mark.parametrize(("scenario", "way"), in_each_way(ANSWERS))
async def test_an_answer(scenario, way):
    messages = await play(scenario, way)
    for message, recorded in zip(messages, answers_in(scenario.path), strict=True):
        assert_says(message, reassemble(recorded))
    calls = [(c["name"], c["args"]) for message in messages for c in message.tool_calls]
    assert calls == scenario.calls
    assert messages[-1].text or calls


@pytest.mark.parametrize(("scenario", "way"), in_each_way(f.scenario for f in FAILURES))
async def test_an_error(scenario, way):
    [expected] = [failure for failure in FAILURES if failure.scenario == scenario]
    with (
        cassette(scenario.name, scenario.script, live=scenario.live) as connection,
        pytest.raises(expected.error) as raised,
    ):
        await converse(scenario, way, connection)
    [answer] = answers_in(scenario.path)
    assert type(raised.value) is expected.error
    assert isinstance(raised.value, expected.openais)
    assert raised.value.code == reassemble(answer).error["code"] == expected.code
    assert raised.value.status_code == answer.status == expected.status
    assert reassemble(answer).error["message"] in str(raised.value)


async def argument_fragments(scenario):
    with cassette(scenario.name, scenario.script) as connection:
        model = ChatGLM(**(connection | scenario.fields)).bind(**scenario.bound)
        chunks = list(model.stream(scenario.question))
    pieces = [piece["args"] for chunk in chunks for piece in chunk.tool_call_chunks]
    return [piece for piece in pieces if piece]


async def test_with_tool_stream_arguments_come_in_fragments():
    fragments = await argument_fragments(WITH_TOOL_STREAM)
    assert len(fragments) > 1
    assert json.loads("".join(fragments)) == PROGRAM
    [body] = requests_in(WITH_TOOL_STREAM.path)
    assert body["stream"] is body["tool_stream"] is True


async def test_without_tool_stream_a_call_comes_whole():
    [whole] = await argument_fragments(WITHOUT_TOOL_STREAM)
    assert json.loads(whole) == PROGRAM
    [body] = requests_in(WITHOUT_TOOL_STREAM.path)
    assert body["stream"] is True
    assert "tool_stream" not in body


@pytest.mark.parametrize(
    "scenario", [REASONING_SENT_BACK, REASONING_SENT_BACK_WHOLE], ids=lambda s: s.name
)
async def test_reasoning_goes_back_beside_the_call_and_its_result(scenario):
    [first, _] = await play(scenario, scenario.ways[0])
    assert first.additional_kwargs["reasoning_content"]
    [_, body] = requests_in(scenario.path)
    [_, turn, result] = body["messages"]
    assert turn["reasoning_content"] == first.additional_kwargs["reasoning_content"]
    assert turn["tool_calls"][0]["id"] == result["tool_call_id"]
    assert result["content"] == "9 °C and rain"


async def test_structured_output_is_json():
    [message] = await play(STRUCTURED_OUTPUT, "invoke")
    assert json.loads(message.text) == {"city": "Berlin", "country": "Germany"}
    [body] = requests_in(STRUCTURED_OUTPUT.path)
    assert body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(("scenario", "way"), in_each_way([USAGE_STREAMED, USAGE_WHOLE]))
async def test_usage_is_counted_once_and_in_detail(scenario, way):
    [message] = await play(scenario, way)
    [recorded] = answers_in(scenario.path)
    usage = reassemble(recorded).usage
    assert message.usage_metadata == {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"],
        "input_token_details": {"cache_read": usage["prompt_tokens_details"]["cached_tokens"]},
        "output_token_details": {
            "reasoning": usage["completion_tokens_details"]["reasoning_tokens"]
        },
    }


async def test_what_came_before_an_error_in_a_stream_is_kept():
    scenario = BROKEN_OFF.scenario
    with (
        cassette(scenario.name, scenario.script, live=False) as connection,
        pytest.raises(GLMOverloadedError) as raised,
    ):
        await converse(scenario, "stream", connection)
    assert raised.value.partial.text == "Good mor"


# The recordings themselves.


def test_no_cassette_is_without_a_scenario():
    named = [scenario.path for scenario in SCENARIOS]
    assert set(FOLDER.iterdir()) - set(named) == set()
    assert len(named) == len(set(named))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_cassette_says_what_made_it_and_holds_no_more_than_it_has_to(scenario):
    written = read(scenario.path)
    assert set(written) == {"recorded", "interactions"}
    assert set(written["recorded"]) == {"by", "why" if is_scripted(scenario.path) else "date"}
    for interaction in written["interactions"]:
        assert set(interaction) == {"request", "response"}
        assert set(interaction["request"]) == {"method", "path", "body"}
        assert set(interaction["response"]) - {"frames", "body"} == {"status", "content_type"}
    text = scenario.path.read_text(encoding="utf-8").lower()
    hosts = ["127.0.0.1", "localhost"]
    headers = ["authorization", "bearer", "user-agent", "x-stainless", "set-cookie"]
    assert [word for word in [*hosts, *headers, "test-key", "not-a-key"] if word in text] == []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
async def test_recorded_again_a_script_gives_the_same_file(scenario, tmp_path):
    twice = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for path in twice:
        with (
            record(path, scenario.script, live=scenario.live) as connection,
            contextlib.suppress(GLMError),
        ):
            await converse(scenario, scenario.ways[0], connection)
    one, two = [path.read_bytes() for path in twice]
    assert one == two
    if is_scripted(scenario.path):
        assert one == scenario.path.read_bytes()


# The replay itself: what must fail, does.

fails = functools.partial(pytest.raises, pytest.fail.Exception)


@pytest.fixture
def two_questions(tmp_path):
    """A cassette of two requests."""
    path = tmp_path / "two-questions.yaml"
    with record(path, [Reply(text="Eins"), Reply(text="Zwei")]) as connection:
        model = ChatGLM(**connection)
        model.invoke("One?")
        model.invoke("Two?")
    return path


@pytest.mark.parametrize(("scenario", "way"), in_each_way([USAGE_STREAMED, USAGE_WHOLE]))
async def test_a_drifted_request_fails_with_a_diff_of_the_bodies(scenario, way):
    drifted = replace(scenario, question="Say: steady.", bound={"max_tokens": 5})
    with fails() as failed, replay(scenario.path) as connection:
        await converse(drifted, way, connection)
    lines = str(failed.value).splitlines()
    assert lines[0].startswith(f"{scenario.name}.yaml: the request is not the recorded one.")
    assert [line for line in lines if line.startswith(("+", "-"))] == [
        "--- recorded",
        "+++ asked",
        '+  "max_tokens": 5,',
        '-      "content": "Say: ready.",',
        '+      "content": "Say: steady.",',
    ]


@pytest.mark.parametrize(
    ("recorded", "asked"), [("1", "true"), ("1", "1.0"), ('"1"', "1")], ids=lambda v: v
)
def test_json_that_python_calls_equal_has_drifted_too(recorded, asked, tmp_path):
    with record(tmp_path / "equal.yaml", [Reply(text="Yes")]) as connection:
        ChatGLM(**connection).invoke("Hello", seed=json.loads(recorded))
    with fails(match=f'-  "seed": {recorded}'), replay(tmp_path / "equal.yaml") as connection:
        ChatGLM(**connection).invoke("Hello", seed=json.loads(asked))


def test_the_order_of_keys_is_no_drift(two_questions):
    text = two_questions.read_text(encoding="utf-8")
    reordered = yaml.safe_dump(yaml.safe_load(text), sort_keys=True)
    two_questions.write_text(reordered, encoding="utf-8")
    with replay(two_questions) as connection:
        assert ChatGLM(**connection).invoke("One?").text == "Eins"
        assert ChatGLM(**connection).invoke("Two?").text == "Zwei"


@pytest.mark.parametrize(
    ("fields", "diff"),
    [
        ({"endpoint": "zai-coding"}, "+POST /api/coding/paas/v4/chat/completions"),
        ({"default_query": {"beta": "1"}}, "+POST /api/paas/v4/chat/completions?beta=1"),
    ],
    ids=["path", "query"],
)
def test_another_path_or_query_has_drifted(fields, diff, two_questions):
    with fails() as failed, replay(two_questions) as connection:
        ChatGLM(**connection, **fields).invoke("One?")
    assert diff in str(failed.value).splitlines()


def test_one_request_more_than_recorded_fails(two_questions):
    with fails(match="one request more than was recorded"), replay(two_questions) as connection:
        model = ChatGLM(**connection)
        for question in ("One?", "Two?", "Two?"):
            model.invoke(question)


def test_a_request_that_was_not_made_again_fails(two_questions):
    with fails(match="1 of its 2 requests were made"), replay(two_questions) as connection:
        ChatGLM(**connection).invoke("Two?")


def test_a_cassette_that_was_not_played_fails(two_questions):
    with fails(match="0 of its 2 requests were made"), replay(two_questions):
        pass


def test_a_cassette_without_requests_fails(tmp_path):
    (tmp_path / "empty.yaml").write_text("interactions: []\n", encoding="utf-8")
    with fails(match="0 of its 0 requests were made"), replay(tmp_path / "empty.yaml"):
        pass


def test_a_missing_cassette_fails(tmp_path):
    with fails(match="there is no missing.yaml"), replay(tmp_path / "missing.yaml"):
        pass


def connect(port):
    with socket.socket() as sock:
        sock.connect(("127.0.0.1", port))


async def connect_async(port):
    await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize(
    "opened",
    [
        connect,
        lambda port: socket.create_connection(("127.0.0.1", port)),
        lambda port: asyncio.run(connect_async(port)),
    ],
    ids=["socket", "create_connection", "asyncio"],
)
def test_a_replay_can_open_no_connection(opened, two_questions):
    with GLMServer(Reply(text="From the network")) as server:
        port = urlsplit(server.base_url).port
        with (
            fails(match="a replay went to the network"),
            replay(two_questions),
            contextlib.suppress(OSError),
        ):
            opened(port)
        assert server.requests == []


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"a":"\\u2028 \xe2\x80\xa8 \xf0\x9f\x98\x80"}\n\ndata: [DONE]\n\n',
        b': a comment\n\ndata: {"a":1}\n\nevent: error\ndata: {"b":2}\r\n\r\ndata: [DONE]\n\n',
        b'data:{"a":1}\n\ndata: [DONE]',
        b"<html>\n  <body>502 \n</html>\n",
        b"",
    ],
    ids=["separators of lines", "more than frames", "other spaces", "no JSON", "empty"],
)
def test_no_byte_of_an_answer_is_lost(body, tmp_path):
    path = tmp_path / "odd.yaml"
    with (
        record(path, [Raw(body, 502)]) as connection,
        pytest.raises(openai.InternalServerError),
    ):
        ChatGLM(**connection).invoke("Hello")
    with replay(path) as connection, pytest.raises(openai.InternalServerError) as raised:
        ChatGLM(**connection).invoke("Hello")
    [answer] = answers_in(path)
    assert raised.value.response.content == answer.body == body


def test_a_recording_of_the_live_api_says_so_and_when(tmp_path, monkeypatch):
    path = tmp_path / "live.yaml"
    with GLMServer(Reply(text="Hi")) as server:
        monkeypatch.setattr("cassettes._ENDPOINT", server.base_url)
        with record(path, [], key="se.cret") as connection:
            ChatGLM(**connection).invoke("Hello")
    assert server.requests[0].headers["authorization"] == "Bearer se.cret"
    assert server.requests[0].headers["accept-encoding"] == "identity"
    made_by = read(path)["recorded"]
    assert made_by["by"] == f"the live API, {server.base_url}"
    assert dt.date.fromisoformat(made_by["date"]) <= dt.datetime.now(dt.timezone.utc).date()
    assert not is_scripted(path)


def test_what_cannot_be_had_live_stays_scripted(tmp_path):
    path = tmp_path / "scripted.yaml"
    with record(path, [Reply(text="Hi")], live=False, key="se.cret") as connection:
        ChatGLM(**connection).invoke("Hello")
    assert is_scripted(path)
    assert read(path)["recorded"]["why"].startswith("always scripted")


def test_what_fails_is_not_recorded(two_questions):
    before = two_questions.read_bytes()
    with pytest.raises(KeyError), record(two_questions, [Reply(text="Hi")]) as connection:
        raise KeyError(ChatGLM(**connection).invoke("Three?").text)
    assert two_questions.read_bytes() == before


def test_the_key_is_not_recorded(tmp_path):
    path = tmp_path / "key.yaml"
    with (
        fails(match="would hold the key"),
        record(path, [Reply(text="Hi")], live=False, key="se.cret") as connection,
    ):
        ChatGLM(**connection).invoke("My key is se.cret")
    assert not path.exists()
