"""`ChatGLM.with_structured_output`: what each host is sent, and what becomes of its answer.

`zai` is a host of Z.ai's own, which takes only `tool_choice="auto"` and enforces no schema;
`hosted` runs a vLLM, which takes others and enforces it.
"""

import asyncio
import json
from itertools import pairwise
from typing import Literal

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import (
    ProviderStrategy,
    StructuredOutputValidationError,
    ToolStrategy,
)
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_glm import ChatGLM
from langchain_glm._profiles import profile_for
from langchain_glm.testing import Call, GLMServer, Reply

pytestmark = pytest.mark.filterwarnings("error::UserWarning")

ASK = "上海在哪里?"
OBJECT = {"city": "上海", "part": "浦东新区", "river": "east"}
TEXT = json.dumps(OBJECT, ensure_ascii=False)


class Place(BaseModel):
    """A place, 一个地方."""

    city: str
    part: str
    river: Literal["east", "west"]


class Nowhere(BaseModel):
    """It is not known."""

    why: str


class PlaceV1(BaseModelV1):
    """A place, 一个地方."""

    city: str
    part: str
    river: Literal["east", "west"]


class PlaceDict(TypedDict):
    """A place, 一个地方."""

    city: str
    part: str
    river: Literal["east", "west"]


SCHEMA = convert_to_json_schema(Place)
FUNCTION = {
    "name": "Place",
    "description": SCHEMA["description"],
    "parameters": {k: v for k, v in SCHEMA.items() if k not in {"title", "description"}},
}
CLASSES = [Place, PlaceV1, PlaceDict]
SCHEMAS = [*CLASSES, SCHEMA, FUNCTION, {"name": "Place", "schema": SCHEMA}]

SAID = Reply(reasoning="By the river.", text=TEXT)
FENCED = Reply(reasoning="By the river.", text=f"```json\n{TEXT}\n```")


def called(arguments, **reply):
    """Call the last of the tools that the request offers."""

    def answer(received):
        name = received.body["tools"][-1]["function"]["name"]
        return Reply(tool_calls=[Call(name, arguments)], **reply)

    return answer


CALLED = called(OBJECT, reasoning="By the river.")
ANSWERS = {"json_schema": FENCED, "json_mode": SAID, "function_calling": CALLED}
PROSE = Reply(text="East of the river, I think.")

in_each_method = pytest.mark.parametrize("method", list(ANSWERS))


def zai(server, **fields):
    return hosted(server, **{"profile": profile_for("glm-4.7"), **fields})


def hosted(server, **fields):
    return ChatGLM(**{"base_url": server.base_url, "api_key": "test-key", **fields})


def at_zai(server):
    """As `zai`, with Z.ai's own URL."""
    proxy = server.base_url.removesuffix("/api/paas/v4")
    url = "http://api.z.ai/api/paas/v4"
    return hosted(server, base_url=url, openai_proxy=proxy)


on_own_hosts = pytest.mark.parametrize("make", [zai, at_zai])
on_each_host = pytest.mark.parametrize("make", [zai, at_zai, hosted])


def field_names(body):
    return body.keys() - {"model", "messages", "stream", "stream_options", "tool_stream"}


async def results(chain, ask=ASK):
    """What a chain gives in all four ways, the streams' last."""
    streamed = [list(chain.stream(ask)), [item async for item in chain.astream(ask)]]
    return [chain.invoke(ask), await chain.ainvoke(ask), *(items[-1] for items in streamed)]


# The requests

INSTRUCTION = (
    "Answer with one JSON object and nothing else, no prose and no code fence. It has to be valid "
    f"under this JSON schema:\n{json.dumps(SCHEMA, ensure_ascii=False)}"
)
TO_CALL = (
    "Answer by calling the function `Place` exactly once, with the whole answer as its arguments. "
    "Do not answer in prose."
)
ASKED = {"role": "user", "content": ASK}


