"""What stands on the screen of a chat: a thought, a text, a call. Pure.

A block moves while it grows, drawn within the rows that it is given; then it settles, and is
printed once and for all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markdown import Markdown
from rich.panel import Panel
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text

from langchain_glm.cli._panes import printable, tail

_CURSOR = "▌"
_BORDER = 2  # rows, and with the padding twice as many columns
_THOUGHT_ROWS = 6
_SETTLED_ROWS = 16  # of a file that was written
_RESULT_ROWS = 6
_FILE = "content"
_TITLE = "path"
_FENCE = re.compile(r"^ {0,3}(```|~~~)", re.MULTILINE)
_PARAGRAPH = re.compile(r"\n[ \t]*\n(?=\S)")


@dataclass
class Thought:
    """The reasoning of a message, while it is going on.

    Attributes:
        began: When, in seconds.
        ended: When it did, None while it goes on.
    """

    began: float
    ended: float | None = None
    text: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it can settle."""
        return self.ended is not None

    def moving(self, width: int, rows: int, now: float) -> RenderableType:
        """Draw it as it stands."""
        said = "\n".join(tail(self.text.strip(), width - 2, min(rows - 1, _THOUGHT_ROWS)))
        return Text(f"Thinking … {now - self.began:.0f} s\n{said}", "dim", overflow="fold")

    def settled(self, now: float) -> RenderableType:
        """Fold it to a line."""
        seconds = (now if self.ended is None else self.ended) - self.began
        return Text(f"Thought for {seconds:.1f} s, {len(self.text):,} characters", "dim italic")


@dataclass
class Saying:
    """The text of a message: whole paragraphs settle while it goes on."""

    text: str = ""
    is_done: bool = False

    def paragraphs(self) -> Iterator[RenderableType]:
        """Take off what is whole, so that what moves stays short."""
        end = max((m.end() for m in _PARAGRAPH.finditer(self.text) if self._open(m)), default=0)
        whole, self.text = self.text[:end], self.text[end:]
        if whole.strip():
            yield markdown(whole)
            yield Text()  # between paragraphs; there is a next one

    def moving(self, width: int, rows: int, now: float) -> RenderableType:  # noqa: ARG002 - a block
        """Draw the end of it as it stands."""
        return markdown(self.text + _CURSOR, rows)

    def settled(self, now: float) -> RenderableType | None:  # noqa: ARG002 - a block
        """Draw what has not settled before."""
        return markdown(self.text) if self.text.strip() else None

    def _open(self, gap: re.Match[str]) -> bool:
        """Whether a gap between paragraphs is none in a block of code."""
        return len(_FENCE.findall(self.text, 0, gap.start())) % 2 == 0


