"""What the encoders write, read by the real readers: AG-UI's client and the AI SDK 5, 6 and 7.

Not named `test_*`, so that a plain `pytest` passes it by; `make test-node` runs it. A server on
loopback has an address for each run; each reader is one Node process that reads them all.
"""

import json
import subprocess
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.types import interrupt
from scripted_runs import RUNS

from langchain_glm import ChatGLM
from langchain_glm.middleware import ContinueCutCalls
from langchain_glm.streaming.agent import stream_agent
from langchain_glm.streaming.encoders import ag_ui, vercel
from langchain_glm.streaming.redaction import redacted
from langchain_glm.streaming.tool_calls import tool_call_events
from langchain_glm.testing import Call, Cut, GLMServer, Reply

HERE = Path(__file__).parent
AI_SDKS = ("ai-5", "ai-6", "ai")


@tool
def write(path: str, text: str) -> str:
    """Write a file."""
    get_stream_writer()({"written": len(text)})
    return f"wrote {path}"


@tool
def ask(question: str) -> str:
    """Ask the user."""
    return f"said {interrupt({'message': question})}"


def agent_events(*answers, tools=(write, ask), **options):
    with GLMServer(answers) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=0)
        tools = [make(model) if make is research else make for make in tools]
        agent = create_agent(model, tools, checkpointer=InMemorySaver(), **options)
        yield from stream_agent(agent, {"messages": "Go."}, {"configurable": {"thread_id": "t"}})


def model_events(answer):
    with GLMServer([answer]) as server:
        model = ChatGLM(base_url=server.base_url, api_key="test-key")
        yield from tool_call_events(model.bind_tools([write]).stream("Go."))


def research(model):
    """Make a tool that is an agent of its own, of the same model."""
    subagent = create_agent(model, [write], name="researcher")

    @tool("research")
    def run(topic: str) -> str:
        """Research a topic."""
        return subagent.invoke({"messages": topic})["messages"][-1].text

    return run


WRITE = Call("write", {"path": "a.py", "text": "print('你好')\n" * 5}, id="call_w")
UNKNOWN = Call("burn", {"path": "b"}, id="call_b")
HALF = Call("write", '{"path": "a.py", "text": "half', id="call_h")
CUT = Reply(text="I write.", tool_calls=[HALF], finish_reason="length")
WORK = (
    Reply(reasoning="Let me think.", text="I write and burn.", tool_calls=[WRITE, UNKNOWN]),
    Reply(reasoning="Good.", text="Done. 完成。"),
)
AGENTS = {
    "agent": partial(agent_events, *WORK),
    "agent with a cut call": partial(agent_events, CUT),
    "agent that goes on after a cut call": partial(
        agent_events, CUT, Reply(text="Smaller."), middleware=[ContinueCutCalls()]
    ),
    "agent that asks": partial(
        agent_events, Reply(tool_calls=[Call("ask", {"question": "May I?"}, id="call_q")])
    ),
    "agent that fails in the middle": partial(
        agent_events, Cut(Reply(text="I write.", tool_calls=[WRITE]), after=3000)
    ),
    "agent with a subagent": partial(
        agent_events,
        Reply(text="I ask.", tool_calls=[Call("research", {"topic": "x"}, id="call_r")]),
        Reply(reasoning="Sub thinks.", text="Sub writes.", tool_calls=[WRITE]),
        Reply(text="Sub is done."),
        Reply(text="All is done."),
        tools=[research],
    ),
    "model": partial(model_events, WORK[0]),
}
STREAMS = {name: partial(iter, events) for name, events in RUNS.items()} | AGENTS
REDACTED = {
    f"redacted {name}": lambda make=make: redacted(make()) for name, make in STREAMS.items()
}
STREAMS |= REDACTED


