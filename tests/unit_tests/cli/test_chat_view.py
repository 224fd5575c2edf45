"""What a chat looks like, as text: what has settled, and what still moves. No terminal."""

import io

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from rich.console import Console

from langchain_glm.cli._chat_view import View, past
from langchain_glm.streaming import (
    ArgumentDelta,
    ArgumentFinished,
    MessageFinished,
    ReasoningDelta,
    RunFailed,
    RunFinished,
    RunInterrupted,
    TextDelta,
    ToolCallFinished,
    ToolCallInvalid,
    ToolCallStarted,
    ToolFailed,
    ToolFinished,
    ToolStarted,
)

WIDTH = 40
ONE = {"id": "call_1", "index": 0, "name": "write_file", "message_id": "m1"}
TWO = {"id": "call_2", "index": 1, "name": "search", "message_id": "m1"}
RAN = {"id": "call_1", "name": "write_file"}
FILE = "".join(f"line {n}\n" for n in range(100))


def drawn(*parts):
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=True)
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


class Watched:
    """A view with a clock: one second between two events, and before the first."""

    def __init__(self, *events):
        self.view, self.now, self.above = View(), 0.0, []
        self.begin()
        self.feed(*events)

    def begin(self):
        self.view.begin(self.now)

    def feed(self, *events):
        for event in events:
            self.now += 1.0
            self.above += self.view.feed(event, self.now)
        return self

    def stop(self):
        self.above += self.view.close(self.now)
        return self

    @property
    def settled(self):
        return drawn(*self.above)

    def moving(self, height=30):
        return drawn(self.view.moving(WIDTH, height, self.now))


def typed(about, **arguments):
    """The events of a call, typed in pieces of four characters."""
    yield ToolCallStarted(**about)
    for name, value in arguments.items():
        for at in range(0, len(value), 4):
            yield ArgumentDelta(text=value[at : at + 4], path=(name,), **about)
        yield ArgumentFinished(value=value, path=(name,), **about)
    yield ToolCallFinished(arguments, **about)


def end(usage=None):
    return MessageFinished(AIMessage("", id="m1"), "stop", usage, message_id="m1")


# Reasoning and text


def test_a_wait_is_to_be_seen():
    watched = Watched()
    watched.now += 7.4
    assert watched.moving() == "Waiting … 7 s"
    watched.feed(ReasoningDelta("Hm."), TextDelta("So."), end())
    watched.now += 2.0
    assert watched.moving() == "Waiting … 2 s"  # for the tools, or what comes behind them
    watched.feed(RunFinished({}))
    assert watched.moving() == ""


def test_a_stop_of_a_wait():
    assert Watched().stop().settled == "Stopped."


def test_reasoning_moves_and_folds_to_a_line():
    watched = Watched(ReasoningDelta("First this,\n"), ReasoningDelta("then that."))
    assert watched.moving() == "Thinking … 1 s\nFirst this,\nthen that."
    assert watched.settled == ""
    watched.feed(TextDelta("So:"))
    assert watched.settled == "Thought for 2.0 s, 22 characters"
    assert watched.moving() == "So:▌"


def test_long_reasoning_shows_its_end():
    rows = Watched(ReasoningDelta(FILE)).moving().splitlines()
    assert rows[0].startswith("Thinking")
    assert rows[-1] == "line 99"
    assert len(rows) <= 7


def test_text_is_markdown_whose_paragraphs_settle_as_they_end():
    watched = Watched(TextDelta("Once.\n\nSome **bo"), TextDelta("ld** text.\n\n- one\n- tw"))
    assert watched.settled.endswith("Once.\n\nSome bold text.\n")
    assert watched.moving() == " • one\n • tw▌"
    watched.feed(TextDelta("o\n"), end())
    assert watched.settled.endswith("\n\nSome bold text.\n\n • one\n • two")


@pytest.mark.parametrize(
    "text",
    [
        "```python\na = 1\n\nb = 2\n```\n",
        "- one\n\n  goes on\n\n  and on\n",
        "~~~\n\n\n~~~",
    ],
    ids=["a block of code", "a paragraph in a list", "empty lines in a fence"],
)
def test_what_belongs_together_settles_together(text):
    watched = Watched(*(TextDelta(character) for character in text))
    assert watched.above == []
    watched.feed(end())
    assert len(watched.above) == 1


