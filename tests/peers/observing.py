"""What is seen of one chat model; runs in the environment of its package, with nothing of ours.

    python observing.py CLASS URL    # prints what was seen as JSON

Each prompt is answered by `answers`. Everything here is asked as a user would ask it: nothing is
patched, and no private name is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import json
import logging
import operator
import pickle
import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, NamedTuple

KEY = "test.key"  # ChatZhipuAI signs with the second half
MODEL = "glm-4.7"
EMBEDDING = "embedding-3"
TIMEOUT = 100


def _function(name: str, *parameters: str) -> dict[str, Any]:
    properties = {parameter: {"type": "string"} for parameter in parameters}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    described = {"name": name, "description": f"The tool {name}.", "parameters": schema}
    return {"type": "function", "function": described}


TOOLS = [_function("write_file", "path", "content"), _function("weather", "city")]
CITY = {
    "title": "City",
    "description": "A city.",
    "type": "object",
    "properties": {"name": {"type": "string"}, "country": {"type": "string"}},
    "required": ["name", "country"],
}


def chat_glm(url: str, model: str = MODEL, **fields: Any) -> Any:
    """Make `ChatGLM`."""
    from langchain_glm import ChatGLM

    return ChatGLM(model=model, api_key=KEY, base_url=url, **fields)


def chat_openai(url: str, model: str = MODEL, **fields: Any) -> Any:
    """Make `ChatOpenAI`."""
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=model, api_key=KEY, base_url=url, **fields)


def chat_deepseek(url: str, model: str = MODEL, **fields: Any) -> Any:
    """Make `ChatDeepSeek`."""
    from langchain_deepseek import ChatDeepSeek

    return ChatDeepSeek(model=model, api_key=KEY, api_base=url, **fields)


def chat_litellm(url: str, model: str = MODEL, **fields: Any) -> Any:
    """Make `ChatLiteLLM`, with the prefix that LiteLLM's page on Z.ai names."""
    from langchain_litellm import ChatLiteLLM

    model = model if "/" in model else f"zai/{model}"
    return ChatLiteLLM(model=model, api_key=KEY, api_base=url, **fields)


def chat_zhipuai(url: str, model: str = MODEL, **fields: Any) -> Any:
    """Make `ChatZhipuAI`, whose address is that of the endpoint."""
    from langchain_community.chat_models import ChatZhipuAI

    return ChatZhipuAI(model=model, api_key=KEY, api_base=f"{url}/chat/completions", **fields)


def openai_embeddings(url: str) -> Any:
    """Make `OpenAIEmbeddings`, without the tokens of OpenAI's models."""
    from langchain_openai import OpenAIEmbeddings

    fields = {"check_embedding_ctx_length": False}
    return OpenAIEmbeddings(model=EMBEDDING, api_key=KEY, base_url=url, **fields)


def litellm_embeddings(url: str) -> Any:
    """Make `LiteLLMEmbeddings`."""
    from langchain_litellm import LiteLLMEmbeddings

    return LiteLLMEmbeddings(model=f"openai/{EMBEDDING}", api_key=KEY, api_base=url)


def zhipuai_embeddings(url: str) -> Any:
    """Make `ZhipuAIEmbeddings`, which takes no address."""
    from langchain_community.embeddings import ZhipuAIEmbeddings

    return ZhipuAIEmbeddings(model=EMBEDDING, api_key=KEY)


def litellm_size() -> int:
    """Ask LiteLLM's own table of models."""
    import litellm

    return litellm.get_model_info(f"zai/{MODEL}")["max_input_tokens"]


