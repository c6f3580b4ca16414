"""Closed segments are sealed once they are posted, let go when they are old, and a changed one is found."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from entrepot.domain.errors import DataError
from entrepot.domain.money import usd_text
from entrepot.ledger.audit.audit import audit
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Balances
from entrepot.ledger.journal import archive as archive_module
from entrepot.ledger.journal.archive import (
    TIDY_S,
    Archivist,
    Retention,
    archived_path,
    keeping_segments,
    let_go,
    read_seal,
    seal_closed,
    verify,
)
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.journal.segment import Position, seal_path, segment_numbers, segment_path
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.store.poster import Poster, run
from entrepot.ledger.store.store import Store
from tests.ledger import entry_makers as make
from tests.ledger.journals import journal_in, pairs
from tests.ledger.traffic import START_NS, write_requests

DAY_NS = 86_400 * 10**9
LATER_NS = START_NS + 1000 * DAY_NS


def filled(journal: Path) -> Position:
    """Write five segments or more, an hour apart each, and return where they end."""
    with journal_in(journal) as opened:
        for first in range(1, 200, 10):
            opened.now_ns += 3600 * 10**9
            opened.write(*pairs(first, first + 9))
        end = opened.journal.position
    assert end.segment >= 5
    return end


@pytest.fixture
def posted(tmp_path: Path) -> Path:
    """A data directory with many small segments, all posted."""
    write_requests(tmp_path, 300, segment_bytes=16 * 1024)
    run(tmp_path, follow=False)
    return tmp_path


def sealed(journal: Path) -> list[int]:
    """Return the numbers of the seals."""
    return sorted(int(path.stem) for path in journal.glob("*.seal"))


def test_a_seal_says_what_its_segment_is_and_adds_up_to(tmp_path: Path) -> None:
    """Its counts go on from the one before, and its sums are those of all entries up to its end."""
    end = filled(tmp_path)
    seals = seal_closed(tmp_path, end)
    assert [seal.number for seal in seals] == sealed(tmp_path) == list(range(1, end.segment))
    assert [read_seal(tmp_path, seal.number) for seal in seals] == seals
    sequence, counted, balances, at = 0, 0, Balances(), 1
    with JournalReader(tmp_path) as reader:
        for position, entry in reader.entries():
            if position.segment > at:
                seal = seals[at - 1]
                assert (seal.first_sequence, seal.records) == (sequence, counted)
                assert seal.spent_usd == usd_text(balances.balance(1).spent_nusd)
                assert seal.size_bytes == segment_path(tmp_path, at).stat().st_size
                assert seal.opened_ns < seal.closed_ns
                sequence, counted, at = sequence + counted, 0, position.segment
            counted += 1
            assert balances.apply(entry) is None
    assert at == end.segment
    assert len({seal.digest for seal in seals}) == len({seal.balances_digest for seal in seals}) == len(seals)


def test_only_what_is_closed_and_wholly_posted_is_sealed_and_only_once(tmp_path: Path) -> None:
    """Neither the segment that is written nor one that the store has in part; a second call does nothing."""
    end = filled(tmp_path)
    assert seal_closed(tmp_path, Position(1, 10**9)) == []
    assert [seal.number for seal in seal_closed(tmp_path, Position(3, 100))] == [1, 2]
    before = seal_path(tmp_path, 1).stat().st_mtime_ns
    assert [seal.number for seal in seal_closed(tmp_path, end)] == list(range(3, end.segment))
    assert seal_closed(tmp_path, end) == []
    assert seal_path(tmp_path, 1).stat().st_mtime_ns == before
    assert seal_path(tmp_path, 1).stat().st_mode & 0o777 == 0o600


def test_the_space_behind_a_segment_that_was_not_cut_is_not_sealed(tmp_path: Path) -> None:
    """A gateway killed in the middle of a roll-over leaves its zeros; the seal is the same."""
    end = filled(tmp_path)
    seal_closed(tmp_path, end)
    before = read_seal(tmp_path, 2)
    seal_path(tmp_path, 2).unlink()
    with segment_path(tmp_path, 2).open("ab") as file:
        file.write(bytes(1000))
    assert seal_closed(tmp_path, end) == [before]
    assert [found for found in verify(tmp_path, None) if found.problem] == []


def test_a_damaged_segment_gets_no_seal(tmp_path: Path) -> None:
    """A seal would say that it was written so."""
    end = filled(tmp_path)
    path = segment_path(tmp_path, 2)
    data = path.read_bytes()
    for spoiled in (data[:-1], data[:200] + b"\xff" + data[201:]):
        path.write_bytes(spoiled)
        with pytest.raises(DataError, match=r"00000002.seg is damaged at offset \d+"):
            seal_closed(tmp_path, end)
        assert sealed(tmp_path) == [1]


def test_old_segments_go_to_the_archive_and_their_seals_stay(tmp_path: Path) -> None:
    """Byte for byte, but for the compression; without an archive they are deleted."""
    end = filled(tmp_path)
    seal_closed(tmp_path, end)
    first = segment_path(tmp_path, 1).read_bytes()
    archive = tmp_path / "old" / "segments"
    kept = [end.segment - 1, end.segment]
    gone = let_go(tmp_path, end, LATER_NS, Retention(1.0, archive))
    assert gone == list(range(1, end.segment - 1))
    assert segment_numbers(tmp_path) == kept
    assert gzip.decompress(archived_path(archive, 1).read_bytes()) == first
    assert archived_path(archive, 1).stat().st_mode & 0o777 == 0o600
    assert sealed(tmp_path) == list(range(1, end.segment))
    checked = verify(tmp_path, archive)
    assert [found.problem for found in checked] == [None] * (end.segment - 1)
    assert checked[0].file == archived_path(archive, 1)
    assert [found.file for found in verify(tmp_path, None)][: len(gone)] == [None] * len(gone)
    for file in archive.iterdir():
        file.unlink()
    with journal_in(tmp_path) as opened:
        opened.now_ns += 10**15
        opened.write(*pairs(500, 600))
        end = opened.journal.position
    seal_closed(tmp_path, end)
    assert let_go(tmp_path, end, LATER_NS, Retention(1.0)) == list(range(kept[0], end.segment - 1))
    assert list(archive.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "keep_days", "posted_segment", "gone"),
    [
        ("nothing is old enough", 2000.0, 99, []),
        ("keep for ever", 0.0, 99, []),
        ("the store has only the first, and may lose the second in a power cut", 1.0, 3, [1]),
        ("nothing is posted", 1.0, 1, []),
    ],
)
def test_what_must_stay_stays(
    tmp_path: Path, what: str, keep_days: float, posted_segment: int, gone: list[int]
) -> None:
    """One row per reason."""
    end = filled(tmp_path)
    seal_closed(tmp_path, end)
    position = Position(min(posted_segment, end.segment), 100)
    assert let_go(tmp_path, position, LATER_NS, Retention(keep_days)) == gone, what


def test_only_segments_whose_newest_entry_is_old_go(tmp_path: Path) -> None:
    """The next segment's opening says when the last entry can have been written."""
    end = filled(tmp_path)
    seals = seal_closed(tmp_path, end)
    now_ns = seals[1].closed_ns + DAY_NS
    assert let_go(tmp_path, end, now_ns, Retention(1.0)) == [1]
    assert let_go(tmp_path, end, now_ns + 1, Retention(1.0)) == [2]


