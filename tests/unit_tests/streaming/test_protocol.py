"""Protocol events become events: those of `ChatGLM`, of LangChain's bridge, and odd ones."""

import pytest
from agent_runs import glm, gpt
from chunk_streams import ANSWERS, PROVIDERS, RUN_ID, USAGE, Answer, read
from langchain_core.language_models._compat_bridge import chunks_to_events, message_to_events
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGenerationChunk

from langchain_glm.streaming import events as ev
from langchain_glm.streaming import tool_call_events
from langchain_glm.streaming.protocol import MessageReader, ProtocolParser, run_of
from langchain_glm.testing import Call, GLMServer, Reply


def parsed(protocol, **source):
    parser = ProtocolParser(**source)
    return [event for given in protocol for event in parser.feed(given)]


def bridged(chunks):
    generated = (ChatGenerationChunk(message=chunk) for chunk in chunks)
    return list(chunks_to_events(generated, message_id=RUN_ID))


# The same is told as of chunks


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("said", ANSWERS)
@pytest.mark.parametrize("provider", ["openai", "deepseek", "anthropic"])
def test_the_bridge_tells_the_same_as_the_chunks(provider, said, size):
    chunks = PROVIDERS[provider](ANSWERS[said], size)
    (seen,) = read(parsed(bridged(chunks)))
    (expected,) = read(tool_call_events(chunks))
    assert seen[:3] == expected[:3]
    assert seen.finished.usage == USAGE
    assert seen.finished.finish_reason == expected.finished.finish_reason
    assert seen.finished.message_id == RUN_ID


CUT = Answer(text="All.", calls=(("c1", "add", '{"a": 1}'), ("c3", "write", '{"a": 1}')), cut=True)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_cut_call_that_happens_to_parse(provider):
    (seen,) = read(parsed(bridged(PROVIDERS[provider](CUT, 4))))
    assert seen.calls == [("c1", "add", {"a": 1}), ("c3", "write", "cut")]


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_broken_json(provider):
    broken = Answer(calls=(("c1", "add", '{"a": }'), ("c2", "add", '{"a": 1')))
    (seen,) = read(parsed(bridged(PROVIDERS[provider](broken, 3))))
    assert seen.calls == [("c1", "add", "invalid_json"), ("c2", "add", "invalid_json")]


REPLY = Reply(
    reasoning="Let me think.",
    text="I write.",
    tool_calls=[
        Call("write", {"text": 'say("你好")\n', "n": [1, {}]}, "c1"),
        Call("now", "", "c2"),
    ],
)


@pytest.mark.parametrize("finish_reason", ["tool_calls", "length"])
@pytest.mark.parametrize("model", [glm, gpt], ids=["glm", "gpt"])
def test_a_model_tells_the_same_in_both_ways(model, finish_reason):
    tools = [{"type": "function", "function": {"name": name}} for name in ("write", "now")]
    reply = Reply(REPLY.reasoning, REPLY.text, REPLY.tool_calls, finish_reason)
    with GLMServer(reply) as server:
        bound = model(server).bind_tools(tools)
        (by_chunks,) = read(tool_call_events(bound.stream("hi")))
        (by_events,) = read(parsed(bound.stream_events("hi", version="v3")))
    assert by_events[:3] == by_chunks[:3]
    assert by_events.finished.finish_reason == finish_reason


@pytest.mark.parametrize("end", range(0, 30, 3))
def test_what_breaks_off(end):
    """The deltas that came are told, and what is open is ended."""
    events = bridged(PROVIDERS["openai"](ANSWERS["one_call"], 4))
    parser = ProtocolParser()
    seen = [event for given in events[:end] for event in parser.feed(given)]
    assert not parser.is_finished
    seen += parser.close()
    assert parser.is_finished
    assert parser.close() == []
    for message in read(seen):
        assert message.finished is None
        assert [reason for _, _, reason in message.calls] in ([], ["broken_stream"])


# Odd ones


def block(kind, index=0, **content):
    return {"event": f"content-block-{kind}", "index": index, "content": content}


def delta(index=0, **fields):
    return {"event": "content-block-delta", "index": index, "delta": fields}


START = {"event": "message-start", "role": "ai", "id": RUN_ID}
FINISH = {"event": "message-finish", "metadata": {"finish_reason": "tool_calls"}}
WHOLE = {"type": "tool_call", "id": "c1", "name": "add", "args": {"a": 1}}
OPEN = {"type": "tool_call_chunk", "id": "c1", "name": "add", "args": ""}


@pytest.mark.parametrize(
    "protocol",
    [
        pytest.param([block("start", **WHOLE), block("finish", **WHOLE)], id="whole"),
        pytest.param([block("finish", **WHOLE)], id="whole_without_a_start"),
        pytest.param([block("start", **OPEN), block("finish", **WHOLE)], id="no_delta"),
        pytest.param(
            [
                block("start", **{**OPEN, "id": None}),
                delta(type="tool-call-delta", args='{"a"'),
                delta(type="tool-call-delta", args=": 1}"),
                block("finish", **WHOLE),
            ],
            id="late_id",
        ),
        pytest.param(
            [block("start", **{**OPEN, "id": None, "name": ""}), block("finish", **WHOLE)],
            id="all_in_the_end",
        ),
        pytest.param(
            [
                block("start", **{**OPEN, "name": ""}),
                delta(type="tool-call-delta", args='{"a": ', name="add"),
                delta(type="tool-call-delta", args="1}"),
                block("finish", **WHOLE),
            ],
            id="late_name",
        ),
        pytest.param(
            [block("start", **{**OPEN, "args": '{"a": 1}'}), block("finish", **WHOLE)],
            id="all_in_the_start",
        ),
    ],
)
def test_a_call_that_comes_in_another_shape(protocol):
    (seen,) = read(parsed([START, *protocol, FINISH]))
    assert seen.calls == [("c1", "add", {"a": 1})]


