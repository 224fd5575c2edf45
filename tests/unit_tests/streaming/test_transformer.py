"""`run.tool_inputs`: a stream for each tool call that a model of a LangGraph run writes."""

import asyncio
import subprocess
import sys
import weakref
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from agent_runs import INPUT, either, either_of_create_agent, glm, gpt
from chunk_streams import PROVIDERS, Answer, read
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from pythons import async_agents_stream

from langchain_glm.errors import GLMStreamInterruptedError
from langchain_glm.streaming import events as ev
from langchain_glm.streaming import stream_agent, transformer
from langchain_glm.streaming.transformer import ToolInputStream, ToolInputTransformer
from langchain_glm.testing import Call, Cut, GLMServer, Reply

# One loop for all tests: its HTTP client is made once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

FIB = {"path": "fib.py", "content": 'print("1 1 2")\n'}
WRITING = Reply(
    reasoning="A file, then.",
    text="I'll write.",
    tool_calls=[Call("write_file", FIB, "call_w"), Call("measure", {"path": "fib.py"}, "call_m")],
)
LONG = Reply(
    text="At length.",  # ChatOpenAI sends calls alone with null content, which GLM refuses
    tool_calls=[Call("write_file", {"path": "a", "content": "x" * 100}, "call_l")],
)
DONE = Reply(text="Done.")
SEEN = [
    ("call_w", "write_file", FIB),
    ("call_m", "measure", {"path": "fib.py"}),
]


@tool
def write_file(path: str, content: str) -> str:
    """Write a file."""
    return f"written to {path}"


@tool
def measure(path: str) -> str:
    """Measure a file."""
    return "1 line"


TOOLS = [write_file, measure]


def fragmented(model, server):
    """A model that is sent the arguments in fragments; ChatGLM asks for them by itself."""
    return model(server) if model is glm else model(server, extra_body={"tool_stream": True})


@asynccontextmanager
async def running(way, graph, transformers=(ToolInputTransformer,), given=INPUT):
    """A run in one of the two ways, aborted at the end."""
    more = {"version": "v3", "transformers": transformers}
    if way == "async":
        async with await graph.astream_events(given, **more) as arun:
            yield arun
        return
    with graph.stream_events(given, **more) as run:
        yield run


async def each(way, items):
    """Iterate in the run's way; the sync one blocks the loop, as it blocks its thread."""
    if way == "async":
        async for item in items:
            yield item
        return
    for item in items:
        yield item


async def listed(way, items):
    return [item async for item in each(way, items)]


async def output(way, run):
    return await run.output() if way == "async" else run.output


async def seen(way, run):
    """Every call of a run with its events, their grammar checked."""
    found = []
    async for call in each(way, run.tool_inputs):
        events = await listed(way, call)
        assert call.outcome is events[-1]
        found.append((call.id, call.name, call.arguments, events))
    return found


def asking(model):
    """A node that asks a model."""

    def ask(state, config):
        return {"messages": [model.invoke(state["messages"], config)]}

    async def aask(state, config):
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    return RunnableLambda(ask, aask)


def graph_of(**nodes):
    """Nodes side by side."""
    graph = StateGraph(MessagesState)
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(START, name)
    return graph


# The calls, and each call's events


@pytest.mark.parametrize("model", [glm, gpt], ids=["glm", "gpt"])
@either_of_create_agent
async def test_the_calls_of_an_agent(way, model):
    with GLMServer([WRITING, DONE]) as server:
        async with running(way, create_agent(fragmented(model, server), TOOLS)) as run:
            found = await seen(way, run)
    assert [call[:3] for call in found] == SEEN
    # Events of both calls, in the order of the handles, are those of one message.
    read(events := [event for *_, events in found for event in events])
    assert [e.arguments for e in events if isinstance(e, ev.ToolCallFinished)] == [
        arguments for _, _, arguments in SEEN
    ]
    typed = [e.text for e in found[0][3] if isinstance(e, ev.ArgumentDelta)]
    assert "".join(typed) == FIB["path"] + FIB["content"]
    assert len(typed) > 4


