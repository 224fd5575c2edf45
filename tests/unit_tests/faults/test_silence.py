"""Silence: a stream that stalls is given up, sync or async, however the silence is filled.

The clock of the reader, without waiting: `test_reader.py`. More silences, and what is none:
`chat_models/test_failures.py`.
"""

import asyncio
import time

import openai
import pytest
from asking import (
    DONE,
    STOP,
    TEXT,
    WHOLE,
    aagent,
    agent,
    every_stream,
    glm,
    plain_server,
    read_request,
    streams_and_watched,
)
from langchain_core.exceptions import ModelTimeoutError
from ways import ainvoke, astream, invoke, stream

from langchain_glm.errors import GLMStreamStalledError, GLMTimeoutError
from langchain_glm.testing import GLMServer, Raw, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 0.15  # seconds, for the two minutes that are the default
LITTLE = 0.04


def filled_with(*bytes_):
    return [piece for byte in bytes_ for piece in (byte, LITTLE)]


SILENCES = [
    pytest.param(Raw([TEXT], end=False), id="no byte"),
    pytest.param(Raw([TEXT, *filled_with(*[b": ping\n\n"] * 99)]), id="comments"),
    pytest.param(Raw([TEXT, *filled_with(*[b"\n"] * 99)]), id="empty lines"),
    pytest.param(Raw([TEXT, *filled_with(*[b"event: ping\n\n"] * 99)]), id="events without data"),
    pytest.param(
        Raw([TEXT, *filled_with(*[TEXT[at : at + 1] for at in range(40)])]), id="a byte a minute"
    ),
]


@streams_and_watched
@pytest.mark.parametrize("answer", SILENCES)
async def test_a_stream_that_falls_silent(ask, answer):
    with GLMServer(answer) as server:
        before = time.monotonic()
        with pytest.raises(GLMStreamStalledError) as caught:
            await ask(glm(server, stream_chunk_timeout=LIMIT, max_retries=5))
        assert time.monotonic() - before < 2
        # The server sees the close, and no second request: something had been given out.
        assert server.requests[0].hung_up.wait(1)
        assert len(server.requests) == 1
    assert isinstance(caught.value, openai.APITimeoutError)
    assert isinstance(caught.value, ModelTimeoutError)
    assert (caught.value.partial.text, caught.value.timeout_s) == ("Here:", LIMIT)


@every_stream
@pytest.mark.parametrize(
    "begun", [pytest.param([], id="headers"), pytest.param([b": hi\n\n"], id="a comment")]
)
async def test_silence_before_the_first_fragment_is_tried_again(ask, begun, waits):
    silent = Raw([*begun, 9.0, TEXT])
    with GLMServer([silent, Reply(text="Hello")]) as server:
        model = glm(server, stream_chunk_timeout=LIMIT, max_retries=1)
        assert (await ask(model)).text == "Hello"
        assert len(server.requests) == 2
    assert len(waits) == 1


@pytest.mark.parametrize("ask", [*WHOLE, stream, astream, agent, aagent])
async def test_a_server_that_takes_the_request_and_says_nothing(ask, waits):
    def be_deaf(connection):
        read_request(connection)
        connection.recv(1)  # until the client goes

    with plain_server(be_deaf) as (port, accepted):
        model = glm(f"http://127.0.0.1:{port}/v4", timeout=0.1, max_retries=2)
        with pytest.raises(GLMTimeoutError) as caught:
            await ask(model)
        assert len(accepted) == 3
    assert caught.value.partial is None


@pytest.mark.parametrize("ask", [invoke, ainvoke])
async def test_a_whole_answer_that_falls_silent(ask, waits):
    half = Raw([b'{"id":'], content_type="application/json", end=False)
    with GLMServer([half, half]) as server:
        with pytest.raises(GLMTimeoutError):
            await ask(glm(server, timeout=LIMIT, max_retries=1))
        assert len(server.requests) == 2
        assert server.requests[1].hung_up.wait(1)


async def test_who_has_no_patience_for_a_whole_answer_limits_it_from_outside():
    """One byte within each `timeout` holds `invoke` for as long as the server likes."""
    trickle = Raw(filled_with(*[b" "] * 99), content_type="application/json")
    with GLMServer(trickle) as server:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ainvoke(glm(server, timeout=LIMIT)), 0.3)
        assert await asyncio.to_thread(server.requests[0].hung_up.wait, 1)


@pytest.mark.parametrize("ask", [stream, astream])
@pytest.mark.parametrize("limit", [None, 0])
async def test_without_a_limit_silence_is_waited_for(ask, limit):
    with GLMServer(Raw([TEXT, 0.2, b": ping\n\n", 0.1, STOP, DONE])) as server:
        assert (await ask(glm(server, stream_chunk_timeout=limit))).text == "Here:"


async def test_the_limit_in_numbers():
    assert glm("http://127.0.0.1:9/v4").stream_chunk_timeout == 120
