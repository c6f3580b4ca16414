"""Days and months begin where their time zone says, to the nanosecond, and hold each instant once."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.ledger.entries import QUARTER_NS, Scope
from entrepot.ledger.keys.budgets import ALWAYS, Budget, Period, Span, span_of

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Cairo",
)


def ns(text: str) -> int:
    """Return an instant in UTC, Unix nanoseconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("period", "zone", "at", "begins", "ends"),
    [
        (Period.DAY, "UTC", "2026-11-26T23:59:59", "2026-11-26T00:00", "2026-11-27T00:00"),
        (Period.DAY, "UTC", "2026-11-27T00:00", "2026-11-27T00:00", "2026-11-28T00:00"),
        (Period.DAY, "Asia/Kolkata", "2026-11-26T18:29:59", "2026-11-25T18:30", "2026-11-26T18:30"),
        (Period.DAY, "Asia/Kolkata", "2026-11-26T18:30", "2026-11-26T18:30", "2026-11-27T18:30"),
        (Period.DAY, "Asia/Kathmandu", "2026-11-26T12:00", "2026-11-25T18:15", "2026-11-26T18:15"),
        # Clocks go forward at 02:00 (a day of 23 hours) and back at 03:00 (one of 25).
        (Period.DAY, "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        (Period.DAY, "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        # Cairo skips the midnight of 24 April 2026: that day begins at 01:00 there.
        (Period.DAY, "Africa/Cairo", "2026-04-24T10:00", "2026-04-23T22:00", "2026-04-24T21:00"),
        (Period.MONTH, "UTC", "2028-02-29T10:00", "2028-02-01T00:00", "2028-03-01T00:00"),
        (Period.MONTH, "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        (Period.MONTH, "America/New_York", "2026-12-01T04:59:59", "2026-11-01T04:00", "2026-12-01T05:00"),
        (Period.MONTH, "America/New_York", "2026-12-01T05:00", "2026-12-01T05:00", "2027-01-01T05:00"),
        (Period.MONTH, "Pacific/Apia", "2026-10-31T12:00", "2026-10-31T11:00", "2026-11-30T11:00"),
    ],
)
def test_a_period_holds_the_instants_of_its_zone(
    period: Period, zone: str, at: str, begins: str, ends: str
) -> None:
    """Across midnight, daylight saving, month ends, leap days and half hours."""
    span = span_of(period, ns(at), ZoneInfo(zone))
    assert span == Span(ns(begins), ns(ends))


@given(
    st.sampled_from((Period.DAY, Period.MONTH)),
    st.sampled_from(ZONES),
    st.integers(ns("2012-01-01"), ns("2037-01-01")),
)
def test_periods_follow_each_other_without_gap_or_overlap(period: Period, zone: str, at_ns: int) -> None:
    """An instant is in one period, whose end begins the next; all begin at a quarter of an hour."""
    span = span_of(period, at_ns, ZoneInfo(zone))
    assert span.until_ns is not None
    assert span.holds(at_ns)
    following = span_of(period, span.until_ns, ZoneInfo(zone))
    assert following.from_ns == span.until_ns
    assert span.from_ns % QUARTER_NS == 0


def test_a_total_never_ends() -> None:
    """Whatever was ever spent counts."""
    assert span_of(Period.TOTAL, ns("2026-11-26"), UTC) == ALWAYS
    assert ALWAYS.counted_nusd({0: 1, 10**6: 2}) == 3
    assert not ALWAYS.is_over(10**20)


def test_what_is_counted_is_what_was_reserved_in_the_span() -> None:
    """By the quarter of an hour, which no boundary cuts."""
    span = span_of(Period.DAY, ns("2026-11-26T12:00"), ZoneInfo("Asia/Kolkata"))
    first = span.from_ns // QUARTER_NS
    assert span.counted_nusd({first - 1: 1, first: 10, first + 95: 100, first + 96: 1_000}) == 110


def test_a_budget_says_whose_it_is_and_for_how_long() -> None:
    """The words of refusals, warnings and tables."""
    month = Budget(Scope.TAG, 3, 5 * 10**9, Period.MONTH, "Europe/Berlin", hard=False, name="research")
    assert month.subject() == "the budget of tag research for this month (Europe/Berlin)"
    assert month.limit_text() == "$5.00 a month (soft, Europe/Berlin)"
    assert Budget(Scope.KEY, 1, 10**7).limit_text() == "$0.01 in all (hard)"
