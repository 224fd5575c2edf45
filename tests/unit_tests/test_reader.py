"""Bodies go into the readers in any split; outputs, typed errors and warnings come out."""

import itertools
import json
import logging
from types import SimpleNamespace

import pytest

from langchain_glm import _reader, raw_deltas
from langchain_glm._message import ChunkWriter, EventWriter
from langchain_glm._reader import StreamReader, WholeReader
from langchain_glm.errors import (
    GLMInvalidRequestError,
    GLMMalformedResponseError,
    GLMMalformedStreamError,
    GLMOverloadedError,
    GLMRateLimitError,
    GLMServerError,
    GLMStreamInterruptedError,
    GLMStreamStalledError,
)

RESPONSE = SimpleNamespace(
    status_code=200, headers={"x-request-id": "q0"}, request=SimpleNamespace(url="http://glm")
)
DONE = "data: [DONE]\n\n"


def frame(delta=None, finish=None, **fields):
    return {"id": "r1", "choices": [{"delta": delta, "finish_reason": finish}], **fields}


def sse(*frames):
    """The frames as events of a stream; a str is there as it stands."""
    return "".join(
        item if isinstance(item, str) else f"data: {json.dumps(item, ensure_ascii=False)}\n\n"
        for item in frames
    )


def call(arguments, index=0, id_=None, name=None):
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": id_, "function": function}]}


def stream_reader(writer=None, **options):
    return StreamReader(writer or ChunkWriter(), model="glm-4.7", response=RESPONSE, **options)


def feed(reader, *pieces):
    """All that the reader gives for these pieces of a body, its end included."""
    written = []
    for piece in pieces:
        written += reader.feed(piece if isinstance(piece, bytes) else piece.encode())
        reader.listen()
    written += reader.close()
    reader.listen()
    return written


def text_of(chunks):
    return "".join(chunk.message.text for chunk in chunks)


TEXT = [frame({"role": "assistant", "content": "你好"}), frame({"content": ", world"})]
STOP = frame({"content": ""}, "stop")
ANSWER = [
    ": comment\r\n\r\n",
    frame({"reasoning_content": "Hm"}),
    *TEXT,
    frame(call('{"path"', 0, "c1", "write")),
    frame(call(': "é.py"}')),
    frame(call("{}", 1, "c2", "now")),
    frame({}, "tool_calls"),
    {"id": "r1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}},
    DONE,
]
BODY = sse(*ANSWER).encode()

writers = pytest.mark.parametrize(
    "make_writer",
    [ChunkWriter, lambda: EventWriter("lc_1")],
    ids=["chunks", "events"],
)


# Any split


@writers
def test_a_stream_byte_by_byte(make_writer):
    whole = feed(stream_reader(make_writer(), keep_raw=True), BODY)
    pieces = (BODY[at : at + 1] for at in range(len(BODY)))
    assert feed(stream_reader(make_writer(), keep_raw=True), *pieces) == whole
    assert len(whole) > 5


@writers
def test_a_stream_cut_in_two_at_every_position(make_writer):
    whole = feed(stream_reader(make_writer()), BODY)
    for at in range(len(BODY)):
        assert feed(stream_reader(make_writer()), BODY[:at], BODY[at:]) == whole, at


def test_each_fragment_is_given_with_the_byte_that_completes_it():
    reader = stream_reader()
    *before, last = sse(TEXT[0]).encode()
    assert reader.feed(bytes(before)) == []
    assert text_of(reader.feed(bytes([last]))) == "你好"
    assert not reader.done


def test_the_end_is_given_with_done():
    reader = stream_reader()
    reader.feed(sse(*TEXT, STOP).encode())
    assert not reader.done
    [last] = reader.feed(DONE.encode())
    assert last.message.chunk_position == "last"
    assert reader.done
    assert reader.close() == []


def test_a_stream_that_ends_anywhere_gives_all_of_the_answer_or_a_typed_error():
    whole = feed(stream_reader(), BODY)
    needed = BODY.index(b'"tool_calls"}]}\n') + len(b'"tool_calls"}]}')  # the finish reason
    for at in range(len(BODY)):
        try:
            given = feed(stream_reader(), BODY[:at])
        except GLMStreamInterruptedError:
            continue
        assert at >= needed
        assert given[:-1] == whole[:-1], at
        assert given[-1].generation_info["finish_reason"] == "tool_calls"


# How a stream ends


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("data: [DONE]\n\n", id="done"),
        pytest.param("data:[DONE]\n\n", id="done_without_space"),
        pytest.param("data: [DONE]\r\n\r\n", id="done_crlf"),
        pytest.param("data: [DONE]\n", id="done_without_blank_line"),
        pytest.param("data: [DONE]", id="done_without_line_end"),
        pytest.param("data: [DO", id="done_cut"),
        pytest.param("data:", id="done_cut_early"),
        pytest.param("da", id="done_cut_in_the_field_name"),
        pytest.param("", id="nothing"),
        pytest.param(": bye\n\n", id="comment"),
        pytest.param(DONE + DONE, id="done_twice"),
        pytest.param(DONE + sse(frame({"content": "more"})), id="frames_after_done"),
        pytest.param(DONE + "<html>", id="rubbish_after_done"),
        pytest.param(DONE + "data: {", id="half_a_frame_after_done"),
    ],
)
def test_an_answer_with_a_finish_reason(end):
    reader = stream_reader()
    chunks = feed(reader, sse(*TEXT, STOP) + end)
    assert text_of(chunks) == "你好, world"
    assert [chunk.message.chunk_position for chunk in chunks] == [None, None, "last"]
    assert chunks[-1].generation_info["finish_reason"] == "stop"
    assert reader.done


