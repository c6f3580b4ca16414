"""Who waits for the disk is told when its entry is there, or that it is not; the others pay nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from entrepot.domain.errors import DataError
from entrepot.ledger.journal.segment import segment_path
from entrepot.testing.disk import Disk
from tests.ledger import entry_makers as make
from tests.ledger.journal.test_journal import until
from tests.ledger.journals import journal_in, pairs

DEADLINE_S = 20.0
AN_HOUR_S = 3600.0


async def held(disk: Disk) -> None:
    """Wait until a sync waits in the disk."""
    assert await asyncio.to_thread(disk.waiting.wait, DEADLINE_S)


async def test_a_waiting_entry_is_synced_at_once(tmp_path: Path) -> None:
    """With a group sync once an hour, the wait is as long as a sync."""
    with journal_in(tmp_path, sync_interval_s=AN_HOUR_S) as opened:
        opened.write(make.reserve(1))
        async with asyncio.timeout(DEADLINE_S):
            await opened.journal.durable()
        assert opened.journal.sync_age_s(time.monotonic()) == 0.0


async def test_the_wait_ends_with_a_sync_that_began_behind_the_entry(tmp_path: Path) -> None:
    """The sync that is under way when an entry is written may have missed it: it does not count."""
    disk = Disk()
    with journal_in(tmp_path, sync=disk) as opened:
        until(lambda: opened.journal.sync_age_s(time.monotonic()) == 0.0)
        disk.hold()
        opened.write(make.reserve(1))
        await held(disk)
        opened.write(make.reserve(2))
        waiting = asyncio.ensure_future(opened.journal.durable())
        before = len(disk.synced)
        await asyncio.sleep(0)
        assert not waiting.done()
        disk.release()
        async with asyncio.timeout(DEADLINE_S):
            await waiting
        assert len(disk.synced) >= before + 2


async def test_all_who_wait_at_one_moment_share_a_sync(tmp_path: Path) -> None:
    """Fifty reservations behind a slow sync cost one more, not fifty."""
    disk = Disk()
    with journal_in(tmp_path, 64 * 1024, sync=disk, sync_interval_s=AN_HOUR_S) as opened:
        disk.hold()
        waiting = []
        for number in range(51):
            opened.write(make.reserve(number))
            waiting.append(asyncio.ensure_future(opened.journal.durable()))
            await asyncio.sleep(0)
            if number == 0:
                await held(disk)
        assert not any(future.done() for future in waiting)
        disk.release()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*waiting)
        assert len(disk.synced) == 2


async def test_every_segment_that_was_written_to_is_synced(tmp_path: Path) -> None:
    """Entries may lie on both sides of a roll-over: when the wait ends, each file was synced behind them."""
    disk, rolled_over = Disk(), 0
    with journal_in(tmp_path, sync=disk) as opened:
        for first in range(1, 400, 8):
            before, old = len(disk.synced), opened.journal.position.segment
            opened.write(*pairs(first, first + 7))
            await opened.journal.durable()
            now = opened.journal.position.segment
            for number in range(old, now + 1):
                assert segment_path(tmp_path, number).stat().st_ino in disk.synced[before:]
            rolled_over += now - old
    assert rolled_over > 3


async def test_a_sync_that_fails_is_told_to_all_who_wait_and_to_those_who_come(tmp_path: Path) -> None:
    """After it nobody knows what the disk has, so the fault stays, even when the disk works again."""
    disk = Disk()
    with journal_in(tmp_path, sync=disk) as opened:
        opened.write(make.reserve(1))
        disk.broken = True
        told = await asyncio.gather(*(opened.journal.durable() for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in told] == [DataError] * 3
        assert "cannot be synced: Input/output error" in str(told[0])
        assert opened.journal.fault == str(told[0])
        disk.broken = False
        with pytest.raises(DataError, match="cannot be synced"):
            await opened.journal.durable()
        opened.write(make.settle(1))  # what closes a reservation is still taken


async def test_one_who_gives_up_waiting_disturbs_nobody(tmp_path: Path) -> None:
    """Its client left; the others of the same sync are told all the same."""
    disk = Disk()
    with journal_in(tmp_path, sync=disk) as opened:
        disk.hold()
        opened.write(make.reserve(1))
        leaves, stays = (asyncio.ensure_future(opened.journal.durable()) for _ in range(2))
        await held(disk)
        leaves.cancel()
        disk.release()
        async with asyncio.timeout(DEADLINE_S):
            await stays
        assert leaves.cancelled()


def test_closing_syncs_what_was_written_during_the_last_sync(tmp_path: Path) -> None:
    """The thread may be in the middle of one when the journal is closed."""
    disk = Disk()
    with journal_in(tmp_path, sync=disk) as opened:
        until(lambda: opened.journal.sync_age_s(time.monotonic()) == 0.0)
        disk.hold()
        opened.write(make.reserve(1))
        assert disk.waiting.wait(DEADLINE_S)
        opened.write(make.reserve(2))
        closing = threading.Thread(target=opened.journal.close)
        closing.start()
        disk.release()
        closing.join(DEADLINE_S)
        assert opened.journal.sync_age_s(time.monotonic()) == 0.0


def test_the_age_of_what_is_not_synced_counts_from_its_oldest_entry(tmp_path: Path) -> None:
    """An entry behind an idle hour is not an hour old."""
    disk = Disk()
    with journal_in(tmp_path, sync=disk) as opened:
        until(lambda: opened.journal.sync_age_s(time.monotonic()) == 0.0)
        disk.hold()
        before_s = time.monotonic()
        opened.write(make.reserve(1))
        after_s = time.monotonic()
        assert disk.waiting.wait(DEADLINE_S)
        age_s = opened.journal.sync_age_s(after_s + AN_HOUR_S)
        assert AN_HOUR_S <= age_s <= after_s + AN_HOUR_S - before_s
        disk.release()
