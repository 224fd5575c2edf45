"""Watch a model write and an agent work.

For any LangChain chat model: `tool_call_events`, `atool_call_events` (or `ToolCallParser`), and
`collect`, `acollect`. For any LangGraph agent or graph (extra `langgraph`): `stream_agent`,
`astream_agent`, `ToolInputTransformer`. What they give are the events of `streaming.events`; on
their way to a user, `watch` shows a tool its own arguments, `redacted` hides what is said,
`debounce` merges deltas for slow readers, and `streaming.encoders` write them for browsers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_glm._stopping import StopSignal
from langchain_glm.streaming.debouncing import adebounce, debounce
from langchain_glm.streaming.events import (
    AnyCallEvent,
    AnyEvent,
    ArgumentDelta,
    ArgumentFinished,
    ArgumentStarted,
    CallEvent,
    Event,
    MessageFinished,
    ReasoningDelta,
    RunFailed,
    RunFinished,
    RunInterrupted,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallInvalid,
    ToolCallStarted,
    ToolEvent,
    ToolFailed,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from langchain_glm.streaming.history import complete_history
from langchain_glm.streaming.merge import acollect, collect
from langchain_glm.streaming.redaction import aredacted, redact, redacted
from langchain_glm.streaming.schema import event_schema
from langchain_glm.streaming.tool_calls import ToolCallParser, atool_call_events, tool_call_events
from langchain_glm.streaming.watchers import awatch, watch

if TYPE_CHECKING:
    from langchain_glm.streaming.agent import astream_agent, stream_agent
    from langchain_glm.streaming.transformer import ToolInputStream, ToolInputTransformer

__all__ = [
    "AnyCallEvent",
    "AnyEvent",
    "ArgumentDelta",
    "ArgumentFinished",
    "ArgumentStarted",
    "CallEvent",
    "Event",
    "MessageFinished",
    "ReasoningDelta",
    "RunFailed",
    "RunFinished",
    "RunInterrupted",
    "StopSignal",
    "TextDelta",
    "ToolCallDelta",
    "ToolCallFinished",
    "ToolCallInvalid",
    "ToolCallParser",
    "ToolCallStarted",
    "ToolEvent",
    "ToolFailed",
    "ToolFinished",
    "ToolInputStream",
    "ToolInputTransformer",
    "ToolProgress",
    "ToolStarted",
    "acollect",
    "adebounce",
    "aredacted",
    "astream_agent",
    "atool_call_events",
    "awatch",
    "collect",
    "complete_history",
    "debounce",
    "event_schema",
    "redact",
    "redacted",
    "stream_agent",
    "tool_call_events",
    "watch",
]

# These need LangGraph, which the rest does without.
_OF_LANGGRAPH = {
    "ToolInputStream": "langchain_glm.streaming.transformer",
    "ToolInputTransformer": "langchain_glm.streaming.transformer",
    "astream_agent": "langchain_glm.streaming.agent",
    "stream_agent": "langchain_glm.streaming.agent",
}

if not TYPE_CHECKING:  # a type checker would take any name for one of this module

    def __getattr__(name: str) -> Any:
        if name in _OF_LANGGRAPH:
            return getattr(import_module(_OF_LANGGRAPH[name]), name)
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)


def __dir__() -> list[str]:
    return __all__
