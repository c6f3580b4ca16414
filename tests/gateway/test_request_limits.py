"""What a client may send: bounds on bytes and on time, checked while they arrive."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from entrepot.catalog.settings import ServerSettings
from entrepot.gateway.gateway import SWEEP_S
from entrepot.testing.gateway_here import Answer, read_answer
from entrepot.testing.scripted_host import chunk, completion, plain
from tests.gateway.scene import Scene, chat, scene, until, until_later

KIB = 1024
MIB = 1024 * KIB
SMALL = ServerSettings(max_body_bytes=64 * KIB, max_header_bytes=4 * KIB)
HASTY = ServerSettings(request_timeout_s=0.2, keep_alive_s=0.2)
CHUNKED_HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n"


def code_of(answer: Answer) -> tuple[int, object]:
    """Return the status and the code of a refusal."""
    error = json.loads(answer.body)["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    return answer.status, error["code"]


def compressed(s: Scene, body: bytes, encoding: str) -> bytes:
    """Return a request with a compressed body."""
    return s.here.request(body, headers=f"content-encoding: {encoding}\r\n")


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("identity", bytes),
        ("", bytes),
    ],
)
async def test_a_compressed_body_is_read(
    tmp_path: Path, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    """The host gets it uncompressed."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(plain(completion("Hi")))
        answer = await s.here.exchange(
            compressed(s, compress(json.dumps(chat("ä" * 9999)).encode()), encoding)
        )
        assert answer.status == 200
        assert s.a.received[0].json["messages"] == chat("ä" * 9999)["messages"]
        assert "content-encoding" not in s.a.received[0].headers


BODY = json.dumps(chat()).encode()


@pytest.mark.parametrize(
    ("encoding", "body", "expected"),
    [
        ("br", BODY, (415, "unsupported_encoding")),
        ("zstd", BODY, (415, "unsupported_encoding")),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY)), (415, "unsupported_encoding")),
        ("gzip", BODY, (400, "bad_encoding")),
        ("gzip", b"", (400, "bad_encoding")),
        ("gzip", gzip.compress(BODY)[:-9], (400, "bad_encoding")),
        ("gzip", gzip.compress(BODY) + b"more", (400, "bad_encoding")),
        ("gzip", gzip.compress(BODY) + gzip.compress(b"{}"), (400, "bad_encoding")),
        ("deflate", gzip.compress(BODY), (400, "bad_encoding")),
        ("gzip", gzip.compress(b" " * (64 * KIB + 1)), (413, "body_too_large")),
        ("deflate", zlib.compress(b" " * 50 * MIB), (413, "body_too_large")),
    ],
)
async def test_a_body_that_cannot_be_decompressed_is_refused(
    tmp_path: Path, encoding: str, body: bytes, expected: tuple[int, str]
) -> None:
    """What is unknown, damaged, cut, continued or too large: each by its name, and nothing is sent."""
    async with scene(tmp_path, hosts=1, server=SMALL) as s:
        assert code_of(await s.here.exchange(compressed(s, body, encoding))) == expected
        assert s.reserves() == []


async def test_a_gzip_bomb_takes_no_more_memory_than_a_body_may(tmp_path: Path) -> None:
    """100 MiB in 100 KiB: inflating stops at the limit."""
    bomb = gzip.compress(b"\0" * 100 * MIB)
    async with scene(tmp_path, hosts=1, server=ServerSettings(max_body_bytes=2 * MIB)) as s:
        request = compressed(s, bomb, "gzip")
        tracemalloc.start()
        try:
            answer = await s.here.exchange(request)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert code_of(answer) == (413, "body_too_large")
        assert peak_bytes < 12 * MIB


async def test_a_body_of_exactly_the_limit_passes(tmp_path: Path) -> None:
    """The limit itself is allowed; one byte more is not."""
    async with scene(tmp_path, hosts=1, server=SMALL) as s:
        s.a.script(plain(completion("Hi")))
        body = BODY + b" " * (64 * KIB - len(BODY))
        assert (await s.here.post(body)).status == 200
        assert code_of(await s.here.post(body + b" ")) == (413, "body_too_large")


