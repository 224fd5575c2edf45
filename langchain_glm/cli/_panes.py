"""The live view as a picture of one moment: a pane for each run. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import chop_cells
from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from langchain_glm.cli._typed import Answer

STYLES = ("cyan", "yellow")
"""The colour of the run with `tool_stream`, and of the one without; nothing hangs on it."""

_NARROWEST = 34  # columns of a pane that still shows code
_WIDE_SHARE = 0.62  # of the width, for the pane in which something happens
_TALLEST = 18
_TALK_ROWS = 3
_BORDER = 2  # rows, and with the padding twice as many columns


@dataclass(frozen=True)
class Pane:
    """A run as it stands.

    Attributes:
        name: What to call it.
        seconds: How long it has been running; None where it has not begun.
        is_running: Whether it is still going on.
        answer: What has been written.
    """

    name: str
    seconds: float | None = None
    is_running: bool = False
    answer: Answer = field(default_factory=Answer)


def to_picture(panes: Sequence[Pane], width: int, height: int) -> RenderableType:
    """Draw the runs side by side; on a narrow terminal only the last that has begun.

    Args:
        panes: The run with `tool_stream`, and the one without.
        width: The terminal's, in columns.
        height: The terminal's, in rows; the picture leaves some of them free.
    """
    rows = max(min(_TALLEST, height - 6), 5)
    if width < 2 * _NARROWEST:
        number = max((n for n, pane in enumerate(panes) if pane.seconds is not None), default=0)
        return _panel(panes[number], STYLES[number], width, rows)
    grid = Table.grid()
    grid.add_row(
        *(
            _panel(pane, style, columns, rows)
            for pane, style, columns in zip(panes, STYLES, _widths(panes, width), strict=True)
        )
    )
    return grid


def printable(text: str) -> str:
    """Replace what is no line end and would not show, or would command the terminal."""
    text = text.expandtabs(4)
    if text.isprintable():
        return text
    return "".join(c if c == "\n" or c.isprintable() else _symbol(c) for c in text)


def tail(text: str, width: int, rows: int) -> list[str]:
    """The last rows of a text whose long lines are folded."""
    lines = printable(text[-rows * width * 4 :]).split("\n")[-rows:] if rows > 0 else []
    folded = [row for line in lines for row in chop_cells(line, width) or [""]]
    return folded[-rows:]


def _widths(panes: Sequence[Pane], width: int) -> Iterator[int]:
    first, second = panes
    share = 0.5
    if first.is_running != second.is_running:
        share = _WIDE_SHARE if first.is_running else 1 - _WIDE_SHARE
    left = min(max(round(width * share), _NARROWEST), width - _NARROWEST)
    yield left
    yield width - left


def _panel(pane: Pane, style: str, width: int, height: int) -> Panel:
    path = pane.answer.arguments.path
    return Panel(
        _body(pane, width - 2 * _BORDER, height - _BORDER),
        title=Text(f"{pane.name}: {printable(path)}" if path else pane.name, "bold"),
        title_align="left",
        subtitle=Text(_counts(pane)),
        subtitle_align="right",
        border_style=style if pane.is_running else f"dim {style}",
        width=width,
        height=height,
    )


def _body(pane: Pane, width: int, rows: int) -> Text:
    talk = _talk(pane.answer, width)
    written = pane.answer.arguments.shown + ("▌" if pane.is_running else "")
    body = Text("\n".join(talk), "dim", no_wrap=True, overflow="crop")
    if talk:
        body.append("\n")
    style = "not dim" if pane.answer.arguments.has_file else ""
    return body.append("\n".join(tail(written, width, rows - len(talk))), style)


def _talk(answer: Answer, width: int) -> list[str]:
    """The last rows of reasoning and text."""
    rows = [
        row
        for line in printable(f"{answer.reasoning}\n{answer.text}"[-2000:]).split("\n")
        for words in textwrap.wrap(line, width)
        for row in chop_cells(words, width)
    ]
    return rows[-_TALK_ROWS:]


def _counts(pane: Pane) -> str:
    if pane.seconds is None:
        return "next"
    came = f"{pane.answer.characters:,} characters" if pane.answer.characters else "no arguments"
    yet = " yet" if pane.is_running and not pane.answer.characters else ""
    return f"{came}{yet} · {pane.seconds:.1f} s"


def _symbol(character: str) -> str:
    """A visible sign for a control character: ␛ for escape."""
    return chr(0x2400 + ord(character)) if character < " " else "\N{REPLACEMENT CHARACTER}"
