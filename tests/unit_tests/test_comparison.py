"""The table that compares packages: its columns are what `make compare` saw, here once more."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from documents import Fence
from peers import __main__ as command
from peers import blocks, comparing
from peers.comparing import COLUMNS
from peers.rendering import DOCUMENTS, MARKERS, between_markers, render, write_table
from peers.rows import COSTS, NOTES, ROWS, VALUES, Sight

from benchmarks.peers import environments
from langchain_glm.testing import GLMServer

_ROOT = Path(__file__).parents[2]
STORED = comparing.load()


def _cells():
    for kind, rows in (("cells", ROWS), ("costs", COSTS)):
        for name in COLUMNS:
            for row in rows:
                yield name, row, STORED[kind][name][row]


def test_what_is_installed_does_what_is_stored():
    """`make compare COMPARE_ARGS=update` writes anew what all packages do."""
    names = [name for name, column in COLUMNS.items() if column.is_ours]
    observed = comparing.observe(names)

    # Another version of ChatOpenAI may do other things; `make compare` says which.
    compared = ["ChatGLM", *(n for n in names[1:] if COLUMNS[n].versions == STORED["versions"][n])]
    assert names == ["ChatGLM", "ChatOpenAI"]
    assert [line for n in compared for line in comparing.differences(STORED, n, observed[n])] == []
    assert all(observed[name].keys() == ROWS.keys() for name in names)


@pytest.mark.parametrize(("document", "language"), DOCUMENTS.items())
def test_a_document_has_the_table_that_is_stored(document, language):
    """`python -m tests.peers write` puts it there."""
    text = (_ROOT / document).read_text(encoding="utf-8")

    assert between_markers(text) == render(STORED, language)


def test_each_cell_says_what_was_seen():
    for name, row, cell in _cells():
        is_number = cell["value"].replace(".", "", 1).isdigit()
        assert cell["value"] in VALUES or is_number, (name, row)
        assert cell["seen"], (name, row)


def test_each_package_is_named_with_its_version():
    for name, column in COLUMNS.items():
        if name != "ChatGLM":
            assert STORED["versions"][name][column.distribution][0].isdigit()
            assert column.distribution in render(STORED, "en").splitlines()[0]


def test_no_text_is_left_over():
    used = {note for _, _, cell in _cells() for note, _ in cell["notes"]}

    assert used == set(NOTES)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=name)
        for texts in ({n: row.label for n, row in ROWS.items()}, COSTS, NOTES, VALUES)
        for name, text in texts.items()
    ],
)
def test_each_text_is_there_in_both_languages(text):
    assert text.en != text.zh
    assert text.en.isascii()
    assert not text.zh.isascii()
    assert text.en.count("{}") == text.zh.count("{}")


def test_both_languages_have_the_same_cells():
    tables = [
        [
            [cell.partition(" ")[2] for cell in line.split(" | ")[1:]]  # the numbers of notes
            for line in render(STORED, language).splitlines()
            if line.startswith("|")
        ][2:]
        for language in DOCUMENTS.values()
    ]

    assert len(tables[0]) == len(ROWS) + len(COSTS)
    assert tables[0] == tables[1]


def test_a_note_is_written_once_and_each_number_has_one():
    table = render(STORED, "en")
    notes = re.findall(r"^\d+\. .*", table, re.MULTILINE)
    texts = [note.partition(". ")[2] for note in notes]

    assert [note.partition(".")[0] for note in notes] == [str(n + 1) for n in range(len(notes))]
    assert len(set(texts)) == len(texts)
    assert all(f"{n + 1}</sup>" in table or f"{n + 1}, " in table for n in range(len(notes)))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"value": "partly"}, id="another value"),
        pytest.param({"notes": [["retried", "2"]]}, id="another note"),
    ],
)
def test_a_package_that_does_something_else_is_found_out(change):
    observed = copy.deepcopy(STORED["cells"]["ChatOpenAI"])
    observed["balance"].update(change)

    [line] = comparing.differences(STORED, "ChatOpenAI", observed)

    assert line.startswith("ChatOpenAI, balance: stored no (retried: 3), observed ")


@pytest.mark.parametrize(
    ("version", "value", "status", "said"),
    [
        pytest.param(None, "no", 0, "ChatOpenAI: as stored\n", id="as stored"),
        pytest.param(None, "yes", 1, "ChatOpenAI: 1 cells differ\n", id="something else"),
        pytest.param("9", "yes", 0, " -> 9 (update)\n", id="another version, something else"),
        pytest.param("9", "no", 0, "as stored; other versions: openai", id="another version"),
    ],
)
def test_the_command_fails_where_the_same_versions_do_something_else(
    version, value, status, said, capsys
):
    versions, cells = copy.deepcopy((STORED["versions"], STORED["cells"]))
    cells["ChatOpenAI"]["cut"]["value"] = value
    versions["ChatOpenAI"]["openai"] = version or versions["ChatOpenAI"]["openai"]

    assert command.compare(versions, cells) == status
    assert said in capsys.readouterr().out


def test_what_could_not_be_observed_is_in_no_table():
    broken = Sight({"reasoning": {"error": "RuntimeError", "text": "boom"}}, GLMServer())

    assert comparing.judged(ROWS["reasoning"], broken).value == "not observed"


_MEASURED = ("ChatGLM", "ChatOpenAI", "langchain-deepseek 1.1", "langchain-litellm 0.11")
_RATIOS = {"text": 23.7, "text, ratio": 0.199, "arguments": 876.4, "arguments, ratio": 5.11}
_ARRIVED = {"text arrives": "whole", "arguments arrive": "lost"}
_INSTALLED = {
    "ChatOpenAI": {"langchain-openai": "1.7"},
    "ChatDeepSeek": {"langchain-deepseek": "1.1"},
    "ChatLiteLLM": {"langchain-litellm": "0.11"},
    "ChatZhipuAI": {"langchain-community": "0.4"},
}


def _results(community):
    names = (*_MEASURED, f"langchain-community {community}")
    return {"rows": [{"": name, **_RATIOS, **_ARRIVED} for name in names]}


def test_costs_are_read_from_the_results_of_the_benchmark():
    costs = comparing.costs(_results("0.4"), _INSTALLED)

    assert costs["ChatZhipuAI"] == {
        "text": {"value": "0.20", "seen": "24 µs; whole", "notes": []},
        "arguments": {"value": "5.1", "seen": "876 µs; lost", "notes": [["lost", ""]]},
    }


def test_costs_of_another_version_are_refused():
    with pytest.raises(ValueError, match=r"langchain-community 0\.4 was not measured"):
        comparing.costs(_results("0.5"), _INSTALLED)


@pytest.mark.parametrize(
    "document", ["", MARKERS[0], " ".join(MARKERS * 2), " ".join(MARKERS[::-1])]
)
def test_a_document_without_its_markers_is_refused(document):
    with pytest.raises(ValueError, match="once each"):
        between_markers(document)


def test_a_table_is_written_between_the_markers(tmp_path):
    document = tmp_path / "page.md"
    document.write_text(f"before\n{MARKERS[0]}\nold\n{MARKERS[1]}\nafter\n")

    write_table(document, "new")

    assert document.read_text() == f"before\n{MARKERS[0]}\nnew\n{MARKERS[1]}\nafter\n"


def test_titled_blocks_of_the_documents_have_an_environment():
    titles = {block.title for block in blocks.found()}

    assert titles <= {*blocks.OURS, *environments.REQUIREMENTS}


def test_no_titled_block_of_the_documents_is_overlooked():
    pages = [*_ROOT.glob("*.md"), *(_ROOT / "docs").glob("**/*.md")]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    titled = [line for line in lines if re.match(r"\s*(```+|~~~+) *python.*title=", line)]

    assert len(blocks.found()) == len(titled)


def program(title, code):
    return Fence(_ROOT / "page.md", 1, "python", title, code)


@pytest.mark.parametrize(
    ("title", "code", "trouble"),
    [
        pytest.param(
            "langchain-openai",
            "import os, urllib.request\n"
            "assert os.environ['ZAI_API_KEY']\n"
            "urllib.request.urlopen(os.environ['ZAI_BASE_URL'], timeout=5)",
            "HTTP Error 404",  # from the server, which has only /chat/completions
            id="it has a key and a server",
        ),
        pytest.param("langchain-openai", "print('fine')", None, id="it runs"),
        pytest.param("langchain-openai", "raise SystemExit(3)", "exit status 3", id="it fails"),
        pytest.param("langchain-nobody", "", "no environment is made", id="it has no environment"),
    ],
)
def test_a_block_is_run_with_a_server(title, code, trouble):
    said = blocks.run(program(title, code))

    assert said is None if trouble is None else trouble in said


def test_a_block_that_hangs_is_ended():
    said = blocks.run(program("langchain-openai", "import time; time.sleep(60)"), 0.3)

    assert said == "did not end within 0.3 s"
