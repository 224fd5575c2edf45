"""The examples of other packages in the documents, each run in its package's environment.

A block whose title is the name of a distribution, ```python title="langchain-deepseek", is a whole
program for that distribution.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.environment import ROOT
from benchmarks.peers import environments
from langchain_glm.testing import GLMServer

OURS = ("langchain-openai",)
"""What needs no other environment."""
_BLOCK = re.compile(r'^```python [^\n]*title="([^"]+)"[^\n]*\n(.*?)^```', re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A program in a document."""

    place: str
    title: str
    code: str


def found() -> Iterator[Block]:
    """Give the blocks of all documents."""
    for document in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")]):
        text = document.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield Block(f"{document.relative_to(ROOT)}:{line}", match[1], match[2])


def run(block: Block, timeout: float = 60) -> str | None:
    """Run a block; what is wrong with it, or None."""
    if block.title in OURS:
        python = sys.executable
    elif block.title in environments.REQUIREMENTS:
        python = environments.python_of(block.title)
    else:
        return f"no environment is made for {block.title}"
    with GLMServer() as server, tempfile.TemporaryDirectory() as folder:
        keys = {"ZAI_API_KEY": "test.key", "ZAI_BASE_URL": server.base_url}
        file = Path(folder, "example.py")
        file.write_text(block.code, encoding="utf-8")
        try:
            done = subprocess.run(  # noqa: S603
                [python, str(file)],
                check=False,
                cwd=folder,
                env={**environments.settings(), **keys, "PYTHONUTF8": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return f"did not end within {timeout:g} s"
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        return "\n".join([f"exit status {done.returncode}", *said[-15:]])
    return None