def test_done_without_a_finish_reason_is_an_end():
    chunks = feed(stream_reader(), sse(*TEXT, DONE))
    assert text_of(chunks) == "你好, world"
    assert "finish_reason" not in chunks[-1].generation_info


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("", id="after_a_frame"),
        pytest.param('data: {"id":"r1","choi', id="inside_a_frame"),
        pytest.param("data: [DO", id="inside_done"),
        pytest.param('data: {"error":{"co', id="inside_an_error"),
        pytest.param("dat", id="inside_the_field_name"),
    ],
)
def test_neither_a_finish_reason_nor_done(end):
    reader = stream_reader()
    given = reader.feed(sse(*TEXT).encode() + end.encode())
    assert text_of(given) == "你好, world"
    with pytest.raises(GLMStreamInterruptedError, match="neither a finish reason nor") as caught:
        reader.close()
    assert caught.value.request is RESPONSE.request
    assert caught.value.is_retryable
    assert reader.partial().text == "你好, world"
    assert not reader.done


def test_the_last_frame_counts_without_its_blank_line():
    usage = {"id": "r1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}
    chunks = feed(stream_reader(), sse(*TEXT, STOP) + f"data: {json.dumps(usage)}")
    assert chunks[-1].message.usage_metadata["output_tokens"] == 9


def test_half_a_frame_after_the_finish_reason_is_not_passed_over():
    with pytest.raises(GLMStreamInterruptedError):
        feed(stream_reader(), sse(*TEXT, STOP) + 'data: {"id":"r1","choices":[],"usa')


# Inference that failed


FAILED = frame({"content": ""}, "network_error")
USAGE = {"id": "r1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}


@writers
@pytest.mark.parametrize(
    ("end", "tokens"),
    [
        pytest.param([FAILED, DONE], None, id="done"),
        pytest.param([FAILED], None, id="end_of_the_body"),
        pytest.param([{**FAILED, "usage": USAGE["usage"]}, DONE], 12, id="usage_with_it"),
        pytest.param([FAILED, USAGE, DONE], 12, id="usage_after_it"),
        pytest.param([FAILED, STOP, USAGE, DONE], 12, id="then_stop"),
    ],
)
def test_inference_that_failed_is_an_error_at_the_end(make_writer, end, tokens):
    reader = stream_reader(make_writer())
    assert reader.feed(sse(*TEXT).encode())
    reader.listen()
    with pytest.raises(GLMServerError) as caught:
        feed(reader, sse(*end))
    assert not reader.done
    error = caught.value
    assert (error.code, error.request_id, error.is_retryable) == ("network_error", "q0", True)
    assert (error.partial.text, error.partial.response_metadata["finish_reason"]) == (
        "你好, world",
        "network_error",
    )
    assert (error.partial.usage_metadata or {}).get("total_tokens") == tokens


def test_inference_that_failed_is_an_error_of_a_whole_answer():
    usage = {"prompt_tokens": 3, "completion_tokens": 9}
    body = body_of(message_choice("Hi", "network_error"), usage=usage, request_id="q1")
    with pytest.raises(GLMServerError) as caught:
        feed(whole_reader(keep_raw=True), body)
    error = caught.value
    assert (error.code, error.request_id, error.status_code) == ("network_error", "q1", 200)
    assert (error.partial.text, error.partial.usage_metadata["total_tokens"]) == ("Hi", 12)
    assert error.partial.additional_kwargs == {"raw_response": [body]}


# Errors in the stream


@pytest.mark.parametrize(
    ("event", "error", "code"),
    [
        pytest.param(
            'data: {"error":{"code":"1302","message":"slow down"}}\n\n',
            GLMRateLimitError,
            "1302",
            id="data",
        ),
        pytest.param(
            'event: error\ndata: {"error":{"code":"1305","message":"slow down"}}\n\n',
            GLMOverloadedError,
            "1305",
            id="event_error",
        ),
        pytest.param(
            'data: {"error":{"message":"slow down","type":"BadRequestError","param":null,'
            '"code":400}}\n\ndata: [DONE]\n\n',
            GLMInvalidRequestError,
            "400",
            id="vllm",
        ),
        pytest.param(
            'data: {"error":{"message":"slow down","type":"InternalServerError","code":500}}\n\n'
            'data: {"id":"r1","choices":[],"usage":{}}\n\ndata: [DONE]\n\n',
            GLMServerError,
            "500",
            id="sglang",
        ),
        pytest.param(
            'data: {"code":"1302","message":"slow down"}\n\n',
            GLMRateLimitError,
            "1302",
            id="top_level",
        ),
        pytest.param(
            'data: {"error":{"code":"1302","message":"slow down"},"choices":[{"delta":{},'
            '"finish_reason":"error"}]}\n\n',
            GLMRateLimitError,
            "1302",
            id="beside_choices",
        ),
        pytest.param('data: {"error":"slow down"}\n\n', GLMServerError, None, id="a_text"),
        pytest.param(
            '{"error":{"code":"1302","message":"slow down"}}', GLMRateLimitError, "1302", id="bare"
        ),
        pytest.param(
            '{\n  "error": {\n    "code": "1302",\n    "message": "slow down"\n  }\n}\n',
            GLMRateLimitError,
            "1302",
            id="bare_over_lines",
        ),
        pytest.param(
            'data: {"error":{"code":"1302","message":"slow down"}}',
            GLMRateLimitError,
            "1302",
            id="last_line_without_end",
        ),
    ],
)
@pytest.mark.parametrize(
    ("before", "partial"), [("", None), (sse(*TEXT), "你好, world")], ids=["first", "after_text"]
)
def test_an_error_in_the_stream(before, partial, event, error, code):
    reader = stream_reader()
    with pytest.raises(error, match="slow down") as caught:
        feed(reader, before, event)
    assert type(caught.value) is error
    assert (caught.value.code, caught.value.status_code) == (code, 200)
    assert caught.value.request is RESPONSE.request
    assert partial == (reader.partial() and reader.partial().text)
    assert not reader.done


def test_a_null_error_is_none():
    assert text_of(feed(stream_reader(), sse(frame({"content": "Hi"}, "stop", error=None)))) == "Hi"


def test_a_code_beside_choices_is_no_error():
    assert text_of(feed(stream_reader(), sse(frame({"content": "Hi"}, "stop", code=0)))) == "Hi"


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ('data: {"error":{"code":"1302","message":"slow down"}}\n\n', GLMRateLimitError),
        ("data: {\n\n", GLMMalformedStreamError),
    ],
)
def test_what_came_with_an_error_is_given_out_before_it(event, error):
    reader = stream_reader()
    assert text_of(reader.feed((sse(*TEXT) + event).encode())) == "你好, world"
    with pytest.raises(error):
        reader.listen()
    assert not reader.done


