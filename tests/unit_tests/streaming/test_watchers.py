"""What a tool sees of its own arguments, and that it always sees the end of a call."""

from __future__ import annotations

from contextlib import aclosing, closing

import pytest

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMStreamInterruptedError
from langchain_glm.streaming import (
    ArgumentDelta,
    CallEvent,
    ToolCallFinished,
    ToolCallInvalid,
    ToolCallStarted,
    atool_call_events,
    awatch,
    tool_call_events,
    watch,
)
from langchain_glm.testing import Call, Cut, GLMServer, Reply

WRITE = Call("write", {"path": "a.txt", "content": "Hello, world"})
READ = Call("read", {"path": "b.txt"})
TOOLS = [{"name": name, "description": "", "parameters": {}} for name in ("write", "read")]


@pytest.fixture
def model_of():
    """A model whose answers are these."""
    servers = []

    def make(*answers):
        server = GLMServer(answers, fragment_size=6)
        servers.append(server.__enter__())
        return ChatGLM(base_url=server.base_url, api_key="test-key").bind_tools(TOOLS)

    yield make
    for server in servers:
        server.__exit__(None, None, None)


async def seen_by(model, watcher, *, stop_at=None, way):
    """Watch `write` in a stream; returns what was passed on."""
    passed = []
    if way == "sync":
        with closing(watch(tool_call_events(model.stream("x")), {"write": watcher})) as events:
            for event in events:
                passed.append(event)
                if stop_at and isinstance(event, stop_at):
                    break
        return passed
    events = awatch(atool_call_events(model.astream("x")), {"write": watcher})
    async with aclosing(events):
        async for event in events:
            passed.append(event)
            if stop_at and isinstance(event, stop_at):
                break
    return passed


@pytest.mark.parametrize("way", ["sync", "async"])
class TestWatch:
    async def test_it_sees_the_calls_of_its_tool_and_passes_everything_on(self, model_of, way):
        model = model_of(*[Reply(text="Look.", tool_calls=[WRITE, READ])] * 2)
        watched = []
        passed = await seen_by(model, watched.append, way=way)
        assert {event.name for event in watched} == {"write"}
        assert watched == [e for e in passed if isinstance(e, CallEvent) and e.name == "write"]
        assert [type(watched[0]), type(watched[-1])] == [ToolCallStarted, ToolCallFinished]
        kinds = {"text_delta", "tool_call_started", "argument_delta", "message_finished"}
        assert kinds <= {event.type for event in passed}

    async def test_it_is_told_before_the_event_is_passed_on(self, model_of, way):
        order = []
        model = model_of(Reply(tool_calls=[WRITE]))
        for event in await seen_by(model, order.append, way=way):
            if isinstance(event, CallEvent):
                assert event in order

    async def test_a_cut_call_ends_as_invalid(self, model_of, way):
        cut = Call("write", '{"path": "a.txt", "content": "Hel')
        watched = []
        model = model_of(Reply(tool_calls=[cut], finish_reason="length"))
        await seen_by(model, watched.append, way=way)
        assert isinstance(watched[-1], ToolCallInvalid)
        assert watched[-1].reason == "cut"

    async def test_a_stream_that_breaks_ends_its_call_once(self, model_of, way):
        watched = []
        model = model_of(Cut(Reply(tool_calls=[WRITE]), after=1000))
        with pytest.raises(GLMStreamInterruptedError):
            await seen_by(model, watched.append, way=way)
        ends = [e for e in watched if isinstance(e, (ToolCallInvalid, ToolCallFinished))]
        assert [end.reason for end in ends] == ["broken_stream"]

    @pytest.mark.parametrize("stop_at", [ToolCallStarted, ArgumentDelta])
    async def test_a_reader_who_leaves_ends_the_open_call(self, model_of, way, stop_at):
        watched = []
        model = model_of(Reply(tool_calls=[WRITE]))
        await seen_by(model, watched.append, stop_at=stop_at, way=way)
        end = watched[-1]
        assert isinstance(end, ToolCallInvalid)
        assert (end.reason, end.id, end.name) == ("stopped", watched[0].id, "write")
        assert end.raw == "".join(e.text for e in watched if e.type == "tool_call_delta")
        assert end.position == len(end.raw)

    async def test_a_reader_who_leaves_later_ends_nothing_twice(self, model_of, way):
        watched = []
        model = model_of(Reply(tool_calls=[WRITE]))
        await seen_by(model, watched.append, stop_at=ToolCallFinished, way=way)
        assert isinstance(watched[-1], ToolCallFinished)

    async def test_what_a_watcher_raises_ends_the_stream(self, model_of, way):
        def refuse(event):
            if event.type == "argument_delta":
                raise LookupError(event.text)

        model = model_of(Reply(tool_calls=[WRITE]))
        with pytest.raises(LookupError):
            await seen_by(model, refuse, way=way)


async def test_an_async_watcher_is_awaited(model_of):
    watched = []

    async def note(event):
        watched.append(event.type)

    await seen_by(model_of(Reply(tool_calls=[WRITE])), note, way="async")
    assert watched[-1] == "tool_call_finished"
