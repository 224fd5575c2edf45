"""Conversations on a real disk, with all that can be wrong with one."""

import json
import os
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_glm.cli._chat_store import ID, LAST, Store, state_folder

CALL = {"type": "tool_call", "id": "call_1", "name": "read_file", "args": {"path": "a"}}
TURN = [
    HumanMessage("Read a, 你好"),
    AIMessage("", tool_calls=[CALL], additional_kwargs={"reasoning_content": "Hm."}),
    ToolMessage("text", tool_call_id="call_1", name="read_file"),
    AIMessage([{"type": "text", "text": "Done."}]),
]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "deep" / "conversations")


def test_a_conversation_comes_back_as_it_was(store):
    conversation = store.begin()
    conversation.add(TURN)
    conversation.add([HumanMessage("And?"), AIMessage("No.")])
    again = store.resume(conversation.id)
    assert again.messages == conversation.messages
    assert len(again.messages) == 6
    again.add([HumanMessage("Well."), AIMessage("Yes.")])
    assert len(store.resume(LAST).messages) == 8


def test_a_file_is_lines_of_json_that_nobody_else_may_read(store):
    conversation = store.begin()
    conversation.add(TURN)
    about, *messages = [json.loads(line) for line in conversation.file.read_text().splitlines()]
    assert about == {"conversation": conversation.id, "version": 1}
    assert [message["type"] for message in messages] == ["human", "ai", "tool", "ai"]
    assert conversation.file.stat().st_mode & 0o777 == 0o600
    assert conversation.file.parent.stat().st_mode & 0o777 == 0o700


def test_nothing_is_written_before_something_was_said(store, tmp_path):
    conversation = store.begin()
    assert ID.fullmatch(conversation.id)
    assert list(tmp_path.iterdir()) == []


def test_a_conversation_that_is_not_kept(store, tmp_path):
    conversation = store.begin(keep=False)
    conversation.add(TURN)
    assert len(conversation.messages) == 4
    assert list(tmp_path.iterdir()) == []


def test_the_last_one_is_the_one_that_was_last_spoken_in(store):
    first, second = store.begin(), store.begin()
    for age, conversation in ((10, first), (20, second)):
        conversation.add([HumanMessage(f"{age}\nyears"), AIMessage("!")])
        os.utime(conversation.file, (1e9 - age, 1e9 - age))
    assert store.ids() == [first.id, second.id]
    assert store.resume(LAST).id == first.id
    assert list(store.topics()) == [(first.id, "10 years"), (second.id, "20 years")]


def test_what_a_crash_left_half_is_left_out_and_written_behind(store):
    conversation = store.begin()
    conversation.add(TURN)
    whole = conversation.file.read_text()
    conversation.file.write_text(whole + '{"type": "human", "da')
    again = store.resume(LAST)
    assert again.messages == TURN
    again.add([HumanMessage("And?"), AIMessage("No.")])
    assert [m.text for m in store.resume(LAST).messages[4:]] == ["And?", "No."]


def test_a_call_that_a_crash_left_without_an_answer_gets_one(store):
    conversation = store.begin()
    conversation.add(TURN[:2])
    *_, answer = store.resume(LAST).messages
    assert (answer.tool_call_id, answer.status) == ("call_1", "error")


@pytest.mark.parametrize("id_", ["20200101-000000-abcd", "../../etc/passwd", ""])
def test_an_id_that_does_not_exist_is_answered_with_those_that_do(store, id_):
    conversation = store.begin()
    conversation.add(TURN)
    with pytest.raises(LookupError, match=conversation.id):
        store.resume(id_)


def test_where_there_is_nothing_to_resume(store):
    with pytest.raises(LookupError, match="no conversation to resume yet"):
        store.resume(LAST)
    assert store.ids() == []


def test_other_files_are_no_conversations(store):
    store.begin().add(TURN)
    folder = store.begin().file.parent
    (folder / "notes.jsonl").write_text("{}")
    (folder / "20200101-000000-abcd.txt").write_text("{}")
    assert len(store.ids()) == 1


def test_the_folder_is_where_the_user_keeps_state(monkeypatch, tmp_path):
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "langchain-glm"
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")  # to be ignored, says the specification
    assert state_folder() == Path.home() / ".local/state/langchain-glm"
