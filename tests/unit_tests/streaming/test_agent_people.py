"""A run that waits for a person, and goes on; and tools whose results are no plain ones."""

import pytest
from agent_runs import INPUT, either_of_create_agent, glm, watched
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, wrap_tool_call
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.types import Command, interrupt

from langchain_glm.streaming import complete_history
from langchain_glm.streaming import events as ev
from langchain_glm.testing import Call, GLMServer, Reply

# One loop for all tests: its HTTP client is made once.
pytestmark = pytest.mark.asyncio(loop_scope="module")

THREAD = {"configurable": {"thread_id": "1"}}
DONE = Reply(text="Done.")
IDS = {"id": "call_s", "name": "send"}


@tool
def send(to: str) -> str:
    """Send a letter."""
    return f"sent to {to}"


@tool
def look(at: str) -> str:
    """Look at something."""
    return f"saw {at}"


SEND = Call("send", {"to": "Ada"}, "call_s")
LOOK = Call("look", {"at": "it"}, "call_l")


def supervised(server, *tools):
    middleware = [HumanInTheLoopMiddleware(interrupt_on={"send": True})]
    saver = InMemorySaver()
    return create_agent(glm(server), [*tools], middleware=middleware, checkpointer=saver)


def decide(*decisions):
    return Command(resume={"decisions": list(decisions)})


APPROVE = {"type": "approve"}
EDIT = {"type": "edit", "edited_action": {"name": "send", "args": {"to": "Bob"}}}
REJECT = {"type": "reject", "message": "Not now."}
REJECTED = "User rejected the tool call for `send` with reason: Not now."


# A person decides


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        pytest.param(
            APPROVE,
            [ev.ToolStarted({"to": "Ada"}, **IDS), ev.ToolFinished("sent to Ada", **IDS)],
            id="approve",
        ),
        pytest.param(
            EDIT,
            [ev.ToolStarted({"to": "Bob"}, **IDS), ev.ToolFinished("sent to Bob", **IDS)],
            id="edit",
        ),
        pytest.param(REJECT, [ev.ToolFailed(REJECTED, **IDS)], id="reject"),
    ],
)
@either_of_create_agent
async def test_a_person_decides(way, decision, told):
    with GLMServer([Reply(tool_calls=[SEND]), DONE]) as server:
        agent = supervised(server, send)
        asked = await watched(way, agent, INPUT, THREAD)
        answered = await watched(way, agent, decide(decision), THREAD)
    assert isinstance(asked.last, ev.RunInterrupted)
    (waiting,) = asked.last.interrupts
    assert waiting.value["action_requests"][0]["args"] == {"to": "Ada"}
    assert [m.type for m in asked.last.messages] == ["ai"]
    assert asked.last.output["messages"][-1] == asked.last.messages[-1]
    assert asked.of(ev.ToolEvent) == []
    assert answered.of(ev.ToolEvent) == told
    assert [m.type for m in answered.last.messages][-2:] == ["tool", "ai"]
    assert len(answered.of(ev.MessageFinished)) == 1


@either_of_create_agent
async def test_a_decision_on_one_of_two_calls(way):
    """The other runs; that a call was refused is told once."""
    with GLMServer([Reply(tool_calls=[SEND, LOOK]), DONE]) as server:
        agent = supervised(server, send, look)
        asked = await watched(way, agent, INPUT, THREAD)
        answered = await watched(way, agent, decide(REJECT), THREAD)
    assert asked.of(ev.ToolEvent) == []
    assert sorted((e.type, e.id) for e in answered.of(ev.ToolEvent)) == [
        ("tool_failed", "call_s"),
        ("tool_finished", "call_l"),
        ("tool_started", "call_l"),
    ]


@either_of_create_agent
async def test_the_messages_of_both_halves_make_the_history(way):
    with GLMServer([Reply(tool_calls=[SEND]), DONE]) as server:
        agent = supervised(server, send)
        asked = await watched(way, agent, INPUT, THREAD)
        answered = await watched(way, agent, decide(APPROVE), THREAD)
    question, *rest = answered.last.output["messages"]
    assert question.type == "human"
    assert [*asked.last.messages, *answered.last.messages] == rest


@tool
def ask_first(to: str) -> str:
    """Send a letter after a question."""
    return f"{interrupt(f'Send to {to}?')}, {to}"


