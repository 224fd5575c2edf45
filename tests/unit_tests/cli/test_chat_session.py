"""Turns of a conversation against a real server: what is kept, and what the next request holds."""

import signal
import threading
import time
from contextlib import contextmanager

import openai
import pytest
from rich.console import Console

from langchain_glm import ChatGLM
from langchain_glm.cli._chat_agent import Agent
from langchain_glm.cli._chat_run import Line
from langchain_glm.cli._chat_session import ANSWERED, CUT, FAILED, STOPPED, Session
from langchain_glm.cli._chat_store import LAST, Store
from langchain_glm.cli._chat_tools import Folder
from langchain_glm.streaming import (
    ArgumentDelta,
    ReasoningDelta,
    TextDelta,
)
from langchain_glm.testing import Call, Cut, Fail, GLMServer, Reply

KEY = "s3cret-key-9f8e7d"
SOON = 10.0
WRITE = Reply(
    reasoning="A file.",
    text="I write it.",
    tool_calls=[Call("write_file", {"path": "a.py", "content": "print(1)\n"}, id="call_1")],
)
DONE = Reply(text="Done.")
HELLO = Reply(reasoning="Hm.", text="Hello!")


class Eyes:
    """A show that remembers, and presses ctrl-c when it sees an event of some kind."""

    def __init__(self, stop_at=None, count=1):
        self.events, self.stop_at, self.count = [], stop_at, count

    @contextmanager
    def run(self):
        yield self.see

    def see(self, event):
        if event is None:
            return
        self.events.append(event)
        if self.stop_at and isinstance(event, self.stop_at):
            self.count -= 1
            if self.count == 0:
                signal.raise_signal(signal.SIGINT)


@pytest.fixture
def talk(tmp_path, capsys):
    """Make sessions with a server; their files are in `tmp_path`."""
    clients = []

    def begin(server, *, decide=None, tools=False, asks=True, eyes=None, resume=None):
        client = openai.DefaultHttpxClient(trust_env=False)
        clients.append(client)
        model = ChatGLM(
            model="glm-4.7",
            base_url=server.base_url,
            api_key=KEY,
            http_client=client,
            max_retries=1,
            timeout=SOON,
        )
        store = Store(tmp_path / "kept")
        (tmp_path / "folder").mkdir(exist_ok=True)
        return Session(
            agent=Agent(model, Folder(tmp_path / "folder") if tools else None, asks=asks),
            line=Line(client),
            conversation=store.resume(resume) if resume else store.begin(),
            show=lambda: eyes or Eyes(),
            decide=decide,
            messages=Console(stderr=True, highlight=False, markup=False),
            secret=KEY,
        )

    yield begin
    for client in clients:
        client.close()


def sent(server, number=-1):
    """The messages of a request: (role, text) or (role, text, calls)."""
    return [
        (m["role"], m.get("content") or "", *([m["tool_calls"]] if "tool_calls" in m else []))
        for m in server.requests[number].body["messages"]
    ]


def test_a_conversation_goes_on_from_turn_to_turn(talk):
    with GLMServer([HELLO, DONE]) as server:
        session = talk(server)
        assert [session.ask("Hi"), session.ask("And?")] == [ANSWERED, ANSWERED]
        assert sent(server) == [("user", "Hi"), ("assistant", "Hello!"), ("user", "And?")]
        assert server.requests[-1].body["messages"][1]["reasoning_content"] == "Hm."
        assert "tools" not in server.requests[-1].body
        assert len({request.connection for request in server.requests}) == 1


def test_a_conversation_is_resumed_as_it_was(talk):
    with GLMServer([WRITE, DONE, HELLO]) as server:
        talk(server, tools=True, asks=False).ask("Write a.py")
        talk(server, tools=True, resume=LAST).ask("And?")
        first, second = server.requests[1].body["messages"], server.requests[2].body["messages"]
    assert second[: len(first)] == first
    assert [message["role"] for message in second[len(first) :]] == ["assistant", "user"]


# A person is asked


def test_a_write_waits_for_a_person(talk, tmp_path):
    asked = []

    def decide(request):
        asked.append(request)
        assert not (tmp_path / "folder" / "a.py").exists()
        return {"type": "approve"}

    with GLMServer([WRITE, DONE]) as server:
        assert talk(server, tools=True, decide=decide).ask("Write a.py") == ANSWERED
        *_, (role, content) = sent(server)
    assert [(r["name"], r["args"]["path"]) for r in asked] == [("write_file", "a.py")]
    assert (tmp_path / "folder" / "a.py").read_text() == "print(1)\n"
    assert (role, content) == ("tool", "Wrote 9 characters to a.py.")


def test_what_a_person_has_changed_is_written(talk, tmp_path):
    def decide(request):
        action = {"name": "write_file", "args": {"path": "b.py", "content": "print(2)\n"}}
        return {"type": "edit", "edited_action": action}

    with GLMServer([WRITE, DONE]) as server:
        talk(server, tools=True, decide=decide).ask("Write a.py")
        assert "b.py" in sent(server)[-1][1]  # the model is told
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["b.py"]
    assert (tmp_path / "folder" / "b.py").read_text() == "print(2)\n"


