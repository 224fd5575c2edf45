"""Frames are read back with the package's own decoder and with the standard's line rules."""

import asyncio
import json
import re

import pytest
from event_examples import Source, ToldError, alisted_to_error, examples, listed_to_error

from langchain_glm._sse import SSEDecoder
from langchain_glm.streaming.encoders import sse
from langchain_glm.streaming.encoders.sse import DONE, HEARTBEAT, SSEEncoder, aencode, encode
from langchain_glm.streaming.events import (
    RunFailed,
    RunFinished,
    RunInterrupted,
    TextDelta,
    ToolProgress,
)

ONE, TWO, THREE = TextDelta("one"), TextDelta("two"), TextDelta("three")


def read(text):
    """The events in a stream, as a client has them: (id, event, data)."""
    frames = [frame for frame in text.split("\n\n") if frame and not frame.startswith(":")]
    return [
        tuple(re.findall(r"^(?:id|event|data): (.*)$", frame, re.MULTILINE)) for frame in frames
    ]


def numbers(frames):
    return [int(frame[4 : frame.index("\n")]) for frame in frames if frame != DONE]


async def listed(stream):
    return [frame async for frame in stream]


def test_a_frame_has_the_number_the_name_and_the_json():
    assert SSEEncoder().feed(TextDelta("a\n想", node="m")) == (
        "id: 1\nevent: text_delta\n"
        'data: {"type":"text_delta","text":"a\\n想","namespace":[],"node":"m","message_id":null}'
        "\n\n"
    )


@pytest.mark.parametrize(
    "event", [pytest.param(e, id=e.type) for e in examples("想 a\r\nb\n\n: c")]
)
def test_every_event_is_one_frame_that_every_decoder_reads(event):
    frame = SSEEncoder().feed(event).removesuffix(DONE)

    assert len(frame.splitlines()) == 4  # also where a library ends lines at U+2028
    assert SSEDecoder().feed(frame.encode()) == [sse.to_json(event).encode()]
    assert json.loads(sse.to_json(event)) == json.loads(json.dumps(event.to_dict()))


@pytest.mark.parametrize(
    "character", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\n", "\0"]
)
def test_no_character_ends_the_line(character):
    text = sse.to_json(TextDelta(f"a{character}b"))

    assert text.splitlines() == [text]
    assert json.loads(text)["text"] == f"a{character}b"


def test_half_a_surrogate_pair_has_bytes():
    text = sse.to_json(ToolProgress({"file": "caf\udce9"}, id="1", name="ls"))
    assert json.loads(text.encode())["data"] == {"file": "caf\ufffd"}


def test_numbers_that_json_does_not_know_are_null():
    text = sse.to_json(ToolProgress([float("nan"), float("inf"), 1.5], id="1", name="f"))
    assert json.loads(text)["data"] == [None, None, 1.5]


def test_the_time_is_given_when_asked_for():
    times = iter([12.34567, 13.0])
    frames = encode([ONE, TWO], SSEEncoder(clock=lambda: next(times)))
    data = [json.loads(data) for _, _, data in read("".join(frames))[:2]]
    assert [event["time"] for event in data] == [12.346, 13.0]
    assert "time" not in json.loads(sse.to_json(ONE))


@pytest.mark.parametrize(
    "last",
    [RunFinished({}), RunInterrupted([]), RunFailed(ToldError("no"))],
    ids=lambda event: event.type,
)
def test_the_end_of_a_run_ends_the_stream_once(last):
    encoder = SSEEncoder()
    frames = list(encode([ONE, last], encoder))
    assert [frame.count(DONE) for frame in frames] == [0, 1]
    assert frames[-1].endswith(DONE)
    assert encoder.close() == ""


@pytest.mark.parametrize("events", [[], [ONE, TWO]], ids=["nothing", "no run"])
def test_a_stream_without_a_run_ends_too(events):
    frames = list(encode(events))
    assert frames[-1] == DONE
    assert numbers(frames) == [*range(1, len(events) + 1)]


# Resuming


