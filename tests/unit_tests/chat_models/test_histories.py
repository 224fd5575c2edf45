"""Histories of every origin, and what of them a server gets.

The messages of other models are written as their LangChain packages make them.
"""

import json
import operator
import string
from functools import reduce

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from langchain_core.load import dumps, loads
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
    trim_messages,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from langchain_glm import ChatGLM
from langchain_glm.testing import Call, GLMServer, Reply

SKY = {"name": "look_up", "args": {"place": "é"}, "id": "call_1", "type": "tool_call"}
SENT_CALL = {
    "type": "function",
    "id": "call_1",
    "function": {"name": "look_up", "arguments": '{"place": "é"}'},
}
RESULT = ToolMessage("blue", tool_call_id="call_1")
SENT_RESULT = {"content": "blue", "role": "tool", "tool_call_id": "call_1"}
ASK, AGAIN = HumanMessage("How is the sky?"), HumanMessage("And now?")
SENT_ASK, SENT_AGAIN = ({"content": message.content, "role": "user"} for message in (ASK, AGAIN))


@pytest.fixture(scope="module")
def server():
    with GLMServer(Reply(text="Hi")) as server:
        yield server


def sent(server, messages, **fields):
    """The messages of the body, for messages of LangChain's."""
    settings_ = {"api_key": "test-key", "base_url": server.base_url, **fields}
    assert ChatGLM(**settings_).invoke(messages).text == "Hi"
    return server.requests[-1].body["messages"]


# Other models' messages

OPENAI = AIMessage(
    "Let me see.",
    tool_calls=[SKY],
    additional_kwargs={"refusal": None},
    response_metadata={"model_provider": "openai", "model_name": "gpt-5", "logprobs": None},
)
OPENAI_RESPONSES = AIMessage(
    [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "text", "text": "Let me see.", "annotations": [], "id": "msg_1"},
        {
            "type": "function_call",
            "name": "look_up",
            "arguments": '{"place":"é"}',
            "call_id": "call_1",
            "id": "fc_1",
        },
    ],
    tool_calls=[SKY],
    response_metadata={"model_provider": "openai"},
)
ANTHROPIC = AIMessage(
    [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "call_1", "name": "look_up", "input": {"place": "é"}},
    ],
    tool_calls=[SKY],
    response_metadata={"model_provider": "anthropic", "stop_reason": "tool_use"},
)
ANTHROPIC_THINKING = AIMessage(
    [{"type": "thinking", "thinking": "Hm.", "signature": "Eu8="}, *ANTHROPIC.content],
    tool_calls=[SKY],
    response_metadata={"model_provider": "anthropic"},
)
DEEPSEEK = AIMessage(
    "Let me see.",
    tool_calls=[SKY],
    additional_kwargs={"reasoning_content": "Hm.", "refusal": None},
    response_metadata={"model_provider": "deepseek"},
)
V1 = AIMessage(
    content_blocks=[
        {"type": "reasoning", "reasoning": "Hm."},
        {"type": "text", "text": "Let me see."},
        SKY,
    ],
    response_metadata={"output_version": "v1"},
)
CHUNKS = [
    AIMessageChunk("", additional_kwargs={"reasoning_content": "H"}),
    AIMessageChunk("", additional_kwargs={"reasoning_content": "m."}),
    AIMessageChunk("Let me "),
    AIMessageChunk("see."),
    *[
        AIMessageChunk(
            "",
            tool_call_chunks=[
                {"name": name, "args": args, "id": id_, "index": 0, "type": "tool_call_chunk"}
            ],
        )
        for name, id_, args in [("look_up", "call_1", '{"pla'), (None, None, 'ce": "é"}')]
    ],
]
ORIGINS = [
    pytest.param(OPENAI, "", id="openai"),
    pytest.param(OPENAI_RESPONSES, "", id="openai_responses"),
    pytest.param(ANTHROPIC, "", id="anthropic"),
    pytest.param(ANTHROPIC_THINKING, "Hm.", id="anthropic_thinking"),
    pytest.param(DEEPSEEK, "Hm.", id="deepseek"),
    pytest.param(V1, "Hm.", id="v1"),
    pytest.param(reduce(operator.add, CHUNKS), "Hm.", id="summed_chunks"),
]


def by_dict(message):
    return messages_from_dict(json.loads(json.dumps(messages_to_dict([message]))))[0]


def by_checkpoint(message):
    serializer = JsonPlusSerializer()
    return serializer.loads_typed(serializer.dumps_typed(message))


WAYS = {
    "itself": lambda message: message,
    "messages_to_dict": by_dict,
    "dumps": lambda message: loads(dumps(message), allowed_objects="core"),
    "checkpoint": by_checkpoint,
}


