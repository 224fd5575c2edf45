"""Run the tests on each Python, with the lowest and the newest of what the package stands on.

    python scripts/matrix.py                                # everything: 4 Pythons, 4 stacks
    python scripts/matrix.py --python 3.10 --stack lowest   # one environment
    python scripts/matrix.py -- tests/unit_tests/test_sse.py -q     # what pytest is to run

Each combination has an environment of its own, `build/matrix/<python>-<stack>`, which is made where
it is missing and kept (`--fresh` makes it again), and a log beside it. The Pythons are those of the
variable `PYTHONS` (names or paths, with blanks between), else `python3.10` to `python3.13`; one
that is not there is a line of the table, not a failure. The exit status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "matrix"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EXTRAS = "cli,test"
TESTS = ("tests/unit_tests", "-q", "-p", "no:cacheprovider")

FLOORED = ("langchain-core", "langchain-openai", "langchain", "langgraph")
"""What `lowest` pins to the floors of pyproject.toml; the rest is what a resolver chooses."""

LOWEST_OPENAI = "openai==2.45.0"  # the floor of the lowest langchain-openai
SHOWN = ("langchain-core", "langchain-openai", "langgraph", "openai")


def floors() -> list[str]:
    """Read the floors of pyproject.toml, without a parser of TOML: Python 3.10 has none."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return [
        f"{name}=={match[1]}"
        for name in FLOORED
        if (match := re.search(rf'"{name}>=([\d.]+)', text))
    ]


def stacks() -> dict[str, list[str]]:
    """Name the stacks: both ends of LangChain's packages on openai 2 (httpx) and 3 (httpx2)."""
    return {
        "lowest": [*floors(), LOWEST_OPENAI],
        "lowest-openai3": [*floors(), "openai>=3"],
        "newest-openai2": ["openai<3"],
        "newest": ["openai>=3"],
    }


class Outcome(NamedTuple):
    """One line of the table."""

    python: str
    stack: str
    versions: str
    result: str
    failed: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, and print the table."""
    asked = _asked(arguments)
    found = _pythons()
    outcomes = []
    for python in asked.python or PYTHONS:
        for stack in asked.stack or stacks():
            if python in found:
                outcome = _run(python, found[python], stack, asked)
            else:
                outcome = Outcome(python, stack, "", "no such Python here")
            print("  ".join(outcome[:4]), flush=True)
            outcomes.append(outcome)
    print(f"\n{_table(outcomes)}")
    return int(any(outcome.failed for outcome in outcomes))


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", action="append", choices=PYTHONS)
    parser.add_argument("--stack", action="append", choices=list(stacks()))
    parser.add_argument("--fresh", action="store_true", help="make the environments again")
    parser.add_argument("pytest", nargs="*", default=list(TESTS), help="what pytest is given")
    return parser.parse_args(arguments)


def _pythons() -> dict[str, str]:
    names = os.environ.get("PYTHONS", "").split() or [f"python{version}" for version in PYTHONS]
    found: dict[str, str] = {}
    for name in names:
        asked = _output([name, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        if asked.strip() in PYTHONS:
            found.setdefault(asked.strip(), name)
    return found


def _output(command: Sequence[str | Path]) -> str:
    # A name on the path may stand for a Python that is not installed (a shim of pyenv's).
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""


def _run(python: str, interpreter: str, stack: str, asked: argparse.Namespace) -> Outcome:
    home = FOLDER / f"{python}-{stack}"
    log = home.with_suffix(home.suffix + ".log")
    if asked.fresh:
        shutil.rmtree(home, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        for command in _making(home, interpreter, stack):
            if subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, check=False).returncode:  # noqa: S603
                return Outcome(python, stack, "", f"no environment, see {_relative(log)}", True)  # noqa: FBT003
        (home / "made").touch()
        command = [_in(home, "python"), "-m", "pytest", *asked.pytest]
        clean = {k: v for k, v in os.environ.items() if k not in {"ZAI_API_KEY", "ZHIPUAI_API_KEY"}}
        status = subprocess.run(  # noqa: S603
            command, cwd=ROOT, env=clean, stdout=file, stderr=file, check=False
        ).returncode
    last = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()][-1]
    told = re.sub(r" in [\d.]+s.*", "", last.strip("= "))
    result = f"{told}, {time.monotonic() - began:.0f} s"
    if status:
        result += f": see {_relative(log)}"
    return Outcome(python, stack, _versions(home), result, bool(status))


def _making(home: Path, interpreter: str, stack: str) -> Iterator[list[str | Path]]:
    if (home / "made").exists():
        return
    what = ["--editable", f".[{EXTRAS}]", *stacks()[stack]]
    if uv := shutil.which("uv"):
        yield [uv, "venv", "--quiet", "--clear", "--python", interpreter, home]
        yield [uv, "pip", "install", "--quiet", "--python", _in(home, "python"), *what]
        return
    yield [interpreter, "-m", "venv", "--clear", home]
    yield [_in(home, "python"), "-m", "pip", "install", "--quiet", *what]


def _in(home: Path, name: str) -> Path:
    windows = home / "Scripts" / f"{name}.exe"
    return windows if os.name == "nt" else home / "bin" / name


def _versions(home: Path) -> str:
    ask = "import importlib.metadata as m, json; print(json.dumps([m.version(n) for n in %r]))"
    told = _output([_in(home, "python"), "-c", ask % (SHOWN,)])
    return " ".join(json.loads(told or "[]"))


def _relative(path: Path) -> Path:
    return path.relative_to(ROOT)


def _table(outcomes: Sequence[Outcome]) -> str:
    head = ("Python", "stack", " ".join(SHOWN), "result")
    rows = [head, *(outcome[:4] for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
