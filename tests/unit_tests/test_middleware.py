"""`ContinueCutCalls` in real agents: the model is told of each call that it did not end well."""

import inspect
import json
import subprocess
import sys

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.exceptions import ModelAPIError
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMError, GLMMalformedResponseError
from langchain_glm.middleware import ContinueCutCalls
from langchain_glm.testing import Call, GLMServer, Raw, Reply

# One loop for all tests: its HTTP client is made once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

INPUT = {"messages": "Write big.txt"}
THREAD = {"configurable": {"thread_id": "1"}}
DONE = Reply(text="Done.")
WHOLE = '{"path": "small.txt", "content": "all of it"}'
HALF = '{"path": "big.txt", "content": "the first ha'
VALID = '{"path": "big.txt"}'  # some servers close the JSON of a cut call
WRITTEN = ("small.txt", "all of it")


def calling(*arguments, finish_reason="tool_calls", name="write_file"):
    calls = [Call(name, text) for text in arguments]
    return Reply(text="I'll write it.", tool_calls=calls, finish_reason=finish_reason)


CUT = calling(HALF, finish_reason="length")
BROKEN = calling('{"path": big.txt}')
GOOD = calling(WHOLE)


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


def glm(server, model=ChatGLM, **fields):
    fields = {"model": "glm-4.7", "base_url": server.base_url, "max_retries": 0, **fields}
    return model(api_key="test-key", **fields)


def agent_of(model, tools, *middleware, **options):
    middleware = middleware or (ContinueCutCalls(),)
    options = {"checkpointer": InMemorySaver(), **options}
    return create_agent(model, tools, middleware=middleware, **options)


# The ways to run an agent. The checkpointer has its messages then.


def invoke(agent):
    agent.invoke(INPUT, THREAD)


async def ainvoke(agent):
    await agent.ainvoke(INPUT, THREAD)


def in_mode(mode):
    def stream(agent):
        for _ in agent.stream(INPUT, THREAD, stream_mode=mode):
            pass

    return stream


def ain_mode(mode):
    async def astream(agent):
        async for _ in agent.astream(INPUT, THREAD, stream_mode=mode):
            pass

    return astream


def v3(agent):
    _ = agent.stream_events(INPUT, THREAD, version="v3").output


async def av3(agent):
    await (await agent.astream_events(INPUT, THREAD, version="v3")).output()


async def av2(agent):
    async for _ in agent.astream_events(INPUT, THREAD, version="v2"):
        pass


WAYS = {
    "invoke": invoke,
    "ainvoke": ainvoke,
    "messages": in_mode("messages"),
    "async messages": ain_mode("messages"),
    "updates": in_mode("updates"),
    "async updates": ain_mode("updates"),
    "values": in_mode("values"),
    "async values": ain_mode("values"),
    "v3": v3,
    "async v3": av3,
    "async v2": av2,
}
in_every_way = pytest.mark.parametrize("way", [pytest.param(f, id=n) for n, f in WAYS.items()])
sync_and_async = pytest.mark.parametrize("way", [invoke, ainvoke])


async def run(way, agent):
    """Run the agent to its end and give the messages of its state."""
    outcome = way(agent)
    if inspect.isawaitable(outcome):
        await outcome
    return messages_of(agent)


def messages_of(agent):
    return agent.get_state(THREAD).values["messages"]


def errors_in(messages):
    return [m for m in messages if isinstance(m, ToolMessage) and m.status == "error"]


def assert_accepted(server):
    """Each request has a history that any server takes."""
    assert len(server.requests) > 1
    for request in server.requests:
        asked, given = [], []
        for turn in [*request.body["messages"], {"role": "user"}]:
            if turn["role"] == "tool":
                given.append(turn["tool_call_id"])
                continue
            assert sorted(asked) == sorted(given)
            assert len(set(given)) == len(given)
            asked = [call["id"] for call in turn.get("tool_calls", ())]
            given = []
            assert all(isinstance(id_, str) and id_ for id_ in asked)
            for call in turn.get("tool_calls", ()):
                assert call["function"]["name"]
                assert isinstance(json.loads(call["function"]["arguments"]), dict)


