"""What was used and what it cost, by host, model, key, country or day: sums over the store's entries.

An attempt belongs to the period in which it was reserved, and so do its corrections, so a period that was
reported does not move when an answer ends after midnight. Sums are made by the database, in integers; a
report that read the entries itself would have to read all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, FromClause, Select, and_, case, func, select
from sqlalchemy.sql.elements import ColumnElement

from entrepot.domain.money import usd_text
from entrepot.ledger.store import Store
from entrepot.ledger.tables import CLOSINGS, CORRECTIONS, ENDPOINTS, RESERVES

DAY_NS = 86_400 * 1_000_000_000
UNDECLARED = "undeclared"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOKENS = (
    "uncached_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_LINES = (
    "uncached_nusd",
    "cached_nusd",
    "cache_write_nusd",
    "cache_write_1h_nusd",
    "output_nusd",
    "reasoning_nusd",
    "request_nusd",
)


class Dimension(StrEnum):
    """By what a report adds up."""

    HOST = "host"
    MODEL = "model"
    KEY = "key"
    COUNTRY = "country"
    DAY = "day"


class ReportRow(Struct, frozen=True):
    """One line of a report; `group` is the host, model, owner country or day (UTC), or the number of the key.

    Units: tokens, nano-USD. `requests` are counted where their first attempt went, so that groups add up.
    Reasoning is a part of the output. `unknown_nusd` is what attempts of unknown cost may have cost at most,
    and is not in `cost_nusd`; neither is `reserved_nusd` of attempts under way. Shares are parts of 1.
    `simulated_attempts` went to simulated endpoints: nobody paid for those.
    """

    group: str
    requests: int = 0
    attempts: int = 0
    simulated_attempts: int = 0
    uncached_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nusd: int = 0
    unknown_nusd: int = 0
    reserved_nusd: int = 0
    token_share: float = 0.0
    cost_share: float = 0.0

    @property
    def tokens(self) -> int:
        """Return all tokens, prompt and output."""
        written = self.cache_write_tokens + self.cache_write_1h_tokens
        return self.uncached_tokens + self.cached_tokens + written + self.output_tokens


class Report(Struct, frozen=True):
    """The rows of a report and their sum. Days stand in order; all else has the dearest first."""

    by: Dimension
    rows: tuple[ReportRow, ...]
    total: ReportRow


def report(
    store: Store, by: Dimension, *, since_ns: int | None = None, until_ns: int | None = None
) -> Report:
    """Return what was reserved from `since_ns` on and before `until_ns`, with its corrections.

    Units: Unix nanoseconds; None is without a limit.
    """
    sums: dict[str, dict[str, int]] = {}
    with store.engine.connect() as connection:
        for query in (_attempts(by, since_ns, until_ns), _corrections(by, since_ns, until_ns)):
            _add_up(connection, query, by, sums)
    rows = [ReportRow(group, **amounts) for group, amounts in sums.items()]
    total = _sum(rows)
    shared = [_with_shares(row, total) for row in rows]
    shared.sort(key=_day_order if by is Dimension.DAY else _dearest_first)
    return Report(by, tuple(shared), _with_shares(total, total))


def _attempts(by: Dimension, since_ns: int | None, until_ns: int | None) -> Select[*tuple[Any, ...]]:

    same = and_(RESERVES.c.request_id == CLOSINGS.c.request_id, RESERVES.c.attempt == CLOSINGS.c.attempt)
    is_open = CLOSINGS.c.request_id.is_(None)
    sums = [
        func.sum(case((RESERVES.c.attempt == 1, 1), else_=0)).label("requests"),
        func.count().label("attempts"),
        func.sum(case((ENDPOINTS.c.simulated, 1), else_=0)).label("simulated_attempts"),
        *(func.coalesce(func.sum(CLOSINGS.c[name]), 0).label(name) for name in _TOKENS),
        func.coalesce(func.sum(_lines_of(CLOSINGS)), 0).label("cost_nusd"),
        func.coalesce(func.sum(CLOSINGS.c.unknown_nusd), 0).label("unknown_nusd"),
        func.sum(case((is_open, RESERVES.c.amount_nusd), else_=0)).label("reserved_nusd"),
    ]
    joined = RESERVES.outerjoin(CLOSINGS, same).outerjoin(ENDPOINTS, _named())
    return _grouped(joined, by, sums, since_ns, until_ns)


def _corrections(by: Dimension, since_ns: int | None, until_ns: int | None) -> Select[*tuple[Any, ...]]:
    """What was corrected later, in the period in which the attempt was reserved."""
    same = and_(
        RESERVES.c.request_id == CORRECTIONS.c.request_id, RESERVES.c.attempt == CORRECTIONS.c.attempt
    )
    sums = [
        *(func.sum(CORRECTIONS.c[name]).label(name) for name in _TOKENS),
        func.sum(_lines_of(CORRECTIONS)).label("cost_nusd"),
        func.sum(-CORRECTIONS.c.unknown_nusd).label("unknown_nusd"),
    ]
    joined = CORRECTIONS.join(RESERVES, same).outerjoin(ENDPOINTS, _named())
    return _grouped(joined, by, sums, since_ns, until_ns)


def _named() -> ColumnElement[bool]:
    return RESERVES.c.endpoint_id == ENDPOINTS.c.endpoint_id


def _lines_of(table: FromClause) -> ColumnElement[int]:
    first, *others = (table.c[name] for name in _LINES)
    return sum(others, start=first)


def _grouped(
    joined: FromClause,
    by: Dimension,
    sums: Sequence[ColumnElement[int]],
    since_ns: int | None,
    until_ns: int | None,
) -> Select[*tuple[Any, ...]]:
    group = _group_column(by).label("group")
    query = select(group, *sums).select_from(joined).group_by(group)
    if since_ns is not None:
        query = query.where(RESERVES.c.at_ns >= since_ns)
    if until_ns is not None:
        query = query.where(RESERVES.c.at_ns < until_ns)
    return query


def _group_column(by: Dimension) -> ColumnElement[object]:
    match by:
        case Dimension.HOST:
            return func.coalesce(ENDPOINTS.c.host, UNDECLARED)
        case Dimension.MODEL:
            return func.coalesce(ENDPOINTS.c.model, UNDECLARED)
        case Dimension.COUNTRY:
            return func.coalesce(ENDPOINTS.c.owner_country, UNDECLARED)
        case Dimension.KEY:
            return RESERVES.c.key_id
        case Dimension.DAY:
            return RESERVES.c.at_ns // DAY_NS


def _add_up(
    connection: Connection,
    query: Select[*tuple[Any, ...]],
    by: Dimension,
    sums: dict[str, dict[str, int]],
) -> None:
    for row in connection.execute(query).mappings():
        amounts = sums.setdefault(_group_text(by, row["group"]), {})
        for name, amount in row.items():
            if name != "group":
                # int(): PostgreSQL adds integers up to a decimal
                amounts[name] = amounts.get(name, 0) + int(amount)


def _group_text(by: Dimension, group: object) -> str:
    if by is Dimension.DAY and isinstance(group, int):
        return (_EPOCH + timedelta(days=group)).date().isoformat()
    return str(group)


def _sum(rows: list[ReportRow]) -> ReportRow:
    names = [
        name for name in ReportRow.__struct_fields__ if name not in ("group", "token_share", "cost_share")
    ]
    return ReportRow("total", **{name: sum(getattr(row, name) for row in rows) for name in names})


def _with_shares(row: ReportRow, total: ReportRow) -> ReportRow:
    return msgspec.structs.replace(
        row,
        token_share=row.tokens / total.tokens if total.tokens else 0.0,
        cost_share=row.cost_nusd / total.cost_nusd if total.cost_nusd else 0.0,
    )


def _day_order(row: ReportRow) -> tuple[int, int, str]:
    return (0, 0, row.group)


def _dearest_first(row: ReportRow) -> tuple[int, int, str]:
    return (-row.cost_nusd, -row.tokens, row.group)


def as_json(result: Report, names: Mapping[str, str]) -> dict[str, object]:
    """Return the report for `--json`; `names` has what a group is called beside its number."""
    return {
        "by": result.by.value,
        "rows": [_row_json(row, names) for row in result.rows],
        "total": _row_json(result.total, {}),
    }


def _row_json(row: ReportRow, names: Mapping[str, str]) -> dict[str, object]:
    shown: dict[str, object] = msgspec.structs.asdict(row)
    if row.group in names:
        shown["name"] = names[row.group]
    shown["tokens"] = row.tokens
    for name in ("cost", "unknown", "reserved"):
        shown[f"{name}_usd"] = usd_text(getattr(row, f"{name}_nusd"))
    return shown
