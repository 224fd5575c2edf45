"""`python -m langchain_glm.testing`: the demonstration on a port of one's own."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from langchain_glm.testing import GLMServer


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the base URL on one line, then serve until interrupted.

    Args:
        arguments: The command line; `None` means `sys.argv`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m langchain_glm.testing",
        description="A scripted GLM endpoint on loopback. It answers every request by itself.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 (default) for a free one")
    parser.add_argument("--pace", type=float, default=0.02, help="seconds between two frames")
    options = parser.parse_args(arguments)
    with suppress(KeyboardInterrupt), GLMServer(pace=options.pace, port=options.port) as server:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
