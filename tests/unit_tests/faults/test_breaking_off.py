"""Answers that break off at any byte: what had arrived is told, and nothing looks complete.

More ends of a stream: `test_reader.py`, `chat_models/test_failures.py`.
"""

import importlib
import itertools
import json
from types import SimpleNamespace

import openai
import pytest
from asking import (
    DONE,
    STOP,
    STREAMS,
    TEXT,
    WATCHED,
    agent_of,
    call_frame,
    every_stream,
    frame,
    glm,
    streams_and_watched,
    whole,
    write_file,
)
from ways import astream, invoke, stream

from langchain_glm._message import ChunkWriter, EventWriter
from langchain_glm._reader import StreamReader, WholeReader
from langchain_glm.errors import (
    GLMConnectionError,
    GLMError,
    GLMMalformedResponseError,
    GLMMalformedStreamError,
    GLMStreamInterruptedError,
    typed_errors,
)
from langchain_glm.streaming import stream_agent
from langchain_glm.testing import Call, Cut, GLMServer, Raw, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

http = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
RESPONSE = SimpleNamespace(status_code=200, headers={}, request=None)

ANSWER = Reply(
    "Hm, 你好",
    "Hello é",
    [
        Call("write_file", {"path": "a é.py"}, id="call_1"),
        Call("write_file", {"path": "b.py"}, id="call_2"),
    ],
)
WHOLE = ("Hm, 你好", "Hello é", ['{"path": "a é.py"}', '{"path": "b.py"}'])


@pytest.fixture(scope="module")
def body():
    """The answer as the server writes it, frame by frame."""
    with GLMServer(ANSWER, fragment_size=9) as server:
        list(glm(server).bind_tools([write_file]).stream("x"))
        return b"".join(piece for _, piece in server.requests[0].sent)


def arrived_in(body):
    """What the whole frames in these bytes say, read as plainly as can be; whether it ended."""
    reasoning = text = ""
    calls = {}
    ended = False
    for line in body.decode(errors="replace").split("\n"):
        data = line.removeprefix("data: ")
        try:
            choice = json.loads(data)["choices"][0]
        except ValueError:  # the end of the body cut it
            ended |= data == "[DONE]"
            continue
        delta = choice["delta"]
        reasoning += delta.get("reasoning_content", "")
        text += delta.get("content", "")
        for call in delta.get("tool_calls", ()):
            calls[call["index"]] = calls.get(call["index"], "") + call["function"]["arguments"]
        ended |= "finish_reason" in choice
    return (reasoning, text, [calls[index] for index in sorted(calls)]), ended


def told(message):
    """The same of a message, None for no message."""
    if message is None:
        return "", "", []
    calls = [json.dumps(call["args"], ensure_ascii=False) for call in message.tool_calls]
    calls += [call["args"] for call in message.invalid_tool_calls]
    return message.additional_kwargs.get("reasoning_content", ""), message.text, calls


def read(body, end, writer):
    """Feed a reader these bytes and let the connection end; give its partial and its error."""
    reader = StreamReader(writer, model="glm-4.7", response=RESPONSE)
    try:
        with typed_errors(began=lambda: True, partial=reader.partial):
            reader.feed(body)
            reader.listen()
            if end == "reset":
                raise http.ReadError("Connection reset by peer")
            reader.close()
            reader.listen()
    except GLMError as error:
        return error.partial, error
    return reader._message_so_far(), None


def v3_writer():
    return EventWriter("m")


def whole_frames(body):
    """What a connection that is cut leaves; a close may come before the last empty line."""
    return body[: body.rfind(b"\n\n") + 2]