@either_of_create_agent
async def test_an_interrupt_in_a_tool(way):
    call = Call("ask_first", {"to": "Ada"}, "call_s")
    with GLMServer([Reply(tool_calls=[call]), DONE]) as server:
        agent = create_agent(glm(server), [ask_first], checkpointer=InMemorySaver())
        asked = await watched(way, agent, INPUT, THREAD)
        answered = await watched(way, agent, Command(resume="Yes"), THREAD)
    assert [i.value for i in asked.last.interrupts] == ["Send to Ada?"]
    ids = {"id": "call_s", "name": "ask_first"}
    started = ev.ToolStarted({"to": "Ada"}, **ids)
    assert asked.of(ev.ToolEvent) == [started]
    assert answered.of(ev.ToolEvent) == [started, ev.ToolFinished("Yes, Ada", **ids)]


@either_of_create_agent
async def test_interrupts_of_parallel_calls(way):
    calls = [Call("ask_first", {"to": to}, f"call_{to}") for to in ("Ada", "Bob")]
    with GLMServer([Reply(tool_calls=calls), DONE]) as server:
        agent = create_agent(glm(server), [ask_first], checkpointer=InMemorySaver())
        asked = await watched(way, agent, INPUT, THREAD)
        waiting = {i.value: i.id for i in asked.last.interrupts}
        one = {waiting["Send to Ada?"]: "Yes"}
        half = await watched(way, agent, Command(resume=one), THREAD)
        other = {waiting["Send to Bob?"]: "No"}
        answered = await watched(way, agent, Command(resume=other), THREAD)
    assert sorted(waiting) == ["Send to Ada?", "Send to Bob?"]
    assert [i.value for i in half.last.interrupts] == ["Send to Bob?"]
    assert [e.content for e in half.of(ev.ToolFinished)] == ["Yes, Ada"]
    assert isinstance(answered.last, ev.RunFinished)
    # The state gets both answers only now: the first is told of again, as the same message.
    assert {e.content for e in answered.of(ev.ToolFinished)} == {"Yes, Ada", "No, Bob"}
    assert half.last.messages == answered.last.messages[:1]
    together = [m for run in (asked, half, answered) for m in run.last.messages]
    assert complete_history(together) == answered.last.output["messages"][1:]


@either_of_create_agent  # `interrupt`, too, needs the context
async def test_an_interrupt_in_a_node_of_a_nested_graph(way):
    def ask(state):
        return {"messages": [("human", interrupt("Name?"))]}

    inner = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
    outer = StateGraph(MessagesState).add_node("inner", inner).add_edge(START, "inner")
    graph = outer.compile(checkpointer=InMemorySaver())
    asked = await watched(way, graph, INPUT, THREAD)
    answered = await watched(way, graph, Command(resume="Ada"), THREAD)
    assert [i.value for i in asked.last.interrupts] == ["Name?"]
    assert isinstance(answered.last, ev.RunFinished)
    assert [m.text for m in answered.last.messages] == ["Ada"]


@either_of_create_agent
async def test_a_new_question_instead_of_a_decision(way):
    """The history that an interrupted run leaves, completed."""
    with GLMServer([Reply(tool_calls=[SEND]), DONE, DONE]) as server:
        asked = await watched(way, supervised(server, send), INPUT, THREAD)
        glm(server).invoke([("human", "hi"), *complete_history(asked.last.messages)])
        roles = [turn["role"] for turn in server.requests[-1].body["messages"]]
    assert roles == ["user", "assistant", "tool"]


# Results


@either_of_create_agent
async def test_a_tool_that_does_not_exist(way):
    with GLMServer([Reply(tool_calls=[Call("fly", {}, "call_f")]), DONE]) as server:
        run = await watched(way, create_agent(glm(server), [look]))
    (failed,) = run.of(ev.ToolEvent)
    assert (failed.type, failed.id, failed.name) == ("tool_failed", "call_f", "fly")
    assert "not a valid tool" in failed.error


@either_of_create_agent
async def test_arguments_that_do_not_fit(way):
    with GLMServer([Reply(tool_calls=[Call("look", {"on": 1}, "call_l")]), DONE]) as server:
        run = await watched(way, create_agent(glm(server), [look]))
    assert isinstance(run.last, ev.RunFinished)
    (failed,) = run.of(ev.ToolFailed)
    assert (failed.id, failed.name) == ("call_l", "look")
    assert "at" in failed.error


