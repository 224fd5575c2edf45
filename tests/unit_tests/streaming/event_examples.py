"""One event of every kind at least, with a text of the test's choice wherever content can be;
and streams to read them from."""

import asyncio
from types import SimpleNamespace

from langchain_core.messages import (
    AIMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_glm.streaming.events import (
    ArgumentDelta,
    ArgumentFinished,
    ArgumentStarted,
    MessageFinished,
    ReasoningDelta,
    RunFailed,
    RunFinished,
    RunInterrupted,
    TextDelta,
    ToolCallDelta,
    ToolCallFinished,
    ToolCallInvalid,
    ToolCallStarted,
    ToolFailed,
    ToolProgress,
    ToolStarted,
)
from langchain_glm.streaming.events import ToolFinished as Finished

WHERE = {"namespace": ("child:1",), "node": "model", "message_id": "m1"}
CALL = {**WHERE, "id": "call_1", "index": 0, "name": "write_file"}
TOOL = {**WHERE, "id": "call_1", "name": "write_file"}
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


class Typed:
    """What a call's fragments were so far."""

    def __init__(self, *fragments, arguments=None):
        self.fragments = fragments
        self.arguments = arguments or {}

    def text_at(self, count):
        return "".join(self.fragments[:count])

    def arguments_at(self, count):
        return self.arguments


class ToldError(Exception):
    """An error that tells much."""

    def __init__(self, text):
        super().__init__(text)
        self.code = text
        self.body = {"error": text}


def messages(text):
    call = {"name": "write_file", "args": {"path": text, "deep": {text: [text]}}, "id": "call_1"}
    invalid = {"name": "write_file", "args": text, "id": "call_2", "error": text}
    return [
        HumanMessage(text, id="h1", name=text, additional_kwargs={"x": text}),
        SystemMessage([{"type": "text", "text": text}], id="s1"),
        AIMessage(
            [{"type": "reasoning", "reasoning": text}, {"type": "text", "text": text}],
            id="m1",
            tool_calls=[{**call, "type": "tool_call"}],
            invalid_tool_calls=[{**invalid, "type": "invalid_tool_call"}],
            additional_kwargs={"reasoning_content": text},
            response_metadata={"web_search": [text]},
            usage_metadata=USAGE,
        ),
        ToolMessage(text, tool_call_id="call_1", name="write_file", artifact={"x": text}),
        FunctionMessage(text, name="old"),
        ChatMessage(content=text, role="critic"),
    ]


def examples(text):
    ai = messages(text)[2]
    deep = {"a": [{text: {"b": text}}], "exception": ToldError(text), "bytes": text.encode()}
    typed = Typed('{"path": "', text, arguments={"path": text})
    return [
        ReasoningDelta(text, **WHERE),
        TextDelta(text, **WHERE),
        ToolCallStarted(**CALL),
        ToolCallDelta(text, typed, 2, **CALL),
        ArgumentStarted(("edits", 0, text), **CALL),
        ArgumentDelta(("edits", 0, text), text, **CALL),
        ArgumentFinished(("edits", 0, text), text, **CALL),
        ArgumentFinished(("edits", text), [{text: text}], **CALL),
        ToolCallFinished({"path": text, "edits": [{text: text}]}, **CALL),
        ToolCallInvalid(text, "invalid_json", 3, text, **CALL),
        MessageFinished(ai, "tool_calls", {**USAGE, "note": text}, **WHERE),
        ToolStarted({"path": text}, **TOOL),
        ToolProgress(deep, **TOOL),
        Finished([{"type": "text", "text": text}], deep, **TOOL),
        ToolFailed(text, **TOOL),
        RunFinished({"messages": messages(text), text: deep}, messages(text)),
        RunInterrupted(
            [SimpleNamespace(id="i1", value={"ask": text})], {"x": text}, messages(text)
        ),
        RunFailed(ToldError(text), messages(text)),
    ]


class Source:
    """An async stream of events with gates; says how it ended."""

    def __init__(self, *items):
        self.items = items
        self.ended = None

    def __aiter__(self):
        return self._run()

    async def _run(self):
        try:
            for item in self.items:
                if isinstance(item, asyncio.Event):
                    await item.wait()
                elif isinstance(item, BaseException):
                    raise item  # noqa: TRY301
                else:
                    yield item
            self.ended = "whole"
        except BaseException as error:
            self.ended = type(error).__name__
            raise


def listed_to_error(stream):
    """What a stream gave, and what it raised."""
    items = []
    try:
        items.extend(stream)
    except Exception as error:  # noqa: BLE001
        return items, error
    return items, None


async def alisted_to_error(stream):
    """What an async stream gave, and what it raised."""
    items = []
    try:
        async for item in stream:
            items.append(item)  # noqa: PERF401 - those before the error are wanted
    except Exception as error:  # noqa: BLE001
        return items, error
    return items, None
