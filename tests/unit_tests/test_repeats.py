"""A frame that was not parsed gives what parsing it would have given."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from langchain_glm import _reader
from langchain_glm._delta import Reply
from langchain_glm._message import ChunkWriter
from langchain_glm._reader import StreamReader
from langchain_glm._repeats import Fragment, Repeats
from langchain_glm.errors import GLMError

ENVELOPE = {"id": "1", "created": 7, "model": "glm-4.7"}


def frame(delta, *, envelope=ENVELOPE, **choice):
    choices = [{"index": 0, "delta": {"role": "assistant", **delta}, **choice}]
    return {**envelope, "choices": choices}


def call(arguments, **more):
    return {"tool_calls": [{"index": 0, "function": {"arguments": arguments}, **more}]}


def dumped(value, **style):
    return json.dumps(value, **style).encode()


# Which frames repeat


def taken(frames):
    """The strings that were taken out of frames that were not parsed, None for the others."""
    repeats = Repeats()
    strings = []
    for one in frames:
        found = repeats.read(one)
        strings.append(found)
        if found is None:
            parsed = json.loads(one)
            place = ("choices", 0, "delta", "content")
            repeats.keep(one, parsed, Fragment(place, lambda text: text))
    return strings


def texts(*contents, style=None):
    return [dumped(frame({"content": content}), **(style or {})) for content in contents]


@pytest.mark.parametrize(
    ("frames", "strings"),
    [
        pytest.param(texts("a", "b", "cd"), [None, "b", "cd"], id="plain"),
        pytest.param(texts("a", 'say "hi"\n', "\\"), [None, 'say "hi"\n', "\\"], id="escapes"),
        pytest.param(texts("你", "好", "é"), [None, "好", "é"], id="ascii_escapes"),
        pytest.param(
            texts("你", "好", style={"ensure_ascii": False}), [None, "好"], id="utf8"
        ),
        pytest.param(texts("a", "", "b"), [None, None, "b"], id="an_empty_one_is_parsed"),
        pytest.param(
            [*texts("a"), dumped(frame({"content": "b"}, envelope={"id": "2"}))],
            [None, None],
            id="another_id",
        ),
        pytest.param(
            [*texts("a"), dumped(frame({"content": "b", "x": 1}))],
            [None, None],
            id="one_more_field",
        ),
        pytest.param(
            [*texts("a"), texts("b")[0].replace(b'"b"', b'"b", "content": "c"')],
            [None, None],
            id="the_field_twice",
        ),
        pytest.param(
            [*texts("a"), texts("b")[0].replace(b'"b"', b"12")], [None, None], id="a_number"
        ),
        pytest.param(
            [dumped({**frame({"content": text}), "search": {"content": "s"}}) for text in "ab"],
            [None, "b"],
            id="the_same_field_behind_it",
        ),
        pytest.param(
            [dumped({**frame({"content": "a"}), "search": {"content": text}}) for text in "st"],
            [None, None],
            id="another_field_of_that_name_changes",
        ),
        pytest.param(
            [dumped({"content": "x", **frame({"content": "x"})})] * 2,
            [None, "x"],
            id="the_same_words_elsewhere",
        ),
        pytest.param(
            [dumped(frame({"content": '"content":"'}))] * 2,
            [None, '"content":"'],
            id="its_own_name",
        ),
    ],
)  # fmt: skip
def test_what_is_taken_unparsed(frames, strings):
    assert taken(frames) == strings


def test_a_frame_whose_fragment_is_invalid_is_parsed():
    control = texts("a")[0], texts("b")[0].replace(b'"b"', b'"\x01"')
    broken = texts("a")[0], texts("b")[0].replace(b'"b"', b'"\xff"')
    cut = texts("a")[0], texts("b")[0][:-3] + b"   "
    for first, second in (control, broken, cut):
        repeats = Repeats()
        place = Fragment(("choices", 0, "delta", "content"), str)
        repeats.keep(first, json.loads(first), place)
        assert repeats.read(second) is None


def test_frames_that_never_repeat_are_not_kept_for_ever():
    frames = [dumped(frame({"content": "a"}, envelope={"created": n})) for n in range(40)]
    assert set(taken([*frames, frames[-1]])) == {None}


def test_frames_that_repeat_now_and_then_are_kept_on():
    frames = [
        dumped(frame({"content": text}, envelope={"created": n}))
        for n in range(40)
        for text in "ab"
    ]
    assert taken(frames) == [None, "b"] * 40


@pytest.mark.parametrize(
    ("delta", "choice"),
    [
        ({"content": "a", "reasoning_content": "b"}, {}),
        ({"content": "a"}, {"finish_reason": "stop"}),
        ({"content": "a"}, {"logprobs": {"content": []}}),
        ({"content": [{"type": "text", "text": "a"}]}, {}),
        ({"tool_calls": [*call("a")["tool_calls"], *call("b")["tool_calls"]]}, {}),
        (call({"a": 1}), {}),
        ({"tool_calls": [None]}, {}),
        ({"refusal": "no"}, {}),
        ({}, {}),
    ],
)
def test_what_says_more_than_a_fragment_has_none(delta, choice):
    reply = Reply("glm-4.7")
    reply.read(frame({"content": "x"}))
    one = frame(delta, **choice)
    reply.read(one)
    assert reply.fragment_of(one) is None


def test_an_id_that_was_never_repeated_is_watched():
    reply = Reply("glm-4.7")
    one = frame({"content": "x"})
    reply.read(one)
    assert reply.fragment_of(one) is None
    reply.read(one)
    assert reply.fragment_of(one) is not None


def test_a_frame_that_is_nested_deep_is_not_kept():
    deep = json.loads("[" * 600 + "]" * 600)
    first, second = (dumped(frame({"content": text, "x": deep})) for text in "ab")
    repeats = Repeats()
    repeats.keep(first, json.loads(first), Fragment(("choices", 0, "delta", "content"), str))
    assert repeats.read(second) in {None, "b"}


# Whole streams, with and without


RESPONSE = SimpleNamespace(status_code=200, headers={}, request=None)


class ParsesAll(Repeats):
    """A reader without the short way."""

    __slots__ = ()

    def read(self, frame):
        return None


def read(frames, *, parse_all):
    """Everything that a reader says of a stream."""
    reader = StreamReader(ChunkWriter(), model="glm-4.7", response=RESPONSE)
    if parse_all:
        reader._repeats = ParsesAll()
    said = []
    try:
        for one in frames:
            said += reader.feed(b"data: " + one + b"\n\n")
            reader.listen()
        said += reader.feed(b"data: [DONE]\n\n")
        reader.listen()
    except GLMError as error:
        said.append((type(error), str(error)))
    reply = reader._reply
    calls = [(c.index, c.id, c.name, c.arguments, c.calls_then) for c in reply.calls]
    facts = (reply.model, reply.finish_reason, reply.usage, reply.envelope, reply.has_choices)
    everything = (said, reply.text, reply.reasoning, calls, facts, reply._last_frame_id)
    return re.sub("call_[0-9a-f]{32}", "call_of_ours", repr(everything))


def test_real_frames_are_not_parsed(monkeypatch):
    parsed = []
    parse = _reader.parse_json
    counted = lambda text, **how: parsed.append(text) or parse(text, **how)  # noqa: E731
    monkeypatch.setattr(_reader, "parse_json", counted)
    frames = [dumped(frame({"content": "word "})) for _ in range(100)]
    read(frames, parse_all=False)
    assert len(parsed) < 10


TEXTS = st.text(max_size=5) | st.sampled_from(['"', "\\", "\n", '"}', "\ud83d", "\ude00", ""])
CALLS = st.builds(
    lambda arguments, index, id_, name: {
        "tool_calls": [
            {
                **({} if index is None else {"index": index}),
                **({} if id_ is None else {"id": id_}),
                "function": {"arguments": arguments, **({} if name is None else {"name": name})},
            }
        ]
    },
    st.sampled_from(['{"a": "', "b", '"}', "{}", "", "{"]),
    st.sampled_from([0, 0, 0, 1, None, -1]),
    st.sampled_from([None, None, None, "c1", "c2", ""]),
    st.sampled_from([None, None, None, "f", "g"]),
)
DELTAS = st.one_of(
    TEXTS.map(lambda text: {"content": text}),
    TEXTS.map(lambda text: {"reasoning_content": text}),
    TEXTS.map(lambda text: {"reasoning": text, "content": ""}),
    CALLS,
    st.just({"content": "a", "reasoning_content": "b"}),
)
FRAMES = st.builds(
    lambda delta, envelope, choice, style: dumped(
        frame(delta, envelope=envelope, **choice), **style
    ),
    DELTAS,
    st.sampled_from(
        [ENVELOPE, ENVELOPE, ENVELOPE, {**ENVELOPE, "id": "2"}, {}, {**ENVELOPE, "usage": {"a": 1}}]
    ),
    st.sampled_from([{}, {}, {}, {"finish_reason": None}, {"finish_reason": "stop"}]),
    st.sampled_from([{}, {"separators": (",", ":")}]),
)


@given(st.lists(st.tuples(FRAMES, st.integers(1, 3)), max_size=12))
@example([(dumped(frame(call('{"a": "b"}', id="c1"))), 3)])
@settings(max_examples=400, deadline=None)
def test_a_stream_is_read_as_if_every_frame_was_parsed(runs):
    frames = [one for one, times in runs for _ in range(times)]
    assert read(frames, parse_all=False) == read(frames, parse_all=True)
