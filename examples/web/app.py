"""A web page that shows an agent at work. Run it with `python examples/web/app.py`.

Against Z.ai when ZAI_API_KEY is set, else against the bundled GLM server with a scripted model.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import ag_ui.core
    import aiosqlite
    import fastapi
    import langchain.agents
    import langgraph.checkpoint.sqlite
    import uvicorn
except ImportError as error:
    sys.exit(f'{error.name} is missing: pip install "langchain-glm-zai[web]"')

from demonstration import answer
from endpoints import Settings, create_app

from langchain_glm import ChatGLM
from langchain_glm.testing import GLMServer

_NEEDED = (ag_ui.core, aiosqlite, fastapi, langchain.agents, langgraph.checkpoint.sqlite)
_PACE = 0.018  # seconds for four characters: about as fast as GLM


class Server(uvicorn.Server):
    """Stops the runs first: open streams would hold it up for ever."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down."""
        app: Any = self.config.app
        if hasattr(app.state, "conversations"):
            await app.state.conversations.close()
        await super().shutdown(sockets)


@contextmanager
def settings(options: argparse.Namespace) -> Iterator[Settings]:
    """Settle what the server talks to, and by which names it may be asked."""
    names = (options.host, "127.0.0.1", "localhost", "[::1]")
    hosts = ("*",) if options.host in {"0.0.0.0", "::"} else names  # noqa: S104 - only compared
    if os.environ.get("ZAI_API_KEY"):
        yield Settings(ChatGLM(model=options.model), options.data, hosts=hosts)
        return
    with GLMServer(answer, pace=options.pace) as glm:
        model = ChatGLM(
            model=options.model, base_url=glm.base_url, api_key="no-key-needed", max_retries=0
        )
        yield Settings(
            model, options.data, is_demonstration=True, hosts=hosts, tool_pace=options.pace * 2
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted.

    Args:
        arguments: The command line; `None` means `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="who may come in (127.0.0.1: only you)")
    parser.add_argument("--port", type=int, default=8765, help="0 for a free one")
    parser.add_argument("--model", default="glm-4.7")
    parser.add_argument(
        "--data", type=Path, default=Path("glm-web-data"), help="conversations and files"
    )
    parser.add_argument(
        "--pace", type=float, default=_PACE, help="of the scripted model, seconds a fragment"
    )
    options = parser.parse_args(arguments)
    if sys.version_info < (3, 11):
        print("On Python 3.10 create_agent does not stream: answers come whole.", file=sys.stderr)
    warnings.filterwarnings("ignore", message="The v3 streaming protocol")
    with settings(options) as settled, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((options.host, options.port))
            listener.listen()  # who follows the address at once is not refused
        except OSError as error:
            sys.exit(f"Port {options.port}: {error.strerror}. Take another one with --port.")
        source = "a scripted model (no ZAI_API_KEY)" if settled.is_demonstration else "Z.ai"
        address = f"http://{options.host}:{listener.getsockname()[1]}"
        print(f"{address}  —  {settled.model.model_name}, {source}. Ctrl-C stops.", flush=True)
        config = uvicorn.Config(create_app(settled), log_level="warning", ws="websockets-sansio")
        with suppress(KeyboardInterrupt):
            Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
