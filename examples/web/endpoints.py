"""One agent behind four wires: our server-sent events, WebSocket, AG-UI, the Vercel AI SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from ag_ui.core import RunAgentInput
from conversations import BusyError, Conversations, Order, Run, open_conversations
from fastapi import Body, FastAPI, Header, Response, WebSocket, WebSocketDisconnect
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field, ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from langchain_glm import ChatGLM, __version__
from langchain_glm.streaming import event_schema
from langchain_glm.streaming.encoders import ag_ui, sse, vercel

STATIC = Path(__file__).parent / "static"

HEADERS = {
    # What a model writes is shown as text only. Should that ever fail, nothing of it may run.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Name = Annotated[str, InPath(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


@dataclass(frozen=True)
class Settings:
    """How the server is run.

    Attributes:
        model: The model of the agent.
        data: The folder where conversations and files are kept.
        is_demonstration: Whether the model is scripted; the page says so.
        hosts: The names that the server may be asked by; `*` for any.
        tool_pace: Seconds that a search takes for each module.
        linger: Seconds after which a run that nobody watches is stopped.
    """

    model: ChatGLM
    data: Path
    is_demonstration: bool = False
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    tool_pace: float = 0.0
    linger: float = 30.0


class Wanted(BaseModel):
    """The body of a request for a run: a message, or answers to what a run asks."""

    message: str = Field(default="", max_length=100_000)
    answers: dict[str, str] | None = None
    ask: bool = False

    def order(self) -> Order:
        """Give it as the conversations take it."""
        return Order(self.message, self.answers, self.ask)


class Chat(BaseModel):
    """What the AI SDK's `useChat` sends."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    messages: list[dict[str, Any]] = Field(min_length=1)

    def order(self) -> Order:
        """Take the last message; the ones before are known here."""
        parts = self.messages[-1].get("parts", [])
        return Order("".join(part["text"] for part in parts if part.get("type") == "text"))


class EventStream(StreamingResponse):
    """A stream of frames that is closed as soon as its reader has left."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        frames: Any = self.body_iterator
        async with aclosing(frames):
            await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """Make the application; its conversations are in `app.state.conversations` while it runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        opened = open_conversations(
            settings.model, settings.data, tool_pace=settings.tool_pace, linger=settings.linger
        )
        async with opened as app.state.conversations:
            yield

    app = FastAPI(title="An agent at work", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(SameOrigin)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*settings.hosts])

    @app.exception_handler(BusyError)
    async def busy(*_: Any) -> Response:
        detail = "The agent is at work in this conversation. Stop it, or wait."
        return JSONResponse({"detail": detail}, status_code=409)

    def conversations() -> Conversations:
        found: Conversations = app.state.conversations
        return found

    _add_conversations(app, conversations)
    _add_runs(app, conversations)
    _add_protocols(app, conversations)

    @app.get("/api/about")
    async def about() -> dict[str, Any]:
        return {
            "model": settings.model.model_name,
            "demonstration": settings.is_demonstration,
            "version": __version__,
        }

    @app.get("/api/schema")
    async def schema() -> dict[str, Any]:
        return event_schema()

    @app.get("/")
    async def index() -> Response:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def _add_conversations(app: FastAPI, conversations: Any) -> None:
    @app.get("/api/conversations")
    async def every() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await conversations().titles()
        return found

    @app.get("/api/conversations/{name}")
    async def one(name: Name) -> dict[str, Any]:
        shown: dict[str, Any] = await conversations().show(name)
        return shown

    @app.delete("/api/conversations/{name}", status_code=204)
    async def delete(name: Name) -> None:
        await conversations().delete(name)


def _add_runs(app: FastAPI, conversations: Any) -> None:
    @app.post("/api/conversations/{name}/run")
    async def start(name: Name, wanted: Wanted) -> Response:
        return _stream(await conversations().start(name, wanted.order()))

    @app.get("/api/conversations/{name}/run")
    async def rejoin(name: Name, last_event_id: Annotated[int, Header(ge=0)] = 0) -> Response:
        """Go on after `Last-Event-ID`; 204 tells that there is nothing to go on with."""
        run = conversations().run_of(name)
        return _stream(run, last_event_id) if run else Response(status_code=204)

    @app.delete("/api/conversations/{name}/run", status_code=204)
    async def stop(name: Name) -> None:
        await conversations().stop(name)

    @app.websocket("/api/conversations/{name}/run")
    async def socket(name: Name, socket: WebSocket) -> None:
        """Take one order, send the events; `{"stop": true}`, or closing, stops the run."""
        await socket.accept()
        try:
            order = Wanted.model_validate_json(await socket.receive_text()).order()
            run = await conversations().start(name, order)
        except (BusyError, ValidationError) as error:
            await socket.close(1008, type(error).__name__)
            return
        sending = asyncio.create_task(_send(run, socket))
        with suppress(WebSocketDisconnect):
            await socket.receive_text()
        await run.stop()
        await sending


def _add_protocols(app: FastAPI, conversations: Any) -> None:
    """Add the wires of others. A run of theirs ends with its request: that is how they stop it."""

    @app.post("/ag-ui")
    async def agent(body: RunAgentInput) -> Response:
        said = body.messages[-1].content
        order = Order(said if isinstance(said, str) else "")
        run = await conversations().start(body.thread_id, order, linger=0)
        wire = ag_ui.aencode_sse(run.after(), thread_id=body.thread_id, run_id=body.run_id)
        return EventStream(wire, media_type=ag_ui.MEDIA_TYPE)

    @app.post("/vercel")
    async def chat(body: Annotated[Chat, Body()]) -> Response:
        run = await conversations().start(body.id, body.order(), linger=0)
        return EventStream(vercel.aencode_sse(run.after()), headers=dict(vercel.HEADERS))


def _stream(run: Run, seen: int = 0) -> Response:
    frames = sse.aencode(run.after(seen), sse.SSEEncoder(first_id=seen + 1))
    return EventStream(frames, headers=dict(sse.HEADERS))


async def _send(run: Run, socket: WebSocket) -> None:
    async with aclosing(run.after()) as events:
        with suppress(WebSocketDisconnect, RuntimeError):  # the reader has left
            async for event in events:
                await socket.send_text(sse.to_json(event))
            await socket.close()


class SameOrigin:
    """Refuses what pages of other sites ask for, and says what this page may do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        headers = {
            name.decode().lower(): value.decode("latin-1")
            for name, value in scope.get("headers", ())
        }
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            else:
                refused = JSONResponse({"detail": "Of another origin."}, status_code=403)
                await refused(scope, receive, send)
            return

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self._app(scope, receive, add)
