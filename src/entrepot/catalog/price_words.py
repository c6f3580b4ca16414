"""When prices apply, in words: the labels of price versions, and what people read.

A label is made from the rate alone, so that the same rate written in another way, or loaded from what
`config show` printed, is the same version in the ledger.
"""

from __future__ import annotations

from datetime import UTC, datetime

from entrepot.domain.tariff import NS_PER_S, Band, Rate

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALWAYS = "always"
_SHORTEST_RUN = 3  # of weekdays that are told as first–last


def rate_words(rate: Rate) -> str:
    """Return when the rate applies; empty when it always does."""
    parts = [] if rate.band is None else [band_words(rate.band)]
    if rate.above_prompt_tokens:
        parts.append(f"prompts above {rate.above_prompt_tokens:,} tokens")
    if rate.valid_from_ns is not None:
        parts.append(f"from {instant_words(rate.valid_from_ns)}")
    if rate.valid_until_ns is not None:
        parts.append(f"until {instant_words(rate.valid_until_ns)}")
    return ", ".join(parts)


def band_words(band: Band) -> str:
    """Return the hours of a band, its zone and its weekdays: `16:30–00:30 UTC, Mon–Fri`."""
    hours = f"{clock_text(band.from_minute)}–{clock_text(band.until_minute)} {band.zone}"
    return f"{hours}, {_weekday_words(band.weekdays)}" if band.weekdays else hours


def clock_text(minute: int) -> str:
    """Return a minute of the day as a clock shows it; the end of the day is 24:00."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def instant_words(at_ns: int) -> str:
    """Return an instant in UTC, to the minute if it is a whole one. Units: Unix nanoseconds."""
    at = datetime.fromtimestamp(at_ns // NS_PER_S, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at.second else f"{at:%Y-%m-%d %H:%M} UTC"


def _weekday_words(weekdays: frozenset[int]) -> str:
    days = sorted(weekdays)
    names = [WEEKDAYS[day].capitalize() for day in days]
    is_run = len(days) >= _SHORTEST_RUN and days[-1] - days[0] == len(days) - 1
    return f"{names[0]}–{names[-1]}" if is_run else ", ".join(names)