def test_the_end_of_a_text_that_is_higher_than_the_terminal_is_shown():
    watched = Watched(TextDelta("```\n" + FILE))
    rows = watched.moving(height=12).splitlines()
    assert len(rows) <= 12
    assert "line 99" in "".join(rows)
    assert "line 1\n" not in watched.moving(height=12)


# Calls


def test_a_call_has_its_path_as_title_as_soon_as_it_is_known_and_its_file_grows():
    watched, moving = Watched(), []
    for event in typed(ONE, path="src/fib.py", content="def fib(n):\n    pass\n"):
        watched.feed(event)
        moving.append(watched.moving())
    assert "write_file ─" in moving[0]
    assert any("write_file src/fib. ─" in picture for picture in moving)
    whole = next(n for n, picture in enumerate(moving) if "write_file src/fib.py ─" in picture)
    begun = next(n for n, picture in enumerate(moving) if "│ def ▌" in picture)
    assert whole < begun < len(moving) - 1
    assert "│ def fib(n):" in moving[-1]
    assert "▌" not in moving[-1]
    assert watched.settled == ""


def test_other_arguments_are_lines():
    watched = Watched(*typed(TWO, text="needle", path="src"))
    assert "search src ─" in watched.moving()
    assert "│ text: needle" in watched.moving()


def test_values_that_are_no_strings_are_shown_as_json():
    values = {"list": [1, {"a": None}], "flag": True}
    watched = Watched(
        ToolCallStarted(**ONE),
        ArgumentFinished(value=1, path=("list", 0), **ONE),
        *(ArgumentFinished(value=value, path=(name,), **ONE) for name, value in values.items()),
    )
    assert '│ list: [1, {"a": null}]' in watched.moving()
    assert "│ flag: true" in watched.moving()


def test_a_long_file_shows_its_end_while_it_moves_and_its_beginning_when_it_has_settled():
    watched = Watched(*typed(ONE, path="a.txt", content=FILE))
    moving = watched.moving(height=15)
    assert len(moving.splitlines()) <= 15
    assert "line 99" in moving
    assert "line 1 " not in moving
    watched.feed(ToolStarted(**RAN), ToolFinished("Wrote it.", **RAN))
    assert "line 0" in watched.settled
    assert "line 99" not in watched.settled
    assert "… 85 more lines" in watched.settled


def test_a_tool_runs_and_ends_in_the_panel_of_its_call():
    watched = Watched(*typed(ONE, path="a.py", content="pass"), ToolStarted(**RAN))
    assert "running …" in watched.moving()
    watched.feed(ToolFinished("Wrote 4 characters.\nYes.", **RAN))
    assert watched.moving() == "Waiting … 0 s"
    title, code, *result, foot = watched.settled.splitlines()
    assert title.startswith("╭─ write_file a.py ─")
    assert code.startswith("│ pass ")
    assert [line.strip("│ ") for line in result] == ["Wrote 4 characters.", "Yes."]
    assert foot.endswith("─ done ─╯")


def test_an_error_of_a_tool():
    watched = Watched(*typed(ONE, path="a"), ToolStarted(**RAN), ToolFailed("No such file.", **RAN))
    assert "No such file." in watched.settled
    assert watched.settled.endswith("─ failed ─╯")


def test_a_cut_call_says_why_it_does_not_run():
    watched = Watched(
        ToolCallStarted(**ONE),
        ArgumentDelta(text="a.p", path=("path",), **ONE),
        ToolCallInvalid('{"path": "a.p', "cut", 13, "The call was cut off.", **ONE),
    )
    assert "write_file a.p ─" in watched.settled
    assert "The call was cut off." in watched.settled
    assert watched.settled.endswith("─ does not run ─╯")


def test_parallel_calls_share_the_terminal_and_settle_in_their_order():
    second = {**RAN, "id": "call_2", "name": "search"}
    watched = Watched(*typed(ONE, path="a", content=FILE), *typed(TWO, text="x"))
    moving = watched.moving(height=20)
    assert len(moving.splitlines()) <= 20
    assert moving.index("write_file a ─") < moving.index("search ─")
    watched.feed(ToolStarted(**RAN), ToolStarted(**second), ToolFinished("two", **second))
    assert watched.settled == ""
    watched.feed(ToolFinished("one", **RAN))
    assert watched.settled.index("│ one") < watched.settled.index("│ two")


