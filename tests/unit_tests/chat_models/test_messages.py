"""ChatGLM's messages: those of `ChatOpenAI` in type and shape, and fit to be kept.

Both classes are asked on the same script; what may differ is spelled out below. Whatever a
message is written down as (a checkpoint, JSON, a dict), it comes back equal, and goes out to the
server in the same bytes.
"""

import copy
import json
import operator
import pickle
from contextlib import asynccontextmanager, contextmanager
from functools import reduce

import pytest
from langchain.agents import create_agent
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
)
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_glm import ChatGLM
from langchain_glm.testing import Call, GLMServer, Reply

USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 45,
    "total_tokens": 165,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
HELLO = Reply(text="Hello, world!", usage=USAGE)
CALLS = [
    Call("write_file", '{"path": "é.py", "lines": [1, 2.5, null]}', id="call_a"),
    Call("write_file", "{}", id="call_b"),
]
EVERYTHING = Reply(
    reasoning="Zwei Dateien – 两个文件。", text='I write "two".', tool_calls=CALLS, usage=USAGE
)
BROKEN = Reply(
    reasoning="Hm.",
    text="I write.",
    tool_calls=[CALLS[0], Call("write_file", '{"path": "a.py" "b"}', id="call_c")],
    usage=USAGE,
)
BROKEN_ALONE = Reply(reasoning="Hm.", tool_calls=[BROKEN.tool_calls[1]], usage=USAGE)


def write_file(path: str = "", lines: list | None = None) -> str:
    """Write a file."""
    return f"{path} is written."


def chat(server, kind=ChatGLM, **fields):
    settings = {"api_key": "test-key", "base_url": server.base_url, "model": "glm-4.7"}
    if kind is ChatOpenAI:  # what ChatGLM does by itself
        settings |= {"stream_usage": True, "extra_body": {"tool_stream": True}}
    return kind(**{**settings, **fields})


# That the async ways give the same, test_same_message.py shows.


def invoke(model):
    return model.invoke("hi")


def streamed_invoke(model):
    return model.invoke("hi", stream=True)


def added_up(model):
    return reduce(operator.add, model.stream("hi"))


def v3(model):
    return model.stream_events("hi", version="v3").output


WAYS = [invoke, streamed_invoke, added_up, v3]
each_way = pytest.mark.parametrize("ask", WAYS)
each_version = pytest.mark.parametrize("version", ["v0", "v1"])


# Beside ChatOpenAI. What differs, and why:
#
# - `model_provider` is "zai": by it LangChain finds the translator that keeps reasoning.
# - Reasoning is there (`additional_kwargs`, and its blocks where the content is a list).
# - `refusal`, `system_fingerprint` and `logprobs`, which are OpenAI's, are not there as None.
# - `token_usage` is GLM's own text, without OpenAI's further details as None; `request_id` is
#   there, and streams have both of them too, with the `id`, as whole answers do.
# - In lists of blocks, text and reasoning are numbered by LangChain's `lc_…` indexes. Numbered
#   from 0 as calls are, ChatOpenAI's text fuses with the first call when chunks are added up.
# - The `error` of a broken call is ours, and a call that was cut off never runs.

ONLY_OPENAI = {"refusal", "system_fingerprint", "logprobs"}
ONLY_GLM = {"reasoning_content", "request_id"}
ONLY_GLM_IN_STREAMS = {*ONLY_GLM, "token_usage", "id", "settled_tool_calls"}


@pytest.fixture(scope="module")
def say():
    """A server that gives, to whoever asks, what it was last told to.

    One for all: ChatOpenAI makes its HTTP clients anew for each base URL, which takes its time.
    """
    replies = []
    with GLMServer(lambda request: replies[-1]) as server:

        def say_next(reply):
            replies.append(reply)
            return server

        yield say_next


def by_both(ask, server, version):
    models = [chat(server, kind, output_version=version) for kind in (ChatOpenAI, ChatGLM)]
    return [ask(model.bind_tools([write_file])) for model in models]


def content_of(message):
    """The content, without reasoning and numbers."""
    if isinstance(message.content, str):
        return message.content
    blocks = [block for block in message.content if block["type"] != "reasoning"]
    return [{k: v for k, v in block.items() if k not in ("index", "error")} for block in blocks]


def without_errors(calls):
    return [{k: v for k, v in call.items() if k != "error"} for call in calls]


REPLIES = [
    pytest.param(HELLO, id="text"),
    pytest.param(EVERYTHING, id="everything"),
    pytest.param(Reply(tool_calls=CALLS, usage=USAGE), id="calls only"),
    pytest.param(Reply(reasoning="Hm.", text="Hello", usage=USAGE), id="reasoning and text"),
    pytest.param(BROKEN, id="a broken call"),
    pytest.param(Reply(text="Hel", finish_reason="length", usage=USAGE), id="cut text"),
]


