"""What is needed of LangGraph, or an error that says so."""

from __future__ import annotations

from importlib.metadata import version

from packaging.version import Version

# v3 streams begin with 1.2.0. There `abort()` leaves a run that waits for its model alone (until
# 1.2.6), and a tool that asks a person is told of as one that failed (until 1.2.19).
_NEEDED = "1.2.19"

try:
    from langgraph.stream import StreamChannel, StreamTransformer

    _found = version("langgraph")
    if Version(_found) < Version(_NEEDED):
        msg = f"LangGraph is {_found}"
        raise ImportError(msg)  # noqa: TRY301 - said below, as for one without `langgraph.stream`
except ImportError as error:
    msg = (
        f"Streams of agents need LangGraph {_NEEDED} or newer, for its v3 event streams: "
        'pip install "langchain-glm-zai[langgraph]"'
    )
    raise ImportError(msg) from error

__all__ = ["StreamChannel", "StreamTransformer"]
