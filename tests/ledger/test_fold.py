"""What entries add up to, whatever their order, and what does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.ledger.entries import (
    Balances,
    Conflict,
    ConflictReason,
    Entry,
    NameEndpoint,
    NamePrices,
    ScopeBalance,
    Totals,
    decode,
    encode,
)
from tests.ledger import entry_makers as make


def fold(*entries: Entry) -> Balances:
    """Return the balances of entries that must all fit."""
    balances = Balances()
    for entry in entries:
        assert balances.apply(entry) is None
    return balances


@pytest.mark.parametrize(
    ("entries", "spent", "reserved", "unknown"),
    [
        ([make.reserve()], 0, 1_000, 0),
        ([make.reserve(), make.settle()], 600, 0, 0),
        ([make.reserve(), make.settle(cost_nusd=1_700)], 1_700, 0, 0),
        ([make.reserve(), make.void()], 0, 0, 0),
        ([make.reserve(), make.expire()], 0, 0, 1_000),
        ([make.reserve(), make.settle(), make.correct()], 650, 0, 0),
        ([make.reserve(), make.settle(), make.correct(delta_nusd=-600)], 0, 0, 0),
        ([make.reserve(), make.expire(), make.correct(delta_nusd=300, unknown_nusd=1_000)], 300, 0, 0),
        ([make.reserve(), make.reserve(attempt=2), make.void(), make.settle(attempt=2)], 600, 0, 0),
    ],
    ids=lambda value: "-".join(type(e).__name__ for e in value) if isinstance(value, list) else str(value),
)
def test_each_way_of_an_attempt_adds_up(
    entries: list[Entry], spent: int, reserved: int, unknown: int
) -> None:
    """Reserved money becomes spent, free or unknown; a cost above its reservation is recorded as it is."""
    assert fold(*entries).balance(1) == ScopeBalance(1, spent, reserved, unknown)


@pytest.mark.parametrize(
    ("before", "entry", "reason"),
    [
        ([], make.settle(), ConflictReason.NOT_OPEN),
        ([make.reserve(), make.settle()], make.settle(), ConflictReason.NOT_OPEN),
        ([make.reserve(), make.expire()], make.settle(), ConflictReason.NOT_OPEN),
        ([make.reserve(), make.void()], make.expire(), ConflictReason.NOT_OPEN),
        ([make.reserve()], make.settle(attempt=2), ConflictReason.NOT_OPEN),
        ([make.reserve()], make.settle(key_id=2), ConflictReason.OTHER_KEY),
        ([make.reserve()], make.reserve(amount_nusd=999), ConflictReason.OTHER_CONTENT),
        ([make.reserve()], make.correct(), ConflictReason.STILL_OPEN),
        ([make.reserve(), make.expire()], make.correct(unknown_nusd=1_001), ConflictReason.UNKNOWN_EXCEEDED),
        ([make.reserve(), make.settle()], make.correct(unknown_nusd=-1), ConflictReason.UNKNOWN_EXCEEDED),
    ],
)
def test_what_does_not_fit_is_a_conflict_and_changes_nothing(
    before: list[Entry], entry: Entry, reason: ConflictReason
) -> None:
    """Each refusal has its reason; the balances stay as they were."""
    balances = fold(*before)
    unchanged = balances.snapshot()
    assert balances.apply(entry) == Conflict(entry, reason)
    assert balances.snapshot() == unchanged


def test_the_same_reservation_twice_counts_once() -> None:
    """A caller that does not know whether its reservation was written may repeat it."""
    assert fold(make.reserve(), make.reserve()).balance(1).reserved_nusd == 1_000


def test_a_late_report_replaces_what_was_unknown() -> None:
    """When a host's log says later what an expired attempt cost, a correction books exactly that."""
    correction = make.correct(1, 420, unknown_nusd=1_000)
    assert fold(make.reserve(), make.expire(), correction).balance(1) == ScopeBalance(1, 420, 0, 0)


