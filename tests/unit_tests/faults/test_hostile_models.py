"""A model that writes what no model should: no crash, linear time, text that encodes."""

import gc
import itertools
import json
import time
from types import SimpleNamespace

import pytest
from asking import DONE, INPUT, STOP, agent_of, call_frame, frame, glm, write_file
from langchain_core.messages import AIMessageChunk
from ways import ainvoke, astream, av3, bulk_merge, invoke, stream, v3

from langchain_glm._calls import parse_arguments
from langchain_glm._json import MAX_DEPTH, parse_json
from langchain_glm._message import ChunkWriter, EventWriter
from langchain_glm._reader import StreamReader, WholeReader
from langchain_glm.streaming import (
    ToolCallFinished,
    ToolCallInvalid,
    ToolCallParser,
    collect,
    stream_agent,
    tool_call_events,
)
from langchain_glm.streaming.encoders import ag_ui, sse, vercel
from langchain_glm.streaming.json_stream import MAX_DEPTH as MAX_DEPTH_OF_STREAM
from langchain_glm.testing import Call, GLMServer, Raw, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESPONSE = SimpleNamespace(status_code=200, headers={}, request=None)
END = frame({}, finish_reason="tool_calls") + DONE


def typed(arguments, size=4):
    """One call, its arguments in fragments."""
    yield call_frame("", id="call_1", name="write_file")
    for at in range(0, len(arguments), size):
        yield call_frame(arguments[at : at + size])


def read(frames, writer=None):
    reader = StreamReader(writer or ChunkWriter(), model="glm-4.7", response=RESPONSE)
    given = [item for data in (*frames, END) for item in reader.feed(data)]
    assert reader.done
    return given


def messages(frames):
    return [generation.message for generation in read(frames)]


def watch(chunks):
    parser = ToolCallParser()
    return [event for chunk in chunks for event in parser.feed(chunk)] + parser.close()


# What a model can write, for any size

