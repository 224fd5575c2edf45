"""Which answer is next, and what it comes down to: all of scripting that is not pure.

A script is an iterator of answers. Settling one calls what is callable, reads what is
recorded and gives the calls their ids, so that only plain values reach `_frames`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from langchain_glm.testing._answers import Answer, Call, Cut, Fail, Raw, Reply
from langchain_glm.testing._demonstration import demonstrate
from langchain_glm.testing._received import Received

_FRAME = re.compile(rb".+?(?:\r?\n\r?\n|\Z)", re.DOTALL)
_STATUS = re.compile(r"\.http(\d{3})\.")


def script(answers: Answer | Iterable[Answer] | None) -> Iterator[Answer]:
    """The answers in order; endless for the demonstration and for a single answer.

    Raises:
        TypeError: `answers` is neither an answer nor an iterable of answers.
    """
    if answers is None:
        return itertools.repeat(demonstrate)
    if isinstance(answers, Reply | Fail | Cut | Raw | Path) or callable(answers):
        return itertools.repeat(answers)
    if isinstance(answers, str | bytes | Mapping) or not isinstance(answers, Iterable):
        raise TypeError(f"neither an answer nor an iterable of answers: {answers!r}")
    return iter(answers)


def settle(answer: Answer, received: Received, call_numbers: Iterator[int]) -> Answer:
    """The value that `answer` comes down to for this request: no callable, no path.

    Raises:
        OSError: A recording cannot be read.
        ValueError: A recording's name has neither ending.
        Exception: Whatever a callable answer raises.
    """
    if callable(answer):
        return settle(answer(received), received, call_numbers)
    if isinstance(answer, Path):
        return _recorded(answer)
    if isinstance(answer, Cut):
        return replace(answer, answer=settle(answer.answer, received, call_numbers))
    if isinstance(answer, Reply):
        calls = [_with_id(call, call_numbers) for call in answer.tool_calls]
        return replace(answer, tool_calls=calls)
    return answer


def _with_id(call: Call, numbers: Iterator[int]) -> Call:
    return call if call.id is not None else replace(call, id=f"call_{next(numbers):04d}")


def _recorded(path: Path) -> Raw:
    named = _STATUS.search(path.name)
    status = int(named[1]) if named else 200
    body = path.read_bytes()
    if path.suffix == ".sse":
        # Frame by frame, so that a recording is paced like a `Reply`.
        return Raw(_FRAME.findall(body), status)
    if path.suffix == ".json":
        return Raw(body, status, "application/json")
    raise ValueError(f"a recording ends in .sse or .json, not {path.name}")
