"""A secret stands in every place that can hold content; no byte of it goes out."""

import asyncio
import json
from dataclasses import dataclass, fields
from functools import partial

import pytest
from event_examples import CALL, TOOL, ToldError, Typed, alisted_to_error, examples, messages
from langchain_core.messages import AIMessage
from langgraph.types import Interrupt

from langchain_glm.streaming.debouncing import merge_deltas
from langchain_glm.streaming.encoders import ag_ui, sse, vercel
from langchain_glm.streaming.events import (
    ArgumentDelta,
    ArgumentFinished,
    Event,
    MessageFinished,
    ReasoningDelta,
    RunFailed,
    RunFinished,
    RunInterrupted,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallStarted,
    ToolFinished,
    ToolStarted,
)
from langchain_glm.streaming.redaction import MASK, aredacted, redact, redacted

SECRET = "Hunter2Hunter2"
DOTS = MASK * len(SECRET)
EVENTS = examples(SECRET)
NAMES = {"namespace", "node", "message_id", "id", "index", "name", "finish_reason", "reason"}
by_type = [pytest.param(event, id=f"{event.type}-{at}") for at, event in enumerate(EVENTS)]


@pytest.mark.parametrize("event", by_type)
def test_the_examples_hold_the_secret_in_every_field_that_is_no_name(event):
    for field in fields(event):
        if field.name not in NAMES | {"position", "raised", "_count"}:
            value = getattr(event, field.name)
            assert SECRET in (repr(vars(value)) if isinstance(value, Typed) else repr(value))


@pytest.mark.parametrize("event", by_type)
def test_nothing_of_the_content_is_left(event):
    hidden = redact(event)

    assert type(hidden) is type(event)
    assert SECRET not in json.dumps(hidden.to_dict())
    for field in fields(hidden):
        value = getattr(hidden, field.name)
        if field.name in NAMES:
            assert value == getattr(event, field.name)
        elif field.name != "_typed":  # it masks when it is read
            assert SECRET not in repr(value)
            assert SECRET not in repr(getattr(value, "__dict__", ""))
            assert SECRET not in repr(getattr(value, "args", ""))


# Everything that an encoder makes of events.
ENCODERS = [
    pytest.param(sse.encode, id="sse"),
    pytest.param(vercel.encode_sse, id="vercel"),
    pytest.param(partial(ag_ui.encode_sse, thread_id="t", run_id="r"), id="ag_ui"),
]


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize("last", EVENTS[-3:], ids=lambda event: event.type)
def test_nothing_of_the_content_goes_out_of_any_encoder(encode, last):
    run = [*EVENTS[:-3], last]
    told = "".join(encode(run))
    hidden = "".join(encode(redacted(run)))

    assert SECRET in told
    assert SECRET not in hidden
    for name in ("write_file", "call_1", DOTS):
        assert name in hidden


def test_names_are_in_the_frames():
    hidden = "".join(sse.encode(redacted(EVENTS)))
    for name in ("write_file", "call_1", "m1", "child:1", "edits", "ToldError", "tool_calls", "i1"):
        assert name in hidden


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(TextDelta("abc"), TextDelta("•••"), id="text"),
        pytest.param(ReasoningDelta("想\n"), ReasoningDelta("••"), id="characters, not bytes"),
        pytest.param(TextDelta(""), TextDelta(""), id="no text"),
        pytest.param(
            ArgumentDelta(("env", 0, "KEY"), "abc", **CALL),
            ArgumentDelta(("env", 0, "•••"), "•••", **CALL),
            id="a key inside of a value may be data",
        ),
        pytest.param(
            ArgumentFinished(("a",), {"key": [True, 12.5, None, "abc"]}, **CALL),
            ArgumentFinished(("a",), "•" * 9, **CALL),
            id="numbers and literals are one character, whatever they are",
        ),
        pytest.param(
            ArgumentFinished(("a",), None, **CALL),
            ArgumentFinished(("a",), "•", **CALL),
            id="null is a value",
        ),
        pytest.param(
            ToolCallFinished({"path": "a.py", "all": False}, **CALL),
            ToolCallFinished({"path": "••••", "all": "•"}, **CALL),
            id="parameters keep their names",
        ),
        pytest.param(ToolStarted(**TOOL), ToolStarted(**TOOL), id="no arguments known"),
        pytest.param(
            ToolFinished("abc", **TOOL), ToolFinished("•••", **TOOL), id="no artifact is none"
        ),
        pytest.param(ToolCallStarted(**CALL), ToolCallStarted(**CALL), id="names alone"),
        pytest.param(RunFinished({"a": 1}), RunFinished(None), id="the state is left out"),
    ],
)
def test_sizes_and_names_stay(event, expected):
    assert redact(event) == expected


