"""Frames go into a `Reply`; the calls that come out are spelled out."""

import itertools
import json

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_glm import raw_deltas
from langchain_glm._calls import CUT_FINISH_REASONS, CallDelta, parse_arguments
from langchain_glm._delta import Delta, Reply
from langchain_glm.errors import GLMMalformedStreamError

LEFT_OUT = object()


def frame(delta=LEFT_OUT, finish=LEFT_OUT, **fields):
    """One frame, with only those fields that were given."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    choice = {name: value for name, value in choice.items() if value is not LEFT_OUT}
    return {"id": "r1", "choices": [choice], **fields}


def piece(arguments=LEFT_OUT, *, name=LEFT_OUT, **fields):
    """What one delta says of one call, with only those fields that were given."""
    function = {"name": name, "arguments": arguments}
    function = {key: value for key, value in function.items() if value is not LEFT_OUT}
    return {**fields, "function": function} if function else fields


def each(*pieces):
    """Each piece in a frame of its own."""
    return [frame({"tool_calls": [item]}) for item in pieces]


def read(*frames, finish="tool_calls"):
    """The reply to these frames and a finishing one, and every piece of a call that it gave."""
    reply = Reply("glm-4.7")
    deltas = [reply.read(item) for item in (*frames, frame({}, finish))]
    return reply, [call for delta in deltas for call in delta.calls] + list(reply.end().calls)


def ended(reply):
    """How each call ended: id, name and arguments, or id, name, text and problem."""
    return [
        (call.id, call.name, call.arguments, problem)
        if problem
        else (call.id, call.name, arguments)
        for call, arguments, problem, _ in reply.verdicts()
    ]


OPEN, MIDDLE, CLOSE = '{"path"', ': "a.py', '"}'
WHOLE = OPEN + MIDDLE + CLOSE
WRITE = ("c1", "write", {"path": "a.py"})
ADD = ("c2", "add", {"a": 2})
SECOND = '{"a": 2}'
UNNAMED = "call_generated"  # stands for the id that `end` gives a call without one


SHAPES = {
    # As documented: the first delta brings index, id and name, the others bring the index.
    "documented": (
        each(
            piece("", index=0, id="c1", type="function", name="write"),
            piece(OPEN, index=0, type="function"),
            piece(MIDDLE, index=0, type="function"),
            piece(CLOSE, index=0, type="function"),
        ),
        [WRITE],
    ),
    "whole_call_in_one_delta": (each(piece(WHOLE, index=0, id="c1", name="write")), [WRITE]),
    "two_calls_one_after_the_other": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE + CLOSE, index=0),
            piece("", index=1, id="c2", name="add"),
            piece(SECOND, index=1),
        ),
        [WRITE, ADD],
    ),
    "interleaved_parallel_calls": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece('{"a"', index=1, id="c2", name="add"),
            piece(MIDDLE, index=0),
            piece(": 2}", index=1),
            piece(CLOSE, index=0),
        ),
        [WRITE, ADD],
    ),
    "two_calls_on_one_index_without_ids": (
        each(
            piece("{}", index=0, name="now"),
            piece("{}", index=0, name="today"),
            piece(SECOND, index=0, name="add"),
            piece('{"a": 3}', index=0, name="add"),
        ),
        [
            (UNNAMED, "now", {}),
            (UNNAMED, "today", {}),
            (UNNAMED, "add", {"a": 2}),
            (UNNAMED, "add", {"a": 3}),
        ],
    ),
    "white_space_after_a_whole_call_with_its_name_again": (
        each(piece(WHOLE, index=0, id="c1", name="write"), piece("\n", index=0, name="write")),
        [WRITE],
    ),
    "an_empty_piece_is_no_call": (
        each(piece("", index=0, id="", name=""), {"index": 0}, {}),
        [],
    ),
    "no_arguments_at_all": (each(piece(index=0, id="c1", name="now")), [("c1", "now", {})]),
    # index
    "index_missing": (
        each(piece(OPEN, id="c1", name="write"), piece(MIDDLE), piece(CLOSE)),
        [WRITE],
    ),
    "index_missing_two_calls": (
        each(
            piece(OPEN, id="c1", name="write"),
            piece(MIDDLE + CLOSE),
            piece("", id="c2", name="add"),
            piece(SECOND),
        ),
        [WRITE, ADD],
    ),
    "index_missing_interleaved_by_id": (
        each(
            piece(OPEN, id="c1", name="write"),
            piece('{"a"', id="c2", name="add"),
            piece(MIDDLE, id="c1"),
            piece(": 2}", id="c2"),
            piece(CLOSE, id="c1"),
        ),
        [WRITE, ADD],
    ),
    "index_null": (
        each(
            piece(WHOLE, index=None, id="c1", name="write"),
            piece('{"a"', index=None, id="c2", name="add"),
            piece(": 2}", index=None),
        ),
        [WRITE, ADD],
    ),
    "index_minus_one": (
        each(
            piece(OPEN, index=-1, id="c1", name="write"),
            piece(MIDDLE + CLOSE, index=-1),
            piece(SECOND, index=-1, id="c2", name="add"),
        ),
        [WRITE, ADD],
    ),
    **{
        f"index_{name}_interleaved_by_id": (
            each(
                piece(OPEN, index=value, id="c1", name="write"),
                piece('{"a"', index=value, id="c2", name="add"),
                piece(MIDDLE + CLOSE, index=value, id="c1"),
                piece(": 2}", index=value, id="c2"),
            ),
            [WRITE, ADD],
        )
        for name, value in [("minus_one", -1), ("false", False), ("empty", ""), ("a_word", "x")]
    },
    "index_in_quotes": (
        each(
            piece(OPEN, index="0", id="c1", name="write"),
            piece(SECOND, index="1", id="c2", name="add"),
            piece(MIDDLE + CLOSE, index="0"),
        ),
        [WRITE, ADD],
    ),
    "index_starts_at_one": (
        each(
            piece(OPEN, index=1, id="c1", name="write"),
            piece(SECOND, index=2, id="c2", name="add"),
            piece(MIDDLE + CLOSE, index=1),
        ),
        [WRITE, ADD],
    ),
    "index_with_gaps_and_backwards": (
        each(
            piece(WHOLE, index=7, id="c1", name="write"),
            piece(SECOND, index=3, id="c2", name="add"),
        ),
        [WRITE, ADD],
    ),
    "index_first_missing_then_present": (
        each(
            piece(OPEN, id="c1", name="write"),
            piece(MIDDLE, index=0),
            piece(CLOSE, index=0, id="c1"),
            piece('{"a"', id="c2", name="add"),
            piece(": 2}", index=1),
        ),
        [WRITE, ADD],
    ),
    "index_first_present_then_missing": (
        each(piece(OPEN, index=0, id="c1", name="write"), piece(MIDDLE), piece(CLOSE, index=None)),
        [WRITE],
    ),
    "index_zero_for_every_call": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE + CLOSE, index=0),
            piece('{"a"', index=0, id="c2", name="add"),
            piece(": 2}", index=0),
        ),
        [WRITE, ADD],
    ),
    "index_zero_for_every_call_none_with_arguments": (
        each(piece("", index=0, id="c1", name="now"), piece("", index=0, id="c2", name="today")),
        [("c1", "now", {}), ("c2", "today", {})],
    ),
    # id
    "id_missing": (
        each(piece(OPEN, index=0, name="write"), piece(MIDDLE, index=0), piece(CLOSE, index=0)),
        [(UNNAMED, *WRITE[1:])],
    ),
    **{
        f"id_{name}_on_continuations": (
            each(
                piece(OPEN, index=0, id="c1", name="write"),
                piece(MIDDLE, index=0, id=value),
                piece(CLOSE, index=0, id=value),
            ),
            [WRITE],
        )
        for name, value in [("null", None), ("empty", ""), ("null_in_quotes", "null")]
    },
    **{
        f"id_{name}_always": (
            each(
                piece(WHOLE, index=0, id=value, name="write"),
                piece(SECOND, index=1, id=value, name="add"),
            ),
            [(UNNAMED, *WRITE[1:]), (UNNAMED, *ADD[1:])],
        )
        for name, value in [("null", None), ("empty", ""), ("null_in_quotes", "null")]
    },
    "id_numeric": (
        each(
            piece(OPEN, index=0, id=17, name="write"),
            piece(MIDDLE, index=0, id=17),
            piece(CLOSE, index=0, id=17),
        ),
        [("17", *WRITE[1:])],
    ),
    "id_numeric_without_index": (
        each(
            piece(OPEN, id=0, name="write"),
            piece(SECOND, id=-7292968886536762484, name="add"),
            piece(MIDDLE + CLOSE, id=0),
        ),
        [("0", *WRITE[1:]), ("-7292968886536762484", *ADD[1:])],
    ),
    "id_new_on_every_delta": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE, index=0, id="x2"),
            piece(CLOSE, index=0, id="x3"),
            piece('{"a"', index=1, id="c2", name="add"),
            piece(": 2}", index=1, id="x5"),
        ),
        [WRITE, ADD],
    ),
    "id_new_on_every_delta_without_index": (
        each(
            piece(OPEN, id="c1", name="write"),
            piece(MIDDLE, id="x2"),
            piece(CLOSE, id="x3"),
            piece('{"a"', id="c2", name="add"),
            piece(": 2}", id="x5"),
        ),
        [WRITE, ADD],
    ),
    "id_new_on_every_delta_and_name_repeated": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE, index=0, id="x2", name="write"),
            piece(CLOSE, index=0, id="x3", name="write"),
        ),
        [WRITE],
    ),
    "id_new_while_no_argument_has_come": (
        each(
            piece("", index=0, id="c1", name="write"), piece(WHOLE, index=0, id="x2", name="write")
        ),
        [WRITE],
    ),
    "id_repeated": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE, index=0, id="c1"),
            piece(CLOSE, index=0, id="c1"),
        ),
        [WRITE],
    ),
    "id_late": (
        each(
            piece(OPEN, index=0, name="write"),
            piece(MIDDLE, index=0, id="c1"),
            piece(CLOSE, index=0),
        ),
        [WRITE],
    ),
    # name
    "name_repeated_on_continuations": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE, index=0, name="write"),
            piece(CLOSE, index=0, id="c1", name="write"),
        ),
        [WRITE],
    ),
    "name_repeated_without_index": (
        each(
            piece(OPEN, id="c1", name="write"),
            piece(MIDDLE, id="c1", name="write"),
            piece(CLOSE, name="write"),
        ),
        [WRITE],
    ),
    "name_empty_on_continuations": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE, index=0, name=""),
            piece(CLOSE, name=""),
        ),
        [WRITE],
    ),
    "name_null_on_continuations": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE, index=0, name=None),
            piece(CLOSE, name=None),
        ),
        [WRITE],
    ),
    "name_late": (
        each(
            piece(index=0, id="c1"),
            piece(OPEN, index=0, name=""),
            piece(MIDDLE + CLOSE, index=0, name="write"),
        ),
        [WRITE],
    ),
    "name_other_on_a_continuation": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE + CLOSE, index=0, id="c1", name="add"),
        ),
        [WRITE],
    ),
    "name_missing_always": (
        each(piece(WHOLE, index=0, id="c1")),
        [("c1", "", WHOLE, "The call names no tool.")],
    ),
    # neither id nor index
    "neither_id_nor_index": (
        each(
            piece(OPEN, name="write"),
            piece(MIDDLE + CLOSE),
            piece('{"a"', name="add"),
            piece(": 2}"),
        ),
        [(UNNAMED, *WRITE[1:]), (UNNAMED, *ADD[1:])],
    ),
    "neither_id_nor_index_the_same_tool_twice": (
        each(piece('{"a": 1}', name="add"), piece(SECOND, name="add")),
        [(UNNAMED, "add", {"a": 1}), (UNNAMED, "add", {"a": 2})],
    ),
    "neither_id_nor_index_name_repeated": (
        each(piece(OPEN, name="write"), piece(MIDDLE, name="write"), piece(CLOSE, name="write")),
        [(UNNAMED, *WRITE[1:])],
    ),
    # function
    "function_missing_on_the_first_delta": (
        each(piece(index=0, id="c1", type="function"), piece(WHOLE, index=0, name="write")),
        [WRITE],
    ),
    "function_missing_on_a_continuation": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(index=0),
            {"index": 0, "function": None},
            piece(MIDDLE + CLOSE, index=0),
        ),
        [WRITE],
    ),
    # arguments
    "arguments_null": (
        each(
            piece(None, index=0, id="c1", name="write"),
            piece(None, index=0),
            piece(WHOLE, index=0),
        ),
        [WRITE],
    ),
    "arguments_empty": (
        each(
            piece("", index=0, id="c1", name="write"),
            piece(OPEN, index=0),
            piece("", index=0),
            piece(MIDDLE + CLOSE, index=0),
            piece("", index=0),
        ),
        [WRITE],
    ),
    "arguments_an_object": (
        each(piece({"path": "é 你好"}, index=0, id="c1", name="write")),
        [("c1", "write", {"path": "é 你好"})],
    ),
    "arguments_an_empty_object": (
        each(piece({}, index=0, id="c1", name="now")),
        [("c1", "now", {})],
    ),
    "arguments_with_line_ends_in_strings": (
        each(piece('{"path": "a\nb\tc"}', index=0, id="c1", name="write")),
        [("c1", "write", {"path": "a\nb\tc"})],
    ),
    "arguments_repeated_by_the_model": (
        each(
            piece('{"a": "', index=0, id="c1", name="add"),
            piece("ha", index=0),
            piece("ha", index=0),
            piece('"}', index=0),
        ),
        [("c1", "add", {"a": "haha"})],
    ),
    # where the first and the last fragment are
    "first_fragment_bundled_with_the_name": (
        each(piece(OPEN, index=0, id="c1", name="write"), piece(MIDDLE + CLOSE, index=0)),
        [WRITE],
    ),
    "last_fragment_on_the_finishing_chunk": (
        [
            *each(piece(OPEN + MIDDLE, index=0, id="c1", name="write")),
            frame({"tool_calls": [piece(CLOSE, index=0)]}, "tool_calls"),
        ],
        [WRITE],
    ),
    "whole_call_on_the_finishing_chunk": (
        [frame({"tool_calls": [piece(WHOLE, index=0, id="c1", name="write")]}, "tool_calls")],
        [WRITE],
    ),
    "finish_reason_on_every_tool_delta": (
        [
            frame({"tool_calls": [item]}, "tool_calls")
            for item in (
                piece(OPEN, index=0, id="c1", name="write"),
                piece(MIDDLE + CLOSE, index=0),
                piece(SECOND, index=1, id="c2", name="add"),
            )
        ],
        [WRITE, ADD],
    ),
    # a full copy of the arguments at the end
    "full_copy_at_the_end": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE + CLOSE, index=0),
            piece(WHOLE, index=0),
        ),
        [WRITE],
    ),
    "full_copy_of_the_whole_call_at_the_end": (
        each(
            piece(OPEN, index=0, id="c1", name="write"),
            piece(MIDDLE + CLOSE, index=0),
            piece(WHOLE, index=0, id="c1", name="write"),
        ),
        [WRITE],
    ),
    "full_copy_without_index": (
        each(
            piece(OPEN, id="c1", name="write"),
            piece(MIDDLE + CLOSE),
            piece(WHOLE, id="c1", name="write"),
        ),
        [WRITE],
    ),
    "full_copy_without_index_and_id": (
        each(piece(OPEN, name="write"), piece(MIDDLE + CLOSE), piece(WHOLE, name="write")),
        [(UNNAMED, *WRITE[1:])],
    ),
    "full_copies_of_two_calls_on_the_finishing_chunk": (
        [
            *each(
                piece(WHOLE, index=0, id="c1", name="write"),
                piece(SECOND, index=1, id="c2", name="add"),
            ),
            frame({"tool_calls": [piece(WHOLE, index=0), piece(SECOND, index=1)]}, "tool_calls"),
        ],
        [WRITE, ADD],
    ),
    "full_copy_of_an_empty_object": (
        each(piece("{}", index=0, id="c1", name="now"), piece("{}", index=0)),
        [("c1", "now", {})],
    ),
    # frames that say nothing
    "choices_null_empty_or_missing": (
        [
            {"id": "r1", "choices": None},
            *each(piece(OPEN, index=0, id="c1", name="write")),
            {"id": "r1", "choices": []},
            {"id": "r1"},
            *each(piece(MIDDLE + CLOSE, index=0)),
        ],
        [WRITE],
    ),
    "delta_null_empty_or_missing": (
        [
            frame(None),
            *each(piece(OPEN, index=0, id="c1", name="write")),
            frame({}),
            frame(),
            *each(piece(MIDDLE + CLOSE, index=0)),
            frame(None, None),
        ],
        [WRITE],
    ),
    "tool_calls_null_or_empty": (
        [
            frame({"content": "Hi", "tool_calls": None}),
            *each(piece(WHOLE, index=0, id="c1", name="write")),
            frame({"tool_calls": []}),
            frame({"tool_calls": [None]}),
        ],
        [WRITE],
    ),
    # beside a call
    "text_beside_a_call": (
        [
            frame(
                {"content": "I'll ", "tool_calls": [piece(OPEN, index=0, id="c1", name="write")]}
            ),
            frame({"content": "write.", "tool_calls": [piece(MIDDLE + CLOSE, index=0)]}),
        ],
        [WRITE],
    ),
    "two_calls_in_one_delta": (
        [
            frame(
                {
                    "tool_calls": [
                        piece(OPEN, index=0, id="c1", name="write"),
                        piece('{"a"', index=1, id="c2", name="add"),
                    ]
                }
            ),
            frame({"tool_calls": [piece(MIDDLE + CLOSE, index=0), piece(": 2}", index=1)]}),
        ],
        [WRITE, ADD],
    ),
    "two_calls_in_one_delta_without_index_and_id": (
        [frame({"tool_calls": [piece(WHOLE, name="write"), piece(SECOND, name="add")]})],
        [(UNNAMED, *WRITE[1:]), (UNNAMED, *ADD[1:])],
    ),
}
each_shape = pytest.mark.parametrize(
    ("frames", "calls"), [pytest.param(*case, id=name) for name, case in SHAPES.items()]
)


@each_shape
def test_the_calls_of_every_shape_that_was_seen(frames, calls):
    reply, _ = read(*frames)
    generated = [call.id for call in reply.calls if call.id.startswith("call_")]
    assert [UNNAMED if call[0] in generated else call[0] for call in ended(reply)] == [
        call[0] for call in calls
    ]
    assert [call[1:] for call in ended(reply)] == [call[1:] for call in calls]
    assert len(set(generated)) == len(generated)


@each_shape
def test_every_piece_of_every_shape_is_given_once(frames, calls):
    reply, deltas = read(*frames)
    for call in reply.calls:
        mine = [delta for delta in deltas if delta.position == call.index]
        assert [delta.id for delta in mine if delta.id] == [call.id]
        assert [delta.name for delta in mine if delta.name] == ([call.name] if call.name else [])
        assert "".join(delta.arguments for delta in mine) == call.arguments
        assert all(delta.id or delta.name or delta.arguments for delta in mine)
    assert {delta.position for delta in deltas} == set(range(len(reply.calls)))


@each_shape
def test_unknown_and_null_fields_change_nothing(frames, calls):
    noise = {"token_ids": None, "stop_reason": None, "matched_stop": None, "kv_transfer_params": {}}
    noisy = [
        {
            **item,
            **noise,
            "choices": item.get("choices")
            and [{"logprobs": None, "finish_reason": None, **noise, **item["choices"][0]}],
        }
        for item in frames
    ]
    first, second = read(*frames)[0], read(*noisy)[0]
    assert [call[1:] for call in ended(first)] == [call[1:] for call in ended(second)]


def pieces_of(name):
    return read(*SHAPES[name][0])[1]


def test_id_and_name_are_given_with_the_first_piece_only():
    assert pieces_of("documented") == [
        CallDelta(0, "c1", "write", ""),
        CallDelta(0, None, None, OPEN),
        CallDelta(0, None, None, MIDDLE),
        CallDelta(0, None, None, CLOSE),
    ]


@pytest.mark.parametrize(
    "name", ["id_repeated", "id_new_on_every_delta_and_name_repeated", "id_null_on_continuations"]
)
def test_repeated_ids_and_names_are_not_given_again(name):
    assert pieces_of(name) == [
        CallDelta(0, "c1", "write", OPEN),
        CallDelta(0, None, None, MIDDLE),
        CallDelta(0, None, None, CLOSE),
    ]


def test_positions_count_from_zero_whatever_the_index():
    assert pieces_of("index_starts_at_one") == [
        CallDelta(0, "c1", "write", OPEN),
        CallDelta(1, "c2", "add", SECOND),
        CallDelta(0, None, None, MIDDLE + CLOSE),
    ]


def test_a_late_id_is_given_when_it_comes():
    assert pieces_of("id_late") == [
        CallDelta(0, None, "write", OPEN),
        CallDelta(0, "c1", None, MIDDLE),
        CallDelta(0, None, None, CLOSE),
    ]


def test_a_late_name_is_given_when_it_comes():
    assert pieces_of("name_late") == [
        CallDelta(0, "c1", None, ""),
        CallDelta(0, None, None, OPEN),
        CallDelta(0, None, "write", MIDDLE + CLOSE),
    ]


def test_a_call_without_an_id_gets_one_at_the_end():
    reply = Reply("glm-4.7")
    [frame_] = each(piece(WHOLE, index=0, name="write"))
    assert reply.read(frame_).calls == [CallDelta(0, None, "write", WHOLE)]
    [named] = reply.end().calls
    assert named == CallDelta(0, reply.calls[0].id, None, "")
    assert named.id.startswith("call_")
    assert len(named.id) > len("call_")
    assert reply.end() == Delta(calls=[])


def test_the_pieces_of_two_calls_in_one_delta_stay_in_order():
    reply = Reply("glm-4.7")
    both = [piece(WHOLE, index=0, id="c1", name="write"), piece("{", index=1, id="c2", name="add")]
    delta = reply.read(frame({"tool_calls": both}))
    assert delta.calls == [CallDelta(0, "c1", "write", WHOLE), CallDelta(1, "c2", "add", "{")]


def test_two_pieces_of_one_call_in_one_delta_are_given_as_one():
    reply = Reply("glm-4.7")
    both = [piece("", index=0, id="c1", name="write"), piece(WHOLE, index=0)]
    delta = reply.read(frame({"tool_calls": both}))
    assert delta.calls == [CallDelta(0, "c1", "write", WHOLE)]


def test_a_duplicate_gives_nothing():
    reply = Reply("glm-4.7")
    first, copy = each(
        piece(WHOLE, index=0, id="c1", name="write"), piece(WHOLE, index=0, id="c1", name="write")
    )
    reply.read(first)
    assert reply.read(copy).calls == []


def test_a_new_id_with_a_name_is_a_new_call_even_with_the_same_arguments():
    reply, _ = read(
        *each(
            piece(SECOND, index=0, id="c1", name="add"), piece(SECOND, index=0, id="c2", name="add")
        )
    )
    assert ended(reply) == [("c1", "add", {"a": 2}), ("c2", "add", {"a": 2})]


def test_a_new_id_without_a_name_is_no_new_call():
    reply, _ = read(
        *each(piece(WHOLE, index=0, id="c1", name="write"), piece(SECOND, index=0, id="c2"))
    )
    problem = "The arguments are not a JSON object: Extra data: line 1 column 17 (char 16)."
    assert ended(reply) == [("c1", "write", WHOLE + SECOND, problem)]


def test_text_and_call_of_one_delta():
    reply = Reply("glm-4.7")
    delta = reply.read(
        frame(
            {
                "reasoning_content": "Hm",
                "content": "I'll",
                "tool_calls": [piece("{", index=0, id="c1", name="write")],
            }
        )
    )
    assert delta == Delta("Hm", "I'll", [CallDelta(0, "c1", "write", "{")], None)
    assert (reply.reasoning, reply.text) == ("Hm", "I'll")


def test_many_fragments_that_each_bring_an_id_and_a_name_cost_linear_time():
    # Parsing 2 MB again with each of 100,000 fragments would take minutes.
    reply = Reply("glm-4.7")
    reply.read(*each(piece('{"text": "', index=0, id="c1", name="write")))
    for number in range(100_000):
        reply.read(*each(piece("twenty characters...", index=0, id=f"x{number}", name="write")))
    reply.read(*each(piece('"}', index=0, id="y", name="write")))
    [verdict] = reply.verdicts()
    assert verdict.problem is None
    assert len(verdict.arguments["text"]) == 2_000_000


# What vLLM 0.33.0 and SGLang 0.5.23 send, frame by frame.

VLLM = [
    frame({"role": "assistant", "content": ""}, logprobs=None),
    frame({"reasoning": "I should "}),
    frame({"reasoning": "write.", "content": "Wri"}),  # both where the reasoning ends
    frame({"content": "ting."}),
    frame({"tool_calls": [piece(id="c1", type="function", index=0, name="write")]}),
    frame({"tool_calls": [piece(OPEN, index=0)]}),
    frame(
        {
            "tool_calls": [
                piece(MIDDLE + CLOSE, index=0),
                piece(id="c2", type="function", index=1, name="add"),
            ]
        }
    ),
    frame({"tool_calls": [piece('{"a"', index=1)]}),
    frame({"content": "!", "tool_calls": [piece(": 2}", index=1)]}, "tool_calls", stop_reason=None),
    {"id": "r1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}},
]
_NULLS = {"role": None, "content": None, "reasoning_content": None, "tool_calls": None}
SGLANG = [
    frame({"role": "assistant", "content": "", "reasoning_content": None}, None, usage=None),
    frame({**_NULLS, "reasoning_content": "I should "}, None, matched_stop=None),
    frame({**_NULLS, "reasoning_content": "write."}, None),
    frame({**_NULLS, "content": "Writing!"}, None),
    *(
        frame({**_NULLS, "tool_calls": [item]}, None)
        for item in (
            piece("", id="c1", type="function", index=0, name="write"),
            piece(OPEN, id=None, type="function", index=0, name=None),
            piece(MIDDLE + CLOSE, id=None, type="function", index=0, name=None),
            piece("", id="c2", type="function", index=1, name="add"),
            piece(SECOND, id=None, type="function", index=1, name=None),
        )
    ),
    frame({"reasoning_content": None}, "tool_calls", matched_stop=None),
    {"id": "r1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}},
]


@pytest.mark.parametrize(
    ("frames", "text"),
    [pytest.param(VLLM, "Writing.!", id="vllm"), pytest.param(SGLANG, "Writing!", id="sglang")],
)
def test_a_whole_stream_of_a_self_hosted_server(frames, text):
    reply = Reply("glm-4.7")
    for item in frames:
        reply.read(item)
    assert reply.reasoning == "I should write."
    assert reply.text == text
    assert ended(reply) == [WRITE, ADD]
    assert reply.finish_reason == "tool_calls"
    assert reply.usage == {"prompt_tokens": 3, "completion_tokens": 9}


def test_vllm_puts_the_last_reasoning_on_the_finishing_chunk():
    reply = Reply("glm-4.7")
    delta = reply.read(frame({"reasoning": "end"}, "stop"))
    assert (delta.reasoning, reply.reasoning, reply.finish_reason) == ("end", "end", "stop")


def test_sglang_sends_an_empty_object_for_a_call_cut_after_its_name():
    reply, _ = read(
        *each(
            piece("", id="c1", type="function", index=0, name="write"),
            piece("{}", id=None, type="function", index=0, name=None),
        ),
        finish="length",
    )
    assert ended(reply) == [("c1", "write", "{}", "The call was cut off (finish_reason 'length').")]


def test_sglang_can_send_a_call_that_has_only_arguments():
    reply, _ = read(
        *each(piece("{}", id=None, type="function", index=0, name=None)), finish="length"
    )
    [(id_, *call)] = ended(reply)
    assert id_.startswith("call_")
    assert call == ["", "{}", "The call was cut off (finish_reason 'length')."]


# Reasoning and text


@pytest.mark.parametrize(
    ("delta", "reasoning", "text"),
    [
        pytest.param({"role": "assistant", "reasoning_content": "x"}, "x", "", id="zai_reasoning"),
        pytest.param({"role": "assistant", "content": "x"}, "", "x", id="zai_text"),
        pytest.param(
            {
                "content": "",
                "reasoning": "x",
                "reasoning_details": [{"type": "reasoning.text", "text": "x"}],
            },
            "x",
            "",
            id="openrouter_reasoning",
        ),
        pytest.param({"reasoning": "x", "reasoning_content": "x"}, "x", "", id="both_names"),
        pytest.param({"reasoning": "x", "reasoning_content": None}, "x", "", id="other_name_null"),
        pytest.param({"content": None, "reasoning_content": None}, "", "", id="nulls"),
        pytest.param(
            {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            "",
            "ab",
            id="content_in_parts",
        ),
        pytest.param({"content": " \n"}, "", " \n", id="white_space"),
    ],
)
def test_reasoning_and_text(delta, reasoning, text):
    reply = Reply("glm-4.7")
    assert reply.read(frame(delta)) == Delta(reasoning, text, (), None)
    assert (reply.reasoning, reply.text) == (reasoning, text)


def test_an_answer_that_came_whole_is_read_like_a_frame():
    reply = Reply("glm-4.7")
    call = piece(WHOLE, id="call_-7292968886536762484", index=0, type="function", name="write")
    message = {"role": "assistant", "reasoning_content": "Hm", "content": "", "tool_calls": [call]}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    reply.read({"id": "r1", "choices": [choice], "usage": {"total_tokens": 3}})
    assert ended(reply) == [("call_-7292968886536762484", *WRITE[1:])]
    assert (reply.reasoning, reply.text, reply.finish_reason) == ("Hm", "", "tool_calls")


def test_log_probabilities_are_handed_on():
    content = {"content": [{"token": "x", "logprob": -0.1}]}
    choice = {"index": 0, "delta": {"content": "x"}, "logprobs": content}
    assert Reply("m").read({"choices": [choice]}).logprobs == content


# What is said about the answer as a whole


@pytest.mark.parametrize(
    ("reasons", "last"),
    [
        pytest.param([LEFT_OUT, LEFT_OUT, "stop"], "stop", id="absent_before"),
        pytest.param([None, "stop"], "stop", id="null_before"),
        pytest.param(["stop", None], "stop", id="null_after"),
        pytest.param(["tool_calls", LEFT_OUT], "tool_calls", id="absent_after"),
        pytest.param(["tool_calls", "stop"], "stop", id="last_one_given"),
        pytest.param(["length", "tool_calls"], "length", id="a_cut_is_not_overwritten"),
        pytest.param(["length", "abort"], "length", id="not_even_by_another_cut"),
        pytest.param([None, ""], None, id="never"),
    ],
)
def test_finish_reason(reasons, last):
    reply = Reply("glm-4.7")
    for reason in reasons:
        reply.read(frame({"content": "x"}, reason))
    assert reply.finish_reason == last
    assert reply.was_cut == (last == "length")


USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
EARLIER = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([frame({"content": ""}, "stop", usage=USAGE)], id="with_the_finish"),
        pytest.param(
            [frame({}, "stop"), {"id": "r1", "choices": [], "usage": USAGE}], id="without_choices"
        ),
        pytest.param(
            [frame({}, "stop"), {"id": "r1", "choices": None, "usage": USAGE}], id="choices_null"
        ),
        pytest.param(
            [frame({}, "stop"), frame({}, None, usage=USAGE)], id="null_finish_after_the_finish"
        ),
        pytest.param(
            [frame({}, "stop"), frame({}, "stop", usage=USAGE)], id="second_finishing_chunk"
        ),
        pytest.param(
            [frame({"content": "x"}, usage=EARLIER), frame({}, "stop", usage=USAGE)],
            id="running_totals_on_every_chunk",
        ),
        pytest.param(
            [frame({}, "stop", usage=USAGE), {"choices": [], "usage": USAGE}], id="said_twice"
        ),
        pytest.param(
            [frame({}, "stop", usage=USAGE), frame({}, None, usage=None)], id="null_after_it"
        ),
        pytest.param([{"choices": [], "usage": USAGE}, frame({}, "stop")], id="before_the_answer"),
    ],
)
def test_usage_is_the_last_that_came(frames):
    reply = Reply("glm-4.7")
    for item in [frame({"content": "Hi"}), *frames]:
        reply.read(item)
    assert reply.usage == USAGE
    assert (reply.text[:2], reply.finish_reason) == ("Hi", "stop")


def test_no_usage():
    assert read(frame({"content": "Hi"}, usage=None))[0].usage is None


def test_the_envelope_keeps_what_came_first():
    search = [{"title": "t", "link": "https://example.com"}]
    reply = Reply("asked")
    assert (reply.model, reply.envelope) == ("asked", {})
    reply.read({"id": "r1", "choices": [], "created": 0, "object": "chat.completion.chunk"})
    reply.read({"id": "r1", "request_id": "q1", "model": "glm-4.7", "choices": []})
    reply.read({"id": "", "system_fingerprint": "fp", "service_tier": None, "choices": []})
    reply.read({"web_search": search, "model": "", "request_id": "q2", "choices": []})
    assert reply.model == "glm-4.7"
    assert reply.envelope == {
        "id": "r1",
        "request_id": "q1",
        "system_fingerprint": "fp",
        "web_search": search,
    }


def test_whether_anything_of_an_answer_came():
    reply = Reply("glm-4.7")
    reply.read({"id": "r1", "choices": [], "usage": USAGE})
    reply.read({"id": "r1", "choices": None})
    assert not reply.has_choices
    reply.read(frame({"role": "assistant"}))
    assert reply.has_choices


# A stream that starts again


def text_frames(*ids):
    return [{**frame({"content": "x"}), "id": id_} for id_ in ids]


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(["A", "A", "B"], id="in_the_middle"),
        pytest.param(["A", "B", "B"], id="after_the_first_frame"),
        pytest.param(["A", "A", None, "", "B"], id="across_frames_without_id"),
    ],
)
def test_an_answer_that_starts_again_is_an_error(ids):
    *before, last = text_frames(*ids)
    reply = Reply("glm-4.7")
    for item in before:
        reply.read(item)
    with pytest.raises(GLMMalformedStreamError, match="started its answer again"):
        reply.read(last)
    assert reply.text == "x" * len(before)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(text_frames("A", "B", "C", "D"), id="an_id_per_frame"),
        pytest.param(text_frames(None, "A", "A", None, "A"), id="ids_left_out"),
        pytest.param(text_frames("", "A", "A"), id="an_empty_id_first"),
        pytest.param([*text_frames("A", "A"), {"id": "B", "choices": []}], id="without_choices"),
        pytest.param(
            [{"id": "", "choices": []}, *text_frames("A", "A")], id="filter_results_first"
        ),
    ],
)
def test_other_ids_are_no_error(frames):
    reply = Reply("glm-4.7")
    for item in frames:
        reply.read(item)
    assert reply.text == "x" * sum(bool(item["choices"]) for item in frames)


# Verdicts

CUT_REASONS = [
    "MAX_TOKENS",
    "abort",
    "content_filter",
    "length",
    "max_output_tokens",
    "max_tokens",
    "model_context_window_exceeded",
    "network_error",
    "refusal",
    "sensitive",
]
CUT_TEXTS = {
    "inside_a_string": '{"path": "a.p',
    "after_a_key": '{"path"',
    "after_the_name": "",
    "valid_json": '{"path": "a.py"}',
    "empty_object": "{}",
}


def test_every_cutting_finish_reason_is_under_test():
    assert sorted(CUT_FINISH_REASONS) == CUT_REASONS


@pytest.mark.parametrize("reason", CUT_REASONS)
@pytest.mark.parametrize("text", CUT_TEXTS.values(), ids=CUT_TEXTS)
def test_a_cut_call_never_runs(reason, text):
    reply, _ = read(*each(piece(text, index=0, id="c1", name="write")), finish=reason)
    problem = f"The call was cut off (finish_reason {reason!r})."
    assert ended(reply) == [("c1", "write", text, problem)]
    assert reply.verdicts()[0].arguments == {}


@pytest.mark.parametrize("reason", CUT_REASONS)
def test_a_call_that_another_closed_before_the_cut_is_valid(reason):
    reply, _ = read(
        *each(
            piece(WHOLE, index=0, id="c1", name="write"),
            piece(SECOND, index=1, id="c2", name="add"),
        ),
        finish=reason,
    )
    problem = f"The call was cut off (finish_reason {reason!r})."
    assert ended(reply) == [WRITE, ("c2", "add", SECOND, problem)]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [
                piece(OPEN, index=0, id="c1", name="write"),
                piece(SECOND, index=1, id="c2", name="add"),
            ],
            id="closed_with_half_of_its_json",
        ),
        pytest.param(
            [
                piece(OPEN, index=0, id="c1", name="write"),
                piece(SECOND, index=1, id="c2", name="add"),
                piece(MIDDLE + CLOSE, index=0),
            ],
            id="went_on_after_the_other_began",
        ),
        pytest.param(
            [
                piece("", index=0, id="c1", name="write"),
                piece(SECOND, index=1, id="c2", name="add"),
            ],
            id="closed_without_arguments",
        ),
    ],
)
def test_a_call_that_was_not_closed_with_complete_json_is_cut_too(pieces):
    reply, _ = read(*each(*pieces), finish="length")
    problem = "The call was cut off (finish_reason 'length')."
    assert [verdict.problem for verdict in reply.verdicts()] == [problem, problem]


@pytest.mark.parametrize("finish", ["tool_calls", "stop", "eos_token", None])
def test_a_call_that_was_not_cut_runs(finish):
    reply, _ = read(*each(piece(WHOLE, index=0, id="c1", name="write")), finish=finish)
    assert ended(reply) == [WRITE]


def test_a_stream_that_broke_off_cuts_the_open_call():
    reply = Reply("glm-4.7")
    for item in each(
        piece(WHOLE, index=0, id="c1", name="write"), piece(SECOND, index=1, id="c2", name="add")
    ):
        reply.read(item)
    first, second = reply.verdicts(ended=False)
    assert (first.arguments, first.problem) == ({"path": "a.py"}, None)
    assert (second.arguments, second.problem) == (
        {},
        "The call was cut off (the stream broke off).",
    )


@pytest.mark.parametrize(
    ("text", "because"),
    [
        pytest.param('{"path": "a.py', "Unterminated string", id="unterminated_string"),
        pytest.param('{"path": ', "Expecting value", id="no_value"),
        pytest.param("{'path': 1}", "Expecting property name", id="single_quotes"),
        pytest.param('{"a": 1}{"a": 1, "b": 2}', "Extra data", id="two_objects"),
        pytest.param("write a.py", "Expecting value", id="no_json"),
        pytest.param(" ", "Expecting value", id="a_space"),
        pytest.param("[1]", "it is of type list", id="a_list"),
        pytest.param('"x"', "it is of type str", id="a_string"),
        pytest.param("null", "it is of type NoneType", id="null"),
        pytest.param('{"a":' * 100_000, "it is nested too deep", id="nested_too_deep"),
    ],
)
def test_broken_arguments_never_run(text, because):
    reply, _ = read(*each(piece(text, index=0, id="c1", name="write")))
    [(_, arguments, problem, _)] = reply.verdicts()
    assert arguments == {}
    assert problem.startswith(f"The arguments are not a JSON object: {because}")
    assert reply.calls[0].arguments == text


def test_nested_too_deep_is_no_error_where_a_new_id_asks_whether_the_call_is_over():
    deep = '{"a":' * 100_000 + "}" * 100_000
    reply, _ = read(
        *each(
            piece(deep, index=0, id="c1", name="write"), piece(" ", index=0, id="x", name="write")
        )
    )
    [verdict] = reply.verdicts()
    assert verdict.problem == "The arguments are not a JSON object: it is nested too deep."


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        (' {"a": 1}\n', {"a": 1}),
        ('{"a": "\t\n\x00"}', {"a": "\t\n\x00"}),
        ("{}", {}),
    ],
)
def test_arguments_that_are_json(text, value):
    assert parse_arguments(text) == value


# Raw access


def test_raw_deltas_of_chunks_and_of_their_sum():
    deltas = [{"role": "assistant", "content": "a"}, {"content": "b", "x_unknown": [1, None]}]
    chunks = [
        AIMessageChunk(content="a", additional_kwargs={"raw_response": [json.dumps(frame(delta))]})
        for delta in deltas
    ]
    assert [raw_deltas(chunk) for chunk in chunks] == [[delta] for delta in deltas]
    assert raw_deltas(chunks[0] + chunks[1]) == deltas


def test_raw_deltas_leave_out_frames_without_a_choice():
    frames = [frame({"content": "a"}), {"choices": [], "usage": {}}, frame(None, "stop"), {}]
    texts = [json.dumps(item) for item in frames]
    message = AIMessage(content="a", additional_kwargs={"raw_response": texts})
    assert raw_deltas(message) == [{"content": "a"}, {}]


def test_raw_deltas_of_an_answer_that_came_whole():
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}}]}
    message = AIMessage(content="a", additional_kwargs={"raw_response": [json.dumps(body)]})
    assert raw_deltas(message) == [{"role": "assistant", "content": "a"}]


def test_raw_deltas_where_nothing_was_kept():
    assert raw_deltas(AIMessage(content="a")) == []


def test_generated_ids_differ_between_answers():
    ids = [read(*each(piece(WHOLE, name="write")))[0].calls[0].id for _ in range(3)]
    assert all(one != other for one, other in itertools.combinations(ids, 2))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(["a", {"type": "text", "text": "b"}], "ab", id="strings_among_parts"),
        pytest.param({"text": "a"}, "a", id="one_part"),
        pytest.param([{"type": "image_url", "image_url": {}}], "", id="a_part_without_text"),
        pytest.param([], "", id="no_parts"),
        pytest.param(False, "", id="false"),
    ],
)
@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_text_in_odd_shapes(content, text, field):
    reply = Reply("glm-4.7")
    delta = reply.read({"choices": [{"delta": {field: content}}]})
    assert (delta.text if field == "content" else delta.reasoning) == text


@pytest.mark.parametrize("content", [5, True, [5], {"text": 5}])
def test_what_is_no_text_is_not_lost_in_silence(content):
    with pytest.raises(TypeError, match="a piece of the answer is of type"):
        Reply("glm-4.7").read({"choices": [{"delta": {"content": content}}]})
