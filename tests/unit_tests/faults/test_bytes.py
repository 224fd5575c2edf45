"""Odd bytes: decoded as they are meant, or a typed error; and memory has a bound.

Grammar of the event stream in any split: `test_sse.py`. Broken frames: `test_reader.py`.
"""

import gzip
import json
import time
import tracemalloc
import zlib
from types import SimpleNamespace

import openai
import pytest
from asking import (
    AGENTS,
    DONE,
    STOP,
    STREAMS,
    TEXT,
    WATCHED,
    WHOLE,
    every_stream,
    everywhere,
    frame,
    glm,
    http,
    plain_server,
    whole,
)
from ways import astream, stream

from langchain_glm import _reader, _sse
from langchain_glm._message import ChunkWriter
from langchain_glm._reader import StreamReader
from langchain_glm.errors import (
    GLMConnectionError,
    GLMError,
    GLMMalformedResponseError,
    GLMMalformedStreamError,
    GLMServerError,
    GLMStreamInterruptedError,
)
from langchain_glm.testing import Fail, GLMServer, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXOTIC = "é 你好 🙂 \u2028 \0 \ufeff \x7f"
STREAM = frame({"content": EXOTIC}) + STOP + DONE
COMPLETION = json.dumps(
    {"choices": [{"message": {"content": EXOTIC}, "finish_reason": "stop"}]}, ensure_ascii=False
).encode()
JSON = "application/json"
HTTP_LIBRARY = openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]


def byte_by_byte(body):
    return [body[at : at + 1] for at in range(len(body))]


async def failure(ask, answer, kind=GLMError, **fields):
    with GLMServer(answer) as server, pytest.raises(kind) as caught:
        await ask(glm(server, **fields))
    return caught.value


# Decoded


@pytest.mark.parametrize("ask", [*STREAMS, *WATCHED])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(STREAM, id="at once"),
        pytest.param(byte_by_byte(STREAM), id="byte by byte, characters split"),
        pytest.param(STREAM.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(byte_by_byte(STREAM.replace(b"\n", b"\r\n")), id="CRLF, byte by byte"),
        pytest.param(STREAM.replace(b"\n", b"\r"), id="CR"),
        pytest.param(b"\xef\xbb\xbf" + STREAM, id="a BOM"),
        pytest.param(byte_by_byte(b"\xef\xbb\xbf" + STREAM), id="a BOM, byte by byte"),
        pytest.param(b": hi\n\n:\n" + STREAM, id="comments"),
    ],
)
async def test_a_stream_is_read(ask, body):
    with GLMServer(Raw(body)) as server:
        assert (await ask(glm(server))).text == EXOTIC


@pytest.mark.parametrize("ask", [*WHOLE, AGENTS[0]])
@pytest.mark.parametrize("body", [COMPLETION, byte_by_byte(COMPLETION)], ids=["at once", "bytes"])
async def test_a_whole_answer_is_read(ask, body):
    with GLMServer(Raw(body, content_type=JSON)) as server:
        assert (await ask(glm(server))).text == EXOTIC


@every_stream
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(STREAM, [f"Content-Length: {len(STREAM)}"], id="of known length"),
        pytest.param(STREAM, [], id="until the connection closes"),
        pytest.param(
            b"".join(b"1;x=y\r\n%b\r\n" % byte for byte in byte_by_byte(STREAM)) + b"0\r\n\r\n",
            ["Transfer-Encoding: chunked"],
            id="chunks of one byte with extensions",
        ),
        pytest.param(
            b"%x\r\n%b\r\n0\r\nX-Trailer: yes\r\n\r\n" % (len(STREAM), STREAM),
            ["Transfer-Encoding: chunked"],
            id="a trailer",
        ),
    ],
)
async def test_however_the_body_is_framed(ask, body, headers):
    with plain_server(http(body, *headers)) as (port, _):
        assert (await ask(glm(f"http://127.0.0.1:{port}/v4"))).text == EXOTIC


def compressed(bits, pieces):
    """Each piece compressed and flushed by itself, as a server does that streams."""
    packer = zlib.compressobj(wbits=bits)
    packed = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*packed, packer.flush()]


CODINGS = [("gzip", zlib.MAX_WBITS | 16), ("deflate", zlib.MAX_WBITS), ("deflate", -zlib.MAX_WBITS)]
every_coding = pytest.mark.parametrize(
    ("coding", "bits"), [pytest.param(*c, id=f"{c[0]} {c[1]}") for c in CODINGS]
)


