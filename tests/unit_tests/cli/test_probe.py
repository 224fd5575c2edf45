"""Measuring and judging: hand-made arrivals in, numbers and words out."""

import dataclasses
import itertools
import json
import re

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import SecretStr
from rich.console import Console

from langchain_glm.cli._probe import (
    MOST_ARRIVALS,
    Arrival,
    Fragment,
    measure,
    timed,
    write_file,
)
from langchain_glm.cli._report import (
    Comparison,
    error_line,
    judge,
    to_json,
    to_table,
    without_credentials,
)
from langchain_glm.cli._target import find_key, open_target
from langchain_glm.errors import GLMAuthenticationError


def piece(seconds, text, call=0):
    return Arrival(seconds, fragments=(Fragment(call, text),))


THINKS = Arrival(0.5, reasoning="Hm.")
SAYS = Arrival(0.75, text="Here:")
OPENS = piece(1.0, "")
WHOLE = '{"path": "a.py", "content": "print(1)"}'


def end(seconds, reason="tool_calls"):
    return Arrival(seconds, finish_reason=reason)


FRAGMENTS = [
    piece(1.25, '{"path": "a.py",'),
    piece(1.5, ' "content": "'),
    piece(3.0, "pr"),
    piece(3.25, 'int(1)"}'),
]
STREAMED = [THINKS, SAYS, OPENS, *FRAGMENTS, end(3.5)]
AT_ONCE = [THINKS, SAYS, piece(3.0, WHOLE), end(3.25)]
LATER = [THINKS, piece(6.5, WHOLE), end(6.75)]
NO_CALL = [THINKS, SAYS, end(1.0, "stop")]
ONLY_REASONING = [THINKS, Arrival(0.625, reasoning="Hm."), end(0.75, "length")]
ONLY_OPENED = [OPENS, end(1.5, "length")]
TWO_WHOLE_CALLS = [piece(1.0, WHOLE, 0), piece(4.0, WHOLE * 2, 1), end(4.25)]
# vLLM can send the last characters of a call by themselves.
NEARLY_WHOLE = [piece(1.0, WHOLE[:-2]), piece(1.25, WHOLE[-2:]), end(1.5)]
# Sorted by arrival, the calls interleave; the second one has the file.
TWO_CALLS = [
    piece(1.0, "{}", "a"),
    piece(2.0, '{"content": "', "b"),
    piece(2.5, " ", "a"),
    piece(3.0, 'x"}', "b"),
    end(3.5),
]
HALF_ESCAPES = [
    piece(1.0, '{"content"'),
    piece(2.0, ' : "\\'),
    piece(3.0, "u00"),
    piece(4.0, "e9"),
    piece(5.0, '"}'),
]
OTHER_TASK = [piece(1.0, '{"ci'), piece(2.0, 'ty": '), piece(3.0, '"Bo'), piece(4.0, 'nn"}')]
EMPTY_FILE = [piece(1.0, '{"content": '), piece(2.0, '""'), piece(3.0, "}")]
BUFFERED = [piece(8.0 + n / 10_000, char) for n, char in enumerate(WHOLE)]
FAST = [piece(0.5 + n / 10_000, char) for n, char in enumerate(WHOLE)]
SLOW_TO_BEGIN = [piece(8.0 + n / 100, char) for n, char in enumerate(WHOLE)]

