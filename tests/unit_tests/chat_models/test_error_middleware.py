"""LangChain's retry and fallback middleware, in a real agent, with each class of error."""

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware
from langchain_core.exceptions import ContextOverflowError
from langchain_core.tools import tool
from pythons import async_agents_stream

from langchain_glm import ChatGLM
from langchain_glm.errors import (
    GLMAuthenticationError,
    GLMConnectionError,
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
)
from langchain_glm.testing import Call, Cut, Fail, GLMServer, Raw, Reply

# One loop for all, because each loop has clients of its own, and a client takes long to make.
pytestmark = pytest.mark.asyncio(loop_scope="module")

INPUT = {"messages": "Write fib.py"}
DONE = Reply(text="Done.")
WRITE = Reply(tool_calls=[Call("write_file", {"path": "fib.py"})])
HALF = Raw('data: {"id":"A","choices":[{"delta":{"content":"Hel"}}]}\n\n')

PASSING = [
    pytest.param(Fail(429, "1302", "no"), GLMRateLimitError, id="rate limit"),
    pytest.param(Fail(429, "1305", "no"), GLMOverloadedError, id="overloaded"),
    pytest.param(Fail(500, "500", "no"), GLMServerError, id="server"),
    pytest.param(Reply(text="Hel", finish_reason="network_error"), GLMServerError, id="inference"),
    pytest.param(Cut(Fail(500, "500", "no"), after=3), GLMConnectionError, id="connection"),
]
LASTING = [
    pytest.param(Fail(429, "1113", "no"), GLMQuotaError, id="balance"),
    pytest.param(Fail(429, "1308", "no"), GLMQuotaError, id="cap"),
    pytest.param(Fail(401, "1000", "no"), GLMAuthenticationError, id="authentication"),
    pytest.param(Fail(403, "1311", "no"), GLMPermissionDeniedError, id="permission"),
    pytest.param(Fail(400, "1210", "no"), GLMInvalidRequestError, id="invalid request"),
    pytest.param(Fail(400, "1211", "no"), GLMModelNotFoundError, id="not found"),
    pytest.param(Fail(400, "1261", "no"), GLMContextOverflowError, id="context overflow"),
    pytest.param(Fail(400, "1301", "no"), GLMContentFilterError, id="content filter"),
    pytest.param(Raw("<html>", 200, "text/html"), GLMMalformedResponseError, id="malformed"),
]


@tool
def write_file(path: str) -> str:
    """Write a file."""
    return f"wrote {path}"


async def invoke(agent):
    return agent.invoke(INPUT)["messages"][-1].text


async def ainvoke(agent):
    return (await agent.ainvoke(INPUT))["messages"][-1].text


async def stream(agent):
    *_, last = agent.stream(INPUT, stream_mode=["values", "messages"])
    return last[1]["messages"][-1].text


async def astream(agent):
    *_, last = [item async for item in agent.astream(INPUT, stream_mode=["values", "messages"])]
    return last[1]["messages"][-1].text


whole = pytest.mark.parametrize("ask", [invoke, ainvoke])
every_path = pytest.mark.parametrize("ask", [invoke, ainvoke, stream, astream])


def glm(server, **fields):
    return ChatGLM(base_url=server.base_url, api_key="test-key", **{"max_retries": 0, **fields})


def retrying(server, **options):
    middleware = ModelRetryMiddleware(**{"max_retries": 2, "initial_delay": 0.0, **options})
    return create_agent(glm(server), [write_file], middleware=[middleware])


def falling_back(server, other):
    return create_agent(glm(server), [write_file], middleware=[ModelFallbackMiddleware(glm(other))])


# Retry, as it is by default


@whole
@pytest.mark.parametrize(("answer", "cls"), PASSING)
async def test_what_may_pass_is_retried(ask, answer, cls):
    with GLMServer([answer, answer, DONE, answer, answer, answer]) as server:
        assert await ask(retrying(server)) == "Done."
        assert len(server.requests) == 3
        with pytest.raises(cls):
            await ask(retrying(server, on_failure="error"))
        assert len(server.requests) == 6


@whole
@pytest.mark.parametrize(("answer", "cls"), LASTING)
async def test_what_will_not_pass_is_not_retried(ask, answer, cls):
    with GLMServer(answer) as server:
        with pytest.raises(cls):
            await ask(retrying(server))
        assert len(server.requests) == 1