@each_way
@each_version
@pytest.mark.parametrize("reply", REPLIES)
def test_the_same_message_as_from_chat_openai(ask, reply, version, say):
    theirs, ours = by_both(ask, say(reply), version)
    assert type(ours) is type(theirs) is (AIMessageChunk if ask is added_up else AIMessage)
    assert ours.text == theirs.text == reply.text
    assert ours.usage_metadata == theirs.usage_metadata
    assert ours.id.startswith("lc_run--")
    assert theirs.id.startswith("lc_run--")
    assert ours.tool_calls == theirs.tool_calls
    assert without_errors(ours.invalid_tool_calls) == without_errors(theirs.invalid_tool_calls)
    fused = (
        ask in (added_up, streamed_invoke) and version == "v1" and reply.text and reply.tool_calls
    )
    if not fused:  # ChatOpenAI's: the text and the first call in one block
        assert content_of(ours) == content_of(theirs)
    assert type(ours.content) is type(theirs.content)
    more = ONLY_GLM if ask is invoke else ONLY_GLM_IN_STREAMS
    for name in ("additional_kwargs", "response_metadata"):
        ours_has, theirs_has = set(getattr(ours, name)), set(getattr(theirs, name))
        assert ours_has - theirs_has <= more, name
        assert theirs_has - ours_has <= ONLY_OPENAI, name
    for name in ("finish_reason", "model_name", "output_version"):
        assert ours.response_metadata.get(name) == theirs.response_metadata.get(name)
    assert set(ours.model_dump()) == set(theirs.model_dump())


def test_what_chat_openai_fuses(say):
    # Should this fail, LangChain has mended it, and the exception above can go.
    theirs, ours = by_both(added_up, say(EVERYTHING), "v1")
    assert [block["type"] for block in theirs.content] == ["text", "tool_call"]
    assert [block["type"] for block in ours.content] == [
        *("reasoning", "text"),
        *("tool_call", "tool_call"),
    ]


def shown_chunk(chunk):
    """What a chunk adds, without reasoning, numbers of blocks, and where it says all is done."""
    return {
        "type": type(chunk),
        "content": content_of(chunk),
        "tool_call_chunks": chunk.tool_call_chunks,
        "tool_calls": chunk.tool_calls,
        "invalid_tool_calls": without_errors(chunk.invalid_tool_calls),
    }


@each_version
@pytest.mark.parametrize("reply", REPLIES)
def test_the_same_chunks_as_from_chat_openai(reply, version, say):
    streams = []
    for kind in (ChatOpenAI, ChatGLM):
        model = chat(say(reply), kind, output_version=version).bind_tools([write_file])
        chunks = list(model.stream("hi"))
        # ChatOpenAI has an empty chunk for each frame of reasoning, and one more at the end.
        shown = [shown_chunk(chunk) for chunk in chunks]
        streams.append([one for one in shown if one["content"] or one["tool_call_chunks"]])
        assert [chunk.chunk_position for chunk in chunks] == [None] * (len(chunks) - 1) + ["last"]
        assert sum(chunk.usage_metadata is not None for chunk in chunks) == 1
        assert len({chunk.id for chunk in chunks}) == 1
    theirs, ours = streams
    assert ours == theirs
    assert ours


@each_version
def test_a_history_of_chat_openai_goes_on_with_chat_glm(version, say):
    bodies = []
    for ask in WAYS:
        server = say(Reply(text="I write.", tool_calls=CALLS[:1]))
        for turn in by_both(ask, server, version):
            model = chat(say(HELLO)).bind_tools([write_file])
            model.invoke([HumanMessage("hi"), turn, ToolMessage("ok", tool_call_id="call_a")])
            bodies.append(server.requests[-1].body["messages"])
    assert bodies == [bodies[0]] * 2 * len(WAYS)
    assert json.loads(bodies[0][1]["tool_calls"][0]["function"]["arguments"])["path"] == "é.py"


# Written down and read back


def by_dict(message):
    written = json.dumps(messages_to_dict([message]))
    (read,) = messages_from_dict(json.loads(written))
    return read


def by_json(message):
    return type(message).model_validate_json(message.model_dump_json())


def by_checkpoint(message):
    serializer = JsonPlusSerializer()
    return serializer.loads_typed(serializer.dumps_typed(message))


