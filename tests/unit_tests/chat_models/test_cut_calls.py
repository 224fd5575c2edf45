"""A call that the model could not end never runs, however an agent is run.

Core closes the JSON of a cut call when it merges chunks, and some servers close it themselves:
only the finish reason tells. The tool takes any arguments, so that half of them would do.
"""

import inspect
import logging

import pytest
from langchain.agents import create_agent
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.load import dumps, loads
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMServerError
from langchain_glm.testing import Call, GLMServer, Reply

# One loop for all tests: its HTTP client is made once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

INPUT = {"messages": "Write big.txt"}
DONE = Reply(text="Done.")
WHOLE = '{"path": "small.txt", "content": "all of it"}'
HALF = '{"path": "big.txt", "content": "the first ha'

VALID = '{"path": "big.txt"}'

CUTS = [
    pytest.param(HALF, "length", id="inside a string"),
    pytest.param('{"path": "big.txt", "content":', "length", id="after a key"),
    pytest.param("", "length", id="after the name"),
    # Where the JSON is valid, nothing but the reason tells.
    pytest.param(VALID, "length", id="length"),
    pytest.param(VALID, "abort", id="abort"),
    pytest.param(VALID, "sensitive", id="sensitive"),
    pytest.param(VALID, "model_context_window_exceeded", id="context"),
]
REMEDIES = {
    "length": "max_tokens",
    "abort": "ask again",
    "sensitive": "rephrase",
    "model_context_window_exceeded": "Shorten the conversation",
}


# The ways to run an agent, or a model. Of an agent the checkpointer has the messages then.


def invoke(agent, config):
    return agent.invoke(INPUT, config)


async def ainvoke(agent, config):
    return await agent.ainvoke(INPUT, config)


def in_mode(mode):
    def stream(agent, config):
        for _ in agent.stream(INPUT, config, stream_mode=mode):
            pass

    return stream


def ain_mode(mode):
    async def astream(agent, config):
        async for _ in agent.astream(INPUT, config, stream_mode=mode):
            pass

    return astream


def v3(agent, config):
    return agent.stream_events(INPUT, config, version="v3").output


async def av3(agent, config):
    run = await agent.astream_events(INPUT, config, version="v3")
    return await run.output()


async def av2(agent, config):
    async for _ in agent.astream_events(INPUT, config, version="v2"):
        pass


# In the first six the model's answer comes whole, and `tool_stream` has no meaning.
STREAMS = {
    "messages": in_mode("messages"),
    "async messages": ain_mode("messages"),
    "v3": v3,
    "async v3": av3,
    "async v2": av2,
}
WAYS = {
    "invoke": invoke,
    "ainvoke": ainvoke,
    "values": in_mode("values"),
    "async values": ain_mode("values"),
    "updates": in_mode("updates"),
    "async updates": ain_mode("updates"),
    **STREAMS,
}
in_every_way = pytest.mark.parametrize("way", [pytest.param(f, id=n) for n, f in WAYS.items()])
in_fragments_and_whole = pytest.mark.parametrize(
    ("way", "tool_stream"),
    [pytest.param(f, True, id=n) for n, f in WAYS.items()]
    + [pytest.param(f, False, id=f"{n}, calls whole") for n, f in STREAMS.items()],
)
cut_anywhere = pytest.mark.parametrize(("arguments", "reason"), CUTS)
half_or_valid = pytest.mark.parametrize(
    "arguments", [pytest.param(HALF, id="half"), pytest.param(VALID, id="valid")]
)


@pytest.fixture
def written():
    return []


@pytest.fixture
def write_file(written):
    @tool
    def write_file(path: str = "", content: str = "") -> str:
        """Write a file."""
        written.append((path, content))
        return "written"

    return write_file


def agent_of(model, tools):
    return create_agent(model, tools, checkpointer=InMemorySaver())


def graph_of(model, tools):
    """What `create_agent` makes, by hand."""
    bound = model.bind_tools(tools)

    def think(state):
        return {"messages": [bound.invoke(state["messages"])]}

    async def athink(state):
        return {"messages": [await bound.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", RunnableLambda(think, athink))
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=InMemorySaver())


def glm(server, **fields):
    return ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=0, **fields)


