"""The keys of a request, taken out of what a server says.

Servers and gateways have repeated the key that they refuse, or all headers of a request that they
could not read. What they say becomes the text of an error, and errors are logged.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from langchain_glm._json import MAX_DEPTH

_HEADERS = ("authorization", "api-key", "x-api-key")
_ATTRIBUTES = ("message", "body", "code", "request_id", "type", "param")
_SHORTEST = 6  # characters; "none" and "empty" are what servers without keys are given
_HIDDEN = "[the key]"


MASK = "**********"  # how pydantic shows a SecretStr
_URLS = frozenset({"endpoint", "openai_api_base", "openai_proxy"})
_PAIRS = frozenset({"default_headers", "default_query"})
_SECRET = re.compile(r"(?i)(?:^|[-_])(?:authorization|auth|key|token|secret|cookie|password)$")


def masked(field: str, value: Any) -> Any:
    """Show the value of a model's field without the secrets that it may hold.

    They are the user and the password of a URL, and the headers and the parts of a query whose
    name says so.
    """
    if field in _URLS and isinstance(value, str):
        before, at, host = urlsplit(value).netloc.rpartition("@")
        return value.replace(f"{before}@{host}", f"{MASK}@{host}", 1) if at else value
    if field in _PAIRS and isinstance(value, Mapping):
        return {name: MASK if _SECRET.search(name) else said for name, said in value.items()}
    return value


def hide_keys(error: BaseException, request: Any) -> None:
    """Take the keys of a request out of an error's text, and out of those that led to it."""
    keys = [*_keys(request)]
    chain: list[BaseException] = []
    link: BaseException | None = error if keys else None
    while link is not None and link not in chain:
        chain.append(link)
        link.args = tuple(_without(item, keys) for item in link.args)
        for name in _ATTRIBUTES:
            if value := getattr(link, name, None):
                setattr(link, name, _without(value, keys))
        if hasattr(link, "response"):  # LangChain puts its body into the trace of the run
            link.response = _response_without(link.response, keys)
        link = link.__cause__ or link.__context__


def _response_without(response: Any, keys: list[str]) -> Any:
    try:
        text = response.text
    except Exception:  # noqa: BLE001 - it has no body, or one that was not read to its end
        return response
    hidden = _without(text, keys)
    if hidden == text:
        return response
    headers = {k: v for k, v in response.headers.items() if k not in _OF_THE_BODY}
    return type(response)(
        response.status_code, headers=headers, content=hidden.encode(), request=response.request
    )


_OF_THE_BODY = ("content-encoding", "content-length", "transfer-encoding")


def _keys(request: Any) -> Iterator[str]:
    headers = getattr(request, "headers", {})
    for name in _HEADERS:
        key = headers.get(name, "").rpartition(" ")[2]  # behind "Bearer"
        if len(key) >= _SHORTEST:
            yield key


def _without(value: Any, keys: list[str], depth: int = MAX_DEPTH) -> Any:
    if isinstance(value, str):
        for key in keys:
            value = _hidden(value, key)
        return value
    if isinstance(value, list | dict) and not depth:
        return None  # openai's error holds what the server sent, however deep
    if isinstance(value, list):
        return [_without(item, keys, depth - 1) for item in value]
    if isinstance(value, dict):
        return {
            _without(name, keys): _without(item, keys, depth - 1) for name, item in value.items()
        }
    return value


def _hidden(text: str, key: str) -> str:
    # The beginning of a key goes too: a text may have been cut in the middle of it.
    pieces = []
    end = 0
    while (at := text.find(key[:_SHORTEST], end)) >= 0:
        pieces += [text[end:at], _HIDDEN]
        pairs = zip(key, text[at : at + len(key)], strict=False)
        end = at + sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return "".join([*pieces, text[end:]])
