"""The two writers against what LangChain's own constructors and its own bridge make."""

import itertools
import json
from functools import reduce
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models._compat_bridge import chunks_to_events
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from langchain_glm._calls import SETTLED_CALLS, CallDelta
from langchain_glm._delta import Delta, Reply
from langchain_glm._message import (
    PROVIDER,
    ChunkWriter,
    EventWriter,
    settle_calls,
    to_generation,
    to_message,
    usage_metadata,
)

METADATA = {"model_provider": "zai"}
CUT = "The call was cut off (finish_reason 'length')."


def frame(delta, finish=None, **fields):
    return {"id": "r1", "choices": [{"delta": delta, "finish_reason": finish}], **fields}


def calls(*pieces):
    return {"tool_calls": list(pieces)}


def piece(index, arguments, id_=None, name=None):
    return {"index": index, "id": id_, "function": {"name": name, "arguments": arguments}}


def chunks_of(frames, *, raw=False, headers=None):
    """What `stream` gives for these frames."""
    return write(ChunkWriter(headers=headers), frames, raw=raw)


def events_of(frames, *, raw=False, headers=None, message_id="lc_1"):
    """What `stream_events(version="v3")` gives for these frames."""
    return write(EventWriter(message_id, headers=headers), frames, raw=raw)


def write(writer, frames, *, raw):
    reply = Reply("glm-4.7")
    written = []
    for item in frames:
        if raw:
            writer.keep(json.dumps(item))
        written += writer.write(reply.read(item))
    return written + writer.finish(reply)


def whole(frames):
    """The message of these frames, as `invoke` makes it of a whole answer."""
    reply = Reply("glm-4.7")
    for item in frames:
        reply.read(item)
    reply.end()
    return to_message(reply)


def summed(chunks):
    """What a user gets who adds the chunks up."""
    return reduce(add, [chunk.message for chunk in chunks])


FRAMES = [
    frame({"reasoning_content": "Hm"}),
    frame({"reasoning_content": "."}),
    frame({"content": "I'll "}),
    frame({"content": "write."}),
    frame(calls(piece(0, '{"path"', "c1", "write"))),
    frame(calls(piece(1, '{"a": 2}', "c2", "add"))),
    frame(calls(piece(0, ': "a.py"}'))),
    frame(
        {"content": ""},
        "tool_calls",
        request_id="q1",
        usage={"prompt_tokens": 3, "completion_tokens": 9},
    ),
]
CUT_FRAMES = [
    frame({"content": "I'll write."}),
    frame(calls(piece(0, '{"a": 2}', "c1", "add"))),
    frame(calls(piece(1, '{"path": "a.p', "c2", "write"))),
    frame({}, "length"),
]
ADD = tool_call(name="add", args={"a": 2}, id="c1")
WRITE_INVALID = invalid_tool_call(name="write", args='{"path": "a.p', id="c2", error=CUT)


# Chunks


@pytest.mark.parametrize(
    ("delta", "fields"),
    [
        pytest.param(
            Delta(reasoning="Hm"),
            {"additional_kwargs": {"reasoning_content": "Hm"}},
            id="reasoning",
        ),
        pytest.param(Delta(text="Hi"), {"content": "Hi"}, id="text"),
        pytest.param(
            Delta(calls=[CallDelta(0, "c1", "write", "")]),
            {"tool_call_chunks": [tool_call_chunk(id="c1", name="write", args="", index=0)]},
            id="call_begins",
        ),
        *(
            pytest.param(
                Delta(calls=[CallDelta(1, None, None, arguments)]),
                {
                    "tool_call_chunks": [
                        tool_call_chunk(id=None, name=None, args=arguments, index=1)
                    ]
                },
                id=name,
            )
            for name, arguments in {
                "object": '{"a": 1}',
                "object_begun": '{"path',
                "string_begun": '"pa',
                "middle_of_a_string": "th/to/a.py",
                "digit": "7",
                "literal": "true",
                "null": "null",
                "half_a_literal": "nu",
                "list_begun": "[1, ",
                "colon": ": ",
                "brackets_that_close": '"]}',
                "white_space": " \n",
                "half_an_escape": "\\",
                "other_script": "你好 🙂",
            }.items()
        ),
        pytest.param(
            Delta(calls=[CallDelta(0, None, None, "}"), CallDelta(1, "c2", "add", "{")]),
            {
                "tool_call_chunks": [
                    tool_call_chunk(id=None, name=None, args="}", index=0),
                    tool_call_chunk(id="c2", name="add", args="{", index=1),
                ]
            },
            id="two_calls",
        ),
    ],
)
def test_a_chunk_equals_what_its_constructor_makes(delta, fields):
    [generation] = ChunkWriter().write(delta)
    expected = AIMessageChunk(response_metadata=METADATA, **{"content": "", **fields})
    assert generation.message == expected
    assert generation.message.model_dump() == expected.model_dump()
    assert type(generation.message) is AIMessageChunk
    assert generation.message.model_fields_set == expected.model_fields_set
    assert generation == ChatGenerationChunk(message=expected)


