"""Whatever messages a run has left: a history that a model accepts is made of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_glm import ChatGLM
from langchain_glm.streaming import complete_history
from langchain_glm.streaming.history import STOPPED, messages_of, not_in
from langchain_glm.testing import GLMServer, Reply

HUMAN = HumanMessage("hi", id="h")


def calling(*ids, text="", **fields):
    calls = [{"name": "look", "args": {"at": id_}, "id": id_} for id_ in ids]
    return AIMessage(text, tool_calls=calls, **fields)


def broken(*ids, text="", **fields):
    invalid = [
        {"type": "invalid_tool_call", "name": "look", "args": '{"at', "id": id_, "error": "cut"}
        for id_ in ids
    ]
    return AIMessage(text, invalid_tool_calls=invalid, **fields)


def result(id_, text="seen"):
    return ToolMessage(text, tool_call_id=id_, name="look")


def stopped(id_, text=STOPPED):
    return ToolMessage(text, tool_call_id=id_, name="look", status="error")


DONE = AIMessage("Done.")


@pytest.mark.parametrize(
    ("left", "made"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([HUMAN, DONE], [HUMAN, DONE], id="valid"),
        pytest.param([calling("1")], [calling("1"), stopped("1")], id="no_answer"),
        pytest.param(
            [calling("1", "2"), result("2")],
            [calling("1", "2"), result("2"), stopped("1")],
            id="one_answer_of_two",
        ),
        pytest.param(
            [calling("1"), HUMAN, DONE],
            [calling("1"), stopped("1"), HUMAN, DONE],
            id="a_later_turn",
        ),
        pytest.param(
            [calling("1"), HUMAN, result("1")],
            [calling("1"), stopped("1"), HUMAN],
            id="a_late_answer",
        ),
        pytest.param([result("1"), DONE], [DONE], id="an_answer_without_a_call"),
        pytest.param(
            [calling("1"), result("1"), result("1", "again")],
            [calling("1"), result("1")],
            id="two_answers",
        ),
        pytest.param([broken("1", text="I look.")], [AIMessage("I look.")], id="an_invalid_call"),
        pytest.param([HUMAN, broken("1")], [HUMAN], id="nothing_but_an_invalid_call"),
        pytest.param([HUMAN, AIMessage("")], [HUMAN], id="empty"),
        pytest.param(
            [broken("1"), result("1", "smaller")],
            [broken("1"), result("1", "smaller")],
            id="an_invalid_call_that_was_answered",
        ),
        pytest.param(
            [broken("1", "2"), result("1")], [broken("1"), result("1")], id="one_of_two_invalid"
        ),
        pytest.param(
            [broken("0"), calling("0"), result("0")],
            [calling("0"), result("0")],
            id="an_id_used_again",
        ),
        pytest.param(
            [calling("0"), result("0"), broken("0"), HUMAN],
            [calling("0"), result("0"), HUMAN],
            id="an_id_used_again_by_an_invalid_call",
        ),
        pytest.param(
            [calling("0", "0"), result("0"), result("0")],
            [calling("0", "0"), result("0"), result("0")],
            id="an_id_used_twice_at_once",
        ),
        pytest.param(
            [broken(None, text="I look.")],
            [AIMessage("I look.")],
            id="an_invalid_call_without_an_id",
        ),
        pytest.param(
            [SystemMessage("s"), HUMAN, calling("1", id="m")],
            [SystemMessage("s"), HUMAN, calling("1", id="m"), stopped("1")],
            id="other_messages",
        ),
        pytest.param(
            [AIMessage("", additional_kwargs={"reasoning_content": "Hm."})],
            [],
            id="nothing_but_reasoning",
        ),
        pytest.param(
            [AIMessage([{"type": "reasoning", "reasoning": "Hm."}])],
            [],
            id="nothing_but_a_block_of_reasoning",
        ),
    ],
)
def test_what_is_made(left, made):
    assert complete_history(left) == made


def test_the_word_for_a_call_without_a_result():
    assert complete_history([calling("1")], answer="No.")[1] == stopped("1", "No.")


def test_what_was_given_is_not_changed():
    message = broken("1", text="I look.")
    before = message.model_copy(deep=True)
    given_ = [message, calling("2")]
    complete_history(given_)
    assert message == before
    assert len(given_) == 2


def test_only_the_block_of_the_invalid_call_is_left_out():
    """The other has the same id."""
    block = {"type": "tool_call", "id": "0", "name": "look", "args": {}}
    bad = broken("0").invalid_tool_calls
    message = calling("0", text=[block]).model_copy(update={"invalid_tool_calls": bad})
    made, _ = complete_history([message, result("0")])
    assert made.content == [block]
    assert made.invalid_tool_calls == []


def test_an_invalid_call_in_the_content():
    block = {"type": "invalid_tool_call", "id": "1", "name": "look", "args": '{"', "error": "cut"}
    text = {"type": "text", "text": "I look."}
    message = broken("1", text=[text, block, "more"])
    (made,) = complete_history([message])
    assert made.content == [text, "more"]
    assert made.invalid_tool_calls == []


# Any messages

IDS = st.sampled_from(["0", "1", "2"])
CALLS = st.lists(IDS, max_size=3)
MESSAGES = st.lists(
    st.one_of(
        st.just(HUMAN),
        st.builds(lambda ids, text: calling(*ids, text=text), CALLS, st.sampled_from(["", "x"])),
        st.builds(lambda ids, text: broken(*ids, text=text), CALLS, st.sampled_from(["", "x"])),
        st.builds(
            lambda good, bad: AIMessage(
                "",
                tool_calls=calling(*good).tool_calls,
                invalid_tool_calls=broken(*bad).invalid_tool_calls,
            ),
            CALLS,
            CALLS,
        ),
        st.builds(result, IDS),
    ),
    max_size=8,
)


def faults(messages):
    """What GLM would refuse, in the order of the messages."""
    waiting = []
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in waiting:
                yield "an answer without a call"
            else:
                waiting.remove(message.tool_call_id)
            continue
        if waiting:
            yield "a call without an answer"
            waiting = []
        if isinstance(message, AIMessage):
            calls = [*message.tool_calls, *message.invalid_tool_calls]
            waiting = [call["id"] for call in calls]
            if not message.content and not calls:
                yield "an empty message"
    if waiting:
        yield "a call without an answer"


@given(MESSAGES)
def test_nothing_that_would_be_refused_is_left(left):
    made = complete_history(left)
    assert list(faults(made)) == []
    assert complete_history(made) == made
    assert [m for m in made if m.type == "human"] == [m for m in left if m.type == "human"]
    if not list(faults(left)):
        assert made == left


@given(MESSAGES)
def test_no_answer_to_a_call_right_before_it_is_lost(left):
    kept = complete_history(left)
    for at, message in enumerate(left[:-1]):
        answer = left[at + 1]
        asked = isinstance(message, AIMessage) and isinstance(answer, ToolMessage)
        if asked and answer.tool_call_id in {call["id"] for call in message.tool_calls}:
            assert any(answer is m for m in kept)


@pytest.mark.parametrize(
    "left",
    [
        pytest.param([calling("1", "2"), result("1"), broken("3")], id="cut_in_the_second_round"),
        pytest.param([broken("1"), result("1"), calling("2")], id="continued_and_stopped"),
        pytest.param([AIMessageChunk(content="half a sen")], id="a_chunk"),
    ],
)
def test_glm_is_sent_a_history_that_it_takes(left):
    with GLMServer(Reply(text="Go on.")) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=0)
        model.invoke([HUMAN, *complete_history(left), HumanMessage("And?")])
        turns = server.requests[0].body["messages"]
    assert turns[0]["role"] == turns[-1]["role"] == "user"
    waiting = []
    for turn in turns:
        if turn["role"] == "tool":
            waiting.remove(turn["tool_call_id"])
            continue
        assert waiting == []
        waiting = [call["id"] for call in turn.get("tool_calls", [])]
        for call in turn.get("tool_calls", []):
            json.loads(call["function"]["arguments"])
        assert turn["content"] or waiting


# The messages of a state


class State:
    messages = (DONE,)


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ({"messages": [DONE]}, [DONE]),
        (State(), [DONE]),
        ({"messages": [("human", "hi"), {"role": "user", "content": "hi"}, DONE, "x"]}, [DONE]),
        ({"messages": "text"}, []),
        ({"messages": None}, []),
        ({"messages": {"a": 1}}, []),
        ({}, []),
        (None, []),
        ("text", []),
        ([DONE], []),
    ],
)
def test_the_messages_of_a_state(state, found):
    assert list(messages_of(state)) == found


def test_only_messages_that_are_new():
    same = AIMessage("x")
    again = [AIMessage("new", id="n"), AIMessage("changed", id="n")]
    assert not_in([HUMAN, same], [HUMAN, same, *again]) == again[:1]


def test_answers_to_one_call_id_are_told_apart():
    """A server may count the calls of each answer from 0."""
    old, new = result("0"), result("0", "later")
    assert not_in([old], [old, new]) == [new]
