"""One model object for loops, threads and forked processes, in turn, nested and all at once."""

import asyncio
import concurrent.futures
import functools
import gc
import subprocess
import sys
import threading
import warnings

import pytest
from langchain.agents import create_agent
from leaving import no_resource_warning

from langchain_glm import ChatGLM
from langchain_glm.streaming import RunFinished, astream_agent, stream_agent
from langchain_glm.testing import GLMServer, Raw, Reply


@pytest.fixture(scope="module", autouse=True)
def _collect_only_what_these_tests_make():
    """The imports' objects are many: without them a collection takes no time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def glm(server):
    return ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=0)


def asked(received):
    return received.body["messages"][-1]["content"]


def echo(received):
    return Reply(reasoning="Hm.", text=asked(received))


def connections(server):
    return [received.connection for received in server.requests]


# Ways to ask for a text, and to run a coroutine


def invoke(model, ask):
    return model.invoke(ask).text


def stream(model, ask):
    return "".join(chunk.text for chunk in model.stream(ask))


def v3(model, ask):
    return model.stream_events(ask, version="v3").output.text


def agent(model, ask):
    return create_agent(model).invoke({"messages": ask})["messages"][-1].text


def agent_events(model, ask):
    *_, last = stream_agent(create_agent(model), {"messages": ask})
    assert isinstance(last, RunFinished)
    return last.messages[-1].text


async def ainvoke(model, ask):
    return (await model.ainvoke(ask)).text


async def astream(model, ask):
    return "".join([chunk.text async for chunk in model.astream(ask)])


async def av3(model, ask):
    async with await model.astream_events(ask, version="v3") as events:
        return (await events).text


async def aagent(model, ask):
    answer = await create_agent(model).ainvoke({"messages": ask})
    return answer["messages"][-1].text


async def aagent_events(model, ask):
    events = [event async for event in astream_agent(create_agent(model), {"messages": ask})]
    assert isinstance(events[-1], RunFinished)
    return events[-1].messages[-1].text


WAYS = [invoke, stream, v3, agent, agent_events]
ASYNC_WAYS = [ainvoke, astream, av3, aagent, aagent_events]

LOOPS = [pytest.param(asyncio.run, id="asyncio")]
if sys.platform != "win32":  # which uvloop does not know
    import uvloop

    LOOPS.append(pytest.param(uvloop.run, id="uvloop"))

each_loop = pytest.mark.parametrize("run", LOOPS)
each_way = pytest.mark.parametrize("way", WAYS)
each_async_way = pytest.mark.parametrize("way", ASYNC_WAYS)


# Loops


@each_loop
@each_async_way
def test_loops_in_turn(way, run):
    async def talk():
        return [await way(model, "one"), await way(model, "two")]

    with GLMServer(echo) as server, no_resource_warning():
        model = glm(server)
        assert [run(talk()) for _ in range(3)] == [["one", "two"]] * 3
        assert connections(server) == [1, 1, 2, 2, 3, 3]


@each_loop
def test_loops_in_threads_at_once(run):
    names = [f"loop {n}" for n in range(12)]
    together = threading.Barrier(len(names))

    async def talk(name):
        # Both are on their way in every loop before any goes on.
        first = [asyncio.create_task(way(model, name)) for way in (ainvoke, astream)]
        await asyncio.to_thread(together.wait, 20)
        return [*await asyncio.gather(*first), *[await way(model, name) for way in ASYNC_WAYS]]

    with (
        GLMServer(echo) as server,
        no_resource_warning(),
        concurrent.futures.ThreadPoolExecutor(len(names)) as pool,
    ):
        model = glm(server)
        answers = list(pool.map(lambda name: run(talk(name)), names))
        assert answers == [[name] * 7 for name in names]
        owners = {(r.connection, asked(r)) for r in server.requests}
        assert len(owners) == len({connection for connection, _ in owners})  # one loop each
        assert len(owners) <= 2 * len(names)


@each_loop
def test_one_loop_for_many_threads(run):
    names = [f"thread {n}" for n in range(20)]

    async def serve():
        loop = asyncio.get_running_loop()

        def ask(name):
            way = ASYNC_WAYS[int(name.split()[1]) % len(ASYNC_WAYS)]
            return asyncio.run_coroutine_threadsafe(way(model, name), loop).result(20)

        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            return await asyncio.gather(*[loop.run_in_executor(pool, ask, n) for n in names])

    with GLMServer(echo) as server, no_resource_warning():
        model = glm(server)
        assert run(serve()) == names
        assert len(set(connections(server))) <= len(names)


@each_loop
def test_a_loop_that_nobody_shuts_down(run):
    # Not `asyncio.run`: what closes the generators of a loop, and with them its connections.
    # The next loop drops what the last one left.
    def talk():
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(ainvoke(model, "x"))
        finally:
            loop.close()

    with GLMServer(echo) as server:
        model = glm(server)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # asyncio's own, about its transport
            assert [talk() for _ in range(3)] == ["x"] * 3
            assert run(ainvoke(model, "x")) == "x"
            gc.collect()
        numbers = server._listener.numbers
        assert server.wait_until(lambda: not numbers), f"open at the server: {numbers}"


# Inside a running loop, as in a notebook


@each_loop
@each_way
def test_sync_inside_a_running_loop(way, run):
    async def cell():
        return [way(model, "one"), await astream(model, "two"), way(model, "three")]

    with GLMServer(echo) as server, no_resource_warning():
        model = glm(server)
        assert run(cell()) == ["one", "two", "three"]
        assert run(cell()) == ["one", "two", "three"]
        # The sync connection is the process's, the other one is the loop's.
        assert connections(server) == [1, 2, 1, 1, 3, 1]


@each_loop
@each_async_way
def test_a_loop_of_its_own_in_a_worker_thread(way, run):
    async def cell():
        here = asyncio.create_task(way(model, "here"))
        there = asyncio.to_thread(asyncio.run, way(model, "there"))
        return await asyncio.gather(here, there, asyncio.to_thread(invoke, model, "sync"))

    with GLMServer(echo) as server, no_resource_warning():
        model = glm(server)
        assert run(cell()) == ["here", "there", "sync"]
        assert sorted(connections(server)) == [1, 2, 3]


@each_loop
def test_sync_and_async_streams_interleaved(run):
    opened = [
        *[lambda model, ask: model.stream(ask)] * 3,
        lambda model, ask: model.stream_events(ask, version="v3").text,
    ]

    async def pull(model, streams, names):
        asyncs = [model.astream(f"async {name}") for name in names]
        texts = {name: ["", ""] for name in names}
        for _ in range(64):  # a piece of each in turn
            for name, sync, other in zip(names, streams, asyncs, strict=True):
                texts[name][0] += getattr(piece := next(sync, ""), "text", piece)
                texts[name][1] += getattr(await anext(other, ""), "text", "")
        return texts

    with GLMServer(echo, fragment_size=1) as server, no_resource_warning():
        model = glm(server)
        names = [f"number {n}" for n in range(len(opened))]
        streams = [iter(open_(model, name)) for open_, name in zip(opened, names, strict=True)]
        assert run(pull(model, streams, names)) == {name: [name, f"async {name}"] for name in names}
        assert sorted(connections(server)) == list(range(1, 9))


@each_loop
@pytest.mark.parametrize("end", ["close", "cancel"])
def test_one_stream_ends_early_and_the_others_go_on(end, run):
    silent = Raw([b'data: {"id":"A","choices":[{"delta":{"content":"one"}}]}\n\n'], end=False)

    async def talk():
        first = model.astream("silent")
        assert (await anext(first)).text == "one"
        others = [asyncio.create_task(way(model, "more")) for way in (ainvoke, astream, av3)]
        if end == "close":
            await first.aclose()
        else:
            task = asyncio.ensure_future(anext(first))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await asyncio.to_thread(server.requests[0].hung_up.wait, 2)
        return await asyncio.gather(*others)

    with (
        GLMServer(lambda r: silent if asked(r) == "silent" else echo(r)) as server,
        no_resource_warning(),
    ):
        model = glm(server)
        assert run(talk()) == ["more"] * 3


# Threads


def test_two_hundred_threads_at_once():
    together = threading.Barrier(200)

    def answer(received):
        if not asked(received).startswith("again"):
            together.wait(60)  # all are at the server before any is answered
        return echo(received)

    def talk(n):
        way = [invoke, stream, v3, ainvoke, astream][n % 5]
        text = way(model, f"thread {n}")
        return text if isinstance(text, str) else asyncio.run(text)

    with (
        GLMServer(answer) as server,
        no_resource_warning(),
        concurrent.futures.ThreadPoolExecutor(200) as pool,
    ):
        model = glm(server)
        assert list(pool.map(talk, range(200))) == [f"thread {n}" for n in range(200)]
        assert sorted(connections(server)) == list(range(1, 201))
        # 80 were of loops that are gone, and of the others each is as good as the next.
        sync = {r.connection for r in server.requests if int(asked(r).split()[1]) % 5 < 3}
        server.requests.clear()
        again = [f"again {n}" for n in range(20)]
        assert list(pool.map(functools.partial(stream, model), again)) == again
        assert set(connections(server)) <= sync


def test_batch_and_abatch_keep_order_and_connections():
    asks = [f"number {n}" for n in range(40)]
    width = {"max_concurrency": 8}

    async def abatch():
        return await model.abatch(asks, width)

    with GLMServer(echo) as server, no_resource_warning():
        model = glm(server)
        assert [message.text for message in model.batch(asks, width)] == asks
        assert [message.text for message in asyncio.run(abatch())] == asks
        assert len(set(connections(server))) <= 8 + 8


# Forks. Each script runs in a process of its own: pytest's has threads.

HEAD = """
import asyncio, os, sys, threading, warnings
from langchain_core._api.beta_decorator import LangChainBetaWarning
from langchain_glm import ChatGLM