async def sent(make, method, schema=Place, ask=ASK, **options):
    """The one body that all four ways send."""
    with GLMServer(ANSWERS[method]) as server:
        await results(make(server).with_structured_output(schema, method=method, **options), ask)
        first, *others = [request.body for request in server.requests]
    assert all(other["messages"] == first["messages"] for other in others)
    assert all(field_names(other) == field_names(first) for other in others)
    return first


@on_own_hosts
async def test_the_schema_goes_into_the_instructions_of_own_hosts(make):
    body = await sent(make, "json_schema")
    assert field_names(body) == {"response_format"}
    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"] == [{"role": "system", "content": INSTRUCTION}, ASKED]
    assert "一个地方" in INSTRUCTION


async def test_the_instructions_that_there_are_stay_first():
    body = await sent(zai, "json_schema", ask=[("system", "Be brief."), ("human", ASK)])
    assert body["messages"][0]["content"] == f"Be brief.\n\n{INSTRUCTION}"
    assert body["messages"][1:] == [ASKED]


async def test_the_schema_goes_to_hosts_that_enforce_it():
    body = await sent(hosted, "json_schema", strict=True)
    assert field_names(body) == {"response_format"}
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "Place",
            "schema": {**SCHEMA, "additionalProperties": False},
            "strict": True,
        },
    }
    assert body["messages"] == [ASKED]


async def test_json_schema_is_the_default():
    with GLMServer(SAID) as server:
        hosted(server).with_structured_output(Place).invoke(ASK)
        assert server.requests[0].body["response_format"]["json_schema"]["name"] == "Place"


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_every_kind_of_schema_is_told(schema):
    body = await sent(zai, "json_schema", schema)
    told = json.loads(body["messages"][0]["content"].partition("\n")[2])
    assert told["title"] == getattr(schema, "__name__", "Place")
    assert told["description"] == SCHEMA["description"]
    assert told["properties"]["river"]["enum"] == ["east", "west"]
    assert told["required"] == ["city", "part", "river"]


@on_each_host
async def test_a_class_that_is_bound_by_hand_is_sent_likewise(make):
    with GLMServer(SAID) as server:
        make(server).bind(response_format=Place).invoke(ASK)
        make(server).with_structured_output(Place).invoke(ASK)
    by_hand, by_method = [request.body for request in server.requests]
    assert by_hand == by_method


@on_own_hosts
async def test_a_function_is_not_forced_on_own_hosts(make):
    body = await sent(make, "function_calling")
    assert field_names(body) == {"tools"}
    assert body["tools"] == [{"type": "function", "function": FUNCTION}]
    assert body["messages"] == [{"role": "system", "content": TO_CALL}, ASKED]


async def test_a_function_is_forced_where_that_works():
    body = await sent(hosted, "function_calling")
    assert body["tools"] == [{"type": "function", "function": FUNCTION}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "Place"}}
    assert body["parallel_tool_calls"] is False
    assert field_names(body) == {"tools", "tool_choice", "parallel_tool_calls"}
    assert body["messages"] == [ASKED]


async def test_disabled_parameters_are_not_sent():
    disabled = {"tool_choice": None, "parallel_tool_calls": None}

    def make(server):
        return hosted(server, disabled_params=disabled)

    assert field_names(await sent(make, "function_calling")) == {"tools"}


@on_each_host
async def test_json_mode_leaves_the_shape_to_the_prompt(make):
    body = await sent(make, "json_mode")
    assert field_names(body) == {"response_format"}
    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"] == [ASKED]


@in_each_method
async def test_what_is_bound_beside_is_sent(method):
    assert (await sent(zai, method, temperature=0.5))["temperature"] == 0.5


# The answers


@in_each_method
@pytest.mark.parametrize("make", [zai, hosted])
@pytest.mark.parametrize("schema", SCHEMAS)
async def test_an_answer(make, method, schema):
    wanted = schema(**OBJECT) if schema in (Place, PlaceV1) else OBJECT
    with GLMServer(ANSWERS[method]) as server:
        chain = make(server).with_structured_output(schema, method=method)
        assert await results(chain) == [wanted] * 4


