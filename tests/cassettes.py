"""Cassettes: requests and their answers, recorded in `cassettes/`, replayed without a network.

A cassette is YAML to be read: what made it (`recorded`), then of each request the method, the path
and the body, and of its answer the status, the content type and the body. A stream is the text of
its frames, one a line. Nothing else is kept: no host, no header that could hold a key.

`replay` answers from a cassette and fails the test at the first request that the cassette does not
hold, with a diff. `record` makes a cassette. `cassette` does the one or the other: with GLM_RECORD
set (`make record`) each cassette is recorded when it is first opened, against the live API where
ZAI_API_KEY is set, else against `GLMServer` and the script that the test brings.
"""

import contextlib
import datetime as dt
import difflib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
import yaml
from recordings import Recording
from vcr.cassette import Cassette
from vcr.persisters.filesystem import CassetteNotFoundError
from vcr.record_mode import RecordMode
from vcr.request import Request
from vcr.serialize import deserialize, serialize

from langchain_glm.testing import GLMServer

FOLDER = Path(__file__).parents[1] / "cassettes"

# Read when the tests are collected: a fixture takes the keys away from each of them.
_RECORDING = bool(os.environ.get("GLM_RECORD"))
_LIVE_KEY = os.environ.get("ZAI_API_KEY", "")
_ENDPOINT = "https://api.z.ai/api/paas/v4"

_SCRIPTED = "GLMServer, the scripted server of langchain_glm.testing: no model wrote this"
_NO_KEY = "made without a key; with ZAI_API_KEY, `make record` asks the live API"
_NEVER_LIVE = "always scripted: the live API cannot be made to give this answer"
_TOP = "# Replayed by tests/unit_tests/test_cassettes.py; `make record` makes it again.\n"

_recorded: set[Path] = set()


@contextlib.contextmanager
def cassette(name: str, script: Sequence[Any], *, live: bool = True) -> Iterator[dict[str, Any]]:
    """Replay a cassette, or record it where this run records.

    Args:
        name: The file's name without its ending.
        script: The answers of `GLMServer`, one a request.
        live: Whether the live API can be made to answer like that.

    Yields:
        The arguments of `ChatGLM` that lead to the answers.
    """
    path = FOLDER / f"{name}.yaml"
    if not _RECORDING or path in _recorded:
        with replay(path) as connection:
            yield connection
        return
    with record(path, script, live=live, key=_LIVE_KEY) as connection:
        yield connection
    _recorded.add(path)


@contextlib.contextmanager
def replay(path: Path) -> Iterator[dict[str, Any]]:
    """Answer from a cassette, and from nothing else; every recorded request has to be made."""
    if not path.is_file():
        pytest.fail(f"there is no {path.name}: `make record` makes it")
    with (
        pytest.MonkeyPatch.context() as patch,
        _Tape.use(**_options(path, RecordMode.NONE)) as tape,
    ):
        _forbid_connections(patch, tape)
        try:
            yield {"api_key": "test-key", "max_retries": 0}
        finally:
            # Here, and not where it happened: the code under test makes errors of its own there.
            if tape.problems:
                raise pytest.fail.Exception(tape.problems[0], pytrace=False) from None
    if not tape.play_count or not tape.all_played:
        pytest.fail(f"{path.name}: {tape.play_count} of its {len(tape)} requests were made")


@contextlib.contextmanager
def record(
    path: Path, script: Sequence[Any], *, live: bool = True, key: str = ""
) -> Iterator[dict[str, Any]]:
    """Write a cassette: of the live API where it can answer like that and there is a key."""
    with contextlib.ExitStack() as stack:
        if live and key:
            today = dt.datetime.now(dt.timezone.utc).date().isoformat()
            made_by = {"by": f"the live API, {_ENDPOINT}", "date": today}
            # Nothing compressed: the body is kept as text.
            headers = {"Accept-Encoding": "identity"}
            connection = {"api_key": key, "base_url": _ENDPOINT, "default_headers": headers}
        else:
            made_by = {"by": _SCRIPTED, "why": _NO_KEY if live else _NEVER_LIVE}
            server = stack.enter_context(GLMServer(script, fragment_size=12))
            connection = {"api_key": "test-key", "base_url": server.base_url}
        options = _options(path, RecordMode.ALL, made_by, secret=key)
        stack.enter_context(_Tape.use(**options, record_on_exception=False))
        yield {**connection, "max_retries": 0}


def read(path: Path) -> dict[str, Any]:
    """A cassette as it is written."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def requests_in(path: Path) -> list[dict[str, Any]]:
    """The bodies of the requests in a cassette."""
    return [interaction["request"]["body"] for interaction in read(path)["interactions"]]


def answers_in(path: Path) -> list[Recording]:
    """The answers in a cassette, for `recordings.reassemble`."""
    responses = [interaction["response"] for interaction in read(path)["interactions"]]
    endings = ["sse" if "stream" in response["content_type"] else "json" for response in responses]
    return [
        Recording(f"{path.stem}.{ending}", _body(response).encode(), response["status"])
        for response, ending in zip(responses, endings, strict=True)
    ]


def is_scripted(path: Path) -> bool:
    """Whether `GLMServer` made the answers in a cassette."""
    return read(path)["recorded"]["by"] == _SCRIPTED


class _Tape(Cassette):
    """Notes what goes wrong in a replay."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.problems: list[str] = []

    def can_play_response_for(self, request: Request) -> bool:
        playable = super().can_play_response_for(request)
        if not playable and self.record_mode is RecordMode.NONE:
            self.problems.append(self._drift(_what_counts(request)))
        return playable

    def _drift(self, asked: Request) -> str:
        left = [request for i, request in enumerate(self.requests) if not self.play_counts[i]]
        text = _as_text(asked)
        where = Path(self._path).name
        if not left:
            return f"{where}: one request more than was recorded:\n{text}"
        diffs = [_diff(_as_text(request), text) for request in left]
        return (
            f"{where}: the request is not the recorded one. If it is meant to be so, `make record` "
            f"records it.\n" + min(diffs, key=len)
        )


