"""The tools of `chat`: four that stay in one folder.

Every path that a model names is resolved, symbolic links and all, before it is used; what then is
not in the folder is refused. Only plain files are opened, so nothing waits for a pipe or a device.
"""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import ParamSpec

from langchain_core.tools import BaseTool, StructuredTool, ToolException

P = ParamSpec("P")

WRITES = frozenset({"write_file"})
"""The tools that change something."""

_MOST_BYTES = 400_000  # of a file that is read; some 100,000 tokens
_MOST_NAMES = 500
_MOST_HITS = 100
_LONGEST_LINE = 300  # characters of a line that `search` shows
_SEARCH_SECONDS = 10.0
_UNSEEN = frozenset({".git", "__pycache__", "node_modules", ".venv"})


class Folder:
    """A folder, and what a model may do in it.

    Args:
        root: The folder; it exists.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve(strict=True)

    def tools(self) -> list[BaseTool]:
        """Make the tools, for `create_agent`."""
        methods = (self.list_files, self.read_file, self.search, self.write_file)
        return [
            StructuredTool.from_function(
                _refusing(method),
                name=method.__name__,
                parse_docstring=True,
                error_on_invalid_docstring=False,
                handle_tool_error=True,
            )
            for method in methods
        ]

    def read_file(self, path: str) -> str:
        """Read a text file.

        Args:
            path: The file, relative to the folder.
        """
        return _text_of(self.place(path))

    def list_files(self, path: str = ".") -> str:
        """List the files in a folder and in the folders below it.

        Args:
            path: The folder, relative to the one you work in.
        """
        start = self.place(path)
        if not start.is_dir():
            msg = f"{path} is no folder."
            raise ToolException(msg)
        names = [self.name_of(file) for file in islice(self._files(start), _MOST_NAMES + 1)]
        if len(names) > _MOST_NAMES:
            names[_MOST_NAMES:] = [f"(and more: only the first {_MOST_NAMES} are listed)"]
        return "\n".join(names) or "There are no files."

    def search(self, text: str, path: str = ".") -> str:
        """Find the lines of the text files that contain a text, whatever its case.

        Args:
            text: What to find, as it is: no pattern.
            path: A file or a folder, relative to the one you work in.
        """
        start = self.place(path)
        if not start.exists():
            msg = f"There is no {path}."
            raise ToolException(msg)
        files = self._files(start) if start.is_dir() else iter([start])
        hits = list(islice(self._hits(files, text.casefold()), _MOST_HITS + 1))
        if len(hits) > _MOST_HITS:
            hits[_MOST_HITS:] = [f"(and more: only the first {_MOST_HITS} are shown)"]
        return "\n".join(hits) or f"No line contains {text!r}."

    def write_file(self, path: str, content: str) -> str:
        """Write a text file; one that exists is replaced.

        Args:
            path: The file, relative to the folder.
            content: The whole content of the file.
        """
        place = self.place(path)
        if place.exists() and not place.is_file():
            msg = f"{path} is no plain file."
            raise ToolException(msg)
        place.parent.mkdir(parents=True, exist_ok=True)
        _replace(place, content)
        return f"Wrote {len(content):,} characters to {self.name_of(place)}."

    def about(self, path: str) -> str:
        """Say what writing there means, for a person who has to allow it."""
        try:
            place = self.place(path)
            lines = len(_text_of(place).splitlines()) if place.exists() else 0
        except (ToolException, OSError) as error:
            return f"Write {path} ({error})?"
        return (
            f"Replace {path} ({lines:,} lines)?"
            if lines
            else f"Write {path}, which is new or empty?"
        )

    def place(self, path: str) -> Path:
        """Give the place that a path names.

        Raises:
            ToolException: It is not in the folder.
        """
        try:
            place = (self.root / path).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a circle of links, a zero byte
            msg = f"{path!r} is no usable path."
            raise ToolException(msg) from error
        if not place.is_relative_to(self.root):
            msg = f"{path} is outside of the folder that you may work in."
            raise ToolException(msg)
        return place

    def name_of(self, place: Path) -> str:
        """Name a place in the folder as the model does."""
        return place.relative_to(self.root).as_posix()

    def _files(self, start: Path) -> Iterator[Path]:
        # Links to folders are not followed, so the walk stays in the folder and ends.
        for folder, folders, names in os.walk(start):
            folders[:] = sorted(name for name in folders if name not in _UNSEEN)
            for name in sorted(names):
                with suppress(ToolException):
                    file = Path(folder, name)
                    if self.place(str(file)).exists():  # no circle of links
                        yield file

    def _hits(self, files: Iterator[Path], text: str) -> Iterator[str]:
        deadline = time.monotonic() + _SEARCH_SECONDS
        for file in files:
            if time.monotonic() > deadline:
                yield "(the search took too long and was stopped here)"
                return
            with suppress(ToolException, OSError):
                lines = enumerate(_text_of(file.resolve()).splitlines(), 1)
                hits = [(number, line) for number, line in lines if text in line.casefold()]
                name = self.name_of(file)
                yield from (f"{name}:{number}: {line[:_LONGEST_LINE]}" for number, line in hits)


def _refusing(function: Callable[P, str]) -> Callable[P, str]:
    """Make the errors of the system such that the model is told of them."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            raise ToolException(error.strerror or str(error)) from error

    return called


def _text_of(place: Path) -> str:
    # Not blocking: between the look and the opening, a file could have become a pipe.
    with open(place, "rb", opener=_not_waiting) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            msg = f"{place.name} is no plain file."
            raise ToolException(msg)
        if about.st_size > _MOST_BYTES:
            msg = (
                f"{place.name} has {about.st_size:,} bytes; more than {_MOST_BYTES:,} are too many."
            )
            raise ToolException(msg)
        data = file.read(_MOST_BYTES)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        msg = f"{place.name} is no text."
        raise ToolException(msg) from error


def _not_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _replace(place: Path, content: str) -> None:
    """Write a file such that it never is half written; it keeps its permissions."""
    mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o666 & ~_umask()
    with tempfile.NamedTemporaryFile("wb", dir=place.parent, prefix=".", delete=False) as file:
        half = Path(file.name)
        try:
            file.write(content.encode(errors="replace"))
            file.close()
            half.chmod(mode)
            half.replace(place)
        except BaseException:
            half.unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
