"""The authority never grants more than a budget has left, and workers refuse only after they have asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.errors import Refusal
from entrepot.ledger.accounts.authority import AccountId, Ask, AuthorityAway, LocalAuthority
from entrepot.ledger.accounts.leases import Held, Leases, Payer
from entrepot.ledger.entries import Balances, Scope
from entrepot.ledger.keys.budgets import ALWAYS, Budget, Period

CENT_NUSD = 10_000_000
KEY = Budget(Scope.KEY, 1, 1_000, name="alice")
TEAM = Budget(Scope.TEAM, 7, 5_000, name="blue")


class Worker:
    """One worker with a budget or several, and what it has under way."""

    def __init__(self, authority: LocalAuthority, *budgets: Budget) -> None:
        self.leases = Leases(authority)
        self.payer: Payer = self.leases.payer(budgets, at_ns=0)
        self.running: list[Held] = []

    def reserve(self, amount_nusd: int, likely_nusd: int = 0) -> Refusal | None:
        """Reserve, and remember it."""
        refusal = self.leases.reserve(self.payer, amount_nusd, likely_nusd)
        if refusal is None:
            self.running.append(Held(self.payer, amount_nusd, likely_nusd))
        return refusal

    def settle(self, spent_nusd: int) -> None:
        """End the oldest attempt."""
        self.leases.settle(self.running.pop(0), spent_nusd)

    def left(self, budget: Budget) -> int:
        """Return what is left as this worker sees it."""
        left = self.leases.left_nusd(AccountId(budget.id, 0))
        assert left is not None
        return left


def authority_of(*, spent_nusd: int = 0) -> LocalAuthority:
    """Return an authority by whose fold key 1 has spent so much."""
    balances = Balances()
    balances.balance(1).spent_nusd = spent_nusd
    return LocalAuthority(balances)


def test_a_reservation_is_granted_whole_or_not_at_all() -> None:
    """The last nano-dollar may be reserved; one more is refused and holds nothing."""
    worker = Worker(authority_of(spent_nusd=400), KEY)
    assert worker.reserve(601) is not None
    assert worker.left(KEY) == 600
    assert worker.reserve(600) is None
    assert worker.left(KEY) == 0
    assert worker.reserve(0) is None
    assert worker.reserve(1) is not None


def test_a_key_without_a_budget_is_never_refused() -> None:
    """Nothing is counted for it here; its entries are in the journal all the same."""
    worker = Worker(authority_of())
    assert worker.reserve(10**18) is None
    worker.settle(10**18)
    assert worker.leases.left_nusd(AccountId(KEY.id, 0)) is None


@pytest.mark.parametrize(
    ("spent", "reserved", "amount", "parts"),
    [
        (
            99,
            0,
            2,
            ("budget of this key is $1.00", "$0.99 is spent", "$0.01 is left", "up to $0.02", "raised"),
        ),
        (
            50,
            40,
            20,
            ("$0.50 is spent", "$0.40 is reserved", "$0.10 is left", "when running requests have ended"),
        ),
        (120, 0, 1, ("$1.20 is spent", "$-0.20 is left", "raised")),
    ],
)
def test_a_refusal_says_what_is_left_and_what_to_do(
    spent: int, reserved: int, amount: int, parts: tuple[str, ...]
) -> None:
    """It is 402 insufficient_quota, tells all sums, and whether waiting helps."""
    worker = Worker(authority_of(spent_nusd=spent * CENT_NUSD), Budget(Scope.KEY, 1, 100 * CENT_NUSD))
    if reserved:
        assert worker.reserve(reserved * CENT_NUSD) is None
    refusal = worker.reserve(amount * CENT_NUSD)
    assert refusal is not None
    assert (refusal.http_status, refusal.type, refusal.code) == (
        402,
        "insufficient_quota",
        "insufficient_quota",
    )
    for part in parts:
        assert part in refusal.message


def test_a_refusal_for_a_period_says_when_it_renews() -> None:
    """A tag whose month is used up can be used again on the first of the next."""
    month = Budget(Scope.TAG, 3, 100, Period.MONTH, "UTC", name="research")
    refusal = Worker(authority_of(), month).reserve(101)
    assert refusal is not None
    assert "the budget of tag research for this month (UTC)" in refusal.message
    assert "it renews on 1970-02-01 at 00:00 UTC" in refusal.message


def test_what_one_budget_refuses_no_other_holds() -> None:
    """All or nothing over key, team and tag: the team's money is not held for what the key refuses."""
    worker = Worker(authority_of(), KEY, TEAM)
    assert worker.reserve(1_001) is not None
    assert (worker.left(KEY), worker.left(TEAM)) == (1_000, 5_000)
    assert worker.reserve(1_000) is None
    assert (worker.left(KEY), worker.left(TEAM)) == (0, 4_000)