class Peer(NamedTuple):
    """A chat model.

    Attributes:
        make: Makes one for a server.
        wrap: Wraps what is to be added to the request's body, as its package documents it.
        bound: Whether that is bound to the model, instead of being one of its fields.
        without_thinking: The fields of the package's own that switch thinking off.
        with_own_tools: The fields that let tools of GLM's own pass.
        size: Gives the size of the model's context, where the profile does not.
        embeddings: Makes the package's embeddings for a server.
    """

    make: Callable[..., Any]
    wrap: Callable[[dict[str, Any]], dict[str, Any]]
    bound: bool = False
    without_thinking: Mapping[str, Any] = MappingProxyType({})
    with_own_tools: Mapping[str, Any] = MappingProxyType({})
    size: Callable[[], int] | None = None
    embeddings: Callable[[str], Any] | None = None

    def with_extra(self, url: str, tools: Any = (), **extra: Any) -> Any:
        """Make one that sends more, with tools or without."""
        fields = {} if self.bound else self.wrap(extra)
        model = self.make(url, **fields)
        bound = self.wrap(extra) if self.bound else {}
        return model.bind_tools(tools, **bound) if tools else model.bind(**bound)


def _extra_body(extra: dict[str, Any]) -> dict[str, Any]:
    return {"extra_body": extra}


_NO_RESPONSES = {"use_responses_api": False}  # a tool of the name web_search means that API else
_OFF = {"type": "disabled"}
PEERS: Mapping[str, Peer] = {
    "ChatGLM": Peer(chat_glm, dict, without_thinking={"thinking": False}),
    "ChatOpenAI": Peer(
        chat_openai, _extra_body, with_own_tools=_NO_RESPONSES, embeddings=openai_embeddings
    ),
    "ChatDeepSeek": Peer(chat_deepseek, _extra_body, with_own_tools=_NO_RESPONSES),
    "ChatLiteLLM": Peer(
        chat_litellm,
        lambda extra: {"model_kwargs": _extra_body(extra)},
        without_thinking={"model_kwargs": {"thinking": _OFF}},
        size=litellm_size,
        embeddings=litellm_embeddings,
    ),
    "ChatZhipuAI": Peer(chat_zhipuai, dict, bound=True, embeddings=zhipuai_embeddings),
}


def arguments(peer: Peer, url: str) -> Any:
    """How many fragments of arguments arrive, and the calls that they make."""
    seen = {}
    for way, model in (
        ("default", peer.make(url).bind_tools(TOOLS)),
        ("asked", peer.with_extra(url, TOOLS, tool_stream=True)),
    ):
        with _trouble(seen, way):
            chunks = list(model.stream("arguments"))
            pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]
            count = sum(bool(piece["args"]) for piece in pieces)
            seen[way] = {"fragments": count, "calls": _calls(_merged(chunks))}
    return seen


def events(peer: Peer, url: str) -> Any:
    """How many deltas LangChain's v3 events have of reasoning and of arguments."""
    seen: dict[str, Any] = {}
    model = peer.with_extra(url, TOOLS, tool_stream=True)
    with _trouble(seen, "error"):
        stream = model.stream_events("arguments", version="v3")
        seen.update(reasoning=0, arguments=0)
        for event in stream:
            kind = event.get("delta", {}).get("type")
            seen["reasoning"] += kind == "reasoning-delta"
            seen["arguments"] += kind == "tool-call-delta"
        seen["calls"] = _calls(stream.output)
    return seen


def no_index(peer: Peer, url: str) -> Any:
    """Give the calls of a stream whose deltas have no index."""
    seen: dict[str, Any] = {}
    with _trouble(seen, "error"):
        seen["calls"] = _calls(_merged(peer.make(url).bind_tools(TOOLS).stream("no index")))
    return seen


def reasoning(peer: Peer, url: str) -> Any:
    """Where the reasoning stands, streamed and whole."""
    model = peer.make(url)
    streamed, whole = _merged(model.stream("reasoning")), model.invoke("reasoning")
    return {"stream": _reasoning(streamed), "whole": _reasoning(whole)}


def history(peer: Peer, url: str) -> Any:
    """Send an answer with reasoning back, with the result of its call."""
    from langchain_core.messages import HumanMessage, ToolMessage

    model = peer.make(url).bind_tools(TOOLS)
    question = HumanMessage("history")
    answered = model.invoke([question])
    result = ToolMessage("sunny", tool_call_id=answered.tool_calls[0]["id"])
    return model.invoke([question, answered, result]).text


