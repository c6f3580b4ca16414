"""What the ledger of one process counts against budgets: for whom, what is held, and what is left.

Beside `Ledger`, which knows entries and the journal, so that the order "is it allowed, is it written, does it
count" can be read there in a few lines.
"""

from __future__ import annotations

from collections.abc import Callable

from entrepot.domain.errors import Refusal
from entrepot.ledger.accounts.authority import AccountId, LocalAuthority
from entrepot.ledger.accounts.leases import Held, Leases, Payer
from entrepot.ledger.accounts.senders import Senders
from entrepot.ledger.entries import AttemptId, Balances, Correct, NameSender, Reserve, Scope
from entrepot.ledger.keys.budgets import BudgetId, Period
from entrepot.ledger.keys.keys import KeyRing

LONGEST_ATTEMPT_NS = 24 * 3600 * 10**9  # longer than any attempt: a period that is over by so much is closed

_UNCOUNTED = Payer((), (), 0, None)


class Accounts:
    """The budgets of a data directory as its worker sees them; `held` is what attempts under way reserved.

    `has_budgets` says whether any is set at all: without one a reservation asks nobody. `write` puts the name
    of a new sender into the journal.
    """

    def __init__(
        self, keys: KeyRing, balances: Balances, write: Callable[[NameSender], None], now_ns: int
    ) -> None:
        self.held: dict[AttemptId, Held] = {}
        self.senders = Senders(keys, balances, write)
        self._keys = keys
        self._balances = balances
        self._opened_ns = now_ns
        self._authority = LocalAuthority(balances)
        self._leases = Leases(self._authority)
        self._payers: dict[tuple[int, int], Payer] = {}
        self.has_budgets = bool(keys.budgets)

    def reserve(self, attempt: AttemptId, entry: Reserve, likely_nusd: int) -> Refusal | None:
        """Hold the amount in every budget over an attempt, or in none and return why not (402, 503)."""
        payer = self._payers.get((entry.key_id, entry.sender_id))
        if payer is None or not payer.holds(entry.at_ns):
            payer = self._payer(entry.key_id, entry.sender_id, entry.at_ns)
        if payer is _UNCOUNTED:
            return None
        refusal = self._leases.reserve(payer, entry.amount_nusd, likely_nusd)
        if refusal is None:
            self.held[attempt] = Held(payer, entry.amount_nusd, likely_nusd)
        return refusal

    def settle(self, attempt: AttemptId, counted_nusd: int) -> None:
        """Turn what an attempt held, if anything, into what counts: spent, or unknown at most."""
        held = self.held.pop(attempt, None)
        if held is not None:
            self._leases.settle(held, counted_nusd)

    def payer_of(self, entry: Correct) -> Payer:
        """Return what counts a correction: the budgets over its attempt in the periods of its reservation.

        To be asked before the correction is in the balances: an account that opens counts what is there.
        """
        return self._payer_at(entry.key_id, entry.sender_id, entry.reserved_ns)

    def add(self, payer: Payer, counted_nusd: int) -> None:
        """Count what a correction adds; it may pass a budget."""
        self._leases.settle(Held(payer, 0, 0), counted_nusd)

    def left_nusd(self, key_id: int) -> int | None:
        """Return what is left of a key's hard budget in total, below zero when passed; None without one."""
        budget = self._keys.budgets.get(BudgetId(Scope.KEY, key_id, Period.TOTAL))
        if budget is None or not budget.hard:
            return None
        self._leases.payer((budget,), self._opened_ns)
        return self._leases.left_nusd(AccountId(budget.id, 0))

    def warnings(self, attempt: AttemptId) -> tuple[str, ...]:
        """Return what the sender of an attempt should know of its soft budgets."""
        held = self.held.get(attempt)
        return () if held is None else held.payer.warnings()

    def keep(self, now_ns: int) -> None:
        """Report what was spent of the leases, and close the periods that are over.

        Units: Unix nanoseconds.
        """
        self._leases.report()
        self._leases.forget_before(now_ns - LONGEST_ATTEMPT_NS)
        self._authority.forget_before(now_ns - LONGEST_ATTEMPT_NS)

    def open_anew(self) -> None:
        """Open all accounts again, since budgets were changed, with what is spent and reserved by now."""
        self.has_budgets = bool(self._keys.budgets)
        self._authority.forget()
        self._leases.forget()
        self._payers.clear()
        self.senders.forget()
        self.held, before = {}, self.held
        for attempt, reserve in self._balances.open.items():
            payer = self._payer_at(reserve.key_id, reserve.sender_id, reserve.at_ns)
            if payer.leases or payer.watches:
                likely_nusd = before[attempt].likely_nusd if attempt in before else reserve.amount_nusd
                self._leases.hold(payer, reserve.amount_nusd, likely_nusd)
                self.held[attempt] = Held(payer, reserve.amount_nusd, likely_nusd)

    def _payer(self, key_id: int, sender_id: int, at_ns: int) -> Payer:
        """Return what counts a sender's attempts in the periods that run at an instant, and remember it."""
        payer = self._payer_at(key_id, sender_id, at_ns)
        if not payer.leases and not payer.watches:
            payer = _UNCOUNTED
        self._payers[(key_id, sender_id)] = payer
        return payer

    def _payer_at(self, key_id: int, sender_id: int, at_ns: int) -> Payer:
        return self._leases.payer(self.senders.budgets(key_id, sender_id), at_ns)