def test_what_came_with_the_end_is_given_out_before_its_error():
    reader = stream_reader()
    reader.feed(sse(TEXT[0]).encode() + f"data: {json.dumps(TEXT[1])}".encode())
    assert text_of(reader.close()) == ", world"
    with pytest.raises(GLMStreamInterruptedError):
        reader.listen()


# Broken streams


@pytest.mark.parametrize(
    ("event", "because"),
    [
        pytest.param(
            'data: {"id":"A","choices":[{"delta":{"roledata: {"id":"B","choices":[{"delta":{}}]}',
            "delimiter",
            id="cut_and_spliced",
        ),
        pytest.param('data: {"id":"A","choices":[', "Expecting value", id="cut"),
        pytest.param("data: hello", "Expecting value", id="no_json"),
        pytest.param("data: [1]", "it is of type list", id="a_list"),
        pytest.param("data: null", "it is of type NoneType", id="null"),
        pytest.param("data:", "Expecting value", id="empty"),
        pytest.param(b'data: {"id":"\xff"}', "invalid start byte", id="no_utf_8"),
        pytest.param("data: " + "[" * 100_000, "nested too deep", id="nested_too_deep"),
    ],
)
def test_a_broken_frame(event, because):
    reader = stream_reader()
    reader.feed(sse(*TEXT).encode())
    event = event if isinstance(event, bytes) else event.encode()
    with pytest.raises(GLMMalformedStreamError, match=rf"is broken \(.*{because}") as caught:
        reader.feed(event + b"\n\n" + sse(STOP, DONE).encode())
    assert event[6:30].decode(errors="replace") in str(caught.value)
    assert len(str(caught.value)) < 500
    assert caught.value.is_retryable
    assert caught.value.request is RESPONSE.request
    assert reader.partial().text == "你好, world"


