"""What was used and what it cost, by host, model, key, team, country, day and more: sums of the store.

An attempt belongs to the period in which it was reserved, and so do its corrections, so a period that was
reported does not move when an answer ends after midnight. Sums are made by the database, in integers, from
its roll-ups where a period is whole; a report that read the entries itself would have to read all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import product

import msgspec
from msgspec import Struct

from entrepot.domain.money import usd_text
from entrepot.ledger.reports.usage_query import (
    DAILY,
    DAY_NS,
    HOURLY,
    SUMS,
    Names,
    Period,
    Used,
    Window,
    deleted_attempts,
    names,
    read_from_entries,
    used,
)
from entrepot.ledger.store.store import Store
from entrepot.routing.decision import POLICY_PREFIX

UNDECLARED = "undeclared"
NONE = "none"  # a request in no team, without a tag, or from which no rule took an endpoint
MOST_DIMENSIONS = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

__all__ = ["DAY_NS", "Dimension", "Only", "Report", "ReportRow", "as_json", "report"]


class Dimension(StrEnum):
    """By what a report adds up. `country` is that of the host's owner, `origin` that of the model."""

    HOST = "host"
    MODEL = "model"
    ENDPOINT = "endpoint"
    KEY = "key"
    TEAM = "team"
    TAG = "tag"
    COUNTRY = "country"
    ORIGIN = "origin"
    REGION = "region"
    RULE = "rule"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    @property
    def is_time(self) -> bool:
        """Return whether its groups are periods, which stand in order."""
        return self in (Dimension.HOUR, Dimension.DAY, Dimension.MONTH)

    @property
    def may_overlap(self) -> bool:
        """Return whether a request may count in several of its groups."""
        return self in (Dimension.TAG, Dimension.RULE)


