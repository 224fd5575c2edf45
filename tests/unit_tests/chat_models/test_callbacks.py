"""What callbacks hear: each chunk once and in order, the end with its usage, the error.

And what LangChain builds on callbacks: usage counters, `astream_log`, batches as they complete.
"""

import asyncio
import json
import operator
from functools import reduce
from threading import Event

import pytest
from langchain.agents import create_agent
from langchain_core._api import LangChainDeprecationWarning
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    UsageMetadataCallbackHandler,
    get_usage_metadata_callback,
)
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tracers import RunLogPatch

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMError, GLMQuotaError, GLMStreamInterruptedError
from langchain_glm.testing import Call, Cut, Fail, GLMServer, Reply

FILE = '{"path": "fib.py", "content": "print(\\"é\\")"}'
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 45,
    "total_tokens": 165,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
USAGE_METADATA = {
    "input_tokens": 120,
    "output_tokens": 45,
    "total_tokens": 165,
    "input_token_details": {"cache_read": 100},
    "output_token_details": {"reasoning": 30},
}
WRITE = Reply(
    reasoning="A file is wanted.",
    text="I write two.",
    tool_calls=[Call("write_file", FILE, id="call_a"), Call("write_file", "{}", id="call_b")],
    usage=USAGE,
)
HELLO = Reply(text="Hello, world!", usage=USAGE)
BROKEN_OFF = Cut(WRITE, after=3000)  # in the arguments of the first call


def write_file(path: str = "", content: str = "") -> str:
    """Write a file."""
    return f"{path} is written."


def chat(server, **fields):
    return ChatGLM(**{"api_key": "test-key", "base_url": server.base_url, **fields})


def times(count):
    """The usage of that many equal answers."""
    details = ("input_token_details", "output_token_details")
    usage = {name: USAGE_METADATA[name] * count for name in USAGE_METADATA if name not in details}
    for detail in details:
        usage[detail] = {name: n * count for name, n in USAGE_METADATA[detail].items()}
    return usage


class Listener(BaseCallbackHandler):
    """Keeps what it hears, in order."""

    def __init__(self):
        self.heard = []
        self.ended = Event()

    def on_chat_model_start(self, serialized, messages, **kwargs):
        self.heard.append("start")

    def on_llm_new_token(self, token, *, chunk=None, **kwargs):
        self.heard.append((token, chunk))

    def on_llm_end(self, response, **kwargs):
        self.heard.append(response)
        self.ended.set()

    def on_llm_error(self, error, *, response=None, **kwargs):
        self.heard.append((error, response))
        self.ended.set()


class AsyncListener(AsyncCallbackHandler):
    """The same, in the event loop."""

    def __init__(self):
        self.heard = []
        self.ended = Event()

    async def on_chat_model_start(self, *args, **kwargs):
        Listener.on_chat_model_start(self, *args, **kwargs)

    async def on_llm_new_token(self, *args, **kwargs):
        Listener.on_llm_new_token(self, *args, **kwargs)

    async def on_llm_end(self, *args, **kwargs):
        Listener.on_llm_end(self, *args, **kwargs)

    async def on_llm_error(self, *args, **kwargs):
        Listener.on_llm_error(self, *args, **kwargs)


async def invoke(model, config, /, **call):
    return model.invoke("hi", config, **call)


async def ainvoke(model, config, /, **call):
    return await model.ainvoke("hi", config, **call)


async def stream(model, config, /, **call):
    return reduce(operator.add, model.stream("hi", config, **call))


async def astream(model, config, /, **call):
    return reduce(operator.add, [chunk async for chunk in model.astream("hi", config, **call)])


async def streamed_invoke(model, config):
    return await invoke(model, config, stream=True)


async def streamed_ainvoke(model, config):
    return await ainvoke(model, config, stream=True)


async def v3(model, config):
    return model.stream_events("hi", config, version="v3").output


async def async_v3(model, config):
    return await (await model.astream_events("hi", config, version="v3")).output


ASYNC = [ainvoke, astream, streamed_ainvoke, async_v3]
IN_CHUNKS = [stream, streamed_invoke, astream, streamed_ainvoke]
WAYS = [invoke, ainvoke, *IN_CHUNKS, v3, async_v3]
each_way = pytest.mark.parametrize("ask", WAYS)
each_way_in_chunks = pytest.mark.parametrize("ask", IN_CHUNKS)


async def listen(ask, model, listener):
    try:
        return await ask(model, {"callbacks": [listener]})
    finally:
        # The async v3 stream gives its output before the callbacks hear of the end.
        assert await asyncio.to_thread(listener.ended.wait, 5)