def test_many_calls_on_a_low_terminal():
    watched = Watched(
        *(ToolCallStarted(**{**ONE, "index": n, "name": f"tool_{n}"}) for n in range(30))
    )
    picture = watched.moving(height=10)
    assert len(picture.splitlines()) <= 10
    assert "tool_29" in picture


def test_a_call_that_waits_for_a_person_settles_and_its_result_comes_below():
    watched = Watched(*typed(ONE, path="a.py", content="pass"), end(), RunInterrupted([]))
    assert watched.settled.endswith("─ waits for your word ─╯")
    watched.above.clear()
    watched.feed(ToolStarted({"path": "a.py"}, **RAN), ToolFinished("Wrote it.", **RAN))
    assert watched.settled.startswith("╭─ write_file a.py ─")
    assert "Wrote it." in watched.settled
    assert "pass" not in watched.settled


def test_a_refused_call_that_never_ran():
    watched = Watched(*typed(ONE, path="a.py", content="pass"), end(), RunInterrupted([]))
    watched.above.clear()
    watched.feed(ToolFailed("Rejected.", **RAN))
    assert watched.settled.startswith("╭─ write_file a.py ─")
    assert "Rejected." in watched.settled


# Ends


def test_the_end_tells_time_and_tokens_of_all_messages():
    usage = {"input_tokens": 1200, "output_tokens": 7, "total_tokens": 1207}
    watched = Watched(end(usage), RunInterrupted([]))
    watched.now += 1000.0  # a person thinks
    watched.begin()
    watched.feed(end(usage), RunFinished({}))
    assert watched.settled == "4.0 s · 2,400 tokens in, 14 out"


def test_without_usage_there_is_the_time():
    assert Watched(TextDelta("Hi"), end(), RunFinished({})).settled.splitlines()[-1] == "3.0 s"


def test_a_stop_keeps_what_was_there():
    watched = Watched(
        ReasoningDelta("Hm."), TextDelta("I wri"), *[*typed(ONE, path="a.py", content="pa")][:3]
    ).stop()
    assert "I wri\n" in watched.settled
    assert "─ stopped ─╯\nStopped." in watched.settled
    assert watched.moving() == ""


def test_a_stop_while_it_thinks():
    assert Watched(ReasoningDelta("Hm.")).stop().settled == (
        "Thought for 0.0 s, 3 characters\nStopped."
    )


@pytest.mark.parametrize("last", [RunFinished({}), RunFailed(ValueError("x")), RunInterrupted([])])
def test_a_run_that_has_ended_was_not_stopped(last):
    assert "Stopped." not in Watched(TextDelta("Hi"), last).stop().settled


def test_a_failure_keeps_what_was_there():
    watched = Watched(TextDelta("I wri"), RunFailed(ValueError("x")))
    assert watched.settled == "I wri"


# Strangers' text

EVIL = "\x1b[2J\x1b]0;title\x07\x08 [red]x[/red]\r\x9b"


@pytest.mark.parametrize(
    "events",
    [
        [ReasoningDelta(EVIL)],
        [TextDelta(EVIL), end()],
        [*typed(ONE, path=EVIL, content=EVIL)],
        [*typed(TWO, text=EVIL), ToolFinished(EVIL, **{**RAN, "id": "call_2"})],
        [ToolCallStarted(**{**ONE, "name": EVIL})],
        [ToolFailed(EVIL, **RAN)],
    ],
    ids=["reasoning", "text", "a file", "a result", "a name", "an error"],
)
def test_nothing_that_is_said_commands_the_terminal(events):
    watched = Watched(*events)
    shown = watched.moving() + watched.stop().settled
    assert not set("\x1b\x07\x08\r\x9b") & set(shown)
    assert "␛" in shown or "x" not in shown


def test_a_link_shows_where_it_leads():
    watched = Watched(TextDelta("[good](http://evil.example)"), end())
    assert watched.settled == "good (http://evil.example)"


# Coming back


def test_what_was_said_before():
    call = {"type": "tool_call", "id": "1", "name": "read_file", "args": {"path": "a.py"}}
    said = drawn(
        *past(
            [
                HumanMessage("Read it,\nplease"),
                AIMessage([{"type": "reasoning", "reasoning": "Hm"}], tool_calls=[call]),
                ToolMessage("content", tool_call_id="1"),
                AIMessage("It is **empty**."),
            ]
        )
    )
    assert said == "› Read it,\n  please\n• read_file a.py\nIt is empty."
