"""The examples that serve: each a real process, asked as its clients ask it.

Flask and the WebSocket speak our own events, the others AG-UI's and the AI SDK's. The model's
server is the test's own, and tells of those who hang up.
"""

import asyncio
import contextlib
import importlib.util
import json
import re
import sys
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import groupby

import httpx
import pytest
from langchain.agents import create_agent
from pythons import async_agents_stream
from served_examples import DONE, EXAMPLES, WRITE, glm_server, served
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from langchain_glm import ChatGLM
from langchain_glm.testing import GLMServer, Raw

# --- how each of them is asked ---


@asynccontextmanager
async def _streamed(url, method, path, **what):
    """The JSON of the frames of a response."""
    client = httpx.AsyncClient(base_url=url, timeout=30)
    async with client, client.stream(method, path, **what) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield (json.loads(x[6:]) async for x in response.aiter_lines() if x.startswith("data: {"))


def flask(url, question):
    return _streamed(url, "GET", "/run", params={"question": question})


@asynccontextmanager
async def websocket(url, question):
    async with connect(f"{url.replace('http', 'ws')}/ws") as socket:
        await socket.send(json.dumps({"question": question}))

        async def events():
            async for text in socket:
                event = json.loads(text)
                yield event
                if event["type"] in {"run_finished", "run_failed"}:
                    return

        yield events()


def ag_ui(url, question, before=()):
    said = [*before, {"id": "m", "role": "user", "content": question}]
    body = {"threadId": "t", "runId": "r", "messages": said}
    return _streamed(url, "POST", "/", json=body)


def vercel(url, question, before=()):
    said = [*before, {"id": "m", "role": "user", "parts": [{"type": "text", "text": question}]}]
    return _streamed(url, "POST", "/api/chat", json={"id": "c", "messages": said})


@dataclass(frozen=True, eq=False)
class Example:
    """An example, how it is asked, and what its events are called.

    Attributes:
        kinds: The events of a run that writes a file, several in a row as one.
        fragment: A fragment of arguments: the event, and where its text is.
        end: The last event of a run.
        failure: The last event of a run that failed, and where its text is.
    """

    file: str
    asked: object
    kinds: list[str]
    fragment: tuple[str, str]
    end: str
    failure: tuple[str, object]
    options: tuple[str, ...] = ()


