"""An answer as far as it has been written, for a person to read. Pure.

What a person wants to see is the file, not the JSON that it travels in. So the string `content` of
a call is decoded while it comes, whole characters only; all else is shown as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from langchain_glm.cli._probe import Arrival

_PATH = re.compile(r'(?<!\\)"path"\s*:\s*("(?:[^"\\]|\\.)*")')
_CONTENT = re.compile(r'(?<!\\)"content"\s*:\s*"')
# As much of a JSON string as is whole. The first half of a surrogate pair waits for what follows.
_CHARACTERS = re.compile(
    r"""(?: [^"\\]
        | \\["\\/bfnrt]
        | \\u(?![dD][89abAB])[0-9a-fA-F]{4}
        | \\u[dD][89abAB][0-9a-fA-F]{2}(?=\\u[0-9a-fA-F]{4}|\\[^u]|[^\\])
        )*""",
    re.VERBOSE,
)
_LONGEST = len(r"\ud83d\ude00")  # of what can be waiting for its other half


@dataclass(frozen=True)
class Arguments:
    """The arguments of one call, so far.

    Attributes:
        path: The argument `path`, if it came before the file.
        file: The characters of the argument `content`.
        raw: The JSON text that is neither of these yet.
        has_file: Whether `content` has begun.
    """

    path: str = ""
    file: str = ""
    raw: str = ""
    has_file: bool = False

    @property
    def shown(self) -> str:
        """The file; before it begins, or where its JSON is broken, the raw text."""
        is_broken = len(self.raw) >= _LONGEST and not self.raw.startswith('"')
        return self.file + self.raw if is_broken or not self.has_file else self.file


@dataclass(frozen=True)
class Answer:
    """What has been written.

    Attributes:
        reasoning: All of it.
        text: All of it.
        calls: The arguments of each call by its index; the last one is being written.
        characters: How many characters of arguments came, over all calls.
        fragments: In how many pieces.
    """

    reasoning: str = ""
    text: str = ""
    calls: Mapping[int | str | None, Arguments] = field(default_factory=dict)
    characters: int = 0
    fragments: int = 0

    @property
    def arguments(self) -> Arguments:
        """Those of the last call."""
        return [Arguments(), *self.calls.values()][-1]


def read_on(answer: Answer, arrivals: Iterable[Arrival]) -> Answer:
    """Add what came since."""
    arrivals = list(arrivals)
    pieces = [piece for arrival in arrivals for piece in arrival.fragments]
    new: dict[int | str | None, str] = {}
    for piece in pieces:
        new[piece.call] = new.get(piece.call, "") + piece.text
    calls = {call: _add(answer.calls.get(call, Arguments()), text) for call, text in new.items()}
    return Answer(
        reasoning=answer.reasoning + "".join(arrival.reasoning for arrival in arrivals),
        text=answer.text + "".join(arrival.text for arrival in arrivals),
        calls={**answer.calls, **calls},
        characters=answer.characters + sum(len(piece.text) for piece in pieces),
        fragments=answer.fragments + sum(1 for piece in pieces if piece.text),
    )


def _add(arguments: Arguments, text: str) -> Arguments:
    arguments = replace(arguments, raw=arguments.raw + text)
    if not arguments.has_file:
        arguments = _begin(arguments)
    if not arguments.has_file:
        return arguments
    whole = _CHARACTERS.match(arguments.raw)
    end = whole.end() if whole else 0
    characters = _decoded(f'"{arguments.raw[:end]}"')
    return replace(arguments, file=arguments.file + characters, raw=arguments.raw[end:])


def _begin(arguments: Arguments) -> Arguments:
    """Look for the beginning of the file."""
    begins = _CONTENT.search(arguments.raw)
    if begins is None:
        return arguments
    path = _PATH.search(arguments.raw, 0, begins.start())
    return Arguments(
        path=_decoded(path[1]) if path else "", raw=arguments.raw[begins.end() :], has_file=True
    )


def _decoded(string: str) -> str:
    # Models write line ends and tabs into strings as they are; strictly, JSON has them escaped.
    try:
        return str(json.loads(string, strict=False))
    except ValueError:
        return string
