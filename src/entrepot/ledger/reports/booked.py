"""What the ledger booked at one host, in pieces small enough to be lined up with the host's own days.

Quarters of an hour, since every time zone's midnight is on one; by price version and by how attempts
ended, since those are what a difference is explained by. Single attempts only where the host names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct
from sqlalchemy import Select, and_, case, func, literal_column, select
from sqlalchemy.sql.elements import ColumnElement

from entrepot.domain.ids import request_id_text
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Prices
from entrepot.domain.usage import Usage
from entrepot.ledger.entries import QUARTER_NS, Kind
from entrepot.ledger.reports.usage_query import Window, deleted_attempts, lines_of
from entrepot.ledger.store.rows import prices_from
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.tables import CLOSINGS, CORRECTIONS, ENDPOINTS, PRICES, RESERVES

_TOKENS = ("uncached", "cached", "cache_write", "output", "reasoning", "cache_write_1h")


class Ending(StrEnum):
    """How attempts ended in the ledger."""

    SETTLED = "settled"
    VOID = "void"
    UNKNOWN = "unknown"
    OPEN = "open"


_ENDINGS = {
    Kind.SETTLE.value: Ending.SETTLED,
    Kind.VOID.value: Ending.VOID,
    Kind.EXPIRE.value: Ending.UNKNOWN,
}


class Piece(Struct, frozen=True):
    """Attempts of one quarter of an hour, model and price version that ended alike, added up.

    Units: `at_ns` Unix nanoseconds, the start of the quarter; nano-USD. `at_most_nusd` is what attempts of
    unknown cost, or under way, cost at most. `retry`: they were not the first of their request. `ids` are the
    attempt's id as hosts got it and the host's own, where single attempts were asked for.
    """

    at_ns: int
    model: str
    price_version: int
    ending: Ending
    cancelled: bool
    estimated: bool
    retry: bool
    attempts: int
    usage: Usage
    cost_nusd: int
    at_most_nusd: int = 0
    ids: tuple[str, ...] = ()


class PriceVersion(Struct, frozen=True):
    """Prices that the ledger knows of an endpoint of a model at this host."""

    number: int
    model: str
    prices: Prices


class BookedAtHost(Struct, frozen=True):
    """All pieces of a window, and every price version of the host.

    `deleted_attempts` are some of the window, at whatever host, whose entries were deleted by retention.
    """

    pieces: tuple[Piece, ...]
    versions: tuple[PriceVersion, ...]
    deleted_attempts: int = 0


def booked(store: Store, host: str, window: Window, *, by_attempt: bool = False) -> BookedAtHost:
    """Return what was reserved at the host in the window and became of it, corrections included."""
    with store.engine.connect() as connection:
        rows = [
            row
            for query in (_attempts(host, window, by_attempt), _corrections(host, window, by_attempt))
            for row in connection.execute(query)
        ]
        of_host = select(ENDPOINTS.c.endpoint_id, ENDPOINTS.c.model).where(ENDPOINTS.c.host == host)
        models = {row[0]: row[1] for row in connection.execute(of_host)}
        deleted = deleted_attempts(connection, window)
        named = [prices_from(row) for row in connection.execute(select(PRICES))]
    versions = [
        PriceVersion(entry.price_version, models[entry.endpoint_id], entry.prices)
        for entry in named
        if entry.endpoint_id in models
    ]
    return BookedAtHost(tuple(map(_piece, rows)), tuple(versions), deleted)


def _piece(row: Any) -> Piece:  # noqa: ANN401 - a row of the database
    tokens = Usage(
        int(row.uncached_tokens),
        int(row.cached_tokens),
        int(row.cache_write_tokens),
        int(row.output_tokens),
        int(row.reasoning_tokens),
        int(row.cache_write_1h_tokens),
    )
    ids: tuple[str, ...] = ()
    if row.request_id is not None:
        ours = f"{request_id_text(row.request_id)}-{row.attempt}"
        ids = (ours, row.answer_id.decode(errors="replace")) if row.answer_id else (ours,)
    return Piece(
        int(row.quarter) * QUARTER_NS,
        row.model,
        row.price_version,
        _ENDINGS.get(row.kind, Ending.OPEN),
        row.outcome == Outcome.CANCELLED,
        bool(row.estimated),
        bool(row.retry),
        int(row.attempts),
        tokens,
        int(row.cost_nusd),
        int(row.at_most_nusd),
        ids,
    )


def _attempts(host: str, window: Window, by_attempt: bool) -> Select[Any]:  # noqa: FBT001
    held = case((CLOSINGS.c.request_id.is_(None), RESERVES.c.amount_nusd), else_=CLOSINGS.c.unknown_nusd)
    sums = [
        func.count().label("attempts"),
        *(func.coalesce(func.sum(CLOSINGS.c[f"{k}_tokens"]), 0).label(f"{k}_tokens") for k in _TOKENS),
        func.coalesce(func.sum(lines_of(CLOSINGS)), 0).label("cost_nusd"),
        func.coalesce(func.sum(held), 0).label("at_most_nusd"),
    ]
    return _grouped(host, window, by_attempt, sums, of_corrections=False)


def _corrections(host: str, window: Window, by_attempt: bool) -> Select[Any]:  # noqa: FBT001
    sums = [
        func.min(0).label("attempts"),
        *(func.sum(CORRECTIONS.c[f"{kind}_tokens"]).label(f"{kind}_tokens") for kind in _TOKENS),
        func.sum(lines_of(CORRECTIONS)).label("cost_nusd"),
        func.sum(-CORRECTIONS.c.unknown_nusd).label("at_most_nusd"),
    ]
    return _grouped(host, window, by_attempt, sums, of_corrections=True)


def _grouped(
    host: str,
    window: Window,
    by_attempt: bool,  # noqa: FBT001
    sums: Sequence[ColumnElement[Any]],
    *,
    of_corrections: bool,
) -> Select[Any]:
    closed = and_(RESERVES.c.request_id == CLOSINGS.c.request_id, RESERVES.c.attempt == CLOSINGS.c.attempt)
    joined = RESERVES.join(ENDPOINTS, RESERVES.c.endpoint_id == ENDPOINTS.c.endpoint_id)
    joined = joined.outerjoin(CLOSINGS, closed)
    if of_corrections:
        same = and_(
            RESERVES.c.request_id == CORRECTIONS.c.request_id, RESERVES.c.attempt == CORRECTIONS.c.attempt
        )
        joined = joined.join(CORRECTIONS, same)
    none: ColumnElement[Any] = literal_column("NULL")
    columns = {
        "quarter": RESERVES.c.at_ns // literal_column(str(QUARTER_NS), RESERVES.c.at_ns.type),
        "model": ENDPOINTS.c.model,
        "price_version": RESERVES.c.price_version,
        "kind": CLOSINGS.c.kind,
        "outcome": CLOSINGS.c.outcome,
        "estimated": CLOSINGS.c.estimated,
        "retry": RESERVES.c.attempt > literal_column("1"),
        "request_id": RESERVES.c.request_id if by_attempt else none,
        "attempt": RESERVES.c.attempt if by_attempt else none,
        "answer_id": CLOSINGS.c.answer_id if by_attempt else none,
    }
    groups = [column for column in columns.values() if column is not none]
    query = select(*(column.label(name) for name, column in columns.items()), *sums)
    query = query.select_from(joined).where(ENDPOINTS.c.host == host).group_by(*groups)
    if window.since_ns is not None:
        query = query.where(RESERVES.c.at_ns >= window.since_ns)
    if window.until_ns is not None:
        query = query.where(RESERVES.c.at_ns < window.until_ns)
    return query