OURS = {
    "kinds": [
        *("reasoning_delta", "text_delta", "tool_call_started", "tool_call_delta"),
        *("tool_call_finished", "message_finished", "tool_started", "tool_finished"),
        *("text_delta", "message_finished", "run_finished"),
    ],
    "fragment": ("tool_call_delta", "text"),
    "end": "run_finished",
    "failure": ("run_failed", lambda event: event["error"]["message"]),
}
FLASK = Example("flask_sse.py", flask, **OURS)
WEBSOCKET = Example("fastapi_websocket.py", websocket, **OURS)
AG_UI = Example(
    "fastapi_ag_ui.py",
    ag_ui,
    kinds=[
        *("RUN_STARTED", "REASONING_START", "REASONING_MESSAGE_START"),
        *("REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END", "REASONING_END"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"),
    ],
    fragment=("TOOL_CALL_ARGS", "delta"),
    end="RUN_FINISHED",
    failure=("RUN_ERROR", lambda event: event["message"]),
)
USE_CHAT = Example(
    "use_chat/app.py",
    vercel,
    kinds=[
        *("start", "start-step", "reasoning-start", "reasoning-delta", "reasoning-end"),
        *("text-start", "text-delta", "text-end", "tool-input-start", "tool-input-delta"),
        *("tool-input-available", "tool-output-available", "finish-step", "start-step"),
        *("text-start", "text-delta", "text-end", "finish-step", "finish"),
    ],
    fragment=("tool-input-delta", "inputTextDelta"),
    end="finish",
    failure=("error", lambda event: event["errorText"]),
    options=("--no-page",),
)
ALL = {"flask": FLASK, "websocket": WEBSOCKET, "ag_ui": AG_UI, "use_chat": USE_CHAT}

each = pytest.mark.parametrize("example", ALL.values(), ids=ALL)
each_that_streams = pytest.mark.parametrize(
    "example",
    [  # Flask's runs are sync, and stream on every Python.
        pytest.param(example, id=name, marks=[] if example is FLASK else async_agents_stream)
        for name, example in ALL.items()
    ],
)


@pytest.fixture(scope="module")
def glm():
    with glm_server() as server:
        yield server


@pytest.fixture(scope="module")
def process_of(glm):
    """An example at work with the test's model; all are started at once."""
    with ExitStack() as stack:

        def start(example):
            return stack.enter_context(served(example.file, *example.options, glm=glm))

        def process_of(example):
            if started[example].has_ended:
                started[example] = start(example)
            return started[example]

        started = {example: start(example) for example in ALL.values()}
        yield process_of


@pytest.fixture
def url_of(process_of):
    return lambda example: process_of(example).url


@pytest.fixture(scope="module")
def keyless():
    """The examples without a key."""
    with ExitStack() as stack:
        yield {
            example: stack.enter_context(served(example.file, *example.options))
            for example in ALL.values()
        }


def requests(glm, question):
    """What was sent to the model with a question as the last message."""
    return [r for r in glm.requests if r.body["messages"][-1].get("content") == question]


async def until(events, kind):
    async for event in events:
        if event["type"] == kind:
            return
        assert not event["type"].endswith(("failed", "ERROR", "error")), event
    raise AssertionError(f"There was no {kind}.")


async def hung_up(request):
    return await asyncio.to_thread(request.hung_up.wait, 10)


# --- what all of them do ---


@each_that_streams
async def test_a_run_is_shown_from_its_first_thought_to_its_end(example, url_of):
    async with example.asked(url_of(example), "write it") as answer:
        events = [event async for event in answer]
    kinds = [e["type"] for e in events if not e["type"].startswith("argument_")]
    assert [kind for kind, _ in groupby(kinds)] == example.kinds
    kind, key = example.fragment
    fragments = [event[key] for event in events if event["type"] == kind]
    assert len(fragments) > 5
    assert json.loads("".join(fragments)) == WRITE.arguments
    assert DONE in json.dumps(events)


@each_that_streams
async def test_arguments_arrive_before_their_last_and_who_leaves_hangs_up_on_the_model(
    example, url_of, glm
):
    question = f"long asked of {example.file}"
    async with example.asked(url_of(example), question) as events:
        await until(events, example.fragment[0])
        (request,) = requests(glm, question)
        assert not request.answered.is_set()
    assert await hung_up(request)


@pytest.mark.parametrize("example", [WEBSOCKET, AG_UI, USE_CHAT], ids=lambda e: e.file)
async def test_who_leaves_in_a_silence_hangs_up_on_the_model(example, url_of, glm):
    question = f"silence for {example.file}"
    async with example.asked(url_of(example), question):
        assert await asyncio.to_thread(glm.wait_until, lambda: requests(glm, question), 10)
    (request,) = requests(glm, question)
    assert await hung_up(request)


@each_that_streams
async def test_two_clients_at_once(example, url_of, glm):
    questions = [f"long {n} asked of {example.file}" for n in (1, 2)]
    url, kind = url_of(example), example.fragment[0]
    async with example.asked(url, questions[0]) as one, example.asked(url, questions[1]) as two:
        for events in (one, two, one, two):
            await until(events, kind)
        both = [request for question in questions for request in requests(glm, question)]
        assert [request.answered.is_set() for request in both] == [False, False]
    assert [await hung_up(request) for request in both] == [True, True]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        pytest.param("fail", "no such luck", id="refused"),
        pytest.param("break", "connection", id="breaks off"),
    ],
)
@each
async def test_an_error_of_the_model_is_shown_and_the_next_run_works(
    example, question, text, url_of
):
    async with example.asked(url_of(example), question) as answer:
        *_, last = [event async for event in answer]  # and so the response is whole
    kind, said = example.failure
    assert last["type"] == kind
    assert text in said(last)
    async with example.asked(url_of(example), "talk") as answer:
        *_, last = [event async for event in answer]
    assert last["type"] == example.end


