"""Reads when prices apply: dates, hours, weekdays, zones, and tiers of the prompt's length.

`zoneinfo` reads its files here, once; the domain gets zones as values.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo, available_timezones

from entrepot.catalog.price_words import WEEKDAYS
from entrepot.catalog.reading import Table, is_finite, nearest_text, shown
from entrepot.domain.prices import Prices
from entrepot.domain.tariff import MINUTES_PER_DAY, Band, Rate

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_YEAR, _LAST_YEAR = 1971, 2199  # within 64 bits of nanoseconds, whatever the zone
_DAILY = re.compile(r"(\d\d):(\d\d)\s*[-–]\s*(\d\d):(\d\d)")
_WHOLE_DAY = (0, MINUTES_PER_DAY)
_MOST_TOKENS = 10**9
CONDITIONS = ("from", "until", "daily", "weekdays", "above_prompt_tokens")


def read_rate(table: Table, prices: Prices, plain: Rate) -> Rate:
    """Return the rate of a `[[hosts.endpoints.rates]]` whose card is known; its label is not set.

    It is valid as long as the `plain` card is, unless it says otherwise.
    """
    zone = _zone(table)
    if not any(key in table for key in CONDITIONS):
        table.require("daily", "when it applies: daily, weekdays, from, until or above_prompt_tokens")
    rate = read_validity(table, prices, "from", "until", zone)
    above = table.integer("above_prompt_tokens", 0, least=1, most=_MOST_TOKENS)
    return Rate(
        prices,
        rate.valid_from_ns if "from" in table else plain.valid_from_ns,
        rate.valid_until_ns if "until" in table else plain.valid_until_ns,
        above,
        _band(table, zone),
    )


def read_validity(table: Table, prices: Prices, first: str, last: str, zone: tzinfo = UTC) -> Rate:
    """Return the card with the instants between which it is valid, of the keys `first` and `last`."""
    from_ns, until_ns = _instant_ns(table, first, zone), _instant_ns(table, last, zone)
    if from_ns is not None and until_ns is not None and until_ns <= from_ns:
        table.problem(last, f"is not after {first}; it is the first instant at which they no longer hold")
    return Rate(prices, from_ns, until_ns)


def exact_number(table: Table, key: str, most: int) -> Decimal | None:
    """Return a decimal between 0 and `most`, written as text or number; None when absent or a mistake."""
    value = table.raw(key)
    if value is None:
        return None
    if isinstance(value, str | int | Decimal) and not isinstance(value, bool):
        try:
            number = Decimal(value)
        except ArithmeticError:
            number = Decimal(-1)
        if is_finite(number) and 0 <= number <= most:
            return number
    table.problem(key, f'{shown(value)}: expected a number between 0 and {most}, such as "0.25"')
    return None


def _instant_ns(table: Table, key: str, zone: tzinfo) -> int | None:
    value = table.raw(key)
    if value is None:
        return None
    if not isinstance(value, date):
        table.problem(key, "expected a date or an instant, such as 2025-09-05 or 2025-09-05T16:00:00Z")
        return None
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        table.problem(key, f"{value} is out of range: expected a year from {_FIRST_YEAR} to {_LAST_YEAR}")
        return None
    at = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=zone)
    if at.tzinfo is None:
        at = at.replace(tzinfo=zone)
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def _zone(table: Table) -> tzinfo:
    name = table.text("zone", "UTC")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found, not a name, a folder of zones
        known = available_timezones()
        if known:
            table.problem("zone", f"{shown(name)} is not a time zone; {_nearest_zone(name, known)}")
        else:
            table.problem("zone", f"{shown(name)}: this system has no time zones; pip install tzdata")
        return UTC


def _nearest_zone(name: str, known: set[str]) -> str:
    text = nearest_text(name, known)
    return text if text.startswith("did") else "write an IANA name, such as Asia/Shanghai"


def _band(table: Table, zone: tzinfo) -> Band | None:
    weekdays = _weekdays(table)
    daily = table.text("daily", None)
    if daily is None and "weekdays" not in table:
        return None
    begin, end = _WHOLE_DAY if daily is None else _minutes(table, daily)
    return Band(zone, begin, end, weekdays)


def _minutes(table: Table, daily: str) -> tuple[int, int]:
    match = _DAILY.fullmatch(daily.strip())
    if match is not None:
        hour, minute, end_hour, end_minute = (int(part) for part in match.groups())
        begin, end = hour * 60 + minute, end_hour * 60 + end_minute
        if begin < MINUTES_PER_DAY and end <= MINUTES_PER_DAY and minute < 60 and end_minute < 60:
            return begin, end
    table.problem("daily", f'{shown(daily)} is not a time of day; expected hours such as "16:30-00:30"')
    return _WHOLE_DAY


def _weekdays(table: Table) -> frozenset[int]:
    names = table.texts("weekdays")
    known = frozenset(WEEKDAYS.index(name.lower()) for name in names if name.lower() in WEEKDAYS)
    for name in names:
        if name.lower() not in WEEKDAYS:
            table.problem("weekdays", f"{shown(name)} is not one of {', '.join(WEEKDAYS)}")
    if "weekdays" in table and not names:
        table.problem("weekdays", "is empty; name at least one day, or leave the key out")
    return known
