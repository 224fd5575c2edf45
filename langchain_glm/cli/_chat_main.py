"""`chat` from its options to its exit status: whom to ask, where to show it, the prompt's loop."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import openai
from langchain_core._api import LangChainBetaWarning
from pydantic import SecretStr
from rich.console import Console

from langchain_glm.chat_models import ChatGLM
from langchain_glm.cli._chat import Wishes
from langchain_glm.cli._chat_agent import Agent
from langchain_glm.cli._chat_prompt import Prompt, review, typed_ahead
from langchain_glm.cli._chat_run import Line
from langchain_glm.cli._chat_session import ANSWERED, Decide, Session
from langchain_glm.cli._chat_show import JsonLines, Lines, Picture, Show
from langchain_glm.cli._chat_store import Conversation, Store, state_folder, users_store
from langchain_glm.cli._chat_tools import Folder
from langchain_glm.cli._chat_view import past
from langchain_glm.cli._exits import CONNECT_SECONDS, console, failure, has_keyboard
from langchain_glm.cli._live import can_draw, say
from langchain_glm.cli._target import Target, open_target

SCRIPTED_NOTICE = (
    "No API key (ZAI_API_KEY, ZHIPUAI_API_KEY or --api-key) and no --base-url: "
    "asking the bundled scripted server on this machine instead. It runs no model: it says the "
    "same whatever you ask."
)
_PASSING_NOTICE = "Its files go to a folder that is removed afterwards."
_KEYS = "Enter sends, Alt-Enter begins a new line, ctrl-c stops an answer, ctrl-d leaves."
_COMMANDS = {"/new": "begin a new conversation", "/help": "show this", "/exit": "leave"}
_COMMAND = re.compile(r"/[a-z]*")  # a wrong one is answered with the right ones


def run(
    wishes: Wishes,
    fields: dict[str, Any],
    key: SecretStr | None,
    where: Mapping[str, str | None],
    messages: Console,
) -> int:
    """Talk, once or for as long as somebody asks.

    Args:
        wishes: What the user wants.
        fields: Fields of the model; `timeout` in seconds.
        key: The key, None where there is none.
        where: `base_url` and `endpoint`, as `open_target` takes them.
        messages: Where to say what is no answer.

    Returns:
        The exit status.

    Raises:
        typer.Exit: There is no such conversation; that is said.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        # LangGraph's v3 streams are what `stream_agent` stands on; it is not the user's concern.
        warnings.simplefilter("ignore", LangChainBetaWarning)
        target = stack.enter_context(open_target(key, **where))
        if target.scripted:
            say(messages, SCRIPTED_NOTICE)
            wishes = replace(wishes, keeps=False)
        if target.scripted and wishes.folder is None:
            say(messages, _PASSING_NOTICE)
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            wishes = replace(wishes, folder=Path(folder))
        store = users_store()
        client = stack.enter_context(_client(target))
        session = _session(wishes, {**target.fields, **fields}, client, store, messages)
        stack.enter_context(typed_ahead())
        if wishes.question is not None:
            return session.ask(wishes.question)
        return _talk(session, store, wishes)


def _session(
    wishes: Wishes, fields: dict[str, Any], client: Any, store: Store, messages: Console
) -> Session:
    folder = Folder(wishes.folder) if wishes.folder else None
    silence = fields["timeout"]
    model = ChatGLM(
        **{
            **fields,
            "http_client": client,
            "timeout": openai.Timeout(silence, connect=min(CONNECT_SECONDS, silence)),
            "stream_chunk_timeout": silence,
        }
    )
    secret = fields["api_key"].get_secret_value()
    out = console()
    return Session(
        agent=Agent(model, folder, asks=wishes.asks),
        line=Line(client),
        conversation=_conversation(wishes, store, messages),
        show=_shows(wishes, out, messages),
        decide=_decide(wishes, folder, out),
        messages=messages,
        secret=secret,
    )


def _conversation(wishes: Wishes, store: Store, messages: Console) -> Conversation:
    if wishes.resume is None:
        return store.begin(keep=wishes.keeps)
    try:
        conversation = store.resume(wishes.resume)
    except LookupError as error:
        raise failure(str(error.args[0]), messages) from None
    return conversation if wishes.keeps else replace(conversation, file=None)


def _shows(wishes: Wishes, out: Console, messages: Console) -> Callable[[], Show]:
    if wishes.as_json:
        return JsonLines
    return partial(Picture, out) if can_draw(out) else partial(Lines, out, messages)


def _decide(wishes: Wishes, folder: Folder | None, out: Console) -> Decide | None:
    somebody_is_there = has_keyboard() and out.file.isatty() and not wishes.as_json
    return review(out, folder.about) if folder and somebody_is_there else None


@contextmanager
def _client(target: Target) -> Iterator[Any]:
    """Give the HTTP client of the target, or one whose connections nobody else uses."""
    given = target.fields.get("http_client")
    if given is not None:
        yield given
        return
    with openai.DefaultHttpxClient() as client:
        yield client


# At the prompt


def _talk(session: Session, store: Store, wishes: Wishes) -> int:
    """Ask until somebody leaves."""
    out = console()
    say(out, f"{_KEYS} /help")
    for part in past(session.conversation.messages):
        out.print(part)
    prompt = Prompt(state_folder() / "history" if wishes.keeps else None, _COMMANDS)
    with suppress(EOFError):
        while (question := prompt.ask()) != "/exit":
            if question == "/new":
                session.conversation = store.begin(keep=wishes.keeps)
            elif _COMMAND.fullmatch(question):
                say(out, "\n".join([_KEYS, *(f"{c}: {what}" for c, what in _COMMANDS.items())]))
            elif question:
                session.ask(question)
    if session.conversation.file and session.conversation.messages:
        say(out, f"Go on with it: langchain-glm chat --resume {session.conversation.id}")
    return ANSWERED