@every_stream
@every_coding
async def test_a_compressed_stream(ask, coding, bits):
    body = compressed(bits, [STREAM])
    # httpx finds out by its first bytes whether a deflated body has a header, so they come at once.
    for pieces in (body, [b"".join(body)[:8], *byte_by_byte(b"".join(body)[8:])]):
        with GLMServer(Raw(pieces, headers={"Content-Encoding": coding})) as server:
            assert (await ask(glm(server))).text == EXOTIC


@every_coding
async def test_a_compressed_stream_is_live(coding, bits):
    body = compressed(bits, [TEXT, TEXT, STOP + DONE])
    answer = Raw([body[0], 0.2, *body[1:]], headers={"Content-Encoding": coding})
    with GLMServer(answer) as server:
        chunks = glm(server).stream("x")
        assert next(chunks).text == "Here:"
        at = time.monotonic()
        assert "".join(chunk.text for chunk in chunks) == "Here:"
        assert time.monotonic() - at > 0.1  # the second fragment was not there yet


@whole
async def test_a_compressed_whole_answer(ask):
    packed = gzip.compress(COMPLETION)
    answer = Raw(packed, content_type=JSON, headers={"Content-Encoding": "gzip"})
    with GLMServer(answer) as server:
        assert (await ask(glm(server))).text == EXOTIC


# No bytes that anybody can read


@pytest.mark.parametrize("ask", [*STREAMS, *WATCHED])
@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\xc3", b"\xf0\x9f\x99"])
async def test_no_utf_8_in_a_stream(ask, bad):
    broken = frame({"content": "MARK"}).replace(b"MARK", bad)
    error = await failure(ask, Raw([TEXT, broken, STOP, DONE]), GLMMalformedStreamError)
    assert error.partial.text == "Here:"
    str(error).encode()


@pytest.mark.parametrize("ask", [*WHOLE, AGENTS[0], AGENTS[1]])
async def test_no_utf_8_in_a_whole_answer(ask):
    answer = Raw(COMPLETION.decode().encode("utf-16"), content_type=JSON)
    error = await failure(ask, answer, GLMMalformedResponseError)
    str(error).encode()


@every_stream
@pytest.mark.parametrize("nul", [b"\0", b"\0\0\0"])
async def test_nul_between_frames(ask, nul):
    error = await failure(ask, Raw([TEXT, nul + b"\n\n", STOP, DONE]), GLMMalformedStreamError)
    assert error.partial.text == "Here:"


@everywhere
@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, gzip"])
async def test_what_is_not_compressed_as_it_says(ask, coding, status):
    answer = Raw(STREAM, status, headers={"Content-Encoding": coding})
    error = await failure(ask, answer, GLMConnectionError)
    assert error.is_retryable


@every_stream
async def test_a_compressed_stream_that_breaks_off(ask):
    packed = compressed(zlib.MAX_WBITS | 16, [TEXT, STOP])
    answer = Raw([packed[0], packed[1][:3]], headers={"Content-Encoding": "gzip"})
    error = await failure(ask, answer, GLMStreamInterruptedError)
    assert error.partial.text == "Here:"


CHUNKED = ["Transfer-Encoding: chunked"]


@pytest.mark.parametrize("ask", [*WHOLE, *STREAMS])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(b"zz\r\nhello\r\n", CHUNKED, id="a length that is no number"),
        pytest.param(b"5\r\nhelloworld", CHUNKED, id="a chunk longer than its length"),
        pytest.param(b"ffffffffffffffffffffffff\r\nhello", CHUNKED, id="a length beyond measure"),
        pytest.param(b"hello", ["Content-Length: 10"], id="a body shorter than its length"),
    ],
)
async def test_a_body_that_is_framed_wrong(ask, body, headers):
    with plain_server(http(body, *headers)) as (port, _), pytest.raises(GLMConnectionError):
        await ask(glm(f"http://127.0.0.1:{port}/v4"))


@everywhere
@pytest.mark.parametrize(
    "charset", ["base64", "idna", "punycode", "undefined", "utf-16", "rot13", "no-such"]
)
async def test_an_error_in_an_encoding_that_is_none(ask, charset):
    body = '{"error":{"code":"1234","message":"忙"}}'
    answer = Raw(body, 500, content_type=f"application/json; charset={charset}")
    error = await failure(ask, answer, GLMServerError)
    assert error.code == "1234"
    assert "忙" in str(error)


