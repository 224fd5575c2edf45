"""The built distributions of `dist/`, and clean environments with them in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "unit_tests"))  # for the table in test_packaging.py


def run(
    command: Sequence[str | Path], folder: Path = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program that nobody types to."""
    return subprocess.run(  # noqa: S603
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class Environment(NamedTuple):
    """A virtual environment of its own, and the folder that its programs run in."""

    bin: Path
    folder: Path

    @property
    def python(self) -> Path:
        return self.bin / "python"

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, by name; nothing of the checkout is on its path."""
        name, *arguments = command
        surroundings = {**_outside(), "NO_COLOR": "1", "COLUMNS": "100", **variables}
        return run([self.bin / name, *arguments], self.folder, surroundings)

    def output(self, *command: str | Path, **variables: str) -> str:
        """Give what a program prints that must succeed."""
        ran = self.run(*command, **variables)
        assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout


def _outside() -> dict[str, str]:
    """Give the environment variables without those that change what Python imports or asks."""
    ours = ("PYTHON", "VIRTUAL_ENV", "ZAI_", "ZHIPUAI_", "OPENAI_", "LANGSMITH_", "LANGCHAIN_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _built(pattern: str) -> Path:
    found = sorted((ROOT / "dist").glob(pattern))
    assert len(found) == 1, f"dist/ should have one {pattern}, has {found}: run `make package`"
    return found[0]


@pytest.fixture(scope="session")
def wheel() -> Path:
    return _built("langchain_glm_zai-*.whl")


@pytest.fixture(scope="session")
def sdist() -> Path:
    return _built("langchain_glm_zai-*.tar.gz")


def make_environment(folder: Path, what: Sequence[str]) -> Environment:
    """Make an environment with `what` in, as pip takes it."""
    if uv := shutil.which("uv"):
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")]
        install = [uv, "pip", "install", "--quiet", "--python", str(folder / "venv" / "bin/python")]
    else:
        make = [sys.executable, "-m", "venv", str(folder / "venv")]
        install = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    for command in (make, [*install, *what]):
        ran = run(command, folder)
        assert ran.returncode == 0, ran.stderr
    (folder / "here").mkdir()
    return Environment(folder / "venv" / "bin", folder / "here")


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install langchain-glm-zai`."""
    return make_environment(tmp_path_factory.mktemp("bare"), [str(wheel)])


@pytest.fixture(scope="session")
def with_cli(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install "langchain-glm-zai[cli]"`."""
    return make_environment(tmp_path_factory.mktemp("cli"), [f"{wheel}[cli]"])


@pytest.fixture(scope="session")
def with_all(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Every extra that a program imports something of."""
    extras = "ag-ui,cli,langchain,langgraph"
    return make_environment(tmp_path_factory.mktemp("all"), [f"{wheel}[{extras}]"])


@pytest.fixture(scope="session")
def from_sdist(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install langchain_glm_zai-….tar.gz`."""
    return make_environment(tmp_path_factory.mktemp("sdist"), [str(sdist)])
