"""Tariffs: which card of prices counts at an instant, when that changes, and what bounds it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.domain.prices import Prices
from entrepot.domain.tariff import NS_PER_S, Band, BillsBy, Rate, Tariff, dearest
from tests.domain.tariffs import (
    BANDS,
    BERLIN,
    HOUR_NS,
    INSTANTS,
    KOLKATA,
    NEW_YORK,
    PROMPTS,
    SHANGHAI,
    TARIFFS,
    ns,
)

MINUTE_NS = 60 * NS_PER_S

DEAR = Prices(2_000_000_000, 8_000_000_000)
PLAIN = Prices(1_000_000_000, 4_000_000_000)
WORKDAYS = frozenset(range(5))


def minute(clock: str) -> int:
    """Return minutes after midnight of a time of day."""
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def band(zone: str, clock: str, weekdays: frozenset[int] = frozenset()) -> Band:
    """Return a band such as 16:30-00:30."""
    begin, end = clock.split("-")
    return Band(ZoneInfo(zone), minute(begin), minute(end), weekdays)


def input_usd(prices: Prices | None) -> str:
    """Return a card's input price in dollars, as the rows write it."""
    return "unknown" if prices is None else f"{prices.input_nusd_per_mtok / 1e9:g}"


# zone, band, weekdays, instant (UTC), input price in USD: 2 in the band, 1 outside of it
ROWS = [
    # across midnight
    ("UTC", "16:30-00:30", "", "2025-03-01T16:29:59", "1"),
    ("UTC", "16:30-00:30", "", "2025-03-01T16:30:00", "2"),
    ("UTC", "16:30-00:30", "", "2025-03-01T23:59:59", "2"),
    ("UTC", "16:30-00:30", "", "2025-03-02T00:00:00", "2"),
    ("UTC", "16:30-00:30", "", "2025-03-02T00:29:59", "2"),
    ("UTC", "16:30-00:30", "", "2025-03-02T00:30:00", "1"),
    # month ends, the year's end, the leap day and the day after where there is none
    ("UTC", "22:00-02:00", "", "2026-01-31T22:00:00", "2"),
    ("UTC", "22:00-02:00", "", "2026-02-01T01:59:59", "2"),
    ("UTC", "22:00-02:00", "", "2026-02-01T02:00:00", "1"),
    ("UTC", "22:00-02:00", "", "2026-12-31T23:30:00", "2"),
    ("UTC", "22:00-02:00", "", "2027-01-01T01:30:00", "2"),
    ("UTC", "22:00-02:00", "", "2028-02-29T01:30:00", "2"),
    ("UTC", "22:00-02:00", "", "2028-02-29T12:00:00", "1"),
    ("UTC", "22:00-02:00", "", "2028-02-29T22:30:00", "2"),
    ("UTC", "22:00-02:00", "", "2028-03-01T01:30:00", "2"),
    ("UTC", "22:00-02:00", "", "2027-02-28T23:30:00", "2"),
    ("UTC", "22:00-02:00", "", "2027-03-01T01:30:00", "2"),
    # the weekday is that on which a band begins: 2028-02-29 is a Tuesday, 2026-02-01 a Sunday
    ("UTC", "22:00-02:00", "1", "2028-02-29T23:00:00", "2"),
    ("UTC", "22:00-02:00", "1", "2028-03-01T01:00:00", "2"),
    ("UTC", "22:00-02:00", "1", "2028-02-29T01:00:00", "1"),
    ("UTC", "22:00-02:00", "1", "2028-03-01T23:00:00", "1"),
    ("UTC", "22:00-02:00", "6", "2026-02-02T01:00:00", "2"),
    ("UTC", "22:00-02:00", "6", "2026-02-01T01:00:00", "1"),
    # a whole day, written in two ways
    ("UTC", "00:00-24:00", "5,6", "2026-08-22T00:00:00", "2"),
    ("UTC", "00:00-24:00", "5,6", "2026-08-23T23:59:59", "2"),
    ("UTC", "00:00-24:00", "5,6", "2026-08-24T00:00:00", "1"),
    ("UTC", "06:00-06:00", "6", "2026-08-24T05:59:59", "2"),
    ("UTC", "06:00-06:00", "6", "2026-08-24T06:00:00", "1"),
    # weekdays are those of the zone: Monday in Shanghai begins at Sunday 16:00 UTC
    (SHANGHAI, "00:00-24:00", "0", "2026-08-23T16:00:00", "2"),
    (SHANGHAI, "00:00-24:00", "0", "2026-08-24T16:00:00", "1"),
    (SHANGHAI, "09:00-12:00", "0,1,2,3,4", "2026-08-24T01:00:00", "2"),
    (SHANGHAI, "09:00-12:00", "0,1,2,3,4", "2026-08-24T04:00:00", "1"),
    (SHANGHAI, "09:00-12:00", "0,1,2,3,4", "2026-08-22T02:00:00", "1"),
    # Berlin, to summer time: 2026-03-29 01:00 UTC, 02:00 becomes 03:00
    (BERLIN, "09:00-17:00", "", "2026-03-28T08:00:00", "2"),
    (BERLIN, "09:00-17:00", "", "2026-03-29T07:00:00", "2"),
    (BERLIN, "09:00-17:00", "", "2026-03-29T06:59:59", "1"),
    (BERLIN, "09:00-17:00", "", "2026-03-29T15:00:00", "1"),
    (BERLIN, "02:15-02:45", "", "2026-03-28T01:30:00", "2"),
    (BERLIN, "02:15-02:45", "", "2026-03-29T00:59:59", "1"),
    (BERLIN, "02:15-02:45", "", "2026-03-29T01:00:00", "1"),  # never on that day
    (BERLIN, "01:00-02:30", "", "2026-03-29T00:59:59", "2"),
    (BERLIN, "01:00-02:30", "", "2026-03-29T01:00:00", "1"),  # ends at the jump
    (BERLIN, "02:30-04:00", "", "2026-03-29T00:59:59", "1"),
    (BERLIN, "02:30-04:00", "", "2026-03-29T01:00:00", "2"),  # begins at the jump
    (BERLIN, "02:30-04:00", "", "2026-03-29T02:00:00", "1"),
    # Berlin, to winter time: 2026-10-25 01:00 UTC, 03:00 becomes 02:00
    (BERLIN, "02:15-02:45", "", "2026-10-25T00:15:00", "2"),  # once
    (BERLIN, "02:15-02:45", "", "2026-10-25T00:45:00", "1"),
    (BERLIN, "02:15-02:45", "", "2026-10-25T01:15:00", "2"),  # and again
    (BERLIN, "02:15-02:45", "", "2026-10-25T01:45:00", "1"),
    (BERLIN, "22:00-06:00", "5", "2026-10-25T04:59:59", "2"),  # Saturday's night has nine hours
    (BERLIN, "22:00-06:00", "5", "2026-10-25T05:00:00", "1"),
    # New York, to summer time: 2026-03-08 07:00 UTC; to winter time: 2026-11-01 06:00 UTC
    (NEW_YORK, "09:00-17:00", "0,1,2,3,4", "2026-03-06T14:00:00", "2"),
    (NEW_YORK, "09:00-17:00", "0,1,2,3,4", "2026-03-06T13:30:00", "1"),
    (NEW_YORK, "09:00-17:00", "0,1,2,3,4", "2026-03-09T13:00:00", "2"),
    (NEW_YORK, "09:00-17:00", "0,1,2,3,4", "2026-03-09T21:00:00", "1"),
    (NEW_YORK, "02:00-03:00", "", "2026-03-08T06:59:59", "1"),
    (NEW_YORK, "02:00-03:00", "", "2026-03-08T07:00:00", "1"),
    (NEW_YORK, "01:00-02:00", "", "2026-11-01T05:00:00", "2"),
    (NEW_YORK, "01:00-02:00", "", "2026-11-01T06:59:59", "2"),
    (NEW_YORK, "01:00-02:00", "", "2026-11-01T07:00:00", "1"),
    # half hours, and no summer time
    (KOLKATA, "00:00-06:00", "", "2026-06-30T18:30:00", "2"),
    (KOLKATA, "00:00-06:00", "", "2026-06-30T18:29:59", "1"),
    (KOLKATA, "00:00-06:00", "", "2026-07-01T00:30:00", "1"),
    (KOLKATA, "23:45-00:15", "2", "2026-07-01T18:15:00", "2"),
    (KOLKATA, "23:45-00:15", "2", "2026-07-01T18:44:59", "2"),
    (KOLKATA, "23:45-00:15", "2", "2026-06-30T18:20:00", "1"),
]


