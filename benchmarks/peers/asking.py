"""How each peer is asked; runs in the peer's environment, with nothing else than the peer.

    python asking.py PEER    # reads addresses, and prints for each what came as a line of JSON

A peer's function makes its client and gives a function that asks for an answer and yields what
arrives, each fragment as `(text, reasoning, arguments)`.
"""

# ruff: noqa: PLC0415 - a peer is found only in its own environment

from __future__ import annotations

import asyncio
import functools
import gc
import json
import sys
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

Fragment = tuple[str, str, str]
Ask = Callable[[], "Iterator[Fragment] | AsyncIterator[Fragment]"]

MODEL = "glm-4.7"
KEY = "test.key"  # ChatZhipuAI signs with the second half
TOOL = {
    "type": "function",
    "function": {
        "name": "write_file",
        "description": "Write a file.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
        },
    },
}


def chat_glm(url: str) -> Ask:
    """Ask `ChatGLM`."""
    from langchain_glm import ChatGLM

    return _of_langchain(ChatGLM(model=MODEL, api_key=KEY, base_url=url))


def chat_openai(url: str) -> Ask:
    """Ask `ChatOpenAI`."""
    from langchain_openai import ChatOpenAI

    return _of_langchain(ChatOpenAI(model=MODEL, api_key=KEY, base_url=url))


def chat_zhipuai(url: str) -> Ask:
    """Ask `ChatZhipuAI` of langchain-community."""
    from langchain_community.chat_models import ChatZhipuAI

    endpoint = f"{url}/chat/completions"
    return _of_langchain(ChatZhipuAI(model=MODEL, api_key=KEY, api_base=endpoint))


def chat_deepseek(url: str) -> Ask:
    """Ask `ChatDeepSeek`."""
    from langchain_deepseek import ChatDeepSeek

    return _of_langchain(ChatDeepSeek(model=MODEL, api_key=KEY, api_base=url))


def chat_litellm(url: str) -> Ask:
    """Ask `ChatLiteLLM`."""
    from langchain_litellm import ChatLiteLLM

    return _of_langchain(ChatLiteLLM(model=f"openai/{MODEL}", api_key=KEY, api_base=url))


def _of_langchain(model: Any) -> Ask:
    bound = model.bind_tools([TOOL])

    def ask() -> Iterator[Fragment]:
        for chunk in bound.stream("hi"):
            reasoning = chunk.additional_kwargs.get("reasoning_content") or ""
            calls = "".join(call["args"] or "" for call in chunk.tool_call_chunks)
            yield chunk.content, reasoning, calls

    return ask


def pydantic_ai(url: str) -> Ask:
    """Ask the model of pydantic-ai, which is async, without an agent."""
    from pydantic_ai.direct import model_request_stream
    from pydantic_ai.messages import ModelRequest, PartDeltaEvent, PartStartEvent
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.models.zai import ZaiModel
    from pydantic_ai.providers.zai import ZaiProvider
    from pydantic_ai.tools import ToolDefinition

    model = ZaiModel(MODEL, provider=ZaiProvider(api_key=KEY, base_url=url))
    function = TOOL["function"]
    tool = ToolDefinition(name=function["name"], parameters_json_schema=function["parameters"])
    asked = {
        "model": model,
        "messages": [ModelRequest.user_text_prompt("hi")],
        "model_request_parameters": ModelRequestParameters(function_tools=[tool]),
    }

    async def ask() -> AsyncIterator[Fragment]:
        async with model_request_stream(**asked) as events:
            async for event in events:
                if isinstance(event, (PartStartEvent, PartDeltaEvent)):
                    yield _part(event.part if isinstance(event, PartStartEvent) else event.delta)

    return ask


def _part(part: Any) -> Fragment:
    said = getattr(part, "content", None) or getattr(part, "content_delta", None) or ""
    if "Thinking" in type(part).__name__:
        return "", said, ""
    return said, "", getattr(part, "args", None) or getattr(part, "args_delta", None) or ""


def zai_sdk(url: str) -> Ask:
    """Ask with Z.ai's own package."""
    from zai import ZaiClient

    return _of_openai(ZaiClient(api_key=KEY, base_url=url))


def openai(url: str) -> Ask:
    """Ask with openai's package."""
    from openai import OpenAI

    return _of_openai(OpenAI(api_key=KEY, base_url=url))


def _of_openai(client: Any) -> Ask:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "tools": [TOOL]}

    def ask() -> Iterator[Fragment]:
        for chunk in client.chat.completions.create(**asked, stream=True):
            delta = chunk.choices[0].delta
            calls = "".join(call.function.arguments or "" for call in delta.tool_calls or ())
            yield delta.content or "", getattr(delta, "reasoning_content", None) or "", calls

    return ask


PEERS: Mapping[str, Callable[[str], Ask]] = {
    "ChatGLM": chat_glm,
    "ChatOpenAI": chat_openai,
    "langchain-community": chat_zhipuai,
    "langchain-deepseek": chat_deepseek,
    "langchain-litellm": chat_litellm,
    "pydantic-ai": pydantic_ai,
    "zai-sdk": zai_sdk,
    "openai": openai,
}


def main(peer: str) -> None:
    """Answer each line of the input."""
    warnings.simplefilter("ignore")
    make = functools.lru_cache(PEERS[peer])
    loop = asyncio.new_event_loop()
    for line in sys.stdin:
        ask = make(line.strip())
        gc.collect()
        began = time.process_time()
        fragments = _read(ask(), loop)
        seconds = time.process_time() - began
        print(json.dumps({"seconds": seconds, "fragments": fragments}), flush=True)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _read(answer: Any, loop: asyncio.AbstractEventLoop) -> list[Fragment]:
    if hasattr(answer, "__anext__"):
        return loop.run_until_complete(_alist(answer))
    return list(answer)


async def _alist(answer: AsyncIterator[Fragment]) -> list[Fragment]:
    return [fragment async for fragment in answer]


if __name__ == "__main__":
    main(sys.argv[1])
