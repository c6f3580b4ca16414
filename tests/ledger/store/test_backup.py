"""A backup is one consistent moment, made while everything runs on; a restore takes all of it or nothing."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from entrepot.domain.errors import DataError
from entrepot.ledger.audit.audit import audit
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import encode
from entrepot.ledger.journal.archive import verify
from entrepot.ledger.journal.segment import Position, seal_path, segment_path
from entrepot.ledger.keys.keys import list_keys
from entrepot.ledger.keys.log import create_key
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.store.backup import MANIFEST, Manifest, back_up, restore
from entrepot.ledger.store.poster import Poster, catch_up, run
from entrepot.ledger.store.store import Store
from tests.ledger import entry_makers as make
from tests.ledger.journal.test_archive import LATER_NS
from tests.ledger.journal.test_journal import until
from tests.ledger.journals import read_all
from tests.ledger.stores import BOTH, data_dir_with
from tests.ledger.traffic import ENDPOINTS, START_NS, Traffic, write, write_requests

MADE_AT = datetime(2025, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with a key, many segments, most of it posted, and what was learned."""
    path = tmp_path / "data"
    write_requests(path, 200, segment_bytes=16 * 1024)
    create_key(path, "team", None, START_NS)
    run(path, follow=False)
    write_requests(path, 5, seed=1, segment_bytes=16 * 1024)
    Path(path, "knowledge.bin").write_bytes(b"what was learned")
    return path


def entries(directory: DataDir) -> list[bytes]:
    """Return all entries of a journal, encoded."""
    return list(map(encode, read_all(directory.journal)))


@pytest.mark.parametrize("name", ["backup", "backup.tar.gz", "backup.tgz"])
def test_what_is_restored_is_what_was_there(data_dir: Path, tmp_path: Path, name: str) -> None:
    """Journal, keys, seals, knowledge and store; the poster goes on where it was, the audit passes."""
    made = back_up(data_dir, tmp_path / name, MADE_AT)
    assert restore(tmp_path / name, tmp_path / "restored") == made
    here, there = DataDir(data_dir), DataDir(tmp_path / "restored")
    assert entries(there) == entries(here)
    assert list_keys(there.path) == list_keys(here.path)
    assert Path(there.path, "knowledge.bin").read_bytes() == b"what was learned"
    assert Path(there.path, "knowledge.bin").stat().st_mtime == MADE_AT.timestamp()
    assert {file.name: file.read_bytes() for file in there.journal.glob("*.seal")} == {
        file.name: file.read_bytes() for file in here.journal.glob("*.seal")
    }
    with Store.open_existing(here.store) as one, Store.open_existing(there.store) as other:
        assert one.position() == other.position()
    assert verify(there.journal, None)
    assert [found for found in verify(there.journal, None) if found.problem] == []
    unposted = audit(there.path, LATER_NS).unposted
    assert unposted > 0
    assert run(there.path, follow=False) == unposted
    assert audit(there.path, LATER_NS).ok
    ledger = Ledger.open(there.path, START_NS)
    write(ledger, make.reserve(1))
    ledger.close()


@pytest.mark.parametrize("name", ["backup", "backup.tar.gz"])
def test_a_backup_and_what_is_restored_are_private(data_dir: Path, tmp_path: Path, name: str) -> None:
    """Keys are in it, if only their digests, and what everybody spent."""
    back_up(data_dir, tmp_path / name, MADE_AT)
    restore(tmp_path / name, tmp_path / "restored")
    for root in (tmp_path / name, tmp_path / "restored"):
        for path in [root, *root.rglob("*")]:
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert not list(tmp_path.glob(".*"))


def test_an_entry_that_is_half_written_and_what_is_allocated_ahead_are_not_copied(
    data_dir: Path, tmp_path: Path
) -> None:
    """The segment that is written is copied up to its last whole entry."""
    ledger = Ledger.open(data_dir, START_NS, segment_bytes=16 * 1024)
    write(ledger, make.reserve(7))
    end = ledger.journal.position
    with segment_path(ledger.path / "journal", end.segment).open("r+b") as file:
        file.seek(end.offset)
        file.write(b"\x50\0\0\0half")
    made = back_up(data_dir, tmp_path / "backup", MADE_AT)
    ledger.close()
    assert made.journal_end == end
    copied = segment_path(tmp_path / "backup" / "journal", end.segment)
    assert copied.stat().st_size == end.offset
    assert sorted(path.name for path in (tmp_path / "backup").iterdir()) == [
        *("format", "journal", "journal-id", "keys.jsonl", "knowledge.bin", "ledger.sqlite", "manifest.json")
    ]


