"""A client of the standard library, so that nothing but the server is under test."""

import http.client
import json
import socket
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

MESSAGES = [{"role": "user", "content": "Write fib.py"}]


class Client:
    """One keep-alive connection to a server."""

    def __init__(self, server, timeout=5):
        url = urlsplit(server.base_url)
        self.prefix = url.path
        self.http = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)

    def send(self, method="POST", path="/chat/completions", raw=None, headers=None, **body):
        body = {"model": "glm-4.7", "messages": MESSAGES, **body}
        raw = json.dumps(body).encode() if raw is None else raw
        self.http.request(method, self.prefix + path, raw, headers or {})
        return self.http.getresponse()

    def ask(self, **body):
        response = self.send(**body)
        return response.status, response.read()

    def hang_up(self):
        # http.client keeps the socket open for a response that is not read to its end.
        self.http.sock.shutdown(socket.SHUT_RDWR)
        self.http.close()


@contextmanager
def connected(server):
    client = Client(server)
    try:
        yield client
    finally:
        client.http.close()


@pytest.fixture
def connect():
    """`with connect(server) as client`: a new TCP connection at its first request."""
    return connected


@pytest.fixture
def ask():
    """One request on a connection of its own: (status, the whole body)."""

    def once(server, **body):
        with connected(server) as client:
            return client.ask(**body)

    return once


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert [t.name for t in threading.enumerate() if t not in before] == []
