"""JSON from outside, parsed into what can be walked and encoded.

Whoever copies, merges or writes a value recurses into it. Python's own limit would end that with a
RecursionError somewhere in LangChain, and pydantic writes nothing below its 255th level. And an
escape can spell half of a surrogate pair, which no encoder takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from langchain_glm._surrogates import joined_within

MAX_DEPTH = 200
"""How deep objects and arrays may be nested; as deep as jiter, which pydantic parses with, goes."""

_TOO_DEEP = "it is nested too deep"


def parse_json(text: str, *, strict: bool = True, apart: str = "") -> Any:
    """Parse a JSON text; halves of surrogate pairs that belong to no other become U+FFFD.

    Args:
        text: The text.
        strict: Whether raw control characters in strings are refused, as JSON does.
        apart: The name at the top whose value keeps its halves: they may belong to the next text.

    Raises:
        ValueError: It is no JSON, or it is nested deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(text, strict=strict)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    # Counting brackets is cheap, and few texts have that many.
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise ValueError(_TOO_DEEP)
    return _encodable(value, apart) if "\\ud" in text or "\\uD" in text else value


def _encodable(value: Any, apart: str) -> Any:
    if apart and isinstance(value, dict) and apart in value:
        rest = {name: item for name, item in value.items() if name != apart}
        return {**joined_within(rest), apart: value[apart]}
    return joined_within(value)


def _is_deeper(value: Any, most: int) -> bool:
    level = _containers([value])
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in _containers(outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]