@pytest.mark.parametrize(
    ("seen", "rest"),
    [
        pytest.param(None, [5, 6, 7], id="nothing"),
        pytest.param("", [5, 6, 7], id="an empty header"),
        pytest.param("4", [5, 6, 7], id="the one before the first"),
        pytest.param("5", [6, 7], id="the first"),
        pytest.param("7", [], id="all"),
    ],
)
def test_a_client_that_comes_back_gets_the_rest(seen, rest):
    encoder = SSEEncoder(first_id=5, keep=10)
    sent = [encoder.feed(event) for event in (ONE, TWO, THREE)]

    assert numbers(encoder.after(seen)) == rest
    assert encoder.after(seen) == sent[3 - len(rest) :]
    encoder.close()
    assert encoder.after(seen) == [*sent[3 - len(rest) :], DONE]


def test_the_last_frame_of_a_run_is_kept_with_its_end():
    encoder = SSEEncoder(keep=10)
    sent = "".join(encode([ONE, RunFinished({})], encoder))
    assert "".join(encoder.after()) == sent
    assert encoder.after("2") == [DONE]


@pytest.mark.parametrize("seen", [None, "0", "1", "9", "-1", "1.5", "abc", "²"])
def test_frames_that_are_gone_or_never_were_are_an_error(seen):
    encoder = SSEEncoder(keep=2)
    for event in (ONE, TWO, THREE, ONE):
        encoder.feed(event)
    assert numbers(encoder.after("2")) == [3, 4]
    with pytest.raises(LookupError, match="not here"):
        encoder.after(seen)


def test_nothing_is_kept_unless_asked_for():
    encoder = SSEEncoder()
    encoder.feed(ONE)
    assert encoder.after("1") == []
    with pytest.raises(LookupError):
        encoder.after()


async def test_a_run_goes_on_while_its_client_is_away():
    """The recipe of the documentation: one task writes, any number of clients read."""
    gate, changed = asyncio.Event(), asyncio.Condition()
    encoder = SSEEncoder(keep=100)

    async def write():
        async for _ in aencode(Source(ONE, gate, TWO, RunFinished({})), encoder, heartbeat=None):
            async with changed:
                changed.notify_all()

    async def follow(last_event_id=None):
        while True:
            async with changed:
                while not (frames := encoder.after(last_event_id)):
                    await changed.wait()
            for frame in frames:
                yield frame
                if frame == DONE:
                    return
                last_event_id = str(numbers([frame])[0])

    run = asyncio.create_task(write())
    first = follow()
    assert read(await anext(first))[0][0] == "1"
    await first.aclose()
    gate.set()
    frames = await listed(follow("1"))
    assert (numbers(frames), frames[-1]) == ([2, 3], DONE)
    assert numbers(await listed(follow())) == [1, 2, 3]
    await run


# Errors and closing, sync


def test_an_error_comes_after_what_the_client_was_told():
    def source():
        yield ONE
        yield RunFailed(error)
        raise error

    error = ToldError("broken")
    frames, raised = listed_to_error(encode(source()))
    assert raised is error
    assert '"message":"broken"' in frames[1]
    assert [frame.count(DONE) for frame in frames] == [0, 1]


def test_an_error_that_nobody_told_leaves_the_stream_unfinished():
    def source():
        yield ONE
        raise ToldError("broken")

    [frame], raised = listed_to_error(encode(source()))
    assert str(raised) == "broken"
    assert DONE not in frame


def test_closing_closes_the_source():
    closed = []

    def source():
        try:
            yield ONE
            yield TWO
        finally:
            closed.append(True)

    events = source()
    stream = encode(events)
    next(stream)
    stream.close()
    assert closed == [True]


# Async


@pytest.mark.parametrize("heartbeat", [15.0, None], ids=["heartbeat", "no_heartbeat"])
async def test_async_makes_the_same_frames(heartbeat):
    events = examples("x")
    frames = await listed(aencode(Source(*events), heartbeat=heartbeat))
    assert frames == list(encode(events))


