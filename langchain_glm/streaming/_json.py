"""Any value as JSON: what an event carries may come from any tool and any graph."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

from langchain_core.messages import BaseMessage, message_to_dict
from pydantic import BaseModel

_MAX_DEPTH = 200


def to_json(value: Any) -> Any:
    """Make JSON of a value: dict, list, str, int, float, bool, None; never raises.

    Numbers that JSON does not know (NaN, infinity) become None as in JavaScript, bytes base64, and
    what has no shape of its own (or contains itself, or is nested deeper than 200) its text.
    """
    return _convert(value, ())


def _convert(value: Any, within: tuple[int, ...]) -> Any:
    """Make JSON of a value that stands within these containers, given by their `id`."""
    if value is None or isinstance(value, (str, bool, int)):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if len(within) > _MAX_DEPTH or id(value) in within:
        return _as_text(value)
    try:
        return _shape(value)(value, (*within, id(value)))
    except Exception:  # noqa: BLE001 - a stranger's code; the event must not be lost for it
        return _as_text(value)


def _shape(value: Any) -> Any:
    for kind, convert in _KINDS:
        if isinstance(value, kind):
            return convert
    is_dataclass = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return _from_dataclass if is_dataclass else _from_other


def _from_mapping(value: Mapping[Any, Any], within: tuple[int, ...]) -> dict[str, Any]:
    return {_as_text(key): _convert(item, within) for key, item in value.items()}


def _from_items(value: Any, within: tuple[int, ...]) -> list[Any]:
    return [_convert(item, within) for item in value]


def _from_message(value: BaseMessage, within: tuple[int, ...]) -> Any:
    return _convert(message_to_dict(value), within)


def _from_model(value: BaseModel, within: tuple[int, ...]) -> Any:
    return _convert(dict(value), within)


def _from_dataclass(value: Any, within: tuple[int, ...]) -> Any:
    return _convert({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, within)


def _from_error(value: BaseException, _within: tuple[int, ...]) -> dict[str, Any]:
    code = getattr(value, "code", None)
    return {
        "type": type(value).__name__,
        "message": _as_text(value),
        "code": code if isinstance(code, (str, int)) else None,
    }


def _from_bytes(value: bytes, _within: tuple[int, ...]) -> str:
    return base64.b64encode(value).decode("ascii")


def _from_enum(value: Enum, within: tuple[int, ...]) -> Any:
    return _convert(value.value, within)


def _from_other(value: Any, _within: tuple[int, ...]) -> str:
    return _as_text(value)


def _as_text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a stranger's __str__; the event must not be lost for it
        return f"<{type(value).__name__}>"


_KINDS: tuple[tuple[Any, Any], ...] = (
    (BaseMessage, _from_message),
    (BaseModel, _from_model),
    (BaseException, _from_error),
    (Mapping, _from_mapping),
    ((list, tuple, set, frozenset), _from_items),
    ((bytes, bytearray), _from_bytes),
    (Enum, _from_enum),
)
