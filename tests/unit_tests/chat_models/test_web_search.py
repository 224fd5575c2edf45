"""GLM's own tools beside functions, and what a web search found."""

import operator
from functools import reduce

import pytest
from langchain.agents import create_agent
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_glm import ChatGLM
from langchain_glm.testing import Call, GLMServer, Reply
from langchain_glm.tools import mcp, retrieval, web_search

# One loop for all, because each loop has clients of its own, and a client takes long to make.
pytestmark = pytest.mark.asyncio(loop_scope="module")

FOUND = [
    {
        "title": "GLM-4.7",
        "link": "https://docs.z.ai/glm-4.7",
        "content": "GLM-4.7 streams tool calls.",
        "media": "Z.ai",
        "icon": "https://z.ai/icon.png",
        "publish_date": "2026-01-01",
        "refer": "ref_1",
    },
    {"title": "智谱", "link": "https://bigmodel.cn", "content": "", "refer": "ref_2"},
]
CITATIONS = [
    {
        "type": "citation",
        "url": "https://docs.z.ai/glm-4.7",
        "title": "GLM-4.7",
        "cited_text": "GLM-4.7 streams tool calls.",
        "extras": {
            "media": "Z.ai",
            "icon": "https://z.ai/icon.png",
            "publish_date": "2026-01-01",
            "refer": "ref_1",
        },
    },
    {
        "type": "citation",
        "url": "https://bigmodel.cn",
        "title": "智谱",
        "extras": {"refer": "ref_2"},
    },
]
ANSWER = Reply("Hm", "It streams [ref_1].", web_search=FOUND)
NO_TEXT = Reply("Hm", tool_calls=[Call("write_file", {"path": "a"})], web_search=FOUND)


@tool
def write_file(path: str) -> str:
    """Write a file."""
    return f"wrote {path}"


def glm(server, **fields):
    return ChatGLM(base_url=server.base_url, api_key="test-key", max_retries=0, **fields)


# Tools


def plain(kind, **fields):
    return {"type": kind, kind: fields}


OWN_TOOLS = [
    pytest.param(plain("web_search", enable=True, new_field=[1]), id="web_search, a dict"),
    pytest.param(web_search(count=5), id="web_search"),
    pytest.param(plain("mcp", server_label="x"), id="mcp, a dict"),
    pytest.param(plain("retrieval", knowledge_id="kb-1"), id="retrieval, a dict"),
    pytest.param(retrieval("kb-1"), id="retrieval"),
    pytest.param(mcp("x", headers={"Authorization": "Bearer y"}), id="mcp"),
]
FUNCTION = {
    "type": "function",
    "function": {
        "name": "write_file",
        "description": "Write a file.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
        },
    },
}


@pytest.mark.parametrize("own", OWN_TOOLS)
async def test_own_tools_pass_beside_functions(own):
    with GLMServer(Reply(text="Hello")) as server:
        model = glm(server).bind_tools([write_file, own])
        model.invoke("x")
        await model.ainvoke("x")
        list(model.stream("x"))
        create_agent(glm(server), [write_file, own]).invoke({"messages": "x"})
        bodies = [received.body for received in server.requests]
    assert [body["tools"] for body in bodies] == [[FUNCTION, own]] * 4
    assert [body.get("tool_stream") for body in bodies] == [None, None, True, None]
    assert not any("tool_choice" in body for body in bodies)


@pytest.mark.parametrize(
    "own",
    [
        web_search(),
        mcp("x"),
        pytest.param(plain("retrieval", knowledge_id="kb-1"), id="retrieval, a dict"),
        pytest.param(retrieval("kb-1"), id="retrieval"),
    ],
)
async def test_own_tools_pass_as_they_stand(own):
    with GLMServer(Reply(text="Hello")) as server:
        glm(server).bind(tools=[own, FUNCTION]).invoke("x")
        glm(server).invoke("x", tools=[own])
        bodies = [received.body for received in server.requests]
    assert [body["tools"] for body in bodies] == [[own, FUNCTION], [own]]


# Citations


async def by_invoke(model):
    return model.invoke("x")


async def by_ainvoke(model):
    return await model.ainvoke("x")


async def by_stream(model):
    return reduce(operator.add, model.stream("x"))


async def by_astream(model):
    return reduce(operator.add, [chunk async for chunk in model.astream("x")])


async def by_bulk_merge(model):
    first, *rest = model.stream("x")
    return first.__add__(rest)


async def by_v2(model):
    return [event async for event in model.astream_events("x", version="v2")][-1]["data"]["output"]


async def by_v3(model):
    return model.stream_events("x", version="v3").output


async def by_async_v3(model):
    return await (await model.astream_events("x", version="v3")).output


async def by_agent(model):
    return create_agent(model).invoke({"messages": "x"})["messages"][-1]


async def by_agents_stream(model):
    *_, last = create_agent(model).stream({"messages": "x"}, stream_mode=["messages", "values"])
    return last[1]["messages"][-1]


every_way = pytest.mark.parametrize(
    "ask",
    [
        by_invoke,
        by_ainvoke,
        by_stream,
        by_astream,
        by_bulk_merge,
        by_v2,
        by_v3,
        by_async_v3,
        by_agent,
        by_agents_stream,
    ],
)
every_version = pytest.mark.parametrize("version", ["v0", "v1"])


