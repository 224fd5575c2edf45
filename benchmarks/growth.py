"""Whether the cost of a fragment stays the same, however long the answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from langchain_core.messages import HumanMessage

from benchmarks.bodies import FRAGMENT, arguments
from benchmarks.measure import MICRO, Effort, take_turns
from benchmarks.pairs import AGENT_WAYS, INPUT, agent
from benchmarks.sides import PROMPT, WAYS, aexhaust, exhaust, glm, run
from benchmarks.tables import Cell, Table
from benchmarks.views import typed
from langchain_glm.streaming import (
    acollect,
    atool_call_events,
    collect,
    tool_call_events,
    watch,
)
from langchain_glm.streaming.encoders import sse, vercel
from langchain_glm.streaming.transformer import ToolInputTransformer

_SHAPE = {
    "title": "write_file",
    "description": "Write a file.",
    "type": "object",
    "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
}
_MESSAGES = [HumanMessage(PROMPT)]
Path = Callable[[Any], object]


def growth(server: str, effort: Effort) -> Table:
    """Measure each public path of ours on a short and on a long answer."""
    rows = [
        *(_row(name, partial(_model, server), path, effort) for name, path in OF_A_MODEL.items()),
        *(_row(name, partial(_agent, server), path, effort) for name, path in OF_AN_AGENT.items()),
        *(_row(name, _chunks, path, effort) for name, path in OF_CHUNKS.items()),
    ]
    columns = ("", *(f"{count:,} fragments" for count in effort.growth), "times")
    note = (
        "Arguments of one call; from an agent half of them, and then as much text. What is over "
        "chunks is over chunks in memory. Core keeps all chunks and events of a stream, and its "
        "merge of a call's fragments copies the arguments so far for each of them."
    )
    return Table("Growth: µs of CPU per fragment", columns, rows, note)


def _row(name: str, source: Callable[[int], Any], path: Path, effort: Effort) -> list[Cell]:
    costs = []
    for count in effort.growth:
        given = source(count)
        turns = take_turns({name: partial(path, given)}, 1)
        costs.append(turns.median(name) / count * MICRO)
    few, many = costs
    return [name, few, many, many / few]


def _model(server: str, count: int) -> Any:
    return glm(f"{server}/arguments/{count}/{FRAGMENT}")


def _agent(server: str, count: int) -> Any:
    return agent(glm(f"{server}/agent/{count // 2}/{FRAGMENT}"))


def _chunks(count: int) -> Any:
    return typed(arguments(count))


def _invoke_streaming(model: Any) -> None:
    model.model_copy(update={"streaming": True}).invoke(PROMPT)


def _structured(model: Any) -> None:
    exhaust(model.with_structured_output(_SHAPE, method="function_calling").stream(PROMPT))


def _tool_inputs(graph: Any) -> None:
    run_ = graph.stream_events(INPUT, version="v3", transformers=[ToolInputTransformer])
    for call in run_.tool_inputs:
        exhaust(call)


OF_A_MODEL: Mapping[str, Path] = {
    **{name: way.drain for name, way in WAYS.items() if "invoke" not in name},
    "stream, without core's part": lambda model: exhaust(model._stream(_MESSAGES)),
    "v3 events, without core's part": lambda model: exhaust(
        model._stream_chat_model_events(_MESSAGES)
    ),
    "invoke, streaming=True": _invoke_streaming,
    "with_structured_output": _structured,
    "atool_call_events": lambda model: run(aexhaust(atool_call_events(model.astream(PROMPT)))),
    "acollect": lambda model: run(acollect(model.astream(PROMPT))),
}
OF_AN_AGENT: Mapping[str, Path] = {**AGENT_WAYS, "run.tool_inputs": _tool_inputs}
OF_CHUNKS: Mapping[str, Path] = {
    "tool_call_events, over chunks": lambda chunks: exhaust(tool_call_events(chunks)),
    "watch, over chunks": lambda chunks: exhaust(
        watch(tool_call_events(chunks), {"write_file": lambda _: None})
    ),
    "collect, over chunks": collect,
    "encoders.sse, over chunks": lambda chunks: exhaust(sse.encode(tool_call_events(chunks))),
    "encoders.vercel, over chunks": lambda chunks: exhaust(vercel.encode(tool_call_events(chunks))),
}
