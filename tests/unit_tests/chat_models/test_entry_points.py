"""Every way into `ChatGLM`, over real HTTP: what comes out, and what the server got."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import openai
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tracers._streaming import _V2StreamingCallbackHandler
from langchain_openai import ChatOpenAI
from openai._models import BaseModel as TypedObject

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMAuthenticationError, GLMError
from langchain_glm.testing import Call, Fail, GLMServer, Raw, Reply

HELLO = Reply(text="Hello")
FILE = {"path": "fib.py", "content": "print('é')"}
WRITE = Reply(
    reasoning="A file is wanted.",
    text="I'll write it.",
    tool_calls=[Call("write_file", FILE, id="call_a"), Call("write_file", {}, id="call_b")],
)
CUT = Reply(
    tool_calls=[Call("write_file", '{"path": "fib.py"}', id="call_a")], finish_reason="length"
)


def write_file(path: str, content: str) -> str:
    """Write a file."""
    return f"{path}: {len(content)}"


def chat(server, **fields):
    return ChatGLM(**{"api_key": "test-key", "base_url": server.base_url, **fields})


def merged(chunks):
    first, *rest = chunks
    return first.__add__(rest) if rest else first


async def by_invoke(model, ask="Write fib.py", **call):
    return model.invoke(ask, **call)


async def by_ainvoke(model, ask="Write fib.py", **call):
    return await model.ainvoke(ask, **call)


async def by_batch(model, ask="Write fib.py", **call):
    return model.batch([ask], **call)[0]


async def by_abatch(model, ask="Write fib.py", **call):
    return (await model.abatch([ask], **call))[0]


async def by_stream(model, ask="Write fib.py", **call):
    return merged(list(model.stream(ask, **call)))


async def by_astream(model, ask="Write fib.py", **call):
    return merged([chunk async for chunk in model.astream(ask, **call)])


async def by_v2(model, ask="Write fib.py", **call):
    events = [event async for event in model.astream_events(ask, version="v2", **call)]
    return events[-1]["data"]["output"]


async def by_v3(model, ask="Write fib.py", **call):
    return model.stream_events(ask, version="v3", **call).output


async def by_async_v3(model, ask="Write fib.py", **call):
    return await (await model.astream_events(ask, version="v3", **call)).output


WHOLE = [by_invoke, by_ainvoke, by_batch, by_abatch]
STREAMED = [by_stream, by_astream, by_v2, by_v3, by_async_v3]
ASYNC = [by_ainvoke, by_abatch, by_astream, by_v2, by_async_v3]
SYNC = [by_invoke, by_batch, by_stream, by_v3]

each_way = pytest.mark.parametrize("ask", WHOLE + STREAMED)
each_way_that_caches = pytest.mark.parametrize("ask", WHOLE)
each_async_way = pytest.mark.parametrize("ask", ASYNC)
each_sync_way = pytest.mark.parametrize("ask", SYNC)


def test_it_is_a_chat_openai():
    assert isinstance(ChatGLM(api_key="test-key"), ChatOpenAI)


@each_way
async def test_the_answer_and_the_request(ask):
    with GLMServer(WRITE) as server:
        message = await ask(chat(server).bind_tools([write_file]))
    assert isinstance(message, AIMessage)
    assert message.text == "I'll write it."
    assert message.additional_kwargs["reasoning_content"] == "A file is wanted."
    assert message.tool_calls == [
        {"type": "tool_call", "id": "call_a", "name": "write_file", "args": FILE},
        {"type": "tool_call", "id": "call_b", "name": "write_file", "args": {}},
    ]
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/api/paas/v4/chat/completions")
    assert request.headers["authorization"] == "Bearer test-key"
    body = dict(request.body)
    (tool,) = body.pop("tools")
    assert tool["function"]["name"] == "write_file"
    streaming = {"stream_options": {"include_usage": True}, "tool_stream": True}
    assert body == {
        "model": "glm-4.7",
        "messages": [{"role": "user", "content": "Write fib.py"}],
        "stream": ask in STREAMED,
        **(streaming if ask in STREAMED else {}),
    }


@pytest.mark.parametrize("way", ["batch", "abatch"])
async def test_a_batch_keeps_its_order(way):
    def echo(request):
        return Reply(text=request.body["messages"][0]["content"])

    asked = [f"number {n}" for n in range(6)]
    with GLMServer(echo) as server:
        model = chat(server)
        answers = model.batch(asked) if way == "batch" else await model.abatch(asked)
    assert [answer.text for answer in answers] == asked


# Fragments


def fragments_of(arguments, size=4):
    text = json.dumps(arguments, ensure_ascii=False)
    return [text[start : start + size] for start in range(0, len(text), size)]


async def stream_all(model):
    return list(model.stream("Write fib.py"))


async def astream_all(model):
    return [chunk async for chunk in model.astream("Write fib.py")]


@pytest.mark.parametrize("stream", [stream_all, astream_all])
async def test_each_argument_fragment_is_one_chunk(stream):
    with GLMServer(WRITE) as server:
        chunks = await stream(chat(server).bind_tools([write_file]))
    assert {type(chunk) for chunk in chunks} == {AIMessageChunk}
    calls = [chunk.tool_call_chunks for chunk in chunks if chunk.tool_call_chunks]
    assert [len(pieces) for pieces in calls] == [1] * len(calls)
    assert [(c["index"], c["id"], c["name"], c["args"]) for (c,) in calls] == [
        (0, "call_a", "write_file", ""),
        *((0, None, None, fragment) for fragment in fragments_of(FILE)),
        (1, "call_b", "write_file", ""),
        (1, None, None, "{}"),
    ]


async def test_v2_events_carry_the_same_fragments():
    with GLMServer(WRITE) as server:
        model = chat(server).bind_tools([write_file])
        events = [event async for event in model.astream_events("hi", version="v2")]
    assert events[0]["event"] == "on_chat_model_start"
    chunks = [e["data"]["chunk"] for e in events if e["event"] == "on_chat_model_stream"]
    calls = [call for chunk in chunks for call in chunk.tool_call_chunks if call["index"] == 0]
    assert [call["args"] for call in calls] == ["", *fragments_of(FILE)]


def test_v3_events_carry_the_same_fragments():
    with GLMServer(WRITE) as server:
        events = list(chat(server).bind_tools([write_file]).stream_events("hi", version="v3"))
    deltas = [e["delta"] for e in events if e["event"] == "content-block-delta"]
    args = [delta["args"] for delta in deltas if delta["type"] == "tool-call-delta"]
    assert args == [*fragments_of(FILE), "{}"]
    assert (events[0]["event"], events[-1]["event"]) == ("message-start", "message-finish")


def refuse(*args, **kwargs):
    raise AssertionError("a typed object of the SDK was built")


@pytest.fixture
def no_typed_objects(monkeypatch):
    for cls in (openai.Stream, openai.AsyncStream, openai.types.chat.ChatCompletionChunk):
        monkeypatch.setattr(cls, "__init__", refuse)
    monkeypatch.setattr(TypedObject, "construct", refuse)


@pytest.mark.usefixtures("no_typed_objects")
@each_way
async def test_no_typed_object_of_the_sdk_is_built(ask):
    with GLMServer(WRITE) as server:
        message = await ask(chat(server).bind_tools([write_file]))
    assert [call["id"] for call in message.tool_calls] == ["call_a", "call_b"]


@pytest.mark.usefixtures("no_typed_objects")
@pytest.mark.parametrize("ask", [by_invoke, by_stream, by_ainvoke, by_astream])
async def test_the_parent_does_build_them(ask):
    with GLMServer(WRITE) as server:
        model = ChatOpenAI(api_key="test-key", base_url=server.base_url, model="glm-4.7")
        with pytest.raises(AssertionError, match="typed object"):
            await ask(model)


# Connections


@each_way
async def test_ten_requests_in_turn_use_one_connection(ask):
    with GLMServer(WRITE) as server:
        model = chat(server)
        for _ in range(10):
            await ask(model)
    assert [request.connection for request in server.requests] == [1] * 10


@pytest.mark.parametrize("ask", STREAMED)
async def test_a_server_that_ends_the_body_later_does_not_cost_a_connection(ask):
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    late_end = Raw([f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode(), 0.02, b": bye\n\n"])
    with GLMServer(late_end) as server:
        model = chat(server)
        assert [(await ask(model)).text for _ in range(3)] == ["Hi"] * 3
    assert {request.connection for request in server.requests} == {1}


def test_two_models_of_the_same_settings_share_the_connections():
    with GLMServer(HELLO) as server:
        chat(server).invoke("hi")
        chat(server, model="glm-4.6").invoke("hi")
    assert [request.connection for request in server.requests] == [1, 1]


def test_one_model_answers_in_many_threads():
    with GLMServer(HELLO) as server, ThreadPoolExecutor(8) as pool:
        model = chat(server)
        texts = [message.text for message in pool.map(model.invoke, ["hi"] * 16)]
    assert texts == ["Hello"] * 16


# Response headers


@each_way
async def test_response_headers_on_request(ask):
    whole = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}

    def answer(request):
        streaming = request.body.get("stream")
        body = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n" if streaming else json.dumps(whole)
        return Raw(body, content_type="text/event-stream", headers={"X-Trace": "t-1"})

    with GLMServer(answer) as server:
        told = await ask(chat(server, include_response_headers=True))
        silent = await ask(chat(server))
    assert told.response_metadata["headers"]["x-trace"] == "t-1"
    assert "headers" not in silent.response_metadata


# Keys


def numbered_keys():
    count = iter(range(1, 100))
    return lambda: f"key-{next(count)}"


def numbered_async_keys():
    key = numbered_keys()

    async def fetch():
        return key()

    return fetch


@each_way
async def test_a_function_gives_a_key_for_each_request(ask):
    with GLMServer(HELLO) as server:
        model = chat(server, api_key=numbered_keys())
        await ask(model)
        await ask(model)
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer key-1", "Bearer key-2"]


@each_async_way
async def test_an_async_function_gives_a_key_for_each_request(ask):
    with GLMServer(HELLO) as server:
        model = chat(server, api_key=numbered_async_keys())
        await ask(model)
        await ask(model)
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer key-1", "Bearer key-2"]


@each_sync_way
async def test_an_async_key_cannot_serve_a_sync_call(ask):
    with GLMServer(HELLO) as server:
        model = chat(server, api_key=numbered_async_keys())
        with pytest.raises(ValueError, match=r"[Ss]ync"):
            await ask(model)
    assert server.requests == []


# What goes along with a request


@each_way
async def test_default_headers_and_query(ask):
    with GLMServer(HELLO) as server:
        model = chat(server, default_headers={"X-Team": "blue"}, default_query={"v": "2"})
        await ask(model)
    (request,) = server.requests
    assert request.headers["x-team"] == "blue"
    assert request.path == "/api/paas/v4/chat/completions?v=2"


@pytest.mark.parametrize("how", ["keyword", "bind"])
async def test_extras_of_one_call(how):
    extras = {
        "extra_headers": {"X-Team": "red"},
        "extra_query": {"v": "3"},
        "extra_body": {"watermark": "on", "temperature": 0.5},
    }
    for ask in WHOLE + STREAMED:
        with GLMServer(HELLO) as server:
            model = chat(server, default_headers={"X-Team": "blue"})
            await (ask(model, **extras) if how == "keyword" else ask(model.bind(**extras)))
            await ask(model)
        special, plain = server.requests
        assert special.headers["x-team"] == "red", ask
        assert special.path.endswith("?v=3"), ask
        assert (special.body["watermark"], special.body["temperature"]) == ("on", 0.5), ask
        assert not {"extra_headers", "extra_query", "extra_body"} & special.body.keys(), ask
        assert plain.headers["x-team"] == "blue", ask
        assert not {"watermark", "temperature"} & plain.body.keys(), ask


@pytest.mark.parametrize(
    ("how", "ways"),
    [
        ("field", WHOLE + STREAMED),
        ("keyword", WHOLE + STREAMED),
        ("bind", [by_invoke, by_ainvoke, by_stream, by_astream]),
    ],
)
async def test_timeout(how, ways):
    for ask in ways:
        with GLMServer(Raw([], end=False)) as server:
            model = chat(server, max_retries=0, **({"timeout": 0.05} if how == "field" else {}))
            model = model.bind(timeout=0.05) if how == "bind" else model
            with pytest.raises(openai.APITimeoutError):
                await ask(model, **({"timeout": 0.05} if how == "keyword" else {}))
            assert server.wait_until(lambda: server.requests), ask
            assert server.requests[0].hung_up.wait(5), ask
            assert "timeout" not in server.requests[0].body, ask


async def test_custom_http_clients():
    mine = openai.DefaultHttpxClient(headers={"X-Client": "sync"})
    my_async = openai.DefaultAsyncHttpxClient(headers={"X-Client": "async"})
    with GLMServer(HELLO) as server, mine:
        async with my_async:
            model = chat(server, http_client=mine, http_async_client=my_async)
            for ask in WHOLE + STREAMED:
                await ask(model)
    sent = [request.headers["x-client"] for request in server.requests]
    assert sent == ["async" if ask in ASYNC else "sync" for ask in WHOLE + STREAMED]


async def test_a_custom_sync_client_leaves_the_async_one_alone():
    with GLMServer(HELLO) as server, openai.DefaultHttpxClient(headers={"X-Client": "a"}) as mine:
        model = chat(server, http_client=mine)
        model.invoke("hi")
        await model.ainvoke("hi")
    assert [request.headers.get("x-client") for request in server.requests] == ["a", None]


# Proxies


class Forwarder(BaseHTTPRequestHandler):
    """Passes a request for an absolute URL on, and notes the URL."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.seen.append(self.path)
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        onward = http.client.HTTPConnection(url.hostname, url.port, timeout=5)
        onward.request("POST", url.path, body, dict(self.headers))
        answer = onward.getresponse()
        data = answer.read()
        onward.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, format, *args):  # noqa: A002 - the name in the standard library
        """Say nothing."""


