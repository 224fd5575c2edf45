"""What the agent can do: small tools that really work, offline and in one folder.

Nothing here runs code that a model wrote, and nothing leaves the conversation's folder.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, ToolException, tool
from langgraph.types import interrupt

INSTRUCTIONS = """\
You are a helpful programmer. You work in one folder of the user's.
Look up what you are not sure of with search_docs; ask several questions at once.
Write files with write_file, mend them with edit_file, and check each Python file with check_python
before you say that it is done. You cannot run programs. Answer in the user's language, briefly."""

REFUSED = "The user did not allow this."

MODULES = (
    *("argparse", "asyncio", "bisect", "calendar", "collections", "contextlib", "csv"),
    *("dataclasses", "datetime", "decimal", "difflib", "enum", "fractions", "functools", "heapq"),
    *("itertools", "json", "locale", "logging", "math", "operator", "pathlib", "random", "re"),
    *("shutil", "statistics", "string", "tempfile", "textwrap", "timeit", "typing", "zipfile"),
)
_MOST_RESULTS = 4
_LARGEST_FILE = 200_000


@dataclass(frozen=True)
class Workplace:
    """Where a run works.

    Attributes:
        folder: The only folder that the tools touch.
        ask: Whether a person is asked before a file is written.
        pace: Seconds that a search takes for each module, so that it can be watched.
    """

    folder: Path
    ask: bool = False
    pace: float = 0.0


Runtime = ToolRuntime[Workplace, Any]


@tool
async def search_docs(query: str, runtime: Runtime) -> str:
    """Search the documentation of Python's standard library.

    Args:
        query: A few words, such as "parse a date".
        runtime: Given by LangGraph.
    """
    words = set(re.findall(r"[a-z]{2,}", query.lower()))
    found: list[tuple[int, str]] = []  # how well it fits, and a line about it
    for done, name in enumerate(MODULES, 1):
        runtime.emit_output_delta({"done": done, "of": len(MODULES), "at": name})
        found += [hit for hit in _scored(name, words) if hit[0]]
        await asyncio.sleep(runtime.context.pace)
    if not found:
        raise ToolException(f"Nothing was found for {query!r}. Try other words, in English.")
    found.sort(key=lambda hit: -hit[0])
    return "\n".join(line for _, line in found[:_MOST_RESULTS])


@tool
async def write_file(path: str, content: str, runtime: Runtime) -> str:
    """Write a text file; one that exists is replaced.

    Args:
        path: Where, relative to the folder.
        content: The whole text.
        runtime: Given by LangGraph.
    """
    file = _inside(runtime.context.folder, path)
    _allowed(runtime, path)
    _write(file, content)
    return f"{path}: {len(content.splitlines())} lines written."


@tool
async def edit_file(path: str, old: str, new: str, runtime: Runtime) -> str:
    """Replace a piece of a text file.

    Args:
        path: Where, relative to the folder.
        old: The text to replace; it must occur exactly once.
        new: The text to put there.
        runtime: Given by LangGraph.
    """
    file = _inside(runtime.context.folder, path)
    text = _read(file, path)
    if not old or text.count(old) != 1:
        raise ToolException(
            f"{path} has the old text {text.count(old) if old else 0} times, not 1."
        )
    _allowed(runtime, path)
    _write(file, text.replace(old, new))
    return f"{path}: 1 place changed."


@tool
async def read_file(path: str, runtime: Runtime) -> str:
    """Read a text file.

    Args:
        path: Where, relative to the folder.
        runtime: Given by LangGraph.
    """
    return _read(_inside(runtime.context.folder, path), path)


@tool
async def list_files(runtime: Runtime) -> str:
    """List the files in the folder.

    Args:
        runtime: Given by LangGraph.
    """
    folder = runtime.context.folder
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return "\n".join(names) or "The folder is empty."


@tool
async def check_python(path: str, runtime: Runtime) -> str:
    """Check a Python file for syntax errors, without running it.

    Args:
        path: Where, relative to the folder.
        runtime: Given by LangGraph.
    """
    text = _read(_inside(runtime.context.folder, path), path)
    try:
        compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise ToolException(_explained(path, error)) from error
    return f"{path}: no syntax errors in {len(text.splitlines())} lines."


TOOLS: tuple[BaseTool, ...] = (
    *(search_docs, write_file, edit_file, read_file, list_files, check_python),
)
for _tool in TOOLS:
    _tool.handle_tool_error = True  # the model reads what went wrong, and goes on


def _inside(folder: Path, path: str) -> Path:
    folder = folder.resolve()
    file = (folder / path).resolve()
    if file == folder or not file.is_relative_to(folder):
        raise ToolException(f"{path!r} is not a file in the folder.")
    return file


def _allowed(runtime: Runtime, path: str) -> None:
    """Ask a person, where that is wanted. LangGraph runs the tool again with the answer."""
    asked = {"tool_call_id": runtime.tool_call_id, "message": f"Write {path}?"}
    if runtime.context.ask and interrupt(asked) != "allow":
        raise ToolException(REFUSED)


def _write(file: Path, text: str) -> None:
    if len(text) > _LARGEST_FILE:
        raise ToolException(f"A file may have {_LARGEST_FILE} characters at most.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", errors="replace", newline="\n")
    except OSError as error:
        raise ToolException(f"{file.name} cannot be written: {error.strerror}.") from error


def _read(file: Path, path: str) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[:_LARGEST_FILE]
    except OSError as error:
        raise ToolException(f"{path} cannot be read: {error.strerror}.") from error


def _explained(path: str, error: SyntaxError | ValueError) -> str:
    if not isinstance(error, SyntaxError):
        return f"{path}: {error}"
    line = (error.text or "").rstrip()
    mark = " " * max((error.offset or 1) - 1, 0) + "^"
    return f"{path}, line {error.lineno}: {error.msg}\n{line}\n{mark}"


def _scored(name: str, words: set[str]) -> Iterator[tuple[int, str]]:
    """Give for each thing that a module offers how well it fits, and a line about it."""
    module = importlib.import_module(name)
    for thing in getattr(module, "__all__", None) or dir(module):
        value = getattr(module, thing, None)
        if thing.startswith("_") or not callable(value):
            continue
        about = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
        named = words & set(re.findall(r"[a-z]{2,}", f"{name} {thing}".lower()))
        said = words & set(re.findall(r"[a-z]{2,}", about.lower()))
        yield 2 * len(named) + 3 * len(said), f"{name}.{thing}: {about[:90]}"