@pytest.mark.parametrize(
    ("decide", "told"),
    [
        (lambda _: {"type": "reject", "message": "Use b.py."}, "Use b.py."),
        (lambda _: {"type": "reject"}, "rejected"),
        (None, "Nobody is there to allow it. The user can run the command with --yes."),
    ],
    ids=["with a reason", "without one", "nobody is there"],
)
def test_a_refused_write_is_not_done_and_the_model_is_told(talk, tmp_path, decide, told):
    with GLMServer([WRITE, DONE]) as server:
        session = talk(server, tools=True, decide=decide)
        assert session.ask("Write a.py") == ANSWERED
        assert told in sent(server)[-1][1]
        assert session.conversation.messages[2].status == "error"
    assert list((tmp_path / "folder").iterdir()) == []


def test_each_of_several_writes_is_asked_for(talk, tmp_path):
    both = Reply(
        tool_calls=[
            Call("write_file", {"path": "a", "content": "1"}),
            Call("list_files", {}),
            Call("write_file", {"path": "b", "content": "2"}),
        ]
    )
    words = {"a": {"type": "reject"}, "b": {"type": "approve"}}
    with GLMServer([both, DONE]) as server:
        decide = lambda request: words[request["args"]["path"]]  # noqa: E731
        assert talk(server, tools=True, decide=decide).ask("Both") == ANSWERED
        assert [m["role"] for m in server.requests[-1].body["messages"][-3:]] == ["tool"] * 3
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["b"]


def test_tools_that_change_nothing_ask_nobody(talk, tmp_path):
    def decide(_):
        raise AssertionError

    with GLMServer([Reply(tool_calls=[Call("list_files", {})]), DONE]) as server:
        assert talk(server, tools=True, decide=decide).ask("List") == ANSWERED
        assert sent(server)[-1] == ("tool", "There are no files.")


# Ctrl-c

LONG = Reply(reasoning="Let me see. " * 50, text="and on " * 400)
LONG_CALL = Reply(
    text="I write.", tool_calls=[Call("write_file", {"path": "a", "content": "x" * 4000})]
)


@pytest.mark.parametrize(
    ("answer", "stop_at", "kept"),
    [
        (LONG, (ReasoningDelta, 3), ""),
        (LONG, (TextDelta, 3), "and on and o"),
        (LONG_CALL, (ArgumentDelta, 3), "I write."),
    ],
    ids=["while it thinks", "in its text", "in a call"],
)
def test_ctrl_c_hangs_up_and_the_next_turn_is_accepted(talk, answer, stop_at, kept):
    with GLMServer([answer, HELLO], pace=0.005) as server:
        session = talk(server, tools=True, eyes=Eyes(*stop_at))
        assert session.ask("Go") == STOPPED
        assert server.requests[0].hung_up.wait(SOON)
        assert session.ask("Go on") == ANSWERED
        _system, *before, last = sent(server)
    assert last == ("user", "Go on")
    if kept:
        asked, (role, text) = before
        assert (asked, role) == (("user", "Go"), "assistant")
        assert text.startswith(kept)
        assert len(text) < 200
    else:
        assert before == []


def test_ctrl_c_before_the_server_answers_at_all(talk):
    free = threading.Event()

    def waits(_):
        free.wait(SOON)
        return HELLO

    with GLMServer([waits, HELLO]) as server:
        session = talk(server)
        threading.Thread(
            target=lambda: (
                server.wait_until(lambda: server.requests, SOON),
                signal.raise_signal(signal.SIGINT),
            )
        ).start()
        began = time.monotonic()
        assert session.ask("Go") == STOPPED
        assert time.monotonic() - began < SOON / 2
        assert no_run_is_left(server)
        free.set()
        assert session.ask("Again") == ANSWERED
        assert sent(server) == [("user", "Again")]


def no_run_is_left(server):
    """Whether the threads of runs come to their end."""
    kinds = ("chat run", "ThreadPoolExecutor")
    return server.wait_until(
        lambda: not [t for t in threading.enumerate() if t.name.startswith(kinds)]
    )


def test_ctrl_c_while_a_person_is_asked_answers_the_call_for_him(talk, tmp_path):
    def decide(_):
        raise KeyboardInterrupt

    with GLMServer([WRITE, HELLO]) as server:
        session = talk(server, tools=True, decide=decide)
        assert session.ask("Write a.py") == STOPPED
        assert session.ask("Why?") == ANSWERED
        roles = [message[0] for message in sent(server)]
        answer = sent(server)[3][1]
    assert roles == ["system", "user", "assistant", "tool", "user"]
    assert answer == "The run was stopped before this call had a result."
    assert list((tmp_path / "folder").iterdir()) == []


