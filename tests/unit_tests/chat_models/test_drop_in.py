"""Code that was written for `ChatOpenAI`, with its keyword names and the class swapped."""

import json

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_glm import ChatGLM
from langchain_glm.testing import Call, Fail, GLMServer, Raw, Reply

HELLO = Reply(text="Hello")
CALL = {"type": "tool_call", "id": "call_a", "name": "write_file", "args": {"path": "a"}}
WEB_SEARCH = {"type": "web_search", "web_search": {"enable": True}}


def make(model_class, **fields):
    """Somebody's own code."""
    model = model_class(**fields)
    assert isinstance(model, ChatOpenAI)
    return model


def chat(server, **fields):
    return ChatGLM(api_key="test-key", base_url=server.base_url, **fields)


def body_of(server, **sent):
    """The last body, without what every body of a whole answer has."""
    common = {"model": "glm-4.7", "stream": False}
    body = {key: value for key, value in server.requests[-1].body.items() if key != "messages"}
    assert body == {**common, **sent}
    return body


def test_old_names_of_the_key_the_url_and_the_model():
    with GLMServer(HELLO) as server:
        model = make(
            ChatGLM,
            openai_api_key="test-key",
            openai_api_base=server.base_url,
            model_name="glm-4.6",
        )
        assert model.invoke("hi").text == "Hello"
    assert server.requests[0].headers["authorization"] == "Bearer test-key"
    body_of(server, model="glm-4.6")
    assert (model.model_name, model.model) == ("glm-4.6", "glm-4.6")
    assert model.openai_api_key == SecretStr("test-key")


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"temperature": 0.2}, {"temperature": 0.2}, id="temperature"),
        pytest.param({"temperature": 0.0}, {"temperature": 0.0}, id="temperature 0"),
        pytest.param({"temperature": None}, {}, id="temperature None"),
        pytest.param({"top_p": 0.9}, {"top_p": 0.9}, id="top_p"),
        pytest.param({"max_tokens": 64}, {"max_tokens": 64}, id="max_tokens"),
        pytest.param({"max_completion_tokens": 64}, {"max_tokens": 64}, id="max_completion_tokens"),
        pytest.param({"stop": ["END"]}, {"stop": ["END"]}, id="stop"),
        pytest.param({"stop_sequences": ["END"]}, {"stop": ["END"]}, id="stop_sequences"),
        pytest.param({"stop": "END"}, {"stop": ["END"]}, id="stop of one"),
        pytest.param({"model_kwargs": {"watermark": 1}}, {"watermark": 1}, id="model_kwargs"),
        pytest.param({"extra_body": {"watermark": 1}}, {"watermark": 1}, id="extra_body"),
    ],
)
async def test_fields_of_the_body(fields, sent):
    with GLMServer(HELLO) as server:
        model = make(ChatGLM, api_key="test-key", base_url=server.base_url, **fields)
        model.invoke("hi")
        body_of(server, **sent)
        await model.ainvoke("hi")
        body_of(server, **sent)


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        ({"stop": ["END"]}, {"stop": ["END"]}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 0.1}, {"temperature": 0.1}),
        ({"model": "glm-5"}, {"model": "glm-5"}),
    ],
)
def test_the_same_for_one_call(call, sent):
    with GLMServer(HELLO) as server:
        model = chat(server, stop=["FIN"], max_tokens=9, temperature=0.9)
        before = {"stop": ["FIN"], "max_tokens": 9, "temperature": 0.9}
        model.invoke("hi", **call)
        body_of(server, **{**before, **sent})
        model.bind(**call).invoke("hi")
        body_of(server, **{**before, **sent})
        model.invoke("hi")
        body_of(server, **before)


async def test_streaming_makes_invoke_a_stream():
    with GLMServer(HELLO) as server:
        model = make(ChatGLM, api_key="test-key", base_url=server.base_url, streaming=True)
        assert model.invoke("hi").text == "Hello"
        assert (await model.ainvoke("hi")).text == "Hello"
        assert [request.body["stream"] for request in server.requests] == [True, True]
        assert model.invoke("hi").usage_metadata["total_tokens"] > 0


@pytest.mark.parametrize("fields", [{"disable_streaming": True}, {"streaming": False}])
def test_a_model_that_is_not_to_stream(fields):
    with GLMServer(HELLO) as server:
        (chunk,) = chat(server, **fields).stream("hi")
    assert chunk.text == "Hello"
    assert server.requests[0].body["stream"] is False


