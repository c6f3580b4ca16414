"""The journal loses nothing that was written, cuts what was torn, and never skips damage."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from entrepot.domain.errors import DataError
from entrepot.ledger.entries import Balances, Reserve, Settle, Snapshot, encode
from entrepot.ledger.journal.journal import CLOSING_ROOM_BYTES, recover
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.journal.segment import (
    HEADER_BYTES,
    Position,
    SegmentHeader,
    body_at,
    segment_numbers,
    segment_path,
)
from entrepot.ledger.ledger import Ledger
from tests.ledger import entry_makers as make
from tests.ledger.journals import SEGMENT_BYTES, TestedJournal, journal_in, pairs, read_all

WRITER = Path(__file__).parents[1] / "endless_writer.py"
DEADLINE_S = 20.0


def until(condition: Callable[[], bool]) -> None:
    """Poll until a condition holds."""
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"


def recovered_balances(directory: Path) -> Balances:
    """Return the fold that a start would find."""
    recovered = recover(directory)
    assert recovered is not None
    return recovered.balances


def reserve_until_refused(opened: TestedJournal) -> int:
    """Reserve one request after the other and return the number of the first that cannot be written."""
    for number in range(1, 1_000):
        try:
            opened.write(make.reserve(number))
        except DataError:
            return number
    pytest.fail("a segment of a few kilobytes took a thousand reservations")


def written(directory: Path) -> tuple[bytes, list[int]]:
    """Write a few entries to `directory` and return the segment's bytes and the offset of each record."""
    with journal_in(directory) as opened:
        opened.write(*pairs(1, 2), make.reserve(3), make.settle(3))
    data = segment_path(directory, 1).read_bytes().rstrip(b"\0")
    offsets, offset = [], HEADER_BYTES
    while (body := body_at(data + bytes(8), offset)) is not None:
        offsets.append(offset)
        offset += 8 + len(body)
    assert len(offsets) == 7, "a snapshot and six entries"
    return data, offsets


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    """Recovery folds the journal to the same balances and goes on behind its last entry."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 3), make.reserve(4))
        before, end = opened.balances.snapshot(), opened.journal.position
    with journal_in(tmp_path) as again:
        assert again.balances.snapshot() == before
        assert again.journal.position == end
        again.write(make.settle(4))
    assert recovered_balances(tmp_path).balance(1).spent_nusd == 4 * 600


def test_an_entry_torn_at_any_byte_is_cut_and_nothing_else(tmp_path: Path) -> None:
    """However much of the last entry reached the file, the start finds the entries before it and goes on."""
    data, offsets = written(tmp_path / "whole")
    last = offsets[-1]
    for cut in range(last, len(data)):
        directory = tmp_path / f"cut-{cut}"
        directory.mkdir()
        segment_path(directory, 1).write_bytes(data[:cut] + bytes(SEGMENT_BYTES - cut))
        with journal_in(directory) as opened:
            assert opened.journal.position == Position(1, last)
            assert opened.cut_bytes == len(data[last:cut].rstrip(b"\0"))
            assert len(opened.balances.open) == 1
            opened.write(make.settle(3))
        assert recovered_balances(directory).balance(1).spent_nusd == 3 * 600


def test_a_flipped_byte_before_the_last_entry_is_reported_with_file_and_offset(tmp_path: Path) -> None:
    """Damage in the middle ends the start and the reading; no entry is skipped, nothing is changed."""
    data, offsets = written(tmp_path / "whole")
    directory = tmp_path / "flipped"
    directory.mkdir()
    path = segment_path(directory, 1)
    for place in range(HEADER_BYTES, offsets[-1], 3):
        flipped = data[:place] + bytes((data[place] ^ 0x10,)) + data[place + 1 :] + bytes(100)
        path.write_bytes(flipped)
        record = max(offset for offset in offsets if offset <= place)
        with pytest.raises(DataError, match=rf"{path.name} is damaged at offset {record}\b"):
            recover(directory)
        with pytest.raises(DataError, match=rf"{path.name} is damaged at offset {record}\b"):
            read_all(directory)
        assert path.read_bytes() == flipped


def test_a_damaged_header_is_reported(tmp_path: Path) -> None:
    """A segment that does not say what it is, or says another number, is not read."""
    data, _ = written(tmp_path / "whole")
    path = segment_path(tmp_path / "whole", 1)
    path.write_bytes(b"X" + data[1:])
    with pytest.raises(DataError, match="header at offset 0 is damaged"):
        recover(path.parent)
    path.write_bytes(SegmentHeader(2, 0, 0).to_bytes() + data[HEADER_BYTES:])
    with pytest.raises(DataError, match="says that it is segment 2"):
        read_all(path.parent)


def test_a_lost_page_is_damage_and_not_the_end(tmp_path: Path) -> None:
    """Zeros before whole entries are not free space."""
    data, offsets = written(tmp_path)
    first, second = offsets[2], offsets[3]
    segment_path(tmp_path, 1).write_bytes(data[:first] + bytes(second - first) + data[second:])
    with pytest.raises(DataError, match=f"damaged at offset {first}"):
        recover(tmp_path)


def test_each_segment_opens_with_the_balances_of_all_before_it(tmp_path: Path) -> None:
    """The snapshots equal the fold at their place; recovery from the last one equals the whole fold."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 100), make.reserve(101), make.reserve(102))
        expected = opened.balances.snapshot()
    entries = read_all(tmp_path)
    assert len(segment_numbers(tmp_path)) > 3
    assert sum(isinstance(entry, Snapshot) for entry in entries) == len(segment_numbers(tmp_path))
    whole = Balances()
    assert [conflict for entry in entries if (conflict := whole.apply(entry))] == []
    assert whole.snapshot() == recovered_balances(tmp_path).snapshot() == expected


