"""Answers from a cache: no request, and the same message as from the server.

LangChain's cache in memory, and one on SQLite of the few lines below, which like
`langchain_community.cache.SQLiteCache` keeps text. LangChain asks a cache for whole answers
(`invoke`, `batch`), whether the model streams them or not, and never in `stream` itself.
"""

import itertools
import json
import sqlite3
from contextlib import closing

import pytest
from langchain.agents import create_agent
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMStreamInterruptedError
from langchain_glm.testing import Call, Cut, GLMServer, Reply

KEY = "sk-0123456789abcdef"
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 45,
    "total_tokens": 165,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
HELLO = Reply(text="Hello", usage=USAGE)
EVERYTHING = Reply(
    reasoning="Zwei Dateien – 两个文件。",
    text='I write "two".',
    tool_calls=[
        Call("write_file", {"path": "é.py", "lines": [1, 2.5, None]}, id="call_a"),
        Call("write_file", "{}", id="call_b"),
    ],
    usage=USAGE,
    web_search=[{"title": "T", "link": "https://a.example"}],
)
BROKEN = Reply(
    reasoning="Hm.",
    tool_calls=[
        Call("write_file", '{"path": "a.py"}', id="call_a"),
        Call("write_file", '{"path": }', id="call_b"),
    ],
)
CUT_OFF = Reply(
    text="I", tool_calls=[Call("write_file", '{"path": "a')], finish_reason="length", usage=USAGE
)


def write_file(path: str = "") -> str:
    """Write a file."""
    return f"{path} is written."


class SQLiteCache(BaseCache):
    """Keeps answers as JSON in a table."""

    def __init__(self, path=":memory:"):
        self.db = sqlite3.connect(path, check_same_thread=False)
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS answers (prompt, llm, answer, PRIMARY KEY (prompt, llm))"
        )

    def lookup(self, prompt, llm_string):
        found = self.db.execute(
            "SELECT answer FROM answers WHERE prompt = ? AND llm = ?", (prompt, llm_string)
        ).fetchone()
        return found and loads(found[0], allowed_objects="core")

    def update(self, prompt, llm_string, return_val):
        row = (prompt, llm_string, dumps(return_val))
        with self.db:
            self.db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)

    def clear(self, **kwargs):
        with self.db:
            self.db.execute("DELETE FROM answers")

    def close(self):
        self.db.close()

    def rows(self):
        return self.db.execute("SELECT prompt, llm, answer FROM answers").fetchall()


@pytest.fixture(params=["memory", "sqlite"])
def cache(request):
    if request.param == "memory":
        yield InMemoryCache()
    else:
        with closing(sqlite_cache := SQLiteCache()):
            yield sqlite_cache


@pytest.fixture
def sqlite_cache():
    with closing(SQLiteCache()) as cache:
        yield cache


@pytest.fixture
def everywhere(cache):
    """The same, for all models that name no other."""
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


@pytest.fixture
def in_memory():
    """For what is LangChain's to tell apart, and the same in any cache."""
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


def chat(server, **fields):
    return ChatGLM(**{"api_key": KEY, "base_url": server.base_url, **fields})


async def invoke(model, ask="hi", /, **call):
    return model.invoke(ask, **call)


async def ainvoke(model, ask="hi", /, **call):
    return await model.ainvoke(ask, **call)


async def batch(model, ask="hi", /, **call):
    return model.batch([ask], **call)[0]


async def abatch(model, ask="hi", /, **call):
    return (await model.abatch([ask], **call))[0]


WAYS = [invoke, ainvoke, batch, abatch]
SETTINGS = [
    pytest.param({}, id="whole"),
    pytest.param({"streaming": True}, id="streamed"),
    pytest.param({"output_version": "v1"}, id="v1 whole"),
    pytest.param({"output_version": "v1", "streaming": True}, id="v1 streamed"),
    pytest.param({"include_raw_response": True}, id="raw response"),
    pytest.param({"include_raw_response": True, "streaming": True}, id="raw frames"),
]
REPLIES = [
    pytest.param(EVERYTHING, id="everything"),
    pytest.param(HELLO, id="text"),
    pytest.param(Reply(text="", usage=USAGE), id="nothing"),
    pytest.param(BROKEN, id="a broken call"),
    pytest.param(CUT_OFF, id="cut off"),
]


def facts(message):
    """All of a message; LangChain gives one from a cache a cost of 0, and each run its own id."""
    kept = message.model_dump(exclude={"id", "usage_metadata"})
    usage = {k: v for k, v in message.usage_metadata.items() if k != "total_cost"}
    return {**kept, "usage_metadata": usage, "content_blocks": message.content_blocks}


def plain(message):
    """A copy that no later change of the message reaches."""
    return json.loads(json.dumps(facts(message)))