@contextmanager
def forward_proxy():
    with ThreadingHTTPServer(("127.0.0.1", 0), Forwarder) as proxy:
        proxy.seen = []
        thread = Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}", proxy.seen
        finally:
            proxy.shutdown()
            thread.join()


async def test_a_proxy_by_field():
    with GLMServer(HELLO) as server, forward_proxy() as (proxy, seen):
        for ask in WHOLE + STREAMED:
            assert (await ask(chat(server, openai_proxy=proxy))).text == "Hello"
            assert seen == [server.base_url + "/chat/completions"], ask
            await ask(chat(server))
            assert len(seen) == 1, ask
            seen.clear()
    assert len(server.requests) == 2 * len(WHOLE + STREAMED)


async def test_a_proxy_by_environment(monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with GLMServer(HELLO) as server, forward_proxy() as (proxy, seen):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        for ask in WHOLE + STREAMED:
            assert (await ask(chat(server))).text == "Hello"
            assert seen == [server.base_url + "/chat/completions"], ask
            seen.clear()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await by_invoke(chat(server))
        await by_ainvoke(chat(server))
    assert seen == []


# Rate limiter


class Counter(BaseRateLimiter):
    """Lets everyone pass, and counts."""

    def __init__(self):
        self.sync = self.asynchronous = 0

    def acquire(self, *, blocking=True):
        self.sync += 1
        return True

    async def aacquire(self, *, blocking=True):
        self.asynchronous += 1
        return True


@each_way
async def test_the_rate_limiter_is_asked_once_a_request(ask):
    limiter = Counter()
    with GLMServer(HELLO) as server:
        model = chat(server, rate_limiter=limiter, cache=InMemoryCache())
        await ask(model)
        assert (limiter.sync, limiter.asynchronous) == ((0, 1) if ask in ASYNC else (1, 0))


async def test_a_cached_answer_asks_no_rate_limiter():
    limiter = Counter()
    with GLMServer(HELLO) as server:
        model = chat(server, rate_limiter=limiter, cache=InMemoryCache())
        for _ in range(2):
            model.invoke("hi")
            await model.ainvoke("hi")
    assert (limiter.sync, limiter.asynchronous) == (1, 0)


# Caches


@pytest.fixture
def global_cache():
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


# A model's own `stream` and `stream_events` ask no cache, by LangChain's design; what is cached
# shows under v3 where `invoke` runs below a v3 stream, as in a graph: `V3Watcher` stands for one.


class WrittenCache(InMemoryCache):
    """Keeps text, as a cache on a disk does, and not the very objects."""

    def lookup(self, prompt, llm_string):
        text = super().lookup(prompt, llm_string)
        return None if text is None else loads(text, allowed_objects="core")

    def update(self, prompt, llm_string, return_val):
        super().update(prompt, llm_string, dumps(return_val))


class V3Watcher(BaseCallbackHandler, _V2StreamingCallbackHandler):
    """Makes `invoke` emit protocol events, and keeps them."""

    def __init__(self):
        self.events = []

    def on_stream_event(self, event, **kwargs):
        self.events.append(event)

    def finished_blocks(self):
        return [e["content"] for e in self.events if e["event"] == "content-block-finish"]


async def under_v3(model):
    watcher = V3Watcher()
    message = model.invoke("Write fib.py", {"callbacks": [watcher]})
    return message, watcher.finished_blocks()


async def under_async_v3(model):
    watcher = V3Watcher()
    message = await model.ainvoke("Write fib.py", {"callbacks": [watcher]})
    return message, watcher.finished_blocks()


async def under_nothing(model):
    return model.invoke("Write fib.py"), None


async def under_async_nothing(model):
    return await model.ainvoke("Write fib.py"), None


CACHED = [under_nothing, under_async_nothing, under_v3, under_async_v3]


@pytest.mark.parametrize("first", CACHED)
async def test_a_cache_of_the_model_answers_the_later_calls(first):
    with GLMServer(WRITE) as server:
        model = chat(server, cache=InMemoryCache()).bind_tools([write_file])
        for ask in (first, *CACHED):
            message, _ = await ask(model)
            assert [call["args"] for call in message.tool_calls] == [FILE, {}]
            assert message.text == "I'll write it."
            assert message.additional_kwargs["reasoning_content"] == "A file is wanted."
    assert len(server.requests) == 1


@pytest.mark.usefixtures("global_cache")
@each_way_that_caches
async def test_the_global_cache_answers_the_second_call(ask):
    with GLMServer(HELLO) as server:
        model = chat(server)
        assert [(await ask(model)).text for _ in range(2)] == ["Hello"] * 2
    assert len(server.requests) == 1


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "merged chunks"])
@pytest.mark.parametrize("cache", [InMemoryCache, WrittenCache])
@pytest.mark.parametrize("first", CACHED)
async def test_a_cached_cut_call_stays_cut(first, cache, streaming):
    with GLMServer(CUT) as server:
        fields = {"cache": cache(), **({"streaming": True} if streaming else {})}
        model = chat(server, **fields).bind_tools([write_file])
        for ask in (first, *CACHED):
            message, blocks = await ask(model)
            assert message.tool_calls == []
            (call,) = message.invalid_tool_calls
            assert (call["id"], call["args"]) == ("call_a", '{"path": "fib.py"}')
            # A set: core replays an invalid call of list content (v3's) twice.
            assert blocks is None or {b["type"] for b in blocks} == {"invalid_tool_call"}
    assert len(server.requests) == 1