async def test_json_mode_without_a_schema():
    with GLMServer(Reply(text='{"anything": [1]}')) as server:
        chain = zai(server).with_structured_output(method="json_mode")
        assert await results(chain) == [{"anything": [1]}] * 4


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_schema_is_needed(method):
    with pytest.raises(ValueError, match="needs a schema"):
        ChatGLM(api_key="test-key").with_structured_output(method=method)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("json_mode", {"strict": True}),
        ("json_mode", {"tools": [print]}),
        ("function_calling", {"tools": [print]}),
    ],
)
def test_what_does_not_go_together(method, options):
    with pytest.raises(ValueError, match="|".join(options)):
        ChatGLM(api_key="test-key").with_structured_output(Place, method=method, **options)


@in_each_method
@pytest.mark.parametrize(
    "fields",
    [
        {"output_version": "v1"},
        {"streaming": True},
        {"disable_streaming": True},
        {"include_raw_response": True},
        {"tool_stream": False},
    ],
    ids=str,
)
async def test_an_answer_however_the_model_is_set(method, fields):
    with GLMServer(ANSWERS[method]) as server:
        chain = zai(server, **fields).with_structured_output(Place, method=method)
        assert await results(chain) == [Place(**OBJECT)] * 4


def lacking(method):
    """An answer without two of its keys, and its text."""
    if method == "function_calling":
        return called('{"city": "上海"}'), '{"city": "上海"}'
    return Reply(text='So: {"city": "上海"}'), 'So: {"city": "上海"}'


async def failure(call):
    with pytest.raises(OutputParserException) as raised:
        await call()
    return raised.value


async def failures(chain):
    """The errors of all four ways."""

    async def invoke():
        chain.invoke(ASK)

    async def ainvoke():
        await chain.ainvoke(ASK)

    async def stream():
        list(chain.stream(ASK))

    async def astream():
        [item async for item in chain.astream(ASK)]

    return [await failure(call) for call in (invoke, ainvoke, stream, astream)]


@in_each_method
@pytest.mark.parametrize("make", [zai, hosted])
@pytest.mark.parametrize("schema", SCHEMAS)
async def test_an_answer_of_another_shape_is_an_error(make, method, schema):
    answer, text = lacking(method)
    with GLMServer(answer) as server:
        for error in await failures(make(server).with_structured_output(schema, method=method)):
            assert error.llm_output == text
            assert "part" in str(error)


@in_each_method
async def test_prose_is_an_error(method):
    with GLMServer(PROSE) as server:
        for error in await failures(zai(server).with_structured_output(Place, method=method)):
            assert error.llm_output == PROSE.text
            assert PROSE.text in str(error)


def cut(method, reason):
    """An answer that was cut in the middle, and its text."""
    begun = TEXT[:15]
    if method == "function_calling":
        return called(begun, finish_reason=reason), begun
    return Reply(text=begun, finish_reason=reason), begun


@in_each_method
@on_each_host
async def test_a_cut_answer_is_an_error_that_says_so(make, method):
    answer, begun = cut(method, "length")
    with GLMServer(answer) as server:
        for error in await failures(make(server).with_structured_output(Place, method=method)):
            assert "finish_reason 'length'" in str(error)
            assert "raise max_tokens" in str(error)
            assert error.llm_output == begun


async def test_a_call_that_a_server_closed_where_it_was_cut_is_an_error():
    closed = called(OBJECT, finish_reason="length")
    with GLMServer(closed) as server:
        chain = hosted(server).with_structured_output(Place, method="function_calling")
        for error in await failures(chain):
            assert "length" in str(error)
            assert json.loads(error.llm_output) == OBJECT


@in_each_method
async def test_include_raw_keeps_the_message(method):
    with GLMServer(ANSWERS[method]) as server:
        chain = zai(server).with_structured_output(Place, method=method, include_raw=True)
        for result in await results(chain):
            if "raw" in result:  # the last of a stream is `parsing_error`
                assert isinstance(result["raw"], AIMessage)
                assert result["raw"].additional_kwargs["reasoning_content"] == "By the river."
                assert result["parsed"] == Place(**OBJECT)
            assert result["parsing_error"] is None


