"""What goes wrong gets its type, and carries what had arrived."""

import asyncio
import json
import pickle
import socket
import time

import httpx
import langchain_openai
import openai
import pytest
from langchain.agents import create_agent
from langchain_core import exceptions as core
from langchain_core.tools import tool
from pythons import async_agents_stream
from ways import ainvoke, astream, av3, invoke, stream, v3

from langchain_glm import ChatGLM, errors
from langchain_glm.errors import (
    GLMConnectionError,
    GLMContentFilterError,
    GLMContextOverflowError,
    GLMError,
    GLMInvalidRequestError,
    GLMMalformedResponseError,
    GLMMalformedStreamError,
    GLMModelNotFoundError,
    GLMOverloadedError,
    GLMQuotaError,
    GLMRateLimitError,
    GLMServerError,
    GLMStreamInterruptedError,
    GLMStreamStalledError,
    GLMTimeoutError,
)
from langchain_glm.testing import Call, Cut, Fail, GLMServer, Raw, Reply

# One loop for all, because each loop has clients of its own, and a client takes long to make.
pytestmark = pytest.mark.asyncio(loop_scope="module")

HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


def glm(server, **fields):
    fields = {"max_retries": 0, "api_key": "test-key", **fields}
    return ChatGLM(base_url=server.base_url, **fields)


def frame(delta, id_="A", **choice):
    body = {"id": id_, "choices": [{"index": 0, **choice, "delta": delta}]}
    return b"data: %b\n\n" % json.dumps(body).encode()


def call_frame(**call):
    return frame({"tool_calls": [{"index": 0, "type": "function", **call}]})


def error_frame(code="1302"):
    body = {"error": {"code": code, "message": "no"}, "request_id": "req-7"}
    return b"data: %b\n\n" % json.dumps(body).encode()


EVERY_PATH = [invoke, ainvoke, stream, astream, v3, av3]
EVERY_STREAM = [stream, astream, v3, av3]
every_path = pytest.mark.parametrize("ask", EVERY_PATH)
every_stream = pytest.mark.parametrize("ask", EVERY_STREAM)
sync_and_async = pytest.mark.parametrize("ask", [stream, astream])


async def failure(ask, answer, **fields):
    """The error that asking a server with this answer ends in."""
    with GLMServer(answer) as server, pytest.raises(GLMError) as caught:
        await ask(glm(server, **fields))
    return caught.value


# GLM's codes

AUTHENTICATION = (
    errors.GLMAuthenticationError,
    openai.AuthenticationError,
    core.ModelAuthenticationError,
)
PERMISSION = (
    errors.GLMPermissionDeniedError,
    openai.PermissionDeniedError,
    core.ModelPermissionDeniedError,
)
QUOTA = (GLMQuotaError, openai.RateLimitError, core.ModelRateLimitError)
RATE = (GLMRateLimitError, openai.RateLimitError, core.ModelRateLimitError)
OVERLOADED = (GLMOverloadedError, openai.RateLimitError, core.ModelRateLimitError)
INVALID = (GLMInvalidRequestError, openai.BadRequestError, core.ModelInvalidRequestError)
NOT_FOUND = (GLMModelNotFoundError, openai.NotFoundError, core.ModelNotFoundError)
OVERFLOW = (GLMContextOverflowError, openai.BadRequestError, core.ContextOverflowError)
FILTERED = (GLMContentFilterError, openai.BadRequestError, core.ModelInvalidRequestError)
SERVER = (GLMServerError, openai.InternalServerError, core.ModelAPIError)

