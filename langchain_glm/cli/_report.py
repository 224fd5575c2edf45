"""What two measurements say: a verdict in words, a table, a JSON object. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from rich import box
from rich.table import Table

from langchain_glm.cli._probe import Measurement

SCRIPTED_NOTICE = (
    "No API key (ZAI_API_KEY, ZHIPUAI_API_KEY or --api-key) and no --base-url: "
    "asking the bundled scripted server on this machine instead. It runs no model: its numbers "
    "show what tool_stream changes, not how fast GLM is."
)

# A fragment that holds more of its call than this is the call: some servers send its last
# characters by themselves.
_WHOLE_SHARE = 0.9
# Fragments that come closer together than models write, after a long silence that dwarfs them,
# have been held back on the way.
_BURST_GAP_SECONDS = 0.002
_BURST_SHARE = 0.05
_BURST_SILENCE_SECONDS = 1.0
_SHORTEST_SECRET = 6  # characters; "none" and "empty" are what servers without keys are given


@dataclass(frozen=True)
class Comparison:
    """Two runs of one request.

    Attributes:
        model: The model's name.
        base_url: Where it was asked.
        scripted: Whether that is the bundled server, which runs no model.
        with_tool_stream: The run with `tool_stream`.
        without_tool_stream: The run without.
    """

    model: str
    base_url: str
    scripted: bool
    with_tool_stream: Measurement
    without_tool_stream: Measurement


@dataclass(frozen=True)
class Verdict:
    """What a comparison comes to.

    Attributes:
        name: `streams`, `burst`, `whole`, `no_arguments` or `no_call`.
        words: The same in a few sentences.
    """

    name: str
    words: str

    @property
    def streams(self) -> bool:
        """Whether the arguments stream with `tool_stream`."""
        return self.name == "streams"


def judge(comparison: Comparison) -> Verdict:
    """Decide whether the arguments streamed, by the run with `tool_stream`."""
    name = _name(comparison.with_tool_stream)
    words = _WORDS[name](comparison)
    return Verdict(name, f"{words} (Scripted server, no model.)" if comparison.scripted else words)


def to_json(comparison: Comparison) -> str:
    """Write the comparison and its verdict as one JSON object, on one line."""
    verdict = judge(comparison)
    fields = {
        "verdict": verdict.name,
        "streams": verdict.streams,
        "explanation": verdict.words,
        **asdict(comparison),
        "base_url": without_credentials(comparison.base_url),
    }
    return json.dumps(_rounded(fields))


def to_table(comparison: Comparison) -> Table:
    """Lay both runs side by side."""
    table = Table(title=to_title(comparison), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for heading in ("with tool_stream", "without"):
        table.add_column(heading, justify="right")
    for label, cell in _ROWS:
        runs = (comparison.with_tool_stream, comparison.without_tool_stream)
        table.add_row(label, *(cell(run) for run in runs))
    return table


def to_title(comparison: Comparison) -> str:
    """Say who was asked."""
    label = " (scripted server, no model)" if comparison.scripted else ""
    return f"{comparison.model} at {without_credentials(comparison.base_url)}{label}"


def without_credentials(url: str) -> str:
    """Take user, password, query and fragment out of a URL: keys travel in them too."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def error_line(message: str, secret: str) -> str:
    """Make one printable line of an error's message, without the key that a server repeats."""
    if len(secret) >= _SHORTEST_SECRET:
        message = message.replace(secret, "[the key]")
    line = " ".join(message.split())
    return "".join(character for character in line if character.isprintable())


def _name(run: Measurement) -> str:
    return next(name for name, holds in _CASES if holds(run))


def _is_burst(run: Measurement) -> bool:
    spread = _spread(run)
    return (
        run.longest_silence_seconds > _BURST_SILENCE_SECONDS
        and spread < _BURST_GAP_SECONDS * (run.fragments - 1)
        and spread < _BURST_SHARE * run.longest_silence_seconds
    )


