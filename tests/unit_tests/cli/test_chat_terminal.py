"""A chat at a real terminal: keys in, a screen out, a real server behind it."""

import re

import pytest
from terminals import ALT_ENTER, CTRL_C, CTRL_D, ENTER, UP, terminal

from langchain_glm.testing import Call, Fail, GLMServer, Raw, Reply

PROMPT = "\n›"
FILE = "print('hello, world')\n" * 3
WRITE = Reply(
    reasoning="A file is wanted.",
    text="I write it.",
    tool_calls=[Call("write_file", {"path": "hello.py", "content": FILE})],
)
DONE = Reply(text="It is **done**.")
# The first characters of a file, and then nothing more for as long as anybody waits.
HANGS = Raw(
    b'data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":{"content":"I write it."}}]}'
    b"\n\n"
    b'data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,'
    b'"id":"call_1","type":"function","function":{"name":"write_file","arguments":'
    b'"{\\"path\\": \\"hello.py\\", \\"content\\": \\"print(\\u0027hel"}}]}}]}\n\n',
    end=False,
)


@pytest.fixture
def chat(tmp_path):
    """Open a terminal with a chat in it."""
    environment = {
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "TERM": "xterm-256color",
        "NO_PROXY": "127.0.0.1",
    }
    (tmp_path / "work").mkdir()

    def opened(server, *arguments):
        where = ("--base-url", server.base_url)
        return terminal(
            "chat", *where, *arguments, environment=environment, folder=tmp_path / "work"
        )

    return opened


def asked(server, number=-1):
    return [(m["role"], m["content"]) for m in server.requests[number].body["messages"]]


def test_ctrl_c_in_the_middle_stops_at_once_and_the_conversation_goes_on(chat):
    with GLMServer([HANGS, DONE]) as server, chat(server, "--tools") as screen:
        screen.wait_for("ctrl-c stops an answer", PROMPT)
        screen.press("Write hello.py" + ENTER)
        screen.wait_for("─ write_file hello.py ─", "│ print('hel▌")  # and it is not whole
        screen.press(CTRL_C)
        screen.wait_for("─ stopped ─", "Stopped.")
        assert server.requests[0].hung_up.wait(10)
        screen.wait_for(PROMPT, count=2)
        assert not screen.cursor_is_hidden
        assert screen.seen.count("write_file hello.py") == 1  # nothing is left of the picture
        assert b"^C" not in screen.raw
        screen.press("Go on" + ENTER)
        screen.wait_for("It is done.", "tokens in")
        screen.wait_for(PROMPT, count=3)
        screen.press(CTRL_D)
        assert screen.ended() == 0
        assert "Go on with it: langchain-glm chat --resume 2" in screen.seen
        assert "Traceback" not in screen.seen
        assert "Warning" not in screen.seen
    _, *messages = asked(server)
    assert messages == [
        ("user", "Write hello.py"),
        ("assistant", "I write it."),
        ("user", "Go on"),
    ]


def test_a_write_is_shown_asked_for_and_done(chat, tmp_path):
    with GLMServer([WRITE, DONE]) as server, chat(server, "--tools") as screen:
        screen.wait_for(PROMPT)
        screen.press("Write hello.py" + ENTER)
        screen.wait_for("Write hello.py, which is new or empty? [y]es, [n]o and why, [e]dit")
        assert re.search(
            "Thought for .* s, 17 characters\nI write it.\n╭─ write_file hello.py", screen.seen
        )
        assert not (tmp_path / "work" / "hello.py").exists()
        screen.press("what" + ENTER)  # is no answer: it asks again
        screen.wait_for("[y]es", count=2)
        screen.press("s" + ENTER)
        screen.wait_for("[y]es", count=3)
        assert screen.seen.count("print('hello, world')") == 6
        screen.press("y" + ENTER)
        screen.wait_for("│ Wrote 66 characters to hello.py.", "─ done ─", "It is done.")
        assert (tmp_path / "work" / "hello.py").read_text() == FILE


def test_a_write_is_changed_by_hand(chat, tmp_path):
    with GLMServer([WRITE, DONE]) as server, chat(server, "--tools") as screen:
        screen.wait_for(PROMPT)
        screen.press("Write hello.py" + ENTER)
        screen.wait_for("[y]es")
        screen.press("e" + ENTER)
        screen.wait_for("Alt-Enter ends")
        screen.press("# the end" + ALT_ENTER)
        screen.wait_for("It is done.")
    assert (tmp_path / "work" / "hello.py").read_text() == FILE + "# the end"


