"""A run that fails: what was open ends, the messages so far are kept, the error is raised."""

import json

import pytest
from agent_runs import INPUT, either, either_of_create_agent, glm, gpt, watched
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph

from langchain_glm.errors import (
    GLMAuthenticationError,
    GLMMalformedStreamError,
    GLMOverloadedError,
    GLMStreamInterruptedError,
)
from langchain_glm.streaming import complete_history
from langchain_glm.streaming import events as ev
from langchain_glm.testing import Call, Cut, Fail, GLMServer, Raw, Reply

# One loop for all tests: its HTTP client is made once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

DONE = Reply(text="Done.")
LOOKING = Reply(
    reasoning="I look.",
    text="Let me see.",
    tool_calls=[Call("look", {"at": "one"}, "call_1"), Call("look", {"at": "two"}, "call_2")],
)
# In the arguments of the second call.
HALF = Cut(LOOKING, after=3500)
FAILED = "The run failed before the tool had ended."


@tool
def look(at: str) -> str:
    """Look at something."""
    return f"saw {at}"


@tool("look")
def failing_look(at: str) -> str:
    """Look at something, and fail at the second."""
    if at == "two":
        msg = "blind"
        raise ValueError(msg)
    return f"saw {at}"


async def accepted(run):
    """Ask on with the messages of a run, and give the roles that GLM was sent.

    GLM refuses calls without answers, answers without calls, broken arguments and empty turns.
    """
    history = [HumanMessage("hi"), *complete_history(run.last.messages), HumanMessage("Go on.")]
    with GLMServer(DONE) as server:
        glm(server).invoke(history)
        (request,) = server.requests
    turns = request.body["messages"]
    waiting = []
    for turn in turns:
        if turn["role"] == "tool":
            waiting.remove(turn["tool_call_id"])
            continue
        assert waiting == []
        calls = turn.get("tool_calls", [])
        assert turn["content"] or calls
        for call in calls:
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            waiting.append(call["id"])
    assert waiting == []
    return [turn["role"] for turn in turns[1:-1]]


# The model fails


@either_of_create_agent
async def test_a_stream_that_breaks_in_a_call(way):
    with GLMServer([HALF]) as server:
        run = await watched(way, create_agent(glm(server), [look]))
    assert isinstance(run.error, GLMStreamInterruptedError)
    second = run.of(ev.ToolCallFinished, ev.ToolCallInvalid)[1]
    assert (second.id, second.reason) == ("call_2", "broken_stream")
    assert second.raw
    assert second.position == len(second.raw)
    assert run.of(ev.MessageFinished, ev.ToolEvent) == []
    (partial,) = run.last.messages
    assert partial == run.error.partial
    assert partial.text == "Let me see."
    assert [c["id"] for c in partial.invalid_tool_calls][-1:] == ["call_2"]
    assert await accepted(run) in (["assistant"], ["assistant", "tool"])


@either_of_create_agent
async def test_a_stream_that_breaks_after_a_round_of_tools(way):
    with GLMServer([LOOKING, HALF]) as server:
        run = await watched(way, create_agent(glm(server), [look]))
    assert [m.type for m in run.last.messages] == ["ai", "tool", "tool", "ai"]
    assert run.last.messages[-1] == run.error.partial
    assert (await accepted(run))[:4] == ["assistant", "tool", "tool", "assistant"]


