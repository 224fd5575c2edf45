"""Warnings that are worth saying once."""

from __future__ import annotations

import warnings

_said: set[str] = set()


def warn_once(subject: str, text: str) -> None:
    """Warn, unless this process has warned of the subject before.

    Args:
        subject: What it is about, such as the name of a parameter.
        text: What the user reads, as a `UserWarning`.
    """
    if subject in _said:
        return
    warnings.warn(text, UserWarning, stacklevel=2)
    _said.add(subject)  # after it: where warnings are errors, every call is one
