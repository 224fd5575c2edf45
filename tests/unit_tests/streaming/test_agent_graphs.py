"""Any graph is watched: by hand, nested, with several models, with models that do not stream."""

import dataclasses
import operator
import sys
import typing

import pytest
from agent_runs import (
    INPUT,
    asking,
    either,
    either_of_create_agent,
    glm,
    gpt,
    graph_of,
    watched,
)
from chunk_streams import read
from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command
from pydantic import BaseModel

from langchain_glm.streaming import events as ev
from langchain_glm.testing import Call, GLMServer, Reply

# One loop for all tests: its HTTP client is made once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = Call("add", {"a": 1, "b": 2}, "call_a")
CALLING = Reply(reasoning="A sum.", text="I'll add.", tool_calls=[CALL])
DONE = Reply(text="It is 3.")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def text_of(run):
    return "".join(e.text for e in run.of(ev.TextDelta))


# Nodes by hand


@pytest.mark.parametrize("stream", [False, True], ids=["invoke", "stream"])
@pytest.mark.parametrize("model", [glm, gpt], ids=["glm", "gpt"])
@either
async def test_a_node_that_asks_a_model(way, model, stream):
    with GLMServer([CALLING]) as server:
        bound = model(server).bind_tools([add])
        run = await watched(way, graph_of(asking(bound, stream=stream)))
    (finished,) = run.of(ev.MessageFinished)
    (seen,) = read(run.events[:-1])
    assert seen.text == "I'll add."
    assert seen.reasoning == ("A sum." if model is glm else "")
    assert seen.calls == [("call_a", "add", {"a": 1, "b": 2})]
    assert len(run.of(ev.ArgumentStarted)) == 2
    assert {e.node for e in run.events[:-1]} == {"node_0"}
    (message,) = run.last.messages
    assert message.tool_calls == finished.message.tool_calls
    assert message.id == finished.message_id
    if not stream:
        assert message == finished.message


@either
async def test_an_answer_that_is_not_saved(way):
    with GLMServer([Reply(text="A router."), DONE]) as server:
        model = glm(server)
        run = await watched(way, graph_of(asking(model, save=False), asking(model)))
    assert [e.message.text for e in run.of(ev.MessageFinished)] == ["A router.", "It is 3."]
    assert [m.text for m in run.last.messages] == ["It is 3."]


def writing(state):
    get_stream_writer()("from a node")
    return {}


@either_of_create_agent  # the writer, too, needs the context
async def test_what_a_node_writes(way):
    run = await watched(way, graph_of(writing))
    assert run.of(ev.ToolProgress) == [ev.ToolProgress("from a node", id=None, name="")]
    assert run.last.messages == []


@either
async def test_answers_that_a_node_makes(way):
    def answer(state):
        fields = {"name": "add", "tool_call_id": "call_a"}
        return {
            "messages": [ToolMessage("3", **fields), ToolMessage("no", status="error", **fields)]
        }

    with GLMServer([CALLING]) as server:
        bound = glm(server).bind_tools([add])
        run = await watched(way, graph_of(asking(bound), answer))
    assert run.of(ev.ToolEvent) == [
        ev.ToolFinished("3", id="call_a", name="add"),
        ev.ToolFailed("no", id="call_a", name="add"),
    ]
    assert [m.type for m in run.last.messages] == ["ai", "tool", "tool"]


@either
async def test_a_tool_that_a_node_calls_without_an_id(way):
    def call(state, config):
        add.invoke({"a": 1, "b": 2}, config)
        return {}

    run = await watched(way, graph_of(call))
    started, finished = run.of(ev.ToolEvent)
    assert (started.name, started.arguments) == ("add", {"a": 1, "b": 2})
    assert finished == ev.ToolFinished(3, id=started.id, name="add")


@either
async def test_a_node_that_calls_a_tool_with_the_call(way):
    def call(state, config):
        (made,) = state["messages"][-1].tool_calls
        return {"messages": [add.invoke(made, config)]}

    with GLMServer([CALLING]) as server:
        bound = glm(server).bind_tools([add])
        run = await watched(way, graph_of(asking(bound), call))
    assert run.of(ev.ToolEvent) == [
        ev.ToolStarted({"a": 1, "b": 2}, id="call_a", name="add"),
        ev.ToolFinished("3", id="call_a", name="add"),
    ]
    assert [m.type for m in run.last.messages] == ["ai", "tool"]


