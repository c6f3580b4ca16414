"""A database that goes away costs time and no entry: cut connections, restarts, a full or read-only store."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from entrepot.domain.errors import DataError, StoreAway
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import OfAttempt
from entrepot.ledger.journal.posted import posted_position
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.store.place import PostgresDatabase, note_store_place, store_place
from entrepot.ledger.store.poster import REMIND_S, RETRY_TO_S, Outage, Poster, run
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.tables import USAGE_HOURS
from tests.ledger.cut_proxy import CutProxy
from tests.ledger.posted import expected, stored, until
from tests.ledger.stores import address, asked, new_schema, server_url
from tests.ledger.traffic import ENDPOINTS, START_NS, Traffic, write, write_requests

TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"


@contextlib.contextmanager
def proxied(data_dir: Path) -> Iterator[tuple[CutProxy, str]]:
    """Give a proxy in front of a schema that is the store of the data directory, and the schema's name."""
    server = urlsplit(server_url())
    with new_schema() as schema, CutProxy(server.hostname or "127.0.0.1", server.port or 5432) as proxy:
        note_store_place(DataDir(data_dir), address(schema, port=proxy.port))
        yield proxy, schema


@contextlib.contextmanager
def posting(data_dir: Path, said: list[str], batch_entries: int = 50) -> Iterator[None]:
    """Run a poster beside the test."""
    stop = threading.Event()
    options = {"follow": True, "stop": stop, "say": said.append, "batch_entries": batch_entries}
    poster = threading.Thread(target=run, args=(data_dir,), kwargs=options)
    poster.start()
    try:
        yield
    finally:
        stop.set()
        poster.join()


def is_posted(ledger: Ledger) -> bool:
    """Return whether the poster is where the journal is."""
    return posted_position(DataDir(ledger.path)) == ledger.journal.position


def more(ledger: Ledger, traffic: Traffic, requests: int, written: list[OfAttempt]) -> None:
    """Write some requests."""
    for _ in range(requests):
        for entry in traffic.request():
            write(ledger, entry)
            written.append(entry)


def attempts_counted(data_dir: Path) -> int:
    """Return how many attempts the roll-up by hour knows."""
    with Store.open_existing(store_place(DataDir(data_dir))) as store, store.engine.connect() as connection:
        return sum(connection.execute(select(USAGE_HOURS.c.attempts)).scalars())


def reserved(written: list[OfAttempt]) -> int:
    """Return how many attempts there were."""
    return len({(entry.request_id, entry.attempt) for entry in written})


def test_the_journal_waits_while_the_database_is_away(tmp_path: Path) -> None:
    """Requests are written meanwhile, the backlog shows it, and all is posted once the database is back."""
    written: list[OfAttempt] = []
    said: list[str] = []
    ledger = Ledger.open(tmp_path, START_NS)
    traffic = Traffic(1, tuple(map(ledger.register, ENDPOINTS)))
    with proxied(tmp_path) as (proxy, _), posting(tmp_path, said):
        more(ledger, traffic, 50, written)
        until(lambda: is_posted(ledger), "the first requests are posted")
        proxy.cut()
        more(ledger, traffic, 200, written)
        until(lambda: bool(said), "the poster says that the database is away")
        assert ledger.backlog_bytes() > 0
        proxy.mend()
        until(lambda: is_posted(ledger), "all is posted")
        assert ledger.backlog_bytes() == 0
        ledger.close()
        assert stored(tmp_path) == expected(written)
        assert attempts_counted(tmp_path) == reserved(written)
    assert "cannot be used now" in said[0]
    assert "nothing is lost" in said[0]
    assert said[-1].startswith("the store can be used again after")


@pytest.mark.parametrize("seed", range(6))
def test_a_connection_lost_anywhere_in_a_batch_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    """In the middle of a COPY, before a commit, after it and before its answer: the next try sorts it out."""
    rng = Random(seed)
    written = write_requests(tmp_path, 150, seed=seed)
    with proxied(tmp_path) as (proxy, schema):
        run(tmp_path, follow=False, say=lambda _: None, batch_entries=60)
        more_written = write_requests(tmp_path, 150, seed=100 + seed)
        poster = Poster(DataDir(tmp_path), batch_entries=60)
        count = 1
        while count:
            proxy.mend()
            proxy.cut_after(rng.randrange(1, 60_000))
            with contextlib.suppress(StoreAway):
                count = poster.step()
        poster.close()
        assert proxy.cuts > 2
        note_store_place(DataDir(tmp_path), address(schema))
        assert stored(tmp_path) == expected(written + more_written)
        assert attempts_counted(tmp_path) == reserved(written + more_written)