@either_of_create_agent
async def test_chat_openai_whose_stream_breaks(way):
    with GLMServer([HALF]) as server:
        model = gpt(server, extra_body={"tool_stream": True})
        run = await watched(way, create_agent(model, [look]))
    assert {e.reason for e in run.of(ev.ToolCallInvalid)} == {"broken_stream"}
    assert run.last.messages == []


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        pytest.param(Fail(429, "1305", "busy"), GLMOverloadedError, "1305", id="overloaded"),
        pytest.param(Fail(401, "1000", "no"), GLMAuthenticationError, "1000", id="key"),
        pytest.param(Raw(b"data: {\n\n"), GLMMalformedStreamError, None, id="malformed"),
    ],
)
@either_of_create_agent
async def test_a_request_that_fails_in_the_second_round(way, answer, kind, code):
    with GLMServer([LOOKING, answer]) as server:
        run = await watched(way, create_agent(glm(server), [look]))
    assert isinstance(run.error, kind)
    assert [m.type for m in run.last.messages] == ["ai", "tool", "tool"]
    shown = run.last.to_dict()["error"]
    assert (shown["type"], shown["code"]) == (kind.__name__, code)
    assert await accepted(run) == ["assistant", "tool", "tool"]


@either_of_create_agent
async def test_a_request_that_fails_at_once(way):
    with GLMServer(Fail(401, "1000", "no")) as server:
        run = await watched(way, create_agent(glm(server), [look]))
    assert [e.type for e in run.events] == ["run_failed"]
    assert run.last.messages == []
    assert await accepted(run) == []


# A tool fails


@either_of_create_agent
async def test_a_tool_that_raises(way):
    with GLMServer([LOOKING]) as server:
        run = await watched(way, create_agent(glm(server), [failing_look]))
    assert isinstance(run.error, ValueError)
    of_second = [e for e in run.of(ev.ToolEvent) if e.id == "call_2"]
    ids = {"id": "call_2", "name": "look"}
    assert of_second == [
        ev.ToolStarted({"at": "two"}, **ids),
        ev.ToolFailed("blind", raised=True, **ids),
    ]
    ended = [e.id for e in run.of(ev.ToolFinished)]
    assert [m.type for m in run.last.messages] == ["ai", *["tool"] * len(ended)]
    assert await accepted(run) == ["assistant", "tool", "tool"]


@either_of_create_agent
async def test_a_tool_that_was_running_when_another_raised(way):
    """That of an async run is cancelled; that of a sync one is waited for."""
    import threading

    began = threading.Event()

    @tool
    async def slow() -> str:
        """Take long."""
        import asyncio

        began.set()
        await asyncio.sleep(30)

    @tool("slow")
    def slow_sync() -> str:
        """Take long."""
        began.set()
        return "late"

    @tool
    def fail() -> str:
        """Fail when the other runs."""
        began.wait(5)
        msg = "no"
        raise ValueError(msg)

    calls = [Call("slow", {}, "call_s"), Call("fail", {}, "call_f")]
    with GLMServer([Reply(tool_calls=calls)]) as server:
        other = slow if way == "async" else slow_sync
        run = await watched(way, create_agent(glm(server), [other, fail]))
    ends = {e.id: e for e in run.of(ev.ToolFinished, ev.ToolFailed)}
    assert ends["call_f"].error == "no"
    if way == "async":
        assert ends["call_s"].error in {FAILED, ""}
    assert await accepted(run) == ["assistant", "tool", "tool"]


@either_of_create_agent
async def test_calls_that_have_no_answer_after_a_second_failure_with_the_same_id(way):
    """Call ids that are used again lose no answer."""
    again = Reply(tool_calls=[Call("look", {"at": "one"}, "call_1")])
    fails = Reply(tool_calls=[Call("look", {"at": "two"}, "call_1")])
    with GLMServer([again, fails]) as server:
        run = await watched(way, create_agent(glm(server), [failing_look]))
    assert [m.type for m in run.last.messages] == ["ai", "tool", "ai"]
    assert await accepted(run) == ["assistant", "tool"] * 2


# A graph fails


@either
async def test_a_node_that_raises_after_its_model_has_answered(way):
    with GLMServer([DONE]) as server:
        model = glm(server)

        def ask(state, config):
            model.invoke(state["messages"], config)
            msg = "forgot it"
            raise KeyError(msg)

        graph = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
        run = await watched(way, graph)
    assert isinstance(run.error, KeyError)
    assert [m.text for m in run.last.messages] == ["Done."]


