"""The store: the journal's entries in a database, for reports and questions about what was long ago.

Only the poster writes to it and the gateway never opens it, so a slow, locked or missing database
delays reports and not requests. SQLAlchemy Core and not its mapper: the rows are the entries, and whole
batches go to the driver at once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, select
from sqlalchemy import Row as SqlRow
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError

from entrepot.domain.errors import DataError
from entrepot.domain.ids import request_id_text
from entrepot.ledger.entries import Entry, OfAttempt
from entrepot.ledger.history import Names, RequestHistory, history_of
from entrepot.ledger.rows import (
    Row,
    Rows,
    closing_from,
    correction_from,
    endpoint_from,
    prices_from,
    reserve_from,
)
from entrepot.ledger.segment import Position
from entrepot.ledger.tables import (
    CLOSINGS,
    CORRECTIONS,
    DECISIONS,
    ENDPOINTS,
    METADATA,
    POSITION,
    PRICES,
    RESERVES,
)

REVISION = "0002"  # the last one in migrations/versions; a test compares
BUSY_TIMEOUT_S = 1.0  # how long to wait for another process that writes before saying so
_CACHE_KIB = 64 * 1024  # ids come in the order of time, answer ids do not: their index should stay in memory
_PRIVATE_FILE = 0o600
_IDS_PER_QUERY = 500  # databases limit the parameters of a query


class Store:
    """An open store. Not for several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, path: Path) -> Store:
        """Return the store in the SQLite file `path`, made and brought up to this version when needed.

        Raises: DataError when a newer entrepot made it; sqlalchemy.exc.OperationalError when the file cannot
        be opened or is locked.
        """
        with contextlib.suppress(OSError):  # SQLite says better why it cannot
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE))
        store = cls(_engine(path))
        try:
            store._migrate(path)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open_existing(cls, path: Path) -> Store:
        """Return the store in the SQLite file `path` for reading.

        Raises: DataError when there is none, or it is of another version.
        """
        if not path.exists():
            raise DataError(f"{path} is not there: nothing was posted yet; run `entrepot ledger post` first")
        store = cls(_engine(path))
        try:
            with store.engine.connect() as connection:
                revision = _revision(connection)
            if revision != REVISION:
                raise DataError(
                    f"{path} has revision {revision}, expected {REVISION}: run `entrepot ledger post` once"
                )
        except DatabaseError as error:
            store.close()
            raise DataError(f"{path} cannot be read: {error.orig}") from error
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def position(self) -> Position | None:
        """Return up to where the journal was posted, or None when nothing was."""
        with self.engine.connect() as connection:
            row = connection.execute(select(POSITION.c.segment, POSITION.c.offset)).one_or_none()
        return None if row is None else Position(*row)

    def post(self, entries: Iterable[Entry], position: Position) -> None:
        """Write the entries, and that the journal is posted up to `position`, in one transaction.

        An entry that is there already changes nothing.
        Raises: DataError when another one is there under its id; then nothing is written.
        """
        rows = Rows(entries)
        with self.engine.begin() as connection:
            for table, batch in rows.by_table():
                if batch:
                    _insert(connection, table, batch)
            connection.exec_driver_sql(_SET_POSITION, (position.segment, position.offset))

    def names(self) -> Names:
        """Return the names of all endpoints and price versions."""
        with self.engine.connect() as connection:
            return _names(connection)

    def request(self, request_id: bytes) -> RequestHistory | None:
        """Return all that the store has of a request, or None."""
        return self.requests([request_id]).get(request_id)

    def requests(self, request_ids: Sequence[bytes]) -> dict[bytes, RequestHistory]:
        """Return the histories of those requests that the store has, in the order of `request_ids`."""
        found: dict[bytes, list[Entry]] = {request_id: [] for request_id in request_ids}
        with self.engine.connect() as connection:
            names = _names(connection)
            for first in range(0, len(request_ids), _IDS_PER_QUERY):
                for entry in _entries(connection, request_ids[first : first + _IDS_PER_QUERY]):
                    found[entry.request_id].append(entry)
        histories = ((key, history_of(entries, names)) for key, entries in found.items())
        return {key: history for key, history in histories if history is not None}

    def request_of_answer(self, answer_id: str) -> RequestHistory | None:
        """Return the newest request whose answer the host called so, or None."""
        query = (
            select(CLOSINGS.c.request_id)
            .where(CLOSINGS.c.answer_id == answer_id.encode())
            .order_by(CLOSINGS.c.at_ns.desc())
            .limit(1)
        )
        with self.engine.connect() as connection:
            request_id = connection.execute(query).scalar_one_or_none()
        return None if request_id is None else self.request(request_id)

    def ids_between(self, first: bytes, last: bytes, limit: int) -> list[bytes]:
        """Return the ids of up to `limit` requests from `first` to `last`, the oldest first."""
        query = (
            select(RESERVES.c.request_id)
            .where(RESERVES.c.request_id.between(first, last))
            .distinct()
            .order_by(RESERVES.c.request_id)
            .limit(limit)
        )
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def recent(self, limit: int) -> list[RequestHistory]:
        """Return the last `limit` requests, the newest first."""
        query = (
            select(RESERVES.c.request_id)
            .where(RESERVES.c.attempt == 1)
            .order_by(RESERVES.c.request_id.desc())  # ids sort by time
            .limit(limit)
        )
        with self.engine.connect() as connection:
            ids = list(connection.execute(query).scalars())
        return list(self.requests(ids).values())

    def _migrate(self, path: Path) -> None:
        with self.engine.connect() as connection:
            revision = _revision(connection)
        if revision == REVISION:
            return
        # Slow to import, and needed once in the life of a store.
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        folder = str(Path(__file__).parent / "migrations")
        config.set_main_option("script_location", folder.replace("%", "%%"))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if revision is not None and revision not in known:
            raise DataError(
                f"{path} was made by a newer entrepot: it has revision {revision}, this one knows up to "
                f"{REVISION}; upgrade entrepot, or restore a backup of the store"
            )
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # the driver would begin too late, or not at all; `_begin` does
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"cache_size=-{_CACHE_KIB}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _revision(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    return None if found is None else str(found)


