"""Where a model's tokens are served, period by period, and how that grows: each host's share.

A report by month and host has the same sums; shares within a period, growth from one to the next and the
periods in which nothing was used are what it lacks, and what makes the answer to *who wins*.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from enum import StrEnum

from msgspec import Struct

from entrepot.ledger.reports.report import EVERYTHING, Dimension, Only, ReportRow, report
from entrepot.ledger.store.store import Store


class Every(StrEnum):
    """How long a period is; a week begins on Monday and is named by it."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Part(Struct, frozen=True):
    """The tokens of a group in a period.

    `share` is its part of 1 of the period, None where nothing was used; `growth` its tokens over those of the
    period before, `growth_since_first` over those of the first period that it has any in; None without those.
    """

    group: str
    tokens: int
    share: float | None
    growth: float | None
    growth_since_first: float | None


class SharePeriod(Struct, frozen=True):
    """A period, its tokens over all groups, and the part of each group, in the order of `Shares.groups`."""

    period: str
    all: Part
    parts: tuple[Part, ...]


class Shares(Struct, frozen=True):
    """Shares over time. `groups` has the one with the most tokens first.

    Periods without any use stand between others with zero tokens. `simulated_attempts` of `attempts` went to
    simulated endpoints.
    """

    by: Dimension
    every: Every
    groups: tuple[str, ...]
    periods: tuple[SharePeriod, ...]
    attempts: int
    simulated_attempts: int


def shares(
    store: Store,
    by: Dimension,
    every: Every,
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    only: Only = EVERYTHING,
) -> Shares:
    """Return the shares of the groups of `by` in the tokens reserved in the window.

    Units: Unix nanoseconds; None is without a limit.
    Raises: ValueError when the groups of `by` are periods or overlap: they are no parts of a whole.
    """
    if by.is_time or by.may_overlap:
        raise ValueError(f"the groups of {by.value} are no parts of a whole: take host, country or region")
    time = Dimension.MONTH if every is Every.MONTH else Dimension.DAY
    found = report(store, time, by, since_ns=since_ns, until_ns=until_ns, only=only)
    tokens: dict[str, dict[str, int]] = {}
    totals: dict[str, int] = {}
    for row in found.rows:
        period, group = _period_of(row, every), row.groups[1]
        of_period = tokens.setdefault(period, {})
        of_period[group] = of_period.get(group, 0) + row.tokens
        totals[group] = totals.get(group, 0) + row.tokens
    groups = tuple(sorted(totals, key=lambda group: (-totals[group], group)))
    rows = [tokens.get(period, {}) for period in _without_holes(sorted(tokens), every)]
    names = list(_without_holes(sorted(tokens), every))
    of_groups = [_parts(group, [row.get(group, 0) for row in rows], rows) for group in groups]
    of_all = _parts("all", [sum(row.values()) for row in rows], rows)
    periods = tuple(
        SharePeriod(name, of_all[at], tuple(parts[at] for parts in of_groups))
        for at, name in enumerate(names)
    )
    return Shares(by, every, groups, periods, found.total.attempts, found.total.simulated_attempts)


def _period_of(row: ReportRow, every: Every) -> str:
    if every is not Every.WEEK:
        return row.groups[0]
    day = date.fromisoformat(row.groups[0])
    return (day - timedelta(days=day.weekday())).isoformat()


def _without_holes(periods: list[str], every: Every) -> Iterator[str]:
    """Yield every period from the first to the last."""
    if not periods:
        return
    period = periods[0]
    while period <= periods[-1]:
        yield period
        period = _after(period, every)


def _after(period: str, every: Every) -> str:
    if every is Every.MONTH:
        year, month = map(int, period.split("-"))
        return f"{year + month // 12:04}-{month % 12 + 1:02}"
    return (date.fromisoformat(period) + timedelta(days=7 if every is Every.WEEK else 1)).isoformat()


def _parts(group: str, tokens: list[int], rows: list[dict[str, int]]) -> list[Part]:
    found, first = [], 0
    for at, amount in enumerate(tokens):
        whole = sum(rows[at].values())
        before = tokens[at - 1] if at else 0
        first = first or amount
        found.append(
            Part(
                group,
                amount,
                amount / whole if whole else None,
                amount / before if before else None,
                amount / first if first else None,
            )
        )
    return found


def as_json(result: Shares) -> dict[str, object]:
    """Return the shares for `--json`: one row for each period and group, and one for all groups."""
    return {
        "by": result.by.value,
        "every": result.every.value,
        "groups": list(result.groups),
        "rows": [
            _part_json(period.period, part, result.by) for period in result.periods for part in period.parts
        ],
        "totals": [_part_json(period.period, period.all, None) for period in result.periods],
        "attempts": result.attempts,
        "simulated_attempts": result.simulated_attempts,
    }


def _part_json(period: str, part: Part, by: Dimension | None) -> dict[str, object]:
    return {
        "period": period,
        **({} if by is None else {by.value: part.group}),
        "tokens": part.tokens,
        "share": part.share,
        "growth": part.growth,
        "growth_since_first": part.growth_since_first,
    }
