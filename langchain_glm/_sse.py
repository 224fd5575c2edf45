"""Server-sent events: bytes in, the data of each event out.

Pure, fed in any split. Follows the WHATWG grammar (a BOM, lines ended by LF, CRLF or CR, comments,
`data:` with and without a space, several `data` lines) and departs from it twice, because
nothing may be lost in silence: an event that the end of the stream cut short is given out, and
lines that are no field of the grammar are kept for the caller (an error body, an HTML page, a
whole completion from a server that does not stream).

Only whole lines are looked at and each byte is joined once, so the cost is linear however the
bytes are split.
"""

from __future__ import annotations

from langchain_glm.errors import GLMMalformedStreamError

MAX_LINE_BYTES = 64 * 1024 * 1024
"""The most that is held in memory, in bytes, of a line, of an event, and of all stray lines."""

_LINE_OVERHEAD = 64  # bytes that a short line takes beyond its own

_BOM = b"\xef\xbb\xbf"
_IGNORED_FIELDS = (b"event", b"id", b"retry")


class SSEDecoder:
    """One stream's decoder: `feed` bytes as they come, `close` at the end.

    Attributes:
        strays: The lines that are no field of an event stream, without their line ends.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_held",
        "_held_data",
        "_held_strays",
        "_pieces",
        "_started",
        "strays",
    )

    def __init__(self) -> None:
        self.strays: list[bytes] = []
        self._pieces: list[bytes] = []  # the line that has not ended yet
        self._held = 0  # its length so far
        self._data: list[bytes] = []  # the data lines of the event that has not ended yet
        self._held_data = 0
        self._held_strays = 0
        self._after_cr = False
        self._started = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes.

        Returns:
            The data of each event that ended in them, still encoded.

        Raises:
            GLMMalformedStreamError: A line is longer than `MAX_LINE_BYTES`, or so are the lines
                of one event, or all that are no field.
        """
        if not self._started:
            data = self._without_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._with_newlines(data)
        if b"\n" not in data:
            self._hold(data)
            return []
        if self._pieces:
            data = b"".join((*self._pieces, data))
            self._pieces.clear()
            self._held = 0
        lines = data.split(b"\n")
        self._hold(lines.pop())
        return self._events(lines)

    def close(self) -> list[bytes]:
        """End the stream and give out the event that it cut short, if there is one."""
        last = b"".join(self._pieces)
        self._pieces.clear()
        # The beginning of a field's name says nothing: it was cut off, and is no stray line.
        if any(field.startswith(last) for field in (b"data", *_IGNORED_FIELDS)):
            last = b""
        return self._events([last, b""] if last else [b""])

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events = []
        data = self._data
        for line in lines:
            if line.startswith(b"data:"):
                if data:
                    self._hold_more_data(line)
                data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line:
                if data:
                    events.append(data[0] if len(data) == 1 else b"\n".join(data))
                    data.clear()
            elif line[0] != ord(":"):
                self._take_other_field(line)
        return events

    def _take_other_field(self, line: bytes) -> None:
        if line == b"data":
            self._data.append(b"")
        elif line.partition(b":")[0] not in _IGNORED_FIELDS:
            self._held_strays += len(line) + _LINE_OVERHEAD
            _check(self._held_strays, "The stream has lines that are no events; together they are")
            self.strays.append(line)

    def _hold_more_data(self, line: bytes) -> None:
        so_far = self._held_data if len(self._data) > 1 else len(self._data[0])
        self._held_data = so_far + len(line) + _LINE_OVERHEAD
        _check(self._held_data, "An event of the stream is")

    def _hold(self, piece: bytes) -> None:
        if not piece:
            return
        self._pieces.append(piece)
        self._held += len(piece)
        _check(self._held, "A line of the stream is")

    def _without_bom(self, data: bytes) -> bytes:
        data = b"".join((*self._pieces, data))
        self._pieces.clear()
        self._held = 0
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._hold(data)
            return b""
        self._started = True
        return data.removeprefix(_BOM)

    def _with_newlines(self, data: bytes) -> bytes:
        # A line ends at its "\r"; the "\n" that may come with the next bytes belongs to it.
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _check(held: int, what: str) -> None:
    if held > MAX_LINE_BYTES:
        msg = f"{what} longer than {MAX_LINE_BYTES} bytes."
        raise GLMMalformedStreamError(msg)
