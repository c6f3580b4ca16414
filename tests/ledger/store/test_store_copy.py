"""A store is copied whole between both databases, as at one instant, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import insert, select

from entrepot.domain.errors import DataError, StoreAway
from entrepot.ledger.audit.audit import audit
from entrepot.ledger.data_dir import DataDir, Lock
from entrepot.ledger.entries import OfAttempt
from entrepot.ledger.journal.segment import segment_numbers, segment_path
from entrepot.ledger.store.backup import back_up, restore
from entrepot.ledger.store.move import move_store
from entrepot.ledger.store.place import PostgresDatabase, StorePlace, store_place
from entrepot.ledger.store.poster import poster_lock, run
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.table_copy import CONTENTS_AT_ONCE, copy_store
from entrepot.ledger.store.tables import CONTENTS, METADATA
from tests.ledger.journal.test_archive import LATER_NS
from tests.ledger.posted import expected, stored, until
from tests.ledger.stores import BOTH, POSTGRES, SQLITE, address, asked, data_dir_with, new_schema, server_url
from tests.ledger.traffic import START_NS, write_requests

MADE_AT = datetime(2025, 11, 24, 12, tzinfo=UTC)
PASSWORD = "not-to-be-seen"


def with_password(url: str) -> str:
    """Return the address with a password, which a server that trusts us does not ask for."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0] or 'postgres'}:{PASSWORD}@{host}").geturl()


@pytest.fixture
def database() -> Iterator[PostgresDatabase]:
    """A PostgreSQL database without tables, whose address has a password."""
    with new_schema() as schema:
        yield PostgresDatabase(with_password(address(schema)))


