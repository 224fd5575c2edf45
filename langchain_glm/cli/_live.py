"""The terminal: a view of each run while it goes on, or a line for each where there is none.

The reading side only appends to a list; a thread of its own draws what stands in it. So a slow
terminal delays no reading, and the seconds go on while nothing arrives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from langchain_glm.cli._panes import Pane, to_picture
from langchain_glm.cli._probe import Arrival
from langchain_glm.cli._typed import Answer, read_on

WITH = "with tool_stream"
WITHOUT = "without tool_stream"

_DRAWINGS_PER_SECOND = 15

Watch: TypeAlias = Callable[[str, Iterable[Arrival]], list[Arrival]]
"""Takes the name of a run and its arrivals, shows them, and gives them back when all are there."""


def can_draw(console: Console) -> bool:
    """Whether there is a person at the other end, and more than ASCII gets there."""
    # `FORCE_COLOR` makes a terminal of any pipe; colours are wanted there, a moving picture is not.
    is_person = console.is_interactive and console.file.isatty()
    return is_person and not console.options.ascii_only


def say(console: Console, line: str) -> None:
    """Print a line, folded between words for a person and as it is for a program."""
    console.print(line, soft_wrap=not console.file.isatty())


@contextmanager
def watching(console: Console, model: str) -> Iterator[Watch]:
    """Show runs: live on a terminal, else by a line for each before it begins.

    On the way out the terminal is as it was, whatever the reason, and the last picture stays.
    """
    if not can_draw(console):
        yield partial(_announce, console, model)
        return
    stage = _Stage(console)
    try:
        with Live(
            console=console,
            get_renderable=stage.draw,
            refresh_per_second=_DRAWINGS_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live:
            live.refresh()  # not only with the first drawing of the thread
            yield stage.watch
    finally:
        console.show_cursor()


class _Run:
    """One run: `watch` is the reading side, `pane` the drawing one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._arrivals: list[Arrival] = []
        self._began: float | None = None
        self._ended: float | None = None
        self._answer = Answer()
        self._read = 0

    def watch(self, arrivals: Iterable[Arrival]) -> list[Arrival]:
        self._began = time.perf_counter()
        try:
            for arrival in arrivals:
                self._arrivals.append(arrival)
        finally:
            self._ended = time.perf_counter()
        return self._arrivals

    def pane(self) -> Pane:
        began, ended = self._began, self._ended
        if began is None:
            return Pane(self._name)
        new = self._arrivals[self._read :]
        self._read += len(new)
        self._answer = read_on(self._answer, new)
        seconds = (ended or time.perf_counter()) - began
        return Pane(self._name, seconds, ended is None, self._answer)


class _Stage:
    """Both runs on one screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._runs = {name: _Run(name) for name in (WITH, WITHOUT)}

    def watch(self, name: str, arrivals: Iterable[Arrival]) -> list[Arrival]:
        return self._runs[name].watch(arrivals)

    def draw(self) -> RenderableType:
        panes = [run.pane() for run in self._runs.values()]
        # Below the picture, where the ^C that a terminal echoes spoils nothing.
        cursor = Text()
        return Group(to_picture(panes, *self._console.size), cursor)


def _announce(
    console: Console, model: str, name: str, arrivals: Iterable[Arrival]
) -> list[Arrival]:
    say(console, f"{name}: {model} writes a file ...")
    return list(arrivals)
