"""LangChain's messages go in, of whatever origin; the turns that GLM takes come out."""

import copy
import json

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_glm._history import glm_turns

DATA = "aGk="


def turn_of(message):
    (turn,) = glm_turns([message])
    return turn


def calling(*ids, **fields):
    calls = [{"name": "write", "args": {"path": "é.py"}, "id": id_} for id_ in ids]
    return AIMessage(**{"content": "", "tool_calls": calls, **fields})


def broken(id_, args='{"path": "a', name="write"):
    invalid = {"name": name, "args": args, "id": id_, "error": "cut"}
    return AIMessage("", invalid_tool_calls=[{**invalid, "type": "invalid_tool_call"}])


def result(id_, content="done"):
    return ToolMessage(content, tool_call_id=id_)


# Roles


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        pytest.param(HumanMessage("x"), {"role": "user"}, id="human"),
        pytest.param(HumanMessageChunk(content="x"), {"role": "user"}, id="chunk"),
        pytest.param(AIMessage("x"), {"role": "assistant"}, id="ai"),
        pytest.param(AIMessageChunk(content="x"), {"role": "assistant"}, id="ai_chunk"),
        pytest.param(SystemMessage("x"), {"role": "system"}, id="system"),
        pytest.param(
            SystemMessage("x", additional_kwargs={"__openai_role__": "developer"}),
            {"role": "system"},
            id="developer",
        ),
        pytest.param(
            ChatMessage("x", role="developer"), {"role": "system"}, id="developer_by_name"
        ),
        pytest.param(ChatMessage("x", role="critic"), {"role": "critic"}, id="unknown_role"),
        pytest.param(HumanMessage("x", name="Ada"), {"role": "user", "name": "Ada"}, id="name"),
        pytest.param(
            FunctionMessage("x", name="f"), {"role": "function", "name": "f"}, id="function"
        ),
    ],
)
def test_roles(message, turn):
    assert turn_of(message) == {"content": "x", **turn}


def test_a_message_that_no_model_can_be_sent():
    with pytest.raises(TypeError, match="No message that a model can be sent"):
        glm_turns([RemoveMessage(id="1")])


# What a user's parts become

PNG, MP4 = {"mime_type": "image/png"}, {"mime_type": "video/mp4"}


def part(kind, url):
    return {"type": kind, kind: {"url": url}}


