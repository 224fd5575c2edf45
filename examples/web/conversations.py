"""Conversations, and the run that each may have: started, watched, stopped, settled.

A run belongs to its conversation, not to a connection: a page that is reloaded comes back to it.
It is stopped when somebody says so, or when nobody has watched it for a while. However it ends,
the history that it leaves is one that a model accepts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiosqlite
from agent_tools import INSTRUCTIONS, TOOLS, Workplace
from langchain.agents import create_agent
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMError
from langchain_glm.middleware import ContinueCutCalls
from langchain_glm.streaming import (
    Event,
    MessageFinished,
    ReasoningDelta,
    RunFailed,
    RunFinished,
    RunInterrupted,
    TextDelta,
    ToolCallDelta,
    adebounce,
    astream_agent,
    complete_history,
)

_LOG = logging.getLogger("glm.web")
_LAST = (RunFinished, RunInterrupted, RunFailed)

_TABLES = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, touched REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS turns (
    conversation TEXT NOT NULL, id TEXT NOT NULL, status TEXT NOT NULL, seconds REAL NOT NULL,
    error TEXT, PRIMARY KEY (conversation, id)
);
"""


class BusyError(Exception):
    """The conversation's run has not ended."""


@dataclass(frozen=True)
class Order:
    """What a client wants of a conversation.

    Attributes:
        message: What the user says; empty where `answers` go to a run that waits.
        answers: By the id of the interrupt, "allow" or "refuse".
        ask: Whether the user is asked before a file is written.
    """

    message: str = ""
    answers: Mapping[str, str] | None = None
    ask: bool = False


class Run:
    """One run at work: it keeps its events, for as many readers as there are.

    Args:
        events: What it does. Closed when the run is stopped.
        turn: The id of the user's message that it answers.
        shown: The messages that were there when it began.
        settle: Called at its end, before the readers see that it is over.
        linger: Seconds without a reader after which it is stopped.
    """

    def __init__(
        self,
        events: AsyncGenerator[Event, None],
        *,
        turn: str,
        shown: Sequence[BaseMessage],
        settle: Callable[[Run], Coroutine[Any, Any, None]],
        linger: float,
    ) -> None:
        self.turn = turn
        self.shown = shown
        self.arrived = Arrived()
        self.last: Event | None = None
        self.started = time.monotonic()
        self._settle = settle
        self._linger = linger
        self._events: list[Event] = []
        self._changed = asyncio.Event()
        self._readers = 0
        self._reading = asyncio.create_task(self._read(events))
        self._ending = asyncio.create_task(self._end())
        # A client may have left before it reads the first event.
        self._leaving = self._stop_in(max(linger, 5.0))

    @property
    def is_over(self) -> bool:
        """Whether it has ended and is settled."""
        return self._ending.done()

    async def after(self, seen: int = 0) -> AsyncGenerator[Event, None]:
        """Give the events after the first `seen`, then those to come, until the run is over."""
        self._readers += 1
        self._leaving.cancel()
        try:
            while seen < len(self._events) or not self.is_over:
                if seen < len(self._events):
                    seen += 1
                    yield self._events[seen - 1]
                else:
                    await self._changed.wait()
        finally:
            self._readers -= 1
            if not self._readers and not self.is_over:
                self._leaving = self._stop_in(self._linger)

    async def stop(self) -> None:
        """Stop it: its connection to the model is closed at once."""
        self._reading.cancel()
        await self.wait()

    async def wait(self) -> None:
        """Wait until it is over."""
        await asyncio.wait([self._ending])

    def _stop_in(self, seconds: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._reading.cancel)

    async def _read(self, events: AsyncGenerator[Event, None]) -> None:
        async with aclosing(adebounce(events, 0.03)) as source:
            async for event in source:
                self.arrived.add(event)
                # The raw fragments and the whole state would double what goes over the wire.
                if not isinstance(event, ToolCallDelta):
                    self._publish(_slim(event))

    def _publish(self, event: Event) -> None:
        self.last = event if isinstance(event, _LAST) else None
        self._events.append(event)
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _end(self) -> None:
        await asyncio.wait([self._reading])
        error = None if self._reading.cancelled() else self._reading.exception()
        if error is not None and not isinstance(error, GLMError):
            _LOG.error("A run failed.", exc_info=error)
        try:
            await self._settle(self)
        except Exception:  # noqa: BLE001 - the readers have to see the end
            _LOG.exception("What a run left could not be saved.")
        asyncio.get_running_loop().call_soon(self._wake)  # after this task is done


