"""What every test stands on: an environment without keys, and the `--recordings` option."""

from __future__ import annotations

import os

import pytest
from recordings import pytest_addoption, pytest_report_header

__all__ = ["pytest_addoption", "pytest_report_header"]

_FOREIGN = ("OPENAI_", "ZAI_", "ZHIPUAI_", "LANGSMITH_", "LANGCHAIN_")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
