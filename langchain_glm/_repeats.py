"""Frames of a stream repeat each other, byte for byte, but for the fragment that they bring.

A server that sends a thousand fragments sends a thousand times the same id, model, choice and role
around them. What stands before and after the fragment of one frame is kept, and a frame that begins
and ends so is not parsed: only what is between. That is no guess. The fragment is one JSON string,
by a probe that puts another string in its place and finds all the rest unchanged, so parsing the
frame could give nothing else (`tests/unit_tests/test_repeats.py` compares).

A frame that differs in anything else (its time, its kind, a finish reason) is parsed, and is the
next to be kept.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Fragment(NamedTuple):
    """What a frame brings: the path of a string in it, and what takes another in its place."""

    path: Sequence[str | int]
    take: Callable[[str], Any]


class Repeats(Generic[T]):
    """Reads frames that repeat the one that was `kept` last."""

    __slots__ = ("_after", "_before", "_shortest", "_take", "_vain")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._shortest = 0
        self._take: Callable[[str], T] | None = None
        self._vain = 0  # frames that were kept and not repeated

    def read(self, frame: bytes) -> T | None:
        """Take the fragment of a frame; None if it must be parsed."""
        if (
            self._take is None
            or len(frame) < self._shortest
            or not frame.startswith(self._before)
            or not frame.endswith(self._after)
        ):
            return None
        fragment = _string(frame[len(self._before) : len(frame) - len(self._after)])
        if not fragment:
            return None
        self._vain = 0
        return self._take(fragment)

    def keep(self, frame: bytes, parsed: Any, fragment: Fragment | None) -> None:
        """Keep a frame that was parsed, for the next ones; None if it brings no fragment alone."""
        self._take = None
        if fragment is None or self._vain == _MOST_IN_VAIN or len(frame) > _LONGEST:
            return
        self._vain += 1
        around = _around(frame, parsed, fragment.path)
        if around:
            self._before, self._after = around
            self._shortest = len(self._before) + len(self._after)
            self._take = fragment.take


# A server whose frames never repeat is not asked for ever.
_MOST_IN_VAIN = 16
# Nor is a frame that is no fragment's: to look into it would cost more than it could save.
_LONGEST = 16 * 1024
_MOST_PLACES = 3

_PROBE = "probe"
_BODY = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL).match
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*').fullmatch


def _string(body: bytes) -> str | None:
    """Decode what stands between the quotes of a JSON string, if it is that."""
    try:
        if _PLAIN(body):
            return body.decode()
        decoded = json.loads(b'"%b"' % body)
    except ValueError:
        return None
    return decoded if isinstance(decoded, str) else None


def _around(frame: bytes, parsed: Any, path: Sequence[str | int]) -> tuple[bytes, bytes] | None:
    """Find what stands before and after a string of a frame."""
    name = json.dumps(path[-1]).encode()
    starts = [match.end() for match in re.finditer(name + rb'\s*:\s*"', frame)]
    for start in starts[: -_MOST_PLACES - 1 : -1]:
        body = _BODY(frame, start)
        before, after = frame[:start], frame[body.end() :] if body else b""
        if _holds(before, after, parsed, path):
            return before, after
    return None


def _holds(before: bytes, after: bytes, parsed: Any, path: Sequence[str | int]) -> bool:
    """Whether a string between the two stands at the path, and changes nothing else."""
    try:
        probed = json.loads(before + _PROBE.encode() + after)
        expected = copy.deepcopy(parsed)
    except (ValueError, RecursionError):
        return False
    place = expected
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = _PROBE
    return bool(probed == expected)
