"""Events on the wire: one room for each protocol.

`sse` has this package's own events for server-sent events and WebSockets, `vercel` the Vercel AI
SDK's UI message stream, `ag_ui` the AG-UI protocol (it needs the extra `ag-ui`, so it is imported
by name). `redact` and `debounce` of `langchain_glm.streaming` go before any of them.
"""

from langchain_glm.streaming.encoders import sse

__all__ = ["sse"]