def test_the_last_chunk_equals_what_its_constructor_makes():
    last = chunks_of(FRAMES)[-1]
    expected = AIMessageChunk(
        content="",
        response_metadata=METADATA,
        usage_metadata={"input_tokens": 3, "output_tokens": 9, "total_tokens": 12},
        chunk_position="last",
    )
    assert last.message == expected
    assert last.message.model_dump() == expected.model_dump()
    assert last.message.model_fields_set == expected.model_fields_set


def test_kinds_of_content_never_share_a_chunk():
    delta = Delta("Hm", "Hi", [CallDelta(0, "c1", "write", "{")], {"content": []})
    reasoning, text, call = ChunkWriter().write(delta)
    assert reasoning.message.additional_kwargs == {"reasoning_content": "Hm"}
    assert (text.message.content, text.message.additional_kwargs) == ("Hi", {})
    assert (call.message.content, len(call.message.tool_call_chunks)) == ("", 1)
    assert reasoning.generation_info == {"logprobs": {"content": []}}
    assert (text.generation_info, call.generation_info) == (None, None)


def test_a_delta_that_says_nothing_is_no_chunk():
    assert ChunkWriter().write(Delta()) == []


def test_one_chunk_for_each_fragment_and_one_at_the_end():
    said = [
        (
            chunk.message.additional_kwargs.get("reasoning_content", "") + chunk.message.text,
            [(c["id"], c["name"], c["args"], c["index"]) for c in chunk.message.tool_call_chunks],
        )
        for chunk in chunks_of(FRAMES)
    ]
    assert said == [
        ("Hm", []),
        (".", []),
        ("I'll ", []),
        ("write.", []),
        ("", [("c1", "write", '{"path"', 0)]),
        ("", [("c2", "add", '{"a": 2}', 1)]),
        ("", [(None, None, ': "a.py"}', 0)]),
        ("", []),
    ]


def test_what_is_said_of_the_whole_answer_stands_on_the_last_chunk_only():
    *before, last = chunks_of(FRAMES)
    assert last.generation_info == {
        "finish_reason": "tool_calls",
        "model_name": "glm-4.7",
        "token_usage": {"prompt_tokens": 3, "completion_tokens": 9},
        "id": "r1",
        "request_id": "q1",
    }
    assert last.message.chunk_position == "last"
    for chunk in before:
        assert chunk.generation_info is None
        assert chunk.message.usage_metadata is None
        assert chunk.message.chunk_position is None
        assert chunk.message.response_metadata == METADATA


def test_headers_stand_on_the_first_chunk_only():
    first, *others = chunks_of(FRAMES, headers={"x-log-id": "7"})
    assert first.generation_info == {"headers": {"x-log-id": "7"}}
    assert all("headers" not in (chunk.generation_info or {}) for chunk in others)


def test_headers_of_an_answer_that_says_nothing():
    [only] = chunks_of([frame({}, "stop")], headers={"x-log-id": "7"})
    assert only.generation_info == {
        "headers": {"x-log-id": "7"},
        "finish_reason": "stop",
        "model_name": "glm-4.7",
        "id": "r1",
    }


def test_the_sum_of_the_chunks():
    message = summed(chunks_of(FRAMES))
    assert message.content == "I'll write."
    assert message.additional_kwargs == {"reasoning_content": "Hm."}
    assert message.tool_calls == [
        tool_call(name="write", args={"path": "a.py"}, id="c1"),
        tool_call(name="add", args={"a": 2}, id="c2"),
    ]
    assert message.invalid_tool_calls == []
    assert message.response_metadata == METADATA
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 9, "total_tokens": 12}