@either_of_create_agent
async def test_too_many_steps(way):
    with GLMServer(lambda received: Reply(tool_calls=[Call("look", {"at": "x"})])) as server:
        agent = create_agent(glm(server), [look])
        run = await watched(way, agent, INPUT, {"recursion_limit": 4})
    assert isinstance(run.error, GraphRecursionError)
    assert await accepted(run) == ["assistant", "tool"] * 2


@either_of_create_agent
async def test_a_thread_that_goes_on_after_a_failure(way):
    config = {"configurable": {"thread_id": "1"}}
    with GLMServer([LOOKING, Fail(401, "1000", "no"), DONE]) as server:
        agent = create_agent(glm(server), [look], checkpointer=InMemorySaver())
        await watched(way, agent, INPUT, config)
        run = await watched(way, agent, None, config)
    assert [m.text for m in run.last.messages] == ["Done."]
    assert [e.type for e in run.events] == [
        "text_delta",
        "text_delta",
        "message_finished",
        "run_finished",
    ]


@either
async def test_an_input_that_the_graph_does_not_take(way):
    graph = StateGraph(MessagesState).add_node("n", lambda s: {}).add_edge(START, "n").compile()
    run = await watched(way, graph, "hi")
    assert [e.type for e in run.events] == ["run_failed"]


@either
async def test_a_broken_answer_in_a_subgraph_is_no_message_of_the_whole(way):
    """What a subagent was saying is not what the agent was."""
    answers = [LOOKING, HALF]
    with GLMServer(answers) as server:
        model = glm(server).bind_tools([look])

        def inner(state, config):
            return {"messages": [model.invoke("inner", config)]}

        sub = StateGraph(MessagesState).add_node("i", inner).add_edge(START, "i").compile()

        @tool("look")
        def delegate(at: str) -> str:
            """Ask a graph."""
            return sub.invoke({"messages": at})["messages"][-1].text

        def ask(state, config):
            return {"messages": [model.invoke(state["messages"], config)]}

        def use(state, config):
            call = state["messages"][-1].tool_calls[0]
            return {"messages": [delegate.invoke(call, config)]}

        graph = StateGraph(MessagesState).add_node("ask", ask).add_node("use", use)
        graph.add_edge(START, "ask").add_edge("ask", "use")
        run = await watched(way, graph.compile())
    assert isinstance(run.error, GLMStreamInterruptedError)
    broken = run.of(ev.ToolCallInvalid)
    assert broken
    assert all(e.namespace for e in broken)
    assert [m.type for m in run.last.messages] == ["ai"]


@either
async def test_what_failed_is_in_the_order_in_which_it_came(way):
    """Two answers and a tool between them in one node, which then fails."""
    with GLMServer([LOOKING, DONE]) as server:
        model = glm(server).bind_tools([look])

        def work(state, config):
            first = model.invoke(state["messages"], config)
            results = [look.invoke(call, config) for call in first.tool_calls]
            model.invoke([*state["messages"], first, *results], config)
            msg = "forgot it"
            raise KeyError(msg)

        graph = StateGraph(MessagesState).add_node("w", work).add_edge(START, "w").compile()
        run = await watched(way, graph)
    assert [m.type for m in run.last.messages] == ["ai", "tool", "tool", "ai"]


class Routed(MessagesState):
    where: str


@either
async def test_an_answer_that_was_not_saved_is_not_in_the_messages_later(way):
    """A router's answer in an earlier node: a finished run would not have it either."""
    with GLMServer([Reply(text="A router."), DONE]) as server:
        model = glm(server)

        def route(state, config):
            return {"where": model.invoke(state["messages"], config).text}

        def fail(state, config):
            model.invoke(state["messages"], config)
            msg = "no"
            raise ValueError(msg)

        graph = StateGraph(Routed)
        graph.add_node("route", route).add_node("fail", fail)
        graph.add_edge(START, "route").add_edge("route", "fail")
        run = await watched(way, graph.compile())
    assert [m.text for m in run.last.messages] == ["Done."]