def _spread(run: Measurement) -> float:
    return (run.last_argument_seconds or 0.0) - (run.first_argument_seconds or 0.0)


# The first that holds is the verdict.
_CASES: tuple[tuple[str, Callable[[Measurement], bool]], ...] = (
    ("no_call", lambda run: run.calls == 0),
    ("no_arguments", lambda run: run.fragments == 0),
    ("whole", lambda run: (run.largest_share or 0.0) > _WHOLE_SHARE),
    ("burst", _is_burst),
    ("streams", lambda _: True),
)


def _no_call(comparison: Comparison) -> str:
    run = comparison.with_tool_stream
    return (
        f"No tool call: the model did not call write_file (finish reason {run.finish_reason}), so "
        "this run says nothing about arguments. Run it again, raise --max-tokens, or give a "
        "--prompt that asks for a file."
    )


def _no_arguments(comparison: Comparison) -> str:
    run = comparison.with_tool_stream
    return (
        "No arguments: a tool call began, but not one fragment of its arguments arrived (finish "
        f"reason {run.finish_reason}). Run it again, or raise --max-tokens."
    )


def _whole(comparison: Comparison) -> str:
    run = comparison.with_tool_stream
    return (
        f"No, the arguments arrived whole, in {_count(run.fragments, 'fragment')} of up to "
        f"{_count(run.fragment_characters_max, 'character')}, {_after(run)}. The model or its "
        "server does not honor tool_stream (documented for GLM-4.6 to 5.2), or something on the "
        "way collects the call."
    )


def _burst(comparison: Comparison) -> str:
    run = comparison.with_tool_stream
    return (
        f"No, not live: all {run.fragments} fragments arrived within {_spread(run):.2f} s, after "
        f"{_seconds(run.longest_silence_seconds)} of silence. Something on the way, such as a "
        "buffering proxy, holds the stream back."
    )


def _streams(comparison: Comparison) -> str:
    run, other = comparison.with_tool_stream, comparison.without_tool_stream
    ending = " This server streams them without it, too." if _name(other) == "streams" else ""
    return (
        f"Yes, the arguments stream: {_count(run.fragments, 'fragment')}. With tool_stream "
        f"{_beginning(run)} is there {_after(run)}, without it {_after(other)}.{ending}"
    )


_WORDS: dict[str, Callable[[Comparison], str]] = {
    "no_call": _no_call,
    "no_arguments": _no_arguments,
    "whole": _whole,
    "burst": _burst,
    "streams": _streams,
}


def _beginning(run: Measurement) -> str:
    # A --prompt of one's own need not end in a file.
    no_file = run.first_file_character_seconds is None
    return "the first argument fragment" if no_file else "the first character of the file"


def _after(run: Measurement) -> str:
    moment = run.first_file_character_seconds or run.first_argument_seconds
    return "not at all (no arguments came)" if moment is None else f"after {_seconds(moment)}"


def _count(number: int | None, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _seconds(moment: float | None) -> str:
    return "-" if moment is None else f"{moment:.2f} s"


def _characters(run: Measurement) -> str:
    if run.fragment_characters_median is None:
        return "-"
    return (
        f"{run.fragment_characters_min} / {run.fragment_characters_median:g} / "
        f"{run.fragment_characters_max}"
    )


_ROWS: tuple[tuple[str, Callable[[Measurement], str]], ...] = (
    ("argument fragments", lambda run: str(run.fragments)),
    ("characters each (min / median / max)", _characters),
    ("first reasoning", lambda run: _seconds(run.first_reasoning_seconds)),
    ("first text", lambda run: _seconds(run.first_text_seconds)),
    ("first argument fragment", lambda run: _seconds(run.first_argument_seconds)),
    ("first character of the file", lambda run: _seconds(run.first_file_character_seconds)),
    ("last argument fragment", lambda run: _seconds(run.last_argument_seconds)),
    ("longest silence", lambda run: _seconds(run.longest_silence_seconds)),
)


def _rounded(value: Any) -> Any:
    """The same with every float to the millisecond."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value
