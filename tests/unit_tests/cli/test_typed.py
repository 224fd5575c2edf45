"""What a person sees of the arguments: pieces of JSON in, the file so far out."""

import json

import pytest

from langchain_glm.cli._probe import Arrival, Fragment
from langchain_glm.cli._typed import Answer, read_on


def arrive(*pieces, call=0):
    return [Arrival(0.0, fragments=(Fragment(call, piece),)) for piece in pieces]


def written(*pieces):
    """The arguments after each piece has been read by itself."""
    answer = Answer()
    for arrival in arrive(*pieces):
        answer = read_on(answer, [arrival])
    return answer.arguments


AWKWARD = 'print("a\\tb")\n\t# é € 😀 \x07 \\ / — 斐波那契\r\n'
FILES = [json.dumps(AWKWARD), json.dumps(AWKWARD, ensure_ascii=False), '"\\/ \\b\\f\\uD83D\\uDE00"']


@pytest.mark.parametrize("string", FILES)
@pytest.mark.parametrize("before", ['"path": "a/fib.py", ', ""], ids=["path first", "path last"])
def test_a_file_read_character_by_character_only_grows_to_the_whole(string, before):
    raw = f'{{{before}"content": {string}, "path": "b"}}'
    answer, seen = Answer(), []
    for arrival in arrive(*raw):
        answer = read_on(answer, [arrival])
        if answer.arguments.has_file:
            seen.append(answer.arguments.shown)
    whole = json.loads(string)
    assert seen[-1] == whole
    assert all(whole.startswith(text) for text in seen)
    assert set(map(len, seen)) == set(range(len(whole) + 1))  # nothing waits for the end
    assert answer.arguments.path == ("a/fib.py" if before else "")


CASES = {
    "before the file, the JSON": (['{"path": "fib'], '{"path": "fib'),
    "no file at all": (['{"city": "Bonn"}'], '{"city": "Bonn"}'),
    "the file": (['{"content":"ab"}'], "ab"),
    "an empty file": (['{"content": ""}'], ""),
    "a backslash waits": (['{"content": "a\\'], "a"),
    "half an escape waits": (['{"content": "a\\u00e'], "a"),
    "half a pair waits": (['{"content": "a\\ud83d'], "a"),
    "a pair in pieces": (['{"content": "\\ud83d', "\\ude", '00"'], "😀"),
    "half a pair without another": (['{"content": "\\ud83d', 'x"'], "\ud83dx"),
    "two first halves": (['{"content": "\\ud83d', '\\ud83d\\ude00"'], "\ud83d😀"),
    "line ends as they are": (['{"content": "a\n\tb"'], "a\n\tb"),
    "an unknown escape": (['{"content": "ab\\x41 and so on"'], 'ab\\x41 and so on"'),
    "the word inside a string": (['{"path": "\\"content\\": \\"x", "content": "y"'], "y"),
    "a key that ends with the word": (['{"\\"content": "x", "content": "y"'], "y"),
    "no string": (['{"content": ["a"]}'], '{"content": ["a"]}'),
}


@pytest.mark.parametrize(("pieces", "shown"), CASES.values(), ids=CASES)
def test_shown(pieces, shown):
    assert written(*pieces).shown == shown


def test_reasoning_text_and_counts_add_up_over_the_calls():
    first, last = arrive('{"a":', "", " 1}", call="x"), arrive('{"content": "b"}', call="y")
    answer = read_on(Answer(), [Arrival(0.0, reasoning="H"), Arrival(0.1, reasoning="m.")])
    answer = read_on(answer, [Arrival(0.2, text="So:"), *first])
    answer = read_on(answer, last)
    assert (answer.reasoning, answer.text) == ("Hm.", "So:")
    assert (answer.characters, answer.fragments) == (24, 3)
    assert [arguments.shown for arguments in answer.calls.values()] == ['{"a": 1}', "b"]
    assert answer.arguments.shown == "b"


def test_nothing_has_been_written_at_first():
    assert Answer().arguments.shown == ""