async def stopped(process, events):
    """Interrupt an example while its events are read on; give how it ended."""
    ending = asyncio.create_task(asyncio.to_thread(process.stop))
    with contextlib.suppress(httpx.TransportError, ConnectionClosed):
        async for _ in events:
            pass
    return await ending


@each
async def test_without_a_key_a_script_is_played_until_ctrl_c(example, keyless):
    async with example.asked(keyless[example].url, "Hello") as events:
        await until(events, example.fragment[0])
        code, printed, errors = await stopped(keyless[example], events)
    assert (code, printed) == (0, [])
    assert errors == ["Model: glm-4.7 as a script of this example, since ZAI_API_KEY is not set"]


@pytest.mark.parametrize("example", [AG_UI, USE_CHAT, WEBSOCKET], ids=lambda e: e.file)
async def test_only_its_own_address_is_answered(example, url_of):
    async with httpx.AsyncClient(base_url=url_of(example)) as client:
        answer = await client.post("/", headers={"Host": "evil.example"})
    assert answer.status_code == 400


def load(file, monkeypatch):
    """Import an example as a module."""
    monkeypatch.syspath_prepend(EXAMPLES)
    spec = importlib.util.spec_from_file_location("served_example", EXAMPLES / file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "served_example", module)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def silent_agent():
    """An agent whose model says nothing, and that model's server."""
    with GLMServer(Raw([b": wait\n\n"], end=False)) as glm:
        model = ChatGLM(base_url=glm.base_url, api_key="test-key", max_retries=0)
        yield create_agent(model, []), glm


HEARTBEATS = [
    pytest.param(
        "fastapi_ag_ui.py",
        lambda it: it.core.RunAgentInput(
            thread_id="t", run_id="r", messages=[it.core.UserMessage(id="m", content="Hello")]
        ),
        id="ag_ui",
    ),
    pytest.param(
        "use_chat/app.py",
        lambda it: it.Chat(messages=[{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}]),
        id="use_chat",
    ),
]


@pytest.mark.parametrize(("file", "question"), HEARTBEATS)
async def test_a_silence_has_heartbeats(file, question, monkeypatch):
    example = load(file, monkeypatch)
    monkeypatch.setattr(example, "HEARTBEAT", 0.02)
    with silent_agent() as (agent, glm):
        async with contextlib.aclosing(example.frames(agent, question(example))) as frames:
            while await anext(frames) != ": heartbeat\n\n":
                pass
            while not glm.requests:
                assert await anext(frames) == ": heartbeat\n\n"
        assert await hung_up(glm.requests[0])


def test_flask_a_silence_has_heartbeats(monkeypatch):
    example = load("flask_sse.py", monkeypatch)
    monkeypatch.setattr(example, "HEARTBEAT", 0.02)
    with silent_agent() as (agent, glm):
        with contextlib.closing(example.frames(agent, "Hello")) as frames:
            assert next(frames) == ": heartbeat\n\n"
            while not glm.requests or not glm.requests[0].sent:
                assert next(frames) == ": heartbeat\n\n"
        assert glm.requests[0].hung_up.wait(10)
    assert not example.at_work


# --- Flask ---

REFUSED = [
    pytest.param({}, 400, id="no question"),
    pytest.param({"Last-Event-ID": "7"}, 204, id="one that comes back"),
    pytest.param({"Sec-Fetch-Site": "cross-site"}, 403, id="a page of another site"),
    pytest.param({"Host": "evil.example"}, 400, id="another site's name for this address"),
]


@pytest.mark.parametrize(("headers", "status"), REFUSED)
async def test_flask_refuses(headers, status, url_of, glm):
    question = {"question": "refused"} if headers else {}
    async with httpx.AsyncClient(base_url=url_of(FLASK)) as client:
        answer = await client.get("/run", params=question, headers=headers)
    assert answer.status_code == status
    assert requests(glm, "refused") == []


# --- the WebSocket ---


@contextlib.asynccontextmanager
async def conversation(url):
    async with connect(f"{url.replace('http', 'ws')}/ws") as socket:

        async def say(**said):
            await socket.send(json.dumps(said))

        yield say, (json.loads(text) async for text in socket)


