"""Who watches a sync run goes away: it stops, the server sees it, and nothing is left."""

import gc
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from agent_runs import INPUT, check, glm, gpt, no_thread_left
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from langchain_glm.streaming import StopSignal, stream_agent
from langchain_glm.streaming import events as ev
from langchain_glm.testing import Call, Fail, GLMServer, Raw, Reply

FRAME = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"one"}}]}\n\n'
SILENT = Raw(FRAME, end=False)
SLOW = Reply(text="and on " * 200)
PACE = 0.02
SOON = 2.0  # seconds; the silence of these servers would last for ever
WRITING = Reply(tool_calls=[Call("write_file", {"path": "a.py", "content": "x" * 2000})])


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


def first_text(events):
    return next(event for event in events if isinstance(event, ev.TextDelta))


def hung_up(server, request=0):
    return server.requests[request].hung_up.wait(SOON)


# Sync


def test_closing_stops_a_silent_server_at_once():
    with GLMServer(SILENT) as server:
        events = stream_agent(agent_of(glm(server)), INPUT)
        assert first_text(events).text == "one"
        events.close()
        assert hung_up(server)
        assert list(events) == []
        assert len(server.requests) == 1


def test_closing_stops_a_node_that_streams_at_once():
    with GLMServer(SILENT) as server:
        model = glm(server)

        def speak(state, writer):
            for chunk in model.stream("hi"):
                writer(chunk.text)

        graph = StateGraph(MessagesState).add_node("speak", speak).add_edge(START, "speak")
        events = stream_agent(graph.compile(), INPUT)
        assert next(events).data == "one"
        events.close()
        assert hung_up(server)


def test_closing_stops_chat_openai_at_the_next_fragment():
    with GLMServer(SLOW, pace=PACE) as server:
        with closing(stream_agent(agent_of(gpt(server)), INPUT)) as events:
            first_text(events)
        (request,) = server.requests
        assert request.hung_up.wait(SOON)
        assert len(request.sent) < 100
        assert not request.answered.is_set()


class LeftError(Exception):
    """What the consumer raises."""