# States


class Pydantic(BaseModel):
    messages: typing.Annotated[list, operator.add] = []
    topic: str = ""


@dataclasses.dataclass
class Data:
    messages: typing.Annotated[list, operator.add] = dataclasses.field(default_factory=list)


class NoReducer(typing.TypedDict):
    messages: list


def answering(model):
    def ask(state, config):
        messages = state["messages"] if isinstance(state, dict) else state.messages
        return {"messages": [*messages, model.invoke(messages, config)][-1:]}

    return ask


@pytest.mark.parametrize("state", [Pydantic, Data], ids=["pydantic", "dataclass"])
@pytest.mark.parametrize(
    "given", [[("human", "hi")], [{"role": "user", "content": "hi"}]], ids=["pair", "dict"]
)
@either
async def test_states_of_every_kind(way, state, given):
    with GLMServer([DONE]) as server:
        run = await watched(way, graph_of(answering(glm(server)), state=state), {"messages": given})
    assert text_of(run) == "It is 3."
    assert [m.text for m in run.last.messages] == ["It is 3."]


@either
async def test_a_state_that_keeps_only_the_last_messages(way):
    with GLMServer([DONE]) as server:
        graph = graph_of(answering(glm(server)), state=NoReducer)
        run = await watched(way, graph, {"messages": [("human", "hi")]})
    assert [m.text for m in run.last.messages] == ["It is 3."]


class NoMessages(typing.TypedDict):
    question: str
    answer: str


class OtherMessages(typing.TypedDict):
    messages: str
    answer: str


@pytest.mark.parametrize("state", [NoMessages, OtherMessages])
@either
async def test_a_state_without_messages(way, state):
    with GLMServer([DONE]) as server:
        model = glm(server)

        def ask(state, config):
            return {"answer": model.invoke("2 + 1?", config).text}

        graph = graph_of(ask, state=state)
        given = dict.fromkeys(state.__annotations__, "x")
        run = await watched(way, graph, given)
    assert text_of(run) == "It is 3."
    assert run.last == ev.RunFinished({**given, "answer": "It is 3."}, [])


# Graphs in graphs


@either
async def test_a_graph_in_a_graph_in_a_graph(way):
    with GLMServer([Reply(text="deep"), Reply(text="top")]) as server:
        model = glm(server)
        inner = graph_of(asking(model))
        run = await watched(way, graph_of(graph_of(inner), asking(model)))
    deep, top = run.of(ev.MessageFinished)
    assert (deep.message.text, top.message.text) == ("deep", "top")
    assert [name.partition(":")[0] for name in deep.namespace] == ["node_0", "node_0"]
    assert (deep.node, top.node) == ("node_0", "node_1")
    assert top.namespace == ()
    assert {e.namespace for e in run.of(ev.TextDelta)} == {deep.namespace, ()}
    assert [m.text for m in run.last.messages] == ["deep", "top"]


@either_of_create_agent
async def test_an_agent_as_a_node_tells_of_its_tools_once(way):
    with GLMServer([CALLING, DONE]) as server:
        run = await watched(way, graph_of(create_agent(glm(server), [add])))
    (namespace,) = {e.namespace for e in run.events[:-1]}
    assert namespace[0].startswith("node_0:")
    ids = {"id": "call_a", "name": "add", "namespace": namespace}
    assert run.of(ev.ToolEvent) == [
        ev.ToolStarted({"a": 1, "b": 2}, **ids),
        ev.ToolFinished("3", **ids),
    ]
    assert [m.type for m in run.last.messages] == ["ai", "tool", "ai"]


def by_namespace(events):
    return {
        namespace: [e for e in events if e.namespace == namespace]
        for namespace in dict.fromkeys(e.namespace for e in events)
    }