# (HTTP status, codes, classes): the rows of the error table
ROWS = [
    (401, "401 1000 1001 1002 1003 1004", AUTHENTICATION),
    (403, "1110 1111 1112 1121 1220 1309 1311 1313", PERMISSION),
    (429, "1113", QUOTA),
    (429, "1304 1308 1310", QUOTA),
    (429, "1302 1303", RATE),
    (429, "1305 1312", OVERLOADED),
    (400, "1210 1213 1214 1215 1231", INVALID),
    (400, "1211 1212 1221 1222", NOT_FOUND),
    (400, "1261", OVERFLOW),
    (400, "1300 1301", FILTERED),
    (500, "500 1120 1200 1230 1234", SERVER),
]
EVERY_CODE = [
    pytest.param(status, code, classes, id=code)
    for status, codes, classes in ROWS
    for code in codes.split()
]
ONE_OF_EACH_ROW = [
    pytest.param(status, codes.split()[-1], classes, id=codes.split()[-1])
    for status, codes, classes in ROWS
]


def assert_caught_as(error, classes):
    assert type(error) is classes[0]
    for expected in (*classes, openai.APIError, core.ModelError):
        with pytest.raises(expected):
            raise error


@pytest.mark.parametrize(("status", "code", "classes"), EVERY_CODE)
async def test_every_code(status, code, classes):
    error = await failure(invoke, Fail(status, code, "不行"))
    assert_caught_as(error, classes)
    assert (error.code, error.status_code, error.partial) == (code, status, None)
    assert error.body == {"code": code, "message": "不行"}
    assert "不行" in str(error)


@pytest.mark.parametrize("ask", [invoke, ainvoke, stream, av3])
@pytest.mark.parametrize(("status", "code", "classes"), ONE_OF_EACH_ROW)
async def test_code_in_an_http_error(ask, status, code, classes):
    error = await failure(ask, Fail(status, code, "no", headers={"x-request-id": "req-7"}))
    assert_caught_as(error, classes)
    assert (error.code, error.status_code, error.request_id) == (code, status, "req-7")
    assert error.partial is None


@pytest.mark.parametrize("ask", [invoke, ainvoke, stream, av3])
@pytest.mark.parametrize(("status", "code", "classes"), ONE_OF_EACH_ROW)
async def test_code_under_http_200(ask, status, code, classes):
    body = json.dumps({"error": {"code": code, "message": "no"}, "request_id": "req-7"})
    error = await failure(ask, Raw(body, 200, "application/json"))
    assert_caught_as(error, classes)
    assert (error.code, error.status_code, error.request_id) == (code, 200, "req-7")


@pytest.mark.parametrize("ask", [astream, v3])
@pytest.mark.parametrize(("status", "code", "classes"), ONE_OF_EACH_ROW)
async def test_code_in_a_frame(ask, status, code, classes):
    before = await failure(ask, Raw([b"event: error\n", error_frame(code)]))
    after = await failure(ask, Raw([frame({"content": "Hello"}), error_frame(code)]))
    assert_caught_as(before, classes)
    assert_caught_as(after, classes)
    assert before.partial is None
    assert after.partial.text == "Hello"
    assert (after.code, after.status_code, after.request_id) == (code, 200, "req-7")


@pytest.mark.parametrize("ask", [invoke, stream, astream])
@pytest.mark.parametrize(
    ("status", "body", "classes", "code"),
    [
        pytest.param(429, '{"error":{"code":1302,"message":""}}', RATE, "1302", id="number"),
        pytest.param(400, '{"code":"1211","message":"no"}', NOT_FOUND, "1211", id="without error"),
        pytest.param(429, '{"error":{"code":"9999"}}', RATE, "9999", id="unknown: by status"),
        pytest.param(429, '{"error":{"message":"no"}}', RATE, None, id="no code: by status"),
        pytest.param(401, '{"error":"no key"}', AUTHENTICATION, None, id="a string"),
        pytest.param(403, "", PERMISSION, None, id="403 empty"),
        pytest.param(404, "404 page not found", NOT_FOUND, None, id="404 text"),
        pytest.param(402, "[]", QUOTA, None, id="402 list"),
        pytest.param(422, "null", INVALID, None, id="422 null"),
        pytest.param(502, HTML, SERVER, None, id="502 HTML"),
        pytest.param(503, "", SERVER, None, id="503 empty"),
    ],
)
async def test_other_shapes_of_http_errors(ask, status, body, classes, code):
    error = await failure(ask, Fail(status, body=body))
    assert_caught_as(error, classes)
    assert (error.code, error.status_code) == (code, status)
    assert f"HTTP {status}" in str(error)