def test_a_name_never_changes_its_meaning() -> None:
    """An endpoint id or price version stands for the same facts in every entry, old or new."""
    balances = fold(NameEndpoint(1, "m@h", "m", "h"), NamePrices(1, 1, 0, 5, 7))
    assert balances.apply(NameEndpoint(1, "m@h", "m", "h")) is None
    for changed in (NameEndpoint(1, "m@g", "m", "g"), NamePrices(1, 1, 0, 5, 8)):
        assert balances.apply(changed) == Conflict(changed, ConflictReason.OTHER_CONTENT)


def test_totals_know_an_entry_that_they_have_seen() -> None:
    """With a memory of ids, a repeated entry changes nothing even after its attempt was closed."""
    totals = Totals()
    for entry in (
        make.reserve(),
        make.settle(),
        make.reserve(),
        make.settle(),
        make.correct(),
        make.correct(),
    ):
        assert totals.apply(entry) is None
    assert totals.balances.balance(1) == ScopeBalance(1, 650, 0, 0)
    changed = make.correct(delta_nusd=51)
    assert totals.apply(changed) == Conflict(changed, ConflictReason.OTHER_CONTENT)
    assert totals.apply(make.void()) == Conflict(make.void(), ConflictReason.NOT_OPEN)


_steps = st.lists(st.tuples(st.sampled_from("rsvxc"), st.integers(1, 4), st.integers(0, 3_000)), max_size=40)


def _entry(kind: str, number: int, nusd: int) -> Entry:
    match kind:
        case "r":
            return make.reserve(number, nusd)
        case "s":
            return make.settle(number, nusd)
        case "v":
            return make.void(number)
        case "x":
            return make.expire(number, nusd)
        case _:
            return make.correct(number, nusd, correction_id=nusd)


@given(_steps)
def test_no_order_of_entries_leaves_a_sum_below_zero(steps: list[tuple[str, int, int]]) -> None:
    """Reserved is always the sum of what is open; nothing that was closed stays reserved."""
    balances = Balances()
    for step in steps:
        balances.apply(_entry(*step))
        balance = balances.balance(1)
        assert balance.reserved_nusd == sum(entry.amount_nusd for entry in balances.open.values())
        assert min(balance.spent_nusd, balance.reserved_nusd, balance.unknown_nusd) >= 0


@given(_steps, st.integers(0, 40))
def test_a_snapshot_stands_for_all_that_was_before_it(steps: list[tuple[str, int, int]], cut: int) -> None:
    """Folding on from a snapshot, itself through bytes, gives what folding everything gives."""
    whole, before, after = Balances(), Balances(), Balances()
    for step in steps:
        whole.apply(_entry(*step))
    for step in steps[:cut]:
        before.apply(_entry(*step))
    assert after.apply(decode(encode(before.snapshot()))) is None
    for step in steps[cut:]:
        after.apply(_entry(*step))
    assert after.snapshot() == whole.snapshot()


def test_a_snapshot_that_disagrees_with_the_fold_is_a_conflict() -> None:
    """Whoever folds a whole journal checks each segment's opening balances on the way."""
    balances = fold(make.reserve(), make.settle())
    assert balances.apply(balances.snapshot()) is None
    other = fold(make.reserve(), make.settle(cost_nusd=601)).snapshot()
    assert balances.apply(other) == Conflict(other, ConflictReason.OTHER_CONTENT)


@given(_steps)
def test_repeating_every_entry_changes_nothing(steps: list[tuple[str, int, int]]) -> None:
    """Entries are idempotent by id: a journal that was delivered twice adds up to the same."""
    once, twice = Totals(), Totals()
    for step in steps:
        once.apply(_entry(*step))
        twice.apply(_entry(*step))
        twice.apply(_entry(*step))
    assert once.balances.snapshot() == twice.balances.snapshot()
