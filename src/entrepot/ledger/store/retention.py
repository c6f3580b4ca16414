"""Deletes from the store what is older than the operator keeps: a little at a time, so that posting goes on.

Decisions are the bulk of the bytes and age first; money lines may stay for years. The roll-ups stay for ever.
Partitions by time, which PostgreSQL drops at once, would be a second way to write and to read for one of the
two databases.
"""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection, and_, delete, exists, func, insert, select, update

from entrepot.ledger.store.contents import delete_old
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.tables import (
    CLOSINGS,
    CORRECTIONS,
    DECISIONS,
    FEEDBACK,
    REFUSALS,
    RESERVES,
    RETENTION,
)

REQUESTS_PER_DELETE = 500  # some ten milliseconds
DAY_NS = 86_400_000_000_000


class StoreRetention(Struct, frozen=True):
    """How long the store keeps what no report of whole hours needs.

    Units: days; 0 keeps it for ever.
    """

    decisions_days: float = 0.0
    entries_days: float = 0.0
    contents_days: float = 0.0
    tasks_days: float = 0.0

    @property
    def is_on(self) -> bool:
        """Return whether anything is ever deleted."""
        return any((self.decisions_days, self.entries_days, self.contents_days, self.tasks_days))


def delete_some(
    store: Store, retention: StoreRetention, now_ns: int, *, most: int = REQUESTS_PER_DELETE
) -> bool:
    """Delete up to `most` requests' worth of what is too old and return whether there may be more.

    A request goes as a whole, once all of its attempts are closed. How far each table is thinned is noted
    in the same transaction, so that the audit does not miss what was meant to go.
    Raises: StoreAway when the store cannot be written now.
    """
    deleted = 0
    more_words = delete_old(
        store, now_ns, contents_days=retention.contents_days, tasks_days=retention.tasks_days
    )
    with store.faults(), store.engine.begin() as connection:
        if retention.decisions_days:
            before_ns = now_ns - int(retention.decisions_days * DAY_NS)
            deleted = max(deleted, _delete_decisions(connection, before_ns, most))
            _note(connection, "decisions", before_ns)
        if retention.entries_days:
            before_ns = now_ns - int(retention.entries_days * DAY_NS)
            deleted = max(deleted, _delete_entries(connection, before_ns, most))
            deleted = max(deleted, _delete_refusals(connection, before_ns, most))
            _note(connection, "entries", before_ns)
    return more_words or deleted == most


def _delete_decisions(connection: Connection, before_ns: int, most: int) -> int:
    is_closed = exists().where(
        CLOSINGS.c.request_id == DECISIONS.c.request_id, CLOSINGS.c.attempt == DECISIONS.c.attempt
    )
    old = (
        select(DECISIONS.c.request_id)
        .where(DECISIONS.c.request_id < _first_id(before_ns), is_closed)
        .distinct()
        .order_by(DECISIONS.c.request_id)
        .limit(most)
    )
    ids = list(connection.execute(old).scalars())
    connection.execute(delete(DECISIONS).where(DECISIONS.c.request_id.in_(ids), is_closed))
    return len(ids)


def _delete_entries(connection: Connection, before_ns: int, most: int) -> int:
    same = and_(CLOSINGS.c.request_id == RESERVES.c.request_id, CLOSINGS.c.attempt == RESERVES.c.attempt)
    old = (
        select(RESERVES.c.request_id)
        .select_from(RESERVES.outerjoin(CLOSINGS, same))
        .where(RESERVES.c.request_id < _first_id(before_ns))
        .group_by(RESERVES.c.request_id)
        .having(func.count() == func.count(CLOSINGS.c.request_id))
        .order_by(RESERVES.c.request_id)
        .limit(most)
    )
    ids = list(connection.execute(old).scalars())
    for table in (DECISIONS, CORRECTIONS, CLOSINGS, FEEDBACK, RESERVES):
        connection.execute(delete(table).where(table.c.request_id.in_(ids)))
    return len(ids)


def _delete_refusals(connection: Connection, before_ns: int, most: int) -> int:
    found = REFUSALS.c.request_id
    old = select(found).where(found < _first_id(before_ns)).order_by(found).limit(most)
    ids = list(connection.execute(old).scalars())
    connection.execute(delete(REFUSALS).where(found.in_(ids)))
    return len(ids)


def _first_id(at_ns: int) -> bytes:
    """Return the least request id of an instant: ids begin with it."""
    return max(at_ns, 0).to_bytes(8, "big")


def _note(connection: Connection, what: str, before_ns: int) -> None:
    row = RETENTION.c.what == what
    if connection.execute(update(RETENTION).where(row).values(before_ns=before_ns)).rowcount == 0:
        connection.execute(insert(RETENTION).values(what=what, before_ns=before_ns))