def test_a_failure_is_not_cached():
    with GLMServer([Fail(400, "1210", "no"), HELLO]) as server:
        model = chat(server, cache=InMemoryCache())
        with pytest.raises(GLMError):
            model.invoke("hi")
        assert model.invoke("hi").text == "Hello"


# Usage, history


@pytest.mark.parametrize("how", ["field", "keyword"])
@pytest.mark.parametrize("ask", STREAMED)
async def test_stream_usage_false_asks_for_no_usage(ask, how):
    with GLMServer(HELLO) as server:
        model = chat(server, stream_usage=how != "field")
        await ask(model, **({"stream_usage": False} if how == "keyword" else {}))
    assert not {"stream_options", "stream_usage"} & server.requests[0].body.keys()


@pytest.mark.parametrize("answer", WHOLE + STREAMED)
async def test_reasoning_goes_back_beside_tool_calls(answer):
    with GLMServer([WRITE, HELLO]) as server:
        model = chat(server).bind_tools([write_file])
        turn = await answer(model)
        results = [ToolMessage("ok", tool_call_id=call["id"]) for call in turn.tool_calls]
        model.invoke([HumanMessage("Write fib.py"), turn, *results])
    user, assistant, *tools = server.requests[1].body["messages"]
    arguments = [json.loads(c["function"].pop("arguments")) for c in assistant["tool_calls"]]
    assert arguments == [FILE, {}]
    assert assistant == {
        "role": "assistant",
        "content": "I'll write it.",
        "reasoning_content": "A file is wanted.",
        "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "write_file"}},
            {"id": "call_b", "type": "function", "function": {"name": "write_file"}},
        ],
    }
    assert user == {"role": "user", "content": "Write fib.py"}
    assert [tool["tool_call_id"] for tool in tools] == ["call_a", "call_b"]


@each_way
async def test_an_error_is_typed(ask):
    with GLMServer(Fail(401, "1000", "no such key")) as server:
        model = chat(server)
        with pytest.raises(GLMAuthenticationError, match="no such key"):
            await ask(model)
    assert len(server.requests) == 1
