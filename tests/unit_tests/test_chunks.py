"""A chunk that was put together is in nothing different from one that was validated."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessageChunk, message_to_dict, messages_from_dict
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.output_parsers import JsonOutputToolsParser, StrOutputParser
from langchain_core.outputs import ChatGenerationChunk

from langchain_glm._chunks import generation_chunk, message_chunk

METADATA = {"model_provider": "zai"}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
# What fragments of JSON look like, and what core's lenient parser might take for some.
FRAGMENTS = st.one_of(
    TEXTS,
    st.lists(st.sampled_from(['{"a"', "{", "}", '"', ": 1", "[", "]", "\\", " ", "\n", "\x0b",
                              "tru", "null", "1", "-", "﻿{", "```json"]), max_size=5).map("".join),
)  # fmt: skip
PIECES = st.fixed_dictionaries(
    {
        "type": st.just("tool_call_chunk"),
        "id": st.none() | TEXTS,
        "name": st.none() | TEXTS,
        "args": st.none() | FRAGMENTS,
        "index": st.none() | st.integers(-1, 3),
    }
)
FIELDS = st.fixed_dictionaries(
    {
        "content": TEXTS,
        "response_metadata": st.sampled_from([{}, METADATA, {**METADATA, "finish_reason": "stop"}]),
    },
    optional={
        "additional_kwargs": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "tool_call_chunks": st.lists(PIECES, max_size=3),
        "chunk_position": st.sampled_from([None, "last"]),
        "usage_metadata": st.just({"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}),
        "id": TEXTS,
    },
)
EXAMPLES = [
    pytest.param({"content": "Hi", "response_metadata": METADATA}, id="text"),
    pytest.param(
        {"content": "", "additional_kwargs": {"reasoning_content": "…"}, "response_metadata": {}},
        id="reasoning",
    ),
    *(
        pytest.param(
            {
                "content": "",
                "response_metadata": METADATA,
                "tool_call_chunks": [
                    {"type": "tool_call_chunk", "id": i, "name": n, "args": a, "index": 0}
                ],
            },
            id=f"call-{a}",
        )
        for i, n, a in [
            ("c1", "write", ""),
            ("c1", None, None),
            (None, None, "ab"),
            (None, None, ' {"a": 1}'),
            (None, None, '{"a'),
            (None, None, "[1]"),
            ("c1", "write", '"'),
        ]
    ),
]


def both(fields):
    return message_chunk(copy.deepcopy(fields)), AIMessageChunk(**copy.deepcopy(fields))


def facts(message):
    """All that can be asked of a chunk."""
    return {
        "class": type(message),
        "state": message.__dict__,
        "order": list(message.__dict__),
        "set": message.model_fields_set,
        "extra": message.model_extra,
        "private": message.__pydantic_private__,
        "repr": repr(message),
        "dump": message.model_dump(),
        "json": message.model_dump_json(),
        "only set": message.model_dump(exclude_unset=True),
        "langchain": dumps(message),
        "dict": message_to_dict(message),
        "message": message_chunk_to_message(message),
        "text": message.text,
        "blocks": message.content_blocks,
    }


def assert_alike(ours, theirs):
    assert ours == theirs
    assert facts(ours) == facts(theirs)


@pytest.mark.parametrize("fields", EXAMPLES)
def test_a_chunk_is_as_if_it_was_validated(fields):
    assert_alike(*both(fields))


@given(fields=FIELDS)
@settings(max_examples=400, deadline=None)
def test_any_chunk_is_as_if_it_was_validated(fields):
    assert_alike(*both(fields))


@given(fields=st.lists(FIELDS, min_size=2, max_size=4))
@settings(max_examples=100, deadline=None)
def test_chunks_add_up_as_if_they_were_validated(fields):
    ours, theirs = zip(*map(both, fields), strict=True)
    assert_alike(ours[0] + list(ours[1:]), theirs[0] + list(theirs[1:]))
    assert_alike(ours[0] + theirs[1], theirs[0] + ours[1])


@pytest.mark.parametrize("fields", EXAMPLES)
@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        lambda chunk: pickle.loads(pickle.dumps(chunk)),  # noqa: S301
        lambda chunk: loads(dumps(chunk), allowed_objects="core"),
        AIMessageChunk.model_validate,
        lambda chunk: AIMessageChunk.model_validate(chunk.model_dump()),
        lambda chunk: chunk.model_copy(update={"content": "more"}),
        lambda chunk: messages_from_dict([message_to_dict(chunk)])[0],
    ],
    ids=["copy", "deepcopy", "pickle", "dumps", "validate", "dump", "model_copy", "dict"],
)
def test_a_copy_of_a_chunk(fields, copied):
    ours, theirs = both(fields)
    assert_alike(copied(ours), copied(theirs))


def test_chunks_share_nothing():
    fields = {"content": "", "response_metadata": {}}
    first, second = message_chunk(fields), message_chunk(fields)
    assert not {id(v) for v in vars(first).values() if isinstance(v, (list, dict))} & {
        id(v) for k, v in vars(second).items() if isinstance(v, (list, dict)) and k not in fields
    }
    first.tool_calls.append({"type": "tool_call", "id": "a", "name": "b", "args": {}})
    assert second.tool_calls == []


@pytest.mark.parametrize("field", ["content", "id", "name", "tool_calls"])
def test_a_chunk_can_be_changed(field):
    values = {"content": "x", "id": "i", "name": "n", "tool_calls": []}
    ours, theirs = both({"content": "", "response_metadata": {}})
    for chunk in (ours, theirs):
        setattr(chunk, field, values[field])
    assert_alike(ours, theirs)


@pytest.mark.parametrize("fields", EXAMPLES)
@pytest.mark.parametrize("info", [None, {}, {"finish_reason": "stop"}])
def test_a_generation_is_as_if_it_was_validated(fields, info):
    chunk, validated = both(fields)
    ours = generation_chunk(chunk, info)
    theirs = ChatGenerationChunk(message=validated, generation_info=info)
    assert ours == theirs
    assert vars(ours) == vars(theirs)
    assert list(vars(ours)) == list(vars(theirs))
    assert ours.model_fields_set == theirs.model_fields_set
    assert ours.model_dump() == theirs.model_dump()
    assert ours.__pydantic_extra__ == theirs.__pydantic_extra__
    assert pickle.loads(pickle.dumps(ours)) == theirs  # noqa: S301
    assert ours + ours == theirs + theirs
    assert ours.text == theirs.text


@pytest.mark.parametrize("fields", EXAMPLES)
def test_output_parsers_read_a_chunk(fields):
    ours, theirs = both(fields)
    for parser in (StrOutputParser(), JsonOutputToolsParser()):
        results = [list(parser.transform(iter([chunk]))) for chunk in (ours, theirs)]
        assert results[0] == results[1]