WRONG_SHAPES = {
    "choices_a_text": {"choices": "x"},
    "choices_an_object": {"choices": {"a": 1}},
    "choice_null": {"choices": [None]},
    "delta_a_text": {"choices": [{"delta": "x"}]},
    "tool_calls_an_object": frame({"tool_calls": {"a": 1}}),
    "tool_call_a_text": frame({"tool_calls": ["x"]}),
    "function_a_text": frame({"tool_calls": [{"function": "x"}]}),
    "name_a_number": frame({"tool_calls": [{"function": {"name": 5}}]}),
    "usage_a_number": frame({}, usage=5),
}


@pytest.mark.parametrize("wrong", WRONG_SHAPES.values(), ids=WRONG_SHAPES)
def test_a_frame_of_another_shape(wrong):
    reader = stream_reader()
    reader.feed(sse(*TEXT).encode())
    with pytest.raises(GLMMalformedStreamError, match="is broken"):
        reader.feed(sse(wrong).encode())


@pytest.mark.parametrize("wrong", WRONG_SHAPES.values(), ids=WRONG_SHAPES)
def test_a_whole_answer_of_another_shape(wrong):
    with pytest.raises(GLMMalformedResponseError, match="not a chat completion"):
        feed(whole_reader(), json.dumps(wrong).replace('"delta"', '"message"'))


def test_a_broken_frame_before_anything_else():
    reader = stream_reader()
    with pytest.raises(GLMMalformedStreamError, match="is broken"):
        reader.feed(b"data: {\n\n")
    assert reader.partial() is None


def test_an_answer_that_starts_again():
    reader = stream_reader()
    reader.feed(sse(*TEXT).encode())
    with pytest.raises(GLMMalformedStreamError, match="started its answer again"):
        reader.feed(sse({**TEXT[0], "id": "r2"}).encode())
    assert reader.partial().text == "你好, world"


@pytest.mark.parametrize("end", [sse(STOP, DONE), sse(STOP), ""], ids=["done", "stop", "nothing"])
@pytest.mark.parametrize("stray", ["<html>oops</html>", "Internal Server Error"])
def test_a_stray_line_in_the_middle(stray, end):
    reader = stream_reader()
    with pytest.raises(GLMMalformedStreamError, match="broken") as caught:
        feed(reader, sse(*TEXT), stray + "\n\n", end)
    assert stray in str(caught.value)
    assert reader.partial().text == "你好, world"


