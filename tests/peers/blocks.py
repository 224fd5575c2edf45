"""The examples of other packages in the documents, each run in its package's environment.

A block whose title is the name of a distribution, ```python title="langchain-deepseek", is a whole
program for that distribution.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.peers import environments
from langchain_glm.testing import GLMServer
from tests.documents import FENCES, Fence

OURS = ("langchain-openai",)
"""What needs no other environment."""


def found() -> list[Fence]:
    """Give the blocks of all documents that have a title."""
    return [fence for fence in FENCES if fence.language == "python" and fence.title]


def run(block: Fence, timeout: float = 60) -> str | None:
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
        file.write_text(block.text, encoding="utf-8")
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