def test_ctrl_c_at_the_question_stops_the_turn(chat, tmp_path):
    with GLMServer([WRITE, DONE]) as server, chat(server, "--tools") as screen:
        screen.wait_for(PROMPT)
        screen.press("Write hello.py" + ENTER)
        screen.wait_for("[y]es")
        screen.press(CTRL_C)
        screen.wait_for(PROMPT, count=2)
        screen.press("Why not?" + ENTER)
        screen.wait_for("It is done.")
        assert [role for role, _ in asked(server)][-3:] == ["assistant", "tool", "user"]
    assert not (tmp_path / "work" / "hello.py").exists()


def test_a_conversation_is_resumed_with_what_was_said(chat):
    with GLMServer([Reply(text="My name is **GLM**."), DONE]) as server:
        with chat(server) as screen:
            screen.wait_for(PROMPT)
            screen.press("Your name?" + ENTER)
            screen.wait_for("tokens in", PROMPT)
            screen.wait_for(PROMPT, count=2)
            screen.press(CTRL_C)  # at an empty prompt
            assert screen.ended() == 0
        with chat(server, "--resume") as screen:
            screen.wait_for("› Your name?\nMy name is GLM.\n›")
            screen.press(UP)  # the history of questions is there too
            screen.wait_for("› Your name?", count=2)
            screen.press(" Again!" + ENTER)
            screen.wait_for("It is done.")
        assert [text for _, text in asked(server)] == [
            "Your name?",
            "My name is **GLM**.",
            "Your name? Again!",
        ]


def test_keys_at_the_prompt(chat):
    with GLMServer(DONE) as server, chat(server) as screen:
        screen.wait_for(PROMPT)
        screen.press("never mind" + CTRL_C)  # takes the line back
        screen.wait_for("never mind")
        screen.wait_for(PROMPT, count=2)
        screen.press(ENTER)  # nothing asks nobody
        screen.press("/what" + ENTER)
        screen.wait_for("/new: begin a new conversation")
        screen.press("/e\t")
        screen.wait_for("› /exit")
        screen.press(CTRL_C)
        screen.press("One" + ALT_ENTER + "two" + ENTER)
        screen.wait_for("It is done.")
        assert asked(server) == [("user", "One\ntwo")]
        screen.press("/new" + ENTER + "Three" + ENTER)
        screen.wait_for("It is done.", count=2)
        assert asked(server) == [("user", "Three")]
        screen.press("/exit" + ENTER)
        assert screen.ended() == 0


def test_what_is_typed_during_an_answer_is_the_next_question(chat):
    with GLMServer([Reply(text="and on " * 40), DONE], pace=0.01) as server, chat(server) as screen:
        screen.wait_for(PROMPT)
        screen.press("Go" + ENTER)
        screen.wait_for("and on and on")
        screen.press("Next" + ENTER)
        screen.wait_for("It is done.")
        assert asked(server)[-1] == ("user", "Next")
        assert screen.raw.index(b"tokens in") < screen.raw.index(b"Next")


def test_an_error_leaves_the_prompt(chat):
    with GLMServer([Fail(401, "1000", "no"), DONE]) as server, chat(server) as screen:
        screen.wait_for(PROMPT)
        screen.press("Hi" + ENTER)
        screen.wait_for("langchain-glm: no (HTTP 401, code 1000). Check the key")
        screen.wait_for(PROMPT, count=2)
        screen.press("Hi" + ENTER)
        screen.wait_for("It is done.")


def test_one_question_at_a_terminal(chat):
    answer = Reply(reasoning="Hm.", text="# Yes\n\n- *no*")
    with GLMServer(answer) as server, chat(server, "Well?") as screen:
        assert screen.ended() == 0
        screen.wait_for("Thought for", "• no", "tokens in")
        assert PROMPT not in screen.seen
        assert not screen.cursor_is_hidden
        assert len(server.requests) == 1


def test_ctrl_c_ends_one_question_with_130(chat):
    with GLMServer(HANGS) as server, chat(server, "Well?") as screen:
        screen.wait_for("print('hel▌")
        screen.press(CTRL_C)
        assert screen.ended() == 130
        assert "Traceback" not in screen.seen
        assert not screen.cursor_is_hidden
        assert server.requests[0].hung_up.wait(10)
