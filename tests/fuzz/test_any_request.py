"""Any conversation, asked with any settings, makes a body that GLM takes.

Bodies for Z.ai's own hosts and for others are made without a socket; a sample goes over one.
"""

import contextlib
import json
import os
import warnings
from unittest import mock

import jsonschema
import test_histories as histories
from fuzzing import cases
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel

from langchain_glm import ChatGLM
from langchain_glm._history import glm_turns
from langchain_glm.errors import GLMInvalidRequestError
from langchain_glm.testing import GLMServer, Reply

OWN = ["zai", "zai-coding", "bigmodel", "bigmodel-coding"]
OWN_URL = "http://api.z.ai/api/paas/v4"
OTHER = "http://127.0.0.1:8000/v1"
EXTRAS = {
    "n": st.just(1),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(0, 5),
    "logit_bias": st.just({"1": 2}),
    "presence_penalty": st.floats(-2, 2),
    "frequency_penalty": st.floats(-2, 2),
}
CALL_EXTRAS = {
    **EXTRAS,
    "parallel_tool_calls": st.booleans(),
    "store": st.booleans(),
    "service_tier": st.just("auto"),
    "prediction": st.just({"type": "content", "content": "x"}),
}


class Point(BaseModel):
    """A point."""

    x: int


FORMATS = [
    {"type": "text"},
    {"type": "json_object"},
    {"type": "json_schema", "json_schema": {"name": "p", "schema": Point.model_json_schema()}},
    Point,
]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("read", "write")
]
WEB = {"type": "web_search", "web_search": {"enable": True}}
thinking = st.sampled_from(
    [True, False, "enabled", "disabled", {"type": "enabled", "clear_thinking": False}]
)
choices = st.sampled_from(
    [
        "auto",
        "none",
        "any",
        "required",
        True,
        "read",
        {"type": "function", "function": {"name": "write"}},
    ]
)
models = st.sampled_from(["glm-4.7", "glm-4.6v", "glm-5.2", "glm-5.3", "zai-org/GLM-4.7", "other"])
reasonings = st.sampled_from(["all", "current_turn", "none"])

fields = st.fixed_dictionaries(
    {"model": models},
    optional={
        **EXTRAS,
        "thinking": thinking,
        "clear_thinking": st.booleans(),
        "reasoning_effort": st.sampled_from(["low", "high", "max"]),
        "reasoning_history": reasonings,
        "tool_stream": st.booleans(),
        "do_sample": st.booleans(),
        "user_id": st.just("user-0001"),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0.01, 1),
        "max_tokens": st.integers(1, 9999),
        "stop": st.just(["END"]),
        "stream_usage": st.booleans(),
        "extra_body": st.sampled_from([{"tool_stream": False}, {"top_k": 5}]),
    },
)
options = st.fixed_dictionaries(
    {},
    optional={
        **CALL_EXTRAS,
        "model": models,
        "thinking": thinking,
        "reasoning_history": reasonings,
        "tool_stream": st.booleans(),
        "max_tokens": st.integers(1, 9999) | st.none(),
        "max_completion_tokens": st.integers(1, 9999),
        "stop": st.sampled_from(["END", ["A", "B"]]),
        "request_id": st.just("r-1"),
        "response_format": st.sampled_from(FORMATS),
        "extra_body": st.sampled_from([{"tool_stream": True}, {"thinking": {"type": "enabled"}}]),
    },
)
tools = st.lists(st.sampled_from([*TOOLS, WEB]), unique_by=json.dumps, max_size=3)
conversations = st.lists(histories.messages, max_size=6)

# GLM's body, as docs.z.ai has it.
PLACE = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
PARTS = {"text": {"type": "string"}, "image_url": PLACE, "video_url": PLACE, "file_url": PLACE}
PART = {
    "oneOf": [
        {
            "properties": {"type": {"const": kind}, kind: inner},
            "required": ["type", kind],
            "additionalProperties": False,
        }
        for kind, inner in PARTS.items()
    ]
}
CALL = {
    "type": "object",
    "required": ["id", "type", "function"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string"},
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "required": ["name", "arguments"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "arguments": {"type": "string"},
            },
        },
    },
}
TEXT = {"type": "string"}
TURNS = {
    "system": {"content": TEXT},
    "user": {"content": {"oneOf": [TEXT, {"type": "array", "items": PART, "minItems": 1}]}},
    "assistant": {
        "content": TEXT,
        "reasoning_content": {"type": "string", "minLength": 1},
        "tool_calls": {"type": "array", "items": CALL, "minItems": 1},
    },
    "tool": {"content": TEXT, "tool_call_id": TEXT},
}
TURN = {
    "oneOf": [
        {
            "properties": {"role": {"const": role}, **properties},
            "required": ["role", "content"],
            "additionalProperties": False,
        }
        for role, properties in TURNS.items()
    ]
}
BODY = {
    "type": "object",
    "required": ["model", "messages", "stream"],
    "additionalProperties": False,
    "properties": {
        "model": TEXT,
        "messages": {"type": "array", "items": TURN, "minItems": 1},
        "stream": {"type": "boolean"},
        "stream_options": {"const": {"include_usage": True}},
        "thinking": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["enabled", "disabled"]},
                "clear_thinking": {"type": "boolean"},
            },
        },
        "reasoning_effort": TEXT,
        "tool_stream": {"const": True},
        "do_sample": {"type": "boolean"},
        "user_id": TEXT,
        "request_id": TEXT,
        "temperature": {"type": "number", "minimum": 0, "maximum": 1},
        "top_p": {"type": "number"},
        "top_k": {"type": "integer"},
        "max_tokens": {"type": "integer", "minimum": 1},
        "stop": {"type": "array", "items": TEXT},
        "tools": {"type": "array", "minItems": 1},
        "tool_choice": {"const": "auto"},
        "response_format": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": ["text", "json_object"]}},
        },
    },
}
# Of vLLM and SGLang: OpenAI's names too, but for the two that GLM alone has.
ELSEWHERE = {
    **BODY,
    "properties": {
        **BODY["properties"],
        **{name: {} for name in CALL_EXTRAS},
        "tool_choice": {},
        "response_format": {"type": "object", "required": ["type"]},
    },
}
check_own = jsonschema.Draft202012Validator(BODY).validate
check_elsewhere = jsonschema.Draft202012Validator(ELSEWHERE).validate

