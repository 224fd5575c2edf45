"""The JSON Schema of the events, as `Event.to_dict`, `sse` and WebSockets give them."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_glm.streaming import events as _events
from langchain_glm.streaming.events import Event

_COUNT = {"type": "integer"}

# Values that are more than JSON's own types.
_DEFS: dict[str, dict[str, Any]] = {
    "message": {
        "description": "A message, as `langchain_core.messages.message_to_dict` gives it.",
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "data": {
                "type": "object",
                "properties": {"content": {"type": ["string", "array"]}},
                "required": ["content"],
            },
        },
        "required": ["type", "data"],
        "additionalProperties": False,
    },
    "error": {
        "description": "An exception: the name of its class, its text, a code where it has one.",
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "message": {"type": "string"},
            "code": {"type": ["string", "integer", "null"]},
        },
        "required": ["type", "message", "code"],
        "additionalProperties": False,
    },
    "usage": {
        "description": "Token counts.",
        "type": "object",
        "properties": {
            "input_tokens": _COUNT,
            "output_tokens": _COUNT,
            "total_tokens": _COUNT,
            "input_token_details": {"type": "object"},
            "output_token_details": {"type": "object"},
        },
        "required": ["input_tokens", "output_tokens", "total_tokens"],
    },
}

_SHAPES: dict[Any, dict[str, Any]] = {
    Any: {},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    type(None): {"type": "null"},
    AIMessage: {"$ref": "#/$defs/message"},
    BaseMessage: {"$ref": "#/$defs/message"},
    BaseException: {"$ref": "#/$defs/error"},
    UsageMetadata: {"$ref": "#/$defs/usage"},
}

_TIME = {
    "type": "number",
    "description": "Seconds, by the clock that was given to `SSEEncoder(clock=...)`.",
}


def event_types() -> dict[str, type[Event]]:
    """Give the class of every event by its `type`."""
    kinds = [kind for kind in vars(_events).values() if _is_event(kind)]
    return {kind.type: kind for kind in kinds}


def event_schema() -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of every event's JSON.

    `oneOf` the events, each under `$defs` by its `type`. No field may be missing, and none be
    added but `time`. It is made from the types of the classes in `events`, so it cannot lag behind.
    """
    events = {name: _event(kind) for name, kind in event_types().items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of langchain_glm.streaming",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in events],
        "$defs": {**events, **_DEFS},
    }


def _is_event(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Event) and "type" in vars(value)


def _event(kind: type[Event]) -> dict[str, Any]:
    hints = get_type_hints(kind, vars(_events))
    shapes = {f.name: _shape(hints[f.name]) for f in fields(kind) if f.name[0] != "_"}
    return {
        "description": inspect.getdoc(kind) or kind.type,
        "type": "object",
        "properties": {"type": {"const": kind.type}, **shapes, "time": _TIME},
        "required": ["type", *shapes],
        "additionalProperties": False,
    }


def _shape(hint: Any) -> dict[str, Any]:
    """Give the schema of a type that an event's field has."""
    if hint in _SHAPES:
        return dict(_SHAPES[hint])
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_shape(arg) for arg in args]}
    if origin in (tuple, Sequence, list):
        return {"type": "array", "items": _shape(args[0])}
    if origin in (dict, Mapping):
        return {"type": "object"}
    raise TypeError(f"There is no JSON Schema for a field of the type {hint!r}.")
