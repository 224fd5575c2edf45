"""What is said of the package outside its code agrees with it. `make package` checks the rest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import langchain_glm
from langchain_glm import ChatGLM
from langchain_glm.cli._app import app
from langchain_glm.streaming import _langgraph

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]

# What needs an extra, and says so: the whole message.

AGENTS = (
    "Streams of agents need LangGraph 1.2.19 or newer, for its v3 event streams: "
    'pip install "langchain-glm-zai[langgraph]"'
)
MIDDLEWARE = (
    'langchain_glm.middleware needs LangChain 1: pip install "langchain-glm-zai[langchain]"'
)
AG_UI = (
    "langchain_glm.streaming.encoders.ag_ui needs ag-ui-protocol 1.0: "
    'pip install "langchain-glm-zai[ag-ui]"'
)
REGISTER = 'register() needs LangChain 1: pip install "langchain-glm-zai[langchain]"'
NEED_AN_EXTRA = {
    "from langchain_glm.streaming import stream_agent": AGENTS,
    "from langchain_glm.streaming import astream_agent": AGENTS,
    "from langchain_glm.streaming import ToolInputTransformer": AGENTS,
    "from langchain_glm.streaming import ToolInputStream": AGENTS,
    "import langchain_glm.streaming.agent": AGENTS,
    "import langchain_glm.streaming.transformer": AGENTS,
    "import langchain_glm.middleware": MIDDLEWARE,
    "from langchain_glm.middleware import ContinueCutCalls": MIDDLEWARE,
    "from langchain_glm.streaming.encoders import ag_ui": AG_UI,
    "import langchain_glm.streaming.encoders.ag_ui": AG_UI,
    "import langchain_glm; langchain_glm.register()": REGISTER,
}
TRY = """
import json, sys
said = {}
for code in json.loads(sys.argv[1]):
    try:
        exec(code)
    except ImportError as error:
        said[code] = str(error)
print(json.dumps(said))
"""


BLOCKED = ("ag_ui", "deepagents", "langchain", "langgraph", "prompt_toolkit", "rich", "typer")
BLOCK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def without_extras(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code where the packages of all extras are missing."""
    command = [sys.executable, "-c", BLOCK.format(names=BLOCKED) + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


def test_each_part_that_needs_an_extra_names_it():
    run = without_extras(TRY, json.dumps([*NEED_AN_EXTRA]))
    assert json.loads(run.stdout) == NEED_AN_EXTRA, run.stderr


def test_every_extra_that_is_named_is_one():
    named = {re.search(r"\[([\w-]+)\]", message)[1] for message in NEED_AN_EXTRA.values()}
    assert named == {"ag-ui", "langchain", "langgraph"}
    assert named <= set(EXTRAS)


def test_the_rest_does_without_extras():
    run = without_extras(
        "import langchain_glm.errors, langchain_glm.streaming, langchain_glm.testing\n"
        "import langchain_glm.tools, langchain_glm.streaming.encoders as encoders\n"
        "print(langchain_glm.ChatGLM(api_key='key').model_name, encoders.sse.DONE, end='')"
    )
    assert run.stdout.startswith("glm-4.7 "), run.stderr


def test_the_command_says_in_one_line_what_it_needs():
    run = without_extras("from langchain_glm.cli import main; main()")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.count("\n") == 1
    assert 'pip install "langchain-glm-zai[cli]"' in run.stderr


# pyproject.toml


def test_the_version_is_written_once():
    assert "version" in PROJECT["dynamic"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "langchain_glm/_version.py"
    told = ChatGLM(api_key="key").metadata["lc_versions"]["langchain-glm-zai"]
    assert told == langchain_glm.__version__


def test_a_package_has_one_floor():
    asked: dict[str, set[str]] = {}
    for line in chain(PROJECT["dependencies"], *EXTRAS.values()):
        name, rest = re.fullmatch(r"([\w.-]+(?:\[\w+\])?)([^;]*).*", line).groups()
        asked.setdefault(name, set()).add(rest)
    assert {name: versions for name, versions in asked.items() if len(versions) > 1} == {}
    assert asked["langgraph"] == {f">={_langgraph._NEEDED}"}


def test_the_extra_test_and_the_group_test_are_the_same():
    groups = PYPROJECT["dependency-groups"]
    assert {name: EXTRAS[name] for name in groups} == groups


@pytest.mark.parametrize(
    ("package", "asked"),
    [
        pytest.param("Python", PROJECT["requires-python"], id="python"),
        *(
            pytest.param(f"`{name}`", line, id=name)
            for line in (
                *PROJECT["dependencies"],
                *EXTRAS["langchain"],
                *EXTRAS["langgraph"],
                *EXTRAS["ag-ui"],
            )
            for name in re.findall(r"^[\w-]+", line)
        ),
    ],
)
def test_the_versions_page_says_what_pyproject_asks_for(package, asked):
    page = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| {package}"))
    said = row.split("|")[2]
    floor = re.search(r">=([\d.]+)", asked)[1]
    assert f" {floor} " in said
    if package == "Python":
        last = int(re.search(r"<3\.(\d+)", asked)[1]) - 1
        assert f"to 3.{last}" in said


# Third-party material


def test_the_data_of_others_comes_with_its_licence():
    text = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2025 models.dev" in text
    assert "THE SOFTWARE IS PROVIDED" in text
    assert PROJECT["license-files"] == ["LICENSE", "THIRD_PARTY.md"]
    head = (ROOT / "langchain_glm" / "data" / "_profiles.py").read_text(encoding="utf-8")[:600]
    assert "models.dev" in head
    assert "MIT License" in head


# The forms for issues, and what the documents for maintainers name

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
FIELDS = {"checkboxes", "dropdown", "input", "markdown", "textarea"}
NAMING = [
    *FORMS,
    ROOT / ".github" / "pull_request_template.md",
    ROOT / "RELEASING.md",
    ROOT / "SECURITY.md",
    ROOT / "docs" / "versions.md",
]


def form(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one(path):
    read = form(path)
    assert set(read) == {"name", "description", "labels", "body"}
    ids = [field.get("id") for field in read["body"] if field["type"] != "markdown"]
    assert all(ids)
    assert len(ids) == len(set(ids))
    for field in read["body"]:
        assert field["type"] in FIELDS
        assert set(field) <= {"type", "id", "attributes", "validations"}
        assert field["attributes"].get("label") or field["type"] == "markdown"


def test_a_bug_report_asks_for_what_is_needed():
    fields = {field.get("id"): field for field in form(FORMS[0])["body"]}
    assert {"versions", "host", "model", "probe", "recording"} <= set(fields)
    assert fields["probe"]["attributes"]["label"] == "`langchain-glm probe --json`"
    title = re.search(r'"(Record [^"]+)"', fields["recording"]["attributes"]["description"])[1]
    headings = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert f"## {title}\n" in headings


def test_the_chooser_is_set():
    assert form(ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml") == {
        "blank_issues_enabled": True
    }


@pytest.mark.parametrize("path", NAMING, ids=lambda path: path.name)
def test_what_a_document_names_exists(path):
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:^\s*|`)make\s+([a-z-]+)", text, re.MULTILINE)) <= targets
    command = typer.main.get_command(app)
    for name, options in re.findall(r"`langchain-glm ([a-z]+)((?: --[\w-]+)*)`", text):
        known = {option for param in command.commands[name].params for option in param.opts}
        assert set(options.split()) <= known
    for name in re.findall(r"`((?:scripts|langchain_glm|docs|tests|examples)/[\w./-]*)", text):
        assert (ROOT / name).exists(), name
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (path.parent / link).exists(), link
