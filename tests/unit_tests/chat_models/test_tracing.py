"""What a tracer gets of a call: LangChain's own, and LangSmith's, as its server sees it.

The key is in none of it, and what a trace says of the parameters is what the server got.
"""

import asyncio
import json
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from langchain.agents import create_agent
from langchain_core.tracers import BaseTracer, LangChainTracer
from langsmith import Client

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMAuthenticationError, GLMStreamInterruptedError
from langchain_glm.testing import Call, Cut, Fail, GLMServer, Reply

KEY = "sk-0123456789abcdef"
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
HELLO = Reply(text="Hello", usage=USAGE)
WRITE = Reply(
    reasoning="A file.",
    text="I write.",
    tool_calls=[Call("write_file", {"path": "fib.py"}, id="call_a")],
    usage=USAGE,
)
WRITE_CALL = {"type": "tool_call", "id": "call_a", "name": "write_file", "args": {"path": "fib.py"}}


def write_file(path: str) -> str:
    """Write a file."""
    return f"{path} is written."


class Tracer(BaseTracer):
    """Keeps the runs that have ended, the innermost first."""

    def __init__(self):
        super().__init__()
        self.runs = []
        self.ended = Event()  # the outermost run

    def _end_trace(self, run):
        super()._end_trace(run)
        self.runs.append(run)

    def _persist_run(self, run):
        self.ended.set()

    def model_runs(self):
        return [run for run in self.runs if run.run_type == "llm"]


def chat(server, **fields):
    return ChatGLM(**{"api_key": KEY, "base_url": server.base_url, **fields})


async def invoke(model, config, /, **call):
    model.invoke("hi", config, **call)


async def ainvoke(model, config, /, **call):
    await model.ainvoke("hi", config, **call)


async def stream(model, config, /, **call):
    list(model.stream("hi", config, **call))


async def astream(model, config, /, **call):
    assert [chunk async for chunk in model.astream("hi", config, **call)]


async def v3(model, config, /, **call):
    assert model.stream_events("hi", config, version="v3", **call).output


async def async_v3(model, config, /, **call):
    assert await (await model.astream_events("hi", config, version="v3", **call)).output


WAYS = [invoke, ainvoke, stream, astream, v3, async_v3]
STREAMED = [stream, astream, v3, async_v3]
each_way = pytest.mark.parametrize("ask", WAYS)


async def traced(ask, model, /, **call):
    """The run of the model, and the error that the call ended in."""
    tracer, failure = Tracer(), None
    try:
        await ask(model, {"callbacks": [tracer]}, **call)
    except Exception as error:  # noqa: BLE001 - the tests look at it
        failure = error
    # The async v3 stream gives its output before the callbacks hear of the end.
    assert await asyncio.to_thread(tracer.ended.wait, 5)
    (run,) = tracer.model_runs()
    return run, failure


def message_of(run):
    (generation,) = run.outputs["generations"][0]
    return generation["message"]["kwargs"]


def shown(run):
    """All that a run holds, as text."""
    return run.model_dump_json()


# LangSmith parameters


def wire_parameters(body):
    """A request's body, in LangSmith's words."""
    sent = {
        "ls_model_name": body["model"],
        "ls_temperature": body.get("temperature"),
        "ls_max_tokens": body.get("max_tokens"),
        "ls_stop": body.get("stop"),
    }
    return {name: value for name, value in sent.items() if value is not None}


def trace_parameters(run):
    told = {k: v for k, v in run.extra["metadata"].items() if k.startswith("ls_") and v is not None}
    fixed = {
        "ls_provider": "zai",
        "ls_model_type": "chat",
        "ls_integration": "langchain_chat_model",
    }
    assert fixed.items() <= told.items()
    return {name: value for name, value in told.items() if name not in fixed}