def _forbid_connections(patch: pytest.MonkeyPatch, tape: _Tape) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        tape.problems.append("a replay went to the network")
        raise ConnectionRefusedError(tape.problems[-1])

    patch.setattr(socket, "getaddrinfo", refuse)
    for name in ("connect", "connect_ex", "sendto"):
        patch.setattr(socket.socket, name, refuse)


def _diff(recorded: str, asked: str) -> str:
    lines = recorded.splitlines(), asked.splitlines()
    return "\n".join(difflib.unified_diff(*lines, "recorded", "asked", lineterm=""))


def _same_request(one: Request, other: Request) -> bool:
    return _as_text(one) == _as_text(other)


def _as_text(request: Request) -> str:
    # Text, because in Python `True == 1 == 1.0`.
    body = json.loads(request.body) if request.body else None
    shown = json.dumps(body, indent=2, ensure_ascii=False, sort_keys=True)
    return f"{request.method} {request.uri}\n{shown}"


def _what_counts(request: Request) -> Request:
    path = urlsplit(request.uri)._replace(scheme="", netloc="").geturl()
    return Request(request.method, path, request.body, {})


def _options(
    path: Path, mode: RecordMode, made_by: dict[str, str] | None = None, secret: str = ""
) -> dict[str, Any]:
    return {
        "path": str(path),
        "record_mode": mode,
        "match_on": [_same_request],
        "before_record_request": _what_counts,
        "serializer": _Format(made_by),
        "persister": _File(readable=mode is RecordMode.NONE, secret=secret),
    }


class _File:
    """Reads and writes a cassette; what is recorded again is not read before."""

    def __init__(self, *, readable: bool, secret: str) -> None:
        self._readable = readable
        self._secret = secret

    def load_cassette(self, path: str, serializer: "_Format") -> Any:
        if not self._readable:
            raise CassetteNotFoundError
        return deserialize(Path(path).read_text(encoding="utf-8"), serializer)

    def save_cassette(self, path: str, tape: dict[str, Any], serializer: "_Format") -> None:
        text = serialize(tape, serializer)
        if self._secret and self._secret in text:
            pytest.fail(f"{path} would hold the key")
        with Path(path).open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)


class _Format:
    """vcrpy's dict of interactions as YAML for people, and back."""

    def __init__(self, made_by: dict[str, str] | None) -> None:
        self._made_by = made_by

    def serialize(self, tape: dict[str, Any]) -> str:
        interactions = [
            {"request": _shown_request(one["request"]), "response": _shown_answer(one["response"])}
            for one in tape["interactions"]
        ]
        shown = {"recorded": self._made_by, "interactions": interactions}
        return _TOP + yaml.dump(
            shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
        )

    def deserialize(self, text: str) -> dict[str, Any]:
        interactions = [
            {"request": _request(one["request"]), "response": _answer(one["response"])}
            for one in yaml.safe_load(text)["interactions"]
        ]
        return {"version": 1, "interactions": interactions}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text_node)


def _shown_request(request: dict[str, Any]) -> dict[str, Any]:
    # In one order, whichever openai's client of the day sends: it means nothing.
    body = json.dumps(json.loads(request["body"]), sort_keys=True)
    return {"method": request["method"], "path": request["uri"], "body": json.loads(body)}


def _request(shown: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": shown["method"],
        "uri": shown["path"],
        "body": json.dumps(shown["body"], ensure_ascii=False),
        "headers": {},
    }


def _shown_answer(response: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": response["status"]["code"],
        "content_type": response["headers"]["content-type"][0],
        **_shown_body(response["body"]["string"]),
    }


def _answer(shown: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": {"code": shown["status"], "message": ""},
        "headers": {"content-type": [shown["content_type"]]},
        "body": {"string": _body(shown)},
    }


def _shown_body(text: str) -> dict[str, Any]:
    """The body as JSON or as frames; as plain text where either would lose a part of it."""
    with contextlib.suppress(ValueError):
        return {"body": json.loads(text)}
    events = [event.removeprefix("data: ") for event in text.split("\n\n")]
    shown = {"frames": "\n".join(events)}
    return shown if _body(shown) == text else {"text": text}


def _body(shown: dict[str, Any]) -> str:
    if "text" in shown:
        return shown["text"]
    if "frames" in shown:
        return "".join(f"data: {frame}\n\n" for frame in shown["frames"].split("\n")[:-1])
    return json.dumps(shown["body"], ensure_ascii=False)
