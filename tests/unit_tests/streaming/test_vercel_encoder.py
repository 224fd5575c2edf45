"""The AI SDK's UI message stream: what each event becomes. `tests/node` has its real reader."""

import json

import pytest
from scripted_runs import RUNS, USAGE, Said, Source, ataken, event_classes, taken, tool

from langchain_glm.streaming.encoders import vercel
from langchain_glm.streaming.events import (
    ReasoningDelta,
    RunFailed,
    RunFinished,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolFailed,
    ToolFinished,
    ToolProgress,
)
from langchain_glm.streaming.redaction import redacted


def encode(events, **options):
    return list(vercel.encode(events, message_id="m", **options))


def kinds(chunks):
    return [chunk["type"] for chunk in chunks]


def of(chunks, kind):
    return [chunk for chunk in chunks if chunk["type"] == kind]


def test_a_run_from_end_to_end():
    assert kinds(encode(RUNS["full"])) == [
        *("start", "start-step"),
        *("reasoning-start", "reasoning-delta", "reasoning-delta", "reasoning-end"),
        *("text-start", "text-delta", "text-delta", "text-end"),
        *("tool-input-start", "tool-input-delta", "tool-input-delta"),
        *("tool-input-start", "tool-input-delta", "tool-input-delta"),
        *("tool-input-delta", "tool-input-available", "tool-input-available"),
        *("data-tool-progress", "tool-output-error", "tool-output-available"),
        *("finish-step", "start-step"),
        *("reasoning-start", "reasoning-delta", "reasoning-end"),
        *("text-start", "text-delta", "text-end"),
        *("finish-step", "finish"),
    ]


@pytest.mark.parametrize("name", RUNS)
def test_every_delta_comes_out_exactly_once(name):
    chunks = encode(RUNS[name])
    for kind, ours in (("text-delta", TextDelta), ("reasoning-delta", ReasoningDelta)):
        said = [event.text for event in RUNS[name] if isinstance(event, ours)]
        assert [chunk["delta"] for chunk in of(chunks, kind)] == said
    typed = [event for event in RUNS[name] if isinstance(event, ToolCallDelta)]
    assert len(of(chunks, "tool-input-delta")) == len(typed)


@pytest.mark.parametrize("name", RUNS)
def test_every_chunk_is_json_and_what_begins_ends(name):
    chunks = encode(RUNS[name])
    assert json.loads(json.dumps(chunks, allow_nan=False)) == chunks
    for kind in ("text", "reasoning"):
        starts = [chunk["id"] for chunk in of(chunks, f"{kind}-start")]
        assert sorted(chunk["id"] for chunk in of(chunks, f"{kind}-end")) == sorted(starts)
        assert len(set(starts)) == len(starts)
    calls = {chunk["toolCallId"] for chunk in of(chunks, "tool-input-start")}
    ends = [*of(chunks, "tool-input-available"), *of(chunks, "tool-input-error")]
    assert calls <= {chunk["toolCallId"] for chunk in ends}


def test_every_class_of_event_has_its_treatment():
    assert set(vercel.VercelEncoder._METHODS) == event_classes()


@pytest.mark.parametrize("name", RUNS)
def test_no_step_begins_while_the_arguments_of_a_call_come(name):
    # The AI SDK looks for the part of a delta in the newest step only.
    writing = set()
    for chunk in encode(RUNS[name]):
        if chunk["type"] == "tool-input-start":
            writing.add(chunk["toolCallId"])
        if chunk["type"] in {"tool-input-available", "tool-input-error"}:
            writing.discard(chunk["toolCallId"])
        assert not (chunk["type"] == "start-step" and writing)


def test_parallel_subagents_share_a_step():
    chunks = encode(RUNS["interleaved"])
    assert kinds(chunks).count("start-step") == kinds(chunks).count("finish-step") == 3


def test_blocks_and_calls_of_a_subgraph_say_where_they_come_from():
    chunks = encode(RUNS["interleaved"])
    about = {"langchain": {"namespace": ["tools:a", "left:1"], "node": "model"}}
    assert of(chunks, "text-start")[0]["providerMetadata"] == about
    inputs = {
        c["toolCallId"]: c.get("providerMetadata") for c in of(chunks, "tool-input-available")
    }
    assert (inputs["call_l"], inputs["call_a"]) == (about, None)


def test_an_invalid_call_is_an_error_with_its_text():
    (error,) = of(encode(RUNS["invalid"]), "tool-input-error")
    assert error == {
        "type": "tool-input-error",
        "toolCallId": "call_1",
        "toolName": "write",
        "input": '{"path": "a.py", "text": "half',
        "errorText": "Cut off.",
    }


def test_a_call_that_the_end_of_the_run_cuts_is_an_error_with_its_text():
    (error,) = of(encode(RUNS["stopped"]), "tool-input-error")
    assert error["input"] == '{"path": "a'
    assert "stopped" in error["errorText"]


