"""What the examples share: a model of Z.ai where there is a key, else one that plays a script."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from langchain_glm import ChatGLM
from langchain_glm.errors import GLMError
from langchain_glm.testing import GLMServer

PACE = 0.018  # seconds for a fragment of four characters: about as fast as GLM

# LangGraph says so once, of the stream that `stream_agent` reads.
warnings.filterwarnings("ignore", message="The v3 streaming protocol")


@contextlib.contextmanager
def chat_model(
    script: Any, *, pace: float = PACE, fragment_size: int = 4, **settings: Any
) -> Iterator[ChatGLM]:
    """Give a model, and say on stderr which one.

    With ZAI_API_KEY in the environment it is Z.ai's, or that of ZAI_BASE_URL. Without, a server on
    loopback plays the script for as long as the `with` block lasts. An error of the model ends the
    program with one line.

    Args:
        script: What the model says without a key, as `GLMServer` takes it: a list of replies, or a
            function of the request.
        pace: Seconds between two fragments of the script. KEYLESS_PACE in the environment goes
            before it.
        fragment_size: Characters of a fragment of the script.
        settings: Of `ChatGLM`.
    """
    settings = {"model": "glm-4.7", **settings}
    try:
        if os.environ.get("ZAI_API_KEY"):
            url = os.environ.get("ZAI_BASE_URL")
            _say(settings["model"], "at", (url and urlsplit(url).hostname) or "Z.ai")
            yield ChatGLM(**settings)
            return
        pace = float(os.environ.get("KEYLESS_PACE") or pace)
        with GLMServer(script, pace=pace, fragment_size=fragment_size) as server:
            _say(settings["model"], "as a script of this example, since ZAI_API_KEY is not set")
            yield ChatGLM(**settings, base_url=server.base_url, api_key="no-key-needed")
    except GLMError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def dim(text: str) -> str:
    """Make a text stand back on a terminal."""
    return f"\033[2m{text}\033[0m" if sys.stdout.isatty() else text


def _say(*words: str) -> None:
    print("Model:", *words, file=sys.stderr, flush=True)
