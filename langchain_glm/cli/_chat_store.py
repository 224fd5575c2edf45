"""Conversations, each a file of JSON lines: what it is about, then a message on each line."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from langchain_core.messages import (
    BaseMessage,
    HumanMessage,
    message_to_dict,
    messages_from_dict,
)

from langchain_glm.streaming import complete_history

LAST = "last"
"""What `--resume` takes instead of an id."""

ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
"""When it began, in UTC, and a few characters against two in one second."""


@dataclass
class Conversation:
    """What was said, and the file that keeps it.

    Attributes:
        id: Its name, for `--resume`.
        file: Where it is kept, None for one that is not.
        messages: All of it, in a form that a model accepts.
    """

    id: str
    file: Path | None = None
    messages: list[BaseMessage] = field(default_factory=list)

    def add(self, messages: Sequence[BaseMessage]) -> None:
        """Add the messages of a turn, and keep them.

        Raises:
            OSError: They are added but cannot be kept.
        """
        self.messages += messages
        if self.file is None:
            return
        begins = [] if self.file.exists() else [{"conversation": self.id, "version": 1}]
        lines = [json.dumps(line) for line in (*begins, *map(message_to_dict, messages))]
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.file, "a", encoding="utf-8", opener=_private) as file:
            # A line that a crash left half begins no whole one.
            file.write("\n" * (not begins and not self._ends_well()) + "\n".join(lines) + "\n")

    def _ends_well(self) -> bool:
        return self.file is None or self.file.read_bytes()[-1:] in {b"\n", b""}


class Store:
    """The conversations in a folder.

    Args:
        folder: Where they are; it is made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, *, keep: bool = True) -> Conversation:
        """Begin a conversation; its file comes with the first messages."""
        now = datetime.now(timezone.utc)
        id_ = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        return Conversation(id_, self._file(id_) if keep else None)

    def resume(self, id_: str) -> Conversation:
        """Go on with a conversation.

        Args:
            id_: Its id, or `LAST` for the one that was last spoken in.

        Raises:
            LookupError: There is none; the text says what to do.
        """
        ids = self.ids()
        if not ids:
            msg = "There is no conversation to resume yet."
            raise LookupError(msg)
        id_ = ids[0] if id_ == LAST else id_
        if id_ not in ids:
            msg = f"There is no conversation {id_!r}. The last ones: {', '.join(ids[:3])}."
            raise LookupError(msg)
        return Conversation(id_, self._file(id_), complete_history(_messages(self._file(id_))))

    def ids(self) -> list[str]:
        """Name the conversations, the one that was last spoken in first."""
        files = [file for file in self._folder.glob("*.jsonl") if ID.fullmatch(file.stem)]
        return [file.stem for file in sorted(files, key=_last_change, reverse=True)]

    def topics(self) -> Iterator[tuple[str, str]]:
        """Give each conversation's id and its first question, for a list."""
        for id_ in self.ids():
            asked = (m.text for m in _messages(self._file(id_)) if isinstance(m, HumanMessage))
            yield id_, " ".join(next(asked, "").split())

    def _file(self, id_: str) -> Path:
        return self._folder / f"{id_}.jsonl"


def state_folder() -> Path:
    """Find the user's folder for what a program remembers (XDG's, Windows' own)."""
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        named = Path(os.environ.get(name, ""))
        if named.is_absolute():
            return named / "langchain-glm"
    return Path.home() / ".local" / "state" / "langchain-glm"


def users_store() -> Store:
    """Give the user's own conversations."""
    return Store(state_folder() / "conversations")


def _messages(file: Path) -> list[BaseMessage]:
    text = file.read_text(encoding="utf-8", errors="replace")
    return messages_from_dict([line for line in _lines(text.split("\n")) if "type" in line])


def _lines(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with suppress(ValueError):  # a crash in the middle of it
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


def _last_change(file: Path) -> tuple[int, str]:
    return file.stat().st_mtime_ns, file.stem


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
