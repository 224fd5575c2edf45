"""The cost of a chunk: each way to ask, beside `ChatOpenAI` and the bare socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import tool

from benchmarks.bodies import FRAGMENT, Message, arguments, message
from benchmarks.measure import MICRO, Effort, agree, take_turns, without_reasoning
from benchmarks.sides import (
    BARE,
    GLM,
    OPENAI,
    PROMPT,
    WAYS,
    Bare,
    Way,
    aexhaust,
    exhaust,
    glm,
    merged,
    openai_model,
    read,
    run,
)
from benchmarks.tables import Cell, Table
from langchain_glm.streaming import (
    ArgumentDelta,
    RunFinished,
    ToolCallFinished,
    astream_agent,
    stream_agent,
    tool_call_events,
)

_COLUMNS = ("", "answer", GLM, OPENAI, "ratio", BARE, "ratio to bare")
_STREAMED = ("stream", "astream", "v3 events", "v3 events, async")
_WHOLE = ("invoke", "ainvoke")
_KINDS = ("text", "reasoning", "arguments")


def streams(server: str, effort: Effort) -> Table:
    """Measure the streams of a model."""
    rows = [
        _pair(server, name, kind, effort.fragments, effort.rounds)
        for name in _STREAMED
        for kind in _KINDS
    ]
    note = f"{effort.fragments:,} fragments in a stream. ChatOpenAI drops the reasoning."
    return Table("Streams: µs of CPU per chunk", _COLUMNS, rows, note)


def whole(server: str, effort: Effort) -> Table:
    """Measure the answers that come whole."""
    rows = [
        _pair(server, name, kind, 200, effort.rounds, calls=effort.calls)
        for name in _WHOLE
        for kind in ("text", "arguments")
    ]
    note = f"{200 * FRAGMENT} characters in an answer."
    return Table("Whole answers: µs of CPU per call", _COLUMNS, rows, note)


def _pair(
    server: str, name: str, kind: str, count: int, rounds: int, *, calls: int = 0
) -> list[Cell]:
    url = f"{server}/{kind}/{count}/{FRAGMENT}"
    way, ours, theirs, bare = WAYS[name], glm(url), openai_model(url), Bare(url)
    try:
        _check(way, message(kind, count), ours, theirs, bare)
        sides = {
            GLM: lambda: way.drain(ours),
            OPENAI: lambda: way.drain(theirs),
            BARE: lambda: bare.drain(way.bare),
        }
        turns = take_turns(
            {side: _repeated(ask, calls or 1) for side, ask in sides.items()}, rounds
        )
    finally:
        bare.close()
    cost = {side: turns.median(side) / (calls or count) * MICRO for side in sides}
    ratios = (turns.ratio(GLM, OPENAI), turns.ratio(GLM, BARE))
    return [name, kind, cost[GLM], cost[OPENAI], ratios[0], cost[BARE], ratios[1]]


def _check(way: Way, expected: Message, ours: Any, theirs: Any, bare: Bare) -> None:
    agree(expected, {GLM: way.said(ours), BARE: bare.said(way.bare)})
    agree(without_reasoning(expected), {OPENAI: without_reasoning(way.said(theirs))})


def _repeated(ask: Callable[[], object], times: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(times):
            ask()

    return repeated


def events(server: str, effort: Effort) -> Table:
    """Measure the events of tool calls, beside the stream that they are made of."""
    rows = [_events_pair(server, kind, effort) for kind in ("text", "arguments")]
    columns = ("", "answer", "events", "chunks", "ratio", f"{OPENAI}'s chunks", "ratio to them")
    return Table("tool_call_events over stream: µs of CPU per chunk", columns, rows)


def _events_pair(server: str, kind: str, effort: Effort) -> list[Cell]:
    url = f"{server}/{kind}/{effort.fragments}/{FRAGMENT}"
    ours, theirs = glm(url), openai_model(url)
    expected = message(kind, effort.fragments)
    seen = list(tool_call_events(ours.stream(PROMPT)))
    agree(expected, {"MessageFinished": read(seen[-1].message), GLM: WAYS["stream"].said(ours)})
    if expected.calls:
        typed = json.loads(arguments(effort.fragments))
        whole = [event.arguments for event in seen if isinstance(event, ToolCallFinished)]
        agree([typed], {"ToolCallFinished": whole})
        agree(typed["content"], {"ArgumentDelta": content_of(seen)})
    sides = {
        "events": lambda: exhaust(tool_call_events(ours.stream(PROMPT))),
        "chunks": lambda: exhaust(ours.stream(PROMPT)),
        OPENAI: lambda: exhaust(theirs.stream(PROMPT)),
    }
    turns = take_turns(sides, effort.rounds)
    cost = {side: turns.median(side) / effort.fragments * MICRO for side in sides}
    ratios = (turns.ratio("events", "chunks"), turns.ratio("events", OPENAI))
    name = "tool_call_events"
    return [name, kind, cost["events"], cost["chunks"], ratios[0], cost[OPENAI], ratios[1]]


def content_of(seen: Iterable[Any]) -> str:
    """Join what was typed of the argument `content`."""
    return "".join(
        event.text
        for event in seen
        if isinstance(event, ArgumentDelta) and event.path == ("content",)
    )


def agents(server: str, effort: Effort) -> Table:
    """Measure an agent that calls a tool and then says a text."""
    count = effort.fragments // 2
    ours = agent(glm(f"{server}/agent/{count}/{FRAGMENT}"))
    theirs = agent(openai_model(f"{server}/agent/{count}/{FRAGMENT}"))
    expected = message("text", count)._replace(calls=message("arguments", count).calls)
    said = {name: said_by(ours) for name, said_by in _AGENT_SAYS.items()}
    agree(expected, {**said, OPENAI: _messages_said(theirs)})
    sides: dict[str, Callable[[], object]] = {}
    for name, watch in AGENT_WAYS.items():
        sides[name] = partial(watch, ours)
        if name.startswith(_LANGGRAPH):
            sides[f"{name}, {OPENAI}"] = partial(watch, theirs)
    turns = take_turns(sides, effort.rounds)
    rows = [
        [name, turns.median(name) / (2 * count) * MICRO, turns.ratio(name, _beside(name))]
        for name in sides
    ]
    note = f"The model writes {count:,} fragments of arguments, then as many of text."
    columns = ("over the same agent", "µs", "ratio to LangGraph's")
    return Table("Agents: µs of CPU per fragment", columns, rows, note)


def _beside(name: str) -> str:
    return _ALANGGRAPH if "async" in name or name == "astream_agent" else _LANGGRAPH


@tool
def write_file(path: str, content: str) -> str:
    """Write a file."""
    return f"{len(content)} characters are in {path}"


def agent(model: Any) -> Any:
    """Make the agent."""
    return create_agent(model, [write_file])


INPUT = {"messages": [("user", PROMPT)]}
_LANGGRAPH = 'stream_mode="messages"'
_ALANGGRAPH = f"{_LANGGRAPH}, async"


async def _amessages(graph: Any) -> None:
    await aexhaust(graph.astream(INPUT, stream_mode="messages"))


AGENT_WAYS: Mapping[str, Callable[[Any], object]] = {
    "stream_agent": lambda graph: exhaust(stream_agent(graph, INPUT)),
    _LANGGRAPH: lambda graph: exhaust(graph.stream(INPUT, stream_mode="messages")),
    "astream_agent": lambda graph: run(aexhaust(astream_agent(graph, INPUT))),
    _ALANGGRAPH: lambda graph: run(_amessages(graph)),
}


def _messages_said(graph: Any) -> Message:
    chunks: dict[str, list[Any]] = {}
    for chunk, _ in graph.stream(INPUT, stream_mode="messages"):
        if isinstance(chunk, AIMessage):
            chunks.setdefault(str(chunk.id), []).append(chunk)
    return _in_one(merged(of_message) for of_message in chunks.values())


def _run_said(seen: Iterable[Any]) -> Message:
    (end,) = (event for event in seen if isinstance(event, RunFinished))
    messages: Iterable[BaseMessage] = end.messages
    return _in_one(read(found) for found in messages if isinstance(found, AIMessage))


def _in_one(messages: Iterable[Message]) -> Message:
    first, *rest = messages
    for more in rest:
        first = Message(*(mine + its for mine, its in zip(first, more, strict=True)))
    return first


async def _arun_said(graph: Any) -> Message:
    return _run_said([event async for event in astream_agent(graph, INPUT)])


_AGENT_SAYS: Mapping[str, Callable[[Any], Message]] = {
    "stream_agent": lambda graph: _run_said(stream_agent(graph, INPUT)),
    _LANGGRAPH: _messages_said,
    "astream_agent": lambda graph: run(_arun_said(graph)),
}
