"""When things arrive: by events and by what had been sent, not by the clock where avoidable."""

import itertools
import json
import time

import pytest

from langchain_glm.testing import Call, GLMServer, Raw, Reply

CALL = Reply(tool_calls=[Call("write", "0123456789")])


def frames_of(response):
    while line := response.readline():
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


@pytest.mark.parametrize(
    ("answer", "request_"),
    [
        (Reply(reasoning="0123456789"), {}),
        (Reply(text="0123456789"), {}),
        (CALL, {"tool_stream": True}),
        (Raw([b"data: {}\n\n"] * 4), {}),
    ],
)
def test_the_first_frame_is_here_before_the_last_is_sent(connect, answer, request_):
    with GLMServer(answer, pace=0.03) as server, connect(server) as client:
        response = client.send(stream=True, **request_)
        next(frames_of(response))
        received = server.requests[0]
        assert not received.answered.is_set()
        sent_by_then = len(received.sent)
        response.read()
        assert received.answered.wait(5)
    assert 1 <= sent_by_then < len(received.sent)
    assert not received.hung_up.is_set()


@pytest.mark.parametrize("answer", [Reply(text="0123456789"), Raw([b"data: {}\n\n"] * 2)])
def test_no_silence_stands_before_the_first_frame(connect, answer):
    with GLMServer(answer, pace=20.0) as server, connect(server) as client:
        next(frames_of(client.send(stream=True)))  # the client would give up after 5 seconds
        assert len(server.requests[0].sent) == 1


def test_the_time_of_sending_lies_before_that_of_arrival(connect):
    with GLMServer(Reply(text="0123456789"), pace=0.01) as server, connect(server) as client:
        response = client.send(stream=True)
        arrived = [time.monotonic() for _ in frames_of(response)]
    sent = [when for when, _ in server.requests[0].sent][: len(arrived)]
    assert len(arrived) == 4
    assert all(s <= a for s, a in zip(sent, arrived, strict=True))
    assert all(b - a >= 0.009 for a, b in itertools.pairwise(sent))


def duration(request):
    return request.sent[-1][0] - request.sent[0][0]


def test_without_tool_stream_the_call_comes_whole_after_the_silence_of_its_fragments(connect):
    answer = Reply(text="Hi", tool_calls=[Call("write", "0123456789")])
    with GLMServer(answer, pace=0.02) as server, connect(server) as client:
        response = client.send(stream=True)
        frames = frames_of(response)
        text, call, finish = frames
    assert text["choices"][0]["delta"]["content"] == "Hi"
    assert call["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == "0123456789"
    assert finish["choices"][0]["finish_reason"] == "tool_calls"
    (first, _), (second, _), *_ = server.requests[0].sent
    assert second - first >= 4 * 0.02 * 0.95  # the name, then three fragments


def test_a_reply_takes_as_long_in_fragments_as_in_one_piece(connect):
    with GLMServer(CALL, pace=0.02) as server, connect(server) as client:
        starts = []
        for body in ({"tool_stream": True, "stream": True}, {"stream": True}, {}):
            starts.append(time.monotonic())
            client.ask(**body)
    for start, request in zip(starts, server.requests, strict=True):
        assert request.sent[-1][0] - start >= 4 * 0.02 * 0.95
    fragments, whole_call, whole_body = server.requests
    assert [len(r.sent) for r in (fragments, whole_call, whole_body)] == [6, 3, 1]


def test_a_pause_of_the_script_replaces_the_pace(ask):
    with GLMServer(Raw([b"a", 0.001, b"b", b"c"]), pace=0.1) as server:
        ask(server)
    (a, _), (b, _), (c, _) = server.requests[0].sent
    assert b - a < 0.1
    assert c - b >= 0.095


def test_a_recording_is_paced_frame_by_frame(ask, tmp_path):
    recording = tmp_path / "a.sse"
    recording.write_bytes(b"data: 1\n\ndata: 2\n\ndata: 3\n\n")
    with GLMServer(recording, pace=0.02) as server:
        ask(server)
    assert len(server.requests[0].sent) == 3
    assert duration(server.requests[0]) >= 2 * 0.02 * 0.95
