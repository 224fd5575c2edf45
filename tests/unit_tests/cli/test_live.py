"""The live view at a real pseudo-terminal, and at everything that is none."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from contextlib import contextmanager, suppress

import pytest
from rich.console import Console

from langchain_glm.cli import _live, main
from langchain_glm.cli._probe import Arrival, Fragment
from langchain_glm.cli._report import SCRIPTED_NOTICE
from langchain_glm.testing import Call, Cut, GLMServer, Raw, Reply

FILE = "print('hello, world')\n" * 3
ANSWER = Reply(
    reasoning="I wonder.",
    text="Here it is:",
    tool_calls=[Call("write_file", {"path": "hello.py", "content": FILE})],
)
# The first characters of a file, and then nothing more for as long as anybody waits.
HANGS = Raw(
    b'data: {"id":"1","model":"glm-4.7","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,'
    b'"id":"call_1","type":"function","function":{"name":"write_file","arguments":'
    b'"{\\"path\\": \\"hello.py\\", \\"content\\": \\"print(\\u0027hel"}}]}}]}\n\n',
    end=False,
)
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
WAIT = 60.0


class Screen:
    """A pseudo-terminal, and what has been written to it; a thread reads, so it never fills up."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.raw = b""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with suppress(OSError):  # EIO: the other side is closed
            while data := os.read(self.master, 65536):
                with self._news:
                    self.raw += data
                    self._news.notify_all()

    @property
    def text(self):
        return self.raw.decode(errors="replace").replace("\r\n", "\n")

    @property
    def words(self):
        """The text without colours and without movements of the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text)

    def wait_for(self, words):
        with self._news:
            assert self._news.wait_for(lambda: words in self.words, WAIT), self.words[-2000:]

    def close(self):
        os.close(self.slave)
        self._reader.join(WAIT)
        os.close(self.master)


@contextmanager
def opened():
    screen = Screen()
    try:
        yield screen
    finally:
        screen.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (
        "COLUMNS",
        "LINES",
        "NO_COLOR",
        "FORCE_COLOR",
        "TTY_COMPATIBLE",
        "TTY_INTERACTIVE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def at_terminal(monkeypatch):
    """Run the command in this process, at a terminal: (exit status, the screen)."""

    def command(*arguments, width=100, height=40):
        with opened() as screen, monkeypatch.context() as patch:
            # Here rich would look for the size at the terminal that the tests run in, if any.
            patch.setenv("COLUMNS", str(width))
            patch.setenv("LINES", str(height))
            patch.setattr(sys, "argv", ["langchain-glm", *arguments])
            with os.fdopen(os.dup(screen.slave), "w", encoding="utf-8") as terminal:
                patch.setattr(sys, "stdout", terminal)
                patch.setattr(sys, "stderr", terminal)
                with pytest.raises(SystemExit) as exit_:
                    main()
        return exit_.value.code or 0, screen

    return command


def test_the_file_is_on_the_screen_before_it_is_whole_and_ctrl_c_leaves_a_sane_terminal():
    code = (
        "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "  # so that ^C gets there
        "from langchain_glm.cli import main; main()"
    )
    with GLMServer(HANGS) as server, opened() as screen:
        before = termios.tcgetattr(screen.slave)
        with subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", code, "probe", "--base-url", server.base_url],
            stdin=screen.slave,
            stdout=screen.slave,
            stderr=screen.slave,
            start_new_session=True,
        ) as process:
            screen.wait_for("print('hel▌")
            assert process.poll() is None
            assert screen.text.count(HIDE) > screen.text.count(SHOW)
            os.write(screen.master, b"\x03")
            assert process.wait(WAIT) == 130
        after = termios.tcgetattr(screen.slave)
    assert after == before
    assert screen.text.rindex(SHOW) > screen.text.rindex(HIDE)
    assert "Traceback" not in screen.words
    # The cursor waits below the picture: a ^C echoed there spoils nothing, nor does a prompt.
    assert "^C" in screen.words
    assert re.findall("╯[^╰\n]", screen.words) == []
    assert screen.words.endswith("╯\n\n")


def test_a_whole_run_ends_with_panes_table_chart_and_verdict(at_terminal):
    with GLMServer(ANSWER, pace=0.002) as server:
        status, screen = at_terminal("probe", "--base-url", server.base_url)
    assert status == 0
    *_, picture, rest = screen.words.rpartition("╭─ with tool_stream: hello.py ")
    both = re.compile(r"│ print\('hello, world'\) +││ print\('hello, world'\) +│")
    assert len(both.findall(rest)) == 3
    assert picture
    table, chart, verdict = (
        rest.index(words) for words in ("argument fragments", "characters │", "Yes, the arguments")
    )
    assert table < chart < verdict
    assert "█" in rest[chart:verdict]
    assert screen.text.rindex(SHOW) > screen.text.rindex(HIDE)


def test_json_comes_after_the_view(at_terminal):
    with GLMServer(ANSWER) as server:
        status, screen = at_terminal("probe", "--json", "--base-url", server.base_url)
    assert status == 0
    assert screen.words.splitlines()[-1].startswith('{"verdict": "streams"')
    assert "argument fragments" not in screen.words


def test_what_had_arrived_stays_above_the_error(at_terminal):
    with GLMServer(Cut(ANSWER, after=4000)) as server:
        status, screen = at_terminal("probe", "--base-url", server.base_url)
    assert status == 2
    picture, error = screen.words.rsplit("─╯\n\n", 1)
    assert error.startswith("langchain-glm: the request with tool_stream failed: ")
    assert "I wonder." in picture.rpartition("╭─")[2]
    assert screen.text.rindex(SHOW) > screen.text.rindex(HIDE)


def test_the_notice_is_folded_between_words(at_terminal, monkeypatch):
    monkeypatch.setattr("langchain_glm.cli._target.SCRIPTED_PACE", 0.0)
    status, screen = at_terminal("probe", width=60, height=24)
    notice = screen.words.partition("╭")[0]
    assert status == 0
    assert 50 < max(map(len, notice.splitlines())) <= 60
    assert " ".join(notice.split()) == SCRIPTED_NOTICE


# Beside a terminal


class Stuck(io.StringIO):
    """A terminal whose user has pressed Ctrl-S: from now on a drawing does not come back."""

    def __init__(self):
        super().__init__()
        self.is_stuck = False
        self.reached, self.free = threading.Event(), threading.Event()

    def isatty(self):
        return True

    def write(self, text):
        if self.is_stuck:
            self.reached.set()
            self.free.wait(WAIT)
        return super().write(text)


def test_a_terminal_that_takes_nothing_does_not_hold_up_the_reading():
    terminal, came = Stuck(), []

    def arrivals():
        terminal.is_stuck = True
        assert terminal.reached.wait(WAIT)
        for n in range(100):
            came.append(n)
            yield Arrival(n / 10, fragments=(Fragment(0, "x"),))
        assert not terminal.free.is_set()
        terminal.free.set()

    console = Console(file=terminal, force_terminal=True, width=80, height=24)
    with _live.watching(console, "glm-4.7") as watch:
        assert len(watch(_live.WITH, arrivals())) == 100
    assert len(came) == 100
    assert "100 characters" in terminal.getvalue()


@pytest.mark.parametrize(
    ("environment", "encoding", "is_tty"),
    [
        ({}, "utf-8", False),
        ({"FORCE_COLOR": "1"}, "utf-8", False),
        ({"TERM": "dumb"}, "utf-8", True),
        ({}, "ascii", True),
    ],
    ids=["a pipe", "a pipe with colours", "a dumb terminal", "an ASCII terminal"],
)
def test_a_line_for_each_run_where_nothing_can_be_drawn(monkeypatch, environment, encoding, is_tty):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding)
    file.isatty = lambda: is_tty
    with _live.watching(Console(file=file, highlight=False), "glm-4.7") as watch:
        arrivals = watch(_live.WITH, iter([Arrival(0.5, text="é")]))
        watch(_live.WITHOUT, iter([]))
    assert arrivals == [Arrival(0.5, text="é")]
    file.flush()
    assert written.getvalue().decode().splitlines() == [
        "with tool_stream: glm-4.7 writes a file ...",
        "without tool_stream: glm-4.7 writes a file ...",
    ]