@pytest.mark.parametrize(("zone", "clock", "weekdays", "at", "expected"), ROWS)
def test_a_band_is_what_a_clock_in_its_zone_shows(
    zone: str, clock: str, weekdays: str, at: str, expected: str
) -> None:
    """Across midnight, month ends and leap days, and on the days on which clocks are set, both ways."""
    days = frozenset(int(day) for day in weekdays.split(",") if day)
    tariff = Tariff(Rate(PLAIN), (Rate(DEAR, band=band(zone, clock, days)),))
    assert input_usd(tariff.prices_at(ns(at), 100)) == expected


# -- validity and context tiers


CLIFF = Tariff(
    Rate(PLAIN, valid_from_ns=ns("2026-01-31T00:00:00"), valid_until_ns=ns("2026-03-01T00:00:00")),
    (
        Rate(Prices(9, 9), above_prompt_tokens=500_000),
        Rate(DEAR, valid_until_ns=ns("2026-03-01T00:00:00"), above_prompt_tokens=200_000),
    ),
)


@pytest.mark.parametrize(
    ("at", "prompt_tokens", "expected"),
    [
        ("2026-01-30T23:59:59", 0, "unknown"),
        ("2026-01-31T00:00:00", 0, "1"),
        ("2026-01-31T00:00:00", 200_000, "1"),
        ("2026-01-31T00:00:00", 200_001, "2"),
        ("2026-01-31T00:00:00", 500_000, "2"),
        ("2026-01-31T00:00:00", 500_001, "9e-09"),
        ("2026-02-28T23:59:59", 1, "1"),
        ("2026-03-01T00:00:00", 1, "unknown"),
        ("2026-03-01T00:00:00", 200_001, "unknown"),
    ],
)
def test_validity_and_tiers_have_sharp_edges(at: str, prompt_tokens: int, expected: str) -> None:
    """The first instant counts, the last does not; a prompt of exactly the threshold is below it."""
    assert input_usd(CLIFF.prices_at(ns(at), prompt_tokens)) == expected


