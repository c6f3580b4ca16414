"""Made-up tariffs, dense where clocks are set, months end and years leap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from entrepot.domain.prices import Prices
from entrepot.domain.tariff import NS_PER_S, Band, BillsBy, Rate, Tariff

HOUR_NS = 3600 * NS_PER_S
BERLIN, NEW_YORK, KOLKATA, SHANGHAI = "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Shanghai"


def ns(text: str) -> int:
    """Return Unix nanoseconds of an instant; without an offset it is in UTC."""
    at = datetime.fromisoformat(text)
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * NS_PER_S


ZONES = st.sampled_from(
    [
        *(ZoneInfo(name) for name in ("UTC", BERLIN, NEW_YORK, KOLKATA, SHANGHAI, "Australia/Lord_Howe")),
        timezone(timedelta(hours=-9, minutes=-30)),
    ]
)
# Around the days of 2026 and 2028 on which clocks are set, months end or leap.
INSTANTS = st.one_of(
    st.integers(ns("2025-12-30T00:00:00"), ns("2028-03-02T00:00:00")),
    st.sampled_from(["2026-03-08", "2026-03-29", "2026-10-25", "2026-11-01", "2026-10-04"]).flatmap(
        lambda day: st.integers(ns(f"{day}T00:00:00") - 12 * HOUR_NS, ns(f"{day}T00:00:00") + 36 * HOUR_NS)
    ),
)
AMOUNTS = st.integers(0, 10**12)
CARDS = st.builds(
    Prices,
    AMOUNTS,
    AMOUNTS,
    cached_nusd_per_mtok=st.none() | AMOUNTS,
    cache_write_nusd_per_mtok=st.none() | AMOUNTS,
    request_nusd=AMOUNTS,
    cache_write_1h_nusd_per_mtok=st.none() | AMOUNTS,
    reasoning_nusd_per_mtok=st.none() | AMOUNTS,
)
BANDS = st.builds(
    Band,
    ZONES,
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.frozensets(st.integers(0, 6)),
)
RATES = st.builds(
    Rate,
    CARDS,
    valid_from_ns=st.none() | INSTANTS,
    valid_until_ns=st.none() | INSTANTS,
    above_prompt_tokens=st.sampled_from([0, 0, 1000, 200_000]),
    band=st.none() | BANDS,
)
TARIFFS = st.builds(
    Tariff,
    st.none() | st.builds(Rate, CARDS, valid_until_ns=st.none() | INSTANTS),
    st.lists(RATES, max_size=4).map(tuple),
    st.sampled_from(BillsBy),
)
PROMPTS = st.integers(0, 400_000)
