"""How things are measured: the CPU time of sides that take turns, in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmarks.bodies import Message

MICRO = 1e6


class Effort(NamedTuple):
    """How much is measured; see `__main__.py` for the two of them.

    Attributes:
        fragments: In a stream.
        rounds: How often each side takes its turn.
        calls: Of `invoke` in a turn.
        streams: At the same time.
        fragments_of_each: Of the streams at the same time.
        paced: The same, where the server takes its time.
        live_sizes: Of the arguments in the live view, in thousands of characters.
        seconds: What a turn of the live view may take; more than that is not run.
        imports: How often each package is imported.
        bytes: Of the stream whose memory is measured.
        growth: The fragments in a short and in a long stream.
    """

    fragments: int
    rounds: int
    calls: int
    streams: int
    fragments_of_each: int
    paced: int
    live_sizes: tuple[float, ...]
    seconds: float
    imports: int
    bytes: int
    growth: tuple[int, int]


class Disagreement(Exception):  # noqa: N818 - it is what it says
    """The sides of a pair do not say the same, so their times are not to be compared."""


def agree(expected: Any, said: Mapping[str, Any]) -> None:
    """Check that each side said what was expected.

    Raises:
        Disagreement: One did not.
    """
    for side, it_said in said.items():
        if it_said != expected:
            msg = f"{side} said {_short(it_said)}, expected {_short(expected)}"
            raise Disagreement(msg)


def without_reasoning(message: Message) -> Message:
    """Give what a side says that does not know reasoning."""
    return message._replace(reasoning="")


def _short(said: Any) -> str:
    text = repr(said)
    return text if len(text) < 400 else f"{text[:200]} … {text[-200:]}"


class Turns:
    """The CPU seconds that each side took in each round."""

    def __init__(self, seconds: Mapping[str, list[float]]) -> None:
        self.seconds = seconds

    def median(self, side: str) -> float:
        """Give a side's median, in seconds."""
        return statistics.median(self.seconds[side])

    def ratio(self, side: str, other: str) -> float:
        """Give the median of the ratios of the rounds: what slows a round slows both in it."""
        rounds = zip(self.seconds[side], self.seconds[other], strict=True)
        return statistics.median(mine / theirs for mine, theirs in rounds)


def take_turns(
    sides: Mapping[str, Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> Turns:
    """Run each side after the other, round by round."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, run in sides.items():
            gc.collect()
            began = clock()
            run()
            seconds[side].append(clock() - began)
    return Turns(seconds)