@pytest.fixture(params=BOTH)
def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A data directory with its store in SQLite, and one in PostgreSQL."""
    Path(tmp_path, "data").mkdir()
    with data_dir_with(request.param, tmp_path / "data") as path:
        yield path


@pytest.fixture
def written(data_dir: Path) -> list[OfAttempt]:
    """What was written to its journal, most of it posted."""
    entries = write_requests(data_dir, 300, segment_bytes=32 * 1024)
    run(data_dir, follow=False)
    words = [
        {"request_id": bytes([n] * 16), "attempt": 1, "kind": "prompt", "key_id": 1, "at_ns": START_NS}
        | {"truncated": n % 2 == 0, "body": bytes([n]) * 100_000}
        for n in range(2 * CONTENTS_AT_ONCE + 1)
    ]
    with Store.open_existing(store_place(DataDir(data_dir))) as store, store.engine.begin() as connection:
        connection.execute(insert(CONTENTS), words)
    return entries + write_requests(data_dir, 5, seed=1)


def rows(place: StorePlace) -> dict[str, list[Any]]:
    """Return every row of a store by table, in the order of its keys."""
    with Store.open_existing(place) as store, store.engine.connect() as connection:
        return {
            table.name: list(connection.execute(select(table).order_by(*table.primary_key)))
            for table in METADATA.sorted_tables
        }


def rows_of(data_dir: Path) -> dict[str, list[Any]]:
    """Return every row of the store of a data directory."""
    return rows(store_place(DataDir(data_dir)))


def goes_on(data_dir: Path, written: list[OfAttempt]) -> None:
    """Check that the poster goes on with each entry once, and that journal and store agree then."""
    more = write_requests(data_dir, 20, seed=2)
    run(data_dir, follow=False)
    assert stored(data_dir) == expected([*written, *more])
    found = audit(data_dir, LATER_NS)
    assert found.ok, found.findings
    assert found.unposted == 0


@pytest.mark.parametrize("name", ["backup", "backup.tar.gz"])
@pytest.mark.parametrize("to", BOTH)
def test_a_backup_of_either_store_is_restored_into_either(
    data_dir: Path, written: list[OfAttempt], tmp_path: Path, to: str, name: str, database: PostgresDatabase
) -> None:
    """Every row is there again, the totals among them, and the poster goes on exactly once."""
    back_up(data_dir, tmp_path / name, MADE_AT)
    before = rows_of(data_dir)
    assert len(before["reserves"]) > 300
    assert before["usage_hours"]
    assert len(before["contents"]) > CONTENTS_AT_ONCE
    restored = tmp_path / "restored"
    restore(tmp_path / name, restored, database if to == POSTGRES else None)
    assert store_place(DataDir(restored)) == (database if to == POSTGRES else restored / "ledger.sqlite")
    assert (restored / "ledger.sqlite").exists() == (to == SQLITE)
    assert rows_of(restored) == before
    found = audit(restored, LATER_NS)
    assert found.ok, found.findings
    assert found.unposted > 0
    goes_on(restored, written)


def test_what_is_committed_in_the_middle_of_a_copy_is_not_in_it(
    tmp_path: Path, database: PostgresDatabase
) -> None:
    """The copy waits for one table while all of it is deleted there and in others: none of that is seen."""
    write_requests(tmp_path, 100)
    run(tmp_path, follow=False)
    copy_store(tmp_path / "ledger.sqlite", database)
    before = rows(database)
    last = METADATA.sorted_tables[-1].name
    with psycopg.connect(database.address) as other, ThreadPoolExecutor(1) as executor:
        other.execute(f"LOCK TABLE {last}".encode())
        copying = executor.submit(copy_store, database, tmp_path / "copy.sqlite")
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
        schema = other.execute("SELECT current_schema()").fetchone()
        assert schema is not None
        until(lambda: bool(asked(waiting, f"{schema[0]}.{last}")), "the copy has come to the last table")
        for table in METADATA.sorted_tables:
            other.execute(f"DELETE FROM {table.name}".encode())
        other.commit()
        assert copying.result() == sum(map(len, before.values()))
    assert rows(tmp_path / "copy.sqlite") == before
    assert not any(rows(database).values())


def test_a_password_is_in_no_file_of_a_backup_and_in_one_of_what_is_restored(
    tmp_path: Path, database: PostgresDatabase
) -> None:
    """There in the file that names the store, which only its owner reads; messages have none either."""
    with new_schema() as schema:
        place = PostgresDatabase(with_password(address(schema)))
        write_requests(tmp_path / "data", 20)
        move_store(tmp_path / "data", place)
        run(tmp_path / "data", follow=False)
        back_up(tmp_path / "data", tmp_path / "backup", MADE_AT)
    files = [path for path in (tmp_path / "backup").rglob("*") if path.is_file()]
    assert {"ledger.sqlite", "manifest.json"} <= {path.name for path in files}
    assert "store" not in {path.name for path in files}
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]
    restore(tmp_path / "backup", tmp_path / "restored", database)
    holding = [
        path
        for path in (tmp_path / "restored").rglob("*")
        if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]
    assert holding == [tmp_path / "restored" / "store"]
    assert holding[0].stat().st_mode & 0o777 == 0o600
    with pytest.raises(DataError) as refused:
        restore(tmp_path / "backup", tmp_path / "again", database)
    assert PASSWORD not in str(refused.value)


def test_a_database_that_is_away_ends_a_backup_and_leaves_nothing(tmp_path: Path) -> None:
    """A backup without the store would be taken for a whole one."""
    write_requests(tmp_path / "data", 5)
    gone = urlsplit(with_password(server_url()))._replace(netloc=f"postgres:{PASSWORD}@127.0.0.1:1")
    (tmp_path / "data" / "store").write_text(gone.geturl())
    with pytest.raises(StoreAway, match=r"postgresql://postgres@127\.0\.0\.1:1/\w+ cannot be used") as away:
        back_up(tmp_path / "data", tmp_path / "backup.tar.gz", MADE_AT)
    assert PASSWORD not in str(away.value)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_database_in_which_nothing_was_posted_is_no_part_of_a_backup(
    tmp_path: Path, database: PostgresDatabase
) -> None:
    """What is restored is posted from the journal, into either."""
    written = write_requests(tmp_path / "data", 5)
    move_store(tmp_path / "data", database)
    assert "ledger.sqlite" not in back_up(tmp_path / "data", tmp_path / "backup", MADE_AT).files
    for name, place in (("one", None), ("other", database)):
        restore(tmp_path / "backup", tmp_path / name, place)
        goes_on(tmp_path / name, written)
    with pytest.raises(DataError, match="holds rows of journal"):
        restore(tmp_path / "backup", tmp_path / "third", database)


def test_a_store_is_moved_with_rows_that_the_journal_has_no_more(
    data_dir: Path, written: list[OfAttempt], database: PostgresDatabase
) -> None:
    """Its first segments are gone; there and back, each row stays and the old store is left as it was."""
    journal = DataDir(data_dir).journal
    for number in segment_numbers(journal)[:3]:
        segment_path(journal, number).unlink()
    first, before = store_place(DataDir(data_dir)), rows_of(data_dir)
    if first == data_dir / "ledger.sqlite":
        assert move_store(data_dir, database) == (first, sum(map(len, before.values())))
        assert store_place(DataDir(data_dir)) == database
    else:
        assert move_store(data_dir, None) == (first, sum(map(len, before.values())))
        assert store_place(DataDir(data_dir)) == data_dir / "ledger.sqlite"
        assert (data_dir / "ledger.sqlite").stat().st_mode & 0o777 == 0o600
    assert rows_of(data_dir) == rows(first) == before
    goes_on(data_dir, written)
    assert rows(first) == before


def test_nothing_is_moved_while_somebody_is_at_work(tmp_path: Path, database: PostgresDatabase) -> None:
    """A gateway would go on to post into the old store, a poster is posting into it."""
    write_requests(tmp_path, 5)
    run(tmp_path, follow=False)
    gateway = Lock(tmp_path)
    with pytest.raises(DataError, match=r"is in use by process \d+: stop it"):
        move_store(tmp_path, database)
    gateway.release()
    with poster_lock(DataDir(tmp_path)) as held:
        assert held
        with pytest.raises(DataError, match=r"a poster is at work on .*: stop it"):
            move_store(tmp_path, database)
    with pytest.raises(DataError, match=r"the store is in .*ledger\.sqlite already"):
        move_store(tmp_path, None)
    assert store_place(DataDir(tmp_path)) == tmp_path / "ledger.sqlite"
    move_store(tmp_path, database)


def test_rows_that_are_there_are_not_mixed_with_others(tmp_path: Path, database: PostgresDatabase) -> None:
    """Refused with whose they are and what to do, before anything is written anywhere."""
    for name in ("one", "other"):
        write_requests(tmp_path / name, 5)
        run(tmp_path / name, follow=False)
    back_up(tmp_path / "other", tmp_path / "backup", MADE_AT)
    move_store(tmp_path / "one", database)
    before = rows(database)
    (journal,) = before["journal"]
    says = f"holds rows of journal {journal.journal_id}, and nothing is overwritten: name an empty database"
    with pytest.raises(DataError, match=says):
        move_store(tmp_path / "other", database)
    with pytest.raises(DataError, match=says):
        restore(tmp_path / "backup", tmp_path / "restored", database)
    assert not (tmp_path / "restored").exists()
    with pytest.raises(DataError, match=r"one/ledger\.sqlite holds rows of journal .*: move the file away"):
        move_store(tmp_path / "one", None)
    asked(f"DELETE FROM {_schema(database)}.journal")
    with pytest.raises(DataError, match="holds rows of table "):
        move_store(tmp_path / "other", database)
    assert store_place(DataDir(tmp_path / "other")) == tmp_path / "other" / "ledger.sqlite"


def _schema(database: PostgresDatabase) -> str:
    with psycopg.connect(database.address) as connection:
        found = connection.execute("SELECT current_schema()").fetchone()
    assert found is not None
    return str(found[0])


def test_a_copy_that_cannot_be_finished_is_not_begun(tmp_path: Path, database: PostgresDatabase) -> None:
    """All rows or none: a text that no column there can hold undoes the tables before it."""
    write_requests(tmp_path, 50)
    run(tmp_path, follow=False)
    names = [table.name for table in METADATA.sorted_tables]
    assert names.index("closings") < names.index("reserves")
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as store:
        ((there,),) = store.execute("SELECT max(operation) FROM reserves").fetchall()
        change = "UPDATE reserves SET operation = ? WHERE request_id = (SELECT max(request_id) FROM reserves)"
        store.execute(change, (f"{there}\0",))
        with pytest.raises(DataError):
            move_store(tmp_path, database)
        assert not any(rows(database).values())
        assert store_place(DataDir(tmp_path)) == tmp_path / "ledger.sqlite"
        store.execute(change, (there,))
    move_store(tmp_path, database)
    assert rows(database) == rows(tmp_path / "ledger.sqlite")
