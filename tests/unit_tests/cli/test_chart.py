"""The picture of arrival times in characters: curves in, rows of a terminal out."""

import pytest
from rich.console import Console

from langchain_glm.cli._chart import ticks, to_chart
from langchain_glm.cli._probe import Arrival, Fragment, measure
from langchain_glm.cli._report import Comparison


def run(*points, end=None):
    """A run with these characters at these seconds."""
    arrivals = [Arrival(s, fragments=(Fragment(0, "x" * count),)) for s, count in points]
    return measure([*arrivals, *([Arrival(end)] if end else [])])


def compared(streamed, whole):
    return Comparison("glm-4.7", "http://glm.example", False, streamed, whole)


STEADY = run(*((n / 8, 32) for n in range(1, 33)))  # 1,024 characters in 4 s
WHOLE = run((3.0, 1024), end=4.0)
NOTHING = run(end=4.0)


def drawn(streamed, whole, width):
    chart = to_chart(compared(streamed, whole), width)
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(chart)
    return capture.get().splitlines()


def test_both_runs_over_the_same_axes():
    assert drawn(STEADY, WHOLE, 45) == [
        "characters │ with tool_stream",
        "     1,024 ┤                        ▁▂▃▄▅▆▇█",
        "           │                ▁▂▃▄▅▆▇█████████",
        "           │        ▁▂▃▄▅▆▇█████████████████",
        "         0 ┤▁▂▃▄▅▆▇█████████████████████████",
        "           │ without tool_stream",
        "     1,024 ┤                       █████████",
        "           │                       █████████",
        "           │                       █████████",
        "         0 ┤                       █████████",
        "           └┬───────┬───────┬───────┬──────┬",
        "            0 s     1 s     2 s     3 s",
    ]


@pytest.mark.parametrize("width", [25, 26, 40, 80, 81, 133, 300])
def test_it_fits_its_terminal(width):
    rows = drawn(STEADY, WHOLE, width)
    assert len(rows) == 12
    assert max(map(len, rows)) <= width
    assert {len(rows[1]), len(rows[6]), len(rows[10])} == {width - 1}  # the plots end together
    assert rows[11].split()[:2] == ["0", "s"]


@pytest.mark.parametrize("width", [0, 1, 24])
def test_nothing_where_the_terminal_is_too_narrow(width):
    assert to_chart(compared(STEADY, WHOLE), width) is None


def test_nothing_where_no_arguments_came():
    assert to_chart(compared(NOTHING, run()), 80) is None


def test_a_run_without_arguments_is_empty_and_says_so():
    rows = drawn(WHOLE, NOTHING, 60)
    assert rows[5] == "           │ without tool_stream (no arguments came)"
    assert not any("█" in row for row in rows[6:10])


# 0.7 * 48 / 48 is less than 0.7.
@pytest.mark.parametrize(("end", "width"), [(4.0, 60), (0.7, 61), (5.38, 70)])
def test_one_point_at_the_very_end_is_seen(end, width):
    rows = drawn(run((end / 2, 1024)), run((end, 1024)), width)
    assert [row[-1] for row in rows[6:10]] == ["█"] * 4
    assert not any("█" in row[:-1] for row in rows[6:10])


def test_one_point_at_once_fills_the_plot():
    rows = drawn(run((0.0, 7)), NOTHING, 60)
    assert all(row[12:] == "█" * 47 for row in rows[1:5])


def test_few_characters_among_many_are_seen():
    assert "▁" in drawn(run((1.0, 1)), run((2.0, 100_000)), 60)[4]


@pytest.mark.parametrize(
    ("width", "labels"), [(60, "0 s 100 s 200 s"), (80, "0 s 50 s 100 s 150 s 200 s 250 s")]
)
def test_runs_of_minutes_have_round_labels(width, labels):
    assert " ".join(drawn(run((300.0, 5)), NOTHING, width)[11].split()) == labels


@pytest.mark.parametrize(
    ("end", "most", "marks"),
    [
        (5.4, 8, [0, 1, 2, 3, 4, 5]),
        (5.4, 3, [0, 2, 4]),
        (4.0, 4, [0, 1, 2, 3, 4]),
        (0.3, 3, [0, 0.1, 0.2, 0.3]),
        (0.001, 5, [0, 0.0002, 0.0004, 0.0006, 0.0008, 0.001]),
        (1641, 5, [0, 500, 1000, 1500]),
        (1, 1, [0, 1]),
        (7, 1, [0]),
    ],
)
def test_ticks(end, most, marks):
    assert ticks(end, most) == pytest.approx(marks)
