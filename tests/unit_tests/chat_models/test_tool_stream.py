"""`tool_stream`, by every way of saying it, asserted on the JSON body that the server got."""

import operator
from functools import reduce

import pytest
from langchain_core.load import dumpd, load
from langchain_core.runnables import ConfigurableField

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMInvalidRequestError
from langchain_glm.testing import Call, Fail, GLMServer, Reply

ARGUMENTS = '{"path": "fib.py", "content": "1 1 2"}'
REPLY = Reply(tool_calls=[Call("write_file", ARGUMENTS, id="call_a")])
TOOL = {
    "type": "function",
    "function": {
        "name": "write_file",
        "description": "Write a file.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
    },
}
ON, OFF, NONE = {"tool_stream": True}, {"tool_stream": False}, {"tool_stream": None}


@pytest.fixture(scope="module")
def server():
    with GLMServer(REPLY, fragment_size=6) as server:
        yield server


@pytest.fixture
def chat(server):
    def make(**fields):
        return ChatGLM(api_key="test-key", base_url=server.base_url, **fields)

    server.requests.clear()
    return make


async def invoke(model, **call):
    return model.invoke("hi", **call)


async def ainvoke(model, **call):
    return await model.ainvoke("hi", **call)


async def batch(model, **call):
    return model.batch(["hi"], **call)[0]


async def abatch(model, **call):
    return (await model.abatch(["hi"], **call))[0]


async def stream(model, **call):
    return reduce(operator.add, model.stream("hi", **call))


async def astream(model, **call):
    return reduce(operator.add, [chunk async for chunk in model.astream("hi", **call)])


async def v2(model, **call):
    events = [event async for event in model.astream_events("hi", version="v2", **call)]
    return events[-1]["data"]["output"]


async def v3(model, **call):
    return model.stream_events("hi", version="v3", **call).output


async def async_v3(model, **call):
    return await (await model.astream_events("hi", version="v3", **call)).output


WHOLE = [invoke, ainvoke, batch, abatch]
STREAMED = [stream, astream, v2, v3, async_v3]


def sent_tool_stream(server):
    """What the last body said, and that it stood at the top level and nowhere else."""
    request = server.requests[-1]
    assert request.raw.count(b"tool_stream") == ("tool_stream" in request.body)
    return request.body.get("tool_stream")


def reloaded(model):
    return load(
        dumpd(model),
        allowed_objects=[type(model)],
        valid_namespaces=["langchain_glm"],
        secrets_map={"ZAI_API_KEY": "k"},
    )


def configured(model, **values):
    fields = {name: ConfigurableField(id=name) for name in values}
    return model.configurable_fields(**fields).with_config(configurable=values)


# What to do with the maker of a model, and whether arguments are to be streamed.
ALL_WAYS = [
    pytest.param(lambda m: m(), True, id="nothing said"),
    pytest.param(lambda m: m(tool_stream=None), True, id="field None"),
    pytest.param(lambda m: m(tool_stream=True), True, id="field True"),
    pytest.param(lambda m: m(tool_stream=False), False, id="field False"),
    pytest.param(lambda m: m(model_kwargs=ON), True, id="model_kwargs True"),
    pytest.param(lambda m: m(model_kwargs=OFF), False, id="model_kwargs False"),
    pytest.param(lambda m: m(model_kwargs=NONE), True, id="model_kwargs None"),
    pytest.param(lambda m: m(extra_body=ON), True, id="extra_body True"),
    pytest.param(lambda m: m(extra_body=OFF), False, id="extra_body False"),
    pytest.param(lambda m: m().bind(**OFF), False, id="bind False"),
    pytest.param(lambda m: m().bind(**ON), True, id="bind True"),
    pytest.param(lambda m: m().bind(extra_body=OFF), False, id="bind extra_body False"),
    pytest.param(lambda m: m().bind_tools([TOOL], **OFF), False, id="bind_tools False"),
    pytest.param(lambda m: m().model_copy(update=OFF), False, id="copied False"),
    pytest.param(
        lambda m: m().model_copy(update={"model_kwargs": OFF}), False, id="copied model_kwargs"
    ),
    pytest.param(
        lambda m: m().model_copy(update={"extra_body": OFF}), False, id="copied extra_body"
    ),
    pytest.param(lambda m: m(**OFF).model_copy(), False, id="copied False as it is"),
    pytest.param(lambda m: m(**OFF).model_copy(update=ON), True, id="copied back to True"),
    pytest.param(lambda m: reloaded(m()), True, id="reloaded"),
    pytest.param(lambda m: reloaded(m(**OFF)), False, id="reloaded False"),
    pytest.param(lambda m: reloaded(m(model_kwargs=OFF)), False, id="reloaded model_kwargs False"),
    pytest.param(lambda m: reloaded(m(extra_body=OFF)), False, id="reloaded extra_body False"),
    # Who wins: the nearest to the call, and the field over `extra_body` and `model_kwargs`.
    pytest.param(lambda m: m(**ON, model_kwargs=OFF), True, id="field over model_kwargs"),
    pytest.param(lambda m: m(**OFF, model_kwargs=ON), False, id="field False over model_kwargs"),
    pytest.param(lambda m: m(**ON, extra_body=OFF), True, id="field over extra_body"),
    pytest.param(lambda m: m(**OFF, extra_body=ON), False, id="field False over extra_body"),
    pytest.param(lambda m: m(extra_body=OFF, model_kwargs=ON), False, id="extra_body first"),
    pytest.param(lambda m: m(**OFF).bind(**ON), True, id="bind over field"),
    pytest.param(lambda m: m(**ON).bind(**OFF), False, id="bind False over field"),
    pytest.param(lambda m: m(extra_body=OFF).bind(**ON), True, id="bind over extra_body"),
    pytest.param(lambda m: m(model_kwargs=OFF).bind(**ON), True, id="bind over model_kwargs"),
    pytest.param(lambda m: m(**ON).bind(extra_body=OFF), False, id="bind extra_body over field"),
    pytest.param(
        lambda m: m(extra_body=OFF).bind(extra_body={"watermark": 1}),
        False,
        id="extra_body of both",
    ),
    pytest.param(lambda m: m().bind(**OFF).bind(**ON), True, id="the later bind wins"),
    pytest.param(lambda m: m(**OFF).bind(**NONE), False, id="bind None says nothing"),
]

