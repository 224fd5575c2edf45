"""`ChatGLM` in chains: parsers, parallels, fallbacks, retries, batches and their events."""

import operator
from functools import reduce
from itertools import pairwise

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputToolsParser, PydanticToolsParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel
from pydantic import BaseModel

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMError, GLMQuotaError, GLMServerError
from langchain_glm.testing import Call, Cut, Fail, GLMServer, Reply

PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{ask}")])
ASK = {"ask": "Write fib.py"}
BUSY = Fail(500, "500", "Internal server error")
BROKE = Fail(429, "1113", "Insufficient balance")


class WriteFile(BaseModel):
    """Write a file."""

    path: str
    content: str


WRITE = {"path": "fib.py", "content": "def fib(n):\n    return n"}
CALL = Reply(reasoning="A file.", tool_calls=[Call("WriteFile", WRITE)])
HELLO = Reply(reasoning="Hm, hm.", text="Hello, world!")


def glm(server, **fields):
    return ChatGLM(base_url=server.base_url, api_key="test-key", **{"max_retries": 0, **fields})


async def streamed(chain, input_, way):
    """All that the chain streams, by the sync way or the async one."""
    if way == "astream":
        return [piece async for piece in chain.astream(input_)]
    return list(chain.stream(input_))


in_both_ways = pytest.mark.parametrize("way", ["stream", "astream"])


@in_both_ways
async def test_the_json_parser_gives_arguments_that_grow(way):
    with GLMServer(CALL) as server:
        chain = PROMPT | glm(server).bind_tools([WriteFile]) | JsonOutputToolsParser()
        states = await streamed(chain, ASK, way)
        assert server.requests[0].body["tool_stream"] is True
    contents = [state[0]["args"].get("content", "") for state in states if state]
    assert states[-1] == [{"type": "WriteFile", "args": WRITE}]
    assert len(set(contents)) >= 6
    assert all(later.startswith(sooner) for sooner, later in pairwise(contents))
    assert all(WRITE["content"].startswith(content) for content in contents)


@in_both_ways
async def test_the_json_parser_keeps_parallel_calls_apart(way):
    calls = [Call("WriteFile", {"path": f"{n}.txt", "content": "x" * 8}) for n in range(2)]
    with GLMServer(Reply(tool_calls=calls)) as server:
        chain = PROMPT | glm(server).bind_tools([WriteFile]) | JsonOutputToolsParser()
        states = await streamed(chain, ASK, way)
    assert [call["args"]["path"] for call in states[-1]] == ["0.txt", "1.txt"]
    first_done = next(state for state in states if len(state) == 2)
    assert first_done[0]["args"] == calls[0].arguments


@in_both_ways
async def test_the_pydantic_parser(way):
    with GLMServer(CALL) as server:
        parser = PydanticToolsParser(tools=[WriteFile], first_tool_only=True)
        chain = PROMPT | glm(server).bind_tools([WriteFile]) | parser
        assert (await streamed(chain, ASK, way))[-1] == WriteFile(**WRITE)
        assert chain.invoke(ASK) == await chain.ainvoke(ASK) == WriteFile(**WRITE)


@in_both_ways
async def test_the_text_parser_gives_the_text_and_not_the_reasoning(way):
    with GLMServer(HELLO) as server:
        chain = PROMPT | glm(server) | StrOutputParser()
        pieces = [piece for piece in await streamed(chain, ASK, way) if piece]
        assert pieces == ["Hell", "o, w", "orld", "!"]
        assert chain.invoke(ASK) == await chain.ainvoke(ASK) == "Hello, world!"
        assert [m["content"] for m in server.requests[0].body["messages"]] == [
            "Be brief.",
            "Write fib.py",
        ]


@in_both_ways
async def test_two_branches_in_parallel(way):
    def by_branch(received):
        return Reply(text=received.body["messages"][-1]["content"].upper())

    with GLMServer(by_branch) as server:
        model = glm(server)
        branches = RunnableParallel(
            title=ChatPromptTemplate.from_template("title of {ask}") | model | StrOutputParser(),
            length=ChatPromptTemplate.from_template("length of {ask}") | model | StrOutputParser(),
        )
        whole = reduce(operator.add, await streamed(branches, {"ask": "it"}, way))
        assert whole == {"title": "TITLE OF IT", "length": "LENGTH OF IT"}
        assert branches.invoke({"ask": "it"}) == await branches.ainvoke({"ask": "it"}) == whole


@in_both_ways
@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(BROKE, id="refused"),
        pytest.param(Cut(HELLO, after=0), id="hung up on before the first frame"),
        pytest.param(Fail(502, body="<html>Bad gateway</html>"), id="an HTML page"),
    ],
)
async def test_a_fallback_takes_over_before_anything_was_delivered(way, failure):
    with GLMServer(failure) as broken, GLMServer(HELLO) as healthy:
        model = glm(broken).with_fallbacks([glm(healthy, model="glm-4.6")])
        chunks = await streamed(PROMPT | model, ASK, way)
        assert len(broken.requests) == 1
        assert healthy.requests[0].body["model"] == "glm-4.6"
    assert [chunk.content for chunk in chunks if chunk.content] == ["Hell", "o, w", "orld", "!"]