@pytest.mark.parametrize(
    ("block", "sent"),
    [
        pytest.param("Hi", {"type": "text", "text": "Hi"}, id="text"),
        pytest.param(
            {"type": "text", "text": "Hi", "cache_control": {}, "id": "lc_1", "extras": {}},
            {"type": "text", "text": "Hi"},
            id="text_block",
        ),
        pytest.param({"type": "text", "text": ""}, {"type": "text", "text": ""}, id="no_text"),
        pytest.param(
            {"type": "input_text", "text": "Hi"}, {"type": "text", "text": "Hi"}, id="input_text"
        ),
        pytest.param(
            {"type": "text", "source_type": "text", "text": "Hi", "mime_type": "text/plain"},
            {"type": "text", "text": "Hi"},
            id="v0_plain_text",
        ),
        pytest.param(
            {"type": "text-plain", "text": "Hi", "mime_type": "text/plain"},
            {"type": "text", "text": "Hi"},
            id="v1_plain_text",
        ),
        pytest.param(
            {"type": "document", "source": {"type": "text", "data": "Hi"}},
            {"type": "text", "text": "Hi"},
            id="anthropic_plain_text",
        ),
        *[
            pytest.param(
                {"type": kind, "url": "https://h/x"}, part(f"{kind}_url", "https://h/x"), id=kind
            )
            for kind in ("image", "video", "file")
        ],
        pytest.param(
            {"type": "image", "base64": DATA, **PNG},
            part("image_url", "data:image/png;base64,aGk="),
            id="v1_base64",
        ),
        pytest.param(
            {"type": "video", "base64": DATA, **MP4},
            part("video_url", "data:video/mp4;base64,aGk="),
            id="v1_video",
        ),
        pytest.param(
            {"type": "file", "base64": DATA, "mime_type": "text/csv", "filename": "a.csv"},
            part("file_url", "data:text/csv;base64,aGk="),
            id="v1_file",
        ),
        pytest.param(
            {"type": "file", "base64": DATA},
            part("file_url", "data:application/pdf;base64,aGk="),
            id="no_mime_type",
        ),
        pytest.param(
            {"type": "image", "source_type": "url", "url": "https://h/x"},
            part("image_url", "https://h/x"),
            id="v0_url",
        ),
        pytest.param(
            {"type": "image", "source_type": "base64", "data": DATA, **PNG},
            part("image_url", "data:image/png;base64,aGk="),
            id="v0_base64",
        ),
        pytest.param(
            {"type": "file", "source_type": "base64", "data": DATA, "mime_type": "text/csv"},
            part("file_url", "data:text/csv;base64,aGk="),
            id="v0_file",
        ),
        pytest.param(
            {"type": "image_url", "image_url": {"url": "https://h/x", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://h/x", "detail": "low"}},
            id="openai",
        ),
        pytest.param(
            {"type": "image_url", "image_url": "https://h/x"},
            part("image_url", "https://h/x"),
            id="openai_of_old",
        ),
        pytest.param(
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk="}},
            part("file_url", "data:application/pdf;base64,aGk="),
            id="openai_file",
        ),
        pytest.param(
            {"type": "input_image", "image_url": "https://h/x"},
            part("image_url", "https://h/x"),
            id="openai_responses",
        ),
        pytest.param(
            {"type": "input_file", "file_url": "https://h/x"},
            part("file_url", "https://h/x"),
            id="openai_responses_file",
        ),
        pytest.param(
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": DATA},
            },
            part("image_url", "data:image/png;base64,aGk="),
            id="anthropic_base64",
        ),
        pytest.param(
            {"type": "image", "source": {"type": "url", "url": "https://h/x"}},
            part("image_url", "https://h/x"),
            id="anthropic_url",
        ),
        pytest.param(
            {"type": "document", "source": {"type": "url", "url": "https://h/x"}},
            part("file_url", "https://h/x"),
            id="anthropic_document",
        ),
        pytest.param(part("video_url", "https://h/x"), part("video_url", "https://h/x"), id="glm"),
        pytest.param(
            {"type": "audio", "base64": DATA, "mime_type": "audio/mp3"},
            {"type": "input_audio", "input_audio": {"data": DATA, "format": "mp3"}},
            id="audio",
        ),
        pytest.param(
            {"type": "file", "file_id": "file-1"}, {"type": "file", "file_id": "file-1"}, id="by_id"
        ),
        pytest.param({"type": "odd", "x": 1}, {"type": "odd", "x": 1}, id="unknown"),
    ],
)
def test_a_users_part(block, sent):
    assert turn_of(HumanMessage([block])) == {"content": [sent], "role": "user"}


@pytest.mark.parametrize("kind", ["tool_use", "thinking", "reasoning", "tool_call"])
def test_what_a_model_did_is_no_part_of_a_users_turn(kind):
    message = HumanMessage(["Hi", {"type": kind, kind: "x"}])
    assert turn_of(message)["content"] == [{"type": "text", "text": "Hi"}]


def test_a_user_who_says_nothing():
    assert turn_of(HumanMessage([])) == {"content": "", "role": "user"}


def test_results_in_a_users_turn_are_turns_of_their_own():
    blocks = [
        {"type": "text", "text": "And?"},
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "1"}]},
        {"type": "tool_result", "tool_use_id": "b", "content": "2"},
    ]
    messages = [calling("a", "b"), HumanMessage(blocks)]
    _, *results, user = glm_turns(messages)
    assert results == [
        {"content": "1", "role": "tool", "tool_call_id": "a"},
        {"content": "2", "role": "tool", "tool_call_id": "b"},
    ]
    assert user == {"content": [{"type": "text", "text": "And?"}], "role": "user"}
    assert len(glm_turns([messages[0], HumanMessage(blocks[1:])])) == 3


# Text, where nothing else is taken

