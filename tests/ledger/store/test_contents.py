"""The words of users in the store: moved in once, let go by age, erased by key; on both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from time import time_ns

import pytest
from sqlalchemy import Engine, event

from entrepot.domain.errors import ConfigError
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.journal.spool import Content, Kind, Spool, SpoolRecord, TaskText, spool_files
from entrepot.ledger.keys.keys import list_keys
from entrepot.ledger.keys.log import create_key, revoke_key
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.store.contents import SpoolMover, contents_of, delete_of_key, remove_deleted, task_texts
from entrepot.ledger.store.erasure import Erased, empty_spool, erase, key_to_erase
from entrepot.ledger.store.place import store_place
from entrepot.ledger.store.poster import Poster
from entrepot.ledger.store.retention import StoreRetention, delete_some
from entrepot.ledger.store.store import Store
from tests.ledger.stores import BOTH, data_dir_with

DAY_NS = 86_400_000_000_000
NOW_NS = 100 * DAY_NS


def content(number: int, *, key_id: int = 1, at_ns: int = NOW_NS, kind: Kind = Kind.PROMPT) -> Content:
    """Return a content of the request with this number."""
    body = f"words {number} of key {key_id}, {kind.value}".encode()
    return Content(number.to_bytes(16, "big"), 1, kind, key_id, at_ns, False, body)


def spool(directory: Path, *records: SpoolRecord) -> None:
    """Write a closed file of the spool."""
    writer = Spool(DataDir(directory).contents)
    for record in records:
        writer.append(record)
    writer.close()


@pytest.fixture(params=BOTH)
def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A data directory with a journal and a store of either kind."""
    with data_dir_with(request.param, tmp_path) as directory:
        Ledger.open(directory, time_ns()).close()
        yield directory


@pytest.fixture
def store(data_dir: Path) -> Iterator[Store]:
    """The store of the data directory."""
    with Store.open(store_place(DataDir(data_dir))) as opened:
        yield opened


def found(store: Store, *numbers: int) -> list[int]:
    """Return which of these requests have contents."""
    return [number for number in numbers if contents_of(store, number.to_bytes(16, "big"))]


def test_the_poster_moves_the_spool_and_removes_its_files(data_dir: Path, store: Store) -> None:
    """What comes out is what went in; a file with a writer waits."""
    mine = [content(1), content(1, kind=Kind.ANSWER)]
    spool(data_dir, mine[1], TaskText(7, 1, 5, "ticket"), mine[0])
    open_file = Spool(DataDir(data_dir).contents)
    open_file.append(content(2))
    poster = Poster(DataDir(data_dir))
    poster.step()
    assert contents_of(store, mine[0].request_id) == mine
    assert task_texts(store, [7, 8]) == {7: "ticket"}
    assert found(store, 1, 2) == [1]
    assert len(spool_files(DataDir(data_dir).contents)) == 1
    open_file.close()
    poster.step()
    poster.close()
    assert found(store, 1, 2) == [1, 2]


def test_a_file_that_is_moved_twice_changes_nothing(data_dir: Path, store: Store) -> None:
    """A poster that dies between its commit and the removal leaves the file behind."""
    spool(data_dir, content(1), TaskText(7, 1, 5, "ticket"))
    (path,) = spool_files(DataDir(data_dir).contents)
    data = path.read_bytes()
    mover = SpoolMover(DataDir(data_dir))
    for _ in range(2):
        path.write_bytes(data)
        mover.move(store)
    assert contents_of(store, content(1).request_id) == [content(1)]
    assert task_texts(store, [7]) == {7: "ticket"}
    assert spool_files(DataDir(data_dir).contents) == []