@every_path
async def test_request_id_beside_the_error(ask):
    body = '{"error":{"code":"1210","message":"no"},"request_id":"req-7"}'
    error = await failure(ask, Fail(400, body=body))
    assert (type(error), error.request_id) == (GLMInvalidRequestError, "req-7")


async def test_gateways_page_is_in_the_message():
    assert "502 Bad Gateway" in str(await failure(invoke, Fail(502, body=HTML)))


async def test_a_long_page_is_cut_short():
    assert len(str(await failure(invoke, Fail(502, body=HTML + "x" * 10_000)))) < 500


async def test_server_that_refuses_tool_stream():
    error = await failure(stream, Fail(400, None, "Unrecognized request argument: tool_stream"))
    assert isinstance(error, GLMInvalidRequestError)
    assert "tool_stream=False" in str(error)


# Answers that are none


@pytest.mark.parametrize("ask", [invoke, ainvoke, stream, av3])
@pytest.mark.parametrize(
    "body", ["{}", "[]", "null", '"hello"', '{"choices":[]}', '{"hello":"world"}', "[" * 9999]
)
async def test_json_that_is_no_completion(ask, body):
    error = await failure(ask, Raw(body, 200, "application/json"))
    assert_caught_as(
        error, (GLMMalformedResponseError, GLMMalformedResponseError, core.ModelAPIError)
    )
    assert (error.status_code, error.partial, error.is_retryable) == (200, None, False)


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (invoke, GLMMalformedResponseError),
        (ainvoke, GLMMalformedResponseError),
        (stream, GLMStreamInterruptedError),
        (astream, GLMStreamInterruptedError),
        (v3, GLMStreamInterruptedError),
        (av3, GLMStreamInterruptedError),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_no_body_at_all(ask, expected, content_type):
    error = await failure(ask, Raw("", 200, content_type))
    assert type(error) is expected
    assert error.partial is None


# Choices of a shape that is not GLM's; the key is `delta` in a stream, else `message`.
ODD_CHOICES = [
    pytest.param(lambda key: None, id="a choice that is null"),
    pytest.param(lambda key: "x", id="a choice that is text"),
    pytest.param(lambda key: {key: "x"}, id="a delta that is text"),
    pytest.param(lambda key: {key: {"tool_calls": 1}}, id="calls that are a number"),
    pytest.param(lambda key: {key: {"tool_calls": [1]}}, id="a call that is a number"),
    pytest.param(
        lambda key: {key: {"tool_calls": [{"index": 0, "function": "f"}]}},
        id="a function that is text",
    ),
    pytest.param(
        lambda key: {key: {"tool_calls": [{"index": 0, "function": {"name": 5}}]}},
        id="a name that is a number",
    ),
]


@pytest.mark.parametrize("ask", [invoke, ainvoke])
@pytest.mark.parametrize("choice", ODD_CHOICES)
async def test_completion_of_another_shape(ask, choice):
    body = json.dumps({"choices": [choice("message")]})
    error = await failure(ask, Raw(body, content_type="application/json"))
    assert type(error) is GLMMalformedResponseError
    assert body in str(error)


@pytest.mark.parametrize("ask", [stream, av3])
@pytest.mark.parametrize("choice", ODD_CHOICES)
async def test_frame_of_another_shape(ask, choice):
    body = json.dumps({"choices": [choice("delta")]})
    odd = f"data: {body}\n\ndata: [DONE]\n\n".encode()
    error = await failure(ask, Raw([frame({"content": "Hello"}), odd]))
    assert type(error) is GLMMalformedStreamError
    assert error.partial.text == "Hello"
    assert body in str(error)


