"""The audit counts each budget by itself, and names the one that admission would start from a wrong sum."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.errors import DataError
from entrepot.domain.prices import Bill
from entrepot.ledger.audit.audit import Audit, audit
from entrepot.ledger.audit.budgets import BudgetAudit, BudgetSums
from entrepot.ledger.audit.limits import period_of, read_limits
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Scope, Snapshot
from entrepot.ledger.journal.segment import segment_numbers, segment_path
from entrepot.ledger.keys.budgets import BudgetId, Period, span_of
from entrepot.ledger.keys.log import set_budget_of
from entrepot.ledger.store.poster import run
from tests.ledger import entry_makers as make
from tests.ledger.accounts.test_hard_budgets import HOUR_NS, START_NS, Books, books, take_steps
from tests.ledger.openings import Change, change_opening

STALE_S = 1e15
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Havana",  # midnight comes twice
    "America/Asuncion",  # midnight is skipped
    "Australia/Lord_Howe",  # clocks change by half an hour
    "Asia/Kathmandu",  # 5:45
    "Pacific/Apia",  # a whole day is skipped
    "Pacific/Kiritimati",
)


def audited(here: Books) -> Audit:
    """Post what the books have written, and audit it."""
    run(here.ledger.path, follow=False)
    return audit(here.ledger.path, here.now_ns, stale_after_s=STALE_S)


def counted_in(here: Books, found: BudgetAudit) -> tuple[int, int]:
    """Return what the books counted for a budget in its period, without and as what is reserved."""
    limit = found.limit
    budget = here.ledger.keys.budgets[BudgetId(limit.scope, limit.number, Period(limit.period))]
    assert (budget.amount_nusd, budget.zone, budget.hard) == (limit.amount_nusd, limit.zone, limit.hard)
    span = budget.span(here.now_ns)
    assert span == (limit.from_ns, limit.until_ns)
    closed = [(entry, nusd) for entry, nusd in here.closed if budget in here.budgets(entry)]
    still_open = [entry for entry in here.open if budget in here.budgets(entry)]
    return (
        sum(nusd for entry, nusd in closed if span.holds(entry.at_ns)),
        sum(entry.amount_nusd for entry in still_open if span.holds(entry.at_ns)),
    )


@pytest.mark.parametrize("seed", range(8))
def test_every_budget_is_what_was_counted_from_outside(seed: int) -> None:
    """Any interleaving over midnights, month ends and restarts; also when the first segments are gone."""
    with books() as here:
        take_steps(here, seed)
        journal = DataDir(here.ledger.path).journal
        numbers = segment_numbers(journal)
        assert len(numbers) > 2
        for gone in (0, 1, len(numbers) // 2, len(numbers) - 1):
            for number in numbers[:gone]:
                segment_path(journal, number).unlink(missing_ok=True)
            found = audited(here)
            assert found.ok, found.findings
            assert len(found.budgets) == len(here.ledger.keys.budgets)
            for budget in found.budgets:
                sums = budget.journal
                assert (sums.counted_nusd, sums.reserved_nusd) == counted_in(here, budget)
                assert min(msgspec.structs.astuple(sums)) >= 0
                assert budget.left_nusd == budget.limit.amount_nusd - sums.committed_nusd >= 0
                assert (budget.agrees, budget.is_passed, budget.passed_by) == (True, False, None)
                assert gone or not sums.earlier_nusd


@pytest.fixture
def day() -> Iterator[Books]:
    """Books of one day, with everything that the tests look at before the last segment begins."""
    with books() as here:
        for _ in range(100):
            for key_id in (1, 2, 3):
                here.reserve(key_id, 5, narrow=False)
                here.close(0, 1.0, "settle")
        here.reserve(1, 7, narrow=False)
        here.close(0, 1.0, "expire")
        here.reserve(1, 11, narrow=False)
        for _ in range(60):
            here.reserve(3, 0, narrow=False)
            here.close(1, 1.0, "void")
        yield here


def more(field: str, scope: Scope, number: int) -> Change:
    """Return a change of a snapshot that adds a nano-dollar to one sum of one account."""
    name = f"{scope.value}s"

    def change(opening: Snapshot) -> dict[str, object]:
        balances = getattr(opening, name)
        assert number in [balance.number for balance in balances]
        changed = (
            msgspec.structs.replace(of, **{field: getattr(of, field) + 1}) if of.number == number else of
            for of in balances
        )
        return {name: tuple(changed)}

    return change


def earlier(scope: Scope, number: int, quarters_by: int) -> Change:
    """Return a change of a snapshot that puts all spending of one account into earlier quarters."""

    def change(opening: Snapshot) -> dict[str, object]:
        assert (scope, number) in [(of.scope, of.number) for of in opening.spending]
        changed = (
            msgspec.structs.replace(of, quarters={at - quarters_by: nusd for at, nusd in of.quarters.items()})
            if (of.scope, of.number) == (scope, number)
            else of
            for of in opening.spending
        )
        return {"spending": tuple(changed)}

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (more("spent_nusd", Scope.KEY, 1), ["key 1 alice, $0.000003 in all (hard)"]),
        (more("unknown_nusd", Scope.KEY, 1), ["key 1 alice, $0.000003 in all (hard)"]),
        (more("reserved_nusd", Scope.KEY, 1), ["key 1 alice, $0.000003 in all (hard)"]),
        (more("spent_nusd", Scope.TAG, 1), ["tag 1 papers, $0.000004 in all (hard)"]),
        (earlier(Scope.TAG, 2, 30 * 96), ["tag 2 papers/eu, $0.0000007 a month (hard)"]),
        (earlier(Scope.KEY, 2, 96), ["key 2 bob, $0.0000009 a day (hard, Asia/Kolkata)"]),
        (earlier(Scope.TEAM, 1, 96), ["team 1 blue, $0.0000015 a day (hard)"]),  # that of its month is right
    ],
)
def test_a_wrong_sum_in_the_last_snapshot_names_the_budget(
    day: Books, change: Change, named: list[str]
) -> None:
    """By a nano-dollar or a day; beside it the snapshot itself is named as ever."""
    assert audited(day).ok
    journal = DataDir(day.ledger.path).journal
    change_opening(journal, segment_numbers(journal)[-1], change)
    found = audit(day.ledger.path, day.now_ns, stale_after_s=STALE_S)
    assert not found.ok
    differing = [budget for budget in found.budgets if not budget.agrees]
    assert [f"{of.limit.whose()}, {of.limit.text()}" for of in differing] == named
    says = [text for text in found.findings if text.startswith("the budget of ")]
    assert says == [of.difference() for of in differing]
    assert says[0].startswith(f"the budget of {named[0]}, differs: the entries add up to $")
    assert "but the last snapshot and what follows to $" in says[0]


def test_what_is_unknown_and_reserved_is_told_apart_from_what_is_spent(day: Books) -> None:
    """Of the whole journal; of one that starts late what was before is one of the first two."""
    alice = audited(day).budgets[0]
    assert alice.journal == BudgetSums(500, 7, 11)
    assert alice.left_nusd == 3_000 - 518
    journal = DataDir(day.ledger.path).journal
    for number in segment_numbers(journal)[:-1]:
        segment_path(journal, number).unlink()
    key, bob, _month, team = audited(day).budgets[:4]
    assert key.journal == BudgetSums(500, 7, 11)
    assert bob.journal == BudgetSums(0, 0, 0, 500)
    assert team.journal.counted_nusd == 1_007
    assert "$0.000001007 spent or unknown before" in team.journal.text()
    expired, _ = next(one for one in day.closed if one[1] == 7)
    number = int.from_bytes(expired.request_id[8:], "big")
    known = msgspec.structs.replace(
        make.correct(number, 3, correction_id=1, key_id=1),
        bill=Bill(output_nusd=3),
        unknown_nusd=7,
        reserved_ns=expired.at_ns,
        sender_id=expired.sender_id,
    )
    assert day.ledger.correct(known) is None
    found = audited(day)
    assert found.ok, found.findings
    assert found.budgets[0].journal == BudgetSums(503, 0, 11)
    assert found.budgets[3].journal == BudgetSums(3, 0, 11, 1_000)


def corrected(here: Books) -> None:
    """Let an invoice say that an attempt of key 3 had cost 5,000 nano-dollars more."""
    here.reserve(3, 100, narrow=False)
    here.close(-1, 1.0, "settle")
    correction = make.correct(here.number, 5_000, correction_id=1, key_id=3)
    at_ns = here.now_ns + 2
    bill = Bill(output_nusd=5_000)
    assert (
        here.ledger.correct(
            msgspec.structs.replace(correction, bill=bill, reserved_ns=here.now_ns, at_ns=at_ns)
        )
        is None
    )


def cost_more(here: Books) -> None:
    """Let a host answer with more tokens than it was asked for."""
    here.reserve(3, 100, narrow=False)
    here.open.pop()
    assert here.ledger.settle(make.settle(here.number, 5_000, key_id=3)) is None


def settled_within(here: Books) -> None:
    """Let an attempt cost what it reserved, and the budget be lowered below that later."""
    here.reserve(3, 1_500, narrow=False)
    here.close(-1, 1.0, "settle")
    set_budget_of(
        here.ledger.path, Scope.KEY, "carol", 1_000, here.now_ns + HOUR_NS, period=Period.DAY, zone="UTC"
    )


@pytest.mark.parametrize(
    ("pass_it", "kind", "says"),
    [
        (corrected, "correction", "is passed by the correction of req-"),
        (cost_more, "settlement", "), which cost more than was reserved"),
        (settled_within, None, "is passed since before it was set so, or before the journal begins"),
    ],
)
def test_a_budget_that_is_passed_names_what_passed_it_and_is_no_disagreement(
    pass_it: Callable[[Books], None], kind: str | None, says: str
) -> None:
    """One row for each way in which a hard budget may be passed; what costs more later is not named."""
    with books() as here:
        set_budget_of(here.ledger.path, Scope.KEY, "carol", 2_000, 1, period=Period.DAY, zone="UTC")
        here.ledger.refresh_keys()
        here.reserve(3, 10, narrow=False)
        before = here.open[0].request_id
        pass_it(here)
        assert (
            here.ledger.settle(msgspec.structs.replace(make.settle(1, 20, key_id=3), request_id=before))
            is None
        )
        found = audited(here)
        assert found.ok, found.findings
        (passed,) = [budget for budget in found.budgets if budget.is_passed]
        assert passed.limit.whose() == "key 3 carol"
        assert passed.left_nusd < 0
        assert says in passed.passed_text()
        assert (passed.passed_by and passed.passed_by.kind) == kind
        if passed.passed_by is not None:
            assert passed.passed_by.request_id == make.request_id(here.number)
        here.now_ns += 24 * HOUR_NS
        assert not [budget for budget in audited(here).budgets if budget.passed_text()]


def test_a_budget_that_was_passed_and_corrected_back_still_says_so() -> None:
    """*Unknown, at most* more than was reserved, until the invoice says that it was less."""
    with books() as here:
        here.reserve(1, 100, narrow=False)
        here.open.pop()
        expire = make.expire(here.number, 3_100, key_id=1)
        assert here.ledger.expire(expire) is None
        less = msgspec.structs.replace(
            make.correct(here.number, 50, correction_id=1, key_id=1),
            bill=Bill(output_nusd=50),
            unknown_nusd=3_100,
            reserved_ns=here.now_ns,
        )
        assert audited(here).budgets[0].is_passed
        assert here.ledger.correct(less) is None
        alice = audited(here).budgets[0]
        assert (alice.journal, alice.is_passed) == (BudgetSums(50, 0, 0), False)
        assert "was passed, and is not now, by the expiry of req-" in alice.passed_text()


def test_a_clock_that_was_set_back_is_no_disagreement() -> None:
    """Of the day that it shows the last snapshot knows nothing more: the day of its youngest entry runs."""
    with books() as here:
        for key_id in (1, 2, 3):
            here.reserve(key_id, 400, narrow=False)
            here.close(-1, 1.0, "settle")
        here.now_ns += 20 * 24 * HOUR_NS
        for _ in range(60):
            here.reserve(2, 10, narrow=False)
            here.close(-1, 1.0, "settle")
        run(here.ledger.path, follow=False)
        found = audit(here.ledger.path, START_NS, stale_after_s=STALE_S)
        assert found.ok, found.findings
        bob = found.budgets[1]
        assert (bob.limit.period, bob.journal.spent_nusd) == ("day", 600)
        assert bob.limit.from_ns > START_NS


def test_a_soft_budget_is_passed_by_what_attempts_cost_and_not_by_their_bounds() -> None:
    """It is there to be passed: what it says is how far, and since which entry."""
    with books() as here:
        set_budget_of(here.ledger.path, Scope.KEY, "carol", 100, 1, period=Period.DAY, zone="UTC", hard=False)
        here.ledger.refresh_keys()
        here.reserve(3, 0, narrow=False)  # the books know hard budgets only
        here.close(-1, 1.0, "void")
        reserve = msgspec.structs.replace(make.reserve(9_000, 500, key_id=3), at_ns=here.now_ns)
        assert here.ledger.reserve(reserve) is None
        assert not [budget for budget in audited(here).budgets if budget.is_passed]
        assert here.ledger.settle(make.settle(9_000, 200, key_id=3)) is None
        (soft,) = [budget for budget in audited(here).budgets if budget.is_passed]
        assert soft.passed_text().endswith(")")
        assert "carol, $0.0000001 a day (soft), is passed by the settlement of req-" in soft.passed_text()


@given(
    st.sampled_from(ZONES),
    st.sampled_from(Period),
    st.integers(1_230_768_000, 1_893_456_000),  # 2009 to 2030
)
def test_a_period_is_the_same_however_it_is_found(zone: str, period: Period, at_s: int) -> None:
    """By walking until the date changes, or by asking for a midnight."""
    at_ns = at_s * 10**9
    assert period_of(period.value, at_ns, zone) == span_of(period, at_ns, ZoneInfo(zone))


def test_a_log_that_is_damaged_or_half_written_is_not_guessed_at(tmp_path: Path) -> None:
    """A line without its end is left; another one that is no event is named."""
    log = tmp_path / "keys.jsonl"
    assert read_limits(log, START_NS) == ()
    created = {"event": "create", "at_ns": 5, "key_id": 1, "name": "a", "budget_nusd": 7}
    ended = {"event": "budget", "at_ns": 6, "key_id": 1, "budget_nusd": None}
    line = json.dumps(created) + "\n"
    log.write_text(line + json.dumps(ended))
    (limit,) = read_limits(log, START_NS)
    assert (limit.whose(), limit.text(), limit.since_ns) == ("key 1 a", "$0.000000007 in all (hard)", 5)
    log.write_text(f"{line}{json.dumps(ended)}\n")
    assert read_limits(log, START_NS) == ()
    lost = {"event": "budget-of", "at_ns": 1, "scope": "key", "number": 1, "period": "year", "amount_nusd": 1}
    for wrong in ("{", "[]", json.dumps(lost)):
        log.write_text(f"{line}{wrong}\n")
        with pytest.raises(DataError, match=r"keys\.jsonl is damaged in line 2: .*restore it from a backup"):
            read_limits(log, START_NS)
    zone = {**lost, "period": "day", "zone": "Mars/Base"}
    log.write_text(f"{json.dumps(zone)}\n")
    with pytest.raises(DataError, match="time zone 'Mars/Base', which is unknown here"):
        read_limits(log, START_NS)