# What it is for


@in_every_way
@pytest.mark.parametrize("reply", [pytest.param(CUT, id="cut"), pytest.param(BROKEN, id="broken")])
async def test_without_it_the_agent_ends_without_a_word(write_file, written, way, reply):
    with GLMServer([reply, GOOD, DONE]) as server:
        agent = create_agent(glm(server), [write_file], checkpointer=InMemorySaver())
        messages = await run(way, agent)
        assert len(server.requests) == 1
    assert [m.type for m in messages] == ["human", "ai"]
    assert written == []


TOLD = [
    pytest.param(
        CUT,
        "This call did not run. The call was cut off (finish_reason 'length'). 44 characters of "
        "its arguments had arrived. Send it again with less at once: divide the work among "
        "several smaller calls, such as a file written part by part.",
        {"path": "big.txt", "content": "the first ha"},
        id="cut in a string",
    ),
    pytest.param(
        calling(VALID, finish_reason="length"),
        "was cut off (finish_reason 'length'). 19 characters",
        {"path": "big.txt"},
        id="cut where the JSON is valid",
    ),
    pytest.param(
        calling("", finish_reason="length"), "cut off (finish_reason 'length'). 0 ", {}, id="empty"
    ),
    pytest.param(
        calling('{"content": "a\nb', finish_reason="abort"),
        "finish_reason 'abort'). 16 characters of its arguments had arrived. Send it again with "
        "less",
        {"content": "a\nb"},
        id="cut after a raw line break",
    ),
    pytest.param(
        calling('{"content": "\\ud83d', finish_reason="length"),
        "19 characters",
        {"content": ""},
        id="cut in a pair of surrogates",
    ),
    pytest.param(
        calling(HALF, finish_reason="sensitive"),
        "had arrived. Do not send the same again: leave out what the content policy",
        {"path": "big.txt", "content": "the first ha"},
        id="cut by the content policy",
    ),
    pytest.param(
        calling(HALF),
        "Unterminated string starting at: line 1 column 32 (char 31). 44 characters of its "
        "arguments had arrived. Send it again, with the name of a tool and its arguments as one "
        "JSON object, complete and correctly escaped.",
        {"path": "big.txt", "content": "the first ha"},
        id="an unterminated string",
    ),
    pytest.param(BROKEN, "not a JSON object: Expecting value: line 1 column 10", {}, id="no JSON"),
    pytest.param(calling("[1]"), "not a JSON object", {}, id="a list"),
]


@pytest.mark.parametrize(("reply", "told", "arguments"), TOLD)
@in_every_way
async def test_the_model_is_told_and_goes_on(write_file, written, way, reply, told, arguments):
    with GLMServer([reply, GOOD, DONE]) as server:
        messages = await run(way, agent_of(glm(server), [write_file]))
        assert_accepted(server)
        assistant, answer = server.requests[1].body["messages"][-2:]
    assert written == [WRITTEN]
    assert [m.type for m in messages] == ["human", "ai", "tool", "ai", "tool", "ai"]
    assert messages[-1].text == "Done."
    # The state keeps the call as it came: it is no call that runs.
    (call,) = messages[1].invalid_tool_calls
    assert (call["args"] or "") == reply.tool_calls[0].arguments
    assert messages[1].tool_calls == []
    assert (messages[2].status, messages[2].name) == ("error", "write_file")
    assert messages[2].tool_call_id == call["id"]
    # The model sees what can be read of it.
    assert assistant["content"] == "I'll write it."
    assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == arguments
    assert answer["tool_call_id"] == call["id"]
    assert told in answer["content"]


