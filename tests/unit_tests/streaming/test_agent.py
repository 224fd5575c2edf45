"""An agent of `create_agent` is watched: what is seen, in which order, and when."""

import threading

import pytest
from agent_runs import ASYNC_AGENT, INPUT, SYNC, begun, either_of_create_agent, glm, gpt, watched
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.prebuilt import ToolRuntime

from langchain_glm.errors import GLMMalformedResponseError
from langchain_glm.middleware import ContinueCutCalls
from langchain_glm.streaming import events as ev
from langchain_glm.testing import Call, GLMServer, Reply

# One loop for all tests: its HTTP client is made once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

FIB = {"path": "fib.py", "content": 'print("1 1 2")\n'}
USAGE = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}


@tool
def write_file(path: str, content: str, runtime: ToolRuntime) -> str:
    """Write a file."""
    runtime.emit_output_delta("opened")
    get_stream_writer()({"characters": len(content)})
    return f"written to {path}"


@tool(response_format="content_and_artifact")
def measure(path: str) -> tuple:
    """Measure a file."""
    return "1 line", {"lines": 1}


TOOLS = [write_file, measure]
WRITING = Reply(
    reasoning="A file, then.",
    text="I'll write.",
    tool_calls=[Call("write_file", FIB, "call_w"), Call("measure", {"path": "fib.py"}, "call_m")],
    usage=USAGE,
)
DONE = Reply(text="Done.")


async def watch_writing(way, **options):
    with GLMServer([WRITING, DONE]) as server:
        return await watched(way, create_agent(glm(server), TOOLS, **options))


def told(events):
    """The kinds of events in a row, each once."""
    kinds = [event.type for event in events]
    return [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]


# What is seen, in which order


@either_of_create_agent
async def test_the_order_of_a_whole_run(way):
    run = await watch_writing(way)
    messages = [at for at, e in enumerate(run.events) if isinstance(e, ev.MessageFinished)]
    first, tools, second = (
        run.events[: messages[0] + 1],
        run.events[messages[0] + 1 : messages[1]],
        run.events[messages[1] :],
    )
    assert told(e for e in first if not isinstance(e, _TYPED)) == [
        "reasoning_delta",
        "text_delta",
        "tool_call_started",
        "tool_call_finished",
        "message_finished",
    ]
    assert {e.type for e in tools} == {
        *("tool_started", "tool_progress", "tool_finished"),
        "text_delta",
    }
    assert told(second) == ["message_finished", "run_finished"]


_TYPED = (ev.ToolCallDelta, ev.ArgumentStarted, ev.ArgumentDelta, ev.ArgumentFinished)


@either_of_create_agent
async def test_the_reasoning_and_the_text_in_fragments(way):
    run = await watch_writing(way)
    assert [e.text for e in run.of(ev.ReasoningDelta)] == ["A fi", "le, ", "then", "."]
    assert "".join(e.text for e in run.of(ev.TextDelta)) == "I'll write.Done."


@either_of_create_agent
async def test_the_arguments_as_they_are_typed(way):
    run = await watch_writing(way)
    of_write = [e for e in run.of(*_TYPED) if e.id == "call_w"]
    said = [
        (e.type, e.path, getattr(e, "text", getattr(e, "value", None)))
        for e in of_write
        if not isinstance(e, ev.ToolCallDelta)
    ]
    path = [
        ("argument_started", ("path",), None),
        ("argument_delta", ("path",), "fi"),
        ("argument_delta", ("path",), "b.py"),
        ("argument_finished", ("path",), "fib.py"),
    ]
    assert said[:4] == path
    content = [e.text for e in of_write if isinstance(e, ev.ArgumentDelta)][2:]
    assert "".join(content) == FIB["content"]
    assert len(content) > 3
    partial = [e.arguments for e in of_write if isinstance(e, ev.ToolCallDelta)]
    assert partial[-1] == FIB
    assert [e.arguments for e in run.of(ev.ToolCallFinished)] == [FIB, {"path": "fib.py"}]
    assert [(e.id, e.index, e.name) for e in run.of(ev.ToolCallStarted)] == [
        ("call_w", 0, "write_file"),
        ("call_m", 1, "measure"),
    ]


