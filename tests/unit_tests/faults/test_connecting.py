"""No connection: refused, reset, unknown, hung up on, and no TLS. Typed, and tried again.

A refused and a broken connection that work at the next try: `chat_models/test_retries.py`.
"""

import shutil
import socket
import ssl
import subprocess

import openai
import pytest
from asking import everywhere, four_paths, glm, http, plain_server, read_request, reset
from langchain_core.exceptions import ModelConnectionError

from langchain_glm.errors import GLMConnectionError, GLMStreamInterruptedError

# One loop for all, because each loop has clients of its own, and a client takes long to make.
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def failure(ask, model):
    with pytest.raises(GLMConnectionError) as caught:
        await ask(model)
    assert isinstance(caught.value, openai.APIConnectionError)
    assert isinstance(caught.value, ModelConnectionError)
    assert caught.value.is_retryable
    assert (caught.value.partial, caught.value.status_code) == (None, None)
    return caught.value


def reset_at_once(connection):
    reset(connection)


def reset_before_the_headers(connection):
    read_request(connection)
    reset(connection)


def close_before_the_headers(connection):
    read_request(connection)


def reset_in_the_headers(connection):
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty")
    reset(connection)


def speak_no_http(connection):
    read_request(connection)
    connection.sendall(b"\x00\xff220 mail.example ESMTP\r\n")


def write_a_header_that_does_not_end(connection):
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000)
    reset(connection)


@everywhere
@pytest.mark.parametrize(
    "answer",
    [
        reset_at_once,
        reset_before_the_headers,
        close_before_the_headers,
        reset_in_the_headers,
        speak_no_http,
        write_a_header_that_does_not_end,
    ],
)
async def test_hung_up_on_before_the_answer_began(ask, answer, waits):
    with plain_server(answer) as (port, accepted):
        error = await failure(ask, glm(f"http://127.0.0.1:{port}/v4", max_retries=2))
        assert type(error) is GLMConnectionError
        assert len(accepted) == 3
    assert [wait is None for wait in waits] == [False, False, True]


@everywhere
async def test_refused(ask, waits):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}/v4"
    await failure(ask, glm(url, max_retries=2))
    assert len(waits) == 3


@everywhere
async def test_a_name_that_nobody_knows(ask, waits, monkeypatch):
    asked = []

    def unknown(host, *args, **kwargs):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # no test may wait for a name server
    error = await failure(ask, glm("http://name.invalid/v4", max_retries=2))
    assert "not known" in str(error)
    assert len(asked) == len(waits) == 3


def speak_plainly(connection):
    connection.recv(10_000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def hang_up_in_the_handshake(connection):
    connection.recv(10_000)


def reset_in_the_handshake(connection):
    connection.recv(10_000)
    reset(connection)


@everywhere
@pytest.mark.parametrize(
    "answer", [speak_plainly, hang_up_in_the_handshake, reset_in_the_handshake]
)
async def test_no_tls_on_the_other_side(ask, answer, waits):
    with plain_server(answer) as (port, accepted):
        await failure(ask, glm(f"https://127.0.0.1:{port}/v4", max_retries=1))
        assert len(accepted) == 2


def certificate_for_nobody(folder):
    """A TLS server without a certificate: it refuses each handshake."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def self_signed_certificate(folder):
    """A certificate that nobody vouches for."""
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
    files = ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run([*make, *files], check=True, capture_output=True)  # noqa: S603 - as above
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    return context


# Nothing in Python's own library makes a certificate.
CERTIFICATES = [certificate_for_nobody]
CERTIFICATES += [self_signed_certificate] if shutil.which("openssl") else []


@pytest.fixture(params=CERTIFICATES, scope="module", ids=lambda make: make.__name__)
def secure(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("certificate"))


@everywhere
async def test_a_handshake_that_fails(ask, secure, waits):
    with plain_server(http(b"never"), secure=secure) as (port, accepted):
        error = await failure(ask, glm(f"https://127.0.0.1:{port}/v4", max_retries=1))
        assert len(accepted) == 2
    assert "SSL" in str(error)


@four_paths
async def test_a_body_that_was_promised_and_does_not_come(ask, waits):
    length = "Content-Length: 100"
    with plain_server(http(b"", length)) as (port, accepted):
        with pytest.raises(GLMStreamInterruptedError) as caught:
            await ask(glm(f"http://127.0.0.1:{port}/v4", max_retries=1))
        assert len(accepted) == 2
    assert caught.value.partial is None
