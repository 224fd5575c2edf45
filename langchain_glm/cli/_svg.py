"""The picture of arrival times as an SVG file. Pure.

Both runs as stairs over one pair of axes: what has arrived stays until more does. They differ in
colour and in dashes, and follow the reader's light or dark mode.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from html import escape

from langchain_glm.cli._chart import Point, last_second, most_characters, runs, ticks
from langchain_glm.cli._probe import Measurement
from langchain_glm.cli._report import Comparison, judge, to_title

WIDTH, HEIGHT = 760, 440
LEFT, TOP, RIGHT, BOTTOM = 84, 126, 736, 382
"""Where the axes are, in pixels from the upper left corner."""

_CLASSES = ("with", "without")
_TICKS_X, _TICKS_Y = 8, 5
_MIDDLE, _END = 'text-anchor="middle"', 'text-anchor="end"'
_TITLE = "Arguments of a tool call over time"
_X_LABEL, _Y_LABEL = "seconds since the request", "characters of arguments"
_SIZE = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
_LABELLED = 'role="img" aria-labelledby="title words"'
_STYLE = """
    svg { color-scheme: light dark; font: 13px system-ui, sans-serif; }
    .paper { fill: #ffffff; } text { fill: #1f2328; } .small { fill: #59636e; }
    .grid { stroke: #d1d9e0; } .axis { stroke: #59636e; }
    polyline, .key { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
    .with { stroke: #0969da; } .without { stroke: #bc4c00; stroke-dasharray: 8 5; }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #0d1117; } text { fill: #f0f6fc; } .small { fill: #9198a1; }
      .grid { stroke: #3d444d; } .axis { stroke: #9198a1; }
      .with { stroke: #4493f8; } .without { stroke: #f0883e; }
    }
  """


def to_svg(comparison: Comparison) -> str:
    """Draw both runs: an XML document, with a polyline of the class `with` and of `without`."""
    span, peak = last_second(comparison), max(1, most_characters(comparison))
    asked, words = _plain(to_title(comparison)), _plain(judge(comparison).words)
    measured = [run for _, run in runs(comparison)]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {_SIZE} {_LABELLED}>',
        f'  <title id="title">{_TITLE}: {asked}</title>',
        f'  <desc id="words">{words}</desc>',
        f"  <style>{_STYLE}</style>",
        f'  <rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        f'  <text x="24" y="32" font-size="17">{_TITLE}</text>',
        f'  <text class="small" x="24" y="52">{asked}</text>',
        *_legend(comparison),
        *_seconds(span),
        *_characters(peak),
        *(_line(*pair, span, peak) for pair in zip(_CLASSES, measured, strict=True)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def stairs(curve: Sequence[Point], end: float) -> Iterator[Point]:
    """The corners of the steps, from nothing at 0 s to the end of the scale."""
    yield 0.0, 0
    for (_, before), (seconds, characters) in itertools.pairwise([(0.0, 0), *curve]):
        yield seconds, before
        yield seconds, characters
    yield end, curve[-1][1] if curve else 0


def _line(name: str, run: Measurement, span: float, peak: int) -> str:
    corners = stairs(run.arrivals, span)
    points = " ".join(f"{_x(seconds, span):g},{_y(count, peak):g}" for seconds, count in corners)
    return f'  <polyline class="{name}" points="{points}"/>'


def _legend(comparison: Comparison) -> Iterator[str]:
    for y, name, (label, run) in zip((80, 102), _CLASSES, runs(comparison), strict=True):
        came = run.first_argument_seconds
        words = "no arguments came" if came is None else f"first arguments after {came:.2f} s"
        yield f'  <line class="key {name}" x1="24" y1="{y - 4}" x2="66" y2="{y - 4}"/>'
        yield f'  <text x="76" y="{y}">{label}: {words}</text>'


def _seconds(span: float) -> Iterator[str]:
    for second in ticks(span, _TICKS_X):
        x = _x(second, span)
        yield f'  <line class="grid" x1="{x:g}" y1="{TOP}" x2="{x:g}" y2="{BOTTOM}"/>'
        yield f'  <text class="small" x="{x:g}" y="{BOTTOM + 20}" {_MIDDLE}>{second:g}</text>'
    yield f'  <text x="{(LEFT + RIGHT) / 2:g}" y="{BOTTOM + 44}" {_MIDDLE}>{_X_LABEL}</text>'
    yield f'  <line class="axis" x1="{LEFT}" y1="{BOTTOM}" x2="{RIGHT}" y2="{BOTTOM}"/>'


def _characters(peak: int) -> Iterator[str]:
    for count in ticks(peak, _TICKS_Y):
        y = _y(count, peak)
        yield f'  <line class="grid" x1="{LEFT}" y1="{y:g}" x2="{RIGHT}" y2="{y:g}"/>'
        yield f'  <text class="small" x="{LEFT - 8}" y="{y + 4:g}" {_END}>{count:,g}</text>'
    x, y = 24, (TOP + BOTTOM) / 2
    yield f'  <text x="{x}" y="{y:g}" transform="rotate(-90 {x} {y:g})" {_MIDDLE}>{_Y_LABEL}</text>'
    yield f'  <line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{BOTTOM}"/>'


def _x(second: float, span: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * second / span, 1)


def _y(count: float, peak: int) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * count / peak, 1)


def _plain(text: str) -> str:
    """What may stand in XML: its own signs escaped, and nothing that it cannot hold."""
    return escape("".join(character for character in text if character.isprintable()))
