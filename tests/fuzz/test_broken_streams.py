"""A stream that was damaged ends in a message or in a `GLMError`; nothing else, and nothing unseen.

How a loss would be seen: `Plain` below reads the damaged bytes again, as leniently as can be and
without the package, and lists every piece of reasoning, text and arguments that stands in a frame
before the end of the stream. A message that was made of the same bytes has to hold each of them, in
order, and no more. Where a frame cannot be read, a line is no field of an event stream, another
response goes on in the middle, or neither `[DONE]` nor a finish reason came, there must be no
message at all. The text of an error's partial message has to be a beginning of the same.

What no reader can tell from a sound stream is no loss here: a frame that is gone or doubled as a
whole (nothing numbers them), other letters in a string, a field or a frame that was renamed into
one that nobody knows (`"kontent"`, `retry:`) or into a comment, and whatever comes after `[DONE]`.
"""

import asyncio
import itertools
import json

import pytest
import ways
from chunk_streams import read
from fuzzing import (
    cases,
    chunks_of,
    cuts,
    events_of,
    frames_of,
    read_through,
    replies,
    said_by,
    split,
    stream_of,
    stream_reader,
    summed,
)
from hypothesis import event, given, note
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from recordings import recordings_in

from langchain_glm import ChatGLM
from langchain_glm._message import ChunkWriter
from langchain_glm.errors import GLMError
from langchain_glm.streaming import collect, tool_call_events
from langchain_glm.streaming import events as ev
from langchain_glm.testing import Call, GLMServer, Raw, Reply

WRITE = Call("write_file", {"path": "fib.py", "text": 'print("fünf 😀")\n\n'}, "call_a")
ADD = Call("add", {"a": 2, "b": [1, {"c": None}]}, "call_b")
SCRIPTS = [
    Reply(reasoning="Two.", text="I write.", tool_calls=[WRITE, ADD]),
    Reply(reasoning="好好好", text="Hello,\r\n\r\ndata: [DONE]", usage={"prompt_tokens": 5}),
    Reply(text="Half", tool_calls=[WRITE], finish_reason="length"),
    Reply(text="aaaaaaaaaaaaaaaaaaaaaaaa"),
]
BASES = [stream_of(frames_of(script, 4)) for script in SCRIPTS]


def pytest_generate_tests(metafunc):
    if "recording" in metafunc.fixturenames:
        found = [r for r in recordings_in(metafunc.config) if r.is_stream]
        metafunc.parametrize("recording", found or [None], ids=[r.name for r in found] or ["none"])


# Damage

places = st.floats(0, 1, exclude_max=True)


def at(body, place):
    return int(place * len(body))


def flipped(body, rng):
    where = at(body, rng.draw(places))
    return (
        body[:where] + bytes([body[where] ^ (1 << rng.draw(st.integers(0, 7)))]) + body[where + 1 :]
    )


def overwritten(body, rng):
    where = at(body, rng.draw(places))
    piece = rng.draw(st.sampled_from(PIECES))
    return body[:where] + piece + body[where + rng.draw(st.sampled_from([0, 1, len(piece)])) :]


def cut_off(body, rng):
    return body[: at(body, rng.draw(places))]


def bounds(body, rng):
    return sorted(at(body, rng.draw(places)) for _ in range(2))


def without_a_piece(body, rng):
    start, end = bounds(body, rng)
    return body[:start] + body[end:]


def with_a_piece_again(body, rng):
    start, end = bounds(body, rng)
    return body[:end] + body[start:]


def with_two_pieces_in_each_others_place(body, rng):
    one, two, three = sorted(at(body, rng.draw(places)) for _ in range(3))
    return body[:one] + body[two:three] + body[one:two] + body[three:]


def going_on_as_another(body, rng):
    other = rng.draw(st.sampled_from(BASES)).replace(b"20260101", b"20260202")
    return body[: at(body, rng.draw(places))] + other[at(other, rng.draw(places)) :]


def in_frames(change):
    """Damage whole frames."""

    def changed(body, rng):
        frames = body.split(b"\n\n")
        change(frames, rng)
        return b"\n\n".join(frames)

    changed.__name__ = change.__name__
    return changed


def index(frames, rng):
    return at(frames, rng.draw(places))


@in_frames
def without_a_frame(frames, rng):
    del frames[index(frames, rng)]


@in_frames
def with_a_frame_again(frames, rng):
    frames.insert(index(frames, rng), frames[index(frames, rng)])


@in_frames
def with_two_frames_in_each_others_place(frames, rng):
    one, two = index(frames, rng), index(frames, rng)
    frames[one], frames[two] = frames[two], frames[one]


@in_frames
def with_frames_in_another_order(frames, rng):
    frames[:] = rng.draw(st.permutations(frames))


