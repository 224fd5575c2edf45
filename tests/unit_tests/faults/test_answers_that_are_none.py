"""A page, another JSON, frames without choices: a typed error that shows what came.

Each shape of JSON and of errors: `chat_models/test_failures.py`, `chat_models/test_error_table.py`.
"""

import json

import pytest
from asking import AGENTS, DONE, STOP, STREAMS, TEXT, WATCHED, everywhere, glm

from langchain_glm import _reader
from langchain_glm.errors import GLMError, GLMMalformedResponseError, GLMMalformedStreamError
from langchain_glm.testing import GLMServer, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = [
    pytest.param("<!DOCTYPE html>\n<h1>Log in</h1>", "text/html", "Log in", id="a page"),
    pytest.param("<h1>Log in</h1>", "text/event-stream", "Log in", id="a page said to be a stream"),
    pytest.param("OK", "text/plain", "OK", id="a word"),
    pytest.param('{"object": "list", "data": []}', "application/json", "list", id="another API"),
    pytest.param('{"choices": null}', "application/json", "null", id="choices null"),
    pytest.param('{"choices": {"0": {}}}', "application/json", "{}", id="choices an object"),
    pytest.param('{"choices": [[]]}', "application/json", "[[]]", id="a choice that is a list"),
    pytest.param("[]", "application/json", "[]", id="a list"),
    pytest.param('"Hello"', "application/json", "Hello", id="a string"),
    pytest.param("42", "application/json", "42", id="a number"),
    pytest.param("NaN", "application/json", "NaN", id="no number"),
    pytest.param("[" * 5000, "application/json", "[[[", id="brackets"),
]


@everywhere
@pytest.mark.parametrize(("body", "kind", "shown"), PAGES)
async def test_status_200_and_no_answer(ask, body, kind, shown):
    with GLMServer(Raw(body, content_type=kind)) as server:
        with pytest.raises(GLMMalformedResponseError) as caught:
            await ask(glm(server, max_retries=3))
        assert len(server.requests) == 1  # the same request would get the same page
    error = caught.value
    assert type(error) is GLMMalformedResponseError
    assert shown in str(error)
    assert "base_url" in str(error)
    assert len(str(error)) < 500
    assert (error.status_code, error.partial, error.is_retryable) == (200, None, False)


NULL = b'data: {"id":"A","choices":null}\n\n'
EMPTY = b'data: {"id":"A","choices":[]}\n\n'


@pytest.mark.parametrize("ask", [*STREAMS, *WATCHED])
@pytest.mark.parametrize("end", [b"", DONE], ids=["close", "[DONE]"])
@pytest.mark.parametrize("one", [NULL, EMPTY], ids=["null", "empty"])
async def test_no_choices_to_the_end(ask, one, end):
    says = pytest.raises(GLMMalformedResponseError, match="no frame had any choices")
    with GLMServer(Raw([*[one] * 50, end])) as server, says as caught:
        await ask(glm(server))
    assert '"id":"A"' in str(caught.value)


@pytest.mark.parametrize("ask", [*STREAMS, *WATCHED])
async def test_no_choices_for_ever(ask, monkeypatch):
    monkeypatch.setattr(_reader, "MAX_EMPTY_FRAMES", 100)
    with GLMServer(Raw([NULL * 20] * 20, end=False)) as server:
        with pytest.raises(GLMMalformedResponseError, match="100 frames in a row") as caught:
            await ask(glm(server))
        assert server.requests[0].hung_up.wait(1)
    assert type(caught.value) is GLMMalformedResponseError
    assert "null" in str(caught.value)


@pytest.mark.parametrize("ask", STREAMS)
async def test_frames_without_choices_keep_a_stream_alive(ask, monkeypatch):
    monkeypatch.setattr(_reader, "MAX_EMPTY_FRAMES", 100)
    body = [EMPTY * 100, TEXT, EMPTY * 100, TEXT, NULL * 100, STOP, DONE]
    with GLMServer(Raw(body)) as server:
        assert (await ask(glm(server))).text == "Here:Here:"


# A frame, or a whole answer, that is nested so deep that whoever walks it would fail

DEEP = "[" * 500 + "]" * 500
FIELDS = ["web_search", "id", "model", "usage", "service_tier"]


def nested(field, key):
    value = f'{{"x":{DEEP}}}' if field == "usage" else DEEP
    choice = json.dumps({key: {"content": "x"}, "finish_reason": "stop"})
    return f'{{"choices":[{choice}],"{field}":{value}}}'


@pytest.mark.parametrize("ask", [*STREAMS, *WATCHED])
@pytest.mark.parametrize("field", FIELDS)
async def test_a_frame_that_is_nested_too_deep(ask, field):
    frame = b"data: %b\n\n" % nested(field, "delta").encode()
    says = pytest.raises(GLMMalformedStreamError, match="nested too deep")
    with GLMServer(Raw([TEXT, frame, DONE])) as server, says as caught:
        await ask(glm(server))
    assert caught.value.partial.text == "Here:"
    caught.value.partial.model_dump_json()


@pytest.mark.parametrize("ask", [AGENTS[0], AGENTS[1], *STREAMS])
@pytest.mark.parametrize("field", FIELDS)
async def test_a_whole_answer_that_is_nested_too_deep(ask, field):
    answer = Raw(nested(field, "message"), content_type="application/json")
    says = pytest.raises(GLMMalformedResponseError, match="nested too deep")
    with GLMServer(answer) as server, says:
        await ask(glm(server))


@everywhere
async def test_an_error_that_is_nested_too_deep(ask):
    answer = Raw(f'{{"error":{{"code":"1210","message":{DEEP}}}}}', 400, "application/json")
    with GLMServer(answer) as server, pytest.raises(GLMError, match="HTTP 400") as caught:
        await ask(glm(server))
    json.dumps(caught.value.body)
    assert len(str(caught.value)) < 500