warnings.simplefilter("ignore", LangChainBetaWarning)
# Python 3.12 warns of every fork among threads.
warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)

model = ChatGLM(base_url=sys.argv[1], api_key="test-key", max_retries=0)

async def astream(ask):
    return "".join([chunk.text async for chunk in model.astream(ask)])

async def av3(ask):
    async with await model.astream_events(ask, version="v3") as events:
        return (await events).text

def talk(name):
    assert model.invoke(name).text == name
    assert "".join(chunk.text for chunk in model.stream(name)) == name
    assert model.stream_events(name, version="v3").output.text == name
    assert asyncio.run(astream(name)) == name
    assert asyncio.run(av3(name)) == name

def fork(work):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)

def wait_for(*children):
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
"""

PREFORKED = """
talk("parent")
workers = [fork(lambda n=n: [talk(f"worker {n}") for _ in range(3)]) for n in range(4)]
talk("parent")
wait_for(*workers)
talk("parent")
"""

IN_MID_STREAM = """
def in_child():
    global stream
    talk("child")
    rest = stream
    stream = None
    del rest  # collected here, where it was never read

stream = model.stream("abcdefgh")
text = next(stream).text + next(stream).text
wait_for(fork(in_child))
text += "".join(chunk.text for chunk in stream)
assert text == "abcdefgh", text