def test_a_partial_value_is_masked_when_it_is_read():
    typed = Typed('{"path": "', "abc", arguments={"path": "abc"})
    first = redact(ToolCallDelta('{"path": "', typed, 1, **CALL))
    second = redact(ToolCallDelta("abc", typed, 2, **CALL))

    assert (first.text, second.text, second.raw) == ("•" * 10, "•••", "•" * 13)
    assert second.arguments == {"path": "•••"}
    [merged] = merge_deltas([first, second])
    assert (merged.text, merged.arguments) == ("•" * 13, {"path": "•••"})


def test_merging_before_is_the_same_as_after():
    typed = Typed("ab", "cd")
    events = [
        ToolCallDelta("ab", typed, 1, **CALL),
        ArgumentDelta(("p",), "ab", **CALL),
        ToolCallDelta("cd", typed, 2, **CALL),
        ArgumentDelta(("p",), "cd", **CALL),
    ]
    assert merge_deltas(redacted(events)) == list(redacted(merge_deltas(events)))


def test_messages_keep_ids_calls_and_counts():
    human, system, ai, tool, _, critic = redact(RunFinished({}, messages("abc"))).messages

    assert (human.id, human.content, human.name) == ("h1", "•••", None)
    assert (system.id, system.content) == ("s1", "•••")
    assert (ai.id, ai.content, ai.usage_metadata["total_tokens"]) == ("m1", "•••", 7)
    assert ai.tool_calls[0]["name"] == "write_file"
    assert ai.tool_calls[0]["args"] == {"path": "•••", "deep": "•" * 6}
    assert (ai.invalid_tool_calls[0]["id"], ai.invalid_tool_calls[0]["args"]) == ("call_2", "•••")
    assert (tool.tool_call_id, tool.name, tool.artifact) == ("call_1", "write_file", None)
    assert (critic.role, critic.content) == ("chat", "•••")


def test_a_message_without_usage_has_none():
    event = redact(MessageFinished(AIMessage("abc"), None, None))
    assert (event.usage, event.message.usage_metadata) == (None, None)


@pytest.mark.parametrize(
    ("code", "seen"),
    [(1302, 1302), ("1302", "1302"), (SECRET, None), (None, None)],
)
def test_an_error_keeps_its_class_and_a_code_that_is_a_number(code, seen):
    error = ToldError("abc")
    error.code = code
    hidden = redact(RunFailed(error)).error

    assert isinstance(hidden, Exception)
    assert hidden.__cause__ is None
    assert RunFailed(hidden).to_dict()["error"] == {
        "type": "ToldError",
        "message": "•••",
        "code": seen,
    }


def test_an_interrupt_keeps_its_id():
    first, bare = redact(RunInterrupted([Interrupt("abc", id="i1"), "bare"])).interrupts
    assert (first.id, first.value, bare.id, bare.value) == ("i1", "•••", None, "••••")


def test_an_event_of_another_package_is_dropped():
    @dataclass(frozen=True)
    class TextDelta(Event):
        type = "text_delta"
        text: str

    assert redact(TextDelta("abc")) is None
    assert list(redacted([TextDelta("abc")])) == []


def test_the_source_is_closed_and_its_error_goes_on():
    closed = []

    def source():
        try:
            yield TextDelta("abc")
            raise ToldError("broken")
        finally:
            closed.append(True)

    stream = redacted(source())
    assert next(stream) == TextDelta("•••")
    with pytest.raises(ToldError, match="broken"):
        next(stream)
    events = source()
    stream = redacted(events)
    next(stream)
    stream.close()
    assert closed == [True, True]


async def test_async():
    closed = asyncio.Event()

    async def source():
        try:
            yield TextDelta("abc")
            yield ReasoningDelta("ab")
            raise ToldError("broken")
        finally:
            closed.set()

    seen, raised = await alisted_to_error(aredacted(source()))
    assert str(raised) == "broken"
    assert seen == [TextDelta("•••"), ReasoningDelta("••")]
    closed.clear()
    stream = aredacted(source())
    await anext(stream)
    await stream.aclose()
    assert closed.is_set()
