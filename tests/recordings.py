"""Recorded bodies, and what they say: the other opinion that `--recordings` compares with.

`reassemble` reads a body as plainly as can be, once, at its end, and knows nothing of the
package. A recording is a file that ends in `.sse` (a streamed body) or `.json` (a whole one);
`httpNNN` in its name is the HTTP status: `error-1113-balance.http429.json`.
"""

import argparse
import itertools
import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("recordings")
    group.addoption(
        "--recordings",
        metavar="DIR",
        type=_folder,
        help="replay every recorded body of this folder (*.sse, *.json) through ChatGLM",
    )
    group.addoption(
        "--recordings-seed",
        metavar="N",
        type=int,
        default=random.randrange(2**32),  # noqa: S311
        help="where to split them; a run prints its own",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    folder = config.getoption("recordings")
    return folder and f"recordings: {folder}, split with --recordings-seed {seed(config)}"


def _folder(path: str) -> Path:
    if not _files(Path(path)):
        raise argparse.ArgumentTypeError(f"no *.sse or *.json in {path}")
    return Path(path)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in {".sse", ".json"})


def seed(config: pytest.Config) -> int:
    return config.getoption("recordings_seed")


class Recording(NamedTuple):
    """The body of one response."""

    name: str
    body: bytes
    status: int = 200

    @property
    def is_stream(self) -> bool:
        return self.name.endswith(".sse")

    def split(self, seed: int) -> list[bytes]:
        """The body in pieces of random length, some of a single byte."""
        rng = random.Random(f"{self.name} {seed}")  # noqa: S311
        cuts = rng.choices(range(len(self.body)), k=len(self.body) // 40)
        edges = sorted({0, len(self.body), *cuts, *(cut + 1 for cut in cuts[::10])})
        return [self.body[start:end] for start, end in itertools.pairwise(edges)]


class Answer(NamedTuple):
    """What a body says."""

    text: str
    reasoning: str
    calls: list[tuple[str | None, str, str]]
    """Of each call its id, the tool, and the arguments as written."""
    usage: dict[str, Any] | None
    finish_reason: str | None
    model: str | None
    error: dict[str, Any] | None


def recordings_in(config: pytest.Config) -> list[Recording]:
    """The recordings of the folder that the command line names; none where it names none."""
    folder = config.getoption("recordings")
    files = _files(folder) if folder else []
    return [Recording(path.name, path.read_bytes(), _status(path.name)) for path in files]


def _status(name: str) -> int:
    named = re.search(r"\.http(\d{3})\.", name)
    return int(named[1]) if named else 200


def reassemble(recording: Recording) -> Answer:
    """What the whole of this body says, put together in the simplest way."""
    frames = _frames(recording.body) if recording.is_stream else [json.loads(recording.body)]
    text = reasoning = ""
    calls: dict[int, list[Any]] = {}
    usage = finish_reason = model = error = None
    for frame in frames:
        choice = (frame.get("choices") or [{}])[0]
        part = choice.get("delta") or choice.get("message") or {}
        text += part.get("content") or ""
        reasoning += part.get("reasoning_content") or part.get("reasoning") or ""
        for call in part.get("tool_calls") or []:
            known = calls.setdefault(call["index"], [None, "", ""])
            known[0] = known[0] or call.get("id")
            known[1] = known[1] or call["function"].get("name")
            known[2] += call["function"].get("arguments") or ""
        finish_reason = choice.get("finish_reason") or finish_reason
        usage = frame.get("usage") or usage
        model = frame.get("model") or model
        error = frame.get("error") or error
    in_order = [tuple(calls[index]) for index in sorted(calls)]
    return Answer(text, reasoning, in_order, usage, finish_reason, model, error)


def _frames(body: bytes) -> list[dict[str, Any]]:
    lines = [line.strip() for line in body.split(b"\n")]
    data = [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]
    return [json.loads(frame) for frame in data if frame != b"[DONE]"]
