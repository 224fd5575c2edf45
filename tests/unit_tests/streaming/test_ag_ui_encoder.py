"""AG-UI: what each event becomes, which order, and that nothing is lost. `tests/node` has more."""

import builtins
import importlib
import json
import sys

import pytest
from ag_ui.core import EventType
from langchain_core.messages import AIMessageChunk
from pydantic import TypeAdapter
from scripted_runs import RUNS, USAGE, Said, Source, ataken, event_classes, taken, tool

from langchain_glm.errors import GLMError
from langchain_glm.streaming.encoders import ag_ui
from langchain_glm.streaming.encoders._wire import StrictJson
from langchain_glm.streaming.events import (
    ReasoningDelta,
    RunFailed,
    RunFinished,
    TextDelta,
    ToolCallDelta,
    ToolCallInvalid,
    ToolFailed,
    ToolFinished,
    ToolProgress,
)
from langchain_glm.streaming.redaction import redacted
from langchain_glm.streaming.tool_calls import tool_call_events

STARTED = ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]


def encode(events, **options):
    return list(ag_ui.encode(events, thread_id="t", run_id="r", **options))


def kinds(events):
    return [event.type.value for event in events]


def of(events, kind):
    return [event for event in events if event.type.value == kind]


def deltas(events, kind):
    return "".join(event.delta for event in of(events, kind))


def half_a_pair():
    return b"\xed\xa0\xbd".decode("utf-8", "surrogatepass")


