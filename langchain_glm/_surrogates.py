"""Text that can always be encoded.

JSON can spell half of a surrogate pair, and some servers cut a pair in two (they count in UTF-16):
Python then holds a str that no encoder takes. Pairs are joined, and halves that belong to no other
become U+FFFD.
"""

from __future__ import annotations

import re
from typing import Any


class SurrogatePairs:
    """Joins the halves of pairs in text that comes piece by piece."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """Take a piece; a half at its end waits for the next one."""
        if text.isascii() and not self._half:
            return text
        text = self._half + text
        self._half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return joined(text.removesuffix(self._half) if self._half else text)

    def close(self) -> str:
        """Give what stands for a half that still waits."""
        half, self._half = self._half, ""
        return joined(half)


def joined(text: str) -> str:
    """Join the pairs in a whole text."""
    return text if text.isascii() else _SURROGATES(_mend, text)


def joined_within(value: Any) -> Any:
    """Join the pairs in all the text of a JSON value, its names too."""
    if isinstance(value, str):
        return joined(value)
    if isinstance(value, list):
        return [joined_within(item) for item in value]
    if isinstance(value, dict):
        return {joined(name): joined_within(item) for name, item in value.items()}
    return value


_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]").sub


def _mend(surrogates: re.Match[str]) -> str:
    return surrogates[0].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
