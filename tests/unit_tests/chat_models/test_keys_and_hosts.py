"""Whose key goes where: GLM's to the endpoint that was named, OpenAI's nowhere, and none into view.

No request leaves the machine: where a test needs one, it goes to a server on loopback.
"""

import logging
import pickle
import socket
import traceback

import pytest
from langchain_core.load import dumps
from pydantic import SecretStr

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMAuthenticationError, GLMConnectionError, GLMError
from langchain_glm.testing import Cut, Fail, GLMServer, Raw, Reply

HELLO = Reply(text="Hello")
KEY = "zai-key-0123456789.abcdef"

# Each value is one that shows if it is used; nothing listens on port 9.
FOREIGN = {
    "OPENAI_API_KEY": "foreign-api-key",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/foreign-base-url",
    "OPENAI_API_BASE": "http://127.0.0.1:9/foreign-api-base",
    "OPENAI_ORG_ID": "foreign-org-id",
    "OPENAI_ORGANIZATION": "foreign-organization",
    "OPENAI_PROJECT_ID": "foreign-project-id",
    "OPENAI_PROXY": "http://127.0.0.1:9/foreign-proxy",
    "OPENAI_CUSTOM_HEADERS": "X-Foreign: foreign-custom-header",
    "OPENAI_ADMIN_KEY": "foreign-admin-key",
    "OPENAI_WEBHOOK_SECRET": "foreign-webhook-secret",
    "LANGSMITH_GATEWAY": "http://127.0.0.1:9/foreign-gateway",
    "LANGSMITH_GATEWAY_API_KEY": "lsv2_foreign-gateway-key",
    "LANGSMITH_API_KEY": "lsv2_foreign-langsmith-key",
}


@pytest.fixture
def foreign_environment(monkeypatch):
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)


async def by_invoke(model):
    return model.invoke("hi")


async def by_ainvoke(model):
    return await model.ainvoke("hi")


async def by_stream(model):
    return list(model.stream("hi"))


async def by_astream(model):
    return [chunk async for chunk in model.astream("hi")]


async def by_v3(model):
    return model.stream_events("hi", version="v3").output


async def by_async_v3(model):
    return await (await model.astream_events("hi", version="v3")).output


each_way = pytest.mark.parametrize(
    "ask", [by_invoke, by_ainvoke, by_stream, by_astream, by_v3, by_async_v3]
)


# Nothing of OpenAI's, nor of LangSmith's gateway


@pytest.mark.usefixtures("foreign_environment")
@pytest.mark.parametrize(
    "fields", [{}, {"base_url": "http://127.0.0.1:9/v4"}, {"endpoint": "bigmodel"}]
)
def test_without_a_key_of_glm_there_is_no_model(fields):
    with pytest.raises(GLMAuthenticationError, match="ZAI_API_KEY") as caught:
        ChatGLM(**fields)
    assert "foreign" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.usefixtures("foreign_environment")
@pytest.mark.parametrize("source", ["environment", "argument"])
@each_way
async def test_nothing_of_openai_is_sent(ask, source, monkeypatch):
    with GLMServer(HELLO) as server:
        if source == "environment":
            monkeypatch.setenv("ZAI_API_KEY", KEY)
            monkeypatch.setenv("ZAI_BASE_URL", server.base_url)
            model = ChatGLM()
        else:
            model = ChatGLM(api_key=KEY, base_url=server.base_url)
        await ask(model)  # and no proxy: nothing listens there
    (request,) = server.requests
    seen = repr((request.path, request.headers, request.raw))
    assert "foreign" not in seen.lower()
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert not {name for name in request.headers if name.startswith("openai-")}


@pytest.mark.usefixtures("foreign_environment")
def test_nothing_of_openai_is_kept():
    model = ChatGLM(api_key=KEY)
    for client in (model.root_client, model.root_async_client):
        assert "foreign" not in repr({**vars(client), "headers": client.default_headers})
        assert str(client.base_url) == "https://api.z.ai/api/paas/v4/"
    assert "foreign" not in repr(model) + dumps(model)
    assert model.openai_proxy is None