@pytest.mark.parametrize("fields", SETTINGS)
@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.usefixtures("everywhere")
async def test_a_hit_is_the_same_message_and_no_request(reply, fields):
    with GLMServer(reply) as server:
        model = chat(server, **fields).bind_tools([write_file])
        answered = await ainvoke(model)
        expected = plain(answered)
        for again in WAYS:
            cached = await again(model)
            assert type(cached) is type(answered) is AIMessage
            assert plain(cached) == expected, again
    assert len(server.requests) == 1


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("fields", SETTINGS)
async def test_the_message_of_a_hit(fields):
    with GLMServer(EVERYTHING) as server:
        model = chat(server, **fields)
        await invoke(model)
        message = await ainvoke(model)
    assert message.text == 'I write "two".'
    assert message.additional_kwargs["reasoning_content"] == "Zwei Dateien – 两个文件。"
    arguments = [call["args"] for call in message.tool_calls]
    assert arguments == [{"path": "é.py", "lines": [1, 2.5, None]}, {}]
    assert message.usage_metadata["output_token_details"] == {"reasoning": 30}
    assert message.response_metadata["finish_reason"] == "tool_calls"
    assert message.response_metadata["web_search"] == EVERYTHING.web_search
    assert ("raw_response" in message.additional_kwargs) is ("include_raw_response" in fields)


@pytest.mark.parametrize("fields", SETTINGS)
@pytest.mark.parametrize("reply", [EVERYTHING, BROKEN])
@pytest.mark.usefixtures("everywhere")
def test_a_hit_goes_back_to_the_server_as_the_answer_did(reply, fields):
    with GLMServer([reply, HELLO, HELLO]) as server:
        model = chat(server, **fields).bind_tools([write_file])
        for turn in (model.invoke("hi"), model.invoke("hi")):
            calls = turn.tool_calls + turn.invalid_tool_calls
            results = [ToolMessage("ok", tool_call_id=call["id"]) for call in calls]
            model.invoke([HumanMessage("hi"), turn, *results])
    _, after_the_answer, after_the_hit = server.requests
    assert after_the_hit.raw == after_the_answer.raw
    assert after_the_hit.body["messages"][1]["reasoning_content"] == reply.reasoning


@pytest.mark.usefixtures("everywhere")
def test_an_agent_that_runs_again():
    with GLMServer([EVERYTHING, HELLO, HELLO]) as server:
        agent = create_agent(chat(server), [write_file])
        runs = [agent.invoke({"messages": "hi"})["messages"] for _ in range(3)]
    # LangChain's mark on a hit, its cost of 0, makes the history that follows a new one, once.
    assert len(server.requests) == 3
    for run in runs:
        assert [message.text for message in run] == [message.text for message in runs[0]]
        assert run[1].tool_calls == runs[0][1].tool_calls


@pytest.mark.usefixtures("everywhere")
async def test_a_stream_asks_the_server():
    with GLMServer(EVERYTHING) as server:
        model = chat(server).bind_tools([write_file])
        model.invoke("hi")
        for _ in range(2):
            assert len(list(model.stream("hi"))) > 10
            assert [chunk async for chunk in model.astream("hi")]
            assert model.stream_events("hi", version="v3").output
    assert len(server.requests) == 7


@pytest.mark.usefixtures("everywhere")
def test_a_hit_counts_its_usage_again():
    # As with every model: LangChain marks it by a cost of 0, not by leaving it out.
    with GLMServer(HELLO) as server, get_usage_metadata_callback() as counter:
        model = chat(server)
        model.invoke("hi")
        hit = model.invoke("hi")
    assert hit.usage_metadata["total_cost"] == 0
    assert counter.usage_metadata["glm-4.7"]["total_tokens"] == 2 * 165


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("ask", WAYS)
async def test_a_stream_that_broke_off_is_not_kept(ask):
    with GLMServer([Cut(EVERYTHING, after=1000), HELLO]) as server:
        model = chat(server, streaming=True)
        with pytest.raises(GLMStreamInterruptedError):
            await ask(model)
        assert [(await ask(model)).text for _ in range(2)] == ["Hello"] * 2
    assert len(server.requests) == 2


# What shares an entry, and what does not


def numbered():
    """Tells answers apart."""
    numbers = itertools.count(1)
    return lambda request: Reply(text=f"answer {next(numbers)}")


OTHERS = [
    pytest.param({"model": "glm-5"}, id="model"),
    pytest.param({"tool_stream": False}, id="tool_stream"),
    pytest.param({"model_kwargs": {"tool_stream": False}}, id="tool_stream in model_kwargs"),
    pytest.param({"extra_body": {"tool_stream": False}}, id="tool_stream in extra_body"),
    pytest.param({"extra_body": {"thinking": {"type": "disabled"}}}, id="thinking"),
    pytest.param({"temperature": 0.5}, id="temperature"),
    pytest.param({"max_tokens": 9}, id="max_tokens"),
    pytest.param({"stop": ["END"]}, id="stop"),
    pytest.param({"include_raw_response": True}, id="raw response"),
    pytest.param({"output_version": "v1"}, id="content blocks"),
    pytest.param({"streaming": True}, id="streaming"),
]


@pytest.mark.parametrize("fields", OTHERS)
@pytest.mark.usefixtures("in_memory")
async def test_models_of_other_settings_share_no_answer(fields):
    with GLMServer(numbered()) as server:
        plain_model, other = chat(server), chat(server, **fields)
        texts = [(await ask(model)).text for ask in WAYS for model in (plain_model, other)]
    assert texts == ["answer 1", "answer 2"] * 4