@in_each_method
@pytest.mark.parametrize("answer", [lacking, lambda method: cut(method, "length")])
async def test_include_raw_raises_nothing(method, answer):
    answer, text = answer(method)
    with GLMServer(answer) as server:
        chain = zai(server).with_structured_output(Place, method=method, include_raw=True)
        for result in await results(chain):
            assert isinstance(result["parsing_error"], OutputParserException)
            assert result["parsing_error"].llm_output == text
            assert result.get("parsed") is None


def weather(city: str) -> str:
    """Tell the weather."""
    return f"sun in {city}"


async def test_a_tool_beside_the_schema():
    answers = [Reply(tool_calls=[Call("weather", {"city": "上海"})]), SAID]
    with GLMServer(answers) as server:
        model = zai(server)
        chain = model.with_structured_output(Place, tools=[weather], include_raw=True)
        first, second = chain.invoke(ASK), chain.invoke(ASK)
        body = server.requests[0].body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather"]
    assert body["messages"][0]["content"].startswith("Once no more tools are needed, answer with")
    assert first["raw"].tool_calls[0]["args"] == {"city": "上海"}
    assert (first["parsed"], first["parsing_error"]) == (None, None)
    assert second["parsed"] == Place(**OBJECT)


async def test_a_tool_beside_the_schema_without_the_message():
    with GLMServer(Reply(tool_calls=[Call("weather", {"city": "上海"})])) as server:
        chain = zai(server).with_structured_output(Place, tools=[weather])
        assert chain.invoke(ASK) is None
        assert await chain.ainvoke(ASK) is None
        assert list(chain.stream(ASK)) == []


async def test_a_broken_call_of_a_tool_beside_the_schema_is_no_answer():
    with GLMServer(Reply(tool_calls=[Call("weather", '{"city": ')])) as server:
        chain = zai(server).with_structured_output(Place, tools=[weather])
        for error in await failures(chain):
            assert "is not valid" in str(error)


# Streams


@in_each_method
@on_each_host
async def test_an_answer_grows(make, method):
    with GLMServer(ANSWERS[method], fragment_size=2) as server:
        chain = make(server).with_structured_output(SCHEMA, method=method)
        grown = list(chain.stream(ASK))
        assert [item async for item in chain.astream(ASK)] == grown
    assert grown[-1] == OBJECT
    assert len(grown) > 8
    for sooner, later in pairwise(grown):
        assert sooner.keys() <= later.keys()
        assert all(later[key].startswith(value) for key, value in sooner.items())


@in_each_method
async def test_an_object_grows_from_where_it_is_valid(method):
    answer = {"river": "east", "city": "上海", "part": "浦东新区"}
    reply = Reply(text=json.dumps(answer, ensure_ascii=False))
    if method == "function_calling":
        reply = called(answer)
    with GLMServer(reply, fragment_size=1) as server:
        grown = list(zai(server).with_structured_output(Place, method=method).stream(ASK))
    assert [place.part for place in grown] == ["", "浦", "浦东", "浦东新", "浦东新区"]


@in_each_method
@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_the_first_part_is_received_before_the_last_is_sent(method, way):
    with GLMServer(ANSWERS[method], pace=0.01) as server:
        chain = zai(server).with_structured_output(SCHEMA, method=method)
        if way == "stream":
            parts = chain.stream(ASK)
            assert next(parts) is not None
            assert not server.requests[0].answered.is_set()
            *_, last = parts
        else:
            parts = chain.astream(ASK)
            assert await anext(parts) is not None
            assert not server.requests[0].answered.is_set()
            last = [part async for part in parts][-1]
    assert last == OBJECT


