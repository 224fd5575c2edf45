"""`ChatGLM` in agents: what reaches the user while the model writes, and what goes back to it.

`create_agent` and the same graph by hand, over HTTP, three rounds of tools.
"""

import inspect
import json
import sys

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pythons import async_agents_stream

from langchain_glm import ChatGLM
from langchain_glm.testing import Call, GLMServer, Reply

INPUT = {"messages": "(1 + 2) * (3 + 4) + 5?"}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


TOOLS = [add, multiply]
ROUNDS = [
    Reply(
        reasoning="Two sums first.",
        text="I'll add.",
        tool_calls=[
            Call("add", {"a": 1, "b": 2}, "call_a"),
            Call("add", {"a": 3, "b": 4}, "call_b"),
        ],
    ),
    Reply(reasoning="Now 3 * 7.", tool_calls=[Call("multiply", {"a": 3, "b": 7}, "call_c")]),
    Reply(tool_calls=[Call("add", {"a": 21, "b": 5}, "call_d")]),
    Reply(reasoning="There it is.", text="It is 26."),
]


def turn(content, *calls, **more):
    """An assistant's turn as GLM wants it back."""
    tool_calls = [
        {"type": "function", "id": id_, "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in calls
    ]
    return {"role": "assistant", "content": content, "tool_calls": tool_calls, **more}


def result(id_, content):
    return {"role": "tool", "tool_call_id": id_, "content": content}


HISTORY = [
    {"role": "user", "content": INPUT["messages"]},
    turn(
        "I'll add.",
        ("call_a", "add", '{"a": 1, "b": 2}'),
        ("call_b", "add", '{"a": 3, "b": 4}'),
        reasoning_content="Two sums first.",
    ),
    result("call_a", "3"),
    result("call_b", "7"),
    # Without a text: null beside calls has been a 400.
    turn("", ("call_c", "multiply", '{"a": 3, "b": 7}'), reasoning_content="Now 3 * 7."),
    result("call_c", "21"),
    turn("", ("call_d", "add", '{"a": 21, "b": 5}')),
    result("call_d", "26"),
]
LENGTHS = [1, 4, 6, 8]  # of the history, at each of the four requests


def agent_of(model, tools, **options):
    return create_agent(model, tools, **options)


def graph_of(model, tools, **options):
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
    return graph.compile(**options)


both = pytest.mark.parametrize("make", [agent_of, graph_of])


def both_in_each(*ways):
    """Both graphs, streamed in each of these ways; create_agent's async nodes need Python 3.11."""
    return pytest.mark.parametrize(
        ("make", "way"),
        [
            pytest.param(
                make, way, marks=async_agents_stream if make is agent_of and is_async(way) else ()
            )
            for make in (agent_of, graph_of)
            for way in ways
        ],
    )


def is_async(way):
    return way == "astream" or inspect.isasyncgenfunction(way)


def glm(server):
    return ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=0)


# The ways to run an agent; each gives its last state.


def invoke(agent):
    return agent.invoke(INPUT)


async def ainvoke(agent):
    return await agent.ainvoke(INPUT)


def messages(agent):
    modes = agent.stream(INPUT, stream_mode=["messages", "values"])
    return [state for mode, state in modes if mode == "values"][-1]


async def amessages(agent):
    modes = agent.astream(INPUT, stream_mode=["messages", "values"])
    return [state async for mode, state in modes if mode == "values"][-1]


def v3(agent):
    return agent.stream_events(INPUT, version="v3").output


async def av3(agent):
    return await (await agent.astream_events(INPUT, version="v3")).output()


@both
@pytest.mark.parametrize(
    ("way", "streams"),
    [
        (invoke, False),
        (ainvoke, False),
        (messages, True),
        (amessages, True),
        (v3, True),
        (av3, True),
    ],
)
async def test_three_rounds_of_tools(make, way, streams):
    if way in {amessages, av3} and make is agent_of and sys.version_info < (3, 11):
        streams = False  # see `async_agents_stream`
    with GLMServer(ROUNDS) as server:
        state = way(make(glm(server), TOOLS))
        if inspect.isawaitable(state):
            state = await state
        bodies = [received.body for received in server.requests]
    assert state["messages"][-1].text == "It is 26."
    assert [body["messages"] for body in bodies] == [HISTORY[:length] for length in LENGTHS]
    assert [body.get("tool_stream", False) for body in bodies] == [streams] * 4
    assert [[t["function"]["name"] for t in body["tools"]] for body in bodies] == [
        ["add", "multiply"]
    ] * 4


async def message_chunks(agent, way):
    if way == "stream":
        return list(agent.stream(INPUT, stream_mode="messages"))
    return [pair async for pair in agent.astream(INPUT, stream_mode="messages")]


@both_in_each("stream", "astream")
async def test_the_messages_mode_shows_each_fragment_of_the_arguments(make, way):
    with GLMServer(ROUNDS) as server:
        pairs = await message_chunks(make(glm(server), TOOLS), way)
    fragments = [
        (call["index"], call["id"], call["name"], call["args"])
        for chunk, metadata in pairs
        if metadata["langgraph_step"] == 1
        for call in chunk.tool_call_chunks
    ]
    assert fragments == [
        (0, "call_a", "add", ""),
        *[(0, None, None, text) for text in ('{"a"', ": 1,", ' "b"', ": 2}")],
        (1, "call_b", "add", ""),
        *[(1, None, None, text) for text in ('{"a"', ": 3,", ' "b"', ": 4}")],
    ]
    reasoning = [
        chunk.additional_kwargs["reasoning_content"]
        for chunk, _ in pairs
        if "reasoning_content" in getattr(chunk, "additional_kwargs", {})
    ]
    assert "".join(reasoning) == "Two sums first.Now 3 * 7.There it is."
    assert len(reasoning) == 10


