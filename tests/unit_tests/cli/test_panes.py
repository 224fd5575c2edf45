"""The live view: a moment of two runs in, rows of a terminal out."""

import pytest
from rich.cells import cell_len
from rich.console import Console

from langchain_glm.cli._panes import Pane, printable, tail, to_picture
from langchain_glm.cli._probe import Arrival, Fragment
from langchain_glm.cli._typed import Answer, read_on

FILE = "".join(f"line {n} of the file\\n" for n in range(1, 41))
ANSWER = read_on(
    Answer(),
    [
        Arrival(0.1, reasoning="I wonder."),
        Arrival(0.2, text="Here it is:"),
        Arrival(0.3, fragments=(Fragment(0, f'{{"path": "fib.py", "content": "{FILE}'),)),
    ],
)
NEXT = Pane("without tool_stream")
RUNNING = Pane("with tool_stream", 2.34, True, ANSWER)
DONE = Pane("with tool_stream", 2.34, False, ANSWER)
SILENT = Pane("without tool_stream", 1.0, True, Answer(reasoning="I wonder."))
WHOLE = Pane("without tool_stream", 5.0, False, ANSWER)


def drawn(*panes, width=100, height=30):
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(to_picture(panes, width, height))
    return capture.get().splitlines()


def bodies(rows):
    """The text in the left pane and in the right one."""
    cells = [row.strip("│").split("││") for row in rows if row.startswith("│")]
    return ["\n".join(cell.strip() for cell in column) for column in zip(*cells, strict=True)]


def test_the_file_scrolls_below_what_the_model_says():
    left, right = bodies(drawn(RUNNING, NEXT))
    assert left.startswith("I wonder.\nHere it is:\n")
    assert left.endswith("line 39 of the file\nline 40 of the file\n▌")
    assert "line 9 " not in left
    assert right.strip() == ""


@pytest.mark.parametrize(
    ("panes", "heads", "feet"),
    [
        ((RUNNING, NEXT), ("with tool_stream: fib.py", "without tool_stream"), ("2.3 s", "next")),
        ((DONE, SILENT), ("fib.py", "without"), ("characters · 2.3 s", "no arguments yet · 1.0 s")),
        ((DONE, WHOLE), ("fib.py", "without tool_stream: fib.py"), ("· 2.3 s", "· 5.0 s")),
        ((DONE, Pane("without", 1.0)), ("fib.py", "without"), ("2.3 s", " no arguments · 1.0 s")),
    ],
    ids=["first", "second", "both done", "nothing came"],
)
def test_both_runs_stand_side_by_side(panes, heads, feet):
    first, *_, last = drawn(*panes)
    assert [word in half for word, half in zip(heads, first.split("╮╭"), strict=True)] == [True] * 2
    assert [word in half for word, half in zip(feet, last.split("╯╰"), strict=True)] == [True] * 2
    assert "981 characters" not in first


def test_the_pane_in_which_something_happens_is_the_wide_one():
    def left(*panes):
        return drawn(*panes)[0].index("╮") + 1

    assert left(RUNNING, NEXT) == 62
    assert left(DONE, SILENT) == 38
    assert left(DONE, WHOLE) == 50


@pytest.mark.parametrize("height", [8, 24, 60])
@pytest.mark.parametrize("width", [20, 67, 68, 80, 200])
@pytest.mark.parametrize("panes", [(RUNNING, NEXT), (DONE, SILENT), (DONE, WHOLE)])
def test_the_picture_fits_its_terminal_and_has_one_height(panes, width, height):
    rows = drawn(*panes, width=width, height=height)
    assert {cell_len(row) for row in rows} == {width}
    assert len(rows) == min(18, max(height - 6, 5))


def test_a_narrow_terminal_shows_the_run_that_goes_on():
    assert "with tool_stream: fib.py" in drawn(RUNNING, NEXT, width=60)[0]
    assert "without tool_stream" in drawn(DONE, SILENT, width=60)[0]
    assert "with tool_stream" in drawn(Pane("with tool_stream"), NEXT, width=60)[0]


def test_what_the_model_writes_cannot_command_the_terminal():
    evil = "\\u001b[2J\\u009b31m\\u202e\\ud83d]0;title\\u0007"
    call = Fragment(0, f'{{"path": "{evil}", "content": "{evil} end')
    answer = read_on(Answer(), [Arrival(0.0, "\x1b[H\r", "\x1b]8;;x", (call,))])
    rows = drawn(Pane("with", 1.0, True, answer), NEXT, width=200)
    assert all(row.isprintable() for row in rows)
    assert "␛[2J" in "\n".join(rows)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n  é 斐 😀", "a\n  é 斐 😀"),
        ("a\tb", "a   b"),
        ("\x1b[31m\r\x00", "␛[31m␍␀"),
        ("\x7f\x9b\u202e", "���"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [""]),
        ("a\nb", ["a", "b"]),
        ("a\nb\nc\nd", ["b", "c", "d"]),
        ("a\n", ["a", ""]),
        ("abcdefg", ["abcd", "efg"]),
        ("abcdefghijklmnop", ["efgh", "ijkl", "mnop"]),
        ("斐波那契", ["斐波", "那契"]),
    ],
)
def test_tail_of_three_rows_with_four_columns(text, rows):
    assert tail(text, 4, 3) == rows


def test_tail_without_room():
    assert tail("abc", 4, 0) == []
