"""Writes batches of entries into the store, each entry once, with the roll-ups and the position.

All of it is one transaction, so a poster may die anywhere. That an entry is there already is the exception:
whole batches go to the database without a question, and only when it says that some of their rows are there
is each looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from sqlalchemy import Connection, Engine, Table, select, text

from entrepot.domain.errors import DataError
from entrepot.domain.ids import request_id_text
from entrepot.ledger.entries import AttemptId
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.store.rollup import NewRows, Place, Reserved, Sums, UsageRollUp, days, reserved_of
from entrepot.ledger.store.rows import Row, Rows
from entrepot.ledger.store.tables import (
    CLOSINGS,
    CORRECTIONS,
    DECISIONS,
    FEEDBACK,
    REFUSALS,
    RESERVES,
    USAGE_DAYS,
    USAGE_HOURS,
)

IDS_PER_QUERY = 500  # databases limit the parameters of a query
_IN_BULK = frozenset((RESERVES, DECISIONS, CLOSINGS, CORRECTIONS, FEEDBACK, REFUSALS))
_SET_POSITION = text(
    'INSERT INTO position (id, segment, "offset") VALUES (1, :segment, :offset) '
    'ON CONFLICT (id) DO UPDATE SET segment = excluded.segment, "offset" = excluded."offset"'
)


class Dialect(Protocol):
    """What differs between the databases that can be a store."""

    def engine(self) -> Engine:
        """Return an engine for the database."""
        ...

    def prepare(self) -> None:
        """Make what has to be there before the first connection."""
        ...

    def identity(self) -> int:
        """Return what changes when the store is replaced by another one."""
        ...

    def hold_still(self, connection: Connection) -> None:
        """Let the transaction that begins on a connection read everything as it is at one instant."""
        ...

    def insert(self, connection: Connection, table: Table, rows: Sequence[Row]) -> bool:
        """Write rows and return whether all were new; if not, what was written has to be taken back."""
        ...

    def add_usage(self, connection: Connection, table: Table, rows: Sequence[Row]) -> None:
        """Add sums to the rows of a roll-up."""
        ...


class Posting:
    """Posts batches over a connection; remembers names and attempts under way between them.

    After a batch that failed make a new one: what it remembers may not be in the store.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._rollup = UsageRollUp()
        self._names: set[tuple[str, Row]] = set()

    def post(self, connection: Connection, rows: Rows, position: Position) -> None:
        """Write the rows and the position within the transaction of the connection.

        Raises: DataError when another entry is there under the id of one of them.
        """
        batches = [(table, batch) for table, batch in rows.by_table() if batch]
        for table, batch in batches:
            if table not in _IN_BULK:
                self._post_names(connection, table, batch)
        new = self._post_rows(connection, [found for found in batches if found[0] in _IN_BULK])
        used = NewRows(*(new.get(table.name, []) for table in (RESERVES, CLOSINGS, CORRECTIONS)))
        hours = self._rollup.hours(used, lambda attempts: _reservations(connection, attempts))
        for table, sums in ((USAGE_HOURS, hours), (USAGE_DAYS, days(hours))):
            if sums:
                self._dialect.add_usage(connection, table, _usage_rows(sums))
        connection.execute(_SET_POSITION, {"segment": position.segment, "offset": position.offset})

    def _post_names(self, connection: Connection, table: Table, rows: list[Row]) -> None:
        """Write names one by one: they are few, and each segment repeats them."""
        unknown = [row for row in rows if (table.name, row) not in self._names]
        _insert_new(connection, table, unknown)
        self._names.update((table.name, row) for row in unknown)

    def _post_rows(
        self, connection: Connection, batches: list[tuple[Table, list[Row]]]
    ) -> Mapping[str, list[Row]]:
        """Write rows and return those that were new, by table."""
        whole = connection.begin_nested()
        if all(self._dialect.insert(connection, table, batch) for table, batch in batches):
            whole.commit()
            return {table.name: batch for table, batch in batches}
        whole.rollback()
        return {table.name: _insert_new(connection, table, batch) for table, batch in batches}


def _usage_rows(sums: Mapping[Place, Sums]) -> list[Row]:
    return [(*place, *sums[place]) for place in sorted(sums)]  # in the order of the table


def _insert_new(connection: Connection, table: Table, rows: Iterable[Row]) -> list[Row]:
    """Write the rows that are not there and return them.

    Raises: DataError when one is there and differs.
    """
    keys = list(table.primary_key)
    new = []
    for row in rows:
        values = dict(zip(table.c.keys(), row, strict=True))
        there = connection.execute(
            select(table).where(*(key == values[key.name] for key in keys))
        ).one_or_none()
        if there is None:
            connection.execute(table.insert(), values)
            new.append(row)
        elif tuple(there) != row:
            raise _conflict(table, tuple(there), row)
    return new


def _conflict(table: Table, there: Row, row: Row) -> DataError:
    names = table.c.keys()
    ids = dict(zip(names, row, strict=True))
    differences = [
        f"{name} is {_text(old)}, posted was {_text(new)}"
        for name, old, new in zip(names, there, row, strict=True)
        if old != new
    ]
    which = ", ".join(f"{key.name} {_text(ids[key.name])}" for key in table.primary_key)
    return DataError(
        f"the store has another entry in {table.name} under {which}: {'; '.join(differences)}. "
        "Nothing was written; run `entrepot ledger audit`, or move the store away: it can be made anew"
    )


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return request_id_text(value) if len(value) == 16 else value.hex()
    return str(value)


def _reservations(connection: Connection, attempts: list[AttemptId]) -> dict[AttemptId, Reserved]:
    """Return where attempts count that were reserved in an earlier batch."""
    wanted = set(attempts)
    ids = sorted({request_id for request_id, _ in wanted})
    found: dict[AttemptId, Reserved] = {}
    for first in range(0, len(ids), IDS_PER_QUERY):
        query = select(RESERVES).where(RESERVES.c.request_id.in_(ids[first : first + IDS_PER_QUERY]))
        for row in map(tuple, connection.execute(query)):
            if row[:2] in wanted:
                found[row[:2]] = reserved_of(row)
    return found
