"""What is printed: tables in Markdown, and the same as JSON."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

Cell = str | float | int | None
"""A number, a text, or None for what was not run."""

_PACKAGES = (
    "langchain-glm-zai",
    "langchain-core",
    "langchain-openai",
    "langchain",
    "langgraph",
    "openai",
    "httpx2",
    "httpx",
    "jiter",
    "pydantic",
)


@dataclass(frozen=True)
class Table:
    """Some results.

    Attributes:
        title: What was measured, with the unit.
        columns: The name of each column; the first holds the names of the rows.
        rows: The cells.
        note: What has to be known to read them.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def to_markdown(self) -> str:
        """Write the table."""
        lines = [list(self.columns), *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines.insert(1, rule)
        table = "\n".join(_line(cells, widths) for cells in lines)
        return "\n\n".join(part for part in (f"### {self.title}", table, self.note) if part)

    def to_dict(self) -> dict[str, Any]:
        """Give the table as JSON: its title, and a dict for each row."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows}


def show(*paragraphs: str) -> None:
    """Print paragraphs of Markdown."""
    for paragraph in paragraphs:
        print(paragraph, end="\n\n", flush=True)


def versions() -> dict[str, str]:
    """Name Python and the packages that were measured."""
    installed = {str(found.metadata["Name"]).lower(): found.version for found in distributions()}
    known = {package: installed[package] for package in _PACKAGES if package in installed}
    return {"Python": platform.python_version(), **known}


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    shown = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
    return f"| {' | '.join(shown)} |"


def _shown(cell: Cell) -> str:
    if cell is None:
        return "not run"
    if isinstance(cell, float):
        digits = 0 if cell >= 100 else 1 if cell >= 10 else 2
        return f"{cell:,.{digits}f}"
    return f"{cell:,}" if isinstance(cell, int) else cell
