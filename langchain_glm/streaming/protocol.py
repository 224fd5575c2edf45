"""What LangGraph's v3 stream says of models' messages becomes events of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import AIMessage

from langchain_glm._calls import Calls, Verdict
from langchain_glm.streaming.events import AnyEvent, ReasoningDelta, TextDelta
from langchain_glm.streaming.merge import finish_reason, judge, settle
from langchain_glm.streaming.tool_calls import ToolCallParser, TypedCalls, message_finished

Namespace = tuple[str, ...]


class MessageReader:
    """Makes events of the `messages` channel of a run: of all the messages that models write.

    `feed` it each payload; several models may write at the same time. `close` it at the end.
    """

    def __init__(self) -> None:
        self._open: dict[str, ProtocolParser] = {}  # by the id of the model's run

    def feed(self, namespace: Namespace, data: Any) -> list[AnyEvent]:
        """Take a payload of the channel: a protocol event or a whole message, and its metadata.

        Returns:
            Events of one message, in its order; a `MessageFinished` is the last of them.
        """
        message, metadata = data
        node = metadata.get("langgraph_node")
        if isinstance(message, Mapping):
            return self._read_event(namespace, node, run_of(metadata), message)
        if not isinstance(message, AIMessage):
            return []
        parser = ToolCallParser(namespace=namespace, node=node)  # its model does not stream
        return [*parser.feed(message), *parser.close()]

    def close(self, namespace: Namespace | None = None) -> dict[str, list[AnyEvent]]:
        """End what is open, in one graph or in all: it has broken off.

        Returns:
            The ends of the calls that were open, by the model's run (see `run_of`).
        """
        runs = [
            run
            for run, parser in self._open.items()
            if namespace is None or parser.namespace == namespace
        ]
        return {run: self._open.pop(run).close() for run in runs}

    def _read_event(
        self, namespace: Namespace, node: str | None, run: str, event: Mapping[str, Any]
    ) -> list[AnyEvent]:
        if event["event"] == "message-start" and event.get("role") == "ai":
            self._open[run] = ProtocolParser(namespace=namespace, node=node)
        parser = self._open.get(run)
        if parser is None:
            return []
        events = parser.feed(event)
        if parser.is_finished:
            del self._open[run]
        return events


def run_of(metadata: Mapping[str, Any]) -> str:
    """Name the model's run that a payload of the `messages` channel belongs to."""
    return str(metadata.get("run_id"))


class ProtocolParser:
    """Makes events of the protocol events of one message: `feed` it each, `close` it at the end.

    Args:
        namespace: The path of the subgraph that the message is written in.
        node: The node of the graph.

    Attributes:
        namespace: The same.
        is_finished: Whether the message has ended.
    """

    def __init__(self, *, namespace: Namespace = (), node: str | None = None) -> None:
        self.namespace = namespace
        self.is_finished: bool = False
        self._calls = Calls()
        self._typed = TypedCalls(self._calls, {"namespace": namespace, "node": node})
        # Core puts the message together, of the whole blocks alone: it needs no deltas.
        self._message = ChatModelStream()
        self._said: set[int] = set()  # the blocks of which deltas came
        self._refusals: dict[int, str] = {}  # why the model's own class refuses a call

    def feed(self, event: Mapping[str, Any]) -> list[AnyEvent]:
        """Take a protocol event."""
        read = _READERS.get(event["event"])
        return read(self, event) if read else []

    def close(self) -> list[AnyEvent]:
        """End what is open: the message has broken off."""
        if self.is_finished:
            return []
        self.is_finished = True
        return self._typed.break_off()

    def _read_start(self, event: Mapping[str, Any]) -> list[AnyEvent]:
        self._message.dispatch(event)
        self._typed.source["message_id"] = event.get("id") or None
        return []

    def _read_block_start(self, event: Mapping[str, Any]) -> list[AnyEvent]:
        block = event["content"]
        if block["type"] != "tool_call_chunk":
            return []
        return self._take_call(event["index"], block)

    def _read_delta(self, event: Mapping[str, Any]) -> list[AnyEvent]:
        delta, index = event["delta"], event["index"]
        part = _PARTS.get(delta["type"])
        if part:
            field, make = part
            self._said.add(index)
            return [make(delta[field], **self._typed.source)] if delta[field] else []
        if delta["type"] == "tool-call-delta" and self._calls.at(index):
            return self._take_call(index, delta)
        return []

    def _read_block_finish(self, event: Mapping[str, Any]) -> list[AnyEvent]:
        self._message.dispatch(event)
        block, index = event["content"], event["index"]
        if block["type"] in {"tool_call", "invalid_tool_call"}:
            return self._finish_call(index, block)
        part = _PARTS.get(f"{block['type']}-delta")
        if part is None or index in self._said:
            return []
        field, make = part  # a block that came whole
        return [make(block[field], **self._typed.source)] if block.get(field) else []

    def _finish_call(self, index: int, block: Mapping[str, Any]) -> list[AnyEvent]:
        known = self._calls.at(index)
        if known is None:
            events = self._take_call(index, block)  # a call that came whole
        elif known.is_blank:
            events = self._take_call(index, {**block, "name": ""})
        else:
            late_id = block.get("id") if known.id is None else None
            events = self._take_call(index, {"id": late_id})
        call = self._calls.at(index)
        if call and block["type"] == "invalid_tool_call":
            self._refusals[call.index] = block.get("error") or "The call is invalid."
        return events

    def _read_finish(self, event: Mapping[str, Any]) -> list[AnyEvent]:
        self._message.dispatch(event)
        self.is_finished = True
        message = self._message.output
        judged = judge(self._calls, finish_reason(message))
        verdicts = [self._refuse(verdict) for verdict in judged]
        settle(message, verdicts)
        return [*self._typed.end(verdicts), message_finished(message, self._typed.source)]

    def _refuse(self, verdict: Verdict) -> Verdict:
        error = self._refusals.get(verdict.call.index)
        if error is None:
            return verdict
        return Verdict(verdict.call, {}, error, verdict.reason or "invalid_json")

    def _take_call(self, index: int, block: Mapping[str, Any]) -> list[AnyEvent]:
        arguments = block.get("args") or ""
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        delta = self._calls.take(index, block.get("id") or None, block.get("name") or "", arguments)
        return self._typed.type(delta) if delta else []


_PARTS: Mapping[str, tuple[str, Any]] = {
    "text-delta": ("text", TextDelta),
    "reasoning-delta": ("reasoning", ReasoningDelta),
}
_READERS: Mapping[str, Any] = {
    "message-start": ProtocolParser._read_start,
    "content-block-start": ProtocolParser._read_block_start,
    "content-block-delta": ProtocolParser._read_delta,
    "content-block-finish": ProtocolParser._read_block_finish,
    "message-finish": ProtocolParser._read_finish,
    "error": lambda parser, _event: parser.close(),
}