async def test_a_length_above_the_limit_is_refused_before_the_body_comes(tmp_path: Path) -> None:
    """Also when the client asks first whether it may send."""
    async with scene(tmp_path, hosts=1, server=SMALL) as s:
        for headers in ("", "expect: 100-continue\r\n"):
            length = f"{headers}content-length: {64 * KIB + 1}\r\n\r\n"
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: here\r\n{length}"
            answer = await s.here.exchange(head.encode())
            assert code_of(answer) == (413, "body_too_large")
            assert answer.headers["connection"] == "close"


async def test_chunks_above_the_limit_are_refused_as_they_come(tmp_path: Path) -> None:
    """Nobody announces the length of a chunked body."""
    async with scene(tmp_path, hosts=1, server=SMALL) as s:
        request = f"{CHUNKED_HEAD}\r\n".encode() + chunk(b"x" * 40 * KIB) * 2
        assert code_of(await s.here.exchange(request)) == (413, "body_too_large")


async def test_a_client_that_sends_all_before_it_reads_can_read_the_refusal(tmp_path: Path) -> None:
    """To close at once would reset its connection, and it would never know why."""

    def send_all_then_read(port: int, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
            received = b""
            while data := connection.recv(65536):
                received += data
        return received

    async with scene(tmp_path, hosts=1, server=SMALL) as s:
        for request in (
            s.here.request(b" " * 24 * MIB),
            f"{CHUNKED_HEAD}\r\n".encode() + chunk(b"x" * 60 * KIB) * 300 + b"0\r\n\r\n",
            f"GET /health HTTP/1.1\r\nx: {'x' * 3 * MIB}\r\n\r\n".encode(),
        ):
            received = await asyncio.to_thread(send_all_then_read, s.here.port, request)
            assert received[:12] in (b"HTTP/1.1 413", b"HTTP/1.1 431")
            assert received.count(b"HTTP/1.1") == 1
        await until(lambda: not s.here.gateway.listener.connections)


@pytest.mark.parametrize(
    "head",
    [
        "GET /health HTTP/1.1\r\n" + "x: 1\r\n" * 3000,
        f"GET /health HTTP/1.1\r\nx: {'x' * 12_000}\r\n",
        f"GET /health HTTP/1.1\r\n{'x' * 12_000}: 1\r\n",
        f"GET /{'x' * 12_000} HTTP/1.1\r\n",
    ],
)
@pytest.mark.parametrize("ends", [True, False])
async def test_headers_above_the_limit_are_refused(tmp_path: Path, head: str, *, ends: bool) -> None:
    """Many, long values, long names, a long path; whether they end or go on for ever."""
    async with scene(tmp_path, hosts=1, server=SMALL) as s:
        request = head.encode() + (b"\r\n" if ends else b"")
        reader, writer = await s.here.open()
        for at in range(0, len(request), 1000):
            writer.write(request[at : at + 1000])
            await asyncio.sleep(0)
        answer = await read_answer(reader)
        assert code_of(answer) == (431, "headers_too_large")
        assert answer.headers["connection"] == "close"
        writer.close()


async def test_headers_of_the_limit_pass_in_one_read(tmp_path: Path) -> None:
    """A browser's cookies are long; they are below the limit and are dropped."""
    async with scene(tmp_path, hosts=1, server=SMALL) as s:
        request = f"GET /health HTTP/1.1\r\ncookie: {'x' * 4000}\r\n\r\n".encode()
        assert (await s.here.exchange(request)).status == 200


async def test_trailers_above_the_limit_are_refused(tmp_path: Path) -> None:
    """They come behind the body, where no limit of a head would look."""
    async with scene(tmp_path, hosts=1, server=SMALL) as s:
        reader, writer = await s.here.open()
        writer.write(f"{CHUNKED_HEAD}\r\n".encode() + chunk(BODY) + b"0\r\n")
        for _ in range(8):
            writer.write(b"x: " + b"x" * 1000 + b"\r\n")
            await asyncio.sleep(0)
        assert code_of(await read_answer(reader)) == (431, "headers_too_large")
        writer.close()


async def test_many_small_chunks_are_not_taken_for_headers(tmp_path: Path) -> None:
    """Sizes and ends of chunks that come in packets of their own are no trailers."""
    async with scene(tmp_path, hosts=1, server=SMALL) as s:
        s.a.script(plain(completion("Hi")))
        reader, writer = await s.here.open()
        key = f"authorization: Bearer {s.here.key}\r\n\r\n"
        writer.write((CHUNKED_HEAD + key).encode())
        body = BODY + b" " * 3000
        for at in range(0, len(body), 2):
            writer.write(b"2\r\n" if at + 2 <= len(body) else b"1\r\n")
            await asyncio.sleep(0)
            writer.write(body[at : at + 2] + b"\r\n")
        writer.write(b"0\r\n\r\n")
        assert (await read_answer(reader)).status == 200
        writer.close()


MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"hello\r\n\r\n",
    b"BREW /coffee HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /health HTTP/9.9\r\n\r\n",
    b"GET /health\x00 HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /health HTTP/1.1\r\nx : 1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nx: 1\r\n folded\r\n\r\n",
    b"POST /v1/models HTTP/1.1\r\ncontent-length: 1x\r\n\r\n",
    b"POST /v1/models HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    b"POST /v1/models HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    b"POST /v1/models HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/models HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
    b"POST /v1/models HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/models HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
]