def calling(*arguments, finish_reason):
    calls = [Call("write_file", text, id=f"call_{n}") for n, text in enumerate(arguments)]
    return Reply(
        reasoning="A file.", text="I'll write it.", tool_calls=calls, finish_reason=finish_reason
    )


async def run(way, agent, thread="1"):
    """Run the agent to its end and give the model's last message."""
    config = {"configurable": {"thread_id": thread}}
    outcome = way(agent, config)
    if inspect.isawaitable(outcome):
        await outcome
    return agent.get_state(config).values["messages"][-1]


def assert_kept(message, arguments):
    """The message has the call with its text as it came, and not among those that may run."""
    assert message.tool_calls == []
    (call,) = message.invalid_tool_calls
    assert (call["id"], call["name"]) == ("call_0", "write_file")
    assert (call["args"] or "") == arguments  # core's v3 has None for ""
    assert "tool_call" not in [block["type"] for block in message.content_blocks]
    assert message.text == "I'll write it."


@cut_anywhere
@in_fragments_and_whole
async def test_an_agent_does_not_run_a_cut_call(
    write_file, written, caplog, way, tool_stream, reason, arguments
):
    with GLMServer([calling(arguments, finish_reason=reason)]) as server:
        agent = agent_of(glm(server, tool_stream=tool_stream), [write_file])
        message = await run(way, agent)
    assert written == []
    assert_kept(message, arguments)
    assert message.response_metadata["finish_reason"] == reason
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    for word in ("'write_file'", repr(reason), REMEDIES[reason]):
        assert word in warning.getMessage()


@half_or_valid
@in_fragments_and_whole
async def test_a_hand_written_graph_does_not_run_a_cut_call(
    write_file, written, way, tool_stream, arguments
):
    with GLMServer([calling(arguments, finish_reason="length")]) as server:
        graph = graph_of(glm(server, tool_stream=tool_stream), [write_file])
        message = await run(way, graph)
    assert written == []
    assert_kept(message, arguments)


@pytest.mark.parametrize("make", [agent_of, graph_of])
@in_fragments_and_whole
async def test_a_whole_call_runs(write_file, written, make, way, tool_stream):
    with GLMServer([calling(WHOLE, finish_reason="tool_calls"), DONE]) as server:
        message = await run(way, make(glm(server, tool_stream=tool_stream), [write_file]))
    assert written == [("small.txt", "all of it")]
    assert message.text == "Done."


@in_fragments_and_whole
async def test_a_broken_call_does_not_run_though_the_model_says_it_is_done(
    write_file, written, way, tool_stream
):
    with GLMServer([calling(HALF, finish_reason="tool_calls")]) as server:
        agent = agent_of(glm(server, tool_stream=tool_stream), [write_file])
        message = await run(way, agent)
    assert written == []
    assert_kept(message, HALF)
    assert "Unterminated string" in message.invalid_tool_calls[0]["error"]


@half_or_valid
@in_fragments_and_whole
async def test_of_two_calls_the_one_that_ended_before_the_cut_runs(
    write_file, written, way, tool_stream, arguments
):
    with GLMServer([calling(WHOLE, arguments, finish_reason="length"), DONE]) as server:
        agent = agent_of(glm(server, tool_stream=tool_stream), [write_file])
        message = await run(way, agent)
        result = server.requests[1].body["messages"][-1]
    assert written == [("small.txt", "all of it")]
    assert (result["role"], result["tool_call_id"]) == ("tool", "call_0")
    assert message.text == "Done."


@in_fragments_and_whole
async def test_of_two_cut_calls_neither_runs(write_file, written, way, tool_stream):
    # The first did not end either: a second call began, but its JSON is not whole.
    with GLMServer([calling(HALF, WHOLE, finish_reason="length")]) as server:
        agent = agent_of(glm(server, tool_stream=tool_stream), [write_file])
        message = await run(way, agent)
    assert written == []
    assert [call["args"] for call in message.invalid_tool_calls] == [HALF, WHOLE]


