"""The package as users install it, asked from outside. `make package` runs it.

Every environment is made for this run and has nothing of the checkout in it.
"""

from __future__ import annotations

import json
import re

import pytest
from test_packaging import NEED_AN_EXTRA, TRY

import langchain_glm

VERSION = langchain_glm.__version__

WORKS = """
import sys

import langchain_glm
from langchain_glm import ChatGLM, raw_deltas
from langchain_glm.streaming import ArgumentDelta, collect, tool_call_events
from langchain_glm.streaming.encoders import sse, vercel
from langchain_glm.testing import Call, GLMServer, Reply
from langchain_glm.tools import web_search

assert "site-packages" in langchain_glm.__file__
assert not {"langchain", "langgraph", "rich", "typer", "ag_ui"} & set(sys.modules)
call = Call("write_file", {"path": "a.txt", "content": "word " * 40})
with GLMServer([Reply(text="Hello"), Reply(tool_calls=[call])]) as server:
    model = ChatGLM(base_url=server.base_url, api_key="key")
    assert model.invoke("Hi").text == "Hello"
    tool = {"type": "function", "function": {"name": "write_file", "parameters": {}}}
    chunks = list(model.bind_tools([tool]).stream("Write a.txt"))
    assert collect(chunks).tool_calls[0]["args"] == call.arguments
    pieces = [e.text for e in tool_call_events(chunks) if isinstance(e, ArgumentDelta)]
    assert len(pieces) > 5, pieces
print(langchain_glm.__version__)
"""


def test_without_extras_a_model_streams_its_calls(bare):
    assert bare.output("python", "-W", "error", "-c", WORKS).strip() == VERSION


def test_an_sdist_installs_to_the_same(from_sdist):
    assert from_sdist.output("python", "-W", "error", "-c", WORKS).strip() == VERSION


def test_nothing_is_broken_in_the_environment(bare):
    names = "import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))"
    names = bare.output("python", "-c", names).split()
    assert "langchain-core" in names
    assert not {"langchain", "langgraph", "rich", "typer", "pytest"} & set(names)


# What needs an extra


def test_each_part_that_needs_an_extra_names_it(bare):
    assert (
        json.loads(bare.output("python", "-c", TRY, json.dumps([*NEED_AN_EXTRA]))) == NEED_AN_EXTRA
    )


def test_with_the_extras_all_of_it_is_there(with_all):
    assert json.loads(with_all.output("python", "-c", TRY, json.dumps([*NEED_AN_EXTRA]))) == {}


EVERY_MODULE = """
import importlib, json, pkgutil
import langchain_glm
said = {}
for module in pkgutil.walk_packages(langchain_glm.__path__, "langchain_glm.", onerror=print):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        said[module.name] = str(error)
print(json.dumps(said))
"""


def test_every_other_module_is_imported_without_extras(bare):
    said = json.loads(bare.output("python", "-c", EVERY_MODULE))
    public = {name for name in said if not re.search(r"\._", name)}
    assert public == {
        "langchain_glm.middleware",
        "langchain_glm.streaming.agent",
        "langchain_glm.streaming.encoders.ag_ui",
        "langchain_glm.streaming.fragments",  # of `agent`, which asks first
        "langchain_glm.streaming.transformer",
    }
    private = {name.rpartition(".")[0] for name in set(said) - public}
    assert private == {
        "langchain_glm.cli",
        "langchain_glm.streaming",
        "langchain_glm.streaming.encoders",  # of `ag_ui`, which asks first
    }


@pytest.mark.parametrize("command", [("langchain-glm",), ("python", "-m", "langchain_glm.cli")])
def test_the_command_without_its_extra_ends_with_one_line(bare, command):
    run = bare.run(*command, "models")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        'langchain-glm needs its command-line extra: pip install "langchain-glm-zai[cli]"\n'
    )


# The command


def test_the_version_of_the_command(with_cli):
    assert with_cli.output("langchain-glm", "--version") == f"langchain-glm-zai {VERSION}\n"


def test_models(with_cli):
    assert "glm-4.7" in with_cli.output("langchain-glm", "models")


def test_probe_asks_the_bundled_server(with_cli):
    run = with_cli.run("langchain-glm", "probe", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)
    assert "scripted" in run.stderr


def test_chat_answers_one_question(with_cli):
    assert with_cli.output("langchain-glm", "chat", "hi", HOME=str(with_cli.folder)).strip()


def test_completion_is_there(with_cli):
    told = with_cli.output("langchain-glm", "--help")
    assert "--install-completion" in told
    assert "--show-completion" in told
    script = with_cli.output(
        "langchain-glm",
        "--show-completion",
        "bash",
        _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
    )
    assert "_LANGCHAIN_GLM_COMPLETE" in script


def test_the_bundled_server_is_there_without_extras(bare):
    assert "--port" in bare.output("python", "-m", "langchain_glm.testing", "--help")
