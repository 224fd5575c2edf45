"""Each example runs with one command and no key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SAYS = {
    "write_while_generated.py": ["The call was cut off", "Left on disk: []", "fib.py is written."],
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
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