def test_a_run_from_end_to_end():
    assert kinds(encode(RUNS["full"])) == [
        "RUN_STARTED",
        *("REASONING_START", "REASONING_MESSAGE_START"),
        *("REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT"),
        *("REASONING_MESSAGE_END", "REASONING_END"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT"),
        "TEXT_MESSAGE_END",
        *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_ARGS"),
        *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_ARGS"),
        *("TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_END"),
        *("CUSTOM", "TOOL_CALL_RESULT", "TOOL_CALL_RESULT"),
        *("REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT"),
        *("REASONING_MESSAGE_END", "REASONING_END"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        "RUN_FINISHED",
    ]


@pytest.mark.parametrize("name", RUNS)
def test_every_delta_comes_out_exactly_once(name):
    encoded = encode(RUNS[name])
    said = [event for event in RUNS[name] if isinstance(event, TextDelta)]
    thought = [event for event in RUNS[name] if isinstance(event, ReasoningDelta)]
    assert deltas(encoded, "TEXT_MESSAGE_CONTENT") == "".join(event.text for event in said)
    assert deltas(encoded, "REASONING_MESSAGE_CONTENT") == "".join(e.text for e in thought)
    typed = sum(isinstance(event, ToolCallDelta) for event in RUNS[name])
    assert len(of(encoded, "TOOL_CALL_ARGS")) >= typed


@pytest.mark.parametrize("name", RUNS)
def test_every_event_is_valid_and_ids_are_used_once(name):
    encoded = encode(RUNS[name])
    wire = [json.loads(event.model_dump_json(by_alias=True)) for event in encoded]
    adapter = TypeAdapter(ag_ui.core.BaseEvent)
    assert [adapter.validate_python(event).type for event in wire] == [e.type for e in encoded]
    assert [EventType(event["type"]) for event in wire]
    for kind in ("TOOL_CALL_START", "TOOL_CALL_END", "REASONING_START"):
        ids = [e.get("toolCallId") or e.get("messageId") for e in wire if e["type"] == kind]
        assert len(ids) == len(set(ids))


def test_every_class_of_event_has_its_treatment():
    assert set(ag_ui.AGUIEncoder._METHODS) == event_classes()


def test_a_call_that_comes_whole_has_its_arguments():
    said = Said()
    encoded = encode([*said.begin("c"), *said.finish({"a": "你"}), *said.end()])
    assert kinds(encoded)[1:-1] == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END"]
    assert deltas(encoded, "TOOL_CALL_ARGS") == '{"a":"你"}'


def test_calls_belong_to_their_message():
    (start, *_) = of(encode(RUNS["text, call, text"]), "TOOL_CALL_START")
    assert start.parent_message_id == "m1"


def test_text_after_a_call_goes_on_in_its_message():
    encoded = encode(RUNS["text, call, text"])
    assert [event.message_id for event in of(encoded, "TEXT_MESSAGE_START")] == ["m1", "m1"]


def test_text_after_the_end_of_its_message_goes_on_in_it():
    said = Said()
    encoded = encode([*said.say("a"), *said.end(), *said.say("b"), *said.end()])
    assert [event.message_id for event in of(encoded, "TEXT_MESSAGE_CONTENT")] == ["m1", "m1"]


def test_what_a_subgraph_does_carries_its_namespace():
    encoded = encode(RUNS["interleaved"])
    owners = {e.message_id: e.subagent_run_id for e in of(encoded, "TEXT_MESSAGE_CONTENT")}
    assert owners == {"m2": "tools:a|left:1", "m3": "tools:b|right:1", "m4": None}
    (begun, *_) = of(encoded, "TEXT_MESSAGE_START")
    assert begun.metadata == {"langchain": {"namespace": ["tools:a", "left:1"], "node": "model"}}


def test_the_same_message_id_in_two_namespaces_is_two_messages():
    both = [*Said("m", ("a:1",)).say("x"), *Said("m").say("y")]
    ids = [event.message_id for event in of(encode(both), "TEXT_MESSAGE_START")]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("run", "answer"),
    [
        pytest.param("invalid", "Cut off.", id="nobody answers"),
        pytest.param("invalid and answered", "Send it again, smaller.", id="a middleware answers"),
        pytest.param(
            "stopped",
            "The run stopped before the call was complete. It was not run.",
            id="the run stops first",
        ),
    ],
)
def test_an_invalid_call_says_why_and_gets_one_answer(run, answer):
    encoded = encode(RUNS[run])
    (end,) = of(encoded, "TOOL_CALL_END")
    assert end.metadata["langchain"]["invalid"] in {"cut", "stopped"}
    (result,) = of(encoded, "TOOL_CALL_RESULT")
    assert (result.tool_call_id, result.content) == (end.tool_call_id, answer)
    assert result.metadata == {"langchain": {"status": "error"}}


def test_an_invalid_call_that_never_began_is_shown():
    said = Said()
    about = {**said.where, "id": None, "index": 0, "name": ""}
    invalid = ToolCallInvalid('{"a"', "no_name", 4, **about)
    encoded = encode([invalid, *said.end()])
    assert deltas(encoded, "TOOL_CALL_ARGS") == '{"a"'
    assert of(encoded, "TOOL_CALL_RESULT")[0].content.startswith("The call is invalid: no_name.")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param("plain", "plain", id="text"),
        pytest.param([{"type": "text", "text": "a"}, "b"], "ab", id="text blocks"),
        pytest.param([], "[]", id="nothing"),
        pytest.param({"a": [1, None]}, '{"a":[1,null]}', id="data"),
        pytest.param([{"type": "image", "text": "x"}], '[{"type":"image","text":"x"}]', id="media"),
        pytest.param(half_a_pair(), "\ufffd", id="half a surrogate pair"),
    ],
)
def test_a_result_is_text(content, text):
    (result,) = of(encode([ToolFinished(content, **tool("c"))]), "TOOL_CALL_RESULT")
    assert result.content == text
    assert result.metadata is None


def test_a_result_without_an_id_is_not_lost():
    (result,) = of(encode([ToolFinished("x", **tool(None))]), "TOOL_CALL_RESULT")
    assert (result.tool_call_id, result.content) == ("r-1", "x")


def test_progress_is_custom_and_names_the_call():
    progress = [ToolProgress(half_a_pair(), **tool("c")), ToolProgress({1}, **tool(None, ""))]
    values = [event.value for event in of(encode(progress), "CUSTOM")]
    assert values == [
        {"toolCallId": "c", "toolName": "write", "data": "\ufffd"},
        {"toolCallId": None, "toolName": "", "data": [1]},
    ]


def test_text_without_bytes_is_replaced():
    said = Said()
    broken = [*said.say(half_a_pair()), *said.begin("c"), *said.type(half_a_pair())]
    for event in encode(broken):
        assert event.model_dump_json().encode()