class Arrived:
    """What the model has said, so that nothing is lost with the step that a run stops in.

    The answers of tools need not be kept: LangGraph saves each as soon as it is there.
    """

    def __init__(self) -> None:
        self._messages: list[BaseMessage] = []
        self._text = ""
        self._reasoning = ""

    def add(self, event: Event) -> None:
        """Take an event; what subgraphs say is their own."""
        match event:
            case TextDelta(text, namespace=()):
                self._text += text
            case ReasoningDelta(text, namespace=()):
                self._reasoning += text
            case MessageFinished(message, namespace=()):
                self._messages.append(message)
                self._text = self._reasoning = ""

    def added_to(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        """Add to a history what it does not have yet."""
        known = {message.id for message in messages}
        new = [message for message in self._messages if message.id not in known]
        if self._text:
            thought = {"reasoning_content": self._reasoning} if self._reasoning else {}
            new.append(AIMessage(self._text, additional_kwargs=thought, id=str(uuid4())))
        return [*messages, *new]


class Conversations:
    """All conversations of this server; `open_conversations` makes it."""

    def __init__(
        self, agent: Any, saver: AsyncSqliteSaver, folder: Path, *, tool_pace: float, linger: float
    ) -> None:
        self._agent = agent
        self._saver = saver
        self._folder = folder
        self._tool_pace = tool_pace
        self._linger = linger
        self._runs: dict[str, Run] = {}
        self._starting = asyncio.Lock()
        self._is_closed = False

    async def start(self, name: str, order: Order, *, linger: float | None = None) -> Run:
        """Start a run.

        Args:
            name: The conversation; a new name is a new one.
            order: What it is to do.
            linger: Seconds without a reader after which it is stopped, instead of the usual ones.

        Raises:
            BusyError: The conversation has one.
        """
        async with self._starting:
            before = self._runs.get(name)
            is_busy = before is not None and before.last is None and not before.is_over
            if is_busy or self._is_closed:
                raise BusyError
            if before is not None:
                await before.wait()
            self._runs[name] = run = await self._begin(name, order, linger)
            return run

    def run_of(self, name: str) -> Run | None:
        """Give the run that is at work."""
        run = self._runs.get(name)
        return None if run is None or run.is_over else run

    async def stop(self, name: str) -> None:
        """Stop the run that is at work, if there is one."""
        run = self.run_of(name)
        if run is not None:
            await run.stop()

    async def close(self) -> None:
        """Stop all runs, and start no more."""
        async with self._starting:
            self._is_closed = True
        for name in list(self._runs):
            await self.stop(name)

    async def titles(self) -> list[dict[str, Any]]:
        """List the conversations, the newest first."""
        rows = await self._ask("SELECT id, title FROM conversations ORDER BY touched DESC")
        return [{"id": name, "title": title} for name, title in rows]

    async def show(self, name: str) -> dict[str, Any]:
        """Give a conversation as JSON: what was said, how each turn ended, what is waited for."""
        run = self.run_of(name)
        state = await self._agent.aget_state(_config(name))
        messages = state.values.get("messages", []) if run is None else run.shown
        waiting = state.interrupts if run is None else ()
        rows = await self._ask(
            "SELECT id, status, seconds, error FROM turns WHERE conversation = ? ORDER BY rowid",
            name,
        )
        return {
            "messages": [shown for message in messages for shown in _shown(message)],
            "turns": {
                turn: {"status": status, "seconds": seconds, "error": json.loads(error or "null")}
                for turn, status, seconds, error in rows
            },
            "waiting": [{"id": asked.id, "value": asked.value} for asked in waiting],
            "running": run is not None,
            "seconds": 0 if run is None else time.monotonic() - run.started,
        }

    async def delete(self, name: str) -> None:
        """Forget a conversation; its files stay."""
        await self.stop(name)
        self._runs.pop(name, None)
        await self._saver.adelete_thread(name)
        await self._ask("DELETE FROM turns WHERE conversation = ?", name)
        await self._ask("DELETE FROM conversations WHERE id = ?", name)

    async def _begin(self, name: str, order: Order, linger: float | None) -> Run:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        state = await self._agent.aget_state(_config(name))
        messages: list[BaseMessage] = state.values.get("messages", [])
        given: Any
        if order.answers:
            given = Command(resume=dict(order.answers))
            turn = next((m.id or "" for m in reversed(messages) if m.type == "human"), "")
        else:
            said = HumanMessage(order.message, id=str(uuid4()))
            turn, messages = str(said.id), [*complete_history(messages), said]
            given = {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), *messages]}
            await self._touch(name, order.message)
        # Who answers was asked: the tool has to ask again to be told.
        place = Workplace(folder, ask=order.ask or bool(order.answers), pace=self._tool_pace)
        return Run(
            astream_agent(self._agent, given, _config(name), context=place),
            turn=turn,
            shown=messages,
            settle=lambda run: self._settle(name, run),
            linger=self._linger if linger is None else linger,
        )

    async def _settle(self, name: str, run: Run) -> None:
        if not isinstance(run.last, (RunFinished, RunInterrupted)):
            state = await self._agent.aget_state(_config(name))
            messages = state.values.get("messages") or run.shown
            history = complete_history(run.arrived.added_to(messages))
            whole = {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), *history]}
            await self._agent.aupdate_state(_config(name), whole, as_node="__start__")
        error = run.last.to_dict()["error"] if isinstance(run.last, RunFailed) else None
        await self._ask(
            "INSERT INTO turns VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "status = excluded.status, error = excluded.error, "
            "seconds = seconds + excluded.seconds",
            *(name, run.turn, run.last.type if run.last else "stopped"),
            *(time.monotonic() - run.started, error and json.dumps(error)),
        )

    async def _touch(self, name: str, message: str) -> None:
        title = " ".join(message.split())[:80]
        await self._ask(
            "INSERT INTO conversations VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET touched = excluded.touched",
            *(name, title, time.time()),
        )

    async def _ask(self, question: str, *values: Any) -> list[Any]:
        # The saver's own connection, and its lock: it commits what it writes in several steps.
        async with self._saver.lock, self._saver.conn.execute(question, values) as cursor:
            rows = await cursor.fetchall()
            await self._saver.conn.commit()
        return list(rows)