async def test_an_error_page_in_its_own_encoding():
    answer = Raw("服务器忙".encode("gbk"), 502, content_type="text/html; charset=gbk")
    assert "服务器忙" in str(await failure(stream, answer))


# Memory

LIMIT = 256 * 1024
FLOOD = b"x" * 65_536


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(_sse, "MAX_LINE_BYTES", LIMIT)
    monkeypatch.setattr(_reader, "MAX_BODY_BYTES", LIMIT)
    monkeypatch.setattr(_reader, "MAX_EMPTY_FRAMES", 1000)


@pytest.mark.usefixtures("small_limits")
@every_stream
@pytest.mark.parametrize(
    ("endless", "says"),
    [
        pytest.param([b"data: ", *[FLOOD] * 20], "A line of the stream is longer", id="a line"),
        pytest.param([*[b"data: x\n" * 1000] * 20], "An event of the stream", id="an event"),
        pytest.param([*[b"<p>\n" * 1000] * 20], "lines that are no events", id="a page"),
        pytest.param([b": ", *[FLOOD] * 20], "A line of the stream is longer", id="a comment"),
        pytest.param([*[b'data: {"choices":null}\n\n' * 100] * 20], "no choices", id="no choices"),
    ],
)
async def test_what_does_not_end_is_given_up(ask, endless, says):
    with GLMServer(Raw([TEXT, *endless], end=False)) as server:
        with pytest.raises(GLMMalformedStreamError, match=says) as caught:
            await ask(glm(server))
        assert server.requests[0].hung_up.wait(1)
    assert caught.value.partial.text == "Here:"
    assert len(str(caught.value)) < 500


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("ask", [*WHOLE, AGENTS[0]])
async def test_a_whole_answer_that_does_not_end_is_given_up(ask):
    endless = Raw([b'{"choices": "', *[FLOOD] * 20], content_type=JSON, end=False)
    with GLMServer(endless) as server:
        with pytest.raises(GLMMalformedResponseError, match="longer than 262144 bytes"):
            await ask(glm(server))
        assert server.requests[0].hung_up.wait(1)


async def test_the_limits_in_numbers():
    mebibyte = 2**20
    limits = (_sse.MAX_LINE_BYTES, _reader.MAX_BODY_BYTES, _reader.MAX_EMPTY_FRAMES)
    assert limits == (64 * mebibyte, 64 * mebibyte, 10_000)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("ask", [*WHOLE, stream, astream])
async def test_a_bomb(ask):
    """A thousand times as long as what is on the wire; it is given up when the limit is reached."""
    size = 32 * 2**20
    packed = gzip.compress(bytes(size))
    answer = Raw(packed, content_type=JSON, headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    try:
        await failure(ask, answer, GLMError)
        # httpx, which openai 2 stands on, unpacks all of one read at once.
        at_once = 0 if HTTP_LIBRARY == "httpx2" else 3 * size
        assert tracemalloc.get_traced_memory()[1] < 24 * 2**20 + at_once
    finally:
        tracemalloc.stop()


@every_stream
async def test_an_endless_comment_is_no_memory(ask):
    comments = [b": %b\n\n" % FLOOD] * 200
    with GLMServer(Raw([*comments, STREAM])) as server:
        tracemalloc.start()
        try:
            assert (await ask(glm(server))).text == EXOTIC
            # The server is in this process too, but its 13 MB are one object, repeated.
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("ask", [*WHOLE, *STREAMS])
async def test_a_long_frame(ask):
    text = "x" * 8_000_000
    if ask in WHOLE:
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        answer = Raw(json.dumps({"choices": [choice]}), content_type=JSON)
    else:
        answer = Raw([frame({"content": text}), STOP, DONE])
    with GLMServer(answer) as server:
        assert (await ask(glm(server))).text == text


async def test_a_frame_of_50_megabytes():
    """Pure, in the pieces that a socket gives; it is held once as bytes, and parsed once."""
    reader = StreamReader(
        ChunkWriter(), model="m", response=SimpleNamespace(status_code=200, request=None)
    )
    body = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"x" * 50_000_000)
    view = memoryview(body)
    chunks = []
    for at in range(0, len(body), 65_536):
        chunks += reader.feed(bytes(view[at : at + 65_536]))
    [chunk] = chunks
    assert len(chunk.text) == 50_000_000


@everywhere
async def test_an_error_page_of_megabytes_is_shown_in_part(ask):
    error = await failure(ask, Fail(502, body="<html>" + "x" * 2_000_000), GLMServerError)
    assert len(str(error)) < 500
