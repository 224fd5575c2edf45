"""Whether a model thinks, and what of its thoughts goes back to it."""

import operator
from contextlib import contextmanager
from functools import reduce

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.runnables import ConfigurableField
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from pydantic import ValidationError

from langchain_glm import ChatGLM, _notices
from langchain_glm.testing import Call, GLMServer, Reply

ENABLED, DISABLED = {"type": "enabled"}, {"type": "disabled"}


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch):
    monkeypatch.setattr(_notices, "_said", set())


@pytest.fixture
def server():
    with GLMServer(Reply(reasoning="Hm.", text="Hi")) as server:
        yield server


def chat(server, **fields):
    return ChatGLM(**{"api_key": "test-key", "base_url": server.base_url, **fields})


def thinking_sent(server):
    body = server.requests[-1].body
    return {name: body[name] for name in ("thinking", "reasoning_effort") if name in body}


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        pytest.param({}, {}, id="left_to_the_model"),
        pytest.param({"thinking": True}, {"thinking": ENABLED}, id="true"),
        pytest.param({"thinking": False}, {"thinking": DISABLED}, id="false"),
        pytest.param({"thinking": "enabled"}, {"thinking": ENABLED}, id="enabled"),
        pytest.param({"thinking": "disabled"}, {"thinking": DISABLED}, id="disabled"),
        pytest.param({"thinking": DISABLED}, {"thinking": DISABLED}, id="dict"),
        pytest.param(
            {"clear_thinking": False}, {"thinking": {"clear_thinking": False}}, id="clear_alone"
        ),
        pytest.param(
            {"thinking": True, "clear_thinking": True},
            {"thinking": {**ENABLED, "clear_thinking": True}},
            id="both",
        ),
        pytest.param({"reasoning_effort": "max"}, {"reasoning_effort": "max"}, id="effort"),
    ],
)
def test_thinking_is_said_once_or_for_a_call(fields, body, server):
    chat(server, **fields).invoke("hi")
    assert thinking_sent(server) == body
    chat(server).invoke("hi", **fields)
    assert thinking_sent(server) == body
    chat(server).bind(**fields).invoke("hi")
    assert thinking_sent(server) == body
    list(chat(server).stream("hi", **fields))
    assert thinking_sent(server) == body


@pytest.mark.parametrize("said", ["on", "auto", 1, 0, "", ["enabled"]])
def test_what_thinking_is_not(said, server):
    with pytest.raises(ValidationError, match="thinking"):
        chat(server, thinking=said)
    with pytest.raises(ValueError, match="thinking is True, False"):
        chat(server).invoke("hi", thinking=said)
    assert not server.requests


def test_the_call_is_nearer_than_the_model(server):
    model = chat(server, thinking=True, clear_thinking=False)
    model.invoke("hi", thinking=False)
    assert thinking_sent(server) == {"thinking": {**DISABLED, "clear_thinking": False}}
    model.bind(thinking=False).invoke("hi", thinking={"type": "enabled", "clear_thinking": True})
    assert thinking_sent(server) == {"thinking": {**ENABLED, "clear_thinking": True}}


def test_thinking_can_be_configured(server):
    model = chat(server, thinking=True).configurable_fields(thinking=ConfigurableField(id="t"))
    model.with_config(configurable={"t": "disabled"}).invoke("hi")
    assert thinking_sent(server) == {"thinking": DISABLED}


@pytest.mark.parametrize("model_id", ["glm-5.3", "glm-5.3-flash", "zai-org/GLM-5.3-FP8"])
@pytest.mark.parametrize("how", [False, "disabled", DISABLED])
def test_a_model_that_always_thinks_is_asked_to_think_little(model_id, how, server):
    model = chat(server, model=model_id, thinking=how)
    with pytest.warns(UserWarning, match=r"always thinks.*reasoning_effort='low' is sent instead"):
        model.invoke("hi")
    model.invoke("hi")  # it is said once
    assert thinking_sent(server) == {"reasoning_effort": "low"}


def test_for_a_call_the_model_of_the_call_counts(server):
    model = chat(server, thinking=False)
    with pytest.warns(UserWarning, match=r"glm-5\.3 always thinks"):
        model.invoke("hi", model="glm-5.3")
    assert thinking_sent(server) == {"reasoning_effort": "low"}
    model.invoke("hi")
    assert thinking_sent(server) == {"thinking": DISABLED}


def test_vllm_and_sglang_switch_in_extra_body(server):
    extra_body = {"chat_template_kwargs": {"enable_thinking": False}}
    chat(server, extra_body=extra_body).invoke("hi")
    assert server.requests[-1].body["chat_template_kwargs"] == {"enable_thinking": False}
    assert thinking_sent(server) == {}


# What goes back

FIRST, SECOND = " I need\nit – 想一想。\t", "Now the\\u0020other. "
ROUNDS = [
    Reply(reasoning=FIRST, text="I look.", tool_calls=[Call("look", {"at": "a"}, id="call_a")]),
    Reply(reasoning=SECOND, tool_calls=[Call("look", {"at": "b"}, id="call_b")]),
    Reply(tool_calls=[Call("look", {"at": "c"}, id="call_c")]),
    Reply(reasoning="  ", text="All seen."),
    Reply(reasoning="Polite.\r\n", text="You are welcome."),
]
TURNS = ["Look around.", "Thank you."]


