"""Measure what a chunk costs in other packages.

    python -m benchmarks.peers                # all
    python -m benchmarks.peers openai         # these
    python -m benchmarks.peers --json results.json

Each is installed in an environment of its own under `build/peers`, and runs in a process of its
own. The processes take turns with the same server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import server
from benchmarks.bodies import FRAGMENT, reply
from benchmarks.measure import MICRO
from benchmarks.peers import environments
from benchmarks.sides import GLM, OPENAI
from benchmarks.tables import Cell, Table, show, versions

ASKING = Path(__file__).with_name("asking.py")

# How they are named here, and the distribution whose version is shown.
_PEERS: Mapping[str, str] = {
    "langchain-community": "langchain-community",
    "langchain-deepseek": "langchain-deepseek",
    "langchain-litellm": "langchain-litellm",
    "pydantic-ai": "pydantic-ai-slim",
    "zai-sdk": "zai-sdk",
    "openai": "openai",
}
_COUNT = 2000
_ROUNDS = 5


class Kind(NamedTuple):
    """A kind of answer, and where what it says stands in a fragment."""

    name: str
    place: int


KINDS = (Kind("text", 0), Kind("reasoning", 1), Kind("arguments", 2))


class Answers(NamedTuple):
    """What a peer made of one kind of answer.

    Attributes:
        seconds: Of CPU, in each round.
        fragments: How many came.
        is_whole: Whether they say, joined, what the server said.
    """

    seconds: list[float]
    fragments: int
    is_whole: bool


class Peer:
    """A package in its process."""

    def __init__(self, name: str, process: Any) -> None:
        self._name = name
        self._process = process

    def ask(self, address: str, kind: Kind, count: int) -> tuple[float, int, bool]:
        """Ask once: the seconds, how many fragments came, and whether nothing was lost.

        Raises:
            RuntimeError: The process has failed.
        """
        self._process.stdin.write(f"{address}/{kind.name}/{count}/{FRAGMENT}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            msg = f"{self._name} failed; its error is above"
            raise RuntimeError(msg)
        came = json.loads(line)
        pieces = [fragment[kind.place] for fragment in came["fragments"]]
        said = reply(kind.name, count)
        whole = (said.text, said.reasoning, "".join(str(c.arguments) for c in said.tool_calls))
        return came["seconds"], sum(map(bool, pieces)), "".join(pieces) == whole[kind.place]


def main(arguments: Sequence[str] | None = None) -> int:
    """Install and measure what was asked for, print it, and give the exit status."""
    options = _options(arguments)
    pythons = {name: environments.python_of(name) for name in options.names or _PEERS}
    installed = {name: _version(python, name) for name, python in pythons.items()}
    pythons = {GLM: sys.executable, OPENAI: sys.executable, **pythons}
    with server.running() as address:
        answers = measure(address, pythons, count=_COUNT, rounds=_ROUNDS)
    result = table(answers, installed, _COUNT)
    show(" ".join(f"{name} {number}" for name, number in versions().items()), result.to_markdown())
    if options.json:
        options.json.write_text(json.dumps(result.to_dict(), indent=1, ensure_ascii=False) + "\n")
    return 0


def measure(
    address: str, pythons: Mapping[str, str], *, count: int, rounds: int
) -> dict[str, dict[str, Answers]]:
    """Let the peers take turns; by name and kind of answer."""
    taken: dict[str, dict[str, list[tuple[float, int, bool]]]] = {}
    with contextlib.ExitStack() as stack:
        peers = {
            name: Peer(name, stack.enter_context(_process(python, name)))
            for name, python in pythons.items()
        }
        for _ in range(1 + rounds):  # the first one warms up
            for name, peer in peers.items():
                for kind in KINDS:
                    came = peer.ask(address, kind, count)
                    taken.setdefault(name, {}).setdefault(kind.name, []).append(came)
    return {
        name: {kind: _answers(came) for kind, came in kinds.items()}
        for name, kinds in taken.items()
    }


def _answers(came: list[tuple[float, int, bool]]) -> Answers:
    _, fragments, is_whole = came[0]
    return Answers([seconds for seconds, _, _ in came[1:]], fragments, is_whole)


def table(
    answers: Mapping[str, Mapping[str, Answers]], installed: Mapping[str, str], count: int
) -> Table:
    """Lay the results out."""
    rows: list[list[Cell]] = []
    for name, of_peer in answers.items():
        row: list[Cell] = [f"{name} {installed.get(name, '')}".strip()]
        for kind in ("text", "arguments"):
            seconds = of_peer[kind].seconds
            theirs = answers[OPENAI][kind].seconds
            ratios = [mine / its for mine, its in zip(seconds, theirs, strict=True)]
            row += [statistics.median(seconds) / count * MICRO, statistics.median(ratios)]
        row += [_arrived(of_peer[kind], count) for kind in ("text", "reasoning", "arguments")]
        rows.append(row)
    columns = ("", "text", "text, ratio", "arguments", "arguments, ratio")
    arrived = ("text arrives", "reasoning arrives", "arguments arrive")
    note = (
        f"{count:,} fragments of {FRAGMENT} characters in a stream, ratios to {OPENAI}. "
        "langchain-community leaves "
        "those of calls in additional_kwargs, where LangChain looks for none."
    )
    return Table("Peers: µs of CPU per chunk", (*columns, *arrived), rows, note)


def _arrived(came: Answers, count: int) -> Cell:
    if came.is_whole:
        return "whole" if came.fragments >= count else f"whole, in {came.fragments:,}"
    return f"{came.fragments:,} of {count:,}" if came.fragments else "lost"


@contextlib.contextmanager
def _process(python: str, peer: str) -> Iterator[Any]:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [python, str(ASKING), peer]
    with subprocess.Popen(command, env=environments.settings(), **pipes) as process:  # noqa: S603
        yield process  # leaving it closes its input, which ends it


def _version(python: str, name: str) -> str:
    return environments.versions(python, [_PEERS[name]])[_PEERS[name]]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_PEERS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(_PEERS)):
        parser.error(f"no peer is named {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