@every_path
async def test_a_later_step_is_retried_alone(ask):
    with GLMServer([WRITE, Fail(429, "1302", "no"), DONE]) as server:
        assert await ask(retrying(server)) == "Done."
        first, second, third = [received.body["messages"] for received in server.requests]
    assert second == third
    assert len(second) == len(first) + 2  # the call and its result


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(stream, id="stream"),
        pytest.param(astream, id="astream", marks=async_agents_stream),
    ],
)
async def test_a_stream_that_broke_off_is_retried_by_the_middleware_alone(ask):
    # The model itself does not, because fragments were given out.
    with GLMServer([HALF, DONE]) as server:
        agent = create_agent(
            glm(server, max_retries=2),
            [write_file],
            middleware=[ModelRetryMiddleware(max_retries=1, initial_delay=0.0)],
        )
        assert await ask(agent) == "Done."
        assert len(server.requests) == 2


@whole
async def test_the_failure_as_a_message_says_what_to_do(ask):
    with GLMServer(Fail(429, "1302", "slow down")) as server:
        text = await ask(retrying(server))
    for words in ("3 attempts", "GLMRateLimitError", "slow down", "max_retries"):
        assert words in text


@whole
@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        pytest.param(Fail(429, "1302", "no"), 3, id="rate limit"),
        pytest.param(Fail(429, "1113", "no"), 1, id="quota"),
    ],
)
async def test_retry_on_what_the_error_says_of_itself(ask, answer, requests):
    with GLMServer(answer) as server:
        agent = retrying(
            server,
            retry_on=lambda error: isinstance(error, GLMError) and error.is_retryable,
            on_failure="error",
        )
        with pytest.raises(GLMRateLimitError):
            await ask(agent)
        assert len(server.requests) == requests


# Fallback


@whole
@pytest.mark.parametrize(("answer", "cls"), [*PASSING, *LASTING])
async def test_another_model_answers(ask, answer, cls):
    with GLMServer(answer) as server, GLMServer([WRITE, DONE]) as other:
        assert await ask(falling_back(server, other)) == "Done."
        assert (len(server.requests), len(other.requests)) == (2, 2)


@pytest.mark.parametrize("ask", [stream, astream])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Fail(400, "1261", "no"), id="context overflow"),
        pytest.param(Fail(429, "1113", "no"), id="quota"),
        pytest.param(HALF, id="stream that broke off"),
    ],
)
async def test_another_model_answers_in_streams(ask, answer):
    with GLMServer(answer) as server, GLMServer(DONE) as other:
        assert await ask(falling_back(server, other)) == "Done."
        assert (len(server.requests), len(other.requests)) == (1, 1)


@every_path
async def test_the_last_models_error_is_raised(ask):
    with GLMServer(Fail(429, "1113", "no")) as server, GLMServer(Fail(400, "1261", "no")) as other:
        with pytest.raises(ContextOverflowError):
            await ask(falling_back(server, other))
        assert (len(server.requests), len(other.requests)) == (1, 1)


@whole
@pytest.mark.parametrize(
    ("answer", "requests"),
    [
        pytest.param(Fail(429, "1302", "no"), 3, id="rate limit: first again"),
        pytest.param(Fail(429, "1308", "no"), 1, id="cap: at once"),
        pytest.param(Fail(400, "1261", "no"), 1, id="context overflow: at once"),
    ],
)
async def test_retry_within_fallback(ask, answer, requests):
    with GLMServer(answer) as server, GLMServer(DONE) as other:
        agent = create_agent(
            glm(server),
            [write_file],
            middleware=[
                ModelFallbackMiddleware(glm(other)),
                ModelRetryMiddleware(max_retries=2, initial_delay=0.0, on_failure="error"),
            ],
        )
        assert await ask(agent) == "Done."
        assert (len(server.requests), len(other.requests)) == (requests, 1)


# `with_fallbacks` and `with_retry`, by class


@whole
async def test_a_longer_context_takes_over_on_overflow_alone(ask):
    async def answer_of(code, text="no"):
        with GLMServer(Fail(400, code, text)) as small, GLMServer(DONE) as large:
            model = glm(small).with_fallbacks(
                [glm(large)], exceptions_to_handle=(ContextOverflowError,)
            )
            message = model.invoke("x") if ask is invoke else await model.ainvoke("x")
            return message.text

    assert await answer_of("1261") == "Done."
    assert await answer_of("400", "This model's maximum context length is 8 tokens.") == "Done."
    with pytest.raises(GLMInvalidRequestError):
        await answer_of("1210")


@whole
@pytest.mark.parametrize(
    ("answer", "cls", "requests"),
    [pytest.param(*one.values, 2, id=one.id) for one in PASSING]
    + [pytest.param(*one.values, 1, id=one.id) for one in LASTING],
)
async def test_with_retry_on_what_the_error_says_of_itself(ask, answer, cls, requests):
    with GLMServer(answer) as server:
        model = glm(server).with_retry(
            retry_if_exception_type=lambda error: getattr(error, "is_retryable", False),
            wait_exponential_jitter=False,
            stop_after_attempt=2,
        )
        with pytest.raises(cls):
            _ = model.invoke("x") if ask is invoke else await model.ainvoke("x")
        assert len(server.requests) == requests