# Something else than a stream


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps({**STOP, "object": "chat.completion"}), id="one_line"),
        pytest.param(json.dumps(STOP, indent=2) + "\n", id="over_lines"),
        pytest.param(
            json.dumps(STOP, indent=2).replace("\n", "\r\n\r\n"), id="crlf_and_blank_lines"
        ),
    ],
)
def test_a_whole_completion_where_a_stream_was_asked(body):
    body = body.replace('"content": ""', '"content": "Hi"').replace("delta", "message")
    chunks = feed(stream_reader(), body)
    assert text_of(chunks) == "Hi"
    assert [chunk.message.chunk_position for chunk in chunks] == [None, "last"]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        pytest.param("<!DOCTYPE html>\n<h1>Welcome</h1>", "<!DOCTYPE html>", id="html"),
        pytest.param("OK", "It begins: OK", id="text"),
        pytest.param('{"status": "ok"}', r'It begins: \{"status": "ok"\}', id="other_json"),
        pytest.param("[]", "it is of type list", id="json_list"),
        pytest.param(DONE, "no frame had any choices", id="done_only"),
        pytest.param("<html>\n\n" + DONE, "<html>", id="html_then_done"),
        pytest.param(
            sse({"id": "r1", "choices": None}, {"id": "r1", "choices": None}, DONE),
            "no frame had any choices",
            id="choices_null_for_ever",
        ),
        pytest.param(
            sse({"id": "r1", "choices": []}, {"choices": [], "usage": {"total_tokens": 1}}),
            "no frame had any choices",
            id="choices_empty_for_ever",
        ),
    ],
)
def test_no_answer_at_all(body, match):
    reader = stream_reader()
    with pytest.raises(GLMMalformedResponseError, match=match) as caught:
        feed(reader, body)
    assert type(caught.value) is GLMMalformedResponseError
    assert not caught.value.is_retryable
    assert "base_url" in str(caught.value)
    assert (caught.value.status_code, caught.value.request_id) == (200, "q0")
    assert reader.partial() is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="nothing"),
        pytest.param(": ping\n\n: ping\n\n", id="comments_only"),
        pytest.param('data: {"id":"r1","cho', id="half_a_frame"),
        pytest.param("dat", id="half_a_field_name"),
    ],
)
def test_an_end_before_the_answer_began(body):
    reader = stream_reader()
    with pytest.raises(GLMStreamInterruptedError) as caught:
        feed(reader, body)
    assert caught.value.is_retryable
    assert reader.partial() is None


# Silence


