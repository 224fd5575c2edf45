"""Ask one model again and again, in every way at once, and say what is left each time.

`python tests/soak.py BASE_URL STREAMS ROUNDS` prints one line of JSON a round. It is a process of
its own, so that what it counts is the client's alone.

In each round sync streams run in a few threads, and async ones in one event loop that lives from
the first round to the last, while a loop of its own is made and ended. Of each kind some are left
early: closed, lost, cancelled, timed out.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import sys
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

from langchain.agents import create_agent
from langchain_core._api.beta_decorator import LangChainBetaWarning
from langchain_core.tools import tool

from langchain_glm import ChatGLM
from langchain_glm.streaming import acollect, astream_agent, collect, stream_agent

WIDTH = 6  # how many streams of each kind, sync and async, run at the same time


@tool
def write(path: str, text: str) -> str:
    """Write a file."""
    return f"wrote {len(text)} characters to {path}"


# The server answers "early" with a first fragment and then with silence, so that only who leaves
# gets on; "work" with a call of the tool, and what has a tool's answer with a text.


def whole(model):
    assert collect(model.bind_tools([write]).stream("work")).tool_calls


def whole_message(model):
    assert model.bind_tools([write]).invoke("work").tool_calls


def whole_v3(model):
    assert model.stream_events("say", version="v3").output.text


def closed(model):
    stream = model.stream("early")
    next(stream)
    stream.close()


def lost(model):
    next(model.stream("early"))


def agent(model):
    *_, last = stream_agent(create_agent(model, [write]), {"messages": "work"})
    assert last.type == "run_finished"


def closed_agent(model):
    events = stream_agent(create_agent(model, [write]), {"messages": "early"})
    next(events)
    events.close()


async def awhole(model):
    assert (await acollect(model.bind_tools([write]).astream("work"))).tool_calls


async def awhole_message(model):
    assert (await model.bind_tools([write]).ainvoke("work")).tool_calls


async def awhole_v3(model):
    async with await model.astream_events("say", version="v3") as events:
        assert (await events).text


async def aclosed(model):
    stream = model.astream("early")
    await anext(stream)
    await stream.aclose()


async def alost(model):
    await anext(model.astream("early"))


async def aclosed_v3(model):
    async with await model.astream_events("early", version="v3") as events:
        await anext(aiter(events))


async def cancelled(model):
    async def read():
        async for _ in model.astream("early"):
            begun.set()

    begun = asyncio.Event()
    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task])


async def timed_out(model):
    async def read():
        async for _ in model.astream("early"):
            pass

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read(), 0.02)


async def aagent(model):
    events = [e async for e in astream_agent(create_agent(model, [write]), {"messages": "work"})]
    assert events[-1].type == "run_finished"


async def aclosed_agent(model):
    events = astream_agent(create_agent(model, [write]), {"messages": "early"})
    await anext(events)
    await events.aclose()


SYNC = (whole, whole_message, whole_v3, closed, lost, agent, closed_agent)
ASYNC = (
    *(awhole, awhole_message, awhole_v3, aclosed, alost, aclosed_v3, cancelled, timed_out, aagent),
    # Before, an async agent asks its model without a stream (see `pythons.py`), and would wait.
    *((aclosed_agent,) if sys.version_info >= (3, 11) else ()),
)


async def at_once(work, width):
    """Run the coroutines, `width` at a time."""

    async def some():
        for one in work:
            await one

    work = iter(work)
    await asyncio.gather(*(some() for _ in range(width)))


def sync_streams(model, pool, count):
    ways = itertools.islice(itertools.cycle(SYNC), count)
    for done in [pool.submit(way, model) for way in ways]:
        done.result()


async def async_streams(model, count):
    ways = itertools.islice(itertools.cycle(ASYNC), count)
    await at_once((way(model) for way in ways), WIDTH)


def a_loop_of_its_own(model):
    asyncio.run(async_streams(model, len(ASYNC)))


async def quiet():
    """Wait until the other tasks are gone: a finalizer may need a turn of the loop."""
    for _ in range(500):
        gc.collect()
        if asyncio.all_tasks() == {asyncio.current_task()}:
            return
        await asyncio.sleep(0.002)


def left(streams):
    """What is there now."""
    return {
        "streams": streams,
        "descriptors": len(os.listdir("/dev/fd")),  # noqa: PTH208 - names are enough
        "tasks": len(asyncio.all_tasks()) - 1,
        "threads": threading.active_count(),
        "objects": len(gc.get_objects()),
        "bytes": tracemalloc.get_traced_memory()[0],
    }


async def main(base_url, streams, rounds):
    model = ChatGLM(base_url=base_url, api_key="test-key", max_retries=0)
    each = streams // rounds - len(ASYNC)
    with ThreadPoolExecutor(WIDTH) as pool:
        for number in range(1, rounds + 1):
            await asyncio.gather(
                asyncio.to_thread(sync_streams, model, pool, each // 2),
                asyncio.to_thread(a_loop_of_its_own, model),
                async_streams(model, each - each // 2),
            )
            await quiet()
            print(json.dumps(left(number * (each + len(ASYNC)))), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore", LangChainBetaWarning)
    gc.freeze()  # what was imported is not looked through again
    tracemalloc.start()
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