def broken_ag_ui():
    whole = list(ag_ui.encode(RUNS["full"], thread_id="t", run_id="r"))
    without = {
        kind: [event for event in whole if event.type != kind]
        for kind in ("RUN_STARTED", "REASONING_END", "TEXT_MESSAGE_END", "TOOL_CALL_END")
    }
    broken = {f"without {kind}": events for kind, events in without.items()}
    broken["arguments after the end"] = [*whole[:-1], whole[12], whole[-1]]
    broken["after the end"] = [*whole, whole[7]]
    return broken


def broken_vercel():
    whole = list(vercel.encode(RUNS["full"], message_id="m"))
    without = {
        kind: [chunk for chunk in whole if chunk["type"] != kind]
        for kind in ("text-start", "reasoning-start", "tool-input-start")
    }
    broken = {f"without {kind}": chunks for kind, chunks in without.items()}
    broken["no such chunk"] = [*whole, {"type": "tool-progress"}]
    broken["no such reason"] = [*whole, {"type": "finish", "finishReason": "tool_calls"}]
    return broken


def frames(protocol, name):
    if name.startswith("broken "):
        name = name.removeprefix("broken ")
        if protocol == "ag_ui":
            return (ag_ui.EventEncoder().encode(event) for event in broken_ag_ui()[name])
        return (vercel.to_sse(chunk) for chunk in broken_vercel()[name])
    if protocol == "ag_ui":
        return ag_ui.encode_sse(STREAMS[name](), thread_id="t", run_id="r")
    return vercel.encode_sse(STREAMS[name]())


