"""Where GLM is served: names, base URLs, and the environment variables that stand for them."""

from __future__ import annotations

import base64
import os
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from langchain_glm.errors import GLMAuthenticationError

# docs.z.ai and docs.bigmodel.cn. A Coding Plan key on a general route gets code 1113.
ENDPOINTS = {
    "zai": "https://api.z.ai/api/paas/v4",
    "zai-coding": "https://api.z.ai/api/coding/paas/v4",
    "bigmodel": "https://open.bigmodel.cn/api/paas/v4",
    "bigmodel-coding": "https://open.bigmodel.cn/api/coding/paas/v4",
}
"""The base URL of each endpoint name; requests go to `<base URL>/chat/completions`."""

# The official SDK's names, for both regions; ZHIPUAI_API_KEY is the older one.
API_KEY_VARIABLES = ("ZAI_API_KEY", "ZHIPUAI_API_KEY")
BASE_URL_VARIABLE = "ZAI_BASE_URL"

_DEFAULT = "zai"
_OWN_HOSTS = frozenset(urlsplit(url).hostname for url in ENDPOINTS.values())


def endpoint_here(endpoint: str) -> str:
    """Put the URL of `ZAI_BASE_URL` in place of `zai`, if that variable is set.

    Done once for a model, so that a copy of it in another process, where the variable is another,
    does not send its key to another host.

    Raises:
        ValueError: The variable holds no URL.
    """
    url = os.environ.get(BASE_URL_VARIABLE) if endpoint == _DEFAULT else None
    return _checked_url(url) if url else endpoint


def resolve_base_url(base_url: str | None, endpoint: str) -> str:
    """Choose the base URL: the argument, else the endpoint's.

    Args:
        base_url: A URL, or None.
        endpoint: A name of `ENDPOINTS`, or a URL.

    Raises:
        ValueError: The endpoint is neither a known name nor a URL, or the URL is none.
    """
    url = base_url or ENDPOINTS.get(endpoint, endpoint)
    if "://" not in url and not base_url:
        names = ", ".join(ENDPOINTS)
        msg = f"Unknown endpoint {endpoint!r}: use one of {names}, or a URL in base_url."
        raise ValueError(msg)
    return _checked_url(url)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = f"The base URL {url!r} does not begin with http:// or https:// and a host."
        raise ValueError(msg)
    return url


def split_credentials(url: str) -> tuple[str, dict[str, str]]:
    """Take the user and the password out of a URL.

    Returns:
        The URL without them, and the header that says them.
    """
    parts = urlsplit(url)
    said, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    user, _, password = said.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    header = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return urlunsplit(parts._replace(netloc=host)), header


def api_key_from_environment() -> SecretStr:
    """Read the key from `ZAI_API_KEY`, else from `ZHIPUAI_API_KEY`.

    Raises:
        GLMAuthenticationError: Neither is set.
    """
    for name in API_KEY_VARIABLES:
        if value := os.environ.get(name):
            return SecretStr(value)
    msg = (
        "No API key: set ZAI_API_KEY in the environment, or pass api_key=... (a self-hosted "
        'server that checks none takes any, such as api_key="none").'
    )
    raise GLMAuthenticationError(msg)


def usable_key(key: str) -> str:
    """Strip a key, and refuse what no HTTP header can carry before a header quotes it.

    Raises:
        GLMAuthenticationError: The key is empty, or has a line end, a blank or a letter beyond
            ASCII in it. The message does not show it.
    """
    key = key.strip()
    if key and key.isascii() and key.isprintable() and " " not in key:
        return key
    problem = "holds characters that no HTTP header can carry" if key else "is empty"
    msg = f"The API key {problem}: check ZAI_API_KEY, or api_key=..."
    raise GLMAuthenticationError(msg)


def is_own_host(base_url: str) -> bool:
    """Tell whether a base URL is on one of Z.ai's own hosts, which alone take GLM's wire."""
    return urlsplit(base_url).hostname in _OWN_HOSTS
