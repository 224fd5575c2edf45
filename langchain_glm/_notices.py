"""Warnings that are worth saying once."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

_said: set[str] = set()
# Between this package and the line of the user's own code that a warning should name.
_LIBRARIES = frozenset(
    {"langchain_glm", "langchain_core", "langchain_openai", "langchain", "langgraph"}
)


def warn_once(subject: str, text: str) -> None:
    """Warn, unless this process has warned of the subject before.

    Args:
        subject: What it is about, such as the name of a parameter.
        text: What the user reads, as a `UserWarning` at the line of their own code.
    """
    if subject in _said:
        return
    warnings.warn(text, UserWarning, stacklevel=_level_of_the_user())
    _said.add(subject)  # after it: where warnings are errors, every call is one


def _level_of_the_user() -> int:
    frame, level = sys._getframe(1), 1  # of `warn_once`
    while frame.f_back is not None and _is_of_a_library(frame):
        frame, level = frame.f_back, level + 1
    return level


def _is_of_a_library(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _LIBRARIES
