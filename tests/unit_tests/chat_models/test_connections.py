"""Where connections begin, who shares them, and when they end."""

import asyncio
import concurrent.futures
import gc
import multiprocessing
import socket
import ssl
import subprocess
import sys
import threading
import time
import weakref

import certifi
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from leaving import (
    aclose,
    adrop,
    aleave_the_loop,
    close,
    drop,
    drop_v3,
    leave_the_loop,
    no_resource_warning,
)

from langchain_glm import ChatGLM, _client, _exchange
from langchain_glm.testing import Call, GLMServer, Raw, Reply

FRAME = (
    'data: {{"id":"A","model":"glm-4.7","choices":[{{"index":0,"delta":{{"content":"{}"}}}}]}}\n\n'
)
FINISH = (
    b'data: {"id":"A","model":"glm-4.7",'
    b'"choices":[{"index":0,"finish_reason":"stop","delta":{}}]}\n\n'
)
DONE = b"data: [DONE]\n\n"
SILENT_AFTER_ONE = Raw([FRAME.format("one").encode()], end=False)
ANSWER = [FRAME.format("one").encode(), FINISH, DONE]


@pytest.fixture(scope="module", autouse=True)
def _collect_only_what_these_tests_make():
    """The imports' objects are many: without them a collection takes no time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def glm(server, **fields):
    return ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=0, **fields)


def echo(received):
    return Reply(text=received.body["messages"][-1]["content"])


def connections(server):
    return [received.connection for received in server.requests]


async def other_tasks():
    """The tasks that are still there after a moment: a finalizer may need a turn of the loop."""
    for _ in range(200):
        if asyncio.all_tasks() == {asyncio.current_task()}:
            break
        await asyncio.sleep(0.001)
    return asyncio.all_tasks() - {asyncio.current_task()}


async def text_of(stream):
    return "".join([chunk.text async for chunk in stream])


async def v3_text(model):
    async with await model.astream_events("x", version="v3") as stream:
        return (await stream).text


# One model, many loops, threads and processes


def test_three_loops_in_turn():
    async def talk():
        return [(await model.ainvoke("a")).text, await text_of(model.astream("b"))]

    with GLMServer(echo) as server, no_resource_warning():
        model = glm(server)
        assert [asyncio.run(talk()) for _ in range(3)] == [["a", "b"]] * 3
        assert connections(server) == [1, 1, 2, 2, 3, 3]


def test_clients_of_closed_loops_are_dropped():
    async def talk():
        await model.ainvoke("x")
        return weakref.ref(asyncio.get_running_loop())

    with GLMServer(echo) as server:
        model = glm(server)
        first, second, third = (asyncio.run(talk()) for _ in range(3))
        gc.collect()
        assert first() is None
        assert second() is None
        clients = model.root_async_client._client._real
        assert [loop for _, loop in clients] == [third()]


def test_each_network_setting_makes_one_tls_context(monkeypatch):
    # Reading the certificates takes longer than anything else that a client is made of.
    made = []
    create = ssl.create_default_context

    def counted(*args, **kwargs):
        made.append(args)
        return create(*args, **kwargs)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    # With a file of certificates every httpx makes its context by that function.
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    alive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    _client._cached_http_clients.cache_clear()
    with GLMServer(echo) as server:
        for settings in ({}, {"http_socket_options": alive}):
            made.clear()
            for _ in range(2):
                model = glm(server, **settings)
                model.invoke("x")
                for _ in range(3):
                    asyncio.run(model.ainvoke("x"))
            assert len(made) == 1, settings


def test_a_closed_loop_leaves_no_open_connection():
    async def talk():
        await model.ainvoke("x")

    with GLMServer(echo) as server:
        model = glm(server)
        asyncio.run(talk())
        client = next(iter(model.root_async_client._client._real.values())).client
        assert client.is_closed


def test_loops_in_many_threads_at_once():
    together = threading.Barrier(8)

    async def talk(name):
        together.wait(10)
        return [(await model.ainvoke(name)).text for _ in range(3)]

    with (
        GLMServer(echo) as server,
        no_resource_warning(),
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        model = glm(server)
        names = [f"loop {n}" for n in range(8)]
        answers = list(pool.map(lambda name: asyncio.run(talk(name)), names))
        assert answers == [[name] * 3 for name in names]
        used = {(echo(r).text, r.connection) for r in server.requests}
        assert len(used) == len({connection for _, connection in used}) == 8


def test_sixty_threads_at_once():
    together = threading.Barrier(60)

    def talk(n):
        together.wait(20)
        return model.invoke(f"thread {n}").text

    with GLMServer(echo) as server, concurrent.futures.ThreadPoolExecutor(60) as pool:
        model = glm(server)
        assert list(pool.map(talk, range(60))) == [f"thread {n}" for n in range(60)]


async def test_sync_and_async_stream_at_once():
    with GLMServer(echo, fragment_size=1) as server:
        model = glm(server)
        text, atext = [], []
        chunks = model.stream("sync")
        async for achunk in model.astream("async"):
            atext.append(achunk.text)
            text.append(next(chunks, achunk.model_copy(update={"content": ""})).text)
        text += [chunk.text for chunk in chunks]
        assert ("".join(text), "".join(atext)) == ("sync", "async")
        assert sorted(connections(server)) == [1, 2]


# A process of its own: pytest's has threads, and a fork is safe only without.
FORK = """
import asyncio, os, sys
from langchain_glm import ChatGLM

