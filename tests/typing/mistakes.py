"""Mistakes: each line with a mark is an error for both checkers, and no other line is."""

# ruff: noqa: F401, I001

from langchain_core.messages import AIMessage

from langchain_glm import ChatGLM
from langchain_glm import Nothing  # mistake
from langchain_glm.errors import GLMError
from langchain_glm.middleware import ContinueCutCalls
from langchain_glm.streaming import (
    AnyCallEvent,
    AnyEvent,
    TextDelta,
    ToolCallStarted,
    stream_agent,
    tool_call_events,
)
from langchain_glm.streaming import stream_agents  # mistake
from langchain_glm.streaming.encoders import ag_uii  # mistake
from langchain_glm.streaming.encoders import sse
from langchain_glm.testing import Call, GLMServer, Reply
from langchain_glm.tools import web_search
from typing_extensions import assert_never

ChatGLM(tool_stream="yes")  # mistake
ChatGLM(thinking="on")  # mistake
ChatGLM(reasoning_history="some")  # mistake
ChatGLM(include_raw_response=None)  # mistake
ChatGLM(api_key=1)  # mistake
ContinueCutCalls("twice")  # mistake
Reply(text=1)  # mistake
Call()  # mistake
GLMServer(1)  # mistake
web_search(count="five")  # mistake
web_search(how_many=5)  # mistake


def read(event: AnyEvent, call: AnyCallEvent, error: GLMError, model: ChatGLM) -> None:
    print(event.text)  # mistake
    print(call.txt)  # mistake
    if isinstance(event, TextDelta):
        print(event.args)  # mistake
        event.text = "another"  # mistake
    if event.type == "tool_call_start":  # mistake
        return
    partial: AIMessage = error.partial  # mistake
    print(error.parts)  # mistake
    print(partial, model.tool_streaming)  # mistake
    tool_call_events("text")  # mistake
    stream_agent()  # mistake
    sse.encode(stream_agent(None, {}), heartbeat=1)  # mistake
    match call:
        case ToolCallStarted():
            return
        case _:
            assert_never(call)  # mistake