async def test_what_the_user_sees_of_it(write_file):
    with GLMServer([CUT, GOOD, DONE]) as server:
        agent = agent_of(glm(server), [write_file])
        stream = agent.stream(INPUT, THREAD, stream_mode=["messages", "updates"])
        parts = list(stream)
    streamed = [part[0] for mode, part in parts if mode == "messages"]
    nodes = [name for mode, part in parts if mode == "updates" for name in part]
    assert len(errors_in(streamed)) == 1
    assert nodes == [
        *("model", "ContinueCutCalls.after_model"),
        *("model", "ContinueCutCalls.after_model", "tools"),
        *("model", "ContinueCutCalls.after_model"),
    ]


async def test_the_state_that_comes_out_has_nothing_of_the_middleware(write_file):
    with GLMServer([CUT, DONE]) as server:
        agent = agent_of(glm(server), [write_file])
        assert set(agent.invoke(INPUT, THREAD)) == {"messages"}
        assert set(agent.get_state(THREAD).values) == {"messages"}


# Several calls in one answer


@in_every_way
@pytest.mark.parametrize("reason", ["length", "tool_calls"])
async def test_an_invalid_call_beside_one_that_runs(write_file, written, way, reason):
    reply = calling(WHOLE, HALF, finish_reason=reason)
    with GLMServer([reply, DONE]) as server:
        messages = await run(way, agent_of(glm(server), [write_file]))
        assert_accepted(server)
    assert written == [WRITTEN]
    assert [m.type for m in messages] == ["human", "ai", "tool", "tool", "ai"]
    (error,) = errors_in(messages)
    assert error.tool_call_id == messages[1].invalid_tool_calls[0]["id"]
    assert "44 characters" in error.text


@in_every_way
async def test_two_invalid_calls(write_file, written, way):
    with GLMServer([calling(HALF, VALID, finish_reason="length"), GOOD, DONE]) as server:
        messages = await run(way, agent_of(glm(server), [write_file]))
        assert_accepted(server)
    assert written == [WRITTEN]
    first, second = errors_in(messages)
    assert [first.tool_call_id, second.tool_call_id] == [
        call["id"] for call in messages[1].invalid_tool_calls
    ]
    assert ("44 characters" in first.text, "19 characters" in second.text) == (True, True)


class Messages(FakeMessagesListChatModel):
    """A model of another provider, that says the same in each run."""

    def bind_tools(self, tools, **kwargs):
        return self


def saying(*messages):
    return Messages(responses=[*messages, AIMessage("Done.")])


def invalid(id_, args=HALF, name="write_file", error=None):
    return {"type": "invalid_tool_call", "id": id_, "name": name, "args": args, "error": error}


def valid(id_, **args):
    return {"type": "tool_call", "id": id_, "name": "write_file", "args": args}


@pytest.mark.parametrize("id_", [None, "", "the same"])
@sync_and_async
async def test_calls_without_an_id_of_their_own_get_one(write_file, way, id_):
    message = AIMessage("I write.", id="m", invalid_tool_calls=[invalid(id_), invalid(id_)])
    messages = await run(way, agent_of(saying(message), [write_file]))
    assert [m.type for m in messages] == ["human", "ai", "tool", "tool", "ai"]
    ids = [call["id"] for call in messages[1].invalid_tool_calls]
    assert all(ids)
    assert len(set(ids)) == 2
    assert [error.tool_call_id for error in errors_in(messages)] == ids
    assert (messages[1].id, messages[1].text) == ("m", "I write.")


async def test_an_id_that_two_calls_share_does_not_keep_the_other_from_running(write_file, written):
    path = {"path": "small.txt", "content": "all of it"}
    message = AIMessage("", tool_calls=[valid("a", **path)], invalid_tool_calls=[invalid("a")])
    messages = await run(invoke, agent_of(saying(message), [write_file]))
    assert written == [WRITTEN]
    assert messages[1].invalid_tool_calls[0]["id"] not in {"a", None}
    assert len(errors_in(messages)) == 1