PARAMETERS = [
    pytest.param({}, {}, {"ls_model_name": "glm-4.7"}, id="none"),
    pytest.param({"model": "glm-5"}, {}, {"ls_model_name": "glm-5"}, id="model"),
    pytest.param(
        {"model": "glm-5"}, {"model": "glm-4.6"}, {"ls_model_name": "glm-4.6"}, id="model per call"
    ),
    pytest.param(
        {"temperature": 0.5, "max_tokens": 9},
        {},
        {"ls_model_name": "glm-4.7", "ls_temperature": 0.5, "ls_max_tokens": 9},
        id="fields",
    ),
    pytest.param(
        {"temperature": 0.5, "max_tokens": 9},
        {"temperature": 0.0, "max_tokens": 5},
        {"ls_model_name": "glm-4.7", "ls_temperature": 0.0, "ls_max_tokens": 5},
        id="fields and a call that says otherwise",
    ),
    pytest.param(
        {"stop": ["A"]}, {}, {"ls_model_name": "glm-4.7", "ls_stop": ["A"]}, id="stop by field"
    ),
    pytest.param(
        {"stop": ["A"]},
        {"stop": ["B", "C"]},
        {"ls_model_name": "glm-4.7", "ls_stop": ["B", "C"]},
        id="stop per call",
    ),
    pytest.param(
        {"model": "glm-5", "temperature": 1.0},
        {"model": "glm-4.6", "temperature": 0.25, "max_tokens": 7, "stop": ["END"]},
        {
            "ls_model_name": "glm-4.6",
            "ls_temperature": 0.25,
            "ls_max_tokens": 7,
            "ls_stop": ["END"],
        },
        id="everything per call",
    ),
    pytest.param(
        {"max_tokens": 9},
        {"max_completion_tokens": 5},
        {"ls_model_name": "glm-4.7", "ls_max_tokens": 5},
        id="the other name per call",
    ),
    pytest.param(
        {"max_tokens": 9}, {"max_tokens": None}, {"ls_model_name": "glm-4.7"}, id="none per call"
    ),
    pytest.param(
        {"stop": "END"}, {}, {"ls_model_name": "glm-4.7", "ls_stop": ["END"]}, id="one stop word"
    ),
    pytest.param(
        {"temperature": 0.5},
        {"extra_body": {"model": "glm-5", "temperature": 1.0}},
        {"ls_model_name": "glm-5", "ls_temperature": 1.0},
        id="extra_body",
    ),
]


@pytest.mark.parametrize("how", ["keyword", "bind"])
@pytest.mark.parametrize(("fields", "call", "expected"), PARAMETERS)
async def test_a_trace_says_what_the_server_got(fields, call, expected, how):
    with GLMServer(HELLO) as server:
        for ask in WAYS:
            model = chat(server, **fields)
            if how == "keyword":
                run, _ = await traced(ask, model, **call)
            else:
                run, _ = await traced(ask, model.bind_tools([write_file]).bind(**call))
            assert trace_parameters(run) == expected, ask
            assert wire_parameters(server.requests[-1].body) == expected, ask


async def test_the_provider_of_a_subclass():
    class ChatMine(ChatGLM):
        """Somebody's own."""

    with GLMServer(HELLO) as server:
        model = ChatMine(api_key=KEY, base_url=server.base_url)
        run, _ = await traced(invoke, model)
    assert run.name == "ChatMine"
    assert trace_parameters(run) == {"ls_model_name": "glm-4.7"}


# What a run holds


@each_way
async def test_a_run(ask):
    with GLMServer(WRITE) as server:
        run, _ = await traced(ask, chat(server, temperature=0.5).bind_tools([write_file]))
        (request,) = server.requests
    assert (run.name, run.run_type, run.error) == ("ChatGLM", "llm", None)
    assert run.inputs == {"prompts": ["Human: hi"]}
    told = run.extra["invocation_params"]
    assert told["_type"] == "zai-chat"
    assert (told["model"], told["temperature"]) == ("glm-4.7", 0.5)
    assert told["tools"] == request.body["tools"]
    message = message_of(run)
    assert message["additional_kwargs"] == {"reasoning_content": "A file."}
    assert message["tool_calls"] == [WRITE_CALL]
    assert message["invalid_tool_calls"] == []
    assert message["usage_metadata"] == USAGE_METADATA
    metadata = message["response_metadata"]
    assert metadata["finish_reason"] == "tool_calls"
    assert (metadata["model_provider"], metadata["model_name"]) == ("zai", "glm-4.7")
    assert metadata["token_usage"] == USAGE
    (generation,) = run.outputs["generations"][0]
    assert generation["text"] == "I write."


