"""`StopSignal` as a callback of a model, without any graph: used from another thread."""

import socket
import threading
import time
from types import SimpleNamespace

import pytest
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from langchain_glm import ChatGLM
from langchain_glm._stopping import StoppedError, StopSignal, shut_down, stop_signal
from langchain_glm.errors import GLMError
from langchain_glm.testing import Fail, GLMServer, Raw, Reply

FRAME = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"one"}}]}\n\n'
SILENT = Raw(FRAME, end=False)
SLOW = Reply(text="and on " * 200)
SOON = 5.0
STOPPED = (GLMError, StoppedError)


def glm(server, **fields):
    fields = {"base_url": server.base_url, "max_retries": 0, **fields}
    return ChatGLM(model="glm-4.7", api_key="test-key", **fields)


def gpt(server):
    return ChatOpenAI(model="gpt-4o", base_url=server.base_url, api_key="test-key", max_retries=0)


def stream(model, config):
    yield from model.stream("hi", config)


def stream_in_a_runnable(model, config):
    """Core gives `_stream` no callbacks; the runnable around it knows them."""
    yield RunnableLambda(lambda _: list(model.stream("hi"))).invoke("", config)


def stream_events(model, config):
    yield from model.stream_events("hi", config, version="v3")


def invoke(model, config):
    yield model.invoke("hi", config)


def soon(action, when):
    """Do it in another thread as soon as `when` says so."""

    def wait():
        deadline = time.monotonic() + SOON
        while not when() and time.monotonic() < deadline:
            time.sleep(0.002)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def sent(server):
    return server.requests and server.requests[0].sent


# A server in the middle of its answer


at_once = pytest.mark.parametrize("way", [stream_in_a_runnable, stream_events])


@at_once
def test_a_silent_server_is_left_at_once(way):
    stop = StopSignal()
    with GLMServer(SILENT) as server:
        thread = soon(stop.stop, lambda: sent(server))
        with pytest.raises(STOPPED):
            list(way(glm(server), {"callbacks": [stop]}))
        assert server.requests[0].hung_up.wait(SOON)
        thread.join()


def test_a_whole_answer_that_does_not_come_to_its_end_is_left_at_once():
    stop = StopSignal()
    with GLMServer(Raw([b'{"id": ', 30.0, b'"1"}'], content_type="application/json")) as server:
        thread = soon(stop.stop, lambda: sent(server))
        with pytest.raises(STOPPED):
            list(invoke(glm(server), {"callbacks": [stop]}))
        assert server.requests[0].hung_up.wait(SOON)
        thread.join()


def test_chat_openai_is_left_at_its_next_fragment():
    stop = StopSignal()
    with GLMServer(SLOW, pace=0.01) as server:
        thread = soon(stop.stop, lambda: sent(server))
        with pytest.raises(StoppedError):
            list(stream(gpt(server), {"callbacks": [stop]}))
        assert server.requests[0].hung_up.wait(SOON)
        thread.join()


def test_any_model_ends_at_its_next_fragment():
    stop = StopSignal()
    chunks = stream(FakeListChatModel(responses=["abc"]), {"callbacks": [stop]})
    assert next(chunks).text == "a"
    stop.stop()
    with pytest.raises(StoppedError):
        next(chunks)


# Before and between requests


@pytest.mark.parametrize("way", [stream, stream_events, invoke])
def test_nothing_begins_after_a_stop(way):
    stop = StopSignal()
    stop.stop()
    with GLMServer(Reply(text="Never.")) as server:
        with pytest.raises(StoppedError):
            list(way(glm(server), {"callbacks": [stop]}))
        assert server.requests == []


@at_once
def test_an_answer_that_begins_after_the_stop_is_not_read(way):
    """The stop came while the server had not begun to answer."""
    stop = StopSignal()

    def answer(received):
        stop.stop()
        return SILENT

    with GLMServer(answer) as server:
        with pytest.raises(STOPPED):
            list(way(glm(server), {"callbacks": [stop]}))
        assert server.requests[0].hung_up.wait(SOON)


@at_once
def test_a_wait_before_a_retry_ends_and_nothing_is_sent_again(way):
    stop = StopSignal()
    busy = Fail(429, "1305", "busy", headers={"Retry-After": "20"})
    with GLMServer([busy, SLOW]) as server:
        answered = lambda: server.requests and server.requests[0].answered.is_set()  # noqa: E731
        thread = soon(stop.stop, answered)
        before = time.monotonic()
        with pytest.raises(STOPPED):
            list(way(glm(server, max_retries=3), {"callbacks": [stop]}))
        assert time.monotonic() - before < 10
        assert len(server.requests) == 1
        thread.join()


