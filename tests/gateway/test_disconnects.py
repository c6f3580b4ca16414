"""A client that leaves cancels its attempt at the host, and what was used is booked all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from entrepot.catalog.settings import EndpointSettings
from entrepot.testing.scripted_host import (
    STREAM_END,
    STREAM_HEAD,
    chunk,
    completion,
    delta,
    plain,
    sse,
    usage_chunk,
)
from tests.gateway.scene import Scene, chat, scene, until

FIRST = STREAM_HEAD + chunk(sse(delta(role="assistant"), delta("Hello world, ")))
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def leave(client: Client, how: str) -> None:
    """Close, reset or half-close the client's connection."""
    writer = client[1]
    match how:
        case "close":
            writer.close()
        case "reset":
            writer.transport.abort()
        case _:
            writer.write_eof()


async def call_until_received(s: Scene, *, host: int = 0, **fields: object) -> Client:
    """Return the connection of a call that its host has received."""
    client = await s.here.open()
    client[1].write(s.here.request(chat(**fields)))
    await until(lambda: s.hosts[host].received, "the host was not called")
    return client


def in_flight(s: Scene) -> list[int]:
    """Return the attempts under way that routing knows of, by endpoint."""
    knowledge = s.here.gateway.knowledge
    return [knowledge.kpis(index, monotonic()).in_flight for index in range(len(s.hosts))]


async def test_a_client_that_stops_reading_after_the_last_event_cancelled_nothing(tmp_path: Path) -> None:
    """SDKs close at [DONE], which may come before the end of the host's body: the answer was whole."""
    async with scene(tmp_path) as s:
        end = sse(delta(finish_reason="stop"), usage_chunk(10, 5), "[DONE]")
        s.a.script(FIRST + chunk(end), "wait for close")
        client = await call_until_received(s, stream=True)
        await client[0].readuntil(b"[DONE]")
        leave(client, "close")
        assert await s.ended() == ["a settle OK"]
        await until(lambda: s.a.closed_by_client == 1)
        settle = s.settles()[0]
        assert (settle.usage.output_tokens, settle.usage.estimated, settle.censored) == (5, False, False)


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
async def test_in_mid_stream_the_host_sees_the_close_and_the_part_is_booked(tmp_path: Path, how: str) -> None:
    """The tokens that came are estimated: the row is there, and it is not zero."""
    async with scene(tmp_path) as s:
        s.a.script(FIRST, "wait for close")
        client = await call_until_received(s, stream=True)
        await client[0].readuntil(b"Hello world")
        leave(client, how)
        assert await s.ended() == ["a settle CANCELLED estimated"]
        await until(lambda: s.a.closed_by_client == 1)
        settle = s.settles()[0]
        assert settle.usage.output_tokens > 0
        assert settle.usage.prompt_tokens > 0
        assert settle.bill.total_nusd > 0
        assert settle.censored
        assert s.b.received == []
        assert in_flight(s) == [0, 0]
        client[1].close()


@pytest.mark.parametrize("begun", [(), (STREAM_HEAD,), (STREAM_HEAD + chunk(sse(delta(role="assistant"))),)])
async def test_before_the_first_content_the_prompt_is_booked_and_what_may_have_been_thought(
    tmp_path: Path, begun: tuple[bytes, ...]
) -> None:
    """A model may have reasoned unseen: twice what it writes in that time; nobody else is asked."""
    async with scene(tmp_path) as s:
        s.a.script(*begun, "wait for close")
        client = await call_until_received(s, stream=True)
        leave(client, "close")
        assert await s.ended() == ["a settle CANCELLED estimated"]
        await until(lambda: s.a.closed_by_client == 1)
        usage = s.settles()[0].usage
        assert usage.output_tokens > 0
        assert usage.prompt_tokens > 0
        assert s.b.received == []


async def test_in_a_plain_call_nobody_knows_the_cost(tmp_path: Path) -> None:
    """The host may have finished the answer and bill it: *unknown, at most* what was reserved."""
    async with scene(tmp_path) as s:
        s.a.script("wait for close")
        client = await call_until_received(s)
        leave(client, "close")
        assert await s.ended() == ["a expire CANCELLED NO_REPORT"]
        await until(lambda: s.a.closed_by_client == 1)
        balance = s.here.gateway.ledger.balances.balance(1)
        assert balance.unknown_nusd == s.reserves()[0].amount_nusd