model = ChatGLM(base_url=sys.argv[1], api_key="test-key", max_retries=0)

def talk(name):
    assert model.invoke(name).text == name
    assert asyncio.run(model.ainvoke(name)).text == name

talk("parent before")
child = os.fork()
if child == 0:
    status = 1
    try:
        talk("child")
        talk("child")
        status = 0
    finally:
        os._exit(status)
assert os.waitpid(child, 0) == (child, 0)
talk("parent after")
"""


def test_after_fork():
    with GLMServer(echo) as server:
        done = subprocess.run(  # noqa: S603 - the script above
            [sys.executable, "-W", "error::ResourceWarning", "-c", FORK, server.base_url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        sync, asynchronous = server.requests[::2], server.requests[1::2]
        spoke = ["parent before", "child", "child", "parent after"]
        assert [echo(r).text for r in sync] == [echo(r).text for r in asynchronous] == spoke
        assert [r.connection for r in sync] == [1, 3, 3, 1]  # the parent's stays its own
        assert [r.connection for r in asynchronous] == [2, 4, 5, 6]  # one for each asyncio.run


def invoke_both_ways(model):
    return model.invoke("sync").text, asyncio.run(model.ainvoke("async")).text


def test_pickled_into_a_spawned_process():
    with GLMServer(echo) as server:
        model = glm(server)
        assert model.invoke("here").text == "here"
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
            assert pool.submit(invoke_both_ways, model).result(60) == ("sync", "async")
        assert connections(server) == [1, 2, 3]
        assert server.requests[1].headers["authorization"] == "Bearer test-key"


# Streams that end early, while the server is silent in the middle of its answer


class Refuse(BaseCallbackHandler):
    raise_error = True

    def on_llm_new_token(self, token, **kwargs):
        raise KeyError(token)


def refuse_it(model):
    with pytest.raises(KeyError):
        list(model.stream("x", config={"callbacks": [Refuse()]}))


@pytest.mark.parametrize("end", [close, leave_the_loop, drop, drop_v3, refuse_it])
def test_sync_stream_that_ends_early_hangs_up(end):
    with GLMServer(SILENT_AFTER_ONE) as server, no_resource_warning():
        before = set(threading.enumerate())
        model = glm(server)
        end(model)
        assert server.requests[0].hung_up.wait(1)
        left = set(threading.enumerate()) - before
        assert [t.name for t in left if not t.name.startswith("GLMServer")] == []


def test_stream_that_ends_early_leaves_the_model_usable():
    with GLMServer([SILENT_AFTER_ONE, echo]) as server:
        model = glm(server)
        close(model)
        assert model.invoke("next").text == "next"


async def time_out(model):
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(text_of(model.astream("x")), 0.3)


async def cancelled(work, started):
    task = asyncio.create_task(work)
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_astream(model):
    started = asyncio.Event()

    async def read():
        async for _ in model.astream("x"):
            started.set()

    await cancelled(read(), started)


async def aclose_v3(model):
    stream = await model.astream_events("x", version="v3")
    await anext(aiter(stream))
    await stream.aclose()


async def leave_v3_block(model):
    async with await model.astream_events("x", version="v3") as stream:
        async for _ in stream:
            break


async def cancel_v3(model):
    started = asyncio.Event()

    async def read():
        async with await model.astream_events("x", version="v3") as stream:
            async for _ in stream:
                started.set()

    await cancelled(read(), started)


async def leave_v2(model):
    events = model.astream_events("x", version="v2")
    async for event in events:
        if event["event"] == "on_chat_model_stream":
            break
    await events.aclose()


ASYNC_ENDS = [
    aclose,
    aleave_the_loop,
    adrop,
    time_out,
    cancel_astream,
    aclose_v3,
    leave_v3_block,
    cancel_v3,
    leave_v2,
]


@pytest.mark.parametrize("end", ASYNC_ENDS)
async def test_async_stream_that_ends_early_hangs_up(end):
    with GLMServer(SILENT_AFTER_ONE) as server, no_resource_warning():
        await end(glm(server))
        assert await asyncio.to_thread(server.requests[0].hung_up.wait, 1)
        assert await other_tasks() == set()


async def test_cancelled_ainvoke_hangs_up():
    silent = Raw([b'{"id":'], content_type="application/json", end=False)
    with GLMServer(silent) as server:
        task = asyncio.create_task(glm(server).ainvoke("x"))
        assert await asyncio.to_thread(server.wait_until, lambda: server.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.requests[0].hung_up.wait, 1)
        assert await other_tasks() == set()


async def test_cancelled_while_it_waits_for_a_retry():
    with GLMServer(Raw("busy", status=503, headers={"Retry-After": "60"})) as server:
        model = glm(server).model_copy(update={"max_retries": 1})
        task = asyncio.create_task(model.ainvoke("x"))
        assert await asyncio.to_thread(server.wait_until, lambda: server.requests)
        assert await asyncio.to_thread(server.requests[0].answered.wait, 1)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await other_tasks() == set()
        assert len(server.requests) == 1


def test_loop_that_ends_with_a_stream_half_read():
    kept = []

    async def abandon():
        kept.append(model.astream("x"))
        await anext(kept[0])

    with GLMServer(SILENT_AFTER_ONE) as server, no_resource_warning():
        model = glm(server)
        asyncio.run(abandon())
        assert server.requests[0].hung_up.wait(1)
        kept.clear()


# Connections that are used again


CALLING = Reply("Let me see", "Here:", [Call("write_file", {"path": "fib.py"})])


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(lambda model: model.invoke("x"), id="invoke"),
        pytest.param(lambda model: list(model.stream("x")), id="stream"),
        pytest.param(lambda model: list(model.stream_events("x", version="v3")), id="v3"),
    ],
)
def test_ten_in_turn_use_one_connection(talk):
    with GLMServer(CALLING) as server:
        model = glm(server)
        before = threading.enumerate()
        for _ in range(10):
            talk(model)
        assert connections(server) == [1] * 10
        left = set(threading.enumerate()) - set(before)
        assert [t.name for t in left if not t.name.startswith("GLMServer")] == []


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(lambda model: model.ainvoke("x"), id="ainvoke"),
        pytest.param(lambda model: text_of(model.astream("x")), id="astream"),
        pytest.param(v3_text, id="v3"),
    ],
)
async def test_ten_in_turn_use_one_connection_async(talk):
    with GLMServer(CALLING) as server:
        model = glm(server)
        for _ in range(10):
            await talk(model)
        assert connections(server) == [1] * 10
        assert await other_tasks() == set()


def test_models_with_the_same_settings_share_connections():
    with GLMServer(echo) as server:
        glm(server).invoke("x")
        glm(server, temperature=0.5).invoke("x")
        assert connections(server) == [1, 1]


def test_bad_requests_and_errors_keep_the_connection():
    refused = Raw('{"error":{"code":"1210","message":"no"}}', 400, "application/json")
    with GLMServer([refused, echo]) as server:
        model = glm(server)
        with pytest.raises(Exception, match="1210"):
            list(model.stream("x"))
        model.invoke("x")
        assert connections(server) == [1, 1]


# A server that goes on after [DONE]


AFTER_DONE = [
    pytest.param(Raw(ANSWER, end=False), id="holds the body open"),
    pytest.param(Raw([*ANSWER, *[b": on and on\n\n", 0.01] * 1000]), id="trickles"),
    pytest.param(Raw([*ANSWER, *[b":" * 65536] * 1000]), id="floods"),
]


def chunks_text(model):
    return "".join(chunk.text for chunk in model.stream("x"))


def events_text(model):
    return model.stream_events("x", version="v3").output.text


@pytest.mark.parametrize("answer", AFTER_DONE)
@pytest.mark.parametrize("talk", [chunks_text, events_text])
def test_server_that_does_not_end_after_done(answer, talk, monkeypatch):
    monkeypatch.setattr(_exchange, "_DRAIN_SECONDS", 0.1)
    with GLMServer([answer, echo]) as server, no_resource_warning():
        model = glm(server)
        before = set(threading.enumerate())
        start = time.monotonic()
        assert talk(model) == "one"
        assert time.monotonic() - start < 2
        assert server.requests[0].hung_up.wait(1)
        left = set(threading.enumerate()) - before
        assert [t.name for t in left if not t.name.startswith("GLMServer")] == []
        assert model.invoke("next").text == "next"


@pytest.mark.parametrize("answer", AFTER_DONE)
@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(lambda model: text_of(model.astream("x")), id="astream"),
        pytest.param(v3_text, id="v3"),
    ],
)
async def test_server_that_does_not_end_after_done_async(answer, talk, monkeypatch):
    monkeypatch.setattr(_exchange, "_DRAIN_SECONDS", 0.1)
    with GLMServer([answer, echo]) as server, no_resource_warning():
        model = glm(server)
        start = time.monotonic()
        assert await talk(model) == "one"
        assert time.monotonic() - start < 2
        assert await asyncio.to_thread(server.requests[0].hung_up.wait, 1)
        assert await other_tasks() == set()
        assert (await model.ainvoke("next")).text == "next"


def test_a_server_is_waited_for_a_second_at_most():
    assert _exchange._DRAIN_SECONDS <= 1


def test_only_the_last_chunk_waits_for_the_end_of_the_body(monkeypatch):
    monkeypatch.setattr(_exchange, "_DRAIN_SECONDS", 0.1)
    with GLMServer(Raw(ANSWER, end=False)) as server:
        stream = glm(server).stream("x")
        assert next(stream).text == "one"
        assert not server.requests[0].hung_up.is_set()
        assert [chunk.chunk_position for chunk in stream] == ["last"]
        assert server.requests[0].hung_up.wait(1)


def test_what_comes_after_done_is_ignored():
    more = FRAME.format("two").encode() + DONE + b'data: {"error":{"code":"500"}}\n\n<html>'
    with GLMServer([Raw([*ANSWER, more]), Raw(b"".join([*ANSWER, more])), echo]) as server:
        model = glm(server)
        assert "".join(chunk.text for chunk in model.stream("x")) == "one"
        assert "".join(chunk.text for chunk in model.stream("x")) == "one"
        assert model.invoke("next").text == "next"
        assert connections(server) == [1, 1, 1]


async def test_what_comes_after_done_is_ignored_async():
    more = FRAME.format("two").encode() + DONE + b'data: {"error":{"code":"500"}}\n\n<html>'
    with GLMServer([Raw([*ANSWER, more]), Raw(b"".join([*ANSWER, more])), echo]) as server:
        model = glm(server)
        assert await text_of(model.astream("x")) == "one"
        assert await v3_text(model) == "one"
        assert (await model.ainvoke("next")).text == "next"
        assert connections(server) == [1, 1, 1]