@either_of_create_agent
async def test_what_a_call_says_of_itself(way):
    with GLMServer([WRITING, DONE]) as server:
        async with running(way, create_agent(glm(server), TOOLS)) as run:
            calls = []
            async for call in each(way, run.tool_inputs):
                assert call.outcome is None or calls
                calls.append(call)
            (message, *_) = (await output(way, run))["messages"][1:]
    assert [(c.id, c.name, c.index, c.node, c.message_id) for c in calls] == [
        ("call_w", "write_file", 0, "model", message.id),
        ("call_m", "measure", 1, "model", message.id),
    ]
    assert repr(calls[0]) == (
        "ToolInputStream('write_file', id='call_w', index=0, tool_call_finished)"
    )


@pytest.mark.parametrize("model", [glm, gpt], ids=["glm", "gpt"])
@either_of_create_agent
async def test_an_argument_is_seen_before_the_server_has_sent_the_end(way, model):
    with GLMServer([LONG, DONE], pace=0.01) as server:
        async with running(way, create_agent(fragmented(model, server), TOOLS)) as run:
            async for call in each(way, run.tool_inputs):
                async for event in each(way, call):
                    if isinstance(event, ev.ArgumentDelta) and event.path == ("content",):
                        break
                assert not server.requests[0].answered.is_set()
                assert call.outcome is None
                assert 0 < len(call.arguments["content"]) < 100


@either_of_create_agent
async def test_the_arguments_grow_while_something_else_drives_the_run(way):
    with GLMServer([LONG, DONE]) as server:
        async with running(way, create_agent(glm(server), TOOLS)) as run:
            calls = aiter(each(way, run.tool_inputs))
            call = await anext(calls)
            assert call.arguments == {}
            lengths = [
                len(call.arguments.get("content", ""))
                async for _ in each(way, run)  # the protocol events
            ]
            events = await listed(way, call)
            await calls.aclose()
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 20
    assert lengths[-1] == 100
    (one,) = read(events)  # reading `arguments` has taken no event
    assert one.calls == [("call_l", "write_file", {"path": "a", "content": "x" * 100})]


class Chunks(BaseChatModel):
    """A model that gives these chunks, and waits for nothing."""

    chunks: list

    @property
    def _llm_type(self):
        return "chunks"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for message in self.chunks:
            yield ChatGenerationChunk(message=message)


TURNS = Answer(
    calls=(
        ("c1", "write_file", '{"path": "one.py", "content": "1"}'),
        ("c2", "write_file", '{"path": "two.py", "content": "22"}'),
    )
)
TAKING_TURNS = Chunks(chunks=PROVIDERS["interleaved"](TURNS, 3))
OF_TURNS = [
    ("c1", "write_file", {"path": "one.py", "content": "1"}),
    ("c2", "write_file", {"path": "two.py", "content": "22"}),
]


@either
async def test_nothing_of_a_parallel_call_is_lost_while_the_first_is_read(way):
    graph = graph_of(ask=asking(TAKING_TURNS)).compile()
    async with running(way, graph) as run:
        found = await seen(way, run)
    assert [call[:3] for call in found] == OF_TURNS
    for *_, events in found:
        assert sum(isinstance(e, ev.ToolCallDelta) for e in events) > 5


async def test_parallel_calls_are_read_at_once_by_a_task_for_each():
    seen = []

    async def watch(call):
        async for event in call:
            seen.append(event)  # noqa: PERF401 - as they come
        return call.arguments

    graph = graph_of(ask=asking(TAKING_TURNS)).compile()
    async with running("async", graph) as run:
        tasks = [asyncio.create_task(watch(call)) async for call in run.tool_inputs]
        assert await asyncio.gather(*tasks) == [arguments for *_, arguments in OF_TURNS]
    order = [event.id for event in seen if isinstance(event, ev.ToolCallDelta)]
    changes = sum(one != then for one, then in pairwise(order))
    assert changes > 5


@either
async def test_models_in_parallel_nodes(way):
    def script(received):
        name = received.body["model"]
        return Reply(tool_calls=[Call("measure", {"path": name * 20}, f"call_{name}")])

    with GLMServer(script, pace=0.002) as server:
        nodes = {
            name: asking(glm(server, model=name).bind_tools(TOOLS)) for name in ("left", "right")
        }
        async with running(way, graph_of(**nodes).compile()) as run:
            calls = await listed(way, run.tool_inputs)
    assert {(c.id, c.node, c.index) for c in calls} == {
        ("call_left", "left", 0),
        ("call_right", "right", 0),
    }
    assert {c.id: c.arguments for c in calls} == {
        "call_left": {"path": "left" * 20},
        "call_right": {"path": "right" * 20},
    }


