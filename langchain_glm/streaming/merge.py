"""The chunks of a stream become one message, in linear time.

`full += chunk` copies and parses all that came before, for every chunk. Here the pieces of a run
of like chunks (text after text, fragment after fragment of one call) are kept in a list and joined
once, and core's own merge, which knows all the rest, is asked once for the few chunks that remain.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall, ToolCallChunk
from langchain_core.messages.utils import message_chunk_to_message

from langchain_glm._calls import (
    CUT_FINISH_REASONS,
    SETTLED_CALLS,
    CallDelta,
    Calls,
    Verdict,
    sorted_calls,
)


def collect(chunks: Iterable[BaseMessage]) -> AIMessage:
    """Merge the chunks of one message; the time is linear in their text.

    Args:
        chunks: What a chat model's `stream` gives.

    Returns:
        The message that `full += chunk` and `message_chunk_to_message` would give, except that
        calls that were cut, or whose arguments are no JSON object, are in `invalid_tool_calls`
        with their text and the reason, never in `tool_calls`; and that a finish reason which the
        server repeats is given once.

    Raises:
        ValueError: There was no chunk.
        TypeError: What comes is not the model's, or cannot be merged.
    """
    merge = Merge()
    for chunk in chunks:
        merge.feed(chunk)
    return merge.close().message


async def acollect(chunks: AsyncIterable[BaseMessage]) -> AIMessage:
    """Merge the chunks of one message; see `collect`."""
    merge = Merge()
    async for chunk in chunks:
        merge.feed(chunk)
    return merge.close().message


class Merged(NamedTuple):
    """One message, and how its calls ended; one that came whole says so itself."""

    message: AIMessage
    verdicts: list[Verdict]
    is_whole: bool = False


class Merge:
    """Merges the chunks of one message.

    Attributes:
        calls: Its calls, assembled.
    """

    def __init__(self) -> None:
        self.calls: Calls = Calls()
        self._chunks: list[AIMessageChunk] = []
        self._run: _Run | None = None
        self._whole: AIMessage | None = None
        self._reason: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come yet."""
        return self._run is None and not self._chunks and self._whole is None

    def feed(self, chunk: BaseMessage) -> list[CallDelta]:
        """Take the next chunk, or a message that came whole.

        Returns:
            What the chunk adds to the calls.

        Raises:
            TypeError: It is not the model's, or it is whole and not alone.
        """
        if not isinstance(chunk, AIMessage):
            msg = f"Expected an AIMessageChunk of a chat model's stream, got {type(chunk).__name__}"
            raise TypeError(msg)
        if not isinstance(chunk, AIMessageChunk):
            if not self.is_empty:
                msg = "A message that came whole cannot be merged with what came before it"
                raise TypeError(msg)
            self._whole = chunk
            return []
        self._keep(chunk)
        deltas = []
        for piece in chunk.tool_call_chunks:
            delta = self._take(piece)
            if delta:
                deltas.append(delta)
        return deltas

    def _take(self, piece: ToolCallChunk) -> CallDelta | None:
        index = piece.get("index")
        return self.calls.take(
            None if index == -1 else index,
            piece.get("id") or None,
            piece.get("name") or "",
            piece.get("args") or "",
        )

    def _keep(self, chunk: AIMessageChunk) -> None:
        field = _growing_field(chunk)
        if field and self._run and self._run.takes(field, chunk):
            return
        self._end_run()
        if field and chunk.response_metadata.keys() <= _REPEATED_FACTS:
            self._run = _Run(field, chunk)
        else:
            self._chunks.append(chunk)
            if self._reason not in CUT_FINISH_REASONS:
                self._reason = finish_reason(chunk) or self._reason

    def close(self) -> Merged:
        """Give the message.

        Raises:
            ValueError: There was no chunk.
        """
        if self._whole is not None:
            return Merged(self._whole, [], is_whole=True)
        self._end_run()
        if not self._chunks:
            msg = "There is nothing to merge: the stream had no chunk"
            raise ValueError(msg)
        message = self._merged()
        verdicts = judge(self.calls, finish_reason(message))
        settle(message, verdicts)
        return Merged(message, verdicts)

    def _end_run(self) -> None:
        if self._run:
            self._chunks.append(self._run.joined())
            self._run = None

    def _merged(self) -> AIMessage:
        # Core parses the arguments of all calls, and of broken ones for quadratic time; the
        # verdicts have them already.
        chunks = [
            chunk.model_copy(update=_NO_CALLS) if chunk.tool_call_chunks else chunk
            for chunk in self._chunks
        ]
        merged = chunks[0] + chunks[1:] if len(chunks) > 1 else chunks[0]
        message = cast("AIMessage", message_chunk_to_message(merged))
        # Servers repeat it (a finishing chunk, then another with the usage); core's merge makes
        # "lengthlength" of that.
        if isinstance(message.response_metadata.get("finish_reason"), str):
            facts = {**message.response_metadata, "finish_reason": self._reason}
            message.response_metadata = facts
        return message