def usage(peer: Peer, url: str) -> Any:
    """Give the usage of a stream."""
    message = _merged(peer.make(url).stream("usage"))
    return {
        "usage_metadata": message.usage_metadata,
        "elsewhere": "token_usage" in message.response_metadata,
    }


def cut(peer: Peer, url: str) -> Any:
    """What an agent's tool was called with, though its call was cut."""
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    ran: list[dict[str, Any]] = []

    @tool
    def write_file(path: str, content: str = "") -> str:
        """Write a file."""
        ran.append({"path": path, "content": content})
        return "written"

    seen = {}
    model = peer.make(url)
    for prompt in ("cut in a string", "cut and closed"):
        for mode in ("values", "messages"):
            name = f"{prompt}, {mode}"
            with _trouble(seen, name):
                agent = create_agent(model, [write_file])
                for _ in agent.stream({"messages": prompt}, stream_mode=mode):
                    pass
                seen[name] = list(ran)
            ran.clear()
    return seen


def failing(peer: Peer, url: str) -> Any:
    """What is raised; and what had been streamed before."""
    model = peer.make(url)
    asks: dict[str, Callable[[str], Any]] = {
        **dict.fromkeys(("balance", "rate limit", "overflow", "error in a body"), model.invoke),
        **dict.fromkeys(("error in a stream", "no end"), lambda prompt: list(model.stream(prompt))),
    }
    with ThreadPoolExecutor(len(asks)) as pool:  # some wait before they ask again
        return dict(zip(asks, pool.map(_error, asks.values(), asks), strict=True))


def structured(peer: Peer, url: str) -> Any:
    """What `with_structured_output` makes of right and wrong answers.

    By its default method, or if that gives nothing by the other one that needs no JSON mode.
    """
    from pydantic import BaseModel

    class City(BaseModel):
        """A city."""

        name: str
        country: str

    def ask(schema: Any, prompt: str, model: str = MODEL) -> Any:
        asked = peer.make(url, model=model).with_structured_output(schema, **method)
        answered = asked.invoke(prompt)
        return answered.model_dump() if isinstance(answered, BaseModel) else answered

    method: dict[str, str] = {}
    seen: dict[str, Any] = {}
    with _trouble(seen, "right"):
        seen["right"] = ask(City, "city")
    if "error" in seen["right"]:
        method["method"] = "function_calling"
    seen["method"] = method.get("method", "default")
    for name, asked in (
        ("right", (City, "city")),
        ("glm-5.3", (City, "city", "glm-5.3")),
        ("fenced", (City, "city in a fence")),
        ("wrong", (City, "no city")),
        ("wrong, dict", (CITY, "no city")),
    ):
        with _trouble(seen, name):
            seen[name] = ask(*asked)
    return seen


def search(peer: Peer, url: str) -> Any:
    """Whether what GLM's web search found is in the message: where, streamed and whole."""
    seen: dict[str, Any] = {}
    model = peer.make(url, **peer.with_own_tools)
    searching = model.bind_tools([{"type": "web_search", "web_search": {"enable": True}}])
    asks = {
        "stream": lambda: _merged(searching.stream("search")),
        "whole": lambda: searching.invoke("search"),
    }
    for way, ask in asks.items():
        with _trouble(seen, way):
            message = ask()
            seen[way] = "https://example.com/glm" in json.dumps(message.model_dump(), default=str)
            seen[f"{way}, cited"] = "'citation'" in str(message.content_blocks)
    return seen


def loops(peer: Peer, url: str) -> Any:
    """Ask one model in several event loops, whole and streamed."""
    model = peer.make(url)

    async def stream() -> str:
        return "".join([chunk.text async for chunk in model.astream("hello")])

    async def whole() -> str:
        return (await model.ainvoke("hello")).text

    seen: dict[str, Any] = {}
    with _trouble(seen, "error"):
        seen["said"] = [asyncio.run(ask()) for ask in (whole, whole, stream, stream)]
    return seen