async def test_the_content_in_blocks_has_the_new_id_too(write_file):
    content = [{"type": "text", "text": "I write."}, invalid(None)]
    message = AIMessage(
        content, invalid_tool_calls=[invalid(None)], response_metadata={"output_version": "v1"}
    )
    messages = await run(invoke, agent_of(saying(message), [write_file]))
    assert messages[1].content_blocks == [content[0], *messages[1].invalid_tool_calls]


async def test_a_call_without_a_name_or_an_error(write_file):
    message = AIMessage("", invalid_tool_calls=[invalid("a", args=None, name=None)])
    messages = await run(invoke, agent_of(saying(message), [write_file]))
    assert messages[2].text.startswith(
        "This call did not run. The arguments are not a JSON object. 0 characters"
    )


async def test_a_call_that_names_no_tool(write_file):
    with GLMServer([Reply(tool_calls=[Call("")]), DONE]) as server:
        await run(invoke, agent_of(glm(server), [write_file]))
        assert_accepted(server)
        answer = server.requests[1].body["messages"][-1]["content"]
    assert "The call names no tool." in answer


async def test_a_call_that_another_middleware_has_answered_is_not_answered_again(write_file):
    class Answers(AgentMiddleware):
        def after_model(self, state, runtime):
            calls = state["messages"][-1].invalid_tool_calls
            return {"messages": [ToolMessage("No.", tool_call_id=c["id"]) for c in calls]}

    with GLMServer([CUT]) as server:
        agent = agent_of(glm(server), [write_file], ContinueCutCalls(), Answers())
        messages = await run(invoke, agent)
        assert len(server.requests) == 1
    assert [m.text for m in messages[2:]] == ["No."]


# The limit


@in_every_way
async def test_after_the_limit_the_error_has_the_message(write_file, written, way):
    with GLMServer([CUT, CUT, CUT, DONE]) as server:
        agent = agent_of(glm(server), [write_file])
        with pytest.raises(GLMMalformedResponseError, match="3 times in a row") as caught:
            await run(way, agent)
        assert len(server.requests) == 3
        assert_accepted(server)
    error = caught.value
    assert written == []
    assert isinstance(error, GLMError)
    assert isinstance(error, ModelAPIError)
    assert (error.code, error.is_retryable) == ("length", False)
    assert error.partial.text == "I'll write it."
    assert error.partial.invalid_tool_calls[0]["args"] == HALF
    for word in ("'write_file'", "'length'", "44 characters", "max_tokens", "smaller", ".partial"):
        assert word in error.message


@sync_and_async
@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_how_many_times(write_file, way, limit):
    with GLMServer(BROKEN) as server:
        agent = agent_of(glm(server), [write_file], ContinueCutCalls(limit))
        with pytest.raises(GLMMalformedResponseError) as caught:
            await run(way, agent)
        assert len(server.requests) == limit + 1
    assert caught.value.code is None


async def test_a_negative_number_of_times():
    with pytest.raises(ValueError, match="not -1"):
        ContinueCutCalls(max_continuations=-1)


MIXED = calling(WHOLE, HALF, finish_reason="length")


@sync_and_async
@pytest.mark.parametrize(
    "between", [pytest.param(GOOD, id="good"), pytest.param(MIXED, id="mixed")]
)
async def test_a_call_that_runs_starts_the_count_anew(write_file, written, way, between):
    script = [CUT, BROKEN, between, CUT, CUT, GOOD, DONE]
    with GLMServer(script) as server:
        messages = await run(way, agent_of(glm(server), [write_file]))
        assert len(server.requests) == len(script)
        assert_accepted(server)
    assert written == [WRITTEN, WRITTEN]
    assert messages[-1].text == "Done."


