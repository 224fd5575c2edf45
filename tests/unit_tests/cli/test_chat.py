"""`langchain-glm chat` from its arguments to its exit status, without a person in front of it."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from langchain_core.messages import messages_from_dict

from langchain_glm.cli import _chat_main, _options, _report, _target, main
from langchain_glm.cli._chat_store import Store
from langchain_glm.streaming import event_schema
from langchain_glm.testing import Call, Fail, GLMServer, Reply

KEY = "s3cret-key-9f8e7d"
HELLO = Reply(reasoning="Hm.", text="Hello **you**!")
WRITE = Reply(
    text="I write:",
    tool_calls=[Call("write_file", {"path": "a.py", "content": "print(1)\n"}, id="call_1")],
)
COMMAND = (sys.executable, "-m", "langchain_glm.cli", "chat")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    unwanted = re.compile("ZAI_|ZHIPUAI_|OPENAI_|.*_proxy$|FORCE_COLOR", re.IGNORECASE)
    for name in filter(unwanted.match, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setattr(_target, "SCRIPTED_PACE", 0.0)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `chat` in this process, with a text on stdin: (exit status, stdout, stderr)."""

    def command(*arguments, stdin="", name="chat"):
        monkeypatch.setattr(sys, "argv", ["langchain-glm", name, *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin) if isinstance(stdin, str) else stdin)
        with pytest.raises(SystemExit) as exit_:
            main()
        return (exit_.value.code or 0, *capsys.readouterr())

    return command


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "state" / "langchain-glm" / "conversations")


def asked(server, number=-1):
    return [
        (message["role"], message["content"])
        for message in server.requests[number].body["messages"]
    ]


# One question


def test_a_question_is_answered_with_its_text_alone(run):
    with GLMServer(HELLO) as server:
        assert run("Hi", "--base-url", server.base_url) == (0, "Hello **you**!\n", "")
        assert asked(server) == [("user", "Hi")]
        assert "tools" not in server.requests[0].body


@pytest.mark.parametrize(
    ("is_terminal", "written"), [(False, "a\tb \x1b[2J\n"), (True, "a   b ␛[2J\n")]
)
def test_a_pipe_gets_the_text_as_it_is_and_a_plain_terminal_no_commands(
    run, monkeypatch, is_terminal, written
):
    monkeypatch.setenv("TERM", "dumb")
    out = io.StringIO()
    out.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stdout", out)
    with GLMServer(Reply(text="a\tb \x1b[2J"), fragment_size=99) as server:
        assert run("Hi", "--base-url", server.base_url)[0] == 0
    assert out.getvalue() == written


def test_a_question_from_a_pipe(run):
    with GLMServer(HELLO) as server:
        assert run("--base-url", server.base_url, stdin="Hi\nthere\n")[:2] == (
            0,
            "Hello **you**!\n",
        )
        assert asked(server) == [("user", "Hi\nthere")]


def test_an_argument_is_the_question_and_stdin_is_left_alone(run):
    with GLMServer(HELLO) as server:
        run("Hi", "--base-url", server.base_url, stdin="not me")
        assert asked(server) == [("user", "Hi")]


