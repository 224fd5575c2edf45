"""The command `chat`: its options, and what it needs beside the other commands."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from typer.core import TyperCommand

from langchain_glm.cli import _options
from langchain_glm.cli._chat_store import LAST, users_store
from langchain_glm.cli._exits import console, failure, has_keyboard, key_of

_NEEDED = frozenset({"langchain", "langgraph", "prompt_toolkit"})
_RESUME = "--resume"
_LIKE_AN_ID = re.compile(r"\d{8}\S*")  # also a wrong one; anything else is the question
EPILOG = (
    "Exit status: 0 answered, 1 the answer is not whole (too long, or refused), 2 a request "
    "failed or the options are wrong, 130 stopped with ctrl-c. At the prompt: 0."
)


class ChatCommand(TyperCommand):
    """Takes `--resume` with an id and without one, which neither typer nor click can."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Name the last conversation where none is named."""
        return super().parse_args(ctx, list(_with_id(args)))


@dataclass(frozen=True)
class Wishes:
    """What the options say, apart from whom to ask.

    Attributes:
        question: What to ask; None for a person at a prompt.
        folder: Where the tools work, None for no tools.
        asks: Whether a person is asked before a file is written.
        resume: The id of a conversation, or `LAST`; None for a new one.
        keeps: Whether the conversation is saved.
        as_json: Whether to write JSON.
    """

    question: str | None
    folder: Path | None
    asks: bool
    resume: str | None
    keeps: bool
    as_json: bool


def _conversations(incomplete: str) -> list[tuple[str, str]]:
    topics = users_store().topics()
    return [(id_, topic[:60]) for id_, topic in topics if id_.startswith(incomplete)]


Question: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        help="What to ask, once. Without it stdin is asked, or you at a prompt.",
        show_default=False,
    ),
]
Tools: TypeAlias = Annotated[
    bool, typer.Option("--tools", help="Let it read, list, search and write files.")
]
WorkFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        help="The folder that the tools stay in; this one by default. Means --tools.",
        exists=True,
        file_okay=False,
        metavar="DIR",
    ),
]
Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", "-y", help="Let it write files without asking.")
]
Resume: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Go on with a conversation, the last one where no ID follows.",
        autocompletion=_conversations,
        metavar="[ID]",
        show_default=False,
    ),
]
Save: TypeAlias = Annotated[bool, typer.Option(help="Keep the conversation, to resume it.")]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Write a line of JSON for each event.")
]
Thinking: TypeAlias = Annotated[
    bool | None, typer.Option(help="Let the model think first, or not; its own way by default.")
]


def chat(  # noqa: PLR0913 - its options
    question: Question = None,
    *,
    tools: Tools = False,
    folder: WorkFolder = None,
    yes: Yes = False,
    resume: Resume = None,
    save: Save = True,
    as_json: AsJson = False,
    thinking: Thinking = None,
    model: _options.Model = _options.DEFAULT_MODEL,
    endpoint: _options.Endpoint = None,
    base_url: _options.BaseUrl = None,
    api_key: _options.ApiKey = None,
    max_tokens: _options.MaxTokens = None,
    timeout: _options.Silence = _options.DEFAULT_SILENCE,
) -> None:
    """Talk to a model, with its reasoning, text and tool calls as they are written.

    At the prompt Enter sends, Alt-Enter begins a new line, ctrl-c stops the answer, ctrl-d leaves.
    Without a key and --base-url the bundled scripted server answers.
    """
    messages = console(stderr=True)
    wishes = Wishes(
        question=_asked(question, as_json=as_json),
        folder=folder or (Path() if tools else None),
        asks=not yes,
        resume=resume,
        keeps=save,
        as_json=as_json,
    )
    fields = {"model": model, "max_tokens": max_tokens, "thinking": thinking, "timeout": timeout}
    raise typer.Exit(
        _run(messages)(
            wishes,
            {name: value for name, value in fields.items() if value is not None},
            key_of(api_key, messages),
            {"base_url": base_url, "endpoint": endpoint},
            messages,
        )
    )


def _run(messages: Console) -> Any:
    try:
        # Not at the top: the other commands do without LangChain's agents, and are quicker so.
        from langchain_glm.cli._chat_main import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _NEEDED:
            raise
        line = f'chat needs {missing}: pip install "langchain-glm-zai[cli]"'
        raise failure(line, messages) from None
    return run


def _asked(question: str | None, *, as_json: bool) -> str | None:
    """Find the question; None where a person is to be asked for it."""
    if question is None and has_keyboard():
        if as_json or not sys.stdout.isatty():
            raise typer.BadParameter("give it as an argument or on stdin.", param_hint="QUESTION")
        return None
    try:
        question = _stdin() if question is None else question
    except UnicodeDecodeError:
        raise typer.BadParameter("stdin is no text.", param_hint="QUESTION") from None
    if not question.strip():
        raise typer.BadParameter("there is none.", param_hint="QUESTION")
    return question.strip()


def _stdin() -> str:
    return sys.stdin.read() if sys.stdin else ""


def _with_id(args: list[str]) -> Iterator[str]:
    for arg, following in zip(args, [*args, ""][1:], strict=True):
        yield arg
        if arg == _RESUME and following != LAST and not _LIKE_AN_ID.fullmatch(following):
            yield LAST