@sync_and_async
async def test_each_run_has_its_own_count(write_file, way):
    with GLMServer([CUT, CUT, DONE, CUT, CUT, DONE]) as server:
        agent = agent_of(glm(server), [write_file])
        await run(way, agent)
        messages = await run(way, agent)
        assert len(server.requests) == 6
        assert_accepted(server)
    assert [m.text for m in messages if m.type == "ai"].count("Done.") == 2


@sync_and_async
@pytest.mark.parametrize("model", [ChatGLM, ChatOpenAI])
async def test_after_the_error_the_next_turn_works(write_file, way, model):
    with GLMServer([CUT, CUT, DONE]) as server:
        agent = agent_of(glm(server, model), [write_file], ContinueCutCalls(1))
        with pytest.raises(GLMMalformedResponseError):
            await run(way, agent)
        assert [m.type for m in messages_of(agent)] == ["human", "ai", "tool", "ai"]
        messages = await run(way, agent)
        assert_accepted(server)
    assert messages[-1].text == "Done."


async def test_the_history_goes_through_a_checkpoint(write_file):
    message = AIMessage("I write.", invalid_tool_calls=[invalid(None)])
    saver = InMemorySaver()
    agent_of(saying(message), [write_file], checkpointer=saver).invoke(INPUT, THREAD)
    with GLMServer([DONE, DONE]) as server:
        agent = agent_of(glm(server), [write_file], checkpointer=saver)
        for _ in range(2):
            agent.invoke({"messages": [HumanMessage("And now?")]}, THREAD)
        assert_accepted(server)
        turns = server.requests[1].body["messages"]
    assert [turn["role"] for turn in turns] == [
        *("user", "assistant", "tool", "assistant"),
        *("user", "assistant", "user"),
    ]


# Other models


@in_every_way
async def test_chat_openai(write_file, written, way):
    with GLMServer([BROKEN, GOOD, DONE]) as server:
        # LangChain closes what it merges, and leaves nothing to see; this cannot be closed.
        messages = await run(way, agent_of(glm(server, ChatOpenAI), [write_file]))
        assert_accepted(server)
        answer = server.requests[1].body["messages"][-1]["content"]
    assert written == [WRITTEN]
    assert messages[-1].text == "Done."
    assert "17 characters of its arguments had arrived" in answer


@in_every_way
@pytest.mark.parametrize("arguments", [HALF, VALID])
async def test_a_cut_call_of_chat_openai_does_not_run(write_file, written, way, arguments):
    with GLMServer([calling(arguments, finish_reason="length"), GOOD, DONE]) as server:
        messages = await run(way, agent_of(glm(server, ChatOpenAI), [write_file]))
        assert_accepted(server)
    assert written == [WRITTEN]
    assert messages[1].tool_calls == []
    assert "tool_call" not in [block["type"] for block in messages[1].content_blocks]
    assert "cut off (finish_reason 'length')" in messages[2].text


@sync_and_async
async def test_of_two_calls_of_chat_openai_the_last_was_cut(write_file, written, way):
    reply = calling(WHOLE, VALID, finish_reason="length")
    with GLMServer([reply, DONE]) as server:
        await run(way, agent_of(glm(server, ChatOpenAI), [write_file]))
        assert_accepted(server)
    assert written == [WRITTEN]


@pytest.mark.parametrize(
    "metadata",
    [{"stop_reason": "max_tokens"}, {"finish_reason": "MAX_TOKENS"}, {"stopReason": "max_tokens"}],
)
async def test_the_reasons_of_other_providers(write_file, written, metadata):
    message = AIMessage("", tool_calls=[valid("a", path="big.txt")], response_metadata=metadata)
    messages = await run(invoke, agent_of(saying(message), [write_file]))
    assert written == []
    assert "smaller calls" in messages[2].text


