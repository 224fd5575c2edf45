"""`ChatOpenAI`'s payload goes in, the body that GLM gets comes out."""

import copy

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_glm._request import TRANSPORT_OPTIONS, chosen_tool_stream, glm_request

TOOLS = [{"type": "function", "function": {"name": "write", "parameters": {}}}]
USER = HumanMessage("Hi")
USER_TURN = {"role": "user", "content": "Hi"}
TOOL_CALLS = [{"id": "c1", "type": "function", "function": {"name": "write", "arguments": "{}"}}]


def request(**payload):
    """The body for one user message, without that message."""
    payload = {"model": "glm-4.7", "messages": [dict(USER_TURN)], **payload}
    body = glm_request(payload, [USER], tool_stream=False)
    assert body.pop("messages") == [USER_TURN]
    assert body.pop("model") == "glm-4.7"
    return body


def turn(message, **converted):
    """What becomes of one assistant turn."""
    converted = {"role": "assistant", "content": message.content, **converted}
    payload = {"model": "glm-4.7", "messages": [converted]}
    [sent] = glm_request(payload, [message], tool_stream=False)["messages"]
    return sent


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        pytest.param(
            {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, id="as_it_is"
        ),
        pytest.param(
            {"temperature": 0, "stream": False, "x": "", "y": []},
            {"temperature": 0, "stream": False, "x": "", "y": []},
            id="zero_false_and_empty_stay",
        ),
        pytest.param({"temperature": None, "stop": None}, {}, id="none_is_left_out"),
        pytest.param({"max_completion_tokens": 9}, {"max_tokens": 9}, id="max_completion_tokens"),
        pytest.param({"max_tokens": 9}, {"max_tokens": 9}, id="max_tokens"),
        pytest.param({"stop": "END"}, {"stop": ["END"]}, id="stop_as_text"),
        pytest.param({"stop": ["END"]}, {"stop": ["END"]}, id="stop_as_list"),
        pytest.param(
            {"extra_body": {"thinking": {"type": "disabled"}, "do_sample": False}},
            {"thinking": {"type": "disabled"}, "do_sample": False},
            id="extra_body_is_merged_into_the_top_level",
        ),
        pytest.param(
            {"temperature": 1, "extra_body": {"temperature": 0.2}},
            {"temperature": 0.2},
            id="extra_body_wins",
        ),
        pytest.param({"extra_body": None}, {}, id="extra_body_none"),
        pytest.param({"tools": []}, {}, id="empty_tools_are_left_out"),
        pytest.param({"tools": TOOLS}, {"tools": TOOLS}, id="tools"),
        pytest.param(
            {"extra_body": {"max_completion_tokens": 9, "stop": "END"}},
            {"max_tokens": 9, "stop": ["END"]},
            id="extra_body_is_translated_too",
        ),
        pytest.param(
            {"extra_headers": {"a": "b"}, "extra_query": {"c": "d"}, "timeout": 3},
            {"extra_headers": {"a": "b"}, "extra_query": {"c": "d"}, "timeout": 3},
            id="transport_options_stand_beside_the_fields",
        ),
    ],
)
def test_the_body(payload, body):
    assert request(**payload) == body


def test_the_transport_options():
    assert TRANSPORT_OPTIONS == ("extra_headers", "extra_query", "timeout")


SAID = {"tool_stream": True}
DENIED = {"tool_stream": False}


@pytest.mark.parametrize(
    ("payload", "wanted", "sent"),
    [
        pytest.param({"stream": True, "tools": TOOLS}, True, True, id="stream_with_tools"),
        pytest.param(
            {"stream": True, "extra_body": {"tools": TOOLS}}, True, True, id="extra_tools"
        ),
        pytest.param({"stream": True, "tools": TOOLS}, False, None, id="not_wanted"),
        pytest.param({"stream": True}, True, None, id="no_tools"),
        pytest.param({"stream": True, "tools": []}, True, None, id="empty_tools"),
        pytest.param({"stream": False, "tools": TOOLS}, True, None, id="no_stream"),
        pytest.param({"tools": TOOLS}, True, None, id="stream_left_out"),
        # What is said in the payload has been weighed by `chosen_tool_stream` before.
        pytest.param({"stream": True, "tools": TOOLS, **SAID}, True, True, id="said"),
        pytest.param({"stream": True, "tools": TOOLS, **SAID}, False, None, id="said_not_wanted"),
        pytest.param({"stream": False, "tools": TOOLS, **SAID}, True, None, id="said_no_stream"),
        pytest.param({"stream": True, **SAID}, True, None, id="said_no_tools"),
        pytest.param({"stream": True, "tools": TOOLS, **DENIED}, True, True, id="denied"),
        pytest.param({"stream": False, "extra_body": SAID}, True, None, id="extra_no_stream"),
        pytest.param(
            {"stream": True, "tools": TOOLS, "extra_body": SAID}, False, None, id="extra_not_wanted"
        ),
        pytest.param(
            {"stream": True, "tools": TOOLS, "extra_body": DENIED}, True, True, id="extra_denied"
        ),
    ],
)
def test_tool_stream_is_sent_where_it_belongs(payload, wanted, sent):
    payload = {"messages": [dict(USER_TURN)], **payload}
    assert glm_request(payload, [USER], tool_stream=wanted).get("tool_stream") is sent