MEASUREMENTS = {
    "streamed": (
        STREAMED,
        {
            "calls": 1,
            "fragments": 4,
            "characters": 39,
            "fragment_characters_min": 2,
            "fragment_characters_median": 10.5,
            "fragment_characters_max": 16,
            "largest_share": 16 / 39,
            "first_reasoning_seconds": 0.5,
            "first_text_seconds": 0.75,
            "first_argument_seconds": 1.25,
            "first_file_character_seconds": 3.0,
            "last_argument_seconds": 3.25,
            "total_seconds": 3.5,
            "longest_silence_seconds": 1.5,
            "finish_reason": "tool_calls",
        },
    ),
    "whole": (
        AT_ONCE,
        {
            "calls": 1,
            "fragments": 1,
            "fragment_characters_min": 39,
            "fragment_characters_median": 39,
            "fragment_characters_max": 39,
            "largest_share": 1.0,
            "first_argument_seconds": 3.0,
            "first_file_character_seconds": 3.0,
            "last_argument_seconds": 3.0,
            "longest_silence_seconds": 2.25,
        },
    ),
    "no call": (
        NO_CALL,
        {
            "calls": 0,
            "fragments": 0,
            "characters": 0,
            "fragment_characters_median": None,
            "largest_share": None,
            "first_argument_seconds": None,
            "last_argument_seconds": None,
            "finish_reason": "stop",
        },
    ),
    "reasoning only": (
        ONLY_REASONING,
        {
            "calls": 0,
            "first_reasoning_seconds": 0.5,
            "first_text_seconds": None,
            "longest_silence_seconds": 0.5,  # the wait for the first arrival
            "finish_reason": "length",
        },
    ),
    "a call that is only opened": (ONLY_OPENED, {"calls": 1, "fragments": 0}),
    "several calls": (
        TWO_CALLS,
        {
            "calls": 2,
            "fragments": 4,
            "largest_share": 2 / 3,  # of the call in finer pieces
            "first_argument_seconds": 1.0,
            "first_file_character_seconds": 3.0,
            "last_argument_seconds": 3.0,
        },
    ),
    "several whole calls": (TWO_WHOLE_CALLS, {"fragments": 2, "largest_share": 1.0}),
    "an escape in halves": (HALF_ESCAPES, {"first_file_character_seconds": 4.0}),
    "an empty file": (EMPTY_FILE, {"first_file_character_seconds": None}),
    "nothing": ([], {"calls": 0, "total_seconds": 0.0, "longest_silence_seconds": 0.0}),
}


@pytest.mark.parametrize(("arrivals", "expected"), MEASUREMENTS.values(), ids=MEASUREMENTS)
def test_measure(arrivals, expected):
    numbers = dataclasses.asdict(measure(arrivals))
    assert {name: numbers[name] for name in expected} == expected


def test_timed_notes_the_moment_of_each_chunk():
    ticks = iter([10.0, 10.5, 11.0, 13.0, 14.0])
    call = {"name": "write_file", "args": None, "id": "1", "index": 3}
    chunks = [
        AIMessageChunk(content="", additional_kwargs={"reasoning_content": "Hm"}),
        AIMessageChunk(content="So:"),
        AIMessageChunk(content="", tool_call_chunks=[call, {**call, "args": "{"}]),
        AIMessageChunk(content="", response_metadata={"finish_reason": "stop"}),
    ]
    assert list(timed(chunks, lambda: next(ticks))) == [
        Arrival(0.5, reasoning="Hm"),
        Arrival(1.0, text="So:"),
        Arrival(3.0, fragments=(Fragment(3, ""), Fragment(3, "{"))),
        Arrival(4.0, finish_reason="stop"),
    ]


def test_timed_starts_its_clock_before_the_request_goes_out():
    now = [5.0]

    def slow():
        now[0] += 2.0
        yield AIMessage("Hi")

    assert list(timed(slow(), lambda: now[0])) == [Arrival(2.0, text="Hi")]


def test_timed_takes_the_moment_before_anybody_looks_at_the_chunk():
    now = [0.0]
    arrivals = timed([AIMessage("Hi")], lambda: now[0])
    arrival = next(arrivals)
    now[0] += 9.0  # a slow look
    assert arrival.seconds == 0.0
    assert list(arrivals) == []