def test_a_call_that_is_refused_by_the_model_itself():
    refused = {"type": "invalid_tool_call", "id": "c1", "name": "add", "args": "{}", "error": "No."}
    protocol = [block("start", **OPEN), delta(type="tool-call-delta", args="{}")]
    events = parsed([START, *protocol, block("finish", **refused), FINISH])
    (invalid,) = [event for event in events if isinstance(event, ev.ToolCallInvalid)]
    assert (invalid.raw, invalid.reason, invalid.error) == ("{}", "invalid_json", "No.")
    read(events)


def test_text_that_comes_whole():
    said = [
        block("start", 0, type="reasoning"),
        block("finish", 0, type="reasoning", reasoning="Hm."),
        block("start", 1, type="text"),
        block("finish", 1, type="text", text="So."),
        block("finish", 2, type="text", text=""),
    ]
    (seen,) = read(parsed([START, *said, FINISH]))
    assert (seen.reasoning, seen.text) == ("Hm.", "So.")


def test_what_is_not_known_is_passed_over():
    image = {"type": "image", "url": "https://a.test/b.png"}
    odd = [
        {"event": "heartbeat"},
        block("start", 0, **image),
        delta(0, type="block-delta", fields={"x": 1}),
        delta(7, type="tool-call-delta", args="{}"),
        delta(1, type="text-delta", text=""),
        block("finish", 0, **image),
    ]
    events = parsed([START, *odd, FINISH])
    assert [event.type for event in events] == ["message_finished"]


def test_an_error_ends_what_is_open():
    protocol = [START, block("start", **OPEN), {"event": "error", "message": "no"}]
    events = parsed(protocol)
    assert [event.type for event in events] == ["tool_call_started", "tool_call_invalid"]
    assert events[-1].reason == "broken_stream"


def test_the_source_stands_on_every_event():
    chunks = PROVIDERS["deepseek"](ANSWERS["one_call"], 4)
    events = parsed(bridged(chunks), namespace=("a:1",), node="model")
    assert {(e.namespace, e.node, e.message_id) for e in events} == {(("a:1",), "model", RUN_ID)}


def test_a_message_without_an_id():
    events = parsed([{**START, "id": ""}, delta(0, type="text-delta", text="x")])
    assert [event.message_id for event in events] == [None]


# The channel of several messages


def payload(event, run="r1", node="model"):
    return event, {"run_id": run, "langgraph_node": node}


def test_messages_that_take_turns():
    left = bridged(PROVIDERS["openai"](ANSWERS["one_call"], 4))
    right = bridged(PROVIDERS["deepseek"](ANSWERS["reasoning_and_text"], 4))
    reader, seen = MessageReader(), {(): [], ("sub:1",): []}
    for at in range(max(len(left), len(right))):
        for run, namespace, events in (("l", (), left), ("r", ("sub:1",), right)):
            if at < len(events):
                seen[namespace] += reader.feed(namespace, payload(events[at], run))
    (of_left,), (of_right,) = map(read, seen.values())
    assert of_left.text == "I write."
    assert [id_ for id_, _, _ in of_left.calls] == ["c1"]
    assert (of_right.reasoning, of_right.text) == ("Let me think.", "Done.")
    assert reader.close() == {}


def test_the_open_ones_are_ended_by_run():
    reader = MessageReader()
    opening = [START, block("start", **OPEN)]
    for run in ("l", "r"):
        for event in opening:
            reader.feed((), payload(event, run))
    reader.feed((), payload(FINISH, "l"))
    ends = reader.close()
    assert {run: [e.type for e in events] for run, events in ends.items()} == {
        "r": ["tool_call_invalid"]
    }
    assert reader.close() == {}


def test_messages_that_come_whole():
    message = AIMessage("Hi.", id="m1", tool_calls=[{"id": "c1", "name": "add", "args": {"a": 1}}])
    reader = MessageReader()
    (whole,) = read(reader.feed((), payload(message)))
    (replayed,) = read(parsed(message_to_events(message)))
    assert whole[:3] == replayed[:3] == ("", "Hi.", [("c1", "add", {"a": 1})])
    assert reader.feed((), payload(HumanMessage("hi"))) == []


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({**START, "role": "tool"}, id="a_tools_message"),
        pytest.param(delta(0, type="text-delta", text="x"), id="without_a_start"),
        pytest.param(FINISH, id="an_end_alone"),
    ],
)
def test_what_belongs_to_no_message(event):
    assert MessageReader().feed((), payload(event)) == []


def test_the_name_of_a_run():
    assert run_of({"run_id": 1}) == "1"
    assert run_of({}) == "None"
