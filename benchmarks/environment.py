"""Where processes of the measurements start, and what is kept out of them."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The directory from which `python -m benchmarks...` finds this package."""


def without_settings() -> dict[str, str]:
    """Give the environment without somebody's tracing, proxies, keys and addresses."""
    return {name: value for name, value in os.environ.items() if not _is_setting(name.upper())}


def forget_settings() -> None:
    """Take them out of this process's environment."""
    for name in os.environ.keys() - without_settings().keys():
        del os.environ[name]


def _is_setting(name: str) -> bool:
    return name.startswith(_PREFIXES) or name.endswith("_PROXY")


_PREFIXES = ("LANGCHAIN_", "LANGSMITH_", "OPENAI_", "ZAI_", "ZHIPUAI_")
