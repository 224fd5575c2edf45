"""A file appears on disk while the model writes it, and is taken away if its call is cut.

Run it with `python examples/write_while_generated.py [FOLDER]`: against Z.ai when ZAI_API_KEY is
set, else against the bundled GLM server, which plays two answers: one is cut at `max_tokens`, the
other one is whole. It needs `pip install 'langchain-glm-zai[langchain]'`.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Hashable
from pathlib import Path

from keyless import chat_model
from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_glm import ChatGLM
from langchain_glm.middleware import ContinueCutCalls
from langchain_glm.streaming import (
    ArgumentDelta,
    ArgumentFinished,
    CallEvent,
    RunFinished,
    ToolCallInvalid,
    ToolFailed,
    ToolFinished,
    stream_agent,
    watch,
)
from langchain_glm.testing import Call, Reply


class FileWriter:
    """Writes the `content` of one `write_file` call to its `path`, as it is typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path: Path | None = None
        self._waiting = ""  # content that was typed before the path was

    def __call__(self, event: CallEvent) -> None:
        """Follow the call."""
        match event:
            case ArgumentFinished(path=("path",), value=str(name)):
                file = Path(name).name  # never outside of the folder
                self._path = self.folder / (file if file.strip(".") else "unnamed")
                self._path.write_text(self._waiting, encoding="utf-8")
            case ArgumentDelta(path=("content",), text=text) if self._path:
                with self._path.open("a", encoding="utf-8") as opened:
                    opened.write(text)
            case ArgumentDelta(path=("content",), text=text):
                self._waiting += text
            case ToolCallInvalid() if self._path:
                self._path.unlink()


def run(model: ChatGLM, folder: Path) -> None:
    """Ask for a file, and show its size while it grows."""

    @tool
    def write_file(path: str, content: str) -> str:
        """Write a text file."""
        return f"{len(content)} characters are in {path}"

    writers: defaultdict[Hashable, FileWriter] = defaultdict(lambda: FileWriter(folder))

    def write_on(event: CallEvent) -> None:  # the calls of a message end together, at its end
        writers[event.namespace, event.message_id, event.index](event)

    agent = create_agent(model, [write_file], middleware=[ContinueCutCalls()])
    events = stream_agent(
        agent, {"messages": "Write fib.py with a Fibonacci function and a doctest"}
    )
    for event in watch(events, {"write_file": write_on}):
        match event:
            case ArgumentDelta(path=("content",)):
                sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
                print(f"\r{sizes} bytes on disk ", end="", flush=True)
            case ToolCallInvalid(error=error):
                print(f"\n{error} Left on disk: {[file.name for file in folder.iterdir()]}")
            case ToolFinished(content=content) | ToolFailed(error=content):
                print(f"\n{event.name}: {content}")
            case RunFinished(messages=messages):
                print(messages[-1].text)


PROGRAM = '''\
def fibonacci(n: int) -> int:
    """Give the n-th Fibonacci number.

    >>> [fibonacci(n) for n in range(8)]
    [0, 1, 1, 2, 3, 5, 8, 13]
    """
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
'''
WHOLE = Call("write_file", {"path": "fib.py", "content": PROGRAM})
CUT = Call("write_file", '{"path": "fib.py", "content": "def fibonacci(n: int) -> int:\\n    a')
SCRIPT = [
    Reply(tool_calls=[CUT], finish_reason="length"),
    Reply(tool_calls=[WHOLE]),
    Reply(text="fib.py is written."),
]


def main() -> None:
    """Run against Z.ai, or against the bundled server."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else f"files-{int(time.time())}")
    folder.mkdir(parents=True, exist_ok=True)
    with chat_model(SCRIPT, fragment_size=8) as model:
        run(model, folder)


if __name__ == "__main__":
    main()