def broken(at: str) -> str:
    """Look at something."""
    msg = f"no {at}"
    raise ToolException(msg)


@either_of_create_agent
async def test_a_tool_that_handles_its_error(way):
    broken_look = tool("look")(broken)
    broken_look.handle_tool_error = True
    with GLMServer([Reply(tool_calls=[LOOK]), DONE]) as server:
        run = await watched(way, create_agent(glm(server), [broken_look]))
    ids = {"id": "call_l", "name": "look"}
    assert run.of(ev.ToolEvent) == [
        ev.ToolStarted({"at": "it"}, **ids),
        ev.ToolFailed("no it", **ids),
    ]


@pytest.mark.parametrize("handler", ["node", "middleware"])
@either_of_create_agent
async def test_an_error_that_is_handled_outside_of_the_tool(way, handler):
    calls = Reply(tool_calls=[LOOK])
    with GLMServer([calls, DONE]) as server:
        if handler == "node":
            bound = glm(server).bind_tools([tool("look")(broken)])
            graph = StateGraph(MessagesState)
            graph.add_node(
                "model", lambda s, config: {"messages": [bound.invoke(s["messages"], config)]}
            )
            graph.add_node("tools", ToolNode([tool("look")(broken)], handle_tool_errors="Sorry"))
            graph.add_edge(START, "model").add_edge("model", "tools")
            agent = graph.compile()
        else:
            agent = create_agent(glm(server), [tool("look")(broken)], middleware=[_Sorry[way]])
        run = await watched(way, agent)
    started, *failed = run.of(ev.ToolEvent)
    assert started.type == "tool_started"
    assert [(e.type, e.id, e.name) for e in failed] == [("tool_failed", "call_l", "look")]
    assert isinstance(run.last, ev.RunFinished)
    assert "Sorry" in [m.content for m in run.last.messages if m.type == "tool"]


@wrap_tool_call
def _sorry(request, handler):
    try:
        return handler(request)
    except ToolException:
        call = request.tool_call
        return ToolMessage("Sorry", tool_call_id=call["id"], name=call["name"], status="error")


@wrap_tool_call
async def _asorry(request, handler):
    try:
        return await handler(request)
    except ToolException:
        call = request.tool_call
        return ToolMessage("Sorry", tool_call_id=call["id"], name=call["name"], status="error")


_Sorry = {"sync": _sorry, "async": _asorry}


@tool
def goto(at: str, runtime: ToolRuntime) -> Command:
    """Go on elsewhere."""
    answer = ToolMessage(
        f"went to {at}", artifact=1, tool_call_id=runtime.tool_call_id, name="goto"
    )
    return Command(update={"messages": [answer]})


@either_of_create_agent
async def test_a_tool_that_returns_a_command(way):
    with GLMServer([Reply(tool_calls=[Call("goto", {"at": "it"}, "call_g")]), DONE]) as server:
        run = await watched(way, create_agent(glm(server), [goto]))
    ids = {"id": "call_g", "name": "goto"}
    assert run.of(ev.ToolEvent) == [
        ev.ToolStarted({"at": "it"}, **ids),
        ev.ToolFinished("went to it", 1, **ids),
    ]
    assert [m.type for m in run.last.messages] == ["ai", "tool", "ai"]


@either_of_create_agent
async def test_results_that_are_not_text(way):
    @tool
    def draw(what: str) -> list:
        """Draw something."""
        return [{"type": "text", "text": what}, {"type": "image", "url": "https://a.test/b.png"}]

    with GLMServer([Reply(tool_calls=[Call("draw", {"what": "x"}, "call_d")]), DONE]) as server:
        run = await watched(way, create_agent(glm(server), [draw]))
    (finished,) = run.of(ev.ToolFinished)
    assert finished.content[0]["text"] == "x"
    assert len(finished.content) == 2


@either_of_create_agent
async def test_a_tool_that_ends_the_run(way):
    @tool(return_direct=True)
    def last(at: str) -> str:
        """Say the last word."""
        return f"it is {at}"

    with GLMServer([Reply(tool_calls=[Call("last", {"at": "x"}, "call_d")])]) as server:
        run = await watched(way, create_agent(glm(server), [last]))
    assert [e.content for e in run.of(ev.ToolFinished)] == ["it is x"]
    assert [m.type for m in run.last.messages] == ["ai", "tool"]
