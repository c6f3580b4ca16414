"""Data directories for tests of the audit: entries of every kind, posted, in SQLite and in PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import psycopg
from sqlalchemy import create_engine, insert, select

from entrepot.domain.endpoint import Operation
from entrepot.ledger.data_dir import DataDir, make_data_dir
from entrepot.ledger.entries import (
    Correct,
    Entry,
    Feedback,
    NameEndpoint,
    NamePrices,
    NameRules,
    NameSender,
    OfAttempt,
    Refused,
    Reserve,
)
from entrepot.ledger.ledger import EndpointRef
from entrepot.ledger.store.poster import run
from entrepot.ledger.store.tables import METADATA
from tests.ledger.journals import journal_in
from tests.ledger.traffic import HOUR_NS, START_NS, Traffic

SENDERS = {1: NameSender(1, 1, 7, (3, 4)), 2: NameSender(2, 2, 7, (4,))}  # key 3 is in no team
RULES = (NameRules(1, ("origin-not-cn",)), NameRules(2, ("origin-not-cn", "region-eu")))
SEGMENT_BYTES = 16 * 1024
POSTGRES_URL = os.environ.get("ENTREPOT_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")


def write_journal(
    data_dir: Path, requests: int, *, step_ns: int = HOUR_NS, segment_bytes: int = SEGMENT_BYTES
) -> list[Entry]:
    """Write requests of three keys, two in a team, with rules, refusals and feedback; return the entries."""
    written: list[Entry] = [
        *(NameEndpoint(number, f"m@h{number}", "m", f"h{number}", "US") for number in (1, 2)),
        *(NamePrices(number, number, START_NS, 550, 2190, source="test") for number in (1, 2)),
        *SENDERS.values(),
        *RULES,
    ]
    traffic = Traffic(5, (EndpointRef(1, 1), EndpointRef(2, 2)), step_ns=step_ns)
    for number in range(requests):
        for entry in traffic.request():
            if isinstance(entry, Reserve | Correct):
                sender = SENDERS[entry.key_id].sender_id if entry.key_id in SENDERS else 0
                entry = msgspec.structs.replace(entry, sender_id=sender)  # noqa: PLW2901
            if isinstance(entry, Reserve):
                entry = msgspec.structs.replace(entry, rules_id=number % 3, task_id=number)  # noqa: PLW2901
            written.append(entry)
        last = written[-1]
        assert isinstance(last, OfAttempt)
        written.append(Feedback(last.request_id, last.at_ns, last.key_id, number, number % 2 == 0))
        if number % 3 == 0:
            other_id = last.request_id[:-1] + bytes((255 - last.request_id[-1],))
            written.append(Refused(other_id, last.at_ns, last.key_id, Operation.CHAT, b"why", 0, 1, 2))
    directory = make_data_dir(data_dir)
    with journal_in(directory.journal, segment_bytes=segment_bytes) as journal:
        journal.write(*written)
    return written


def posted(data_dir: Path, requests: int, *, step_ns: int = HOUR_NS) -> list[Entry]:
    """Write requests into a journal, post them into SQLite, and return the entries."""
    written = write_journal(data_dir, requests, step_ns=step_ns)
    run(data_dir, follow=False)
    return written


class Database:
    """A store that is changed behind the poster's back. Statements are what both databases read, with `?`."""

    def __init__(self, connection: Any, *, mark: str) -> None:  # noqa: ANN401 (two drivers, one interface)
        self._connection = connection
        self._mark = mark

    def execute(self, sql: str, params: Sequence[object] = ()) -> Any:  # noqa: ANN401
        """Execute a statement and return the cursor."""
        return self._connection.execute(sql.replace("?", self._mark), params)

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns."""
        return [column[0] for column in self.execute(f"SELECT * FROM {table} LIMIT 0").description]


@contextmanager
def sqlite_of(data_dir: Path) -> Iterator[Database]:
    """Open the SQLite store of a data directory to change it."""
    with closing(sqlite3.connect(DataDir(data_dir).store, isolation_level=None)) as connection:
        yield Database(connection, mark="?")


@cache
def why_no_postgres() -> str:
    """Return why tests on PostgreSQL cannot run here, nothing when they can."""
    try:
        psycopg.connect(POSTGRES_URL, connect_timeout=2).close()
    except psycopg.Error as error:
        said = str(error).strip().splitlines()[-1]
        return f"no PostgreSQL ({said}): start one at 127.0.0.1:5432, or set ENTREPOT_TEST_POSTGRES_URL"
    return ""


@contextmanager
def postgres_schema(name: str) -> Iterator[str]:
    """Make an empty schema and give the URL of a database that has no other; it is dropped in the end."""
    with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE'.encode())
        connection.execute(f'CREATE SCHEMA "{name}"'.encode())
        separator = "&" if "?" in POSTGRES_URL else "?"
        try:
            yield f"{POSTGRES_URL}{separator}options={quote(f'-csearch_path={name}')}"
        finally:
            connection.execute(f'DROP SCHEMA "{name}" CASCADE'.encode())


def copy_to_postgres(data_dir: Path, url: str) -> None:
    """Copy the SQLite store of a data directory into PostgreSQL, and make that its store."""
    source = create_engine(f"sqlite:///{DataDir(data_dir).store}")
    target = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    METADATA.create_all(target)
    with source.connect() as there, target.begin() as here:
        for table in METADATA.sorted_tables:
            rows = [row._asdict() for row in there.execute(select(table))]
            if rows:
                here.execute(insert(table), rows)
    source.dispose()
    target.dispose()
    (data_dir / "store").write_text(f"{url}\n", encoding="utf-8")


@contextmanager
def postgres_at(url: str) -> Iterator[Database]:
    """Open a store in PostgreSQL to change it."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield Database(connection, mark="%s")