def test_a_call_without_an_id_gets_one_before_the_last_chunk():
    frames = [frame(calls(piece(0, '{"a": 2}', None, "add"))), frame({}, "tool_calls")]
    first, late, last = chunks_of(frames)
    assert first.message.tool_call_chunks == [
        tool_call_chunk(id=None, name="add", args='{"a": 2}', index=0)
    ]
    [named] = late.message.tool_call_chunks
    assert named == tool_call_chunk(id=named["id"], name=None, args="", index=0)
    assert named["id"].startswith("call_")
    assert last.message.tool_calls == []  # a nameless call there would be taken for a real one
    assert summed([first, late, last]).tool_calls == [{**ADD, "id": named["id"]}]


def test_every_frame_is_kept_once_and_in_order():
    frames = [
        {"id": "r1", "choices": []},
        frame({"role": "assistant", "content": ""}),
        frame({"reasoning_content": "Hm", "content": "Hi"}),
        frame(calls(piece(0, "{}", "c1", "now"))),
        frame({}, "tool_calls"),
        {"id": "r1", "choices": [], "usage": {"total_tokens": 3}},
    ]
    texts = [json.dumps(item) for item in frames]
    chunks = chunks_of(frames, raw=True)
    kept = [chunk.message.additional_kwargs.get("raw_response") for chunk in chunks]
    assert kept == [texts[:3], None, texts[3:4], texts[4:]]
    assert summed(chunks).additional_kwargs["raw_response"] == texts
    assert events_of(frames, raw=True)[-1]["additional_kwargs"]["raw_response"] == texts


def without_indexes(blocks):
    return [{name: block[name] for name in block if name != "index"} for block in blocks]


def test_the_content_blocks_of_chunks():
    assert [chunk.message.content_blocks for chunk in chunks_of(FRAMES)] == [
        [{"type": "reasoning", "reasoning": "Hm", "index": "lc_rs_0"}],
        [{"type": "reasoning", "reasoning": ".", "index": "lc_rs_0"}],
        [{"type": "text", "text": "I'll ", "index": "lc_txt_0"}],
        [{"type": "text", "text": "write.", "index": "lc_txt_0"}],
        [tool_call_chunk(id="c1", name="write", args='{"path"', index=0)],
        [tool_call_chunk(id="c2", name="add", args='{"a": 2}', index=1)],
        [tool_call_chunk(id=None, name=None, args=': "a.py"}', index=0)],
        [],
    ]


def test_list_content_keeps_reasoning_text_and_calls_apart():
    # As output version v1 has it: the blocks of each chunk are its content.
    blocks = [AIMessageChunk(content=chunk.message.content_blocks) for chunk in chunks_of(FRAMES)]
    assert without_indexes(reduce(add, blocks).content) == [
        {"type": "reasoning", "reasoning": "Hm."},
        {"type": "text", "text": "I'll write."},
        {"type": "tool_call_chunk", "id": "c1", "name": "write", "args": '{"path": "a.py"}'},
        {"type": "tool_call_chunk", "id": "c2", "name": "add", "args": '{"a": 2}'},
    ]