async def parent():
    stream = model.astream("abcdefgh")
    text = (await anext(stream)).text + (await anext(stream)).text
    wait_for(fork(lambda: talk("child of a loop")))
    return text + "".join([chunk.text async for chunk in stream])

assert asyncio.run(parent()) == "abcdefgh"
talk("parent")
"""

# Whoever forks while a thread imports leaves the child a module that is never finished: what is
# imported with the first request has to be there before.
AMONG_THREADS = """
talk("parent")
forked = threading.Event()

def keep_talking():
    while not forked.is_set():
        assert model.invoke("thread").text == "thread"
        assert asyncio.run(astream("thread")) == "thread"

threads = [threading.Thread(target=keep_talking) for _ in range(3)]
for thread in threads:
    thread.start()
try:
    for _ in range(5):
        wait_for(fork(lambda: talk("child")))
finally:
    forked.set()
    for thread in threads:
        thread.join()
"""

FORKED_POOL = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

talk("parent")
pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))
with pool:
    list(pool.map(talk, [f"task {n}" for n in range(6)]))  # the model that the fork copied
    asks = [f"pickled {n}" for n in range(6)]
    assert [message.text for message in pool.map(model.invoke, asks)] == asks
"""


def run_script(script, server):
    done = subprocess.run(  # noqa: S603 - the scripts above
        [sys.executable, "-W", "error::ResourceWarning", "-c", HEAD + script, server.base_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def of_each(server, number=lambda name: name):
    """The connections that each of those who asked has used."""
    used = {}
    for received in server.requests:
        used.setdefault(number(asked(received)), []).append(received.connection)
    return used


def test_workers_forked_from_one_that_has_asked():
    with GLMServer(echo) as server:
        run_script(PREFORKED, server)
        used = of_each(server)
        assert sorted(used) == ["parent", *[f"worker {n}" for n in range(4)]]
        assert all(len(numbers) == 15 for numbers in used.values())
        for numbers in used.values():
            # One for what is sync, and one for each loop.
            assert len(set(numbers)) == 1 + 2 * 3
            assert len({n for turn in (0, 5, 10) for n in numbers[turn : turn + 3]}) == 1
        everybody = [n for numbers in used.values() for n in set(numbers)]
        assert len(everybody) == len(set(everybody))  # nobody speaks on another's


def test_a_fork_in_mid_stream_leaves_the_stream_to_the_parent():
    with GLMServer(echo, fragment_size=1) as server:
        run_script(IN_MID_STREAM, server)
        used = of_each(server)
        (sync, loop), parent = used["abcdefgh"], used["parent"]
        assert parent[:3] == [sync] * 3
        assert {sync, loop}.isdisjoint(used["child"] + used["child of a loop"])


def test_a_fork_among_threads_that_ask():
    with GLMServer(echo) as server:
        run_script(AMONG_THREADS, server)
        used = of_each(server)
        assert len(used["child"]) == 5 * 5
        assert len(set(used["child"])) == 5 * 3
        assert set(used["child"]).isdisjoint(used["thread"])


def test_a_pool_of_forked_processes():
    with GLMServer(echo) as server:
        run_script(FORKED_POOL, server)
        used = of_each(server, lambda name: name.split()[0])
        assert (len(used["task"]), len(used["pickled"])) == (30, 6)
        assert set(used["task"] + used["pickled"]).isdisjoint(used["parent"])
