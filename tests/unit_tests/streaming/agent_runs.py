"""Runs of agents, watched sync or async, and a check of what was seen."""

import asyncio
import json
import threading
import time
from collections import defaultdict
from contextlib import aclosing, contextmanager
from typing import Any, NamedTuple

import pytest
from chunk_streams import read
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from pythons import async_agents_stream

from langchain_glm import ChatGLM
from langchain_glm.streaming import astream_agent, stream_agent
from langchain_glm.streaming import events as ev

INPUT = {"messages": "Write fib.py"}

SYNC = pytest.param("sync", id="sync")
ASYNC = pytest.param("async", id="async")
ASYNC_AGENT = pytest.param("async", id="async", marks=async_agents_stream)

either = pytest.mark.parametrize("way", [SYNC, ASYNC])
either_of_create_agent = pytest.mark.parametrize("way", [SYNC, ASYNC_AGENT])


def glm(server, **fields):
    fields = {"model": "glm-4.7", "max_retries": 0, **fields}
    return ChatGLM(base_url=server.base_url, api_key="test-key", **fields)


def gpt(server, **fields):
    fields = {"model": "gpt-4o", "max_retries": 0, **fields}
    return ChatOpenAI(base_url=server.base_url, api_key="test-key", **fields)


def graph_of(*nodes, state=MessagesState):
    """Nodes in a row; each is a function, or a pair of one and its async twin."""
    graph = StateGraph(state)
    before = START
    for at, node in enumerate(nodes):
        name = f"node_{at}"
        made = RunnableLambda(*node) if isinstance(node, tuple) else node
        graph.add_node(name, made)
        graph.add_edge(before, name)
        before = name
    return graph.compile()


def asking(model, *, stream=False, save=True):
    """A node that asks a model."""

    def ask(state, config):
        messages = state["messages"]
        given = list(model.stream(messages, config)) if stream else [model.invoke(messages, config)]
        return {"messages": [sum(given[1:], given[0])]} if save else {}

    async def aask(state, config):
        messages = state["messages"]
        if stream:
            given = [chunk async for chunk in model.astream(messages, config)]
        else:
            given = [await model.ainvoke(messages, config)]
        return {"messages": [sum(given[1:], given[0])]} if save else {}

    return ask, aask


class Watched(NamedTuple):
    """A run that was seen to its end."""

    events: list
    error: Exception | None

    @property
    def last(self):
        return self.events[-1]

    def of(self, *kinds):
        return [event for event in self.events if isinstance(event, kinds)]


async def watched(way, graph, given=INPUT, config=None, see=lambda event: None, **more):
    """Watch a run to its end, in one of the two ways."""
    seen: list[Any] = []
    error = None
    try:
        async with aclosing(begun(way, graph, given, config, **more)) as events:
            async for event in events:
                seen.append(event)
                see(event)
    except Exception as raised:  # noqa: BLE001 - the test judges it
        error = raised
    check(seen, error)
    return Watched(seen, error)


async def begun(way, graph, given=INPUT, config=None, **more):
    """The events of a run; the sync way blocks the loop, as it blocks its thread."""
    if way == "async":
        async with aclosing(astream_agent(graph, given, config, **more)) as aevents:
            async for event in aevents:
                yield event
        return
    events = stream_agent(graph, given, config, **more)
    try:
        for event in events:
            yield event
    finally:
        events.close()


@contextmanager
def no_thread_left(seconds=2.0):
    """Check that what runs inside leaves no thread, but the idle ones of the loop's executor."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + seconds
    while (left := _threads() - before) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not left


def _threads():
    return {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio")}


async def no_task_left():
    """Wait until this is the only task."""
    for _ in range(200):
        if asyncio.all_tasks() == {asyncio.current_task()}:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(asyncio.all_tasks())


def check(events, error=None):
    """Check the grammar of a whole run, as the docstrings of the events have it."""
    *before, last = events
    assert isinstance(last, _ENDS), last
    assert not [event for event in before if isinstance(event, _ENDS)]
    assert isinstance(last, ev.RunFailed) == (error is not None), (last, error)
    if error is not None:
        assert last.error is error
    for event in events:
        json.dumps(event.to_dict(), allow_nan=False)
    messages, tools = defaultdict(list), defaultdict(list)
    for event in before:
        if isinstance(event, ev.ToolEvent):
            tools[event.namespace, event.id].append(event)
        else:
            messages[event.namespace, event.node, event.message_id].append(event)
    for of_one in messages.values():
        read(of_one)
    for of_one in tools.values():
        _check_tool(of_one, may_run=isinstance(last, ev.RunInterrupted))


_ENDS = (ev.RunFinished, ev.RunInterrupted, ev.RunFailed)


def _check_tool(events, *, may_run):
    """A tool starts, writes, ends, and may begin again; an answer may come without a tool."""
    if events[0].id is None:
        assert all(isinstance(event, ev.ToolProgress) for event in events)
        return
    runs = False
    for event in events:
        if isinstance(event, ev.ToolStarted):
            assert not runs, events
        elif isinstance(event, ev.ToolProgress):
            assert runs, events
        runs = isinstance(event, (ev.ToolStarted, ev.ToolProgress))
        assert event.name or not runs
    assert may_run or not runs, events