def test_the_first_rate_that_applies_counts() -> None:
    """An exception for a holiday stands before the peak hours that it suspends."""
    holiday = Rate(PLAIN, ns("2026-10-01T00:00:00"), ns("2026-10-08T00:00:00"))
    peak = Rate(DEAR, band=Band(UTC, minute("01:00"), minute("04:00"), WORKDAYS))
    tariff = Tariff(Rate(PLAIN), (holiday, peak))
    assert tariff.prices_at(ns("2026-10-02T02:00:00"), 1) == PLAIN
    assert tariff.prices_at(ns("2026-10-09T02:00:00"), 1) == DEAR


def test_the_instant_that_counts_is_the_sending_or_the_completion() -> None:
    """And what may be reserved for spans the answer, or the difference of two clocks."""
    sent, completed = ns("2025-03-01T16:29:00"), ns("2025-03-01T16:31:00")
    by_sending = Tariff(Rate(PLAIN))
    by_completion = Tariff(Rate(PLAIN), bills_by=BillsBy.COMPLETED)
    assert by_sending.billed_ns(sent, completed) == sent
    assert by_completion.billed_ns(sent, completed) == completed
    assert by_sending.span_ns(sent) == (sent - MINUTE_NS, sent + MINUTE_NS)
    assert by_completion.span_ns(sent) == (sent - MINUTE_NS, sent + HOUR_NS)