def test_once_a_budget_is_passed_even_a_free_request_is_refused() -> None:
    """A correction may pass the budget; admission stops then until it is raised."""
    worker = Worker(authority_of(), KEY)
    worker.leases.settle(Held(worker.payer, 0, 0), 1_001)
    assert worker.reserve(0) is not None
    assert Worker(authority_of(spent_nusd=1_001), Budget(Scope.KEY, 1, 2_000)).reserve(999) is None


def test_a_soft_budget_warns_and_lets_pass() -> None:
    """It counts what is likely while requests run, and what was spent after."""
    soft = Budget(Scope.KEY, 1, 1_000, hard=False)
    worker = Worker(authority_of(spent_nusd=300), soft)
    assert worker.reserve(10**9, likely_nusd=700) is None
    assert worker.payer.warnings() == ()
    assert worker.reserve(10**9, likely_nusd=1) is None
    assert "may be passed by running requests" in worker.payer.warnings()[0]
    worker.settle(10)
    assert worker.payer.warnings() == ()
    worker.settle(691)
    assert worker.payer.warnings()[0].startswith(
        "the budget of this key is passed: $0.000001001 of $0.000001"
    )


def test_what_a_worker_gives_back_another_may_spend() -> None:
    """Two workers share a budget: neither passes it, and none refuses what the other does not need."""
    authority = authority_of()
    first, second = Worker(authority, KEY), Worker(authority, KEY)
    assert first.reserve(600) is None
    assert second.reserve(600) is not None
    first.settle(0)
    first.leases.report()
    assert second.reserve(600) is None
    assert first.reserve(600) is not None


def test_while_the_authority_is_away_a_worker_spends_its_lease_and_then_says_503() -> None:
    """Nobody can know what is left: money that is not leased is not promised, and 402 would be a lie."""

    class Away(LocalAuthority):
        """An authority whose connection can be cut."""

        is_away = False

        def lease(self, asks: tuple[Ask, ...]) -> tuple[int, ...] | Refusal:
            """Grant, unless it is away."""
            if self.is_away:
                raise AuthorityAway("no connection")
            return super().lease(asks)

    authority = Away(Balances())
    worker = Worker(authority, KEY)
    assert worker.reserve(100) is None
    authority.is_away = True
    assert worker.reserve(100) is None, "an eighth of what was left was leased beside it"
    refusal = worker.reserve(100)
    assert refusal is not None
    assert (refusal.http_status, refusal.retry_after_s) == (503, 5.0)
    authority.is_away = False
    assert worker.reserve(100) is None


@given(
    st.integers(0, 10_000),
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 4_000), st.floats(0, 1), st.booleans(), st.booleans()),
        max_size=60,
    ),
)
def test_no_order_of_requests_passes_a_budget(
    amount: int, requests: list[tuple[int, int, float, bool, bool]]
) -> None:
    """With three workers over a key and a team, what they spent and hold never exceeds either budget."""
    authority = authority_of()
    key, team = Budget(Scope.KEY, 1, amount), Budget(Scope.TEAM, 7, 2 * amount // 3)
    workers = [Worker(authority, key, team), Worker(authority, key, team), Worker(authority, team)]
    spent = dict.fromkeys(("key", "team"), 0)
    for which, wanted, share, finish, report in requests:
        worker = workers[which]
        worker.reserve(wanted)
        if finish and worker.running:
            cost = int(worker.running[0].amount_nusd * share)
            spent["team"] += cost
            spent["key"] += cost if which < 2 else 0
            worker.settle(cost)
        if report:
            worker.leases.report()
        held = [sum(attempt.amount_nusd for attempt in of.running) for of in workers]
        assert spent["key"] + held[0] + held[1] <= key.amount_nusd
        assert spent["team"] + sum(held) <= team.amount_nusd
    for worker in workers:
        while worker.running:
            worker.settle(0)
    for _ in range(12):  # each report gives back seven eighths of what is spare
        for worker in workers:
            worker.leases.report()
    assert authority.left_nusd(authority.open(team, ALWAYS)) >= (team.amount_nusd - spent["team"]) // 2


@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(0, 4_000), st.floats(0, 1)), max_size=40))
def test_one_worker_refuses_only_what_does_not_fit(amount: int, requests: list[tuple[int, float]]) -> None:
    """No phantom refusals: what nobody spent or holds can be reserved to the last nano-dollar."""
    worker = Worker(authority_of(), Budget(Scope.KEY, 1, amount))
    left = amount
    for wanted, share in requests:
        refused = worker.reserve(wanted) is not None
        assert refused == (wanted > left)
        if not refused:
            spent = int(wanted * share)
            worker.settle(spent)
            left -= spent
    assert worker.reserve(left) is None
    assert worker.reserve(1) is not None
