"""The tools of a run: started, writing, ended, each once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage, ToolMessage

from langchain_glm.streaming.events import (
    AnyEvent,
    ToolFailed,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)

Namespace = tuple[str, ...]


class ToolRuns:
    """Follows the tools of a run.

    LangGraph tells of a tool that runs on its `tools` channel. Answers that no tool gave (a call
    that a person has refused, a tool that does not exist, a node that answers by itself) are only
    seen in the state.

    Args:
        arrived: Where the answers at the top of the graph are put that were told of.
    """

    def __init__(self, arrived: list[BaseMessage]) -> None:
        self._arrived = arrived
        self._running: dict[tuple[Namespace, str], str] = {}  # where, which call -> the tool's name
        self._told: list[tuple[Namespace, str]] = []  # of these the state has no answer yet
        self._known: dict[str | int, ToolMessage] = {}  # the answers in the state

    def read(self, namespace: Namespace, data: Mapping[str, Any]) -> list[AnyEvent]:
        """Take what the `tools` channel says."""
        read = _READERS.get(data["event"])
        return [read(self, namespace, data)] if read else []

    def progress(self, namespace: Namespace, data: Any) -> AnyEvent:
        """Take what was written with LangGraph's writer; it does not say by whom."""
        here = [(call, name) for (where, call), name in self._running.items() if where == namespace]
        call, name = here[0] if len(here) == 1 else (None, "")
        return ToolProgress(data, id=call, name=name, namespace=namespace)

    def know(self, messages: Iterable[BaseMessage]) -> None:
        """Take answers that are older than what is watched."""
        self._known |= {_key(m): m for m in messages if isinstance(m, ToolMessage)}

    def answer(self, namespace: Namespace, message: ToolMessage) -> list[AnyEvent]:
        """Take an answer that stands in the state."""
        if _key(message) in self._known:
            return []
        self._known[_key(message)] = message
        told = self._where_told(namespace, message.tool_call_id)
        if told is not None:
            self._told.remove((told, message.tool_call_id))
            return []
        return [self._answered(namespace, message, message.tool_call_id, message.name or "")]

    def _where_told(self, namespace: Namespace, call: str) -> Namespace | None:
        """Find where an answer was told of: here or, if its graph was left for this one, below."""
        told = (where for where, told in self._told if told == call)
        below = (where for where in told if where[: len(namespace)] == namespace)
        return min(below, key=len, default=None)

    def fail(self) -> list[AnyEvent]:
        """End the tools that still ran when the run failed."""
        events: list[AnyEvent] = [
            ToolFailed(
                "The run failed before the tool had ended.", id=call, name=name, namespace=ns
            )
            for (ns, call), name in self._running.items()
        ]
        self._running.clear()
        return events

    def _start(self, namespace: Namespace, data: Mapping[str, Any]) -> AnyEvent:
        call, name = data["tool_call_id"], data.get("tool_name") or ""
        self._running[namespace, call] = name
        return ToolStarted(data.get("input"), id=call, name=name, namespace=namespace)

    def _write(self, namespace: Namespace, data: Mapping[str, Any]) -> AnyEvent:
        call = data["tool_call_id"]
        name = self._running.get((namespace, call), "")
        return ToolProgress(data["delta"], id=call, name=name, namespace=namespace)

    def _finish(self, namespace: Namespace, data: Mapping[str, Any]) -> AnyEvent:
        call, output = data["tool_call_id"], data.get("output")
        name = self._running.pop((namespace, call), "")
        message = _answer_in(output, call)
        # LangGraph names a call without an id by the tool's run.
        self._told.append((namespace, message.tool_call_id if message else call))
        if message is None:
            return ToolFinished(output, id=call, name=name, namespace=namespace)
        return self._answered(namespace, message, call, name or message.name or "")

    def _break(self, namespace: Namespace, data: Mapping[str, Any]) -> AnyEvent:
        call = data["tool_call_id"]
        name = self._running.pop((namespace, call), "")
        self._told.append((namespace, call))
        error = data.get("message") or ""
        return ToolFailed(error, raised=True, id=call, name=name, namespace=namespace)

    def _answered(
        self, namespace: Namespace, message: ToolMessage, call: str, name: str
    ) -> AnyEvent:
        if not namespace:
            self._arrived.append(message)
        source: Any = {"id": call, "name": name, "namespace": namespace}
        if message.status == "error":
            return ToolFailed(message.text, **source)
        return ToolFinished(message.content, message.artifact, **source)


_READERS: Mapping[str, Any] = {
    "tool-started": ToolRuns._start,
    "tool-output-delta": ToolRuns._write,
    "tool-finished": ToolRuns._finish,
    "tool-error": ToolRuns._break,
}


def _key(message: ToolMessage) -> str | int:
    return message.id or id(message)


def _answer_in(output: Any, call: str) -> ToolMessage | None:
    """Find a call's answer in what a tool returned: the message, or a command that holds it."""
    if isinstance(output, ToolMessage):
        return output
    if isinstance(output, Mapping):
        output = output.get("messages")
    if isinstance(output, (list, tuple)):
        answers = (_answer_in(item, call) for item in output)
        return next((a for a in answers if a and a.tool_call_id == call), None)
    update = getattr(output, "update", None)  # LangGraph's Command
    return _answer_in(update, call) if isinstance(update, (Mapping, list, tuple)) else None