@either_of_create_agent
async def test_the_tools_while_they_run(way):
    run = await watch_writing(way)
    by_tool = {
        name: [e for e in run.of(ev.ToolEvent) if e.id == name] for name in ("call_w", "call_m")
    }
    ids = {"id": "call_w", "name": "write_file"}
    started, delta, finished = (
        e for e in by_tool["call_w"] if not isinstance(getattr(e, "data", None), dict)
    )
    assert started == ev.ToolStarted(FIB, **ids)
    assert delta == ev.ToolProgress("opened", **ids)
    assert finished == ev.ToolFinished("written to fib.py", **ids)
    ids = {"id": "call_m", "name": "measure"}
    assert by_tool["call_m"][0] == ev.ToolStarted({"path": "fib.py"}, **ids)
    assert by_tool["call_m"][-1] == ev.ToolFinished("1 line", {"lines": 1}, **ids)
    assert {"characters": len(FIB["content"])} in [e.data for e in run.of(ev.ToolProgress)]


@either_of_create_agent
async def test_the_progress_of_two_tools_at_once_has_no_name(way):
    """LangGraph does not say which of them has written."""
    both_run, written = threading.Barrier(2, timeout=5), threading.Barrier(2, timeout=5)

    @tool
    def write(text: str) -> str:
        """Write something."""
        both_run.wait()
        get_stream_writer()(text)
        written.wait()
        return text

    calls = [Call("write", {"text": text}, f"call_{text}") for text in ("a", "b")]
    with GLMServer([Reply(tool_calls=calls), DONE]) as server:
        run = await watched(way, create_agent(glm(server), [write]))
    progress = run.of(ev.ToolProgress)
    assert sorted(e.data for e in progress) == ["a", "b"]
    assert {(e.id, e.name) for e in progress} == {(None, "")}


@either_of_create_agent
async def test_the_progress_of_a_tool_that_runs_alone_has_its_name(way):
    writing = Reply(tool_calls=[Call("write_file", FIB, "call_w")])
    with GLMServer([writing, DONE]) as server:
        run = await watched(way, create_agent(glm(server), TOOLS))
    assert run.of(ev.ToolEvent) == [
        ev.ToolStarted(FIB, id="call_w", name="write_file"),
        ev.ToolProgress("opened", id="call_w", name="write_file"),
        ev.ToolProgress({"characters": 15}, id="call_w", name="write_file"),
        ev.ToolFinished("written to fib.py", id="call_w", name="write_file"),
    ]


@either_of_create_agent
async def test_the_messages_are_those_of_the_state(way):
    run = await watch_writing(way)
    finished = run.of(ev.MessageFinished)
    question, writing, *results, done = run.last.output["messages"]
    assert isinstance(question, HumanMessage)
    assert [e.message for e in finished] == [writing, done]
    assert [e.message_id for e in finished] == [writing.id, done.id]
    assert [e.finish_reason for e in finished] == ["tool_calls", "stop"]
    assert finished[0].usage["input_tokens"] == 11
    assert finished[0].usage["output_tokens"] == 22
    assert all(isinstance(result, ToolMessage) for result in results)
    assert run.last == ev.RunFinished(run.last.output, run.last.output["messages"][1:])


@either_of_create_agent
async def test_every_event_says_where_it_comes_from(way):
    run = await watch_writing(way)
    of_model = [e for e in run.events if not isinstance(e, ev.ToolEvent | ev.RunFinished)]
    assert {(e.namespace, e.node) for e in of_model} == {((), "model")}
    ids = [m.id for m in run.last.messages if isinstance(m, AIMessage)]
    assert {e.message_id for e in of_model} == set(ids)
    assert len(ids) == 2


# When


@pytest.mark.parametrize("model", [glm, gpt], ids=["glm", "gpt"])
@either_of_create_agent
async def test_an_argument_is_seen_before_the_server_has_sent_the_end(way, model):
    early = []

    def see(event):
        if isinstance(event, ev.ArgumentDelta) and not early:
            early.append((len(server.requests[0].sent), server.requests[0].answered.is_set()))

    writing = Reply(tool_calls=[Call("write_file", FIB)])
    with GLMServer([writing, DONE], pace=0.05) as server:
        await watched(way, create_agent(model(server), TOOLS), see=see)
        ((sent, answered),) = early
        assert not answered
        assert sent < len(server.requests[0].sent)


@either_of_create_agent
async def test_a_tool_starts_after_its_arguments_and_its_progress_comes_while_it_runs(way):
    steps = []

    @tool
    def note(text: str, runtime: ToolRuntime) -> str:
        """Note something."""
        steps.append("runs")
        runtime.emit_output_delta("half")
        return "noted"

    def see(event):
        if isinstance(event, ev.ArgumentFinished | ev.ToolStarted | ev.ToolFinished):
            steps.append(event.type)

    with GLMServer([Reply(tool_calls=[Call("note", {"text": "x"})]), DONE]) as server:
        await watched(way, create_agent(glm(server), [note]), see=see)
    assert steps[0] == "argument_finished"
    assert sorted(steps[1:3]) == ["runs", "tool_started"]
    assert steps[3:] == ["tool_finished"]


