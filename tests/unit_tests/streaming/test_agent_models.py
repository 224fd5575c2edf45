"""Any model is watched: several at once, and those that do not stream."""

import itertools
import json

import pytest
from agent_runs import asking, either, either_of_create_agent, glm, gpt, graph_of, watched
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import (
    FakeListChatModel,
    FakeMessagesListChatModel,
    GenericFakeChatModel,
)
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from langchain_glm.streaming import events as ev
from langchain_glm.testing import Call, GLMServer, Raw, Reply

# One loop for all tests: its HTTP client is made once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLING = Reply(
    reasoning="A sum.", text="I'll add.", tool_calls=[Call("add", {"a": 1, "b": 2}, "call_a")]
)
DONE = Reply(text="It is 3.")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


# Several models


@either
async def test_models_in_parallel_nodes(way):
    texts = {"left": "l" * 60, "right": "r" * 60}
    with GLMServer(
        lambda received: Reply(text=texts[received.body["model"]]), pace=0.005
    ) as server:
        graph = StateGraph(MessagesState)
        for name in texts:
            graph.add_node(name, RunnableLambda(*asking(glm(server, model=name))))
            graph.add_edge(START, name)
        run = await watched(way, graph.compile())
    nodes = [e.node for e in run.of(ev.TextDelta)]
    changes = sum(one != other for one, other in itertools.pairwise(nodes))
    assert changes > 1  # they take turns
    for event in run.of(ev.MessageFinished):
        of_it = [e for e in run.of(ev.TextDelta) if e.message_id == event.message_id]
        assert {e.node for e in of_it} == {event.node}
        assert "".join(e.text for e in of_it) == texts[event.node] == event.message.text


@either
async def test_two_models_at_once_in_one_node(way):
    texts = {"left": "l" * 20, "right": "r" * 20}
    with GLMServer(lambda received: Reply(text=texts[received.body["model"]])) as server:
        left, right = (glm(server, model=name) for name in texts)

        def ask(state, config):
            both = RunnableLambda(lambda _: "hi") | {"left": left, "right": right}
            return {"messages": list(both.invoke("", config).values())}

        run = await watched(way, graph_of(ask))
    by_message = {}
    for event in run.of(ev.TextDelta):
        by_message[event.message_id] = by_message.get(event.message_id, "") + event.text
    assert sorted(by_message.values()) == sorted(texts.values())
    assert set(by_message) == {m.id for m in run.last.messages}


# Models that do not stream

WHOLE = AIMessage(
    "I'll add.",
    id="m1",
    tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "call_a"}],
    response_metadata={"finish_reason": "tool_calls"},
)


class Whole(FakeMessagesListChatModel):
    """A model that cannot stream."""

    def bind_tools(self, tools, **more):
        return self


@pytest.mark.parametrize("make", [glm, gpt], ids=["glm", "gpt"])
@either_of_create_agent
async def test_streaming_that_is_turned_off(way, make):
    with GLMServer([CALLING, DONE]) as server:
        model = make(server, disable_streaming=True)
        run = await watched(way, create_agent(model, [add]))
        assert not [r for r in server.requests if r.body.get("stream")]
    first, second = run.of(ev.MessageFinished)
    assert [e.text for e in run.of(ev.TextDelta)] == ["I'll add.", "It is 3."]
    assert [e.text for e in run.of(ev.ReasoningDelta)] == ["A sum."] * (make is glm)
    (delta,) = run.of(ev.ToolCallDelta)
    assert delta.arguments == {"a": 1, "b": 2}
    assert [e.type for e in run.of(ev.ToolEvent)] == ["tool_started", "tool_finished"]
    assert [first.message, second.message] == run.last.messages[::2]
    assert first.usage["input_tokens"] > 0


@either_of_create_agent
async def test_a_model_that_cannot_stream(way):
    model = Whole(responses=[WHOLE, AIMessage("It is 3.", id="m2")])
    run = await watched(way, create_agent(model, [add]))
    messages, _ = run.of(ev.MessageFinished), run.of(ev.ToolEvent)
    assert [e.message_id for e in messages] == ["m1", "m2"]
    assert [e.arguments for e in run.of(ev.ToolCallFinished)] == [{"a": 1, "b": 2}]
    assert [e.message for e in messages] == run.last.messages[::2]


@either
async def test_models_that_stream_by_langchains_bridge(way):
    model = FakeListChatModel(responses=["Hello"])
    run = await watched(way, graph_of(asking(model)))
    assert [e.text for e in run.of(ev.TextDelta)] == list("Hello")
    model = GenericFakeChatModel(messages=iter([AIMessage("Hello you")]))
    run = await watched(way, graph_of(asking(model)))
    assert [e.text for e in run.of(ev.TextDelta)] == ["Hello", " ", "you"]


@either
async def test_a_message_that_a_node_makes(way):
    run = await watched(way, graph_of(lambda state: {"messages": [AIMessage("By hand.", id="m")]}))
    assert [e.to_dict()["type"] for e in run.events] == [
        "text_delta",
        "message_finished",
        "run_finished",
    ]
    assert {e.message_id for e in run.events[:-1]} == {"m"}
    assert {e.node for e in run.events[:-1]} == {"node_0"}


# What an answer may have


@either
async def test_an_answer_without_anything(way):
    empty = Raw(
        b'data: {"id":"1","choices":[{"index":0,"finish_reason":"stop","delta":{}}]}\n\n'
        b"data: [DONE]\n\n"
    )
    with GLMServer([empty]) as server:
        run = await watched(way, graph_of(asking(glm(server))))
    assert [e.type for e in run.events] == ["message_finished", "run_finished"]
    assert len(run.last.messages) == 1


def frame(delta, **more):
    choice = {"index": 0, "delta": delta, **more}
    return b"data: %b\n\n" % json.dumps({"id": "1", "choices": [choice]}).encode()


def part(**function):
    return frame({"tool_calls": [{"index": 0, "type": "function", "function": function}]})


WITHOUT_IDS = Raw(
    [
        part(name="add", arguments=""),
        part(arguments='{"a": 1,'),
        part(arguments=' "b": 2}'),
        frame({"content": ""}, finish_reason="tool_calls"),
        b"data: [DONE]\n\n",
    ]
)


@either_of_create_agent
async def test_a_server_that_gives_calls_no_ids(way):
    with GLMServer([WITHOUT_IDS, DONE]) as server:
        run = await watched(way, create_agent(glm(server), [add]))
    (_,), (finished,) = run.of(ev.ToolCallStarted), run.of(ev.ToolCallFinished)
    (call,) = run.of(ev.MessageFinished)[0].message.tool_calls
    assert (finished.id, finished.arguments) == (call["id"], {"a": 1, "b": 2})
    assert {e.id for e in run.of(ev.ToolEvent)} == {call["id"]}
