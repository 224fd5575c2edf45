"""How a command speaks to its user, and how it ends."""

from __future__ import annotations

import sys

import typer
from pydantic import SecretStr
from rich.console import Console

from langchain_glm.cli._live import say
from langchain_glm.cli._target import find_key
from langchain_glm.errors import GLMAuthenticationError

FAILED = 2
"""The exit status of a request that failed, and of wrong options, as click has it."""

CONNECT_SECONDS = 8.0  # as the official SDK has it


def console(*, stderr: bool = False) -> Console:
    """Make a console that prints text as it is."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def has_keyboard() -> bool:
    """Whether somebody can type; a service may have no stdin at all."""
    return bool(sys.stdin) and sys.stdin.isatty()


def key_of(given: str | None, messages: Console) -> SecretStr | None:
    """Choose the key, as `find_key` does.

    Raises:
        typer.Exit: The key cannot be sent; that is said.
    """
    try:
        return find_key(given)
    except GLMAuthenticationError as error:
        raise failure(str(error), messages) from None


def failure(line: str, messages: Console) -> typer.Exit:
    """Say what went wrong; the exit is for raising."""
    say(messages, f"langchain-glm: {line}")
    return typer.Exit(FAILED)