def listeners(ask):
    return [Listener(), AsyncListener()] if ask in ASYNC else [Listener()]


def sent_deltas(received):
    """The delta of each frame that the server sent."""
    body = b"".join(piece for _, piece in received.sent).decode()
    frames = [event.removeprefix("data: ") for event in body.split("\n\n") if event]
    assert frames.pop() == "[DONE]"
    return [json.loads(frame)["choices"][0]["delta"] for frame in frames]


# Chunks


@each_way_in_chunks
async def test_each_frame_is_heard_once_and_in_order(ask):
    for listener in listeners(ask):
        with GLMServer(WRITE) as server:
            await listen(ask, chat(server).bind_tools([write_file]), listener)
            deltas = sent_deltas(server.requests[0])
        start, *tokens, _ = listener.heard
        assert start == "start"
        assert [token for token, _ in tokens] == [delta.get("content", "") for delta in deltas]
        chunks = [chunk.message for _, chunk in tokens]
        assert {type(chunk) for chunk in chunks} == {AIMessageChunk}
        assert {type(chunk) for _, chunk in tokens} == {ChatGenerationChunk}
        assert len({chunk.id for chunk in chunks}) == 1
        assert chunks[0].id.startswith("lc_run--")
        assert [chunk.additional_kwargs.get("reasoning_content") for chunk in chunks] == [
            delta.get("reasoning_content") for delta in deltas
        ]
        heard = [
            (piece["index"], piece["id"], piece["name"], piece["args"])
            for chunk in chunks
            for piece in chunk.tool_call_chunks
        ]
        sent = [
            (call["index"], call.get("id"), call["function"].get("name"), function["arguments"])
            for delta in deltas
            for call in delta.get("tool_calls", ())
            for function in [call["function"]]
        ]
        assert heard == sent
        assert len(heard) > 10
        for index, arguments in enumerate([FILE, "{}"]):
            assert "".join(args for at, _, _, args in heard if at == index) == arguments


async def test_a_callback_hears_a_chunk_before_the_caller_has_it():
    listener = Listener()
    with GLMServer(WRITE) as server:
        for chunk in chat(server).stream("hi", {"callbacks": [listener]}):
            _, heard = listener.heard[-1]
            assert heard.message is chunk
            listener.heard.append("yielded")
        async for chunk in chat(server).astream("hi", {"callbacks": [listener]}):
            _, heard = listener.heard[-1]
            assert heard.message is chunk
            listener.heard.append("yielded")


@pytest.mark.parametrize("ask", [invoke, ainvoke])
async def test_a_whole_answer_has_no_chunks(ask):
    for listener in listeners(ask):
        with GLMServer(WRITE) as server:
            await listen(ask, chat(server), listener)
        assert len(listener.heard) == 2  # start and end


@pytest.mark.parametrize("ask", [v3, async_v3])
async def test_v3_has_events_of_its_own_in_place_of_chunks(ask):
    for listener in listeners(ask):
        with GLMServer(WRITE) as server:
            await listen(ask, chat(server), listener)
        assert len(listener.heard) == 2


# The end


@each_way
async def test_the_end_tells_usage_and_finish_reason(ask):
    for listener in listeners(ask):
        with GLMServer(WRITE) as server:
            message = await listen(ask, chat(server).bind_tools([write_file]), listener)
        ((generation,),) = listener.heard[-1].generations
        heard = generation.message
        assert generation.text == "I write two."
        assert heard.usage_metadata == message.usage_metadata == USAGE_METADATA
        assert heard.response_metadata["finish_reason"] == "tool_calls"
        assert heard.response_metadata["token_usage"] == USAGE
        assert heard.additional_kwargs["reasoning_content"] == "A file is wanted."
        arguments = [json.loads(FILE), {}]
        assert [call["args"] for call in heard.tool_calls] == arguments
        assert heard.id == message.id


@pytest.mark.parametrize("ask", [invoke, ainvoke])
async def test_the_llm_output_of_a_whole_answer(ask):
    with GLMServer(HELLO) as server:
        listener = Listener()
        await listen(ask, chat(server), listener)
    told = listener.heard[-1].llm_output
    assert told == {"token_usage": USAGE, "model_name": "glm-4.7", "model_provider": "zai"}


# Errors


@each_way
async def test_a_refused_request_is_one_error(ask):
    for listener in listeners(ask):
        refusal = Fail(429, "1113", "Insufficient balance")
        with GLMServer(refusal) as server, pytest.raises(GLMQuotaError) as caught:
            await listen(ask, chat(server), listener)
        start, (error, response) = listener.heard
        assert start == "start"
        assert error is caught.value
        assert (error.code, error.partial) == ("1113", None)
        ((generation,),) = response.generations
        assert generation.message.response_metadata["status_code"] == 429


