"""Every kind of answer over real HTTP, and the order in which a script gives them."""

import http.client
import itertools
import json
import threading
from pathlib import Path

import pytest

from langchain_glm.testing import Call, Cut, Fail, GLMServer, Raw, Reply

HI = Reply(text="Hi")


def error(code, message):
    return json.dumps({"error": {"code": code, "message": message}}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("fail", "headers", "body"),
    [
        (
            Fail(),
            {"Content-Type": "application/json"},
            error("500", "Internal server error"),
        ),
        (
            Fail(429, "1302", "slow", headers={"Retry-After": "3"}),
            {"Retry-After": "3", "Content-Type": "application/json"},
            error("1302", "slow"),
        ),
        (Fail(503, None, "m"), {}, b'{"error":{"message":"m"}}'),
        (Fail(400, 1210, "m"), {}, b'{"error":{"code":1210,"message":"m"}}'),
        (
            Fail(502, body="<html>é</html>"),
            {"Content-Type": "text/html"},
            "<html>é</html>".encode(),
        ),
        (Fail(500, body=b"\xff"), {"Content-Type": "application/json"}, b"\xff"),
        (
            Fail(529, body="", headers={"content-type": "x/y"}),
            {"Content-Type": "x/y", "Content-Length": "0"},
            b"",
        ),
    ],
)
def test_fail(connect, fail, headers, body):
    with GLMServer(fail) as server, connect(server) as client:
        for stream in (True, False):
            response = client.send(stream=stream)
            assert (response.status, response.read()) == (fail.status, body)
            assert {name: response.getheader(name) for name in headers} == headers
    assert [request.connection for request in server.requests] == [1, 1]


@pytest.mark.parametrize(
    ("raw", "pieces", "chunked"),
    [
        (Raw("data: é\n\n"), ["data: é\n\n".encode()], True),
        (Raw(b"\xff\x00"), [b"\xff\x00"], True),
        (Raw([b"da", b"", b"ta:", b" 1\n\n"]), [b"da", b"ta:", b" 1\n\n"], True),
        (Raw([0.0, b"a", 0.001, b"b", 0]), [b"a", b"b"], True),
        (Raw([]), [], True),
        (Raw("{}", content_type="application/json"), [b"{}"], False),
        (Raw([b"{", b"}"], content_type="application/json"), [b"{", b"}"], True),
        (Raw("", 204, "text/plain"), [], False),
    ],
)
def test_raw(connect, raw, pieces, chunked):
    with GLMServer(raw) as server, connect(server) as client:
        response = client.send()
        assert response.read() == b"".join(pieces)
        assert response.status == raw.status
        assert response.getheader("Content-Type") == raw.content_type
        assert (response.getheader("Transfer-Encoding") == "chunked") == chunked
        received = server.requests[0]
        assert received.answered.wait(5)
    assert [piece for _, piece in received.sent] == pieces


def test_raw_headers(connect):
    raw = Raw("x", headers={"X-Log-Id": "7", "content-type": "text/event-stream; charset=utf-8"})
    with GLMServer(raw) as server, connect(server) as client:
        response = client.send()
        response.read()
    assert response.getheader("X-Log-Id") == "7"
    assert response.headers.get_all("Content-Type") == ["text/event-stream; charset=utf-8"]


@pytest.mark.parametrize(
    ("name", "kind", "pieces"),
    [
        (
            "a.sse",
            (200, "text/event-stream"),
            [b'data: {"a":1}\r\n\r\n', b": comment\n\n", b"data: [DONE]"],
        ),
        ("b.json", (200, "application/json"), [b"{ }\n"]),
        ("c.http429.json", (429, "application/json"), [b"{}"]),
        ("empty.sse", (200, "text/event-stream"), []),
    ],
)
def test_recording(connect, tmp_path, name, kind, pieces):
    recording = tmp_path / name
    recording.write_bytes(b"".join(pieces))
    with GLMServer(recording) as server, connect(server) as client:
        response = client.send()
        assert response.read() == recording.read_bytes()
    assert (response.status, response.getheader("Content-Type")) == kind
    assert [piece for _, piece in server.requests[0].sent] == pieces


def test_callable_sees_the_request(connect):
    def answer(received):
        return Reply(text=f"{received.body['n']} {received.headers['authorization']}")

    with GLMServer(answer) as server, connect(server) as client:
        response = client.send(n=1, headers={"Authorization": "Bearer k"})
        body = json.loads(response.read())
    assert body["choices"][0]["message"]["content"] == "1 Bearer k"


def test_answers_inside_answers(ask, tmp_path):
    recording = tmp_path / "a.sse"
    recording.write_bytes(b"0123456789")
    with GLMServer([lambda _: lambda _: recording, Cut(Cut(lambda _: HI, 9), 3)]) as server:
        assert ask(server) == (200, b"0123456789")
        with pytest.raises(http.client.IncompleteRead) as cut:
            ask(server)
    assert cut.value.partial == b'{"c'