@pytest.mark.parametrize("again", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("message", "reasoning"), ORIGINS)
def test_a_turn_of_any_origin(message, reasoning, again, server):
    turn = {"content": "Let me see.", "role": "assistant", "tool_calls": [SENT_CALL]}
    turn |= {"reasoning_content": reasoning} if reasoning else {}
    history = [again(one) for one in (ASK, message, RESULT, AGAIN)]
    assert sent(server, history) == [SENT_ASK, turn, SENT_RESULT, SENT_AGAIN]
    turn.pop("reasoning_content", None)
    bare = [SENT_ASK, turn, SENT_RESULT, SENT_AGAIN]
    assert sent(server, history, reasoning_history="none") == bare


@pytest.mark.parametrize(("message", "reasoning"), ORIGINS)
def test_a_turn_of_any_origin_whose_call_nobody_answered(message, reasoning, server):
    turn = {"content": "Let me see.", "role": "assistant"}
    turn |= {"reasoning_content": reasoning} if reasoning else {}
    assert sent(server, [ASK, message, AGAIN]) == [SENT_ASK, turn, SENT_AGAIN]


def test_results_of_anthropic_in_a_users_turn(server):
    answered = HumanMessage(
        [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "blue", "is_error": False},
            {"type": "text", "text": "And now?", "cache_control": {"type": "ephemeral"}},
        ]
    )
    *_, result, user = sent(server, [ASK, ANTHROPIC, answered])
    assert result == SENT_RESULT
    assert user == {"content": [{"type": "text", "text": "And now?"}], "role": "user"}


def test_parts_that_chat_openai_refuses(server):
    blocks = [{"type": kind, "url": f"https://h/{kind}"} for kind in ("video", "file")]
    (turn,) = sent(server, [HumanMessage(blocks)], model="glm-4.6v")
    assert turn["content"] == [
        {"type": "video_url", "video_url": {"url": "https://h/video"}},
        {"type": "file_url", "file_url": {"url": "https://h/file"}},
    ]


def test_plain_dicts_and_pairs(server):
    history = [
        ("developer", "Be brief."),
        {"role": "user", "content": "How is the sky?"},
        {"role": "assistant", "content": None, "tool_calls": [SENT_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "blue"},
    ]
    assert sent(server, history) == [
        {"content": "Be brief.", "role": "system"},
        SENT_ASK,
        {"content": "", "role": "assistant", "tool_calls": [SENT_CALL]},
        SENT_RESULT,
    ]


def test_a_history_that_was_trimmed_in_a_round(server):
    history = [ASK, OPENAI, RESULT, AGAIN]
    trimmed = trim_messages(history, max_tokens=2, token_counter=len, strategy="last")
    assert sent(server, trimmed) == [SENT_AGAIN]


# Calls that did not end well

BROKEN = Call("look_up", '{"place": "é" "x"}', id="call_1")
CUT = {"tool_calls": [Call("look_up", '{"place": "é', id="call_1")], "finish_reason": "length"}
MADE = [
    pytest.param(Reply(text="I look.", tool_calls=[BROKEN]), '{"place": "é"}', id="broken"),
    pytest.param(Reply(text="I look.", **CUT), '{"place": "é"}', id="cut"),
]


def invoked(model):
    return model.invoke("hi")


def added_up(model):
    return reduce(operator.add, model.stream("hi"))


def v3(model):
    return model.stream_events("hi", version="v3").output


@pytest.mark.parametrize("ask", [invoked, added_up, v3])
@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize(("reply", "arguments"), MADE)
def test_a_call_that_did_not_end_well(reply, arguments, version, ask, server):
    with GLMServer(reply) as maker:
        model = ChatGLM(api_key="test-key", base_url=maker.base_url, output_version=version)
        message = ask(model.bind_tools([{"name": "look_up", "description": "", "parameters": {}}]))
    alone = {"content": "I look.", "role": "assistant"}
    assert sent(server, [ASK, message, AGAIN]) == [SENT_ASK, alone, SENT_AGAIN]
    call = {**SENT_CALL, "function": {"name": "look_up", "arguments": arguments}}
    turn = {**alone, "tool_calls": [call]}
    assert sent(server, [ASK, message, RESULT]) == [SENT_ASK, turn, SENT_RESULT]


# Any history

texts = st.text(max_size=5)
ids = st.sampled_from(["a", "b", "c"])
names = st.text(string.ascii_lowercase, min_size=1, max_size=3)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts, st.lists, max_leaves=3
)
PNG = {"mime_type": "image/png"}  # LangChain itself insists on it
kinds = st.sampled_from(["image", "video", "file"])
urls = st.just("https://h/x.png")
media = st.one_of(
    st.builds(lambda kind, url: {"type": kind, "url": url}, kinds, urls),
    st.builds(lambda kind: {"type": kind, "base64": "aGk=", **PNG}, kinds),
    st.builds(lambda url: {"type": "image_url", "image_url": url}, urls),
    st.builds(lambda url: {"type": "image", "source": {"type": "url", "url": url}}, urls),
    st.builds(lambda kind: {"type": kind, "source_type": "base64", "data": "aGk=", **PNG}, kinds),
)
text_blocks = st.one_of(
    texts,
    st.builds(lambda text: {"type": "text", "text": text}, texts),
    st.builds(lambda text: {"type": "reasoning", "reasoning": text}, texts),
    st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "s"}, texts),
    st.builds(lambda id_: {"type": "tool_use", "id": id_, "name": "f", "input": {}}, ids),
)
contents = texts | st.lists(text_blocks | media, max_size=3)
calls = st.builds(
    lambda name, args, id_: {"name": name, "args": args, "id": id_, "type": "tool_call"},
    names,
    st.dictionaries(texts, json_values, max_size=2),
    ids | st.none(),
)
invalid_calls = st.builds(
    lambda name, args, id_: {
        "name": name,
        "args": args,
        "id": id_,
        "error": None,
        "type": "invalid_tool_call",
    },
    names | st.none(),
    texts | st.none(),
    ids,
)
thoughts = st.just({}) | st.builds(lambda text: {"reasoning_content": text}, texts)
assistants = st.builds(
    lambda kind, content, calls, invalid, additional: kind(
        content=content,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs=additional,
    ),
    st.just(AIMessage),
    contents,
    st.lists(calls, max_size=2),
    st.lists(invalid_calls, max_size=1),
    thoughts,
)
chunks = st.builds(
    lambda content, pieces, additional: AIMessageChunk(
        content=content,
        additional_kwargs=additional,
        tool_call_chunks=[
            {"name": "f", "args": args, "id": id_, "index": n, "type": "tool_call_chunk"}
            for n, (args, id_) in enumerate(pieces)
        ],
    ),
    texts,
    st.lists(st.tuples(texts | st.just('{"a": 1'), ids), max_size=2),
    thoughts,
)
results = st.builds(
    lambda content, id_: ToolMessage(content=content, tool_call_id=id_), contents, ids
)
messages = st.one_of(
    st.builds(lambda content: HumanMessage(content=content), contents),
    st.builds(lambda content: SystemMessage(content=content), contents),
    st.builds(lambda text: ChatMessage(content=text, role="developer"), texts),
    assistants,
    chunks,
    results,
    results,
)


