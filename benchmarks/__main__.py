"""Measure what `langchain_glm` costs.

python -m benchmarks                      # everything
python -m benchmarks streams live         # these
python -m benchmarks --quick              # smaller: whether it runs, not what it costs
python -m benchmarks --json results.json
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from langchain_core._api import LangChainBetaWarning

from benchmarks import crowd, growth, memory, pairs, server, startup, views
from benchmarks.environment import forget_settings
from benchmarks.measure import Effort
from benchmarks.tables import Table, show, versions

BENCHMARKS: Mapping[str, Callable[[str, Effort], Table]] = {
    "streams": pairs.streams,
    "whole": pairs.whole,
    "events": pairs.events,
    "agents": pairs.agents,
    "merging": views.merging,
    "live": views.live,
    "crowd": crowd.crowd,
    "startup": startup.startup,
    "memory": memory.memory,
    "growth": growth.growth,
}

FULL = Effort(
    fragments=2000,
    rounds=5,
    calls=30,
    streams=200,
    fragments_of_each=100,
    paced=50,
    live_sizes=(12.5, 25, 50, 100, 200, 400),
    seconds=20,
    imports=7,
    bytes=10_000_000,
    growth=(10_000, 100_000),
)
QUICK = Effort(
    fragments=100,
    rounds=2,
    calls=2,
    streams=20,
    fragments_of_each=20,
    paced=5,
    live_sizes=(1, 2, 4),
    seconds=1,
    imports=1,
    bytes=200_000,
    growth=(100, 400),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for, print it, and give the exit status."""
    options = _options(arguments)
    forget_settings()
    warnings.simplefilter("ignore", LangChainBetaWarning)
    effort = QUICK if options.quick else FULL
    command = shlex.join(["python", "-m", "benchmarks", *(arguments or sys.argv[1:])])
    show(f"`{command}`", ", ".join(f"{name} {v}" for name, v in versions().items()))
    tables = {}
    with server.running() as address:
        for name in options.names or BENCHMARKS:
            tables[name] = BENCHMARKS[name](address, effort)
            show(tables[name].to_markdown())
    if options.json:
        results = {name: table.to_dict() for name, table in tables.items()}
        report = {"command": command, "versions": versions(), "results": results}
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"no benchmark is named {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
