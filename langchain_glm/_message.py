"""What a `Delta` and a `Reply` look like in LangChain: chunks, protocol events, messages.

Pure. Two writers speak to the same interface, `write` for each frame and `finish` at the end:
`ChunkWriter` makes the chunks of `stream`, `EventWriter` the protocol events of
`stream_events(version="v3")`. Both emit one kind of content at a time (reasoning, text, calls),
because core's own view of a chunk with text and call fragments drops the fragments.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ToolCallChunk,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import Citation
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from langchain_protocol.protocol import MessagesData

from langchain_glm._calls import (
    SETTLED_CALLS,
    CallDelta,
    invalid_tool_call,
    sorted_calls,
    tool_call,
)
from langchain_glm._chunks import generation_chunk, message_chunk
from langchain_glm._delta import RAW_RESPONSE, Delta, Reply

PROVIDER = "zai"
"""Our `model_provider`, as models.dev has it."""


def usage_metadata(usage: Mapping[str, Any]) -> UsageMetadata:
    """Translate GLM's token counts; `completion_tokens` includes the reasoning."""
    prompt = _count(usage.get("prompt_tokens"))
    completion = _count(usage.get("completion_tokens"))
    metadata: dict[str, Any] = {
        "input_tokens": prompt,
        "output_tokens": completion,
        "total_tokens": _count(usage.get("total_tokens")) or prompt + completion,
    }
    for field, names in _USAGE_DETAILS.items():
        source, details = names
        counts = usage.get(source)
        counts = counts if isinstance(counts, Mapping) else {}
        # SGLang has `reasoning_tokens` at the top.
        found = {ours: counts.get(theirs, usage.get(theirs)) for theirs, ours in details.items()}
        if known := {name: _count(n) for name, n in found.items() if n is not None}:
            metadata[field] = known
    return cast("UsageMetadata", metadata)


def _count(tokens: Any) -> int:
    with contextlib.suppress(TypeError, ValueError, OverflowError):  # "many", NaN, infinity
        return int(tokens)
    return 0


_USAGE_DETAILS = {
    "input_token_details": (
        "prompt_tokens_details",
        {"cached_tokens": "cache_read", "cache_write_tokens": "cache_creation"},
    ),
    "output_token_details": ("completion_tokens_details", {"reasoning_tokens": "reasoning"}),
}


def answer_metadata(reply: Reply) -> dict[str, Any]:
    """Collect what `response_metadata` tells about an answer, its provider apart."""
    facts = {
        "finish_reason": reply.finish_reason,
        "model_name": reply.model,
        "token_usage": dict(reply.usage) if reply.usage else None,
        **reply.envelope,
    }
    return {name: value for name, value in facts.items() if value is not None}


def citations(response_metadata: Mapping[str, Any]) -> list[Citation]:
    """Make LangChain's citations of what a web search found.

    They say what was read, not where the text speaks of it: GLM gives no positions, only a
    `refer` for each result, which is in `extras`.
    """
    results = response_metadata.get(_WEB_SEARCH)
    if not isinstance(results, list):
        return []
    return [_citation(result) for result in results if isinstance(result, Mapping)]


def _citation(result: Mapping[str, Any]) -> Citation:
    citation: dict[str, Any] = {"type": "citation"}
    citation |= {
        ours: result[theirs] for theirs, ours in _CITATION_FIELDS.items() if result.get(theirs)
    }
    if extras := {name: result[name] for name in result if name not in _CITATION_FIELDS}:
        citation["extras"] = extras
    return cast("Citation", citation)


_WEB_SEARCH = "web_search"
_CITATION_FIELDS = {"link": "url", "title": "title", "content": "cited_text"}


def to_message(reply: Reply, *, raw: Sequence[str] = (), ended: bool = True) -> AIMessage:
    """Make the message of an answer; with `ended=False`, of what had arrived of it."""
    verdicts = reply.verdicts(ended=ended)
    additional: dict[str, Any] = {}
    if reply.reasoning:
        additional["reasoning_content"] = reply.reasoning
    if raw:
        additional[RAW_RESPONSE] = list(raw)
    return AIMessage(
        content=reply.text,
        additional_kwargs=additional,
        **sorted_calls(verdicts),
        usage_metadata=usage_metadata(reply.usage) if reply.usage else None,
        response_metadata={"model_provider": PROVIDER, **answer_metadata(reply)},
    )


def to_generation(reply: Reply, *, raw: Sequence[str], info: Mapping[str, Any]) -> ChatGeneration:
    """Make the generation of an answer that came whole."""
    reply.end()
    info = {"finish_reason": reply.finish_reason, **info}
    return ChatGeneration(message=to_message(reply, raw=raw), generation_info=info)


