"""What was used in a window: whole days and hours from the roll-ups, the rest from the entries.

So it is exact for any two instants. One statement reads all of it, so that no entry is posted between two
parts and counted in both or in none. The database adds up by the numbers of endpoint, key, sender and rules;
their names are few and are put to the sums afterwards, which keeps every join off the large tables. Rounding
a window to whole days would have been simpler, and wrong by the hours that users ask for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Connection,
    FromClause,
    Select,
    Table,
    and_,
    case,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.sql.elements import ColumnElement

from entrepot.ledger.store.tables import (
    CLOSINGS,
    CORRECTIONS,
    ENDPOINTS,
    RESERVES,
    RULES,
    SENDERS,
    USAGE_DAYS,
    USAGE_HOURS,
)

HOUR_NS = 3_600 * 1_000_000_000
DAY_NS = 24 * HOUR_NS
_TOKENS = (
    "uncached_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)
SUMS = ("requests", "attempts", *_TOKENS, "cost_nusd", "unknown_nusd", "reserved_nusd")
_LINES = (
    "uncached_nusd",
    "cached_nusd",
    "cache_write_nusd",
    "cache_write_1h_nusd",
    "output_nusd",
    "reasoning_nusd",
    "request_nusd",
)

Part = Select[*tuple[Any, ...]]


class Window(Struct, frozen=True):
    """What was reserved from `since_ns` on and before `until_ns`.

    Units: Unix nanoseconds; None is without a limit.
    """

    since_ns: int | None = None
    until_ns: int | None = None

    def whole(self, unit_ns: int) -> tuple[Window | None, tuple[Window, ...]]:
        """Return the whole periods of `unit_ns` in this window, counted since 1970, and what is left of it.

        Units: nanoseconds. The first window is in periods, the others are in nanoseconds.
        """
        first = None if self.since_ns is None else -(-self.since_ns // unit_ns)
        last = None if self.until_ns is None else self.until_ns // unit_ns
        if first is not None and last is not None and first >= last:
            return None, (self,)
        before = () if first is None else (Window(self.since_ns, first * unit_ns),)
        after = () if last is None else (Window(last * unit_ns, self.until_ns),)
        return Window(first, last), tuple(rest for rest in (*before, *after) if not rest.is_empty)

    def widened(self, unit_ns: int) -> Window:
        """Return the whole periods of `unit_ns` that this window touches, counted since 1970."""
        first = None if self.since_ns is None else self.since_ns // unit_ns
        last = None if self.until_ns is None else -(-self.until_ns // unit_ns)
        return Window(first, last)

    @property
    def is_empty(self) -> bool:
        """Return whether no instant is in it."""
        return self.since_ns is not None and self.until_ns is not None and self.since_ns >= self.until_ns


class Period(Struct, frozen=True):
    """A length of time by which sums may be split, with how many hours it has."""

    hours: int


HOURLY, DAILY = Period(1), Period(24)


class Used(Struct, frozen=True, gc=False):
    """The sums of one endpoint, and of one period, key, sender and set of rules where those were asked for.

    `period` counts hours or days since 1970, in UTC. `sums` stand in the order of `SUMS`.
    """

    endpoint_id: int
    period: int
    key_id: int
    sender_id: int
    rules_id: int
    sums: tuple[int, ...]


class Names(Struct, frozen=True):
    """What the numbers in `Used` stand for.

    `endpoints` have name, model, host, owner country, origin country, region and whether simulated;
    `senders` team and tags.
    """

    endpoints: dict[int, tuple[str, str, str, str | None, str | None, str | None, bool]]
    senders: dict[int, tuple[int, tuple[int, ...]]]
    rules: dict[int, tuple[str, ...]]


def used(connection: Connection, window: Window, period: Period | None, ids: Sequence[str]) -> Iterator[Used]:
    """Yield what was used in the window, by endpoint and by those of `ids` and periods that are asked for.

    `ids` are of `key_id`, `sender_id` and `rules_id`; the others are 0. A group may come in several parts.
    """
    parts = list(_parts(window, period, ids))
    if not parts:
        return
    at = {name: number for number, name in enumerate(("endpoint_id", "period", *ids))}
    places = [at.get(name) for name in ("key_id", "sender_id", "rules_id")]
    for row in connection.execute(union_all(*parts) if len(parts) > 1 else parts[0]):
        key_id, sender_id, rules_id = (0 if place is None else row[place] for place in places)
        # int(): PostgreSQL adds integers up to a decimal
        yield Used(row[0], row[1], key_id, sender_id, rules_id, tuple(map(int, row[len(at) :])))


def deleted_attempts(connection: Connection, window: Window) -> int:
    """Return how many attempts of the hours that the window touches are in the roll-ups and no longer there.

    Their entries were deleted by retention: what is read from entries lacks them.
    """
    hours = window.widened(HOUR_NS)
    at = Window(*(None if hour is None else hour * HOUR_NS for hour in (hours.since_ns, hours.until_ns)))
    rolled_up = select(func.coalesce(func.sum(USAGE_HOURS.c.attempts), 0))
    there = select(func.count()).select_from(RESERVES)
    before = connection.execute(_within(rolled_up, USAGE_HOURS.c.hour, hours)).scalar_one()
    return max(0, int(before) - int(connection.execute(_within(there, RESERVES.c.at_ns, at)).scalar_one()))


def read_from_entries(window: Window, period: Period | None) -> tuple[Window, ...]:
    """Return the parts of the window that no roll-up of the periods covers."""
    return _split(window, period)[1]


def names(connection: Connection) -> Names:
    """Return all names; read after the sums, so that nothing that was used is without one."""
    columns = ("name", "model", "host", "owner_country", "origin_country", "region", "simulated")
    query = select(ENDPOINTS.c.endpoint_id, *(ENDPOINTS.c[name] for name in columns))
    senders = select(SENDERS.c.sender_id, SENDERS.c.team_id, SENDERS.c.tags)
    return Names(
        {row[0]: tuple(row[1:]) for row in connection.execute(query)},
        {
            sender_id: (team_id, tuple(map(int, tags.split(","))) if tags else ())
            for sender_id, team_id, tags in connection.execute(senders)
        },
        {
            rules_id: tuple(rules.split(",")) if rules else ()
            for rules_id, rules in connection.execute(select(RULES.c.rules_id, RULES.c.rules))
        },
    )


def _split(
    window: Window, period: Period | None
) -> tuple[list[tuple[Table, Period, Window]], tuple[Window, ...]]:
    """Return which periods of which roll-ups cover the window, and what is left of it."""
    rolled_up: list[tuple[Table, Period, Window]] = []
    rest: tuple[Window, ...] = () if window.is_empty else (window,)
    for table, unit in ((USAGE_DAYS, DAILY), (USAGE_HOURS, HOURLY)):
        if period is not None and unit.hours > period.hours:
            continue
        left: list[Window] = []
        for part in rest:
            whole, others = part.whole(unit.hours * HOUR_NS)
            left += others
            if whole is not None:
                rolled_up.append((table, unit, whole))
        rest = tuple(left)
    return rolled_up, rest


def _parts(window: Window, period: Period | None, ids: Sequence[str]) -> Iterator[Part]:
    rolled_up, rest = _split(window, period)
    for table, unit, whole in rolled_up:
        yield _rolled_up(table, unit, whole, period, ids)
    for part in rest:
        yield _attempts(part, period, ids)
        yield _corrections(part, period, ids)


def _rolled_up(table: Table, unit: Period, whole: Window, period: Period | None, ids: Sequence[str]) -> Part:
    at = table.c["day" if unit is DAILY else "hour"]
    split = None if period is None else at if period == unit else _each(at, period.hours)
    sums = [func.sum(table.c[name]) for name in SUMS]
    return _grouped(table, table, at, whole, (split, ids), sums)


def _attempts(window: Window, period: Period | None, ids: Sequence[str]) -> Part:
    same = and_(RESERVES.c.request_id == CLOSINGS.c.request_id, RESERVES.c.attempt == CLOSINGS.c.attempt)
    sums = [
        func.sum(case((RESERVES.c.attempt == 1, 1), else_=0)),
        func.count(),
        *(func.coalesce(func.sum(CLOSINGS.c[name]), 0) for name in _TOKENS),
        func.coalesce(func.sum(lines_of(CLOSINGS)), 0),
        func.coalesce(func.sum(CLOSINGS.c.unknown_nusd), 0),
        func.sum(case((CLOSINGS.c.request_id.is_(None), RESERVES.c.amount_nusd), else_=0)),
    ]
    return _of_entries(RESERVES.outerjoin(CLOSINGS, same), window, period, ids, sums)


def _corrections(window: Window, period: Period | None, ids: Sequence[str]) -> Part:
    """What was corrected later, in the period in which the attempt was reserved."""
    same = and_(
        RESERVES.c.request_id == CORRECTIONS.c.request_id, RESERVES.c.attempt == CORRECTIONS.c.attempt
    )
    sums = [
        literal_column("0"),
        literal_column("0"),
        *(func.sum(CORRECTIONS.c[name]) for name in _TOKENS),
        func.sum(lines_of(CORRECTIONS)),
        func.sum(-CORRECTIONS.c.unknown_nusd),
        literal_column("0"),
    ]
    return _of_entries(RESERVES.join(CORRECTIONS, same), window, period, ids, sums)


def _of_entries(
    joined: FromClause,
    window: Window,
    period: Period | None,
    ids: Sequence[str],
    sums: Sequence[ColumnElement[Any]],
) -> Part:
    at = RESERVES.c.at_ns
    split = None if period is None else _each(at, period.hours * HOUR_NS)
    return _grouped(RESERVES, joined, at, window, (split, ids), sums)


def _grouped(
    table: Table,
    joined: FromClause,
    at: ColumnElement[int],
    window: Window,
    split: tuple[ColumnElement[int] | None, Sequence[str]],
    sums: Sequence[ColumnElement[Any]],
) -> Part:
    period, ids = split
    # Periods first: the roll-ups are kept in their order, so that the database need not sort them.
    grouped = [
        *([] if period is None else [period]),
        table.c.endpoint_id,
        *(table.c[name] for name in ids),
    ]
    shown = literal_column("0") if period is None else period
    query = select(table.c.endpoint_id, shown, *(table.c[name] for name in ids), *sums)
    return _within(query.select_from(joined).group_by(*grouped), at, window)


def _within(query: Part, at: ColumnElement[int], window: Window) -> Part:
    if window.since_ns is not None:
        query = query.where(at >= window.since_ns)
    if window.until_ns is not None:
        query = query.where(at < window.until_ns)
    return query


def _each(at: ColumnElement[int], size: int) -> ColumnElement[int]:
    # Written out: PostgreSQL takes two parameters of equal value for two things, and will not group by one.
    return at // literal_column(str(size), BigInteger)


def lines_of(table: FromClause) -> ColumnElement[int]:
    """Return the sum of all lines of a bill in the rows of closings or corrections."""
    first, *others = (table.c[name] for name in _LINES)
    return sum(others, start=first)
