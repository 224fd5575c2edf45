"""`docs/reliability.md` is true: its files are there, its counts and its limits are the code's."""

import re
from pathlib import Path

import pytest

from langchain_glm import _exchange, _json, _reader, _sse, errors
from langchain_glm._codes import CODES

HERE = Path(__file__).parent
PAGE = (HERE.parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|")
]
COUNTED = {row[4].strip("` "): int(row[3]) for row in ROWS if len(row) == 5 and row[3].isdecimal()}
COVERED = sorted(set(re.findall(r"`((?:\w+/)?test_\w+\.py)`", PAGE)))


@pytest.mark.parametrize("name", COVERED)
def test_a_file_that_the_page_names(name):
    assert (HERE / name).exists() or (HERE.parent / name).exists()


def test_every_file_here_is_on_the_page():
    files = {path.name for path in HERE.glob("test_*.py")} - {Path(__file__).name}
    assert files == set(COUNTED)


def test_the_counts(collected):
    """A run of some of the files, or of some of their tests, says nothing about them."""
    if set(COUNTED) <= set(collected):
        fewer = {name: collected[name] for name in COUNTED if collected[name] < COUNTED[name]}
        assert fewer == {}


def limit(what):
    return next(row[1] for row in ROWS if row[0].startswith(what))


def test_the_limits():
    assert limit("one line") == f"{_sse.MAX_LINE_BYTES // 2**20} MiB each, as decoded"
    assert limit("an answer that comes") == f"{_reader.MAX_BODY_BYTES // 2**20} MiB, as decoded"
    assert limit("frames in a row") == f"{_reader.MAX_EMPTY_FRAMES:,}"
    assert limit("levels of JSON") == str(_json.MAX_DEPTH)
    assert (
        limit("what is read") == f"{_exchange._DRAIN_SECONDS:g} s, {_exchange._DRAIN_PIECES} reads"
    )
    assert limit("`Retry-After`") == f"{_exchange._LONGEST_RETRY_AFTER:g} s"
    assert limit("characters") == str(errors._PREVIEW_CHARACTERS)


def codes_of(row):
    """The codes that a row of the table of retries names, `1000 to 1004` written out."""
    codes = set(re.findall(r"\b(?:\d{3,4}|[a-z]+(?:_[a-z]+)+)\b", row[0]))
    for first, last in re.findall(r"(\d{4}) to (\d{4})", row[0]):
        codes |= {str(code) for code in range(int(first), int(last) + 1)}
    return codes & set(CODES)


def test_every_code_is_in_the_table_of_retries():
    said = {code: row[1] for row in ROWS if len(row) == 2 for code in codes_of(row)}
    retried = {
        code: "yes" if errors._CLASSES[row.kind].is_retryable else "no"
        for code, row in CODES.items()
    }
    assert said == retried
