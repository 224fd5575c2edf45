"""The commands of `langchain-glm`: options in, wiring, exit status out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import openai
import typer
from rich.console import Console

from langchain_glm._version import __version__
from langchain_glm.chat_models import ChatGLM
from langchain_glm.cli import _models, _options, _report
from langchain_glm.cli._chart import to_chart
from langchain_glm.cli._chat import EPILOG, ChatCommand, chat
from langchain_glm.cli._exits import CONNECT_SECONDS, console, failure, key_of
from langchain_glm.cli._live import WITH, WITHOUT, Watch, can_draw, say, watching
from langchain_glm.cli._probe import PROMPT, Measurement, ask, measure, timed
from langchain_glm.cli._report import Comparison, error_line, judge
from langchain_glm.cli._svg import to_svg
from langchain_glm.cli._target import open_target
from langchain_glm.errors import GLMError

# Pretty tracebacks show the values of local variables, and so the key.
app = typer.Typer(pretty_exceptions_enable=False)
app.command(cls=ChatCommand, epilog=EPILOG)(chat)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"langchain-glm-zai {__version__}")
        raise typer.Exit


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
    model: _options.Model = _options.DEFAULT_MODEL,
    endpoint: _options.Endpoint = None,
    base_url: _options.BaseUrl = None,
    api_key: _options.ApiKey = None,
    prompt: Annotated[
        str, typer.Option(help="What to ask for instead of fib.py.", show_default=False)
    ] = PROMPT,
    max_tokens: _options.MaxTokens = None,
    timeout: _options.Silence = _options.DEFAULT_SILENCE,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the table.")
    ] = False,
    svg: _options.Picture = None,
) -> None:
    """Did it really stream? Ask for a file by tool call, with tool_stream and without it.

    On a terminal the file shows up while it is written. Without a key and --base-url the bundled
    scripted server answers.
    """
    messages = console(stderr=True)
    with open_target(key_of(api_key, messages), base_url=base_url, endpoint=endpoint) as target:
        if target.scripted:
            say(messages, _report.SCRIPTED_NOTICE)
        fields: dict[str, Any] = {
            **target.fields,
            "model": model,
            "max_tokens": max_tokens,
            "timeout": openai.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
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
    out = console()
    if as_json:
        typer.echo(_models.to_json(_models.models()))
    elif out.is_terminal:
        out.print(_models.to_table(_models.models()))
    else:
        typer.echo(_models.to_plain(_models.models()))


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
        raise failure(f"the request {name} failed: {line}", messages) from None
    return Comparison(fields["model"], url, scripted, streamed, whole)


def _run(watch: Watch, name: str, fields: dict[str, Any], prompt: str) -> Measurement:
    return measure(watch(name, timed(ask(ChatGLM(**fields), prompt))))


def _show(comparison: Comparison, *, as_json: bool) -> None:
    if as_json:
        typer.echo(_report.to_json(comparison))
        return
    out = console()
    out.print(_report.to_table(comparison))
    chart = to_chart(comparison, out.width) if can_draw(out) else None
    if chart:
        out.print(chart, end="\n\n")
    out.print(judge(comparison).words)


def _draw(comparison: Comparison, file: Path, messages: Console) -> None:
    try:
        file.write_text(to_svg(comparison), encoding="utf-8")
    except OSError as error:
        raise failure(f"no picture: {error.strerror}: {file}", messages) from None
    say(messages, f"Picture: {file}")