@in_both_ways
async def test_a_fallback_for_one_kind_of_error_leaves_the_others(way):
    with GLMServer(BROKE) as broken, GLMServer(HELLO) as healthy:
        model = glm(broken).with_fallbacks([glm(healthy)], exceptions_to_handle=(GLMServerError,))
        with pytest.raises(GLMQuotaError):
            await streamed(model, "Hello", way)
        assert healthy.requests == []


@in_both_ways
async def test_what_broke_off_in_the_middle_is_not_begun_again(way):
    with GLMServer(Cut(HELLO, after=700)) as broken, GLMServer(HELLO) as healthy:
        model = glm(broken, max_retries=3).with_fallbacks([glm(healthy)])
        with pytest.raises(GLMError) as raised:
            await streamed(model, "Hello", way)
        assert (len(broken.requests), len(healthy.requests)) == (1, 0)
    assert "Hm, hm.".startswith(raised.value.partial.additional_kwargs["reasoning_content"])


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_with_retry_asks_again(way):
    with GLMServer([BUSY, BUSY, HELLO]) as server:
        model = glm(server).with_retry(
            retry_if_exception_type=(GLMServerError,),
            wait_exponential_jitter=False,
            stop_after_attempt=3,
        )
        chain = PROMPT | model | StrOutputParser()
        answer = chain.invoke(ASK) if way == "invoke" else await chain.ainvoke(ASK)
        assert answer == "Hello, world!"
        assert len(server.requests) == 3


async def test_with_retry_leaves_what_is_of_another_kind():
    with GLMServer(BROKE) as server:
        model = glm(server).with_retry(
            retry_if_exception_type=(GLMServerError,), wait_exponential_jitter=False
        )
        with pytest.raises(GLMQuotaError):
            model.invoke("Hello")
        with pytest.raises(GLMQuotaError):
            await model.ainvoke("Hello")
        assert len(server.requests) == 2


@in_both_ways
async def test_a_lambda_after_the_model_sees_each_chunk(way):
    def fragments(chunks):
        for chunk in chunks:
            yield from (call["args"] for call in chunk.tool_call_chunks)

    async def afragments(chunks):
        async for chunk in chunks:
            for call in chunk.tool_call_chunks:
                yield call["args"]

    with GLMServer(CALL) as server:
        model = glm(server).bind_tools([WriteFile])
        chain = PROMPT | model | RunnableLambda(lambda chunk: chunk)  # it waits for the whole
        (whole,) = await streamed(chain, ASK, way)
        live = PROMPT | model | (afragments if way == "astream" else fragments)
        pieces = await streamed(live, ASK, way)
    assert whole.tool_calls[0]["args"] == WRITE
    assert len(pieces) > 10
    assert JsonOutputToolsParser().invoke(whole) == [{"type": "WriteFile", "args": WRITE}]


async def test_the_events_of_a_chain():
    with GLMServer(CALL) as server:
        chain = PROMPT | glm(server).bind_tools([WriteFile]) | JsonOutputToolsParser()
        events = [event async for event in chain.astream_events(ASK, version="v2")]
    of_model = [event for event in events if event["name"] == "ChatGLM"]
    kinds = [event["event"] for event in of_model]
    assert kinds[0] == "on_chat_model_start"
    assert kinds[-1] == "on_chat_model_end"
    assert set(kinds[1:-1]) == {"on_chat_model_stream"}
    chunks = [event["data"]["chunk"] for event in of_model[1:-1]]
    assert sum(len(chunk.tool_call_chunks) for chunk in chunks) > 10
    assert of_model[-1]["data"]["output"].tool_calls[0]["args"] == WRITE
    assert of_model[0]["metadata"]["ls_provider"] == "zai"
    last = [event for event in events if event["event"] == "on_parser_stream"][-1]
    assert last["data"]["chunk"] == [{"type": "WriteFile", "args": WRITE}]


async def test_a_batch_gives_each_answer_as_it_comes():
    def echo(received):
        return Reply(text=received.body["messages"][-1]["content"])

    asks = [{"ask": f"number {n}"} for n in range(5)]
    wanted = [(n, f"number {n}") for n in range(5)]
    with GLMServer(echo) as server:
        chain = PROMPT | glm(server) | StrOutputParser()
        assert sorted(chain.batch_as_completed(asks)) == wanted
        assert sorted([pair async for pair in chain.abatch_as_completed(asks)]) == wanted
        assert chain.batch(asks) == await chain.abatch(asks) == [text for _, text in wanted]


async def test_a_batch_returns_the_error_of_each():
    def by_ask(received):
        return BROKE if received.body["messages"][-1]["content"] == "bad" else HELLO

    with GLMServer(by_ask) as server:
        chain = PROMPT | glm(server) | StrOutputParser()
        asks = [{"ask": "good"}, {"ask": "bad"}]
        for good, bad in (
            chain.batch(asks, return_exceptions=True),
            await chain.abatch(asks, return_exceptions=True),
        ):
            assert good == "Hello, world!"
            assert isinstance(bad, GLMQuotaError)