# Usage


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(
            {
                "prompt_tokens": 173,
                "completion_tokens": 88,
                "total_tokens": 261,
                "prompt_tokens_details": {"cached_tokens": 43},
                "completion_tokens_details": {"reasoning_tokens": 62},
            },
            {
                "input_tokens": 173,
                "output_tokens": 88,
                "total_tokens": 261,
                "input_token_details": {"cache_read": 43},
                "output_token_details": {"reasoning": 62},
            },
            id="zai",
        ),
        pytest.param(
            {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            id="zai_without_details",
        ),
        pytest.param(
            {
                "prompt_tokens": 13,
                "completion_tokens": 564,
                "total_tokens": 577,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
            {
                "input_tokens": 13,
                "output_tokens": 564,
                "total_tokens": 577,
                "input_token_details": {"cache_read": 0},
                "output_token_details": {"reasoning": 0},
            },
            id="zeros_are_facts",
        ),
        pytest.param(
            {
                "prompt_tokens": 173,
                "completion_tokens": 33,
                "total_tokens": 206,
                "cost": 0.00021672,
                "is_byok": False,
                "prompt_tokens_details": {
                    "cached_tokens": 128,
                    "cache_write_tokens": 5,
                    "audio_tokens": 0,
                },
                "cost_details": {"upstream_inference_cost": 0.00021672},
                "completion_tokens_details": {"reasoning_tokens": 19, "image_tokens": 0},
            },
            {
                "input_tokens": 173,
                "output_tokens": 33,
                "total_tokens": 206,
                "input_token_details": {"cache_read": 128, "cache_creation": 5},
                "output_token_details": {"reasoning": 19},
            },
            id="openrouter",
        ),
        pytest.param(
            {
                "prompt_tokens": 20,
                "completion_tokens": 10,
                "total_tokens": 30,
                "prompt_tokens_details": None,
                "reasoning_tokens": 4,
            },
            {
                "input_tokens": 20,
                "output_tokens": 10,
                "total_tokens": 30,
                "output_token_details": {"reasoning": 4},
            },
            id="sglang",
        ),
        pytest.param(
            {"prompt_tokens": 20, "total_tokens": 30, "completion_tokens": 10,
             "prompt_tokens_details": {"cached_tokens": None}},
            {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30},
            id="vllm_nulls",
        ),
        pytest.param(
            {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 31},
            {"input_tokens": 20, "output_tokens": 10, "total_tokens": 31},
            id="the_servers_own_total",
        ),
        pytest.param(
            {"prompt_tokens": "20", "completion_tokens": 10.0, "total_tokens": "many"},
            {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30},
            id="other_types",
        ),
        pytest.param(
            {"prompt_tokens": float("nan"), "completion_tokens": 1, "prompt_tokens_details": 5},
            {"input_tokens": 0, "output_tokens": 1, "total_tokens": 1},
            id="no_counts_at_all",
        ),
        pytest.param(
            {"prompt_tokens": 20, "completion_tokens": None},
            {"input_tokens": 20, "output_tokens": 0, "total_tokens": 20},
            id="counts_missing",
        ),
    ],
)  # fmt: skip
def test_usage(usage, expected):
    assert usage_metadata(usage) == expected


# Cut calls


def merged(frames):
    """What core makes of the chunks when `invoke` streams, before anyone settles the calls."""
    return ChatGeneration(message=message_chunk_to_message(summed(chunks_of(frames))))


def test_core_would_run_a_cut_call():
    # The reason for all that follows: the merge closes the JSON of the cut call.
    assert merged(CUT_FRAMES).message.tool_calls == [
        ADD,
        tool_call(name="write", args={"path": "a.p"}, id="c2"),
    ]


def test_a_settled_message_keeps_only_the_calls_that_may_run():
    generation = merged(CUT_FRAMES)
    settle_calls(generation)
    message = generation.message
    assert message.tool_calls == [ADD]
    assert message.invalid_tool_calls == [WRITE_INVALID]
    assert message.content == "I'll write."
    assert message.additional_kwargs == {}


def test_settling_twice_changes_nothing():
    generation = merged(CUT_FRAMES)
    settle_calls(generation)
    before = generation.message.model_dump()
    settle_calls(generation)
    assert generation.message.model_dump() == before


def test_a_message_whose_calls_may_all_run_stays_as_it_is():
    generation = merged(FRAMES)
    before = generation.message.model_dump()
    settle_calls(generation)
    assert generation.message.model_dump() == before
    assert len(generation.message.tool_calls) == 2


def test_only_an_answer_with_a_call_that_must_not_run_carries_the_verdict():
    assert SETTLED_CALLS not in summed(chunks_of(FRAMES)).additional_kwargs
    *before, last = chunks_of(CUT_FRAMES)
    assert all(SETTLED_CALLS not in chunk.message.additional_kwargs for chunk in before)
    assert last.message.additional_kwargs == {
        SETTLED_CALLS: {"tool_calls": [ADD], "invalid_tool_calls": [WRITE_INVALID]}
    }


@pytest.mark.parametrize(
    ("arguments", "finish", "error"),
    [
        pytest.param('{"path": "a.py"}', "length", CUT, id="cut_but_valid"),
        pytest.param("", "length", CUT, id="cut_after_the_name"),
        pytest.param('{"path"', "length", CUT, id="cut_after_a_key"),
        pytest.param(
            '{"path": "a.p',
            "tool_calls",
            "The arguments are not a JSON object: "
            "Unterminated string starting at: line 1 column 10 (char 9).",
            id="broken",
        ),
    ],
)
def test_the_text_of_a_call_that_must_not_run_is_as_it_came(arguments, finish, error):
    frames = [frame(calls(piece(0, arguments, "c1", "write"))), frame({}, finish)]
    expected = [invalid_tool_call(name="write", args=arguments, id="c1", error=error)]
    generation = merged(frames)
    settle_calls(generation)
    *_, block_end, _ = events_of(frames)
    assert generation.message.invalid_tool_calls == expected
    assert whole(frames).invalid_tool_calls == expected
    assert block_end["content"] == expected[0]
    assert generation.message.tool_calls == whole(frames).tool_calls == []


