"""The public names as a user's type checker sees them. `make package` runs it.

The programs of `tests/typing` are checked by mypy and by pyright, strict, without plugins, against
the installed wheel, from a folder where the checkout is not found; then they are run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Environment, run

PROGRAMS = ("agent.py", "model.py", "serve.py")
MISTAKES = "mistakes.py"
# What pyright's strict mode says of LangChain's and LangGraph's own names, not of ours.
NOT_OURS = {
    "reportMissingTypeStubs": False,
    "reportUnknownArgumentType": False,
    "reportUnknownMemberType": False,
    "reportUnknownVariableType": False,
}
# Names whose bases are without types: langchain-openai builds that of the first at run time, and
# pyright does not find that of the second, LangGraph's, where only external names are ignored.
UNKNOWN = {
    "langchain_glm.errors.GLMStreamStalledError",
    "langchain_glm.errors.stalled",
    "langchain_glm.streaming.ToolInputTransformer",
    "langchain_glm.streaming.transformer.ToolInputTransformer",
}


@pytest.fixture(scope="module")
def programs(with_all: Environment) -> Path:
    """Copies of the programs where nothing of the checkout is found."""
    folder = with_all.folder / "programs"
    shutil.copytree(ROOT / "tests" / "typing", folder)
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.10", **NOT_OURS}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def mypy(programs: Path, environment: Environment, *files: str) -> set[tuple[str, int, str]]:
    """Give each error's file, line and text."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--hide-error-context",
    ]
    command += ["--config-file=", "--python-executable", str(environment.python), *files]
    ran = run(command, programs)
    assert not ran.stderr, ran.stderr
    found = re.findall(r"^(\S+?):(\d+): error: (.*)$", ran.stdout, re.MULTILINE)
    return {(file, int(line), text) for file, line, text in found}


def pyright(programs: Path, environment: Environment, *arguments: str) -> dict[str, object]:
    """Give what pyright says as JSON."""
    path = f"{environment.bin}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "pyright", "--outputjson", *arguments]
    env = {**os.environ, "PATH": path, "VIRTUAL_ENV": str(environment.bin.parent)}
    ran = run(command, programs, env)
    return json.loads(ran.stdout)


def pyright_errors(
    programs: Path, environment: Environment, *files: str
) -> set[tuple[str, int, str]]:
    """Give each error's file, line and text."""
    return {
        (Path(said["file"]).name, said["range"]["start"]["line"] + 1, said["message"])
        for said in pyright(programs, environment, *files)["generalDiagnostics"]
        if said["severity"] == "error"
    }


@pytest.mark.parametrize("check", [mypy, pyright_errors])
def test_programs_as_users_write_them(check, programs, with_all):
    assert check(programs, with_all, *PROGRAMS) == set()


@pytest.mark.parametrize("check", [mypy, pyright_errors])
def test_mistakes_are_found(check, programs, with_all):
    lines = (programs / MISTAKES).read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# mistake")}
    assert len(marked) > 20
    assert {line for _, line, _ in check(programs, with_all, MISTAKES)} == marked


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_run(program, programs, with_all):
    with_all.output("python", "-W", "ignore", programs / program)


def test_every_public_name_has_a_type(programs, with_all):
    said = pyright(programs, with_all, "--verifytypes", "langchain_glm", "--ignoreexternal")
    told = said["typeCompleteness"]
    assert "site-packages" in told["pyTypedPath"]
    unknown = {
        symbol["name"]
        for symbol in told["symbols"]
        if symbol["isExported"] and not (symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"])
    }
    assert unknown <= UNKNOWN
    assert told["completenessScore"] > 0.98
