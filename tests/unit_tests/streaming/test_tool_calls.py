"""A model's chunks become events: whose chunks, in whatever shape, and however they end."""

import pytest
from chunk_streams import (
    ANSWERS,
    ODD,
    PROVIDERS,
    RUN_ID,
    USAGE,
    Answer,
    chunk,
    drained,
    expected,
    read,
    together,
)
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_glm.streaming.events import (
    TextDelta,
    ToolCallDelta,
    ToolCallInvalid,
    ToolCallStarted,
)
from langchain_glm.streaming.json_stream import JSONStream
from langchain_glm.streaming.merge import collect
from langchain_glm.streaming.tool_calls import ToolCallParser, atool_call_events, tool_call_events

OPEN, CLOSE = '{"path": "a.p', 'y"}'

# Chunks of other providers.


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("said", ANSWERS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_tells_the_same(provider, said, size):
    answer = ANSWERS[said]
    chunks = PROVIDERS[provider](answer, size)
    (seen,) = read(tool_call_events(chunks))
    assert seen.calls == expected(answer.calls)
    assert seen.text == answer.text
    if provider in {"anthropic", "deepseek"}:
        assert seen.reasoning == answer.reasoning
    assert seen.finished.usage == USAGE
    assert seen.finished.message == collect(chunks)


CUT = Answer(
    text="All.",
    calls=(("c1", "add", '{"a": 1}'), ("c2", "now", ""), ("c3", "write", '{"path": "a')),
    cut=True,
)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_cut_answer_ends_what_was_open(provider):
    (seen,) = read(tool_call_events(PROVIDERS[provider](CUT, 4)))
    # Whether a call that had no arguments was over when the next one began, nobody can tell; and
    # of calls that take turns none is.
    first = "cut" if provider == "interleaved" else {"a": 1}
    assert seen.calls == [("c1", "add", first), ("c2", "now", "cut"), ("c3", "write", "cut")]
    assert seen.finished.finish_reason in {"length", "max_tokens", "MAX_TOKENS"}


# Odd shapes.


@pytest.mark.parametrize("shape", ODD)
def test_odd_chunks(shape):
    said, calls = ODD[shape]
    chunks = [chunk("", *together(piece)) for piece in said]
    (seen,) = read(tool_call_events([*chunks, chunk(chunk_position="last")]))
    assert seen.calls == calls
    assert collect(chunks).tool_calls == seen.finished.message.tool_calls


@pytest.mark.parametrize("reasons", [("length", "length"), ("tool_calls", "length", "tool_calls")])
def test_a_finish_reason_that_comes_again_still_cuts(reasons):
    """A finishing chunk, then another with the usage: core's merge makes "lengthlength" of it."""
    ends = [chunk(response_metadata={"finish_reason": reason}) for reason in reasons]
    (seen,) = read(tool_call_events([chunk("", (OPEN + CLOSE, "write", "c1", 0)), *ends]))
    assert seen.calls == [("c1", "write", "cut")]
    assert seen.finished.finish_reason == "length"


def test_nothing_is_told_before_the_name_is_known():
    parser = ToolCallParser()
    assert parser.feed(chunk("", (OPEN, None, "c1", 0))) == []
    assert parser.feed(chunk("", ("", None, None, 0))) == []
    started, first, *_ = parser.feed(chunk("", (CLOSE, "write", None, 0)))
    assert (started.id, started.name) == ("c1", "write")
    assert first.text == OPEN


def test_where_the_json_broke():
    *_, invalid, _ = tool_call_events(
        [chunk("", ('{"a": 1, b', "add", "c1", 0)), chunk("", (": 2}", None, None, 0))]
    )
    assert isinstance(invalid, ToolCallInvalid)
    assert (invalid.raw, invalid.position) == ('{"a": 1, b: 2}', 9)
    assert invalid.error.startswith("The arguments are not a JSON object: Expecting property name")


# Streams that break.


def failing(chunks, error):
    yield from chunks
    raise error


async def afailing(chunks, error):
    for item in chunks:
        yield item
    raise error


@pytest.mark.parametrize("how", [failing, afailing])
async def test_the_error_comes_last_and_as_it_is(how):
    watch = tool_call_events if how is failing else atool_call_events
    error = OSError("gone")
    chunks = [chunk("Hi"), chunk("", ('{"n": ', "write", "c1", 0))]
    events, raised = await drained(watch(how(chunks, error)))
    assert raised is error
    assert [type(event) for event in events] == [
        TextDelta,
        ToolCallStarted,
        ToolCallDelta,
        ToolCallInvalid,
    ]
    assert (events[-1].reason, events[-1].error) == (
        "broken_stream",
        "The call was cut off (the stream broke off).",
    )


def test_a_plain_list_needs_no_closing():
    events = tool_call_events([chunk("Hi"), chunk("!")])
    assert next(events).text == "Hi"
    events.close()  # a list has no `close` to call


# Messages.


def test_several_messages_in_one_stream():
    one, two = ANSWERS["one_call"], ANSWERS["calls_alone"]
    chunks = [*PROVIDERS["anthropic"](one, 5), *PROVIDERS["openai"](two, 5), chunk("Bye")]
    first, second, third = read(tool_call_events(chunks))
    assert (first.text, first.calls) == (one.text, expected(one.calls))
    assert (second.text, second.calls) == ("", expected(two.calls))
    assert (third.text, third.calls) == ("Bye", [])


def test_events_name_their_message():
    chunks = PROVIDERS["anthropic"](ANSWERS["one_call"], 5)
    assert {event.message_id for event in tool_call_events(chunks)} == {RUN_ID}


def test_events_say_where_the_model_writes():
    parser = ToolCallParser(namespace=("child:1",), node="model")
    answer = ANSWERS["one_call"]
    events = [
        event
        for item in [*PROVIDERS["deepseek"](answer, 5), *PROVIDERS["v1"](answer, 5)]
        for event in parser.feed(item)
    ]
    assert len(read(events)) == 2
    assert {(event.namespace, event.node) for event in events} == {(("child:1",), "model")}


def test_no_chunks_no_events():
    assert list(tool_call_events([])) == []


def made(id_, name, **arguments):
    return {"type": "tool_call", "id": id_, "name": name, "args": arguments}


def broken(id_, name):
    return {"type": "invalid_tool_call", "id": id_, "name": name, "args": "{", "error": "bad"}


WHOLE_MESSAGES = [
    pytest.param(AIMessage("Hi"), [], id="text"),
    pytest.param(
        AIMessage("", tool_calls=[made("c1", "write", path="你好"), made("c2", "now")]),
        [("c1", "write", {"path": "你好"}), ("c2", "now", {})],
        id="calls",
    ),
    pytest.param(
        AIMessage("", tool_calls=[made(None, "now"), made(None, "now")]),
        [(None, "now", {}), (None, "now", {})],
        id="calls_without_ids",
    ),
    pytest.param(
        AIMessage("", tool_calls=[made(None, "")]),
        [(None, "", {})],
        id="a_call_without_a_name",
    ),
    pytest.param(
        AIMessage("", invalid_tool_calls=[broken("c1", "add")]),
        [("c1", "add", "invalid_json")],
        id="broken",
    ),
    pytest.param(
        AIMessage(
            "",
            invalid_tool_calls=[broken(None, None)],
            response_metadata={"finish_reason": "length"},
        ),
        [(None, "", "cut")],
        id="cut",
    ),
    pytest.param(
        AIMessage(
            [
                {"type": "thinking", "thinking": "Hm", "signature": "s"},
                {"type": "text", "text": "Hi"},
                {"type": "tool_use", "id": "c1", "name": "now", "input": {}},
            ],
            tool_calls=[made("c1", "now")],
            response_metadata={"model_provider": "anthropic", "stop_reason": "tool_use"},
        ),
        [("c1", "now", {})],
        id="content_blocks",
    ),
]


@pytest.mark.parametrize(("message", "calls"), WHOLE_MESSAGES)
def test_a_message_that_came_whole(message, calls):
    (seen,) = read(tool_call_events([message]))
    assert seen.calls == calls
    assert seen.finished.message is message
    assert collect([message]) is message


def test_a_whole_message_ends_the_one_before():
    chunks = [chunk("Hi"), chunk("", ("{}", "now", "c1", 0)), AIMessage("Bye")]
    first, second = read(tool_call_events(chunks))
    assert (first.text, first.calls) == ("Hi", [("c1", "now", {})])
    assert (second.text, second.calls) == ("Bye", [])


@pytest.mark.parametrize("stranger", [HumanMessage("Hi"), ToolMessage("ok", tool_call_id="c1")])
async def test_what_is_not_the_models_is_refused(stranger):
    chunks = [chunk("", (OPEN, "write", "c1", 0)), stranger]
    events, error = await drained(tool_call_events(chunks))
    assert isinstance(error, TypeError)
    assert f"got {type(stranger).__name__}" in str(error)
    assert events[-1].reason == "broken_stream"


@pytest.mark.parametrize("order", [list, reversed], ids=["in_order", "backwards"])
def test_who_reads_arguments_late_parses_the_text_once(order, monkeypatch):
    fragments = ["x" * 4] * 200
    pieces = ['{"a": "', *fragments, '"}']
    events = list(
        tool_call_events(
            [chunk("", (text, "f" * (not n), "c" * (not n), 0)) for n, text in enumerate(pieces)]
        )
    )
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    fed = []
    feed = JSONStream.feed
    monkeypatch.setattr(JSONStream, "feed", lambda s, text: fed.append(len(text)) or feed(s, text))
    values = [delta.arguments for delta in order(deltas)]
    assert list(order(values))[50] == {"a": "x" * 200}
    if order is list:
        assert sum(fed) <= 2 * sum(map(len, pieces))
