"""The commands of `langchain-glm`: options in, wiring, exit status out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import openai
import typer
from pydantic import SecretStr
from rich.console import Console

from langchain_glm._endpoints import ENDPOINTS
from langchain_glm._version import __version__
from langchain_glm.chat_models import ChatGLM
from langchain_glm.cli import _models, _report
from langchain_glm.cli._chart import to_chart
from langchain_glm.cli._live import WITH, WITHOUT, Watch, can_draw, say, watching
from langchain_glm.cli._probe import PROMPT, Measurement, ask, measure, timed
from langchain_glm.cli._report import Comparison, error_line, judge
from langchain_glm.cli._svg import to_svg
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


def _in_a_folder(path: Path | None) -> Path | None:
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}.")
    return path


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
def probe(  # noqa: PLR0913 - its options
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
    svg: Annotated[
        Path | None,
        typer.Option(
            help="Also draw the picture of arrival times into this file.",
            callback=_in_a_folder,
            dir_okay=False,
            writable=True,
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Did it really stream? Ask for a file by tool call, with tool_stream and without it.

    On a terminal the file shows up while it is written. Without a key and --base-url the bundled
    scripted server answers.
    """
    messages = _console(stderr=True)
    with open_target(_key(api_key, messages), base_url=base_url, endpoint=endpoint) as target:
        if target.scripted:
            say(messages, _report.SCRIPTED_NOTICE)
        fields: dict[str, Any] = {
            **target.fields,
            "model": model,
            "max_tokens": max_tokens,
            "timeout": openai.Timeout(timeout, connect=min(_CONNECT_SECONDS, timeout)),
            "stream_chunk_timeout": timeout,
            "max_retries": 0,  # the pause before a retry would count as silence
        }
        comparison = _compare(fields, prompt, messages, scripted=target.scripted)
    _show(comparison, as_json=as_json)
    if svg:
        _draw(comparison, svg, messages)
    raise typer.Exit(0 if judge(comparison).streams else 1)


@app.command()
def models(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array instead of the table.")
    ] = False,
) -> None:
    """What is known of GLM's models: sizes, thinking, prices. Nothing is sent.

    On a terminal a table; to other programs, lines with tabs between the cells.
    """
    console = _console()
    if as_json:
        typer.echo(_models.to_json(_models.models()))
    elif console.is_terminal:
        console.print(_models.to_table(_models.models()))
    else:
        typer.echo(_models.to_plain(_models.models()))


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def _key(given: str | None, messages: Console) -> SecretStr | None:
    try:
        return find_key(given)
    except GLMAuthenticationError as error:
        raise _failure(str(error), messages) from None


def _compare(
    fields: dict[str, Any], prompt: str, messages: Console, *, scripted: bool
) -> Comparison:
    url = str(ChatGLM(**fields).root_client.base_url).rstrip("/")
    name = WITH
    try:
        with watching(messages, fields["model"]) as watch:
            streamed = _run(watch, name, {**fields, "tool_stream": True}, prompt)
            name = WITHOUT
            whole = _run(watch, name, {**fields, "tool_stream": False}, prompt)
    except GLMError as error:
        line = error_line(str(error), fields["api_key"].get_secret_value())
        raise _failure(f"the request {name} failed: {line}", messages) from None
    return Comparison(fields["model"], url, scripted, streamed, whole)


def _run(watch: Watch, name: str, fields: dict[str, Any], prompt: str) -> Measurement:
    return measure(watch(name, timed(ask(ChatGLM(**fields), prompt))))


def _show(comparison: Comparison, *, as_json: bool) -> None:
    if as_json:
        typer.echo(_report.to_json(comparison))
        return
    console = _console()
    console.print(_report.to_table(comparison))
    chart = to_chart(comparison, console.width) if can_draw(console) else None
    if chart:
        console.print(chart, end="\n\n")
    console.print(judge(comparison).words)


def _draw(comparison: Comparison, file: Path, messages: Console) -> None:
    try:
        file.write_text(to_svg(comparison), encoding="utf-8")
    except OSError as error:
        raise _failure(f"no picture: {error.strerror}: {file}", messages) from None
    say(messages, f"Picture: {file}")


def _failure(line: str, messages: Console) -> typer.Exit:
    """Say what went wrong; the exit is for raising."""
    say(messages, f"langchain-glm: {line}")
    return typer.Exit(_FAILED)