HALVES = "\\ud83d"
GROWING = {
    "deep arrays": lambda n: typed('{"path":' + "[" * n + "]" * n + "}"),
    "deep objects that stay open": lambda n: typed('{"a":' * n, 5),
    "a long string": lambda n: typed('{"path":"' + "x" * 4 * n + '"}'),
    "a string of escapes": lambda n: typed('{"path":"' + r"\n\"\\" * n + '"}', 5),
    "a string of halves": lambda n: typed('{"path":"' + HALVES * n + '"}', 3),
    "a long number": lambda n: typed('{"path":' + "1" * n + "}", 1),
    "a long key": lambda n: typed('{"' + "k" * n + '":1}', 1),
    "many keys": lambda n: typed("{" + ",".join(f'"k{i}":{i}' for i in range(n)) + "}"),
    "empty fragments": lambda n: [*typed('{"path":"a"}'), *[call_frame("")] * n],
    "white space": lambda n: [*typed("{"), *[call_frame(" ")] * n],
    "the name again and again": lambda n: [*typed("{"), *[call_frame("", name="write_file")] * n],
    "braces with the name": lambda n: [*typed("{"), *[call_frame('"}"', name="f")] * n],
    "a new id each time": lambda n: [
        *typed('{"path":"'),
        *[call_frame(" }", id=f"call_{i}") for i in range(n)],
    ],
    "parallel calls": lambda n: [
        call_frame('{"path":"a"}', i, id=f"call_{i}", name="write_file") for i in range(n // 2)
    ],
    "parallel calls in one frame": lambda n: [
        frame({"tool_calls": [raw_call(i) for i in range(n // 2)]})
    ],
    "calls that take turns": lambda n: [
        *[call_frame('{"path":"', i, id=f"call_{i}", name="write_file") for i in range(20)],
        *[call_frame("x", i % 20) for i in range(n)],
    ],
    "doubled arguments": lambda n: [*typed(text := long_call(4 * n)), call_frame(text)],
    "doubled again and again": lambda n: [
        call_frame('{"path":"a"}', id="call_1", name="write_file"),
        *[call_frame('{"path":"a"}')] * n,
    ],
    "half a pair each time": lambda n: [*typed('{"path":"'), *[half_frame()] * n],
    "text": lambda n: [frame({"content": "x"})] * n,
    "reasoning and text in turn": lambda n: (
        [
            frame({"reasoning_content": "x"}),
            frame({"content": "x"}),
        ]
        * (n // 2)
    ),
    "frames that say nothing": lambda n: [*typed("{}"), *[frame({})] * n],
}


def raw_call(index):
    function = {"name": "write_file", "arguments": '{"path":"a"}'}
    return {"index": index, "id": f"call_{index}", "function": function}


def long_call(length):
    return '{"path":"' + "x" * length + '"}'


def half_frame():
    calls = [{"index": 0, "function": {"arguments": "\ud83d"}}]
    return b'data: {"id":"A","choices":[{"delta":%b}]}\n\n' % (
        json.dumps({"tool_calls": calls}).encode()
    )


def seconds(work, given):
    gc.collect()
    gc.disable()
    try:
        begun = time.process_time()
        result = work(given)
        return time.process_time() - begun, result
    finally:
        gc.enable()


def costs(frames):
    """The seconds of processor time that each stage takes for these frames."""
    to_v3, _ = seconds(lambda given: read(given, EventWriter("m")), frames)
    to_chunks, chunks = seconds(messages, frames)
    to_events, _ = seconds(watch, chunks)
    to_message, _ = seconds(collect, chunks)
    return {"v3": to_v3, "chunks": to_chunks, "events": to_events, "message": to_message}


def least(frames):
    tries = [costs(frames), costs(frames)]
    return {stage: min(cost[stage] for cost in tries) for stage in tries[0]}


@pytest.mark.parametrize("make", GROWING.values(), ids=GROWING)
async def test_four_times_as_much_takes_four_times_as_long(make):
    """And not sixteen times; a stage of a few milliseconds says nothing."""
    small, large = least([*make(400)]), least([*make(1600)])
    slow = {k: (small[k], large[k]) for k in small if large[k] > 10 * max(small[k], 0.003)}
    assert slow == {}


# In earnest


@pytest.mark.parametrize("size", [4096, 10**6], ids=["fragments", "whole"])
@pytest.mark.parametrize("closed", [True, False])
async def test_arguments_that_are_nested_100_000_deep(closed, size):
    text = '{"path":' + "[" * 100_000 + ("]" * 100_000 + "}" if closed else "")
    chunks = messages(typed(text, size))
    [invalid] = collect(chunks).invalid_tool_calls
    assert invalid["args"] == text
    assert isinstance(watch(chunks)[-2], ToolCallInvalid)
    read(typed(text, size), EventWriter("m"))


async def test_an_argument_of_20_megabytes():
    chunks = messages(typed(text := long_call(20_000_000), 65_536))
    [call] = collect(chunks).tool_calls
    assert len(call["args"]["path"]) == 20_000_000
    *_, finished, _ = watch(chunks)
    assert isinstance(finished, ToolCallFinished)
    assert len(finished.arguments["path"]) == 20_000_000
    assert len(text) > 20_000_000


async def test_a_hundred_thousand_empty_fragments():
    """A million takes ten times as long: see the growth above."""
    empty = call_frame("") * 100
    chunks = messages([*typed('{"path":"a"}'), *[empty] * 1000])
    assert len(chunks) < 10  # nothing is said about nothing
    assert collect(chunks).tool_calls[0]["args"] == {"path": "a"}


async def test_ten_thousand_parallel_calls():
    calls = [raw_call(i) for i in range(10_000)]
    chunks = messages([frame({"tool_calls": [call]}) for call in calls])
    assert len(collect(chunks).tool_calls) == 10_000
    events = watch(chunks)
    assert sum(isinstance(event, ToolCallFinished) for event in events) == 10_000
    reader = WholeReader(model="m", response=RESPONSE)
    choice = {"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}
    reader.feed(json.dumps({"choices": [choice]}).encode())
    [generation] = reader.close()
    assert len(generation.message.tool_calls) == 10_000


# On every path

EVERY_PATH = [invoke, ainvoke, stream, bulk_merge, astream, v3, av3]
BOUND = [invoke, ainvoke, bulk_merge, astream]  # with a tool, so that arguments come in fragments


@pytest.mark.parametrize("ask", BOUND)
@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH + 50, 600, 990, 5000])
async def test_deep_arguments(ask, depth):
    """Deeper than anybody can walk and write is as good as broken, at any depth."""
    text = '{"path":' + "[" * depth + "]" * depth + "}"
    answer = Reply(tool_calls=[Call("write_file", text)])
    with GLMServer(answer, fragment_size=500) as server:
        message = await ask(glm(server).bind_tools([write_file]))
    if depth < MAX_DEPTH:
        message.model_dump_json()
        assert len(message.tool_calls) == 1
    elif ask in {invoke, ainvoke}:  # chunks that one adds up oneself are core's to parse
        message.model_dump_json()
        assert message.tool_calls == []
        assert message.invalid_tool_calls[0]["args"] == text


async def test_one_depth_for_all():
    assert MAX_DEPTH == MAX_DEPTH_OF_STREAM == 200
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(deepest)) == deepest
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json(f"[{deepest}]")
    assert parse_json("[" + "{}," * 1000 + "{}]")[-1] == {}  # many, and not deep
    assert parse_arguments('{"a":' * 300 + "1" + "}" * 300) == "it is nested too deep"


HOSTILE = {
    "deep": '{"path":' + "[" * 100_000,
    "deep and closed": '{"path":' + "[" * 300 + "]" * 300 + "}",
    "no JSON": "rm -rf /",
    "halves": '{"path":"' + HALVES + '","\\udc00":["' + HALVES + '"]}',
    "raw control characters": '{"path":"a\nb\0c"}',
    "a number without end": '{"path":' + "9" * 5000 + "}",
    "infinity": '{"path":1e999}',
    "not a number": '{"path":NaN}',
    "the same key twice": '{"path":"a","path":"b"}',
    "an array": '["a"]',
    "nothing": "",
}


def finished_or_invalid(model):
    events = [*tool_call_events(model.bind_tools([write_file]).stream("x"))]
    for event in events:
        json.dumps(event.to_dict(), ensure_ascii=False).encode()
    return [e for e in events if isinstance(e, (ToolCallFinished, ToolCallInvalid))]


def encoded(model):
    for kind in (
        sse.encode,
        vercel.encode_sse,
        lambda events: ag_ui.encode_sse(events, thread_id="t", run_id="r"),
    ):
        yield from kind(stream_agent(agent_of(model), INPUT))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_arguments_reach_every_reader(text):
    """A call, or an invalid one: never an exception, never both, never what cannot be encoded."""

    def answer(received):
        last = received.body["messages"][-1]["role"]
        return Reply(text="Done.") if last == "tool" else calling

    calling = Reply(tool_calls=[Call("write_file", text, "call_1")])
    with GLMServer(answer, fragment_size=2000) as server:
        model = glm(server)
        whole = model.invoke("x")
        collected = collect(model.bind_tools([write_file]).stream("x"))
        for message in (whole, collected, await ainvoke(model), await av3(model)):
            assert len(message.tool_calls) + len(message.invalid_tool_calls) == 1
            assert bool(message.tool_calls) == bool(whole.tool_calls)
            message.model_dump_json().encode()
        [last] = finished_or_invalid(model)
        assert isinstance(last, ToolCallFinished) == bool(whole.tool_calls)
        "".join(encoded(model)).encode()
        agent_of(model).invoke(INPUT)
        list(agent_of(model).stream(INPUT, stream_mode=["messages", "values"]))


@pytest.mark.parametrize("ask", [invoke, ainvoke, bulk_merge, astream])
async def test_doubled_arguments_are_one_call(ask):
    text = '{"path":"a"}'
    frames = [*typed(text), call_frame(text), call_frame(text, id="call_9"), END]
    whole = {"message": {"tool_calls": [raw_call(0)]}, "finish_reason": "tool_calls"}
    body = json.dumps({"choices": [whole]})

    def answer(received):
        return Raw(frames) if received.body["stream"] else Raw(body, 200, "application/json")

    with GLMServer(answer) as server:
        [call] = (await ask(glm(server))).tool_calls
    assert call["args"] == {"path": "a"}


async def test_hundreds_of_parallel_calls_through_an_agent():
    calls = [Call("write_file", {"path": str(i)}) for i in range(200)]
    with GLMServer([Reply(tool_calls=calls), Reply(text="Done.")]) as server:
        events = [*stream_agent(agent_of(glm(server)), INPUT)]
    assert sum(event.type == "tool_finished" for event in events) == 200
    assert events[-1].messages[-1].text == "Done."


# Text that always encodes

LONE = "\ud83d x \udc00"
PAIR = "\ud83d", "\ude42"


def body_with(**fields):
    return {"id": "A", "choices": [{"index": 0, "delta": {"content": "hi"}}], **fields}


def choice_with(**fields):
    return {"id": "A", "choices": [{"index": 0, "delta": {"content": "hi"}, **fields}]}


def call_with(arguments):
    call = {"index": 0, "id": LONE, "function": {"name": LONE, "arguments": arguments}}
    return choice_with(delta={"tool_calls": [call]})


SPOILT = {
    "text": choice_with(delta={"content": LONE}),
    "reasoning": choice_with(delta={"reasoning_content": LONE}),
    "parts of text": choice_with(delta={"content": [{"type": "text", "text": LONE}]}),
    "arguments": call_with(LONE),
    "escapes in arguments": call_with(json.dumps({LONE: LONE})),
    "arguments as an object": call_with({LONE: [LONE]}),
    "finish reason": choice_with(finish_reason=LONE),
    "log probabilities": choice_with(logprobs={"content": [{"token": LONE, LONE: 1}]}),
    "id": body_with(id=LONE),
    "model": body_with(model=LONE),
    "request id": body_with(request_id=LONE),
    "usage": body_with(usage={"prompt_tokens": 1, LONE: LONE}),
    "web search": body_with(web_search=[{"title": LONE, LONE: LONE}]),
    "service tier": body_with(service_tier={LONE: LONE}),
    "error": {"error": {"code": LONE, "message": LONE, LONE: LONE}, "request_id": LONE},
    "another shape": choice_with(delta={"tool_calls": [{"function": {"name": [LONE]}}]}),
}


def assert_encodes(value):
    value.model_dump_json().encode()
    repr(value).encode()


@pytest.mark.parametrize("ask", [invoke, ainvoke, v3, av3, "collect", "agent"])
@pytest.mark.parametrize("body", SPOILT.values(), ids=SPOILT)
async def test_half_a_pair_anywhere(ask, body):
    stop = {"id": body.get("id"), "choices": [{"delta": {}, "finish_reason": "stop"}]}
    frames = [b"data: %b\n\n" % json.dumps(part).encode() for part in (body, stop)]
    whole = json.dumps(body).replace('"delta"', '"message"')

    def answer(received):
        if received.body["messages"][-1]["role"] == "tool":
            return Reply(text="Done.")
        streams = received.body["stream"]
        return Raw([*frames, DONE]) if streams else Raw(whole, 200, "application/json")

    with GLMServer(answer) as server:
        model = glm(server)
        try:
            if ask == "collect":
                assert_encodes(collect(model.stream("x")))
            elif ask == "agent":
                for piece in encoded(model):
                    piece.encode()
            else:
                assert_encodes(await ask(model))
        except Exception as error:  # noqa: BLE001 - an error must be encoded as well
            for text in (str(error), repr(error), repr(error.body), str(error.__cause__)):
                text.encode()
            assert body in (SPOILT["error"], SPOILT["another shape"])


async def test_a_pair_that_was_cut_in_two_is_joined():
    frames = [
        b'data: {"choices":[{"delta":{"content":%b}}]}\n\n' % json.dumps(half).encode()
        for half in PAIR
    ]
    text = "".join(chunk.text for chunk in messages([*frames, STOP]))
    assert text == "🙂"


async def test_an_agent_that_streams_runs_a_tool_with_text_that_encodes():
    """Core joins no halves when it merges chunks; the settled call is ours."""
    calling = Reply(tool_calls=[Call("write_file", json.dumps({"path": "a" + LONE}))])
    with GLMServer([calling, Reply(text="Done.")] * 2) as server:
        for mode in ("messages", "values"):
            [*_, last] = agent_of(glm(server)).stream(INPUT, stream_mode=[mode, "values"])
            [result] = [m for m in last[1]["messages"] if m.type == "tool"]
            assert result.text == "wrote a\ufffd x \ufffd"


async def test_chunks_hold_no_half():
    chunks = messages(itertools.repeat(half_frame(), 5))
    for chunk in chunks:
        assert isinstance(chunk, AIMessageChunk)
        assert_encodes(chunk)