ODD_VALUES = [
    pytest.param({"choices": [{"delta": {}, "finish_reason": ["stop"]}]}, id="finish_reason"),
    pytest.param({"choices": [], "usage": {"prompt_tokens_details": 5}}, id="usage details"),
    pytest.param({"choices": [], "usage": {"prompt_tokens": float("nan")}}, id="usage NaN"),
    pytest.param({"choices": [], "usage": {"prompt_tokens": float("inf")}}, id="usage Infinity"),
]


@pytest.mark.parametrize("odd", ODD_VALUES)
async def test_an_odd_value_does_not_cost_the_answer(odd):
    odd = f"data: {json.dumps(odd)}\n\n".encode()
    body = Raw([frame({"content": "Hello"}), odd, b"data: [DONE]\n\n"])
    with GLMServer(body) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key")
        assert "".join([chunk.text async for chunk in model.astream("x")]) == "Hello"


@pytest.mark.parametrize("odd", ODD_VALUES)
async def test_an_odd_value_does_not_hide_the_error(odd):
    odd = f"data: {json.dumps(odd)}\n\n".encode()
    if b"finish_reason" not in odd:  # which ends an answer, odd or not
        error = await failure(stream, Raw([frame({"content": "Hello"}), odd]))
        assert type(error) is GLMStreamInterruptedError
        assert error.partial.text == "Hello"


async def test_a_whole_answer_of_another_shape_in_place_of_a_stream():
    body = '{"choices":[null]}'
    error = await failure(stream, Raw(body, content_type="application/json"))
    assert type(error) is GLMMalformedResponseError


@every_path
async def test_page_under_http_200(ask):
    error = await failure(ask, Raw("<html>Log in</html>", 200, "text/html"))
    assert type(error) is GLMMalformedResponseError
    assert "<html>Log in</html>" in str(error)


# What had arrived

THINKING = frame({"reasoning_content": "Let me see"})
TEXT = frame({"content": "Here:"})
OPENED = call_frame(id="call_1", function={"name": "write", "arguments": '{"path": "fib'})
GONE_ON = call_frame(function={"arguments": '.py", "text'})
CLOSED = call_frame(function={"arguments": '.py"}'})
SECOND = frame(
    {"tool_calls": [{"index": 1, "id": "call_2", "function": {"name": "run", "arguments": "{"}}]}
)


@every_stream
@pytest.mark.parametrize(
    ("frames", "reasoning", "text", "calls", "cut"),
    [
        pytest.param([THINKING], "Let me see", "", [], [], id="reasoning"),
        pytest.param([TEXT, TEXT], None, "Here:Here:", [], [], id="text"),
        pytest.param(
            [THINKING, TEXT, OPENED, GONE_ON],
            "Let me see",
            "Here:",
            [],
            [("call_1", "write", '{"path": "fib.py", "text')],
            id="an open call keeps its text as it came",
        ),
        pytest.param(
            [OPENED, CLOSED],
            None,
            "",
            [],
            [("call_1", "write", '{"path": "fib.py"}')],
            id="complete JSON in a call that was not closed",
        ),
        pytest.param(
            [OPENED, CLOSED, SECOND],
            None,
            "",
            [{"path": "fib.py"}],
            [("call_2", "run", "{")],
            id="the first of two calls was over",
        ),
    ],
)
async def test_partial(ask, frames, reasoning, text, calls, cut):
    for end in ([error_frame()], [], [b"data: {nonsense\n\n"]):
        partial = (await failure(ask, Raw([*frames, *end]))).partial
        assert partial.additional_kwargs.get("reasoning_content") == reasoning
        assert partial.text == text
        assert [call["args"] for call in partial.tool_calls] == calls
        invalid = [(c["id"], c["name"], c["args"]) for c in partial.invalid_tool_calls]
        assert invalid == cut


# Streams that break off at every place

BREAKING = Reply("Hm!", "Hello", [Call("f", '{"a":"é"}', id="call_1")])
WHOLE = ("Hm!", "Hello", '{"a":"é"}')


