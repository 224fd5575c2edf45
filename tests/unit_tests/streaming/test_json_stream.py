"""Every document is fed whole, character by character, and cut in two at every position."""

import itertools
import json
import re
import sys
import threading
import time

import jiter
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from langchain_glm.streaming import json_stream
from langchain_glm.streaming.json_stream import (
    MAX_DEPTH,
    Complete,
    Finished,
    Invalid,
    JSONStream,
    Started,
    Text,
    Truncated,
)


def read(*pieces):
    """All events of a text that came in these pieces, adjacent texts joined, and the outcome."""
    stream = JSONStream()
    events = [event for piece in pieces for event in stream.feed(piece)]
    return merged(events), stream.close()


def merged(events):
    joined = []
    for (path, is_text), group in itertools.groupby(events, lambda e: (e.path, type(e) is Text)):
        same_place = list(group)
        if is_text:
            same_place = [Text(path, "".join(event.text for event in same_place))]
        joined += same_place
    return joined


def in_pieces(text, sizes):
    pieces, at, sizes = [], 0, itertools.cycle(sizes)
    while at < len(text):
        pieces.append(text[at : (at := at + next(sizes))])
    return pieces


def every_split(text):
    yield (text,)
    yield tuple(text)
    yield ("", *itertools.chain.from_iterable((character, "") for character in text))
    for at in range(1, len(text)):
        yield text[:at], text[at:]
    if len(text) <= 24:
        for one, two in itertools.combinations(range(1, len(text)), 2):
            yield text[:one], text[one:two], text[two:]


def same(one, other):
    """Whether two values are equal, where NaN is itself, 1 is not 1.0 and keys have an order."""
    return repr(one) == repr(other)


# The oracle: json.loads, its surrogates mended, and the events of the tree that it read.


class Pairs(list):
    """An object as it was written, with equal keys."""


def mend(text):
    """Join the surrogate pairs of a string, and replace the halves that are left."""
    mended = []
    for character in text:
        if "\udc00" <= character <= "\udfff" and mended and "\ud800" <= mended[-1] <= "\udbff":
            low, high = ord(character) - 0xDC00, ord(mended.pop()) - 0xD800
            mended.append(chr(0x10000 + high * 0x400 + low))
        else:
            mended.append(character)
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in mended)


def written(text):
    return json.loads(text, strict=False, object_pairs_hook=Pairs)


def value_of(tree):
    if isinstance(tree, Pairs):
        return {mend(key): value_of(item) for key, item in tree}
    if isinstance(tree, list):
        return [value_of(item) for item in tree]
    return mend(tree) if isinstance(tree, str) else tree


def events_of(tree, path=()):
    yield Started(path)
    if isinstance(tree, Pairs):
        for key, item in tree:
            yield from events_of(item, (*path, mend(key)))
    elif isinstance(tree, list):
        for position, item in enumerate(tree):
            yield from events_of(item, (*path, position))
    elif isinstance(tree, str) and tree:
        yield Text(path, mend(tree))
    yield Finished(path, value_of(tree))


# Documents in any spelling.

SPACE = st.sampled_from(["", "", "", " ", "\t", "\n", "\r", " \r\n\t "])
PLAIN = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters='"\\', min_codepoint=32),
    max_size=6,
)
ESCAPES = st.one_of(
    st.sampled_from([rf"\{character}" for character in '"\\/bfnrt']),
    st.integers(0, 0xD7FF).map(r"\u{:04x}".format),
    st.integers(0xE000, 0xFFFF).map(r"\u{:04X}".format),
    st.sampled_from([r"\ud83d\ude00", r"\uD83D\uDE00", r"\ud83D\uDe00", r"\u00e9", r"\u00E9"]),
)
CONTROLS = st.text("\0\b\t\n\r\x1f", min_size=1, max_size=2)
HALVES = st.lists(
    st.sampled_from(["\ud83d", "\ude00", r"\ud83d", r"\uDE00", r"\uD800", "\udfff"]),
    min_size=1,
    max_size=3,
).map("".join)

