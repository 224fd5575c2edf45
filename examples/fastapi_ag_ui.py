"""AG-UI, as CopilotKit speaks it. Run it with `python examples/fastapi_ag_ui.py`.

A client posts AG-UI's `RunAgentInput` to the address that it prints, and reads AG-UI's events::

    import { HttpAgent } from "@ag-ui/client";
    const agent = new HttpAgent({ url: "http://127.0.0.1:8000/" });

CopilotKit's runtime takes the same object among its `agents`. A page that asks without a runtime
has to be allowed: `--origin http://localhost:3000`. `--ask "question"` asks as a client would,
prints the events and ends.

- The client keeps the conversation, and sends all of it each time. What it says as the system is
  left out, and so are tools of its own (`tools`), which this example does not offer to the model.
- A client that leaves stops the run, and closes its connection to the model, at once.
- A run lives as long as its request: there is no coming back with `Last-Event-ID`. AG-UI's client
  does not try.

Needs `pip install "langchain-glm-zai[examples]"`, and Python 3.11: before, asyncio hands no context
to a task, and the answers of `create_agent` come whole.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import logging
import socket
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from typing import Any

import uvicorn
from ag_ui import core
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from keyless import chat_model
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import default_tool_parser
from langchain_core.tools import tool
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send

from langchain_glm.streaming import astream_agent, complete_history
from langchain_glm.streaming.encoders import ag_ui, sse

HEARTBEAT = 15.0  # seconds of silence

logger = logging.getLogger("fastapi_ag_ui")


@tool
def write_file(path: str, content: str) -> str:
    """Write a text file."""
    return f"{len(content)} characters for {path}: this example writes nothing to disk"


def to_langchain(messages: Iterable[Any]) -> list[BaseMessage]:
    """Make a history that a model accepts of AG-UI's messages."""
    history: list[BaseMessage] = []
    thought: dict[str, str] = {}
    for message in messages:
        if message.subagent_run_id:
            continue
        match message:
            case core.UserMessage(content=content):
                history.append(HumanMessage(_text(content)))
            case core.ReasoningMessage(content=content):
                thought = {"reasoning_content": content}
            case core.AssistantMessage(content=content, tool_calls=said):
                calls, invalid = default_tool_parser([call.model_dump() for call in said or ()])
                history.append(
                    AIMessage(
                        content or "",
                        tool_calls=calls,
                        invalid_tool_calls=invalid,
                        additional_kwargs=thought,
                    )
                )
                thought = {}
            case core.ToolMessage(content=content, tool_call_id=call):
                history.append(ToolMessage(_text(content), tool_call_id=call))
    return complete_history(history)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if part.type == "text")


async def frames(agent: Any, asked: core.RunAgentInput) -> AsyncGenerator[str, None]:
    """Run the agent, and give its events as frames; a heartbeat in silences."""
    events = astream_agent(agent, {"messages": to_langchain(asked.messages)})
    wire = ag_ui.aencode_sse(events, thread_id=asked.thread_id, run_id=asked.run_id)
    async with aclosing(sse.heartbeats(wire, HEARTBEAT)) as beating:
        try:
            async for frame in beating:
                yield frame
        except Exception:
            logger.exception("A run failed.")  # the client was told: RUN_ERROR


class EventStream(StreamingResponse):
    """A stream that is closed as soon as its reader has left."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        source: Any = self.body_iterator
        async with aclosing(source):
            await super().__call__(scope, receive, send)


def create_app(agent: Any, origin: str | None = None) -> FastAPI:
    """Make the application."""
    app = FastAPI()
    # No page of another site may spend your tokens: not from its own address, nor from here.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    if origin:
        app.add_middleware(
            CORSMiddleware, allow_origins=[origin], allow_methods=["POST"], allow_headers=["*"]
        )

    @app.post("/")
    async def run(asked: core.RunAgentInput) -> StreamingResponse:
        return EventStream(frames(agent, asked), headers=dict(sse.HEADERS))

    return app


class Server(uvicorn.Server):
    """Hangs up when it stops; uvicorn waits for open streams."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


def ask(port: int, question: str) -> None:
    """Ask as a client would, and print the events."""
    said = core.UserMessage(id="message-1", content=question)
    asked = core.RunAgentInput(thread_id="thread-1", run_id="run-1", messages=[said])
    body = asked.model_dump_json(by_alias=True, exclude_none=True).encode()
    client = http.client.HTTPConnection("127.0.0.1", port)
    client.request("POST", "/", body, {"Content-Type": "application/json"})
    for line in client.getresponse():
        if line.startswith(b"data: "):
            print(line[6:].decode().strip(), flush=True)


async def serve(app: FastAPI, listener: socket.socket, question: str | None) -> None:
    """Serve until interrupted, or until the question is answered."""
    port = listener.getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    server = Server(uvicorn.Config(app, log_level="warning"))
    serving = asyncio.create_task(server.serve([listener]))
    if question:
        with suppress(OSError, http.client.IncompleteRead):  # ctrl-c has closed the connection
            await asyncio.to_thread(ask, port, question)
        server.should_exit = True
    await serving


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one")
    parser.add_argument("--origin", help="of a page that may ask, such as http://localhost:3000")
    parser.add_argument("--ask", metavar="QUESTION", help="ask it, print the events, and end")
    options = parser.parse_args()
    with chat_model(None) as model, socket.create_server(("127.0.0.1", options.port)) as listener:
        app = create_app(create_agent(model, [write_file]), options.origin)
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(app, listener, options.ask))


if __name__ == "__main__":
    main()
