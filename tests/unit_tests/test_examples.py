"""Each example runs with one command and no key."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_glm import ChatGLM
from langchain_glm.testing import Call, GLMServer, Reply

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "write_while_generated.py": ["The call was cut off", "Left on disk: []", "fib.py is written."],
}
RUN_ELSEWHERE = {"ray_batch.py"}  # make test-scale


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SAYS, *RUN_ELSEWHERE}


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs(name, tmp_path):
    run = subprocess.run(  # noqa: S603
        [sys.executable, str(EXAMPLES / name)],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "ZAI_API_KEY"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert all(words in run.stdout for words in SAYS[name])


def test_a_file_is_written_while_its_content_is_typed(tmp_path):
    run = subprocess.run(  # noqa: S603
        [sys.executable, str(EXAMPLES / "write_while_generated.py"), "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    sizes = [line for line in run.stdout.replace("\r", "\n").splitlines() if "bytes" in line]
    assert len(set(sizes)) > 10
    written = tmp_path / "out" / "fib.py"
    assert written.read_text(encoding="utf-8").startswith("def fibonacci")
    assert f"{written.stat().st_size} bytes" in sizes[-1].replace("}", "")


@pytest.mark.parametrize(
    ("calls", "left"),
    [
        pytest.param(['{"path": "a.py", "content": "whole"}', '{"path": "b.py", "content": "ha'],
                     {"a.py": "whole"}, id="the_second_of_two"),
        pytest.param(['{"path": "a.py", "content": "ha', '{"path": "b.py", "content": "ha'],
                     {}, id="both"),
        pytest.param(['{"content": "first", "path": "../a.py"}', '{"path": "..", "content": "ha'],
                     {"a.py": "first"}, id="content_before_path"),
    ],
)  # fmt: skip
def test_only_cut_calls_take_their_file_away(calls, left, tmp_path):
    example = runpy.run_path(str(EXAMPLES / "write_while_generated.py"))
    cut = Reply(tool_calls=[Call("write_file", text) for text in calls], finish_reason="length")
    with GLMServer([cut, Reply(text="Done.")]) as server:
        example["run"](ChatGLM(base_url=server.base_url, api_key="test-key"), tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == left