@at_once
def test_what_breaks_by_a_stop_is_not_sent_again(way):
    """Nothing was delivered: without the stop it would be."""
    stop = StopSignal()
    with GLMServer([Raw(b": begun\n\n", end=False), SLOW]) as server:
        thread = soon(stop.stop, lambda: sent(server))
        with pytest.raises(STOPPED):
            list(way(glm(server, max_retries=3), {"callbacks": [stop]}))
        assert len(server.requests) == 1
        thread.join()


# What is left alone


def test_an_answer_that_is_over_is_not_touched():
    """Its connection serves the next request."""
    stop = StopSignal()
    with GLMServer(Reply(text="Done.")) as server:
        model = glm(server)
        assert model.invoke("hi", {"callbacks": [stop]}).text == "Done."
        list(model.stream("hi", {"callbacks": [stop]}))
        stop.stop()
        model.invoke("hi")
        assert {request.connection for request in server.requests} == {1}


def test_a_signal_stops_only_its_own_run():
    stop = StopSignal()
    with GLMServer(Reply(text="Done."), pace=0.01) as server:
        chunks = stream(glm(server), {"callbacks": [StopSignal()]})
        first = next(chunks)
        stop.stop()
        assert "".join([first.text, *(chunk.text for chunk in chunks)]) == "Done."


def test_a_stop_from_many_threads():
    stop = StopSignal()
    with GLMServer(SILENT) as server:
        chunks = stream_events(glm(server), {"callbacks": [stop]})
        next(chunks)
        threads = [soon(stop.stop, lambda: True) for _ in range(8)]
        with pytest.raises(STOPPED):
            list(chunks)
        for thread in threads:
            thread.join()
        assert server.requests[0].hung_up.wait(SOON)


def test_a_stop_passes_by_what_handles_errors():
    """A fallback or a retry must not begin anew."""
    stop = StopSignal()
    fallback = FakeListChatModel(responses=["no"])
    model = FakeListChatModel(responses=["abc"]).with_fallbacks([fallback])
    chunks = stream(model, {"callbacks": [stop]})
    next(chunks)
    stop.stop()
    with pytest.raises(StoppedError):
        next(chunks)
    assert not issubclass(StoppedError, Exception)


# The parts


def test_a_wait_that_nobody_stops():
    stop = StopSignal()
    stop.wait(0.01)
    assert not stop.is_stopped
    stop.stop()
    assert stop.is_stopped
    with pytest.raises(StoppedError):
        stop.wait(60)


@pytest.mark.parametrize(
    ("handlers", "found"),
    [([], False), ([BaseCallbackHandler()], False), ([BaseCallbackHandler(), StopSignal()], True)],
)
def test_a_signal_is_found_among_the_callbacks(handlers, found):
    assert (stop_signal(CallbackManager(handlers)) in handlers) is found


def test_a_run_without_callbacks_has_no_signal():
    assert stop_signal(None) is None


class Response:
    """What is used of an httpx response."""

    def __init__(self, sock):
        self.extensions = {"network_stream": self}
        self._socket = sock

    def get_extra_info(self, name):
        return {"socket": self._socket}[name]


def test_a_reader_wakes_up():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        thread = soon(lambda: shut_down(Response(ours)), lambda: True)
        assert ours.recv(1) == b""
        assert theirs.recv(1) == b""
        thread.join()


def test_a_socket_that_is_closed_already():
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.close()
    shut_down(Response(ours))
    shut_down(Response(None))


def test_a_response_without_a_socket():
    shut_down(SimpleNamespace(extensions={}))


def test_a_response_is_forgotten_when_it_is_over():
    stop = StopSignal()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with stop.reading(Response(ours)):
            pass
        stop.stop()
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"


@pytest.mark.parametrize("way", [stream_in_a_runnable, stream_events])
def test_whoever_was_stopped_sees_no_error_of_the_model(way):
    stop = StopSignal()
    with GLMServer(SILENT) as server:
        thread = soon(stop.stop, lambda: sent(server))
        with pytest.raises(StoppedError):
            list(way(glm(server), {"callbacks": [stop]}))
        thread.join()