def test_a_chunk_whose_arguments_are_nested_too_deep():
    deep = '{"a":' * 100_000
    frames = [frame(calls(piece(0, deep, "c1", "write"))), frame({}, "tool_calls")]
    generation = merged(frames)
    settle_calls(generation)
    [call] = generation.message.invalid_tool_calls
    assert call["args"] == deep
    assert "nested too deep" in call["error"]


def test_list_content_loses_the_blocks_of_calls_that_must_not_run():
    # Content is a list of blocks under output version v1.
    message = AIMessage(
        content=[
            "text",
            {"type": "reasoning", "reasoning": "Hm"},
            {"type": "text", "text": "I'll write."},
            {"type": "tool_call", "name": "add", "args": {"a": 2}, "id": "c1"},
            {"type": "tool_call", "name": "write", "args": {"path": "a.p"}, "id": "c2"},
            # What core could not parse stays a chunk in its merge.
            {"type": "tool_call_chunk", "name": "write", "args": "[1", "id": "c3", "index": 2},
        ],
        tool_calls=[ADD, tool_call(name="write", args={"path": "a.p"}, id="c2")],
        additional_kwargs={
            SETTLED_CALLS: {"tool_calls": [ADD], "invalid_tool_calls": [WRITE_INVALID]},
            "other": 1,
        },
    )
    for _ in range(2):
        settle_calls(ChatGeneration(message=message))
        assert message.content == [
            "text",
            {"type": "reasoning", "reasoning": "Hm"},
            {"type": "text", "text": "I'll write."},
            {"type": "tool_call", "name": "add", "args": {"a": 2}, "id": "c1"},
        ]
        assert message.tool_calls == [ADD]
        assert message.invalid_tool_calls == [WRITE_INVALID]
        assert message.additional_kwargs == {"other": 1}


# Whole answers


def test_the_message_of_an_answer_that_came_whole():
    message = whole([*FRAMES, {"choices": [], "web_search": [{"title": "t"}]}])
    assert message == AIMessage(
        content="I'll write.",
        additional_kwargs={"reasoning_content": "Hm."},
        tool_calls=[
            tool_call(name="write", args={"path": "a.py"}, id="c1"),
            tool_call(name="add", args={"a": 2}, id="c2"),
        ],
        usage_metadata={"input_tokens": 3, "output_tokens": 9, "total_tokens": 12},
        response_metadata={
            "model_provider": PROVIDER,
            "finish_reason": "tool_calls",
            "model_name": "glm-4.7",
            "token_usage": {"prompt_tokens": 3, "completion_tokens": 9},
            "id": "r1",
            "request_id": "q1",
            "web_search": [{"title": "t"}],
        },
    )
    assert [block["type"] for block in message.content_blocks] == [
        "reasoning",
        "text",
        "tool_call",
        "tool_call",
    ]


FOUND = {"title": "t", "link": "u", "content": "c", "refer": "ref_1"}
CITED = {
    "type": "citation",
    "url": "u",
    "title": "t",
    "cited_text": "c",
    "extras": {"refer": "ref_1"},
}


def test_what_was_found_is_cited_by_the_text():
    frames = [*FRAMES, {"choices": [], "web_search": [FOUND]}]
    *before, cited, last = chunks_of(frames)
    assert [block["type"] for chunk in before for block in chunk.message.content_blocks].count(
        "text"
    ) == 2
    assert cited.message.content_blocks == [
        {"type": "text", "text": "", "index": "lc_txt_0", "annotations": [CITED]}
    ]
    assert last.message.content_blocks == []
    text = {"type": "text", "text": "I'll write.", "annotations": [CITED]}
    for message in (whole(frames), summed([*before, cited, last])):
        assert without_indexes(message.content_blocks)[1] == text
    ends = [
        event["content"]
        for event in events_of(frames)
        if "finish" in event["event"] and "content" in event
    ]
    assert without_indexes(ends)[1] == text