def contents(body):
    """What is in the frames of a stream's body, the last of which may be cut."""
    reasoning = text = arguments = ""
    finished = False
    for line in body.decode(errors="replace").split("\n"):
        try:
            choice = json.loads(line.removeprefix("data: "))["choices"][0]
        except (ValueError, TypeError):
            finished = finished or line == "data: [DONE]"
            continue
        delta = choice["delta"]
        reasoning += delta.get("reasoning_content", "")
        text += delta.get("content", "")
        for call in delta.get("tool_calls", ()):
            arguments += call["function"].get("arguments", "")
        finished = finished or "finish_reason" in choice
    return (reasoning, text, arguments), finished


def contents_of(message):
    """The same of a message."""
    if message is None:
        return "", "", ""
    calls = [c["args"] for c in message.invalid_tool_calls]
    calls += [
        json.dumps(c["args"], ensure_ascii=False, separators=(",", ":")) for c in message.tool_calls
    ]
    reasoning = message.additional_kwargs.get("reasoning_content", "")
    return reasoning, message.text, "".join(calls)


@pytest.fixture(scope="module")
def whole_body():
    with GLMServer(BREAKING, fragment_size=3) as server:
        list(glm(server).bind_tools([write_file]).stream("x"))
        return b"".join(piece for _, piece in server.requests[0].sent)


@tool
def write_file(path: str) -> str:
    """Write a file."""
    return f"wrote {path}"


async def outcome(ask, model):
    """(the message or what had arrived of it, the error)"""
    try:
        return await ask(model), None
    except GLMError as error:
        return error.partial, error


@pytest.mark.parametrize(("ask", "step"), [(stream, 13), (astream, 19), (av3, 29)])
async def test_hung_up_at_every_place(ask, step, whole_body):
    places = range(0, len(whole_body) + step, step)
    with GLMServer([Cut(BREAKING, k) for k in places], fragment_size=3) as server:
        model = glm(server).bind_tools([write_file])
        for k in places:
            message, error = await outcome(ask, model)
            arrived, _, _ = whole_body[:k].rpartition(b"\n\n")
            sent, finished = contents(arrived)
            assert contents_of(message) == (sent if error else WHOLE), k
            assert finished or type(error) is GLMStreamInterruptedError, k


@pytest.mark.parametrize(("ask", "step"), [(stream, 23), (astream, 31)])
async def test_reset_at_every_place(ask, step, whole_body):
    places = range(0, len(whole_body) + step, step)
    with GLMServer([Cut(BREAKING, k, reset=True) for k in places], fragment_size=3) as server:
        model = glm(server).bind_tools([write_file])
        for k in places:
            message, error = await outcome(ask, model)
            if error is None:
                assert contents_of(message) == WHOLE, k
                continue
            assert isinstance(error, GLMConnectionError), k
            sent, _ = contents(whole_body[:k])
            assert "".join(sent).startswith("".join(contents_of(message))), k


@every_stream
@pytest.mark.parametrize(
    ("end", "arrived"),
    [
        pytest.param(b"", "Here:", id="after a frame"),
        pytest.param(b"d", "Here:", id="after a letter"),
        pytest.param(b"dat", "Here:", id="in the word data"),
        pytest.param(b"data", "Here:", id="after the word data"),
        pytest.param(b"data:", "Here:", id="before a frame's data"),
        pytest.param(TEXT[:30], "Here:", id="in a frame"),
        pytest.param(TEXT.strip(), "Here:Here:", id="a whole frame without its empty line"),
        pytest.param(b": comm", "Here:", id="in a comment"),
        pytest.param(b"data: [DON", "Here:", id="in [DONE] without a finish reason"),
        pytest.param(b'data: {"choices":[]}\n\n', "Here:", id="after a frame without choices"),
    ],
)
async def test_orderly_end_that_comes_too_early(ask, end, arrived):
    error = await failure(ask, Raw([TEXT, end]))
    assert type(error) is GLMStreamInterruptedError
    assert isinstance(error, openai.APIConnectionError)
    assert isinstance(error, core.ModelConnectionError)
    assert error.is_retryable
    assert error.partial.text == arrived


