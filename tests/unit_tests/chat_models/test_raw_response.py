"""`include_raw_response`: the text of each frame, byte for byte as the server sent it."""

import json
import operator
from functools import reduce

import pytest
import ways
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk
from pythons import async_agents_stream

from langchain_glm import ChatGLM, raw_deltas
from langchain_glm.errors import GLMError
from langchain_glm.testing import Call, GLMServer, Raw, Reply

REPLY = Reply(
    reasoning="Gedanken – 思考",
    text='I\'ll write "it".',
    tool_calls=[
        Call("write_file", '{"path": "é.py", "content": "\\u00e9\\n"}', id="call_a"),
        Call("write_file", {}, id="call_b"),
    ],
    web_search=[{"title": "T", "link": "https://a.example"}],
)
CUT = Reply(text="Hm", tool_calls=[Call("write_file", '{"path": "a')], finish_reason="length")

# Odd on purpose: spaces, key order, escapes, unknown keys, numbers that JSON libraries rewrite,
# frames without a choice, and frames that leave nothing to show.
ODD_FRAMES = [
    '{ "choices" : [ {"delta": {"role":"assistant"}, "index":0} ], "created":1.50e+3}',
    '{"choices":[{"index":0,"delta":{"content":"caf\\u00e9 \\/ "}}],"zzz":null}',
    '{"choices":[{"delta":{"content":"é","token_ids":[1,2],"index":7},"index":0}]}',
    '{"choices":[]}',
    '{"choices":[{"index":0,"delta":null,"matched_stop":151336}]}',
    '{"choices":[{"index":0,"delta":{"reasoning":"r","content":"t"}}]}',
    '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    '{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}',
]
ODD = Raw("".join(f"data: {frame}\n\n" for frame in ODD_FRAMES) + "data: [DONE]\n\n")


def write_file(path: str = "") -> str:
    """Write a file."""
    return path


def chat(server, **fields):
    fields = {"include_raw_response": True, **fields}
    return ChatGLM(api_key="test-key", base_url=server.base_url, **fields)


def sent_frames(received):
    """The data of each event that the server sent, as text, without the closing [DONE]."""
    body = b"".join(piece for _, piece in received.sent).decode()
    events = [event.removeprefix("data: ") for event in body.split("\n\n") if event]
    assert events.pop() == "[DONE]"
    return events


def sent_body(received):
    return [b"".join(piece for _, piece in received.sent).decode()]


WHOLE = [ways.invoke, ways.ainvoke]
STREAMED = [ways.stream, ways.astream, ways.bulk_merge, ways.v2, ways.v3, ways.av3]
whole = pytest.mark.parametrize("ask", WHOLE)
streamed = pytest.mark.parametrize("ask", STREAMED)


@pytest.mark.parametrize("answer", [REPLY, CUT, Reply(text="")], ids=["all", "cut", "empty"])
@streamed
async def test_a_stream_keeps_every_frame(ask, answer):
    with GLMServer(answer) as server:
        message = await ask(chat(server).bind_tools([write_file]))
        frames = sent_frames(server.requests[0])
    assert message.additional_kwargs["raw_response"] == frames
    assert raw_deltas(message) == [json.loads(frame)["choices"][0]["delta"] for frame in frames]


@pytest.mark.parametrize("answer", [REPLY, CUT, Reply(text="")], ids=["all", "cut", "empty"])
@whole
async def test_a_whole_answer_keeps_its_body(ask, answer):
    with GLMServer(answer) as server:
        message = await ask(chat(server).bind_tools([write_file]))
        body = sent_body(server.requests[0])
    assert message.additional_kwargs["raw_response"] == body
    assert raw_deltas(message) == [json.loads(body[0])["choices"][0]["message"]]


@streamed
async def test_odd_frames_are_untouched(ask):
    with GLMServer(ODD) as server:
        message = await ask(chat(server))
    assert message.text == "café / ét"
    assert message.additional_kwargs["raw_response"] == ODD_FRAMES
    assert raw_deltas(message) == [
        {"role": "assistant"},
        {"content": "café / "},
        {"content": "é", "token_ids": [1, 2], "index": 7},
        {},
        {"reasoning": "r", "content": "t"},
        {},
    ]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_frames_split_anywhere(size):
    body = ODD.body.encode()
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    with GLMServer(Raw(pieces)) as server:
        message = reduce(operator.add, chat(server).stream("hi"))
    assert message.additional_kwargs["raw_response"] == ODD_FRAMES


def test_a_chunk_holds_its_own_frame():
    with GLMServer(REPLY) as server:
        *chunks, last = chat(server).bind_tools([write_file]).stream("hi")
        frames = sent_frames(server.requests[0])
    assert last.additional_kwargs == {}  # what was found, in the same frame, has a chunk before it
    for chunk, frame in zip(chunks, frames, strict=True):
        assert chunk.additional_kwargs["raw_response"] == [frame]
        (delta,) = raw_deltas(chunk)
        assert chunk.content == delta.get("content", "")


def test_frames_that_show_nothing_ride_on_the_next_chunk():
    with GLMServer(ODD) as server:
        kept = [c.additional_kwargs.get("raw_response") for c in chat(server).stream("hi")]
    assert (
        kept
        == [
            ODD_FRAMES[0:2],
            ODD_FRAMES[2:3],
            ODD_FRAMES[3:6],
            None,  # the text of the frame whose reasoning made the chunk before
            ODD_FRAMES[6:8],
        ]
    )