@dataclass
class Calling:
    """A tool call: typed, then run.

    Attributes:
        name: The tool.
        state: How far it is, a key of `_STATES`.
        result: What the tool answered, or why it did not.
        arguments: The arguments as far as they are known, by their names.
        characters: How many of them were typed.
    """

    name: str
    state: str = "typing"
    result: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    characters: int = 0

    @property
    def is_done(self) -> bool:
        """Whether it can settle."""
        return _STATES[self.state].is_last

    def type(self, name: str, text: str) -> None:
        """Add to an argument that is a string."""
        self.arguments[name] = f"{self.arguments.get(name, '')}{text}"

    def moving(self, width: int, rows: int, now: float) -> RenderableType:  # noqa: ARG002 - a block
        """Draw it as it stands, the end of the file."""
        typing = self.state == "typing"
        columns, left = width - 2 * _BORDER, max(rows - _BORDER, 1)
        others = self._others(columns)[-left:]
        lines = tail(f"{self._file}{_CURSOR * typing}", columns, left - len(others))
        code = self._code("\n".join(lines)) if self._has_file and lines else None
        return self._panel(*(Text(line, "dim") for line in others), code)

    def settled(self, now: float) -> RenderableType:  # noqa: ARG002 - a block
        """Draw it for good, the beginning of the file."""
        code = self._code(_head(self._file, _SETTLED_ROWS)) if self._has_file else None
        return self._panel(*(Text(line, "dim") for line in self._others(None)), code)

    def whole_file(self) -> RenderableType:
        """Draw all of the file, for a person who has to judge it."""
        return self._code(printable(self._file))

    @property
    def title(self) -> str:
        """The tool, and the path as soon as it is known."""
        path = self.arguments.get(_TITLE)
        title = f"{self.name} {path}" if isinstance(path, str) else self.name
        return printable(title.replace("\n", " "))

    @property
    def _has_file(self) -> bool:
        return bool(self._file)

    @property
    def _file(self) -> str:
        content = self.arguments.get(_FILE)
        return content if isinstance(content, str) else ""

    def _others(self, width: int | None) -> list[str]:
        """The arguments that are neither the title nor the file, a line for each."""
        shown = {k: v for k, v in self.arguments.items() if k != _TITLE}
        if self._has_file:
            del shown[_FILE]
        lines = (f"{name}: {_short(value)}" for name, value in shown.items())
        return [printable(line.replace("\n", " "))[:width] for line in lines]

    def _code(self, text: str) -> RenderableType:
        path = str(self.arguments.get(_TITLE, ""))
        return Syntax(
            text,
            Syntax.guess_lexer(path) if path else "text",
            theme="ansi_dark",
            background_color="default",
            word_wrap=True,
        )

    def _panel(self, *parts: RenderableType | None) -> RenderableType:
        state = _STATES[self.state]
        inside: list[RenderableType] = [part for part in parts if part is not None]
        if self.result:
            head = _head(self.result.strip(), _RESULT_ROWS)
            inside.append(Text(head, state.result_style, overflow="fold"))
        return Panel(
            Group(*inside),
            title=Text(self.title, "bold"),
            title_align="left",
            subtitle=Text(state.words(self)),
            subtitle_align="right",
            border_style=state.style,
        )


@dataclass(frozen=True)
class _State:
    words: Callable[[Calling], str]
    style: str
    is_last: bool = False
    result_style: str = "dim"


_STATES: Mapping[str, _State] = {
    "typing": _State(lambda call: f"{call.characters:,} characters", "cyan"),
    "typed": _State(lambda _: "typed", "cyan"),
    "running": _State(lambda _: "running …", "cyan"),
    "waiting": _State(lambda _: "waits for your word", "yellow", is_last=True),
    "finished": _State(lambda _: "done", "green", is_last=True),
    "failed": _State(lambda _: "failed", "red", is_last=True, result_style="red"),
    "invalid": _State(lambda _: "does not run", "red", is_last=True, result_style="red"),
    "stopped": _State(lambda _: "stopped", "dim", is_last=True),
}

Block = Thought | Saying | Calling


class Rows:
    """Something without the empty rows at its beginning, and if need be only its last rows.

    Args:
        whole: What to draw.
        last: How many rows at most, None for all.
    """

    def __init__(self, whole: RenderableType, last: int | None = None) -> None:
        self._whole = whole
        self._last = last

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw them."""
        lines = console.render_lines(self._whole, options.update(height=None), pad=False)
        rows = list(dropwhile(_is_empty, lines))
        for row in rows[-self._last :] if self._last else rows:
            yield from row
            yield Segment.line()


def _is_empty(row: list[Segment]) -> bool:
    return not any(segment.text.strip() for segment in row)


def markdown(text: str, last: int | None = None) -> RenderableType:
    """Draw a model's Markdown, if need be only the last rows of it."""
    # Hyperlinks hide where they lead; a model's text is a stranger's.
    return Rows(Markdown(printable(text), hyperlinks=False), last)


def _head(text: str, rows: int) -> str:
    """The first lines, and how many more there are."""
    lines = printable(text).split("\n")
    more = len(lines) - rows
    return "\n".join([*lines[:rows], f"… {more:,} more lines"] if more > 1 else lines)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
