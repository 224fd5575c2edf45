"""Events on the wire: one room for each protocol.

`sse` has this package's own events for server-sent events and WebSockets, `vercel` the Vercel AI
SDK's UI message stream, `ag_ui` the AG-UI protocol (extra `ag-ui`, imported when it is asked for).
`redacted` and `debounce` of `langchain_glm.streaming` go before any of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_glm.streaming.encoders import sse, vercel

if TYPE_CHECKING:
    from langchain_glm.streaming.encoders import ag_ui

__all__ = ["ag_ui", "sse", "vercel"]

if not TYPE_CHECKING:  # a type checker would take any name for one of this module

    def __getattr__(name: str) -> Any:
        if name == "ag_ui":
            return import_module("langchain_glm.streaming.encoders.ag_ui")
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
