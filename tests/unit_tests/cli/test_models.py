"""`langchain-glm models` in its three forms."""

import json

import pytest
from rich.console import Console

from langchain_glm._profiles import known_models
from langchain_glm.cli import _app
from langchain_glm.cli._models import models, to_table

MODELS = models()


@pytest.fixture
def run(capsys):
    def command(*arguments):
        with pytest.raises(SystemExit) as exit_:
            _app.app(["models", *arguments])
        return (exit_.value.code or 0, *capsys.readouterr())

    return command


def test_every_known_model_is_listed_once_the_newest_first():
    ids = [model.id for model in MODELS]
    assert sorted(ids) == sorted(known_models())
    assert ids.index("glm-5.2") < ids.index("glm-5") < ids.index("glm-4.7") < ids.index("glm-4.5")


def test_json_for_programs(run):
    status, out, err = run("--json")
    assert (status, err) == (0, "")
    by_id = {model["id"]: model for model in json.loads(out)}
    assert list(by_id) == [model.id for model in MODELS]
    assert by_id["glm-4.7"] == {
        "id": "glm-4.7",
        "context": 204_800,
        "max_output": 131_072,
        "inputs": ["text"],
        "thinking": "on",
        "effort": [],
        "input": 0.6,
        "cached_input": 0.11,
        "output": 2.2,
    }
    assert by_id["glm-5.3-flashx"]["cached_input"] is None
    assert by_id["glm-4.7-flash"]["input"] == 0


def test_lines_with_tabs_for_pipes(run):
    status, out, err = run()
    head, *lines = out.splitlines()
    names = head.split("\t")
    rows = {row["id"]: row for row in (dict(zip(names, r.split("\t"), strict=True)) for r in lines)}
    assert (status, err) == (0, "")
    assert list(rows) == [model.id for model in MODELS]
    assert rows["glm-4.7"]["context"] == "204800"
    assert rows["glm-5.3"]["effort"] == "low,high,max"
    assert rows["glm-5.3-flashx"]["cached_input"] == ""
    assert out.replace("\t", "").replace("\n", "").isprintable()


def test_a_table_for_a_person(run, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "110")
    status, out, err = run()
    assert (status, err) == (0, "")
    assert "also reads" in out
    assert "\t" not in out


@pytest.mark.parametrize("width", [80, 110, 200])
def test_the_table_shows_sizes_and_prices(width):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(to_table(MODELS))
    lines = [line.split() for line in capture.get().splitlines() if line.strip()]
    rows = {id_: cells for id_, *cells in lines}
    assert rows["glm-4.7"] == ["200K", "128K", "on", "0.60", "0.11", "2.20"]
    assert rows["glm-4.7-flash"][-1] == "free"
    assert "–" in rows["glm-5.3-flashx"]
