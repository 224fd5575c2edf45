"""The page of examples/web on loopback, with the GLM that its agent asks."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn

from langchain_glm import ChatGLM
from langchain_glm.testing import GLMServer

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "web"))

import demonstration
from endpoints import Settings, create_app

__all__ = ["TALK", "Site", "demonstration", "frames_of", "site"]

TALK = "/api/conversations/talk"


class Site:
    """The page's server on loopback, a client of it, and the GLM that it asks."""

    def __init__(self, client, glm, server):
        self.client = client
        self.glm = glm
        self._server = server

    @property
    def url(self):
        return str(self.client.base_url)

    def break_connections(self):
        """Close all connections of the page's server, in the middle of what they carry."""
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    async def run(self, message="Go.", talk=TALK, **more):
        """Run to the end; give the events."""
        async with self.begun(message, talk, **more) as frames:
            return [json.loads(frame["data"]) async for frame in frames if frame["id"]]

    @asynccontextmanager
    async def begun(self, message="Go.", talk=TALK, **more):
        body = {"message": message, **more}
        async with self.client.stream("POST", f"{talk}/run", json=body) as response:
            assert response.status_code == 200, await response.aread()
            yield frames_of(response)

    async def show(self, talk=TALK):
        return (await self.client.get(talk)).json()

    async def settled(self, talk=TALK):
        """The conversation when nothing runs in it."""
        for _ in range(500):
            shown = await self.show(talk)
            if not shown["running"]:
                return shown
            await asyncio.sleep(0.005)
        raise AssertionError("It still runs.")

    @property
    def sent(self):
        """The messages that GLM was sent last, without the instructions."""
        return self.glm.requests[-1].body["messages"][1:]

    async def hung_up(self, request=-1):
        return await asyncio.to_thread(self.glm.requests[request].hung_up.wait, 5)


async def frames_of(response):
    frame = {"id": None}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            frame[name] = value
        elif "data" in frame:
            yield frame
            frame = {"id": None}


@asynccontextmanager
async def site(answers, data, *, pace=0.0, **settings):
    with GLMServer(answers, pace=pace) as glm:
        model = ChatGLM(base_url=glm.base_url, api_key="test-key", max_retries=0)
        app = create_app(Settings(model, data, **settings))
        async with (
            served(app) as (server, url),
            httpx.AsyncClient(base_url=url, timeout=20) as client,
        ):
            yield Site(client, glm, server)


@asynccontextmanager
async def served(app):
    """A server as `uvicorn.Server.serve` makes it, without its signals and its ticks."""
    config = uvicorn.Config(app, port=0, log_level="error", ws="websockets-sansio")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        await server.shutdown()
