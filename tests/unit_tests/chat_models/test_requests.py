"""What `ChatGLM` sends, field by field, as a server gets it.

Z.ai's own hosts are reached over a proxy, which `GLMServer` stands for.
"""

import warnings
from typing import Literal

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_glm import ChatGLM, _notices
from langchain_glm.errors import GLMInvalidRequestError
from langchain_glm.testing import Call, GLMServer, Reply

OWN_URL = "http://api.z.ai/api/paas/v4"


@tool
def write(path: str) -> str:
    """Write a file."""
    return f"{path} is written."


@tool
def read(path: str) -> str:
    """Read a file."""
    return f"{path} is read."


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch):
    monkeypatch.setattr(_notices, "_said", set())


@pytest.fixture
def server():
    with GLMServer(Reply(text="Hi")) as server:
        yield server


def elsewhere(server, **fields):
    return ChatGLM(**{"api_key": "test-key", "base_url": server.base_url, **fields})


def own(server, **fields):
    proxy = server.base_url.removesuffix("/api/paas/v4")
    return ChatGLM(api_key="test-key", base_url=OWN_URL, openai_proxy=proxy, **fields)


def sent(server):
    """The last body, without what every body has."""
    body = dict(server.requests[-1].body)
    for name in ("model", "messages", "stream", "stream_options"):
        body.pop(name, None)
    return body


def invoke(model, **options):
    return model.invoke("hi", **options)


async def ainvoke(model, **options):
    return await model.ainvoke("hi", **options)


def stream(model, **options):
    return list(model.stream("hi", **options))


async def astream(model, **options):
    return [chunk async for chunk in model.astream("hi", **options)]


async def v3(model, **options):
    run = await model.astream_events("hi", version="v3", **options)
    return await run.output


WAYS = [invoke, ainvoke, stream, astream, v3]


async def done(value):
    return await value if hasattr(value, "__await__") else value


def test_an_own_host_is_reached_over_the_proxy(server):
    own(server).invoke("hi")
    assert server.requests[0].path == f"{OWN_URL}/chat/completions"


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("make", [own, elsewhere])
async def test_fields_of_glm_stand_at_the_top_level(make, ask, server):
    model = make(
        server,
        model="glm-5.2",
        max_tokens=9,
        temperature=0.5,
        stop="END",
        do_sample=False,
        user_id="user-1",
        thinking=True,
        clear_thinking=False,
        reasoning_effort="high",
        extra_body={"new": 1},
    )
    await done(ask(model, request_id="request-1"))
    (request,) = server.requests
    assert request.path.endswith("/chat/completions")
    assert sent(server) == {
        "max_tokens": 9,
        "temperature": 0.5,
        "stop": ["END"],
        "do_sample": False,
        "user_id": "user-1",
        "thinking": {"type": "enabled", "clear_thinking": False},
        "reasoning_effort": "high",
        "request_id": "request-1",
        "new": 1,
    }
    assert ("stream_options" in request.body) == request.body["stream"]


@pytest.mark.parametrize("make", [own, elsewhere])
def test_a_plain_request_has_nothing_but_its_messages(make, server):
    make(server).invoke("hi")
    assert server.requests[0].body == {
        "model": "glm-4.7",
        "messages": [{"content": "hi", "role": "user"}],
        "stream": False,
    }


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({"do_sample": True}, {"do_sample": True}),
        ({"do_sample": None}, {}),
        ({"user_id": "user-2"}, {"user_id": "user-2"}),
        ({"max_completion_tokens": 3}, {"max_tokens": 3}),
        ({"stop": ["A", "B"]}, {"stop": ["A", "B"]}),
    ],
)
def test_a_call_says_it_for_itself(options, body, server):
    model = elsewhere(server, do_sample=False)
    model.invoke("hi", **options)
    model.bind(**options).invoke("hi")
    assert [request.body.get("do_sample") for request in server.requests] == [
        body.get("do_sample", None if "do_sample" in options else False)
    ] * 2
    assert body.items() <= sent(server).items()


def test_the_fields_are_kept_in_copies_and_traces(server):
    model = elsewhere(server, thinking="disabled", do_sample=False, user_id="user-1")
    again = model.model_copy(update={"user_id": "user-2"})
    again.invoke("hi")
    fields = {"do_sample": False, "user_id": "user-2"}
    assert sent(server) == {**fields, "thinking": {"type": "disabled"}}
    assert fields.items() <= again._get_invocation_params().items()


# What Z.ai's hosts do not take

EXTRAS = {
    "n": 1,
    "logprobs": True,
    "top_logprobs": 2,
    "logit_bias": {"1": 2},
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "store": True,
    "service_tier": "flex",
    "verbosity": "low",
    "reasoning": {"effort": "low"},
    "include": ["file_search_call.results"],
    "truncation": "auto",
}
INSTEAD = {"reasoning": " reasoning_effort=... is GLM's name."}
OF_A_CALL = {"parallel_tool_calls": False, "prediction": {"type": "content", "content": "x"}}


def said(caught):
    return [str(warning.message) for warning in caught if warning.category is UserWarning]


