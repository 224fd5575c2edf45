"""README.md and README.zh-CN.md say the same: the same parts, in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"\s+#.*$", re.MULTILINE)
_PARTS = re.compile(r"^(#+ |\||- |```|<picture|<!-- /?comparison -->)", re.MULTILINE)


def outline(text: str) -> list[str]:
    """Name the headings, rows, items, blocks and pictures, in their order."""
    return _PARTS.findall(text)


def code(text: str) -> list[tuple[str, str]]:
    """Give the blocks without their comments, which each language has of its own."""
    return [(kind, _COMMENT.sub("", block)) for kind, block in _FENCE.findall(text)]


def names(text: str) -> list[str]:
    """Give what stands in backquotes outside of the blocks; prose may repeat it."""
    return sorted(set(re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))))


def numbers(text: str) -> list[str]:
    """Give the numbers outside of the blocks: the order of words differs."""
    return sorted(re.findall(r"\d+(?:\.\d+)*", _FENCE.sub("", text)))


def links(text: str) -> list[str]:
    """Give where it points to, but for the other README."""
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    return sorted(target for target in targets if not target.startswith("README"))


@pytest.mark.parametrize("part", [outline, code, names, numbers, links])
def test_both_have_the_same(part) -> None:
    english = part(ENGLISH)
    assert english
    assert part(CHINESE) == english


def test_each_links_to_the_other() -> None:
    assert "(README.zh-CN.md)" in ENGLISH
    assert "(README.md)" in CHINESE


def test_every_heading_is_translated() -> None:
    _, *headings = re.findall(r"^#+ (.+)", CHINESE, re.MULTILINE)
    assert headings
    assert all(re.search(r"[\u4e00-\u9fff]", heading) for heading in headings)