def settle_calls(generation: ChatGeneration) -> None:
    """Take the calls that must not run out of a merged message's `tool_calls`.

    They go to `invalid_tool_calls`, with the text that they had. A message that has been settled
    before, or whose calls may all run, stays as it is.
    """
    message = generation.message
    settled = message.additional_kwargs.pop(SETTLED_CALLS, None)
    if not settled or not isinstance(message, AIMessage):
        return
    message.tool_calls = settled["tool_calls"]
    message.invalid_tool_calls = settled["invalid_tool_calls"]
    if isinstance(message.content, list):  # output_version="v1" repeats the calls there
        runnable = {call["id"] for call in message.tool_calls}
        message.content = [
            block
            for block in message.content
            if isinstance(block, str)
            or block.get("type") not in {"tool_call", "tool_call_chunk"}
            or block.get("id") in runnable
        ]


class ChunkWriter:
    """Writes the chunks of `stream`.

    Args:
        headers: The response's headers for the first chunk, None to leave them out.
    """

    def __init__(self, *, headers: Mapping[str, str] | None = None) -> None:
        self._first_info: dict[str, Any] = {"headers": dict(headers)} if headers else {}
        self._raw: list[str] = []  # frames that no chunk carries yet

    def keep(self, raw: str) -> None:
        """Keep the text of a frame for the next chunk."""
        self._raw.append(raw)

    def write(self, delta: Delta) -> list[ChatGenerationChunk]:
        """Write a frame."""
        info = {"logprobs": delta.logprobs} if delta.logprobs else {}
        chunks: list[dict[str, Any]] = []
        if delta.reasoning:
            chunks.append({"additional_kwargs": {"reasoning_content": delta.reasoning}})
        if delta.text:
            chunks.append({"content": delta.text})
        if delta.calls:
            chunks.append({"tool_call_chunks": [_call_chunk(call) for call in delta.calls]})
        return [self._generation(chunk, info if not n else {}) for n, chunk in enumerate(chunks)]

    def finish(self, reply: Reply) -> list[ChatGenerationChunk]:
        """Write the last chunk: all that is said once about the whole answer.

        Everything stands on this one chunk, because core's merge concatenates a string that two
        chunks carry. Only what a web search found has a chunk before it, where there is a text
        that it belongs to: `_chunk_blocks` makes the citations of that text from it.
        """
        rest = self.write(reply.end())
        last: dict[str, Any] = {"chunk_position": "last"}
        if reply.usage:
            last["usage_metadata"] = usage_metadata(reply.usage)
        verdicts = reply.verdicts()
        if any(verdict.is_core_wrong for verdict in verdicts):
            last["additional_kwargs"] = {SETTLED_CALLS: sorted_calls(verdicts)}
        info = answer_metadata(reply)
        if reply.text and _WEB_SEARCH in info:
            found = {"model_provider": PROVIDER, _WEB_SEARCH: info.pop(_WEB_SEARCH)}
            rest.append(self._generation({"response_metadata": found}, {}))
        return [*rest, self._generation(last, info)]

    def _generation(self, fields: dict[str, Any], info: dict[str, Any]) -> ChatGenerationChunk:
        info, self._first_info = {**self._first_info, **info}, {}
        if self._raw:
            kept = {RAW_RESPONSE: self._raw}
            fields = {
                **fields,
                "additional_kwargs": {**fields.get("additional_kwargs", {}), **kept},
            }
            self._raw = []
        fields = {"content": "", "response_metadata": {"model_provider": PROVIDER}, **fields}
        return generation_chunk(message_chunk(fields), info or None)


