"""A picture of arrival times in characters: how much of the arguments was there, and when. Pure.

One small area chart for each run over the same axes, so that it can be read without colour.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from rich.text import Text

from langchain_glm.cli._panes import STYLES
from langchain_glm.cli._probe import Measurement
from langchain_glm.cli._report import Comparison

Point = tuple[float, int]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_STEPS = len(_BLOCKS) - 1
_ROWS = 4
_UNIT = "characters"
_MARGIN = len(_UNIT) + 1
_NARROWEST = 12
_LABEL = 8  # columns between two labels of the axis, at least


def to_chart(comparison: Comparison, width: int) -> Text | None:
    """Draw both runs, one below the other.

    Args:
        comparison: The runs.
        width: The terminal's, in columns.

    Returns:
        The lines; None where no arguments came, or where the terminal is too narrow.
    """
    columns = width - _MARGIN - 2
    peak = most_characters(comparison)
    if not peak or columns < _NARROWEST:
        return None
    span = last_second(comparison)
    chart = Text()
    unit = _UNIT
    for (name, run), style in zip(runs(comparison), STYLES, strict=True):
        chart.append(f"{unit:<{_MARGIN}}│ ").append(_heading(name, run)[:columns], "bold").append(
            "\n"
        )
        heights = _heights(run.arrivals, columns, span, peak)
        for label, row in zip(_labels(peak), _rows(heights), strict=True):
            chart.append(label).append(row.rstrip(), style).append("\n")
        unit = ""
    return chart.append("\n".join(_axis(span, columns)))


def runs(comparison: Comparison) -> tuple[tuple[str, Measurement], ...]:
    """Both runs, with their names."""
    return (
        ("with tool_stream", comparison.with_tool_stream),
        ("without tool_stream", comparison.without_tool_stream),
    )


def most_characters(comparison: Comparison) -> int:
    """The most characters of arguments that a run has: the upper end of the scale."""
    return max(run.characters for _, run in runs(comparison))


def last_second(comparison: Comparison) -> float:
    """The end of the longer run: the right end of the scale; above 0."""
    return max(0.001, *(run.total_seconds for _, run in runs(comparison)))


def ticks(end: float, most: int) -> list[float]:
    """Round numbers from 0 to the end of a scale: steps of 1, 2 or 5, and their tenfolds.

    Args:
        end: The end of the scale, above 0.
        most: How many steps there may be, above 0.
    """
    least = end / most
    tenfold = 10.0 ** math.floor(math.log10(least))
    step = next(step for n in (1, 2, 5, 10) if (step := n * tenfold) >= least * (1 - 1e-9))
    return [round(n * step, 9) for n in range(int(end / step + 1e-9) + 1)]


def _heading(name: str, run: Measurement) -> str:
    return name if run.arrivals else f"{name} (no arguments came)"


def _heights(curve: Sequence[Point], columns: int, span: float, peak: int) -> list[int]:
    """For each column, how many eighths of a row were there at its right end."""
    moments = [seconds for seconds, _ in curve]
    heights = []
    for column in range(1, columns + 1):
        arrived = bisect_right(moments, span * column / columns + 1e-9)
        share = curve[arrived - 1][1] / peak if arrived else 0.0
        heights.append(max(round(share * _ROWS * _STEPS), 1 if share else 0))
    return heights


def _rows(heights: Sequence[int]) -> Iterator[str]:
    for row in reversed(range(_ROWS)):
        rests = (height - row * _STEPS for height in heights)
        yield "".join(_BLOCKS[min(max(rest, 0), _STEPS)] for rest in rests)


def _labels(peak: int) -> Iterator[str]:
    yield f"{peak:>{_MARGIN - 1},} ┤"
    yield from [" " * _MARGIN + "│"] * (_ROWS - 2)
    yield f"{0:>{_MARGIN - 1}} ┤"


def _axis(span: float, columns: int) -> Iterator[str]:
    """The line with its ticks, and the seconds below them."""
    marks = {
        min(round(second / span * columns), columns - 1): f"{second:g} s"
        for second in ticks(span, max(columns // _LABEL, 1))
    }
    line = "".join("┬" if column in marks else "─" for column in range(columns))
    labels = ""
    for column, label in marks.items():
        if column + len(label) <= columns:
            labels = labels.ljust(column) + label
    yield f"{'':{_MARGIN}}└{line}"
    yield f"{'':{_MARGIN}} {labels}"
