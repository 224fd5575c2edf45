"""Whom a command asks: the endpoint and the key, or the bundled server where there is no key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import openai
from pydantic import SecretStr

from langchain_glm._endpoints import api_key_from_environment, usable_key
from langchain_glm.errors import GLMAuthenticationError
from langchain_glm.testing import GLMServer

# Some 440 frames in about 5 s: slow enough to see the difference, quick enough for a demo.
SCRIPTED_PACE = 0.012  # seconds


@dataclass(frozen=True)
class Target:
    """Whom to ask.

    Attributes:
        fields: What `ChatGLM` needs to get there.
        scripted: Whether it is the bundled server, which runs no model.
    """

    fields: Mapping[str, Any]
    scripted: bool = False


def find_key(given: str | None) -> SecretStr | None:
    """Choose the key: the given one, else the environment's, else None.

    Raises:
        GLMAuthenticationError: The key cannot stand in an HTTP header.
    """
    key = SecretStr(given) if given else None
    if key is None:
        with suppress(GLMAuthenticationError):
            key = api_key_from_environment()
    return SecretStr(usable_key(key.get_secret_value())) if key else None


@contextmanager
def open_target(
    key: SecretStr | None, *, base_url: str | None = None, endpoint: str | None = None
) -> Iterator[Target]:
    """Give the endpoint that the arguments name; without a key or a URL, the bundled server."""
    if key or base_url:
        # A self-hosted server that checks no key takes any.
        named = {"base_url": base_url, "endpoint": endpoint, "api_key": key or SecretStr("none")}
        yield Target({name: value for name, value in named.items() if value is not None})
        return
    with (
        GLMServer(pace=SCRIPTED_PACE) as server,
        # The proxies of the environment do not lead to this machine's own loopback.
        openai.DefaultHttpxClient(trust_env=False) as http_client,
    ):
        reach = {"base_url": server.base_url, "http_client": http_client}
        yield Target({**reach, "api_key": SecretStr("scripted")}, scripted=True)
