"""Models that a node streams by itself.

LangGraph's v3 stream shows a model live that a node invokes. Of one whose `stream` a node reads it
has only the whole message. A `FragmentWriter` among the callbacks of a run writes its chunks to
LangGraph's `custom` channel.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langgraph.config import get_stream_writer
from langgraph.constants import TAG_NOSTREAM


class Fragment(NamedTuple):
    """A chunk of a model's run in a node; without one, the stream has broken off."""

    run: UUID
    node: str | None
    chunk: AIMessageChunk | None


class FragmentWriter(BaseCallbackHandler):
    """Writes the chunks of models that LangGraph does not show live."""

    run_inline = True

    def __init__(self) -> None:
        # Of each run the chunks that are held back. A model that LangGraph shows live gives its
        # chunks here, too, each right before its events: the first waits for the second.
        self._held: dict[UUID, list[Fragment]] = {}
        self._nodes: dict[UUID, str | None] = {}

    def on_chat_model_start(
        self,
        *_args: Any,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **_kwargs: Any,
    ) -> None:
        """Begin to follow a run, unless it is not to be shown."""
        if TAG_NOSTREAM not in (tags or ()):
            self._nodes[run_id] = (metadata or {}).get("langgraph_node")

    def on_stream_event(self, *_args: Any, run_id: UUID, **_kwargs: Any) -> None:
        """Leave a run to LangGraph."""
        self._nodes.pop(run_id, None)
        self._held.pop(run_id, None)

    def on_llm_new_token(
        self, *_args: Any, run_id: UUID, chunk: Any = None, **_kwargs: Any
    ) -> None:
        """Pass a chunk on."""
        message = getattr(chunk, "message", None)
        if run_id not in self._nodes or not isinstance(message, AIMessageChunk):
            return
        fragment = Fragment(run_id, self._nodes[run_id], message)
        if run_id not in self._held:
            self._held[run_id] = [fragment]
            return
        self._write(run_id, fragment)

    def on_llm_end(self, *_args: Any, run_id: UUID, **_kwargs: Any) -> None:
        """Forget a run."""
        if self._held.get(run_id):
            self._write(run_id)
        self.on_stream_event(run_id=run_id)

    def on_llm_error(self, *_args: Any, run_id: UUID, **_kwargs: Any) -> None:
        """End a run that broke off."""
        if run_id in self._held:
            self._write(run_id, Fragment(run_id, self._nodes[run_id], None))
        self.on_stream_event(run_id=run_id)

    def _write(self, run_id: UUID, *more: Fragment) -> None:
        try:
            write = get_stream_writer()
        except (RuntimeError, KeyError):  # asyncio before Python 3.11 has no context
            return
        for fragment in (*self._held[run_id], *more):
            write(fragment)
        self._held[run_id] = []
