"""An agent at work: parallel calls, arguments as they are typed, a tool that fails, a recovery.

Run it with `python examples/agent.py`: against Z.ai when ZAI_API_KEY is set, else against the
bundled GLM server. It needs `pip install 'langchain-glm-zai[langchain]'`.
"""

from __future__ import annotations

from keyless import chat_model, dim
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import ToolException, tool

from langchain_glm.streaming import events as ev
from langchain_glm.streaming import stream_agent
from langchain_glm.testing import Call, Reply

SHELVES = {
    "keyboard": {"Hamburg": 3, "Rotterdam": 12},
    "monitor": {"Hamburg": 8, "Rotterdam": 0},
}
TASK = (
    "The new office needs 4 keyboards and 2 monitors, if possible from Hamburg. "
    "Reserve them, and draft a mail to mei@example.com about it."
)


@tool
def find_stock(item: str) -> str:
    """Say how many pieces of an item each warehouse has."""
    found = [f"{count} in {place}" for place, count in SHELVES.get(item, {}).items()]
    return f"{item}: {', '.join(found) or 'unknown'}"


@tool
def reserve(item: str, count: int, warehouse: str) -> str:
    """Reserve pieces of an item in a warehouse."""
    left = SHELVES.get(item, {}).get(warehouse, 0)
    if left < count:
        raise ToolException(f"{warehouse} has {left} of {item}, not {count}. Nothing is reserved.")
    SHELVES[item][warehouse] -= count
    return f"{count} of {item} reserved, {warehouse} has {left - count} left"


reserve.handle_tool_error = True  # the model is told, and the run goes on


@tool
def draft_mail(to: str, text: str) -> str:
    """Draft a mail; a person sends it."""
    return f"a draft of {len(text)} characters to {to} is waiting"


def show(event: ev.Event, before: ev.Event | None) -> None:
    """Print an event; what is typed goes on in its line."""
    match event:
        case ev.ReasoningDelta(text) | ev.TextDelta(text):
            shown = dim(text) if isinstance(event, ev.ReasoningDelta) else text
            begins = not isinstance(before, type(event))
            print("\n" * begins + shown, end="", flush=True)
        case ev.ToolCallStarted():
            print(f"\n  call {event.name}", end="", flush=True)
        case ev.ArgumentStarted(path=path):
            print(f"  {path[-1]}: ", end="", flush=True)
        case ev.ArgumentDelta(text=text):
            print(text, end="", flush=True)
        case ev.ArgumentFinished(value=int() as number):
            print(number, end="", flush=True)
        case ev.ToolFinished(content=content):
            print(f"\n  done {event.name}  {content}", end="", flush=True)
        case ev.ToolFailed(error=error):
            print(f"\n  FAIL {event.name}  {error}", end="", flush=True)
        case ev.RunFinished(messages=messages):
            asked = [m.usage_metadata for m in messages if isinstance(m, AIMessage)]
            total = sum(usage["total_tokens"] for usage in asked if usage)
            print(dim(f"\n[{len(asked)} answers of the model, {total} tokens]"))


MAIL = (
    "Dear Mei,\n\nthe things for the new office are reserved:\n\n"
    "- 4 keyboards, from Rotterdam, since Hamburg has only 3 left\n- 2 monitors, from Hamburg\n\n"
    "The keyboards will arrive a day later. Is that all right?"
)
SCRIPT = [
    Reply(
        reasoning="I need to know where both items are. The two questions are independent.",
        text="I'll look at the stock of both.",
        tool_calls=[Call("find_stock", {"item": item}) for item in ("keyboard", "monitor")],
    ),
    Reply(
        reasoning="Hamburg is wanted, so Hamburg first.",
        tool_calls=[
            Call("reserve", {"item": "keyboard", "count": 4, "warehouse": "Hamburg"}),
            Call("reserve", {"item": "monitor", "count": 2, "warehouse": "Hamburg"}),
        ],
    ),
    Reply(
        reasoning="Only 3 keyboards in Hamburg. Rotterdam has 12: all 4 from there, one parcel.",
        text="Hamburg is one keyboard short. I take them from Rotterdam.",
        tool_calls=[Call("reserve", {"item": "keyboard", "count": 4, "warehouse": "Rotterdam"})],
    ),
    Reply(tool_calls=[Call("draft_mail", {"to": "mei@example.com", "text": MAIL})]),
    Reply(
        text=(
            "Reserved: 4 keyboards in Rotterdam and 2 monitors in Hamburg. The mail to Mei is "
            "drafted and tells her why."
        )
    ),
]


def main() -> None:
    """Give the task, and watch."""
    with chat_model(SCRIPT) as model:
        agent = create_agent(model, [find_stock, reserve, draft_mail])
        print(f"You: {TASK}", end="")
        before = None
        for event in stream_agent(agent, {"messages": TASK}):
            show(event, before)
            before = event


if __name__ == "__main__":
    main()
