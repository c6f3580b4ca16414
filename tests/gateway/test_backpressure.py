"""Who is slow makes the other side wait: nothing piles up in the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings, ServerSettings
from entrepot.gateway.gateway import SWEEP_S
from entrepot.testing.gateway_here import GatewayHere, endpoint_at, gateway_here
from entrepot.testing.scripted_host import STREAM_END, STREAM_HEAD, chunk, completion, delta, plain, sse
from tests.gateway.scene import chat, host_that, scene, until, until_later

MIB = 1024 * 1024
SEGMENT = chunk(sse(delta("x" * 65_000)))
MOST_IN_KERNEL_BYTES = 40 * MIB  # of the sockets between host, gateway and client
STALL_S = 0.4


@dataclass
class GushingHost:
    """Streams as fast as it is let, until told to end; knows how much was taken."""

    taken_segments: int = 0
    taken_at_s: float = 0.0
    end: asyncio.Event = field(default_factory=asyncio.Event)
    left: bool = False
    port: int = 0

    @property
    def is_stalled(self) -> bool:
        """Return whether nothing was taken for a while."""
        return self.taken_segments > 0 and monotonic() - self.taken_at_s > STALL_S

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(STREAM_HEAD)
            while not self.end.is_set():
                writer.write(SEGMENT)
                await writer.drain()
                self.taken_segments += 1
                self.taken_at_s = monotonic()
                await asyncio.sleep(0)
            writer.write(chunk(sse(delta(finish_reason="stop"), "[DONE]")) + STREAM_END)
            await writer.drain()
        except ConnectionError:
            self.left = True


@contextlib.asynccontextmanager
async def gushing(
    tmp_path: Path, *, server: ServerSettings | None = None, **options: object
) -> AsyncIterator[tuple[GatewayHere, GushingHost]]:
    """Run a gateway before a gushing host."""
    host = GushingHost()
    async with (
        host_that(host.serve) as url,
        gateway_here([endpoint_at(url, "a", **options)], tmp_path, server=server) as here,
    ):
        yield here, host


async def slow_client(
    here: GatewayHere, request: bytes, *, limit: int = 65536
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return the connection of a request whose client reads only when it is asked to."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    raw.connect(("127.0.0.1", here.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=65536)
    writer.write(request)
    return reader, writer


@pytest.mark.parametrize("asked", [True, False])
async def test_a_client_that_does_not_read_stops_the_host(tmp_path: Path, *, asked: bool) -> None:
    """The host is made to wait, is not called silent for it, and goes on when the client reads."""
    options = {"stream_options": {"include_usage": True}} if asked else {}
    async with gushing(tmp_path, idle_timeout_s=0.2) as (here, host):
        reader, writer = await slow_client(here, here.request(chat(stream=True, **options)))
        await until(lambda: host.is_stalled, "the gateway reads on and on")
        assert host.taken_segments * len(SEGMENT) < MOST_IN_KERNEL_BYTES
        stalled_at = host.taken_segments
        received = 0
        while host.taken_segments < stalled_at + 50:
            received += len(await reader.read(MIB))
        host.end.set()
        while not (tail := await reader.read(MIB)).endswith(b"0\r\n\r\n"):
            received += len(tail)
        assert b"[DONE]" in tail
        assert received > (stalled_at + 49) * 65_000
        writer.close()


async def test_a_client_that_never_reads_is_left_in_the_end(tmp_path: Path) -> None:
    """It would hold a host's place, a reservation and memory for ever."""
    async with gushing(tmp_path, server=ServerSettings(request_timeout_s=0.3)) as (here, host):
        _, writer = await slow_client(here, here.request(chat(stream=True)))
        await until(lambda: host.left, "the host is still held")
        ledger = here.gateway.ledger
        await until(lambda: not ledger.open_reservations)
        assert not here.gateway.listener.connections
        writer.close()


async def test_a_client_that_leaves_without_reading_is_noticed_at_once(tmp_path: Path) -> None:
    """What waits to be sent to it is no reason to go on at the host."""
    async with gushing(tmp_path) as (here, host):
        _, writer = await slow_client(here, here.request(chat(stream=True)))
        await until(lambda: host.is_stalled)
        writer.write_eof()
        await until(lambda: host.left, "the host is still held")
        await until(lambda: not here.gateway.ledger.open_reservations)
        writer.close()