def test_the_options_reach_the_server(run):
    options = ("-m", "glm-4.6", "--no-thinking", "--max-tokens", "77", "--api-key", KEY)
    with GLMServer(HELLO) as server:
        run("Hi", "--base-url", server.base_url, *options)
        (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    wanted = {"model": "glm-4.6", "max_tokens": 77, "thinking": {"type": "disabled"}}
    assert {name: request.body[name] for name in wanted} == wanted


def test_the_model_thinks_its_own_way_where_nothing_is_said(run):
    with GLMServer(HELLO) as server:
        run("Hi", "--base-url", server.base_url)
        run("Hi", "--base-url", server.base_url, "--thinking")
        first, second = (request.body.get("thinking") for request in server.requests)
    assert (first, second) == (None, {"type": "enabled"})


def test_the_named_endpoint_is_asked(run, monkeypatch):
    with GLMServer(HELLO) as server:
        monkeypatch.setitem(_options.ENDPOINTS, "bigmodel-coding", server.base_url)
        assert run("Hi", "--api-key", KEY, "-e", "bigmodel-coding")[0] == 0


# Without a key


def test_without_a_key_it_says_so_and_asks_the_scripted_server(run, store):
    status, out, err = run("Write a program", "--yes")
    assert (status, out.splitlines()[0]) == (0, "I'll use write_file for this.")
    assert err.splitlines() == [
        _chat_main.SCRIPTED_NOTICE,
        "Its files go to a folder that is removed afterwards.",
        "write_file fib.py",
        "write_file: Wrote 1,501 characters to fib.py.",
    ]
    assert store.ids() == []


def test_the_notice_is_that_of_probe():
    first = _report.SCRIPTED_NOTICE.partition(" It runs no model")[0]
    assert _chat_main.SCRIPTED_NOTICE.startswith(first)


def test_the_scripted_server_works_in_the_folder_that_is_named(run, tmp_path):
    (tmp_path / "work").mkdir()
    _, _, err = run("Write", "--yes", "--dir", str(tmp_path / "work"))
    assert "removed" not in err
    assert (tmp_path / "work" / "fib.py").exists()


# Tools


def test_tools_work_in_the_folder_and_write_with_yes(run, tmp_path):
    with GLMServer([WRITE, HELLO]) as server:
        status, out, err = run("Write", "-y", "--dir", str(tmp_path), "--base-url", server.base_url)
        names = [tool["function"]["name"] for tool in server.requests[0].body["tools"]]
    assert (status, out) == (0, "I write:\nHello **you**!\n")
    assert err == "write_file a.py\nwrite_file: Wrote 9 characters to a.py.\n"
    assert names == ["list_files", "read_file", "search", "write_file"]
    assert (tmp_path / "a.py").read_text() == "print(1)\n"


def test_tools_without_a_folder_work_in_this_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with GLMServer([WRITE, HELLO]) as server:
        run("Write", "-y", "--tools", "--base-url", server.base_url)
    assert (tmp_path / "a.py").exists()


def test_nothing_is_written_where_nobody_can_be_asked(run, tmp_path):
    with GLMServer([WRITE, HELLO]) as server:
        status, _, err = run("Write", "--dir", str(tmp_path), "--base-url", server.base_url)
    assert status == 0
    assert "write_file: User rejected" in err
    assert "--yes" in err
    assert not (tmp_path / "a.py").exists()


# JSON


def test_json_is_a_line_for_each_event_and_nothing_else(run, tmp_path):
    with GLMServer([WRITE, HELLO]) as server:
        status, out, err = run(
            *("Write", "--json", "-y", "--dir", str(tmp_path), "--base-url", server.base_url)
        )
    events = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    kinds = [event["type"] for event in events]
    assert {"argument_delta", "tool_started", "tool_finished", "reasoning_delta"} < set(kinds)
    assert kinds[-1] == "run_finished"
    known = set(re.findall(r'"const": "(\w+)"', json.dumps(event_schema())))
    assert set(kinds) <= known
    typed = "".join(e["text"] for e in events if e.get("path") == ["content"] and "text" in e)
    assert typed == "print(1)\n"
    *_, answer = messages_from_dict(events[-1]["messages"])
    assert answer.text == "Hello **you**!"


def test_json_shows_the_question_that_nobody_answers(run, tmp_path):
    with GLMServer([WRITE, HELLO]) as server:
        _, out, _ = run("Hi", "--json", "--dir", str(tmp_path), "--base-url", server.base_url)
    kinds = [json.loads(line)["type"] for line in out.splitlines()]
    assert kinds.index("run_interrupted") < kinds.index("tool_failed") < kinds.index("run_finished")


def test_json_of_a_failure(run):
    with GLMServer(Fail(401, "1000", f"token {KEY} expired")) as server:
        status, out, err = run("Hi", "--json", "--api-key", KEY, "--base-url", server.base_url)
    last = json.loads(out.splitlines()[-1])
    assert (status, last["type"], last["error"]["code"]) == (2, "run_failed", "1000")
    assert err.startswith("langchain-glm: ")
    assert KEY not in out + err


# Kept and resumed


def test_one_question_after_the_other_is_one_conversation_with_resume(run, store):
    with GLMServer(HELLO) as server:
        where = ("--base-url", server.base_url)
        run("One", *where)
        run("Another", *where)
        last, first = store.ids()
        assert run("--resume", "Two", *where)[0] == 0
        assert [text for role, text in asked(server) if role == "user"] == ["Another", "Two"]
        assert run("--resume", first, "Three", *where)[0] == 0
        assert [text for role, text in asked(server) if role == "user"] == ["One", "Three"]
        assert run("Four", *where, "--resume")[0] == 0  # the one that was last spoken in
        assert [text for role, text in asked(server) if role == "user"] == ["One", "Three", "Four"]
    assert store.ids() == [first, last]


def test_what_is_not_to_be_kept_is_not(run, store):
    with GLMServer(HELLO) as server:
        run("One", "--base-url", server.base_url)
        run("--no-save", "--resume", "Two", "--base-url", server.base_url)
        run("--no-save", "Three", "--base-url", server.base_url)
        assert len(server.requests) == 3
    (kept,) = store.ids()
    assert [m.text for m in store.resume(kept).messages] == ["One", "Hello **you**!"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--resume"], "langchain-glm: There is no conversation to resume yet.\n"),
        (["--resume", "20200101-000000-abcd"], "langchain-glm: There is no conversation"),
        (["--resume", "20200101"], "langchain-glm: There is no conversation"),
    ],
)
def test_a_conversation_that_does_not_exist(run, arguments, says):
    with GLMServer(HELLO) as server:
        status, out, err = run("Hi", *arguments, "--base-url", server.base_url)
        assert server.requests == []
    assert (status, out) == (2, "")
    assert err.startswith(says)
    assert len(err.splitlines()) == 1