class Only(Struct, frozen=True):
    """What a report is confined to: any of the values of each; empty is without a limit."""

    models: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    keys: frozenset[int] = frozenset()
    teams: frozenset[int] = frozenset()
    tags: frozenset[int] = frozenset()

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the numbers that are needed to tell."""
        keys = ("key_id",) if self.keys else ()
        return (*keys, "sender_id") if self.teams or self.tags else keys

    def has(self, part: Used, named: Names) -> bool:
        """Return whether the part is among them."""
        _, model, host, *_ = named.endpoints.get(part.endpoint_id, _UNNAMED)
        team, tags = named.senders.get(part.sender_id, (0, ()))
        return (
            (not self.models or model in self.models)
            and (not self.hosts or host in self.hosts)
            and (not self.keys or part.key_id in self.keys)
            and (not self.teams or team in self.teams)
            and (not self.tags or not self.tags.isdisjoint(tags))
        )


EVERYTHING = Only()


class ReportRow(Struct, frozen=True):
    """One line of a report; `groups` has its host, day (UTC), number of a key …, one for each dimension.

    Units: tokens, nano-USD. `requests` are counted where their first attempt went, so that groups add up.
    Reasoning is a part of the output. `unknown_nusd` is what attempts of unknown cost may have cost at most,
    and is not in `cost_nusd`; neither is `reserved_nusd` of attempts under way. Shares are parts of 1.
    `simulated_attempts` went to simulated endpoints: nobody paid for those.
    """

    groups: tuple[str, ...]
    requests: int = 0
    attempts: int = 0
    uncached_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nusd: int = 0
    unknown_nusd: int = 0
    reserved_nusd: int = 0
    simulated_attempts: int = 0
    token_share: float = 0.0
    cost_share: float = 0.0

    @property
    def group(self) -> str:
        """Return its groups as one text."""
        return ", ".join(self.groups)

    @property
    def tokens(self) -> int:
        """Return all tokens, prompt and output."""
        written = self.cache_write_tokens + self.cache_write_1h_tokens
        return self.uncached_tokens + self.cached_tokens + written + self.output_tokens


class Report(Struct, frozen=True):
    """The rows of a report and their sum. Periods stand in order; all else has the dearest first.

    `overlaps`: some requests count in several rows; the total has each once. `deleted_attempts` are some of
    the hours in which the window begins and ends, whose entries are gone: only whole hours are exact then.
    """

    by: tuple[Dimension, ...]
    rows: tuple[ReportRow, ...]
    total: ReportRow
    overlaps: bool = False
    deleted_attempts: int = 0


def report(
    store: Store,
    *by: Dimension,
    since_ns: int | None = None,
    until_ns: int | None = None,
    only: Only = EVERYTHING,
) -> Report:
    """Return what was reserved from `since_ns` on and before `until_ns`, with its corrections.

    Units: Unix nanoseconds; None is without a limit.
    """
    period = _period(by)
    needed = {_ID_OF[dimension] for dimension in by if dimension in _ID_OF}.union(only.ids)
    with store.engine.connect() as connection:
        window = Window(since_ns, until_ns)
        parts = list(used(connection, window, period, sorted(needed)))
        named = names(connection)
        deleted = sum(deleted_attempts(connection, rest) for rest in read_from_entries(window, period))
    sums: dict[tuple[str, ...], list[int]] = {}
    total = [0] * (len(SUMS) + 1)
    group_of = [_groups_of(dimension, period, named) for dimension in by]
    for part in parts:
        if not only.has(part, named):
            continue
        simulated = part.sums[1] if named.endpoints.get(part.endpoint_id, _UNNAMED)[-1] else 0
        amounts = (*part.sums, simulated)
        _add(total, amounts)
        for groups in product(*(texts(part) for texts in group_of)):
            _add(sums.setdefault(groups, [0] * len(amounts)), amounts)
    shown = _shown(by, [ReportRow(groups, *amounts) for groups, amounts in sums.items()], total)
    return msgspec.structs.replace(shown, deleted_attempts=deleted)


def _shown(by: tuple[Dimension, ...], rows: list[ReportRow], amounts: list[int]) -> Report:
    total = ReportRow(("total",), *amounts)
    shared = [_with_shares(row, total) for row in rows]
    shared.sort(key=_order(by, shared))
    # Without attempts of its own a group has only corrections, which no other has either.
    overlaps = sum(row.attempts for row in rows) != total.attempts
    return Report(by, tuple(shared), _with_shares(total, total), overlaps)


_UNNAMED = (UNDECLARED, UNDECLARED, UNDECLARED, None, None, None, False)
_ID_OF = {
    Dimension.KEY: "key_id",
    Dimension.TEAM: "sender_id",
    Dimension.TAG: "sender_id",
    Dimension.RULE: "rules_id",
}
_OF_ENDPOINT = (
    Dimension.ENDPOINT,
    Dimension.MODEL,
    Dimension.HOST,
    Dimension.COUNTRY,
    Dimension.ORIGIN,
    Dimension.REGION,
)


def _period(by: tuple[Dimension, ...]) -> Period | None:
    if Dimension.HOUR in by:
        return HOURLY
    return DAILY if any(dimension.is_time for dimension in by) else None


def _groups_of(
    dimension: Dimension, period: Period | None, named: Names
) -> Callable[[Used], tuple[str, ...]]:
    """Return a function that tells in which groups of the dimension a part counts."""
    if dimension in _OF_ENDPOINT:
        place = _OF_ENDPOINT.index(dimension)
        texts = {number: (str(row[place] or UNDECLARED),) for number, row in named.endpoints.items()}
        return lambda part: texts.get(part.endpoint_id, (UNDECLARED,))
    if dimension.is_time:
        hours = 1 if period is None else period.hours
        return lambda part: (_period_text(dimension, part.period * hours),)
    match dimension:
        case Dimension.TEAM:
            teams = {number: (str(team or NONE),) for number, (team, _) in named.senders.items()}
            return lambda part: teams.get(part.sender_id, (NONE,))
        case Dimension.TAG:
            tags = {number: tuple(map(str, tags)) for number, (_, tags) in named.senders.items()}
            return lambda part: tags.get(part.sender_id) or (NONE,)
        case Dimension.RULE:
            rules = {
                number: tuple(name for name in names if not name.startswith(POLICY_PREFIX))
                for number, names in named.rules.items()
            }
            return lambda part: rules.get(part.rules_id) or (NONE,)
        case _:
            return lambda part: (str(part.key_id),)


def _period_text(dimension: Dimension, hour: int) -> str:
    at = _EPOCH + timedelta(hours=hour)
    match dimension:
        case Dimension.HOUR:
            return f"{at:%Y-%m-%d %H:00}"
        case Dimension.MONTH:
            return f"{at:%Y-%m}"
        case _:
            return f"{at:%Y-%m-%d}"


def _add(sums: list[int], amounts: Iterable[int]) -> None:
    for place, amount in enumerate(amounts):
        sums[place] += amount


def _with_shares(row: ReportRow, total: ReportRow) -> ReportRow:
    return msgspec.structs.replace(
        row,
        token_share=row.tokens / total.tokens if total.tokens else 0.0,
        cost_share=row.cost_nusd / total.cost_nusd if total.cost_nusd else 0.0,
    )


Place = tuple[int, int, str]


def _order(by: tuple[Dimension, ...], rows: list[ReportRow]) -> Callable[[ReportRow], tuple[Place, ...]]:
    """Return a sorting key: each dimension within those before it."""
    cost: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        for end in range(1, len(by) + 1):
            _add(cost.setdefault(row.groups[:end], [0, 0]), (row.cost_nusd, row.tokens))

    def place(row: ReportRow, end: int) -> Place:
        if by[end].is_time:
            return (0, 0, row.groups[end])
        dollars, tokens = cost[row.groups[: end + 1]]
        return (-dollars, -tokens, row.groups[end])

    return lambda row: tuple(place(row, end) for end in range(len(by)))


GroupNames = Mapping[Dimension, Mapping[str, str]]


def as_json(result: Report, called: GroupNames) -> dict[str, object]:
    """Return the report for `--json`; `called` has what groups are called beside their numbers."""
    by = result.by[0].value if len(result.by) == 1 else [dimension.value for dimension in result.by]
    return {
        "by": by,
        "rows": [row_json(row, result.by, called) for row in result.rows],
        "total": row_json(result.total, (), {}),
        "groups_overlap": result.overlaps,
        "deleted_attempts": result.deleted_attempts,
    }


def row_json(row: ReportRow, by: tuple[Dimension, ...], called: GroupNames) -> dict[str, object]:
    """Return a row as flat members: its groups, their names, the sums, and dollars as exact decimals."""
    shown: dict[str, object] = {"group": row.group}
    for dimension, group in zip(by, row.groups, strict=False):
        shown[dimension.value] = group
        name = called.get(dimension, {}).get(group)
        if name is not None:
            shown["name" if len(by) == 1 else f"{dimension.value}_name"] = name
    amounts = msgspec.structs.asdict(row)
    del amounts["groups"]
    shown |= amounts
    shown["tokens"] = row.tokens
    for name in ("cost", "unknown", "reserved"):
        shown[f"{name}_usd"] = usd_text(getattr(row, f"{name}_nusd"))
    return shown
