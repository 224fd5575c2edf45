"""Where the events of a turn go: a terminal, a pipe, a program that reads JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Protocol

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from langchain_glm.cli._chat_view import View
from langchain_glm.cli._live import say
from langchain_glm.cli._panes import printable
from langchain_glm.streaming import (
    Event,
    TextDelta,
    ToolCallFinished,
    ToolCallInvalid,
    ToolFailed,
    ToolFinished,
)

_FRAME = 1 / 15  # seconds between two drawings


class Show(Protocol):
    """Shows the runs of a turn."""

    def run(self) -> AbstractContextManager[Callable[[Event | None], None]]:
        """Show a run: what is given takes its events, and None while nothing comes."""
        ...


class Picture:
    """Shows it to a person at a terminal; what has settled scrolls up, the rest moves below.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view = View()
        self._drawn = 0.0

    @contextmanager
    def run(self) -> Iterator[Callable[[Event | None], None]]:
        """Show a run; on the way out nothing moves any more, and the cursor is back."""
        live = Live(
            console=self._console,
            get_renderable=self._moving,
            auto_refresh=False,  # a drawing is a matter of the one thread
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._view.begin(time.monotonic())
        try:
            with live:
                try:
                    yield partial(self._feed, live)
                finally:
                    self._print(self._view.close(time.monotonic()))
        finally:
            self._console.show_cursor()

    def _feed(self, live: Live, event: Event | None) -> None:
        now = time.monotonic()
        if event is not None:
            self._print(self._view.feed(event, now))
        if now - self._drawn > _FRAME:
            live.refresh()
            self._drawn = time.monotonic()

    def _print(self, parts: Iterable[RenderableType]) -> None:
        for part in parts:
            self._console.print(part)

    def _moving(self) -> RenderableType:
        # The cursor stands below the picture, where a ^C that is echoed spoils nothing.
        return Group(self._view.moving(*self._console.size, time.monotonic()), Text())


class Lines:
    """Writes the text to stdout and what the tools do to stderr, for a pipe.

    Args:
        out: Where the text goes.
        messages: Where the rest goes.
    """

    def __init__(self, out: Console, messages: Console) -> None:
        self._file = out.file
        self._encoding = out.encoding
        self._is_terminal = out.file.isatty()
        self._messages = messages
        self._last = ""

    @contextmanager
    def run(self) -> Iterator[Callable[[Event | None], None]]:
        """Show a run; its text ends with a line end."""
        try:
            yield self._feed
        finally:
            self._write("" if self._last in {"", "\n"} else "\n")

    def _feed(self, event: Event | None) -> None:
        if isinstance(event, TextDelta):
            self._write(printable(event.text) if self._is_terminal else event.text)
        elif isinstance(event, ToolCallFinished):
            self._break_line()
            self._say(f"{event.name} {event.arguments.get('path', '')}".strip())
        elif isinstance(event, ToolCallInvalid):
            self._break_line()
            self._say(f"{event.name}: {event.error}")
        elif isinstance(event, ToolFinished | ToolFailed):
            what = event.error if isinstance(event, ToolFailed) else str(event.content)
            self._say(f"{event.name}: {what.strip().partition(chr(10))[0]}")

    def _break_line(self) -> None:
        if self._last not in {"", "\n"}:
            self._write("\n")

    def _write(self, text: str) -> None:
        self._file.write(text.encode(self._encoding, "replace").decode(self._encoding))
        self._file.flush()
        self._last = text[-1:] or self._last

    def _say(self, line: str) -> None:
        say(self._messages, printable(line.replace("\n", " ")))


class JsonLines:
    """Writes each event as a line of JSON."""

    @contextmanager
    def run(self) -> Iterator[Callable[[Event | None], None]]:
        """Show a run."""
        yield self._feed

    def _feed(self, event: Event | None) -> None:
        if event is not None:
            typer.echo(json.dumps(event.to_dict()))
