"""Starting and stopping: nothing is left open, and nothing is waited for."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings

import pytest

from langchain_glm import testing
from langchain_glm.testing import GLMServer, Raw, Reply

HI = Reply(text="Hi")


def threads_of_servers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("GLMServer")]


def idle(client):
    client.send().read()


def unread(client):
    client.send()


def unanswered(client):
    client.http.connect()


@pytest.mark.parametrize(
    ("answer", "meanwhile"),
    [
        pytest.param(HI, idle, id="idle"),
        pytest.param(HI, unanswered, id="nothing-asked"),
        pytest.param(Raw([b"a", 60.0, b"b"]), unread, id="in-a-pause"),
        pytest.param(Raw([b"a"], end=False), unread, id="open-end"),
        pytest.param(Raw([b"x" * 1_000_000] * 30), unread, id="in-a-write"),
    ],
)
def test_stop_is_quick_and_leaves_no_thread(connect, answer, meanwhile):
    server = GLMServer(answer).start()
    with connect(server) as one, connect(server) as two:
        meanwhile(one)
        meanwhile(two)
        assert server.wait_until(lambda: len(threads_of_servers()) == 3)
        before = time.monotonic()
        server.stop()
        assert time.monotonic() - before < 2
        assert threads_of_servers() == []
    assert not any(request.hung_up.is_set() for request in server.requests)


def test_stopped_server_refuses(connect):
    with GLMServer(HI) as server:
        pass
    with connect(server) as client, pytest.raises(ConnectionRefusedError):
        client.send()


def test_stop_twice_and_start_again(ask):
    server = GLMServer([HI, HI])
    server.stop()
    server.start()
    url = server.base_url
    assert ask(server)[0] == 200
    server.stop()
    server.stop()
    with server:
        assert server.base_url == url
        assert ask(server)[0] == 200
        with pytest.raises(RuntimeError, match="is running"):
            server.start()
    assert len(server.requests) == 2


def test_no_address_before_the_start():
    with pytest.raises(RuntimeError, match="no port yet"):
        _ = GLMServer().base_url


def test_port_of_ones_own(ask):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with GLMServer(HI, port=port) as server:
        assert server.base_url == f"http://127.0.0.1:{port}/api/paas/v4"
        assert ask(server)[0] == 200
        with pytest.raises(OSError, match="in use"):
            GLMServer(port=port).start()


def test_the_error_of_the_body_gets_out_of_the_with():
    with pytest.raises(KeyError), GLMServer(HI):
        raise KeyError


def test_a_callable_that_does_not_end_is_told(connect, monkeypatch):
    monkeypatch.setattr("langchain_glm.testing._listener._JOIN_SECONDS", 0.05)
    release = threading.Event()
    server = GLMServer(lambda _: release.wait(5) and HI).start()
    with connect(server) as client:
        client.http.request("POST", "/chat/completions", b"")
        assert server.wait_until(lambda: server.requests)
        thread = next(t for t in threads_of_servers() if "connection" in t.name)
        with pytest.warns(ResourceWarning, match="callable answer is still running"):
            server.stop()
    release.set()
    thread.join(5)
    assert not thread.is_alive()


def test_a_forgotten_stop_does_not_keep_the_interpreter(connect):
    with GLMServer(HI) as server, connect(server) as client:
        idle(client)
        assert [thread.daemon for thread in threads_of_servers()] == [True, True]


def test_wait_until():
    states = iter([False, 0, "yes"])
    server = GLMServer()
    assert server.wait_until(lambda: next(states)) is True
    assert server.wait_until(lambda: False, timeout=0.01) is False


def test_nothing_is_printed(ask, capfd):
    with GLMServer(HI) as server:
        ask(server)
        ask(server, path="/nowhere")
        with socket.create_connection(
            ("127.0.0.1", int(server.base_url.split(":")[2].split("/")[0])), timeout=5
        ) as sock:
            sock.sendall(b"nonsense\r\n\r\n")
            sock.recv(100)
    assert capfd.readouterr() == ("", "")


def test_exported_names():
    assert testing.__all__ == sorted(testing.__all__)
    assert set(testing.__all__) == {
        "Answer", "Call", "Cut", "Fail", "GLMServer", "Raw", "Received", "Reply"
    }  # fmt: skip
    assert all(getattr(testing, name).__doc__ for name in testing.__all__)


def test_standard_library_only():
    """Each of its modules imports nothing that is not Python's own or the room's."""
    import ast
    from pathlib import Path

    outside = set()
    for path in Path(testing.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            outside.update(n for n in names if not n.startswith("langchain_glm.testing"))
    assert outside
    assert {name.split(".")[0] for name in outside} <= sys.stdlib_module_names


def test_as_a_module(ask):
    process = subprocess.Popen(
        [sys.executable, "-m", "langchain_glm.testing", "--port", "0", "--pace", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"},
    )
    with process:
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:")
            assert url.endswith("/api/paas/v4")
            status, body = ask(Served(url), stream=True)
        finally:
            process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=10)
    assert status == 200
    assert body.endswith(b"data: [DONE]\n\n")
    assert (process.returncode, rest, errors) == (0, "", "")


class Served:
    def __init__(self, base_url):
        self.base_url = base_url


def test_no_socket_is_left_to_the_garbage_collector(ask):
    import gc

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            with GLMServer(HI) as server:
                ask(server)
        del server
        gc.collect()