@pytest.mark.parametrize("ask", [stream, astream])
async def test_the_fragments_are_events_of_the_run(ask):
    with GLMServer(WRITE) as server:
        run, _ = await traced(ask, chat(server).bind_tools([write_file]))
        (request,) = server.requests
    frames = len(request.sent) - 1  # [DONE] comes apart
    names = [event["name"] for event in run.events]
    assert names == ["start", *["new_token"] * frames, "end"]
    tokens = [event["kwargs"]["token"] for event in run.events if event["name"] == "new_token"]
    assert "".join(tokens) == "I write."


@each_way
async def test_raw_responses_enter_traces_on_request_only(ask):
    with GLMServer(WRITE) as server:
        silent, _ = await traced(ask, chat(server))
        told, _ = await traced(ask, chat(server, include_raw_response=True))
        sent = b"".join(piece for _, piece in server.requests[-1].sent).decode()
    assert "raw_response" not in shown(silent)
    raw = message_of(told)["additional_kwargs"]["raw_response"]
    if ask in STREAMED:
        assert "".join(f"data: {frame}\n\n" for frame in [*raw, "[DONE]"]) == sent
    else:
        assert raw == [sent]
    # And nothing else differs, but for the ids.
    more, less = message_of(told), message_of(silent)
    del more["additional_kwargs"]["raw_response"]
    for message in (more, less):
        for name in ("id", "request_id"):
            message.pop(name, None)
            message["response_metadata"].pop(name, None)
    assert more == less


# The runs of an agent


@pytest.mark.parametrize("way", ["invoke", "messages", "v3"])
async def test_an_agent_has_one_model_run_for_each_request(way):
    tracer = Tracer()
    with GLMServer([WRITE, HELLO]) as server:
        agent = create_agent(chat(server), [write_file])
        config, ask = {"callbacks": [tracer]}, {"messages": "Write fib.py"}
        if way == "invoke":
            agent.invoke(ask, config)
        elif way == "messages":
            list(agent.stream(ask, config, stream_mode="messages"))
        else:
            assert agent.stream_events(ask, config, version="v3").output
    first, second = tracer.model_runs()
    assert message_of(first)["tool_calls"] == [WRITE_CALL]
    assert message_of(first)["usage_metadata"] == USAGE_METADATA
    assert second.outputs["generations"][0][0]["text"] == "Hello"
    for run in (first, second):
        assert trace_parameters(run) == {"ls_model_name": "glm-4.7"}
        assert run.parent_run_id is not None
    assert not any(KEY in shown(run) for run in tracer.runs)


# Errors


REFUSED = Fail(401, "1000", "Authentication failed")
BROKEN_OFF = Cut(WRITE, after=1100)


@each_way
async def test_the_run_of_a_refused_request(ask):
    with GLMServer(REFUSED) as server:
        run, failure = await traced(ask, chat(server))
    assert isinstance(failure, GLMAuthenticationError)
    assert run.error.startswith("GLMAuthenticationError(")
    assert "Authentication failed" in run.error
    metadata = message_of(run)["response_metadata"]
    assert (metadata["status_code"], metadata["body"]["error"]["code"]) == (401, "1000")
    assert run.end_time is not None


@pytest.mark.parametrize("ask", STREAMED)
async def test_the_run_of_a_stream_that_broke_off(ask):
    with GLMServer(BROKEN_OFF) as server:
        run, failure = await traced(ask, chat(server))
    assert isinstance(failure, GLMStreamInterruptedError)
    assert run.error.startswith("GLMStreamInterruptedError(")
    if ask in (stream, astream):  # LangChain's v3 keeps no message of a stream that failed
        message = message_of(run)
        assert failure.partial.text
        assert message["content"] == failure.partial.text
        assert message["additional_kwargs"] == {"reasoning_content": "A file."}


# The key


