"""The money that a worker holds of each budget, and spends without asking: what the way of a request touches.

A worker never passes a budget, since it spends only what it was leased, and never refuses before it has
asked: what other workers gave back meanwhile may be enough.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from entrepot.domain.errors import Refusal
from entrepot.domain.money import usd_text
from entrepot.ledger.accounts.authority import LEASE_SHARE, AccountId, Ask, Authority, AuthorityAway
from entrepot.ledger.keys.budgets import Budget, Span

_AWAY = Refusal(
    503,
    "server_error",
    "budget_unavailable",
    "whoever keeps the budget of this key cannot be asked now, and what was set aside is used up; try again",
    retry_after_s=5.0,
)


class Lease(Struct):
    """What a worker holds of one hard budget in one period.

    Units: nano-USD. `free_nusd` is leased and not reserved (below zero when more was spent than leased);
    `unreported_nusd` is spent and not told to the authority yet.
    """

    account: AccountId
    span: Span
    free_nusd: int = 0
    unreported_nusd: int = 0


class Watch(Struct):
    """What a worker knows of one soft budget in one period. Units: nano-USD."""

    budget: Budget
    span: Span
    spent_nusd: int
    reserved_nusd: int = 0

    def warning(self) -> str | None:
        """Return that the budget is passed, or may be by what is under way; None when neither."""
        spent, limit = self.spent_nusd, self.budget.amount_nusd
        if spent + self.reserved_nusd <= limit:
            return None
        how = "is passed" if spent > limit else "may be passed by running requests"
        return f"{self.budget.subject()} {how}: ${usd_text(spent)} of ${usd_text(limit)} is spent"


class Payer(Struct, frozen=True):
    """Every budget that counts the attempts of one sender, in the period that runs.

    Units: Unix nanoseconds; before `from_ns` and from `until_ns` on another period runs for one of them.
    """

    leases: tuple[Lease, ...]
    watches: tuple[Watch, ...]
    from_ns: int
    until_ns: int | None

    def holds(self, at_ns: int) -> bool:
        """Return whether an instant is in the present period of every budget."""
        return self.from_ns <= at_ns and (self.until_ns is None or at_ns < self.until_ns)

    def warnings(self) -> tuple[str, ...]:
        """Return what the sender should know of its soft budgets."""
        return tuple(text for watch in self.watches if (text := watch.warning()) is not None)


class Held(Struct, frozen=True):
    """What one attempt has reserved. Units: nano-USD; `likely_nusd` is what soft budgets count."""

    payer: Payer
    amount_nusd: int
    likely_nusd: int


class Leases:
    """The leases and watches of one worker, by budget and period."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._leases: dict[AccountId, Lease] = {}
        self._watches: dict[AccountId, Watch] = {}

    def payer(self, budgets: Iterable[Budget], at_ns: int) -> Payer:
        """Return what counts a request that is reserved at an instant. Units: Unix nanoseconds."""
        leases, watches, begins, ends = [], [], [0], []
        for budget in budgets:
            span = budget.span(at_ns)
            account = self._authority.open(budget, span)
            if budget.hard:
                leases.append(self._leases.setdefault(account, Lease(account, span)))
            else:
                watches.append(self._watch(account, budget, span))
            begins.append(span.from_ns)
            if span.until_ns is not None:
                ends.append(span.until_ns)
        return Payer(tuple(leases), tuple(watches), max(begins), min(ends, default=None))

    def reserve(self, payer: Payer, amount_nusd: int, likely_nusd: int) -> Refusal | None:
        """Set the whole amount aside in every hard budget, or in none and return why."""
        for lease in payer.leases:
            if lease.free_nusd < amount_nusd:
                refusal = self._refill(payer, amount_nusd)
                if refusal is not None:
                    return refusal
                break
        for lease in payer.leases:
            lease.free_nusd -= amount_nusd
        for watch in payer.watches:
            watch.reserved_nusd += likely_nusd
        return None

    def hold(self, payer: Payer, amount_nusd: int, likely_nusd: int) -> None:
        """Note what is reserved already, whatever the budgets say: they were changed meanwhile."""
        for lease in payer.leases:
            lease.free_nusd -= amount_nusd
        for watch in payer.watches:
            watch.reserved_nusd += likely_nusd

    def settle(self, held: Held, spent_nusd: int) -> None:
        """Turn what was set aside into what was spent, which may be more."""
        for lease in held.payer.leases:
            lease.free_nusd += held.amount_nusd - spent_nusd
            lease.unreported_nusd += spent_nusd
        for watch in held.payer.watches:
            watch.reserved_nusd -= held.likely_nusd
            watch.spent_nusd += spent_nusd

    def report(self) -> None:
        """Tell the authority what was spent, and give back what is more than a share of what is left.

        Raises: AuthorityAway; then nothing is lost, and a later call tells it.
        """
        for lease in self._leases.values():
            self._report(lease)
            within_nusd = self._authority.left_nusd(lease.account) + lease.free_nusd
            spare_nusd = lease.free_nusd - within_nusd // LEASE_SHARE
            if spare_nusd > 0 and within_nusd > 0:
                self._authority.give_back(lease.account, spare_nusd)
                lease.free_nusd -= spare_nusd

    def forget(self) -> None:
        """Forget every lease and watch, since budgets were changed; what is reserved is held again after."""
        self._leases.clear()
        self._watches.clear()

    def forget_before(self, at_ns: int) -> None:
        """Forget the periods that were over at an instant, in which nothing is reserved any more."""
        for account in [of for of, lease in self._leases.items() if lease.span.is_over(at_ns)]:
            del self._leases[account]
        for account in [of for of, watch in self._watches.items() if watch.span.is_over(at_ns)]:
            del self._watches[account]

    def left_nusd(self, account: AccountId) -> int | None:
        """Return what is left of a hard budget as this worker sees it; None when it has not used it."""
        lease = self._leases.get(account)
        if lease is None:
            return None
        self._report(lease)
        return self._authority.left_nusd(account) + lease.free_nusd

    def _refill(self, payer: Payer, amount_nusd: int) -> Refusal | None:
        try:
            for lease in payer.leases:
                self._report(lease)
            asks = tuple(Ask(lease.account, amount_nusd, lease.free_nusd) for lease in payer.leases)
            granted = self._authority.lease(asks)
        except AuthorityAway:
            return _AWAY
        if isinstance(granted, Refusal):
            return granted
        for lease, nusd in zip(payer.leases, granted, strict=True):
            lease.free_nusd += nusd
        return None

    def _report(self, lease: Lease) -> None:
        if lease.unreported_nusd:
            self._authority.spend(lease.account, lease.unreported_nusd)
            lease.unreported_nusd = 0

    def _watch(self, account: AccountId, budget: Budget, span: Span) -> Watch:
        watch = self._watches.get(account)
        if watch is None:
            spent_nusd = budget.amount_nusd - self._authority.left_nusd(account)
            watch = self._watches[account] = Watch(budget, span, spent_nusd)
        return watch