def is_part(part):
    """A part of a user's message, as docs.z.ai has it."""
    kind = part["type"]
    if kind == "text":
        return isinstance(part["text"], str)
    return kind in {"image_url", "video_url", "file_url"} and isinstance(part[kind]["url"], str)


def is_call(call):
    function = call["function"]
    return (
        call["type"] == "function"
        and isinstance(call["id"], str)
        and isinstance(function["name"], str)
        and isinstance(function["arguments"], str)
    )


def check_turn(turn):
    role, content = turn["role"], turn["content"]
    assert role in {"system", "user", "assistant", "tool"}
    if role == "user" and isinstance(content, list):
        assert all(is_part(part) for part in content)
    else:
        assert isinstance(content, str)
    more = {
        "assistant": {"tool_calls", "reasoning_content"},
        "tool": {"tool_call_id"},
    }
    assert set(turn) - {"role", "content"} <= more.get(role, set())
    if "tool_calls" in turn:
        assert turn["tool_calls"]
        assert all(is_call(call) for call in turn["tool_calls"])
    if "reasoning_content" in turn:
        assert isinstance(turn["reasoning_content"], str)


def check_pairs(turns):
    """Directly after its calls each has a result, and no result stands elsewhere."""
    open_, answered = set(), set()
    for turn in [*turns, {"role": "end"}]:
        if turn["role"] == "tool":
            assert turn["tool_call_id"] in open_
            answered.add(turn["tool_call_id"])
            continue
        assert answered == open_
        open_, answered = {call["id"] for call in turn.get("tool_calls", ())}, set()


def reasoning_of(message):
    if kept := message.additional_kwargs.get("reasoning_content"):
        return kept
    blocks = message.content if isinstance(message.content, list) else []
    return "".join(
        block.get(block["type"], "")
        for block in blocks
        if isinstance(block, dict) and block["type"] in {"reasoning", "thinking"}
    )


ALWAYS = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@ALWAYS
@given(history=st.lists(messages, max_size=8))
@example(history=[AIMessage("", tool_calls=[{**SKY, "id": "a"}]), AIMessage(""), RESULT])
def test_any_history_makes_a_legal_request(history, server):
    turns = sent(server, [*history, ASK])
    for turn in turns:
        check_turn(turn)
    check_pairs(turns)
    assert turns[-1] == SENT_ASK
    kept = [turn["reasoning_content"] for turn in turns if "reasoning_content" in turn]
    wanted = [reasoning_of(one) for one in history if isinstance(one, AIMessage)]
    assert kept == [text for text in wanted if text]
    said = [turn["content"] for turn in turns if turn["role"] == "user"][:-1]
    assert len(said) <= sum(isinstance(one, HumanMessage) for one in history)