async def test_a_long_error_does_not_repeat_the_arguments(write_file):
    half = '{"content": "' + "x" * 5000
    with GLMServer([calling(half), DONE]) as server:
        messages = await run(invoke, agent_of(glm(server, ChatOpenAI), [write_file]))
    assert len(messages[1].invalid_tool_calls[0]["error"]) > 5000
    assert "JSONDecodeError Unterminated string" in messages[2].text
    assert "5013 characters" in messages[2].text
    assert len(messages[2].text) < 600
    assert "xxx" not in messages[2].text


# Beside others


@pytest.mark.parametrize("first", [True, False])
@sync_and_async
async def test_beside_other_middleware(write_file, written, way, first):
    others = [ModelCallLimitMiddleware(run_limit=9), ToolRetryMiddleware(max_retries=1)]
    cut_calls = [ContinueCutCalls()]
    middleware = cut_calls + others if first else others + cut_calls
    with GLMServer([CUT, MIXED, DONE]) as server:
        messages = await run(way, agent_of(glm(server), [write_file], *middleware))
        assert_accepted(server)
    assert written == [WRITTEN]
    assert messages[-1].text == "Done."


@pytest.mark.parametrize("first", [True, False])
async def test_where_a_human_approves_the_other_call(write_file, written, first):
    human = HumanInTheLoopMiddleware({"write_file": True})
    middleware = [ContinueCutCalls(), human] if first else [human, ContinueCutCalls()]
    with GLMServer([CUT, MIXED, DONE]) as server:
        agent = agent_of(glm(server), [write_file], *middleware)
        agent.invoke(INPUT, THREAD)
        assert written == []
        agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
        assert_accepted(server)
    assert written == [WRITTEN]
    assert messages_of(agent)[-1].text == "Done."
    assert len(errors_in(messages_of(agent))) == 2


async def test_put_first_it_lets_the_others_see_each_answer(write_file):
    seen = []

    class Watches(AgentMiddleware):
        def after_model(self, state, runtime):
            seen.append(len(state["messages"][-1].invalid_tool_calls))

    with GLMServer([CUT, DONE]) as server:
        await run(invoke, agent_of(glm(server), [write_file], ContinueCutCalls(), Watches()))
    assert seen == [1, 0]


class Report(BaseModel):
    """The answer."""

    title: str


@sync_and_async
async def test_an_answer_in_the_shape_of_a_call(way):
    cut, whole = (
        calling('{"title": "T"' + end, finish_reason=reason, name="Report")
        for end, reason in [("", "length"), ("}", "tool_calls")]
    )
    with GLMServer([cut, whole]) as server:
        agent = agent_of(glm(server), [], response_format=ToolStrategy(Report))
        await run(way, agent)
        assert_accepted(server)
    assert agent.get_state(THREAD).values["structured_response"] == Report(title="T")


async def test_an_answer_that_was_taken_from_a_call_is_the_answer():
    # LangChain has made the answer of the call before any middleware sees it.
    reply = calling('{"title": "T"}', finish_reason="length", name="Report")
    with GLMServer([reply]) as server:
        agent = agent_of(glm(server, ChatOpenAI), [], response_format=ToolStrategy(Report))
        messages = await run(invoke, agent)
    assert agent.get_state(THREAD).values["structured_response"] == Report(title="T")
    assert errors_in(messages) == []


async def test_a_broken_body_is_still_the_models_error(write_file):
    with GLMServer(Raw("{}")) as server, pytest.raises(GLMMalformedResponseError) as caught:
        agent_of(glm(server), [write_file]).invoke(INPUT, THREAD)
    assert "not a chat completion" in str(caught.value)


# Without LangChain


@pytest.mark.parametrize("missing", ["langchain", "langchain.agents.middleware"])
async def test_without_langchain_the_error_says_what_to_install(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import langchain_glm.middleware"
    ended = subprocess.run(  # noqa: ASYNC221, S603 - our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert 'ImportError: langchain_glm.middleware needs LangChain 1: pip install "langchain-' in (
        ended.stderr
    )
    assert '"langchain-glm-zai[langchain]"' in ended.stderr