COPIES = {
    "messages_to_dict": by_dict,
    "dumps": lambda message: loads(dumps(message), allowed_objects="core"),
    "dumpd": lambda message: load(dumpd(message), allowed_objects="core"),
    "pydantic's JSON": by_json,
    "checkpoint": by_checkpoint,
    "pickle": lambda message: pickle.loads(pickle.dumps(message)),  # noqa: S301 - our own
    "deepcopy": copy.deepcopy,
}
SETTINGS = [
    pytest.param({}, id="v0"),
    pytest.param({"output_version": "v1"}, id="v1"),
    pytest.param({"include_raw_response": True}, id="raw"),
]
KEPT = [
    pytest.param(EVERYTHING, id="everything"),
    pytest.param(BROKEN, id="a broken call"),
    pytest.param(
        Reply(text="I", tool_calls=CALLS, finish_reason="length", usage=USAGE), id="a cut call"
    ),
]


def asked_back(server, model, turn):
    """The bytes of a request that has the turn in its history."""
    calls = [*turn.tool_calls, *turn.invalid_tool_calls]
    results = [ToolMessage("ok", tool_call_id=call["id"]) for call in calls]
    model.invoke([HumanMessage("hi"), turn, *results])
    return server.requests[-1].raw


@each_way
@pytest.mark.parametrize("fields", SETTINGS)
@pytest.mark.parametrize("reply", KEPT)
def test_a_message_comes_back_equal(ask, fields, reply):
    with GLMServer(reply) as server:
        model = chat(server, **fields).bind_tools([write_file])
        message = ask(model)
        sent = asked_back(server, model, message)
        for how, make in COPIES.items():
            again = make(message)
            assert type(again) is type(message), how
            assert again == message, how
            assert again.model_dump() == message.model_dump(), how
            assert again.content_blocks == message.content_blocks, how
            assert asked_back(server, model, again) == sent, how


@pytest.mark.parametrize("how", COPIES)
@each_version
def test_a_half_of_a_stream_can_be_kept_and_gone_on_with(how, version):
    with GLMServer(EVERYTHING) as server:
        model = chat(server, output_version=version).bind_tools([write_file])
        chunks = list(model.stream("hi"))
    whole = reduce(operator.add, chunks)
    for half in range(1, len(chunks), 3):
        first, second = chunks[:half], chunks[half:]
        kept = COPIES[how](reduce(operator.add, first))
        assert type(kept) is AIMessageChunk
        assert reduce(operator.add, second, kept) == whole


# Checkpointers


@contextmanager
def in_memory(_):
    saver = InMemorySaver()
    yield lambda: saver


@contextmanager
def in_sqlite(path):
    with (
        SqliteSaver.from_conn_string(str(path)) as first,
        SqliteSaver.from_conn_string(str(path)) as second,  # knows the file alone
    ):
        yield iter([first, second]).__next__


def agent_of(model, tools, **options):
    return create_agent(model, tools, **options)


def graph_of(model, tools, **options):
    """A graph that adds up chunks by itself, and has no tools to run."""
    bound = model.bind_tools(tools)

    def think(state):
        return {"messages": [reduce(operator.add, bound.stream(state["messages"]))]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", think)
    graph.add_edge(START, "model")
    return graph.compile(**options)


def run_invoke(agent, ask, config=None):
    return agent.invoke(ask, config)["messages"]


def run_messages(agent, ask, config=None):
    modes = ["messages", "values"]
    return list(agent.stream(ask, config, stream_mode=modes))[-1][1]["messages"]


def run_v3(agent, ask, config=None):
    return agent.stream_events(ask, config, version="v3").output["messages"]


THREAD = {"configurable": {"thread_id": "1"}}
SCRIPTS = [
    pytest.param([EVERYTHING, HELLO], id="everything"),
    pytest.param([BROKEN_ALONE], id="a broken call"),
    pytest.param(
        [Reply(text="I", reasoning="R", tool_calls=CALLS[:1], finish_reason="length")],
        id="a cut call",
    ),
]


def raw_requests(server):
    return [request.raw for request in server.requests]


def without_checkpointer(script, make, run, **fields):
    """The bytes of all requests of a conversation whose messages the caller keeps."""
    with GLMServer([*script, HELLO]) as server:
        agent = make(chat(server, **fields), [write_file])
        history = run(agent, {"messages": "Write two."})
        run(agent, {"messages": [*history, HumanMessage("And now?")]})
        return raw_requests(server)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("make", "run", "fields"),
    [
        pytest.param(agent_of, run_invoke, {}, id="agent"),
        pytest.param(agent_of, run_messages, {}, id="agent-messages"),
        pytest.param(agent_of, run_v3, {}, id="agent-v3"),
        pytest.param(agent_of, run_messages, {"output_version": "v1"}, id="blocks"),
        pytest.param(agent_of, run_invoke, {"include_raw_response": True}, id="raw"),
        pytest.param(graph_of, run_invoke, {}, id="graph of chunks"),
    ],
)
def test_a_checkpointer_changes_no_byte(fields, script, make, run, tmp_path):
    script = script[:1] if make is graph_of else script
    expected = without_checkpointer(script, make, run, **fields)
    assert len(expected) == len(script) + 1
    for keep in (in_memory, in_sqlite):
        with GLMServer([*script, HELLO]) as server, keep(tmp_path / "threads.db") as savers:
            for ask in ("Write two.", "And now?"):  # each by a model and an agent of its own
                agent = make(chat(server, **fields), [write_file], checkpointer=savers())
                run(agent, {"messages": ask}, THREAD)
            assert raw_requests(server) == expected, keep
            history = server.requests[-1].body["messages"]
    turn = history[1]
    assert turn["reasoning_content"] == script[0].reasoning
    # create_agent answers an invalid call before it goes on. In the graph of chunks nobody answers,
    # and the calls are left out.
    answered = script[0].tool_calls if make is agent_of else []
    assert [call["id"] for call in turn.get("tool_calls", ())] == [call.id for call in answered]
    if script[0] is BROKEN_ALONE and answered:
        (call,) = turn["tool_calls"]
        assert call["function"]["arguments"] == '{"path": "a.py"}'  # what can be read of it


