"""Copies a whole store from one database into another, as it was at one instant.

Backups of PostgreSQL, restores into it and moves between the two databases are this one function. The tools
of a database (`pg_dump`, SQLite's own copy) are faster, and what they write only the same database reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, Table, literal, select

from entrepot.domain.errors import DataError
from entrepot.ledger.store.place import PostgresDatabase, StorePlace
from entrepot.ledger.store.rows import Row
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.tables import CONTENTS, JOURNAL, METADATA

ROWS_AT_ONCE = 500  # in memory: enough that a statement costs next to nothing per row
CONTENTS_AT_ONCE = 16  # each may have some megabytes


def copy_store(source: StorePlace, target: StorePlace) -> int | None:
    """Copy every row of a store into an empty one, and return how many; None when there is no store yet.

    A poster may go on meanwhile. The rows are written in one transaction, so there are all or none. Both are
    of the revision of this version, which the copy notes like any new store.
    Raises: DataError when there are rows at the target, or the source is of another version; StoreAway when
    one of the two cannot be used now.
    """
    check_is_free(target)
    found = Store.find(source)
    if found is None:
        return None
    with found as there, Store.open(target) as here, here.faults(), here.engine.begin() as connection:
        return sum(_write(here, connection, table, rows) for table, rows in _rows(there))


def check_is_free(place: StorePlace) -> None:
    """Do nothing when no rows of a store are at a place: neither its tables, or no row in them.

    Raises: DataError with what to do when there are some; StoreAway when the database cannot be asked now.
    """
    if not isinstance(place, PostgresDatabase) and not place.exists():
        return
    with Store(place) as store, store.faults(), store.engine.connect() as connection:
        used = [table.name for table in METADATA.sorted_tables if _has_rows(connection, table)]
        if not used:
            return
        whose = f"of table {used[0]}"
        if JOURNAL.name in used:
            whose = f"of journal {connection.execute(select(JOURNAL.c.journal_id)).scalar_one()}"
    raise DataError(f"{place} holds rows {whose}, and nothing is overwritten: {_advice(place)}")


def _advice(place: StorePlace) -> str:
    if isinstance(place, PostgresDatabase):
        return "name an empty database or schema, or drop the tables if nobody needs them"
    return "move the file away"


def _has_rows(connection: Connection, table: Table) -> bool:
    if not connection.dialect.has_table(connection, table.name):
        return False
    return connection.execute(select(literal(1)).select_from(table).limit(1)).first() is not None


def _rows(store: Store) -> Iterator[tuple[Table, Sequence[Row]]]:
    """Yield all rows of a store, some at a time, as they were at one instant."""
    with store.faults(), store.engine.connect() as connection:
        store.dialect.hold_still(connection)
        for table in METADATA.sorted_tables:
            at_once = CONTENTS_AT_ONCE if table is CONTENTS else ROWS_AT_ONCE
            found = connection.execute(select(table), execution_options={"yield_per": at_once})
            for rows in found.partitions():
                yield table, [tuple(row) for row in rows]


def _write(store: Store, connection: Connection, table: Table, rows: Sequence[Row]) -> int:
    if not store.dialect.insert(connection, table, rows):
        raise DataError(f"{store.place} got other rows of table {table.name} meanwhile: nothing was copied")
    return len(rows)
