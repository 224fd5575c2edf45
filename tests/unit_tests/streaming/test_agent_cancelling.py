"""Who watches an async run goes away: it stops at once, the server sees it, nothing is left.

And what a stopped run, sync or async, leaves behind.
"""

import asyncio
import gc
from contextlib import aclosing

import pytest
from agent_runs import (
    INPUT,
    asking,
    begun,
    either,
    either_of_create_agent,
    glm,
    gpt,
    graph_of,
    no_task_left,
    no_thread_left,
    watched,
)
from chunk_streams import read
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pythons import async_agents_stream

from langchain_glm.streaming import astream_agent, complete_history
from langchain_glm.streaming import events as ev
from langchain_glm.testing import Call, Fail, GLMServer, Raw, Reply

FRAME = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"one"}}]}\n\n'
SILENT = Raw(FRAME, end=False)
SLOW = Reply(text="and on " * 200)
SOON = 2.0  # seconds; the silence of these servers would last for ever
WRITING = Reply(tool_calls=[Call("write_file", {"path": "a.py", "content": "x" * 200})])


class LeftError(Exception):
    """What the consumer raises."""


@tool
def write_file(path: str, content: str) -> str:
    """Write a file."""
    return "written"


@pytest.fixture(autouse=True)
def _no_thread_left():
    with no_thread_left():
        yield


@pytest.fixture(autouse=True, scope="module")
def _no_socket_left():
    yield
    gc.collect()  # a socket that nobody has closed warns, and a warning is an error


def agent_of(model):
    return create_agent(model, [write_file])


def hung_up(server, request=0):
    return server.requests[request].hung_up.wait(SOON)


models = pytest.mark.parametrize("model", [glm, gpt], ids=["glm", "gpt"])


@async_agents_stream
@models
async def test_aclosing_stops_a_silent_server_at_once(model):
    with GLMServer(SILENT) as server:
        async with aclosing(astream_agent(agent_of(model(server)), INPUT)) as events:
            async for event in events:
                assert event.text == "one"
                break
        assert await asyncio.to_thread(hung_up, server)
        await no_task_left()
        assert len(server.requests) == 1


@async_agents_stream
@models
async def test_cancelling_the_task_stops_a_silent_server_at_once(model):
    with GLMServer(SILENT) as server:
        begun_ = asyncio.Event()

        async def consume():
            async for _ in astream_agent(agent_of(model(server)), INPUT):
                begun_.set()

        task = asyncio.create_task(consume())
        await begun_.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(hung_up, server)
        await no_task_left()


@async_agents_stream
async def test_a_time_limit_stops_a_silent_server():
    with GLMServer(SILENT) as server:

        async def consume():
            return [event async for event in astream_agent(agent_of(glm(server)), INPUT)]

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(consume(), 0.2)
        assert await asyncio.to_thread(hung_up, server)
        await no_task_left()


@async_agents_stream
@pytest.mark.parametrize("error", [LeftError, KeyboardInterrupt])
async def test_an_error_of_the_async_consumer_stops_the_run(error):
    with GLMServer(SILENT) as server:

        async def consume():
            async with aclosing(astream_agent(agent_of(glm(server)), INPUT)) as events:
                raise error(str(await anext(events)))

        with pytest.raises(error):
            await consume()
        assert await asyncio.to_thread(hung_up, server)
        await no_task_left()


@async_agents_stream
async def test_an_async_generator_that_nobody_holds():
    """The loop closes it when it is collected."""
    with GLMServer(SILENT) as server:
        async for event in astream_agent(agent_of(glm(server)), INPUT):
            assert event.text == "one"
            break
        gc.collect()
        assert await asyncio.to_thread(hung_up, server)
        await no_task_left()


@async_agents_stream
def test_an_async_generator_that_the_loop_ends_with():
    with GLMServer(SILENT) as server:
        kept = []

        async def consume():
            events = astream_agent(agent_of(glm(server)), INPUT)
            kept.append(events)
            assert (await anext(events)).text == "one"

        asyncio.run(consume())
        assert hung_up(server)


@async_agents_stream
async def test_a_tool_that_runs_is_cancelled():
    began, cancelled = asyncio.Event(), asyncio.Event()

    @tool("write_file")
    async def slow(path: str, content: str) -> str:
        """Take long."""
        began.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with GLMServer([WRITING, SILENT]) as server:
        async with aclosing(astream_agent(create_agent(glm(server), [slow]), INPUT)) as events:
            async for event in events:
                if isinstance(event, ev.ToolStarted):
                    await asyncio.wait_for(began.wait(), SOON)
                    break
        assert cancelled.is_set()
        await no_task_left()
        assert len(server.requests) == 1


@async_agents_stream
async def test_a_cancelled_wait_before_a_retry():
    busy = Fail(429, "1305", "busy", headers={"Retry-After": "20"})
    with GLMServer([busy, SLOW]) as server:
        agent = agent_of(glm(server, max_retries=3))
        events = astream_agent(agent, INPUT)
        task = asyncio.create_task(anext(events))
        answered = lambda: server.requests and server.requests[0].answered.is_set()  # noqa: E731
        assert await asyncio.to_thread(server.wait_until, answered)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await events.aclose()
        await no_task_left()
        assert len(server.requests) == 1


# What was seen is kept


@either_of_create_agent
async def test_what_a_stopped_run_has_shown_makes_a_history(way):
    """The messages that had ended, as the events gave them, are what there is to keep."""
    with GLMServer([WRITING, SILENT]) as server:
        seen = []
        async with aclosing(begun(way, agent_of(glm(server)))) as events:
            async for event in events:
                seen.append(event)
                if isinstance(event, ev.TextDelta):
                    break
        assert await asyncio.to_thread(hung_up, server, 1)
    kept = [e.message for e in seen if isinstance(e, ev.MessageFinished)]
    assert [call["name"] for call in kept[0].tool_calls] == ["write_file"]
    with GLMServer(Reply(text="Done.")) as server:
        glm(server).invoke([HumanMessage("hi"), *complete_history(kept), HumanMessage("again")])
        turns = server.requests[0].body["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "user"]


@either
async def test_stopping_between_the_messages_of_a_run(way):
    with GLMServer([Reply(text="Done."), SLOW]) as server:
        model = glm(server)
        graph = graph_of(asking(model), asking(model))
        async with aclosing(begun(way, graph)) as events:
            seen = [event async for event in _until(ev.MessageFinished, events)]
    (message,) = read(seen)
    assert message.text == "Done."


async def _until(kind, events):
    async for event in events:
        yield event
        if isinstance(event, kind):
            return


@either
async def test_a_run_can_be_watched_again_after_a_stop(way):
    with GLMServer([SILENT, Reply(text="Done.")]) as server:
        agent = graph_of(asking(glm(server)))
        async with aclosing(begun(way, agent)) as events:
            async for event in events:
                assert event.text == "one"
                break
        run = await watched(way, agent)
    assert run.last.messages[0].text == "Done."
