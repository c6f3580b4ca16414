"""The store as the audit reads it: plain SQL through a driver, as everything was at one instant.

The store's own connection would bring its engine, its types and its queries with it, and a mistake in them
would be on both sides of the comparison. SQL here is what SQLite and PostgreSQL both read, with `?` for
parameters.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from entrepot.domain.errors import DataError
from entrepot.ledger.data_dir import DataDir

if TYPE_CHECKING:
    import psycopg

Value = int | float | str | bytes | None
StoredRow = tuple[Any, ...]  # what a driver gives

_URL_FILE = "store"  # in the data directory, private: the URL of a store that is no file of its own
_POSTGRES = "postgresql"
_ROWS_AT_ONCE = 10_000  # of a scan: the memory that it may take


class StoreView(Protocol):
    """A store that does not change while it is read."""

    def execute(self, sql: str, params: Sequence[Value] = ()) -> list[StoredRow]:
        """Return the rows of a query that has few of them."""

    def scan(self, sql: str, params: Sequence[Value] = ()) -> Iterator[StoredRow]:
        """Yield the rows of a query that may have millions."""

    def columns(self, table: str) -> tuple[str, ...]:
        """Return the names of a table's columns, in its order."""

    def has(self, table: str) -> bool:
        """Return whether there is a table of this name."""


@contextmanager
def store_view(data_dir: Path) -> Iterator[StoreView]:
    """Give the store of a data directory, as it is at this instant.

    Raises: DataError when there is none, or it cannot be read; also for what fails within the context.
    """
    url = _url(data_dir)
    if url is None:
        path = DataDir(data_dir).store
        try:
            with closing(_sqlite(path)) as database:
                yield _SqliteView(database)
        except sqlite3.Error as error:
            raise DataError(f"{path} cannot be audited: {error}") from error
        return
    with _postgres(url) as view:
        yield view


class _SqliteView:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def execute(self, sql: str, params: Sequence[Value] = ()) -> list[StoredRow]:
        return self._database.execute(sql, params).fetchall()

    def scan(self, sql: str, params: Sequence[Value] = ()) -> Iterator[StoredRow]:
        return self._database.execute(sql, params)

    def columns(self, table: str) -> tuple[str, ...]:
        described = self._database.execute(f"SELECT * FROM {table} LIMIT 0").description
        return tuple(column[0] for column in described)

    def has(self, table: str) -> bool:
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return bool(self.execute(query, (table,)))


class _PostgresView:
    def __init__(self, connection: psycopg.Connection[StoredRow]) -> None:
        self._connection = connection

    def execute(self, sql: str, params: Sequence[Value] = ()) -> list[StoredRow]:
        return self._connection.execute(_with_percents(sql), params).fetchall()

    def scan(self, sql: str, params: Sequence[Value] = ()) -> Iterator[StoredRow]:
        with self._connection.cursor("audit") as cursor:  # a named one keeps its rows in the server
            cursor.itersize = _ROWS_AT_ONCE
            cursor.execute(_with_percents(sql), params)
            yield from cursor

    def columns(self, table: str) -> tuple[str, ...]:
        described = self._connection.execute(_with_percents(f"SELECT * FROM {table} LIMIT 0")).description
        return tuple(column.name for column in described or ())

    def has(self, table: str) -> bool:
        return self.execute("SELECT to_regclass(?)", (table,)) != [(None,)]


def _url(data_dir: Path) -> str | None:
    try:
        text = (data_dir / _URL_FILE).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    if not text.startswith(_POSTGRES):
        return None
    scheme, _, rest = text.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"  # without the name of a driver, which is SQLAlchemy's


def _sqlite(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise DataError(f"{path} is not there: nothing was posted yet; run `entrepot ledger post` first")
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA query_only = 1")
    database.execute("BEGIN")  # one view of the store, while a poster may go on
    return database


@contextmanager
def _postgres(url: str) -> Iterator[StoreView]:
    try:
        import psycopg
    except ImportError as error:
        raise DataError(
            "the store is in PostgreSQL, which needs psycopg: pip install 'entrepot[postgres]'"
        ) from error
    try:
        with psycopg.connect(url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            yield _PostgresView(connection)
    except psycopg.Error as error:
        raise DataError(f"the store in PostgreSQL cannot be audited: {error}") from error


def _with_percents(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()