def write_until(stop: threading.Event, data_dir: Path) -> None:
    """Write requests in small segments, some thousand a second."""
    ledger = Ledger.open(data_dir, START_NS, segment_bytes=64 * 1024)
    traffic = Traffic(0, tuple(map(ledger.register, ENDPOINTS)))
    while not stop.wait(0.002):
        for _ in range(10):
            for entry in traffic.request():
                write(ledger, entry)
    ledger.close()


@pytest.fixture(params=BOTH)
def used(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A data directory that will have its store in SQLite, and one in PostgreSQL."""
    Path(tmp_path, "data").mkdir()
    with data_dir_with(request.param, tmp_path / "data") as path:
        yield path


def test_backups_beside_a_writer_and_a_poster_are_each_consistent(used: Path, tmp_path: Path) -> None:
    """Both go on meanwhile, and segments are let go as soon as they may; each backup audits and posts on."""
    data, stop, ends = used, threading.Event(), []
    writer = threading.Thread(target=write_until, args=(stop, data))
    writer.start()
    until(DataDir(data).format_file.exists)
    posting = [sys.executable, "-m", "entrepot", "ledger", "post", "--follow", "--data-dir", str(data)]
    with subprocess.Popen([*posting, "--keep-days", "1e-9"]) as poster:
        try:
            until(seal_path(DataDir(data).journal, 2).exists)
            for number in range(3):
                made = back_up(data, tmp_path / f"{number}.tar.gz", MADE_AT)
                assert made.journal_end is not None
                ends.append(Position(*made.journal_end))
        finally:
            poster.terminate()
            stop.set()
            writer.join()
    assert ends == sorted(set(ends)), "the writer went on meanwhile"
    for number, end in enumerate(ends):
        restored = tmp_path / f"restored-{number}"
        restore(tmp_path / f"{number}.tar.gz", restored)
        with Store.open_existing(DataDir(restored).store) as store:
            position = store.position()
        assert position is not None
        assert position <= end
        assert catch_up(restored)
        found = audit(restored, START_NS)
        assert found.ok, found.findings
        assert found.unposted == 0


def test_a_data_directory_that_was_never_used_can_be_backed_up(tmp_path: Path) -> None:
    """There is neither a store nor an entry; the copy starts as it would."""
    create_key(tmp_path / "data", "team", None, START_NS)
    made = back_up(tmp_path / "data", tmp_path / "backup.tar.gz", MADE_AT)
    assert made.journal_end is None
    restore(tmp_path / "backup.tar.gz", tmp_path / "restored")
    Ledger.open(tmp_path / "restored", START_NS).close()
    assert [key.name for key in list_keys(tmp_path / "restored")] == ["team"]


def test_a_database_that_is_written_is_copied_at_one_instant(data_dir: Path, tmp_path: Path) -> None:
    """A transaction that is open meanwhile is not in the copy."""
    store = DataDir(data_dir).store
    with closing(sqlite3.connect(store, isolation_level=None)) as writing:
        writing.execute("BEGIN")
        writing.execute("DELETE FROM closings")
        back_up(data_dir, tmp_path / "backup", MADE_AT)
        writing.execute("ROLLBACK")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert audit(tmp_path / "restored", LATER_NS).ok


def test_nothing_is_overwritten(data_dir: Path, tmp_path: Path) -> None:
    """Neither by a backup nor by a restore; an empty directory may be filled."""
    for name in ("there", "there.tar.gz"):
        target = tmp_path / name
        if name.endswith("gz"):
            target.write_bytes(b"mine")
        else:
            target.mkdir()
            (target / "mine").write_bytes(b"mine")
        with pytest.raises(DataError, match=f"{name} is there already"):
            back_up(data_dir, target, MADE_AT)
    (tmp_path / "empty").mkdir()
    back_up(data_dir, tmp_path / "empty", MADE_AT)
    with pytest.raises(DataError, match="data is there already, and nothing is overwritten: move it away"):
        restore(tmp_path / "empty", data_dir)
    (tmp_path / "restored").mkdir()
    restore(tmp_path / "empty", tmp_path / "restored")
    assert entries(DataDir(tmp_path / "restored")) == entries(DataDir(data_dir))


def test_a_segment_that_is_not_what_its_seal_says_is_not_backed_up_in_silence(
    data_dir: Path, tmp_path: Path
) -> None:
    """A backup of damage would replace the good ones before it."""
    path = segment_path(DataDir(data_dir).journal, 2)
    data = path.read_bytes()
    path.write_bytes(data[:400] + bytes((data[400] ^ 4,)) + data[401:])
    with pytest.raises(DataError, match=r"00000002.seg is not what its seal says"):
        back_up(data_dir, tmp_path / "backup.tar.gz", MADE_AT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def without(name: str) -> Callable[[dict[str, bytes]], None]:
    """Return a change that leaves a file out."""
    return lambda files: files.pop(name) and None


def spoiled(name: str) -> Callable[[dict[str, bytes]], None]:
    """Return a change of a file's last byte."""

    def change(files: dict[str, bytes]) -> None:
        data = files[name]
        files[name] = data[:-1] + bytes((data[-1] ^ 1,))

    return change


def added(name: str) -> Callable[[dict[str, bytes]], None]:
    """Return a change that puts a file in."""
    return lambda files: files.update({name: b"x"})


def newer(files: dict[str, bytes]) -> None:
    """Change the backup's format."""
    manifest = json.loads(files[MANIFEST])
    files[MANIFEST] = json.dumps(manifest | {"format": 99}).encode()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without(MANIFEST), "has no manifest.json: it is no backup of entrepot"),
        (without("keys.jsonl"), "keys.jsonl is not what manifest.json says"),
        (without("journal/00000002.seg"), "00000002.seg is not what manifest.json says"),
        (spoiled("journal/00000001.seg"), "00000001.seg is not what manifest.json says"),
        (spoiled("ledger.sqlite"), "ledger.sqlite is not what manifest.json says"),
        (spoiled(MANIFEST), "manifest.json is damaged"),
        (added("journal/99999999.seg"), "99999999.seg is not what manifest.json says"),
        (added("../outside"), "which no backup of entrepot has"),
        (added("journal/../../outside.bin"), "which no backup of entrepot has"),
        (newer, "has format 99, this entrepot reads up to 1: upgrade it"),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_and_leaves_nothing(
    data_dir: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None], complaint: str
) -> None:
    """One row per kind of damage; the message names the file."""
    back_up(data_dir, tmp_path / "good.tar.gz", MADE_AT)
    with tarfile.open(tmp_path / "good.tar.gz") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    change(files)
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(DataError, match=complaint):
        restore(tmp_path / "bad.tar.gz", tmp_path / "restored")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar.gz", "data", "good.tar.gz"]


