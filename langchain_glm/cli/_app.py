"""The commands of `langchain-glm`: options in, wiring, exit status out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import openai
import typer
from pydantic import SecretStr
from rich.console import Console

from langchain_glm._endpoints import ENDPOINTS
from langchain_glm._version import __version__
from langchain_glm.chat_models import ChatGLM
from langchain_glm.cli._probe import PROMPT, Measurement, ask, measure, timed
from langchain_glm.cli._report import (
    SCRIPTED_NOTICE,
    Comparison,
    error_line,
    judge,
    to_json,
    to_table,
)
from langchain_glm.cli._target import find_key, open_target
from langchain_glm.errors import GLMAuthenticationError, GLMError

_CONNECT_SECONDS = 8.0  # as the official SDK has it
_FAILED = 2

# Pretty tracebacks show the values of local variables, and so the key.
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"langchain-glm-zai {__version__}")
        raise typer.Exit


def _known_endpoint(name: str | None) -> str | None:
    if name is not None and name not in ENDPOINTS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(ENDPOINTS)}.")
    return name


def _web_address(url: str | None) -> str | None:
    try:
        parts = urlsplit(url or "http://any")
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # an unclosed bracket, a port beyond 65535
        usable = False
    if not usable:
        raise typer.BadParameter("a URL begins with http:// or https:// and names a host.")
    return url


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """GLM models in LangChain: tools for the command line."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    epilog="Exit status: 0 the arguments stream with tool_stream, 1 they do not, "
    "2 a request failed."
)
def probe(
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="The model to ask.")] = "glm-4.7",
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            "-e",
            help=f"One of {', '.join(ENDPOINTS)}; the first where none is named.",
            callback=_known_endpoint,
            metavar="NAME",
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="Any other server, up to /chat/completions.", callback=_web_address, metavar="URL"
        ),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            help="Better in ZAI_API_KEY or ZHIPUAI_API_KEY: other users can see command lines.",
            metavar="KEY",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[
        str, typer.Option(help="What to ask for instead of fib.py.", show_default=False)
    ] = PROMPT,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="The longest answer; the server's limit by default.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds of silence after which a request has failed.")
    ] = 300.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the table.")
    ] = False,
) -> None:
    """Did it really stream? Ask for a file by tool call, with tool_stream and without it.

    Without a key and --base-url the bundled scripted server answers.
    """
    messages = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    key = _key(api_key, messages)
    with open_target(key, base_url=base_url, endpoint=endpoint) as target:
        if target.scripted:
            messages.print(SCRIPTED_NOTICE)
        fields: dict[str, Any] = {
            **target.fields,
            "model": model,
            "max_tokens": max_tokens,
            "timeout": openai.Timeout(timeout, connect=min(_CONNECT_SECONDS, timeout)),
            "stream_chunk_timeout": timeout,
            "max_retries": 0,  # the pause before a retry would count as silence
        }
        comparison = Comparison(
            model=model,
            base_url=str(ChatGLM(**fields).root_client.base_url).rstrip("/"),
            scripted=target.scripted,
            with_tool_stream=_run({**fields, "tool_stream": True}, prompt, messages),
            without_tool_stream=_run({**fields, "tool_stream": False}, prompt, messages),
        )
    _show(comparison, as_json=as_json)
    raise typer.Exit(0 if judge(comparison).streams else 1)


def _key(given: str | None, messages: Console) -> SecretStr | None:
    try:
        return find_key(given)
    except GLMAuthenticationError as error:
        messages.print(f"langchain-glm: {error}")
        raise typer.Exit(_FAILED) from None


def _run(fields: dict[str, Any], prompt: str, messages: Console) -> Measurement:
    name = f"{'with' if fields['tool_stream'] else 'without'} tool_stream"
    try:
        with _progress(messages, f"{name}: {fields['model']} writes a file ..."):
            return measure(timed(ask(ChatGLM(**fields), prompt)))
    except GLMError as error:
        line = error_line(str(error), fields["api_key"].get_secret_value())
        messages.print(f"langchain-glm: the request {name} failed: {line}")
        raise typer.Exit(_FAILED) from None


@contextmanager
def _progress(messages: Console, line: str) -> Iterator[None]:
    if not messages.is_terminal:
        messages.print(line)
        yield
        return
    with messages.status(line):
        yield


def _show(comparison: Comparison, *, as_json: bool) -> None:
    if as_json:
        typer.echo(to_json(comparison))
        return
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(to_table(comparison))
    console.print(judge(comparison).words)