@in_frames
def with_a_frame_of_another_stream(frames, rng):
    others = rng.draw(st.sampled_from(BASES)).split(b"\n\n")
    frames.insert(index(frames, rng), others[index(others, rng)])


@in_frames
def with_a_value_of_another_kind(frames, rng):
    """A value somewhere in a frame becomes another one."""
    where = index(frames, rng)
    try:
        frame = json.loads(frames[where].removeprefix(b"data: "))
    except ValueError:
        return
    places_ = [*slots(frame)]
    holder, key = places_[at(places_, rng.draw(places))]
    holder[key] = rng.draw(st.sampled_from(KINDS))
    frames[where] = b"data: " + json.dumps(frame).encode()


def slots(value):
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from slots(inner)


PIECES = [
    *(b"\n", b"\r", b"\n\n", b"\r\n", b"\x00", b"\xff", b"\xed\xa0\xbd", b"\xef\xbb\xbf", b":"),
    *(b"data:", b"data: [DONE]\n\n", b'"', b"\\", b"\\u", b"\\ud83d", b"{", b"}", b"[", b"]", b","),
    *(
        b"null",
        b"1e999",
        b"-1",
        b"NaN",
        b"event: error\n",
        b'"error":{"code":"1302"},',
        b"[" * 5000,
    ),
]
KINDS = [None, True, 0, -1, 1e308, 2**70, "", "x", "\ud83d", [], [None], {}, {"a": 1}, [[]], "null"]
DAMAGE = [
    flipped,
    overwritten,
    cut_off,
    without_a_piece,
    with_a_piece_again,
    with_two_pieces_in_each_others_place,
    going_on_as_another,
    without_a_frame,
    with_a_frame_again,
    with_two_frames_in_each_others_place,
    with_frames_in_another_order,
    with_a_frame_of_another_stream,
    with_a_value_of_another_kind,
]
damage = st.lists(st.sampled_from(DAMAGE), min_size=1, max_size=3)


class Draws:
    """What the damage is drawn from, without a line of the report for each number."""

    def __init__(self, data):
        self._data = data

    def draw(self, strategy):
        return self._data.conjecture_data.draw(strategy)


# The other opinion


class Plain:
    """What stands in a stream, by the simplest reading.

    Attributes:
        said: Reasoning and text.
        arguments: Every piece of arguments, in order.
        ids: The ids of its frames.
        is_broken: Whether something in it can be no part of an answer.
        has_ended: Whether it says so.
    """

    def __init__(self, body):
        self.said = {"reasoning": "", "text": ""}
        self.arguments = []
        self.ids = []
        self.is_broken = self.has_ended = self.is_odd = False
        text = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *events, rest = text.split(b"\n\n")
        all(map(self._read, events)) and self._read(rest, cut=True)

    def _read(self, event, *, cut=False):
        *lines, last = event.split(b"\n")
        # What the end cut off in the name of a field, or in `[DONE]`, can be nothing else.
        if not (cut and any(name.startswith(last) for name in FIELDS)):
            lines.append(last)
        lines = [line for line in lines if line]
        fields = [line.partition(b":") for line in lines]
        self.is_broken |= any(name not in FIELDS for name, _, _ in fields)
        values = [value.removeprefix(b" ") for name, _, value in fields if name == b"data"]
        data = b"\n".join(values)
        if data.strip() == b"[DONE]":
            self.has_ended = True
            return False
        if cut and values and self.has_ended and b"[DONE]".startswith(data.strip()):
            return False
        try:
            frame = json.loads(data.decode()) if values else {}
        except (ValueError, RecursionError):
            self.is_broken = True
            return True
        self._take(frame)
        return True

    def _take(self, frame):
        try:
            for choice in (frame.get("choices") or [])[:1]:
                self._watch(frame.get("id"))
                self.has_ended |= bool(choice.get("finish_reason"))
                delta = choice.get("delta") or choice.get("message") or {}
                thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
                self.said["reasoning"] += thought
                self.said["text"] += delta.get("content") or ""
                for call in delta.get("tool_calls") or ():
                    self._take_arguments((call.get("function") or {}).get("arguments"))
            self.is_broken |= bool(frame.get("error"))
        except (AttributeError, TypeError, KeyError):
            self.is_odd = True  # what becomes of it, the shape tests say

    def _watch(self, id_):
        """An id that comes again and then another one: the server began again in the middle."""
        self.ids += [id_] if id_ else []
        same = [one == two for one, two in itertools.pairwise(self.ids)]
        self.is_broken |= True in same and False in same

    def _take_arguments(self, piece):
        self.is_odd |= not (piece is None or isinstance(piece, str))
        self.arguments.append(piece or "")


FIELDS = {b"data", b"event", b"id", b"retry", b""}


def encoded(message):
    """The message has text that every encoder takes."""
    return json.dumps(message.model_dump(), ensure_ascii=False, default=str).encode()