CURVES = {
    "streamed": (STREAMED, ((1.25, 16), (1.5, 29), (3.0, 31), (3.25, 39))),
    "whole": (AT_ONCE, ((3.0, 39),)),
    "several calls": (TWO_CALLS, ((1.0, 2), (2.0, 15), (2.5, 16), (3.0, 19))),
    "two calls in one chunk": (
        [Arrival(1.0, fragments=(Fragment(0, "{}"), Fragment(1, "{"))), piece(2.0, "}", 1)],
        ((1.0, 3), (2.0, 4)),
    ),
    "only opened": (ONLY_OPENED, ()),
    "nothing": ([], ()),
}


@pytest.mark.parametrize(("arrivals", "curve"), CURVES.values(), ids=CURVES)
def test_the_curve_adds_up_the_arguments(arrivals, curve):
    assert measure(arrivals).arrivals == curve


@pytest.mark.parametrize("count", [MOST_ARRIVALS, MOST_ARRIVALS + 1, 10_000])
def test_a_long_curve_is_thinned_and_keeps_its_ends(count):
    curve = measure([piece(n / 100, "x") for n in range(count)]).arrivals
    assert len(set(curve)) == len(curve) == MOST_ARRIVALS
    assert (curve[0], curve[-1]) == ((0.0, 1), ((count - 1) / 100, count))
    gaps = {later - earlier for (_, earlier), (_, later) in itertools.pairwise(curve)}
    assert max(gaps) - min(gaps) <= 1


def test_nothing_runs_the_tool(tmp_path):
    write_file(str(tmp_path / "a"), "b")
    assert list(tmp_path.iterdir()) == []


def compared(arrivals, without=AT_ONCE, *, scripted=False):
    url = "https://user:password@glm.example:8000/v4"
    return Comparison("glm-4.7", url, scripted, measure(arrivals), measure(without))


VERDICTS = {
    "streams": (
        STREAMED,
        LATER,
        "streams",
        "the first character of the file is there after 3.00 s, without it after 6.50 s.",
    ),
    "streams without, too": (STREAMED, STREAMED, "streams", "This server streams them without it"),
    "nothing without": (STREAMED, NO_CALL, "streams", "without it not at all (no arguments came)"),
    "streams, no file": (
        OTHER_TASK,
        AT_ONCE,
        "streams",
        "With tool_stream the first argument fragment is there after 1.00 s",
    ),
    "whole": (
        AT_ONCE,
        AT_ONCE,
        "whole",
        "No, the arguments arrived whole, in 1 fragment of up to 39 characters, after 3.00 s.",
    ),
    "whole calls": (TWO_WHOLE_CALLS, AT_ONCE, "whole", "in 2 fragments of up to 78 characters"),
    "nearly whole": (NEARLY_WHOLE, AT_ONCE, "whole", "in 2 fragments of up to 37 characters"),
    "buffered": (
        BUFFERED,
        AT_ONCE,
        "burst",
        "all 39 fragments arrived within 0.00 s, after 8.00 s of silence",
    ),
    "fast": (FAST, AT_ONCE, "streams", "Yes"),
    "slow to begin": (SLOW_TO_BEGIN, AT_ONCE, "streams", "Yes"),
    "opened": (ONLY_OPENED, STREAMED, "no_arguments", "not one fragment"),
    "no call": (NO_CALL, STREAMED, "no_call", "did not call write_file (finish reason stop)"),
    "reasoning only": (ONLY_REASONING, STREAMED, "no_call", "(finish reason length)"),
}


@pytest.mark.parametrize(("arrivals", "without", "name", "words"), VERDICTS.values(), ids=VERDICTS)
def test_verdict(arrivals, without, name, words):
    verdict = judge(compared(arrivals, without))
    assert verdict.name == name
    assert words in verdict.words
    assert verdict.streams is (name == "streams")
    assert "cripted" not in verdict.words


