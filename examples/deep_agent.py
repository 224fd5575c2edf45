"""A deep agent and its subagent: who says what, by the namespace of each event.

Run it with `python examples/deep_agent.py`: against Z.ai when ZAI_API_KEY is set, else against the
bundled GLM server. It needs Python 3.11 and `pip install deepagents`. The files are in the agent's
state: nothing is written on the disk.
"""

from __future__ import annotations

import sys

try:
    from deepagents import SubAgent, create_deep_agent
except ImportError:
    sys.exit("This example needs Python 3.11 or later, and: pip install deepagents")

from keyless import chat_model, dim
from langchain_core.tools import tool

from langchain_glm.streaming import events as ev
from langchain_glm.streaming import stream_agent
from langchain_glm.testing import Call, Reply

TASK = (
    "Which database suits a bakery's till, SQLite or PostgreSQL? Let the researcher look it up, "
    "then write your advice to /advice.md."
)
NOTES = {
    "sqlite": "SQLite: a library, one file, one writer at a time, no server to look after.",
    "postgresql": "PostgreSQL: a server, many writers at a time, needs updates and backups.",
}


@tool
def search_notes(name: str) -> str:
    """Look up what our notes say about a database."""
    return NOTES.get(name.lower(), "There is nothing about it.")


RESEARCHER: SubAgent = {
    "name": "researcher",
    "description": "Looks things up in our notes. Ask it for facts.",
    "system_prompt": "Look up what you are asked for, and answer in two sentences.",
    "tools": [search_notes],
}


class Screen:
    """Prints the events of a run, with a heading where another agent begins to speak."""

    def __init__(self) -> None:
        self._before: ev.Event | None = None

    def show(self, event: ev.Event) -> None:
        """Print an event; what is typed goes on in its line."""
        speaks = not isinstance(event, ev.RunFinished)
        if speaks and (self._before is None or event.namespace != self._before.namespace):
            who = " ".join(part[:14] for part in event.namespace)  # tools:1a2b3c4d, of a long id
            print(f"\n--- {f'subagent {who}' if who else 'agent'} ---", end="")
        match event:
            case ev.ReasoningDelta(text) | ev.TextDelta(text):
                shown = dim(text) if isinstance(event, ev.ReasoningDelta) else text
                begins = not isinstance(self._before, type(event))
                print("\n" * begins + shown, end="", flush=True)
            case ev.ToolCallStarted():
                print(f"\n  call {event.name}", end="", flush=True)
            case ev.ArgumentStarted(path=path):
                print(f"  {path[-1]}: ", end="", flush=True)
            case ev.ArgumentDelta(text=text):
                print(text, end="", flush=True)
            case ev.ToolFinished(content=content) | ev.ToolFailed(error=content):
                print(f"\n  done {event.name}  {content}", end="", flush=True)
            case ev.RunFinished(output=state):
                files = state.get("files", {}).items()
                sizes = {name: len(file["content"]) for name, file in files}
                print(dim(f"\n[files in the state, by size: {sizes}]"))
        self._before = event


ADVICE = (
    "# A database for the till\n\nTake **SQLite**.\n\n"
    "- One till writes, so one writer at a time is enough.\n"
    "- Nobody in a bakery wants to look after a server.\n\n"
    "Move to PostgreSQL when a second shop writes to the same data.\n"
)
ORDER = "What do our notes say about SQLite and about PostgreSQL: writers, upkeep?"
SCRIPT = [
    Reply(
        reasoning="Facts first: the researcher has the notes. Then I can weigh them.",
        text="I'll have both looked up.",
        tool_calls=[Call("task", {"description": ORDER, "subagent_type": "researcher"})],
    ),
    Reply(
        reasoning="Two databases, two independent searches.",
        tool_calls=[Call("search_notes", {"name": name}) for name in ("SQLite", "PostgreSQL")],
    ),
    Reply(
        text=(
            "SQLite is one file with one writer at a time and nothing to look after. PostgreSQL "
            "is a server for many writers, with updates and backups to care for."
        )
    ),
    Reply(
        reasoning="A bakery has one till, maybe two. One writer is enough.",
        tool_calls=[Call("write_file", {"file_path": "/advice.md", "content": ADVICE})],
    ),
    Reply(text="Take SQLite; my reasons are in /advice.md."),
]


def main() -> None:
    """Give the task, and watch."""
    with chat_model(SCRIPT) as model:
        agent = create_deep_agent(model, subagents=[RESEARCHER])
        print(f"You: {TASK}", end="")
        screen = Screen()
        for event in stream_agent(agent, {"messages": TASK}):
            screen.show(event)


if __name__ == "__main__":
    main()