@in_each_method
@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_who_stops_listening_hangs_up(method, way):
    endless = Reply(text=json.dumps({"city": "x" * 20_000}))
    if method == "function_calling":
        endless = called({"city": "x" * 20_000})
    with GLMServer(endless, pace=0.01) as server:
        chain = zai(server).with_structured_output(SCHEMA, method=method)
        if way == "stream":
            parts = chain.stream(ASK)
            next(parts)
            parts.close()
        else:
            parts = chain.astream(ASK)
            await anext(parts)
            await parts.aclose()
        assert await asyncio.to_thread(server.requests[0].hung_up.wait, 5)


class Listener(BaseCallbackHandler):
    def __init__(self):
        self.reasoning, self.parts = [], []

    def on_llm_new_token(self, token, *, chunk=None, **kwargs):
        if thought := chunk.message.additional_kwargs.get("reasoning_content"):
            self.reasoning.append(thought)


@in_each_method
async def test_reasoning_streams_beside_the_answer(method):
    with GLMServer(ANSWERS[method]) as server:
        chain = zai(server).with_structured_output(SCHEMA, method=method)
        listener = Listener()
        list(chain.stream(ASK, {"callbacks": [listener]}))
        events = [event async for event in chain.astream_events(ASK, version="v2")]
    assert listener.reasoning == ["By t", "he r", "iver", "."]
    chunks = [e["data"]["chunk"] for e in events if e["event"] == "on_chat_model_stream"]
    thoughts = [chunk.additional_kwargs.get("reasoning_content") for chunk in chunks]
    assert [thought for thought in thoughts if thought] == listener.reasoning
    parts = [e["data"]["chunk"] for e in events if e["event"] == "on_parser_stream"]
    assert parts[-1] == OBJECT
    assert len(parts) > 5
    names = [event["event"] for event in events]
    assert names.index("on_chat_model_start") < names.index("on_parser_start")


@in_each_method
async def test_include_raw_streams_the_chunks_beside_the_parts(method):
    with GLMServer(ANSWERS[method]) as server:
        chain = zai(server).with_structured_output(Place, method=method, include_raw=True)
        items = list(chain.stream(ASK))
        assert [list(item) async for item in chain.astream(ASK)] == [list(item) for item in items]
    whole = sum(items[1:], items[0])
    assert whole["raw"].additional_kwargs["reasoning_content"] == "By the river."
    assert whole["parsed"] == Place(**OBJECT)
    assert whole["parsing_error"] is None
    assert list(whole) == ["raw", "parsed", "parsing_error"]


@in_each_method
async def test_usage_is_counted(method):
    with GLMServer(ANSWERS[method]) as server:
        chain = zai(server).with_structured_output(Place, method=method)
        counted = []
        for way in (lambda: chain.invoke(ASK), lambda: list(chain.stream(ASK))):
            with get_usage_metadata_callback() as usage:
                way()
            counted.append(usage.usage_metadata["glm-4.7"])
    assert counted[0] == counted[1]
    assert counted[0]["output_tokens"] > 0


async def test_a_trace_has_the_schema():
    class Tracer(BaseCallbackHandler):
        def on_chat_model_start(self, serialized, messages, *, options=None, **kwargs):
            self.options = options

    with GLMServer(SAID) as server:
        chain = zai(server).with_structured_output(Place)
        chain.invoke(ASK, {"callbacks": [tracer := Tracer()]})
    about = tracer.options["ls_structured_output_format"]
    assert about == {"kwargs": {"method": "json_schema", "strict": None}, "schema": SCHEMA}


async def test_in_a_chain_of_a_prompt():
    with GLMServer(FENCED) as server:
        prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{ask}")])
        chain = prompt | zai(server).with_structured_output(Place)
        assert await results(chain, {"ask": ASK}) == [Place(**OBJECT)] * 4


# Agents


async def states(agent):
    ask = {"messages": ASK}
    yield agent.invoke(ask)
    yield await agent.ainvoke(ask)
    *_, last = agent.stream(ask, stream_mode="values")
    yield last


LOOK_UP = Reply(tool_calls=[Call("weather", {"city": "上海"})])
THREE_TIMES = 3