PER_CALL = [
    pytest.param({"model": "glm-5"}, id="model"),
    pytest.param({"tool_stream": False}, id="tool_stream"),
    pytest.param({"extra_body": {"tool_stream": False}}, id="tool_stream in extra_body"),
    pytest.param({"thinking": {"type": "disabled"}}, id="thinking"),
    pytest.param({"extra_body": {"thinking": {"type": "disabled"}}}, id="thinking in extra_body"),
    pytest.param({"stop": ["END"]}, id="stop"),
    pytest.param({"stream": True}, id="stream"),
    pytest.param({"tool_choice": "auto"}, id="tool_choice"),
]


@pytest.mark.parametrize("how", ["keyword", "bind", "bind tools"])
@pytest.mark.parametrize("call", PER_CALL)
@pytest.mark.usefixtures("in_memory")
async def test_calls_of_other_settings_share_no_answer(call, how):
    with GLMServer(numbered()) as server:
        model, said = chat(server).bind_tools([write_file]), {}
        if how == "keyword":
            other, said = model, call
        elif how == "bind":
            other = model.bind(**call)
        else:
            other = chat(server).bind_tools([write_file], **call)
        texts = []
        for ask in WAYS:
            texts += [(await ask(model)).text, (await ask(other, **said)).text]
    assert texts == ["answer 1", "answer 2"] * 4


@pytest.mark.usefixtures("in_memory")
def test_other_tools_share_no_answer():
    def read_file(path: str) -> str:
        """Read a file."""
        return path

    with GLMServer(numbered()) as server:
        model = chat(server)
        models = [model, model.bind_tools([write_file]), model.bind_tools([read_file])]
        for _ in range(2):
            assert [m.invoke("hi").text for m in models] == ["answer 1", "answer 2", "answer 3"]


@pytest.mark.usefixtures("in_memory")
def test_other_servers_share_no_answer():
    with GLMServer(Reply(text="one")) as one, GLMServer(Reply(text="two")) as two:
        for _ in range(2):
            assert chat(one).invoke("hi").text == "one"
            assert chat(two).invoke("hi").text == "two"


@pytest.mark.usefixtures("in_memory")
def test_a_copy_of_other_settings_shares_no_answer():
    with GLMServer(numbered()) as server:
        model = chat(server)
        for _ in range(2):
            copied = model.model_copy(update={"tool_stream": False})
            assert [m.invoke("hi").text for m in (model, copied)] == ["answer 1", "answer 2"]


@pytest.mark.usefixtures("in_memory")
def test_models_of_the_same_settings_share_an_answer():
    with GLMServer(numbered()) as server:
        texts = {chat(server, temperature=0.5, tool_stream=False).invoke("hi").text}
        texts |= {chat(server, temperature=0.5, tool_stream=False).invoke("hi").text}
        texts |= {chat(server, temperature=0.5, tool_stream=False).model_copy().invoke("hi").text}
    assert texts == {"answer 1"}


def test_the_cache_of_a_file_serves_the_next_process(tmp_path):
    path = tmp_path / "answers.db"
    with GLMServer([EVERYTHING]) as server:
        texts = []
        for _ in range(2):  # each with nothing but the file
            with closing(SQLiteCache(path)) as cache:
                texts.append(facts(chat(server, cache=cache).invoke("hi")))
    assert texts[0] == texts[1]


# The key


def a_key_function():
    return KEY


async def an_async_key_function():
    return KEY


@pytest.mark.parametrize("key", [KEY, a_key_function, an_async_key_function])
@pytest.mark.parametrize("fields", SETTINGS)
async def test_the_key_is_in_no_entry(key, fields, sqlite_cache):
    with GLMServer(EVERYTHING) as server:
        model = chat(server, api_key=key, cache=sqlite_cache, include_response_headers=True)
        model = model.model_copy(update=fields)
        await model.ainvoke("hi")
        await model.bind_tools([write_file]).ainvoke("hi")
        assert {r.headers["authorization"] for r in server.requests} == {f"Bearer {KEY}"}
    entries = sqlite_cache.rows()
    assert len(entries) == 2
    assert KEY not in repr(entries)
    assert all(text for entry in entries for text in entry)


@pytest.mark.parametrize("key", [KEY, a_key_function])
@pytest.mark.usefixtures("in_memory")
def test_a_new_key_finds_the_old_answers(key):
    with GLMServer(numbered()) as server:
        texts = {chat(server, api_key=k).invoke("hi").text for k in (key, "sk-new")}
    assert texts == {"answer 1"}


def test_two_servers_share_no_entry(monkeypatch):
    with GLMServer(Reply(text="one")) as one, GLMServer(Reply(text="two")) as two:
        cache = InMemoryCache()
        for server, text in ((one, "one"), (two, "two")):
            monkeypatch.setenv("ZAI_BASE_URL", server.base_url)
            assert ChatGLM(api_key=KEY, cache=cache).invoke("hi").text == text