# Models that do not stream


@pytest.mark.parametrize("model", [glm, gpt], ids=["glm", "gpt"])
@either_of_create_agent
async def test_streaming_that_is_turned_off(way, model):
    with GLMServer([WRITING, DONE]) as server:
        agent = create_agent(model(server, disable_streaming=True), TOOLS)
        async with running(way, agent) as run:
            found = await seen(way, run)
        assert not [r for r in server.requests if r.body.get("stream")]
    assert [call[:3] for call in found] == SEEN
    read([event for *_, events in found for event in events])


CALLING = AIMessage(
    "", tool_calls=[{"name": "measure", "args": {"path": "a"}, "id": "call_a"}], id="m1"
)


@pytest.mark.parametrize(
    "node",
    [
        pytest.param(asking(FakeMessagesListChatModel(responses=[CALLING])), id="model"),
        pytest.param(lambda state: {"messages": [CALLING.model_copy()]}, id="by hand"),
    ],
)
@either
async def test_a_message_that_comes_whole(way, node):
    async with running(way, graph_of(ask=node).compile()) as run:
        ((id_, name, arguments, events),) = await seen(way, run)
    assert (id_, name, arguments) == ("call_a", "measure", {"path": "a"})
    assert [event.type for event in events] == [
        "tool_call_started",
        "tool_call_delta",
        "argument_started",
        "argument_delta",
        "argument_finished",
        "tool_call_finished",
    ]


# Where it is given, and beside what


@pytest.mark.parametrize("given", ["create_agent", "compile", "stream_events"])
@either_of_create_agent
async def test_where_the_transformer_can_be_given(way, given):
    transformers = [ToolInputTransformer]
    with GLMServer([WRITING, DONE]) as server:
        model = glm(server)
        if given == "create_agent":
            graph, at_run = create_agent(model, TOOLS, transformers=transformers), ()
        elif given == "compile":
            graph = graph_of(ask=asking(model.bind_tools(TOOLS))).compile(transformers=transformers)
            at_run = ()
        else:
            graph, at_run = create_agent(model, TOOLS), transformers
        async with running(way, graph, at_run) as run:
            assert run.extensions["tool_inputs"] is run.tool_inputs
            assert [call[:3] for call in await seen(way, run)] == SEEN


@either_of_create_agent
async def test_the_run_keeps_its_own_events(way):
    """Those that pass are not the transformer's: it hands every one on."""
    methods = []
    for transformers in ((), (ToolInputTransformer,)):
        with GLMServer([WRITING, DONE]) as server:
            async with running(way, create_agent(glm(server), TOOLS), transformers) as run:
                methods.append([event["method"] async for event in each(way, run)])
    assert sorted(methods[0]) == sorted(methods[1])


@async_agents_stream
async def test_beside_the_projections_of_langgraph_at_once():
    with GLMServer([WRITING, DONE], pace=0.001) as server:
        async with running("async", create_agent(glm(server), TOOLS)) as run:

            async def texts():
                return [await message.text async for message in run.messages]

            async def results():
                return [call.tool_name async for call in run.tool_calls]

            async def states():
                return [len(state["messages"]) async for state in run.values]

            found, said, ran, state = await asyncio.gather(
                seen("async", run), texts(), results(), states()
            )
    assert [call[:3] for call in found] == SEEN
    read([event for *_, events in found for event in events])
    assert said == ["I'll write.", "Done."]
    assert sorted(ran) == ["measure", "write_file"]
    assert state[-1] == 5


async def test_interleaved_with_the_projections_of_langgraph():
    with GLMServer([WRITING, DONE]) as server:
        agent = create_agent(glm(server), TOOLS)
        with agent.stream_events(INPUT, version="v3", transformers=[ToolInputTransformer]) as run:
            told = []
            for name, item in run.interleave("tool_inputs", "messages", "values"):
                told.append(name)
                if name == "tool_inputs":
                    assert list(item)[-1].type == "tool_call_finished"
    calls = ["tool_inputs"] * 2
    assert [name for name in told if name != "values"] == ["messages", *calls, "messages"]