IMAGE = {"type": "image", "url": "https://h/x.png"}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param("text", "text", id="text"),
        pytest.param("", "", id="empty"),
        pytest.param([], "", id="empty_list"),
        pytest.param([{"type": "text", "text": "a", "index": 0}, "b"], "ab", id="blocks"),
        pytest.param([{"type": "text"}], "", id="block_without_text"),
        pytest.param([{"type": "text", "text": "a", "annotations": [{}]}], "a", id="annotations"),
        pytest.param([{"type": "tool_call", "name": "write", "args": {}}, "b"], "b", id="call"),
        pytest.param([{"type": "tool_use", "name": "write", "input": {}}, "b"], "b", id="tool_use"),
        pytest.param(["a ", IMAGE], "a [image: https://h/x.png]", id="image"),
        pytest.param(
            [{"type": "image", "base64": DATA, **PNG}], "[image: data:image/png;base64]", id="data"
        ),
        pytest.param(
            [part("image_url", "https://h/x.png")], "[image_url: https://h/x.png]", id="openai"
        ),
    ],
)
@pytest.mark.parametrize("kind", [AIMessage, SystemMessage])
def test_the_content_of_other_turns_is_text(kind, content, text):
    assert turn_of(kind(content))["content"] == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param("done", "done", id="text"),
        pytest.param([], "", id="empty"),
        pytest.param(["a", {"type": "text", "text": "b"}], "a\nb", id="a_line_each"),
        pytest.param(["a", IMAGE], "a\n[image: https://h/x.png]", id="image"),
        pytest.param(
            [{"type": "json", "json": {"é": 1}}], '{"type": "json", "json": {"é": 1}}', id="json"
        ),
        pytest.param([{"rows": [1]}], '{"rows": [1]}', id="any_object"),
        pytest.param(
            [{"type": "audio", "base64": DATA, "mime_type": "audio/mp3"}], "[audio]", id="audio"
        ),
        pytest.param([{"type": "text", "text": ""}, "b"], "b", id="empty_text"),
    ],
)
def test_the_content_of_a_result_is_text(content, text):
    _, turn = glm_turns([calling("a"), result("a", content)])
    assert turn == {"content": text, "role": "tool", "tool_call_id": "a"}


@pytest.mark.parametrize("kind", ["refusal", "server_tool_use", "function_call", "non_standard"])
def test_what_another_model_did_is_no_text(kind):
    assert turn_of(AIMessage([{"type": kind, kind: {}}, "b"]))["content"] == "b"


def test_a_text_is_sent_as_it_is():
    for text in ("😀", " \n", "null"):
        assert turn_of(AIMessage(text))["content"] == text


# Calls


def calls_of(message):
    ids = [c["id"] for c in [*message.tool_calls, *message.invalid_tool_calls]] or ["toolu_1"]
    turn, *_ = glm_turns([message, *[result(id_) for id_ in ids]])
    return turn["tool_calls"]


def call(id_, arguments, name="write"):
    return {"type": "function", "id": id_, "function": {"name": name, "arguments": arguments}}


def test_an_answered_call_goes_back():
    assert calls_of(calling("a", "b")) == [
        call("a", '{"path": "é.py"}'),
        call("b", '{"path": "é.py"}'),
    ]


@pytest.mark.parametrize(
    ("args", "sent"),
    [
        ('{"path": "a', '{"path": "a"}'),
        ('{"path": "a", "n": 1 2', '{"path": "a", "n": 1}'),
        ('{"path": "a\nb', '{"path": "a\\nb"}'),
        (None, "{}"),
        ("", "{}"),
        ("[1]", "{}"),
        ("nonsense", "{}"),
    ],
)
def test_an_answered_invalid_call_goes_back_as_far_as_it_can_be_read(args, sent):
    assert calls_of(broken("a", args)) == [call("a", sent)]
    assert calls_of(broken("a", args, name=None)) == [call("a", sent, name="unknown")]


def test_calls_that_were_added_up_go_back_as_they_were_meant():
    settled = {"tool_calls": [], "invalid_tool_calls": broken("a").invalid_tool_calls}
    message = calling("a", additional_kwargs={"settled_tool_calls": settled})
    assert calls_of(message) == [call("a", '{"path": "a"}')]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "id": "toolu_1", "name": "write", "input": {"path": "é"}},
        {"type": "tool_call", "id": "toolu_1", "name": "write", "args": {"path": "é"}},
    ],
)
def test_calls_in_the_content_alone_go_back(block):
    assert calls_of(AIMessage([block])) == [call("toolu_1", '{"path": "é"}')]


def test_calls_of_openai_go_back():
    raw = call("a", '{"path": "b"}')
    assert calls_of(AIMessage("", additional_kwargs={"tool_calls": [raw]})) == [raw]


def roles(*messages):
    turns = glm_turns(messages)
    return [
        (turn["role"], *[c["id"] for c in turn.get("tool_calls", ())])
        if turn["role"] == "assistant"
        else (turn["role"], *[turn[k] for k in ("tool_call_id",) if k in turn])
        for turn in turns
    ]