@on_each_host
@pytest.mark.parametrize("schema", [Place, PlaceDict, SCHEMA])
async def test_an_agent_with_a_tool_for_its_answer(make, schema):
    with GLMServer([LOOK_UP, CALLED] * THREE_TIMES) as server:
        agent = create_agent(make(server), [weather], response_format=ToolStrategy(schema))
        wanted = Place(**OBJECT) if schema is Place else OBJECT
        async for state in states(agent):
            assert state["structured_response"] == wanted
        first, second = [request.body for request in server.requests[:2]]
    name = getattr(schema, "__name__", "Place")
    for body in (first, second):
        assert [tool["function"]["name"] for tool in body["tools"]] == ["weather", name]
        assert body["tool_choice"] == ("required" if make is hosted else "auto")
        assert "response_format" not in body
        told = f"Once no more tools are needed, answer by calling the function `{name}`"
        assert body["messages"][0]["content"].startswith(told) is (make is not hosted)


@on_own_hosts
async def test_an_agent_that_answers_in_prose_where_no_call_can_be_forced(make):
    with GLMServer([PROSE] * THREE_TIMES) as server:
        agent = create_agent(make(server), [weather], response_format=ToolStrategy(Place))
        async for state in states(agent):
            assert state["messages"][-1].text == PROSE.text
            assert state.get("structured_response") is None  # as LangChain has it


@on_own_hosts
async def test_an_agent_without_tools_is_told_to_call_its_schemas(make):
    with GLMServer([CALLED]) as server:
        create_agent(make(server), response_format=ToolStrategy(Nowhere | Place)).invoke(
            {"messages": ASK}
        )
        [request] = server.requests
    told = "Answer by calling the function `Nowhere` or `Place` exactly once"
    assert request.body["messages"][0]["content"].startswith(told)


async def test_an_agent_asks_again_for_an_answer_of_another_shape():
    with GLMServer([lacking("function_calling")[0], CALLED]) as server:
        agent = create_agent(zai(server), [weather], response_format=ToolStrategy(Place))
        assert agent.invoke({"messages": ASK})["structured_response"] == Place(**OBJECT)
        *_, complaint = server.requests[1].body["messages"]
    assert complaint["role"] == "tool"
    assert "part" in complaint["content"]


@on_each_host
async def test_an_agent_that_answers_in_json(make):
    with GLMServer([LOOK_UP, SAID] * THREE_TIMES) as server:
        agent = create_agent(make(server), [weather], response_format=ProviderStrategy(Place))
        async for state in states(agent):
            assert state["structured_response"] == Place(**OBJECT)
        for request in server.requests[:2]:
            wanted = "json_schema" if make is hosted else "json_object"
            told = "Once no more tools" in request.body["messages"][0]["content"]
            assert request.body["response_format"]["type"] == wanted
            assert told is (make is not hosted)
            assert "tool_choice" not in request.body


@on_each_host
async def test_an_agent_whose_json_is_prose(make):
    with GLMServer([PROSE] * THREE_TIMES) as server:
        agent = create_agent(make(server), response_format=ProviderStrategy(Place))
        with pytest.raises(StructuredOutputValidationError) as raised:
            await agent.ainvoke({"messages": ASK})
    assert raised.value.ai_message.text == PROSE.text


@pytest.mark.parametrize(
    ("make", "answer", "forced"),
    [
        pytest.param(zai, CALLED, "auto", id="a host that enforces no schema"),
        pytest.param(at_zai, CALLED, "auto", id="a host of Z.ai's own"),
        pytest.param(hosted, SAID, None, id="a host that enforces it"),
    ],
)
async def test_an_agent_chooses_by_the_profile(make, answer, forced):
    with GLMServer([LOOK_UP, answer] * THREE_TIMES) as server:
        model = make(server)
        agent = create_agent(model, [weather], response_format=Place)
        async for state in states(agent):
            assert state["structured_response"] == Place(**OBJECT)
        body = server.requests[0].body
    assert body.get("tool_choice") == forced
    assert ("response_format" in body) is (make is hosted)
    assert model.profile["structured_output"] is (make is hosted)