def test_a_torn_file_gives_what_is_whole_and_goes(
    data_dir: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Words that cannot be read may not stay as a file that nobody can erase; the loss is told."""
    spool(data_dir, content(1), content(2))
    (path,) = spool_files(DataDir(data_dir).contents)
    path.write_bytes(path.read_bytes()[:-3])
    SpoolMover(DataDir(data_dir)).move(store)
    assert found(store, 1, 2) == [1]
    assert not path.exists()
    assert "no whole record" in capsys.readouterr().err


def test_retention_deletes_what_is_old_and_keeps_the_rest(data_dir: Path, store: Store) -> None:
    """Contents by their age, tasks by when they were named last, each by its own number of days."""
    old = [content(number, at_ns=NOW_NS - 31 * DAY_NS) for number in range(1, 121)]
    young = [content(number, at_ns=NOW_NS - 29 * DAY_NS) for number in range(121, 125)]
    named = [TaskText(1, 1, NOW_NS - 8 * DAY_NS, "once"), TaskText(2, 1, NOW_NS - 8 * DAY_NS, "again")]
    spool(data_dir, *old, *young, *named, TaskText(2, 1, NOW_NS - 6 * DAY_NS, "again"))
    SpoolMover(DataDir(data_dir)).move(store)
    retention = StoreRetention(contents_days=30, tasks_days=7)
    assert delete_some(store, retention, NOW_NS), "one look deletes a part only"
    while delete_some(store, retention, NOW_NS):
        pass
    assert found(store, *range(1, 125)) == [121, 122, 123, 124]
    assert task_texts(store, [1, 2]) == {2: "again"}


def test_without_days_everything_is_kept(data_dir: Path, store: Store) -> None:
    """0 is for ever."""
    spool(data_dir, content(1, at_ns=1), TaskText(1, 1, 1, "old"))
    SpoolMover(DataDir(data_dir)).move(store)
    assert not StoreRetention().is_on
    delete_some(store, StoreRetention(decisions_days=1), NOW_NS)
    assert found(store, 1) == [1]
    assert task_texts(store, [1]) == {1: "old"}


def test_erasing_a_key_takes_its_words_and_leaves_those_of_others(data_dir: Path, store: Store) -> None:
    """The store, the spool and the name; and a second time there is nothing."""
    create_key(data_dir, "alice", None, 1)
    create_key(data_dir, "bob", None, 1)
    moved = [content(number, key_id=1 + number % 2) for number in range(120)]
    spool(data_dir, *moved, TaskText(1, 1, 1, "hers"), TaskText(2, 2, 1, "his"))
    SpoolMover(DataDir(data_dir)).move(store)
    spool(data_dir, content(200), content(201, key_id=2))
    assert erase(data_dir, 1) == Erased(key_id=1, contents=61, tasks=1)
    assert found(store, *range(120), 200, 201) == [*range(1, 120, 2), 201]
    assert task_texts(store, [1, 2]) == {2: "his"}
    assert [key.name for key in list_keys(data_dir)] == ["(erased)", "bob"]
    assert erase(data_dir, 1) == Erased(key_id=1, contents=0, tasks=0)


@pytest.fixture
def careless_sqlite() -> Iterator[None]:
    """SQLite as it is built by default: some distributions build it so that it overwrites what is deleted."""

    def leave_deleted(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA secure_delete=OFF")

    event.listen(Engine, "connect", leave_deleted)
    yield
    event.remove(Engine, "connect", leave_deleted)


@pytest.mark.usefixtures("careless_sqlite")
@pytest.mark.parametrize("size_bytes", [40, 900, 3_000, 100_000])
def test_no_byte_of_what_was_erased_is_left_in_the_files_of_sqlite(tmp_path: Path, size_bytes: int) -> None:
    """Neither in free pages, nor where rows were moved from, nor in the log of changes."""
    Ledger.open(tmp_path, time_ns()).close()
    key = create_key(tmp_path, "alice", None, 1)
    assert key
    filler = (b"erase-me " * (size_bytes // 9 + 1))[:size_bytes]
    poster = Poster(DataDir(tmp_path))
    for batch in range(8):  # ids out of order, so that pages are split and rows move
        numbers = [1 + (37 * (25 * batch + place)) % 1009 for place in range(25)]
        spool(
            tmp_path,
            *(Content(n.to_bytes(16, "big"), 1, Kind.PROMPT, 1 + n % 2, n, False, filler) for n in numbers),
            *(TaskText(n, 1 + n % 2, n, "erase-me task") for n in numbers),
        )
        poster.step()
    assert any(b"erase-me" in path.read_bytes() for path in tmp_path.glob("ledger.sqlite*"))
    erase(tmp_path, 1)
    erase(tmp_path, 2)
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert b"erase-me" not in path.read_bytes(), path
    poster.close()


def test_a_reader_of_the_store_makes_erasing_wait(tmp_path: Path) -> None:
    """The log of changes cannot be emptied under it, and erased bytes in it would be left behind."""
    Ledger.open(tmp_path, time_ns()).close()
    spool(tmp_path, content(1))
    assert empty_spool(tmp_path)
    with Store.open(tmp_path / "ledger.sqlite") as store, Store.open(tmp_path / "ledger.sqlite") as other:
        with other.engine.connect() as reading:
            reading.exec_driver_sql("SELECT count(*) FROM contents").all()
            delete_of_key(store, 1)
            assert not remove_deleted(store)
        assert remove_deleted(store)


@pytest.mark.parametrize("name", ["carol", "nobody"])
def test_a_key_to_erase_is_one_and_only_one(tmp_path: Path, name: str) -> None:
    """A name that was used twice, an unknown one: nothing is guessed."""
    for made in ("carol", "bob"):
        create_key(tmp_path, made, None, 1)
    revoke_key(tmp_path, "carol", 2)
    create_key(tmp_path, "carol", None, 3)
    assert key_to_erase(tmp_path, "bob").key_id == 2
    assert key_to_erase(tmp_path, "1").key_id == 1
    with pytest.raises(ConfigError, match=name):
        key_to_erase(tmp_path, name)
