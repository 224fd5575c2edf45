"""What is sent again, how often, and after how long."""

import contextlib
import email.utils
import random
import socket
import struct
import threading
import time

import openai
import pytest
from langchain_core.exceptions import ModelRateLimitError
from ways import ainvoke, astream, av3, invoke, stream, v3

from langchain_glm import ChatGLM, _exchange
from langchain_glm.errors import (
    GLMConnectionError,
    GLMError,
    GLMMalformedResponseError,
    GLMQuotaError,
    GLMRateLimitError,
    GLMServerError,
    GLMStreamInterruptedError,
)
from langchain_glm.testing import Call, Cut, Fail, GLMServer, Raw, Reply

# One loop for all, because each loop has clients of its own, and a client takes long to make.
pytestmark = pytest.mark.asyncio(loop_scope="module")

HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
BUSY = Fail(429, "1302", "slow down")
JSON_ERROR = '{"error":{"code":"1305","message":"busy"}}'
ERROR_FRAME = b'data: {"error":{"code":"1302","message":"slow down"}}\n\n'
ROLE = b'data: {"id":"A","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'


def frame(delta):
    return b'data: {"id":"A","choices":[{"index":0,"delta":{%b}}]}\n\n' % delta.encode()


def glm(server, **fields):
    return ChatGLM(base_url=server.base_url, api_key="test-key", **fields)


decide = _exchange._Retries.delay
every_path = pytest.mark.parametrize("ask", [invoke, ainvoke, stream, astream, v3, av3])
four_paths = pytest.mark.parametrize("ask", [invoke, ainvoke, stream, astream])
every_stream = pytest.mark.parametrize("ask", [stream, astream, v3, av3])


@pytest.fixture(autouse=True)
def delays(monkeypatch):
    """What each failure led to (seconds, None where the error stood), without the waiting."""
    recorded = []

    def at_once(self, error, attempt):
        recorded.append(decide(self, error, attempt))
        return None if recorded[-1] is None else 0.0

    monkeypatch.setattr(_exchange._Retries, "delay", at_once)
    return recorded


