"""Who asked goes away: the server sees it within a second, and nothing is left.

One stream that ends early, in more ways: `chat_models/test_connections.py`; an agent's run that is
stopped or cancelled: `streaming/test_agent_stopping.py`, `streaming/test_agent_cancelling.py`.
"""

import asyncio
import contextlib
import functools
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from asking import INPUT, agent_of, frame, glm, no_other_task, open_files
from leaving import aclose, aleave_the_loop, close, drop, drop_v3, leave_the_loop
from pythons import async_agents_stream

from langchain_glm.streaming import (
    astream_agent,
    atool_call_events,
    collect,
    stream_agent,
    tool_call_events,
)
from langchain_glm.testing import GLMServer, Raw

ONE = frame({"content": "one"})
SILENT = Raw(ONE, end=False)
HALF = Raw([b'{"id":'], content_type="application/json", end=False)


def answer(received):
    """The beginning of an answer, as it was asked for, and then silence."""
    return SILENT if received.body.get("stream") else HALF


def assert_hung_up(server):
    for request in server.requests:
        assert request.hung_up.wait(1)


def threads():
    """Those of this process, but the server's and the idle ones of a loop's executor."""
    ours = (
        t.name for t in threading.enumerate() if not t.name.startswith(("GLMServer", "asyncio"))
    )
    return sorted(ours)


@contextlib.contextmanager
def nothing_left(server):
    """Check that the server sees each of the streams end, and that no thread or socket is left."""
    gc.collect()
    threads_before, files_before = threads(), open_files()
    yield
    gc.collect()
    assert_hung_up(server)
    deadline = time.monotonic() + 2
    while open_files() > files_before and time.monotonic() < deadline:
        time.sleep(0.005)
    assert open_files() <= files_before
    assert threads() == threads_before


# Sync


def throw(model):
    chunks = model.stream("x")
    next(chunks)
    with pytest.raises(KeyboardInterrupt):
        chunks.throw(KeyboardInterrupt)


def leave_the_events(model):
    events = tool_call_events(model.stream("x"))
    next(events)
    events.close()


def fail_while_collecting(model):
    def failing():
        for chunk in model.stream("x"):
            yield chunk
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(failing())


def close_a_run(model):
    events = stream_agent(agent_of(model), INPUT)
    next(events)
    events.close()


def fail_while_watching(model):
    with pytest.raises(ZeroDivisionError):
        [1 / 0 for _ in stream_agent(agent_of(model), INPUT)]


SYNC = [
    close,
    leave_the_loop,
    drop,
    throw,
    drop_v3,
    leave_the_events,
    fail_while_collecting,
    close_a_run,
    fail_while_watching,
]


@pytest.mark.parametrize("leave", SYNC)
def test_ten_streams_that_were_left(leave):
    with GLMServer(answer) as server:
        model = glm(server)
        leave(model)
        assert_hung_up(server)
        with nothing_left(server):
            for _ in range(10):
                leave(model)
        assert len(server.requests) == 11


# Async


async def aleave_the_events(model):
    async with contextlib.aclosing(atool_call_events(model.astream("x"))) as events:
        await anext(events)


async def cancelled(work, server, begun):
    task = asyncio.create_task(work)
    written = lambda: len(server.requests) > begun and server.requests[-1].answered.is_set()  # noqa: E731
    assert await asyncio.to_thread(server.wait_until, written)
    await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def read_all(stream):
    return [item async for item in stream]


def cancel_ainvoke(model):
    return model.ainvoke("x")


def cancel_astream(model):
    return read_all(model.astream("x"))


def cancel_an_agent(model):
    return agent_of(model).ainvoke(INPUT)


def cancel_who_watches_an_agent(model):
    return read_all(astream_agent(agent_of(model), INPUT))


def cancel_many_at_once(model):
    return asyncio.gather(*[model.ainvoke("x") for _ in range(5)])


async def all_gone(server):
    """Wait, while the loop runs, until the server has seen each stream end."""
    gc.collect()
    await no_other_task()
    for request in server.requests:
        assert await asyncio.to_thread(request.hung_up.wait, 1)


