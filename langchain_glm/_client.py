"""openai's clients as ChatGLM needs them.

Two things differ from what `ChatOpenAI` sets up:

- The HTTP clients may be used by one model object from several event loops, threads and forked
  processes: each loop (each process) gets a connection pool of its own, closed by the loop
  itself when it shuts its async generators down.
- Nothing of OpenAI's environment variables is left in them.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import os
import urllib.request
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, NamedTuple

import openai
from langchain_openai.chat_models._client_utils import (
    _DEFAULT_CONNECTION_LIMITS,
    _resolve_socket_options,
    _should_bypass_socket_options_for_proxy_env,
)
from pydantic import SecretStr

from langchain_glm._endpoints import usable_key

# openai 3 stands on httpx2, openai 2 on httpx: the same library has to make the transports.
_httpx: Any = importlib.import_module(
    openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]
)


class ClientSettings(NamedTuple):
    """What both clients are made with; the meaning of each is `ChatOpenAI`'s."""

    base_url: str
    timeout: Any
    organization: str | None
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, object] | None


def sync_and_async_keys(key: Any) -> tuple[Any, Any]:
    """Turn a model's key into what the sync and the async client take.

    Args:
        key: A `SecretStr`, or a function, sync or async, that gives the key for each request.

    Returns:
        The key as str, or as a function; None for the sync client where the function is async.

    Raises:
        GLMAuthenticationError: Here, or in a request: the key cannot be sent.
    """
    if isinstance(key, SecretStr):
        value = usable_key(key.get_secret_value())
        return value, value
    if inspect.iscoroutinefunction(key) or inspect.iscoroutinefunction(type(key).__call__):

        async def awaited() -> str:
            return usable_key(await key())

        return None, awaited

    def called() -> str:
        return usable_key(key())

    async def called_in_thread() -> str:
        return await asyncio.to_thread(called)

    return called, called_in_thread


class GLMClient(openai.OpenAI):
    """openai's client without openai's environment variables and without its retries."""

    def __init__(self, settings: ClientSettings, **specific: Any) -> None:
        super().__init__(**_arguments(settings), **specific)
        _forget_environment(self, settings)

    def _make_status_error_from_response(self, response: Any) -> openai.APIStatusError:
        return super()._make_status_error_from_response(_readable(response))


class AsyncGLMClient(openai.AsyncOpenAI):
    """The async twin of `GLMClient`.

    Attributes:
        streaming_unsaid: Whether the model that it was made for was not told `streaming`.
    """

    streaming_unsaid = True

    def __init__(self, settings: ClientSettings, **specific: Any) -> None:
        super().__init__(**_arguments(settings), **specific)
        _forget_environment(self, settings)

    def _make_status_error_from_response(self, response: Any) -> openai.APIStatusError:
        return super()._make_status_error_from_response(_readable(response))


def _readable(response: Any) -> Any:
    """Read a response's text as UTF-8 where it is that, or where its `charset` leads nowhere."""
    if not _fails(lambda: str(response.content, "utf-8")) or _fails(lambda: response.text):
        response.encoding = "utf-8"
    return response


def _fails(read: Callable[[], Any]) -> bool:
    try:
        read()
    except Exception:  # noqa: BLE001 - a codec may raise anything: "charset=base64"
        return True
    return False


def _arguments(settings: ClientSettings) -> dict[str, Any]:
    return {**settings._asdict(), "max_retries": 0}


def _forget_environment(client: Any, settings: ClientSettings) -> None:
    # openai's constructor reads OPENAI_ORG_ID, OPENAI_PROJECT_ID, OPENAI_ADMIN_KEY,
    # OPENAI_WEBHOOK_SECRET and OPENAI_CUSTOM_HEADERS wherever it was given None.
    client.organization = settings.organization
    client.project = client.admin_api_key = client.webhook_secret = None
    client._custom_headers = dict(settings.default_headers or {})