def _statement(table: Table) -> str:
    # Text with positional parameters goes to the driver as it is: no work per row on the way.
    return str(insert(table).on_conflict_do_nothing().compile(dialect=sqlite_dialect(paramstyle="qmark")))


_INSERT = {table.name: _statement(table) for table in METADATA.sorted_tables}
_SET_POSITION = (
    'INSERT INTO position (id, segment, "offset") VALUES (1, ?, ?) '
    'ON CONFLICT (id) DO UPDATE SET segment = excluded.segment, "offset" = excluded."offset"'
)


def _insert(connection: Connection, table: Table, rows: list[Row]) -> None:
    written = connection.exec_driver_sql(_INSERT[table.name], rows).rowcount
    if written != len(rows):
        for row in rows:
            _compare(connection, table, row)


def _compare(connection: Connection, table: Table, row: Row) -> None:
    """Raise DataError unless the row that stands under this row's id equals it."""
    keys = list(table.primary_key)
    ids = dict(zip(table.c.keys(), row, strict=True))
    there = connection.execute(select(table).where(*(key == ids[key.name] for key in keys))).one()
    differences = [
        f"{name} is {_text(old)}, posted was {_text(new)}"
        for name, old, new in zip(table.c.keys(), there, row, strict=True)
        if old != new
    ]
    if differences:
        which = ", ".join(f"{key.name} {_text(ids[key.name])}" for key in keys)
        raise DataError(
            f"the store has another entry in {table.name} under {which}: {'; '.join(differences)}. "
            "Nothing was written; run `entrepot ledger audit`, or move the store away: it can be made anew"
        )


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return request_id_text(value) if len(value) == 16 else value.hex()
    return str(value)


def _names(connection: Connection) -> Names:
    endpoints = map(endpoint_from, connection.execute(select(ENDPOINTS)))
    prices = map(prices_from, connection.execute(select(PRICES)))
    return Names(
        {name.endpoint_id: name for name in endpoints}, {name.price_version: name for name in prices}
    )


def _entries(connection: Connection, request_ids: Sequence[bytes]) -> Iterable[OfAttempt]:
    def rows(table: Table) -> Sequence[SqlRow[Any]]:
        query = select(table).where(table.c.request_id.in_(request_ids))
        return connection.execute(query.order_by(*table.primary_key)).all()

    decisions = {(row.request_id, row.attempt): row.decision for row in rows(DECISIONS)}
    for row in rows(RESERVES):
        yield reserve_from(row, decisions.get((row.request_id, row.attempt), b""))
    yield from map(closing_from, rows(CLOSINGS))
    yield from map(correction_from, rows(CORRECTIONS))
