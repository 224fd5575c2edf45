"""A model elsewhere: in another process, in a binding, behind alternatives, with a history.

Other processes are spawned: they share nothing with this one, and have no key but the model's.
"""

import asyncio
import json
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor

import cloudpickle
import pytest
from langchain_core._api import LangChainDeprecationWarning
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.output_parsers import (
    JsonOutputToolsParser,
    PydanticToolsParser,
    StrOutputParser,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel
from langchain_core.runnables.history import RunnableWithMessageHistory
from pydantic import BaseModel

from langchain_glm import ChatGLM
from langchain_glm.testing import Call, GLMServer, Reply

KEY, OTHER_KEY = "key-of-the-first", "key-of-the-other"
FILE = {"path": "é.py", "content": "1 1 2"}
WRITE = Reply(
    reasoning="A file.",
    text="I write.",
    tool_calls=[Call("WriteFile", FILE, id="call_a")],
)
PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{ask}")])


class WriteFile(BaseModel):
    """Write a file."""

    path: str
    content: str


def chat(server, **fields):
    return ChatGLM(**{"api_key": KEY, "base_url": server.base_url, **fields})


def heard(server):
    """The keys and models of all the requests that a server got."""
    sent = {(r.headers["authorization"], r.body["model"]) for r in server.requests}
    return {(key.removeprefix("Bearer "), model) for key, model in sent}


@pytest.fixture
def server():
    with GLMServer(WRITE) as server:
        yield server


@pytest.fixture
def other():
    with GLMServer(Reply(text="other")) as server:
        yield server


# Pickled, by the standard library and by cloudpickle


def by_pickle(runnable):
    return pickle.loads(pickle.dumps(runnable))  # noqa: S301 - bytes of our own


def by_cloudpickle(runnable):
    return pickle.loads(cloudpickle.dumps(runnable))  # noqa: S301 - bytes of our own


each_pickle = pytest.mark.parametrize("again", [by_pickle, by_cloudpickle])

RUNNABLES = [
    pytest.param(lambda model: model, "hi", id="model"),
    pytest.param(lambda model: model.bind(temperature=0.5, stop=["END"]), "hi", id="binding"),
    pytest.param(lambda model: model.bind_tools([WriteFile]), "hi", id="tools"),
    pytest.param(lambda model: model.bind_tools([WriteFile], tool_stream=False), "hi", id="whole"),
    pytest.param(lambda model: model.with_config(tags=["t"], run_name="n"), "hi", id="config"),
    pytest.param(lambda model: model | StrOutputParser(), "hi", id="text"),
    pytest.param(lambda model: PROMPT | model | StrOutputParser(), {"ask": "hi"}, id="prompt"),
    pytest.param(
        lambda model: model.bind_tools([WriteFile]) | JsonOutputToolsParser(), "hi", id="arguments"
    ),
    pytest.param(
        lambda model: model.bind_tools([WriteFile]) | PydanticToolsParser(tools=[WriteFile]),
        "hi",
        id="objects",
    ),
    pytest.param(
        lambda model: RunnableParallel(a=model | StrOutputParser(), b=StrOutputParser()),
        "hi",
        id="parallel",
    ),
    pytest.param(lambda model: model.with_retry(stop_after_attempt=2), "hi", id="retry"),
    pytest.param(lambda model: model.with_fallbacks([model.bind(model="glm-5")]), "hi", id="spare"),
    pytest.param(
        lambda model: model.configurable_fields(
            model_name=ConfigurableField(id="model")
        ).with_config(configurable={"model": "glm-5"}),
        "hi",
        id="fields",
    ),
]


def plain(output):
    """An output, without the ids that are new for each run."""
    if not hasattr(output, "response_metadata"):
        return output
    kept = output.model_dump(exclude={"id"})
    for name in ("id", "request_id"):
        kept["response_metadata"].pop(name, None)
    return kept


@pytest.mark.parametrize(("make", "ask"), RUNNABLES)
async def test_a_runnable_comes_back_and_does_the_same(make, ask, server):
    runnable = make(chat(server, temperature=0.1))
    outputs, requests = [], []
    # Itself first, so that what is pickled has been used.
    for again in (lambda used: used, by_pickle, by_cloudpickle):
        one = again(runnable)
        server.requests.clear()
        came = [one.invoke(ask), await one.ainvoke(ask), list(one.stream(ask))[-1]]
        outputs.append([plain(output) for output in came])
        requests.append([(r.headers["authorization"], r.raw) for r in server.requests])
    assert outputs == [outputs[0]] * 3
    assert requests == [requests[0]] * 3


def a_class_of_its_own():
    class ChatMine(ChatGLM):
        """Known to nobody else."""

        def prefix(self):
            return "mine: "

    return ChatMine


def test_cloudpickle_takes_what_pickle_does_not(server):
    model = a_class_of_its_own()(api_key=lambda: KEY, base_url=server.base_url, model="glm-5")
    chain = model.bind_tools([WriteFile]) | (lambda message: model.prefix() + message.text)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(chain)
    assert by_cloudpickle(chain).invoke("hi") == "mine: I write."
    assert heard(server) == {(KEY, "glm-5")}


# In other processes


@pytest.fixture(scope="module")
def pool():
    spawn = multiprocessing.get_context("spawn")
    # The environment of this process, which may hold keys, is not yet a test's own here.
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(1, mp_context=spawn) as pool:
        for name in list(os.environ):
            if name.startswith(("OPENAI_", "ZAI_", "ZHIPUAI_", "LANGSMITH_", "LANGCHAIN_")):
                patch.delenv(name)
        pool.submit(os.getpid).result(60)
        yield pool


def test_the_processes_are_others(pool):
    assert pool.submit(os.getpid).result(60) != os.getpid()


def test_a_bound_model_in_another_process(pool, server):
    bound = chat(server).bind_tools([WriteFile], temperature=0.5)
    bound.invoke("hi")  # so that its connections are open here
    message = pool.submit(bound.invoke, "hi").result(60)
    assert message.tool_calls[0]["args"] == FILE
    assert message.additional_kwargs["reasoning_content"] == "A file."
    here, there = server.requests
    assert there.raw == here.raw
    assert there.headers["authorization"] == f"Bearer {KEY}"
    assert there.connection != here.connection


def streamed(runnable, ask):
    return list(runnable.stream(ask))


def astreamed(runnable, ask):
    async def gather():
        return [part async for part in runnable.astream(ask)]

    return asyncio.run(gather())


@pytest.mark.parametrize("way", [streamed, astreamed])
def test_a_stream_in_another_process(way, pool, server):
    bound = chat(server).bind_tools([WriteFile])
    chunks = pool.submit(way, bound, "hi").result(60)
    fragments = [piece["args"] for chunk in chunks for piece in chunk.tool_call_chunks]
    assert json.loads("".join(fragments)) == FILE
    assert len(fragments) > 5
    assert server.requests[-1].body["tool_stream"] is True


def test_a_batch_over_a_pool(pool):
    def echo(request):
        return Reply(text=request.body["messages"][0]["content"])

    asked = [f"number {n}" for n in range(5)]
    with GLMServer(echo) as server:
        chain = chat(server) | StrOutputParser()
        assert list(pool.map(chain.invoke, asked)) == asked


def loaded_and_asked(pickled, ask):
    return pickle.loads(pickled).invoke(ask)  # noqa: S301 - bytes of our own


def test_what_cloudpickle_made_in_another_process(pool, server):
    model = chat(server, api_key=lambda: KEY)
    chain = model.bind_tools([WriteFile]) | (lambda message: message.tool_calls[0]["args"])
    assert pool.submit(loaded_and_asked, cloudpickle.dumps(chain), "hi").result(60) == FILE
    assert heard(server) == {(KEY, "glm-4.7")}


def test_an_error_comes_back_from_another_process(pool):
    with GLMServer([]) as server:  # has no answer
        future = pool.submit(chat(server).invoke, "hi")
        error = future.exception(60)
    assert type(error).__name__ == "GLMInvalidRequestError"
    assert KEY not in repr(error) + str(error.__cause__)


# Alternatives, each with a server and a key of its own


def alternatives(server, other):
    return chat(server).configurable_alternatives(
        ConfigurableField(id="which"),
        default_key="first",
        other=ChatGLM(api_key=OTHER_KEY, base_url=other.base_url, model="glm-5"),
        bound=chat(server, model="glm-4.6").bind_tools([WriteFile]),
    )


def choose(name):
    return {"configurable": {"which": name}}


def test_a_batch_over_alternatives(server, other):
    model = alternatives(server, other)
    names = ["first", "other", "bound", "other"]
    answers = model.batch(["hi"] * 4, [choose(name) for name in names])
    assert [answer.text for answer in answers] == ["I write.", "other", "I write.", "other"]
    assert heard(server) == {(KEY, "glm-4.7"), (KEY, "glm-4.6")}
    assert heard(other) == {(OTHER_KEY, "glm-5")}
    assert len(other.requests) == 2


async def test_an_async_batch_over_alternatives(server, other):
    model = alternatives(server, other)
    answers = await model.abatch(["hi"] * 3, [choose(name) for name in ("other", "first", "other")])
    assert [answer.text for answer in answers] == ["other", "I write.", "other"]
    assert (heard(server), heard(other)) == ({(KEY, "glm-4.7")}, {(OTHER_KEY, "glm-5")})


async def test_tools_bound_to_alternatives(server, other):
    for name, asked in (("first", server), ("other", other)):
        model = alternatives(server, other).with_config(choose(name)).bind_tools([WriteFile])
        model.invoke("hi")
        assert list(model.stream("hi"))
        assert [chunk async for chunk in model.astream("hi")]
        assert ["tools" in request.body for request in asked.requests] == [True] * 3
    assert (heard(server), heard(other)) == ({(KEY, "glm-4.7")}, {(OTHER_KEY, "glm-5")})


def test_alternatives_in_a_chain(server, other):
    chain = PROMPT | alternatives(server, other) | StrOutputParser()
    assert chain.invoke({"ask": "hi"}) == "I write."
    assert "".join(chain.stream({"ask": "hi"}, choose("other"))) == "other"
    assert chain.with_config(choose("other")).invoke({"ask": "hi"}) == "other"
    assert chain.invoke({"ask": "hi"}) == "I write."
    assert (len(server.requests), len(other.requests)) == (2, 2)


def test_alternatives_and_fields_at_once(server, other):
    model = (
        chat(server)
        .configurable_fields(model_name=ConfigurableField(id="model"))
        .configurable_alternatives(
            ConfigurableField(id="which"),
            other=ChatGLM(api_key=OTHER_KEY, base_url=other.base_url),
        )
    )
    assert model.invoke("hi", {"configurable": {"model": "glm-5"}}).text == "I write."
    assert model.invoke("hi", choose("other")).text == "other"
    assert (heard(server), heard(other)) == ({(KEY, "glm-5")}, {(OTHER_KEY, "glm-4.7")})


@each_pickle
def test_alternatives_come_back(again, server, other):
    model = again(alternatives(server, other))
    assert model.invoke("hi", choose("other")).text == "other"
    assert model.invoke("hi").text == "I write."
    assert (heard(server), heard(other)) == ({(KEY, "glm-4.7")}, {(OTHER_KEY, "glm-5")})


# with_config


class Starts(BaseCallbackHandler):
    """Keeps what is said when a model starts."""

    def __init__(self):
        self.starts = []

    def on_chat_model_start(self, serialized, messages, **kwargs):
        self.starts.append(kwargs)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda model: model, id="model"),
        pytest.param(lambda model: model.bind_tools([WriteFile]), id="binding"),
        pytest.param(lambda model: model.bind(model="glm-5"), id="other model"),
    ],
)
async def test_with_config(make, server):
    starts = Starts()
    config = {"tags": ["t"], "metadata": {"who": "me"}, "run_name": "n", "callbacks": [starts]}
    model = make(chat(server, tags=["own"], metadata={"own": 1})).with_config(config)
    model.invoke("hi")
    await model.ainvoke("hi", {"tags": ["more"]})
    assert list(model.stream("hi"))
    assert [chunk async for chunk in model.astream("hi")]
    assert len(starts.starts) == 4
    for number, told in enumerate(starts.starts):
        assert told["name"] == "n"
        assert set(told["tags"]) == {"t", "own", *(["more"] if number == 1 else [])}
        assert told["metadata"].items() >= {"who": "me", "own": 1, "ls_provider": "zai"}.items()
    for request in server.requests:  # none of it is the server's business
        assert not {"tags", "metadata", "run_name", "callbacks"} & request.body.keys()