@pytest.mark.parametrize("error", [LeftError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_error_of_the_consumer_stops_the_run(error):
    with GLMServer(SILENT) as server:

        def consume():
            with closing(stream_agent(agent_of(glm(server)), INPUT)) as events:
                raise error(str(next(events)))

        with pytest.raises(error):
            consume()
        assert hung_up(server)


def test_an_error_that_is_thrown_into_the_run_stops_it():
    with GLMServer(SILENT) as server:
        events = stream_agent(agent_of(glm(server)), INPUT)
        first_text(events)
        with pytest.raises(KeyboardInterrupt):
            events.throw(KeyboardInterrupt)
        assert hung_up(server)


def test_a_loop_that_is_left_without_closing():
    """CPython closes the generator when nobody holds it."""
    with GLMServer(SILENT) as server:
        for event in stream_agent(agent_of(glm(server)), INPUT):
            assert event.text == "one"
            break
        gc.collect()
        assert hung_up(server)


def test_every_model_of_a_run_is_stopped():
    with GLMServer(SILENT) as server:
        graph = StateGraph(MessagesState)
        for name in ("left", "right"):
            model = glm(server, model=name)

            def ask(state, config, model=model):
                return {"messages": [model.invoke(state["messages"], config)]}

            graph.add_node(name, ask).add_edge(START, name)
        events = stream_agent(graph.compile(), INPUT)
        assert {next(events).node, next(events).node} == {"left", "right"}
        events.close()
        assert hung_up(server, 0)
        assert hung_up(server, 1)


def test_a_model_in_a_tool_is_stopped():
    with GLMServer([WRITING, SILENT]) as server:
        model = glm(server)

        @tool("write_file")
        def ask(path: str, content: str) -> str:
            """Ask a model."""
            return model.invoke("hi").text

        events = stream_agent(create_agent(model, [ask]), INPUT)
        first_text(events)
        events.close()
        assert hung_up(server, 1)


def test_a_wait_before_a_retry_ends_at_once():
    busy = Fail(429, "1305", "busy", headers={"Retry-After": "20"})
    with GLMServer([busy, SLOW]) as server:
        graph = StateGraph(MessagesState)
        model = glm(server, max_retries=3)
        # Something to see while the other waits.
        graph.add_node("waits", lambda s, config: model.invoke("hi", config) and {})

        def speak(state, config, writer):
            server.wait_until(lambda: server.requests and server.requests[0].answered.is_set())
            writer("it waits")

        graph.add_node("speaks", speak)
        graph.add_edge(START, "waits").add_edge(START, "speaks")
        events = stream_agent(graph.compile(), INPUT)
        assert next(events).data == "it waits"
        before = time.monotonic()
        events.close()
        assert time.monotonic() - before < 10
        assert len(server.requests) == 1


def test_a_tool_that_runs_is_waited_for():
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    @tool("write_file")
    def slow(path: str, content: str) -> str:
        """Take long."""
        began.set()
        may_end.wait(SOON)
        ended.set()
        return "late"

    with GLMServer([WRITING, Reply(text="Never asked.")]) as server:
        events = stream_agent(create_agent(glm(server), [slow]), INPUT)
        while not isinstance(next(events), ev.ToolStarted):
            pass
        assert began.wait(SOON)
        threading.Timer(0.05, may_end.set).start()
        events.close()
        assert ended.is_set()
        assert len(server.requests) == 1


@pytest.mark.parametrize("model", [glm, gpt], ids=["glm", "gpt"])
@pytest.mark.parametrize("answer", [SILENT, SLOW], ids=["silent", "slow"])
def test_a_stopped_run_says_nothing_more(model, answer, caplog, capfd):
    """No failure for the consumer, and no word in the log."""
    if answer is SILENT and model is gpt:
        answer = Raw([FRAME, 0.2, FRAME])  # it is seen to stop at the next fragment
    with GLMServer(answer, pace=PACE) as server:
        events = stream_agent(agent_of(model(server)), INPUT)
        first_text(events)
        events.close()
        with pytest.raises(StopIteration):
            next(events)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_a_run_that_has_ended_can_be_closed():
    with GLMServer(Reply(text="Done.")) as server:
        events = stream_agent(agent_of(glm(server)), INPUT)
        seen = list(events)
        events.close()
        check(seen)
        assert server.requests[0].answered.is_set()
        assert not server.requests[0].hung_up.is_set()


def test_a_stop_of_one_run_leaves_others_alone():
    with GLMServer(SILENT) as silent, GLMServer(Reply(text="Done."), pace=PACE) as server:
        stopped = stream_agent(agent_of(glm(silent)), INPUT)
        other = stream_agent(agent_of(glm(server)), INPUT)
        first_text(stopped)
        first = first_text(other)
        stopped.close()
        check([first, *other])


def test_a_retrying_middleware_does_not_hold_up_a_stop():
    with GLMServer(SILENT) as server:
        middleware = [ModelRetryMiddleware(max_retries=2, initial_delay=5.0, jitter=False)]
        events = stream_agent(create_agent(glm(server), [], middleware=middleware), INPUT)
        next(events)
        before = time.monotonic()
        events.close()
        assert time.monotonic() - before < 4


def test_a_stop_signal_ends_a_run_from_another_thread():
    stop = StopSignal()
    with GLMServer(SILENT) as server:
        events = stream_agent(create_agent(glm(server), []), INPUT, stop=stop)
        first = next(events)
        thread = threading.Timer(0.05, stop.stop)
        thread.start()
        rest = list(events)  # no error, and no last event
        thread.join()
        assert server.requests[0].hung_up.wait(5)
    assert isinstance(first, ev.TextDelta)
    assert rest == []


def test_a_stopped_run_ends_the_calls_that_were_open():
    stop = StopSignal()
    with GLMServer(
        Reply(tool_calls=[Call("write_file", {"path": "x" * 400})]), pace=0.02
    ) as server:
        seen = []
        for event in stream_agent(create_agent(glm(server), []), INPUT, stop=stop):
            seen.append(event)
            if isinstance(event, ev.ArgumentDelta):
                stop.stop()
    assert isinstance(seen[-1], ev.ToolCallInvalid)
    assert seen[-1].reason == "broken_stream"


CTRL_C = """
import os, signal, sys, threading, time
from langchain.agents import create_agent
from langchain_glm import ChatGLM
from langchain_glm.streaming import StopSignal, stream_agent
from langchain_glm.testing import GLMServer, Raw

signal.signal(signal.SIGINT, signal.default_int_handler)
frame = b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\\n\\n'
with GLMServer(Raw(frame, end=False)) as server:
    agent = create_agent(ChatGLM(base_url=server.base_url, api_key="test-key"), [])
    events = stream_agent(agent, {"messages": "hi"})
    next(events)
    pressed = []
    def press():
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.3, press).start()
    try:
        next(events)
    except KeyboardInterrupt:
        print("stopped", time.monotonic() - pressed[0] < 5, server.requests[0].hung_up.wait(5))
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_ctrl_c_stops_a_silent_run_at_once():
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "ignore", "-c", CTRL_C],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["stopped", "True", "True", "True"], done.stderr
