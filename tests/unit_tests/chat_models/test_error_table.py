"""Every code of GLM's table, wherever it can stand, on every path: what comes out, and after how
many requests.

All codes stand in each place once; one code of each row goes through all paths.
"""

import itertools
import json

import pytest

from langchain_glm import ChatGLM, _exchange
from langchain_glm._codes import CODES
from langchain_glm.errors import (
    GLMAuthenticationError,
    GLMContentFilterError,
    GLMContextOverflowError,
    GLMError,
    GLMInvalidRequestError,
    GLMMalformedResponseError,
    GLMModelNotFoundError,
    GLMOverloadedError,
    GLMPermissionDeniedError,
    GLMQuotaError,
    GLMRateLimitError,
    GLMServerError,
    GLMStreamInterruptedError,
)
from langchain_glm.testing import Fail, GLMServer, Raw, Reply

# One loop, one server and one model for all: each takes longer to make than a case takes.
pytestmark = pytest.mark.asyncio(loop_scope="module")

# (HTTP status, codes, class, whether it is worth a retry)
ROWS = [
    (401, "401 1000 1001 1002 1003 1004", GLMAuthenticationError, False),
    (403, "1110 1111 1112 1121 1220 1309 1311 1313", GLMPermissionDeniedError, False),
    (429, "1113", GLMQuotaError, False),
    (429, "1304 1308 1310", GLMQuotaError, False),
    (429, "1302 1303", GLMRateLimitError, True),
    (429, "1305 1312", GLMOverloadedError, True),
    (400, "1210 1213 1214 1215 1231", GLMInvalidRequestError, False),
    (400, "1211 1212 1221 1222", GLMModelNotFoundError, False),
    (400, "1261 context_length_exceeded", GLMContextOverflowError, False),
    (400, "1300 1301", GLMContentFilterError, False),
    (500, "500 1120 1200 1230 1234", GLMServerError, True),
]


async def invoke(model):
    model.invoke("x")


async def ainvoke(model):
    await model.ainvoke("x")


async def stream(model):
    for _ in model.stream("x"):
        pass


async def astream(model):
    async for _ in model.astream("x"):
        pass


async def v3(model):
    _ = model.stream_events("x", version="v3").output


async def av3(model):
    async with await model.astream_events("x", version="v3") as events:
        await events


def error_of(code):
    return {"error": {"code": code, "message": f"({code})"}, "request_id": "req-7"}


def in_an_http_error(status, code):
    return Fail(status, body=json.dumps(error_of(code)))


def under_http_200(_, code):
    return Raw(json.dumps(error_of(code)), 200, "application/json")


def before_the_first_delta(_, code):
    return Raw(f"event: error\ndata: {json.dumps(error_of(code))}\n\ndata: [DONE]\n\n")


def after_the_first_delta(_, code):
    delta = {"id": "A", "choices": [{"index": 0, "delta": {"content": "Hello"}}]}
    return Raw(f"data: {json.dumps(delta)}\n\ndata: {json.dumps(error_of(code))}\n\n")


# (place, paths): only a stream has frames
PLACES = [
    (in_an_http_error, [invoke, ainvoke, stream, astream]),
    (under_http_200, [invoke, ainvoke, stream, astream]),
    (before_the_first_delta, [stream, astream]),
    (after_the_first_delta, [stream, astream]),
]


def cases():
    for place, paths in PLACES:
        for status, codes, cls, retried in ROWS:
            for code, ask in itertools.product(codes.split(), paths):
                id_ = f"{code}-{place.__name__}-{ask.__name__}"
                yield pytest.param(status, code, cls, retried, place, ask, id=id_)


@pytest.fixture(scope="module")
def server():
    """A server that gives each request `server.answer`."""
    with GLMServer(lambda _: server.answer) as server:
        yield server


@pytest.fixture(scope="module")
def models(server):
    return {n: ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=n) for n in (0, 2)}


@pytest.fixture
def failure(server, models, monkeypatch):
    """What asking for an answer ends in, and after how many requests; nothing is waited for."""
    monkeypatch.setattr(_exchange, "_FIRST_DELAY", 0.0)

    async def fail(ask, answer, max_retries):
        server.answer = answer
        before = len(server.requests)
        with pytest.raises(GLMError) as caught:
            await ask(models[max_retries])
        return caught.value, len(server.requests) - before

    return fail


async def test_every_code_is_under_test():
    assert sorted(CODES) == sorted(code for _, codes, *_ in ROWS for code in codes.split())


