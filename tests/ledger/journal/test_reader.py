"""A reader beside the writer sees each whole entry once, in order, and finds requests quickly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from entrepot.domain.errors import DataError
from entrepot.ledger.entries import Entry, Reserve, Settle, Snapshot
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.journal.segment import HEADER_BYTES, Position, segment_numbers, segment_path
from tests.ledger import entry_makers as make
from tests.ledger.journal.test_journal import WRITER, until
from tests.ledger.journals import SEGMENT_BYTES, journal_in, pairs, read_all

HOUR_NS = 3_600_000_000_000


def without_snapshots(entries: list[Entry]) -> list[Entry]:
    """Return what was written by callers."""
    return [entry for entry in entries if not isinstance(entry, Snapshot)]


def test_there_is_nothing_to_read_before_there_is_a_journal(tmp_path: Path) -> None:
    """A reader may be started before the gateway; it begins when the journal does."""
    with JournalReader(tmp_path / "journal") as reader:
        assert list(reader.entries()) == []
        assert reader.position is None
        with journal_in(tmp_path / "journal") as opened:
            opened.write(make.reserve())
            assert without_snapshots([entry for _, entry in reader.entries()]) == [make.reserve()]


def test_a_reader_follows_growth_and_roll_over(tmp_path: Path) -> None:
    """Each call gives what was written since the last one, once, over the ends of segments."""
    expected = list(pairs(1, 90))
    with journal_in(tmp_path) as opened, JournalReader(tmp_path) as reader:
        seen = []
        for start in range(0, len(expected), 7):
            opened.write(*expected[start : start + 7])
            seen += [entry for _, entry in reader.entries()]
            assert reader.position == opened.journal.position
        assert len(segment_numbers(tmp_path)) > 2
    assert without_snapshots(seen) == expected


def test_reading_goes_on_from_any_position(tmp_path: Path) -> None:
    """The position at which an entry begins gives this entry and all behind it."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 60))
    with JournalReader(tmp_path) as reader:
        everything = list(reader.entries())
        end = reader.position
    for index in range(0, len(everything), 11):
        with JournalReader(tmp_path, everything[index][0]) as reader:
            assert list(reader.entries()) == everything[index:]
            assert reader.position == end


def test_a_consumer_that_stops_in_the_middle_goes_on_there(tmp_path: Path) -> None:
    """The position of the reader is behind the last entry that it gave, not behind what it has read."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 2))
    with JournalReader(tmp_path) as reader:
        stream = reader.entries()
        first, second = next(stream), next(stream)
        stream.close()
        assert isinstance(first[1], Snapshot)
        assert second[1] == make.reserve(1)
        assert next(reader.entries())[1] == make.settle(1)


def test_an_entry_longer_than_a_read_is_read(tmp_path: Path) -> None:
    """A snapshot of thousands of open reservations is one entry."""
    with journal_in(tmp_path, 4 * 1024 * 1024) as opened:
        opened.write(*(make.reserve(number) for number in range(6_000)))
        big = opened.balances.snapshot()
        opened.write(big)
        opened.write(make.settle(1))
    entries = read_all(tmp_path)
    assert entries[-2:] == [big, make.settle(1)]


def test_a_closed_segment_with_a_part_of_an_entry_is_damaged(tmp_path: Path) -> None:
    """Only the last segment may end in the middle of an entry."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 60))
    path = segment_path(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"00000001.seg is damaged at offset \d+: a closed segment ends"):
        read_all(tmp_path)