def test_frames_that_repeat_are_all_kept():
    frame = '{"choices":[{"index":0,"delta":{"content":"la"}}]}'
    last = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    body = f"data: {frame}\n\n" * 3 + f"data: {last}\n\ndata: [DONE]\n\n"
    with GLMServer(Raw(body)) as server:
        message = reduce(operator.add, chat(server).stream("hi"))
    assert message.additional_kwargs["raw_response"] == [frame, frame, frame, last]


async def whole_stream(model):
    return list(model.stream("hi"))


async def awhole_stream(model):
    return [chunk async for chunk in model.astream("hi")]


KEPT = '{"choices":[{"index":0,"delta":{"content":"caf\\u00e9 "}}]}'
EMPTY = '{"choices":[]}'
STOPPED = [
    pytest.param("", [], id="interrupted"),
    pytest.param('data: {"choices"', ['{"choices"'], id="cut inside a frame"),
    pytest.param("data: {]\n\n", ["{]"], id="a frame that is no JSON"),
    pytest.param("data: 42\n\n", ["42"], id="a frame that is a number"),
    pytest.param('data: {"choices":[7]}\n\n', ['{"choices":[7]}'], id="a frame of another shape"),
    pytest.param(
        'data: {"error":{"code":"1302"}}\n\n', ['{"error":{"code":"1302"}}'], id="an error"
    ),
]


@pytest.mark.parametrize("ask", [whole_stream, awhole_stream, ways.v3, ways.av3])
@pytest.mark.parametrize(("end", "last"), STOPPED)
async def test_a_stream_that_breaks_keeps_its_frames(ask, end, last):
    body = f"data: {EMPTY}\n\ndata: {KEPT}\n\n{end}"
    with GLMServer(Raw(body)) as server:
        with pytest.raises(GLMError) as caught:
            await ask(chat(server, max_retries=0))
        with pytest.raises(GLMError) as caught_without:
            await ask(chat(server, max_retries=0, include_raw_response=False))
    assert caught.value.partial.text == "café "
    assert caught.value.partial.additional_kwargs["raw_response"] == [EMPTY, KEPT, *last]
    assert caught_without.value.partial.additional_kwargs == {}


@pytest.mark.parametrize("ask", [whole_stream, awhole_stream, ways.v3, ways.av3])
async def test_a_stream_that_breaks_at_once_keeps_its_frame(ask):
    with GLMServer(Raw(b"data: \xff{\n\n")) as server, pytest.raises(GLMError) as caught:
        await ask(chat(server, max_retries=0))
    assert caught.value.partial.additional_kwargs["raw_response"] == ["\ufffd{"]


@pytest.mark.parametrize("ask", WHOLE + STREAMED)
async def test_off_by_default(ask):
    with GLMServer(REPLY) as server:
        model = ChatGLM(api_key="test-key", base_url=server.base_url)
        message = await ask(model.bind_tools([write_file]))
    assert "raw_response" not in message.additional_kwargs
    assert raw_deltas(message) == []


@pytest.mark.parametrize("message", [AIMessage("Hi"), AIMessageChunk("Hi")])
def test_raw_deltas_of_a_message_from_elsewhere(message):
    assert raw_deltas(message) == []


@streamed
async def test_the_raw_text_is_not_sent_back(ask):
    with GLMServer(REPLY) as server:
        model = chat(server)
        turn = await ask(model)
        model.invoke(["hi", turn])
    assert b"raw_response" not in server.requests[1].raw


# Through an agent


def agent(server):
    return create_agent(chat(server), tools=[write_file])


def answers():
    return [Reply(text="I'll write.", tool_calls=[Call("write_file", {})]), Reply(text="Done.")]


def raw_of(messages):
    turns = [message for message in messages if message.type == "ai"]
    return [turn.additional_kwargs["raw_response"] for turn in turns]


HI = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "updates"])
async def test_an_agent_keeps_the_body_of_each_turn(way):
    with GLMServer(answers()) as server:
        graph = agent(server)
        if way == "invoke":
            messages = graph.invoke(HI)["messages"]
        elif way == "ainvoke":
            messages = (await graph.ainvoke(HI))["messages"]
        else:
            updates = [next(iter(u.values())) for u in graph.stream(HI, stream_mode="updates")]
            messages = [message for update in updates for message in update["messages"]]
        assert raw_of(messages) == [sent_body(request) for request in server.requests]


@pytest.mark.parametrize("way", ["sync", pytest.param("async", marks=async_agents_stream)])
async def test_an_agent_that_streams_keeps_the_frames_of_each_turn(way):
    modes = ["messages", "values"]
    with GLMServer(answers()) as server:
        graph = agent(server)
        if way == "sync":
            parts = list(graph.stream(HI, stream_mode=modes))
        else:
            parts = [part async for part in graph.astream(HI, stream_mode=modes)]
        frames = [sent_frames(request) for request in server.requests]
    messages = [value for mode, value in parts if mode == "values"][-1]["messages"]
    assert raw_of(messages) == frames
    chunks = [value[0] for mode, value in parts if mode == "messages"]
    kept = [c.additional_kwargs.get("raw_response", []) for c in chunks if c.type != "tool"]
    assert [text for texts in kept for text in texts] == [*frames[0], *frames[1]]


def test_an_agent_under_v3_keeps_the_frames_of_each_turn():
    with GLMServer(answers()) as server:
        run = agent(server).stream_events(HI, version="v3")
        messages = run.output["messages"]
        assert raw_of(messages) == [sent_frames(request) for request in server.requests]