@either_of_create_agent
async def test_several_readers_by_tee(way):
    with GLMServer([WRITING, DONE]) as server:
        async with running(way, create_agent(glm(server), TOOLS)) as run:
            branches = run.tool_inputs.atee(2) if way == "async" else run.tool_inputs.tee(2)
            one, two = await listed(way, branches[0]), await listed(way, branches[1])
    assert [call.id for call in one] == ["call_w", "call_m"]
    assert one == two


async def test_beside_stream_agent():
    scopes = []

    def remembered(scope):
        scopes.append(scope)
        return ToolInputTransformer(scope)

    with GLMServer([WRITING, DONE]) as server:
        events = list(
            stream_agent(create_agent(glm(server), TOOLS), INPUT, transformers=[remembered])
        )
    assert scopes == [()]
    assert events[-1].type == "run_finished"


# Subgraphs


@either_of_create_agent
async def test_a_subgraph_has_its_own(way):
    with GLMServer([WRITING, DONE]) as server:
        agent = create_agent(glm(server), TOOLS)

        # A graph around the agent, and one more around that.
        inner = graph_of(agent=agent).compile()
        graph = graph_of(inner=inner).compile()
        async with running(way, graph) as run:
            async for middle in each(way, run.subgraphs):
                async for sub in each(way, middle.subgraphs):
                    found = await seen(way, sub)
                    path = sub.path
    assert [call[:3] for call in found] == SEEN
    assert {event.namespace for *_, events in found for event in events} == {path}
    assert len(path) == 2


@either_of_create_agent
async def test_the_calls_of_a_subgraph_are_not_those_of_the_graph(way):
    with GLMServer([WRITING, DONE]) as server:
        graph = graph_of(agent=create_agent(glm(server), TOOLS)).compile()
        async with running(way, graph) as run:
            assert await seen(way, run) == []
            assert len((await output(way, run))["messages"]) == 5


# deepagents needs Python 3.11.
if sys.version_info >= (3, 11):
    from deepagents import create_deep_agent

    @either
    async def test_a_deep_agent_and_its_subagent(way):
        def script(received):
            said = received.body["messages"]
            turns = sum(turn["role"] == "assistant" for turn in said)
            if any("You write" in str(turn["content"]) for turn in said):
                return WRITING if turns == 0 else DONE
            task = {"description": "fib?", "subagent_type": "writer"}
            return Reply(tool_calls=[Call("task", task, "call_t")]) if turns == 0 else DONE

        writer = {
            "name": "writer",
            "description": "Writes",
            "system_prompt": "You write.",
            "tools": [measure],
        }
        with GLMServer(script) as server:
            agent = create_deep_agent(glm(server), subagents=[writer])
            async with running(way, agent) as run:
                of_top = aiter(each(way, run.tool_inputs))
                task = await anext(of_top)
                assert (await listed(way, task))[-1].arguments["description"] == "fib?"
                async for sub in each(way, run.subgraphs):
                    if sub.graph_name == "writer":
                        found = await seen(way, sub)
                rest = [call async for call in of_top]
        assert rest == []
        assert [call[:3] for call in found] == SEEN


# How calls and runs end


@either_of_create_agent
async def test_a_cut_call(way):
    half = Call("write_file", '{"path": "a", "content": "the first ha', "call_h")
    with GLMServer([Reply(tool_calls=[half], finish_reason="length")]) as server:
        async with running(way, create_agent(glm(server), TOOLS)) as run:
            ((_, _, arguments, events),) = await seen(way, run)
    assert (events[-1].type, events[-1].reason) == ("tool_call_invalid", "cut")
    assert arguments == {"path": "a", "content": "the first ha"}