@sync_and_async
@pytest.mark.parametrize("body", ["d", "dat", "data", "data:", "data: {", ": comm", "\ufeff"])
async def test_orderly_end_in_the_first_word(ask, body):
    error = await failure(ask, Raw(body))
    assert (type(error), error.partial) == (GLMStreamInterruptedError, None)


@every_stream
@pytest.mark.parametrize(
    "end",
    [
        pytest.param([frame({}, finish_reason="stop")], id="no [DONE]"),
        pytest.param([frame({}, finish_reason="stop").strip()], id="no empty line"),
        pytest.param([frame({}, finish_reason="stop"), b"data: [DO"], id="half a [DONE]"),
        pytest.param([frame({}, finish_reason="stop"), b"da"], id="half the word before [DONE]"),
        pytest.param([b"data: [DONE]\n\n"], id="no finish reason"),
    ],
)
async def test_orderly_end_that_is_one(ask, end):
    with GLMServer(Raw([TEXT, *end])) as server:
        assert (await ask(glm(server))).text == "Here:"


@every_stream
@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([TEXT, TEXT, TEXT[:40] + frame({"content": "B"}, "B")], id="spliced"),
        pytest.param([TEXT, TEXT, frame({"content": "B"}, "B")], id="restarted"),
        pytest.param([TEXT, TEXT, b"data: 42\n\n"], id="a number"),
        pytest.param([TEXT, TEXT, b'data: {"choices":"B"}\n\n'], id="choices that are text"),
        pytest.param([TEXT, TEXT, b'data: {"choices":[],"usage":5}\n\n'], id="usage of a number"),
        pytest.param([TEXT, TEXT, b'data: {"a"\n\n'], id="half a frame"),
        pytest.param([TEXT, TEXT, b"data: \xff\xfe\n\n"], id="no UTF-8"),
        pytest.param([TEXT, TEXT, b"<html>\n\ndata: [DONE]\n\n"], id="a line that is no field"),
    ],
)
async def test_malformed_stream(ask, frames):
    error = await failure(ask, Raw([*frames, TEXT, b"data: [DONE]\n\n"]))
    assert type(error) is GLMMalformedStreamError
    assert isinstance(error, openai.APIError)
    assert isinstance(error, core.ModelAPIError)
    assert error.partial.text.startswith("Here:Here:")
    assert "B" not in error.partial.text


# No connection, no answer, silence


@every_path
async def test_connection_refused(ask):
    server = GLMServer().start()
    server.stop()
    with pytest.raises(GLMConnectionError) as caught:
        await ask(glm(server))
    error = caught.value
    assert_caught_as(
        error, (GLMConnectionError, openai.APIConnectionError, core.ModelConnectionError)
    )
    assert (error.code, error.status_code, error.partial) == (None, None, None)


