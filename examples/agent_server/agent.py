"""The agent that LangGraph's Agent Server serves; `langgraph.json` names it.

The environment says which model: ZAI_API_KEY, and ZAI_BASE_URL where it is not Z.ai's own.
"""

from __future__ import annotations

import os

from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.tools import tool

from langchain_glm import ChatGLM
from langchain_glm.middleware import ContinueCutCalls


@tool
async def write_note(title: str, text: str, runtime: ToolRuntime) -> str:
    """Write a note, or write it anew."""
    await runtime.store.aput(("notes",), title, {"text": text})  # the server's: it outlives the run
    return f"wrote {len(text)} characters to {title!r}"


agent = create_agent(
    ChatGLM(model=os.environ.get("GLM_MODEL", "glm-4.7")),
    [write_note],
    middleware=[ContinueCutCalls()],
)
