"""Servers that refuse: how many requests that makes, on every path, as `docs/reliability.md` says.

Which failure is worth a retry, and how long is waited: `chat_models/test_retries.py`.
"""

import asyncio
import concurrent.futures
import random

import pytest
from asking import AGENTS, EVERYWHERE, INPUT, everywhere, glm, write_file
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from ways import ainvoke, astream, av3, invoke, stream, v3

from langchain_glm.errors import (
    GLMOverloadedError,
    GLMQuotaError,
    GLMRateLimitError,
    GLMServerError,
)
from langchain_glm.testing import Call, Fail, GLMServer, Raw, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUSY = Fail(429, "1302", "slow down")
OVERLOAD = Fail(429, "1305", "busy")
UNDER_200 = Raw('{"error":{"code":"1305","message":"busy"}}', 200, "application/json")
DOWN = Fail(503, None, body="")
PAGE = Fail(502, body="<html>Bad Gateway</html>")
EMPTY = Fail(429, "1113", "余额不足")
HELLO = Reply(text="Hello")


@everywhere
@pytest.mark.parametrize("answer", [BUSY, OVERLOAD, UNDER_200, DOWN, PAGE])
@pytest.mark.parametrize("most", [0, 3])
async def test_a_storm_that_does_not_end(ask, answer, most, waits):
    with GLMServer(answer) as server:
        with pytest.raises((GLMRateLimitError, GLMServerError)):
            await ask(glm(server, max_retries=most))
        assert len(server.requests) == 1 + most
    assert waits[-1] is None


@everywhere
@pytest.mark.parametrize("failures", [1, 2, 3])
async def test_an_overload_that_clears(ask, failures, waits):
    with GLMServer([*[OVERLOAD] * failures, HELLO]) as server:
        if failures <= 2:
            assert (await ask(glm(server, max_retries=2))).text == "Hello"
        else:
            with pytest.raises(GLMOverloadedError):
                await ask(glm(server, max_retries=2))
        assert len(server.requests) == min(failures, 2) + 1
        assert len({request.raw for request in server.requests}) == 1


@everywhere
async def test_failures_of_many_kinds_share_one_count(ask, waits):
    with GLMServer([BUSY, DOWN, UNDER_200, PAGE, HELLO]) as server:
        with pytest.raises(GLMServerError):
            await ask(glm(server, max_retries=3))
        assert len(server.requests) == 4


@everywhere
async def test_an_empty_account_is_asked_once(ask, waits):
    with GLMServer(EMPTY) as server:
        with pytest.raises(GLMQuotaError):
            await ask(glm(server, max_retries=5))
        assert len(server.requests) == 1


@everywhere
async def test_retry_after_is_what_is_waited(ask, waits):
    asked = [Fail(429, "1302", "no", headers={"Retry-After": s}) for s in ("7", "0.5")]
    with GLMServer([*asked, HELLO]) as server:
        await ask(glm(server, max_retries=2))
    assert waits == [7.0, 0.5]


@everywhere
@pytest.mark.parametrize(
    "header", ["600", "Fri, 31 Dec 9999 23:59:59 GMT", pytest.param("9" * 400, id="for ever")]
)
async def test_a_long_retry_after_is_told_and_not_waited_for(ask, header, waits):
    with GLMServer(Fail(429, "1302", "no", headers={"Retry-After": header})) as server:
        with pytest.raises(GLMRateLimitError) as caught:
            await ask(glm(server, max_retries=2))
        assert len(server.requests) == 1
    assert caught.value.retry_after >= 600


@pytest.mark.parametrize("ask", [invoke, astream])
@pytest.mark.parametrize(
    "header",
    ["Fri, 31 Dec 99999 23:59:59 GMT", "Fri, 31 Dec -1 0:0:0", "1 Jan 2020 +99999999999999"],
)
async def test_a_retry_after_that_is_none(ask, header, waits):
    with GLMServer([Raw("", 503, headers={"Retry-After": header}), HELLO]) as server:
        assert (await ask(glm(server, max_retries=1))).text == "Hello"
    assert waits[0] is not None


# Who asks more than once


@pytest.mark.parametrize("ask", AGENTS)
async def test_each_turn_of_an_agent_has_its_own_count(ask, waits):
    calling = Reply(tool_calls=[Call("write_file", {"path": "a"})])
    with GLMServer([BUSY, BUSY, calling, BUSY, BUSY, HELLO]) as server:
        assert (await ask(glm(server, max_retries=2))).text == "Hello"
        assert len(server.requests) == 6


async def test_a_retrying_middleware_multiplies(waits):
    with GLMServer(BUSY) as server:
        twice = ModelRetryMiddleware(
            max_retries=1, initial_delay=0, jitter=False, on_failure="error"
        )
        agent = create_agent(glm(server, max_retries=2), [write_file], middleware=[twice])
        with pytest.raises(GLMRateLimitError):
            agent.invoke(INPUT)
        assert len(server.requests) == (1 + 2) * (1 + 1)


async def test_fifty_callers_at_once(waits):
    """Each has its own count; what they wait differs."""
    with GLMServer(BUSY) as server, concurrent.futures.ThreadPoolExecutor(20) as pool:
        model = glm(server, max_retries=2)

        def ask(_):
            with pytest.raises(GLMRateLimitError):
                model.invoke("x")

        list(pool.map(ask, range(50)))
        assert len(server.requests) == 150
    delays = [wait for wait in waits if wait is not None]
    assert len(delays) == 100
    assert len(set(delays)) > 75


async def test_fifty_tasks_at_once_while_the_server_recovers(waits):
    dice = random.Random(7)  # noqa: S311 - a test
    with GLMServer(lambda _: dice.choice([BUSY, DOWN, HELLO])) as server:
        model = glm(server, max_retries=30)
        answers = await asyncio.gather(*[model.ainvoke("x") for _ in range(50)])
        assert {answer.text for answer in answers} == {"Hello"}
        assert len(server.requests) == 50 + len(waits)


@pytest.mark.parametrize("ask", [stream, astream, v3, av3])
async def test_an_error_in_the_first_frame_counts_as_any_other(ask, waits):
    in_frame = Raw(b'data: {"error":{"code":"1305","message":"busy"}}\n\n')
    with GLMServer([in_frame, BUSY, HELLO]) as server:
        assert (await ask(glm(server, max_retries=2))).text == "Hello"
        assert len(server.requests) == 3


@pytest.mark.parametrize("ask", [invoke, ainvoke])
async def test_the_default_is_two_retries(ask, waits):
    with GLMServer(BUSY) as server:
        with pytest.raises(GLMRateLimitError):
            await ask(glm(server, max_retries=None))
        assert len(server.requests) == 3


async def test_no_path_is_missing_here():
    assert len(EVERYWHERE) == 10