class EventWriter:
    """Writes the protocol events that LangChain's v3 streams are made of.

    Args:
        message_id: The id that LangChain gave the message, None to leave it to LangChain.
        headers: The response's headers for the metadata, None to leave them out.
    """

    def __init__(self, message_id: str | None, *, headers: Mapping[str, str] | None = None) -> None:
        self._message_id = message_id
        self._metadata: dict[str, Any] = {"headers": dict(headers)} if headers else {}
        self._raw: list[str] = []
        self._wire: dict[int | str, int] = {}  # kind of content, or index of a call -> event index

    def keep(self, raw: str) -> None:
        """Keep the text of a frame for the end of the message."""
        self._raw.append(raw)

    def write(self, delta: Delta) -> list[MessagesData]:
        """Write a frame."""
        events: list[Any] = []
        if delta.reasoning:
            if "reasoning" not in self._wire:
                self._begin("reasoning", {"type": "reasoning", "reasoning": ""}, events)
            self._add(
                "reasoning", {"type": "reasoning-delta", "reasoning": delta.reasoning}, events
            )
        if delta.text:
            if "text" not in self._wire:
                self._begin("text", {"type": "text", "text": ""}, events)
            self._add("text", {"type": "text-delta", "text": delta.text}, events)
        for call in delta.calls:
            if call.position not in self._wire:
                self._begin(call.position, {**_call_chunk(call), "args": ""}, events)
            if call.arguments:
                self._add(
                    call.position, {"type": "tool-call-delta", "args": call.arguments}, events
                )
        if delta.logprobs:
            kept = self._metadata.setdefault("logprobs", {})
            for name, entries in delta.logprobs.items():
                kept[name] = [*kept.get(name, ()), *(entries or ())]
        return events

    def finish(self, reply: Reply) -> list[MessagesData]:
        """Write the end of each block, with the verdict on each call, and of the message."""
        events: list[Any] = self.write(reply.end())
        if not self._wire:
            events.append(self._message_start())
        ends: dict[int | str, Any] = {
            "reasoning": _reasoning_block(reply.reasoning),
            "text": _text_block(reply.text, citations(reply.envelope)),
        }
        for verdict in reply.verdicts():
            block = invalid_tool_call(verdict) if verdict.problem else tool_call(verdict)
            ends[verdict.call.index] = block
        for kind, wire_index in self._wire.items():
            event = {"event": "content-block-finish", "index": wire_index, "content": ends[kind]}
            events.append(event)
        events.append(self._message_finish(reply))
        return events

    def _begin(self, kind: int | str, block: dict[str, Any], events: list[Any]) -> None:
        if not self._wire:
            events.append(self._message_start())
        wire_index = self._wire[kind] = len(self._wire)
        events.append({"event": "content-block-start", "index": wire_index, "content": block})

    def _add(self, kind: int | str, part: dict[str, Any], events: list[Any]) -> None:
        events.append({"event": "content-block-delta", "index": self._wire[kind], "delta": part})

    def _message_start(self) -> dict[str, Any]:
        return {
            "event": "message-start",
            "role": "ai",
            "id": self._message_id or "",
            "metadata": {"provider": PROVIDER},
        }

    def _message_finish(self, reply: Reply) -> dict[str, Any]:
        additional: dict[str, Any] = {}
        if reply.reasoning:
            additional["reasoning_content"] = reply.reasoning
        if self._raw:
            additional[RAW_RESPONSE] = self._raw
        event: dict[str, Any] = {"event": "message-finish"}
        if reply.usage:
            event["usage"] = usage_metadata(reply.usage)
        event["metadata"] = {
            **self._metadata,
            **answer_metadata(reply),
            "model_provider": PROVIDER,
        }
        if additional:
            event["additional_kwargs"] = additional
        return event


def _reasoning_block(reasoning: str) -> dict[str, Any]:
    return {"type": "reasoning", "reasoning": reasoning, "index": "lc_rs_0"}


def _text_block(text: str, cited: Sequence[Citation] = ()) -> dict[str, Any]:
    block = {"type": "text", "text": text, "index": "lc_txt_0"}
    return {**block, "annotations": list(cited)} if cited else block


def _chunk_blocks(chunk: AIMessageChunk) -> list[Any]:
    """Translate a chunk for `content_blocks`.

    Core's own translation numbers reasoning and text from 0, as calls are numbered, and under
    output_version="v1" its merge then fuses a call with the reasoning; LangChain's `lc_` indexes
    keep them apart.
    """
    if not isinstance(chunk.content, str):
        raise NotImplementedError  # core's word for "translate it yourself"
    reasoning = chunk.additional_kwargs.get("reasoning_content")
    blocks: list[Any] = [_reasoning_block(reasoning)] if reasoning else []
    cited = citations(chunk.response_metadata)
    # The chunk with what was found has no text, and is not the last; the sum of an answer
    # without any text is.
    if chunk.content or (cited and chunk.chunk_position != "last"):
        blocks.append(_text_block(chunk.content, cited))
    if chunk.chunk_position == "last":
        return blocks + [dict(call) for call in chunk.tool_calls]
    return blocks + [{**call, "type": "tool_call_chunk"} for call in chunk.tool_call_chunks]


def _message_blocks(message: AIMessage) -> list[Any]:
    """Translate a whole message for `content_blocks`: core's own way, and the citations."""
    cited = citations(message.response_metadata)
    if not cited:
        raise NotImplementedError
    # Without a provider core translates it itself, and does not come back here.
    facts = {k: v for k, v in message.response_metadata.items() if k != "model_provider"}
    blocks = message.model_copy(update={"response_metadata": facts}).content_blocks
    for at, block in enumerate(blocks):
        if block["type"] == "text":
            blocks[at] = {**block, "annotations": block.get("annotations") or list(cited)}
            break
    return list(blocks)


register_translator(PROVIDER, _message_blocks, _chunk_blocks)


def _call_chunk(call: CallDelta) -> ToolCallChunk:
    return ToolCallChunk(
        type="tool_call_chunk",
        id=call.id,
        name=call.name,
        args=call.arguments,
        index=call.position,
    )