def test_late_and_repeated_ids_lead_to_their_calls():
    encoded = encode(RUNS["late ids, ids used twice"])
    starts = [event.tool_call_id for event in of(encoded, "TOOL_CALL_START")]
    assert [event.tool_call_id for event in of(encoded, "TOOL_CALL_RESULT")] == starts
    assert len(set(starts)) == 2


def test_raw_control_characters_become_strict_json():
    text = deltas(encode(RUNS["raw control characters"]), "TOOL_CALL_ARGS")
    assert json.loads(text) == {"text": 'one\ntwo"\tthree\\'}


def test_strict_json_is_the_same_for_every_split():
    text = '{"a\\"\n":\n"\\\\", "b":\t["\x00\\u0041", 1]}\n'
    whole = StrictJson().feed(text)
    assert json.loads(whole) == json.loads(text, strict=False)
    for size in range(1, len(text)):
        strict = StrictJson()
        pieces = [strict.feed(text[at : at + size]) for at in range(0, len(text), size)]
        assert "".join([*pieces, strict.feed("")]) == whole


def test_usage_is_summed_by_model():
    finished = encode(RUNS["full"])[-1]
    (usage,) = finished.usage
    assert (usage.provider, usage.model, usage.total_tokens) == ("zai", "glm-4.7", 28)
    assert (usage.cached_input_tokens, usage.reasoning_tokens) == (12, 6)


def test_a_failed_run_says_what_it_used():
    encoded = encode([*Said().end(usage=USAGE), RunFailed(ValueError())])
    assert encoded[-1].usage[0].total_tokens == 14


@pytest.mark.parametrize(
    ("run", "message", "code"),
    [
        ("failed", "GLM is overloaded: try again later.", "GLMOverloadedError"),
        ("failed by a stranger", "An error occurred.", "ValueError"),
    ],
)
def test_a_browser_is_told_what_it_may_know_of_an_error(run, message, code):
    failed = encode(RUNS[run])[-1]
    assert (failed.type, failed.message, failed.code) == ("RUN_ERROR", message, code)


@pytest.mark.parametrize(
    ("code", "told"), [("1302", "1302"), (400, "400"), ("", "GLMError"), (b"1", "GLMError")]
)
def test_a_code_goes_before_the_name_of_the_class(code, told):
    failed = encode([RunFailed(GLMError("no", code=code))])[-1]
    assert failed.code == told


def test_on_error_says_it_otherwise():
    failed = encode(RUNS["failed by a stranger"], on_error=repr)[-1]
    assert failed.message == "ValueError('password=hunter2')"


def test_an_interrupt_is_an_outcome():
    finished = encode(RUNS["interrupted"])[-1]
    (asked,) = finished.outcome.interrupts
    assert (asked.id, asked.reason, asked.message) == ("i1", "langgraph:interrupt", "May I?")
    assert asked.tool_call_id == "call_1"
    assert asked.metadata["langchain"]["value"]["options"] == ["yes", "no"]


def test_a_breakpoint_is_an_interrupt_without_a_question():
    (asked,) = encode(RUNS["interrupted without a question"])[-1].outcome.interrupts
    assert asked.reason == "langgraph:breakpoint"


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        ("bare", None),
        ("full", None),
        ("stopped", "cancelled"),
        ("stopped before anything", "cancelled"),
    ],
)
def test_the_outcome_of_a_run(run, outcome):
    finished = encode(RUNS[run])[-1]
    assert finished.type == "RUN_FINISHED"
    assert getattr(finished.outcome, "type", None) == outcome


def test_an_agent_that_stops_after_a_message_is_cancelled():
    encoded = encode([*Said(node="model").say("x"), *Said(node="model").end()])
    assert encoded[-1].outcome.type == "cancelled"


def test_nothing_comes_after_the_end():
    encoder = ag_ui.AGUIEncoder("t", "r")
    encoder.feed(RunFinished({}))
    assert encoder.feed(TextDelta("late")) == encoder.fail(ValueError()) == encoder.close() == []


