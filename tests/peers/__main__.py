"""`make compare`; see the package."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT

from . import __doc__ as about
from . import blocks, comparing
from .comparing import COLUMNS, Cells
from .rendering import DOCUMENTS, MARKERS, render, write_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for, and give the exit status."""
    options = _options(arguments)
    return _ACTIONS[options.action](options)


def _check(_: argparse.Namespace) -> int:
    return max(compare(*_observed()), _run_blocks())


def _update(_: argparse.Namespace) -> int:
    versions, cells = _observed()
    comparing.save({**comparing.load(), "versions": versions, "cells": cells})
    return 0


def _observed() -> tuple[dict[str, dict[str, str]], dict[str, Cells]]:
    # The version of ChatGLM is that of this checkout.
    versions = {name: column.versions for name, column in COLUMNS.items() if name != "ChatGLM"}
    return versions, comparing.observe(COLUMNS)


def _costs(options: argparse.Namespace) -> int:
    results = json.loads(options.file.read_text(encoding="utf-8"))
    stored = comparing.load()
    comparing.save({**stored, "costs": comparing.costs(results, stored["versions"])})
    return 0


def _table(_: argparse.Namespace) -> int:
    for language in DOCUMENTS.values():
        print(MARKERS[0], render(comparing.load(), language), MARKERS[1], sep="\n", end="\n\n")
    return 0


def _write(_: argparse.Namespace) -> int:
    for document, language in DOCUMENTS.items():
        write_table(ROOT / document, render(comparing.load(), language))
    return 0


_ACTIONS = {
    "check": _check,
    "update": _update,
    "costs": _costs,
    "table": _table,
    "write": _write,
}


def compare(versions: dict[str, dict[str, str]], cells: dict[str, Cells]) -> int:
    """Say what differs from what is stored; 1 if the same versions do something else."""
    stored = comparing.load()
    status = 0
    for name in COLUMNS:
        known, installed = stored["versions"].get(name, {}), versions.get(name, {})
        changed = [
            f"{package} {known.get(package, 'none')} -> {version}"
            for package, version in installed.items()
            if known.get(package) != version
        ]
        found = comparing.differences(stored, name, cells[name])
        print(f"{name}: {_told(changed, found)}")
        for line in found:
            print(f"  {line}")
        status = max(status, int(bool(found) and not changed))
    return status


def _told(changed: Sequence[str], found: Sequence[Any]) -> str:
    same = f"{len(found)} cells differ" if found else "as stored"
    return f"{same}; other versions: {', '.join(changed)} (update)" if changed else same


def _run_blocks() -> int:
    status = 0
    for block in blocks.found():
        trouble = blocks.run(block)
        print(f"{block.name} ({block.title}): {trouble or 'runs'}")
        status = max(status, int(trouble is not None))
    return status


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.peers",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", choices=_ACTIONS, default="check")
    parser.add_argument("file", nargs="?", type=Path, help="the results, for costs")
    options = parser.parse_args(arguments)
    if (options.action == "costs") != bool(options.file):
        parser.error("costs, and nothing else, takes the file of its results")
    return options


if __name__ == "__main__":
    sys.exit(main())