async def test_a_socket_is_a_conversation(url_of, glm):
    async with conversation(url_of(WEBSOCKET)) as (say, events):
        await say(question="write this")
        await until(events, "run_finished")
        await say(question="talk of it")
        await until(events, "run_finished")
    (request,) = requests(glm, "talk of it")
    said = [(m["role"], m.get("content")) for m in request.body["messages"]]
    assert said == [
        *(("user", "write this"), ("assistant", "I write."), ("tool", DONE)),
        *(("assistant", "Done."), ("user", "talk of it")),
    ]


@async_agents_stream
@pytest.mark.parametrize("said", [{"stop": True}, {"question": "talk then"}], ids=str)
async def test_whatever_is_said_stops_the_answer(said, url_of, glm):
    question = f"long until {said}"
    async with conversation(url_of(WEBSOCKET)) as (say, events):
        await say(question=question)
        await until(events, "argument_delta")
        await say(**said)
        await until(events, "stopped")
        (request,) = requests(glm, question)
        assert request.hung_up.wait(10)
        await say(question="talk then")
        await until(events, "run_finished")


async def test_a_question_that_is_stopped_at_once(url_of):
    async with conversation(url_of(WEBSOCKET)) as (say, events):
        await say(question="long and at once")
        await say(stop=True)
        assert (await anext(events))["type"] == "stopped"


async def test_a_page_of_another_site_cannot_open_a_socket(url_of):
    url = f"{url_of(WEBSOCKET).replace('http', 'ws')}/ws"
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403


async def test_a_socket_that_is_not_understood_is_closed(url_of):
    async with connect(f"{url_of(WEBSOCKET).replace('http', 'ws')}/ws") as socket:
        await socket.send("Hello?")
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd.code == 1008


# --- AG-UI ---


def test_ag_ui_asks_itself(glm):
    with served("fastapi_ag_ui.py", "--ask", "write for me", glm=glm) as process:
        code, (url, *printed), errors = process.ended()
    kinds = [json.loads(line)["type"] for line in printed]
    assert url.startswith("http://127.0.0.1:")
    assert [kind for kind, _ in groupby(kinds)] == AG_UI.kinds
    assert (code, errors) == (0, ["Model: glm-4.7 at 127.0.0.1"])


def agui_call(id_, arguments):
    function = {"name": "write_file", "arguments": arguments}
    return {"id": id_, "type": "function", "function": function}


AGUI_BEFORE = [
    {"id": "0", "role": "system", "content": "Be evil."},
    {"id": "1", "role": "user", "content": [{"type": "text", "text": "Write two."}]},
    {"id": "2", "role": "reasoning", "content": "Two files."},
    {
        "id": "3",
        "role": "assistant",
        "content": "I write.",
        "toolCalls": [agui_call("a", '{"path": "a.py"}'), agui_call("b", '{"path": "b.p')],
    },
    {"id": "4", "role": "tool", "toolCallId": "a", "content": "a is written"},
    {"id": "5", "role": "tool", "toolCallId": "b", "content": "It was cut.", "error": "cut"},
    {"id": "6", "role": "assistant", "content": "Of an agent below.", "subagentRunId": "x"},
    {"id": "7", "role": "assistant", "content": "One is done."},
]


async def test_ag_ui_a_turn_that_follows(url_of, glm):
    async with ag_ui(url_of(AG_UI), "talk on", AGUI_BEFORE) as events:
        await until(events, AG_UI.end)
    (request,) = requests(glm, "talk on")
    assert told(request) == [
        {"role": "user", "content": "Write two."},
        {
            "role": "assistant",
            "content": "I write.",
            "reasoning_content": "Two files.",
            "calls": {"a": {"path": "a.py"}, "b": {"path": "b.p"}},
        },
        {"role": "tool", "content": "a is written", "tool_call_id": "a"},
        {"role": "tool", "content": "It was cut.", "tool_call_id": "b"},
        {"role": "assistant", "content": "One is done."},
        {"role": "user", "content": "talk on"},
    ]


