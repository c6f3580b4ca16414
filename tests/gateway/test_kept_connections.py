"""Connections to hosts are used again, and never with anything left over from the request before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from entrepot.testing.scripted_host import (
    STREAM_END,
    STREAM_HEAD,
    Act,
    chunk,
    completion,
    delta,
    plain,
    sse,
    stream,
    usage_chunk,
)
from tests.gateway.scene import Scene, chat, scene, until

GOOD = (delta("Hi"), delta(finish_reason="stop"), usage_chunk(10, 5))
REPLY = plain(completion("Hi"))


async def ask(s: Scene, *, streamed: bool = False) -> int:
    """Make a call and return its status."""
    answer = await s.here.post(chat(stream=streamed))
    return answer.status


def idle(s: Scene) -> int:
    """Return how many connections to host a are kept."""
    return s.here.gateway.pools["a"].open_connections


async def test_a_connection_is_used_again(tmp_path: Path) -> None:
    """Plain and streamed replies, and errors that are whole, keep it."""
    async with scene(tmp_path, hosts=1) as s:
        for reply in (REPLY, stream(*GOOD), plain({"error": {}}, status=500), REPLY):
            s.a.script(reply)
        assert [await ask(s), await ask(s, streamed=True), await ask(s), await ask(s)] == [200, 200, 502, 200]
        assert s.a.connections == 1


async def test_requests_at_the_same_time_have_connections_of_their_own(tmp_path: Path) -> None:
    """HTTP/1.1 answers one after the other; nobody waits for somebody else's long answer."""
    go_on = asyncio.Event()
    async with scene(tmp_path, hosts=1) as s:
        for _ in range(5):
            s.a.script(go_on, REPLY)
        calls = [asyncio.create_task(ask(s)) for _ in range(5)]
        await until(lambda: len(s.a.received) == 5)
        go_on.set()
        assert [await call for call in calls] == [200] * 5
        assert s.a.connections == 5
        s.a.script(REPLY)
        assert await ask(s) == 200
        assert s.a.connections == 5


