"""An agent watched: events in `match`, told apart to the last one; middleware; LangGraph's run."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.tools import tool
from typing_extensions import assert_never, assert_type

from langchain_glm import ChatGLM, register
from langchain_glm.middleware import ContinueCutCalls
from langchain_glm.streaming import (
    AnyCallEvent,
    AnyEvent,
    ArgumentDelta,
    ArgumentFinished,
    ArgumentStarted,
    MessageFinished,
    ReasoningDelta,
    RunFailed,
    RunFinished,
    RunInterrupted,
    StopSignal,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallInvalid,
    ToolCallParser,
    ToolCallStarted,
    ToolFailed,
    ToolFinished,
    ToolInputStream,
    ToolInputTransformer,
    ToolProgress,
    ToolStarted,
    adebounce,
    astream_agent,
    atool_call_events,
    complete_history,
    debounce,
    event_schema,
    redact,
    redacted,
    stream_agent,
    tool_call_events,
    watch,
)
from langchain_glm.testing import GLMServer


@tool
def write_file(path: str, content: str) -> str:
    """Write a text file."""
    return f"wrote {len(content)} characters to {path}"


def say(event: AnyEvent) -> str:  # noqa: C901, PLR0911, PLR0912 - a case for each event
    match event:
        case ReasoningDelta(text) | TextDelta(text):
            return text
        case ToolCallStarted() | ArgumentStarted():
            return event.name
        case ToolCallDelta(text):
            assert_type(event.arguments, dict[str, Any])
            return text
        case ArgumentDelta(path, text):
            assert_type(path, tuple[str | int, ...])
            return text
        case ArgumentFinished(path, value):
            return f"{path}: {value}"
        case ToolCallFinished(arguments):
            assert_type(arguments, dict[str, Any])
            return event.name
        case ToolCallInvalid(reason="cut" | "broken_stream" | "stopped"):
            return event.raw
        case ToolCallInvalid():
            return event.error
        case MessageFinished(message, reason, usage):
            assert_type(message, AIMessage)
            assert_type(reason, str | None)
            assert_type(usage, UsageMetadata | None)
            return message.text
        case ToolStarted(arguments):
            assert_type(arguments, Mapping[str, Any] | None)
            return event.name
        case ToolProgress(data):
            return str(data)
        case ToolFinished(content, artifact):
            return f"{content} {artifact}"
        case ToolFailed(error):
            return error
        case RunFinished(_, messages):
            assert_type(messages, Sequence[BaseMessage])
            return f"{len(messages)} messages"
        case RunInterrupted(interrupts):
            return f"{len(interrupts)} questions"
        case RunFailed(error):
            return f"{type(error).__name__}"
        case _:
            assert_never(event)


def tell_apart(event: AnyCallEvent) -> str:
    if event.type == "tool_call_invalid":
        assert_type(event, ToolCallInvalid)
        return event.reason
    if event.type == "argument_delta" or event.type == "tool_call_delta":  # noqa: PLR1714
        return event.text
    assert_type(event.index, int)
    assert_type(event.id, str | None)
    return event.name


def run_sync(agent: Any) -> None:
    events = stream_agent(agent, {"messages": "Write a.txt"}, stop=StopSignal())
    assert_type(events, Generator[AnyEvent, None, None])
    for event in events:
        say(event)
        assert_type(event.to_dict(), dict[str, Any])
        redact(event)

    def seen(event: AnyCallEvent) -> None:
        tell_apart(event)

    again = stream_agent(agent, {"messages": "Write a.txt"}, {"tags": ["typed"]})
    shown = debounce(redacted(watch(again, {"write_file": seen})), seconds=0.01)
    assert_type(shown, Generator[AnyEvent, None, None])
    for event in shown:
        say(event)


async def run_async(agent: Any) -> None:
    events = astream_agent(agent, {"messages": "Write a.txt"})
    assert_type(events, AsyncGenerator[AnyEvent, None])
    async with aclosing(events):
        async for event in adebounce(events):
            say(event)


def run_model(model: ChatGLM) -> None:
    bound = model.bind_tools([write_file])
    for event in tool_call_events(bound.stream("Write a.txt")):
        assert_type(event, AnyEvent)
        say(event)
    parser = ToolCallParser(node="model")
    for chunk in bound.stream("Write a.txt"):
        assert_type(parser.feed(chunk), list[AnyEvent])
    assert_type(parser.close(), list[AnyEvent])
    assert_type(complete_history([]), list[BaseMessage])
    assert_type(event_schema(), dict[str, Any])


async def arun_model(model: ChatGLM) -> None:
    async for event in atool_call_events(model.astream("Hello")):
        say(event)


def run_projection(agent: Any) -> None:
    run = agent.stream_events(
        {"messages": "Write a.txt"}, version="v3", transformers=[ToolInputTransformer]
    )
    calls: list[ToolInputStream] = []
    for call in run.tool_inputs:
        calls.append(call)
        for event in call:
            say(event)
    for call in calls:
        assert_type(call.arguments, dict[str, Any])
        assert_type(call.outcome, ToolCallFinished | ToolCallInvalid | None)


def main() -> None:
    register()
    with GLMServer() as server:
        model = ChatGLM(base_url=server.base_url, api_key="key")
        agent = create_agent(
            model, [write_file], middleware=[ContinueCutCalls(max_continuations=1)]
        )
        run_sync(agent)
        asyncio.run(run_async(agent))
        run_model(model)
        asyncio.run(arun_model(model))
        run_projection(agent)


if __name__ == "__main__":
    main()