@pytest.mark.parametrize("ask", [*IN_CHUNKS, v3, async_v3])
async def test_an_error_in_the_middle_brings_what_had_arrived(ask):
    for listener in listeners(ask):
        with GLMServer(BROKEN_OFF) as server, pytest.raises(GLMStreamInterruptedError) as caught:
            await listen(ask, chat(server).bind_tools([write_file]), listener)
        error, _ = listener.heard[-1]
        assert error is caught.value
        partial = error.partial
        assert partial.text == "I write two."
        assert partial.additional_kwargs["reasoning_content"] == "A file is wanted."
        (call,) = partial.invalid_tool_calls
        assert FILE.startswith(call["args"])
        assert partial.tool_calls == []
        tokens = listener.heard[1:-1]
        if ask in IN_CHUNKS:  # no more and no less than was heard before
            pieces = [p for _, chunk in tokens for p in chunk.message.tool_call_chunks]
            assert "".join(piece["args"] for piece in pieces) == call["args"] != ""
        else:
            assert tokens == []


@pytest.mark.parametrize("ask", [stream, astream])
async def test_the_response_of_an_error_in_the_middle(ask):
    for listener in listeners(ask):
        with GLMServer(BROKEN_OFF) as server, pytest.raises(GLMStreamInterruptedError):
            await listen(ask, chat(server).bind_tools([write_file]), listener)
        *_, (_, response) = listener.heard
        (generation,), *_ = response.generations
        assert generation.text == "I write two."
        assert generation.message.additional_kwargs["reasoning_content"] == "A file is wanted."


@each_way
async def test_requests_that_are_sent_again_are_one_run(ask):
    for listener in listeners(ask):
        busy = Fail(429, "1302", "busy", headers={"Retry-After": "0.001"})
        with GLMServer([busy, HELLO]) as server:
            await listen(ask, chat(server), listener)
        assert len(server.requests) == 2
        assert listener.heard.count("start") == 1
        assert listener.heard[-1].generations[0][0].text == "Hello, world!"


# Usage


@each_way
async def test_usage_is_counted_once(ask):
    counter, listener = UsageMetadataCallbackHandler(), Listener()
    with GLMServer([HELLO, WRITE]) as server:
        for _ in range(2):
            listener.ended.clear()
            config = {"callbacks": [counter, listener]}
            await ask(chat(server), config)
            assert await asyncio.to_thread(listener.ended.wait, 5)
    assert counter.usage_metadata == {"glm-4.7": times(2)}


async def test_usage_of_all_that_runs_within():
    with GLMServer(HELLO) as server, get_usage_metadata_callback() as counter:
        model = chat(server)
        model.invoke("hi")
        assert counter.usage_metadata == {"glm-4.7": times(1)}
        list(model.stream("hi"))
        model.batch(["a", "b", "c"])
        assert counter.usage_metadata == {"glm-4.7": times(5)}
        await model.ainvoke("hi")
        assert [chunk async for chunk in model.astream("hi")]
        await model.abatch(["a", "b"])
        assert counter.usage_metadata == {"glm-4.7": times(9)}
        chain = model | StrOutputParser()
        assert list(chain.stream("hi"))
        assert chain.invoke("hi") == "Hello, world!"
        assert counter.usage_metadata == {"glm-4.7": times(11)}
        assert len(list(model.batch_as_completed(["a", "b"]))) == 2
        assert counter.usage_metadata == {"glm-4.7": times(13)}
    assert len(server.requests) == 13


async def test_usage_by_model():
    with GLMServer(HELLO) as server, get_usage_metadata_callback() as counter:
        model = chat(server)
        model.invoke("hi", model="glm-5")
        list(model.bind(model="glm-5").stream("hi"))
        model.invoke("hi")
    assert counter.usage_metadata == {"glm-5": times(2), "glm-4.7": times(1)}


def run_invoke(agent, ask):
    agent.invoke(ask)


def run_messages(agent, ask):
    assert list(agent.stream(ask, stream_mode="messages"))


def run_all_modes(agent, ask):
    assert list(agent.stream(ask, stream_mode=["messages", "updates", "values"]))


def run_v3(agent, ask):
    assert agent.stream_events(ask, version="v3").output