@either_of_create_agent
async def test_an_error_of_the_run_comes_after_what_had_arrived(way):
    with GLMServer([Cut(LONG, 2500)]) as server:
        async with running(way, create_agent(glm(server), TOOLS)) as run:
            calls = aiter(each(way, run.tool_inputs))
            call = await anext(calls)
            rest = each(way, call)
            events = [await anext(rest)]
            while not isinstance(events[-1], ev.ToolCallInvalid):
                events.append(await anext(rest))
            with pytest.raises(GLMStreamInterruptedError) as of_call:
                await anext(rest)
            with pytest.raises(GLMStreamInterruptedError) as of_run:
                await anext(calls)
    assert of_call.value is of_run.value
    last = events[-1]
    assert (last.type, last.reason) == ("tool_call_invalid", "broken_stream")
    assert call.outcome is last
    assert call.arguments["content"].startswith("x")
    (one,) = read(events)
    assert one.calls == [("call_l", "write_file", "broken_stream")]


@either_of_create_agent
async def test_a_call_that_was_whole_does_not_fail_with_the_run(way):
    @tool
    def measure(path: str) -> str:
        """Measure a file."""
        raise OSError("no such file")

    with GLMServer([WRITING]) as server:
        async with running(way, create_agent(glm(server), [write_file, measure])) as run:
            calls = aiter(each(way, run.tool_inputs))
            both = [await anext(calls), await anext(calls)]
            with pytest.raises(OSError, match="no such file"):
                await anext(calls)
            ends = [(await listed(way, call))[-1].type for call in both]
    assert ends == ["tool_call_finished"] * 2


@either_of_create_agent
async def test_a_call_that_is_tried_again(way):
    """The first try broke off: its call ends, without an error, for the run goes on."""
    retry = ModelRetryMiddleware(max_retries=1, initial_delay=0, jitter=False)
    with GLMServer([Cut(LONG, 2500), LONG, DONE]) as server:
        async with running(way, create_agent(glm(server), TOOLS, middleware=[retry])) as run:
            calls = aiter(each(way, run.tool_inputs))
            first = (await listed(way, await anext(calls)))[-1]
            assert len(server.requests) == 2  # it was not the end of the run that ended it
            ends = [first] + [(await listed(way, call))[-1] async for call in calls]
            messages = (await output(way, run))["messages"]
    assert [end.type for end in ends] == ["tool_call_invalid", "tool_call_finished"]
    assert first.reason == "broken_stream"
    assert len(messages) == 4


@either_of_create_agent
async def test_a_run_that_is_aborted(way):
    with GLMServer([LONG], pace=0.005) as server:
        agent = create_agent(glm(server), TOOLS)
        async with running(way, agent) as run:
            calls = aiter(each(way, run.tool_inputs))
            call = await anext(calls)
            events = aiter(each(way, call))
            told = [await anext(events) for _ in range(20)]
            assert not server.requests[0].answered.is_set()
            await run.abort() if way == "async" else run.abort()
            told += [event async for event in events]
            assert [call async for call in calls] == []
    assert told[-1] is call.outcome
    assert (told[-1].type, told[-1].reason) == ("tool_call_invalid", "broken_stream")
    (one,) = read(told)
    assert one.calls == [("call_l", "write_file", "broken_stream")]


@async_agents_stream
async def test_leaving_an_async_run_closes_the_connection():
    with GLMServer([LONG], pace=0.05) as server:
        async with running("async", create_agent(glm(server), TOOLS)) as run:
            async for call in run.tool_inputs:
                async for _ in call:
                    break
                break
        assert await asyncio.to_thread(server.requests[0].hung_up.wait, 5)
    assert call.outcome.reason == "broken_stream"


# One reader, and nothing kept for none


@either_of_create_agent
async def test_a_call_has_one_reader(way):
    with GLMServer([LONG, DONE]) as server:
        async with running(way, create_agent(glm(server), TOOLS)) as run:
            async for call in each(way, run.tool_inputs):
                events = each(way, call)
                await anext(events)
                with pytest.raises(RuntimeError, match="come once"):
                    await listed(way, call)
                rest = [event async for event in events]
                assert rest[-1] is call.outcome
                with pytest.raises(RuntimeError, match="come once"):
                    await listed(way, call)


@either_of_create_agent
async def test_the_wrong_way_to_iterate(way):
    with GLMServer([LONG, DONE]) as server:
        async with running(way, create_agent(glm(server), TOOLS)) as run:
            async for call in each(way, run.tool_inputs):
                other = "sync" if way == "async" else "async"
                with pytest.raises(TypeError, match=f"The run is {way}: iterate"):
                    await listed(other, call)


