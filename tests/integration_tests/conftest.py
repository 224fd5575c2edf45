"""The one switch: the live API where ZAI_API_KEY is set, else a GLMServer that plays GLM."""

import os

import pytest

from integration_tests.scripted import script_of
from langchain_glm.testing import GLMServer

# Read when the tests are collected: a fixture takes the variables away from each of them.
_SAID = {name: os.environ.get(name) for name in ("ZAI_API_KEY", "ZAI_BASE_URL")}
_LIVE = {name: value for name, value in _SAID.items() if value} if _SAID["ZAI_API_KEY"] else {}


def pytest_report_header():
    return f"GLM: {'the live API' if _LIVE else 'scripted; with ZAI_API_KEY, the live API'}"


@pytest.fixture
def glm(request, monkeypatch, _clean_environment):
    """GLM, where every user's ChatGLM finds it: the server, or None for the live API."""
    if _LIVE:
        for name, value in _LIVE.items():
            monkeypatch.setenv(name, value)
        yield None
        return
    script = script_of(request.node.originalname)
    with GLMServer(script) as server:
        monkeypatch.setenv("ZAI_API_KEY", "test-key")
        monkeypatch.setenv("ZAI_BASE_URL", server.base_url)
        yield server
    if server.requests:  # none where the suite skips
        assert len(server.requests) == len(script)
