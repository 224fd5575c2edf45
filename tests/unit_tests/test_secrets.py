"""A key is looked for wherever a model, a run or an error can be seen.

`chat_models/test_keys_and_hosts.py` has the constructor's errors, and `chat_models/test_tracing.py`
what LangSmith is sent.
"""

import io
import logging
import pickle
import traceback
from contextlib import suppress
from pathlib import Path

import pytest
from langchain.agents import create_agent
from langchain_core.load import dumps
from langchain_core.tracers import BaseTracer
from pydantic import SecretStr
from rich.console import Console
from rich.traceback import Traceback
from typer.testing import CliRunner

from langchain_glm import ChatGLM
from langchain_glm.cli._app import app
from langchain_glm.errors import GLMError
from langchain_glm.streaming import encoders, stream_agent
from langchain_glm.streaming import events as ev
from langchain_glm.testing import Cut, Fail, GLMServer, Raw, Reply

KEY = "sk-0123456789abcdef.XYZ"
ROOT = Path(__file__).parents[2]


def key_function():
    return KEY


async def async_key_function():
    return KEY


# Where a key can be placed: the fields of the model, for the URL of its server.
PLACES = {
    "str": lambda url: {"api_key": KEY, "base_url": url},
    "SecretStr": lambda url: {"api_key": SecretStr(KEY), "base_url": url},
    "function": lambda url: {"api_key": key_function, "base_url": url},
    "async function": lambda url: {"api_key": async_key_function, "base_url": url},
    "ZAI_API_KEY": lambda url: {"base_url": url},
    "ZHIPUAI_API_KEY": lambda url: {"base_url": url},
    "header": lambda url: {**OTHER, "base_url": url, "default_headers": HEADERS},
    "header of a gateway": lambda url: {**OTHER, "base_url": url, "default_headers": GATEWAY},
    "base_url": lambda url: {**OTHER, "base_url": with_password(url)},
    "proxy": lambda url: {**OTHER, "base_url": OWN_URL, "openai_proxy": with_password(url, "")},
    "query": lambda url: {**OTHER, "base_url": url, "default_query": {"api-key": KEY}},
}
OTHER = {"api_key": "other-key-0123"}
HEADERS = {"Authorization": f"Bearer {KEY}"}
GATEWAY = {"X-Api-Key": KEY}
OWN_URL = "http://api.z.ai/api/paas/v4"


def with_password(url, path="/api/paas/v4"):
    host = url.removeprefix("http://").partition("/")[0]
    return f"http://user:{KEY}@{host}{path}"


each_place = pytest.mark.parametrize("place", PLACES)


@pytest.fixture
def chat(place, monkeypatch):
    """Makes the model that has the key in this place."""
    if place.endswith("API_KEY"):
        monkeypatch.setenv(place, KEY)

    def make(url, **more):
        return ChatGLM(max_retries=0, **PLACES[place](url), **more)

    return make


async def ainvoke(model, config):
    return await model.ainvoke("hi", config)


async def stream(model, config):
    return list(model.stream("hi", config))


async def astream(model, config):
    return [chunk async for chunk in model.astream("hi", config)]


def ways_of(place):
    """One way that is sync and one that is async; a sync client cannot await a key."""
    return [ainvoke, astream] if place == "async function" else [stream, ainvoke]


# A model


@each_place
def test_the_key_is_in_no_view_of_a_model(chat):
    model = chat("http://127.0.0.1:9/api/paas/v4")
    bound, configured = model.bind(temperature=0.5), model.with_config(tags=["a"])
    for view in (model, bound, configured, model | str, [model], model.client, model.async_client):
        assert KEY not in repr(view) + str(view) + f"{view!r:>10}"
    assert KEY not in dumps(model) + dumps(bound) + repr(model.to_json())
    assert KEY not in model._get_llm_string() + repr(model._get_ls_params())
    assert KEY not in repr(model._identifying_params)


@pytest.mark.parametrize("place", ["str", "SecretStr", "ZAI_API_KEY"])
def test_the_key_is_in_no_dump_of_the_fields(chat):
    clients = {"client", "async_client", "root_client", "root_async_client"}
    model = chat("http://127.0.0.1:9/v4")
    assert KEY not in repr(model.model_dump()) + repr(dict(model))
    assert KEY not in model.model_dump_json(exclude=clients)


@pytest.mark.parametrize("place", ["str", "SecretStr", "ZAI_API_KEY", "header", "proxy"])
def test_a_pickle_carries_the_key_and_the_documentation_says_so(chat):
    model = chat("http://127.0.0.1:9/v4")
    assert KEY.encode() in pickle.dumps(model)
    assert "A pickle of a model holds the key" in (ROOT / "docs" / "security.md").read_text("utf-8")


# A request, answered and refused


class Tracer(BaseTracer):
    """Keeps the runs as a tracer sends them."""

    def __init__(self):
        super().__init__()
        self.runs = []

    def _persist_run(self, run):
        self.runs += [run.model_dump_json(), repr(run)]


ECHO = f"Incorrect API key: {KEY}. Headers: authorization: Bearer {KEY}"
SCRIPTS = [
    pytest.param(Reply(reasoning="Hm.", text="Hello"), id="an answer"),
    pytest.param(Fail(401, "1000", "Authentication failed"), id="refused"),
    pytest.param(Fail(401, "1000", ECHO), id="refused by a server that repeats the key"),
    pytest.param(Fail(502, body="<html>Bad Gateway</html>"), id="page of a gateway"),
    pytest.param(Cut(Reply(text="Hello, you"), after=240), id="cut"),
    pytest.param(Cut(Reply(text="Hello"), after=0, reset=True), id="reset"),
    pytest.param(Raw("data: {\n\ndata: [DONE]\n\n"), id="broken frame"),
    pytest.param(Raw("Hello", content_type="text/plain"), id="no completion"),
]
LOGGERS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2", "langchain", "langchain_glm")