def look(at: str) -> str:
    """Look at something."""
    return f"{at} is there"


def call(id_, at):
    function = {"name": "look", "arguments": f'{{"at": "{at}"}}'}
    return {"type": "function", "id": id_, "function": function}


def turn(content, calls=(), reasoning=""):
    fields = {"content": content, "role": "assistant"}
    fields |= {"tool_calls": list(calls)} if calls else {}
    return {**fields, "reasoning_content": reasoning} if reasoning else fields


def seen(id_, at):
    return {"content": f"{at} is there", "role": "tool", "tool_call_id": id_}


HISTORY = [
    {"content": "Look around.", "role": "user"},
    turn("I look.", [call("call_a", "a")], FIRST),
    seen("call_a", "a"),
    turn("", [call("call_b", "b")], SECOND),
    seen("call_b", "b"),
    turn("", [call("call_c", "c")]),
    seen("call_c", "c"),
    turn("All seen.", reasoning="  "),
    {"content": "Thank you.", "role": "user"},
]
LENGTHS = [1, 3, 5, 7, 9]  # of the history in each request


def forgetful(history, keep):
    return [
        one if keep(number) else {k: v for k, v in one.items() if k != "reasoning_content"}
        for number, one in enumerate(history)
    ]


BODIES = {
    "all": [HISTORY[:length] for length in LENGTHS],
    "current_turn": [
        *[HISTORY[:length] for length in LENGTHS[:4]],
        forgetful(HISTORY, lambda number: number == 8),
    ],
    "none": [forgetful(HISTORY[:length], lambda _: False) for length in LENGTHS],
}


@contextmanager
def in_memory(_):
    saver = InMemorySaver()
    yield lambda: saver


@contextmanager
def in_sqlite(path):
    with (
        SqliteSaver.from_conn_string(str(path)) as first,
        SqliteSaver.from_conn_string(str(path)) as second,  # knows the file alone
    ):
        yield iter([first, second]).__next__


def run_invoke(agent, ask, config):
    agent.invoke(ask, config)


def run_messages(agent, ask, config):
    list(agent.stream(ask, config, stream_mode="messages"))


def run_v3(agent, ask, config):
    assert agent.stream_events(ask, config, version="v3").output


THREAD = {"configurable": {"thread_id": "1"}}
each_history = pytest.mark.parametrize("history", BODIES)
each_version = pytest.mark.parametrize("version", ["v0", "v1"])


@pytest.mark.parametrize("keep", [in_memory, in_sqlite])
@pytest.mark.parametrize("run", [run_invoke, run_messages, run_v3])
@each_version
@each_history
def test_three_rounds_of_tools_in_two_turns(history, version, run, keep, tmp_path):
    with GLMServer(ROUNDS) as server, keep(tmp_path / "threads.db") as savers:
        for ask in TURNS:  # each by a model and an agent of its own
            model = chat(server, reasoning_history=history, output_version=version)
            agent = create_agent(model, [look], checkpointer=savers())
            run(agent, {"messages": ask}, THREAD)
        assert [request.body["messages"] for request in server.requests] == BODIES[history]


@each_history
async def test_three_rounds_of_tools_in_two_turns_async(history, tmp_path):
    path = str(tmp_path / "threads.db")
    with GLMServer(ROUNDS) as server:
        for ask in TURNS:
            async with AsyncSqliteSaver.from_conn_string(path) as saver:
                model = chat(server, reasoning_history=history)
                agent = create_agent(model, [look], checkpointer=saver)
                parts = agent.astream({"messages": ask}, THREAD, stream_mode="messages")
                assert [part async for part in parts]
        assert [request.body["messages"] for request in server.requests] == BODIES[history]


def by_invoke(model, history):
    return model.invoke(history)


def by_sum(model, history):
    return reduce(operator.add, model.stream(history))


def by_v3(model, history):
    return model.stream_events(history, version="v3").output


@pytest.mark.parametrize("ask", [by_invoke, by_sum, by_v3])
@each_version
@each_history
def test_three_rounds_by_hand(history, version, ask):
    with GLMServer(ROUNDS) as server:
        model = chat(server, reasoning_history=history, output_version=version).bind_tools([look])
        messages = []
        for text in TURNS:
            messages += [HumanMessage(text), ask(model, [*messages, HumanMessage(text)])]
            while calls := messages[-1].tool_calls:
                messages += [ToolMessage(look(**c["args"]), tool_call_id=c["id"]) for c in calls]
                messages.append(ask(model, messages))
        assert [request.body["messages"] for request in server.requests] == BODIES[history]


def test_a_call_says_what_goes_back(server):
    model = chat(server)
    history = [HumanMessage("hi"), model.invoke("hi"), HumanMessage("And?")]
    model.invoke(history, reasoning_history="none")
    model.bind(reasoning_history="current_turn").invoke(history)
    for request in server.requests[1:]:
        assert request.body["messages"][1] == turn("Hi")
        assert "reasoning_history" not in request.body


def test_a_history_of_reasoning_is_one_of_three(server):
    with pytest.raises(ValidationError, match="reasoning_history"):
        chat(server, reasoning_history="some")
    with pytest.raises(ValueError, match="reasoning_history is 'all', "):
        chat(server).invoke("hi", reasoning_history="some")