def judge(calls: Calls, reason: str | None) -> list[Verdict]:
    """Say of each call whether it may run, by the finish reason and its arguments."""
    return calls.verdicts(cut_by=reason if reason in CUT_FINISH_REASONS else None)


def settle(message: AIMessage, verdicts: Sequence[Verdict]) -> None:
    """Put a merged message's calls where they belong."""
    message.additional_kwargs.pop(SETTLED_CALLS, None)
    calls = sorted_calls(verdicts)
    message.tool_calls = calls["tool_calls"]
    message.invalid_tool_calls = calls["invalid_tool_calls"]
    if isinstance(message.content, list):
        message.content = list(_settled_blocks(message))


def _settled_blocks(message: AIMessage) -> Iterator[str | dict[str, Any]]:
    """Give the content: calls that must not run left out, those of output_version="v1" whole."""
    invalid = {call["id"] for call in message.invalid_tool_calls}
    whole: dict[Any, ToolCall] = {call["id"]: call for call in message.tool_calls if call["id"]}
    for block in message.content:
        if isinstance(block, str) or block.get("type") not in _CALL_BLOCKS:
            yield block
        elif block["type"] == "tool_call_chunk" and block.get("id") in whole:
            extras = {key: block[key] for key in block if key == "extras"}
            yield {**whole[block["id"]], **extras}
        elif block.get("call_id", block.get("id")) not in invalid:
            yield block


def finish_reason(message: AIMessage) -> str | None:
    """Read why a message ended, by its provider's own name for it."""
    metadata: Mapping[str, Any] = message.response_metadata
    incomplete = metadata.get("incomplete_details") or {}  # OpenAI's Responses API
    reason = (
        metadata.get("finish_reason")
        or metadata.get("stop_reason")  # Anthropic
        or (incomplete.get("reason") if isinstance(incomplete, Mapping) else None)
    )
    return None if reason is None else str(reason)


_CALL_BLOCKS = frozenset({"function_call", "tool_call", "tool_call_chunk", "tool_use"})
_NO_CALLS: Mapping[str, Any] = {"tool_call_chunks": [], "tool_calls": [], "invalid_tool_calls": []}

_REPEATED_FACTS = {"id", "model_provider", "output_version"}
"""What core's merge keeps as it is when two chunks say the same."""


def _growing_field(chunk: AIMessageChunk) -> str | None:
    """Name the one field that this chunk adds a piece to, None where it says more than that."""
    if chunk.usage_metadata or chunk.chunk_position or not isinstance(chunk.content, str):
        return None
    if chunk.additional_kwargs:
        only = chunk.additional_kwargs.keys() == {"reasoning_content"}
        bare = not chunk.content and not chunk.tool_call_chunks
        is_text = isinstance(chunk.additional_kwargs.get("reasoning_content"), str)
        return "reasoning_content" if only and bare and is_text else None
    if not chunk.tool_call_chunks:
        return "content"
    return None if chunk.content else "tool_call_chunks"


class _Run:
    """Chunks in a row that add to the same field, and say the same otherwise."""

    def __init__(self, field: str, first: AIMessageChunk) -> None:
        self._field = field
        self._first = first
        self._pieces = [_PIECE[field](first)]

    def takes(self, field: str, chunk: AIMessageChunk) -> bool:
        """Take a chunk, if it is like the first."""
        first = self._first
        is_like = (
            field == self._field
            and chunk.id == first.id
            and chunk.response_metadata == first.response_metadata
        )
        if is_like:
            self._pieces.append(_PIECE[field](chunk))
        return is_like

    def joined(self) -> AIMessageChunk:
        """Give one chunk for them all."""
        if len(self._pieces) == 1 or self._field == "tool_call_chunks":
            return self._first
        text = "".join(self._pieces)
        if self._field == "content":
            return self._first.model_copy(update={"content": text})
        return self._first.model_copy(update={"additional_kwargs": {self._field: text}})


_PIECE: Mapping[str, Any] = {
    "content": lambda chunk: chunk.content,
    "reasoning_content": lambda chunk: chunk.additional_kwargs["reasoning_content"],
    "tool_call_chunks": lambda _chunk: "",  # `Calls` has them already
}
