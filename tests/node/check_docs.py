"""Every ```js block of the documents runs in Node, without a key, against GLMServer.

Not named `test_*`, so that a plain `pytest` passes it by; `make test-node` runs it.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from langchain_glm.testing import GLMServer

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```js\n(.*?)^```", re.DOTALL | re.MULTILINE)

BLOCKS = [
    pytest.param(block, id=f"{document.relative_to(ROOT).as_posix()}-{number}")
    for document in DOCUMENTS
    for number, block in enumerate(_BLOCK.findall(document.read_text(encoding="utf-8")), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block: str) -> None:
    with GLMServer() as server:
        settings = {"ZAI_API_KEY": "test-key", "ZAI_BASE_URL": server.base_url}
        done = _node(block, settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert server.requests


def test_langchain_js_reads_what_its_page_says() -> None:
    (block,) = _BLOCK.findall((ROOT / "docs/migrating/langchain-js.md").read_text("utf-8"))
    with GLMServer() as server:
        settings = {"ZAI_API_KEY": "test-key", "ZAI_BASE_URL": server.base_url}
        said = _node(block, settings).stdout
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
