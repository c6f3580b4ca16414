"""The store as a SQLite file: how it is opened, and the fastest way to write many rows into it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, create_engine, event, insert
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL

from entrepot.ledger.store.rows import Row
from entrepot.ledger.store.tables import METADATA, USAGE_DAYS, USAGE_HOURS

BUSY_TIMEOUT_S = 1.0  # how long to wait for another process that writes before saying so
_CACHE_KIB = 64 * 1024
_WAL_PAGES = 8192  # 32 MiB: pages that batch after batch changes are moved into the file once
_PRIVATE_FILE = 0o600


class SqliteStore:
    """The dialect of the store in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def engine(self) -> Engine:
        """Return an engine that opens the file."""
        url = URL.create("sqlite", database=str(self._path))
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
        return engine

    def prepare(self) -> None:
        """Make the file if it is not there, so that only its owner reads it."""
        with contextlib.suppress(OSError):  # SQLite says better why it cannot
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE))

    def identity(self) -> int:
        """Return what changes when the file is replaced by another; 0 when there is none."""
        try:
            return self._path.stat().st_ino
        except FileNotFoundError:
            return 0

    def hold_still(self, connection: Connection) -> None:
        """Do nothing: every transaction reads the file as it is when it first reads."""

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> bool:
        """Write rows and return whether all were new; if not, the caller takes back what was written."""
        return connection.exec_driver_sql(_INSERT[table.name], list(rows)).rowcount == len(rows)

    def add_usage(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """Add sums to the rows of a roll-up; those that are not there yet are made."""
        connection.exec_driver_sql(_ADD[table.name], list(rows))


def _set_up(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # the driver would begin too late, or not at all; `_begin` does
    pragmas = (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"cache_size=-{_CACHE_KIB}",
        f"wal_autocheckpoint={_WAL_PAGES}",
    )
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _insert_text(table: Table) -> str:
    # Text with positional parameters goes to the driver as it is: no work per row on the way.
    return str(
        sqlite_insert(table).on_conflict_do_nothing().compile(dialect=sqlite_dialect(paramstyle="qmark"))
    )


def _add_text(table: Table) -> str:
    plain = str(insert(table).compile(dialect=sqlite_dialect(paramstyle="qmark")))
    return f"{plain} {on_conflict_add(table)}"


def on_conflict_add(table: Table) -> str:
    """Return the clause by which an insert into a roll-up adds to the row that is there."""
    keys = ", ".join(table.primary_key.columns.keys())
    sums = [column.name for column in table.c if not column.primary_key]
    added = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in sums)
    return f"ON CONFLICT ({keys}) DO UPDATE SET {added}"


_INSERT = {table.name: _insert_text(table) for table in METADATA.sorted_tables}
_ADD = {table.name: _add_text(table) for table in (USAGE_HOURS, USAGE_DAYS)}
