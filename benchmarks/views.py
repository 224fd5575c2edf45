"""What a view of the growing arguments costs, on chunks that are in memory already."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import jiter
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.utils import message_chunk_to_message

from benchmarks.bodies import FRAGMENT, LINE, arguments
from benchmarks.measure import MICRO, Effort, agree, take_turns
from benchmarks.tables import Table
from langchain_glm.streaming import ArgumentDelta, ToolCallDelta, collect, tool_call_events

Chunks = list[AIMessageChunk]
View = Callable[[Chunks], dict[str, Any]]

_FULL_MERGE = "full += chunk"


def live(_: str, effort: Effort) -> Table:
    """Measure views that are up to date after each fragment."""
    sizes = effort.live_sizes
    factors = [(size, 4 * size) for size in sizes if 4 * size in sizes]
    rows = []
    for name, (view, line) in LIVE.items():
        seconds = _of_sizes(name, view, line, effort)
        times = [_quotient(seconds[many], seconds[few]) for few, many in factors]
        rows.append([name, *seconds.values(), *times])
    columns = ("", *(f"{size:g} KB" for size in sizes), *(f"{b:g} : {a:g}" for a, b in factors))
    return Table(
        f"The live view of arguments in fragments of {FRAGMENT} characters: seconds of CPU",
        columns,
        rows,
        f"Not run: what could have taken more than about {effort.seconds:g} seconds.",
    )


def merging(_: str, effort: Effort) -> Table:
    """Measure what makes one message of the chunks, at the end."""
    counts = (effort.growth[0] // 10, *effort.growth)
    rows = []
    for name, merge in MERGES.items():
        sizes: dict[int, float | None] = dict.fromkeys(counts)
        for count in counts if name != _FULL_MERGE else counts[:1]:
            sizes[count] = _cost(name, merge, count) / count * MICRO
        rows.append([name, *sizes.values()])
    title = "One message of the chunks of a call: µs of CPU per chunk"
    return Table(title, ("", *(f"{count:,} chunks" for count in counts)), rows)


def _of_sizes(name: str, view: View, line: str, effort: Effort) -> dict[float, float | None]:
    seconds: dict[float, float | None] = dict.fromkeys(effort.live_sizes)
    for size in effort.live_sizes:
        count = round(size * 1000 / FRAGMENT)
        taken = seconds[size] = _cost(name, view, count, line)
        if taken * 4 > effort.seconds:  # twice the text, four times the time
            break
    return seconds


def _cost(name: str, view: View, count: int, line: str = LINE) -> float:
    text = arguments(count, line=line)
    chunks = typed(text)
    shown: list[dict[str, Any]] = []
    sides = {name: lambda: shown.append(view(chunks))}
    taken = take_turns(sides, 1)
    if taken.median(name) < 1:
        taken = take_turns(sides, 3)
    agree(json.loads(text), {name: shown[-1]})
    return taken.median(name)


def _quotient(many: float | None, few: float | None) -> float | None:
    return many / few if many and few else None


def typed(text: str) -> Chunks:
    """Give the chunks of a call whose arguments are typed; like fragments are one object."""
    pieces = [text[at : at + FRAGMENT] for at in range(0, len(text), FRAGMENT)]
    chunk = {piece: _chunk(id=None, name=None, args=piece) for piece in set(pieces)}
    return [_chunk(id="call_1", name="write_file", args=""), *(chunk[piece] for piece in pieces)]


def _chunk(**call: Any) -> AIMessageChunk:
    return AIMessageChunk(
        content="",
        tool_call_chunks=[{"type": "tool_call_chunk", "index": 0, **call}],
        response_metadata={"model_provider": "zai"},
    )


def _view_text(chunks: Chunks) -> dict[str, Any]:
    content = "".join(
        event.text
        for event in tool_call_events(chunks)
        if isinstance(event, ArgumentDelta) and event.path == ("content",)
    )
    return {"path": "fib.py", "content": content}


def _view_arguments(chunks: Chunks) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for event in tool_call_events(chunks):
        if isinstance(event, ToolCallDelta):
            shown = event.arguments
    return shown


def _view_jiter(chunks: Chunks) -> dict[str, Any]:
    text = ""
    shown: dict[str, Any] = {}
    for chunk in chunks:
        text += chunk.tool_call_chunks[0]["args"] or ""
        if text:
            shown = jiter.from_json(text.encode(), partial_mode="trailing-strings")
    return shown


def _add(chunks: Chunks) -> dict[str, Any]:
    full = chunks[0]
    for chunk in chunks[1:]:
        full += chunk
    return full.tool_calls[0]["args"]


def _bulk(chunks: Chunks) -> dict[str, Any]:
    message: Any = message_chunk_to_message(chunks[0].__add__(chunks[1:]))
    return message.tool_calls[0]["args"]


_PLAIN = "fibonacci numbers are sums of the two before "

LIVE: Mapping[str, tuple[View, str]] = {
    "ArgumentDelta.text": (_view_text, LINE),
    "ToolCallDelta.arguments": (_view_arguments, LINE),
    "jiter after each fragment": (_view_jiter, LINE),
    "the same, ASCII without escapes": (_view_jiter, _PLAIN),
    _FULL_MERGE: (_add, LINE),
}
MERGES: Mapping[str, View] = {
    "collect": lambda chunks: collect(chunks).tool_calls[0]["args"],
    "first + rest": _bulk,
    _FULL_MERGE: _add,
}