SCRIPTS = [
    pytest.param(WRITE, id="answer"),
    pytest.param(REFUSED, id="refused"),
    pytest.param(BROKEN_OFF, id="broken off"),
    pytest.param(Fail(502, body="<html>Bad Gateway</html>"), id="gateway"),
]


def a_key_function():
    return KEY


async def an_async_key_function():
    return KEY


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("key", [KEY, a_key_function, an_async_key_function])
async def test_the_key_is_in_no_run(key, script):
    fields = {"api_key": key, "max_retries": 0, "include_raw_response": True}
    fields["include_response_headers"] = True
    ways = [ainvoke, astream, async_v3] if key is an_async_key_function else WAYS
    with GLMServer(script) as server:
        for ask in ways:
            run, _ = await traced(ask, chat(server, **fields).bind_tools([write_file]))
            assert KEY not in shown(run), ask
            assert KEY not in repr(run), ask
        assert {r.headers["authorization"] for r in server.requests} == {f"Bearer {KEY}"}


# LangSmith's own tracer


class LangSmith(BaseHTTPRequestHandler):
    """As much of LangSmith's server as a tracer needs; keeps what it is sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.command, self.path, str(self.headers), body))
        if self.command == "PATCH":
            self.server.patched.set()
        self.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")

    do_PATCH = do_POST  # noqa: N815 - the name in the standard library

    def log_message(self, format, *args):  # noqa: A002 - the name in the standard library
        """Say nothing."""


@contextmanager
def langsmith():
    with ThreadingHTTPServer(("127.0.0.1", 0), LangSmith) as server:
        server.seen, server.patched = [], Event()
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        client = Client(api_url=url, api_key="langsmith-key", auto_batch_tracing=False, info={})
        try:
            yield server, client
        finally:
            client.close()
            server.shutdown()
            thread.join()


async def sent_to_langsmith(ask, model):
    """What was posted when the run began, and what when it ended; the key is in neither."""
    with langsmith() as (server, client):
        with suppress(GLMAuthenticationError):
            await ask(model, {"callbacks": [LangChainTracer(client=client, project_name="p")]})
        assert await asyncio.to_thread(server.patched.wait, 5)
    (post, path, _, began), (patch, _, _, ended) = server.seen
    assert (post, path, patch) == ("POST", "/runs", "PATCH")
    assert KEY not in repr(server.seen)
    return json.loads(began), json.loads(ended)


@each_way
async def test_what_langsmith_is_sent(ask):
    with GLMServer(WRITE) as server:
        model = chat(server).bind_tools([write_file])
        began, ended = await sent_to_langsmith(ask, model.bind(model="glm-5", max_tokens=9))
    metadata = began["extra"]["metadata"]
    told = {"ls_provider": "zai", "ls_model_name": "glm-5", "ls_max_tokens": 9}
    assert told.items() <= metadata.items()
    assert began["run_type"] == "llm"
    assert began["serialized"]["kwargs"]["openai_api_key"]["type"] == "secret"
    assert began["inputs"]["messages"][0][0]["kwargs"]["content"] == "hi"
    # What LangSmith reckons the cost by.
    assert ended["extra"]["metadata"]["usage_metadata"] == USAGE_METADATA
    (generation,) = ended["outputs"]["generations"][0]
    assert generation["message"]["kwargs"]["tool_calls"] == [WRITE_CALL]
    assert generation["text"] == "I write."
    assert ended.get("error") is None


@each_way
async def test_what_langsmith_is_sent_of_an_error(ask):
    with GLMServer(REFUSED) as server:
        _, ended = await sent_to_langsmith(ask, chat(server))
    assert ended["error"].startswith("GLMAuthenticationError(")


@pytest.mark.parametrize("raw", [False, True])
async def test_langsmith_is_sent_the_raw_response_on_request_only(raw):
    with GLMServer(WRITE) as server:
        for ask in (invoke, stream, v3):
            _, ended = await sent_to_langsmith(ask, chat(server, include_raw_response=raw))
            (generation,) = ended["outputs"]["generations"][0]
            assert ("raw_response" in generation["message"]["kwargs"]["additional_kwargs"]) is raw