@pytest.mark.parametrize("ask", WAYS)
async def test_an_own_host_is_not_sent_them_and_each_is_named_once(ask, server):
    model = own(server, **EXTRAS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await done(ask(model, **OF_A_CALL))
        await done(ask(model, **OF_A_CALL))
    assert sent(server) == {}
    assert sorted(said(caught)) == sorted(
        f"Z.ai's hosts take no {name!r}: it is not sent.{INSTEAD.get(name, '')}"
        for name in {**EXTRAS, **OF_A_CALL}
    )


@pytest.mark.parametrize("name", [*EXTRAS, *OF_A_CALL])
def test_each_is_a_warning_of_its_own(name, server):
    value = {**EXTRAS, **OF_A_CALL}[name]
    with pytest.warns(UserWarning, match=f"take no '{name}'"):
        own(server).invoke("hi", **{name: value})
    own(server).invoke("hi", **{name: value})  # no more of it
    assert sent(server) == {}


def test_other_hosts_are_sent_them_as_given(server):
    elsewhere(server, **EXTRAS).invoke("hi", **OF_A_CALL)
    assert sent(server) == {**EXTRAS, **OF_A_CALL}


def test_extra_body_is_sent_as_it_stands(server):
    own(server, extra_body={"logprobs": True}).invoke("hi")
    assert sent(server) == {"logprobs": True}


# tool_choice


def offered(server):
    body = server.requests[-1].body
    return [t["function"]["name"] for t in body.get("tools", ())], body.get("tool_choice")


CHOICES = [
    pytest.param("write", (["write"], "auto"), id="a name"),
    pytest.param({"type": "function", "function": {"name": "read"}}, (["read"], "auto"), id="dict"),
    pytest.param("any", (["write", "read"], "auto"), id="any"),
    pytest.param("required", (["write", "read"], "auto"), id="required"),
    pytest.param(True, (["write", "read"], "auto"), id="true"),
]


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize(("choice", "expected"), CHOICES)
async def test_an_own_host_is_sent_auto_with_one_warning(ask, choice, expected, server):
    model = own(server, model="glm-5.3").bind_tools([write, read], tool_choice=choice)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await done(ask(model))
        await done(ask(model))
    assert offered(server) == expected
    (text,) = said(caught)
    assert text.startswith('GLM takes only tool_choice="auto": it is sent in place of ')


@pytest.mark.parametrize(("choice", "_"), CHOICES)
def test_other_hosts_are_sent_the_choice(choice, _, server):
    elsewhere(server).bind_tools([write, read], tool_choice=choice).invoke("hi")
    assert offered(server)[0] == ["write", "read"]
    assert offered(server)[1] not in ("auto", None)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", (["write", "read"], "auto")),
        (None, (["write", "read"], None)),
        ("none", ([], None)),
    ],
)
def test_an_own_host_is_sent_what_works_without_a_warning(choice, expected, server):
    own(server).bind_tools([write, read], tool_choice=choice).invoke("hi")
    assert offered(server) == expected


def test_a_profile_says_that_a_server_takes_others(server):
    model = own(server)
    taking = own(server, profile={**model.profile, "tool_choice": True})
    taking.bind_tools([write, read], tool_choice="any").invoke("hi")
    assert offered(server) == (["write", "read"], "required")


@pytest.mark.parametrize(("make", "choice"), [(own, "auto"), (elsewhere, "required")])
@pytest.mark.filterwarnings("ignore:GLM takes only tool_choice")
def test_where_a_profile_does_not_say_the_host_counts(make, choice, server):
    make(server, profile={}).bind_tools([write], tool_choice="any").invoke("hi")
    assert offered(server) == (["write"], choice)


def test_a_profile_says_that_a_server_takes_only_auto(server):
    model = elsewhere(server, profile={"tool_choice": False})
    with pytest.warns(UserWarning, match="takes only tool_choice"):
        model.bind_tools([write, read], tool_choice="any").invoke("hi")
    assert offered(server) == (["write", "read"], "auto")


class Weather(BaseModel):
    """A weather report."""

    sky: Literal["clear", "cloudy"]


ANSWER = Reply(tool_calls=[Call("Weather", {"sky": "clear"})])


@pytest.mark.parametrize("schema", [Weather, ToolStrategy(Weather)])
def test_create_agent_forces_a_tool_without_a_warning(schema):
    with GLMServer(ANSWER) as server:
        agent = create_agent(own(server), [write], response_format=schema)
        state = agent.invoke({"messages": "hi"})
        assert offered(server) == (["write", "Weather"], "auto")
    assert state["structured_response"] == Weather(sky="clear")


def test_create_agent_forces_a_tool_where_that_works():
    with GLMServer(ANSWER) as server:
        agent = create_agent(elsewhere(server), [write], response_format=ToolStrategy(Weather))
        agent.invoke({"messages": "hi"})
        assert offered(server) == (["write", "Weather"], "required")


def test_create_agent_asks_other_hosts_for_a_schema():
    with GLMServer(Reply(text='{"sky": "clear"}')) as server:
        agent = create_agent(elsewhere(server), [write], response_format=ProviderStrategy(Weather))
        state = agent.invoke({"messages": "hi"})
        assert server.requests[-1].body["response_format"]["type"] == "json_schema"
    assert state["structured_response"] == Weather(sky="clear")


# What GLM refuses


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        pytest.param({"temperature": 1.5}, "temperature", id="temperature"),
        pytest.param(
            {"model": "glm-5.3", "extra_body": {"thinking": {"type": "disabled"}}},
            "always engages in thinking",
            id="thinking",
        ),
        pytest.param(
            {"model": "zai-org/GLM-5.3-flash", "extra_body": {"tool_choice": "required"}},
            "Tool choice must be auto",
            id="tool_choice",
        ),
    ],
)
def test_what_the_server_refuses_is_an_error_of_its_own(fields, text, server):
    with pytest.raises(GLMInvalidRequestError, match=text):
        own(server, **fields).invoke("hi")
    assert len(server.requests) == 1
