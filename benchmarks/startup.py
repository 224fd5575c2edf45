"""What is paid before the first request: the imports, and making a model."""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import partial

from benchmarks.measure import Effort, agree, take_turns
from benchmarks.sides import GLM, OPENAI, glm, openai_model
from benchmarks.tables import Cell, Table

_IMPORTS = {GLM: "import langchain_glm", OPENAI: "import langchain_openai"}
_MODELS = 50


def startup(server: str, effort: Effort) -> Table:
    """Measure imports, each in a new process, and the making of models."""
    sides = {side: partial(_run, code) for side, code in _IMPORTS.items()}
    turns = take_turns(sides, effort.imports, clock=_children_seconds)
    costs = [turns.median(side) * 1000 for side in sides]
    rows = [["import", *costs, turns.ratio(GLM, OPENAI)], _construction(server, effort)]
    return Table("Before the first request: ms of CPU", ("", GLM, OPENAI, "ratio"), rows)


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _construction(server: str, effort: Effort) -> list[Cell]:
    makers = {GLM: lambda: glm(server), OPENAI: lambda: openai_model(server)}
    agree("glm-4.7", {side: make().model_name for side, make in makers.items()})
    sides = {
        side: lambda make=make: [make() for _ in range(_MODELS)] for side, make in makers.items()
    }
    turns = take_turns(sides, effort.rounds)
    costs = [turns.median(side) / _MODELS * 1000 for side in sides]
    return ["make a model", *costs, turns.ratio(GLM, OPENAI)]
