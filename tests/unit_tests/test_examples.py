"""Each example runs with one command and no key, and with a key talks to whoever it is for."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from langchain_glm.testing import Call, Fail, GLMServer, Reply

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTED = "Model: glm-4.7 as a script of this example, since ZAI_API_KEY is not set"
NEEDS_DEEPAGENTS = "This example needs Python 3.11 or later, and: pip install deepagents"
HAS_DEEPAGENTS = importlib.util.find_spec("deepagents") is not None

# What each prints, in this order.
SAYS = {
    "agent.py": [
        "The two questions are independent.",
        "call find_stock  item: keyboard\n",
        "call find_stock  item: monitor\n",
        "done find_stock",
        "done find_stock",
        "count: 4  warehouse: Hamburg\n",
        "count: 2  warehouse: Hamburg\n",
        "FAIL reserve  Hamburg has 3 of keyboard, not 4.",
        "count: 4  warehouse: Rotterdam\n",
        "done reserve  4 of keyboard reserved, Rotterdam has 8 left",
        "call draft_mail  to: mei@example.com  text: Dear Mei,\n",
        "done draft_mail",
        "Reserved: 4 keyboards",
        "[5 answers of the model,",
    ],
    "approval.py": [
        "find /var/log/till -mtime +30 -delete",
        "Write this file? (y, or why not) \n",
        "NOT RUN write_file",
        "Nobody has approved it.",
        "-name '*.log'",
        "Write this file? (y, or why not) \n",
        "NOT RUN write_file",
        "nothing is written",
        "Written: []",
    ],
    "chat.py": [
        "You: Why is the sky blue?\nRayleigh scattering",
        "Air scatters",
        "tokens in,",
        "You: Then why is it not violet?\nThey noticed",
        "Violet is scattered",
        "You: And at sunset?",
        "orange and red.\n",
        "7 messages]",
    ],
    "deep_agent.py": [
        "--- agent ---\nFacts first",
        "call task  description: What do our notes say",
        "--- subagent tools:",
        "call search_notes  name: SQLite\n",
        "call search_notes  name: PostgreSQL\n",
        "done search_notes  ",
        "done search_notes  ",
        "SQLite is one file",
        "--- agent ---\n  done task  SQLite is one file",
        "call write_file  file_path: /advice.md  content: # A database for the till\n",
        "Take SQLite; my reasons",
        "[files in the state, by size: {'/advice.md': 214}]",
    ],
    "extraction.py": [
        "With max_tokens=40:\n",
        '{"number":"2026-0417"}\n',
        "OutputParserException: The answer is no Invoice (finish_reason 'length').",
        "150 characters had come.\n\nWith max_tokens=None:\n",
        '"total":"767.10"}\n',
        "Invoice(number='2026-0417'",
        "The lines add up to 767.10; the invoice says 767.10.",
    ],
    "write_while_generated.py": [
        "The call was cut off",
        "Left on disk: []",
        "write_file: 225 characters are in fib.py",
        "fib.py is written.",
    ],
}
SERVED = {"flask_sse.py", "fastapi_websocket.py", "fastapi_ag_ui.py"}  # test_served_examples.py
RUN_ELSEWHERE = {
    "agent_server",  # make test-scale
    "ray_batch.py",  # make test-scale
    "use_chat",  # test_served_examples.py
    "web",  # test_web_example.py
}
HELPER = "keyless.py"


def test_every_example_is_run():
    found = {path.name for path in EXAMPLES.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found - {"__pycache__"} == {*SAYS, *SERVED, *RUN_ELSEWHERE, HELPER}


@pytest.mark.parametrize(
    ("document", "to"),
    [
        pytest.param("examples/README.md", "", id="README"),
        pytest.param("docs/examples.md", "../examples/", id="site"),
    ],
)
def test_every_example_is_in_the_list(document, to):
    text = (ROOT / document).read_text(encoding="utf-8")
    listed = re.findall(rf"^\| \[`?([\w.]+)/?`?\]\({re.escape(to)}([\w.]+)", text, re.MULTILINE)
    assert sorted(listed) == sorted((name, name) for name in {*SAYS, *SERVED, *RUN_ELSEWHERE})


# Without a key: as a user runs it


def run(name, folder, *arguments, stdin=""):
    """Run an example with warnings as errors; LangGraph's one about its beta is shown to nobody."""
    return subprocess.run(  # noqa: S603 - our own example
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        cwd=folder,
        env={**os.environ, "KEYLESS_PACE": "0.0005", "PYTHONIOENCODING": "utf-8"},
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def assert_in_order(phrases, text):
    at = 0
    for phrase in phrases:
        assert phrase in text[at:], f"no {phrase!r} in {text[at:]}"
        at = text.index(phrase, at) + len(phrase)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs(name, tmp_path):
    ran = run(name, tmp_path)
    if name == "deep_agent.py" and sys.version_info < (3, 11):
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", NEEDS_DEEPAGENTS + "\n")
        return
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.startswith(SCRIPTED + "\n")
    assert "Warning" not in ran.stderr
    assert "Traceback" not in ran.stderr
    assert_in_order(SAYS[name], ran.stdout)
    if name != "write_while_generated.py":
        assert list(tmp_path.iterdir()) == []


def test_deepagents_is_there_where_it_can_be():
    assert HAS_DEEPAGENTS or sys.version_info < (3, 11)


# With a key: at the endpoint of the environment


class Played(NamedTuple):
    """What came of an example that was run in this process.

    Attributes:
        requests: What the server got.
        pieces: What was printed, piece by piece, and whether the answer was still on its way then.
        stderr: What else it said.
        example: The globals of the example.
    """

    requests: list
    pieces: list
    stderr: str
    example: dict

    @property
    def stdout(self):
        return "".join(text for text, _ in self.pieces)


class Screen(io.StringIO):
    """Notes for each piece of output whether the server's answer was still on its way."""

    def __init__(self, server, *, is_terminal):
        super().__init__()
        self._requests = server.requests
        self._is_terminal = is_terminal
        self.pieces = []

    def isatty(self):
        return self._is_terminal

    def write(self, text):
        arriving = bool(self._requests) and not self._requests[-1].answered.is_set()
        self.pieces.append((text, arriving))
        return len(text)


class Typed(io.StringIO):
    """What somebody types at a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def play(tmp_path):
    """Run an example against a server of the test's own, which plays the example's script."""

    def _play(name, *arguments, stdin="", script=None, is_terminal=False):
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(EXAMPLES)
            patch.chdir(tmp_path)
            example = runpy.run_path(str(EXAMPLES / name))
            patch.setattr("keyless.GLMServer", None)  # the bundled server cannot be used
            script = script or example.get("script") or example["SCRIPT"]
            with GLMServer(script, pace=0.001) as server:
                screen = Screen(server, is_terminal=is_terminal)
                patch.setenv("ZAI_API_KEY", "test-key")
                patch.setenv("ZAI_BASE_URL", server.base_url)
                patch.setattr(sys, "argv", [name, *arguments])
                patch.setattr(sys, "stdin", (Typed if is_terminal else io.StringIO)(stdin))
                patch.setattr(sys, "stdout", screen)
                patch.setattr(sys, "stderr", stderr := io.StringIO())
                example["main"]()
            return Played(server.requests, screen.pieces, stderr.getvalue(), example)

    return _play


def is_of(name):
    """Tell whether a piece of output is one of a long text that the model types."""
    return lambda example, piece: len(piece.strip()) > 1 and piece in example[name]


def is_like(words):
    return lambda _, piece: words in piece


# How often each asks, and how to know a piece of what has to appear while it is typed.
ASKS = {
    "agent.py": (5, is_of("MAIL")),
    "approval.py": (3, lambda _, piece: piece in "find /var/log/till -mtime +30 -delete"),
    "chat.py": (3, lambda example, piece: piece in example["SCRIPTED"]["And at sunset?"].text),
    "deep_agent.py": (5, is_of("ADVICE")),
    "extraction.py": (2, is_like('{"number":')),
    "write_while_generated.py": (3, is_like("bytes on disk")),
}


NAMES = [name for name in ASKS if HAS_DEEPAGENTS or name != "deep_agent.py"]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_talks_to_the_endpoint_of_the_environment(name, play):
    played = play(name)
    asks, is_typed = ASKS[name]
    assert [r.headers["authorization"] for r in played.requests] == ["Bearer test-key"] * asks
    assert played.stderr.splitlines()[0] == "Model: glm-4.7 at 127.0.0.1"
    assert_in_order(SAYS[name], played.stdout)
    live = [text for text, arriving in played.pieces if arriving and is_typed(played.example, text)]
    assert len(live) > 5, played.pieces


@pytest.mark.parametrize("name", NAMES)
def test_an_error_of_the_endpoint_is_one_line(name, play):
    with pytest.raises(SystemExit) as left:
        play(name, script=Fail(401, "1002", "no such key"))
    assert re.fullmatch(r"GLMAuthenticationError: .*1002.*", str(left.value))


def test_ctrl_c_leaves_without_a_traceback(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    from keyless import chat_model

    with pytest.raises(SystemExit) as left, chat_model([]):
        raise KeyboardInterrupt
    assert left.value.code == 130


def test_missing_deepagents_are_named(monkeypatch, play):
    monkeypatch.setitem(sys.modules, "deepagents", None)  # an import of it fails
    with pytest.raises(SystemExit) as left:
        play("deep_agent.py")
    assert left.value.code == NEEDS_DEEPAGENTS


# What each is about


def test_chat_keeps_its_history(play):
    played = play("chat.py")
    first, _, last = (r.body["messages"] for r in played.requests)
    assert [m["role"] for m in first] == ["system", "user"]
    assert [m["role"] for m in last] == ["system", *["user", "assistant"] * 2, "user"]
    replies = played.example["SCRIPTED"].values()
    said = [(r.reasoning, r.text) for r in replies]
    kept = [(m["reasoning_content"], m["content"]) for m in last if m["role"] == "assistant"]
    assert kept == said[:2]


def test_chat_asks_the_questions_of_the_command_line(play):
    played = play("chat.py", "And at sunset?", "Who are you?")
    asked = [r.body["messages"][-1]["content"] for r in played.requests]
    assert asked == ["And at sunset?", "Who are you?"]
    assert_in_order(["orange and red.", "You: Who are you?\nI am a script"], played.stdout)


def test_chat_at_a_terminal(play):
    """Enter takes the suggestion; the reasoning is dim; ctrl-d ends it."""
    played = play("chat.py", stdin="\nWho are you?\n", is_terminal=True)
    asked = [r.body["messages"][-1]["content"] for r in played.requests]
    assert asked == ["Why is the sky blue?", "Who are you?"]
    hint = "You (Enter for: Why is the sky blue?): "
    assert_in_order([hint, "\x1b[2mRayl\x1b[0m", "\nAir ", "I am a script"], played.stdout)


def test_the_agent_is_told_of_the_failure(play):
    messages = play("agent.py").requests[2].body["messages"]
    results = [m["content"] for m in messages[-2:]]
    assert results == [
        "Hamburg has 3 of keyboard, not 4. Nothing is reserved.",
        "2 of monitor reserved, Hamburg has 6 left",
    ]


ONLY_LOGS = "User rejected the tool call for `write_file` with reason: Only *.log."


@pytest.mark.parametrize(
    ("arguments", "stdin", "results", "written"),
    [
        pytest.param(["--yes"], "", ["56 characters"], "-mtime +30 -delete", id="yes"),
        pytest.param(["--no", "Only *.log."], "", [ONLY_LOGS] * 2, None, id="no"),
        pytest.param([], "Y\n", ["56 characters"], "-mtime +30 -delete", id="stdin_yes"),
        pytest.param([], "Only *.log.\nyes\n", [ONLY_LOGS, "85 characters"], "*.log", id="no_yes"),
        pytest.param([], "", ["Nobody has approved it."] * 2, None, id="nobody"),
    ],
)  # fmt: skip
def test_nothing_is_written_without_approval(arguments, stdin, results, written, play, tmp_path):
    played = play("approval.py", "out", *arguments, stdin=stdin)
    told = [m["content"] for m in played.requests[-1].body["messages"] if m["role"] == "tool"]
    assert len(told) == len(results)
    assert all(words in content for words, content in zip(results, told, strict=True))
    file = tmp_path / "out" / "cleanup.sh"
    assert file.exists() == bool(written)
    if written:
        assert written in file.read_text(encoding="utf-8")
        assert_in_order(["Write this file?", "done write_file", "Written: ["], played.stdout)


def test_a_person_is_asked_at_a_terminal(play, tmp_path):
    played = play("approval.py", "out", stdin="why?\ny\n", is_terminal=True)
    assert played.stdout.count("Write this file?") == 2
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["cleanup.sh"]


def test_an_extraction_grows_and_a_cut_one_is_none(play):
    played = play("extraction.py")
    assert [r.body.get("max_tokens") for r in played.requests] == [40, None]
    assert [r.body["thinking"]["type"] for r in played.requests] == ["disabled"] * 2
    cut, whole = re.split("^OutputParserException.*$", played.stdout, flags=re.MULTILINE)
    for half, most in ((cut, 2), (whole, 3)):
        grown = [json.loads(line) for line in half.splitlines() if line.startswith("{")]
        sizes = [len(json.dumps(one)) for one in grown]
        assert sizes == sorted(set(sizes))
        assert {len(one.get("lines", [])) for one in grown} == {*range(most + 1)}
    assert "Invoice(" not in cut
    assert whole.count("Invoice(") == 1


def test_an_extraction_at_a_terminal_stays_in_its_line(play):
    played = play("extraction.py", is_terminal=True)
    grown = re.findall(r"\r\x1b\[K\x1b\[2m(.*?)\x1b\[0m", played.stdout)
    assert len(grown) > 30
    assert played.stdout.count("\n") < 10
    assert max(map(len, grown)) == shutil.get_terminal_size().columns
    assert grown[-1].endswith('"total":"767.10"}')


def test_an_extraction_of_a_file(play, tmp_path):
    (tmp_path / "letter.txt").write_text("Invoice 7 of Æther Ltd.", encoding="utf-8")
    played = play("extraction.py", "letter.txt")
    assert "Invoice 7 of Æther Ltd." in played.requests[0].body["messages"][-1]["content"]


def test_a_file_is_written_while_its_content_is_typed(play, tmp_path):
    played = play("write_while_generated.py", "out")
    sizes = re.findall(r"\{'fib.py': (\d+)\} bytes on disk", played.stdout)
    assert len(set(sizes)) > 10
    written = tmp_path / "out" / "fib.py"
    assert written.read_text(encoding="utf-8").startswith("def fibonacci")
    assert sizes[-1] == str(written.stat().st_size)


@pytest.mark.parametrize(
    ("calls", "left"),
    [
        pytest.param(['{"path": "a.py", "content": "whole"}', '{"path": "b.py", "content": "ha'],
                     {"a.py": "whole"}, id="the_second_of_two"),
        pytest.param(['{"path": "a.py", "content": "ha', '{"path": "b.py", "content": "ha'],
                     {}, id="both"),
        pytest.param(['{"content": "first", "path": "../a.py"}', '{"path": "..", "content": "ha'],
                     {"a.py": "first"}, id="content_before_path"),
    ],
)  # fmt: skip
def test_only_cut_calls_take_their_file_away(calls, left, play, tmp_path):
    cut = Reply(tool_calls=[Call("write_file", text) for text in calls], finish_reason="length")
    play("write_while_generated.py", "out", script=[cut, Reply(text="Done.")])
    assert {file.name: file.read_text() for file in (tmp_path / "out").iterdir()} == left