@pytest.mark.parametrize(("end", "writer"), [("close", ChunkWriter), ("reset", v3_writer)])
async def test_after_every_byte(end, writer, body):
    for k in range(len(body) + 1):
        partial, error = read(body[:k], end, writer())
        arrived, ended = arrived_in(body[:k] if end == "close" else whole_frames(body[:k]))
        assert told(partial) == arrived, k
        if error is None:
            assert ended, k
            assert arrived == WHOLE, k
            continue
        assert type(error) is GLMStreamInterruptedError, k
        assert error.is_retryable, k
        # A call that was open may not run; the first was over when the second began.
        runnable = [call["id"] for call in partial.tool_calls] if partial else []
        assert runnable == ["call_1"] * (len(arrived[2]) == 2), k
    assert (end, error) == ("close", None) or end == "reset"


def places(body):
    """Each end of a frame, one byte before and one after."""
    ends = [at + 2 for at in range(len(body)) if body.startswith(b"\n\n", at)]
    return sorted({k for end in ends for k in (end - 1, end, end + 1)} & {*range(len(body))})


async def outcome(ask, model):
    try:
        return await ask(model), None
    except GLMError as error:
        return error.partial, error


@pytest.mark.parametrize("ask", STREAMS)
@pytest.mark.parametrize("cut", [False, True], ids=["orderly", "within the chunked encoding"])
async def test_closed_around_every_frame(ask, cut, body):
    at = places(body)
    answers = [Cut(ANSWER, k) if cut else Raw([body[:k] or b":"]) for k in at]
    with GLMServer(answers, fragment_size=9) as server:
        model = glm(server).bind_tools([write_file])
        for k in at:
            message, error = await outcome(ask, model)
            arrived, ended = arrived_in(whole_frames(body[:k]) if cut else body[:k])
            if ended and error is None:
                assert told(message) == WHOLE, k
            else:
                assert told(message) == arrived, k
                assert type(error) is GLMStreamInterruptedError, k


@pytest.mark.parametrize("ask", STREAMS)
async def test_reset_around_every_third_frame(ask, body):
    at = places(body)[::3]
    with GLMServer([Cut(ANSWER, k, reset=True) for k in at], fragment_size=9) as server:
        model = glm(server).bind_tools([write_file])
        for k in at:
            message, error = await outcome(ask, model)
            if error is None:  # [DONE] came; what is lost behind it says nothing
                assert told(message) == WHOLE, k
                continue
            assert isinstance(error, GLMConnectionError), k
            # A reset may overtake bytes that were sent before it.
            (reasoning, text, calls), _ = arrived_in(body[:k])
            was_told = told(message)
            assert reasoning.startswith(was_told[0]), k
            assert text.startswith(was_told[1]), k
            assert "".join(calls).startswith("".join(was_told[2])), k


@pytest.mark.parametrize("ask", WATCHED)
async def test_an_agent_whose_model_breaks_off(ask, body):
    at = places(body)[1::9]
    with GLMServer([Cut(ANSWER, k) for k in at], fragment_size=9) as server:
        for k in at:
            with pytest.raises(GLMStreamInterruptedError) as caught:
                await ask(glm(server))
            assert told(caught.value.partial) == arrived_in(whole_frames(body[:k]))[0], k
        assert len(server.requests) == len(at)  # no tool ran, nobody was asked again


async def test_who_watches_an_agent_has_the_partial_message(body):
    k = body.index(b"call_2")
    with GLMServer(Cut(ANSWER, k), fragment_size=9) as server:
        events = []
        with pytest.raises(GLMStreamInterruptedError) as caught:
            events.extend(stream_agent(agent_of(glm(server)), {"messages": "x"}))
    assert events[-1].messages[-1] == caught.value.partial
    assert caught.value.partial.text == "Hello é"


@whole
async def test_a_whole_answer_that_breaks_off_is_no_shorter_one(ask):
    with GLMServer(ANSWER) as server:
        glm(server).invoke("x")
        length = len(server.requests[0].sent[0][1])
    at = range(0, length, 61)
    for reset in (False, True):
        with GLMServer([Cut(ANSWER, k, reset=reset) for k in at]) as server:
            model = glm(server)
            for k in at:
                _, error = await outcome(ask, model)
                assert isinstance(error, GLMConnectionError), k
                assert error.is_retryable, k
                assert error.partial is None, k


