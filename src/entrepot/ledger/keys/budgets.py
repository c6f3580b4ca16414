"""Budgets: whose money, how much, over which period; and the span of time in which a spending counts. Pure.

A budget is of a key, a team or a tag. Several may stand over one request, and all of them have to hold it.
A cron job that sets counters to zero at midnight would be simpler, and would forget what is under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct

from entrepot.domain.money import usd_text
from entrepot.ledger.entries import QUARTER_NS, Scope

_NS_PER_S = 1_000_000_000


class Period(StrEnum):
    """Over which time a budget counts."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class BudgetId(NamedTuple):
    """One scope may have one budget for each period."""

    scope: Scope
    number: int
    period: Period


class Budget(Struct, frozen=True):
    """How much a key, a team or a tag may spend in a period.

    Units: nano-USD. `zone` is the IANA name of the time zone in which days and months begin. A `hard` budget
    refuses what might pass it, a soft one lets it go with a warning. `name` is what people call the scope.
    """

    scope: Scope
    number: int
    amount_nusd: int
    period: Period = Period.TOTAL
    zone: str = "UTC"
    hard: bool = True
    name: str = ""

    @property
    def id(self) -> BudgetId:
        """Return what it is known by."""
        return BudgetId(self.scope, self.number, self.period)

    def span(self, at_ns: int) -> Span:
        """Return the day or month of the budget that holds an instant. Units: Unix nanoseconds."""
        if self.period is Period.TOTAL:
            return ALWAYS
        return span_of(self.period, at_ns, UTC if self.zone == "UTC" else ZoneInfo(self.zone))

    def subject(self) -> str:
        """Return whose budget it is, in words: `the budget of tag research for this month`."""
        whose = "this key" if self.scope is Scope.KEY else f"{self.scope.value} {self.name}"
        when = "" if self.period is Period.TOTAL else f" for this {self.period.value} ({self.zone})"
        return f"the budget of {whose}{when}"

    def limit_text(self) -> str:
        """Return the limit in words: `$5.00 a month (hard)`."""
        when = "in all" if self.period is Period.TOTAL else f"a {self.period.value}"
        zone = "" if self.period is Period.TOTAL or self.zone == "UTC" else f", {self.zone}"
        return f"${usd_text(self.amount_nusd)} {when} ({'hard' if self.hard else 'soft'}{zone})"


class Span(NamedTuple):
    """A stretch of time, without its end. Units: Unix nanoseconds; `until_ns` is None when it never ends."""

    from_ns: int
    until_ns: int | None

    def holds(self, at_ns: int) -> bool:
        """Return whether an instant is in the span."""
        return self.from_ns <= at_ns and (self.until_ns is None or at_ns < self.until_ns)

    def is_over(self, at_ns: int) -> bool:
        """Return whether the span ended before an instant."""
        return self.until_ns is not None and self.until_ns <= at_ns

    def counted_nusd(self, quarters: Mapping[int, int]) -> int:
        """Return what was counted in the span.

        Units: quarters of an hour since 1970 → nano-USD; a quarter counts where it begins.
        """
        return sum(nusd for quarter, nusd in quarters.items() if self.holds(quarter * QUARTER_NS))


ALWAYS = Span(0, None)


def span_of(period: Period, at_ns: int, zone: tzinfo) -> Span:
    """Return the day or the month that holds an instant in a time zone.

    A day lasts 23 or 25 hours where clocks change. Where midnight is skipped the day begins when the clocks
    are put forward, and where it comes twice, with the first.
    """
    if period is Period.TOTAL:
        return ALWAYS
    day = datetime.fromtimestamp(at_ns // _NS_PER_S, zone).date()
    if period is Period.DAY:
        first, following = day, day + timedelta(days=1)
    else:
        first = day.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
    return Span(_midnight_ns(first, zone), _midnight_ns(following, zone))


def _midnight_ns(day: date, zone: tzinfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * _NS_PER_S
