"""A gateway that stops lets what is under way end, and cuts in the open what does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from time import time_ns

import msgspec

from entrepot.catalog.settings import EndpointSettings
from entrepot.ledger.ledger import Ledger
from entrepot.testing.gateway_here import SEGMENT_BYTES, read_answer
from entrepot.testing.scripted_host import STREAM_END, STREAM_HEAD, chunk, completion, delta, plain, sse
from tests.gateway.scene import chat, host_that, scene, until

FIRST = STREAM_HEAD + chunk(sse(delta("Hel")))
REST = sse(delta("lo"), delta(finish_reason="stop"), "[DONE]")


async def test_a_running_stream_may_end(tmp_path: Path) -> None:
    """Then its connection is closed, since the reply could not say so any more."""
    go_on = asyncio.Event()
    async with scene(tmp_path) as s:
        s.a.script(FIRST, go_on, chunk(REST) + STREAM_END)
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat(stream=True)))
        await reader.readuntil(b"Hel")
        draining = asyncio.create_task(s.here.gateway.drain(10.0))
        await until(lambda: s.here.gateway.listener.draining)
        go_on.set()
        received = await reader.read()
        assert received.endswith(b"\r\n0\r\n\r\n")
        assert b"[DONE]" in received
        await draining
        assert await s.ended() == ["a settle OK estimated"]
        writer.close()


async def test_a_plain_call_is_answered_with_a_close(tmp_path: Path) -> None:
    """And requests that came before the stop but wait behind it are not begun."""
    go_on = asyncio.Event()
    async with scene(tmp_path) as s:
        s.a.script(go_on, plain(completion("Hi")))
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat()) * 2)
        await until(lambda: s.a.received)
        draining = asyncio.create_task(s.here.gateway.drain(10.0))
        await until(lambda: s.here.gateway.listener.draining)
        go_on.set()
        assert (await read_answer(reader)).json == completion("Hi")
        assert await reader.read() == b""
        await draining
        assert len(s.a.received) == 1
        writer.close()


async def test_idle_connections_are_closed_at_once(tmp_path: Path) -> None:
    """On both sides."""
    async with scene(tmp_path) as s:
        s.a.script(plain(completion("Hi")))
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat()))
        await read_answer(reader)
        await s.here.gateway.drain(10.0)
        assert await reader.read() == b""
        await until(lambda: s.here.gateway.pools["a"].open_connections == 0)
        assert not s.here.gateway.listener.connections
        writer.close()


async def test_a_stream_that_does_not_end_is_cut_with_an_error_event(tmp_path: Path) -> None:
    """The client is told, the part is booked, and the host is not blamed for our stop."""
    async with scene(tmp_path) as s:
        s.a.script(FIRST, "wait for close")
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat(stream=True)))
        await reader.readuntil(b"Hel")
        await s.here.gateway.drain(0.05)
        received = await reader.read()
        assert b"the gateway is stopping" in received
        assert received.endswith(b"\r\n0\r\n\r\n")
        assert await s.ended() == ["a settle CANCELLED estimated"]
        await until(lambda: s.a.closed_by_client == 1)
        assert s.here.gateway.knowledge.kpis(0, 0.0).failure_share.value < 0.02
        writer.close()


async def test_an_attempt_that_is_cut_is_not_followed_by_another(tmp_path: Path) -> None:
    """A fallback would begin while we end."""
    async with scene(tmp_path) as s:
        s.a.script("wait for close")
        calling = asyncio.create_task(s.here.post(chat()))
        await until(lambda: s.a.received)
        await s.here.gateway.drain(0.05)
        answer = await calling
        assert answer.status == 502
        assert "the gateway is stopping" in json.dumps(answer.json)
        assert await s.ended() == ["a expire CANCELLED NO_REPORT"]
        assert s.b.connections == 0


async def test_an_attempt_that_still_connects_is_given_up(tmp_path: Path) -> None:
    """Nothing was sent: its reservation is void, not left for the next start to expire."""

    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with host_that(say_nothing) as url:

        def change(endpoint: EndpointSettings) -> EndpointSettings:
            host = msgspec.structs.replace(endpoint.host, base_url=url.replace("http:", "https:"))
            return msgspec.structs.replace(endpoint, host=host)

        async with scene(tmp_path, change=change) as s:
            reader, writer = await s.here.open()
            writer.write(s.here.request(chat()))
            await until(s.reserves)
            await s.here.gateway.drain(0.05)
            assert await s.ended() == ["a void CANCELLED NOT_SENT"]
            assert await reader.read() == b""
            writer.close()


async def test_half_a_request_does_not_hold_the_stop_up(tmp_path: Path) -> None:
    """Its client gets a closed connection and may try elsewhere."""
    async with scene(tmp_path) as s:
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat())[:-3])
        await until(lambda: s.here.gateway.listener.connections)
        await s.here.gateway.drain(0.05)
        with contextlib.suppress(ConnectionResetError):  # when not all of it was read
            assert await reader.read() == b""
        writer.close()


async def test_after_a_stop_nothing_is_left_to_recover(tmp_path: Path) -> None:
    """The next start finds no reservation of a dead process."""
    async with scene(tmp_path) as s:
        for _ in range(5):
            s.a.script(FIRST, "wait for close")
        clients = [await s.here.open() for _ in range(5)]
        for reader, writer in clients:
            writer.write(s.here.request(chat(stream=True)))
            await reader.readuntil(b"Hel")
        await s.here.gateway.drain(0.0)
        for _, writer in clients:
            writer.close()
    ledger = Ledger.open(tmp_path, time_ns(), segment_bytes=SEGMENT_BYTES)
    assert (ledger.expired, ledger.open_reservations) == (0, 0)
    ledger.close()
