"""The benchmarks: that they run and compare like with like, not how fast anything is."""

import json
import sys

import pytest

from benchmarks import __main__ as everything
from benchmarks import measure, memory, pairs, server, startup, views
from benchmarks.bodies import Message, message
from benchmarks.measure import Disagreement, Effort, Turns, agree, take_turns
from benchmarks.peers import __main__ as peers
from benchmarks.peers.__main__ import Answers
from benchmarks.sides import BARE, GLM, OPENAI, WAYS, Bare, glm, openai_model
from benchmarks.tables import Table

TINY = Effort(
    fragments=30,
    rounds=1,
    calls=1,
    streams=3,
    fragments_of_each=4,
    paced=3,
    live_sizes=(0.2, 0.8),
    seconds=1,
    imports=1,
    bytes=8000,
    growth=(20, 40),
)


@pytest.fixture(scope="module")
def address():
    with server.running() as address:
        yield address


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    monkeypatch.setattr(measure.gc, "collect", lambda: 0)
    monkeypatch.setattr(memory, "_ROWS", [(OPENAI, "v3 events")])
    monkeypatch.setattr(startup, "_IMPORTS", {GLM: "import json", OPENAI: "import json"})


@pytest.mark.parametrize("name", everything.BENCHMARKS)
def test_a_benchmark_gives_a_table_of_numbers(name, address):
    table = everything.BENCHMARKS[name](address, TINY)

    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert len(set(table.columns)) == len(table.columns)  # JSON has each once
    for row in table.rows:
        numbers = [cell for cell in row if not isinstance(cell, str)]
        assert any(number is not None for number in numbers)
        assert all(number is None or number >= 0 for number in numbers)


@pytest.mark.parametrize("kind", ["text", "reasoning", "arguments", "mixed"])
@pytest.mark.parametrize("name", WAYS)
def test_each_side_says_what_the_server_said(name, kind, address):
    url, way = f"{address}/{kind}/30/4", WAYS[name]
    bare = Bare(url)
    try:
        assert way.said(glm(url)) == message(kind, 30)
        assert bare.said(way.bare) == message(kind, 30)
    finally:
        bare.close()


@pytest.mark.parametrize("asked", ["text", "reasoning", "arguments"])
@pytest.mark.parametrize("side", [GLM, OPENAI, BARE])
def test_a_side_that_says_something_else_is_found_out(side, asked, address, monkeypatch):
    makers = {GLM: "glm", OPENAI: "openai_model", BARE: "Bare"}
    make = getattr(pairs, makers[side])
    monkeypatch.setattr(pairs, makers[side], lambda _: make(f"{address}/mixed/30/4"))
    monkeypatch.setattr(pairs, "_KINDS", (asked,))

    with pytest.raises(Disagreement, match=f"{side} said Message"):
        pairs.streams(address, TINY)


def test_an_agent_that_says_something_else_is_found_out(address, monkeypatch):
    monkeypatch.setattr(pairs, "openai_model", lambda _: openai_model(f"{address}/text/30/4"))

    with pytest.raises(Disagreement, match=OPENAI):
        pairs.agents(address, TINY)


def test_a_view_that_shows_something_else_is_found_out(address, monkeypatch):
    monkeypatch.setattr(views, "LIVE", {"half": (lambda _: {"path": "fib.py"}, "line")})

    with pytest.raises(Disagreement, match="half said"):
        views.live(address, TINY)


def test_what_could_take_too_long_is_not_run(address, monkeypatch):
    monkeypatch.setattr(views, "_cost", lambda *_: 0.26)

    table = views.live(address, TINY)

    assert {tuple(row[1:]) for row in table.rows} == {(0.26, None, None)}
    assert "not run" in table.to_markdown()


def test_reasoning_is_not_asked_of_who_does_not_know_it():
    agree(Message("text"), {OPENAI: Message("text")})
    with pytest.raises(Disagreement, match="ChatGLM said"):
        agree(Message("text", "thought"), {GLM: Message("text")})


def test_the_sides_take_turns():
    order = []

    take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)

    assert order == ["a", "b"] * 3


def test_a_ratio_is_that_of_the_rounds_so_that_a_slow_round_does_not_count():
    turns = Turns({"ours": [1.0, 10.0, 1.0], "theirs": [4.0, 40.0, 2.0]})

    assert turns.ratio("ours", "theirs") == 0.25


def test_a_table_is_written_in_markdown_and_as_json():
    table = Table("Title: µs", ("", "one", "two"), [["row", 0.254, 12345], ["more", None, 12.34]])

    assert table.to_markdown().splitlines() == [
        "### Title: µs",
        "",
        "|      |     one |    two |",
        "| ---- | ------: | -----: |",
        "| row  |    0.25 | 12,345 |",
        "| more | not run |   12.3 |",
    ]
    assert table.to_dict()["rows"][1] == {"": "more", "one": None, "two": 12.34}


def test_the_command_prints_what_was_asked_for_and_writes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(everything, "QUICK", TINY)
    file = tmp_path / "results.json"

    assert everything.main(["events", "--quick", "--json", str(file)]) == 0

    printed, written = capsys.readouterr().out, json.loads(file.read_text())
    assert printed.startswith("`python -m benchmarks events --quick --json ")
    assert "### tool_call_events" in printed
    assert [row["answer"] for row in written["results"]["events"]["rows"]] == ["text", "arguments"]
    assert written["versions"]["langchain-core"] in printed


def test_a_name_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        everything.main(["nonsense"])
    assert "no benchmark is named nonsense" in capsys.readouterr().err


def test_a_peer_is_measured_in_its_process(address):
    answers = peers.measure(address, {OPENAI: sys.executable}, count=20, rounds=1)

    assert [row[-3:] for row in peers.table(answers, {}, 20).rows] == [["whole", "lost", "whole"]]


def test_a_peer_that_loses_fragments_is_shown_to():
    whole, half = Answers([1.0], 20, is_whole=True), Answers([1.0], 10, is_whole=False)
    merged = Answers([1.0], 1, is_whole=True)
    answers = {
        OPENAI: dict.fromkeys(("text", "reasoning", "arguments"), whole),
        "peer": {"text": whole, "reasoning": merged, "arguments": half},
    }

    *_, row = peers.table(answers, {"peer": "1.0"}, 20).rows

    assert [row[0], *row[-3:]] == ["peer 1.0", "whole", "whole, in 1", "10 of 20"]


def test_a_peer_that_fails_is_named(address):
    with pytest.raises(RuntimeError, match="nobody failed"):
        peers.measure(address, {"nobody": sys.executable}, count=20, rounds=1)