def mended(text):
    """Text with its halves of characters joined, or replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def check_message(message, chunks, plain, body):
    assert not plain.is_broken, "what is broken came out as a message"
    assert plain.has_ended, "what has not ended came out as a message"
    encoded(message)
    if plain.is_odd:
        return
    got = {
        "text": message.text,
        "reasoning": message.additional_kwargs.get("reasoning_content", ""),
    }
    assert got == {kind: mended(text) for kind, text in plain.said.items()}
    check_arguments(chunks, plain.arguments)


def check_arguments(chunks, pieces):
    """Each piece went into a call, unless it says again all that the call has said."""
    written = {}
    for chunk in chunks:
        for call in chunk.tool_call_chunks:
            written[call["index"]] = written.get(call["index"], "") + (call["args"] or "")
    lost = sum(map(len, map(mended, pieces))) - sum(map(len, written.values()))
    copies = [piece for piece in pieces if piece in written.values() or is_object(piece)]
    assert 0 <= lost <= sum(map(len, copies)), (pieces, written)


def is_object(text):
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except ValueError:
        return False


# The tests


def check_damaged(body, at_):
    """Read the damaged stream on all paths that need no socket."""
    pieces, plain = split(body, at_), Plain(body)
    given_, reader = [], stream_reader(ChunkWriter())
    try:
        read_through(reader, pieces, given_)
    except GLMError as error:
        partial = reader.partial()
        said_so_far = partial.text if partial else ""
        if not (plain.is_odd or error.code):
            assert mended(plain.said["text"]).startswith(said_so_far)
        check_error(pieces)
        return type(error).__name__
    chunks = chunks_of(pieces)
    message = summed(chunks)
    check_message(message, chunks, plain, body)
    collected = collect(chunks)
    assert (collected.text, collected.tool_calls) == (message.text, message.tool_calls)
    got = said_by(events_of(pieces))
    assert (got.text, got.reasoning) == (
        message.text,
        message.additional_kwargs.get("reasoning_content", ""),
    )
    events = list(tool_call_events(chunks))
    starts = [e.index for e in events if isinstance(e, ev.ToolCallStarted)]
    typed = "".join(e.text for e in events if isinstance(e, ev.ToolCallDelta))
    # The events of a call without a name wait for it; `read` parses half a character as it stands.
    if starts == [*range(len(starts))] and "\\ud" not in typed.lower():
        read(events)
    assert events[-1].message.tool_calls == message.tool_calls
    ran = [e.arguments for e in events if isinstance(e, ev.ToolCallFinished)]
    assert ran == [call["args"] for call in message.tool_calls]
    return "a message"


def check_error(pieces):
    """The other paths end in an error of the same kind."""
    with pytest.raises(GLMError) as of_events:
        events_of(pieces)
    assert str(of_events.value)
    encoded_error = str(of_events.value) + repr(of_events.value.args)
    assert encoded_error.encode("utf-8", "surrogatepass")


@cases(300)
@given(st.data(), st.sampled_from(BASES) | replies().map(frames_of).map(stream_of), damage)
def test_a_damaged_stream(data, body, kinds):
    for kind in kinds:
        body = kind(body, Draws(data)) or b"\n"
    note(body.decode(errors="backslashreplace"))
    event(check_damaged(body, data.draw(cuts(body))))


WAYS = [ways.stream, ways.astream, ways.v3, ways.av3]


@cases(8)
@given(st.data(), st.sampled_from(BASES), damage)
def test_a_damaged_stream_over_a_socket(data, body, kinds):
    """The same outcome on every way to ask a model, by its type and by what it says."""
    for kind in kinds:
        body = kind(body, Draws(data)) or b"\n"
    pieces = [piece for piece in split(body, data.draw(cuts(body))[:30]) if piece]
    with GLMServer(Raw(pieces)) as server:
        model = ChatGLM(api_key="test-key", base_url=server.base_url, max_retries=0)
        outcomes = [asyncio.run(outcome(way, model)) for way in WAYS]
    assert all(one == outcomes[0] for one in outcomes[1:]), outcomes


async def outcome(way, model):
    try:
        message = await way(model)
    except GLMError as error:
        return type(error), error.partial.text if error.partial else None
    message = collect([message]) if isinstance(message, AIMessageChunk) else message
    return message.text, [(call["name"], call["args"]) for call in message.tool_calls]


def test_recordings_too(recording):
    """Recordings of `--recordings DIR`, damaged."""
    if recording is None:
        return

    @cases(10)
    @given(st.data(), damage)
    def damaged(data, kinds):
        body = recording.body
        for kind in kinds:
            body = kind(body, Draws(data)) or b"\n"
        check_damaged(body, data.draw(cuts(body)))

    damaged()
