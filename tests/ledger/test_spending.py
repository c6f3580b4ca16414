"""What counted for whom and when: the fold that budgets of teams, tags, days and months start from."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.prices import Bill
from entrepot.ledger.entries import (
    QUARTER_NS,
    Balances,
    NameSender,
    Reserve,
    Scope,
    ScopeBalance,
    Settle,
    Totals,
    decode,
    encode,
)
from entrepot.ledger.keys.budgets import Period, span_of
from tests.ledger import entry_makers as make

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Los_Angeles",
    "Asia/Kolkata",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
)
HOUR_NS = 3600 * 10**9
START_NS = int(datetime(2026, 9, 20, tzinfo=UTC).timestamp()) * 10**9


def attempt(
    number: int, at_ns: int, cost_nusd: int, *, key_id: int = 1, sender_id: int = 0
) -> tuple[Reserve, Settle]:
    """Return one attempt that was reserved at an instant, from its beginning to its end."""
    reserve = msgspec.structs.replace(make.reserve(number, key_id=key_id), at_ns=at_ns, sender_id=sender_id)
    bill = Bill(output_nusd=cost_nusd)
    return reserve, msgspec.structs.replace(make.settle(number, key_id=key_id), at_ns=at_ns + 1, bill=bill)


def test_an_attempt_counts_for_its_key_its_team_and_each_of_its_tags() -> None:
    """While it is reserved, when it is settled, and when it is corrected."""
    balances = Balances()
    correction = msgspec.structs.replace(make.correct(1, -100), reserved_ns=START_NS, sender_id=4)
    reserve, settle = attempt(1, START_NS, 600, sender_id=4)
    assert balances.apply(NameSender(4, 1, 7, (2, 3))) is None
    everyone = ((Scope.KEY, 1), (Scope.TEAM, 7), (Scope.TAG, 2), (Scope.TAG, 3))
    for entry, expected in (
        (reserve, (0, 1_000, 0)),
        (settle, (600, 0, 0)),
        (correction, (500, 0, 0)),
    ):
        assert balances.apply(entry) is None
        for scope, number in everyone:
            assert balances.balance(number, scope) == ScopeBalance(number, *expected)
    for scope, number in everyone:
        assert balances.spending[(scope, number)] == {START_NS // QUARTER_NS: 500}
    assert balances.balance(1, Scope.TAG) == ScopeBalance(1)


@given(st.integers(0, 2**32), st.sampled_from(ZONES), st.sampled_from((Period.DAY, Period.MONTH)))
def test_a_snapshot_keeps_what_any_running_period_needs(seed: int, zone: str, period: Period) -> None:
    """After months, restarts and merging, the sum of the day or month that runs is that of all entries."""
    rng = Random(seed)
    balances, spent = Balances(), []
    at_ns = START_NS
    for number in range(120):
        at_ns += rng.choice((QUARTER_NS // 3, HOUR_NS, 7 * HOUR_NS, 40 * HOUR_NS))
        cost = rng.randrange(1, 10**6)
        for entry in attempt(number, at_ns, cost):
            assert balances.apply(entry) is None
        spent.append((at_ns, cost))
        if rng.random() < 0.3:
            snapshot = balances.snapshot()
            balances = Balances()
            assert balances.apply(decode(encode(snapshot))) is None
            assert balances.snapshot() == snapshot
        span = span_of(period, at_ns, ZoneInfo(zone))
        expected = sum(nusd for when, nusd in spent if span.holds(when))
        assert span.counted_nusd(balances.spending[(Scope.KEY, 1)]) == expected
    assert len(balances.snapshot().spending[0].quarters) <= 28 * 4 + 28 * 4 + 2


def test_a_correction_of_a_month_that_is_over_counts_in_no_running_period() -> None:
    """An invoice of last month changes the total, and not what is left of this month."""
    balances = Balances()
    for entry in (*attempt(1, START_NS, 600), *attempt(2, START_NS + 60 * 24 * HOUR_NS, 50)):
        assert balances.apply(entry) is None
    balances.snapshot()
    late = msgspec.structs.replace(make.correct(1, 70), reserved_ns=START_NS)
    assert balances.apply(late) is None
    month = span_of(Period.MONTH, START_NS + 60 * 24 * HOUR_NS, UTC)
    assert month.counted_nusd(balances.spending[(Scope.KEY, 1)]) == 50
    assert balances.balance(1).spent_nusd == 720


def test_names_of_senders_survive_and_never_change() -> None:
    """A sender stands for the same key, team and tags in every entry."""
    balances = Balances()
    assert balances.apply(NameSender(1, 1, 2, (3,))) is None
    assert balances.apply(NameSender(1, 1, 2, (3,))) is None
    assert balances.apply(NameSender(1, 1, 2, (4,))) is not None
    again = Balances()
    assert again.apply(balances.snapshot()) is None
    assert again.senders == balances.senders


FIRST_LAYOUT = {
    "reserve": (
        "01000000000000000000000000000000010100e8030000000000000100000002000000030000006400000000000000"
        "320000008001000000776879",
        Reserve(bytes(15) + b"\1", 1, 1_000, 1, 2, 3, 100, 50, stream=True, decision=b"why"),
    ),
}


@pytest.mark.parametrize("name", FIRST_LAYOUT)
def test_entries_of_the_first_layout_are_still_read(name: str) -> None:
    """A journal that an earlier version wrote goes on; what it could not say is zero."""
    text, expected = FIRST_LAYOUT[name]
    assert decode(bytes.fromhex(text)) == expected


@pytest.mark.parametrize("entry", [make.reserve(), make.settle(), make.correct()])
def test_the_second_layout_adds_behind_the_first(entry: Reserve | Settle) -> None:
    """The first layout's bytes, with the number of the first, mean the same entry without what was added."""
    body = encode(entry)
    tail = {0x11: 16, 0x12: 20, 0x15: 36}[body[0]]
    text = entry.decision if isinstance(entry, Reserve) else getattr(entry, "answer_id", b"")
    fixed = body[: len(body) - len(text)]
    assert decode(bytes((body[0] & 0x0F,)) + fixed[1:-tail] + text) == entry


def test_totals_know_names_and_feedback_without_counting_them() -> None:
    """An audit that remembers every id takes whatever a journal may hold."""
    totals = Totals()
    assert totals.apply(NameSender(1, 1)) is None
    assert totals.balances.senders == {1: NameSender(1, 1)}


@pytest.mark.parametrize("hours", [12, 13, 13.75, 14, 15, 40])
def test_a_month_of_the_easternmost_zone_is_whole_around_the_turn_of_a_month(hours: float) -> None:
    """Kiritimati is fourteen hours ahead: its month began before that of UTC, whose month then runs, too."""
    zone = ZoneInfo("Pacific/Kiritimati")
    begins_ns = int(datetime(2026, 10, 31, 10, tzinfo=UTC).timestamp()) * 10**9
    balances, at_ns = Balances(), begins_ns + int((14 + hours) * HOUR_NS)
    for number, when in enumerate((begins_ns - 1, begins_ns, begins_ns + HOUR_NS, at_ns)):
        for entry in attempt(number, when, 10**number):
            assert balances.apply(entry) is None
        balances.snapshot()
    assert span_of(Period.MONTH, at_ns, zone).counted_nusd(balances.spending[(Scope.KEY, 1)]) == 1110