def test_what_a_middleware_answers_to_an_invalid_call_replaces_the_error():
    (error,) = of(encode(RUNS["invalid and answered"]), "tool-output-error")
    assert error["errorText"] == "Send it again, smaller."


def test_tools_whose_call_was_not_seen_are_shown():
    assert kinds(encode(RUNS["unheard calls"])) == [
        *("start", "start-step"),
        *("tool-input-available", "tool-output-available"),
        *("tool-input-available", "tool-output-error"),
        *("finish-step", "finish"),
    ]


def test_late_and_repeated_ids_lead_to_their_calls():
    chunks = encode(RUNS["late ids, ids used twice"])
    starts = [chunk["toolCallId"] for chunk in of(chunks, "tool-input-start")]
    assert [chunk["toolCallId"] for chunk in of(chunks, "tool-output-available")] == starts
    assert len(set(starts)) == 2


def test_a_result_is_data():
    content = [{"type": "text", "text": "a"}, {1, 2}]
    (output,) = of(encode([ToolFinished(content, **tool("c"))]), "tool-output-available")
    assert output["output"] == [{"type": "text", "text": "a"}, [1, 2]]


def test_the_artifact_of_a_tool_stays_with_the_program():
    chunks = encode([ToolFinished("x", {"secret": 1}, **tool("c"))])
    assert "secret" not in json.dumps(chunks)


def test_raw_control_characters_become_strict_json():
    chunks = of(encode(RUNS["raw control characters"]), "tool-input-delta")
    text = "".join(chunk["inputTextDelta"] for chunk in chunks)
    assert json.loads(text) == {"text": 'one\ntwo"\tthree\\'}


def test_progress_is_transient_and_names_the_call():
    (progress,) = of(encode([ToolProgress(float("nan"), **tool("c"))]), "data-tool-progress")
    data = {"toolCallId": "c", "toolName": "write", "data": None}
    assert progress == {"type": "data-tool-progress", "data": data, "transient": True}


def test_an_interrupt_is_kept_in_the_message():
    (asked,) = of(encode(RUNS["interrupted"]), "data-interrupt")
    assert asked["id"] == "i1"
    assert asked["data"]["value"]["options"] == ["yes", "no"]
    assert "transient" not in asked


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("stop", "stop"),
        ("tool_calls", "tool-calls"),
        ("length", "length"),
        ("model_context_window_exceeded", "length"),
        ("sensitive", "content-filter"),
        ("network_error", "other"),
        (None, "other"),
    ],
)
def test_the_finish_reason_is_one_that_every_version_knows(ours, theirs):
    (finish,) = of(encode([*Said().end(ours), RunFinished({})]), "finish")
    assert finish["finishReason"] == theirs


def test_the_finish_reason_is_of_the_graph_not_of_its_subgraphs():
    ends = [*Said("a").end("length"), *Said("b", ("sub:1",)).end("stop"), RunFinished({})]
    assert encode(ends)[-1]["finishReason"] == "length"


def test_usage_is_summed_in_the_metadata_of_the_message():
    (finish,) = of(encode(RUNS["full"]), "finish")
    assert finish["messageMetadata"]["usage"] == {
        "inputTokens": 20,
        "outputTokens": 8,
        "totalTokens": 28,
        "reasoningTokens": 6,
        "cachedInputTokens": 12,
    }


def test_counts_that_a_server_did_not_give_are_left_out():
    usage = {key: USAGE[key] for key in ("input_tokens", "output_tokens", "total_tokens")}
    (finish,) = of(encode([*Said().end(usage=usage), RunFinished({})]), "finish")
    assert set(finish["messageMetadata"]["usage"]) == {"inputTokens", "outputTokens", "totalTokens"}


@pytest.mark.parametrize(
    ("run", "last"),
    [
        ("full", "finish"),
        ("interrupted", "finish"),
        ("bare", "finish"),
        ("failed", "error"),
        ("stopped", "abort"),
        ("stopped before anything", "abort"),
    ],
)
def test_how_a_message_ends(run, last):
    assert kinds(encode(RUNS[run]))[-1] == last


@pytest.mark.parametrize(
    ("run", "text"),
    [
        ("failed", "GLM is overloaded: try again later."),
        ("failed by a stranger", "An error occurred."),
    ],
)
def test_a_browser_is_told_what_it_may_know_of_an_error(run, text):
    assert encode(RUNS[run])[-1] == {"type": "error", "errorText": text}


def test_on_error_says_it_otherwise():
    chunks = encode(RUNS["failed by a stranger"], on_error=lambda error: type(error).__name__)
    assert chunks[-1]["errorText"] == "ValueError"


def test_nothing_comes_after_the_end():
    encoder = vercel.VercelEncoder()
    encoder.feed(RunFinished({}))
    assert encoder.feed(TextDelta("late")) == encoder.fail(ValueError()) == encoder.close() == []


