"""The disk and a request: strict mode sends nothing before it is safe, a full disk loses no closing."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from entrepot.catalog.settings import LedgerSettings
from entrepot.testing.disk import Disk
from entrepot.testing.scripted_host import (
    STREAM_END,
    STREAM_HEAD,
    chunk,
    completion,
    delta,
    plain,
    sse,
    stream,
    usage_chunk,
)
from tests.gateway.scene import Scene, chat, scene, until

STRICT = LedgerSettings(strict=True)


@contextmanager
def full_disk(s: Scene) -> Iterator[None]:
    """Let nothing be written behind the end of the journal."""
    offset = s.here.gateway.ledger.journal.position.offset
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (offset, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("streamed", [True, False])
async def test_strict_nothing_is_sent_before_the_reservation_is_on_the_disk(
    tmp_path: Path, *, streamed: bool
) -> None:
    """While the disk works on the sync the host hears nothing; then it does."""
    disk = Disk()
    async with scene(tmp_path, hosts=1, ledger=STRICT, sync=disk) as s:
        finished = delta("Hi", finish_reason="stop")
        s.a.script(stream(finished, usage_chunk(3, 1)) if streamed else plain(completion("Hi")))
        disk.hold()
        call = asyncio.ensure_future(s.here.post(chat(stream=streamed)))
        await until(s.reserves, "the reservation is written")
        assert await asyncio.to_thread(disk.waiting.wait, 10)
        assert s.a.connections == 0
        before = len(disk.synced)
        disk.release()
        assert (await call).status == 200
        assert len(disk.synced) > before
        assert await s.ended() == ["a settle OK"]


async def test_strict_a_disk_that_does_not_keep_the_reservation_refuses_the_request(tmp_path: Path) -> None:
    """503 and nothing sent; the reservation is void, and the next one is refused before it is made."""
    disk = Disk()
    async with scene(tmp_path, ledger=STRICT, sync=disk) as s:
        await until(lambda: not s.here.gateway.ledger.journal.sync_age_s(monotonic()), "all is synced")
        disk.broken = True
        for _ in range(2):
            answer = await s.here.post(chat())
            assert answer.status == 503
            assert b"cannot be synced: Input/output error" in answer.body
            assert b"journal_unavailable" in answer.body
        assert (s.a.connections, s.b.connections) == (0, 0)
        assert await s.ended() == ["a void CANCELLED NOT_SENT"]


async def test_strict_every_attempt_waits_for_its_own_reservation(tmp_path: Path) -> None:
    """A second host is sent nothing that only the first one's reservation covers."""
    disk = Disk()
    async with scene(tmp_path, ledger=STRICT, sync=disk) as s:
        fail = asyncio.Event()
        s.a.script(fail, "close")
        s.b.script(plain(completion("Hi")))
        call = asyncio.ensure_future(s.here.post(chat()))
        await until(lambda: s.a.received, "the first host is asked")
        disk.hold()
        fail.set()
        await until(lambda: len(s.reserves()) == 2, "the second attempt is reserved")
        assert await asyncio.to_thread(disk.waiting.wait, 10)
        assert s.b.connections == 0
        disk.release()
        assert (await call).status == 200
        assert len(await s.ended()) == 2


async def test_otherwise_no_request_waits_for_the_disk(tmp_path: Path) -> None:
    """A sync that takes for ever holds nobody up."""
    disk = Disk()
    async with scene(tmp_path, hosts=1, sync=disk) as s:
        s.a.script(plain(completion("Hi")))
        disk.hold()
        assert (await s.here.post(chat())).status == 200
        assert await s.ended() == ["a settle OK"]
        disk.release()


async def test_a_closing_that_cannot_be_written_waits_until_it_can(tmp_path: Path) -> None:
    """The client has its answer, the money stays reserved, and is settled when there is space again."""
    go_on = asyncio.Event()
    async with scene(tmp_path, hosts=1, budget_nusd=10**9) as s:
        s.a.script(
            STREAM_HEAD + chunk(sse(delta("Hel"))),
            go_on,
            chunk(sse(delta("lo", finish_reason="stop"), usage_chunk(3, 2), "[DONE]")) + STREAM_END,
        )
        call = asyncio.ensure_future(s.here.post(chat(stream=True)))
        await until(lambda: s.a.received, "the host is asked")
        with full_disk(s):
            refused = await s.here.post(chat())
            assert refused.status == 503
            assert b"cannot be written: File too large; free some space" in refused.body
            go_on.set()
            answer = await call
            assert answer.status == 200
            assert b"[DONE]" in answer.body
            ledger = s.here.gateway.ledger
            assert ledger.open_reservations == 1
            assert ledger.balances.balance(1).reserved_nusd == s.reserves()[0].amount_nusd
            assert s.settles() == []
        assert await s.ended() == ["a settle OK"]
        assert "booked_late" in s.here.log.getvalue()
        s.a.script(plain(completion("Hi")))
        assert (await s.here.post(chat())).status == 200


async def test_a_gateway_that_ends_writes_the_closings_that_wait(tmp_path: Path) -> None:
    """That is their last chance: what cannot be written then is *unknown* at the next start."""
    async with scene(tmp_path, hosts=1) as s:
        s.a.script("wait for close")
        call = asyncio.ensure_future(s.here.post(chat()))
        await until(lambda: s.a.received, "the host is asked")
        with full_disk(s):
            call.cancel()
            await until(lambda: "cannot be written" in s.here.log.getvalue(), "the closing fails")
        assert s.here.gateway.ledger.open_reservations == 1
        await s.here.gateway.drain(0.0)
        assert s.here.gateway.ledger.open_reservations == 0
