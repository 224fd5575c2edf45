"""What else a run is given reaches the graph, and nothing that was given is changed."""

import asyncio
import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from agent_runs import INPUT, begun, either, either_of_create_agent, glm, watched
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime, get_runtime
from langgraph.stream import StreamTransformer

from langchain_glm import ChatGLM
from langchain_glm.streaming import astream_agent, stream_agent
from langchain_glm.streaming import events as ev
from langchain_glm.testing import Call, GLMServer, Reply

# One loop for all tests: its HTTP client is made once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

DONE = Reply(text="Done.")
LOOKING = Reply(tool_calls=[Call("look", {"at": "it"}, "call_l")])


@tool
def look(at: str) -> str:
    """Look at something."""
    return f"saw {at}"


class Notes(BaseCallbackHandler):
    """Notes which models and tools start, with their tags and metadata."""

    def __init__(self):
        self.started = []
        self.tags, self.metadata = set(), {}

    def on_chat_model_start(self, serialized, messages, *, tags=None, metadata=None, **kwargs):
        self.started.append("model")
        self.tags |= set(tags or ())
        self.metadata |= metadata or {}

    def on_tool_start(self, serialized, input_str, **kwargs):
        self.started.append("tool")


def as_list(way, notes):
    return [notes]


def as_manager(way, notes):
    kind = AsyncCallbackManager if way == "async" else CallbackManager
    return kind([notes], inheritable_handlers=[notes])


@pytest.mark.parametrize("given", [as_list, as_manager])
@either_of_create_agent
async def test_callbacks_tags_and_metadata_of_the_user(way, given):
    notes = Notes()
    config = {
        "callbacks": given(way, notes),
        "tags": ["mine"],
        "metadata": {"who": "Ada"},
        "run_name": "a run",
    }
    with GLMServer([LOOKING, DONE]) as server:
        run = await watched(way, create_agent(glm(server), [look]), INPUT, config)
    assert isinstance(run.last, ev.RunFinished)
    assert notes.started == ["model", "tool", "model"]
    assert "mine" in notes.tags
    assert notes.metadata["who"] == "Ada"


@pytest.mark.parametrize("given", [as_list, as_manager])
@either
async def test_the_config_is_not_changed(way, given):
    notes = Notes()
    config = {"callbacks": given(way, notes), "tags": ["mine"], "metadata": {"who": "Ada"}}
    before = {key: copy.copy(value) for key, value in config.items()}
    handlers = list(getattr(config["callbacks"], "handlers", config["callbacks"]))
    graph = StateGraph(MessagesState).add_node("n", lambda s: {}).add_edge(START, "n").compile()
    await watched(way, graph, INPUT, config)
    assert config.keys() == before.keys()
    assert config["tags"] == before["tags"]
    assert config["metadata"] == before["metadata"]
    assert list(getattr(config["callbacks"], "handlers", config["callbacks"])) == handlers
    inheritable = getattr(config["callbacks"], "inheritable_handlers", [notes])
    assert inheritable == [notes]


@either
async def test_no_config_at_all(way):
    graph = StateGraph(MessagesState).add_node("n", lambda s: {}).add_edge(START, "n").compile()
    for config in (None, {}, {"callbacks": None}):
        run = await watched(way, graph, INPUT, config)
        assert isinstance(run.last, ev.RunFinished)


@either
async def test_a_graph_with_a_config_of_its_own(way):
    notes = Notes()
    with GLMServer([DONE]) as server:
        model = glm(server)
        graph = StateGraph(MessagesState)
        graph.add_node("ask", lambda s, config: {"messages": [model.invoke("hi", config)]})
        graph.add_edge(START, "ask")
        bound = graph.compile().with_config({"callbacks": [notes], "tags": ["own"]})
        run = await watched(way, bound)
    assert [m.text for m in run.last.messages] == ["Done."]
    assert notes.started == ["model"]
    assert "own" in notes.tags


@either_of_create_agent
async def test_a_limit_of_steps(way):
    with GLMServer(LOOKING) as server:
        agent = create_agent(glm(server), [look])
        run = await watched(way, agent, INPUT, {"recursion_limit": 3})
    assert isinstance(run.error, GraphRecursionError)


@dataclass
class Who:
    """A context."""

    name: str


@either_of_create_agent
async def test_a_context(way):
    @tool("look")
    def look_for(at: str) -> str:
        """Look for somebody."""
        return f"{get_runtime(Who).context.name} saw {at}"

    with GLMServer([LOOKING, DONE]) as server:
        agent = create_agent(glm(server), [look_for], context_schema=Who)
        run = await watched(way, agent, context=Who("Ada"))
    assert [e.content for e in run.of(ev.ToolFinished)] == ["Ada saw it"]


