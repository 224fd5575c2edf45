"""The documents that a reader sees, and the blocks in them: read in one way by every check."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


def documents() -> Iterator[Path]:
    """Find the documents, but those of installed packages."""
    yield from ROOT.glob("*.md")
    for folder in ("docs", "examples", ".github"):
        for place, below, names in os.walk(ROOT / folder):
            below[:] = [name for name in below if name not in {"node_modules", "glm-web-data"}]
            yield from (Path(place) / name for name in names if name.endswith(".md"))


DOCUMENTS = sorted(documents())


class Fence(NamedTuple):
    """A block of a document."""

    document: Path
    line: int
    language: str
    title: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT).as_posix()}:{self.line}"


_FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>.*)$")
_INFO = re.compile(r'^(?P<language>\S*)(?: title="(?P<title>[^"]+)")?$')


def parts(document: Path) -> tuple[str, list[Fence]]:
    """Part a document into its prose and its blocks, also those inside of lists."""
    prose, blocks, opened, block = [], [], None, []
    for number, line in enumerate(document.read_text(encoding="utf-8").split("\n"), 1):
        found = _FENCE.match(line)
        if opened is None and not found:
            prose.append(line)
        elif opened is None:
            opened = (number, found)
        elif found and found["marks"].startswith(opened[1]["marks"]) and not found["info"].strip():
            info = _INFO.match(opened[1]["info"].strip())
            assert info, f"{document.name}:{opened[0]} says more than a language and a title"
            text = textwrap.dedent("\n".join(block)) + "\n"
            said = info["language"], info["title"] or ""
            blocks.append(Fence(document, opened[0], *said, text))
            opened, block = None, []
        else:
            block.append(line)
    assert opened is None, f"{document.name}:{opened[0]} is never closed"
    return "\n".join(prose), blocks


FENCES = [fence for document in DOCUMENTS for fence in parts(document)[1]]