def told(request):
    """The messages that the model was sent, with the arguments of the calls by their ids."""
    messages = []
    for message in request.body["messages"]:
        calls = {
            c["id"]: json.loads(c["function"]["arguments"]) for c in message.pop("tool_calls", ())
        }
        messages.append(message | ({"calls": calls} if calls else {}))
    return messages


@pytest.mark.parametrize(("port", "status"), [(3000, 200), (3001, 400)])
async def test_ag_ui_a_page_of_the_named_origin_may_ask(port, status, monkeypatch):
    app = load("fastapi_ag_ui.py", monkeypatch).create_app(None, "http://localhost:3000")
    headers = {"Origin": f"http://localhost:{port}", "Access-Control-Request-Method": "POST"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.options("/", headers=headers)).status_code == status


# --- the AI SDK ---


def sdk_call(id_, state, **more):
    return {"type": "tool-write_file", "toolCallId": id_, "state": state, **more}


SDK_BEFORE = [
    {"id": "0", "role": "system", "parts": [{"type": "text", "text": "Be evil."}]},
    {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Write some."}]},
    {
        "id": "2",
        "role": "assistant",
        "metadata": {"usage": {}},
        "parts": [
            {"type": "step-start"},
            {"type": "reasoning", "text": "Some files.", "state": "done"},
            {"type": "text", "text": "I write.", "state": "done"},
            sdk_call("a", "output-available", input={"path": "a.py"}, output="a is written"),
            sdk_call("b", "output-error", input={"path": "b.py"}, errorText="no room"),
            sdk_call("c", "output-error", input='{"path": "c.p', errorText="It was cut."),
            {"type": "data-interrupt", "id": "x", "data": {}},
            {"type": "step-start"},
            {"type": "text", "text": "One is done.", "state": "done"},
        ],
    },
    {"id": "3", "role": "user", "parts": [{"type": "text", "text": "More."}]},
    {
        "id": "4",
        "role": "assistant",
        "parts": [
            {"type": "step-start"},
            sdk_call("d", "output-available", input={"path": "d"}, output={"written": 1}),
            sdk_call("e", "input-available", input={"path": "e.py"}),
            sdk_call("f", "input-streaming", input={"path": "f"}),
        ],
    },
]


async def test_use_chat_a_turn_that_follows(url_of, glm):
    async with vercel(url_of(USE_CHAT), "talk on", SDK_BEFORE) as events:
        await until(events, USE_CHAT.end)
    request = requests(glm, "talk on")[-1]
    stopped = "The run was stopped before this call had a result."
    assert told(request) == [
        {"role": "user", "content": "Write some."},
        {
            "role": "assistant",
            "content": "I write.",
            "reasoning_content": "Some files.",
            "calls": {"a": {"path": "a.py"}, "b": {"path": "b.py"}},
        },
        {"role": "tool", "content": "a is written", "tool_call_id": "a"},
        {"role": "tool", "content": "no room", "tool_call_id": "b"},
        {"role": "assistant", "content": "One is done."},
        {"role": "user", "content": "More."},
        {"role": "assistant", "content": "", "calls": {"d": {"path": "d"}, "e": {"path": "e.py"}}},
        {"role": "tool", "content": '{"written": 1}', "tool_call_id": "d"},
        {"role": "tool", "content": stopped, "tool_call_id": "e"},
        {"role": "user", "content": "talk on"},
    ]


def test_use_chat_says_what_the_page_needs(tmp_path, monkeypatch):
    app = load("use_chat/app.py", monkeypatch)
    monkeypatch.setattr(app, "HERE", tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="Node 20"):
        app.build()


# --- the end, after which an example would have to be started again ---


@each_that_streams
async def test_ctrl_c_ends_open_streams_and_hangs_up_on_the_model(example, process_of, glm):
    process, question = process_of(example), f"long until ctrl-c in {example.file}"
    async with example.asked(process.url, question) as events:
        await until(events, example.fragment[0])
        (request,) = requests(glm, question)
        code, _, errors = await stopped(process, events)
    assert await hung_up(request)
    assert code == 0
    assert not re.search("KeyboardInterrupt|CancelledError", "\n".join(errors))