def test_a_closed_segment_ends_with_its_last_entry_and_counts_on(tmp_path: Path) -> None:
    """No free space is kept behind, and the headers number all records of the journal in one sequence."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 60))
        written = opened.journal.sequence
    sequence = 0
    for number in segment_numbers(tmp_path):
        data = segment_path(tmp_path, number).read_bytes()
        header = SegmentHeader.from_bytes(data, tmp_path)
        assert (header.number, header.first_sequence) == (number, sequence)
        offset = HEADER_BYTES
        while (body := body_at(data, offset)) is not None:
            offset, sequence = offset + 8 + len(body), sequence + 1
        if number != segment_numbers(tmp_path)[-1]:
            assert offset == len(data)
    assert sequence == written == 120 + len(segment_numbers(tmp_path)), "each segment opens with a snapshot"


def test_a_segment_whose_content_never_reached_the_disk_is_given_up(tmp_path: Path) -> None:
    """After a power cut behind a roll-over, the segment before has everything that was kept."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 2))
        end = opened.journal.position
    segment_path(tmp_path, 2).write_bytes(bytes(SEGMENT_BYTES))
    recovered = recover(tmp_path)
    assert recovered is not None
    assert recovered.end == end
    assert segment_numbers(tmp_path) == [1]


def test_a_missing_segment_is_reported(tmp_path: Path) -> None:
    """A gap between segments is lost money, so it is named."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 100))
    segment_path(tmp_path, 2).unlink()
    with pytest.raises(DataError, match=r"00000002.seg is missing"):
        recover(tmp_path)


def test_a_torn_write_is_told_and_can_be_repeated(tmp_path: Path) -> None:
    """When the system takes a part of an entry and then refuses, the entry counts as not written."""
    with journal_in(tmp_path, 4 * SEGMENT_BYTES) as opened:
        opened.write(*pairs(1, 3))
        position = opened.journal.position
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        until((tmp_path / "prepared.tmp").exists)
        resource.setrlimit(resource.RLIMIT_FSIZE, (position.offset + 20, limits[1]))
        try:
            with pytest.raises(DataError, match="cannot be written: File too large"):
                opened.journal.append(encode(make.reserve(4)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert opened.journal.position == position
        opened.write(make.reserve(4))
        expected = opened.balances.snapshot()
    assert recovered_balances(tmp_path).snapshot() == expected


def test_without_a_next_segment_every_open_reservation_can_still_be_closed(tmp_path: Path) -> None:
    """Room is kept: what needs a new segment is refused, what closes a reservation is written."""
    directory = tmp_path / "journal"
    opened = TestedJournal(directory)
    until(lambda: opened.journal.sync_age_s(time.monotonic()) == 0.0)
    away = directory.rename(tmp_path / "away")  # from here on no file can be made in it
    number = reserve_until_refused(opened)
    assert 1 < number < SEGMENT_BYTES / CLOSING_ROOM_BYTES
    for reserve in tuple(opened.balances.open.values()):
        opened.journal.append(encode(settle := make.settle(int.from_bytes(reserve.request_id[-2:], "big"))))
        assert opened.balances.apply(settle) is None
    away.rename(directory)
    opened.write(make.reserve(number))
    opened.journal.close()
    assert recovered_balances(directory).snapshot() == opened.balances.snapshot()
    assert opened.balances.balance(1).spent_nusd == (number - 1) * 600


def test_the_group_sync_reaches_all_that_was_written(tmp_path: Path) -> None:
    """Some time after the last entry nothing waits for the disk, over roll-overs too."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 60))
        until(lambda: opened.journal.sync_age_s(time.monotonic()) == 0.0)
        assert opened.journal.fault is None


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    """Whoever cleans up need not know whether it was done; no prepared file is left."""
    with journal_in(tmp_path) as opened:
        opened.journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["00000001.seg"]


