"""Every ```js block of the documents runs in Node, without a key, against GLMServer.

Not named `test_*`, so that a plain `pytest` passes it by; `make test-node` runs it.
"""

import os
import subprocess
from pathlib import Path

import pytest
from documents import FENCES, ROOT, Fence

from langchain_glm.testing import GLMServer

HERE = Path(__file__).parent
BLOCKS = [pytest.param(fence, id=fence.name) for fence in FENCES if fence.language == "js"]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block: Fence) -> None:
    with GLMServer() as server:
        settings = {"ZAI_API_KEY": "test-key", "ZAI_BASE_URL": server.base_url}
        done = _node(block.text, settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert server.requests


def test_langchain_js_reads_what_its_page_says() -> None:
    page = ROOT / "docs" / "migrating" / "langchain-js.md"
    (block,) = [fence for fence in FENCES if fence.document == page and fence.language == "js"]
    with GLMServer() as server:
        settings = {"ZAI_API_KEY": "test-key", "ZAI_BASE_URL": server.base_url}
        said = _node(block.text, settings).stdout
    assert server.requests[0].body["tool_stream"] is True
    assert said.startswith('{"path": "fib.py"')
    assert said.endswith("\n412 fragments\n")


def _node(program: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    # From the standard input, packages are looked for in the working directory.
    return subprocess.run(
        ["node", "--input-type=module"],  # noqa: S607
        cwd=HERE,
        env={"PATH": os.environ["PATH"], **settings},
        input=program,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
