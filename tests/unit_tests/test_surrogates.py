"""Text that comes out can be encoded, however a server cuts its characters in two."""

from __future__ import annotations

import json

import pytest
import ways
from hypothesis import given
from hypothesis import strategies as st

from langchain_glm import ChatGLM
from langchain_glm._surrogates import SurrogatePairs, joined, joined_within
from langchain_glm.testing import GLMServer, Raw

HIGH, LOW, SMILE = "\ud83d", "\ude00", "😀"
TEXTS = [
    pytest.param("plain", "plain", id="ascii"),
    pytest.param("你好", "你好", id="chinese"),
    pytest.param(HIGH + LOW, SMILE, id="pair"),
    pytest.param(f"a{HIGH}{LOW}b", f"a{SMILE}b", id="pair_inside"),
    pytest.param(HIGH, "�", id="half"),
    pytest.param(f"{LOW}a", "�a", id="second_half"),
    pytest.param(HIGH * 2 + LOW, "�" + SMILE, id="half_and_pair"),
    pytest.param(LOW + HIGH, "��", id="turned_round"),
]


@pytest.mark.parametrize(("text", "whole"), TEXTS)
def test_a_text(text, whole):
    assert joined(text) == whole
    assert joined_within([{"name": [text, 1, None]}]) == [{"name": [whole, 1, None]}]


@pytest.mark.parametrize(("text", "whole"), TEXTS)
def test_a_text_in_pieces(text, whole):
    for cut in range(len(text) + 1):
        pairs = SurrogatePairs()
        assert pairs.feed(text[:cut]) + pairs.feed(text[cut:]) + pairs.close() == whole


@given(st.lists(st.text(st.characters() | st.sampled_from([HIGH, LOW]), max_size=4)))
def test_any_text_in_any_pieces(pieces):
    pairs = SurrogatePairs()
    fed = [*map(pairs.feed, pieces), pairs.close()]
    assert "".join(fed) == joined("".join(pieces))
    assert all(piece.encode() or not piece for piece in fed)


def stream_of(*deltas):
    frames = [{"id": "1", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    frames.append({"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    body = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames)
    return Raw(f"{body}data: [DONE]\n\n".encode())


def call(arguments, **first):
    return {"tool_calls": [{"index": 0, **first, "function": {**first, "arguments": arguments}}]}


@pytest.mark.parametrize("ask", [ways.stream, ways.astream, ways.v3, ways.av3])
async def test_an_answer_whose_characters_were_cut_in_two(ask):
    answer = stream_of(
        {"reasoning_content": f"r{HIGH}"},
        {"reasoning_content": LOW},
        {"content": f"t{HIGH}"},
        {"content": f"{LOW}{HIGH}"},
        call("", id="c", name=f"f{HIGH}"),
        call(f'{{"a": "{HIGH}'),
        call(f'{LOW}"}}'),
    )
    with GLMServer(answer) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key")
        message = await ask(model)
    assert message.text == f"t{SMILE}�"
    assert message.additional_kwargs["reasoning_content"] == f"r{SMILE}"
    [found] = message.tool_calls
    assert (found["name"], found["args"]) == ("f�", {"a": SMILE})
    message.model_dump_json().encode()


def test_a_whole_answer_with_a_half():
    message = {"role": "assistant", "content": f"a{HIGH}", "reasoning_content": f"{LOW}b"}
    body = {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    with GLMServer(Raw(json.dumps(body).encode(), content_type="application/json")) as server:
        answer = ChatGLM(base_url=server.base_url, api_key="test-key").invoke("hi")
    assert (answer.text, answer.additional_kwargs["reasoning_content"]) == ("a�", "�b")
