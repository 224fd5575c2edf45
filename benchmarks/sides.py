"""Who is measured: `ChatGLM`, `ChatOpenAI`, and the bare socket with its JSON parsed."""

from __future__ import annotations

import asyncio
import collections
import importlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import openai
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.utils import message_chunk_to_message
from langchain_openai import ChatOpenAI

from benchmarks.bodies import Message
from langchain_glm import ChatGLM

T = TypeVar("T")

PROMPT = "hi"
GLM, OPENAI, BARE = "ChatGLM", "ChatOpenAI", "bare socket"

# The library that openai's client stands on: httpx2 from openai 3 on, httpx before.
_httpx: Any = importlib.import_module(
    openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]
)
_LIMITS = _httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
# One for the whole run: the clients of `ChatOpenAI` belong to the first loop that uses them.
_loop = asyncio.new_event_loop()


def glm(url: str, **fields: Any) -> ChatGLM:
    """Make our model."""
    return ChatGLM(model="glm-4.7", api_key="test-key", base_url=url, **fields)


def openai_model(url: str, **fields: Any) -> ChatOpenAI:
    """Make `ChatOpenAI`, for the same server."""
    return ChatOpenAI(
        model="glm-4.7", api_key="test-key", base_url=url, stream_usage=True, **fields
    )


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the loop of the benchmarks."""
    return _loop.run_until_complete(coroutine)


def exhaust(items: Iterable[Any]) -> None:
    """Read a stream and keep nothing."""
    collections.deque(items, maxlen=0)


async def aexhaust(items: AsyncIterable[Any]) -> None:
    """Read an async stream and keep nothing."""
    async for _ in items:
        pass


class Way(NamedTuple):
    """A way to ask a model.

    Attributes:
        drain: Asks, and reads the answer to its end.
        said: Asks, and gives the answer.
        bare: The method of `Bare` that reads the same bytes.
    """

    drain: Callable[[Any], object]
    said: Callable[[Any], Message]
    bare: str


def read(message: AIMessage) -> Message:
    """Tell what a message says."""
    calls = tuple((call["name"], canonical(call["args"])) for call in message.tool_calls)
    reasoning = message.additional_kwargs.get("reasoning_content") or ""
    return Message(str(message.text), reasoning, calls)


def canonical(arguments: Any) -> str:
    """Write arguments so that equal ones are equal texts."""
    return json.dumps(arguments, sort_keys=True)


def merged(chunks: Iterable[AIMessageChunk]) -> Message:
    """Tell what chunks say, by core's own bulk merge."""
    first, *rest = chunks
    return read(message_chunk_to_message(first.__add__(rest)))


async def alist(items: AsyncIterable[T]) -> list[T]:
    """Read an async stream and keep everything."""
    return [item async for item in items]


async def _av3(model: Any) -> None:
    async with await model.astream_events(PROMPT, version="v3") as events:
        await aexhaust(events)


async def _av3_output(model: Any) -> AIMessage:
    async with await model.astream_events(PROMPT, version="v3") as events:
        return await events


WAYS = {
    "stream": Way(
        lambda model: exhaust(model.stream(PROMPT)),
        lambda model: merged(model.stream(PROMPT)),
        "stream",
    ),
    "astream": Way(
        lambda model: run(aexhaust(model.astream(PROMPT))),
        lambda model: merged(run(alist(model.astream(PROMPT)))),
        "astream",
    ),
    "v3 events": Way(
        lambda model: exhaust(model.stream_events(PROMPT, version="v3")),
        lambda model: read(model.stream_events(PROMPT, version="v3").output),
        "stream",
    ),
    "v3 events, async": Way(
        lambda model: run(_av3(model)),
        lambda model: read(run(_av3_output(model))),
        "astream",
    ),
    "invoke": Way(
        lambda model: model.invoke(PROMPT), lambda model: read(model.invoke(PROMPT)), "invoke"
    ),
    "ainvoke": Way(
        lambda model: run(model.ainvoke(PROMPT)),
        lambda model: read(run(model.ainvoke(PROMPT))),
        "ainvoke",
    ),
}


class Bare:
    """Reads the bytes with openai's HTTP library and parses the JSON of each frame."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/chat/completions"
        self._client = _httpx.Client(limits=_LIMITS)
        self._async_client = _httpx.AsyncClient(limits=_LIMITS)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        run(self._async_client.aclose())

    def stream(self) -> Iterator[dict[str, Any]]:
        """Give the frames of a stream."""
        with self._client.stream("POST", self._url, json=_asked(stream=True)) as response:
            rest = b""
            for data in response.iter_bytes():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    if event != _DONE:
                        yield json.loads(event[_PREFIX:])

    async def astream(self) -> AsyncIterator[dict[str, Any]]:
        """Give the frames of a stream; the async twin of `stream`."""
        asked = _asked(stream=True)
        async with self._async_client.stream("POST", self._url, json=asked) as response:
            rest = b""
            async for data in response.aiter_bytes():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    if event != _DONE:
                        yield json.loads(event[_PREFIX:])

    def invoke(self) -> Iterator[dict[str, Any]]:
        """Give the one frame of an answer that comes whole."""
        response = self._client.post(self._url, json=_asked(stream=False))
        yield json.loads(response.content)

    async def ainvoke(self) -> AsyncIterator[dict[str, Any]]:
        """Give the one frame of an answer that comes whole; the async twin of `invoke`."""
        response = await self._async_client.post(self._url, json=_asked(stream=False))
        yield json.loads(response.content)

    def drain(self, method: str) -> None:
        """Read an answer and keep nothing."""
        if method.startswith("a"):
            run(aexhaust(getattr(self, method)()))
        else:
            exhaust(getattr(self, method)())

    def said(self, method: str) -> Message:
        """Tell what an answer says."""
        frames = getattr(self, method)()
        return _said(run(alist(frames)) if method.startswith("a") else list(frames))


_DONE = b"data: [DONE]"
_PREFIX = len(b"data: ")


def _asked(*, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": PROMPT}]
    return {"model": "glm-4.7", "messages": messages, "stream": stream}


def _said(frames: Iterable[dict[str, Any]]) -> Message:
    choices = [frame["choices"][0] for frame in frames]
    deltas = [choice.get("delta") or choice["message"] for choice in choices]
    text = "".join(delta.get("content") or "" for delta in deltas)
    reasoning = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    pieces = [piece["function"] for delta in deltas for piece in delta.get("tool_calls") or ()]
    if not pieces:
        return Message(text, reasoning)
    arguments = "".join(piece["arguments"] for piece in pieces)
    return Message(text, reasoning, ((pieces[0]["name"], canonical(json.loads(arguments))),))