async def test_a_connection_that_was_closed_meanwhile_is_not_used(tmp_path: Path) -> None:
    """When the close is seen before the next request, there is no wasted attempt."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(REPLY, "close")
        assert await ask(s) == 200
        await until(lambda: idle(s) == 0)
        s.a.script(REPLY)
        assert await ask(s) == 200
        assert await s.ended() == ["a settle OK"] * 2


@pytest.mark.parametrize("ending", ["close", "abort"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_request_that_crosses_the_close_is_sent_again_on_a_fresh_connection(
    tmp_path: Path, ending: str, *, streamed: bool
) -> None:
    """To the same endpoint, as an attempt of its own; what became of the first one nobody knows."""
    async with scene(tmp_path) as s:
        s.a.script(REPLY)
        assert await ask(s) == 200
        s.a.script(ending)
        s.a.script(stream(*GOOD) if streamed else REPLY)
        assert await ask(s, streamed=streamed) == 200
        assert await s.ended() == ["a settle OK", "a expire FAILED NO_REPORT", "a settle OK"]
        assert s.a.connections == 2
        assert s.b.received == []


async def test_a_fresh_connection_that_closes_is_a_failure_of_the_endpoint(tmp_path: Path) -> None:
    """There is one more try and not an endless row of them."""
    async with scene(tmp_path) as s:
        s.a.script(REPLY)
        assert await ask(s) == 200
        s.a.script("close")
        s.a.script("close")
        s.b.script(REPLY)
        assert await ask(s) == 200
        unknown = "a expire FAILED NO_REPORT"
        assert await s.ended() == ["a settle OK", unknown, unknown, "b settle OK"]


@pytest.mark.parametrize(
    "acts",
    [
        (b"HTTP/1.1 200 OK\r\ncontent-le", "close"),
        (b"garbage\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "close"),
    ],
)
async def test_only_a_connection_that_said_nothing_is_taken_for_stale(
    tmp_path: Path, acts: Sequence[Act]
) -> None:
    """A host that began to answer has read the request: the next endpoint is asked, not the same."""
    async with scene(tmp_path) as s:
        s.a.script(REPLY)
        assert await ask(s) == 200
        s.a.script(*acts)
        s.b.script(REPLY)
        assert await ask(s) == 200
        assert await s.ended() == ["a settle OK", "a expire FAILED NO_REPORT", "b settle OK"]


async def test_a_timeout_on_a_kept_connection_is_not_taken_for_stale(tmp_path: Path) -> None:
    """The host is slow, not gone: the same one would only be slow again."""
    async with scene(tmp_path, first_byte_timeout_s=0.2) as s:
        s.a.script(REPLY)
        assert await ask(s) == 200
        s.a.script("wait for close")
        s.b.script(REPLY)
        assert await ask(s) == 200
        assert await s.ended() == ["a settle OK", "a expire TIMED_OUT NO_REPORT", "b settle OK"]


LEFTOVERS: dict[str, tuple[bytes, ...]] = {
    "a second reply in the same packet": (REPLY + plain(completion("of somebody else")),),
    "a second head in the same packet": (REPLY + b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n",),
    "garbage in the same packet": (REPLY + b"\x00\x01\x02",),
    "the beginning of a reply in the same packet": (REPLY + b"HTTP/1.1 2",),
    "a second reply later": (REPLY, plain(completion("of somebody else"))),
    "more of a stream behind its end": (stream(*GOOD) + chunk(sse(delta("of somebody else"))),),
}


@pytest.mark.parametrize("what", LEFTOVERS)
async def test_what_a_host_sends_behind_its_reply_reaches_nobody(tmp_path: Path, what: str) -> None:
    """The answer counts, the rest is dropped with its connection: the next request cannot get it."""
    streamed = "stream" in what
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(*LEFTOVERS[what], "wait for close")
        first = await s.here.post(chat(stream=streamed))
        assert first.status == 200
        assert b"somebody else" not in first.body
        await until(lambda: idle(s) == 0)
        s.a.script(plain(completion("mine")))
        assert (await s.here.post(chat())).json == completion("mine")
        assert await s.ended() == ["a settle OK"] * 2


@pytest.mark.parametrize(
    "reply",
    [
        REPLY.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1),
        REPLY.replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    ],
)
async def test_a_host_that_wants_to_close_is_let(tmp_path: Path, reply: bytes) -> None:
    """Its connection is not kept."""
    async with scene(tmp_path, hosts=1) as s:
        for _ in range(2):
            s.a.script(reply, "close")
            assert await ask(s) == 200
        assert s.a.connections == 2


async def test_a_connection_that_was_cut_is_not_kept(tmp_path: Path) -> None:
    """After a cancelled stream the rest of it would still come."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(STREAM_HEAD + chunk(sse(delta("Hi"))), "wait for close")
        reader, writer = await s.here.open()
        writer.write(s.here.request(chat(stream=True)))
        await reader.readuntil(b"Hi")
        writer.close()
        await until(lambda: s.a.closed_by_client == 1)
        s.a.script(REPLY)
        assert await ask(s) == 200
        assert s.a.connections == 2
        assert await s.ended() == ["a settle CANCELLED estimated", "a settle OK"]


async def test_interim_replies_are_passed_over(tmp_path: Path) -> None:
    """100 and 103 come before the reply and are none."""
    early = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(b"HTTP/1.1 100 Continue\r\n\r\n", early + early + REPLY)
        answer = await s.here.post(chat())
        assert answer.json == completion("Hi")
        assert "link" not in answer.headers


async def test_a_keep_alive_time_of_the_host_is_kept_to(tmp_path: Path) -> None:
    """A host that says it closes after a second is not sent a request at that moment."""
    async with scene(tmp_path, hosts=1) as s:
        kept = REPLY.replace(b"\r\n\r\n", b"\r\nkeep-alive: timeout=1\r\n\r\n", 1)
        s.a.script(kept)
        assert await ask(s) == 200
        await until(lambda: idle(s) == 0, "the connection is kept for too long")


async def test_a_stream_that_ends_with_its_connection_is_whole(tmp_path: Path) -> None:
    """HTTP/1.0 hosts have neither a length nor chunks."""
    head = b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    async with scene(tmp_path, hosts=1) as s:
        s.a.script(head + sse(delta("Hi")), sse(delta(finish_reason="stop"), "[DONE]"), "close")
        answer = await s.here.post(chat(stream=True))
        assert answer.body == sse(delta("Hi"), delta(finish_reason="stop"), "[DONE]")
        s.a.script(STREAM_HEAD + chunk(sse(*GOOD, "[DONE]")) + STREAM_END)
        assert await ask(s, streamed=True) == 200
        assert s.a.connections == 2