async def test_silence_is_filled_and_nothing_is_lost():
    gate = asyncio.Event()
    source = Source(ONE, gate, TWO)
    stream = aencode(source, heartbeat=0.01)

    assert numbers([await anext(stream)]) == [1]
    assert [await anext(stream) for _ in range(3)] == [HEARTBEAT] * 3
    gate.set()
    rest = [frame for frame in await listed(stream) if frame != HEARTBEAT]
    assert (numbers(rest), rest[-1]) == ([2], DONE)
    assert source.ended == "whole"


async def test_each_frame_ends_the_silence_before_it(monkeypatch):
    loop, timers = asyncio.get_running_loop(), []
    start = loop.call_later

    def call_later(seconds, *args, **kwargs):
        timers.append(start(seconds, *args, **kwargs))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", call_later)
    await listed(aencode(Source(ONE, TWO, THREE), heartbeat=30.0))
    assert timers
    assert all(timer.cancelled() for timer in timers)


async def test_heartbeats_go_into_the_frames_of_any_protocol():
    async def frames():
        yield "data: 1\n\n"
        await gate.wait()
        yield "data: 2\n\n"

    gate = asyncio.Event()
    stream = sse.heartbeats(frames(), 0.01)
    assert [await anext(stream), await anext(stream)] == ["data: 1\n\n", HEARTBEAT]
    gate.set()
    assert "data: 2\n\n" in await listed(stream)


def test_clients_skip_a_heartbeat():
    assert SSEDecoder().feed(HEARTBEAT.encode()) == []


@pytest.mark.parametrize("heartbeat", [0.01, 15.0, None])
async def test_async_an_error_comes_after_the_frames(heartbeat):
    error = ToldError("broken")
    source = Source(ONE, RunFailed(error), error)
    frames, raised = await alisted_to_error(aencode(source, heartbeat=heartbeat))
    assert raised is error
    assert [frame.count(DONE) for frame in frames] == [0, 1]


@pytest.mark.parametrize("heartbeat", [15.0, None])
@pytest.mark.parametrize("silent", [True, False], ids=["silent", "talking"])
async def test_async_closing_closes_the_source_at_once_and_leaves_no_task(heartbeat, silent):
    source = Source(ONE, asyncio.Event() if silent else TWO, TWO, THREE, ONE)
    stream = aencode(source, heartbeat=heartbeat)
    await anext(stream)
    await asyncio.sleep(0)
    await stream.aclose()
    assert source.ended in {"CancelledError", "GeneratorExit"}
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("heartbeat", [15.0, None])
async def test_async_cancelling_the_reader_cancels_the_source(heartbeat):
    source = Source(ONE, asyncio.Event())
    started = asyncio.Event()

    async def reader():
        async for _ in aencode(source, heartbeat=heartbeat):
            started.set()

    task = asyncio.create_task(reader())
    await started.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.ended == "CancelledError"
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_async_cancelling_at_once_closes_a_source_that_had_begun():
    source = Source(ONE, TWO, THREE)
    events = aiter(source)
    await anext(events)
    task = asyncio.create_task(anext(aencode(events)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.ended == "GeneratorExit"


async def test_async_a_source_that_fails_to_close_is_heard():
    async def source():
        try:
            yield ONE
            await asyncio.Event().wait()
        finally:
            raise ToldError("not closed")

    stream = aencode(source())
    await anext(stream)
    await asyncio.sleep(0)
    with pytest.raises(ToldError, match="not closed"):
        await stream.aclose()


async def test_async_the_source_is_read_one_ahead():
    read_so_far = []

    async def source():
        for at in range(10):
            read_so_far.append(at)
            yield TextDelta(str(at))

    stream = aencode(source())
    await anext(stream)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(read_so_far) <= 3
    await stream.aclose()


async def test_async_the_source_runs_in_one_task():
    tasks = set()

    async def source():
        for _ in range(3):
            tasks.add(asyncio.current_task())
            await asyncio.sleep(0)
            yield ONE

    await listed(aencode(source()))
    assert len(tasks) == 1


def test_the_headers_keep_proxies_from_holding_frames_back():
    assert sse.HEADERS["Content-Type"].startswith("text/event-stream")
    assert sse.HEADERS["X-Accel-Buffering"] == "no"
