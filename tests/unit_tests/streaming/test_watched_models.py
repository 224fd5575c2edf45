"""Calls are watched while a server writes them: what comes, what breaks, and who stops."""

import asyncio
import json

import pytest
from chunk_streams import ODD, drained, read, together
from langchain_openai import ChatOpenAI

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMError
from langchain_glm.streaming.events import ArgumentDelta, ToolCallDelta, ToolCallInvalid
from langchain_glm.streaming.tool_calls import atool_call_events, tool_call_events
from langchain_glm.testing import Call, Cut, GLMServer, Raw, Reply

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("write", "add", "now", "today")
]


# ChatGLM and ChatOpenAI against a server.

REPLY = Reply(
    reasoning="Let me think.",
    text="I write.",
    tool_calls=[
        Call("write", {"path": "a.py", "text": 'say("你好")\n', "n": [1, {"b": None}]}, id="c1"),
        Call("now", "", id="c2"),
        Call("add", {"a": 2, "b": 3}, id="c3"),
    ],
)
ALL = [
    ("c1", "write", REPLY.tool_calls[0].arguments),
    ("c2", "now", {}),
    ("c3", "add", {"a": 2, "b": 3}),
]


def glm(server, **fields):
    return ChatGLM(model="glm-4.7", api_key="test-key", base_url=server.base_url, **fields)


def gpt(server, **fields):
    return ChatOpenAI(
        model="gpt-4o", api_key="test-key", base_url=server.base_url, max_retries=0, **fields
    )


async def stream(model):
    return list(tool_call_events(model.stream("hi")))


async def astream(model):
    return [event async for event in atool_call_events(model.astream("hi"))]


WAYS = pytest.mark.parametrize("way", [stream, astream])
MODELS = [
    pytest.param(glm, {}, id="glm"),
    pytest.param(glm, {"tool_stream": False}, id="glm_whole_calls"),
    pytest.param(glm, {"include_raw_response": True}, id="glm_raw_response"),
    pytest.param(glm, {"output_version": "v1"}, id="glm_v1"),
    pytest.param(glm, {"disable_streaming": True}, id="glm_does_not_stream"),
    pytest.param(gpt, {}, id="openai"),
    pytest.param(gpt, {"disable_streaming": True}, id="openai_does_not_stream"),
    pytest.param(gpt, {"extra_body": {"tool_stream": True}}, id="openai_tool_stream"),
]


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(("make", "fields"), MODELS)
@WAYS
async def test_a_model_on_a_server(make, fields, way, size):
    with GLMServer([REPLY], fragment_size=size) as server:
        events = await way(make(server, **fields).bind_tools(TOOLS))
    (seen,) = read(events)
    assert seen.calls == ALL
    assert seen.text == REPLY.text
    assert seen.reasoning == (REPLY.reasoning if make is glm else "")  # ChatOpenAI drops it
    assert seen.finished.finish_reason == "tool_calls"
    assert seen.finished.usage["total_tokens"] > 0


def test_fragments_come_as_the_server_wrote_them():
    with GLMServer([REPLY], fragment_size=3) as server:
        model = glm(server).bind_tools(TOOLS)
        events = list(tool_call_events(model.stream("hi")))
    texts = [e.text for e in events if isinstance(e, ToolCallDelta) and e.index == 2]
    assert texts == ['{"a', '": ', "2, ", '"b"', ": 3", "}"]


@pytest.mark.parametrize("finish", ["length", "content_filter", "sensitive"])
@pytest.mark.parametrize("make", [glm, gpt])
def test_a_cut_answer_on_a_server(make, finish):
    reply = Reply(tool_calls=[*REPLY.tool_calls], finish_reason=finish)
    with GLMServer([reply]) as server:
        model = make(server).bind_tools(TOOLS)
        (seen,) = read(tool_call_events(model.stream("hi")))
    # The last one parses, but nothing says that it was over.
    assert [call[2] for call in seen.calls] == [ALL[0][2], "cut", "cut"]
    assert seen.finished.finish_reason == finish


# Odd shapes.


def delta(arguments, name=None, id_=None, index=None):
    wire = {"id": id_, "index": index, "function": {"name": name, "arguments": arguments}}
    return {key: value for key, value in wire.items() if value is not None}