DIGITS = st.text("0123456789", min_size=1, max_size=4)
SIGNS = st.sampled_from(["", "-"])
NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(10**30, 10**40).map(str),
    st.floats().map(json.dumps),
    st.tuples(
        SIGNS,
        st.sampled_from(["0", "1", "90", "123"]),
        st.one_of(st.just(""), DIGITS.map(".{}".format)),
        st.sampled_from(["", "e", "E", "e+", "E-"]),
        DIGITS,
    ).map(lambda parts: "".join(parts if parts[3] else parts[:3])),
)
SCALARS = st.one_of(NUMBERS, st.sampled_from(["true", "false", "null"]))


def strings(*atoms):
    return st.lists(st.one_of(*atoms), max_size=4).map(lambda parts: f'"{"".join(parts)}"')


def spaced(*parts):
    """Texts of these parts, with any white space between."""
    between = itertools.chain.from_iterable((part, SPACE) for part in parts)
    return st.tuples(SPACE, *between).map("".join)


def documents(string, keys):
    """Documents of these strings; `keys` makes the keys of one object of its drawn strings."""
    item = st.deferred(lambda: st.one_of(string, SCALARS, array, obj))
    array = st.lists(spaced(item), max_size=4).map(lambda items: f"[{','.join(items)}]")
    members = st.lists(st.tuples(spaced(string), spaced(item)), max_size=4)
    texts = members.map(lambda pairs: [f"{key}:{item}" for key, item in keys(pairs)])
    obj = texts.map(lambda members: f"{{{','.join(members)}}}")
    return spaced(st.one_of(obj, array, string))


def as_drawn(pairs):
    return pairs


def numbered(pairs):
    return [(key.replace('"', f'"{at} ', 1), item) for at, (key, item) in enumerate(pairs)]