@pytest.mark.usefixtures("foreign_environment")
async def test_what_is_said_of_openai_is_sent():
    with GLMServer(HELLO) as server:
        model = ChatGLM(
            api_key=KEY,
            base_url=server.base_url,
            organization="mine",
            default_headers={"X-Mine": "yes"},
        )
        model.invoke("hi")
        await model.ainvoke("hi")
    for request in server.requests:
        assert request.headers["openai-organization"] == "mine"
        assert request.headers["x-mine"] == "yes"


# Where the key comes from


@pytest.mark.parametrize(
    ("environment", "fields", "sent"),
    [
        ({"ZAI_API_KEY": "a"}, {}, "a"),
        ({"ZHIPUAI_API_KEY": "b"}, {}, "b"),
        ({"ZAI_API_KEY": "a", "ZHIPUAI_API_KEY": "b"}, {}, "a"),
        ({"ZAI_API_KEY": "", "ZHIPUAI_API_KEY": "b"}, {}, "b"),
        ({"ZAI_API_KEY": "a"}, {"api_key": "c"}, "c"),
        ({}, {"api_key": "c"}, "c"),
        ({}, {"openai_api_key": "c"}, "c"),
        ({}, {"api_key": SecretStr("c")}, "c"),
        ({}, {"api_key": lambda: "c"}, "c"),
        ({"ZAI_API_KEY": "id.secret-_~"}, {}, "id.secret-_~"),
    ],
)
async def test_the_key(environment, fields, sent, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with GLMServer(HELLO) as server:
        model = ChatGLM(base_url=server.base_url, **fields)
        model.invoke("hi")
        await model.ainvoke("hi")
    assert [r.headers["authorization"] for r in server.requests] == [f"Bearer {sent}"] * 2


@pytest.mark.parametrize("environment", [{}, {"ZAI_API_KEY": ""}])
def test_no_key_at_all(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GLMAuthenticationError, match=r"ZAI_API_KEY.*api_key"):
        ChatGLM()


def given(key):
    return lambda: key


def given_async(key):
    async def fetch():
        return key

    return fetch


AS_STR = [pytest.param(str, id="str"), pytest.param(SecretStr, id="SecretStr")]
AS_FUNCTION = pytest.param(given, id="function")
AS_ASYNC_FUNCTION = pytest.param(given_async, id="async function")


@pytest.mark.parametrize("give", [*AS_STR, AS_FUNCTION, AS_ASYNC_FUNCTION])
@pytest.mark.parametrize("around", [f" {KEY}", f"{KEY}\n", f"\t{KEY}\r\n"])
async def test_a_key_is_stripped(give, around):
    with GLMServer(HELLO) as server:
        model = ChatGLM(api_key=give(around), base_url=server.base_url)
        await model.ainvoke("hi")
        if give is not given_async:
            model.invoke("hi")
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}


UNUSABLE = [
    pytest.param("", "", id="empty"),
    pytest.param(" \n", "", id="blank"),
    pytest.param("zai-\nkey", "zai-", id="a line end inside"),
    pytest.param("zai-key\r\nX-Mine: 1", "zai-key", id="another header inside"),
    pytest.param("zai-key-密", "zai-key", id="beyond ASCII"),
    pytest.param("zai key", "zai key", id="a blank inside"),
]