@asynccontextmanager
async def open_conversations(
    model: ChatGLM, data: Path, *, tool_pace: float = 0.0, linger: float = 30.0
) -> AsyncIterator[Conversations]:
    """Open the conversations that are kept in a folder; at the end their runs are stopped.

    Args:
        model: The model of the agent.
        data: The folder, made where it does not exist.
        tool_pace: The `pace` of its `Workplace`.
        linger: See `Run`.
    """
    async with aiosqlite.connect(_made(data) / "conversations.sqlite") as connection:
        saver = AsyncSqliteSaver(connection)
        await saver.setup()
        await connection.execute("PRAGMA synchronous = NORMAL")  # whole with its WAL, and fast
        await connection.executescript(_TABLES)
        agent = create_agent(
            model,
            list(TOOLS),
            system_prompt=INSTRUCTIONS,
            middleware=[ContinueCutCalls()],
            context_schema=Workplace,
            checkpointer=saver,
        )
        conversations = Conversations(
            agent, saver, data / "files", tool_pace=tool_pace, linger=linger
        )
        try:
            yield conversations
        finally:
            await conversations.close()


def _made(data: Path) -> Path:
    data.mkdir(parents=True, exist_ok=True)
    (data / ".gitignore").write_text("*\n", encoding="utf-8")
    return data


def _config(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


def _slim(event: Event) -> Event:
    """Leave out what a page has no use for, or may not see."""
    if isinstance(event, (RunFinished, RunInterrupted)):
        return replace(event, output=None, messages=())
    if isinstance(event, RunFailed):
        # GLM's errors say what to do, and hold no key; any other may hold anything.
        known = isinstance(event.error, GLMError)
        hidden = RuntimeError("The run failed. The server's log says why.")
        return replace(event, error=event.error if known else hidden, messages=())
    return event


def _shown(message: BaseMessage) -> list[dict[str, Any]]:
    """Give what a page shows of a message."""
    match message:
        case HumanMessage():
            return [{"type": "human", "id": message.id, "text": message.text}]
        case AIMessage():
            reasoning = message.additional_kwargs.get("reasoning_content", "")
            said = {"id": message.id, "text": message.text, "reasoning": reasoning}
            calls = [
                {"id": call["id"], "name": call["name"], "arguments": call["args"]}
                for call in message.tool_calls
            ]
            return [{"type": "ai", **said, "calls": calls, "usage": message.usage_metadata}]
        case ToolMessage():
            failed = message.status == "error"
            said = {"type": "tool", "id": message.tool_call_id, "name": message.name}
            return [{**said, "content": message.text, "failed": failed}]
    return []