def often_equal(pairs):
    return [(pairs[at // 2][0], item) for at, (_, item) in enumerate(pairs)]


WILD = strings(PLAIN, ESCAPES, CONTROLS, HALVES)
TAME = strings(PLAIN, ESCAPES)
DOCUMENTS = st.one_of(documents(WILD, as_drawn), documents(WILD, often_equal))
SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=5)

quick = settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)


# Cases.

ROOT = ()
LONE = "\ufffd"


def whole_string(text):
    """The events of a document that is a string."""
    return [Started(ROOT), *([Text(ROOT, text)] if text else []), Finished(ROOT, text)]


def case(name, text, events, outcome):
    return pytest.param(text, events, outcome, id=name)


def string_case(name, text, value):
    return case(name, text, whole_string(value), Complete(value))


def broken_string_case(name, text, shown, position):
    events = [Started(ROOT), *([Text(ROOT, shown)] if shown else [])]
    return case(name, text, events, Invalid(r"Invalid \escape", position))


VALUE, KEY, COMMA, COLON, EXTRA = (
    "Expecting value",
    "Expecting property name enclosed in double quotes",
    "Expecting ',' delimiter",
    "Expecting ':' delimiter",
    "Extra data",
)

CASES = [
    case("nothing", "", [], Truncated(0)),
    case("white_space", " \t\r\n", [], Truncated(4)),
    case(
        "one_argument",
        '{"path": "a.py"}',
        [
            Started(ROOT),
            Started(("path",)),
            Text(("path",), "a.py"),
            Finished(("path",), "a.py"),
            Finished(ROOT, {"path": "a.py"}),
        ],
        Complete({"path": "a.py"}),
    ),
    case(
        "nested",
        '{"a":[{"b":1},[]]}',
        [
            Started(ROOT),
            Started(("a",)),
            Started(("a", 0)),
            Started(("a", 0, "b")),
            Finished(("a", 0, "b"), 1),
            Finished(("a", 0), {"b": 1}),
            Started(("a", 1)),
            Finished(("a", 1), []),
            Finished(("a",), [{"b": 1}, []]),
            Finished(ROOT, {"a": [{"b": 1}, []]}),
        ],
        Complete({"a": [{"b": 1}, []]}),
    ),
    case(
        "equal_keys_end_as_the_last",
        '{"a":"x","b":0,"a":"y"}',
        [
            Started(ROOT),
            Started(("a",)),
            Text(("a",), "x"),
            Finished(("a",), "x"),
            Started(("b",)),
            Finished(("b",), 0),
            Started(("a",)),
            Text(("a",), "y"),
            Finished(("a",), "y"),
            Finished(ROOT, {"a": "y", "b": 0}),
        ],
        Complete({"a": "y", "b": 0}),
    ),
    case(
        "keys_with_escapes",
        r'{"\u00e9\n":{"":[]}}',
        [
            Started(ROOT),
            Started(("é\n",)),
            Started(("é\n", "")),
            Finished(("é\n", ""), []),
            Finished(("é\n",), {"": []}),
            Finished(ROOT, {"é\n": {"": []}}),
        ],
        Complete({"é\n": {"": []}}),
    ),
    case(
        "a_key_that_is_half_a_pair",
        r'{"\ud83d":0}',
        [Started(ROOT), Started((LONE,)), Finished((LONE,), 0), Finished(ROOT, {LONE: 0})],
        Complete({LONE: 0}),
    ),
    case("empty_object", "{ }", [Started(ROOT), Finished(ROOT, {})], Complete({})),
    case("empty_array", "[ ]", [Started(ROOT), Finished(ROOT, [])], Complete([])),
    string_case("empty_string", '""', ""),
    string_case("every_escape", r'"\"\\\/\b\f\n\r\t\u0041"', '"\\/\b\f\n\r\tA'),
    string_case("hexadecimals_of_both_cases", r'"\uABCD\uabcd\u00Ff"', "\uabcd\uabcd\u00ff"),
    string_case("an_escaped_backslash_before_a_quote", r'"\\"', "\\"),
    string_case("an_escaped_backslash_before_u", r'"\\u0041"', r"\u0041"),
    string_case("raw_control_characters", '"a\n\t\0\x1fb"', "a\n\t\0\x1fb"),
    string_case("raw_pair", '"😀"', "😀"),
    string_case("pair", r'"\ud83d\ude00."', "😀."),
    string_case("pair_of_two_spellings", '"\\ud83d\ude00\ud83d\\uDE00"', "😀😀"),
    string_case("raw_halves_of_a_pair", '"\ud83d\ude00"', "😀"),
    string_case("first_half_alone", r'"\ud83d"', LONE),
    string_case("first_half_before_a_letter", r'"\ud83dx"', LONE + "x"),
    string_case("first_half_before_an_escape", r'"\ud83d\n"', LONE + "\n"),
    string_case("first_half_before_a_pair", r'"\ud83d\ud83d\ude00"', LONE + "😀"),
    string_case("second_half_alone", r'"x\ude00"', "x" + LONE),
    string_case("pair_the_wrong_way_round", r'"\ude00\ud83d"', LONE + LONE),
    string_case("raw_half", '"\ud83d"', LONE),
    broken_string_case("unknown_escape", r'"ab\x"', "ab", 3),
    broken_string_case("escape_of_a_quote_by_itself", '"\\\'"', "", 1),
    broken_string_case("escape_with_a_wrong_digit", r'"ab\u00g0"', "ab", 3),
    broken_string_case("escape_ended_by_the_quote", r'"ab\u00"', "ab", 3),
    broken_string_case("digit_of_another_script", '"\\u004\u0661"', "", 1),
    broken_string_case("half_a_pair_before_a_broken_escape", r'"a\ud83d\x"', "a", 8),
    case("broken_escape_in_a_key", r'{"a\x":0}', [Started(ROOT)], Invalid(r"Invalid \escape", 3)),
    case("cut_string", '"ab', [Started(ROOT), Text(ROOT, "ab")], Truncated(3)),
    case("cut_escape", r'"ab\u00', [Started(ROOT), Text(ROOT, "ab")], Truncated(7)),
    case("cut_pair", r'"ab\ud83d\ud', [Started(ROOT), Text(ROOT, "ab")], Truncated(12)),
    case("cut_key", '{"ab', [Started(ROOT)], Truncated(4)),
    case("cut_after_a_key", '{"ab"', [Started(ROOT)], Truncated(5)),
    case("cut_after_a_colon", '{"ab":', [Started(ROOT)], Truncated(6)),
    case("cut_number_in_an_array", "[12", [Started(ROOT), Started((0,))], Truncated(3)),
    case("cut_literal_in_an_array", "[true", [Started(ROOT), Started((0,))], Truncated(5)),
    case("no_json", "Sure!", [], Invalid(VALUE, 0)),
    case("single_quotes", "{'a': 1}", [Started(ROOT)], Invalid(KEY, 1)),
    case("bare_key", "{a: 1}", [Started(ROOT)], Invalid(KEY, 1)),
    case("number_as_key", "{1: 1}", [Started(ROOT)], Invalid(KEY, 1)),
    case("byte_order_mark", "\ufeff{}", [], Invalid(VALUE, 0)),
    case("other_white_space", "\u00a0{}", [], Invalid(VALUE, 0)),
    case("form_feed", "[\f]", [Started(ROOT)], Invalid(VALUE, 1)),
    case("comma_first", "[,", [Started(ROOT)], Invalid(VALUE, 1)),
    case("trailing_comma_in_an_object", '{"a":{},}', None, Invalid(KEY, 8)),
    case("trailing_comma_in_an_array", "[[],]", None, Invalid(VALUE, 4)),
    case("two_commas", "[[],,", None, Invalid(VALUE, 4)),
    case("no_comma", '["a""b"]', None, Invalid(COMMA, 4)),
    case("no_comma_in_an_object", '{"a":{}"b"', None, Invalid(COMMA, 7)),
    case("no_colon", '{"a" 1', [Started(ROOT)], Invalid(COLON, 5)),
    case("comma_for_a_colon", '{"a",', [Started(ROOT)], Invalid(COLON, 4)),
    case("array_closed_as_object", "[[]}", None, Invalid(COMMA, 3)),
    case("object_closed_as_array", '{"a":{}]', None, Invalid(COMMA, 7)),
    case("empty_array_closed_as_object", "[}", [Started(ROOT)], Invalid(VALUE, 1)),
    case("empty_object_closed_as_array", "{]", [Started(ROOT)], Invalid(KEY, 1)),
    case("object_without_a_value", '{"a":}', [Started(ROOT)], Invalid(VALUE, 5)),
    case("a_bracket_too_many", "[]]", [Started(ROOT), Finished(ROOT, [])], Invalid(EXTRA, 2)),
    case("second_document", "{} {}", [Started(ROOT), Finished(ROOT, {})], Invalid(EXTRA, 3)),
    case("fence_after", "[]\n```", [Started(ROOT), Finished(ROOT, [])], Invalid(EXTRA, 3)),
    case("white_space_after", "[]\n \t\r", [Started(ROOT), Finished(ROOT, [])], Complete([])),
    case("second_scalar", "1 2", [Started(ROOT), Finished(ROOT, 1)], Invalid(EXTRA, 2)),
]


@pytest.mark.parametrize(("text", "events", "outcome"), CASES)
def test_a_text_gives_its_events_and_outcome_in_every_split(text, events, outcome):
    whole = read(text)
    assert same(whole[1], outcome)
    assert events is None or same(whole[0], events)
    for pieces in every_split(text):
        assert same(read(*pieces), whole), pieces


SCALARS_AS_WRITTEN = [
    "0", "-0", "7", "-12", "1234567890123456789012345678901234567890", "0.5", "-0.0", "1.50",
    "0e0", "1E5", "1e+5", "12.25E-3", "-1e-400", "1e400", "123456789.123456789e-9", "NaN",
    "Infinity", "-Infinity", "true", "false", "null",
]  # fmt: skip
HALF_SCALARS = [
    "-", "1.", "-0.", "1e", "1E+", "1.5e-", "t", "tru", "f", "fals", "n", "nul", "N", "Na", "I",
    "Inf", "Infinit", "-I", "-Infinit",
]  # fmt: skip
BROKEN_SCALARS = [
    "01", "-01", "00", ".5", "+1", "1.e5", "1.5.", "1e5e", "1-2", "--", "-.", "-e", "1e+-", "0x1",
    "1e5.0", "1a", "truE", "trues", "True", "nulll", "nan", "-NaN", "Infinityy", "--Infinity",
    "undefined", "None",
]  # fmt: skip


@pytest.mark.parametrize("scalar", SCALARS_AS_WRITTEN)
def test_a_number_or_literal_is_whole_with_what_follows_it(scalar):
    value = json.loads(scalar)
    for text in (f"[{scalar}]", f"[{scalar} ]", f"[0,{scalar},0]"):
        for pieces in every_split(text):
            assert same(read(*pieces), ([*events_of(written(text))], Complete(json.loads(text))))
    for pieces in every_split(f"{scalar} "):
        assert same(read(*pieces), ([Started(ROOT), Finished(ROOT, value)], Complete(value)))
    for pieces in every_split(scalar):
        assert same(read(*pieces), ([Started(ROOT)], Complete(value)))


@pytest.mark.parametrize("scalar", HALF_SCALARS)
def test_half_a_number_or_literal_is_truncated_and_not_shown(scalar):
    for text in (scalar, f"[{scalar}", f'{{"a":{scalar}'):
        stream = JSONStream()
        events = [event for character in text for event in stream.feed(character)]
        assert not any(isinstance(event, Finished) for event in events)
        assert stream.value == {"[": [], "{": {}}.get(text[0])
        assert stream.close() == Truncated(len(text))


@pytest.mark.parametrize("text", ["[12", "[0,true", '{"a":1.5', "[1.", "[nul", '["a', '{"a'])
def test_a_cut_text_shows_nothing_more_at_its_end(text):
    stream = JSONStream()
    stream.feed(text)
    before = stream.value

    assert stream.close() == Truncated(len(text))
    assert same(stream.value, before)
    assert same(stream.feed(""), [])
    assert same(stream.value, before)


@pytest.mark.parametrize("scalar", [*HALF_SCALARS, *BROKEN_SCALARS])
def test_a_broken_number_or_literal_is_invalid_where_it_begins(scalar):
    for text in (f"[{scalar}]", f"[{scalar} ", f'[{scalar}"'):
        for pieces in every_split(text):
            assert read(*pieces)[1] == Invalid(VALUE, 1), pieces


@pytest.mark.parametrize("scalar", BROKEN_SCALARS)
def test_a_broken_number_or_literal_is_invalid_at_the_end_of_the_text(scalar):
    for pieces in every_split(scalar):
        assert read(*pieces)[1] == Invalid(VALUE, 0), pieces


def test_an_integer_of_more_digits_than_python_reads_is_invalid():
    digits = "7" * (sys.get_int_max_str_digits() + 1)

    assert read(f"[{digits}]")[1] == Invalid(VALUE, 1)
    assert read(f"[{digits}.0]")[1] == Complete([float("inf")])
    assert read(f"[{digits}")[1] == Truncated(len(digits) + 1)
    assert read(digits)[1] == Truncated(len(digits))


# Properties.


@quick
@given(DOCUMENTS, SIZES)
@example('{"\ud800":1,"\udfff":2,"\ud800":3}', [1])
def test_a_document_is_read_as_json_loads_reads_it(text, sizes):
    tree = written(text)

    events, outcome = read(*in_pieces(text, sizes))

    assert same(outcome, Complete(value_of(tree)))
    assert same(events, list(events_of(tree)))


def mutated(text, at, other):
    at %= len(text) + 1
    return st.sampled_from(
        [text[:at], text[at:], text[:at] + other + text[at:], text[:at] + other + text[at + 1 :]]
    )


BROKEN = st.one_of(
    st.text(st.characters()),
    st.text('{}[]",:\\u0123dDeE8cC.+-truefalsnNI \n', max_size=12),
    st.tuples(DOCUMENTS, st.integers(0, 500), st.one_of(st.text('{}[]",:\\u0e1. ', max_size=2)))
    .flatmap(lambda parts: mutated(*parts)),
    st.tuples(DOCUMENTS, DOCUMENTS, st.integers(0, 50)).map(lambda p: p[0][: p[2]] + p[1]),
)  # fmt: skip

LITERALS = ["true", "false", "null", "NaN", "Infinity"]
TOKEN_ENDS = [
    "", '"', 'n"', *(f'{"0" * count}"' for count in range(1, 5)), "0", "0.0", ".0",
    *(word[at:] for word in LITERALS for at in range(len(word))),
]  # fmt: skip
MEMBER_ENDS = ["", "0", ":0", '"":0']


def accepted(text):
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True


def can_go_on(text):
    """Whether some text after this one makes it a document: all ways to end what is open."""
    skeleton = re.sub(r'"(?:[^"\\]|\\.)*("|\Z)', "", text, flags=re.DOTALL)
    closers = []
    for bracket in re.findall(r"[][{}]", skeleton):
        if bracket in "[{":
            closers.append("]" if bracket == "[" else "}")
        elif closers:
            closers.pop()
    end = "".join(reversed(closers))
    return any(accepted(text + ends + more + end) for ends in TOKEN_ENDS for more in MEMBER_ENDS)


@quick
@given(BROKEN, SIZES)
def test_any_text_is_complete_truncated_or_invalid_in_every_split(text, sizes):
    events, outcome = read(text)

    assert same(read(*in_pieces(text, sizes)), (events, outcome))
    if accepted(text):
        assert same(outcome, Complete(value_of(written(text))))
    elif can_go_on(text):
        assert outcome == Truncated(len(text))
    else:
        assert isinstance(outcome, Invalid)
        assert 0 <= outcome.position < len(text)


@quick
@given(BROKEN)
def test_a_text_is_invalid_from_where_nothing_can_mend_it(text):
    outcome = read(text)[1]

    if isinstance(outcome, Invalid):
        assert can_go_on(text[: outcome.position])


def grew(before, after):
    """Whether a value that was shown stands in a later one, only more of it."""
    if isinstance(before, str):
        return isinstance(after, str) and after.startswith(before)
    if isinstance(before, list):
        return len(before) <= len(after) and all(map(grew, before, after))
    if isinstance(before, dict):
        return list(after)[: len(before)] == list(before) and all(
            grew(item, after[key]) for key, item in before.items()
        )
    return same(before, after)


def shown(text, sizes):
    """The value after each piece, with its look at that time."""
    stream = JSONStream()
    for piece in in_pieces(text, sizes):
        stream.feed(piece)
        yield stream.value, repr(stream.value)


@quick
@given(st.one_of(documents(WILD, numbered), BROKEN.filter(lambda text: '"' not in text)), SIZES)
@example('{"a": "text that was shown\\x', [1])
@example(r'{"a": ["b\x', [1])
def test_what_was_shown_grows_and_is_never_taken_back(text, sizes):
    values = [(value, look) for value, look in shown(text, sizes) if value is not None]

    for (before, _), (after, _) in itertools.pairwise(values):
        assert grew(before, after)
    for value, look in values:
        assert repr(value) == look
        json.dumps(value, ensure_ascii=False).encode()
    if accepted(text) and values:
        assert grew(values[-1][0], value_of(written(text)))


@quick
@given(BROKEN, SIZES)
def test_texts_are_the_string_that_is_shown(text, sizes):
    stream, texts = JSONStream(), {}
    for piece in in_pieces(text, sizes):
        for event in stream.feed(piece):
            match event:
                case Started(path):
                    texts[path] = ""
                case Text(path, more):
                    assert more
                    texts[path] += more
                    more.encode()
                case Finished(path, str(value)):
                    assert texts.pop(path) == value
        value = stream.value
        for path, typed in texts.items():
            if typed:
                assert at_path(value, path) == typed


def at_path(value, path):
    for key in path:
        value = value[key]
    return value


# Beside jiter.


def without_open_scalar(text):
    """A text without the number or literal that it ends in, which jiter shows and we hold."""
    in_string = '"' in re.sub(r'"(?:[^"\\]|\\.)*"', "", text, flags=re.DOTALL)
    return text if in_string else re.sub(r"[-+.0-9A-Za-z]+\Z", "", text)


def jiter_value(text):
    return jiter.from_json(text.encode(), partial_mode="trailing-strings")


@quick
@given(st.one_of(documents(TAME, as_drawn), documents(TAME, often_equal)))
def test_every_prefix_is_shown_as_jiter_shows_it(text):
    stream = JSONStream()
    for end in range(1, len(text) + 1):
        stream.feed(text[end - 1])
        prefix = without_open_scalar(text[:end])
        assert same(stream.value, jiter_value(prefix) if prefix.strip() else None)


@pytest.mark.parametrize(
    ("prefix", "by_jiter", "by_us"),
    [
        pytest.param("[1, 12", [1, 12], [1], id="a_number_that_may_go_on"),
        pytest.param("[1.5", [1.5], [], id="a_fraction_that_may_go_on"),
        pytest.param("12", 12, None, id="a_number_alone"),
        pytest.param("[true", [True], [], id="a_literal_that_may_go_wrong"),
        pytest.param("[NaN", ["nan"], [], id="a_literal_of_pythons"),
        pytest.param('["a\n', ValueError, ["a\n"], id="a_raw_control_character"),
        pytest.param(r'["\ud83dx', ValueError, [LONE + "x"], id="first_half_of_a_pair_alone"),
        pytest.param(r'["\ude00', ValueError, [LONE], id="second_half_of_a_pair_alone"),
        pytest.param('["\ud83dx', ValueError, [LONE + "x"], id="a_raw_half_of_a_pair"),
        pytest.param("[0,1x", [0, 1], [0], id="garbage_after_a_number"),
        pytest.param(r'["ab\x', ValueError, ["ab"], id="a_broken_escape_after_a_string"),
        pytest.param('["a",]', ValueError, ["a"], id="a_trailing_comma"),
        pytest.param(" ", ValueError, None, id="white_space"),
    ],
)
def test_where_jiter_shows_something_else(prefix, by_jiter, by_us):
    stream = JSONStream()
    stream.feed(prefix)

    assert same(stream.value, by_us)
    if by_jiter is ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - or UnicodeEncodeError
            jiter_value(prefix)
    else:
        assert same(jiter_value(prefix), [float("nan")] if by_jiter == ["nan"] else by_jiter)


# The object.


def test_a_value_is_known_from_its_first_character():
    stream, values = JSONStream(), []
    for piece in [" ", "{", '"a"', ":", " [", '"', "x", '"', ", 1", " ", "]", "}"]:
        stream.feed(piece)
        values.append(stream.value)

    assert values[0] is None
    assert values[1:5] == [{}, {}, {}, {"a": []}]
    assert values[5:] == [
        *({"a": [shown]} for shown in ("", "x", "x")),
        {"a": ["x"]},
        *[{"a": ["x", 1]}] * 3,
    ]


def test_a_value_is_put_together_once_for_a_piece():
    stream = JSONStream()
    stream.feed('{"a":["x')

    first = stream.value

    assert stream.value is first
    stream.feed("y")
    assert (first, stream.value) == ({"a": ["x"]}, {"a": ["xy"]})


def test_what_is_whole_is_shared_and_what_is_open_is_copied():
    stream = JSONStream()
    *_, finished = stream.feed("[[1],[")[:5]
    value = stream.value

    assert value[0] is finished.value
    value[1].append("a stranger's")
    value.append("a stranger's")
    stream.feed("2]]")
    assert stream.close() == Complete([[1], [2]])


def test_an_equal_key_is_opened_again():
    stream, values = JSONStream(), []
    for piece in ['{"a":"long"', ',"a"', ":", '"', "s", '","a":[', '{"a":', "0}"]:
        stream.feed(piece)
        values.append(stream.value["a"])

    assert values == ["long", "long", "long", "", "s", [], [{}], [{"a": 0}]]


@pytest.mark.parametrize("shown", ['"ab', '["ab', '{"a":"ab', '{"a":["x",{"b":"ab'])
def test_what_was_shown_stays_when_the_text_turns_out_to_be_no_json(shown):
    stream = JSONStream()
    stream.feed(shown)
    before = stream.value

    assert stream.feed(r"\x") == []
    assert stream.value == before
    assert stream.close() == Invalid(r"Invalid \escape", len(shown))


@pytest.mark.parametrize("broken", ["[x", '["a\\x', "{}x", "[1x ", "[" * (MAX_DEPTH + 1)])
def test_nothing_comes_after_the_text_turned_out_to_be_no_json(broken):
    stream = JSONStream()
    stream.feed(broken)
    outcome, value = stream.close(), stream.value

    assert isinstance(outcome, Invalid)
    assert stream.feed('"a"], {"b": "c"} \\ud83d \\') == []
    assert (stream.close(), stream.value) == (outcome, value)


def test_the_end_can_be_asked_for_twice():
    stream = JSONStream()
    stream.feed("12")
    assert stream.value is None

    assert (stream.close(), stream.close(), stream.value) == (Complete(12), Complete(12), 12)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(opening, closing):
    deepest = "0".join([opening * MAX_DEPTH, closing * MAX_DEPTH])
    assert read(deepest)[1] == Complete(json.loads(deepest))
    assert read(*deepest)[1] == Complete(json.loads(deepest))

    stream = JSONStream()
    started = [event for _ in range(100_000) for event in stream.feed(opening)]

    assert len(started) == MAX_DEPTH
    assert repr(stream.value).count(opening[0]) == MAX_DEPTH
    invalid = Invalid(f"Nested deeper than {MAX_DEPTH}", MAX_DEPTH * len(opening))
    assert stream.close() == invalid
    assert read(opening * 100_000)[1] == invalid


# What it costs.


def fragments(count, piece="\\n中文"):
    return ['{"a":"', *[piece] * count, '"}']


def calls(pieces, *, watched):
    """How many functions are called while these pieces are read."""
    stream, count = JSONStream(), 0

    def on_event(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(on_event)
    try:
        for piece in pieces:
            stream.feed(piece)
            if watched:
                stream.value  # noqa: B018 - a look at it
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("piece", ["abcd", "\\n中文", "\\ud8", '","', '":[{},1],"'])
def test_twice_the_text_takes_twice_the_calls(piece, watched):
    once, twice = (calls(fragments(n, piece), watched=watched) for n in (500, 1000))

    assert twice <= 2 * once


def test_a_long_string_comes_in_small_pieces():
    text = json.dumps({"content": 'say "中文"\n' * 100_000}, ensure_ascii=False)

    events, outcome = read(*in_pieces(text, [4]))

    assert outcome == Complete(json.loads(text))
    assert [type(event) for event in events] == [Started, Started, Text, Finished, Finished]


def seconds_to_watch(typed):
    """What it takes to look at a string after each of 2,000 pieces, when so much is typed."""
    stream = JSONStream()
    stream.feed(f'["{typed}')
    for count in range(2_002):
        if count == 2:  # the first looks put it together
            begun = time.thread_time()
        stream.feed("more")
        value = stream.value
    assert len(value[0]) == len(typed) + 4 * 2_002
    return time.thread_time() - begun


def test_who_watches_a_string_grow_does_not_copy_it_each_time():
    short, long = seconds_to_watch("文"), seconds_to_watch("文" * 2_000_000)

    assert long < 20 * max(short, 0.01)  # a clock may tick no finer


def test_another_thread_never_sees_a_piece_half_read(monkeypatch):
    stream, values, skip_space = JSONStream(), [], json_stream._skip_space
    reader = threading.Thread(target=lambda: values.append(stream.value))

    def while_it_is_read(text, at):
        if not reader.ident:
            reader.start()
            reader.join(0.1)
        return skip_space(text, at)

    monkeypatch.setattr(json_stream, "_skip_space", while_it_is_read)
    stream.feed('{"a": "b"}')
    reader.join()

    assert values == [{"a": "b"}]
    assert stream.value == {"a": "b"}