def write_file(path: str, content: str) -> str:
    """Write a file."""
    return f"{len(content)} characters in {path}"


LONG = {"path": "big.txt", "content": "a line of the file\n" * 3}
WRITING = [Reply(tool_calls=[Call("write_file", LONG)]), Reply(text="Done.")]


def fragments_in_messages(agent):
    for chunk, _ in agent.stream(INPUT, stream_mode="messages"):
        yield from (call["args"] for call in getattr(chunk, "tool_call_chunks", ()))


async def afragments_in_messages(agent):
    async for chunk, _ in agent.astream(INPUT, stream_mode="messages"):
        for call in getattr(chunk, "tool_call_chunks", ()):
            yield call["args"]


def fragments_in_v3(agent):
    for message in agent.stream_events(INPUT, version="v3").messages:
        yield from (call["args"] for call in message.tool_calls)


async def afragments_in_v3(agent):
    async for message in (await agent.astream_events(INPUT, version="v3")).messages:
        async for call in message.tool_calls:
            yield call["args"]


class Watch:
    """Notes at the first fragment of the arguments how much the server had sent by then."""

    def __init__(self, server):
        self.server = server
        self.fragments = []

    def see(self, fragment):
        if not fragment:
            return
        if not self.fragments:
            (request,) = self.server.requests
            self.all_was_sent = request.answered.is_set()
            self.sent_by_then = len(request.sent)
        self.fragments.append(fragment)


@both_in_each(fragments_in_messages, afragments_in_messages, fragments_in_v3, afragments_in_v3)
async def test_the_first_fragment_is_received_before_the_last_is_sent(make, way):
    with GLMServer(WRITING, pace=0.01) as server:
        watch = Watch(server)
        fragments = way(make(glm(server), [write_file]))
        if inspect.isasyncgen(fragments):
            async for fragment in fragments:
                watch.see(fragment)
        else:
            for fragment in fragments:
                watch.see(fragment)
        sent = server.requests[0].sent
    assert not watch.all_was_sent
    assert watch.sent_by_then < len(sent)
    assert len(watch.fragments) > 15


def seen(reasoning, text, calls):
    return reasoning, text, [(call["id"], call["name"], call["args"]) for call in calls]


SEEN = [
    (
        "Two sums first.",
        "I'll add.",
        [("call_a", "add", {"a": 1, "b": 2}), ("call_b", "add", {"a": 3, "b": 4})],
    ),
    ("Now 3 * 7.", "", [("call_c", "multiply", {"a": 3, "b": 7})]),
    ("", "", [("call_d", "add", {"a": 21, "b": 5})]),
    ("There it is.", "It is 26.", []),
]


@both
async def test_v3_shows_the_reasoning_beside_the_calls(make):
    with GLMServer(ROUNDS) as server:
        run = make(glm(server), TOOLS).stream_events(INPUT, version="v3")
        assert [
            seen(str(message.reasoning), str(message.text), message.tool_calls.get())
            for message in run.messages
        ] == SEEN
    with GLMServer(ROUNDS) as server:
        run = await make(glm(server), TOOLS).astream_events(INPUT, version="v3")
        assert [
            seen(await message.reasoning, await message.text, await message.tool_calls)
            async for message in run.messages
        ] == SEEN


@both
async def test_v3_gives_reasoning_and_arguments_in_fragments(make):
    with (
        GLMServer(ROUNDS) as server,
        make(glm(server), TOOLS).stream_events(INPUT, version="v3") as run,
    ):
        message = next(iter(run.messages))
        assert list(message.reasoning) == ["Two ", "sums", " fir", "st."]
        assert list(message.text) == ["I'll", " add", "."]
        arguments = [call["args"] for call in message.tool_calls if call["args"]]
    assert arguments == [
        *('{"a"', ": 1,", ' "b"', ": 2}"),
        *('{"a"', ": 3,", ' "b"', ": 4}"),
    ]


@both
async def test_two_turns_of_the_user_with_a_checkpointer(make):
    config = {"configurable": {"thread_id": "1"}}
    with GLMServer([*ROUNDS, Reply(text="You are welcome.")]) as server:
        agent = make(glm(server), TOOLS, checkpointer=InMemorySaver())
        await agent.ainvoke(INPUT, config)
        state = agent.invoke({"messages": "Thank you."}, config)
        last = server.requests[-1].body["messages"]
    assert state["messages"][-1].text == "You are welcome."
    assert last == [
        *HISTORY,
        {"role": "assistant", "content": "It is 26.", "reasoning_content": "There it is."},
        {"role": "user", "content": "Thank you."},
    ]


@both
async def test_the_calls_of_a_round_run_once_each(make):
    written = []

    def note(text: str) -> str:
        """Note something."""
        written.append(text)
        return "noted"

    calls = [Call("note", json.dumps({"text": text})) for text in ("one", "two")]
    for way in (invoke, ainvoke, messages, amessages, v3, av3):
        written.clear()
        with GLMServer([Reply(tool_calls=calls), Reply(text="Done.")]) as server:
            state = way(make(glm(server), [note]))
            if inspect.isawaitable(state):
                await state
        assert sorted(written) == ["one", "two"]