@half_or_valid
@in_fragments_and_whole
async def test_with_the_content_as_blocks(write_file, written, way, tool_stream, arguments):
    with GLMServer([calling(arguments, finish_reason="length")]) as server:
        model = glm(server, tool_stream=tool_stream, output_version="v1")
        message = await run(way, agent_of(model, [write_file]))
    assert written == []
    assert_kept(message, arguments)
    assert "tool_call" not in [block["type"] for block in message.content]


@half_or_valid
@in_fragments_and_whole
async def test_a_call_that_inference_failed_on_does_not_run_and_is_an_error(
    write_file, written, way, tool_stream, arguments
):
    with GLMServer([calling(arguments, finish_reason="network_error"), DONE]) as server:
        agent = agent_of(glm(server, tool_stream=tool_stream), [write_file])
        with pytest.raises(GLMServerError) as caught:
            await run(way, agent)
        assert len(server.requests) == 1
    assert written == []
    assert caught.value.code == "network_error"
    assert_kept(caught.value.partial, arguments)


@pytest.mark.parametrize("make", [agent_of, graph_of])
async def test_an_answer_that_inference_failed_on_is_asked_for_again(write_file, written, make):
    # Nothing of an answer that comes whole has been given to anyone.
    failed = calling(WHOLE, finish_reason="network_error")
    with GLMServer([failed, calling(WHOLE, finish_reason="tool_calls"), DONE]) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=1)
        message = await run(invoke, make(model, [write_file]))
        assert len(server.requests) == 3
    assert written == [("small.txt", "all of it")]
    assert message.text == "Done."


class WritingCache(BaseCache):
    """Keeps text, as a cache in a database does."""

    def __init__(self):
        self.kept = {}

    def lookup(self, prompt, llm_string):
        text = self.kept.get((prompt, llm_string))
        return loads(text, allowed_objects="core") if text else None

    def update(self, prompt, llm_string, return_val):
        self.kept[prompt, llm_string] = dumps(return_val)

    def clear(self, **kwargs):
        self.kept.clear()


@pytest.mark.parametrize("cache", [InMemoryCache, WritingCache])
@half_or_valid
@in_every_way
async def test_from_a_cache(write_file, written, way, arguments, cache):
    with GLMServer([calling(arguments, finish_reason="length")]) as server:
        agent = agent_of(glm(server, cache=cache()), [write_file])
        await run(way, agent, thread="first")
        message = await run(way, agent, thread="second")
        assert len(server.requests) == 1
    assert written == []
    assert_kept(message, arguments)


@half_or_valid
async def test_a_cache_that_a_stream_filled_replays_no_cut_call(write_file, arguments):
    with GLMServer([calling(arguments, finish_reason="length")]) as server:
        agent = agent_of(glm(server, cache=WritingCache()), [write_file])
        await run(STREAMS["messages"], agent, thread="first")
        events = agent.stream_events(INPUT, {"configurable": {"thread_id": "2"}}, version="v3")
        (replayed,) = [message.output for message in events.messages]
        assert len(server.requests) == 1
    assert_kept(replayed, arguments)


@cut_anywhere
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "v3", "async v3", "batch", "abatch"])
async def test_a_model_by_itself(write_file, caplog, way, arguments, reason):
    ask = "Write big.txt"
    with GLMServer(calling(arguments, finish_reason=reason)) as server:
        model = glm(server).bind_tools([write_file])
        if way == "invoke":
            message = model.invoke(ask)
        elif way == "ainvoke":
            message = await model.ainvoke(ask)
        elif way == "v3":
            message = model.stream_events(ask, version="v3").output
        elif way == "async v3":
            message = await (await model.astream_events(ask, version="v3")).output
        elif way == "batch":
            (message,) = model.batch([ask])
        else:
            (message,) = await model.abatch([ask])
    assert_kept(message, arguments)
    assert f"'write_file' was cut off (finish_reason '{reason}')" in caplog.text