@asynccontextmanager
async def in_async_memory(_):
    saver = InMemorySaver()
    yield lambda: saver


@asynccontextmanager
async def in_async_sqlite(path):
    async with (
        AsyncSqliteSaver.from_conn_string(str(path)) as first,
        AsyncSqliteSaver.from_conn_string(str(path)) as second,
    ):
        yield iter([first, second]).__next__


async def run_ainvoke(agent, ask, config=None):
    return (await agent.ainvoke(ask, config))["messages"]


async def run_astream(agent, ask, config=None):
    modes = ["messages", "values"]
    parts = [part async for part in agent.astream(ask, config, stream_mode=modes)]
    return parts[-1][1]["messages"]


async def run_async_v3(agent, ask, config=None):
    async with await agent.astream_events(ask, config, version="v3") as run:
        return (await run.output())["messages"]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("run", [run_ainvoke, run_astream, run_async_v3])
async def test_an_async_checkpointer_changes_no_byte(script, run, tmp_path):
    with GLMServer([*script, HELLO]) as server:
        agent = create_agent(chat(server), [write_file])
        history = await run(agent, {"messages": "Write two."})
        await run(agent, {"messages": [*history, HumanMessage("And now?")]})
        expected = raw_requests(server)
    for keep in (in_async_memory, in_async_sqlite):
        with GLMServer([*script, HELLO]) as server:
            async with keep(tmp_path / "threads.db") as savers:
                for ask in ("Write two.", "And now?"):
                    agent = create_agent(chat(server), [write_file], checkpointer=savers())
                    await run(agent, {"messages": ask}, THREAD)
            assert raw_requests(server) == expected, keep


@pytest.mark.parametrize("keep", [in_memory, in_sqlite])
@pytest.mark.parametrize("run", [run_invoke, run_messages, run_v3])
def test_an_agent_that_is_interrupted_before_its_tools_goes_on(keep, run, tmp_path):
    with GLMServer([EVERYTHING, HELLO]) as server:
        run(create_agent(chat(server), [write_file]), {"messages": "Write two."})
        expected = raw_requests(server)
    options = {"interrupt_before": ["tools"]}
    with GLMServer([EVERYTHING, HELLO]) as server, keep(tmp_path / "threads.db") as savers:
        for ask in ({"messages": "Write two."}, None):
            agent = create_agent(chat(server), [write_file], checkpointer=savers(), **options)
            *_, last = run(agent, ask, THREAD)
        assert raw_requests(server) == expected
    assert last.text == "Hello, world!"


@pytest.mark.parametrize("keep", [in_memory, in_sqlite])
def test_what_a_checkpointer_gives_back(keep, tmp_path):
    with GLMServer([EVERYTHING, HELLO]) as server, keep(tmp_path / "threads.db") as savers:
        model = chat(server, include_raw_response=True)
        agent = create_agent(model, [write_file], checkpointer=savers())
        messages = agent.invoke({"messages": "Write two."}, THREAD)["messages"]
        other = create_agent(model, [write_file], checkpointer=savers())
        kept = other.get_state(THREAD).values["messages"]
    assert kept == messages
    turn = kept[1]
    assert turn.additional_kwargs["reasoning_content"] == EVERYTHING.reasoning
    assert turn.additional_kwargs["raw_response"] == messages[1].additional_kwargs["raw_response"]
    assert turn.usage_metadata["output_token_details"] == {"reasoning": 30}
    assert [call["args"] for call in turn.tool_calls] == [
        {"path": "é.py", "lines": [1, 2.5, None]},
        {},
    ]