def test_a_restart_of_the_server_is_survived(tmp_path: Path) -> None:
    """The administrator ends all connections, again and again, while the poster works."""
    written: list[OfAttempt] = []
    said: list[str] = []
    ledger = Ledger.open(tmp_path, START_NS)
    traffic = Traffic(2, tuple(map(ledger.register, ENDPOINTS)))
    with new_schema() as schema:
        named = f"{address(schema)}&application_name={schema}"
        note_store_place(DataDir(tmp_path), named)
        with posting(tmp_path, said):
            for _ in range(5):
                more(ledger, traffic, 100, written)
                until(lambda: bool(asked(TERMINATE, schema)), "a connection is ended")
            until(lambda: is_posted(ledger), "all is posted")
        ledger.close()
        assert stored(tmp_path) == expected(written)
        assert attempts_counted(tmp_path) == reserved(written)


def test_a_database_that_is_read_only_is_waited_for(tmp_path: Path) -> None:
    """As a standby is before it takes over: a state and not a damage."""
    written = write_requests(tmp_path, 20, seed=1)
    with new_schema() as schema:
        note_store_place(DataDir(tmp_path), address(schema))
        run(tmp_path, follow=False)
        written += write_requests(tmp_path, 20, seed=2)
        read_only = address(schema).replace("options=", "options=-cdefault_transaction_read_only%3Don%20")
        note_store_place(DataDir(tmp_path), read_only)
        poster = Poster(DataDir(tmp_path))
        with pytest.raises(StoreAway, match="read-only"):
            poster.step()
        note_store_place(DataDir(tmp_path), address(schema))
        assert poster.step()
        poster.close()
        assert stored(tmp_path) == expected(written)


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """SQLite says that it is full; when there is room again the same entries are posted."""
    written = write_requests(tmp_path, 20, seed=1)
    poster = Poster(DataDir(tmp_path), batch_entries=1_000)
    poster.step()
    written += write_requests(tmp_path, 400, seed=2)
    store = poster._opened()  # the limit is one of this connection's
    with store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(StoreAway, match="disk is full"):
        poster.step()
    while poster.step():
        pass
    poster.close()
    assert stored(tmp_path) == expected(written)


def test_a_store_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    """A locked SQLite is away, not damaged."""
    write_requests(tmp_path, 5, seed=1)
    run(tmp_path, follow=False)
    written = write_requests(tmp_path, 5, seed=2)
    poster = Poster(DataDir(tmp_path))
    with contextlib.closing(sqlite3.connect(DataDir(tmp_path).store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreAway, match="locked"):
            poster.step()
    assert poster.step() == len(written)
    poster.close()


def test_an_outage_is_told_once_a_minute_and_when_it_ends() -> None:
    """An hour of tries is sixty lines and not a thousand; a new reason is told at once."""
    said: list[str] = []
    outage = Outage(said.append)
    waits = [outage.failed("the store is away", now_s) for now_s in (0.0, 1.0, 3.0, 7.0, REMIND_S - 1)]
    assert len(said) == 1
    assert waits == sorted(waits)
    assert waits[-1] <= RETRY_TO_S
    outage.failed("the store is away", REMIND_S)
    assert said[-1] == "the store is away since 60 s; nothing is lost, the journal waits and is tried again"
    outage.failed("the store is full", REMIND_S + 1)
    assert "full" in said[-1]
    outage.over(90.0)
    assert said[-1] == "the store can be used again after 90.0 s"
    assert len(said) == 4
    outage.over(91.0)
    assert len(said) == 4
    assert outage.failed("the store is away", 100.0) == waits[0]


def test_two_data_directories_do_not_share_a_database(tmp_path: Path) -> None:
    """The second one is told whose store it is; nothing of it is written there."""
    first, second = tmp_path / "first", tmp_path / "second"
    written = write_requests(first, 5, seed=1)
    write_requests(second, 5, seed=2)
    with new_schema() as schema:
        for directory in (first, second):
            note_store_place(DataDir(directory), address(schema))
        run(first, follow=False)
        with pytest.raises(DataError, match=r"is the store of journal .* give each its own database"):
            run(second, follow=False)
        assert stored(first) == expected(written)


def test_a_password_is_never_told(tmp_path: Path) -> None:
    """Neither when the database is away nor in a value's text."""
    write_requests(tmp_path, 1)
    note_store_place(DataDir(tmp_path), "postgresql://me:secret@127.0.0.1:1/db")
    place = store_place(DataDir(tmp_path))
    assert isinstance(place, PostgresDatabase)
    with pytest.raises(StoreAway) as told:
        Poster(DataDir(tmp_path)).step()
    assert "postgresql://me@127.0.0.1:1/db cannot be used now" in str(told.value)
    assert "secret" not in f"{told.value}{place}{place!r}"
    assert DataDir(tmp_path).store_file.stat().st_mode & 0o077 == 0
