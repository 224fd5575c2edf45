"""Measuring a stream of chunks: what arrived, when, and the numbers that follow from it.

`timed` notes the moment of each chunk, `measure` turns the moments into a `Measurement`. Only
`timed` looks at a clock.
"""

from __future__ import annotations

import itertools
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, AIMessageChunk

from langchain_glm.chat_models import ChatGLM

PROMPT = (
    "Write a Python program of about 60 lines that prints the first Fibonacci numbers as a "
    "table. Call write_file once, with the whole program for fib.py; do not show it in your answer."
)
"""A task that makes a model write a file by calling a tool."""

MOST_ARRIVALS = 200
"""How many points of its curve a measurement keeps."""

# As far as the first whole character of the string; an escape in halves is none yet.
_FILE_BEGINS = re.compile(r'"content"\s*:\s*"(?:[^"\\]|\\[^u]|\\u[0-9a-fA-F]{4})')


@dataclass(frozen=True)
class Fragment:
    """A piece of the arguments of one call.

    Attributes:
        call: The index of the call.
        text: The raw JSON text; empty in the chunk that only opens a call.
    """

    call: int | str | None
    text: str


@dataclass(frozen=True)
class Arrival:
    """One chunk, as far as measuring goes.

    Attributes:
        seconds: When it arrived, counted from the request.
        reasoning: Its piece of reasoning.
        text: Its piece of text.
        fragments: Its pieces of calls.
        finish_reason: Why the answer ended, on its last chunk.
    """

    seconds: float
    reasoning: str = ""
    text: str = ""
    fragments: tuple[Fragment, ...] = ()
    finish_reason: str | None = None


@dataclass(frozen=True)
class Measurement:
    """The numbers of one run. What did not arrive is None; seconds count from the request.

    Attributes:
        calls: How many tool calls the model began.
        fragments: How many pieces of arguments arrived, over all calls; empty ones apart.
        characters: How many characters of arguments arrived.
        fragment_characters_min: Characters in the shortest fragment.
        fragment_characters_median: Characters in the fragment in the middle.
        fragment_characters_max: Characters in the longest fragment.
        largest_share: How much of its call the longest fragment holds, 0 to 1; of several
            calls the one that came in the finest pieces.
        first_reasoning_seconds: The first reasoning.
        first_text_seconds: The first text.
        first_argument_seconds: The first fragment of arguments.
        first_file_character_seconds: The fragment with which the file's first character is whole.
        last_argument_seconds: The last fragment of arguments.
        total_seconds: The last chunk of all.
        longest_silence_seconds: The longest wait between two arrivals, or for the first one.
        finish_reason: Why the answer ended.
        arrivals: How many characters of arguments had arrived by which second, over all calls;
            thinned to `MOST_ARRIVALS` points that are spread over the fragments.
    """

    calls: int
    fragments: int
    characters: int
    fragment_characters_min: int | None
    fragment_characters_median: float | None
    fragment_characters_max: int | None
    largest_share: float | None
    first_reasoning_seconds: float | None
    first_text_seconds: float | None
    first_argument_seconds: float | None
    first_file_character_seconds: float | None
    last_argument_seconds: float | None
    total_seconds: float
    longest_silence_seconds: float
    finish_reason: str | None
    arrivals: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class _Piece:
    seconds: float
    text: str


def write_file(path: str, content: str) -> None:
    """Write a text file.

    Args:
        path: Where to write it.
        content: The whole content of the file.
    """


def ask(model: ChatGLM, prompt: str) -> Iterator[AIMessage]:
    """Stream the model's answer to the prompt, with `write_file` at hand; nothing runs it.

    Raises:
        GLMError: The request failed, at the first chunk or in the middle.
    """
    return model.bind_tools([write_file]).stream(prompt)


def timed(
    chunks: Iterable[AIMessage], clock: Callable[[], float] = time.perf_counter
) -> Iterator[Arrival]:
    """Note the moment of each chunk when it comes, before anybody looks at it.

    Args:
        chunks: A stream that has not begun: the request goes out with its first chunk.
        clock: Gives seconds, from any origin.
    """
    start = clock()
    for chunk in chunks:
        yield _arrival(clock() - start, chunk)


