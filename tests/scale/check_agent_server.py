"""An agent of `examples/agent_server` on LangGraph's Agent Server, as `langgraph dev` runs it.

Not named `test_*`, so that a plain `pytest` passes it by; `make test-scale` runs it.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import aclosing
from pathlib import Path

import pytest
from langgraph_sdk import get_client

from langchain_glm.streaming import atool_call_events
from langchain_glm.testing import Call, GLMServer, Reply

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the Agent Server needs Python 3.11"
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "agent_server"
PACE = 0.03
NOTE = {"title": "Checkpoints", "text": "A checkpoint is what a graph can go on from. "}
# Written for five seconds: a busy machine is late by some.
LONG = {"title": "Long", "text": NOTE["text"] * 15}
RUNS = 3


class Script:
    """What the model answers: a call of the tool, then a closing text."""

    def __init__(self):
        self.together = None

    def __call__(self, received):
        last = received.body["messages"][-1]
        if last["role"] == "tool":
            return Reply(text="It is written.")
        if self.together:
            self.together.wait(30)  # all runs are at the model before any goes on
        note = LONG if last["content"] == LONG["title"] else {**NOTE, "title": last["content"]}
        return Reply("Hm.", "I write.", [Call("write_note", note)])


@pytest.fixture(scope="module")
def script():
    return Script()


@pytest.fixture(scope="module")
def glm_server(script):
    with GLMServer(script, pace=PACE) as server:
        yield server


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(glm_server):
    """No key but one for the loopback, no telemetry, no tracing."""
    foreign = ("OPENAI_", "ZAI_", "ZHIPUAI_", "LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {
        "ZAI_API_KEY": "test-key",
        "ZAI_BASE_URL": glm_server.base_url,
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGGRAPH_NO_VERSION_CHECK": "1",
        "LANGSMITH_TRACING": "false",
    }


def is_up(url):
    try:
        with urllib.request.urlopen(f"{url}/ok", timeout=5) as answer:  # noqa: S310 - loopback
            return answer.status == 200
    except OSError:
        return False


def wait_until_up(url, process, log):
    deadline = time.monotonic() + 60
    while not is_up(url):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"langgraph dev did not come up:\n{log.read_text()}")
        time.sleep(0.1)


@pytest.fixture(scope="module")
def agent_server(glm_server, tmp_path_factory):
    """The URL of a server that runs a copy of the example: it writes into the folder."""
    folder = tmp_path_factory.mktemp("agent_server") / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".langgraph_api", "__pycache__"))
    port, log = free_port(), folder / "log.txt"
    options = f"--no-browser --no-reload --port {port} --n-jobs-per-worker {RUNS}".split()
    with (
        log.open("w") as output,
        subprocess.Popen(  # noqa: S603 - the tool under test
            [sys.executable, "-m", "langgraph_cli", "dev", *options],
            cwd=folder,
            env=environment(glm_server),
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_up(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(30)
    assert "BlockingError" not in log.read_text()  # nothing of ours holds the server's loop up


@pytest.fixture
async def client(agent_server):
    async with get_client(url=agent_server, api_key=None) as client:
        yield client


@pytest.fixture
def watch(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE)
    import watch

    return watch


@pytest.fixture(autouse=True)
def _from_here_on(glm_server, script):
    glm_server.requests.clear()
    script.together = None


async def test_the_tool_has_run_on_the_server(client, watch):
    async for _ in watch.ai_chunks(client, "stored"):
        pass
    stored = await client.store.get_item(["notes"], "stored")
    assert stored["value"] == {"text": NOTE["text"]}


async def test_arguments_come_while_they_are_written(client, watch, glm_server):
    came, times = [], []
    async for event in atool_call_events(watch.ai_chunks(client, LONG["title"])):
        came.append((event, glm_server.requests[0].answered.is_set()))
        times.append(time.monotonic())
    fragments = [(e.text, late) for e, late in came if e.type == "argument_delta"]
    assert "".join(text for text, _ in fragments) == LONG["title"] + LONG["text"]
    assert fragments[0][1] is False  # the model was still writing
    assert sum(not late for _, late in fragments) > len(fragments) / 2
    # They come at the pace at which they are sent, not in one lump before the end.
    typed = [when for (e, _), when in zip(came, times, strict=True) if e.type == "argument_delta"]
    assert typed[-1] - typed[0] > PACE * len(typed) / 4
    (finished,) = [event for event, _ in came if event.type == "tool_call_finished"]
    assert finished.arguments == LONG
    *_, last = [event for event, _ in came]
    assert (last.type, last.message.text) == ("message_finished", "It is written.")


async def test_v3_events_come_while_they_are_written(client, glm_server):
    async with client.threads.stream(assistant_id="agent") as thread:
        events = thread.events
        await thread.run.start(input={"messages": [{"role": "user", "content": LONG["title"]}]})
        fragments = []
        async for event in events:
            data = event["params"]["data"]
            if event["method"] == "messages" and data["event"] == "content-block-delta":
                delta = data.get("delta", {})
                if delta.get("type") == "tool-call-delta":
                    fragments.append((delta["args"], glm_server.requests[0].answered.is_set()))
            if event["method"] == "lifecycle" and data["event"] == "completed":
                break
    assert fragments[0][1] is False
    assert LONG["text"] in "".join(text for text, _ in fragments)


async def test_runs_at_once(client, watch, script, glm_server):
    script.together = threading.Barrier(RUNS)
    names = [f"run {n}" for n in range(RUNS)]

    async def arguments(name):
        events = atool_call_events(watch.ai_chunks(client, name))
        return [e.arguments async for e in events if e.type == "tool_call_finished"]

    written = await asyncio.gather(*map(arguments, names))
    assert written == [[{**NOTE, "title": name}] for name in names]
    # One model object for all the runs of the server's process: as many connections as at once.
    assert len({received.connection for received in glm_server.requests}) == RUNS


async def test_who_leaves_stops_the_model(client, watch, glm_server):
    async with aclosing(watch.ai_chunks(client, "left")) as chunks:
        await anext(chunks)
    request = glm_server.requests[0]
    assert await asyncio.to_thread(request.hung_up.wait, 10)
    assert not request.answered.is_set()


async def test_the_example_prints_what_it_sees(agent_server, watch, capsys):
    await watch.watch(agent_server)
    assert (
        capsys.readouterr().out == f"I write.{NOTE['text']}\n[write_note can run]\nIt is written.\n"
    )