@either_of_create_agent
async def test_two_agents_in_tools_with_the_same_call_ids(way):
    """Each counts its calls from 0."""
    same = Call("add", {"a": 1, "b": 2}, "call_0")
    inside = Reply(tool_calls=[same])

    def script(received):
        messages = received.body["messages"]
        if messages[0]["content"] == INPUT["messages"]:
            asked = [Call("ask", {"what": what}, f"call_{what}") for what in ("0", "1")]
            return Reply(tool_calls=asked) if len(messages) == 1 else DONE
        return inside if len(messages) == 1 else DONE

    with GLMServer(script) as server:
        agent = create_agent(glm(server), [add])

        @tool
        async def ask_async(what: str) -> str:
            """Ask an agent."""
            return (await agent.ainvoke({"messages": what}))["messages"][-1].text

        @tool
        def ask(what: str) -> str:
            """Ask an agent."""
            return agent.invoke({"messages": what})["messages"][-1].text

        if way == "async":
            ask = ask_async
            ask.name = "ask"
        run = await watched(way, create_agent(glm(server), [ask]))
    found = by_namespace(run.of(ev.ToolEvent))
    assert sorted(e.id for e in found.pop(())) == ["call_0", "call_0", "call_1", "call_1"]
    assert len(found) == 2
    for namespace, events in found.items():
        ids = {"id": "call_0", "name": "add", "namespace": namespace}
        assert events == [
            ev.ToolStarted({"a": 1, "b": 2}, **ids),
            ev.ToolFinished("3", **ids),
        ]
    assert [m.type for m in run.last.messages] == ["ai", "tool", "tool", "ai"]


# deepagents needs Python 3.11.
if sys.version_info >= (3, 11):
    from deepagents import create_deep_agent

    @either
    async def test_a_deep_agent_and_its_subagent(way):
        def script(received):
            said = received.body["messages"]
            turns = sum(turn["role"] == "assistant" for turn in said)
            if any("You add" in str(turn["content"]) for turn in said):
                return CALLING if turns == 0 else DONE
            task = {"description": "1 + 2?", "subagent_type": "adder"}
            return Reply(tool_calls=[Call("task", task, "call_t")]) if turns == 0 else DONE

        adder = {
            "name": "adder",
            "description": "Adds",
            "system_prompt": "You add.",
            "tools": [add],
        }
        with GLMServer(script) as server:
            run = await watched(way, create_deep_agent(glm(server), subagents=[adder]))
        found = by_namespace(run.of(ev.ToolEvent))
        top, sub = found.pop(()), found.popitem()
        assert found == {}
        assert [(e.type, e.id, e.name) for e in top] == [
            ("tool_started", "call_t", "task"),
            ("tool_finished", "call_t", "task"),
        ]
        assert top[-1].content == "It is 3."
        assert sub[0][0].startswith("tools:")
        assert [(e.type, e.id, e.name) for e in sub[1]] == [
            ("tool_started", "call_a", "add"),
            ("tool_finished", "call_a", "add"),
        ]
        ends = [(len(e.namespace), e.finish_reason) for e in run.of(ev.MessageFinished)]
        assert ends == [(0, "tool_calls"), (1, "tool_calls"), (1, "stop"), (0, "stop")]
        arguments = [e for e in run.of(ev.ArgumentDelta) if e.namespace]
        assert arguments == []  # numbers only: nothing is typed into a string
        assert {e.value for e in run.of(ev.ArgumentFinished) if e.namespace} == {1, 2}
        assert [m.type for m in run.last.messages] == ["ai", "tool", "ai"]


@either
async def test_a_node_that_streams_is_watched_live(way):
    early = []

    def see(event):
        if isinstance(event, ev.TextDelta) and not early:
            early.append(server.requests[0].answered.is_set())

    with GLMServer(Reply(text="x" * 80), pace=0.01) as server:
        await watched(way, graph_of(asking(glm(server), stream=True)), see=see)
    assert early == [False]


@either_of_create_agent
async def test_a_handoff_tells_of_its_tool_once(way):
    @tool
    def to_bob(runtime: ToolRuntime) -> Command:
        """Hand off."""
        answer = ToolMessage("ok", tool_call_id=runtime.tool_call_id, name="to_bob")
        messages = [*runtime.state["messages"], answer]
        return Command(goto="bob", graph=Command.PARENT, update={"messages": messages})

    with GLMServer([Reply(tool_calls=[Call("to_bob", {})]), Reply(text="Bob here")]) as server:
        graph = StateGraph(MessagesState)
        graph.add_node("alice", create_agent(glm(server), [to_bob]), destinations=("bob",))
        graph.add_node("bob", create_agent(glm(server), []))
        run = await watched(way, graph.add_edge(START, "alice").compile())
    assert [e.type for e in run.of(ev.ToolEvent)] == ["tool_started", "tool_finished"]