@pytest.mark.parametrize("segment_bytes", [SEGMENT_BYTES, 1024 * 1024])
def test_a_killed_writer_loses_nothing_that_was_written(tmp_path: Path, segment_bytes: int) -> None:
    """SIGKILL at any moment: each entry that was acknowledged is in the journal."""
    arguments = [sys.executable, str(WRITER), str(tmp_path), "1000000", str(segment_bytes)]
    root = WRITER.parents[2]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, cwd=root, env={"PYTHONPATH": str(root)}
    ) as writer:
        assert writer.stdout is not None
        seen = [writer.stdout.readline() for _ in range(700)]
        writer.kill()
        seen += writer.stdout.readlines()
    acknowledged = [line.split() for line in seen if line.endswith(b"\n")]
    entries = [entry for entry in read_all(tmp_path / "journal") if not isinstance(entry, Snapshot)]
    names = [type(entry).__name__.lower() for entry in entries]
    assert names[: len(acknowledged)] == [kind.decode() for _, kind in acknowledged]
    assert len(names) <= len(acknowledged) + 1
    settled = names.count("settle")
    balance = recovered_balances(tmp_path / "journal").balance(1)
    assert (balance.spent_nusd, balance.reserved_nusd) == (settled * 600, (len(names) - 2 * settled) * 1_000)


def test_segments_made_ahead_never_become_the_one_that_is_written(tmp_path: Path) -> None:
    """A thread makes the next segment while this one rolls over, as often as threads can be switched."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        ledger = Ledger.open(tmp_path, make.AT_NS, segment_bytes=4096, sync_interval_s=0.0)
        for number in range(1, 15_001):
            ledger.reserve(make.reserve(number))
            ledger.settle(make.settle(number))
        ledger.close()
    finally:
        sys.setswitchinterval(interval_s)
    with JournalReader(tmp_path / "journal") as reader:
        kinds = [type(entry) for _, entry in reader.entries()]
    assert kinds.count(Reserve) == kinds.count(Settle) == 15_000
