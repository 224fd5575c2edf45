"""What a person types: questions, and the word on a file that is about to be written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console

from langchain_glm.cli._chat_blocks import Calling
from langchain_glm.cli._exits import has_keyboard
from langchain_glm.cli._panes import printable

Decision: TypeAlias = dict[str, Any]
"""LangChain's word for it: `approve`, `edit` or `reject`, with what belongs to it."""

termios: Any = None
with suppress(ImportError):  # not on Windows
    import termios

_INPUT_MODES, _LOCAL_MODES = 0, 3  # where they stand among the attributes of a terminal
_CHOICES = "[y]es, [n]o and why, [e]dit, [s]how all? "


class Prompt:
    """Asks for questions, with a history, in several lines.

    Args:
        history: The file of earlier questions; None to remember them in this session only.
        commands: The words that are commands, to complete.
    """

    def __init__(self, history: Path | None, commands: Mapping[str, str]) -> None:
        self._session: PromptSession[str] = PromptSession(
            message=FormattedText([("bold", "› ")]),
            history=_history(history),
            completer=WordCompleter(list(commands), meta_dict=dict(commands), sentence=True),
            complete_while_typing=False,
            multiline=True,
            prompt_continuation="  ",
            key_bindings=_keys(),
            enable_open_in_editor=True,
        )

    def ask(self) -> str:
        """Read a question.

        Raises:
            EOFError: Ctrl-d, or ctrl-c at an empty prompt.
        """
        while True:
            with suppress(_Cleared):
                return self._session.prompt().strip()


def review(
    console: Console, about: Callable[[str], str]
) -> Callable[[Mapping[str, Any]], Decision]:
    """Make the function that asks a person about a call before it runs.

    Args:
        console: Where to show the file.
        about: Says of a path what writing there means.

    Returns:
        A function from LangChain's `ActionRequest` to the decision; it raises KeyboardInterrupt.
    """

    def decide(request: Mapping[str, Any]) -> Decision:
        arguments = dict(request["args"])
        question = printable(about(str(arguments.get("path", ""))).replace("\n", " "))
        while True:
            answer, _, why = _answered(f"{question} {_CHOICES}").partition(" ")
            word = answer.lower()
            if word in {"y", "yes"}:
                return {"type": "approve"}
            if word in {"n", "no"}:
                return {"type": "reject", "message": why} if why else {"type": "reject"}
            if word in {"e", "edit"}:
                return _edited(request, arguments)
            if word in {"s", "show"}:
                console.print(Calling(request["name"], arguments=arguments).whole_file())

    return decide


@contextmanager
def typed_ahead() -> Iterator[None]:
    """Keep what is typed while an answer goes on for the next prompt, unseen and as it is typed."""
    if termios is None or not has_keyboard():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    ours = [*before]
    ours[_INPUT_MODES] &= ~termios.ICRNL  # Enter is to stay Enter
    ours[_LOCAL_MODES] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSADRAIN, ours)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _answered(question: str) -> str:
    try:
        return PromptSession[str](message=question).prompt().strip()
    except EOFError:
        return "no"


def _edited(request: Mapping[str, Any], arguments: dict[str, Any]) -> Decision:
    editor: PromptSession[str] = PromptSession(
        message="Alt-Enter ends, ctrl-x ctrl-e opens $EDITOR:\n",
        multiline=True,
        enable_open_in_editor=True,
    )
    content = editor.prompt(default=str(arguments.get("content", "")))
    action = {"name": request["name"], "args": {**arguments, "content": content}}
    return {"type": "edit", "edited_action": action}


def _history(file: Path | None) -> History:
    if file is None:
        return InMemoryHistory()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))


def _keys() -> KeyBindings:
    """Enter sends, Alt-Enter and ctrl-j begin a line."""
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def clear(event: KeyPressEvent) -> None:
        event.app.exit(exception=_Cleared if event.current_buffer.text else EOFError)

    return keys


class _Cleared(Exception):  # noqa: N818 - no error
    """Ctrl-c, with something typed."""