@pytest.mark.parametrize("scripted", [True, False])
def test_numbers_of_the_scripted_server_are_labelled_everywhere(scripted):
    comparison = compared(STREAMED, scripted=scripted)
    console = Console(width=100)
    with console.capture() as table:
        console.print(to_table(comparison))
    assert ("scripted server" in table.get()) is scripted
    assert judge(comparison).words.endswith("(Scripted server, no model.)") is scripted
    assert json.loads(to_json(comparison))["scripted"] is scripted


def test_table_has_both_runs_side_by_side():
    console = Console(width=100)
    with console.capture() as capture:
        console.print(to_table(compared(STREAMED, NO_CALL)))
    rows = {}
    for line in capture.get().splitlines():
        label, *cells = re.split(r"\s{2,}", line.strip())
        rows[label] = cells
    assert rows["argument fragments"] == ["4", "0"]
    assert rows["characters each (min / median / max)"] == ["2 / 10.5 / 16", "-"]
    assert rows["first reasoning"] == ["0.50 s", "0.50 s"]
    assert rows["first text"] == ["0.75 s", "0.75 s"]
    assert rows["first argument fragment"] == ["1.25 s", "-"]
    assert rows["first character of the file"] == ["3.00 s", "-"]
    assert rows["last argument fragment"] == ["3.25 s", "-"]
    assert rows["longest silence"] == ["1.50 s", "0.50 s"]
    assert "glm-4.7 at https://glm.example:8000/v4" in capture.get()
    assert "password" not in capture.get()


def test_json_has_the_numbers_to_the_millisecond():
    late = [piece(1.23456, '{"content": "'), piece(2.0, 'abcdefghijklmn"}')]
    fields = json.loads(to_json(compared(late)))
    assert fields["verdict"] == "streams"
    assert fields["streams"] is True
    assert fields["base_url"] == "https://glm.example:8000/v4"
    assert fields["with_tool_stream"]["first_argument_seconds"] == 1.235
    assert fields["with_tool_stream"]["arrivals"] == [[1.235, 13], [2.0, 29]]
    assert fields["without_tool_stream"]["first_argument_seconds"] == 3.0
    assert fields["without_tool_stream"].keys() == fields["with_tool_stream"].keys()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.z.ai/api/paas/v4", "https://api.z.ai/api/paas/v4"),
        ("http://me:key@[::1]:80/v4?key=1#2", "http://[::1]:80/v4"),
    ],
)
def test_url_is_shown_without_credentials(url, shown):
    assert without_credentials(url) == shown


@pytest.mark.parametrize(
    ("message", "secret", "line"),
    [
        ("wrong key s3cret-key!", "s3cret-key", "wrong key [the key]!"),
        ("none of these", "none", "none of these"),
        ("<html>\n  <b>502\r\n</html>\x1b[31m", "s3cret-key", "<html> <b>502 </html>[31m"),
    ],
)
def test_an_error_is_one_line_without_the_key(message, secret, line):
    assert error_line(message, secret) == line


def test_key_of_the_command_line_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("ZAI_API_KEY", "from-environment")
    assert find_key("given") == SecretStr("given")
    assert find_key(None) == find_key("") == SecretStr("from-environment")


def test_the_line_end_of_a_key_is_taken_off():
    assert find_key("secret\n") == SecretStr("secret")


@pytest.mark.parametrize("key", ["sec\nret", "secret\x00", "sécret"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key):
    with pytest.raises(GLMAuthenticationError, match="API key") as caught:
        find_key(key)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (
            {"key": SecretStr("k"), "endpoint": "bigmodel"},
            {"endpoint": "bigmodel", "api_key": SecretStr("k")},
        ),
        ({"key": SecretStr("k")}, {"api_key": SecretStr("k")}),
        # A server that checks no key takes any.
        (
            {"key": None, "base_url": "http://x"},
            {"base_url": "http://x", "api_key": SecretStr("none")},
        ),
    ],
)
def test_target(arguments, fields):
    with open_target(**arguments) as target:
        assert target.fields == fields
        assert not target.scripted