each_way = pytest.mark.parametrize(("prepare", "wanted"), ALL_WAYS)


@each_way
async def test_only_streams_with_tools_carry_it_and_as_was_wanted(chat, server, prepare, wanted):
    model = prepare(chat).bind(tools=[TOOL])
    for ask in STREAMED:
        await ask(model)
        assert sent_tool_stream(server) is (True if wanted else None), ask
    for ask in WHOLE:
        await ask(model)
        assert sent_tool_stream(server) is None, ask


@pytest.mark.parametrize("fields", [{}, ON, {"model_kwargs": ON}, {"extra_body": ON}])
async def test_no_field_sends_it_without_tools(chat, server, fields):
    for ask in [*STREAMED, *WHOLE]:
        await ask(chat(**fields))
        assert sent_tool_stream(server) is None, ask


@pytest.mark.parametrize("call", [ON, {"extra_body": ON}], ids=["keyword", "extra_body"])
async def test_no_keyword_sends_it_without_tools_or_without_a_stream(chat, server, call):
    for ask in STREAMED:
        await ask(chat(), **call)
        assert sent_tool_stream(server) is None, ask
    for ask in WHOLE:
        await ask(chat().bind(tools=[TOOL]), **call)
        assert sent_tool_stream(server) is None, ask


@pytest.mark.parametrize(
    ("fields", "values", "wanted"),
    [
        pytest.param({}, ON, True, id="True"),
        pytest.param({}, OFF, False, id="False"),
        pytest.param({}, {"model_kwargs": OFF}, False, id="model_kwargs"),
        pytest.param({}, {"extra_body": OFF}, False, id="extra_body"),
        pytest.param(OFF, ON, True, id="back to True"),
        pytest.param({"model_kwargs": OFF}, ON, True, id="True over model_kwargs"),
        pytest.param({}, {"model_name": "glm-5"}, True, id="another field"),
        pytest.param(OFF, {"model_name": "glm-5"}, False, id="another field, field False"),
        pytest.param(
            {"model_kwargs": OFF}, {"temperature": 0.5}, False, id="another field, model_kwargs"
        ),
    ],
)
async def test_configurable_fields(chat, server, fields, values, wanted):
    # LangChain offers no v3 on these.
    model = configured(chat(**fields), **values).bind(tools=[TOOL])
    for ask in (stream, astream, v2):
        await ask(model)
        assert sent_tool_stream(server) is (True if wanted else None), ask
    for ask in WHOLE:
        await ask(model)
        assert sent_tool_stream(server) is None, ask


@pytest.mark.parametrize(
    ("fields", "call", "wanted"),
    [
        pytest.param({}, OFF, False, id="False"),
        pytest.param(OFF, ON, True, id="True over the field"),
        pytest.param(ON, OFF, False, id="False over the field"),
        pytest.param({"extra_body": OFF}, ON, True, id="True over extra_body"),
        pytest.param({"model_kwargs": OFF}, ON, True, id="True over model_kwargs"),
        pytest.param(OFF, NONE, False, id="None says nothing"),
        pytest.param({}, {"extra_body": OFF}, False, id="extra_body False"),
        pytest.param(OFF, {"extra_body": ON}, True, id="extra_body True over the field"),
        pytest.param({}, {**ON, "extra_body": OFF}, True, id="keyword over extra_body"),
    ],
)
async def test_a_keyword_of_the_call(chat, server, fields, call, wanted):
    model = chat(**fields).bind(tools=[TOOL])
    off = fields == OFF or OFF in fields.values()
    for ask in STREAMED:
        await ask(model, **call)
        assert sent_tool_stream(server) is (True if wanted else None), ask
        await ask(model)  # the next call is as it was before
        assert sent_tool_stream(server) is (None if off else True), ask


