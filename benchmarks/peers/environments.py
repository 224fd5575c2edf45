"""The environments of other packages: each in a folder of its own, made once and kept."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.environment import ROOT, without_settings

ENVIRONMENTS = ROOT / "build" / "peers"

REQUIREMENTS: Mapping[str, Sequence[str]] = {
    "langchain-community": (
        "langchain-community",
        "langchain",
        "httpx>=0.27",
        "httpx-sse>=0.4",
        "pyjwt>=2",
    ),
    "langchain-deepseek": ("langchain-deepseek", "langchain"),
    "langchain-litellm": ("langchain-litellm", "langchain"),
    "pydantic-ai": ("pydantic-ai-slim[openai]",),
    # 0.3.3 and 0.3.4 cannot be imported before Python 3.14: a NameError in their annotations.
    "ToolAgents": ("ToolAgents==0.3.2",),
    "zai-sdk": ("zai-sdk",),
    "openai": ("openai",),
}
"""What is installed for each."""


def python_of(name: str) -> str:
    """Give the Python of an environment; make it first if it is not there or has others.

    Raises:
        CalledProcessError: Something cannot be installed.
    """
    place = ENVIRONMENTS / name
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    done = place / "installed.txt"
    wanted = " ".join(REQUIREMENTS[name])
    if not done.exists() or done.read_text() != wanted:
        print(f"Installing {wanted} in {place} ...", file=sys.stderr, flush=True)
        venv.create(place, with_pip=True, clear=True)
        options = ["-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([str(python), *options, *REQUIREMENTS[name]], check=True)  # noqa: S603
        done.write_text(wanted)
    return str(python)


def settings() -> dict[str, str]:
    """Give the environment variables for a peer: without settings, and without the network."""
    # LiteLLM fetches a list of prices otherwise.
    return {**without_settings(), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def versions(python: str, packages: Iterable[str]) -> dict[str, str]:
    """Ask a Python which versions of these packages it has."""
    code = (
        "import importlib.metadata as m, json, sys;"
        "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
    )
    command = [python, "-c", code, *packages]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603
    return dict(json.loads(done.stdout))