@either_of_create_agent  # the writer, too, needs the context
async def test_a_context_in_a_node(way):
    def speak(state, runtime: Runtime[Who]):
        runtime.stream_writer(runtime.context.name)

    graph = StateGraph(MessagesState, context_schema=Who).add_node("speak", speak)
    run = await watched(way, graph.add_edge(START, "speak").compile(), context=Who("Ada"))
    assert [e.data for e in run.of(ev.ToolProgress)] == ["Ada"]


@either_of_create_agent
async def test_a_stop_before_a_node(way):
    config = {"configurable": {"thread_id": "1"}}
    with GLMServer([LOOKING, DONE]) as server:
        agent = create_agent(glm(server), [look], checkpointer=InMemorySaver())
        first = await watched(way, agent, INPUT, config, interrupt_before=["tools"])
        second = await watched(way, agent, None, config)
    # There is nothing to answer, but the call is open: a history that is not to be saved.
    assert isinstance(first.last, ev.RunInterrupted)
    assert first.last.interrupts == ()
    assert [m.type for m in first.last.messages] == ["ai"]
    assert [m.type for m in second.last.messages] == ["tool", "ai"]
    assert [e.type for e in second.of(ev.ToolEvent)] == ["tool_started", "tool_finished"]


@pytest.mark.parametrize(
    ("graph", "name"),
    [
        pytest.param(ChatGLM(api_key="test-key"), "ChatGLM", id="model"),
        pytest.param(StateGraph(MessagesState), "StateGraph", id="not_compiled"),
    ],
)
async def test_what_is_no_compiled_graph(graph, name):
    with pytest.raises(TypeError, match=f"not a {name}"):
        next(stream_agent(graph, INPUT))
    with pytest.raises(TypeError, match=f"not a {name}"):
        await anext(astream_agent(graph, INPUT))


async def test_one_task_at_a_time_would_hang():
    with GLMServer(DONE) as server:
        agent = create_agent(glm(server), [look])
        with pytest.raises(ValueError, match="max_concurrency=1"):
            next(stream_agent(agent, INPUT, {"max_concurrency": 1}))
        events = list(stream_agent(agent, INPUT, {"max_concurrency": 2}))
    assert isinstance(events[-1], ev.RunFinished)


class Counter(StreamTransformer):
    """Counts the events of a run."""

    count = 0

    def init(self):
        return {}

    def process(self, event):
        type(self).count += 1
        return True


@either
async def test_more_transformers(way):
    class Mine(Counter):
        pass

    graph = StateGraph(MessagesState).add_node("n", lambda s: {}).add_edge(START, "n").compile()
    await watched(way, graph, transformers=[Mine])
    assert Mine.count > 0


@either
async def test_the_mode_is_not_the_users_to_choose(way):
    graph = StateGraph(MessagesState).add_node("n", lambda s: {}).add_edge(START, "n").compile()
    with pytest.raises(TypeError, match="stream_mode"):
        await anext(begun(way, graph, stream_mode="values"))


# At the same time


def slow_agent(server):
    @tool("look")
    def look_slowly(at: str) -> str:
        """Look at something."""
        together.wait(5)
        return f"saw {at}"

    together = threading.Barrier(4)
    return create_agent(glm(server), [look_slowly])


def told_to(received):
    turns = received.body["messages"]
    asked = turns[0]["content"]
    if turns[-1]["role"] == "tool":
        return Reply(text=f"{asked}: {turns[-1]['content']}")
    return Reply(tool_calls=[Call("look", {"at": asked}, "call_0")])


async def test_runs_in_threads():
    with GLMServer(told_to) as server, ThreadPoolExecutor(4) as threads:
        agent = slow_agent(server)
        runs = threads.map(
            lambda name: list(stream_agent(agent, {"messages": name})), ["a", "b", "c", "d"]
        )
        for name, events in zip("abcd", runs, strict=True):
            assert events[-1].messages[-1].text == f"{name}: saw {name}"
            texts = [e.text for e in events if isinstance(e, ev.TextDelta)]
            assert "".join(texts) == f"{name}: saw {name}"
            assert len([e for e in events if isinstance(e, ev.ToolEvent)]) == 2


async def test_runs_in_tasks():
    with GLMServer(lambda r: Reply(text=r.body["messages"][0]["content"])) as server:
        model = glm(server)

        async def ask(state, config):
            return {"messages": [await model.ainvoke(state["messages"], config)]}

        graph = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
        names = [f"task {number}" for number in range(8)]
        runs = await asyncio.gather(
            *(watched("async", graph, {"messages": name}) for name in names)
        )
    for name, run in zip(names, runs, strict=True):
        assert "".join(e.text for e in run.of(ev.TextDelta)) == name
