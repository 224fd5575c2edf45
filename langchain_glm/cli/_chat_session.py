"""A conversation: questions in, turns shown, kept and answered for with an exit status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.types import Command
from rich.console import Console

from langchain_glm.cli._chat_agent import Agent, Turn
from langchain_glm.cli._chat_run import Line, Run
from langchain_glm.cli._chat_show import Show
from langchain_glm.cli._chat_store import Conversation
from langchain_glm.cli._live import say
from langchain_glm.cli._report import error_line
from langchain_glm.streaming import RunInterrupted

ANSWERED = 0
CUT = 1
FAILED = 2
STOPPED = 130

Decide = Callable[[Mapping[str, Any]], dict[str, Any]]

_WHOLE = frozenset({None, "", "stop", "tool_calls"})
_REFUSED = {
    "type": "reject",
    "message": "Nobody is there to allow it. The user can run the command with --yes.",
}


@dataclass
class Session:
    """What all turns have in common.

    Attributes:
        agent: Whom to ask.
        line: The agent's connections.
        conversation: What was said.
        show: Makes what shows a turn.
        decide: Asks a person about a call; None where none is there.
        messages: Where errors are said.
        secret: The key, which no error may show.
    """

    agent: Agent
    line: Line
    conversation: Conversation
    show: Callable[[], Show]
    decide: Decide | None
    messages: Console
    secret: str

    def ask(self, question: str) -> int:
        """Take a turn, and keep what it adds.

        Returns:
            `ANSWERED`, `CUT`, `FAILED` or `STOPPED`.
        """
        turn, name = Turn(question), self.agent.begin_turn()
        try:
            status = self._answer(turn, name)
        except KeyboardInterrupt:  # while a person was asked
            status = STOPPED
        except BrokenPipeError:  # who read stdout has gone
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the conversation goes on
            self._say(str(error) or type(error).__name__)
            status = FAILED
        finally:
            self.agent.end_turn(name)
            self._keep(turn)
        return status

    def _answer(self, turn: Turn, name: str) -> int:
        asked = HumanMessage(turn.question)
        given: Any = {"messages": [*self.conversation.messages, asked]}
        show = self.show()
        while given is not None:
            if not self._run(turn, self.agent.runs(name, given), show):
                return STOPPED
            given = self._decided(turn.last) if isinstance(turn.last, RunInterrupted) else None
        if turn.finish_reason in _WHOLE:
            return ANSWERED
        self._say(f"the answer is not whole (finish_reason {turn.finish_reason!r}).")
        return CUT

    def _run(self, turn: Turn, begin: Any, show: Show) -> bool:
        """Show a run; whether it came to its end."""
        with show.run() as see, Run(begin, self.line) as run:
            for event in run:
                if event is not None:
                    turn.feed(event)
                see(event)
        return not run.was_stopped

    def _decided(self, event: RunInterrupted) -> Command[Any]:
        decide = self.decide or (lambda _: _REFUSED)
        return Command(
            resume={
                interrupt.id: {"decisions": [decide(r) for r in interrupt.value["action_requests"]]}
                for interrupt in event.interrupts
            }
        )

    def _keep(self, turn: Turn) -> None:
        try:
            self.conversation.add(turn.messages())
        except OSError as error:
            self.conversation.file = None  # once is enough
            self._say(f"this conversation cannot be saved: {error.strerror}.")

    def _say(self, line: str) -> None:
        say(self.messages, error_line(f"langchain-glm: {line}", self.secret))
