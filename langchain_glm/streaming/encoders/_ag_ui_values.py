"""What stands in AG-UI's events, made of what ours hold: content, metadata, owners, interrupts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ag_ui import core

from langchain_glm._surrogates import joined
from langchain_glm.streaming import events as ev
from langchain_glm.streaming._json import to_json
from langchain_glm.streaming.encoders._wire import Block, Call, Ids, Kind, as_text

_METADATA = "langchain"
# The reason that AG-UI's own LangGraph integration gives, where the interrupt names none.
_INTERRUPTED = "langgraph:interrupt"

CONTENT: dict[Kind, Any] = {
    "text": core.TextMessageContentEvent,
    "reasoning": core.ReasoningMessageContentEvent,
}
"""The event of a fragment of each kind."""


def block_begun(block: Block, origin: ev.Event) -> Iterator[core.BaseEvent]:
    """Give what begins a block of text or reasoning."""
    about = {"message_id": block.id, **owner_of(origin)}
    if block.kind == "text":
        yield core.TextMessageStartEvent(role="assistant", metadata=origin_of(origin), **about)
    else:
        yield core.ReasoningStartEvent(**about)
        yield core.ReasoningMessageStartEvent(role="reasoning", metadata=origin_of(origin), **about)


def block_ended(
    block: Block, origin: ev.Event, said: dict[str, Any] | None
) -> Iterator[core.BaseEvent]:
    """Give what ends it, with `said` as metadata."""
    about = {"message_id": block.id, **owner_of(origin)}
    if block.kind == "text":
        yield core.TextMessageEndEvent(metadata=said, **about)
    else:
        yield core.ReasoningMessageEndEvent(metadata=said, **about)
        yield core.ReasoningEndEvent(**about)


def owner_of(event: ev.Event) -> dict[str, Any]:
    """Give the field that names the subgraph of an event, if it is of one."""
    return {"subagent_run_id": "|".join(event.namespace)} if event.namespace else {}


def origin_of(event: ev.Event) -> dict[str, Any] | None:
    """Say of what a subgraph does where it comes from."""
    if not event.namespace:
        return None
    return metadata_of({"namespace": list(event.namespace), "node": event.node})


def metadata_of(said: dict[str, Any]) -> dict[str, Any] | None:
    """Give what is known of `said` under our name, None where nothing is."""
    known = {key: value for key, value in said.items() if value is not None}
    return {_METADATA: known} if known else None


def arguments_of(call: Call, text: str) -> core.BaseEvent:
    """Give a fragment of the arguments of a call."""
    return core.ToolCallArgsEvent(tool_call_id=call.id, delta=joined(text), **owner_of(call.origin))


def as_content(content: Any) -> str:
    """Give a tool's result as text: the protocol has structured data serialised into it."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content and all(_is_text(block) for block in content):
        return "".join(block if isinstance(block, str) else block["text"] for block in content)
    return as_text(to_json(content))


def as_value(value: Any) -> Any:
    """Give anything as JSON values, in characters that UTF-8 has."""
    return json.loads(as_text(to_json(value)))


def _is_text(block: Any) -> bool:
    if isinstance(block, dict):
        return block.get("type") == "text" and isinstance(block.get("text"), str)
    return isinstance(block, str)


def interrupt_of(item: Any, ids: Ids) -> core.Interrupt:
    """Give LangGraph's interrupt as AG-UI's, its value read as AG-UI's own integration does."""
    value = getattr(item, "value", None)
    asked = value if isinstance(value, dict) else {}
    named = {name: asked[name] for name in ("message", "tool_call_id") if _is_name(asked, name)}
    if isinstance(value, str):
        named["message"] = joined(value)
    reason = asked["reason"] if _is_name(asked, "reason") else _INTERRUPTED
    return core.Interrupt(
        id=getattr(item, "id", None) or ids.take(),
        reason=reason,
        metadata={_METADATA: {"value": as_value(value)}},
        **named,
    )


def _is_name(asked: dict[str, Any], name: str) -> bool:
    return isinstance(asked.get(name), str)


def code_of(error: BaseException) -> str:
    """Give the code of an error, else the name of its class."""
    code = getattr(error, "code", None)
    return str(code) if isinstance(code, (str, int)) and code else type(error).__name__