def test_an_unsealed_segment_and_all_behind_it_stay(tmp_path: Path) -> None:
    """Without a seal nobody could check what is archived."""
    end = filled(tmp_path)
    seal_closed(tmp_path, end)
    seal_path(tmp_path, 2).unlink()
    assert let_go(tmp_path, end, LATER_NS, Retention(1.0)) == [1]


def test_a_segment_that_changed_since_it_was_sealed_is_not_archived(tmp_path: Path) -> None:
    """The archive would be wrong, and the only other copy gone."""
    end = filled(tmp_path)
    seal_closed(tmp_path, end)
    path = segment_path(tmp_path, 1)
    data = path.read_bytes()
    path.write_bytes(data[:300] + bytes((data[300] ^ 1,)) + data[301:])
    with pytest.raises(DataError, match=r"00000001.seg is damaged at offset \d+: it is not what its seal"):
        let_go(tmp_path, end, LATER_NS, Retention(1.0, tmp_path / "old"))
    assert path.exists()
    assert not list(tmp_path.glob("old/*.gz"))


def test_a_kill_in_the_middle_of_archiving_leaves_a_file_more_and_the_next_run_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segment is deleted only when its archived copy was read back from where it will stay."""
    end = filled(tmp_path)
    seal_closed(tmp_path, end)

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archive_module, "sync_directory", killed)
        with pytest.raises(KeyboardInterrupt):
            let_go(tmp_path, end, LATER_NS, Retention(1.0, tmp_path / "old"))
    assert archived_path(tmp_path / "old", 1).exists()
    assert segment_path(tmp_path, 1).exists()
    assert [found.problem for found in verify(tmp_path, tmp_path / "old")] == [None] * end.segment
    assert let_go(tmp_path, end, LATER_NS, Retention(1.0, tmp_path / "old"))[0] == 1
    assert not segment_path(tmp_path, 1).exists()


def test_verify_names_the_file_that_differs_and_where(tmp_path: Path) -> None:
    """Damaged, or made of whole records that are others: in the journal and in the archive."""
    end = filled(tmp_path)
    seal_closed(tmp_path, end)
    archive = tmp_path / "old"
    let_go(tmp_path, Position(3, 100), LATER_NS, Retention(1.0, archive))
    packed, path = archived_path(archive, 1), segment_path(tmp_path, 3)
    whole, data = packed.read_bytes(), path.read_bytes()

    def problems() -> list[tuple[Path | None, str]]:
        return [(found.file, found.problem) for found in verify(tmp_path, archive) if found.problem]

    assert problems() == []
    packed.write_bytes(whole[: len(whole) // 2])
    path.write_bytes(data[:500] + bytes((data[500] ^ 1,)) + data[501:])
    (first, first_problem), (second, second_problem) = problems()
    assert (first, second) == (packed, path)
    assert first_problem.startswith("cannot be read: ")
    assert "differs from its seal: it is damaged at offset" in second_problem
    packed.write_bytes(whole)
    path.write_bytes(data)
    with journal_in(tmp_path / "other") as opened:
        opened.write(*pairs(1, 3))
    other = segment_path(tmp_path / "other", 1).read_bytes()
    segment_path(tmp_path, 2).write_bytes(other)
    assert "differs from its seal: " in dict(problems())[segment_path(tmp_path, 2)]


def test_a_missing_or_damaged_seal_between_others_is_reported(tmp_path: Path) -> None:
    """Taking the seal away must not hide a change."""
    seal_closed(tmp_path, filled(tmp_path))
    seal_path(tmp_path, 2).write_bytes(b"{")
    with pytest.raises(DataError, match=r"00000002.seal is damaged"):
        verify(tmp_path, None)
    seal_path(tmp_path, 2).unlink()
    with pytest.raises(DataError, match=r"00000002.seal is missing"):
        verify(tmp_path, None)


def test_balances_that_a_segment_opens_with_are_those_that_were_sealed(tmp_path: Path) -> None:
    """A later segment that was replaced by one with other balances is found, though it is not sealed yet."""
    end = filled(tmp_path)
    seal_closed(tmp_path, end)
    path = seal_path(tmp_path, end.segment - 1)
    seal = read_seal(tmp_path, end.segment - 1)
    path.write_bytes(msgspec.structs.replace(seal, balances_digest="0" * 64).to_json())
    (found,) = [found for found in verify(tmp_path, None) if found.problem]
    assert found.file == segment_path(tmp_path, end.segment)


def test_the_poster_seals_and_lets_go_and_the_rest_goes_on(posted: Path) -> None:
    """The audit starts late and passes, the store has all, the gateway starts from its last segment."""
    directory = DataDir(posted)
    total = segment_numbers(directory.journal)[-1]
    assert sealed(directory.journal) == list(range(1, total))
    with Store.open_existing(directory.store) as store:
        before = len(store.recent(10**6))
    run(posted, follow=False, retention=Retention(1e-9, posted / "archive"))
    assert segment_numbers(directory.journal) == [total - 1, total]
    assert len(list((posted / "archive").iterdir())) == total - 2
    with Store.open_existing(directory.store) as store:
        assert len(store.recent(10**6)) == before
    found = audit(posted, LATER_NS)
    assert found.ok
    assert found.starts_late
    ledger = Ledger.open(posted, START_NS)
    assert ledger.reserve(make.reserve(1)) is None
    assert ledger.settle(make.settle(1)) is None
    ledger.close()
    assert run(posted, follow=False) == 2
    assert audit(posted, LATER_NS).ok


def test_archived_segments_can_be_unpacked_again(posted: Path) -> None:
    """`gunzip` brings back what was there, and the audit is one from the beginning again."""
    directory = DataDir(posted)
    archive = posted / "archive"
    run(posted, follow=False, retention=Retention(1e-9, archive))
    for packed in archive.iterdir():
        (directory.journal / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    assert [found.problem for found in verify(directory.journal, archive) if found.problem] == []
    found = audit(posted, LATER_NS)
    assert found.ok
    assert not found.starts_late


def test_a_request_in_a_segment_that_was_let_go_is_not_found_rather_than_a_fault(tmp_path: Path) -> None:
    """The gateway may be listing the files while the poster deletes one."""
    filled(tmp_path)
    reader = JournalReader(tmp_path)
    last = segment_numbers(tmp_path)[-1]
    for number in range(1, last):
        segment_path(tmp_path, number).unlink()
    assert reader.find(make.request_id(1)) == []
    assert reader._bytes(1) == b""
    assert reader._first_segment([1, 2, last], 0) == 2


def test_a_fault_of_the_archive_is_said_and_does_not_stop_the_poster(posted: Path) -> None:
    """Reports are worth more than tidiness; it is tried again after a while, and not with every batch."""
    said: list[str] = []
    (posted / "archive").write_bytes(b"a file where a directory should be")
    poster = Poster(DataDir(posted))
    poster.step()
    archivist = Archivist(DataDir(posted), Retention(1e-9, posted / "archive"), said.append)
    for now_s in (0.0, 1.0, TIDY_S - 1.0):
        archivist.tidy(poster.posted, now_ns=LATER_NS, now_s=now_s)
    assert len(said) == 1
    assert "File exists" in said[0]
    (posted / "archive").unlink()
    archivist.tidy(poster.posted, now_ns=LATER_NS, now_s=TIDY_S)
    assert len(said) == 1
    assert list((posted / "archive").iterdir())
    poster.close()


def test_while_a_backup_is_made_segments_stay(posted: Path) -> None:
    """The next look, behind it, lets them go."""
    directory = DataDir(posted)
    before = segment_numbers(directory.journal)
    poster = Poster(directory)
    poster.step()
    poster.close()
    archivist = Archivist(directory, Retention(1e-9), pytest.fail)
    with keeping_segments(directory), keeping_segments(directory):
        archivist.tidy(poster.posted, now_ns=LATER_NS, now_s=0.0)
        assert segment_numbers(directory.journal) == before
    archivist.tidy(poster.posted, now_ns=LATER_NS, now_s=TIDY_S)
    assert segment_numbers(directory.journal) == before[-2:]


def test_before_anything_is_posted_nothing_is_tidied(tmp_path: Path) -> None:
    """There may not even be a journal."""
    Archivist(DataDir(tmp_path), Retention(1.0), pytest.fail).tidy(None, now_ns=LATER_NS, now_s=0.0)
    assert list(tmp_path.iterdir()) == []