def test_a_change_is_found_where_the_clock_is_set() -> None:
    """Between the ends of a band nothing changes but when the zone's clock jumps into it or out of it."""
    rule = band(BERLIN, "01:00-02:30")
    before = ns("2026-03-29T00:30:00")
    assert rule.changes_after(before) == ns("2026-03-29T01:00:00")
    assert rule.changes_after(ns("2026-03-29T01:00:00")) == ns("2026-03-29T23:00:00")


def test_nothing_changes_for_ever_where_nothing_ends() -> None:
    """A tariff of plain prices is asked once; a rate whose time is over is not asked for its hours."""
    assert Tariff(Rate(PLAIN)).changes_after(0) is None
    past = Rate(DEAR, valid_until_ns=ns("2026-01-01T00:00:00"), band=band("UTC", "01:00-02:00"))
    assert Tariff(Rate(PLAIN), (past,)).changes_after(ns("2026-06-01T00:00:00")) is None


def test_the_dearest_card_takes_each_kind_of_token_by_itself() -> None:
    """What one card does not state is what it falls back to there, not here."""
    flat = Prices(100, 400)
    cached = Prices(120, 300, cached_nusd_per_mtok=10, cache_write_nusd_per_mtok=150, request_nusd=7)
    bound = dearest((flat, cached))
    assert bound == Prices(
        120,
        400,
        cached_nusd_per_mtok=100,
        cache_write_nusd_per_mtok=150,
        request_nusd=7,
        cache_write_1h_nusd_per_mtok=150,
        reasoning_nusd_per_mtok=400,
    )


# -- properties


@given(TARIFFS, INSTANTS, st.integers(0, 10**6), PROMPTS)
def test_prices_are_constant_between_changes(tariff: Tariff, at_ns: int, part: int, prompt: int) -> None:
    """Whatever lies before the next change has the prices of now: that is what makes an answer keepable."""
    change_ns = tariff.changes_after(at_ns)
    end_ns = at_ns + 400 * 24 * HOUR_NS if change_ns is None else change_ns
    assert end_ns > at_ns
    between_ns = at_ns + (end_ns - 1 - at_ns) * part // 10**6
    assert tariff.prices_at(between_ns, prompt) == tariff.prices_at(at_ns, prompt)
    assert tariff.prices_at(end_ns - 1, prompt) == tariff.prices_at(at_ns, prompt)


FIELDS = (
    "input_nusd_per_mtok",
    "output_nusd_per_mtok",
    "cached_or_input_nusd_per_mtok",
    "write_or_input_nusd_per_mtok",
    "write_1h_or_write_nusd_per_mtok",
    "reasoning_or_output_nusd_per_mtok",
    "request_nusd",
)


@settings(deadline=None)  # 30 hours in several zones, on a machine that is busy
@given(TARIFFS, INSTANTS, st.integers(0, 30 * HOUR_NS), st.integers(0, 10**6), PROMPTS, PROMPTS)
def test_a_bound_is_nowhere_below_what_may_be_billed(
    tariff: Tariff, from_ns: int, length_ns: int, part: int, prompt: int, less: int
) -> None:
    """At any instant of the span and for any prompt that is not longer, in each kind of token."""
    bound = tariff.bound_prices(from_ns, from_ns + length_ns, prompt)
    billed = tariff.prices_at(from_ns + length_ns * part // 10**6, min(less, prompt))
    if billed is None:
        return
    assert bound is not None
    assert all(getattr(bound, field) >= getattr(billed, field) for field in FIELDS)


@given(BANDS, INSTANTS)
def test_a_band_holds_at_the_minutes_of_its_clock(rule: Band, at_ns: int) -> None:
    """Said in another way: by the minutes since it last began on that clock, with no case for midnight."""
    local = datetime.fromtimestamp(at_ns // NS_PER_S, rule.zone)
    length = (rule.until_minute - rule.from_minute) % 1440 or 1440
    since = (local.hour * 60 + local.minute - rule.from_minute) % 1440
    begun = (local.replace(tzinfo=None) - timedelta(minutes=since)).weekday()
    expected = since < length and (not rule.weekdays or begun in rule.weekdays)
    assert rule.holds(at_ns) == expected