def test_a_backup_that_was_cut_or_is_something_else_is_refused(data_dir: Path, tmp_path: Path) -> None:
    """Cut anywhere; a link in a tar file; a file that is no tar at all; nothing."""
    back_up(data_dir, tmp_path / "good.tar.gz", MADE_AT)
    data = (tmp_path / "good.tar.gz").read_bytes()
    bad = tmp_path / "bad.tar.gz"
    for size in (0, 1, 15, len(data) // 3, len(data) * 9 // 10):
        bad.write_bytes(data[:size])
        with pytest.raises(DataError, match=r"bad\.tar\.gz"):
            restore(bad, tmp_path / "restored")
    with tarfile.open(bad, "w:gz") as tar:
        link = tarfile.TarInfo("keys.jsonl")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match="is not a file"):
        restore(bad, tmp_path / "restored")
    bad.write_bytes(gzip.compress(b"no tar"))
    with pytest.raises(DataError, match="is not a whole backup"):
        restore(bad, tmp_path / "restored")
    with pytest.raises(DataError, match=r"absent\.tar\.gz"):
        restore(tmp_path / "absent.tar.gz", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


def test_the_manifest_is_readable_and_says_when_it_was_made(data_dir: Path, tmp_path: Path) -> None:
    """For people and for other programs."""
    made = back_up(data_dir, tmp_path / "backup", MADE_AT)
    text = (tmp_path / "backup" / MANIFEST).read_bytes()
    assert msgspec.json.decode(text, type=Manifest) == made
    assert json.loads(text)["made_at"] == "2025-11-24T12:00:00+00:00"


def test_a_backup_taken_while_the_poster_is_behind_is_posted_once(tmp_path: Path) -> None:
    """The store's position is one of the copied journal; what is behind it is posted, nothing twice."""
    ledger = Ledger.open(tmp_path / "data", START_NS, segment_bytes=16 * 1024)
    traffic = Traffic(0, tuple(map(ledger.register, ENDPOINTS)))
    poster = Poster(DataDir(tmp_path / "data"), batch_entries=40)
    written = 0
    for _ in range(100):
        for entry in traffic.request():
            write(ledger, entry)
            written += 1
    for _ in range(3):
        assert poster.step() == 40
    back_up(tmp_path / "data", tmp_path / "backup", MADE_AT)
    poster.close()
    ledger.close()
    restore(tmp_path / "backup", tmp_path / "restored")
    assert run(tmp_path / "restored", follow=False) > written - 120
    assert audit(tmp_path / "restored", LATER_NS).ok