def test_an_unfinished_entry_at_the_end_is_not_there_yet(tmp_path: Path) -> None:
    """What the writer is in the middle of is neither read nor called damage."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 1))
        end = opened.journal.position.offset
        whole = segment_path(tmp_path, 1).read_bytes()
        opened.write(make.reserve(2))
        after = segment_path(tmp_path, 1).read_bytes()
        record_end = opened.journal.position.offset
    with JournalReader(tmp_path, Position(1, end)) as reader:
        for cut in range(end, record_end):
            segment_path(tmp_path, 1).write_bytes(after[:cut] + whole[cut:])
            assert list(reader.entries()) == []
        segment_path(tmp_path, 1).write_bytes(after)
        assert [entry for _, entry in reader.entries()] == [make.reserve(2)]


def test_a_position_in_a_deleted_segment_is_refused(tmp_path: Path) -> None:
    """A poster that fell behind the retention learns that entries are missing."""
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 60))
    segment_path(tmp_path, 1).unlink()
    with (
        JournalReader(tmp_path, Position(1, HEADER_BYTES)) as reader,
        pytest.raises(DataError, match="is gone"),
    ):
        list(reader.entries())
    assert isinstance(read_all(tmp_path)[0], Snapshot)


def test_a_reader_beside_a_running_writer_sees_every_entry_in_order(tmp_path: Path) -> None:
    """The reader polls while another process writes as fast as it can, over many segments."""
    requests, root = 3_000, WRITER.parents[2]
    arguments = [sys.executable, str(WRITER), str(tmp_path), str(requests), str(4 * SEGMENT_BYTES)]
    seen: list[Entry] = []
    with (
        subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, cwd=root, env={"PYTHONPATH": str(root)}
        ) as writer,
        JournalReader(tmp_path / "journal") as reader,
    ):

        def finished() -> bool:
            done = writer.poll() is not None
            seen.extend(entry for _, entry in reader.entries())
            return done

        until(finished)
    assert writer.returncode == 0
    expected: list[Entry] = []
    for number in range(1, requests + 1):
        expected += [make.reserve(number), make.settle(number)][: 2 if number % 5 else 1]
    assert without_snapshots(seen) == expected


def test_a_request_is_found_with_all_its_entries(tmp_path: Path) -> None:
    """Reservation, settlement and correction of each attempt come in their order, over segments."""
    with journal_in(tmp_path) as opened:
        opened.write(make.reserve(500), *pairs(1, 40), make.settle(500), *pairs(41, 80))
        opened.write(make.reserve(500, attempt=2), make.void(500, attempt=2), make.correct(500))
    reader = JournalReader(tmp_path)
    assert [type(entry).__name__ for entry in reader.find(make.request_id(500))] == [
        *("Reserve", "Settle", "Reserve", "Void", "Correct"),
    ]
    assert reader.find(make.request_id(7)) == [make.reserve(7), make.settle(7)]
    assert reader.find(make.request_id(9_999)) == []


@pytest.mark.parametrize("clock_ns", [make.AT_NS + HOUR_NS, make.AT_NS - HOUR_NS])
def test_a_request_is_found_when_the_clock_was_set(tmp_path: Path, clock_ns: int) -> None:
    """The instant in an id says where to look first; a clock that stepped costs time, not the answer."""
    late = make.request_id(1, clock_ns)
    with journal_in(tmp_path) as opened:
        opened.write(*pairs(1, 60))
        opened.now_ns = clock_ns
        opened.write(*pairs(61, 120))
        opened.write(msgspec.structs.replace(make.reserve(121), request_id=late))
    reader = JournalReader(tmp_path)
    for wanted in (make.request_id(3), make.request_id(70), late):
        assert [entry.request_id for entry in reader.find(wanted) if isinstance(entry, Reserve)] == [wanted]


def test_the_hosts_own_answer_id_is_found_newest_first_and_by_key(tmp_path: Path) -> None:
    """Hosts repeat ids; the newest answer counts, and a key sees only its own."""

    def named(number: int, key_id: int) -> list[Entry]:
        settle = msgspec.structs.replace(make.settle(number, key_id=key_id), answer_id=b"cmpl-1")
        return [make.reserve(number, key_id=key_id), settle]

    with journal_in(tmp_path) as opened:
        opened.write(*named(900, 1), *pairs(1, 60), *named(901, 2), *pairs(61, 70))
    reader = JournalReader(tmp_path)

    def found(answer_id: bytes, key_id: int | None = None) -> bytes | None:
        settle = reader.find_answer_id(answer_id, key_id=key_id)
        assert settle is None or isinstance(settle, Settle)
        return None if settle is None else settle.request_id

    assert found(b"cmpl-1") == make.request_id(901)
    assert found(b"cmpl-1", 1) == make.request_id(900)
    assert found(b"cmpl-1", 3) is None
    assert found(b"cmpl-") is None
    assert found(b"") is None
    assert found(b"chatcmpl-65") == make.request_id(65)


def test_the_zeros_of_a_preallocated_segment_are_not_searched(tmp_path: Path) -> None:
    """Ids of zeros, which anybody may ask for, are looked up as fast as others; before, each took minutes."""
    with journal_in(tmp_path, segment_bytes=64 * 1024 * 1024) as opened:
        opened.write(*pairs(1, 200))
        reader = JournalReader(tmp_path)
        assert reader.find(bytes(16)) == []
        assert reader.find_answer_id(b"\0") is None
        assert reader.find(make.request_id(200)) == [make.reserve(200), make.settle(200)]