def test_a_message_without_a_provider_or_a_search_is_left_to_core():
    message = whole(FRAMES)
    assert "annotations" not in message.content_blocks[1]
    bare = AIMessage("Hello", response_metadata={"web_search": [FOUND]})
    assert bare.content_blocks == [{"type": "text", "text": "Hello"}]


def test_a_text_that_has_citations_keeps_them():
    text = {"type": "text", "text": "Hello", "annotations": [{"type": "citation", "url": "own"}]}
    metadata = {"model_provider": PROVIDER, "web_search": [FOUND]}
    assert AIMessage([text], response_metadata=metadata).content_blocks == [text]


def test_the_generation_of_an_answer_that_came_whole():
    reply = Reply("glm-4.7")
    reply.read(frame(calls(piece(0, "{}", None, "now")), "tool_calls"))
    generation = to_generation(reply, raw=["{}"], info={"headers": {"a": "b"}})
    assert generation.generation_info == {"finish_reason": "tool_calls", "headers": {"a": "b"}}
    assert generation.message.additional_kwargs == {"raw_response": ["{}"]}
    assert generation.message.tool_calls[0]["id"].startswith("call_")


def test_a_call_that_names_no_tool_is_invalid():
    frames = [frame(calls(piece(0, "{}", "c1"))), frame({}, "tool_calls")]
    error = "The call names no tool."
    expected = invalid_tool_call(name=None, args="{}", id="c1", error=error)
    assert whole(frames).invalid_tool_calls == [expected]


def test_the_message_of_half_an_answer():
    reply = Reply("glm-4.7")
    for item in FRAMES[:-1]:
        reply.read(item)
    message = to_message(reply, ended=False)
    error = "The call was cut off (the stream broke off)."
    assert message.content == "I'll write."
    assert message.tool_calls == []
    assert message.invalid_tool_calls == [
        invalid_tool_call(name="write", args='{"path": "a.py"}', id="c1", error=error),
        invalid_tool_call(name="add", args='{"a": 2}', id="c2", error=error),
    ]


# Events


def test_the_events_of_an_answer():
    start = {"type": "tool_call_chunk", "args": ""}
    assert events_of(FRAMES) == [
        {"event": "message-start", "role": "ai", "id": "lc_1", "metadata": {"provider": "zai"}},
        {
            "event": "content-block-start",
            "index": 0,
            "content": {"type": "reasoning", "reasoning": ""},
        },
        delta_event(0, {"type": "reasoning-delta", "reasoning": "Hm"}),
        delta_event(0, {"type": "reasoning-delta", "reasoning": "."}),
        {"event": "content-block-start", "index": 1, "content": {"type": "text", "text": ""}},
        delta_event(1, {"type": "text-delta", "text": "I'll "}),
        delta_event(1, {"type": "text-delta", "text": "write."}),
        {
            "event": "content-block-start",
            "index": 2,
            "content": {**start, "id": "c1", "name": "write", "index": 0},
        },
        delta_event(2, {"type": "tool-call-delta", "args": '{"path"'}),
        {
            "event": "content-block-start",
            "index": 3,
            "content": {**start, "id": "c2", "name": "add", "index": 1},
        },
        delta_event(3, {"type": "tool-call-delta", "args": '{"a": 2}'}),
        delta_event(2, {"type": "tool-call-delta", "args": ': "a.py"}'}),
        finish_event(0, {"type": "reasoning", "reasoning": "Hm.", "index": "lc_rs_0"}),
        finish_event(1, {"type": "text", "text": "I'll write.", "index": "lc_txt_0"}),
        finish_event(2, tool_call(name="write", args={"path": "a.py"}, id="c1")),
        finish_event(3, tool_call(name="add", args={"a": 2}, id="c2")),
        {
            "event": "message-finish",
            "usage": {"input_tokens": 3, "output_tokens": 9, "total_tokens": 12},
            "metadata": {
                "model_provider": "zai",
                "finish_reason": "tool_calls",
                "model_name": "glm-4.7",
                "token_usage": {"prompt_tokens": 3, "completion_tokens": 9},
                "id": "r1",
                "request_id": "q1",
            },
            "additional_kwargs": {"reasoning_content": "Hm."},
        },
    ]


def delta_event(index, delta):
    return {"event": "content-block-delta", "index": index, "delta": delta}


