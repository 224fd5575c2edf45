"""Chunks of messages without the cost of their validation.

Pydantic validates each chunk, and core's validator parses each fragment of a call's arguments as
if it were all of them. What comes here was read from JSON a moment ago and has the right types, so
the object is put together from its fields. It equals the validated one in all that can be asked of
it: `tests/unit_tests/test_chunks.py` asks, for any input, on the lowest and the highest core.

Never a subclass: core finds out what a chunk is by its class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.messages import AIMessageChunk, ToolCallChunk
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


def message_chunk(fields: dict[str, Any]) -> AIMessageChunk:
    """Make a chunk of a message: `AIMessageChunk(**fields)`."""
    pieces = fields.get("tool_call_chunks", ())
    if not fields.keys() <= _PLAIN_FIELDS or any(map(_may_be_object, pieces)):
        return AIMessageChunk(**fields)
    if pieces:
        fields = {**fields, **_calls(pieces)}
    chunk = _assembled(AIMessageChunk, _MESSAGE, fields)
    _set(chunk, "__pydantic_extra__", {})
    return chunk


def generation_chunk(
    message: AIMessageChunk, generation_info: dict[str, Any] | None
) -> ChatGenerationChunk:
    """Make the generation that carries a chunk of `message_chunk`, as its class would."""
    fields = {"text": message.content, "generation_info": generation_info, "message": message}
    chunk = _assembled(ChatGenerationChunk, _GENERATION, fields)
    _set(chunk, "__pydantic_extra__", None)
    return chunk


_PLAIN_FIELDS = {"additional_kwargs", "content", "response_metadata", "tool_call_chunks"}


def _may_be_object(piece: ToolCallChunk) -> bool:
    # Core makes a call of what begins a JSON object; of all else, an invalid one.
    return (piece["args"] or "").lstrip().startswith("{")


def _calls(pieces: Sequence[ToolCallChunk]) -> dict[str, Any]:
    calls: dict[str, Any] = {"tool_call_chunks": [], "tool_calls": [], "invalid_tool_calls": []}
    for piece in pieces:
        id_, name, args = piece["id"], piece["name"], piece["args"]
        chunk = {"name": name, "args": args, "id": id_, "index": piece["index"]}
        calls["tool_call_chunks"].append({**chunk, "type": "tool_call_chunk"})
        if args:
            invalid = {"name": name, "args": args, "id": id_, "error": None}
            calls["invalid_tool_calls"].append({**invalid, "type": "invalid_tool_call"})
        else:
            call: dict[str, Any] = {"name": name or "", "args": {}, "id": id_}
            calls["tool_calls"].append({**call, "type": "tool_call"})
    return calls


class _Template:
    """What a validated object holds where nothing was said, for any version of its class."""

    def __init__(self, example: BaseModel) -> None:
        self._plain = dict(example.__dict__)
        self._mutable = [(k, type(v)) for k, v in self._plain.items() if v in ([], {})]

    def filled(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        state = self._plain.copy()
        for name, make in self._mutable:
            state[name] = make()
        state.update(fields)
        return state


def _assembled(cls: type[M], template: _Template, fields: dict[str, Any]) -> M:
    chunk = cls.__new__(cls)
    _set(chunk, "__dict__", template.filled(fields))
    _set(chunk, "__pydantic_fields_set__", set(fields))
    _set(chunk, "__pydantic_private__", None)
    return chunk


_set = object.__setattr__
_MESSAGE = _Template(AIMessageChunk(content=""))
_GENERATION = _Template(ChatGenerationChunk(message=AIMessageChunk(content="")))