# With a history


class History(BaseChatMessageHistory):
    """Keeps messages in a list."""

    def __init__(self):
        self.messages = []

    def add_messages(self, messages):
        self.messages += messages

    def clear(self):
        self.messages.clear()


async def test_with_a_message_history():
    histories = {"a": History(), "b": History()}

    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be brief."), MessagesPlaceholder("history"), ("human", "{ask}")]
    )
    answer = Reply(reasoning="Hm.", text="Fine.")
    with GLMServer(answer) as server:
        with pytest.warns(LangChainDeprecationWarning, match="RunnableWithMessageHistory"):
            chain = RunnableWithMessageHistory(
                prompt | chat(server),
                lambda session_id: histories[session_id],
                input_messages_key="ask",
                history_messages_key="history",
            )
        config = {"configurable": {"session_id": "a"}}
        chain.invoke({"ask": "one"}, config)
        assert list(chain.stream({"ask": "two"}, config))
        await chain.ainvoke({"ask": "three"}, config)
        chain.invoke({"ask": "other"}, {"configurable": {"session_id": "b"}})
        *_, third, alone = [request.body["messages"] for request in server.requests]
    said = {"role": "assistant", "content": "Fine.", "reasoning_content": "Hm."}
    assert third == [
        {"role": "system", "content": "Be brief."},
        *[{"role": "user", "content": "one"}, said],
        *[{"role": "user", "content": "two"}, said],
        {"role": "user", "content": "three"},
    ]
    assert [turn["content"] for turn in alone] == ["Be brief.", "other"]


def test_a_model_within_a_lambda(server):
    model = chat(server)
    chain = RunnableLambda(lambda ask: model.bind_tools([WriteFile])) | StrOutputParser()
    assert chain.invoke("hi") == "I write."
    assert "".join(chain.stream("hi")) == "I write."
