"""The command at a terminal of its own, as a person sees it: keys in, a screen out.

Each command is a process that is forked from one that has imported everything already.
"""

import fcntl
import multiprocessing
import os
import pty
import struct
import sys
import termios
import threading
import traceback
from contextlib import contextmanager, suppress

import pyte

WAIT = 30.0
WIDTH, HEIGHT = 100, 40
ENTER, CTRL_C, CTRL_D, ALT_ENTER, UP = "\r", "\x03", "\x04", "\x1b\r", "\x1b[A"

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["langchain_glm.cli._app", "langchain_glm.cli._chat_main"])


_LAST = b"\0"  # terminals do not show it; what was written before it has been read then


class Terminal:
    """A terminal and the process in it; a thread reads, so it never fills up."""

    def __init__(self, master, slave):
        self._master = master
        self._slave = slave
        self._screen = _Screen(self.press)
        self._stream = pyte.ByteStream(self._screen)
        self._news = threading.Condition()
        self.process = None
        self.raw = b""
        self.thread = threading.Thread(target=self._read)

    def _read(self):
        with suppress(OSError):  # EIO: the other side is closed
            while data := os.read(self._master, 65536):
                with self._news:
                    self.raw += data
                    self._stream.feed(data)
                    self._news.notify_all()

    def press(self, keys):
        """Type."""
        os.write(self._master, keys.encode())

    @property
    def seen(self):
        """What has scrolled away and what is on the screen, without trailing blanks."""
        above = ["".join(line[x].data for x in range(WIDTH)) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*above, *self._screen.display]).rstrip()

    @property
    def cursor_is_hidden(self):
        """Whether a program has hidden the cursor."""
        return self._screen.cursor.hidden

    def wait_for(self, *words, count=1):
        """Wait until all the words are to be seen, `count` times."""
        with self._news:
            found = self._news.wait_for(
                lambda: all(self.seen.count(w) >= count for w in words), WAIT
            )
            assert found, f"not {words}:\n{self.seen}"

    def ended(self):
        """Wait for the end of the process, see all that it wrote, and give its status."""
        self.process.join(WAIT)
        os.write(self._slave, _LAST)
        with self._news:
            assert self._news.wait_for(lambda: self.raw.endswith(_LAST), WAIT)
        return self.process.exitcode


class _Screen(pyte.HistoryScreen):
    """Answers the questions that programs ask a terminal."""

    def __init__(self, answer):
        super().__init__(WIDTH, HEIGHT, history=5000, ratio=0.001)
        self.write_process_input = answer


@contextmanager
def terminal(*arguments, environment=None, folder="."):
    """Run `langchain-glm` in a terminal; it is killed if it has not ended by itself."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    opened = Terminal(master, slave)
    opened.process = _FORKS.Process(
        target=_command, args=(os.ttyname(slave), arguments, environment or {}, str(folder))
    )
    opened.thread.start()
    try:
        opened.process.start()
        yield opened
    finally:
        opened.process.kill()
        opened.process.join()
        opened.process.close()
        os.close(slave)
        opened.thread.join(WAIT)
        os.close(master)


def _command(name, arguments, environment, folder):
    os.setsid()
    own = os.open(name, os.O_RDWR)
    fcntl.ioctl(own, termios.TIOCSCTTY, 0)  # so that ctrl-c gets here
    for fd in range(3):
        os.dup2(own, fd)
    sys.stdin, sys.stdout = open(0, encoding="utf-8"), open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8")  # noqa: SIM115
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["langchain-glm", *arguments]
    from langchain_glm.cli import main

    try:
        main()
    except Exception:  # noqa: BLE001
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