@pytest.mark.parametrize("request_bytes", MALFORMED)
async def test_what_is_not_http_gets_one_400(tmp_path: Path, request_bytes: bytes) -> None:
    """Also what could be read in two ways, which is how requests are smuggled; then the connection ends."""
    async with scene(tmp_path, hosts=1) as s:
        reader, writer = await s.here.open()
        writer.write(request_bytes)
        assert code_of(await read_answer(reader)) == (400, "malformed_http")
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /v1/chat/compl",
        b"POST /v1/chat/completions HTTP/1.1\r\nx: ",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 999\r\n\r\n{",
        f"{CHUNKED_HEAD}\r\n".encode() + b"ffff\r\nab",
    ],
)
async def test_a_request_that_does_not_get_done_is_ended(tmp_path: Path, begun: bytes) -> None:
    """Slow loris: a byte now and then does not put the end off."""
    async with scene(tmp_path, hosts=1, server=HASTY) as s:
        reader, writer = await s.here.open()
        writer.write(begun)
        answering = asyncio.create_task(read_answer(reader))
        while not answering.done():
            writer.write(b"a")
            await until_later(0.02)
        assert code_of(await answering) == (408, "request_timeout")
        writer.close()


async def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    """Before its first request and after its last."""
    async with scene(tmp_path, hosts=1, server=HASTY) as s:
        reader, writer = await s.here.open()
        assert await reader.read() == b""
        writer.close()
        reader, writer = await s.here.open()
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        assert (await read_answer(reader)).status == 200
        assert await reader.read() == b""
        writer.close()


async def test_the_time_for_a_request_counts_from_its_first_byte(tmp_path: Path) -> None:
    """Not from the end of the one before: a client may think between two requests."""
    server = ServerSettings(request_timeout_s=3 * SWEEP_S, keep_alive_s=60.0)
    async with scene(tmp_path, hosts=1, server=server) as s:
        s.a.script(plain(completion("Hi")))
        reader, writer = await s.here.open()
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        assert (await read_answer(reader)).status == 200
        await until_later(4 * SWEEP_S)
        request = s.here.request(chat())
        writer.write(request[:-5])
        await until_later(1.5 * SWEEP_S)
        writer.write(request[-5:])
        assert (await read_answer(reader)).json == completion("Hi")
        writer.close()


async def test_a_long_answer_is_not_a_slow_request(tmp_path: Path) -> None:
    """While the host works the client has nothing to send."""
    go_on = asyncio.Event()
    async with scene(tmp_path, hosts=1, server=HASTY) as s:
        s.a.script(go_on, plain(completion("Hi")))
        answering = asyncio.create_task(s.here.post(chat()))
        await until_later(3 * SWEEP_S)
        go_on.set()
        assert (await answering).status == 200
