"""Flask: an agent at work as server-sent events. Run it with `python examples/flask_sse.py`.

Open the address that it prints. `GET /run?question=...` answers with one frame for each event.

- A run lives as long as its request. Flask's server notices that a client has left when a write
  fails: at one of the next fragments, or heartbeats. Then the run is stopped, and hangs up on its
  model.
- A browser's `EventSource` that comes back sends `Last-Event-ID`. Its run is gone, and asking again
  would cost again: it gets status 204, which ends it. `examples/web` keeps runs and goes on.
- The wire has all that an event has, also the final state and the text of any error. What a
  browser may not see has to be left out of the events before they are encoded.
- A stream holds a thread while it lasts. In production run the app with a server that has many,
  such as `gunicorn --worker-class gthread --threads 100`.

Needs `pip install "langchain-glm-zai[examples]"`.
"""

from __future__ import annotations

import argparse
import logging
import queue
import threading
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, abort, request
from keyless import chat_model
from langchain.agents import create_agent
from langchain_core.tools import tool
from werkzeug.serving import make_server

from langchain_glm.streaming import StopSignal, stream_agent
from langchain_glm.streaming.encoders import sse

HEARTBEAT = 15.0  # seconds of silence

logger = logging.getLogger("flask_sse")
at_work: set[StopSignal] = set()

PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>ChatGLM over server-sent events</title>
<style>
  body { font: 16px/1.5 system-ui; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
  form { display: flex; gap: .5rem } input { flex: 1 } form * { font: inherit; padding: .4rem }
  pre { white-space: pre-wrap; overflow-wrap: anywhere }
  .reasoning_delta + .text_delta::before { content: "\\A\\A" }
  .reasoning_delta { color: gray } .tool_call_started { font-weight: bold } .failed { color: #c22 }
</style>
<form><input name="question" value="Write a small Python program to fib.py">
<button>Ask</button><button type="button" id="stop">Stop</button></form>
<pre id="log"></pre>
<script>
  const shown = {  // event -> the text that it adds
    reasoning_delta: (e) => e.text,
    text_delta: (e) => e.text,
    tool_call_started: (e) => `\\n\\n${e.name}`,
    argument_started: (e) => `\\n${e.path.join(".")}: `,
    argument_delta: (e) => e.text,
    tool_call_invalid: (e) => `\\nNot run: ${e.error ?? e.reason}\\n`,
    tool_finished: (e) => `\\n\\u2192 ${e.content}\\n\\n`,
    tool_failed: (e) => `\\n\\u2192 ${e.error}\\n\\n`,
    run_failed: (e) => `\\n${e.error.message}`,
  };
  const log = document.querySelector("#log");
  let source;
  document.querySelector("#stop").onclick = () => source?.close();
  document.querySelector("form").onsubmit = (submitted) => {
    submitted.preventDefault();
    source?.close();
    log.replaceChildren();
    source = new EventSource("/run?" + new URLSearchParams(new FormData(submitted.target)));
    source.addEventListener("done", () => source.close());
    source.onerror = () => { source.close(); log.append("\\nThe connection is lost."); };
    for (const [type, text] of Object.entries(shown)) {
      source.addEventListener(type, ({ data }) => {
        const span = document.createElement("span");
        span.className = /failed|invalid/.test(type) ? "failed" : type;
        span.textContent = text(JSON.parse(data));  // as text: what a model writes is no HTML
        log.append(span);
      });
    }
  };
</script>
"""


@tool
def write_file(path: str, content: str) -> str:
    """Write a text file."""
    return f"{len(content)} characters for {path}: this example writes nothing to disk"


def frames(agent: Any, question: str) -> Iterator[str]:
    """Run the agent, and give its events as frames; a heartbeat in silences."""
    stop = StopSignal()
    ready: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def run() -> None:  # in a thread of its own: a generator that waits can send no heartbeat
        try:
            for frame in sse.encode(stream_agent(agent, {"messages": question}, stop=stop)):
                ready.put(frame)
        except Exception:
            logger.exception("A run failed.")  # the client was told: `run_failed`
        finally:
            ready.put(None)

    at_work.add(stop)
    threading.Thread(target=run).start()
    try:
        while True:
            try:
                frame = ready.get(timeout=HEARTBEAT)
            except queue.Empty:
                frame = sse.HEARTBEAT
            if frame is None:
                return
            yield frame
    finally:  # at the end, and when Flask's server closes this, since the client has left
        at_work.discard(stop)
        stop.stop()


def create_app(agent: Any) -> Flask:
    """Make the application."""
    app = Flask(__name__)
    # A page of another site may not spend your tokens: not from its own address ...
    app.config["TRUSTED_HOSTS"] = ["127.0.0.1", "localhost"]

    @app.get("/")
    def page() -> str:
        return PAGE

    @app.get("/run")
    def run() -> Response:
        if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            abort(403)  # ... nor by having a browser load this one
        if "Last-Event-ID" in request.headers:
            return Response(status=204)
        question = request.args.get("question") or abort(400, "No question.")
        return Response(frames(agent, question), headers=dict(sse.HEADERS))

    return app


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one")
    port = parser.parse_args().port
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line for each request
    with chat_model(None) as model:
        agent = create_agent(model, [write_file])
        server = make_server("127.0.0.1", port, create_app(agent), threaded=True)
        print(f"http://127.0.0.1:{server.port}", flush=True)
        server.serve_forever()  # until ctrl-c
        for stop in list(at_work):
            stop.stop()


if __name__ == "__main__":
    main()