@either_of_create_agent
async def test_nothing_is_kept_of_calls_without_a_reader(way, monkeypatch):
    made, alive = [], []

    class Noted(ToolInputStream):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(weakref.ref(self))

    monkeypatch.setattr(transformer, "ToolInputStream", Noted)
    with GLMServer([WRITING, DONE]) as server:
        async with running(way, create_agent(glm(server), TOOLS)) as run:
            async for _ in each(way, run):
                alive += [ref for ref in made if ref()]
            assert await listed(way, run.tool_inputs) == []  # too late
    assert len(made) == 2
    assert alive == []


@either_of_create_agent
async def test_a_call_goes_when_its_reader_lets_it_go(way):
    refs = []
    with GLMServer([WRITING, DONE]) as server:
        async with running(way, create_agent(glm(server), TOOLS)) as run:
            async for call in each(way, run.tool_inputs):
                refs.append(weakref.ref(call))
                del call
                assert [ref() for ref in refs[:-1]] == [None] * (len(refs) - 1)
    assert len(refs) == 2


@either_of_create_agent
async def test_the_rest_of_a_call_whose_reader_left_is_not_kept(way):
    with GLMServer([LONG, DONE]) as server:
        async with running(way, create_agent(glm(server), TOOLS)) as run:
            async for call in each(way, run.tool_inputs):
                events = aiter(call) if way == "async" else iter(call)
                assert await anext(each(way, events))
                await events.aclose() if way == "async" else events.close()
                assert call._events is None
    assert call._events is None
    assert call.arguments["content"] == "x" * 100  # it is still told of
    with pytest.raises(RuntimeError, match="come once"):
        await listed(way, call)


# LangGraph is missing, or too old

WITHOUT = """
import importlib, importlib.metadata, sys, types
import langchain_glm.streaming

def say():
    for module in ("agent", "transformer"):
        try:
            importlib.import_module(f"langchain_glm.streaming.{module}")
        except ImportError as error:
            print(error, error.__cause__, sep=" | ")

sys.modules["langgraph"] = None
say()
sys.modules["langgraph"] = old = types.ModuleType("langgraph")  # 1.1 has no `langgraph.stream`
old.__path__ = []
say()
del sys.modules["langgraph"]
importlib.metadata.version = lambda name: "1.2.18"
say()
"""


async def test_without_langgraphs_v3_streams_the_error_says_what_to_install():
    run = subprocess.run(  # noqa: ASYNC221, S603
        [sys.executable, "-W", "ignore", "-c", WITHOUT], capture_output=True, text=True, check=False
    )
    lines = [line.split(" | ") for line in run.stdout.splitlines()]
    said = (
        "Streams of agents need LangGraph 1.2.19 or newer, for its v3 event streams: "
        'pip install "langchain-glm-zai[langgraph]"'
    )
    assert [line[0] for line in lines] == [said] * 6, run.stderr
    assert [cause for _, cause in lines[::2]] == [cause for _, cause in lines[1::2]]
    missing, much_too_old, too_old = (cause for _, cause in lines[::2])
    assert "langgraph" in missing
    assert much_too_old == "No module named 'langgraph.stream'"
    assert too_old == "LangGraph is 1.2.18"


@either
async def test_an_id_that_comes_late(way):
    pieces = [("", "measure", None), ('{"path": ', None, None), ('"a"}', None, "call_late")]
    chunks = [
        AIMessageChunk(
            content="",
            tool_call_chunks=[
                {"type": "tool_call_chunk", "args": args, "name": name, "id": id_, "index": 0}
            ],
        )
        for args, name, id_ in pieces
    ]
    chunks.append(AIMessageChunk(content="", chunk_position="last"))
    async with running(way, graph_of(ask=asking(Chunks(chunks=chunks))).compile()) as run:
        ids = []
        async for call in each(way, run.tool_inputs):
            async for _ in each(way, call):
                ids.append(call.id)  # noqa: PERF401 - as they come
    assert (ids[0], ids[-1]) == (None, "call_late")
