"""`_client`, part by part; its loops run over real sockets in `chat_models/`."""

import asyncio
import concurrent.futures
import gc
import os
import threading
import weakref

import pytest

from langchain_glm import ChatGLM
from langchain_glm._client import (
    AsyncGLMClient,
    ClientSettings,
    GLMClient,
    _LoopClients,
    _ProcessClients,
    shared_http_clients,
)
from langchain_glm.testing import GLMServer, Reply

# _ProcessClients and _LoopClients


class Real:
    """Stands for an HTTP client; sending gives the client that was used."""

    def __init__(self):
        self.closed = False

    def send(self, request, **options):
        return self

    def close(self):
        self.closed = True


class AsyncReal(Real):
    async def send(self, request, **options):
        await asyncio.sleep(0)
        return self

    async def aclose(self):
        self.closed = True


def test_threads_share_the_client_of_their_process():
    made = []
    together = threading.Barrier(20)

    def make():
        made.append(Real())
        return made[-1]

    def send(_):
        together.wait(10)
        return clients.send(None)

    clients = _ProcessClients(make)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert set(pool.map(send, range(20))) == set(made)
    assert len(made) == 1


def test_another_process_has_a_client_of_its_own(monkeypatch):
    clients = _ProcessClients(Real)
    parents = clients.send(None)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    childs = clients.send(None)
    assert childs is not parents
    clients.close()
    assert (childs.closed, parents.closed) == (True, False)
    monkeypatch.undo()
    assert clients.send(None) is parents


def test_forgotten_clients_are_closed():
    clients = _ProcessClients(Real)
    real = clients.send(None)
    del clients
    gc.collect()
    assert real.closed


def test_each_loop_has_a_client_that_it_closes():
    clients = _LoopClients(AsyncReal)

    async def send():
        used = await asyncio.gather(*[clients.send(None) for _ in range(5)])
        assert not used[0].closed
        return set(used)

    first, second = asyncio.run(send()), asyncio.run(send())
    assert len(first) == len(second) == 1
    assert first.isdisjoint(second)
    assert all(real.closed for real in first | second)


def test_clients_of_closed_loops_are_forgotten():
    clients = _LoopClients(AsyncReal)

    async def send():
        return weakref.ref(await clients.send(None)), weakref.ref(asyncio.get_running_loop())

    closed = asyncio.run(send())
    asyncio.run(send())
    gc.collect()
    assert [gone() for gone in closed] == [None, None]


async def test_aclose_closes_the_client_of_this_loop():
    clients = _LoopClients(AsyncReal)
    other = await asyncio.to_thread(lambda: asyncio.run(clients.send(None)))
    real = await clients.send(None)
    await clients.aclose()
    await clients.aclose()  # twice is harmless
    assert real.closed
    again = await clients.send(None)
    assert again not in {real, other}
    await clients.aclose()


async def test_another_process_has_clients_of_its_own_for_a_loop(monkeypatch):
    clients = _LoopClients(AsyncReal)
    parents = await clients.send(None)
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        childs = await clients.send(None)
        await clients.aclose()
    assert childs is not parents
    assert (childs.closed, parents.closed) == (True, False)
    await clients.aclose()


# shared_http_clients


def test_same_settings_same_clients():
    assert shared_http_clients(None, ()) is shared_http_clients(None, ())
    assert shared_http_clients(None, ()) is not shared_http_clients("http://127.0.0.1:9", ())


def test_proxies_of_the_environment_are_read_for_each_model(monkeypatch):
    before = shared_http_clients(None, ())
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert shared_http_clients(None, ()) is not before


def distant(**fields):
    url = "http://glm.example/v4"
    return ChatGLM(base_url=url, api_key="test-key", max_retries=0, **fields)


def root(server):
    return server.base_url.partition("/api")[0]


async def assert_goes_through(model, proxy):
    assert model.invoke("x").text == "by proxy"
    assert (await model.ainvoke("x")).text == "by proxy"
    assert [r.path for r in proxy.requests] == ["http://glm.example/v4/chat/completions"] * 2


async def test_proxy_of_the_model():
    with GLMServer(Reply(text="by proxy")) as proxy:
        await assert_goes_through(distant(openai_proxy=root(proxy)), proxy)


async def test_proxy_of_the_environment(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with GLMServer(Reply(text="by proxy")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", root(proxy))
        monkeypatch.setenv("http_proxy", root(proxy))
        await assert_goes_through(distant(), proxy)


# GLMClient

OPENAIS = {
    "OPENAI_API_KEY": "foreign-key",
    "OPENAI_ADMIN_KEY": "foreign-admin-key",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/foreign",
    "OPENAI_API_BASE": "http://127.0.0.1:9/foreign",
    "OPENAI_ORG_ID": "foreign-org",
    "OPENAI_ORGANIZATION": "foreign-org",
    "OPENAI_PROJECT_ID": "foreign-project",
    "OPENAI_PROXY": "http://127.0.0.1:9",
    "OPENAI_WEBHOOK_SECRET": "foreign-secret",
    "OPENAI_CUSTOM_HEADERS": "X-Foreign: foreign",
    "LANGSMITH_GATEWAY": "true",
}


@pytest.fixture
def openais_environment(monkeypatch):
    for name, value in OPENAIS.items():
        monkeypatch.setenv(name, value)


def settings(**changed):
    plain = ClientSettings(
        base_url="http://127.0.0.1:9/v4",
        timeout=None,
        organization=None,
        default_headers=None,
        default_query=None,
    )
    return plain._replace(**changed)


@pytest.mark.parametrize("client_class", [GLMClient, AsyncGLMClient])
@pytest.mark.usefixtures("openais_environment")
def test_nothing_of_openais_environment_is_in_a_client(client_class):
    client = client_class(settings(), api_key="test-key")
    headers = {**client.default_headers, **client.auth_headers}
    assert "foreign" not in repr(headers).lower()
    assert headers["Authorization"] == "Bearer test-key"
    assert str(client.base_url) == "http://127.0.0.1:9/v4/"
    attributes = (client.organization, client.project, client.admin_api_key, client.webhook_secret)
    assert attributes == (None,) * 4
    assert client.max_retries == 0


@pytest.mark.parametrize("client_class", [GLMClient, AsyncGLMClient])
@pytest.mark.usefixtures("openais_environment")
def test_what_was_asked_for_is_in_a_client(client_class):
    asked = settings(
        organization="ours", default_headers={"X-Ours": "1"}, default_query={"q": "1"}, timeout=7
    )
    client = client_class(asked, api_key="test-key")
    assert client.default_headers["OpenAI-Organization"] == "ours"
    assert client.default_headers["X-Ours"] == "1"
    assert client.default_query == {"q": "1"}
    assert client.timeout == 7


@pytest.mark.usefixtures("openais_environment")
async def test_nothing_of_openais_environment_is_on_the_wire():
    with GLMServer(Reply(text="hello")) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=0)
        model.invoke("x")
        list(model.stream("x"))
        await model.ainvoke("x")
        assert [chunk async for chunk in model.astream("x")]
        assert len(server.requests) == 4
        for received in server.requests:
            assert "foreign" not in repr((received.headers, received.path)).lower()
            assert received.headers["authorization"] == "Bearer test-key"
            assert not {"openai-organization", "openai-project"} & received.headers.keys()
