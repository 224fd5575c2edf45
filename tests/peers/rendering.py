"""The table in Markdown, English or Chinese, and the notes below it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .comparing import COLUMNS
from .rows import COSTS, NOTES, ROWS, VALUES, Text

MARKERS = ("<!-- comparison -->", "<!-- /comparison -->")
_MARKER = re.compile("|".join(map(re.escape, MARKERS)))
DOCUMENTS = {"README.md": "en", "README.zh-CN.md": "zh"}
"""The documents that have the table, with their languages."""

_CAPTION = Text(
    "Each cell is what the package did when `make compare` asked it, over HTTP, against the same "
    "scripted server, not Z.ai (with {}). What exactly was seen is in "
    "[tests/peers/comparison.json](tests/peers/comparison.json); CPU time is from "
    "`make bench-peers`, another run than that of the table below.",
    "每一格都是 `make compare` 的实测结果：各个包通过 HTTP 访问同一个模拟服务器，"
    "而不是 Z.ai 的线上服务（依赖版本：{}）。详细记录见 "
    "[tests/peers/comparison.json](tests/peers/comparison.json)；CPU 时间来自 "
    "`make bench-peers`，与下一节的表格不是同一次测量。",
)
_THIS = Text("this package", "本项目")
_COMMA = Text(", ", "、")
_NOTES = Text("Notes", "脚注")


def between_markers(document: str) -> str:
    """Give what stands between the marker comments.

    Raises:
        ValueError: The document does not have both, once, in order.
    """
    begin, end = MARKERS
    if _MARKER.findall(document) != [begin, end]:
        msg = f"a document has {begin} and {end}, once each"
        raise ValueError(msg)
    return document.partition(begin)[2].partition(end)[0].strip()


def write_table(document: Path, table: str) -> None:
    """Replace what stands between the markers of a document.

    Raises:
        ValueError: The document does not have both, once, in order.
    """
    text = document.read_text(encoding="utf-8")
    between_markers(text)
    before, begin, rest = text.partition(MARKERS[0])
    end, after = rest.partition(MARKERS[1])[1:]
    document.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")


def render(stored: Mapping[str, Any], language: str) -> str:
    """Write the table, the caption and the notes."""
    notes: list[str] = []
    rows = [
        ["", *(_heading(stored, name, language) for name in COLUMNS)],
        ["---", *([":-:"] * len(COLUMNS))],
        *_rows(stored, language, notes),
    ]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    caption = _in(_CAPTION, language).format(_versions(stored, language))
    numbered = "\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1))
    summary = _in(_NOTES, language)
    folded = f"<details>\n<summary>{summary}</summary>\n\n{numbered}\n\n</details>"
    return f"{lines}\n\n{caption}\n\n{folded}"


def _rows(stored: Mapping[str, Any], language: str, notes: list[str]) -> Iterator[list[str]]:
    labels = {name: row.label for name, row in ROWS.items()}
    for place, kind in ((labels, "cells"), (COSTS, "costs")):
        for name, label in place.items():
            cells = [stored[kind][column][name] for column in COLUMNS]
            yield [_in(label, language), *(_cell(cell, language, notes) for cell in cells)]


def _cell(cell: Mapping[str, Any], language: str, notes: list[str]) -> str:
    value = cell["value"]
    shown = _in(VALUES[value], language) if value in VALUES else value
    comma = _in(_COMMA, language)
    texts = [
        _in(NOTES[name], language).replace("{}", seen.replace(", ", comma))
        for name, seen in cell["notes"]
    ]
    for text in texts:
        if text not in notes:
            notes.append(text)
    marks = ", ".join(map(str, sorted(notes.index(text) + 1 for text in texts)))
    return f"{shown} <sup>{marks}</sup>" if marks else shown


def _heading(stored: Mapping[str, Any], name: str, language: str) -> str:
    distribution = COLUMNS[name].distribution
    version = stored["versions"].get(name, {}).get(distribution)
    below = f"{distribution} {version}" if version else _in(_THIS, language)
    return f"`{name}`<br>{below}"


def _versions(stored: Mapping[str, Any], language: str) -> str:
    """Name what else was installed, each package with all its versions."""
    found: dict[str, list[str]] = {}
    headed = {column.distribution for column in COLUMNS.values()}
    for versions in stored["versions"].values():
        for package, version in versions.items():
            if package not in headed and version not in found.setdefault(package, []):
                found[package].append(version)
    return _in(_COMMA, language).join(f"{p} {_or(v, language)}" for p, v in sorted(found.items()))


def _or(versions: Sequence[str], language: str) -> str:
    return _in(Text(" and ", " 和 "), language).join(versions)


def _in(text: Text, language: str) -> str:
    return str(getattr(text, language))
