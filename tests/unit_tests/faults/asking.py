"""How a program meets a fault: by a model, by an agent, and by who watches an agent."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from pathlib import Path

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from pythons import async_agents_stream
from ways import ainvoke, astream, av3, invoke, stream, v3

from langchain_glm import ChatGLM
from langchain_glm.streaming import astream_agent, stream_agent

INPUT = {"messages": "hi"}


@tool
def write_file(path: str) -> str:
    """Write a file."""
    return f"wrote {path}"


def agent_of(model):
    return create_agent(model, [write_file])


async def agent(model):
    return agent_of(model).invoke(INPUT)["messages"][-1]


async def aagent(model):
    return (await agent_of(model).ainvoke(INPUT))["messages"][-1]


async def watched(model):
    return list(stream_agent(agent_of(model), INPUT))[-1].messages[-1]


async def awatched(model):
    events = [event async for event in astream_agent(agent_of(model), INPUT)]
    return events[-1].messages[-1]


WHOLE = [invoke, ainvoke]
STREAMS = [stream, astream, v3, av3]
WATCHED = [watched, pytest.param(awatched, marks=async_agents_stream)]
AGENTS = [agent, aagent, *WATCHED]
EVERYWHERE = [*WHOLE, *STREAMS, *AGENTS]

four_paths = pytest.mark.parametrize("ask", [invoke, ainvoke, stream, astream])
whole = pytest.mark.parametrize("ask", WHOLE)
every_stream = pytest.mark.parametrize("ask", STREAMS)
streams_and_watched = pytest.mark.parametrize("ask", [*STREAMS, *WATCHED])
everywhere = pytest.mark.parametrize("ask", EVERYWHERE)


def glm(server, **fields):
    """A model that asks a server, a `GLMServer` or a base URL, once."""
    url = server if isinstance(server, str) else server.base_url
    return ChatGLM(**{"base_url": url, "api_key": "test-key", "max_retries": 0, **fields})


def frame(delta, id_="A", **choice):
    body = {"id": id_, "choices": [{"index": 0, **choice, "delta": delta}]}
    return b"data: %b\n\n" % json.dumps(body, ensure_ascii=False).encode()


def call_frame(arguments, index=0, **call):
    function = {"arguments": arguments, **({"name": call.pop("name")} if "name" in call else {})}
    return frame({"tool_calls": [{"index": index, **call, "function": function}]})


TEXT = frame({"content": "Here:"})
STOP = frame({}, finish_reason="stop")
DONE = b"data: [DONE]\n\n"


@contextlib.contextmanager
def plain_server(answer, *, secure=None):
    """A server that does `answer(connection)` with each connection, then closes it.

    Gives its port and a list with one entry for each connection. `secure` is an SSL context.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    accepted, threads = [], []

    def serve_one(connection):
        with contextlib.suppress(OSError), connection:
            if secure:
                connection = secure.wrap_socket(connection, server_side=True)
            with connection:
                answer(connection)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, address = listener.accept()
                accepted.append(address)
                threads.append(threading.Thread(target=serve_one, args=(connection,), daemon=True))
                threads[-1].start()

    threads.append(threading.Thread(target=serve, daemon=True))
    threads[0].start()
    try:
        yield listener.getsockname()[1], accepted
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(5)


def read_request(connection):
    """Read a request to its end."""
    with connection.makefile("rb") as request:
        length = 0
        while (line := request.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        request.read(length)


def reset(connection):
    """Let the closing of a connection be a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def http(body, *headers, status="200 OK"):
    """What answers a request with these bytes, and closes the connection."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *headers, ""))

    def answer(connection):
        read_request(connection)
        connection.sendall(head.encode() + body)

    return answer


def open_files():
    """How many files and sockets this process has open."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


async def no_other_task():
    """Wait until this task is alone: a finalizer may need a turn of the loop."""
    for _ in range(400):
        if asyncio.all_tasks() == {asyncio.current_task()}:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(asyncio.all_tasks())
