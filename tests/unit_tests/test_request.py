"""`ChatOpenAI`'s payload goes in, the body that GLM gets comes out."""

import copy

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_glm._request import (
    INSTRUCTION,
    TRANSPORT_OPTIONS,
    Server,
    chosen_thinking,
    chosen_tool_stream,
    glm_request,
)

TOOLS = [{"type": "function", "function": {"name": "write", "parameters": {}}}]
USER = HumanMessage("Hi")
USER_TURN = {"content": "Hi", "role": "user"}
OTHER = Server(own=False, enforces_schema=True, takes_tool_choice=True)
OWN = Server(own=True, enforces_schema=False, takes_tool_choice=False)
FORCED = OWN._replace(thinking="forced")


def request(server=OTHER, **payload):
    """The body for one user message, without that message; and what was warned of."""
    warnings = []
    body = glm_request(
        {"model": "glm-4.7", "messages": [], **payload},
        [USER],
        server=server,
        tool_stream=False,
        warn=lambda subject, text: warnings.append((subject, text)),
    )
    assert body.pop("messages") == [USER_TURN]
    assert body.pop("model") == "glm-4.7"
    return body, warnings


def never(subject, text):
    raise AssertionError(text)


def quietly(payload, messages, server=OTHER, **options):
    settings = {"server": server, "tool_stream": False, "warn": never, **options}
    return glm_request({"model": "m", **payload}, messages, **settings)


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
    assert request(**payload) == (body, [])


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
    assert quietly(payload, [USER], tool_stream=wanted).get("tool_stream") is sent


def test_the_payload_stays_as_it_was():
    payload = {
        "model": "glm-4.7",
        "messages": [],
        "stop": "END",
        "stream": True,
        "tools": [*TOOLS, *TOOLS],
        "tool_choice": "write",
        "thinking": {"type": "disabled"},
        "n": 2,
        "max_completion_tokens": 9,
        "extra_body": {"tool_stream": False, "do_sample": False},
    }
    before = copy.deepcopy(payload)
    glm_request(payload, [USER], server=FORCED, tool_stream=True, warn=lambda *_: None)
    assert payload == before


def test_the_messages_are_those_of_langchain():
    body = quietly({"messages": "whatever"}, [SystemMessage("Be brief."), USER])
    assert body["messages"] == [{"content": "Be brief.", "role": "system"}, USER_TURN]


def test_the_reasoning_goes_back_as_far_as_it_is_wanted():
    turn = AIMessage("x", additional_kwargs={"reasoning_content": "Hm"})
    assert "reasoning_content" in quietly({}, [turn])["messages"][0]
    body = quietly({}, [turn], reasoning_history="none")
    assert "reasoning_content" not in body["messages"][0]


# What Z.ai's own hosts do not take

EXTRAS = {
    "n": 2,
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "parallel_tool_calls": False,
    "store": True,
    "service_tier": "flex",
    "prediction": {"type": "content", "content": "x"},
    "verbosity": "low",
    "reasoning": {"effort": "low"},
    "include": ["file_search_call.results"],
    "truncation": "auto",
}


@pytest.mark.parametrize("name", EXTRAS)
def test_an_own_host_is_not_sent_what_it_does_not_take(name):
    body, [(subject, text)] = request(OWN, **{name: EXTRAS[name]})
    assert body == {}
    assert subject == name
    assert f"'{name}'" in text


def test_other_hosts_are_sent_all_of_it():
    assert request(OTHER, **EXTRAS) == (EXTRAS, [])


def test_an_own_host_is_sent_what_extra_body_says():
    assert request(OWN, extra_body=EXTRAS) == (EXTRAS, [])


def test_what_an_own_host_takes_is_sent():
    taken = {"temperature": 0.5, "seed": 1, "do_sample": False, "user_id": "user-1"}
    assert request(OWN, **taken) == (taken, [])


def test_none_is_not_worth_a_warning():
    assert request(OWN, **dict.fromkeys(EXTRAS)) == ({}, [])


# tool_choice

READ = {"type": "function", "function": {"name": "read", "parameters": {}}}
SEARCH = {"type": "web_search", "web_search": {"enable": True}}
BOTH = [*TOOLS, READ]
NAMED = {"type": "function", "function": {"name": "read"}}


@pytest.mark.parametrize(
    ("choice", "tools", "offered"),
    [
        pytest.param(NAMED, BOTH, [READ], id="named"),
        pytest.param("read", BOTH, [READ], id="a_name"),
        pytest.param({"type": "tool", "name": "read"}, BOTH, [READ], id="named_by_anthropic"),
        pytest.param({"type": "web_search"}, [*BOTH, SEARCH], [SEARCH], id="named_by_its_type"),
        pytest.param({"type": "function", "function": {"name": "x"}}, BOTH, BOTH, id="unknown"),
        pytest.param("any", BOTH, BOTH, id="any"),
        pytest.param("required", BOTH, BOTH, id="required"),
        pytest.param({"type": "any"}, BOTH, BOTH, id="any_of_anthropic"),
        pytest.param(True, BOTH, BOTH, id="true"),
    ],
)
def test_only_auto_is_sent_where_nothing_else_works(choice, tools, offered):
    body, [(subject, text)] = request(OWN, tools=tools, tool_choice=choice)
    assert body == {"tools": offered, "tool_choice": "auto"}
    assert subject == "tool_choice"
    assert repr(choice) in text
    assert ("that tool alone" in text) == (offered != tools)
    assert request(OTHER, tools=tools, tool_choice=choice)[0]["tool_choice"] == choice


