"""A model: its fields, its calls, its streams, its errors, as a program has them."""

import asyncio
from typing import Any

from langchain_core.exceptions import ModelRateLimitError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr
from typing_extensions import assert_type

from langchain_glm import ChatGLM, __version__, raw_deltas
from langchain_glm.errors import (
    GLMError,
    GLMQuotaError,
    GLMRateLimitError,
    GLMStreamInterruptedError,
)
from langchain_glm.streaming import acollect, collect
from langchain_glm.testing import Call, Cut, Fail, GLMServer, Raw, Received, Reply
from langchain_glm.tools import mcp, retrieval, web_search


class City(BaseModel):
    name: str


@tool
def write_file(path: str, content: str) -> str:
    """Write a text file."""
    return f"wrote {len(content)} characters to {path}"


def key() -> str:
    return "key"


async def akey() -> str:
    return "key"


def configure(server: GLMServer) -> ChatGLM:
    for api_key in ("key", SecretStr("key"), key, akey):
        ChatGLM(model="glm-4.7", base_url=server.base_url, api_key=api_key)
    for thinking in (True, False, None, "enabled", "disabled", {"type": "enabled"}):
        ChatGLM(api_key="key", thinking=thinking)
    model = ChatGLM(
        model="glm-4.7",
        base_url=server.base_url,
        api_key="key",
        endpoint="zai",
        tool_stream=True,
        clear_thinking=False,
        reasoning_history="current_turn",
        do_sample=False,
        user_id="user-1",
        include_raw_response=True,
        max_tokens=4096,
        temperature=0.5,
        timeout=30.0,
        max_retries=1,
        stream_usage=True,
        extra_body={"request_id": "1"},
        default_headers={"X-Team": "docs"},
    )
    openai: ChatOpenAI = model
    chat: BaseChatModel = openai
    assert_type(model.tool_stream, bool | None)
    assert_type(model.model_name, str)
    version: str = __version__
    assert version.count(".") >= 2
    assert isinstance(chat, ChatGLM)
    return model


def ask(model: ChatGLM) -> None:
    assert_type(model.invoke("Hello"), AIMessage)
    assert_type(model.invoke("Hello", thinking=False).text.upper(), str)
    for chunk in model.stream("Hello"):
        assert_type(chunk, AIMessageChunk)
        assert_type(raw_deltas(chunk), list[dict[str, Any]])
    with_tools = model.bind_tools([write_file, web_search(count=5)], tool_choice="auto")
    message = collect(with_tools.stream("Write a.txt"))
    assert_type(message, AIMessage)
    for call in message.tool_calls:
        assert_type(call["name"], str)
    assert_type(model.get_num_tokens("Hello"), int)
    assert_type(model.with_config(tags=["a"]).invoke("Hello"), AIMessage)
    model.with_structured_output(City, include_raw=True, method="json_schema").invoke("Where?")
    assert_type(retrieval("knowledge"), dict[str, Any])
    assert_type(mcp("search", server_url="https://example.com"), dict[str, Any])


async def aask(model: ChatGLM) -> None:
    assert_type(await model.ainvoke("Hello"), AIMessage)
    async for chunk in model.astream("Hello"):
        assert_type(chunk, AIMessageChunk)
    assert_type(await acollect(model.astream("Hello")), AIMessage)


def fail(model: ChatGLM) -> str:
    try:
        model.invoke("Hello")
    except GLMQuotaError as error:
        limit: GLMRateLimitError = error
        return f"{limit.code} {error.message}"
    except GLMStreamInterruptedError as error:
        return error.partial.text if error.partial else "nothing came"
    except ModelRateLimitError:
        return "slow down"
    except GLMError as error:
        assert_type(error.code, str | None)
        assert_type(error.partial, AIMessage | None)
        assert_type(error.retry_after, float | None)
        assert_type(error.request_id, str | None)
        assert_type(error.is_retryable, bool)
        return str(error)
    return ""


def answer(request: Received) -> Reply:
    assert_type(request.body, dict[str, Any])
    return Reply(text=str(request.body["model"]), usage={"prompt_tokens": 1})


def main() -> None:
    with GLMServer(answer, pace=0.0, fragment_size=8) as server:
        model = configure(server)
        ask(model)
        asyncio.run(aask(model))
        assert_type(server.requests, list[Received])
    # In place, not as a variable: mypy would take the list for one of objects.
    with GLMServer(
        [
            Fail(429, "1113", "no balance"),
            Cut(Reply(text="Hello"), after=10),
            Raw(b"data: [DONE]\n\n"),
            Reply(tool_calls=[Call("write_file", {"path": "a.txt"})]),
        ]
    ) as server:
        print(fail(configure(server)))


if __name__ == "__main__":
    main()
