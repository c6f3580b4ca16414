"""The store: the journal's entries in a database, for reports and questions about what was long ago.

Only the poster writes to it and the gateway never opens it, so a slow, locked or missing database
delays reports and not requests. SQLAlchemy Core and not its mapper: the rows are the entries, and whole
batches go to the driver at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert, select
from sqlalchemy import Row as SqlRow
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from entrepot.domain.errors import DataError, StoreAway
from entrepot.ledger.entries import Entry, OfAttempt
from entrepot.ledger.history import Names, RefusalHistory, RequestHistory, history_of, refusal_of
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.store.place import PostgresDatabase, StorePlace
from entrepot.ledger.store.postgres import PostgresStore
from entrepot.ledger.store.posting import IDS_PER_QUERY, Dialect, Posting
from entrepot.ledger.store.rows import (
    Rows,
    closing_from,
    correction_from,
    endpoint_from,
    prices_from,
    refused_from,
    reserve_from,
)
from entrepot.ledger.store.sqlite import SqliteStore
from entrepot.ledger.store.tables import (
    CLOSINGS,
    CORRECTIONS,
    DECISIONS,
    ENDPOINTS,
    JOURNAL,
    POSITION,
    PRICES,
    REFUSALS,
    RESERVES,
    RULES,
)

REVISION = "0005"  # the last one in migrations/versions; a test compares
_READ_ONLY = "25006"  # PostgreSQL's state for a transaction that may not write: a standby, or set so


class Store:
    """An open store. Not for several threads."""

    def __init__(self, place: StorePlace) -> None:
        self.place = place
        self.dialect: Dialect = (
            PostgresStore(place) if isinstance(place, PostgresDatabase) else SqliteStore(place)
        )
        self.dialect.prepare()
        self.identity = self.dialect.identity()
        self.engine = self.dialect.engine()
        self._posting = Posting(self.dialect)

    @classmethod
    def open(cls, place: StorePlace) -> Store:
        """Return the store at `place`, its tables made and brought up to this version when needed.

        Raises: StoreAway when it cannot be opened now; DataError when a newer entrepot made it, or it is
        damaged.
        """
        store = cls(place)
        try:
            with store.faults():
                store._migrate()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open_existing(cls, place: StorePlace) -> Store:
        """Return the store at `place` for reading.

        Raises: StoreAway when it cannot be read now; DataError when there is none, or it is of another
        version.
        """
        found = cls.find(place)
        if found is None:
            raise DataError(f"{place} is not there: nothing was posted yet; run `entrepot ledger post` first")
        return found

    @classmethod
    def find(cls, place: StorePlace) -> Store | None:
        """Return the store at `place` for reading, or None when nothing was posted there yet.

        Raises: StoreAway when it cannot be read now; DataError when it is of another version.
        """
        if isinstance(place, Path) and not place.exists():
            return None
        store = cls(place)
        try:
            with store.faults(), store.engine.connect() as connection:
                revision = _revision(connection)
            if revision is None and isinstance(place, PostgresDatabase):
                store.close()
                return None
            if revision != REVISION:
                raise DataError(
                    f"{place} has revision {revision}, expected {REVISION}: run `entrepot ledger post` once"
                )
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

    @property
    def is_replaced(self) -> bool:
        """Return whether another store is at the place by now, or none."""
        return self.dialect.identity() != self.identity

    @contextlib.contextmanager
    def faults(self) -> Iterator[None]:
        """Turn what the database says within into our own errors, which name the store.

        Raises: StoreAway when a later try may go better, DataError when none will.
        """
        try:
            yield
        except DBAPIError as error:
            said = " ".join(str(error.orig).split())
            if _may_pass(error):
                raise StoreAway(f"{self.place} cannot be used now ({said})") from error
            raise DataError(
                f"{self.place} is damaged ({said}): move it away, and it is made anew from the journal"
            ) from error

    def claim(self, journal_id: str) -> None:
        """Make this the store of a journal, if it is not yet.

        Raises: DataError when it is the store of another one; StoreAway as always.
        """
        with self.faults(), self.engine.begin() as connection:
            there = connection.execute(select(JOURNAL.c.journal_id)).scalar_one_or_none()
            if there is None:
                connection.execute(insert(JOURNAL), {"id": 1, "journal_id": journal_id})
                return
        if there != journal_id:
            raise DataError(
                f"{self.place} is the store of journal {there}, this data directory has journal "
                f"{journal_id}: give each its own database; if this is a copy of that data directory, bring "
                "its file `journal-id` along"
            )

    def position(self) -> Position | None:
        """Return up to where the journal was posted, or None when nothing was."""
        with self.faults(), self.engine.connect() as connection:
            row = connection.execute(select(POSITION.c.segment, POSITION.c.offset)).one_or_none()
        return None if row is None else Position(*row)

    def post(self, entries: Iterable[Entry], position: Position) -> None:
        """Write the entries, their roll-ups, and that the journal is posted up to `position`.

        That is one transaction. An entry that is there already changes nothing.
        Raises: DataError when another one is there under its id, StoreAway when the store cannot be written
        now; then nothing is written.
        """
        self.post_rows(Rows(entries), position)

    def post_rows(self, rows: Rows, position: Position) -> None:
        """Write the rows of entries as `post` does."""
        try:
            with self.faults(), self.engine.begin() as connection:
                self._posting.post(connection, rows, position)
        except BaseException:
            self._posting = Posting(self.dialect)
            raise

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
            for first in range(0, len(request_ids), IDS_PER_QUERY):
                for entry in _entries(connection, request_ids[first : first + IDS_PER_QUERY]):
                    found[entry.request_id].append(entry)
        histories = ((key, history_of(entries, names)) for key, entries in found.items())
        return {key: history for key, history in histories if history is not None}

    def request_of_answer(self, answer_id: str) -> RequestHistory | None:
        """Return the newest request whose answer the host called so, or None.

        Reads the table from its young end: a second for some million requests.
        """
        query = (
            select(CLOSINGS.c.request_id)
            .where(CLOSINGS.c.answer_id == answer_id.encode())
            .order_by(CLOSINGS.c.request_id.desc(), CLOSINGS.c.attempt.desc())
            .limit(1)
        )
        with self.engine.connect() as connection:
            request_id = connection.execute(query).scalar_one_or_none()
        return None if request_id is None else self.request(request_id)

    def refusal(self, request_id: bytes) -> RefusalHistory | None:
        """Return what the store has of a request that rules refused, or None."""
        with self.engine.connect() as connection:
            query = select(REFUSALS).where(REFUSALS.c.request_id == request_id)
            found = map(refused_from, connection.execute(query).all())
            return refusal_of(found, _names(connection))

    def refused_between(self, first: bytes, last: bytes, limit: int) -> list[bytes]:
        """Return the ids of up to `limit` refusals from `first` to `last`, the oldest first."""
        found = REFUSALS.c.request_id
        query = select(found).where(found.between(first, last)).order_by(found).limit(limit)
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())

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

    def _migrate(self) -> None:
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
                f"{self.place} was made by a newer entrepot: it has revision {revision}, this one knows up "
                f"to {REVISION}; upgrade entrepot, or restore a backup of the store"
            )
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _may_pass(error: DBAPIError) -> bool:
    """Return whether a fault of the database may be gone with the next connection."""
    is_read_only = getattr(error.orig, "sqlstate", None) == _READ_ONLY
    return (
        error.connection_invalidated or is_read_only or isinstance(error, OperationalError | InterfaceError)
    )


def _revision(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    return None if found is None else str(found)


def _names(connection: Connection) -> Names:
    endpoints = map(endpoint_from, connection.execute(select(ENDPOINTS)))
    prices = map(prices_from, connection.execute(select(PRICES)))
    rules = connection.execute(select(RULES.c.rules_id, RULES.c.rules))
    return Names(
        {name.endpoint_id: name for name in endpoints},
        {name.price_version: name for name in prices},
        {rules_id: tuple(names.split(",")) if names else () for rules_id, names in rules},
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