async def test_a_reply_that_nobody_takes_does_not_hold_its_connection_for_ever(tmp_path: Path) -> None:
    """Also a whole reply, which waits in memory when the attempt is long over."""
    big = plain(completion("x" * 8 * MIB))
    async with scene(tmp_path, hosts=1, server=ServerSettings(request_timeout_s=0.3)) as s:
        s.a.script(big)
        _, writer = await slow_client(s.here, s.here.request(chat()))
        await until(lambda: s.here.gateway.listener.connections)
        await until(s.reserves)
        assert await s.ended() == ["a settle OK"]
        await until(lambda: not s.here.gateway.listener.connections, "the connection is still there")
        writer.close()


async def test_the_next_request_of_a_slow_client_is_held_as_well(tmp_path: Path) -> None:
    """What the first reply left unread counts: the second stream does not gush into memory."""
    first = plain(completion("x" * 8 * MIB))
    host = GushingHost()
    served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        if served > 1:
            await host.serve(reader, writer)
            return
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first)
        await writer.drain()

    async with host_that(serve) as url, gateway_here([endpoint_at(url, "a")], tmp_path) as here:
        _, writer = await slow_client(here, here.request(chat()) + here.request(chat(stream=True)))
        await until(lambda: served == 2)
        await until_later(2 * STALL_S)
        assert host.taken_segments * len(SEGMENT) < MOST_IN_KERNEL_BYTES
        writer.close()


def roomy(endpoint: EndpointSettings) -> EndpointSettings:
    """Return the endpoint with a context window for megabytes."""
    window = msgspec.structs.replace(endpoint.endpoint, context_tokens=100_000_000)
    return msgspec.structs.replace(endpoint, endpoint=window)


async def test_a_large_request_arrives_whole_at_a_slow_host(tmp_path: Path) -> None:
    """20 MiB, of which the host reads nothing for a while, then little by little."""
    received = bytearray()
    begin = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        await begin.wait()
        while len(received) < int(length.split()[1]):
            received.extend(await reader.read(100_000))
            await asyncio.sleep(0)
        writer.write(plain(completion("Hi")))
        await writer.drain()

    text = "".join(f"{number:09d} " for number in range(2 * MIB))
    async with host_that(serve) as url, gateway_here([roomy(endpoint_at(url, "a"))], tmp_path) as here:
        answering = asyncio.create_task(here.post(chat(text)))
        await until_later(SWEEP_S)
        begin.set()
        assert (await answering).status == 200
        assert json.loads(bytes(received))["messages"] == [{"role": "user", "content": text}]


async def test_a_host_that_answers_before_it_has_read_the_request_is_heard(tmp_path: Path) -> None:
    """Its connection is not used again: the rest of the request would be the beginning of the next one."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(plain({"error": {"message": "too long"}}, status=413))
        await writer.drain()
        while await reader.read(100_000):
            await asyncio.sleep(0)

    async with host_that(serve) as url, gateway_here([roomy(endpoint_at(url, "a"))], tmp_path) as here:
        for _ in range(2):
            answer = await here.post(chat("x" * 20 * MIB))
            assert answer.status == 400
            assert b"too long" in answer.body
        assert connections == 2


async def test_a_client_may_read_its_answer_slowly(tmp_path: Path) -> None:
    """As long as it takes a part of it now and then, the time for the whole is its own."""
    async with scene(tmp_path, hosts=1, server=ServerSettings(request_timeout_s=2.5 * SWEEP_S)) as s:
        s.a.script(plain(completion("x" * 24 * MIB)))
        reader, writer = await slow_client(s.here, s.here.request(chat()))
        await until(s.reserves)
        await s.ended()
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        received = bytearray()
        while len(received) < 16 * MIB:
            received += await reader.readexactly(2 * MIB)
            await until_later(SWEEP_S / 2)
        received += await reader.readexactly(int(length.split()[1]) - len(received))
        assert json.loads(bytes(received)) == completion("x" * 24 * MIB)
        writer.close()