@pytest.fixture
def clock(monkeypatch):
    """The reader's clock: `clock.now` is the time."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(_reader, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def wait(reader, clock, seconds, data):
    """The bytes arrive after so many seconds of waiting for them."""
    reader.listen()
    clock.now += seconds
    return reader.feed(data)


PING = b": ping\n\n"


def test_comments_do_not_break_the_silence(clock):
    reader = stream_reader(silence=5)
    wait(reader, clock, 4, sse(*TEXT).encode())
    assert wait(reader, clock, 3, PING) == []
    assert wait(reader, clock, 2, PING) == []
    with pytest.raises(GLMStreamStalledError, match="silent for 5 s") as caught:
        wait(reader, clock, 0.1, PING)
    assert caught.value.timeout_s == 5
    assert caught.value.request is RESPONSE.request
    assert reader.partial().text == "你好, world"


def test_half_frames_do_not_break_the_silence(clock):
    with pytest.raises(GLMStreamStalledError):
        wait(stream_reader(silence=5), clock, 6, b"data: {")


def test_frames_break_the_silence(clock):
    reader = stream_reader(silence=5)
    for item in (*TEXT, {"choices": []}, *TEXT, STOP):
        wait(reader, clock, 4, PING)
        wait(reader, clock, 4, sse(item).encode())
    assert reader.partial().text == "你好, world" * 2


def test_what_the_caller_does_meanwhile_is_no_silence(clock):
    reader = stream_reader(silence=5)
    for _ in range(3):
        clock.now += 60
        wait(reader, clock, 1, PING)


def test_a_frame_that_comes_late_is_still_taken(clock):
    assert text_of(wait(stream_reader(silence=5), clock, 60, sse(*TEXT).encode())) == "你好, world"


@pytest.mark.parametrize("silence", [None, 0])
def test_silence_without_a_limit(clock, silence):
    assert wait(stream_reader(silence=silence), clock, 1_000_000, PING) == []


# Raw frames


@writers
def test_every_frame_is_kept_in_order_and_untouched(make_writer):
    frames = [
        '{"id":"r1","choices":null}',
        '{ "id":"r1", "choices":[{"delta":{"content":"\\u00e9é","x":1e3}}] }',
        '{"id":"r1","choices":[{"delta":{},"finish_reason":"stop"}]}',
        '{"id":"r1","choices":[],"usage":{"prompt_tokens":1}}',
    ]
    body = "".join(f"data: {item}\r\n\r\n" for item in frames) + DONE
    written = feed(stream_reader(make_writer(), keep_raw=True), body)
    holders = [getattr(item, "message", None) or SimpleNamespace(**item) for item in written]
    kept = [getattr(holder, "additional_kwargs", {}).get("raw_response", []) for holder in holders]
    assert list(itertools.chain(*kept)) == frames


def test_no_frame_is_kept_unasked():
    assert all(
        "raw_response" not in chunk.message.additional_kwargs
        for chunk in feed(stream_reader(), BODY)
    )


# What had arrived


def test_what_had_arrived_keeps_its_frames():
    frames = ['{"id":"r1","choices":[]}', '{"choices":[{"delta":{"content":"Hi"}}]}', '{"choi']
    reader = stream_reader(keep_raw=True)
    assert reader.partial() is None
    reader.feed(f"data: {frames[0]}\n\n".encode())
    assert reader.partial().additional_kwargs["raw_response"] == frames[:1]
    with pytest.raises(GLMMalformedStreamError):
        feed(reader, "".join(f"data: {item}\n\n" for item in frames[1:]))
    assert reader.partial().text == "Hi"
    assert reader.partial().additional_kwargs["raw_response"] == frames


def test_nothing_had_arrived():
    reader = stream_reader()
    assert reader.partial() is None
    reader.feed(b': ping\n\ndata: {"id":"r1","choices":[]}\n\ndata: {"choi')
    assert reader.partial() is None


def test_what_had_arrived():
    reader = stream_reader()
    reader.feed(sse(*ANSWER[:6]).encode())
    partial = reader.partial()
    assert partial.text == "你好, world"
    assert partial.additional_kwargs == {"reasoning_content": "Hm"}
    assert partial.tool_calls == []
    [cut] = partial.invalid_tool_calls
    assert (cut["id"], cut["name"], cut["args"]) == ("c1", "write", '{"path": "é.py"}')
    assert "the stream broke off" in cut["error"]


# Cut calls


CUT_CALL = [frame(call('{"path": "a.py"}', 0, "c1", "write_file")), frame({}, "length")]


@writers
def test_a_cut_call_is_logged(make_writer, caplog):
    feed(stream_reader(make_writer()), sse(*CUT_CALL))
    [record] = caplog.records
    assert (record.name, record.levelno) == ("langchain_glm._reader", logging.WARNING)
    for named in ("'write_file'", "'length'", "max_tokens"):
        assert named in record.getMessage()
    assert "a.py" not in record.getMessage()


def test_each_cut_call_is_logged(caplog):
    frames = [frame(call('{"a"', 0, "c1", "one")), frame(call("{", 1, "c2", "two"), "sensitive")]
    feed(stream_reader(), sse(*frames))
    assert [record.args[:2] for record in caplog.records] == [
        ("one", "sensitive"),
        ("two", "sensitive"),
    ]
    assert all("rephrase" in record.getMessage() for record in caplog.records)


def test_a_call_that_was_over_before_the_cut_is_not_logged(caplog):
    frames = [frame(call("{}", 0, "c1", "one")), frame(call("{}", 1, "c2", "two"), "length")]
    feed(stream_reader(), sse(*frames))
    assert [record.args[:2] for record in caplog.records] == [("two", "length")]


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(ANSWER, id="whole"),
        pytest.param([*TEXT, frame({}, "length")], id="cut_text"),
        pytest.param([frame(call("{", 0, "c1", "write")), frame({}, "tool_calls")], id="broken"),
    ],
)
def test_other_answers_are_not_logged(frames, caplog):
    feed(stream_reader(), sse(*frames))
    assert caplog.records == []


# Answers that come whole


def body_of(*choices, **fields):
    return json.dumps({"id": "r1", "choices": list(choices), **fields})


def message_choice(text="Hi", finish="stop", **fields):
    message = {"role": "assistant", "content": text, **fields}
    return {"index": 0, "finish_reason": finish, "message": message}


def whole_reader(**options):
    return WholeReader(model="glm-4.7", response=RESPONSE, **options)


def test_a_whole_answer_in_any_split():
    body = body_of(message_choice("你好"), usage={"prompt_tokens": 1}).encode()
    [generation] = feed(whole_reader(), body)
    assert generation.message.text == "你好"
    assert generation.generation_info == {"finish_reason": "stop"}
    assert generation.message.additional_kwargs == {}
    assert feed(whole_reader(), *(body[at : at + 1] for at in range(len(body)))) == [generation]


def test_nothing_is_given_before_the_end_of_a_whole_answer():
    reader = whole_reader()
    assert reader.feed(body_of(message_choice()).encode()) == []
    assert reader.partial() is None
    assert not reader.done


def test_a_code_or_a_null_error_in_a_whole_answer_is_no_error():
    [generation] = feed(whole_reader(), body_of(message_choice(), code=0, error=None))
    assert generation.text == "Hi"


def test_two_choices_are_two_generations():
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    first, second = feed(
        whole_reader(), body_of(message_choice("a"), message_choice("b", "length"), usage=usage)
    )
    assert (first.text, second.text) == ("a", "b")
    assert first.generation_info == {"finish_reason": "stop"}
    assert second.generation_info == {"finish_reason": "length"}


def test_headers_log_probabilities_and_raw_text_of_a_whole_answer():
    body = body_of({**message_choice(), "logprobs": {"content": []}})
    [generation] = feed(whole_reader(headers={"a": "b"}, keep_raw=True), body)
    assert generation.generation_info == {
        "finish_reason": "stop",
        "headers": {"a": "b"},
        "logprobs": {"content": []},
    }
    assert generation.message.additional_kwargs == {"raw_response": [body]}
    assert raw_deltas(generation.message) == [{"role": "assistant", "content": "Hi"}]


def test_the_calls_of_a_whole_answer(caplog):
    function = {"name": "write", "arguments": '{"path": "a.py"}'}
    calls = [{"id": "c1", "index": 0, "type": "function", "function": function}]
    [generation] = feed(whole_reader(), body_of(message_choice("", "tool_calls", tool_calls=calls)))
    [made] = generation.message.tool_calls
    assert (made["id"], made["name"], made["args"]) == ("c1", "write", {"path": "a.py"})
    assert caplog.records == []


def test_a_cut_call_of_a_whole_answer_is_invalid_and_logged(caplog):
    function = {"name": "write", "arguments": '{"path": "a.py"}'}
    calls = [{"id": "c1", "index": 0, "type": "function", "function": function}]
    [generation] = feed(whole_reader(), body_of(message_choice("", "length", tool_calls=calls)))
    assert generation.message.tool_calls == []
    assert generation.message.invalid_tool_calls[0]["args"] == '{"path": "a.py"}'
    assert [record.args[:2] for record in caplog.records] == [("write", "length")]


@pytest.mark.parametrize(
    ("body", "error", "code"),
    [
        pytest.param(
            '{"error":{"code":"1305","message":"busy"}}', GLMOverloadedError, "1305", id="error"
        ),
        pytest.param('{"code":"1302","message":"busy"}', GLMRateLimitError, "1302", id="top_level"),
        pytest.param('{"code":500,"msg":"busy","success":false}', GLMServerError, "500", id="msg"),
        pytest.param('{"error":"busy"}', GLMServerError, None, id="text"),
    ],
)
def test_an_error_under_http_200(body, error, code):
    with pytest.raises(error, match="busy") as caught:
        feed(whole_reader(), body)
    assert (caught.value.code, caught.value.status_code) == (code, 200)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        pytest.param("<html>Welcome</html>", "It begins: <html>Welcome", id="html"),
        pytest.param("", "Expecting value", id="empty"),
        pytest.param('{"id":"r1","choices":[{', "Expecting", id="cut"),
        pytest.param('{"status":"ok"}', "it has no choices", id="other_json"),
        pytest.param('{"choices":[]}', "it has no choices", id="choices_empty"),
        pytest.param('{"choices":null}', "it has no choices", id="choices_null"),
        pytest.param("[1]", "it is no JSON object", id="a_list"),
        pytest.param('"text"', "it is no JSON object", id="a_string"),
        pytest.param("[" * 100_000, "nested too deep", id="nested_too_deep"),
        pytest.param(b"\xff\xfe", "Expecting value", id="no_utf_8"),
        pytest.param(sse(*TEXT, STOP, DONE), "It begins: data: ", id="a_stream"),
    ],
)
def test_a_whole_answer_that_is_none(body, match):
    with pytest.raises(GLMMalformedResponseError, match=match) as caught:
        feed(whole_reader(), body)
    assert type(caught.value) is GLMMalformedResponseError
    assert not caught.value.is_retryable
    assert len(str(caught.value)) < 500
    assert caught.value.status_code == 200