def test_script_in_order_and_running_out(ask):
    script = [Reply(text="one"), Fail(429, "1302", "two")]
    with GLMServer(script) as server:
        first, second, third, fourth = (ask(server) for _ in range(4))
    assert (first[0], second[0]) == (200, 429)
    assert third == (400, error("1210", "the script has no answer for request 3"))
    assert fourth == (400, error("1210", "the script has no answer for request 4"))


def test_script_may_be_endless(ask):
    with GLMServer(Fail(400 + n, str(n)) for n in itertools.count()) as server:
        assert [ask(server)[0] for _ in range(3)] == [400, 401, 402]


def test_one_answer_serves_every_request(ask):
    with GLMServer(HI) as server:
        assert [ask(server)[0] for _ in range(3)] == [200, 200, 200]


def _raises(_):
    raise KeyError("oops")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (_raises, "KeyError('oops')"),
        (Path("nowhere.sse"), "FileNotFoundError"),
        (lambda _: "text", "not an answer"),
        (lambda _: Path(__file__), "ends in .sse or .json"),
        (Reply(usage={"n": object()}), "not JSON serializable"),
    ],
)
def test_an_answer_that_fails_is_told_to_the_client(ask, answer, message):
    with GLMServer([answer, HI]) as server:
        status, body = ask(server)
        failure = json.loads(body)["error"]
        assert ask(server)[0] == 200
    assert (status, failure["code"]) == (400, "1210")
    assert failure["message"].startswith("the script's answer for request 1 failed: ")
    assert message in failure["message"]


@pytest.mark.parametrize("answers", ["text", b"bytes", {"a": 1}, 7])
def test_what_is_no_script(answers):
    with pytest.raises(TypeError, match="neither an answer nor an iterable"):
        GLMServer(answers)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cut(HI, after=-1),
        lambda: Raw("", headers={"Content-LENGTH": "1"}),
        lambda: Fail(headers={"transfer-encoding": "gzip"}),
        lambda: GLMServer(pace=-1),
        lambda: GLMServer(fragment_size=0),
    ],
)
def test_values_that_make_no_sense(make):
    with pytest.raises(ValueError, match=r"bytes|itself|pace"):
        make()


def test_received(connect):
    with GLMServer(HI) as server, connect(server) as client:
        client.send(path="/chat/completions?a=1", headers={"X-One": "1"}).read()
        client.send(raw=b"[]").read()
    one, two = server.requests
    assert (one.method, one.path) == ("POST", "/api/paas/v4/chat/completions?a=1")
    assert one.headers["x-one"] == "1"
    assert json.loads(one.raw) == one.body
    assert one.body["model"] == "glm-4.7"
    assert (two.raw, two.body) == (b"[]", {})


def test_repeated_headers_are_joined(connect):
    with GLMServer(HI) as server, connect(server) as client:
        client.http.putrequest("POST", "/chat/completions")
        client.http.putheader("X-One", "1")
        client.http.putheader("x-one", "2")
        client.http.putheader("Content-Length", "0")
        client.http.endheaders()
        client.http.getresponse().read()
    assert server.requests[0].headers["x-one"] == "1, 2"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/chat/completions"),
        ("POST", "/embeddings"),
        ("DELETE", "/chat/completions"),
        ("POST", "/chat/completions/x"),
    ],
)
def test_other_endpoints_are_unknown_and_cost_no_answer(connect, method, path):
    with GLMServer([HI]) as server, connect(server) as client:
        response = client.send(method, path)
        failure = json.loads(response.read())["error"]
        assert client.send().status == 200
    assert (response.status, failure["code"]) == (404, "404")
    assert path in failure["message"]


@pytest.mark.parametrize("prefix", ["", "/api/coding/paas/v4", "/v1"])
def test_any_prefix_will_do(connect, prefix):
    with GLMServer(HI) as server, connect(server) as client:
        client.prefix = prefix
        assert client.send().status == 200


def test_connections_are_numbered_and_kept_alive(connect):
    with GLMServer([HI, HI, HI, Fail()]) as server, connect(server) as a, connect(server) as b:
        for client, stream in [(a, True), (a, False), (b, True), (a, False)]:
            client.ask(stream=stream)
    assert [request.connection for request in server.requests] == [1, 1, 2, 1]


def test_many_clients_at_once_share_one_script(ask):
    script = [Reply(text=str(n), tool_calls=[Call("f")]) for n in range(20)]
    got = []
    with GLMServer(script, pace=0.001) as server:
        threads = [
            threading.Thread(target=lambda: got.append(json.loads(ask(server)[1])))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    messages = [body["choices"][0]["message"] for body in got]
    assert sorted(int(message["content"]) for message in messages) == list(range(20))
    assert len({message["tool_calls"][0]["id"] for message in messages}) == 20
    assert len({request.connection for request in server.requests}) == 20