REFUSED, ECHOED = SCRIPTS[1], SCRIPTS[2]
CASES = [
    *(pytest.param("function", *script.values, id=f"function-{script.id}") for script in SCRIPTS),
    # A query stands in the URL, which the HTTP library logs: the documentation says so.
    *(pytest.param(place, *REFUSED.values, id=f"{place}-refused") for place in [*PLACES][:-1]),
    *(pytest.param(place, *ECHOED.values, id=f"{place}-echoed") for place in ("str", "header")),
]


@pytest.mark.parametrize(("place", "script"), CASES)
async def test_the_key_is_in_no_trace_no_log_and_no_error(chat, place, script, caplog):
    for name in (None, *LOGGERS):
        caplog.set_level(logging.DEBUG, logger=name)
    with GLMServer(script) as server:
        model = chat(server.base_url, include_response_headers=True)
        for ask in ways_of(place):
            caplog.clear()
            tracer = Tracer()
            try:
                seen = repr(await ask(model, {"callbacks": [tracer]}))
            except GLMError as error:
                seen = shown(error)
            seen += caplog.text + repr([vars(record) for record in caplog.records])
            assert KEY not in seen + "".join(tracer.runs), ask
            assert tracer.runs
            assert caplog.records
        carried = repr((server.requests[0].path, server.requests[0].headers))
    assert KEY in carried or place in {"base_url", "proxy"}  # there it is in a Basic header


def shown(error):
    """All that is shown of an error: its text, its parts, and its traceback with variables."""
    seen = str(error) + repr(error) + repr(vars(error)) + repr(pickle.dumps(error))
    chain = traceback.TracebackException.from_exception(error, capture_locals=True)
    link = chain
    while link:
        frames = [frame for frame in link.stack if frame.filename != __file__]
        link.stack = traceback.StackSummary.from_list(frames)
        link = link.__cause__ or link.__context__
    return seen + "".join(chain.format())


def by_rich(error):
    """The traceback that rich draws, with variables."""
    trace = Traceback.extract(type(error), error, error.__traceback__, show_locals=True)
    for stack in trace.stacks:
        stack.frames = [frame for frame in stack.frames if frame.filename != __file__]
    console = Console(file=io.StringIO(), width=400)
    console.print(Traceback(trace, show_locals=True, extra_lines=0))
    return console.file.getvalue()


def test_a_traceback_with_variables_shows_those_of_others():
    with GLMServer(Fail(401, "1000", "no")) as server:
        model = ChatGLM(api_key=KEY, base_url=server.base_url)
        with pytest.raises(GLMError) as caught:
            model.invoke("hi there")
    plain, drawn = shown(caught.value), by_rich(caught.value)
    assert "hi there" in plain  # so a key would be seen
    assert "hi there" in drawn
    assert KEY not in plain + drawn


@pytest.mark.parametrize(
    "script", [Fail(401, "1000", ECHO), Raw(f'data: {{"error": "{ECHO}"}}\n\n')]
)
def test_the_key_is_in_no_event_and_no_wire_of_a_browser(script):
    with GLMServer(script) as server:
        model = ChatGLM(api_key=KEY, base_url=server.base_url, max_retries=0)
        run, seen = stream_agent(create_agent(model, []), {"messages": "hi"}), []
        with pytest.raises(GLMError):
            seen.extend(run)
    assert isinstance(seen[-1], ev.RunFailed)
    wires = [
        *encoders.sse.encode(iter(seen)),
        *map(str, encoders.vercel.encode(iter(seen))),
        *map(str, encoders.ag_ui.encode(iter(seen), thread_id="t", run_id="r")),
    ]
    assert "Incorrect API key" in "".join(wires)
    assert KEY not in repr(seen) + repr([event.to_dict() for event in seen]) + "".join(wires)


@pytest.mark.parametrize("how", ["--api-key", "ZAI_API_KEY"])
def test_the_key_is_in_no_line_of_the_command(how, monkeypatch):
    given = ["--api-key", KEY] if how == "--api-key" else []
    if not given:
        monkeypatch.setenv("ZAI_API_KEY", KEY)
    with GLMServer(Fail(401, "1000", ECHO)) as server:
        told = CliRunner().invoke(app, ["probe", "--base-url", server.base_url, *given])
    assert told.exit_code
    assert "Incorrect API key" in told.output
    assert KEY not in told.output + repr(told.exception)


def test_no_cassette_has_a_header_for_a_key():
    cassettes = [path.read_text("utf-8") for path in (ROOT / "cassettes").glob("*.yaml")]
    assert cassettes
    for text in cassettes:
        assert "authorization" not in text.lower()
        assert "bearer" not in text.lower()


# Another host


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["str", "function", "async function", "header", "ZAI_API_KEY"])
async def test_a_redirect_to_another_host_does_not_carry_the_key(chat, place, status):
    with GLMServer(Reply(text="Hello")) as other, GLMServer(moved(other, status)) as server:
        model = chat(server.base_url)
        for ask in ways_of(place):
            with suppress(GLMError):  # a redirect may become a GET
                await ask(model, {})
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert other.requests
    for request in other.requests:
        assert KEY not in repr((request.path, request.headers, request.raw))


def moved(other, status):
    place = {"Location": f"{other.base_url}/chat/completions"}
    return Fail(status, None, "moved", headers=place)
