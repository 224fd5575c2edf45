"""A server that repeats the key in what it says: the key is in no error and in no log."""

import json
import logging
import pickle
import traceback

import pytest
from asking import DONE, STREAMS, TEXT, everywhere, frame, glm
from ways import ainvoke, astream, invoke, stream

from langchain_glm._secrets import hide_keys
from langchain_glm.errors import GLMError
from langchain_glm.testing import Fail, GLMServer, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "0a1b2c3d4e5f60718293a4b5c6d7e8f9.QwErTyUiOp"


def echo(*, status=401, kind="application/json", body):
    """An answer with `{headers}` and `{key}` in it, filled from the request."""

    def answer(received):
        headers = "\n".join(f"{name}: {value}" for name, value in received.headers.items())
        key = received.headers["authorization"].removeprefix("Bearer ")
        filled = body.replace("{headers}", json.dumps(headers)[1:-1]).replace("{key}", key)
        return Raw(filled, status, kind)

    return answer


ECHOES = [
    pytest.param(echo(body='{"error":{"code":"1000","message":"bad key {key}"}}'), id="message"),
    pytest.param(echo(body='{"error":{"code":"1000","message":"{headers}"}}'), id="headers"),
    pytest.param(echo(body='{"error":{"code":"{key}","message":"no"}}'), id="code"),
    pytest.param(
        echo(body='{"error":{"code":"1","message":"no","{key}":["{key}"]}}'), id="elsewhere"
    ),
    pytest.param(echo(body='{"error":"{key}"}', status=200), id="under HTTP 200"),
    pytest.param(
        echo(body='{"error":{"message":"no"},"request_id":"{key}"}', status=400), id="request id"
    ),
    pytest.param(echo(body="<pre>{headers}</pre>", status=502, kind="text/html"), id="a page"),
    pytest.param(echo(body="<pre>{headers}</pre>", status=200, kind="text/html"), id="a page, 200"),
    pytest.param(echo(body='{"detail":"{key}"}', status=422), id="FastAPI's"),
    pytest.param(echo(body="x" * 190 + "{key}", status=500), id="cut in the middle of the key"),
    pytest.param(echo(body="x" * 190 + "{key}", status=200), id="a preview that cuts it"),
]


def everything_said(error):
    """The text of an error, of its causes, and what is printed of them."""
    yield from (str(error), repr(error), *traceback.format_exception(error))
    yield repr(vars(error))
    yield pickle.dumps(error).decode("latin-1")
    while error := error.__cause__ or error.__context__:
        yield from (str(error), repr(error), repr(getattr(error, "body", "")))


@everywhere
@pytest.mark.parametrize("answer", ECHOES)
async def test_no_error_repeats_the_key(ask, answer, caplog):
    caplog.set_level(logging.DEBUG, logger="langchain_glm")
    with GLMServer(answer) as server, pytest.raises(GLMError) as caught:
        await ask(glm(server, api_key=KEY))
    said = [*everything_said(caught.value), caplog.text]
    assert [text for text in said if KEY[:10] in text] == []
    assert "[the key]" in "".join(said)


@pytest.mark.parametrize("ask", STREAMS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param('data: {"error":{"code":"1302","message":"{key}"}}\n\n', id="error"),
        pytest.param("data: {headers}\n\n", id="a broken frame"),
        pytest.param("<p>{key}</p>\n\ndata: [DONE]\n\n", id="a page in the middle"),
        pytest.param('data: {"choices":["{key}"]}\n\n', id="another shape"),
    ],
)
async def test_no_error_in_a_stream_repeats_the_key(ask, body):
    answer = echo(body=TEXT.decode() + body, status=200, kind="text/event-stream")
    with GLMServer(answer) as server, pytest.raises(GLMError) as caught:
        await ask(glm(server, api_key=KEY))
    assert [text for text in everything_said(caught.value) if KEY[:10] in text] == []
    assert caught.value.partial.text == "Here:"


@pytest.mark.parametrize("ask", [invoke, ainvoke, stream, astream])
async def test_what_the_model_says_is_left_alone(ask):
    """It is not the server that speaks, and may have been told the key to speak of it."""
    whole = json.dumps({"choices": [{"message": {"content": KEY}, "finish_reason": "stop"}]})
    streamed = Raw([frame({"content": KEY}), DONE])
    with GLMServer(
        lambda r: streamed if r.body["stream"] else Raw(whole, content_type="application/json")
    ) as server:
        assert (await ask(glm(server, api_key=KEY))).text == KEY


@pytest.mark.parametrize("header", ["api-key", "X-API-Key", "Authorization"])
async def test_a_key_in_another_header(header):
    with GLMServer(lambda r: Fail(401, "1000", repr(r.headers))) as server:
        model = glm(server, default_headers={header: KEY})
        with pytest.raises(GLMError) as caught:
            model.invoke("x")
    assert [text for text in everything_said(caught.value) if KEY[:10] in text] == []


@pytest.mark.parametrize("key", ["none", "EMPTY"])
async def test_a_word_that_stands_for_no_key_is_left_alone(key):
    says = f"there is {key} left"
    with GLMServer(Fail(400, "1210", says)) as server, pytest.raises(GLMError, match=says):
        glm(server, api_key=key).invoke("x")


async def test_errors_in_a_circle():
    one, two = ValueError(f"a {KEY}"), ValueError(f"b {KEY}", 7)
    one.__cause__, two.__cause__ = two, one

    class Request:
        headers = {"authorization": f"Bearer {KEY}"}  # noqa: RUF012 - an example

    hide_keys(one, Request)
    assert (one.args, two.args) == (("a [the key]",), ("b [the key]", 7))
