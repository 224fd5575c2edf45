"""Every Python example in the documents runs, without a key, against GLMServer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from langchain_glm.testing import GLMServer

_ROOT = Path(__file__).parents[2]
_DOCUMENTS = sorted([*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md")])
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

_EXAMPLES = [
    pytest.param(block, id=f"{document.name}-{number}")
    for document in _DOCUMENTS
    for number, block in enumerate(_BLOCK.findall(document.read_text(encoding="utf-8")), 1)
]


@pytest.mark.parametrize("example", _EXAMPLES)
def test_example_runs(
    example: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with GLMServer() as server:
        monkeypatch.setenv("ZAI_API_KEY", "test-key")
        monkeypatch.setenv("ZAI_BASE_URL", server.base_url)
        exec(compile(example, "<example>", "exec"), {"__name__": "__main__"})  # noqa: S102
    assert "test-key" not in capsys.readouterr().out


def test_readme_has_examples() -> None:
    assert sum(param.id.startswith("README.md-") for param in _EXAMPLES) >= 5


def test_readme_names_every_endpoint() -> None:
    from langchain_glm._endpoints import ENDPOINTS

    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}`" in readme and url in readme for name, url in ENDPOINTS.items())