async def test_a_whole_answer_without_a_length_after_every_byte():
    """Closed by the end of the connection: only the JSON tells that it was cut."""
    with GLMServer(ANSWER) as server:
        glm(server).invoke("x")
        sent = server.requests[0].sent[0][1]
    for k in range(len(sent)):
        reader = WholeReader(model="glm-4.7", response=RESPONSE)
        reader.feed(sent[:k])
        with pytest.raises(GLMMalformedResponseError):
            reader.close()


# Frames that are spliced, answers that begin again

SECOND = frame({"content": " and more"})
OTHER = frame({"content": "B"}, "B")


@pytest.mark.parametrize("writer", [ChunkWriter, v3_writer])
async def test_a_frame_that_is_spliced_after_every_byte(writer):
    """The backend died in a frame, and another one goes on with the next."""
    for k in range(1, len(SECOND)):
        for after in (SECOND, OTHER):
            body = b"".join((TEXT, TEXT, SECOND[:k], after, STOP, DONE))
            partial, error = read(body, "close", writer())
            assert type(error) is GLMMalformedStreamError, k
            assert partial.text == "Here:Here:", k


@streams_and_watched
@pytest.mark.parametrize("k", [1, 5, 6, 40, len(SECOND) - 3, len(SECOND) - 1])
async def test_a_spliced_frame(ask, k):
    spliced = [TEXT, TEXT, SECOND[:k] + OTHER, STOP, DONE]
    with GLMServer(Raw(spliced)) as server, pytest.raises(GLMMalformedStreamError) as caught:
        await ask(glm(server))
    assert caught.value.partial.text == "Here:Here:"
    assert caught.value.is_retryable


PARTS = [
    frame({"reasoning_content": "Hm"}),
    TEXT,
    call_frame("", id="call_1", name="write_file"),
    call_frame('{"path":'),
    call_frame('"a"}'),
]


@pytest.mark.parametrize("ask", [stream, astream])
@pytest.mark.parametrize("at", range(2, len(PARTS) + 1))
async def test_an_answer_that_begins_again(ask, at):
    again = [part.replace(b'"A"', b'"B"') for part in PARTS]
    body = [*PARTS[:at], *again, STOP.replace(b'"A"', b'"B"'), DONE]
    with GLMServer(Raw(body)) as server, pytest.raises(GLMMalformedStreamError) as caught:
        await ask(glm(server))
    assert told(caught.value.partial) == arrived_in(b"".join(PARTS[:at]))[0]
    assert caught.value.partial.tool_calls == []


@every_stream
async def test_an_answer_that_begins_again_within_a_read(ask):
    body = b"".join((TEXT, TEXT, OTHER, STOP, DONE))
    with GLMServer(Raw(body)) as server, pytest.raises(GLMMalformedStreamError) as caught:
        await ask(glm(server))
    assert caught.value.partial.text == "Here:Here:"


async def test_what_had_arrived_was_given_out_before_the_error():
    for cut in itertools.accumulate([TEXT, TEXT, TEXT], initial=b""):
        seen = []
        with GLMServer(Raw([cut, b": end\n\n"])) as server:
            texts = (chunk.text for chunk in glm(server).stream("x"))
            with pytest.raises(GLMStreamInterruptedError):
                seen.extend(texts)
        assert b"".join([TEXT] * len(seen)) == cut


@pytest.mark.parametrize("ask", [invoke, stream, astream])
async def test_what_breaks_off_before_anything_came_is_tried_again(ask, waits):
    with GLMServer([Cut(ANSWER, 0), Cut(ANSWER, 30), ANSWER]) as server:
        message = await ask(glm(server, max_retries=2))
        assert message.text == "Hello é"
        assert len(server.requests) == 3
    assert len(waits) == 2
