"""The command, from its arguments to its exit status, against a real server on loopback."""

import json
import os
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from langchain_glm import __version__
from langchain_glm.cli import _options, _target, main
from langchain_glm.testing import Call, Cut, Fail, GLMServer, Raw, Reply

KEY = "s3cret-key-9f8e7d"
ANSWER = Reply(
    reasoning="Hm.",
    text="Here:",
    tool_calls=[Call("write_file", {"path": "a.py", "content": "print('hello, world')\n" * 3})],
)
# As recorded from Z.ai: the call in one delta, whatever the request asked for.
WHOLE_CALL = (
    'data: {"id":"1","created":1773349488,"object":"chat.completion.chunk","model":"glm-4.7-flash",'
    '"choices":[{"index":0,"delta":{"tool_calls":[{"id":"call_1","index":0,"type":"function",'
    '"function":{"name":"write_file","arguments":"{\\"path\\":\\"a\\",\\"content\\":\\"b\\"}"}}]}}]}'
    "\n\n"
    'data: {"id":"1","created":1773349488,"object":"chat.completion.chunk","model":"glm-4.7-flash",'
    '"choices":[{"index":0,"finish_reason":"tool_calls","delta":{"role":"assistant","content":""}}]}'
    "\n\n"
    "data: [DONE]\n\n"
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    unwanted = re.compile("ZAI_|ZHIPUAI_|OPENAI_|.*_proxy$", re.IGNORECASE)
    for name in filter(unwanted.match, list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setattr(_target, "SCRIPTED_PACE", 0.001)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command in this process: (exit status, stdout, stderr)."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["langchain-glm", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        return (exit_.value.code or 0, *capsys.readouterr())

    return command


def test_probe_without_a_key_says_so_and_asks_the_scripted_server(run):
    status, out, err = run("probe")
    assert status == 0
    assert "No API key" in err
    assert "scripted server" in err
    assert "(scripted server, no model)" in out
    assert "Yes, the arguments stream" in out
    words = r"With tool_stream the first character of the file is there after (.+?) s, without it "
    moments = re.search(words + r"after (.+?) s\.", " ".join(out.split()))
    assert float(moments[1]) < float(moments[2])


def test_probe_json_is_all_that_is_on_stdout(run, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # leads nowhere, not even to loopback
    status, out, _ = run("probe", "--json", "-m", "glm-5")
    fields = json.loads(out)
    assert status == 0
    assert fields["verdict"] == "streams"
    assert fields["scripted"] is True
    assert fields["model"] == "glm-5"
    streamed, whole = fields["with_tool_stream"], fields["without_tool_stream"]
    assert streamed["fragments"] > 100
    assert whole["fragments"] == 1
    assert streamed["characters"] == whole["characters"]
    assert len(streamed["arrivals"]) == 200
    assert streamed["arrivals"][-1][1] == whole["arrivals"][0][1] == whole["characters"]
    assert streamed["first_argument_seconds"] < whole["first_argument_seconds"]


@pytest.mark.parametrize("source", ["option", "ZAI_API_KEY", "ZHIPUAI_API_KEY"])
def test_probe_with_a_key_sends_both_requests(run, monkeypatch, source):
    if source != "option":
        monkeypatch.setenv(source, KEY)
    options = ["--api-key", KEY] if source == "option" else []
    with GLMServer(ANSWER, pace=0.002) as server:
        status, out, err = run(
            *("probe", "--base-url", server.base_url, *options),
            *("-m", "glm-4.6", "--prompt", "Write hello.py", "--max-tokens", "777"),
        )
    assert (status, "Yes, the arguments stream" in out) == (0, True)
    assert f"glm-4.6 at {server.base_url}" in out
    assert "cripted" not in out + err
    assert KEY not in out + err
    assert [r.headers["authorization"] for r in server.requests] == [f"Bearer {KEY}"] * 2
    first, second = (request.body for request in server.requests)
    assert first["tool_stream"] is True
    assert not second.get("tool_stream")
    for body in (first, second):
        assert body["model"] == "glm-4.6"
        assert body["max_tokens"] == 777
        assert body["stream"] is True
        assert body["messages"][-1]["content"] == "Write hello.py"
        function = body["tools"][0]["function"]
        assert function["name"] == "write_file"
        assert list(function["parameters"]["properties"]) == ["path", "content"]


def test_probe_draws_a_picture_on_request(run, tmp_path):
    picture = tmp_path / "arrivals <&>.svg"
    with GLMServer(ANSWER) as server:
        status, out, err = run("probe", "--base-url", server.base_url, "--svg", str(picture))
    assert status == 0
    assert "Yes, the arguments stream" in out
    assert f"Picture: {picture}" in err
    polylines = ET.parse(picture).findall("{*}polyline")  # noqa: S314 - our own
    assert [line.get("class") for line in polylines] == ["with", "without"]


def test_no_picture_where_the_disk_refuses(run, tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", refuse)
    with GLMServer(ANSWER) as server:
        status, out, err = run(
            *("probe", "--base-url", server.base_url, "--svg", str(tmp_path / "a.svg")),
        )
    assert status == 2
    assert "Yes, the arguments stream" in out  # what was measured is not lost
    assert "langchain-glm: no picture: No space left on device: " in err


@pytest.mark.parametrize("force", [{}, {"FORCE_COLOR": "1"}], ids=["", "FORCE_COLOR"])
def test_nothing_moves_the_cursor_of_a_pipe(run, monkeypatch, force):
    for name, value in force.items():
        monkeypatch.setenv(name, value)
    with GLMServer(ANSWER) as server:
        _, out, err = run("probe", "--base-url", server.base_url)
    controls = re.findall(r"\x1b\[[0-9;?]*[a-ln-zA-Z]|\r", out + err)  # any but colours: `m`
    assert controls == []
    assert ("\x1b" in out) is bool(force)
    assert "█" not in out


def test_probe_asks_a_base_url_without_a_key(run):
    with GLMServer(ANSWER) as server:
        status, out, _ = run("probe", "--base-url", server.base_url, "--json")
        assert len(server.requests) == 2
    assert status == 0
    assert json.loads(out)["scripted"] is False


def test_probe_asks_the_named_endpoint(run, monkeypatch):
    with GLMServer(ANSWER) as server:
        monkeypatch.setitem(_options.ENDPOINTS, "bigmodel-coding", server.base_url)
        status, out, _ = run("probe", "--api-key", KEY, "-e", "bigmodel-coding", "--json")
        assert len(server.requests) == 2
    assert status == 0
    assert json.loads(out)["base_url"] == server.base_url


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Raw(WHOLE_CALL), "whole"),
        (Reply(text="I would rather not."), "no_call"),
        (Reply(tool_calls=[Call("write_file", "")], finish_reason="length"), "no_arguments"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_status_1_where_nothing_streams(run, answer, verdict):
    with GLMServer(answer) as server:
        status, out, _ = run("probe", "--base-url", server.base_url, "--json")
    assert (status, json.loads(out)["verdict"]) == (1, verdict)


def test_words_say_that_the_arguments_arrived_whole(run):
    with GLMServer(Raw(WHOLE_CALL)) as server:
        status, out, _ = run("probe", "--base-url", server.base_url)
    assert status == 1
    assert "No, the arguments arrived whole, in 1 fragment of up to 26 characters" in out


FAILURES = {
    "refused": (Fail(401, "1000", f"token {KEY}\nexpired"), "Check the key"),
    "no quota": (Fail(429, "1113", "余额不足"), "Recharge the account"),
    "a gateway's page": (Fail(502, body="<html>\n<h1>502</h1>\n</html>"), "Try again in a while"),
    "cut in the middle": (Cut(ANSWER, after=900), "send the request again"),
    "only comments": (Raw([b": wait\n\n", 0.1] * 20, end=False), "stayed silent for 0.3 s"),
}


@pytest.mark.parametrize(("answer", "remedy"), FAILURES.values(), ids=FAILURES)
def test_status_2_where_the_request_failed(run, answer, remedy):
    with GLMServer(answer) as server:
        status, out, err = run(
            *("probe", "--base-url", server.base_url, "--api-key", KEY),
            *("--timeout", "0.3", "--json"),
        )
        assert len(server.requests) == 1  # a retry would spoil the numbers
    *progress, error = err.splitlines()
    assert (status, out) == (2, "")
    assert progress == ["with tool_stream: glm-4.7 writes a file ..."]
    assert error.startswith("langchain-glm: the request with tool_stream failed: ")
    assert remedy in error
    assert KEY not in err


def test_status_2_says_which_of_the_requests_failed(run):
    with GLMServer([ANSWER, Fail(500, "500", "sorry")]) as server:
        status, out, err = run("probe", "--base-url", server.base_url)
    assert (status, out) == (2, "")
    assert "the request without tool_stream failed: sorry" in err


def test_an_error_stays_on_one_line_of_a_pipe_with_colours(run, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with GLMServer(Fail(500, "500", "sorry " * 50)) as server:
        _, _, err = run("probe", "--base-url", server.base_url)
    assert err.splitlines()[-1].count("sorry") == 50


def test_a_server_that_does_not_exist_is_a_failure(run):
    with GLMServer() as server:
        pass
    status, _, err = run("probe", "--base-url", server.base_url)
    assert status == 2
    assert "No connection to the server" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--endpoint", "zia"], "zai-coding"),
        (["--base-url", "localhost:8000"], "http://"),
        (["--base-url", "http://[::1"], "http://"),
        (["--base-url", "http://host:99999"], "http://"),
        (["--svg", "no/such/folder/a.svg"], "no folder"),
        (["--svg", "."], "directory"),
        (["--max-tokens", "0"], "--max-tokens"),
        (["--timeout", "soon"], "--timeout"),
        (["--api-key", KEY + "\n" + KEY], "The API key holds characters"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_sent(run, arguments, complaint):
    status, out, err = run("probe", "--api-key", KEY, *arguments)
    assert (status, out) == (2, "")
    assert complaint in err
    assert KEY not in err


def test_help_does_not_show_the_key(run, monkeypatch):
    monkeypatch.setenv("ZAI_API_KEY", KEY)
    status, out, err = run("probe", "--help")
    assert status == 0
    options = ("--model", "-m", "--endpoint", "-e", "--base-url", "--api-key", "--prompt")
    for option in (*options, "--max-tokens", "--timeout", "--json", "--svg", "Exit status"):
        assert option in out
    assert KEY not in out + err


def test_without_a_command_the_help_is_shown(run):
    status, out, err = run()
    assert (status, err) == (0, "")
    assert "Usage: langchain-glm" in out
    assert "probe" in out
    assert "models" in out


def test_version(run):
    assert run("--version") == (0, f"langchain-glm-zai {__version__}\n", "")


def test_runs_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cli", "--version"])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("langchain_glm.cli", run_name="__main__")  # what `python -m` does
    assert not exit_.value.code
    assert capsys.readouterr().out == f"langchain-glm-zai {__version__}\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import langchain_glm.cli as c; c.main()"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        'langchain-glm needs its command-line extra: pip install "langchain-glm-zai[cli]"\n'
    )


def test_another_missing_module_is_not_blamed_on_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain_glm.cli._app", None)
    with pytest.raises(ModuleNotFoundError, match="_app"):
        main()