@pytest.mark.parametrize("name", ["timeout", "request_timeout"])
async def test_timeout(name):
    with GLMServer(Raw([], end=False)) as server:
        model = chat(server, max_retries=0, **{name: 0.05})
        with pytest.raises(openai.APITimeoutError):
            model.invoke("hi")
        with pytest.raises(openai.APITimeoutError):
            await model.ainvoke("hi")
        assert model.request_timeout == 0.05


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (1, 2), (2, 3)])
async def test_max_retries(retries, requests):
    busy = Fail(429, "1302", "slow down", headers={"Retry-After": "0.01"})
    with GLMServer(busy) as server:
        model = make(ChatGLM, api_key="test-key", base_url=server.base_url, max_retries=retries)
        with pytest.raises(openai.RateLimitError):
            model.invoke("hi")
        assert len(server.requests) == requests
        with pytest.raises(openai.RateLimitError):
            await model.ainvoke("hi")
        assert len(server.requests) == 2 * requests


@pytest.mark.parametrize(
    "fields", [{"use_responses_api": True}, {"use_responses_api": True, "n": 2}]
)
def test_the_responses_api_is_refused(fields):
    with pytest.raises(ValueError, match="Responses API"):
        ChatGLM(api_key="test-key", **fields)
    with pytest.raises(ValueError, match="Responses API"):
        ChatGLM(api_key="test-key").model_copy(update=fields)


@pytest.mark.parametrize("way", ["invoke", "stream", "copy"])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="tools"),
        pytest.param({"use_responses_api": None}, id="None"),
        pytest.param({"use_responses_api": False}, id="False"),
        pytest.param({"output_version": "v1"}, id="output_version"),
        pytest.param({"model": "gpt-5-pro"}, id="a model of OpenAI's"),
    ],
)
def test_nothing_goes_to_the_responses_api(way, fields):
    with GLMServer(HELLO) as server:
        model = chat(server).model_copy(update=fields) if way == "copy" else chat(server, **fields)
        model = model.bind_tools([WEB_SEARCH])
        list(model.stream("hi")) if way == "stream" else model.invoke("hi")
    (request,) = server.requests
    assert request.path == "/api/paas/v4/chat/completions"
    assert request.body["tools"] == [WEB_SEARCH]
    assert request.body["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param(AIMessage("", tool_calls=[CALL]), id="empty text"),
        pytest.param(AIMessage([], tool_calls=[CALL]), id="no blocks"),
        pytest.param(
            AIMessage([{"type": "reasoning", "reasoning": "Hm."}], tool_calls=[CALL]),
            id="reasoning blocks",
        ),
        pytest.param(
            AIMessage([{"type": "tool_call", **CALL}], tool_calls=[CALL]), id="call blocks"
        ),
    ],
)
def test_content_beside_calls_is_never_null(turn):
    with GLMServer(HELLO) as server:
        result = ToolMessage("ok", tool_call_id="call_a")
        chat(server).invoke([SystemMessage("Be brief."), HumanMessage("hi"), turn, result])
    system, user, assistant, tool = server.requests[0].body["messages"]
    assert assistant["content"] == ""
    (call,) = assistant["tool_calls"]
    assert (call["id"], call["function"]["name"]) == ("call_a", "write_file")
    assert json.loads(call["function"]["arguments"]) == {"path": "a"}
    assert (system["role"], user["role"]) == ("system", "user")
    assert tool == {"role": "tool", "tool_call_id": "call_a", "content": "ok"}


def test_what_came_from_the_model_goes_back_without_null():
    with GLMServer([Reply(tool_calls=[Call("write_file", {"path": "a"})]), HELLO]) as server:
        model = chat(server)
        turn = model.invoke("hi")
        model.invoke(["hi", turn, ToolMessage("ok", tool_call_id=turn.tool_calls[0]["id"])])
    assert server.requests[1].body["messages"][1]["content"] == ""
    assert b"null" not in server.requests[1].raw


def test_n_gives_every_choice():
    choices = [
        {"index": n, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        for n, text in enumerate(["one", "two"])
    ]
    body = json.dumps({"model": "glm-4.7", "choices": choices})
    with GLMServer(Raw(body, content_type="application/json")) as server:
        result = chat(server, n=2).generate([[HumanMessage("hi")]])
    assert [generation.text for generation in result.generations[0]] == ["one", "two"]
    body_of(server, n=2)


@pytest.mark.parametrize("fields", [{"n": 0}, {"n": 2, "streaming": True}])
def test_n_is_checked_as_before(fields):
    with pytest.raises(ValueError, match="n must be"):
        ChatGLM(api_key="test-key", **fields)