@pytest.mark.parametrize("choice", ["auto", None, False])
def test_no_choice_is_no_warning(choice):
    body, warnings = request(OWN, tools=BOTH, tool_choice=choice)
    assert body["tools"] == BOTH
    assert not warnings


def test_none_sends_no_tools():
    assert request(OWN, tools=BOTH, tool_choice="none") == ({}, [])
    assert request(OTHER, tools=BOTH, tool_choice="none")[0]["tools"] == BOTH


def test_tools_that_extra_body_forces_are_left_to_the_server():
    extra_body = {"tools": BOTH, "tool_choice": "required"}
    assert request(OWN, extra_body=extra_body) == (extra_body, [])


# Thinking

ENABLED, DISABLED = {"type": "enabled"}, {"type": "disabled"}


@pytest.mark.parametrize(
    ("sources", "chosen"),
    [
        pytest.param([], None, id="nobody"),
        pytest.param([{"thinking": None}, {"clear_thinking": None}], None, id="nothing"),
        pytest.param([{"thinking": True}], ENABLED, id="true"),
        pytest.param([{"thinking": False}], DISABLED, id="false"),
        pytest.param([{"thinking": "enabled"}], ENABLED, id="enabled"),
        pytest.param([{"thinking": "disabled"}], DISABLED, id="disabled"),
        pytest.param([{"thinking": {"type": "new", "x": 1}}], {"type": "new", "x": 1}, id="dict"),
        pytest.param([{"clear_thinking": False}], {"clear_thinking": False}, id="clear_alone"),
        pytest.param(
            [{"thinking": True, "clear_thinking": True}],
            {"type": "enabled", "clear_thinking": True},
            id="both",
        ),
        pytest.param([{"thinking": True}, {"thinking": False}], DISABLED, id="later_wins"),
        pytest.param([{"thinking": True}, {"thinking": None}], ENABLED, id="none_says_nothing"),
        pytest.param(
            [{"clear_thinking": True}, {"thinking": {"clear_thinking": False}}],
            {"clear_thinking": False},
            id="later_wins_in_a_dict_too",
        ),
        pytest.param(
            [{"thinking": True, "clear_thinking": False}, {"thinking": False}],
            {"type": "disabled", "clear_thinking": False},
            id="what_is_left_open_stays",
        ),
    ],
)
def test_who_chooses_thinking(sources, chosen):
    assert chosen_thinking(*sources) == chosen


@pytest.mark.parametrize("said", ["on", 1, 0.0, [], ""])
def test_what_thinking_is_not(said):
    with pytest.raises(ValueError, match="thinking is True, False"):
        chosen_thinking({"thinking": said})


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        pytest.param({"thinking": DISABLED}, {"reasoning_effort": "low"}, id="low_instead"),
        pytest.param(
            {"thinking": {**DISABLED, "clear_thinking": False}},
            {"reasoning_effort": "low", "thinking": {"clear_thinking": False}},
            id="the_rest_stays",
        ),
        pytest.param(
            {"thinking": DISABLED, "reasoning_effort": "high"},
            {"reasoning_effort": "high"},
            id="what_was_said_stays",
        ),
    ],
)
def test_a_model_that_always_thinks_is_told_to_think_little(said, sent):
    body, [(subject, text)] = request(FORCED, **said)
    assert body == sent
    assert subject == "thinking of glm-4.7"
    assert f"reasoning_effort='{sent['reasoning_effort']}' is sent" in text


@pytest.mark.parametrize("server", [OWN, OTHER, OWN._replace(thinking="on")])
def test_another_model_is_told_not_to_think(server):
    assert request(server, thinking=DISABLED) == ({"thinking": DISABLED}, [])


def test_a_model_that_always_thinks_may_be_told_to():
    assert request(FORCED, thinking=ENABLED) == ({"thinking": ENABLED}, [])
    assert request(FORCED, clear_thinking=None) == ({}, [])


def test_extra_body_may_say_what_the_server_refuses():
    extra_body = {"thinking": DISABLED}
    assert request(FORCED, extra_body=extra_body) == (extra_body, [])


# Instructions

SCHEMA = {"type": "json_schema", "json_schema": {"name": "City", "schema": {"type": "object"}}}


def test_an_instruction_goes_into_the_first_system_turn():
    told = quietly({INSTRUCTION: "Sing."}, [SystemMessage("Be brief."), USER])
    assert told["messages"][0] == {"content": "Be brief.\n\nSing.", "role": "system"}
    assert INSTRUCTION not in told


def test_an_instruction_makes_a_system_turn():
    told = quietly({INSTRUCTION: "Sing."}, [USER])
    assert told["messages"] == [{"role": "system", "content": "Sing."}, USER_TURN]


def test_a_schema_that_nobody_enforces_is_said():
    body = quietly({"response_format": SCHEMA}, [USER], OWN)
    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"][0]["content"].endswith('JSON schema:\n{"type": "object"}')
    assert quietly({"response_format": SCHEMA}, [USER])["response_format"] == SCHEMA


# tool_stream


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