@pytest.mark.parametrize("max_retries", [0, 2])
@pytest.mark.parametrize(("status", "code", "cls", "retried", "place", "ask"), list(cases()))
async def test_every_code(failure, status, code, cls, retried, place, ask, max_retries):
    error, requests = await failure(ask, place(status, code), max_retries)
    delivered = place is after_the_first_delta
    assert type(error) is cls
    assert (error.code, error.request_id, error.is_retryable) == (code, "req-7", retried)
    assert error.status_code == (status if place is in_an_http_error else 200)
    assert str(error).startswith(f"({code}) (HTTP {error.status_code}, code {code}, request id")
    assert CODES[code].remedy in str(error)
    assert (error.partial.text if error.partial else None) == ("Hello" if delivered else None)
    assert requests == (1 + max_retries if retried and not delivered else 1)


HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
WHOLE, STREAMED = [invoke, ainvoke], [stream, astream]
NO_COMPLETIONS = [
    (Fail(502, body=HTML), WHOLE + STREAMED, GLMServerError, True, "502 HTML"),
    (Fail(502, body=""), WHOLE + STREAMED, GLMServerError, True, "502 empty"),
    (Raw(HTML, 200, "text/html"), WHOLE + STREAMED, GLMMalformedResponseError, False, "HTML"),
    (Raw("", 200, "application/json"), WHOLE, GLMMalformedResponseError, False, "empty"),
    (Raw("", 200), STREAMED, GLMStreamInterruptedError, True, "empty"),
    *[
        (
            Raw(body, 200, "application/json"),
            WHOLE + STREAMED,
            GLMMalformedResponseError,
            False,
            id_,
        )
        for id_, body in [
            ("JSON of another API", '{"hello": "world"}'),
            ("no choices", '{"choices": []}'),
            ("a list", "[]"),
            ("null", "null"),
        ]
    ],
]


@pytest.mark.parametrize("max_retries", [0, 2])
@pytest.mark.parametrize(
    ("answer", "ask", "cls", "retried"),
    [
        pytest.param(answer, ask, cls, retried, id=f"{id_}-{ask.__name__}")
        for answer, asks, cls, retried, id_ in NO_COMPLETIONS
        for ask in asks
    ],
)
async def test_what_is_no_completion(failure, answer, ask, cls, retried, max_retries):
    error, requests = await failure(ask, answer, max_retries)
    assert type(error) is cls
    assert (error.code, error.partial, error.is_retryable) == (None, None, retried)
    assert requests == (1 + max_retries if retried else 1)


# Finish reasons

FAILED = "network_error"
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


@pytest.mark.parametrize("max_retries", [0, 2])
@pytest.mark.parametrize("ask", [*WHOLE, *STREAMED, v3, av3])
async def test_network_error_keeps_what_had_arrived(failure, ask, max_retries):
    reply = Reply("Hm", "Hello", finish_reason=FAILED, usage=USAGE)
    error, requests = await failure(ask, reply, max_retries)
    assert type(error) is GLMServerError
    assert (error.code, error.status_code, error.is_retryable) == (FAILED, 200, True)
    assert (error.partial.text, error.partial.usage_metadata["total_tokens"]) == ("Hello", 8)
    assert error.partial.additional_kwargs["reasoning_content"] == "Hm"
    assert error.partial.response_metadata["finish_reason"] == FAILED
    assert error.request_id == error.partial.response_metadata.get("request_id")
    assert requests == (1 + max_retries if ask in WHOLE else 1)


def ending(*frames):
    return Raw("".join(f"data: {json.dumps(frame)}\n\n" for frame in frames) + "data: [DONE]\n\n")


NOTHING_YET = {"id": "A", "choices": [{"delta": {"role": "assistant", "content": ""}}]}
FAILURE = {"id": "A", "choices": [{"delta": {"content": ""}, "finish_reason": FAILED}]}


@pytest.mark.parametrize("max_retries", [0, 2])
@pytest.mark.parametrize("ask", [*STREAMED, v3, av3])
@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        pytest.param(ending(FAILURE), None, id="at once"),
        pytest.param(ending(NOTHING_YET, {**FAILURE, "usage": USAGE}), 8, id="usage with it"),
        pytest.param(ending(FAILURE, {"choices": [], "usage": USAGE}), 8, id="usage after it"),
    ],
)
async def test_network_error_before_the_first_delta(failure, answer, ask, tokens, max_retries):
    error, requests = await failure(ask, answer, max_retries)
    assert (type(error), error.code) == (GLMServerError, FAILED)
    usage = error.partial.usage_metadata
    assert (usage and usage["total_tokens"]) == tokens
    assert requests == 1 + max_retries


@pytest.mark.parametrize(
    "reason", ["length", "sensitive", "model_context_window_exceeded", "content_filter", "stop"]
)
async def test_other_finish_reasons_are_messages_that_say_so(server, models, reason):
    server.answer = Reply("Hm", "Hello", finish_reason=reason)
    model = models[0]
    first, *rest = model.stream("x")
    whole = [
        model.invoke("x"),
        await model.ainvoke("x"),
        first.__add__(rest),
        model.stream_events("x", version="v3").output,
    ]
    for message in whole:
        assert message.response_metadata["finish_reason"] == reason
        assert message.text == "Hello"
