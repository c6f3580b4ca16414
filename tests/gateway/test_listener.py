"""HTTP as clients speak it, well or badly: every request is answered once, in order, or refused clearly."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from entrepot.catalog.settings import ServerSettings
from entrepot.testing.gateway_here import read_answer
from entrepot.testing.scripted_host import chunk, completion, delta, plain, sse, stream
from tests.gateway.scene import Scene, chat, scene, until

GOOD = (delta("Hi"), delta(finish_reason="stop"))


def error_of(body: bytes) -> dict[str, object]:
    """Return the error object of a refusal."""
    error = json.loads(body)["error"]
    assert isinstance(error, dict)
    return error


def request_line(s: Scene, line: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request with the key."""
    lines = [line, "host: here", f"authorization: Bearer {s.here.key}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    """A quick one behind a slow one waits, and is not even sent before."""
    go_on = asyncio.Event()
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(go_on, plain(completion("first")))
        s.a.script(stream(*GOOD))
        s.a.script(plain(completion("third")))
        reader, writer = await s.here.open()
        health = b"GET /health HTTP/1.1\r\nhost: here\r\n\r\n"
        writer.write(
            s.here.request(chat()) + health + s.here.request(chat(stream=True)) + s.here.request(chat())
        )
        await until(lambda: s.a.received)
        assert len(s.a.received) == 1
        go_on.set()
        bodies = [(await read_answer(reader)).body for _ in range(4)]
        assert json.loads(bodies[0]) == completion("first")
        assert bodies[1] == b'{"status":"ok"}'
        assert bodies[2] == sse(*GOOD, "[DONE]")
        assert json.loads(bodies[3]) == completion("third")
        writer.close()


async def test_a_hundred_pipelined_requests_are_answered(tmp_path: Path) -> None:
    """More than the gateway wants to hold: it stops reading, and goes on."""
    async with scene(tmp_path, hosts=1) as s:
        for number in range(100):
            s.a.script(plain(completion(str(number))))
        reader, writer = await s.here.open()
        writer.write(b"".join(s.here.request(chat("x" * 2000)) for _ in range(100)))
        answers = [(await read_answer(reader)).json for _ in range(100)]
        assert answers == [completion(str(number)) for number in range(100)]
        writer.close()


async def test_a_malformed_request_behind_a_good_one_does_not_spoil_it(tmp_path: Path) -> None:
    """The first is answered in full, the second gets its 400, then the connection ends."""
    go_on = asyncio.Event()
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(go_on, plain(completion("Hi")))
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat()) + b"BREW /coffee\r\n\r\n")
        await until(lambda: s.a.received)
        go_on.set()
        assert (await read_answer(reader)).json == completion("Hi")
        assert (await read_answer(reader)).status == 400
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("keep_alive", ["", "connection: keep-alive\r\n"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_http_1_0_gets_no_chunks_and_a_close(
    tmp_path: Path, keep_alive: str, *, streamed: bool
) -> None:
    """Its clients cannot read chunks, and take the end of the connection for the end of the reply."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(stream(*GOOD) if streamed else plain(completion("Hi")))
        reader, writer = await s.here.open()
        request = s.here.request(chat(stream=streamed), headers=keep_alive)
        writer.write(request.replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert body == sse(*GOOD, "[DONE]") if streamed else json.loads(body) == completion("Hi")
        writer.close()


async def test_a_chunked_request_body_may_come_one_byte_at_a_time(tmp_path: Path) -> None:
    """Head, chunk sizes and body at any split; the host gets it whole, with a length."""
    body = json.dumps(chat("ä" * 40)).encode()
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(plain(completion("Hi")))
        chunks = b"".join(chunk(body[at : at + 11]) for at in range(0, len(body), 11))
        request = request_line(
            s, "POST /v1/chat/completions HTTP/1.1", "transfer-encoding: chunked", body=chunks + b"0\r\n\r\n"
        )
        reader, writer = await s.here.open()
        for at in range(len(request)):
            writer.write(request[at : at + 1])
            await asyncio.sleep(0)
        assert (await read_answer(reader)).status == 200
        assert s.a.received[0].json["messages"] == chat("ä" * 40)["messages"]
        writer.close()


async def test_a_client_that_expects_100_continue_gets_it_before_its_body(tmp_path: Path) -> None:
    """curl waits a second for it with every larger prompt."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(plain(completion("Hi")))
        head, _, body = s.here.request(chat(), headers="expect: 100-continue\r\n").partition(b"\r\n\r\n")
        reader, writer = await s.here.open()
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await read_answer(reader)).json == completion("Hi")
        writer.close()


async def test_100_continue_does_not_get_into_the_reply_before_it(tmp_path: Path) -> None:
    """A pipelined request that expects it has to wait: the stream of the first one is under way."""
    go_on = asyncio.Event()
    async with scene(tmp_path, hosts=1) as s:
        whole = stream(*GOOD)
        s.a.script(whole[:120], go_on, whole[120:])
        s.a.script(plain(completion("Hi")))
        reader, writer = await s.here.open()
        head, _, body = s.here.request(chat(), headers="expect: 100-continue\r\n").partition(b"\r\n\r\n")
        writer.write(s.here.request(chat(stream=True)) + head + b"\r\n\r\n")
        await until(lambda: s.a.received)
        go_on.set()
        assert (await read_answer(reader)).body == sse(*GOOD, "[DONE]")
        writer.write(body)
        assert (await read_answer(reader)).json == completion("Hi")
        writer.close()


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
async def test_an_offer_to_upgrade_is_declined_by_answering(tmp_path: Path, offer: str) -> None:
    """HTTP clients of Java offer h2c with every request: it is answered as if they had not, body and all."""
    headers = f"connection: Upgrade, HTTP2-Settings\r\nupgrade: {offer}\r\nhttp2-settings: AAMAAABkAAQC\r\n"
    async with scene(tmp_path, hosts=1) as s:
        for text in ("one", "two"):
            s.a.script(plain(completion(text)))
        reader, writer = await s.here.open()
        request = s.here.request(chat(), headers=headers)
        writer.write(request)
        assert (await read_answer(reader)).json == completion("one")
        for at in range(0, len(request), 50):
            writer.write(request[at : at + 50])
            await asyncio.sleep(0)
        assert (await read_answer(reader)).json == completion("two")
        writer.write(request_line(s, "GET /v1/models HTTP/1.1", headers.rstrip()))
        assert (await read_answer(reader)).status == 200
        assert s.a.received[1].json["messages"] == chat()["messages"]
        writer.close()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /v1/chat/completions HTTP/1.1", 405),
        ("DELETE /v1/chat/completions HTTP/1.1", 405),
        ("PUT /v1/embeddings HTTP/1.1", 405),
        ("POST /v1/models HTTP/1.1", 405),
        ("POST /health HTTP/1.1", 405),
        ("CONNECT example.org:443 HTTP/1.1", 405),
        ("GET / HTTP/1.1", 404),
        ("GET /v1 HTTP/1.1", 404),
        ("GET /v1/ HTTP/1.1", 404),
        ("GET /v1/unknown HTTP/1.1", 404),
        ("POST /v1/chat/completions/ HTTP/1.1", 404),
        ("GET /v1/models/../../etc/passwd HTTP/1.1", 404),
        ("GET /%00%ff HTTP/1.1", 404),
        ("GET /metrics HTTP/1.1", 404),
    ],
)
async def test_a_wrong_method_or_path_is_told(tmp_path: Path, line: str, status: int) -> None:
    """Each is a JSON error, and the connection serves on unless it cannot."""
    async with scene(tmp_path, hosts=1) as s:
        reader, writer = await s.here.open()
        writer.write(request_line(s, line, "content-length: 0"))
        answer = await read_answer(reader)
        assert answer.status == status
        assert error_of(answer.body)["type"] == "invalid_request_error"
        if not line.startswith("CONNECT"):
            writer.write(request_line(s, "GET /v1/models HTTP/1.1"))
            assert (await read_answer(reader)).status == 200
        assert s.reserves() == []
        writer.close()


async def test_head_gets_the_head_alone(tmp_path: Path) -> None:
    """Load balancers ask so; a body would be taken for the next reply."""
    async with scene(tmp_path, hosts=1) as s:
        reader, writer = await s.here.open()
        writer.write(
            b"HEAD /health HTTP/1.1\r\nhost: here\r\n\r\n" * 2 + b"HEAD /v1/chat/completions HTTP/1.1\r\n\r\n"
        )
        writer.write(b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n")
        received = await reader.read()
        assert received.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert received.count(b"HTTP/1.1 405") == 1
        assert received.count(b"{") == 1
        assert received.endswith(b'\r\n\r\n{"status":"ok"}')
        writer.close()


async def test_connection_close_is_honoured(tmp_path: Path) -> None:
    """The reply says so too, and the connection ends after it."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(plain(completion("Hi")))
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat(), headers="connection: close\r\n"))
        received = await reader.read()
        assert b"\r\nconnection: close\r\n" in received
        assert received.endswith(json.dumps(completion("Hi")).encode())
        writer.close()


async def test_a_connection_too_many_is_closed_and_the_others_serve_on(tmp_path: Path) -> None:
    """A free place is used again."""
    async with scene(tmp_path, hosts=1, server=ServerSettings(max_connections=2)) as s:
        health = b"GET /health HTTP/1.1\r\n\r\n"
        first, second = await s.here.open(), await s.here.open()
        for reader, writer in (first, second):
            writer.write(health)
            assert (await read_answer(reader)).status == 200
        reader, writer = await s.here.open()
        assert await reader.read() == b""
        writer.close()
        first[1].close()
        await until(lambda: len(s.here.gateway.listener.connections) == 1)
        assert (await s.here.exchange(health)).status == 200
        second[1].write(health)
        assert (await read_answer(second[0])).status == 200
        second[1].close()
