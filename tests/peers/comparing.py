"""Observe each package in its environment, and keep what was seen in `comparison.json`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import environments

from .answers import server
from .rows import COSTS, ROWS, Cell, Row, Sight

STORED = Path(__file__).with_name("comparison.json")
_OBSERVING = Path(__file__).with_name("observing.py")

Cells = dict[str, Any]
"""Cells by the name of the row, as JSON has them."""


class Column(NamedTuple):
    """A chat model.

    Attributes:
        distribution: The package that brings it; of an environment of its own unless it is ours.
        also: The packages on which its behaviour depends.
    """

    distribution: str
    also: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it is installed where the tests run."""
        return self.distribution not in environments.REQUIREMENTS

    @property
    def python(self) -> str:
        """The Python that has it; its environment is made if it is not there."""
        return sys.executable if self.is_ours else environments.python_of(self.distribution)

    @property
    def versions(self) -> dict[str, str]:
        """Which versions are installed."""
        return environments.versions(self.python, [self.distribution, "langchain-core", *self.also])


COLUMNS: Mapping[str, Column] = {
    "ChatGLM": Column("langchain-glm-zai", ("langchain-openai", "openai")),
    "ChatOpenAI": Column("langchain-openai", ("openai",)),
    "ChatDeepSeek": Column("langchain-deepseek", ("langchain-openai", "openai")),
    "ChatLiteLLM": Column("langchain-litellm", ("litellm", "openai")),
    "ChatZhipuAI": Column("langchain-community"),
}


def load() -> dict[str, Any]:
    """Read what is stored."""
    return dict(json.loads(STORED.read_text(encoding="utf-8")))


def save(stored: Mapping[str, Any]) -> None:
    """Write it."""
    text = json.dumps(stored, indent=1, ensure_ascii=False)
    STORED.write_text(text + "\n", encoding="utf-8")


def observe(names: Iterable[str]) -> dict[str, Cells]:
    """Observe these models; the cells of each.

    Raises:
        RuntimeError: A model cannot be made, or something hangs.
    """
    names = list(names)
    pythons = [COLUMNS[name].python for name in names]  # two at once would make one twice
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(_observe, names, pythons), strict=True))


def _observe(name: str, python: str) -> Cells:
    with server() as asked:
        command = [python, str(_OBSERVING), name, asked.base_url]
        settings = environments.settings()
        done = subprocess.run(command, check=False, capture_output=True, env=settings)  # noqa: S603
        if done.returncode:
            msg = f"{name} cannot be observed: {done.stderr.decode(errors='replace')[-2000:]}"
            raise RuntimeError(msg)
        sight = Sight(json.loads(done.stdout), asked)
        cells = {name: judged(row, sight) for name, row in ROWS.items()}
    return {name: json.loads(json.dumps(cell._asdict())) for name, cell in cells.items()}


def judged(row: Row, sight: Sight) -> Cell:
    """Give the cell, or one that no table takes where an observer itself has failed."""
    try:
        return row.judge(sight)
    except (AttributeError, LookupError, TypeError) as error:
        return Cell("not observed", f"{type(error).__name__}: {error}")


def differences(stored: Mapping[str, Any], name: str, cells: Cells) -> list[str]:
    """Say where what was observed is not what is stored."""
    known = stored["cells"].get(name, {})
    return [
        f"{name}, {row}: stored {_brief(known.get(row))}, observed {_brief(cells.get(row))}"
        for row in ROWS
        if _brief(known.get(row)) != _brief(cells.get(row))
    ]


def _brief(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "nothing"
    notes = "; ".join(": ".join(filter(None, note)) for note in cell["notes"])
    return f"{cell['value']} ({notes})" if notes else str(cell["value"])


def costs(
    results: Mapping[str, Any], versions: Mapping[str, Mapping[str, str]]
) -> dict[str, Cells]:
    """Read cells from what `python -m benchmarks.peers --json FILE` has written.

    Raises:
        ValueError: A package was not measured, or another version of it.
    """
    rows = {row[""]: row for row in results["rows"]}
    found: dict[str, Cells] = {}
    for name, column in COLUMNS.items():
        # The benchmark calls what is installed with us by its class.
        distribution = column.distribution
        measured = name if column.is_ours else f"{distribution} {versions[name][distribution]}"
        if measured not in rows:
            msg = f"{measured} was not measured; these were: {', '.join(rows)}"
            raise ValueError(msg)
        found[name] = {kind: _cost(rows[measured], kind) for kind in COSTS}
    return found


def _cost(row: Mapping[str, Any], kind: str) -> dict[str, Any]:
    ratio = row[f"{kind}, ratio"]
    arrived = row["arguments arrive" if kind == "arguments" else "text arrives"]
    return {
        "value": f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}",
        "seen": f"{row[kind]:.0f} µs; {arrived}",
        "notes": [["lost", ""]] if arrived == "lost" else [],
    }