@pytest.mark.parametrize("run", [run_invoke, run_messages, run_all_modes, run_v3])
def test_usage_of_an_agent(run):
    rounds = [WRITE, WRITE, HELLO]
    with GLMServer(rounds) as server, get_usage_metadata_callback() as counter:
        run(create_agent(chat(server), [write_file]), {"messages": "Write fib.py"})
    assert len(server.requests) == 3
    assert counter.usage_metadata == {"glm-4.7": times(3)}


async def arun_ainvoke(agent, ask):
    await agent.ainvoke(ask)


async def arun_messages(agent, ask):
    assert [part async for part in agent.astream(ask, stream_mode="messages")]


async def arun_v2(agent, ask):
    assert [event async for event in agent.astream_events(ask, version="v2")]


async def arun_v3(agent, ask):
    async with await agent.astream_events(ask, version="v3") as run:
        assert await run.output()


@pytest.mark.parametrize("run", [arun_ainvoke, arun_messages, arun_v2, arun_v3])
async def test_usage_of_an_async_agent(run):
    rounds = [WRITE, WRITE, HELLO]
    with GLMServer(rounds) as server, get_usage_metadata_callback() as counter:
        await run(create_agent(chat(server), [write_file]), {"messages": "Write fib.py"})
    assert counter.usage_metadata == {"glm-4.7": times(3)}


# astream_log


async def log_of(runnable):
    with pytest.warns(LangChainDeprecationWarning, match="astream_log"):
        return [patch async for patch in runnable.astream_log("hi")]


async def test_the_log_of_a_stream():
    with GLMServer(WRITE) as server:
        model = chat(server).bind_tools([write_file])
        patches = await log_of(model)
        deltas = sent_deltas(server.requests[0])
    assert {type(patch) for patch in patches} == {RunLogPatch}
    final = reduce(operator.add, patches).state
    output = final["final_output"]
    assert (final["name"], final["type"]) == ("ChatGLM", "llm")
    chunks = final["streamed_output"]
    assert len(chunks) == len(deltas)
    assert reduce(operator.add, chunks) == output
    assert output.usage_metadata == USAGE_METADATA
    assert [call["args"] for call in output.tool_calls] == [json.loads(FILE), {}]


async def test_the_log_of_a_chain_shows_the_model_within():
    with GLMServer(HELLO) as server:
        chain = chat(server) | StrOutputParser()
        patches = await log_of(chain)
    final = reduce(operator.add, patches).state
    assert final["final_output"] == "Hello, world!"
    within = final["logs"]["ChatGLM"]
    assert "".join(within["streamed_output_str"]) == "Hello, world!"
    assert reduce(operator.add, within["streamed_output"]).text == "Hello, world!"
    assert within["metadata"]["ls_provider"] == "zai"
    ((generation,),) = within["final_output"]["generations"]
    assert generation["message"].usage_metadata == USAGE_METADATA


# Batches, as they complete


class LastFirst:
    """Answers each request only when the answers to all later ones are out."""

    def __init__(self, count):
        self.asked = Event()
        self.out = [Event() for _ in range(count)]
        self.waiting = 0

    def __call__(self, request):
        number = int(request.body["messages"][-1]["content"])
        for later in self.out[number + 1 :]:
            assert later.wait(5)
        return Reply(text=f"answer {number}", usage=USAGE)


def test_a_batch_gives_what_is_there_first():
    script = LastFirst(3)
    with GLMServer(script) as server:
        came = []
        for number, message in chat(server).batch_as_completed(["0", "1", "2"]):
            came.append((number, message.text, message.usage_metadata))
            script.out[number].set()
    assert came == [(n, f"answer {n}", USAGE_METADATA) for n in (2, 1, 0)]


async def test_an_async_batch_gives_what_is_there_first():
    script = LastFirst(3)
    with GLMServer(script) as server:
        came = []
        async for number, message in chat(server).abatch_as_completed(["0", "1", "2"]):
            came.append((number, message.text, message.usage_metadata))
            script.out[number].set()
    assert came == [(n, f"answer {n}", USAGE_METADATA) for n in (2, 1, 0)]


async def test_a_failure_among_those_that_complete():
    def by_ask(request):
        bad = request.body["messages"][-1]["content"] == "bad"
        return Fail(400, "1210", "no") if bad else HELLO

    with GLMServer(by_ask) as server:
        model, asks = chat(server), ["good", "bad", "good"]
        sync = dict(model.batch_as_completed(asks, return_exceptions=True))
        pairs = model.abatch_as_completed(asks, return_exceptions=True)
        asynchronous = {number: message async for number, message in pairs}
    for came in (sync, asynchronous):
        assert [came[0].text, came[2].text] == ["Hello, world!"] * 2
        assert isinstance(came[1], GLMError)