# Exit status


def test_status_1_where_the_answer_is_not_whole(run):
    with GLMServer(Reply(text="Once", finish_reason="length")) as server:
        status, out, err = run("Hi", "--base-url", server.base_url)
    assert (status, out) == (1, "Once\n")
    assert err == "langchain-glm: the answer is not whole (finish_reason 'length').\n"


FAILURES = {
    "refused": (Fail(401, "1000", f"token {KEY}\nexpired"), "Check the key"),
    "no quota": (Fail(429, "1113", "余额不足"), "Recharge the account"),
    "no such model": (Fail(400, "1211", "Unknown Model"), "model"),
}


@pytest.mark.parametrize(("answer", "remedy"), FAILURES.values(), ids=FAILURES)
def test_status_2_where_the_request_failed(run, answer, remedy):
    with GLMServer(answer) as server:
        status, out, err = run("Hi", "--api-key", KEY, "--base-url", server.base_url)
    (line,) = err.splitlines()
    assert (status, out) == (2, "")
    assert line.startswith("langchain-glm: ")
    assert remedy in line
    assert KEY not in err


def test_a_reader_that_leaves_ends_it(run, monkeypatch):
    reading, writing = os.pipe()

    def leave():
        os.read(reading, 3)
        os.close(reading)

    with GLMServer(Reply(text="and on " * 5000), pace=0.002) as server:
        with suppress(BrokenPipeError), os.fdopen(writing, "w") as out:
            monkeypatch.setattr(sys, "stdout", out)
            threading.Thread(target=leave).start()
            status, _, _ = run("Hi", "--base-url", server.base_url)
        assert status == 1
        assert server.requests[0].hung_up.wait(30)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["Hi", "--endpoint", "zia"], "zai-coding"),
        (["Hi", "--base-url", "localhost:8000"], "http://"),
        (["Hi", "--dir", "no/such/folder"], "no/such/folder"),
        (["Hi", "--dir", __file__], "is a file"),
        (["Hi", "--max-tokens", "0"], "--max-tokens"),
        (["Hi", "there"], "there"),
        (["  "], "QUESTION"),
        ([], "QUESTION"),
        (["Hi", "--api-key", KEY + "\n" + KEY], "The API key holds characters"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_sent(run, arguments, complaint):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert complaint in " ".join(err.replace("│", "").split())
    assert KEY not in err


def test_a_service_without_stdin(run):
    with GLMServer(HELLO) as server:
        assert run("Hi", "--base-url", server.base_url, stdin=None)[0] == 0
    assert run(stdin=None)[0] == 2


def test_a_picture_is_no_question(run):
    status, _, err = run(stdin=io.TextIOWrapper(io.BytesIO(b"\x89PNG\xff"), "utf-8"))
    assert (status, "stdin is no text" in err) == (2, True)


def test_json_at_a_keyboard_needs_a_question(run, monkeypatch):
    keyboard = io.StringIO()
    keyboard.isatty = lambda: True
    status, _, err = run("--json", stdin=keyboard)
    assert status == 2
    assert "give it as an argument or on stdin" in " ".join(err.replace("│", "").split())


def test_help_tells_all_options_and_every_status(run, monkeypatch):
    monkeypatch.setenv("ZAI_API_KEY", KEY)
    status, out, err = run("--help")
    assert status == 0
    words = " ".join(out.replace("│", "").split())
    for option in (
        *("--tools", "--dir", "--yes", "-y", "--resume", "--no-save", "--json", "--no-thinking"),
        *("--model", "--endpoint", "--base-url", "--api-key", "--max-tokens", "--timeout"),
        *("0 answered", "1 the answer is not whole", "2 a request failed", "130 stopped"),
    ):
        assert option in words, option
    assert KEY not in out + err


@pytest.mark.parametrize("missing", ["langchain", "langgraph", "prompt_toolkit"])
def test_what_is_missing_is_said_in_one_line_and_the_others_do_without(run, monkeypatch, missing):
    monkeypatch.delitem(sys.modules, "langchain_glm.cli._chat_main", raising=False)
    for name in [*sys.modules]:
        if name.partition(".")[0] == missing or name.startswith("langchain_glm.cli._chat_"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    status, out, err = run("Hi")
    assert (status, out) == (2, "")
    assert err == f'langchain-glm: chat needs {missing}: pip install "langchain-glm-zai[cli]"\n'
    assert run(name="models")[0] == 0


def test_another_missing_module_is_not_blamed_on_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain_glm.cli._chat_main", None)
    with pytest.raises(ModuleNotFoundError, match="_chat_main"):
        run("Hi")


# Completion


def completed(monkeypatch, capsys, line):
    """What bash would offer at the end of a line."""
    monkeypatch.setenv("_LANGCHAIN_GLM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    monkeypatch.setattr(sys, "argv", ["langchain-glm"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert not exit_.value.code
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("langchain-glm ch", ["chat"]),
        ("langchain-glm chat --no-th", ["--no-thinking"]),
        ("langchain-glm chat -e big", ["bigmodel", "bigmodel-coding"]),
    ],
)
def test_the_shell_completes(monkeypatch, capsys, line, offered):
    assert completed(monkeypatch, capsys, line) == offered


def test_the_shell_completes_conversations(run, monkeypatch, capsys, store):
    with GLMServer(HELLO) as server:
        run("Hi", "--base-url", server.base_url)
    assert completed(monkeypatch, capsys, "langchain-glm chat --resume 2") == store.ids()


def test_the_script_for_the_shell(run, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    status, out, _ = run("bash", name="--show-completion")
    assert status == 0
    assert "_LANGCHAIN_GLM_COMPLETE=complete_bash" in out


# As a process of its own


def test_pipes_get_lines_as_they_come_and_ctrl_c_ends_with_130(tmp_path):
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    with (
        GLMServer(Reply(text="and on " * 5000), pace=0.01) as server,
        subprocess.Popen(  # noqa: S603
            [*COMMAND, "--json", "--base-url", server.base_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process,
    ):
        process.stdin.write("Tell me")
        process.stdin.close()
        first = json.loads(process.stdout.readline())
        assert (first["type"], process.poll()) == ("text_delta", None)
        threading.Thread(target=process.stdout.read).start()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == ""
        assert server.requests[0].hung_up.wait(30)


def test_the_commands(run):
    status, out, _ = run(name="--help")
    assert status == 0
    assert all(name in out for name in ("chat", "probe", "models", "--install-completion"))