def test_the_client_may_choose_the_id_of_the_message():
    assert next(vercel.encode([])) == {"type": "start"}
    assert next(vercel.encode([], message_id="m")) == {"type": "start", "messageId": "m"}


@pytest.mark.parametrize("name", RUNS)
def test_a_redacted_run_has_the_same_shape(name):
    assert kinds(encode(redacted(RUNS[name]))) == kinds(encode(RUNS[name]))


def test_without_the_fragments_the_arguments_come_with_the_end():
    chunks = encode([event for event in RUNS["full"] if not isinstance(event, ToolCallDelta)])
    finished = [event for event in RUNS["full"] if isinstance(event, ToolCallFinished)]
    inputs = [chunk["input"] for chunk in of(chunks, "tool-input-available")]
    assert inputs == [event.arguments for event in finished]


def test_a_failed_tool_says_what_the_model_is_told():
    (error,) = of(encode([ToolFailed("no", **tool("c"))]), "tool-output-error")
    assert error == {"type": "tool-output-error", "toolCallId": "c", "errorText": "no"}


def test_what_a_tool_raised_is_not_told():
    raised = [ToolFailed("SELECT hunter2", raised=True, **tool("c"))]
    (error,) = of(encode(raised), "tool-output-error")
    assert error["errorText"] == "An error occurred."
    (error,) = of(encode(raised, on_error=str), "tool-output-error")
    assert error["errorText"] == "SELECT hunter2"


# --- server-sent events ---

FAILURES = [
    pytest.param([TextDelta("a")], id="untold"),
    pytest.param([TextDelta("a"), RunFailed(KeyError("x"))], id="told by RunFailed"),
]
TOLD = ["start", "start-step", "text-start", "text-delta", "text-end", "error"]


def frame_kinds(frames):
    assert all(frame.startswith("data: ") and frame.endswith("\n\n") for frame in frames)
    return [json.loads(frame.removeprefix("data: "))["type"] for frame in frames]


def test_a_frame_for_each_chunk_then_done():
    *frames, done = vercel.encode_sse(RUNS["full"])
    assert frame_kinds(frames) == kinds(encode(RUNS["full"]))
    assert done == "data: [DONE]\n\n"


def test_a_frame_is_one_line_of_utf8():
    half = b"\xed\xa0\xbd".decode("utf-8", "surrogatepass")
    frame = vercel.to_sse({"type": "text-delta", "id": "1", "delta": f"你\r\n{half}"})
    assert frame == 'data: {"type":"text-delta","id":"1","delta":"你\\r\\n\ufffd"}\n\n'


def test_the_headers_name_the_protocol():
    assert vercel.HEADERS["x-vercel-ai-ui-message-stream"] == "v1"
    assert vercel.HEADERS["content-type"] == "text/event-stream"


@pytest.mark.parametrize("events", FAILURES)
def test_a_stream_that_raises_is_told_once_then_raised(events):
    source = Source(*events, error=KeyError("x"))
    (*frames, done), error = taken(vercel.encode_sse(source))
    assert isinstance(error, KeyError)
    assert (frame_kinds(frames), done) == (TOLD, vercel.DONE)


@pytest.mark.parametrize("events", FAILURES)
async def test_an_async_stream_that_raises_is_told_once_then_raised(events):
    source = Source(*events, error=KeyError("x"))
    (*frames, done), error = await ataken(vercel.aencode_sse(source))
    assert isinstance(error, KeyError)
    assert (frame_kinds(frames), done) == (TOLD, vercel.DONE)


def test_the_message_starts_before_its_first_event():
    source = Source(TextDelta("a"))
    stream = vercel.encode(source)
    assert next(stream) == {"type": "start"}
    assert not source.began


@pytest.mark.parametrize("encode", [vercel.encode, vercel.encode_sse])
def test_closing_closes_the_source(encode):
    source = Source(TextDelta("a"), TextDelta("b"))
    events = iter(source)  # held, or it were closed by the collector
    stream = encode(events)
    next(stream), next(stream)
    stream.close()
    assert source.closed


@pytest.mark.parametrize("encode", [vercel.aencode, vercel.aencode_sse])
async def test_closing_closes_the_async_source(encode):
    source = Source(TextDelta("a"), TextDelta("b"))
    events = aiter(source)  # held, or it were closed by the collector
    stream = encode(events)
    await anext(stream), await anext(stream)
    await stream.aclose()
    assert source.closed


async def test_sync_and_async_say_the_same():
    source = Source(*RUNS["full"])
    whole = [chunk async for chunk in vercel.aencode(source, message_id="m")]
    assert whole == encode(RUNS["full"])
    frames = [frame async for frame in vercel.aencode_sse(source, message_id="m")]
    assert frames == list(vercel.encode_sse(RUNS["full"], message_id="m"))