def pickled(peer: Peer, url: str) -> Any:
    """Ask a model that was pickled."""
    seen: dict[str, Any] = {}
    with _trouble(seen, "error"):
        model = pickle.loads(pickle.dumps(peer.make(url)))  # noqa: S301
        seen["said"] = model.invoke("hello").text
    return seen


def thinking(peer: Peer, url: str) -> Any:
    """Switch thinking off; the server has seen how."""
    seen: dict[str, Any] = {}
    if peer.without_thinking:
        with _trouble(seen, "own"):
            peer.make(url, **peer.without_thinking).invoke("thinking own")
    with _trouble(seen, "extra"):
        peer.with_extra(url, thinking={"type": "disabled"}).invoke("thinking extra")
    return seen


def knowledge(peer: Peer, url: str) -> Any:
    """What is known of the model, and of the price of an answer."""
    model = peer.make(url)
    message = model.invoke("usage")
    return {
        "max_input_tokens": (model.profile or {}).get("max_input_tokens"),
        "elsewhere": peer.size() if peer.size else None,
        "cost": "cost" in json.dumps(message.model_dump(), default=str),
    }


def others(peer: Peer, url: str) -> Any:
    """Ask other providers' APIs; the server has seen the paths."""
    seen: dict[str, Any] = {}
    with _trouble(seen, "responses"):
        peer.make(url, model="gpt-5", use_responses_api=True).invoke("hello")
    for model in ("anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-pro", "ollama/llama3"):
        with _trouble(seen, model):
            peer.make(url, model=model).invoke("hello")
    return seen


def embeddings(peer: Peer, url: str) -> Any:
    """Embed a text; the server has seen it."""
    seen: dict[str, Any] = {}
    if peer.embeddings:
        with _trouble(seen, "error"):
            peer.embeddings(url).embed_query("hello")
    return seen


def imported(peer: Peer, url: str) -> Any:
    """Which of the packages that speak HTTP for a provider are needed."""
    return {"openai": "openai" in sys.modules}


OBSERVERS: tuple[Callable[[Peer, str], Any], ...] = (
    arguments,
    events,
    no_index,
    reasoning,
    history,
    usage,
    cut,
    failing,
    structured,
    search,
    loops,
    pickled,
    thinking,
    knowledge,
    others,
    embeddings,
    imported,
)


def observe(name: str, url: str) -> dict[str, Any]:
    """Tell what was seen, by the name of the observer."""
    peer = PEERS[name]
    seen: dict[str, Any] = {}
    for observer in OBSERVERS:
        with _trouble(seen, observer.__name__):
            seen[observer.__name__] = observer(peer, url)
    return seen


def _merged(chunks: Any) -> Any:
    return functools.reduce(operator.add, chunks)


def _calls(message: Any) -> list[Any]:
    return [[call["name"], call["args"]] for call in message.tool_calls]


def _reasoning(message: Any) -> list[str | None]:
    blocks = [block for block in message.content_blocks if block["type"] == "reasoning"]
    joined = "".join(block.get("reasoning", "") for block in blocks)
    return [message.additional_kwargs.get("reasoning_content"), joined or None]


def _error(ask: Callable[[str], Any], prompt: str) -> Any:
    from langchain_core import exceptions

    try:
        ask(prompt)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was seen
        kinds = (exceptions.ModelError, exceptions.ContextOverflowError)
        standard = [kind.__name__ for kind in kinds if isinstance(error, kind)]
        return {"type": type(error).__name__, "text": str(error)[:300], "is": standard}
    return None


@contextlib.contextmanager
def _trouble(seen: dict[str, Any], name: str) -> Any:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was seen
        seen[name] = {"error": type(error).__name__, "text": str(error)[:300]}


def main(name: str, url: str) -> None:
    """Observe one peer and print what was seen."""
    warnings.simplefilter("ignore")
    logging.disable()
    faulthandler.dump_traceback_later(TIMEOUT, exit=True)
    with contextlib.redirect_stdout(sys.stderr):  # LiteLLM prints on errors
        seen = observe(name, url)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