def texts_of(error):
    """All that an error shows, its causes included."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


@pytest.mark.parametrize("give", AS_STR)
@pytest.mark.parametrize(("key", "shown"), UNUSABLE)
def test_a_key_that_cannot_be_sent_is_refused_at_once(give, key, shown):
    with pytest.raises(GLMAuthenticationError, match="ZAI_API_KEY") as caught:
        ChatGLM(api_key=give(key))
    assert not shown or shown not in texts_of(caught.value)


def test_a_key_of_the_environment_that_cannot_be_sent(monkeypatch):
    monkeypatch.setenv("ZAI_API_KEY", "zai-\nkey")
    with pytest.raises(GLMAuthenticationError, match="ZAI_API_KEY") as caught:
        ChatGLM()
    assert "zai-" not in texts_of(caught.value)


@pytest.mark.parametrize("give", [AS_FUNCTION, AS_ASYNC_FUNCTION])
@pytest.mark.parametrize(("key", "shown"), UNUSABLE)
async def test_a_key_of_a_function_that_cannot_be_sent(give, key, shown):
    sync = [by_invoke, by_stream, by_v3] if give is given else []
    with GLMServer(HELLO) as server:
        model = ChatGLM(api_key=give(key), base_url=server.base_url)
        for ask in [*sync, by_ainvoke, by_astream, by_async_v3]:
            with pytest.raises(GLMAuthenticationError, match="ZAI_API_KEY") as caught:
                await ask(model)
            assert not shown or shown not in texts_of(caught.value)
    assert server.requests == []


# Where it goes


ZAI = "https://api.z.ai/api/paas/v4/"
MINE = "https://glm.example/v1/"


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, ZAI),
        ({"endpoint": "zai"}, ZAI),
        ({"endpoint": "zai-coding"}, "https://api.z.ai/api/coding/paas/v4/"),
        ({"endpoint": "bigmodel"}, "https://open.bigmodel.cn/api/paas/v4/"),
        ({"endpoint": "bigmodel-coding"}, "https://open.bigmodel.cn/api/coding/paas/v4/"),
        ({"base_url": MINE}, MINE),
        ({"base_url": MINE.rstrip("/")}, MINE),
        ({"openai_api_base": MINE}, MINE),
        ({"base_url": MINE, "endpoint": "bigmodel"}, MINE),
    ],
)
def test_the_base_url(fields, base_url):
    model = ChatGLM(api_key=KEY, **fields)
    assert str(model.root_client.base_url) == base_url
    assert str(model.root_async_client.base_url) == base_url


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, "https://env.example/v4/"),
        ({"base_url": MINE}, MINE),
        ({"endpoint": "zai-coding"}, "https://api.z.ai/api/coding/paas/v4/"),
        ({"endpoint": "bigmodel"}, "https://open.bigmodel.cn/api/paas/v4/"),
    ],
)
def test_the_base_url_of_the_environment(fields, base_url, monkeypatch):
    monkeypatch.setenv("ZAI_BASE_URL", "https://env.example/v4")
    model = ChatGLM(api_key=KEY, **fields)
    assert str(model.root_client.base_url) == base_url
    assert str(model.root_async_client.base_url) == base_url


@pytest.mark.parametrize("name", ["openai", "Zai", "", "z.ai"])
def test_an_unknown_endpoint_names_the_known_ones(name):
    with pytest.raises(ValueError, match="zai, zai-coding, bigmodel, bigmodel-coding"):
        ChatGLM(api_key=KEY, endpoint=name)


@pytest.mark.parametrize("field", ["base_url", "openai_api_base", "endpoint"])
@pytest.mark.parametrize("url", ["http://[::1", "ftp://glm.example/v4", "http://", "://v4"])
def test_a_url_that_is_none_is_refused_at_once(field, url):
    with pytest.raises(ValueError, match="URL"):
        ChatGLM(api_key=KEY, **{field: url})


def test_a_url_of_the_environment_that_is_none(monkeypatch):
    monkeypatch.setenv("ZAI_BASE_URL", "glm.example/v4")
    with pytest.raises(ValueError, match=r"glm\.example/v4.*http"):
        ChatGLM(api_key=KEY)


# The key is in no text


def test_the_key_is_in_no_repr():
    model = ChatGLM(api_key=KEY)
    bound = model.bind(temperature=0.5)
    for value in (model, bound, model | str, model.root_client, model.root_async_client):
        assert KEY not in repr(value) + str(value)
    assert KEY not in dumps(model) + dumps(bound)
    assert KEY not in repr(model._identifying_params) + repr(model.lc_attributes)
    assert KEY not in repr(model._get_ls_params()) + model._get_llm_string()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"temperature": "hot"}, id="a field of another type"),
        pytest.param({"n": 0}, id="a value that is refused"),
        pytest.param({"use_responses_api": True}, id="the Responses API"),
        pytest.param({"n": 1, "model_kwargs": {"n": 2}}, id="a field said twice"),
        pytest.param({"base_url": "v4"}, id="a URL that is none"),
        pytest.param({"http_client": 1, "openai_proxy": "http://127.0.0.1:9"}, id="two proxies"),
    ],
)
@pytest.mark.parametrize("name", ["api_key", "openai_api_key"])
def test_the_key_is_in_no_error_of_the_constructor(name, fields):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - whatever it says
        ChatGLM(**{name: KEY}, **fields)
    assert KEY not in str(caught.value) + "".join(traceback.format_exception(caught.value))
    assert KEY not in repr(caught.value)
    details = getattr(caught.value, "errors", list)  # what error trackers read
    assert KEY not in repr(details())


def test_a_key_of_another_type_is_in_no_error():
    with pytest.raises(ValueError, match="api_key") as caught:
        ChatGLM(api_key=[KEY])
    assert KEY not in str(caught.value) + repr(caught.value)


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class NoServer:
    """A URL that nobody listens on."""

    def __init__(self, answer):
        self.base_url = f"http://127.0.0.1:{closed_port()}/v4"

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass


@pytest.mark.parametrize(
    ("server", "answer", "error"),
    [
        pytest.param(GLMServer, Fail(401, "1000", "bad key"), GLMAuthenticationError, id="401"),
        pytest.param(GLMServer, Fail(400, "1210", "bad"), GLMError, id="400"),
        pytest.param(GLMServer, Fail(502, body="<html>"), GLMError, id="502 of a gateway"),
        pytest.param(GLMServer, Raw("", content_type="text/html"), GLMError, id="no answer"),
        pytest.param(GLMServer, Cut(HELLO, after=40), GLMError, id="cut"),
        pytest.param(GLMServer, Cut(HELLO, after=0, reset=True), GLMError, id="reset"),
        pytest.param(NoServer, None, GLMConnectionError, id="nobody listens"),
    ],
)
@each_way
async def test_the_key_is_in_no_error_and_no_log(ask, server, answer, error, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "langchain_glm"):
        caplog.set_level(logging.DEBUG, logger=name)
    with server(answer) as running:
        model = ChatGLM(api_key=KEY, base_url=running.base_url, max_retries=0)
        with pytest.raises(error) as caught:
            await ask(model)
    written = "".join(traceback.format_exception(caught.value))
    written += str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
    written += repr(vars(caught.value))
    assert KEY not in written
    assert any(record.name.startswith(("openai", "http")) for record in caplog.records)
    assert KEY not in caplog.text + repr([vars(record) for record in caplog.records])


@each_way
async def test_the_key_is_in_no_log_of_a_success(ask, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "langchain_glm"):
        caplog.set_level(logging.DEBUG, logger=name)
    with GLMServer(HELLO) as server:
        await ask(ChatGLM(api_key=KEY, base_url=server.base_url))
    assert any(record.name.startswith("openai") for record in caplog.records)
    assert KEY not in caplog.text + repr([vars(record) for record in caplog.records])


@pytest.mark.parametrize("answer", [Fail(401, "1000", "bad key"), Cut(HELLO, after=40)])
async def test_the_key_does_not_travel_with_a_pickled_error(answer):
    with GLMServer(answer) as server:
        model = ChatGLM(api_key=KEY, base_url=server.base_url, max_retries=0)
        with pytest.raises(GLMError) as caught:
            model.invoke("hi")
    assert KEY.encode() not in pickle.dumps(caught.value)
