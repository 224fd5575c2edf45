"""FastAPI: a conversation over a WebSocket. Run it with `python examples/fastapi_websocket.py`.

Open the address that it prints. The socket is at `/ws`, all messages are JSON texts:

- The client sends `{"question": "..."}` or `{"stop": true}`. Whatever it sends stops the answer
  that runs; closing the socket does too. A stopped run closes its connection to the model at once.
- The server sends each event of the run, `{"type": "text_delta", ...}`, as
  `langchain_glm.streaming.event_schema()` describes them, or `{"type": "stopped"}` at the end. They
  have all there is, also the final state and the text of any error: leave out what a browser may
  not see.

A conversation lives as long as its socket: who comes back begins a new one (`examples/web` keeps
them). uvicorn pings each client every 20 seconds, and so finds those that have vanished.

Needs `pip install "langchain-glm-zai[examples]"`, and Python 3.11: before, asyncio hands no context
to a task, and the answers of `create_agent` come whole.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse
from keyless import chat_model
from langchain.agents import create_agent
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field, ValidationError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from langchain_glm.streaming import RunFailed, RunFinished, astream_agent, complete_history
from langchain_glm.streaming.encoders import sse

logger = logging.getLogger("fastapi_websocket")

PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>ChatGLM over a WebSocket</title>
<style>
  body { font: 16px/1.5 system-ui; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
  form { display: flex; gap: .5rem } input { flex: 1 } form * { font: inherit; padding: .4rem }
  pre { white-space: pre-wrap; overflow-wrap: anywhere }
  .reasoning_delta + .text_delta::before { content: "\\A\\A" }
  .reasoning_delta { color: gray } .question, .tool_call_started { font-weight: bold }
  .failed { color: #c22 }
</style>
<pre id="log"></pre>
<form><input name="question" value="Write a small Python program to fib.py">
<button>Ask</button><button type="button" id="stop">Stop</button></form>
<script>
  const shown = {  // event -> the text that it adds
    question: (e) => `\\n\\n> ${e.text}\\n\\n`,
    reasoning_delta: (e) => e.text,
    text_delta: (e) => e.text,
    tool_call_started: (e) => `\\n\\n${e.name}`,
    argument_started: (e) => `\\n${e.path.join(".")}: `,
    argument_delta: (e) => e.text,
    tool_call_invalid: (e) => `\\nNot run: ${e.error ?? e.reason}\\n`,
    tool_finished: (e) => `\\n\\u2192 ${e.content}\\n\\n`,
    tool_failed: (e) => `\\n\\u2192 ${e.error}\\n\\n`,
    run_failed: (e) => `\\n${e.error.message}`,
    stopped: () => "\\nStopped.",
    closed_failed: () => "\\nThe connection is lost. Load this page again.",
  };
  const log = document.querySelector("#log");
  function show(event) {
    const span = document.createElement("span");
    span.className = /failed|invalid/.test(event.type) ? "failed" : event.type;
    span.textContent = shown[event.type]?.(event) ?? "";  // text: what a model writes is no HTML
    log.append(span);
  }
  const socket = new WebSocket(`ws://${location.host}/ws`);
  socket.onmessage = ({ data }) => show(JSON.parse(data));
  socket.onclose = () => show({ type: "closed_failed" });
  document.querySelector("#stop").onclick = () => socket.send('{"stop": true}');
  document.querySelector("form").onsubmit = (submitted) => {
    submitted.preventDefault();
    const question = new FormData(submitted.target).get("question");
    show({ type: "question", text: question });
    socket.send(JSON.stringify({ question }));
  };
</script>
"""


class Said(BaseModel):
    """What a client sends."""

    question: str = Field(default="", max_length=100_000)
    stop: bool = False


@tool
def write_file(path: str, content: str) -> str:
    """Write a text file."""
    return f"{len(content)} characters for {path}: this example writes nothing to disk"


async def answer(client: WebSocket, agent: Any, history: list[BaseMessage]) -> None:
    """Run the agent, send its events, and add what was said to the history."""
    run = astream_agent(agent, {"messages": complete_history(history)})
    try:
        async with aclosing(run) as events:  # however this ends, the run does too
            async for event in events:
                if isinstance(event, (RunFinished, RunFailed)):
                    history += event.messages
                await client.send_text(sse.to_json(event))
    except WebSocketDisconnect:
        pass
    except Exception:
        logger.exception("A run failed.")  # the client was told: `run_failed`


async def stop(run: asyncio.Task[None] | None) -> bool:
    """Stop an answer and close its connection to the model; tell whether it was at work."""
    if run is None or run.done():
        return False
    run.cancel()
    await asyncio.wait([run])
    return run.cancelled()


async def converse(client: WebSocket, agent: Any) -> None:
    """Answer one question after the other, until the client leaves."""
    history: list[BaseMessage] = []
    run = None
    try:
        while True:
            said = Said.model_validate_json(await client.receive_text())
            if await stop(run):
                await client.send_text('{"type":"stopped"}')
            if said.question:
                history.append(HumanMessage(said.question))
                run = asyncio.create_task(answer(client, agent, history))
    finally:
        await stop(run)


def create_app(agent: Any) -> FastAPI:
    """Make the application."""
    app = FastAPI()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE)

    @app.websocket("/ws")
    async def talk(client: WebSocket) -> None:
        origin = client.headers.get("origin")
        if origin and urlsplit(origin).netloc != client.headers["host"]:
            await client.close()  # browsers let pages of any site open sockets
            return
        await client.accept()
        try:
            await converse(client, agent)
        except ValidationError:
            await client.close(1008, "Not understood.")
        except WebSocketDisconnect:
            pass

    return app


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one")
    port = parser.parse_args().port
    with chat_model(None) as model, socket.create_server(("127.0.0.1", port)) as listener:
        app = create_app(create_agent(model, [write_file]))
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, log_level="warning", ws="websockets-sansio")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
