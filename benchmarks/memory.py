"""How much memory a long stream takes.

python -m benchmarks.memory SIDE WAY URL COUNT SIZE    # the bytes, measured in this process
"""

from __future__ import annotations

import gc
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.bodies import FRAGMENT, message
from benchmarks.environment import ROOT
from benchmarks.measure import Effort, agree
from benchmarks.sides import GLM, OPENAI, PROMPT, WAYS, exhaust, glm, openai_model
from benchmarks.tables import Cell, Table
from langchain_glm.streaming import tool_call_events

_FRAME = 200  # bytes on the wire, without what the frame says; about
_LARGE = 4000  # characters in a large fragment
_WARM_UP = 20  # fragments

_SIDES: Mapping[str, Callable[[str], Any]] = {GLM: glm, OPENAI: openai_model}
_WAYS: Mapping[str, Callable[[Any], object]] = {
    "stream": WAYS["stream"].drain,
    "v3 events": WAYS["v3 events"].drain,
    "tool_call_events": lambda model: exhaust(tool_call_events(model.stream(PROMPT))),
}
_ROWS = [(GLM, way) for way in _WAYS] + [(OPENAI, "stream"), (OPENAI, "v3 events")]


def memory(server: str, effort: Effort) -> Table:
    """Measure how far the peak lies above what was in use before the stream."""
    shapes = [(effort.bytes // _FRAME, FRAGMENT), (effort.bytes // _LARGE, _LARGE)]
    asked = [(*row, server, count, size) for row in _ROWS for count, size in shapes]
    with ThreadPoolExecutor(2) as pool:
        peaks = list(pool.map(lambda one: _peak_of(*one) / 1e6, asked))
    rows: list[list[Cell]] = [
        [f"{side}, {way}", *peaks[2 * at : 2 * at + 2]] for at, (side, way) in enumerate(_ROWS)
    ]
    columns = [f"{count:,} fragments of {size:,} characters" for count, size in shapes]
    title = f"Peak of memory of a text, {effort.bytes / 1e6:g} MB on the wire: MB"
    return Table(title, ("", *columns), rows)


def _peak_of(side: str, way: str, server: str, count: int, size: int) -> int:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", side, way, server]
    shape = [str(count), str(size)]
    pipes: dict[str, Any] = {"cwd": ROOT, "stdout": subprocess.PIPE}
    done = subprocess.run([*command, *shape], check=True, **pipes)  # noqa: S603
    return int(done.stdout)


def main(side: str, way: str, server: str, count: str, size: str) -> None:
    """Print the peak."""
    small = _SIDES[side](f"{server}/text/{_WARM_UP}/{size}")
    if way in WAYS:
        agree(message("text", _WARM_UP, int(size)), {side: WAYS[way].said(small)})
    ask = _WAYS[way]
    ask(small)
    gc.collect()
    before = _in_use()
    ask(_SIDES[side](f"{server}/text/{count}/{size}"))
    print(max(0, _peak() - before))


def _in_use() -> int:
    return _status("VmRSS") or _peak()


def _peak() -> int:
    # What a process was given by `exec` counts as its own for `getrusage`, but not for Linux's
    # own file.
    return _status("VmHWM") or _max_rss()


def _status(field: str) -> int | None:
    file = Path("/proc/self/status")
    found = re.search(rf"{field}:\s+(\d+) kB", file.read_text()) if file.exists() else None
    return int(found[1]) * 1024 if found else None


def _max_rss() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main(*sys.argv[1:])
