"""Every stream is fed whole, byte by byte, and cut in two at every position."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_glm import _sse
from langchain_glm._sse import SSEDecoder
from langchain_glm.errors import GLMMalformedStreamError


def decode(*pieces):
    """All events of a body that came in these pieces, and its strays."""
    decoder = SSEDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close(), decoder.strays


def byte_by_byte(body):
    return [body[at : at + 1] for at in range(len(body))]


CASES = [
    # name, the bytes, the data of each event, the strays
    ("nothing", b"", [], []),
    ("lf", b"data: a\n\ndata: b\n\n", [b"a", b"b"], []),
    ("crlf", b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], []),
    ("cr", b"data: a\r\rdata: b\r\r", [b"a", b"b"], []),
    ("all_line_ends_mixed", b"data: a\r\n\ndata: b\r\r\ndata: c\n\r\n", [b"a", b"b", b"c"], []),
    ("lf_then_cr_are_two_ends", b"data: a\n\rdata: b\n\r", [b"a", b"b"], []),
    ("crlf_is_one_end", b"data: a\r\ndata: b\r\n\r\n", [b"a\nb"], []),
    ("blank_lines_alone", b"\n\r\n\r\r\n\n", [], []),
    ("blank_lines_between", b"\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [b"a", b"b"], []),
    ("bom", b"\xef\xbb\xbfdata: a\n\n", [b"a"], []),
    ("bom_alone", b"\xef\xbb\xbf", [], []),
    ("bom_then_line_end", b"\xef\xbb\xbf\r\ndata: a\n\n", [b"a"], []),
    ("second_bom_stays", b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", [], [b"\xef\xbb\xbfdata: a"]),
    ("bom_inside_data_stays", b"data: \xef\xbb\xbfa\n\n", [b"\xef\xbb\xbfa"], []),
    ("half_a_bom", b"\xef\xbb", [], [b"\xef\xbb"]),
    ("half_a_bom_before_data", b"\xef\xbbdata: a\n\n", [], [b"\xef\xbbdata: a"]),
    ("comments", b": OPENROUTER PROCESSING\n\n:\n:x\ndata: a\n: y\n\n", [b"a"], []),
    ("comment_between_data_lines", b"data: a\n: x\ndata: b\n\n", [b"a\nb"], []),
    ("no_space_after_the_colon", b"data:a\n\n", [b"a"], []),
    ("only_one_space_goes", b"data:  a \n\n", [b" a "], []),
    ("a_tab_stays", b"data:\ta\n\n", [b"\ta"], []),
    ("colons_in_data", b"data: a: b:c\n\n", [b"a: b:c"], []),
    ("several_data_lines", b'data: {"a":\ndata:1\ndata: }\n\n', [b'{"a":\n1\n}'], []),
    ("data_alone", b"data\n\n", [b""], []),
    ("data_with_nothing_after_the_colon", b"data:\n\n", [b""], []),
    ("empty_data_lines_around", b"data\ndata: a\ndata:\n\n", [b"\na\n"], []),
    ("other_fields", b"event: error\nid: 7\nretry: 10\ndata: a\n\n", [b"a"], []),
    ("other_fields_alone_are_no_event", b"event: ping\nid\nretry:1\n\n", [], []),
    ("event_after_data", b"data: a\nevent: x\n\n", [b"a"], []),
    ("no_blank_line_at_the_end", b"data: a\n\ndata: b\n", [b"a", b"b"], []),
    ("no_line_end_at_the_end", b"data: a\n\ndata: b", [b"a", b"b"], []),
    ("cr_at_the_end", b"data: a\r", [b"a"], []),
    ("cut_inside_data", b"data: a\n\ndat", [b"a"], []),
    ("cut_after_data", b"data: a\n\ndata", [b"a"], []),
    ("cut_inside_event", b"data: a\n\nev", [b"a"], []),
    ("cut_inside_data_after_data", b"data: a\nd", [b"a"], []),
    ("cut_after_something_else", b"data: a\n\ndax", [b"a"], [b"dax"]),
    ("comment_cut_at_the_end", b"data: a\n\n: pi", [b"a"], []),
    (
        "html_page",
        b"<!DOCTYPE html>\n<html>\n\n  <h1>502 Bad Gateway</h1>\n</html>",
        [],
        [b"<!DOCTYPE html>", b"<html>", b"  <h1>502 Bad Gateway</h1>", b"</html>"],
    ),
    (
        "json_error_over_lines",
        b'{\r\n  "error": {\r\n    "code": "1113"\r\n  }\r\n}',
        [],
        [b"{", b'  "error": {', b'    "code": "1113"', b"  }", b"}"],
    ),
    ("stray_between_data_lines", b"data: a\nwhat?\ndata: b\n\n", [b"a\nb"], [b"what?"]),
    ("field_names_have_case", b"Data: a\nDATA: b\n\n", [], [b"Data: a", b"DATA: b"]),
    ("space_before_the_field", b" data: a\n\n", [], [b" data: a"]),
    ("space_before_the_colon", b"data : a\n\n", [], [b"data : a"]),
    ("field_that_begins_like_data", b"database: a\n\n", [], [b"database: a"]),
    ("nul_bytes", b"data: a\0b\0\n\n\0\n", [b"a\0b\0"], [b"\0"]),
    ("utf_8", 'data: {"x":"你好 🙂 é"}\n\n'.encode(), ['{"x":"你好 🙂 é"}'.encode()], []),
    ("other_unicode_line_ends", "data: a\u2028b\u0085c\x0bd\n\n".encode(),
     ["a\u2028b\u0085c\x0bd".encode()], []),
    ("invalid_utf_8", b"data: \xff\xfe\n\n", [b"\xff\xfe"], []),
]  # fmt: skip
each_case = pytest.mark.parametrize(
    ("body", "events", "strays"), [pytest.param(*case, id=name) for name, *case in CASES]
)


@each_case
def test_whole(body, events, strays):
    assert decode(body) == (events, strays)


@each_case
def test_byte_by_byte(body, events, strays):
    assert decode(*byte_by_byte(body)) == (events, strays)


@each_case
def test_cut_at_every_position(body, events, strays):
    for at in range(len(body) + 1):
        assert decode(body[:at], body[at:]) == (events, strays), at


@each_case
def test_empty_feeds_between_the_bytes(body, events, strays):
    pieces = [piece for byte in byte_by_byte(body) for piece in (b"", byte, b"")]
    assert decode(b"", *pieces) == (events, strays)


LINES = st.sampled_from(
    [b"data: a", b"data:", b"data", b"data: \xe4\xbd\xa0", b"", b"", b": x", b"event: y", b"stray"]
)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
BODIES = st.builds(
    lambda bom, lines, rest: bom + b"".join(line + end for line, end in lines) + rest,
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(st.tuples(LINES, LINE_ENDS), max_size=12),
    LINES,
)


@settings(deadline=None)
@given(body=BODIES, cuts=st.lists(st.integers(0, 200), max_size=8))
def test_any_split_gives_the_same(body, cuts):
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:stop] for start, stop in itertools.pairwise(places)]
    assert decode(*pieces) == decode(body)


@settings(deadline=None)
@given(
    events=st.lists(st.lists(st.text(alphabet="aé你🙂 :\t", max_size=5), min_size=1, max_size=3)),
    end=LINE_ENDS,
    space=st.sampled_from([b": ", b":"]),
)
def test_what_was_written_is_read(events, end, space):
    data = [[b"-" + line.encode() for line in lines] for lines in events]
    body = b"".join(
        b"".join(b"data" + space + line + end for line in lines) + end for lines in data
    )
    assert decode(body) == ([b"\n".join(lines) for lines in data], [])


def test_an_event_is_given_out_with_the_byte_that_ends_it():
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == [b"a"]
    assert decoder.feed(b"data: b\r") == []
    assert decoder.feed(b"\r") == [b"b"]  # without waiting for a "\n"
    assert decoder.feed(b"\n") == []


def test_strays_are_known_before_the_end():
    decoder = SSEDecoder()
    decoder.feed(b"<html>\ndata: a\n\n<p")
    assert decoder.strays == [b"<html>"]


def test_closing_twice_gives_the_last_event_once():
    decoder = SSEDecoder()
    decoder.feed(b"data: a")
    assert decoder.close() == [b"a"]
    assert decoder.close() == []


def test_a_line_in_many_pieces_costs_linear_time():
    # 8 MB in pieces of 16 bytes: joined at each piece, they would be two terabytes of copying.
    decoder = SSEDecoder()
    decoder.feed(b"data: ")
    for _ in range(500_000):
        decoder.feed(b"0123456789abcdef")
    [event] = decoder.feed(b"\n\n")
    assert len(event) == 8_000_000


def test_many_data_lines_of_one_event_cost_linear_time():
    decoder = SSEDecoder()
    for _ in range(200_000):
        decoder.feed(b"data: 0123456789abcdef\n")
    [event] = decoder.feed(b"\n")
    assert event.count(b"\n") == 199_999


class TestALineThatIsTooLong:
    @pytest.fixture(autouse=True)
    def _small_limit(self, monkeypatch):
        monkeypatch.setattr(_sse, "MAX_LINE_BYTES", 32)

    def test_in_pieces(self):
        decoder = SSEDecoder()
        decoder.feed(b"data: 0123456789")
        decoder.feed(b"0123456789abcdef")  # 32 bytes: still allowed
        with pytest.raises(GLMMalformedStreamError, match="longer than 32 bytes"):
            decoder.feed(b"!")

    def test_in_one_piece(self):
        with pytest.raises(GLMMalformedStreamError, match="longer than 32 bytes"):
            SSEDecoder().feed(b"data: " + b"x" * 27)

    def test_after_other_lines(self):
        with pytest.raises(GLMMalformedStreamError, match="longer than 32 bytes"):
            SSEDecoder().feed(b"data: a\n\ndata: " + b"x" * 27)

    def test_each_line_counts_by_itself(self):
        decoder = SSEDecoder()
        events = [decoder.feed(b"data: 0123456789abcdef\n\n") for _ in range(4)]
        assert events == [[b"0123456789abcdef"]] * 4
        decoder.feed(b"data: ")
        decoder.feed(b"x" * 26)
        assert decoder.feed(b"\n\n") == [b"x" * 26]