USER = HumanMessage("Hi")
THOUGHT = {"additional_kwargs": {"reasoning_content": "Hm"}}


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        pytest.param([USER, calling("a")], [("user",)], id="stopped_before_its_tool"),
        pytest.param([calling("a"), USER], [("user",)], id="gone_on_without"),
        pytest.param([broken("a"), USER], [("user",)], id="invalid"),
        pytest.param([calling("a", content="I write."), USER], [("assistant",), ("user",)]),
        pytest.param([calling("a", **THOUGHT)], [("assistant",)], id="its_reasoning_stays"),
        pytest.param(
            [calling("a", "b"), result("b")], [("assistant", "b"), ("tool", "b")], id="one_of_two"
        ),
        pytest.param([result("a"), USER], [("user",)], id="result_without_a_call"),
        pytest.param(
            [calling("a"), result("a"), result("b")],
            [("assistant", "a"), ("tool", "a")],
            id="one_result_too_many",
        ),
        pytest.param(
            [result("a"), calling("a")], [], id="a_result_before_its_call_does_not_answer_it"
        ),
        pytest.param(
            [calling("a"), result("a"), calling("a"), USER],
            [("assistant", "a"), ("tool", "a"), ("user",)],
            id="an_id_that_comes_again",
        ),
        pytest.param(
            [calling("a", "b"), result("a"), USER, result("b")],
            [("assistant", "a", "b"), ("tool", "a"), ("tool", "b"), ("user",)],
            id="results_stand_after_their_calls",
        ),
        pytest.param(
            [calling("a"), AIMessage("x"), result("a")],
            [("assistant", "a"), ("tool", "a"), ("assistant",)],
            id="a_result_after_another_answer",
        ),
        pytest.param([calling(None), USER], [("user",)], id="a_call_without_an_id"),
        pytest.param(
            [calling(None), HumanMessage([{"type": "tool_result", "content": "x"}])],
            [],
            id="a_result_without_an_id",
        ),
        pytest.param([AIMessage(""), USER], [("assistant",), ("user",)], id="empty_answer"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_calls_and_results_come_in_pairs(messages, sent):
    assert roles(*messages) == sent


# Reasoning


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
        pytest.param(
            AIMessage([{"type": "thinking", "thinking": "Hm", "signature": "s"}, "x"]),
            "Hm",
            id="anthropic",
        ),
        pytest.param(
            AIMessage([{"type": "reasoning", "summary": [{"text": "Hm"}]}, "x"]), None, id="openai"
        ),
        pytest.param(AIMessage([{"type": "reasoning"}, "text"]), None, id="empty_block"),
        pytest.param(
            AIMessage([{"type": "text", "text": "x", "reasoning": "Hm"}]), None, id="other_block"
        ),
        pytest.param(AIMessage("x"), None, id="none"),
        pytest.param(AIMessage("x", additional_kwargs={"reasoning_content": ""}), None, id="empty"),
    ],
)
def test_the_reasoning_goes_back(message, sent):
    assert turn_of(message).get("reasoning_content") == sent


TWO_TURNS = [
    HumanMessage("1"),
    calling("a", additional_kwargs={"reasoning_content": "first"}),
    result("a"),
    AIMessage("x", additional_kwargs={"reasoning_content": "second"}),
    HumanMessage("2"),
    calling("b", additional_kwargs={"reasoning_content": "third"}),
    result("b"),
]


@pytest.mark.parametrize(
    ("which", "sent"),
    [
        ("all", ["first", "second", "third"]),
        ("current_turn", ["third"]),
        ("none", []),
    ],
)
def test_how_much_reasoning_goes_back(which, sent):
    turns = glm_turns(TWO_TURNS, which)
    assert [t["reasoning_content"] for t in turns if "reasoning_content" in t] == sent
    assert [t["role"] for t in turns] == [t["role"] for t in glm_turns(TWO_TURNS)]


def test_without_a_user_all_is_the_current_turn():
    turns = glm_turns(TWO_TURNS[1:4], "current_turn")
    assert [turn.get("reasoning_content") for turn in turns] == ["first", None, "second"]


def test_the_messages_stay_as_they_were():
    before = copy.deepcopy(TWO_TURNS)
    assert json.dumps(glm_turns(TWO_TURNS, "none"))
    assert before == TWO_TURNS