def measure(arrivals: Sequence[Arrival]) -> Measurement:
    """Draw the numbers from the arrivals of one run, in their order."""
    calls = _calls(arrivals)
    pieces = [piece for call in calls for piece in call]
    sizes = [len(piece.text) for piece in pieces]
    moments = [piece.seconds for piece in pieces]
    return Measurement(
        calls=len(calls),
        fragments=len(pieces),
        characters=sum(sizes),
        fragment_characters_min=min(sizes, default=None),
        fragment_characters_median=statistics.median(sizes) if sizes else None,
        fragment_characters_max=max(sizes, default=None),
        largest_share=min((_largest_share(call) for call in calls if call), default=None),
        first_reasoning_seconds=_first(
            arrival.seconds for arrival in arrivals if arrival.reasoning
        ),
        first_text_seconds=_first(arrival.seconds for arrival in arrivals if arrival.text),
        first_argument_seconds=min(moments, default=None),
        first_file_character_seconds=_first(moment for call in calls for moment in _began(call)),
        last_argument_seconds=max(moments, default=None),
        total_seconds=arrivals[-1].seconds if arrivals else 0.0,
        longest_silence_seconds=_longest_gap(arrivals),
        finish_reason=next((a.finish_reason for a in arrivals if a.finish_reason), None),
        arrivals=tuple(_thinned(_curve(arrivals))),
    )


def _arrival(seconds: float, chunk: AIMessage) -> Arrival:
    calls = chunk.tool_call_chunks if isinstance(chunk, AIMessageChunk) else []
    return Arrival(
        seconds,
        reasoning=chunk.additional_kwargs.get("reasoning_content") or "",
        text=str(chunk.text),
        fragments=tuple(Fragment(call["index"], call["args"] or "") for call in calls),
        finish_reason=chunk.response_metadata.get("finish_reason"),
    )


def _calls(arrivals: Iterable[Arrival]) -> list[list[_Piece]]:
    """The pieces of each call that was begun; none for a call that was only opened."""
    calls: dict[int | str | None, list[_Piece]] = {}
    for arrival in arrivals:
        for fragment in arrival.fragments:
            pieces = calls.setdefault(fragment.call, [])
            if fragment.text:
                pieces.append(_Piece(arrival.seconds, fragment.text))
    return list(calls.values())


def _largest_share(call: Sequence[_Piece]) -> float:
    sizes = [len(piece.text) for piece in call]
    return max(sizes) / sum(sizes)


def _began(call: Sequence[_Piece]) -> Iterator[float]:
    """The moment when the file of a call began, if it has one."""
    begins = _FILE_BEGINS.search("".join(piece.text for piece in call))
    if begins:
        ends = itertools.accumulate(len(piece.text) for piece in call)
        moments = zip(call, ends, strict=True)
        yield next(piece.seconds for piece, end in moments if end >= begins.end())


def _curve(arrivals: Iterable[Arrival]) -> list[tuple[float, int]]:
    """The moments of arguments, each with the characters that were there by then."""
    sizes = [(a.seconds, sum(len(fragment.text) for fragment in a.fragments)) for a in arrivals]
    some = [(seconds, size) for seconds, size in sizes if size]
    totals = itertools.accumulate(size for _, size in some)
    return [(seconds, total) for (seconds, _), total in zip(some, totals, strict=True)]


def _thinned(curve: Sequence[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    """The curve itself, or points of it at even distances, the first and the last among them."""
    kept = min(len(curve), MOST_ARRIVALS)
    last = len(curve) - 1
    return (curve[round(n * last / max(kept - 1, 1))] for n in range(kept))


def _first(moments: Iterable[float]) -> float | None:
    return min(moments, default=None)


def _longest_gap(arrivals: Iterable[Arrival]) -> float:
    moments = [0.0, *(arrival.seconds for arrival in arrivals)]
    return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=0.0)
