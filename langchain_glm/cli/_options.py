"""The options that several commands have, and what is checked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

import typer

from langchain_glm._endpoints import ENDPOINTS

DEFAULT_MODEL = "glm-4.7"
DEFAULT_SILENCE = 300.0  # seconds


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


Model: TypeAlias = Annotated[str, typer.Option("--model", "-m", help="The model to ask.")]
Endpoint: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        "-e",
        help=f"One of {', '.join(ENDPOINTS)}; the first where none is named.",
        callback=_known_endpoint,
        autocompletion=lambda: list(ENDPOINTS),
        metavar="NAME",
    ),
]
BaseUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Any other server, up to /chat/completions.", callback=_web_address, metavar="URL"
    ),
]
ApiKey: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Better in ZAI_API_KEY or ZHIPUAI_API_KEY: other users can see command lines.",
        metavar="KEY",
        show_default=False,
    ),
]
MaxTokens: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="The longest answer; the server's limit by default.")
]
Silence: TypeAlias = Annotated[
    float,
    typer.Option("--timeout", min=0.1, help="Seconds of silence after which a request has failed."),
]
Picture: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Also draw the picture of arrival times into this file.",
        callback=_in_a_folder,
        dir_okay=False,
        writable=True,
        metavar="FILE",
    ),
]