async def in_time(work):
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(work, 0.1)


@pytest.mark.parametrize("leave", [aclose, aleave_the_loop, aleave_the_events])
async def test_ten_async_streams_that_were_left(leave):
    with GLMServer(answer) as server:
        model = glm(server)
        await leave(model)
        await all_gone(server)
        with nothing_left(server):
            for _ in range(10):
                await leave(model)
            await all_gone(server)


CANCELLED = [
    cancel_ainvoke,
    cancel_astream,
    cancel_an_agent,
    pytest.param(cancel_who_watches_an_agent, marks=async_agents_stream),
]


@pytest.mark.parametrize("begin", CANCELLED)
async def test_five_tasks_that_were_cancelled(begin):
    with GLMServer(answer) as server:
        model = glm(server, max_retries=5)
        await cancelled(begin(model), server, 0)
        await all_gone(server)
        with nothing_left(server):
            for n in range(1, 6):
                await cancelled(begin(model), server, n)
            await all_gone(server)
        assert len(server.requests) == 6


@pytest.mark.parametrize("begin", [cancel_ainvoke, cancel_astream, cancel_many_at_once])
async def test_a_time_limit_from_outside(begin):
    with GLMServer(answer) as server:
        model = glm(server)
        await in_time(begin(model))
        await all_gone(server)


# Control-C in a process of its own

ASKING = """
import asyncio, gc, os, sys, threading, warnings
from langchain.agents import create_agent
from langchain_core._api import LangChainBetaWarning
from langchain_glm import ChatGLM
from langchain_glm.streaming import astream_agent, stream_agent, tool_call_events

warnings.simplefilter("ignore", LangChainBetaWarning)
model = ChatGLM(base_url=sys.argv[1], api_key="test-key", max_retries=5)
agent = create_agent(model, [])
INPUT = {"messages": "x"}

async def read(stream):
    return [item async for item in stream]

async def av3():
    async with await model.astream_events("x", version="v3") as events:
        return await events

WAYS = {
    "invoke": lambda: model.invoke("x"),
    "stream": lambda: list(model.stream("x")),
    "v3": lambda: model.stream_events("x", version="v3").output,
    "events": lambda: list(tool_call_events(model.stream("x"))),
    "ainvoke": lambda: asyncio.run(model.ainvoke("x")),
    "astream": lambda: asyncio.run(read(model.astream("x"))),
    "av3": lambda: asyncio.run(av3()),
    "agent": lambda: agent.invoke(INPUT),
    "aagent": lambda: asyncio.run(agent.ainvoke(INPUT)),
    "watched": lambda: list(stream_agent(agent, INPUT)),
    "awatched": lambda: asyncio.run(read(astream_agent(agent, INPUT))),
}
for name, ask in WAYS.items():
    try:
        ask()
    except KeyboardInterrupt:
        gc.collect()
        left = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        print(name, *left, flush=True)
model.invoke("x")
"""
WAYS = [line.split('"')[1] for line in ASKING.splitlines() if ": lambda:" in line]


def has_begun(server, number):
    return len(server.requests) > number and server.requests[number].sent


def test_control_c():
    assert len(WAYS) == 11
    with GLMServer(answer) as server:
        process = subprocess.Popen(  # noqa: S603 - the script above
            [sys.executable, "-W", "error::ResourceWarning", "-c", ASKING, server.base_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            for number, way in enumerate([*WAYS, "and at last"]):
                assert server.wait_until(functools.partial(has_begun, server, number), 30), way
                time.sleep(0.05)  # until it waits for more
                os.kill(process.pid, signal.SIGINT)
                assert server.requests[number].hung_up.wait(1), way
                if way in WAYS:
                    assert process.stdout.readline().split() == [way]
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
            process.communicate()
        assert out == ""
        assert err.rstrip().endswith("KeyboardInterrupt")
        assert "Warning" not in err
        assert "never awaited" not in err
        assert len(server.requests) == len(WAYS) + 1  # nothing was sent again
