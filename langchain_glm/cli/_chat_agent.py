"""The agent that `chat` talks to, and what a turn adds to the conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, HumanInTheLoopMiddleware, InterruptOnConfig
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_glm._stopping import StopSignal
from langchain_glm.chat_models import ChatGLM
from langchain_glm.cli._chat_tools import WRITES, Folder
from langchain_glm.middleware import ContinueCutCalls
from langchain_glm.streaming import (
    Event,
    MessageFinished,
    RunFailed,
    RunFinished,
    RunInterrupted,
    TextDelta,
    ToolFailed,
    ToolFinished,
    complete_history,
    stream_agent,
)

_MOST_STEPS = 200
_ASK = InterruptOnConfig(allowed_decisions=["approve", "edit", "reject"])
_WORK = (
    "You work in a folder of the user's, with tools that read, list, search and write text files "
    "in it. Paths are relative to that folder."
)


class Agent:
    """A model with its tools.

    Args:
        model: The model.
        folder: Where its tools work; None for no tools.
        asks: Whether a run waits for a person before it writes.
    """

    def __init__(self, model: ChatGLM, folder: Folder | None, *, asks: bool) -> None:
        self._checkpoints = InMemorySaver()  # a run that waits for a person stands in it
        review: AgentMiddleware[Any, Any, Any] = HumanInTheLoopMiddleware(
            dict.fromkeys(WRITES, _ASK) if asks else {}
        )
        middleware: list[AgentMiddleware[Any, Any, Any]] = [ContinueCutCalls(), review]
        self._graph: Any = create_agent(
            model,
            folder.tools() if folder else [],
            system_prompt=_WORK if folder else None,
            middleware=middleware,
            checkpointer=self._checkpoints,
        )

    def begin_turn(self) -> str:
        """Give a turn its name."""
        return uuid4().hex

    def end_turn(self, turn: str) -> None:
        """Forget a turn: the conversation is kept elsewhere."""
        self._checkpoints.delete_thread(turn)

    def runs(self, turn: str, given: Any) -> Callable[[StopSignal], Iterable[Event]]:
        """Give what begins a run of the turn.

        Args:
            turn: From `begin_turn`.
            given: The agent's input, or a `Command` that resumes it.
        """
        return lambda stop: stream_agent(
            self._graph,
            given,
            {
                "configurable": {"thread_id": turn},
                "callbacks": [stop],
                "recursion_limit": _MOST_STEPS,
            },
        )


@dataclass
class Turn:
    """What a turn adds to the conversation, also one that was stopped in the middle.

    Attributes:
        question: What was asked.
        last: The event that ended the last run; None where it was stopped.
        finish_reason: Why the last message ended, by the server's word.
    """

    question: str
    last: Event | None = None
    finish_reason: str | None = None
    _done: list[BaseMessage] = field(default_factory=list)  # of runs that have ended
    _seen: list[BaseMessage] = field(default_factory=list)  # of the one that goes on
    _text: str = ""  # of the message that is being written

    def feed(self, event: Event) -> None:
        """Take the next event."""
        self.last = None
        read = _READERS.get(type(event))
        if read and not event.namespace:
            read(self, event)

    def messages(self) -> Sequence[BaseMessage]:
        """Give the question and what followed, as a model accepts it; nothing where nothing did."""
        partial = [AIMessage(self._text)] if self._text else []
        followed = complete_history([*self._done, *self._seen, *partial])
        return [HumanMessage(self.question), *followed] if followed else []

    def _read_text(self, event: TextDelta) -> None:
        self._text += event.text

    def _read_message(self, event: MessageFinished) -> None:
        self._text = ""
        self._seen.append(event.message)
        self.finish_reason = event.finish_reason

    def _read_result(self, event: ToolFinished | ToolFailed) -> None:
        failed = isinstance(event, ToolFailed)
        content = event.error if isinstance(event, ToolFailed) else event.content
        self._seen.append(
            ToolMessage(
                content,
                tool_call_id=event.id or "",
                name=event.name,
                status="error" if failed else "success",
            )
        )

    def _read_end(self, event: RunFinished | RunInterrupted | RunFailed) -> None:
        self.last = event
        self._done += event.messages
        self._seen, self._text = [], ""


_READERS: dict[type[Event], Any] = {
    TextDelta: Turn._read_text,
    MessageFinished: Turn._read_message,
    ToolFinished: Turn._read_result,
    ToolFailed: Turn._read_result,
    RunFinished: Turn._read_end,
    RunInterrupted: Turn._read_end,
    RunFailed: Turn._read_end,
}