@pytest.fixture
def deaf_server():
    """Takes connections and requests, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v4"


SHORT_TIMEOUTS = [
    *[pytest.param(ask, 0.1, id=ask.__name__) for ask in EVERY_PATH],
    pytest.param(invoke, (5, 0.1), id="invoke-(connect, read)"),
    pytest.param(astream, (5, 0.1), id="astream-(connect, read)"),
    pytest.param(ainvoke, openai.Timeout(0.1), id="ainvoke-openai.Timeout"),
    pytest.param(stream, openai.Timeout(0.1), id="stream-openai.Timeout"),
    pytest.param(invoke, httpx.Timeout(5, read=0.1), id="invoke-httpx.Timeout"),
    pytest.param(ainvoke, httpx.Timeout(5, read=0.1), id="ainvoke-httpx.Timeout"),
    pytest.param(stream, httpx.Timeout(5, read=0.1), id="stream-httpx.Timeout"),
]


@pytest.mark.parametrize(("ask", "timeout"), SHORT_TIMEOUTS)
async def test_no_answer_in_time(ask, timeout, deaf_server):
    model = ChatGLM(base_url=deaf_server, api_key="test-key", max_retries=0, timeout=timeout)
    with pytest.raises(GLMTimeoutError) as caught:
        await ask(model)
    classes = (GLMTimeoutError, openai.APITimeoutError, core.ModelTimeoutError)
    assert_caught_as(caught.value, classes)
    assert caught.value.partial is None


@pytest.mark.parametrize("ask", [invoke, ainvoke, stream, av3])
@pytest.mark.parametrize("timeout", [openai.Timeout(9), httpx.Timeout(9), httpx.Timeout(None)])
async def test_timeout_objects_that_leave_time_enough(ask, timeout):
    with GLMServer(Reply(text="Hello")) as server:
        assert (await ask(glm(server, timeout=timeout))).text == "Hello"


@pytest.mark.parametrize("ask", [invoke, ainvoke])
async def test_whole_body_that_falls_silent(ask):
    half = Raw([b'{"id":'], content_type="application/json", end=False)
    error = await failure(ask, half, timeout=0.1)
    assert isinstance(error, GLMTimeoutError)
    assert error.partial is None


SILENCE = Raw([TEXT], end=False)
ONLY_COMMENTS = Raw([TEXT, *[b": keep-alive\n\n", 0.05] * 100])
ONLY_EMPTY_LINES = Raw([TEXT, *[b"\n", 0.05] * 100])
ENDLESS_FRAME = Raw([TEXT, b"data: ", *[b" ", 0.05] * 100])
SILENCES = [
    *[pytest.param(ask, SILENCE, id=f"{ask.__name__}-silence") for ask in EVERY_STREAM],
    pytest.param(stream, ONLY_COMMENTS, id="stream-only comments"),
    pytest.param(av3, ONLY_COMMENTS, id="av3-only comments"),
    pytest.param(astream, ONLY_EMPTY_LINES, id="astream-only empty lines"),
    pytest.param(v3, ENDLESS_FRAME, id="v3-a frame that does not end"),
]


@pytest.mark.parametrize(("ask", "answer"), SILENCES)
async def test_stream_that_falls_silent(ask, answer):
    error = await failure(ask, answer, stream_chunk_timeout=0.2)
    assert_caught_as(error, (GLMStreamStalledError, openai.APITimeoutError, core.ModelTimeoutError))
    for expected in (
        TimeoutError,
        asyncio.TimeoutError,
        langchain_openai.StreamChunkTimeoutError,
        GLMTimeoutError,
    ):
        assert isinstance(error, expected)
    assert error.partial.text == "Here:"
    assert error.timeout_s == pickle.loads(pickle.dumps(error)).timeout_s == 0.2  # noqa: S301
    assert "0.2 s" in str(error)
    assert "stream_chunk_timeout" in str(error)


@pytest.mark.parametrize(
    ("ask", "timeout"),
    [
        pytest.param(stream, 0.2, id="stream"),
        pytest.param(astream, httpx.Timeout(5, read=0.2), id="astream-httpx.Timeout"),
    ],
)
async def test_timeout_guards_streams_too(ask, timeout):
    error = await failure(ask, Raw([TEXT], end=False), timeout=timeout)
    assert (type(error), error.timeout_s) == (GLMStreamStalledError, 0.2)
    assert error.partial.text == "Here:"


@sync_and_async
async def test_stream_that_only_keeps_alive_before_its_first_frame(ask):
    trickle = Raw([b": keep-alive\n\n", 0.05] * 100)
    error = await failure(ask, trickle, stream_chunk_timeout=0.2)
    assert type(error) is GLMStreamStalledError
    assert error.partial is None


@sync_and_async
async def test_slow_stream_that_never_falls_silent(ask):
    slow = Raw([*[TEXT, 0.05] * 7, b"data: [DONE]\n\n"])
    with GLMServer(slow) as server:
        message = await ask(glm(server, stream_chunk_timeout=0.3))
    assert message.text == "Here:" * 7


async def read_slowly(model):
    text = ""
    for chunk in model.stream("x"):
        text += chunk.text
        if chunk.text:
            time.sleep(0.25)  # noqa: ASYNC251 - nothing else runs in this loop
    return text


async def aread_slowly(model):
    text = ""
    async for chunk in model.astream("x"):
        text += chunk.text
        if chunk.text:
            await asyncio.sleep(0.25)
    return text


@pytest.mark.parametrize("ask", [read_slowly, aread_slowly])
async def test_slow_consumer_is_no_stall(ask):
    # The comment ends no frame: it must not find the time that the consumer took.
    answer = Raw([TEXT, b": keep-alive\n\n", frame({}, finish_reason="stop")])
    with GLMServer(answer) as server:
        assert await ask(glm(server, stream_chunk_timeout=0.2)) == "Here:"


# Through an agent


async def ask_agent(agent):
    return agent.invoke({"messages": "x"})


async def stream_agent(agent):
    return list(agent.stream({"messages": "x"}, stream_mode=["values", "messages"]))


async def aask_agent(agent):
    return await agent.ainvoke({"messages": "x"})


async def astream_agent(agent):
    return [event async for event in agent.astream({"messages": "x"}, stream_mode="messages")]


async def v3_agent(agent):
    return agent.stream_events({"messages": "x"}, version="v3").output


AFTER_A_TOOL = Reply(tool_calls=[Call("write_file", {"path": "fib.py"})])


@pytest.mark.parametrize(
    "ask", [ask_agent, stream_agent, aask_agent, astream_agent, v3_agent], ids=lambda f: f.__name__
)
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param([Fail(429, "1113", "no")], GLMQuotaError, id="at once"),
        pytest.param([AFTER_A_TOOL, Fail(400, "1261", "no")], GLMContextOverflowError, id="later"),
    ],
)
async def test_agent(ask, answers, expected):
    with GLMServer(answers) as server, pytest.raises(expected):
        await ask(create_agent(glm(server), [write_file]))


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(stream_agent, id="stream_agent"),
        pytest.param(astream_agent, id="astream_agent", marks=async_agents_stream),
        pytest.param(v3_agent, id="v3_agent"),
    ],
)
async def test_agent_whose_stream_breaks_off(ask):
    answer = Raw([TEXT, OPENED])
    with GLMServer(answer) as server, pytest.raises(GLMStreamInterruptedError) as caught:
        await ask(create_agent(glm(server), [write_file]))
    assert caught.value.partial.text == "Here:"
    assert [c["args"] for c in caught.value.partial.invalid_tool_calls] == ['{"path": "fib']


# Errors travel


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            Fail(429, "1302", "慢", headers={"Retry-After": "3", "x-request-id": "r"}), id="HTTP"
        ),
        pytest.param(Fail(502, body=HTML), id="HTML"),
        pytest.param(Raw([TEXT, OPENED, error_frame()]), id="in mid-stream"),
        pytest.param(Raw([TEXT, OPENED]), id="interrupted"),
        pytest.param(Raw([TEXT, b"data: {\n\n"]), id="malformed"),
        pytest.param(Raw("{}", 200, "application/json"), id="no completion"),
    ],
)
async def test_pickle(answer):
    error = await failure(stream, answer, api_key="the-secret-key")
    pickled = pickle.dumps(error)
    again = pickle.loads(pickled)  # noqa: S301 - our own
    assert type(again) is type(error)
    assert str(again) == str(error)
    for name in (
        "message",
        "code",
        "request_id",
        "status_code",
        "body",
        "partial",
        "retry_after",
        "is_retryable",
    ):
        assert getattr(again, name) == getattr(error, name)
    assert b"the-secret-key" not in pickled
    assert "the-secret-key" not in repr(error) + str(error)


async def test_what_was_raised_first_is_the_cause():
    assert isinstance(
        (await failure(invoke, Fail(401, "1000", "no"))).__cause__, openai.AuthenticationError
    )