@contextlib.contextmanager
def plain_server(*answers):
    """A server whose n-th connection reads a request, writes the n-th bytes, and is reset."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def serve():
        for answer in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            accepted.append(answer)
            with connection, connection.makefile("rb") as request:
                length = 0
                while (line := request.readline()).strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                request.read(length)
                connection.sendall(answer)
                if not answer:
                    now = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v4", accepted
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


# What is sent again

RETRIED = [
    pytest.param(BUSY, id="429 1302 concurrency"),
    pytest.param(Fail(429, "1303", "too often"), id="429 1303 frequency"),
    pytest.param(Fail(429, "1305", "overload"), id="429 1305 overload"),
    pytest.param(Fail(429, "1312", "model busy"), id="429 1312 model busy"),
    pytest.param(Fail(429, None, "slow down"), id="429 without a code"),
    pytest.param(Fail(400, "1234", "network error"), id="400 1234: the code decides"),
    pytest.param(Raw(JSON_ERROR, 200, "application/json"), id="1305 under HTTP 200"),
    pytest.param(Fail(500, "500", "oops"), id="500"),
    pytest.param(Fail(502, body=HTML), id="502 HTML"),
    pytest.param(Fail(503, None, body=""), id="503 empty"),
    pytest.param(Fail(529, None, "overloaded"), id="529, of no standard"),
    pytest.param(Fail(408, None, "timeout"), id="408"),
    pytest.param(Cut(Fail(500, "500", "oops"), after=5), id="error body cut"),
]

NEVER_RETRIED = [
    pytest.param(Fail(429, "1113", "余额不足"), id="429 1113 balance"),
    pytest.param(Fail(429, "1304", "cap"), id="429 1304 daily cap"),
    pytest.param(Fail(429, "1308", "cap"), id="429 1308 5-hour cap"),
    pytest.param(Fail(429, "1310", "cap"), id="429 1310 weekly cap"),
    pytest.param(
        Raw(JSON_ERROR.replace("1305", "1308"), 200, "application/json"), id="1308 in 200"
    ),
    pytest.param(Fail(400, "1210", "bad parameter"), id="400 1210"),
    pytest.param(Fail(400, "1214", "bad message"), id="400 1214"),
    pytest.param(Fail(500, "1210", "bad parameter"), id="500 1210: the code decides"),
    pytest.param(Fail(400, "1261", "too long"), id="400 1261"),
    pytest.param(Fail(400, "1301", "unsafe"), id="400 1301"),
    pytest.param(Fail(401, "1000", "key"), id="401 1000"),
    pytest.param(Fail(401, None, body=""), id="401 empty"),
    pytest.param(Fail(402, None, "pay"), id="402"),
    pytest.param(Fail(403, "1220", "no"), id="403 1220"),
    pytest.param(Fail(404, "1211", "no such model"), id="404 1211"),
    pytest.param(Fail(422, None, "unprocessable"), id="422"),
    pytest.param(Fail(300, None, "choose"), id="300"),
    pytest.param(Fail(302, None, "elsewhere"), id="302 that says not where"),
    pytest.param(Raw(HTML, 200, "text/html"), id="200 HTML"),
    pytest.param(Raw('{"hello":"world"}', 200, "application/json"), id="200 of another API"),
]


@pytest.mark.parametrize("ask", [ainvoke, stream])
@pytest.mark.parametrize("answer", RETRIED)
async def test_retried(ask, answer, delays):
    with GLMServer(answer) as server:
        with pytest.raises(GLMError) as caught:
            await ask(glm(server, max_retries=1))
        assert len(server.requests) == 2
    assert caught.value.is_retryable
    assert [delay is None for delay in delays] == [False, True]


@pytest.mark.parametrize("ask", [invoke, astream])
@pytest.mark.parametrize("answer", NEVER_RETRIED)
async def test_never_retried(ask, answer):
    with GLMServer(answer) as server:
        with pytest.raises(GLMError) as caught:
            await ask(glm(server, max_retries=3))
        assert len(server.requests) == 1
    assert not caught.value.is_retryable


@every_path
@pytest.mark.parametrize(
    ("fields", "requests"),
    [
        pytest.param({"max_retries": 0}, 1, id="0"),
        pytest.param({"max_retries": 2}, 3, id="2"),
        pytest.param({}, 1 + openai.DEFAULT_MAX_RETRIES, id="default"),
        pytest.param({"max_retries": None}, 1 + openai.DEFAULT_MAX_RETRIES, id="None"),
    ],
)
async def test_number_of_requests(ask, fields, requests):
    with GLMServer(BUSY) as server:
        with pytest.raises(GLMRateLimitError):
            await ask(glm(server, **fields))
        assert len(server.requests) == requests
        assert len({received.raw for received in server.requests}) == 1


@every_path
async def test_success_after_failures_is_the_normal_message(ask):
    reply = Reply("Hm", "Here:", [Call("write", {"path": "a"}, id="call_1")])
    with GLMServer([reply, BUSY, Fail(502, body=HTML), reply]) as server:
        model = glm(server)
        plain, retried = await ask(model), await ask(model)
        assert len(server.requests) == 4
    unlike = {"id": None, "response_metadata": {"id": "", "request_id": ""}}
    for message in (plain, retried):
        for name in ("id", "request_id"):
            message.response_metadata.pop(name, None)
    assert retried.model_copy(update=unlike) == plain.model_copy(update=unlike)
    assert retried.response_metadata == plain.response_metadata
    assert (retried.text, retried.tool_calls[0]["args"]) == ("Here:", {"path": "a"})


# Connections that fail


@every_path
async def test_refused_connection_is_tried_again(ask, monkeypatch):
    server = GLMServer(Reply(text="here now")).start()
    server.stop()  # its port is known now, and closed

    def begin_to_listen(self, error, attempt):
        assert isinstance(error, GLMConnectionError)
        server.start()
        return 0.0

    monkeypatch.setattr(_exchange._Retries, "delay", begin_to_listen)
    try:
        assert (await ask(glm(server, max_retries=1))).text == "here now"
        assert len(server.requests) == 1
    finally:
        server.stop()


@every_path
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="reset before the headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="closed within the headers"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="no HTTP"),
    ],
)
async def test_broken_connection_is_tried_again(ask, answer):
    with plain_server(*[answer] * 5) as (base_url, accepted):
        model = ChatGLM(base_url=base_url, api_key="test-key", max_retries=2)
        with pytest.raises(GLMConnectionError):
            await ask(model)
        assert len(accepted) == 3


# Streams: only before anything was given out


@every_stream
@pytest.mark.parametrize(
    "begin",
    [
        pytest.param([], id="first of all"),
        pytest.param([b": processing\n\n"], id="after a comment"),
        pytest.param([ROLE], id="after a frame that says nothing"),
    ],
)
@pytest.mark.parametrize(
    "end", [pytest.param([ERROR_FRAME], id="error"), pytest.param([], id="end")]
)
async def test_stream_that_fails_before_its_first_delta(ask, begin, end):
    failing = Cut(Raw([*begin, *end, b": more"]), after=sum(map(len, begin + end)))
    with GLMServer([failing, Raw([*begin, ERROR_FRAME]), Reply(text="fine")]) as server:
        assert (await ask(glm(server))).text == "fine"
        assert len(server.requests) == 3


@every_stream
@pytest.mark.parametrize(
    "delta",
    [
        pytest.param('"content":"once"', id="text"),
        pytest.param('"reasoning_content":"once"', id="reasoning"),
        pytest.param(
            '"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]', id="call"
        ),
    ],
)
@pytest.mark.parametrize(
    "end",
    [
        pytest.param(ERROR_FRAME, id="error"),
        pytest.param(b"", id="no end"),
        pytest.param(b"data: {\n\n", id="broken frame"),
    ],
)
async def test_stream_that_fails_after_its_first_delta_is_never_retried(ask, delta, end):
    with GLMServer(Raw([frame(delta), end])) as server:
        with pytest.raises(GLMError):
            await ask(glm(server))
        assert len(server.requests) == 1


@pytest.mark.parametrize("ask", [invoke, ainvoke])
async def test_whole_body_that_breaks_off_is_retried(ask):
    with GLMServer([Cut(Reply(text="fine"), after=20), Reply(text="fine")]) as server:
        assert (await ask(glm(server))).text == "fine"
        assert len(server.requests) == 2


@pytest.mark.parametrize("ask", [invoke, ainvoke])
async def test_empty_body_of_a_whole_answer_is_not_retried(ask):
    with GLMServer(Raw("", 200, "application/json")) as server:
        with pytest.raises(GLMMalformedResponseError):
            await ask(glm(server))
        assert len(server.requests) == 1


@every_stream
async def test_empty_body_of_a_stream_is_retried(ask):
    empty = Raw("")
    with GLMServer([empty, empty, Reply(text="fine"), empty, empty]) as server:
        assert (await ask(glm(server))).text == "fine"
        with pytest.raises(GLMStreamInterruptedError):
            await ask(glm(server, max_retries=1))
        assert len(server.requests) == 5


# How long is waited


@pytest.mark.parametrize("ask", [invoke, astream])
async def test_back_off_grows_with_jitter_up_to_a_limit(ask, delays):
    with GLMServer(BUSY) as server, pytest.raises(GLMRateLimitError):
        await ask(glm(server, max_retries=7))
    assert delays.pop() is None
    highest = [0.5, 1, 2, 4, 8, 8, 8]
    assert [0.75 * high <= delay <= high for delay, high in zip(delays, highest, strict=True)] == [
        True
    ] * 7
    assert len(set(delays)) == 7


async def test_jitter_differs_between_callers(delays):
    for seed in (1, 2):
        random.seed(seed)
        with GLMServer(BUSY) as server, pytest.raises(GLMRateLimitError):
            glm(server, max_retries=1).invoke("x")
    assert delays[0] != delays[2]


def in_seconds(seconds):
    return lambda: email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize("ask", [invoke, astream])
@pytest.mark.parametrize(
    ("header", "shortest", "longest"),
    [
        pytest.param("7", 7, 7, id="seconds"),
        pytest.param("0.01", 0.01, 0.01, id="less than a second"),
        pytest.param("120", 120, 120, id="the longest"),
        pytest.param("0", 0.375, 0.5, id="zero is no answer"),
        pytest.param("-3", 0.375, 0.5, id="negative"),
        pytest.param("soon", 0.375, 0.5, id="words"),
        pytest.param("nan", 0.375, 0.5, id="not a number"),
        pytest.param(in_seconds(60), 30, 60, id="a date"),
        pytest.param(in_seconds(-60), 0.375, 0.5, id="a date that is past"),
    ],
)
async def test_retry_after(ask, header, shortest, longest, delays):
    header = header() if callable(header) else header
    busy = Fail(429, "1302", "slow down", headers={"Retry-After": header})
    with GLMServer([busy, Reply(text="fine")]) as server:
        await ask(glm(server))
        assert len(server.requests) == 2
    (delay,) = delays
    assert shortest <= delay <= longest


@every_path
@pytest.mark.parametrize("header", ["121", "inf", pytest.param(in_seconds(3600), id="in an hour")])
async def test_retry_after_that_is_too_long_is_not_waited_for(ask, header):
    header = header() if callable(header) else header
    busy = Fail(503, None, "maintenance", headers={"Retry-After": header})
    with GLMServer(busy) as server:
        with pytest.raises(GLMServerError) as caught:
            await ask(glm(server))
        assert len(server.requests) == 1
    assert caught.value.retry_after > 120


@pytest.mark.parametrize("ask", [invoke, ainvoke])
async def test_the_delay_is_really_waited(ask, monkeypatch):
    monkeypatch.setattr(_exchange._Retries, "delay", decide)
    busy = Fail(429, "1302", "slow down", headers={"Retry-After": "0.2"})
    times = []

    def note(received):
        times.append(time.monotonic())
        return busy if len(times) == 1 else Reply(text="fine")

    with GLMServer(note) as server:
        await ask(glm(server))
    assert times[1] - times[0] >= 0.2


# Other owners of retries


@every_path
@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        pytest.param(
            Fail(400, "1210", "no", headers={"x-should-retry": "true"}), 1, id="true on a 400"
        ),
        pytest.param(
            Fail(429, "1302", "no", headers={"x-should-retry": "false"}), 2, id="false on a 1302"
        ),
    ],
)
async def test_x_should_retry_is_not_listened_to(ask, answer, requests):
    with GLMServer(answer) as server:
        with pytest.raises(GLMError):
            await ask(glm(server, max_retries=1))
        assert len(server.requests) == requests


@every_path
async def test_openais_header_counts_no_retries_of_its_own(ask):
    with GLMServer(BUSY) as server:
        with pytest.raises(GLMRateLimitError):
            await ask(glm(server, max_retries=1))
        counts = [r.headers.get("x-stainless-retry-count") for r in server.requests]
    assert counts == ["0", "0"]


def with_retry(server, **fields):
    return glm(server, **fields).with_retry(
        retry_if_exception_type=(ModelRateLimitError,),
        wait_exponential_jitter=False,
        stop_after_attempt=2,
    )


@pytest.mark.parametrize("ask", [invoke, ainvoke])
@pytest.mark.parametrize(
    ("answer", "max_retries", "requests"),
    [
        pytest.param(BUSY, 0, 2, id="alone"),
        pytest.param(BUSY, 1, 4, id="around ours"),
        pytest.param(Fail(429, "1113", "no"), 1, 2, id="quota is a rate limit of LangChain's"),
        pytest.param(Fail(400, "1210", "no"), 1, 1, id="not for other errors"),
    ],
)
async def test_with_retry(ask, answer, max_retries, requests):
    with GLMServer(answer) as server:
        with pytest.raises(GLMError):
            await ask(with_retry(server, max_retries=max_retries))
        assert len(server.requests) == requests


@four_paths
@pytest.mark.parametrize(
    "handled", [openai.RateLimitError, ModelRateLimitError, GLMQuotaError, Exception]
)
async def test_with_fallbacks(ask, handled):
    empty = Fail(429, "1113", "余额不足")
    with GLMServer(empty) as poor, GLMServer(Reply(text="fallback")) as rich:
        model = glm(poor).with_fallbacks([glm(rich)], exceptions_to_handle=(handled,))
        assert (await ask(model)).text == "fallback"
        assert (len(poor.requests), len(rich.requests)) == (1, 1)


@four_paths
async def test_with_fallbacks_for_other_errors(ask):
    with GLMServer(Fail(400, "1210", "no")) as picky, GLMServer(Reply(text="fallback")) as rich:
        model = glm(picky).with_fallbacks([glm(rich)], exceptions_to_handle=(ModelRateLimitError,))
        with pytest.raises(openai.BadRequestError):
            await ask(model)
        assert rich.requests == []


@pytest.mark.parametrize("ask", [stream, astream])
async def test_no_fallback_in_the_middle_of_a_stream(ask):
    failing = Raw([frame('"content":"once"'), ERROR_FRAME])
    with GLMServer(failing) as server, GLMServer(Reply(text="fallback")) as rich:
        with pytest.raises(GLMRateLimitError) as caught:
            await ask(glm(server).with_fallbacks([glm(rich)]))
        assert rich.requests == []
    assert caught.value.partial.text == "once"
