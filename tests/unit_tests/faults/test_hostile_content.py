"""Content that names an address of this machine or of its network: nobody goes there.

A server that fetches a picture for the model does that itself; what the client sends is the text of
its address. Python reports each connection and each name that is looked up (`sys.addaudithook`).
"""

import sys

import pytest
from asking import AGENTS, WATCHED, agent_of, glm, write_file
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_glm.streaming import collect, stream_agent, tool_call_events
from langchain_glm.streaming.encoders import ag_ui, sse, vercel
from langchain_glm.testing import Call, GLMServer, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

_seen = []
_watching = []


def _watch(event, args):
    if _watching and event in {"socket.connect", "socket.getaddrinfo", "urllib.Request"}:
        _seen.append((event, args[-1] if event == "socket.connect" else args[:2]))


sys.addaudithook(_watch)  # it cannot be taken out again


@pytest.fixture
def gone_to():
    """Where this process goes from now on: hosts and ports."""
    _seen.clear()
    _watching.append(True)
    yield lambda: {tuple(where[:2]) if isinstance(where, tuple) else where for _, where in _seen}
    _watching.clear()


@pytest.fixture(scope="module")
def trap():
    """A server that nobody is to ask."""
    with GLMServer(Reply(text="caught")) as server:
        yield server
        assert server.requests == []


METADATA = "http://169.254.169.254/latest/meta-data"
ADDRESSES = ["{trap}", METADATA, "http://[::1]:80/", "file:///etc/hostname", "http://localhost/"]


def parts(url):
    """Each way to say where a medium is."""
    return [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": url},
        {"type": "image", "url": url},
        {"type": "image", "source_type": "url", "url": url},
        {"type": "image", "source": {"type": "url", "url": url}},
        {"type": "video_url", "video_url": {"url": url}},
        {"type": "video", "url": url},
        {"type": "file", "url": url, "mime_type": "application/pdf"},
        {"type": "file_url", "file_url": {"url": url}},
        {"type": "document", "source": {"type": "url", "url": url}},
        {"type": "text", "text": f"![a picture]({url})"},
    ]


def conversation(url):
    call = {"id": "c", "name": "write_file", "args": {"path": url}}
    return [
        SystemMessage(f"see {url}"),
        HumanMessage(parts(url)),
        AIMessage(f"![it]({url})", tool_calls=[call]),
        ToolMessage(
            [{"type": "image", "url": url}, {"type": "text", "text": url}], tool_call_id="c"
        ),
        HumanMessage(f"<img src='{url}'>"),
    ]


def own(server):
    return ("127.0.0.1", int(server.base_url.split(":")[2].split("/")[0]))


async def invoke(model, messages):
    return model.invoke(messages)


async def ainvoke(model, messages):
    return await model.ainvoke(messages)


async def stream(model, messages):
    return collect(model.stream(messages))


async def astream(model, messages):
    return [chunk async for chunk in model.astream(messages)]


async def v3(model, messages):
    return model.stream_events(messages, version="v3").output


async def count(model, messages):
    return model.get_num_tokens_from_messages(messages, tools=[write_file])


async def agent(model, messages):
    return agent_of(model).invoke({"messages": messages})


async def watched(model, messages):
    return list(stream_agent(agent_of(model), {"messages": messages}))


@pytest.mark.filterwarnings("ignore::UserWarning")  # a part that GLM does not take is named
@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("ask", [invoke, ainvoke, stream, astream, v3, count, agent, watched])
async def test_what_is_sent_is_not_fetched(ask, address, trap, gone_to):
    url = address.format(trap=trap.base_url + "/chat/completions")
    with GLMServer(Reply(text="Nice.")) as server:
        await ask(glm(server, model="glm-4.6v"), conversation(url))
        assert all(url in request.raw.decode() for request in server.requests)
        assert bool(server.requests) is (ask is not count)
        assert gone_to() <= {own(server), ("127.0.0.1", str(own(server)[1]))}


def encoded(model):
    def events():
        return stream_agent(agent_of(model), {"messages": "x"})

    return [
        *sse.encode(events()),
        *vercel.encode_sse(events()),
        *ag_ui.encode_sse(events(), thread_id="t", run_id="r"),
    ]


def answered(url):
    """An answer that speaks of the address wherever an answer can."""
    found = [{"title": "It", "link": url, "icon": url, "media": url, "content": url}]
    return Reply(
        f"see {url}", f"![it]({url})", [Call("write_file", {"path": url})], web_search=found
    )


async def events_of(model):
    return [event.to_dict() for event in tool_call_events(model.stream("x"))]


@pytest.mark.parametrize("address", ADDRESSES[:2])
@pytest.mark.parametrize("ask", [*AGENTS[:2], *WATCHED, events_of])
async def test_what_a_model_says_is_not_fetched(ask, address, trap, gone_to):
    url = address.format(trap=trap.base_url + "/chat/completions")
    with GLMServer([answered(url), Reply(text=f"![it]({url})")]) as server:
        await ask(glm(server))
        assert gone_to() <= {own(server), ("127.0.0.1", str(own(server)[1]))}


async def test_no_encoder_fetches_anything(trap, gone_to):
    answer = answered(trap.base_url)
    with GLMServer(lambda r: answer if r.body["messages"][-1]["role"] == "user" else Reply()) as s:
        assert trap.base_url in "".join(encoded(glm(s)))
        assert gone_to() <= {own(s), ("127.0.0.1", str(own(s)[1]))}


async def test_the_watch_sees_a_connection(gone_to):
    """Else the tests above would say nothing."""
    with GLMServer(Reply(text="Hello")) as server:
        glm(server).invoke("x")
        await glm(server).ainvoke("x")
        assert own(server) in gone_to()