def test_the_payload_stays_as_it_was():
    payload = {
        "model": "glm-4.7",
        "messages": [dict(USER_TURN)],
        "stop": "END",
        "stream": True,
        "tools": TOOLS,
        "max_completion_tokens": 9,
        "extra_body": {"tool_stream": False, "do_sample": False},
    }
    before = copy.deepcopy(payload)
    glm_request(payload, [USER], tool_stream=True)
    assert payload == before


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        pytest.param("text", "text", id="text"),
        pytest.param(None, "", id="null"),
        pytest.param("", "", id="empty"),
        pytest.param([], "", id="empty_list"),
        pytest.param([{"type": "text", "text": "a"}, "b"], "ab", id="blocks"),
        pytest.param(
            [{"type": "text", "text": "a", "index": 0}, {"type": "text"}],
            "a",
            id="block_without_text",
        ),
        pytest.param(
            [{"type": "tool_call", "name": "write", "args": {}, "id": "c1"}], "", id="call_block"
        ),
    ],
)
def test_the_content_of_an_assistant_turn_is_text(content, sent):
    assert turn(AIMessage("x"), content=content)["content"] == sent


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        pytest.param(
            AIMessage("x", additional_kwargs={"reasoning_content": " Hm\n"}), " Hm\n", id="kwargs"
        ),
        pytest.param(
            AIMessage(
                [
                    {"type": "reasoning", "reasoning": "H"},
                    {"type": "text", "text": "x"},
                    {"type": "reasoning", "reasoning": "m"},
                ]
            ),
            "Hm",
            id="blocks",
        ),
        pytest.param(
            AIMessage(
                [{"type": "reasoning", "reasoning": "x"}],
                additional_kwargs={"reasoning_content": "Hm"},
            ),
            "Hm",
            id="kwargs_before_blocks",
        ),
        pytest.param(AIMessage([{"type": "reasoning"}, "text"]), None, id="empty_block"),
        pytest.param(
            AIMessage([{"type": "text", "text": "x", "reasoning": "Hm"}]), None, id="other_block"
        ),
        pytest.param(AIMessage("x"), None, id="none"),
        pytest.param(AIMessage("x", additional_kwargs={"reasoning_content": ""}), None, id="empty"),
    ],
)
def test_the_reasoning_of_an_assistant_turn_goes_back(message, sent):
    assert turn(message).get("reasoning_content") == sent


def test_a_round_of_tools():
    messages = [
        SystemMessage("Be brief."),
        USER,
        AIMessage("", additional_kwargs={"reasoning_content": "Hm"}),
        ToolMessage("done", tool_call_id="c1"),
    ]
    turns = [
        {"role": "system", "content": "Be brief."},
        USER_TURN,
        {"role": "assistant", "content": None, "tool_calls": TOOL_CALLS},
        {"role": "tool", "content": "done", "tool_call_id": "c1"},
    ]
    body = glm_request({"model": "m", "messages": copy.deepcopy(turns)}, messages, tool_stream=True)
    reasoned = {**turns[2], "content": "", "reasoning_content": "Hm"}
    assert body == {"model": "m", "messages": [*turns[:2], reasoned, turns[3]]}


def test_only_assistant_turns_are_touched():
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]
    converted = {"role": "user", "content": image}
    body = glm_request({"messages": [converted]}, [HumanMessage(image)], tool_stream=False)
    assert body["messages"] == [converted]


def test_a_message_too_many_is_an_error():
    with pytest.raises(ValueError, match="argument 2 is"):
        glm_request({"messages": [dict(USER_TURN)]}, [USER, USER], tool_stream=False)


@pytest.mark.parametrize(
    ("sources", "chosen"),
    [
        pytest.param([], None, id="no_source"),
        pytest.param([{}, None, {"other": True}], None, id="nobody_says"),
        pytest.param([{"tool_stream": True}], True, id="on"),
        pytest.param([{"tool_stream": False}], False, id="off"),
        pytest.param([{"tool_stream": False}, {"tool_stream": True}], False, id="first_wins"),
        pytest.param(
            [{"tool_stream": None}, {"tool_stream": False}], False, id="none_says_nothing"
        ),
        pytest.param([None, {}, {"tool_stream": True}], True, id="later_source"),
        pytest.param([{"tool_stream": 0}, {"tool_stream": True}], False, id="zero_is_off"),
    ],
)
def test_who_chooses_tool_stream(sources, chosen):
    assert chosen_tool_stream(*sources) is chosen
