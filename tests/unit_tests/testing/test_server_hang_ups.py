"""Connections that end too early, from either side."""

import http.client
import socket
import struct
import threading

import pytest

from langchain_glm.testing import Call, Cut, Fail, GLMServer, Raw, Reply

REPLY = Reply("Let me", "Hello", [Call("write", '{"path": "é"}')])
STREAM = {"stream": True, "tool_stream": True}


def read_to_the_break(response):
    """(what came of the body, the class of the error that ended it, if any)."""
    got = b""
    try:
        while piece := response.read1():
            got += piece
    except http.client.IncompleteRead as error:
        return got + error.partial, http.client.IncompleteRead
    except ConnectionResetError:
        return got, ConnectionResetError
    return got, None


@pytest.fixture(scope="module")
def whole_stream():
    with GLMServer(REPLY) as server:
        url = server.base_url.removeprefix("http://").partition("/")[0]
        connection = http.client.HTTPConnection(url, timeout=5)
        body = (
            '{"model":"glm-4.7","messages":[{"role":"user","content":"Write fib.py"}],'
            '"stream":true,"tool_stream":true}'
        )
        connection.request("POST", "/chat/completions", body)
        whole = connection.getresponse().read()
        connection.close()
    return whole


@pytest.mark.parametrize("after", [0, 1, 17, 250, 900, -1, None])
@pytest.mark.parametrize(
    ("reset", "error"), [(False, http.client.IncompleteRead), (True, ConnectionResetError)]
)
def test_cut_stream(connect, whole_stream, after, reset, error):
    after = len(whole_stream) + (after or 0) if after in {-1, None} else after
    with GLMServer(Cut(REPLY, after, reset)) as server, connect(server) as client:
        got, ended_by = read_to_the_break(client.send(**STREAM))
        received = server.requests[0]
        assert received.answered.wait(5)
    assert got == whole_stream[:after]
    assert ended_by is error
    assert b"".join(piece for _, piece in received.sent) == got
    assert not received.hung_up.is_set()


@pytest.mark.parametrize("after", [0, 5, 10**6])
@pytest.mark.parametrize("reset", [False, True])
def test_cut_whole_body(connect, after, reset):
    body = '{"error":{"code":"1","message":"m"}}'
    with GLMServer(Cut(Fail(500, "1", "m"), after, reset)) as server, connect(server) as client:
        response = client.send()
        assert response.getheader("Content-Length") == str(len(body))
        try:
            got = response.read()
        except http.client.IncompleteRead as error:
            got = error.partial
            assert not reset
        except ConnectionResetError:
            got = b""
            assert reset
        else:
            assert after > len(body)
    assert body.encode().startswith(got)
    assert reset or got == body[:after].encode()


def test_after_a_cut_the_client_needs_a_new_connection(connect):
    with GLMServer([Cut(REPLY, 10), REPLY]) as server, connect(server) as client:
        read_to_the_break(client.send(stream=True))
        client.http.close()
        assert client.send(stream=True).status == 200
    assert [request.connection for request in server.requests] == [1, 2]


def test_cut_passes_over_the_pauses_behind_it(connect):
    with GLMServer(Cut(Raw([b"ab", 60.0, b"cd"]), 2)) as server, connect(server) as client:
        assert read_to_the_break(client.send()) == (b"ab", http.client.IncompleteRead)
    assert server.requests[0].answered.is_set()


def close(sock):
    sock.close()


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_close(sock):
    sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    "answer",
    [
        Raw([b"one"], end=False),
        Raw("one", content_type="application/json", end=False),
        Raw([b"one", 60.0, b"two"]),
        Raw([60.0, b"two"]),
        Cut(Raw([b"one", 60.0, b"two"]), 6),
    ],
)
@pytest.mark.parametrize("leave", [close, reset, half_close])
def test_the_server_sees_at_once_that_the_client_left(answer, leave):
    with GLMServer(answer) as server:
        address = server.base_url.split("/")[2].split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=5) as sock:
            sock.sendall(b"POST /chat/completions HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            assert sock.recv(8) == b"HTTP/1.1"
            received = server.requests[0]
            assert not received.hung_up.is_set()
            leave(sock)
            assert received.hung_up.wait(5)


def test_the_client_leaves_before_a_whole_body(connect):
    slow = Reply(text="0123456789")
    with GLMServer(slow, pace=20.0) as server, connect(server) as client:
        client.http.request(
            "POST", "/chat/completions", '{"model":"m","messages":[{"role":"user"}]}'
        )
        assert server.wait_until(lambda: server.requests)
        client.hang_up()
        assert server.requests[0].hung_up.wait(5)
    assert not server.requests[0].answered.is_set()
    assert server.requests[0].sent == []


@pytest.mark.parametrize("pieces", [[b"x" * 1_000_000] * 30, [b"x" * 30_000_000]])
def test_the_client_leaves_while_the_server_is_writing(connect, pieces):
    with GLMServer(Raw(pieces)) as server, connect(server) as client:
        response = client.send()
        response.read(10)
        response.close()
        client.http.close()
        received = server.requests[0]
        assert received.hung_up.wait(5)
    assert not received.answered.is_set()
    assert len(received.sent) < len(pieces)  # the piece that did not get through is not there


def test_an_open_end_has_written_all_that_it_has(connect):
    with GLMServer(Raw([b"one", b"two"], end=False)) as server, connect(server) as client:
        response = client.send()
        received = server.requests[0]
        assert response.read1() == b"one"
        assert response.read1() == b"two"
        assert received.answered.wait(5)
        assert not received.hung_up.is_set()
        client.hang_up()
        assert received.hung_up.wait(5)


def test_a_client_that_leaves_after_the_end_did_not_hang_up(ask):
    with GLMServer(REPLY) as server:
        ask(server, **STREAM)
        received = server.requests[0]
        assert received.answered.wait(5)
        # its thread ends when it sees the connection closed
        alive = {"GLMServer"} & {t.name.split()[0] for t in threading.enumerate()}
        assert alive == {"GLMServer"}
        assert server.wait_until(
            lambda: not any("connection" in t.name for t in threading.enumerate())
        )
        assert not received.hung_up.is_set()


def test_half_a_request_is_no_request():
    with GLMServer(REPLY) as server:
        address = server.base_url.split("/")[2].split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=5) as sock:
            sock.sendall(b"POST /chat/completions HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100) == b""
    assert server.requests == []


@pytest.mark.parametrize("pause", [0.05, 60.0])
def test_a_pipelined_request_does_not_disturb_a_pause(pause):
    """With unread bytes before it the end of the stream cannot be seen; the pause just goes on."""
    request = b"POST /chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b"
    with GLMServer([Raw([b"one", pause, b"two"]), Raw("three")]) as server:
        address = server.base_url.split("/")[2].split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=5) as sock:
            sock.sendall(request % (0, b""))
            assert server.wait_until(lambda: server.requests and server.requests[0].sent)
            sock.sendall(request % (0, b""))
            if pause < 1:
                assert server.wait_until(lambda: len(server.requests) == 2)
                assert server.requests[1].answered.wait(5)
                (one, _), (two, _) = server.requests[0].sent
                assert two - one >= pause * 0.95
    assert not server.requests[0].hung_up.is_set()
