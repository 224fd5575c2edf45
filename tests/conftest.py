"""What every test stands on: an environment without keys, and the `--recordings` option."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings
from recordings import pytest_addoption, pytest_report_header

__all__ = ["pytest_addoption", "pytest_report_header"]

_FOREIGN = ("OPENAI_", "ZAI_", "ZHIPUAI_", "LANGSMITH_", "LANGCHAIN_")


# A shell starts a job in the background with ctrl-c ignored; the processes that tests start and
# interrupt would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A property is about what comes out, not how fast: machines that run tests are busy.
settings.register_profile("glm", deadline=None)
settings.load_profile("glm")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