async def test_a_keyword_of_the_call_beats_bind(chat, server):
    model = chat().bind(tools=[TOOL], **OFF)
    for ask in STREAMED:
        await ask(model, **ON)
        assert sent_tool_stream(server) is True, ask


@pytest.mark.parametrize("ask", [invoke, ainvoke])
async def test_invoke_that_streams_carries_it(ask, chat, server):
    await ask(chat(streaming=True).bind(tools=[TOOL]))
    assert sent_tool_stream(server) is True
    await ask(chat(streaming=True, tool_stream=False).bind(tools=[TOOL]))
    assert sent_tool_stream(server) is None


@pytest.mark.parametrize(
    ("make", "value"),
    [
        pytest.param(lambda m: m(), True, id="nothing said"),
        pytest.param(lambda m: m(tool_stream=True), True, id="field True"),
        pytest.param(lambda m: m(tool_stream=False), False, id="field False"),
        pytest.param(lambda m: m(model_kwargs=OFF), False, id="model_kwargs"),
        pytest.param(lambda m: m(model_kwargs=NONE), True, id="model_kwargs None"),
        pytest.param(lambda m: m(extra_body=OFF), False, id="extra_body"),
        pytest.param(lambda m: m(tool_stream=True, model_kwargs=OFF), True, id="both"),
        pytest.param(lambda m: m().model_copy(update=OFF), False, id="copied"),
        pytest.param(
            lambda m: m().model_copy(update={"model_kwargs": OFF}), False, id="copied too"
        ),
        pytest.param(lambda m: m().model_copy(update={"model_kwargs": {}}), True, id="emptied"),
        pytest.param(lambda m: reloaded(m(tool_stream=False)), False, id="reloaded"),
    ],
)
def test_the_effective_value_stands_in_model_kwargs(chat, make, value):
    assert make(chat).model_kwargs["tool_stream"] is value


def test_other_model_kwargs_stay(chat, server):
    given = {"tool_stream": False, "watermark": 7}
    model = chat(model_kwargs=given)
    assert model.model_kwargs == {"tool_stream": False, "watermark": 7}
    assert given == {"tool_stream": False, "watermark": 7}
    model.bind(tools=[TOOL]).invoke("hi")
    assert server.requests[-1].body["watermark"] == 7


def test_a_copy_leaves_the_original(chat, server):
    model = chat()
    copied = model.model_copy(update=OFF)
    list(model.bind(tools=[TOOL]).stream("hi"))
    assert sent_tool_stream(server) is True
    assert (model.model_kwargs, copied.model_kwargs) == (ON, OFF)


# What it does


def fragments(message_chunks):
    return [call["args"] for chunk in message_chunks for call in chunk.tool_call_chunks]


def test_arguments_in_fragments_or_whole(chat):
    model = chat().bind(tools=[TOOL])
    pieces = [ARGUMENTS[start : start + 6] for start in range(0, len(ARGUMENTS), 6)]
    assert fragments(model.stream("hi")) == ["", *pieces]
    assert fragments(model.stream("hi", tool_stream=False)) == [ARGUMENTS]


async def test_arguments_in_fragments_or_whole_async(chat):
    model = chat().bind(tools=[TOOL])
    pieces = [ARGUMENTS[start : start + 6] for start in range(0, len(ARGUMENTS), 6)]
    assert fragments([chunk async for chunk in model.astream("hi")]) == ["", *pieces]
    whole = [chunk async for chunk in model.astream("hi", tool_stream=False)]
    assert fragments(whole) == [ARGUMENTS]


def test_arguments_in_fragments_or_whole_under_v3(chat):
    def deltas(**call):
        events = list(chat().bind(tools=[TOOL]).stream_events("hi", version="v3", **call))
        deltas = [e["delta"] for e in events if e["event"] == "content-block-delta"]
        return [delta["args"] for delta in deltas if delta["type"] == "tool-call-delta"]

    assert "".join(deltas()) == ARGUMENTS
    assert len(deltas()) == -(-len(ARGUMENTS) // 6)
    assert deltas(tool_stream=False) == [ARGUMENTS]


def refuse_tool_stream(request):
    if "tool_stream" in request.body:
        return Fail(400, None, "Unrecognized request argument supplied: tool_stream")
    return REPLY


@pytest.mark.parametrize("ask", STREAMED)
async def test_a_server_that_refuses_it_is_told_how_to_be_served(ask):
    with GLMServer(refuse_tool_stream) as server:
        model = ChatGLM(api_key="test-key", base_url=server.base_url).bind(tools=[TOOL])
        with pytest.raises(GLMInvalidRequestError, match="tool_stream=False"):
            await ask(model)
        assert len(server.requests) == 1
        assert (await ask(model, tool_stream=False)).tool_calls[0]["id"] == "call_a"