def blocks(message):
    return [{k: v for k, v in one.items() if k != "index"} for one in message.content_blocks]


@every_version
@every_way
async def test_what_was_found_is_in_the_metadata_and_cited_by_the_text(ask, version):
    with GLMServer(ANSWER) as server:
        message = await ask(glm(server, output_version=version))
    assert message.response_metadata["web_search"] == FOUND
    assert blocks(message) == [
        {"type": "reasoning", "reasoning": "Hm"},
        {"type": "text", "text": "It streams [ref_1].", "annotations": CITATIONS},
    ]
    assert message.text == "It streams [ref_1]."


@every_version
@pytest.mark.parametrize(
    "ask", [by_invoke, by_ainvoke, by_stream, by_astream, by_bulk_merge, by_v2, by_v3, by_async_v3]
)
async def test_without_a_text_nothing_is_cited(ask, version):
    with GLMServer(NO_TEXT) as server:
        message = await ask(glm(server, output_version=version).bind_tools([write_file]))
    assert message.response_metadata["web_search"] == FOUND
    assert [block["type"] for block in message.content_blocks] == ["reasoning", "tool_call"]


@every_version
@every_way
async def test_without_a_search_nothing_is_cited(ask, version):
    with GLMServer(Reply("Hm", "Hello")) as server:
        message = await ask(glm(server, output_version=version))
    assert blocks(message)[-1] == {"type": "text", "text": "Hello"}
    assert "web_search" not in message.response_metadata


@every_version
@pytest.mark.parametrize("ask", [by_invoke, by_stream, by_v3])
async def test_citations_travel(ask, version):
    with GLMServer(ANSWER) as server:
        message = await ask(glm(server, output_version=version))
    for again in (loads(dumps(message), allowed_objects="core"), message.model_copy(deep=True)):
        assert blocks(again) == blocks(message)
        assert blocks(again)[-1]["annotations"] == CITATIONS


@pytest.mark.parametrize("ask", [by_invoke, by_stream, by_v3])
@every_version
async def test_an_answer_with_citations_goes_back_as_its_text(ask, version):
    with GLMServer([ANSWER, Reply(text="Done")]) as server:
        message = await ask(glm(server, output_version=version))
        glm(server).invoke([HumanMessage("x"), message, HumanMessage("y")])
        turn = server.requests[-1].body["messages"][1]
    assert (turn["role"], turn["content"]) == ("assistant", "It streams [ref_1].")


async def test_the_text_of_an_agents_v3_stream_is_cited():
    # Core replays a message that came whole as events, and adds invalid calls by itself.
    with GLMServer([NO_TEXT, ANSWER]) as server:
        agent = create_agent(glm(server), [write_file], checkpointer=InMemorySaver())
        run = agent.stream_events(
            {"messages": "x"}, {"configurable": {"thread_id": "1"}}, version="v3"
        )
        streamed = [message.output for message in run.messages]
    assert [block["type"] for block in blocks(streamed[0])] == ["reasoning", "tool_call"]
    assert blocks(streamed[-1])[-1]["annotations"] == CITATIONS


# A chunk's own blocks


async def test_the_chunk_with_the_citations_comes_before_the_last():
    with GLMServer(ANSWER) as server:
        *_, cited, last = [
            chunk for chunk in glm(server).stream("x") if not chunk.additional_kwargs
        ]
    assert blocks(cited) == [{"type": "text", "text": "", "annotations": CITATIONS}]
    assert cited.content_blocks[0]["index"] == "lc_txt_0"  # that of the text
    assert (last.chunk_position, last.content_blocks) == ("last", [])


# Odd results


@pytest.mark.parametrize(
    ("found", "citations"),
    [
        pytest.param([{}], [{"type": "citation"}], id="empty result"),
        pytest.param(
            [{"link": None, "title": "", "rank": 3}],
            [{"type": "citation", "extras": {"rank": 3}}],
            id="null and empty fields, and one that is not documented",
        ),
        pytest.param(["text", {"link": "u"}], [{"type": "citation", "url": "u"}], id="a text"),
    ],
)
@pytest.mark.parametrize("ask", [by_invoke, by_stream, by_v3])
async def test_odd_results(ask, found, citations):
    with GLMServer(Reply(text="Hello", web_search=found)) as server:
        message = await ask(glm(server))
    assert blocks(message) == [{"type": "text", "text": "Hello", "annotations": citations}]


@pytest.mark.parametrize("found", [{"title": "T"}, "text", 5, ["text"]])
@pytest.mark.parametrize("ask", [by_invoke, by_stream, by_v3])
async def test_results_of_another_shape_cost_no_answer(ask, found):
    with GLMServer(Reply(text="Hello", web_search=found)) as server:
        message = await ask(glm(server))
    assert blocks(message) == [{"type": "text", "text": "Hello"}]
    assert message.response_metadata["web_search"] == found


async def test_content_that_is_a_list_already():
    text = {"type": "text", "text": "Hello"}
    message = AIMessage(
        content=[text, {"type": "text", "text": "again"}],
        response_metadata={"model_provider": "zai", "web_search": FOUND},
    )
    first, second = message.content_blocks
    assert first == {**text, "annotations": CITATIONS}
    assert second == {"type": "text", "text": "again"}
    assert message.content == [text, second]  # untouched