def test_ctrl_c_after_a_tool_keeps_its_result(talk):
    with GLMServer([WRITE, LONG, HELLO], pace=0.002) as server:
        eyes = Eyes(TextDelta, count=6)  # 3 pieces of the first text, 3 of the second
        session = talk(server, tools=True, asks=False, eyes=eyes)
        assert session.ask("Write a.py") == STOPPED
        eyes.stop_at = None
        assert session.ask("Go on") == ANSWERED
        _, *messages = sent(server)
    assert [message[0] for message in messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert messages[2][1] == "Wrote 9 characters to a.py."
    assert messages[3][1].startswith("and on")


def test_ctrl_c_has_its_old_meaning_afterwards(talk):
    before = signal.getsignal(signal.SIGINT)
    with GLMServer(LONG, pace=0.005) as server:
        talk(server, eyes=Eyes(TextDelta)).ask("Go")
    assert signal.getsignal(signal.SIGINT) is before


# What goes wrong

FAILURES = {
    "a refused key": (Fail(401, "1000", f"token {KEY} expired"), "Check the key"),
    "no balance": (Fail(429, "1113", "余额不足"), "Recharge"),
    "a gateway's page": (Fail(502, body="<html>\n<h1>502</h1>\n</html>"), "Try again"),
}


@pytest.mark.parametrize(("answer", "remedy"), FAILURES.values(), ids=FAILURES)
def test_an_error_is_one_line_with_its_remedy_and_the_conversation_goes_on(
    talk, capsys, answer, remedy
):
    retried = [answer] * (2 if "502" in str(answer) else 1)
    with GLMServer([*retried, HELLO]) as server:
        session = talk(server)
        assert session.ask("Hi") == FAILED
        error = " ".join(capsys.readouterr().err.split())
        assert session.ask("Hi again") == ANSWERED
        assert sent(server) == [("user", "Hi again")]
    assert error.startswith("langchain-glm: ")
    assert remedy in error
    assert KEY not in error


def test_an_answer_that_breaks_off_is_kept_as_far_as_it_came(talk, capsys):
    with GLMServer([Cut(Reply(text="Half an answer, and then"), after=900), HELLO]) as server:
        session = talk(server)
        assert session.ask("Hi") == FAILED
        assert "the request again" in " ".join(capsys.readouterr().err.split())
        assert session.ask("Go on") == ANSWERED
        (_, asked), (role, answer), _ = sent(server)
    assert (asked, role) == ("Hi", "assistant")
    assert answer
    assert "Half an answer, and then".startswith(answer)


@pytest.mark.parametrize("reason", ["length", "sensitive"])
def test_an_answer_that_is_not_whole(talk, capsys, reason):
    with GLMServer(Reply(text="Once upon", finish_reason=reason)) as server:
        assert talk(server).ask("Tell") == CUT
    assert f"the answer is not whole (finish_reason '{reason}')" in capsys.readouterr().err


def test_a_cut_call_is_tried_again_and_never_written(talk, tmp_path):
    cut = Reply(tool_calls=[Call("write_file", '{"path": "a", "con')], finish_reason="length")
    with GLMServer([cut, DONE]) as server:
        assert talk(server, tools=True, asks=False).ask("Write") == ANSWERED
        assert "did not run" in sent(server)[-1][1]
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_path_outside_is_refused_whatever_a_person_says(talk, tmp_path):
    outside = Reply(tool_calls=[Call("write_file", {"path": "../out.txt", "content": "x"})])
    with GLMServer([outside, DONE]) as server:
        session = talk(server, tools=True, decide=lambda _: {"type": "approve"})
        assert session.ask("Write") == ANSWERED
        assert sent(server)[-1][1].endswith("outside of the folder that you may work in.")
    assert not (tmp_path / "out.txt").exists()


def test_a_disk_that_takes_nothing_is_said_once(talk, capsys, tmp_path):
    (tmp_path / "kept").write_text("a file where the folder should be")
    with GLMServer(HELLO) as server:
        session = talk(server)
        assert [session.ask("Hi"), session.ask("And?")] == [ANSWERED, ANSWERED]
        assert len(sent(server)) == 3
    assert capsys.readouterr().err.count("cannot be saved") == 1


def test_any_other_error_ends_the_turn_and_not_the_session(talk, capsys):
    def decide(_):
        raise ValueError("no\nidea")

    with GLMServer([WRITE, HELLO]) as server:
        session = talk(server, tools=True, decide=decide)
        assert session.ask("Write") == FAILED
        assert session.ask("Hi") == ANSWERED
    assert capsys.readouterr().err == "langchain-glm: no idea\n"


def test_runs_leave_nothing_behind(talk):
    with GLMServer([WRITE, HELLO]) as server:
        session = talk(server, tools=True)
        session.ask("Write")
        assert list(session.agent._checkpoints.storage) == []
        assert no_run_is_left(server)