class Handler(BaseHTTPRequestHandler):
    """Answers POST /protocol/run with the frames of a run."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        for name, value in vercel.HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for frame in frames(*(unquote(part) for part in self.path[1:].split("/"))):
                self.wfile.write(frame.encode())
        except Exception as error:  # noqa: BLE001 - the agent's own; a test looks at it
            self.server.raised.append(error)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.raised = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def node(server, script, protocol, broken):
    base = f"http://127.0.0.1:{server.server_port}/{protocol}/"
    names = [*STREAMS, *(f"broken {name}" for name in broken)]
    urls = json.dumps({name: base + quote(name) for name in names})
    command = ["node", *script, urls]
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, timeout=100, check=True)  # noqa: S603
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def ag_ui_read(server):
    return node(server, ["ag_ui.mjs"], "ag_ui", broken_ag_ui())


@pytest.fixture(scope="module", params=AI_SDKS)
def vercel_read(server, request):
    return node(server, ["vercel.mjs", request.param], "vercel", broken_vercel())


def said(messages, role):
    return [message["content"] for message in messages if message["role"] == role]


def parts(read, kind):
    return [part for part in read["message"]["parts"] if part["type"] == kind]


# --- AG-UI ---


@pytest.mark.parametrize("name", STREAMS)
def test_the_verifier_accepts(ag_ui_read, name):
    read = ag_ui_read[name]
    assert "refused" not in read
    assert read["warnings"] == []
    assert read["types"][-1] in {"RUN_FINISHED", "RUN_ERROR"}


REFUSALS = {
    "without RUN_STARTED": "First event must be 'RUN_STARTED'",
    "without REASONING_END": "while reasoning spans are still active",
    "without TEXT_MESSAGE_END": "while text messages are still active",
    "without TOOL_CALL_END": "while tool calls are still active",
    "arguments after the end": "No active tool call found",
    "after the end": "The run has already finished",
}


def test_the_verifier_refuses_a_broken_order(ag_ui_read):
    refused = {name: ag_ui_read[f"broken {name}"]["refused"] for name in broken_ag_ui()}
    assert refused.keys() == REFUSALS.keys()
    assert [name for name, why in REFUSALS.items() if why not in refused[name]] == []


def test_ag_ui_an_agent_at_work(ag_ui_read):
    read = ag_ui_read["agent"]
    thought, first, *results, thought_again, last = read["messages"]
    assert (thought["content"], thought_again["content"]) == ("Let me think.", "Good.")
    assert (first["content"], last["content"]) == ("I write and burn.", "Done. 完成。")
    assert [call["id"] for call in first["toolCalls"]] == ["call_w", "call_b"]
    assert read["calls"]["call_w"] == WRITE.arguments
    assert [result["toolCallId"] for result in results] == ["call_w", "call_b"]
    assert results[0]["content"] == "wrote a.py"
    assert "burn is not a valid tool" in results[1]["content"]
    assert results[1]["metadata"] == {"langchain": {"status": "error"}}
    assert read["customs"][0]["value"]["data"] == {"written": 60}
    assert (read["outcome"], read["pending"]) == ("success", [])
    assert read["usage"][0]["provider"] == "zai"


def test_ag_ui_a_cut_call_is_answered_and_so_not_left_to_the_client(ag_ui_read):
    read = ag_ui_read["agent with a cut call"]
    message, answer = read["messages"]
    assert message["toolCalls"][0]["metadata"]["langchain"]["invalid"] == "cut"
    assert answer["toolCallId"] == "call_h"
    assert read["pending"] == []


def test_ag_ui_what_a_middleware_answers_to_a_cut_call_is_its_only_result(ag_ui_read):
    read = ag_ui_read["agent that goes on after a cut call"]
    (answer,) = said(read["messages"], "tool")
    assert "smaller" in answer
    assert said(read["messages"], "assistant") == ["I write.", "Smaller."]


def test_ag_ui_an_interrupt_waits_for_its_answer(ag_ui_read):
    read = ag_ui_read["agent that asks"]
    assert read["outcome"] == "interrupt"
    (asked,) = read["interrupts"]
    assert asked["message"] == "May I?"


def test_ag_ui_a_run_that_fails(ag_ui_read, server):
    read = ag_ui_read["agent that fails in the middle"]
    assert read["runError"]["code"] == "GLMStreamInterruptedError"
    assert said(read["messages"], "assistant") == ["I write."]
    assert [error for error in server.raised if type(error).__name__ == read["runError"]["code"]]


def test_ag_ui_a_subagent_is_told_apart(ag_ui_read):
    read = ag_ui_read["agent with a subagent"]
    own = [message for message in read["messages"] if "subagentRunId" not in message]
    others = [message for message in read["messages"] if "subagentRunId" in message]
    assert said(own, "assistant") == ["I ask.", "All is done."]
    assert said(own, "tool") == ["Sub is done."]
    assert said(others, "reasoning") == ["Sub thinks."]
    assert said(others, "assistant") == ["Sub writes.", "Sub is done."]
    assert said(others, "tool") == ["wrote a.py"]


def test_ag_ui_a_bare_model_leaves_its_calls_to_the_client(ag_ui_read):
    assert ag_ui_read["model"]["pending"] == ["call_w", "call_b"]
    assert ag_ui_read["model"]["calls"]["call_w"] == WRITE.arguments


def test_ag_ui_raw_line_ends_in_arguments_reach_the_client(ag_ui_read):
    read = ag_ui_read["raw control characters"]
    assert read["calls"] == {"call_1": {"text": 'one\ntwo"\tthree\\'}}


def test_ag_ui_a_stopped_run_is_cancelled(ag_ui_read):
    assert ag_ui_read["stopped"]["outcome"] == "cancelled"


# --- the Vercel AI SDK ---

FAILED = ("failed", "failed by a stranger", "agent that fails in the middle")


@pytest.mark.parametrize("name", STREAMS)
def test_the_ai_sdk_reads(vercel_read, name):
    errors = vercel_read[name]["errors"]
    assert bool(errors) == name.removeprefix("redacted ").startswith(FAILED)
    assert not [error for error in errors if "Received" in error or "invocation" in error]


@pytest.mark.parametrize("name", broken_vercel())
def test_the_ai_sdk_refuses_a_broken_stream(vercel_read, name):
    assert vercel_read[f"broken {name}"]["errors"]


def test_vercel_an_agent_at_work(vercel_read):
    read = vercel_read["agent"]
    assert [part["type"] for part in read["message"]["parts"]] == [
        *("step-start", "reasoning", "text", "tool-write", "tool-burn"),
        *("step-start", "reasoning", "text"),
    ]
    assert [part["text"] for part in parts(read, "reasoning")] == ["Let me think.", "Good."]
    assert [part["text"] for part in parts(read, "text")] == ["I write and burn.", "Done. 完成。"]
    assert {part["state"] for part in parts(read, "text")} == {"done"}
    assert read["message"]["metadata"]["usage"]["totalTokens"] > 0


def test_vercel_arguments_grow_then_the_tool_answers(vercel_read):
    read = vercel_read["agent"]
    assert read["states"] == {
        "call_w": ["input-streaming", "input-available", "output-available"],
        "call_b": ["input-streaming", "input-available", "output-error"],
    }
    texts = [value["text"] for value in read["inputs"]["call_w"] if value and "text" in value]
    assert len(texts) > 5
    assert all(later.startswith(text) for text, later in pairwise(texts))
    (wrote,), (burnt,) = parts(read, "tool-write"), parts(read, "tool-burn")
    assert (wrote["input"], wrote["output"]) == (WRITE.arguments, "wrote a.py")
    assert "not a valid tool" in burnt["errorText"]


def test_vercel_progress_comes_but_is_not_kept(vercel_read):
    read = vercel_read["agent"]
    assert [c["data"]["data"] for c in read["chunks"] if c["type"] == "data-tool-progress"] == [
        {"written": 60}
    ]
    assert parts(read, "data-tool-progress") == []


def test_vercel_a_cut_call_is_an_error_with_what_came(vercel_read):
    read = vercel_read["agent with a cut call"]
    (cut,) = parts(read, "tool-write")
    assert read["states"]["call_h"] == ["input-streaming", "output-error"]
    # The AI SDK 5 and 6 keep the text of an invalid call as `rawInput`, 7 as `input`.
    assert cut.get("rawInput") or cut["input"] == HALF.arguments
    assert read["chunks"][-1]["finishReason"] == "length"


def test_vercel_an_interrupt_stands_in_the_message(vercel_read):
    (asked,) = parts(vercel_read["agent that asks"], "data-interrupt")
    assert asked["data"]["value"] == {"message": "May I?"}
    assert asked["data"]["id"] == asked["id"]


def test_vercel_a_run_that_fails(vercel_read):
    read = vercel_read["agent that fails in the middle"]
    assert "connection" in read["errors"][0]
    assert [part["text"] for part in parts(read, "text")] == ["I write."]


def test_vercel_a_subagent_says_where_its_parts_come_from(vercel_read):
    texts = parts(vercel_read["agent with a subagent"], "text")
    own = [part["text"] for part in texts if "providerMetadata" not in part]
    assert own == ["I ask.", "All is done."]
    assert texts[1]["providerMetadata"]["langchain"]["namespace"]


def test_vercel_a_bare_model(vercel_read):
    read = vercel_read["model"]
    assert read["states"]["call_w"] == ["input-streaming", "input-available"]
    assert read["chunks"][-1] == {
        **read["chunks"][-1],
        "type": "finish",
        "finishReason": "tool-calls",
    }


def test_vercel_a_stopped_run_is_aborted(vercel_read):
    read = vercel_read["stopped"]
    assert read["chunks"][-1] == {"type": "abort"}
    assert read["states"]["call_1"] == ["input-streaming", "output-error"]


def test_vercel_parallel_subagents_get_their_own_parts(vercel_read):
    read = vercel_read["interleaved"]
    assert [part["text"] for part in parts(read, "text")] == ["left", "right", "Both are done."]
    assert {part["state"] for part in parts(read, "tool-task")} == {"output-available"}
    assert read["inputs"]["call_l"][-1] == {"x": 1}
