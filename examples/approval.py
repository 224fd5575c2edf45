"""An agent that may not write before a person has read what it is going to write.

`python examples/approval.py [FOLDER]` asks at the prompt; `--yes` and `--no REASON` answer every
question on the command line. Where stdin is no terminal, its lines are the answers, and a missing
line is a no. Against Z.ai when ZAI_API_KEY is set, else against the bundled GLM server. It needs
`pip install 'langchain-glm-zai[langchain]'`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from keyless import chat_model, dim
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_glm import ChatGLM
from langchain_glm.streaming import events as ev
from langchain_glm.streaming import stream_agent
from langchain_glm.testing import Call, Received, Reply

TASK = "Write cleanup.sh: it removes the logs in /var/log/till that are older than 30 days."


def run(model: ChatGLM, options: argparse.Namespace) -> None:
    """Give the task, and go on after each decision of a person."""
    folder = options.folder

    @tool
    def write_file(path: str, content: str) -> str:
        """Write a text file."""
        folder.mkdir(parents=True, exist_ok=True)
        name = Path(path).name  # never outside of the folder
        file = folder / (name if name.strip(".") else "unnamed")
        file.write_text(content, encoding="utf-8")
        return f"{len(content)} characters are in {file.name}"

    agent = create_agent(
        model,
        [write_file],
        middleware=[HumanInTheLoopMiddleware({"write_file": True})],
        checkpointer=InMemorySaver(),  # holds the run while it waits; SqliteSaver outlives it
    )
    print(f"You: {TASK}", end="")
    order: Any = {"messages": TASK}
    while waiting := watch(agent, order):
        [interrupt] = waiting.interrupts  # one, for all calls of the message that need approval
        decisions = [decide(ask(options)) for _ in interrupt.value["action_requests"]]
        order = Command(resume={"decisions": decisions})
    print(f"\n\nWritten: {sorted(str(file) for file in folder.glob('*'))}")


def watch(agent: Any, order: Any) -> ev.RunInterrupted | None:
    """Show the agent until it has ended (None), or waits for a person."""
    before = None
    for event in stream_agent(agent, order, {"configurable": {"thread_id": "1"}}):
        match event:
            case ev.ReasoningDelta(text) | ev.TextDelta(text):
                shown = dim(text) if isinstance(event, ev.ReasoningDelta) else text
                begins = not isinstance(before, type(event))
                print("\n" * begins + shown, end="", flush=True)
            case ev.ArgumentDelta(text=text):
                print(text, end="", flush=True)
            case ev.ToolCallStarted():
                print(f"\n  call {event.name}", end="", flush=True)
            case ev.ArgumentStarted(path=path):
                print(f"  {path[-1]}: ", end="", flush=True)
            case ev.ToolFinished(content=content):
                print(f"\n  done {event.name}  {content}", end="")
            case ev.ToolFailed(error=error):
                print(f"\n  NOT RUN {event.name}  {error}", end="")
            case ev.RunInterrupted():
                return event
        before = event
    return None


def decide(answer: str) -> dict[str, str]:
    """Make a decision of an answer: what is no yes is the reason, and the model reads it."""
    if answer.strip().lower() in {"y", "yes"}:
        return {"type": "approve"}
    return {"type": "reject", "message": answer.strip() or "Nobody has approved it."}


def ask(options: argparse.Namespace) -> str:
    """Take the answer of the command line, else of whoever is at stdin."""
    print("\nWrite this file? (y, or why not) ", end="", flush=True)
    given = "y" if options.yes else options.no
    answer: str = sys.stdin.readline() if given is None else given
    if given is not None or not sys.stdin.isatty():  # a terminal shows what is typed there
        print(answer.strip(), end="")
    return answer


def propose(line: str) -> Call:
    """Give the script's call of the tool."""
    return Call("write_file", {"path": "cleanup.sh", "content": f"#!/bin/sh\nset -eu\n{line}\n"})


FIRST = Reply(
    reasoning="find can do both: -mtime +30 for the age, -delete to remove.",
    text="I'll write it with find.",
    tool_calls=[propose("find /var/log/till -mtime +30 -delete")],
)
SECOND = Reply(
    reasoning="It was refused. Without -name, find takes every file and not only the logs.",
    text="I'll be more careful: only *.log, and it says what it removes.",
    tool_calls=[propose("find /var/log/till -name '*.log' -type f -mtime +30 -print -delete")],
)


def script(received: Received) -> Reply:
    """Propose a file, and a better one if it was refused; then give up."""
    results = [m["content"] for m in received.body["messages"] if m["role"] == "tool"]
    if results and "characters are in" in results[-1]:
        return Reply(text="cleanup.sh is there. Try it on a copy of the folder first.")
    gives_up = Reply(text="Then I leave it at that: nothing is written.")
    return [FIRST, SECOND, gives_up][len(results)]


def main() -> None:
    """Run against Z.ai, or against the bundled server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(f"files-{int(time.time())}"))
    decision = parser.add_mutually_exclusive_group()
    decision.add_argument("--yes", action="store_true", help="approve every write")
    decision.add_argument("--no", metavar="REASON", help="reject every write")
    options = parser.parse_args()
    with chat_model(script) as model:
        run(model, options)


if __name__ == "__main__":
    main()
