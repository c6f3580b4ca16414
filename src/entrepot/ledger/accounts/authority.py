"""Owns the money of every budget of a data directory: the one place that says yes or no.

The fold of the journal has the same sums, and reading them would save a few additions. But a worker will be
another process, or on another machine, and must not need the fold: it holds a lease of money, spends from
that alone, and asks here before it refuses. So money is split in three: spent, leased to workers, and left.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from msgspec import Struct

from entrepot.domain.errors import DataError, Refusal
from entrepot.domain.money import usd_text
from entrepot.ledger.entries import Balances, Scope
from entrepot.ledger.keys.budgets import Budget, BudgetId, Period, Span

_NS_PER_S = 1_000_000_000

LEASE_SHARE = 8
"""A worker is leased an eighth of what is left beside what it needs, so that it seldom has to ask again."""


class AccountId(NamedTuple):
    """A budget in one of its periods. Units: `from_ns` Unix nanoseconds, where the period begins."""

    budget: BudgetId
    from_ns: int


class Ask(NamedTuple):
    """What a worker needs of an account: `needed_nusd` in all, of which it holds `free_nusd` unused."""

    account: AccountId
    needed_nusd: int
    free_nusd: int


class AuthorityAway(DataError):
    """The authority cannot be reached: what a worker holds may still be spent, more cannot be had."""


class Authority(Protocol):
    """Whoever can grant money: in this process, or elsewhere. Units: nano-USD."""

    def open(self, budget: Budget, span: Span) -> AccountId:
        """Return the account of a budget in a period."""

    def lease(self, asks: tuple[Ask, ...]) -> tuple[int, ...] | Refusal:
        """Grant each account at least what it lacks, or none of them; raises AuthorityAway."""

    def give_back(self, account: AccountId, leased_nusd: int) -> None:
        """Take back what a worker does not need."""

    def spend(self, account: AccountId, spent_nusd: int) -> None:
        """Turn leased money into money that is spent; it may be more than was leased."""

    def left_nusd(self, account: AccountId) -> int:
        """Return what is neither spent nor leased; below zero when the budget was passed."""


class Account(Struct):
    """What counts against a budget in one of its periods.

    Units: nano-USD. `spent_nusd` includes what is *unknown, at most X*; `leased_nusd` is what workers hold.
    """

    budget: Budget
    span: Span
    spent_nusd: int
    leased_nusd: int = 0

    @property
    def left_nusd(self) -> int:
        """Return what is neither spent nor leased."""
        return self.budget.amount_nusd - self.spent_nusd - self.leased_nusd


class LocalAuthority:
    """The authority of a data directory, in the process that owns it; it knows what was spent by the fold."""

    def __init__(self, balances: Balances) -> None:
        self._balances = balances
        self._accounts: dict[AccountId, Account] = {}

    def forget(self) -> None:
        """Close every account, since budgets were changed; whoever holds money opens its accounts again."""
        self._accounts.clear()

    def open(self, budget: Budget, span: Span) -> AccountId:
        """Return the account of a budget in a period; what was spent in it by now is counted."""
        account = AccountId(budget.id, span.from_ns)
        if account not in self._accounts:
            self._accounts[account] = Account(budget, span, self._spent_nusd(budget, span))
        return account

    def lease(self, asks: tuple[Ask, ...]) -> tuple[int, ...] | Refusal:
        """Grant each account at least what it lacks, or none of them and say why (402)."""
        for ask in asks:
            account = self._accounts[ask.account]
            if ask.needed_nusd - ask.free_nusd > account.left_nusd:
                return _refusal(account, ask)
        return tuple(self._grant(ask) for ask in asks)

    def give_back(self, account: AccountId, leased_nusd: int) -> None:
        """Take back what a worker does not need."""
        self._accounts[account].leased_nusd -= leased_nusd

    def spend(self, account: AccountId, spent_nusd: int) -> None:
        """Turn leased money into money that is spent; it may be more than was leased."""
        found = self._accounts[account]
        found.spent_nusd += spent_nusd
        found.leased_nusd -= spent_nusd

    def left_nusd(self, account: AccountId) -> int:
        """Return what is neither spent nor leased; below zero when the budget was passed."""
        return self._accounts[account].left_nusd

    def forget_before(self, at_ns: int) -> None:
        """Close the accounts of periods that were over at an instant. Units: Unix nanoseconds."""
        over = [of for of, account in self._accounts.items() if account.span.is_over(at_ns)]
        for account in over:
            del self._accounts[account]

    def _grant(self, ask: Ask) -> int:
        account = self._accounts[ask.account]
        lacking = max(0, ask.needed_nusd - ask.free_nusd)
        granted = lacking + max(0, account.left_nusd - lacking) // LEASE_SHARE
        account.leased_nusd += granted
        return granted

    def _spent_nusd(self, budget: Budget, span: Span) -> int:
        if budget.period is Period.TOTAL:
            balance = self._balances.scopes[budget.scope].get(budget.number)
            return 0 if balance is None else balance.spent_nusd + balance.unknown_nusd
        return span.counted_nusd(self._balances.spending.get((budget.scope, budget.number), {}))


def _refusal(account: Account, ask: Ask) -> Refusal:
    budget = account.budget
    left_nusd = account.left_nusd + ask.free_nusd
    reserved_nusd = account.leased_nusd - ask.free_nusd
    if account.spent_nusd + ask.needed_nusd <= budget.amount_nusd:
        advice = "try again when running requests have ended, or ask for fewer output tokens"
    else:
        until_ns = account.span.until_ns
        renews = "" if until_ns is None else f"it renews on {_minute_text(until_ns)}; "
        whose = "this key" if budget.scope is Scope.KEY else f"the {budget.scope.value}"
        advice = f"{renews}ask for fewer output tokens, or have the budget of {whose} raised"
    return Refusal(
        402,
        "insufficient_quota",
        "insufficient_quota",
        f"{budget.subject()} is ${usd_text(budget.amount_nusd)}: ${usd_text(account.spent_nusd)} is spent, "
        f"${usd_text(reserved_nusd)} is reserved by running requests and ${usd_text(left_nusd)} is left, "
        f"but this request may cost up to ${usd_text(ask.needed_nusd)}; {advice}",
    )


def _minute_text(at_ns: int) -> str:
    return f"{datetime.fromtimestamp(at_ns // _NS_PER_S, UTC):%Y-%m-%d at %H:%M} UTC"
