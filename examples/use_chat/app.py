"""The Vercel AI SDK's `useChat` over an agent. Run it with `python examples/use_chat/app.py`.

`POST /api/chat` takes what `useChat` sends, its UI messages, and answers with the AI SDK's message
stream. `page.jsx` is the page; npm builds it at the first start. `--no-page` serves the API alone.

- The client keeps the conversation, and sends all of it each time. What it says as the system, and
  files, are left out.
- `stop()` of `useChat` ends the request. That stops the run and closes its connection to the model.
- A run lives as long as its request: `resume` of `useChat` has nothing to come back to
  (`examples/web` keeps runs).

Needs `pip install "langchain-glm-zai[examples]"`, and Python 3.11: before, asyncio hands no context
to a task, and the answers of `create_agent` come whole.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, StreamingResponse
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send

from langchain_glm.streaming import astream_agent, complete_history
from langchain_glm.streaming.encoders import sse, vercel

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))

from keyless import chat_model  # noqa: E402 - it is in the folder above

HEARTBEAT = 15.0  # seconds of silence

logger = logging.getLogger("use_chat")

PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>useChat over ChatGLM</title>
<style>
  body { font: 16px/1.5 system-ui; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
  p, pre { white-space: pre-wrap; overflow-wrap: anywhere } .user { font-weight: bold }
  .reasoning, small { color: gray } [role=alert] { color: #c22 }
  article { border: 1px solid #8886; border-radius: .5rem; padding: .5rem 1rem }
  form { display: flex; gap: .5rem; margin-top: 1rem } input { flex: 1 }
  form *, button { font: inherit; padding: .4rem }
</style>
<div id="root"></div><script src="/page.js"></script>
"""


class Part(BaseModel, alias_generator=to_camel):
    """A part of a message: a `text`, a `reasoning`, a `tool-NAME` with all that came of it, ..."""

    type: str
    text: str = ""
    tool_call_id: str = ""
    state: str = ""  # of a tool: input-streaming, input-available, output-available, output-error
    input: Any = None
    output: Any = None
    error_text: str = ""


class UIMessage(BaseModel):
    """A message of the AI SDK; the assistant's has all of a turn, in steps."""

    role: Literal["system", "user", "assistant"]
    parts: list[Part]


class Chat(BaseModel):
    """What `useChat` sends."""

    messages: list[UIMessage]


@tool
def write_file(path: str, content: str) -> str:
    """Write a text file."""
    return f"{len(content)} characters for {path}: this example writes nothing to disk"


def to_langchain(messages: Iterable[UIMessage]) -> list[BaseMessage]:
    """Make a history that a model accepts of UI messages."""
    history: list[BaseMessage] = []
    for message in messages:
        if message.role == "user":
            history.append(HumanMessage(_joined(message.parts, "text")))
        elif message.role == "assistant":
            for step in _steps(message.parts):
                history += _answers(step)
    return complete_history(history)  # answers the calls that a stop has left without a result


def _steps(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Give the parts of each answer of the model."""
    step: list[Part] = []
    for part in parts:
        if part.type == "step-start":
            yield step
            step = []
        else:
            step.append(part)
    yield step


def _answers(step: list[Part]) -> Iterator[BaseMessage]:
    """Give an answer of the model, and those of the tools that it called."""
    # Calls that were cut or stopped did not run: their input is a text, or streams still.
    ran = [p for p in step if isinstance(p.input, dict) and p.state != "input-streaming"]
    calls = [
        ToolCall(name=part.type.removeprefix("tool-"), args=part.input, id=part.tool_call_id)
        for part in ran
    ]
    reasoning = _joined(step, "reasoning")
    thought = {"reasoning_content": reasoning} if reasoning else {}
    yield AIMessage(_joined(step, "text"), tool_calls=calls, additional_kwargs=thought)
    for part in ran:
        if part.state == "output-available":
            is_text = isinstance(part.output, str)
            text = part.output if is_text else json.dumps(part.output, ensure_ascii=False)
            yield ToolMessage(text, tool_call_id=part.tool_call_id)
        elif part.state == "output-error":
            yield ToolMessage(part.error_text, tool_call_id=part.tool_call_id, status="error")


def _joined(parts: Iterable[Part], kind: str) -> str:
    return "".join(part.text for part in parts if part.type == kind)


async def frames(agent: Any, chat: Chat) -> AsyncGenerator[str, None]:
    """Run the agent, and give its events as frames; a heartbeat in silences."""
    events = astream_agent(agent, {"messages": to_langchain(chat.messages)})
    async with aclosing(sse.heartbeats(vercel.aencode_sse(events), HEARTBEAT)) as beating:
        try:
            async for frame in beating:
                yield frame
        except Exception:
            logger.exception("A run failed.")  # the client was told: `error`


class EventStream(StreamingResponse):
    """A stream that is closed as soon as its reader has left."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        source: Any = self.body_iterator
        async with aclosing(source):
            await super().__call__(scope, receive, send)


def create_app(agent: Any) -> FastAPI:
    """Make the application."""
    app = FastAPI()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.post("/api/chat")
    async def chat(chat: Chat) -> StreamingResponse:
        return EventStream(frames(agent, chat), headers=dict(vercel.HEADERS))

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE)

    @app.get("/page.js")
    async def script() -> FileResponse:
        return FileResponse(HERE / "dist" / "page.js")

    return app


class Server(uvicorn.Server):
    """Hangs up when it stops; uvicorn waits for open streams."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


def build() -> None:
    """Build the page, where that was not done since it was changed."""
    built = HERE / "dist" / "page.js"
    sources = [HERE / "page.jsx", HERE / "package.json"]
    if built.exists() and all(built.stat().st_mtime > file.stat().st_mtime for file in sources):
        return
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("The page needs Node 20 or newer, with npm. Without: --no-page serves the API.")
    print("Building the page with npm, this once ...", file=sys.stderr, flush=True)
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    for command in (["install", *quiet], ["run", "--silent", "build", "--", "--log-level=warning"]):
        if subprocess.run([npm, *command], cwd=HERE, stdout=sys.stderr, check=False).returncode:  # noqa: S603
            sys.exit("npm failed: see above. --no-page serves the API alone.")


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one")
    parser.add_argument("--no-page", action="store_true", help="serve the API alone")
    options = parser.parse_args()
    if not options.no_page:
        build()
    with chat_model(None) as model, socket.create_server(("127.0.0.1", options.port)) as listener:
        app = create_app(create_agent(model, [write_file]))
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        with suppress(KeyboardInterrupt):
            Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