def test_a_model_stream_is_encoded_whole():
    chunks = [AIMessageChunk("Hel", id="m"), AIMessageChunk("lo", id="m", chunk_position="last")]
    encoded = encode(tool_call_events(chunks))
    assert kinds(encoded) == [*STARTED[:3], "TEXT_MESSAGE_CONTENT", STARTED[3], "RUN_FINISHED"]


@pytest.mark.parametrize("name", RUNS)
def test_a_redacted_run_has_the_same_shape(name):
    assert kinds(encode(redacted(RUNS[name]))) == kinds(encode(RUNS[name]))


def test_without_the_fragments_the_arguments_come_with_the_end():
    events = [event for event in RUNS["full"] if not isinstance(event, ToolCallDelta)]
    arguments = [event.delta for event in of(encode(events), "TOOL_CALL_ARGS")]
    assert arguments == ['{"path":"a.py"}', '{"path":"b"}']


IDS = {"thread_id": "t", "run_id": "r"}
FAILURES = [
    pytest.param([TextDelta("a")], id="untold"),
    pytest.param([TextDelta("a"), RunFailed(KeyError("x"))], id="told by RunFailed"),
]
FRAMES = [
    "RUN_STARTED",
    "TEXT_MESSAGE_START",
    "TEXT_MESSAGE_CONTENT",
    "TEXT_MESSAGE_END",
    "RUN_ERROR",
]


def frame_kinds(frames):
    assert all(frame.startswith("data: ") and frame.endswith("\n\n") for frame in frames)
    return [json.loads(frame.removeprefix("data: "))["type"] for frame in frames]


@pytest.mark.parametrize("events", FAILURES)
def test_a_stream_that_raises_is_told_once_then_raised(events):
    source = Source(*events, error=KeyError("x"))
    frames, error = taken(ag_ui.encode_sse(source, **IDS))
    assert isinstance(error, KeyError)
    assert frame_kinds(frames) == FRAMES


@pytest.mark.parametrize("events", FAILURES)
async def test_an_async_stream_that_raises_is_told_once_then_raised(events):
    source = Source(*events, error=KeyError("x"))
    frames, error = await ataken(ag_ui.aencode_sse(source, **IDS))
    assert isinstance(error, KeyError)
    assert frame_kinds(frames) == FRAMES


def test_the_run_starts_before_its_first_event():
    source = Source(TextDelta("a"))
    stream = ag_ui.encode(source, **IDS)
    assert next(stream).type == "RUN_STARTED"
    assert not source.began


@pytest.mark.parametrize("encode", [ag_ui.encode, ag_ui.encode_sse])
def test_closing_closes_the_source(encode):
    source = Source(TextDelta("a"), TextDelta("b"))
    events = iter(source)  # held, or it were closed by the collector
    stream = encode(events, **IDS)
    next(stream), next(stream)
    stream.close()
    assert source.closed


@pytest.mark.parametrize("encode", [ag_ui.aencode, ag_ui.aencode_sse])
async def test_closing_closes_the_async_source(encode):
    source = Source(TextDelta("a"), TextDelta("b"))
    events = aiter(source)  # held, or it were closed by the collector
    stream = encode(events, **IDS)
    await anext(stream), await anext(stream)
    await stream.aclose()
    assert source.closed


async def test_sync_and_async_say_the_same():
    whole = [event async for event in ag_ui.aencode(Source(*RUNS["full"]), **IDS)]
    assert whole == encode(RUNS["full"])


def test_failed_tools_are_told_from_those_that_answered():
    (result,) = of(encode([ToolFailed("no", **tool("c"))]), "TOOL_CALL_RESULT")
    assert result.metadata == {"langchain": {"status": "error"}}
    assert result.content == "no"


def test_what_a_tool_raised_is_not_told():
    raised = [ToolFailed("SELECT hunter2", raised=True, **tool("c"))]
    (result,) = of(encode(raised), "TOOL_CALL_RESULT")
    assert result.content == "An error occurred."
    (result,) = of(encode(raised, on_error=str), "TOOL_CALL_RESULT")
    assert result.content == "SELECT hunter2"


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("ag_ui"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    name = "langchain_glm.streaming.encoders.ag_ui"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r'pip install "langchain-glm-zai\[ag-ui\]"'):
        importlib.import_module(name)