FOREIGN = {
    f"{prefix}_{name}": "http://foreign.invalid/foreign"
    for prefix in ("OPENAI", "LANGSMITH")
    for name in ("API_KEY", "BASE_URL", "API_BASE", "ORG_ID", "PROJECT_ID", "PROXY", "GATEWAY")
}


def body_of(host, history, said, call, offered, choice, *, stream):
    """The body of a request that nobody is sent, as it would be on the wire."""
    where = {"endpoint": host} if host in OWN else {"base_url": host}
    with mock.patch.dict(os.environ, FOREIGN), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each parameter that a host does not take
        model = ChatGLM(api_key="test-key", **where, **said)
        if offered:
            known = [tool for tool in offered if tool["type"] == "function"]
            choice = choice if known == TOOLS or choice in ("auto", "none") else None
            kwargs = model.bind_tools(offered, tool_choice=choice).kwargs
            call = {**kwargs, **call}
        call = {"stop": None, **call}
        if stream:
            body = model._stream_request(history, **call)
        else:
            body = model._get_request_payload(history, **call, stream=False)
    for name in ("timeout", "extra_headers", "extra_query"):
        body.pop(name, None)
    text = json.dumps(body, ensure_ascii=False)
    assert text.encode(), "what no server could be sent"
    assert "foreign" not in text
    assert "test-key" not in text
    return json.loads(text)


def check_body(body, host, call, *, stream):
    (check_own if host in OWN else check_elsewhere)(body)
    histories.check_pairs(body["messages"])
    for turn in body["messages"]:
        histories.check_turn(turn)
        ids = [made["id"] for made in turn.get("tool_calls", ())]
        assert len(ids) == len(set(ids))
    assert ("tool_stream" in body) <= (stream and "tools" in body)
    assert body["stream"] is stream
    if body["model"] == "glm-5.3" and "thinking" not in call.get("extra_body", {}):
        assert body.get("thinking", {}).get("type") != "disabled"


asked = {
    "history": conversations,
    "said": fields,
    "call": options,
    "offered": tools,
    "choice": choices,
    "stream": st.booleans(),
}


@cases(100)
@given(host=st.sampled_from([*OWN, OTHER]), **asked)
def test_any_request(host, history, said, call, offered, choice, stream):
    history = [*history, HumanMessage("How is the sky?")]
    before = json.dumps([m.model_dump() for m in history], default=str)
    body = body_of(host, history, said, call, offered, choice, stream=stream)
    check_body(body, host, call, stream=stream)
    assert body["messages"][-1]["content"] == "How is the sky?"
    assert json.dumps([m.model_dump() for m in history], default=str) == before


@cases(15)
@given(own=st.booleans(), **asked)
def test_what_a_server_gets(own, history, said, call, offered, choice, stream):
    """The same over a socket; Z.ai's own hosts are reached over a proxy."""
    history = [*history, HumanMessage("How is the sky?")]
    with GLMServer(Reply(text="Hi")) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proxy = {"openai_proxy": server.base_url.removesuffix("/api/paas/v4")}
        where = {"base_url": OWN_URL, **proxy} if own else {"base_url": server.base_url}
        model = ChatGLM(api_key="test-key", max_retries=0, **where, **said)
        offered = [tool for tool in offered if tool in TOOLS]
        ask = model.bind_tools(offered, tool_choice=choice if offered == TOOLS else None)
        call = {"stop": None, **call}
        with contextlib.suppress(GLMInvalidRequestError):  # GLM-5.3 takes less
            list(ask.stream(history, **call)) if stream else ask.invoke(history, **call)
        (request,) = server.requests
    check_body(request.body, "zai" if own else OTHER, call, stream=stream)
    assert request.headers["authorization"] == "Bearer test-key"


def test_calls_of_one_turn_that_share_an_id():
    """Found here: a server that counts badly gives two calls one id, and LangChain keeps it."""
    calls = [{**histories.SKY, "id": "a", "name": name} for name in ("read", "write")]
    results = [ToolMessage(text, tool_call_id="a") for text in ("one", "two")]
    _, turn, *answers = glm_turns([histories.ASK, AIMessage("", tool_calls=calls), *results])
    ids = {call["function"]["name"]: call["id"] for call in turn["tool_calls"]}
    answered = {answer["content"]: answer["tool_call_id"] for answer in answers}
    assert answered == {"one": ids["read"], "two": ids["write"]}
    assert len(set(ids.values())) == 2