def finish_event(index, content):
    return {"event": "content-block-finish", "index": index, "content": content}


def test_a_cut_call_ends_its_block_as_an_invalid_one():
    assert events_of(CUT_FRAMES)[-3:-1] == [finish_event(1, ADD), finish_event(2, WRITE_INVALID)]


def test_a_call_without_an_id_has_one_when_its_block_ends():
    frames = [frame(calls(piece(0, '{"a": 2}', None, "add"))), frame({}, "tool_calls")]
    started, *_, ended, _ = events_of(frames)[1:]
    assert started["content"]["id"] is None
    assert ended["content"]["id"].startswith("call_")


def test_the_events_of_an_answer_that_says_nothing():
    assert [event["event"] for event in events_of([frame({}, "stop")])] == [
        "message-start",
        "message-finish",
    ]


def test_events_without_a_message_id():
    assert events_of(FRAMES, message_id=None)[0]["id"] == ""


def test_headers_and_log_probabilities_are_in_the_metadata():
    def scored(token):
        choice = {"delta": {"content": token}, "logprobs": {"content": [token], "refusal": None}}
        return {"choices": [choice]}

    frames = [scored("a"), scored("b"), frame({}, "stop")]
    metadata = events_of(frames, headers={"x-log-id": "7"})[-1]["metadata"]
    assert metadata["headers"] == {"x-log-id": "7"}
    assert metadata["logprobs"] == {"content": ["a", "b"], "refusal": []}


# Any answer that was not cut: the events are what core's bridge would make of the chunks.

TEXTS = st.text(alphabet='ab {}[]":,\\\n你🙂', min_size=1, max_size=4)
ARGUMENTS = st.dictionaries(
    TEXTS, st.recursive(st.none() | st.integers() | TEXTS, st.lists, max_leaves=4), max_size=3
).map(lambda value: json.dumps(value, ensure_ascii=False))


def fragments(draw, text):
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(text)])]


@st.composite
def answers(draw):
    """Frames with reasoning, text and calls, interleaved, several of them in one frame or not."""
    queues = [
        [{field: text} for text in draw(st.lists(TEXTS, max_size=3))]
        for field in ("reasoning_content", "content")
    ]
    for number, text in enumerate(draw(st.lists(ARGUMENTS | st.just(""), max_size=3))):
        first, *others = fragments(draw, text)
        begin = piece(number, first, f"c{number}", f"tool_{number}")
        late = draw(st.booleans())  # the id comes with a later fragment
        if late and others:
            begin = {**begin, "id": None}
        queue = [piece(number, other, f"c{number}" if late else None) for other in others]
        queues.append([calls(begin), *(calls(other) for other in queue)])
    owners = [queue for queue in queues for _ in queue]
    deltas = [queue.pop(0) for queue in draw(st.permutations(owners))]
    frames = []
    for delta in deltas:
        before = frames[-1] if frames else {}
        if before and draw(st.integers(0, 3)) == 0:
            for field, value in delta.items():
                before[field] = before[field] + value if field in before else value
        else:
            frames.append(dict(delta))
    finish = draw(st.sampled_from(["stop", "tool_calls"]))
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"x": 1}}
    found = {"web_search": [{"title": "t", "link": "u", "refer": "ref_1"}]}
    ending = draw(st.sampled_from([{}, {"usage": usage}, found, {"usage": usage, **found}]))
    return [*(frame(delta) for delta in frames), frame({"content": ""}, finish, **ending)]


@settings(deadline=None)
@given(frames=answers(), raw=st.booleans(), headers=st.none() | st.just({"a": "b"}))
def test_the_events_are_what_core_makes_of_the_chunks(frames, raw, headers):
    chunks = chunks_of(frames, raw=raw, headers=headers)
    bridged = list(chunks_to_events(iter(chunks), message_id="lc_1"))
    assert events_of(frames, raw=raw, headers=headers) == bridged


@settings(deadline=None)
@given(frames=answers())
def test_the_sum_of_the_chunks_is_the_whole_message(frames):
    message, expected = summed(chunks_of(frames)), whole(frames)
    assert message.text == expected.text
    assert without_indexes(message.content_blocks) == expected.content_blocks
    assert message.tool_calls == expected.tool_calls
    assert message.invalid_tool_calls == expected.invalid_tool_calls == []
    assert message.usage_metadata == expected.usage_metadata
    assert message.additional_kwargs == expected.additional_kwargs