def shared_http_clients(
    proxy: str | None, socket_options: Any
) -> tuple[openai.DefaultHttpxClient, openai.DefaultAsyncHttpxClient]:
    """Give the HTTP clients that all models with the same network settings share.

    Args:
        proxy: A proxy for all requests, None for the proxies of the environment.
        socket_options: The value of `http_socket_options`.
    """
    options: tuple[Any, ...] = ()
    if not _should_bypass_socket_options_for_proxy_env(
        http_socket_options=socket_options,
        http_client=None,
        http_async_client=None,
        openai_proxy=proxy,
    ):
        options = _resolve_socket_options(socket_options)
    environment = (
        *sorted(urllib.request.getproxies().items()),
        *((name, os.environ.get(name, "")) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")),
    )
    return _cached_http_clients(proxy, options, environment)


@functools.lru_cache
def _cached_http_clients(
    proxy: str | None, options: tuple[Any, ...], environment: tuple[tuple[str, str], ...]
) -> tuple[openai.DefaultHttpxClient, openai.DefaultAsyncHttpxClient]:
    del environment  # a part of the key: a client reads these variables when it is made
    tls = functools.lru_cache(_httpx.create_ssl_context)  # takes 20 ms, and no loop owns it

    def make(client: Any, transport: Any) -> Any:
        if not (proxy or options):
            return client(verify=tls())
        made = transport(
            verify=tls(),
            proxy=_httpx.Proxy(proxy) if proxy else None,
            socket_options=list(options) or None,
            limits=_DEFAULT_CONNECTION_LIMITS,
        )
        where = {"mounts": {"all://": made}} if proxy else {"transport": made}
        return client(verify=tls(), **where)

    return (
        _ProcessClients(functools.partial(make, openai.DefaultHttpxClient, _httpx.HTTPTransport)),
        _LoopClients(
            functools.partial(make, openai.DefaultAsyncHttpxClient, _httpx.AsyncHTTPTransport)
        ),
    )


class _ProcessClients(openai.DefaultHttpxClient):
    """Sends through one real client in each process, so that a fork shares no connection."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__(transport=_httpx.BaseTransport())
        self._make = make
        self._real: dict[int, Any] = {}
        weakref.finalize(self, _close_all, self._real)

    def send(self, request: Any, **options: Any) -> Any:
        return self._of_this_process().send(request, **options)

    def close(self) -> None:
        _close_all(self._real)

    def _of_this_process(self) -> Any:
        # No lock: a fork could leave it locked in the child. Two threads that come first make a
        # client too many, which never opens a connection.
        pid = os.getpid()
        return self._real.get(pid) or self._real.setdefault(pid, self._make())


def _close_all(clients: dict[int, Any]) -> None:
    if client := clients.pop(os.getpid(), None):
        client.close()


class _LoopClients(openai.DefaultAsyncHttpxClient):
    """Sends through one real client in each event loop."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__(transport=_httpx.AsyncBaseTransport())
        self._make = make
        self._real: dict[tuple[int, asyncio.AbstractEventLoop], _LoopClient] = {}

    async def send(self, request: Any, **options: Any) -> Any:
        client = await self._of_this_loop()
        return await client.send(request, **options)

    async def aclose(self) -> None:
        if found := self._real.pop(self._key(), None):
            await found.keeper.aclose()

    async def _of_this_loop(self) -> Any:
        key = self._key()
        found = self._real.get(key)
        if found is None:
            for old in list(self._real):
                if old[1].is_closed():
                    self._real.pop(old, None)
            client = self._make()
            found = self._real[key] = _LoopClient(client, _until_shutdown(client))
            await anext(found.keeper)
        return found.client

    @staticmethod
    def _key() -> tuple[int, asyncio.AbstractEventLoop]:
        return os.getpid(), asyncio.get_running_loop()


class _LoopClient(NamedTuple):
    client: Any
    keeper: AsyncGenerator[None, None]


async def _until_shutdown(client: Any) -> AsyncGenerator[None, None]:
    # A loop closes the async generators that it has seen (`shutdown_asyncgens`): the one hook
    # it offers to whoever must close something before it is gone.
    try:
        yield
    finally:
        await client.aclose()