def body(*deltas, finish="tool_calls"):
    """An event stream of these deltas of calls."""
    choices = [{"index": 0, "delta": {"tool_calls": calls}} for calls in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    frames = [json.dumps({"id": "1", "model": "glm-4.7", "choices": [c]}) for c in choices]
    return Raw("".join(f"data: {frame}\n\n" for frame in [*frames, "[DONE]"]))


@pytest.mark.parametrize("shape", ODD)
def test_odd_answers_through_chat_glm(shape):
    said, calls = ODD[shape]
    answer = body(*([delta(*one) for one in together(piece)] for piece in said))
    with GLMServer([answer]) as server:
        (seen,) = read(tool_call_events(glm(server).stream("hi")))
    assert all(id_ for id_, _, _ in seen.calls)  # an agent answers a call by its id
    assert [call[1:] for call in seen.calls] == [call[1:] for call in calls]
    assert [mine or call[0] for call, (mine, *_) in zip(seen.calls, calls, strict=True)] == [
        call[0] for call in seen.calls
    ]


@pytest.mark.parametrize("arguments", [{"path": "a.py"}, {}])
def test_arguments_that_come_as_an_object(arguments):
    with GLMServer([body([delta(arguments, "write", "c1", 0)])]) as server:
        (seen,) = read(tool_call_events(glm(server).stream("hi")))
    assert seen.calls == [("c1", "write", arguments)]


# Streams that break, consumers that stop.

LONG = Reply(
    text="I write.",
    tool_calls=[Call("add", {"a": 1}, id="c1"), Call("write", {"text": "x" * 400}, id="c2")],
)


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("make", [glm, gpt])
async def test_a_stream_that_breaks(make, way):
    watch = tool_call_events if way == "stream" else atool_call_events
    fields = {} if make is glm else {"extra_body": {"tool_stream": True}}
    with GLMServer([Cut(LONG, after=6000)]) as server:
        model = make(server, **fields).bind_tools(TOOLS)
        events, error = await drained(watch(getattr(model, way)("hi")))
    (seen,) = read(events)
    assert seen.calls == [("c1", "add", {"a": 1}), ("c2", "write", "broken_stream")]
    assert seen.finished is None
    assert events[-1].raw.startswith('{"text": "xxxx')
    assert events[-1].position == len(events[-1].raw)
    if make is glm:
        assert isinstance(error, GLMError)
        assert error.partial.invalid_tool_calls[0]["args"] == events[-1].raw
    else:
        assert error is not None


def is_argument(event):
    return isinstance(event, ArgumentDelta)


@pytest.mark.parametrize("make", [glm, gpt])
def test_who_stops_closes_the_connection(make):
    with GLMServer([LONG], pace=0.02) as server:
        model = make(server, extra_body={"tool_stream": True}).bind_tools(TOOLS)
        chunks = model.stream("hi")  # held here: nothing but a close ends it
        events = tool_call_events(chunks)
        assert any(map(is_argument, events))
        events.close()
        assert server.requests[0].hung_up.wait(5)
        assert not server.requests[0].answered.is_set()


@pytest.mark.parametrize("make", [glm, gpt])
async def test_who_stops_closes_the_connection_async(make):
    with GLMServer([LONG], pace=0.02) as server:
        model = make(server, extra_body={"tool_stream": True}).bind_tools(TOOLS)
        chunks = model.astream("hi")
        events = atool_call_events(chunks)
        async for event in events:
            if is_argument(event):
                break
        await events.aclose()
        assert await asyncio.to_thread(server.requests[0].hung_up.wait, 5)
        assert not server.requests[0].answered.is_set()


async def test_cancelling_closes_the_connection():
    with GLMServer([LONG], pace=0.02) as server:
        seen, typed = [], asyncio.Event()

        async def watch():
            async for event in atool_call_events(glm(server).bind_tools(TOOLS).astream("hi")):
                seen.append(event)
                if is_argument(event):
                    typed.set()

        task = asyncio.create_task(watch())
        await typed.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.requests[0].hung_up.wait, 5)
    assert not any(isinstance(event, ToolCallInvalid) for event in seen)  # nobody reads it