# Turns of the user


@either_of_create_agent
async def test_a_second_turn_tells_only_what_is_new(way):
    config = {"configurable": {"thread_id": "1"}}
    script = [WRITING, DONE, Reply(tool_calls=[Call("measure", {"path": "b"}, "call_n")]), DONE]
    with GLMServer(script) as server:
        agent = create_agent(glm(server), TOOLS, checkpointer=InMemorySaver())
        first = await watched(way, agent, INPUT, config)
        second = await watched(way, agent, {"messages": "Measure b"}, config)
    old = first.last.output["messages"]
    assert second.last.messages == second.last.output["messages"][len(old) + 1 :]
    assert [m.type for m in second.last.messages] == ["ai", "tool", "ai"]
    assert [(e.type, e.id) for e in second.of(ev.ToolEvent)] == [
        ("tool_started", "call_n"),
        ("tool_finished", "call_n"),
    ]
    assert len(second.of(ev.MessageFinished)) == 2


SAME = {"id": "call_0", "name": "measure"}
MEASURED = [ev.ToolStarted({"path": "a"}, **SAME), ev.ToolFinished("1 line", {"lines": 1}, **SAME)]
MEASURING = Reply(tool_calls=[Call("measure", {"path": "a"}, "call_0")])


@either_of_create_agent
async def test_a_call_id_that_is_used_again_in_a_later_turn(way):
    """Some servers count the calls of each answer from 0."""
    config = {"configurable": {"thread_id": "1"}}
    with GLMServer([MEASURING, DONE, MEASURING, MEASURING, DONE]) as server:
        agent = create_agent(glm(server), TOOLS, checkpointer=InMemorySaver())
        first = await watched(way, agent, INPUT, config)
        second = await watched(way, agent, INPUT, config)
    assert first.of(ev.ToolEvent) == MEASURED
    assert second.of(ev.ToolEvent) == MEASURED * 2
    kinds = ["ai", "tool", "ai", "tool", "ai"]
    assert [m.type for m in first.last.messages] == kinds[2:]
    assert [m.type for m in second.last.messages] == kinds


# Calls that must not run

CUT = Reply(
    text="I'll write.",
    tool_calls=[Call("write_file", '{"path": "a.py", "content": "pri', "call_w")],
    finish_reason="length",
)


@either_of_create_agent
async def test_a_cut_call_ends_the_run_and_is_seen(way):
    with GLMServer([CUT, DONE]) as server:
        run = await watched(way, create_agent(glm(server), TOOLS))
        assert len(server.requests) == 1
    (invalid,) = run.of(ev.ToolCallInvalid)
    assert (invalid.id, invalid.reason) == ("call_w", "cut")
    assert invalid.raw == CUT.tool_calls[0].arguments
    assert invalid.position == len(invalid.raw)
    assert run.of(ev.ToolEvent) == []
    assert run.of(ev.MessageFinished)[0].finish_reason == "length"
    assert [m.type for m in run.last.messages] == ["ai"]


@either_of_create_agent
async def test_with_the_middleware_the_model_is_told_of_it(way):
    small = Reply(tool_calls=[Call("measure", {"path": "a"}, "call_0")])
    with GLMServer([CUT, small, DONE]) as server:
        agent = create_agent(glm(server), TOOLS, middleware=[ContinueCutCalls()])
        run = await watched(way, agent)
    (failed,) = run.of(ev.ToolFailed)
    assert (failed.id, failed.name) == ("call_w", "write_file")
    assert "smaller" in failed.error
    assert [e.type for e in run.events if isinstance(e, ev.ToolEvent)][1:] == [
        "tool_started",
        "tool_finished",
    ]
    assert len(run.of(ev.MessageFinished)) == 3
    assert [m.type for m in run.last.messages] == ["ai", "tool", "ai", "tool", "ai"]


@either_of_create_agent
async def test_the_middleware_gives_up(way):
    with GLMServer(CUT) as server:
        middleware = [ContinueCutCalls(max_continuations=1)]
        run = await watched(way, create_agent(glm(server), TOOLS, middleware=middleware))
    assert isinstance(run.error, GLMMalformedResponseError)
    assert len(run.of(ev.ToolCallInvalid)) == len(run.of(ev.MessageFinished)) == 2
    assert [m.type for m in run.last.messages] == ["ai", "tool", "ai"]


# Before anything happens


@pytest.mark.parametrize("way", [SYNC, ASYNC_AGENT])
async def test_nothing_is_asked_before_the_first_event_is(way):
    with GLMServer(DONE) as server:
        events = begun(way, create_agent(glm(server), []))
        await events.aclose()
        assert server.requests == []
