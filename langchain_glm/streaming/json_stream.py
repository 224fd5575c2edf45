r"""JSON read while it is written, in one pass.

`JSONStream` is fed text in any split and says what became known: a value begun, characters of a
string, a value whole, each with its path. It knows nothing of models.

The work for a character does not depend on how much came before: a string is kept in pieces and
scanned with one regular expression for its next quote or backslash, and the partial value is only
put together when it is read. What is shown is never taken back: half an escape, half a surrogate
pair, half a key, number or literal are held until they are whole.

The grammar is `json.loads`'s with `strict=False`: raw control characters are taken inside strings
(models write them), `NaN` and `Infinity` are numbers, the last of equal keys wins. Three things
differ, on purpose: surrogates that belong to no pair become U+FFFD, so that every string can be
encoded; a pair whose halves were spelled differently is joined; and what is nested deeper than
`MAX_DEPTH` is invalid, so that nothing recurses without bound.

How it works: `_state` is the function that reads on from here, one for each place in the grammar.
It gets the text and a position and returns the position it came to. Containers grow in place on a
stack; a child enters its parent when it is whole, so all on the stack but the innermost open value
is final.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from langchain_glm._surrogates import SurrogatePairs

Path = tuple[str | int, ...]

MAX_DEPTH = 200
"""How deep containers may be nested; as deep as jiter, which pydantic parses with, goes."""


class Started(NamedTuple):
    """A value begins at `path`; the whole document is at `()`."""

    path: Path


class Text(NamedTuple):
    """The next decoded characters of the string at `path`."""

    path: Path
    text: str


class Finished(NamedTuple):
    """The value at `path` is whole. A container is the one that the document holds: a view."""

    path: Path
    value: Any


JSONEvent = Started | Text | Finished


class Complete(NamedTuple):
    """The text was one JSON document."""

    value: Any


class Truncated(NamedTuple):
    """The text stopped inside a document, at `position`: characters, its length."""

    position: int


class Invalid(NamedTuple):
    """The text is no JSON: `reason`, at `position` in characters."""

    reason: str
    position: int


Outcome = Complete | Truncated | Invalid


class JSONStream:
    """An incremental JSON parser."""

    __slots__ = (
        "_cached",
        "_containers",
        "_invalid",
        "_key",
        "_lock",
        "_offset",
        "_pairs",
        "_path",
        "_paths",
        "_pieces",
        "_root",
        "_state",
        "_texts",
        "_token_at",
        "_unread",
    )

    def __init__(self) -> None:
        self._state: _State = _read_value
        self._containers: list[Any] = []  # the open ones, outermost first
        self._paths: list[Path] = []  # where they stand
        self._path: Path = ()  # where the value stands that is read or comes next
        self._key: Any = None  # the key of that value, in an object
        self._pieces: list[str] = []  # of the open string, key, number or literal
        self._texts: list[tuple[str, int]] = []  # two joined prefixes of them, and their lengths
        self._token_at = 0  # where the open number or literal began
        self._unread = ""  # half an escape
        self._pairs = SurrogatePairs()
        self._root: Any = _MISSING
        self._cached: Any = _MISSING
        self._offset = 0  # of the text that is read next, in the whole
        self._invalid: Invalid | None = None
        self._lock = threading.RLock()  # `value` may be read in another thread, or a signal handler

    def feed(self, text: str) -> list[JSONEvent]:
        """Read the next piece; never raises.

        Returns:
            What became known by it. Nothing any more once the text is no JSON.
        """
        events: list[JSONEvent] = []
        with self._lock:
            if self._unread:
                text, self._unread = self._unread + text, ""
            self._cached = _MISSING
            at, end = 0, len(text)
            while at < end and self._invalid is None:
                at = self._state(self, text, at, events)
            self._offset += end - len(self._unread)
        return events

    def close(self) -> Outcome:
        """Say what the text was; only the end of the text can end a number that stands alone."""
        with self._lock:
            if self._state is _read_scalar:
                self._close_scalar()
        if self._invalid is not None:
            return self._invalid
        if self._root is not _MISSING:
            return Complete(self._root)
        return Truncated(self._offset + len(self._unread))

    @property
    def value(self) -> Any:
        """The value as far as it is known, None before anything is.

        Its open containers are copies, so it stays as it is when more comes; whole containers are
        shared with the document. It may be read in another thread.
        """
        with self._lock:
            if self._cached is _MISSING:
                self._cached = self._partial()
            return None if self._cached is _MISSING else self._cached

    def _partial(self) -> Any:
        if self._root is not _MISSING:
            return self._root
        value = self._open_text() if self._state is _read_string else _MISSING
        keys = [*(path[-1] for path in self._paths[1:]), self._key]
        for container, key in zip(reversed(self._containers), reversed(keys), strict=False):
            copy = container.copy()
            if value is not _MISSING:
                _put(copy, key, value)
            value = copy
        return value

    def _open_text(self) -> str:
        # CPython grows a string in place by += where nobody else holds it. Who watches `value`
        # holds the last one; the one before is free again. So two take turns and none is copied.
        text, count = self._texts.pop(0)
        text += "".join(self._pieces[count:])
        self._texts.append((text, len(self._pieces)))
        return text

    # From one state to the next.

    def _begin_token(self, state: _State, at: int) -> None:
        self._pieces = []
        self._texts = [("", 0), ("", 0)]
        self._token_at = self._offset + at
        self._state = state

    def _begin_value(self, state: _State, at: int, events: list[JSONEvent]) -> None:
        events.append(Started(self._path))
        self._begin_token(state, at)

    def _open(self, container: Any, at: int, events: list[JSONEvent]) -> int:
        if len(self._containers) == MAX_DEPTH:
            return self._fail(f"Nested deeper than {MAX_DEPTH}", at)
        events.append(Started(self._path))
        self._containers.append(container)
        self._paths.append(self._path)
        if isinstance(container, dict):
            self._state = _read_first_key
        else:
            self._expect_item(_read_first_item)
        return at + 1

    def _expect_item(self, state: _State) -> None:
        self._key = len(self._containers[-1])
        self._path = (*self._paths[-1], self._key)
        self._state = state

    def _close_container(self, at: int, events: list[JSONEvent]) -> int:
        self._path = self._paths.pop()
        self._key = self._path[-1] if self._path else None
        self._end_value(self._containers.pop(), events)
        return at + 1

    def _end_key(self) -> None:
        self._key = self._open_text()
        self._path = (*self._paths[-1], self._key)
        self._state = _read_colon

    def _end_value(self, value: Any, events: list[JSONEvent]) -> None:
        events.append(Finished(self._path, value))
        if self._containers:
            _put(self._containers[-1], self._key, value)
            self._state = _read_after_item
        else:
            self._root = value
            self._state = _read_end

    def _end_scalar(self, events: list[JSONEvent]) -> None:
        value = _scalar(self._open_text())
        if value is _MISSING:
            self._fail("Expecting value", self._token_at - self._offset)
        else:
            self._end_value(value, events)

    def _close_scalar(self) -> None:
        token = self._open_text()
        can_go_on = _HALF_NUMBER(token) or any(word.startswith(token) for word in _LITERALS)
        is_whole = not self._containers and _scalar(token) is not _MISSING
        if is_whole or not can_go_on:
            self._end_scalar([])

    def _fail(self, reason: str, at: int) -> int:
        self._invalid = Invalid(reason, self._offset + at)
        return at

    def _scan_string(self, text: str, at: int) -> tuple[int, str, bool]:
        """Decode a string from `at` as far as it goes: to where, what, and whether it ended."""
        if _STRING_STOP(text, at) is None:  # as of most pieces of a long string
            return len(text), self._pairs.feed(text[at:]), False
        pieces: list[str] = []
        while (stop := _STRING_STOP(text, at)) is not None:
            pieces.append(text[at : stop.start()])
            at = stop.end()
            if stop[0] == '"':
                return at, self._pairs.feed("".join(pieces)) + self._pairs.close(), True
            if (escape := _ESCAPE(text, at)) is None:
                at = self._stop_in_escape(text, at - 1)
                break
            pieces.append(_unescaped(escape[0]))
            at = escape.end()
        else:
            pieces.append(text[at:])
            at = len(text)
        return at, self._pairs.feed("".join(pieces)), False

    def _stop_in_escape(self, text: str, at: int) -> int:
        if not _HALF_ESCAPE(text, at):
            return self._fail("Invalid \\escape", at)
        self._unread = text[at:]
        return len(text)


# The states. Each reads on in `text` from `at` and returns where it came to.

_State = Callable[[JSONStream, str, int, list[JSONEvent]], int]


def _read_value(json: JSONStream, text: str, at: int, events: list[JSONEvent]) -> int:
    at = _skip_space(text, at)
    if at == len(text):
        return at
    character = text[at]
    if character == "{":
        return json._open({}, at, events)
    if character == "[":
        return json._open([], at, events)
    if character == '"':
        json._begin_value(_read_string, at, events)
        return at + 1
    if character in _SCALAR_STARTS:
        json._begin_value(_read_scalar, at, events)
        return at
    return json._fail("Expecting value", at)


def _read_first_item(json: JSONStream, text: str, at: int, events: list[JSONEvent]) -> int:
    at = _skip_space(text, at)
    if text.startswith("]", at):
        return json._close_container(at, events)
    return _read_value(json, text, at, events)


def _read_first_key(json: JSONStream, text: str, at: int, events: list[JSONEvent]) -> int:
    at = _skip_space(text, at)
    if text.startswith("}", at):
        return json._close_container(at, events)
    return _read_key_quote(json, text, at, events)


def _read_key_quote(json: JSONStream, text: str, at: int, _events: list[JSONEvent]) -> int:
    at = _skip_space(text, at)
    if at == len(text):
        return at
    if text[at] != '"':
        return json._fail("Expecting property name enclosed in double quotes", at)
    json._begin_token(_read_key, at)
    return at + 1


def _read_key(json: JSONStream, text: str, at: int, _events: list[JSONEvent]) -> int:
    at, characters, closed = json._scan_string(text, at)
    json._pieces.append(characters)
    if closed:
        json._end_key()
    return at


def _read_colon(json: JSONStream, text: str, at: int, _events: list[JSONEvent]) -> int:
    at = _skip_space(text, at)
    if at == len(text):
        return at
    if text[at] != ":":
        return json._fail("Expecting ':' delimiter", at)
    json._state = _read_value
    return at + 1


def _read_string(json: JSONStream, text: str, at: int, events: list[JSONEvent]) -> int:
    at, characters, closed = json._scan_string(text, at)
    if characters:
        json._pieces.append(characters)
        events.append(Text(json._path, characters))
    if closed:
        json._end_value(json._open_text(), events)
    return at


def _read_scalar(json: JSONStream, text: str, at: int, events: list[JSONEvent]) -> int:
    end = _past_scalar(text, at)
    json._pieces.append(text[at:end])
    if end < len(text):
        json._end_scalar(events)
    return end


def _read_after_item(json: JSONStream, text: str, at: int, events: list[JSONEvent]) -> int:
    at = _skip_space(text, at)
    if at == len(text):
        return at
    in_object = isinstance(json._containers[-1], dict)
    if text[at] == ("}" if in_object else "]"):
        return json._close_container(at, events)
    if text[at] != ",":
        return json._fail("Expecting ',' delimiter", at)
    if in_object:
        json._state = _read_key_quote
    else:
        json._expect_item(_read_value)
    return at + 1


def _read_end(json: JSONStream, text: str, at: int, _events: list[JSONEvent]) -> int:
    at = _skip_space(text, at)
    return at if at == len(text) else json._fail("Extra data", at)


_MISSING: Any = object()
_SCALAR_STARTS = frozenset("-0123456789tfnNI")
_LITERALS: dict[str, Any] = {
    "true": True,
    "false": False,
    "null": None,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}
_UNESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_SPACE = re.compile(r"[ \t\n\r]*").match
_SCALAR = re.compile(r"[-+.0-9A-Za-z]*").match
_INTEGER = re.compile(r"-?[0-9]+").fullmatch
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?").fullmatch
_HALF_NUMBER = re.compile(
    r"-?(?:(?:0|[1-9][0-9]*)(?:\.(?:[0-9]+(?:[eE][-+]?[0-9]*)?)?|[eE][-+]?[0-9]*)?)?"
).fullmatch
_STRING_STOP = re.compile(r'["\\]').search
_ESCAPE = re.compile(r'["\\/bfnrt]|u[0-9A-Fa-f]{4}').match
_HALF_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3})?").fullmatch


def _skip_space(text: str, at: int) -> int:
    match = _SPACE(text, at)
    return match.end() if match else at


def _past_scalar(text: str, at: int) -> int:
    match = _SCALAR(text, at)
    return match.end() if match else at


def _unescaped(escape: str) -> str:
    if escape[0] == "u":
        return chr(int(escape[1:], 16))
    return _UNESCAPED.get(escape, escape)


def _scalar(token: str) -> Any:
    if _NUMBER(token):
        # More digits than sys.get_int_max_str_digits() are refused by int, as by json.loads.
        with contextlib.suppress(ValueError):
            return int(token) if _INTEGER(token) else float(token)
        return _MISSING
    return _LITERALS.get(token, _MISSING)


def _put(container: Any, key: Any, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    else:
        container.append(value)