async def test_a_folded_call_is_cancelled_at_a_host_that_would_not_have_noticed(tmp_path: Path) -> None:
    """That is why such a host is driven with a stream."""
    async with scene(tmp_path, cancels_plain_calls=False) as s:
        s.a.script(FIRST, "wait for close")
        client = await call_until_received(s)
        assert s.a.received[0].json["stream"] is True
        await until(lambda: in_flight(s) == [1, 0])
        leave(client, "close")
        assert await s.ended() == ["a settle CANCELLED estimated"]
        await until(lambda: s.a.closed_by_client == 1)
        assert s.b.received == []


async def test_while_connecting_nothing_was_sent(tmp_path: Path) -> None:
    """A host that accepts and never shakes hands (TLS): the attempt ends with the connection, at no cost."""

    def change(endpoint: EndpointSettings) -> EndpointSettings:
        host = endpoint.host
        secure = msgspec.structs.replace(host, base_url=host.base_url.replace("http:", "https:"))
        return msgspec.structs.replace(endpoint, host=secure)

    async with scene(tmp_path, change=change, connect_timeout_s=0.3) as s:
        client = await s.here.open()
        client[1].write(s.here.request(chat(stream=True)))
        await until(lambda: s.a.connections == 1)
        leave(client, "close")
        assert await s.ended() == ["a void CANCELLED NO_CONNECTION"]
        assert s.b.connections == 0
        assert in_flight(s) == [0, 0]


async def test_a_connection_that_opens_too_late_is_kept_for_the_next(tmp_path: Path) -> None:
    """The client left while we connected: nothing is sent on the new connection, and it is not wasted."""
    async with scene(tmp_path) as s:
        pool = s.here.gateway.pools["a"]
        connected = asyncio.Event()
        connect = pool.connect

        async def connect_late() -> object:
            connection = await connect()
            await connected.wait()
            return connection

        pool.connect = connect_late  # type: ignore[assignment,method-assign]
        client = await s.here.open()
        client[1].write(s.here.request(chat(stream=True)))
        await until(lambda: s.a.connections == 1)
        leave(client, "close")
        await until(lambda: not s.here.gateway.listener.connections)
        connected.set()
        assert await s.ended() == ["a void CANCELLED NOT_SENT"]
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat())).status == 200
        assert s.a.connections == 1


async def test_a_failed_attempt_is_not_followed_for_a_client_that_left(tmp_path: Path) -> None:
    """The second host would be paid for an answer that nobody reads."""
    fail = asyncio.Event()
    async with scene(tmp_path) as s:
        s.a.script(fail, plain({"error": {}}, status=500))
        client = await call_until_received(s, stream=True)
        leave(client, "close")
        await until(lambda: not s.here.gateway.listener.connections)
        fail.set()
        assert len(await s.ended()) == 1
        assert s.b.received == []


async def test_requests_that_wait_behind_are_dropped_with_their_client(tmp_path: Path) -> None:
    """What was pipelined and not begun is neither sent nor reserved."""
    async with scene(tmp_path) as s:
        s.a.script("wait for close")
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat()) * 3)
        await until(lambda: s.a.received)
        leave((reader, writer), "reset")
        assert await s.ended() == ["a expire CANCELLED NO_REPORT"]
        assert len(s.a.received) == 1


async def test_a_client_that_leaves_after_the_end_changes_nothing(tmp_path: Path) -> None:
    """The whole answer was sent: it is settled as it was reported."""
    async with scene(tmp_path) as s:
        s.a.script(FIRST + chunk(sse(delta(finish_reason="stop"), "[DONE]")) + STREAM_END)
        client = await call_until_received(s, stream=True)
        await client[0].readuntil(b"0\r\n\r\n")
        leave(client, "reset")
        assert await s.ended() == ["a settle OK estimated"]


async def test_fifty_streams_that_are_left_reserve_nothing_for_ever(tmp_path: Path) -> None:
    """However many clients leave at once, each attempt is closed once and the sums agree."""
    async with scene(tmp_path, hosts=1) as s:
        clients = []
        for _ in range(50):
            s.a.script(FIRST, "wait for close")
            client = await s.here.open()
            client[1].write(s.here.request(chat(stream=True)))
            clients.append(client)
        for client in clients:
            await client[0].readuntil(b"Hello world")
        for number, client in enumerate(clients):
            leave(client, ("close", "reset", "half-close")[number % 3])
        assert await s.ended() == ["a settle CANCELLED estimated"] * 50
        await until(lambda: s.a.closed_by_client == 50)
        balance = s.here.gateway.ledger.balances.balance(1)
        assert balance.spent_nusd == sum(settle.bill.total_nusd for settle in s.settles())
        assert in_flight(s) == [0]
        for client in clients:
            client[1].close()
