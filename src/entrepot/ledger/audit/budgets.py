"""What each budget has spent in the period that runs, from the journal, beside what admission starts from.

Admission knows by the fold: balances and quarters of an hour, as the last snapshot has them, and the entries
after it. Here each budget is counted by itself, entry by entry, from the first that the journal keeps. A
difference says that the next start of the gateway would count from a wrong sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import assert_never

from msgspec import Struct

from entrepot.domain.ids import request_id_text
from entrepot.domain.money import usd_text
from entrepot.ledger.audit.compare import place
from entrepot.ledger.audit.fold import cost_nusd
from entrepot.ledger.audit.limits import TOTAL, Limit
from entrepot.ledger.entries import (
    Correct,
    Entry,
    Expire,
    NameSender,
    Reserve,
    Scope,
    ScopeBalance,
    Settle,
    Snapshot,
    Void,
)
from entrepot.ledger.journal.segment import Position

_QUARTER_NS = 15 * 60 * 10**9
_NOTHING = ScopeBalance(0)
_KNOWN_WITHIN_NS = 10**9  # a running gateway follows a changed budget so fast

_PASSES = {
    "settlement": ", which cost more than was reserved",
    "reservation": ", which should have been refused: keep the files and report it",
}


class BudgetSums(Struct, frozen=True):
    """What counts against a budget in its period.

    Units: nano-USD. `earlier_nusd` is spent or unknown, and of attempts of which only quarters of an hour are
    known, which do not tell one from the other.
    """

    spent_nusd: int = 0
    unknown_nusd: int = 0
    reserved_nusd: int = 0
    earlier_nusd: int = 0

    @property
    def counted_nusd(self) -> int:
        """Return all but what is reserved."""
        return self.spent_nusd + self.unknown_nusd + self.earlier_nusd

    @property
    def committed_nusd(self) -> int:
        """Return all of it."""
        return self.counted_nusd + self.reserved_nusd

    def plus(self, spent_nusd: int, unknown_nusd: int, reserved_nusd: int) -> BudgetSums:
        """Return the sums with more; what is resolved of an earlier *unknown* is taken from there."""
        unknown_nusd += self.unknown_nusd
        of_earlier = min(unknown_nusd, 0) if self.earlier_nusd else 0
        return BudgetSums(
            self.spent_nusd + spent_nusd,
            unknown_nusd - of_earlier,
            self.reserved_nusd + reserved_nusd,
            self.earlier_nusd + of_earlier,
        )

    def text(self) -> str:
        """Return the sums in words."""
        spent, unknown, reserved = map(usd_text, (self.spent_nusd, self.unknown_nusd, self.reserved_nusd))
        earlier = f", ${usd_text(self.earlier_nusd)} spent or unknown before" if self.earlier_nusd else ""
        return f"${spent} spent, ${unknown} unknown, ${reserved} reserved{earlier}"


class PassedBy(Struct, frozen=True):
    """The entry with which a budget was passed: a settlement, an expiry, a correction or a reservation."""

    kind: str
    request_id: bytes
    attempt: int
    at: Position

    def text(self) -> str:
        """Return which it was, in words."""
        of = f"{self.kind} of {request_id_text(self.request_id)}, attempt {self.attempt}"
        return f"the {of} ({place(self.at)})"


class BudgetAudit(Struct, frozen=True):
    """One budget in the period that runs: from all entries, and as the last snapshot lets admission count.

    `passed_by` is the last entry that took it above its limit since that was set, also when it is below by
    now; None when none did.
    """

    limit: Limit
    journal: BudgetSums
    said: BudgetSums
    passed_by: PassedBy | None = None

    @property
    def left_nusd(self) -> int:
        """Return what is not spent, unknown or reserved; below zero when it is passed. Units: nano-USD."""
        return self.limit.amount_nusd - self.journal.committed_nusd

    @property
    def is_passed(self) -> bool:
        """Return whether it is passed now; for a soft one, without what is reserved."""
        return _is_over(self.limit, self.journal)

    @property
    def agrees(self) -> bool:
        """Return whether both ways of counting come to the same."""
        here, there = self.journal, self.said
        if self.limit.period == TOTAL:
            return here == there
        return (here.counted_nusd, here.reserved_nusd) == (there.counted_nusd, there.reserved_nusd)

    def difference(self) -> str:
        """Return what differs, in words."""
        return (
            f"the budget of {self.limit.whose()}, {self.limit.text()}, differs: the entries add up to "
            f"{self.journal.text()}, but the last snapshot and what follows to {self.said.text()}"
        )

    def passed_text(self) -> str:
        """Return that it is or was passed and by what, in words; nothing when it never was."""
        if not self.is_passed and self.passed_by is None:
            return ""
        verb = "is passed" if self.is_passed else "was passed, and is not now,"
        what = f"the budget of {self.limit.whose()}, {self.limit.text()}, {verb}"
        if self.passed_by is None:
            return f"{what} since before it was set so, or before the journal begins"
        why = _PASSES.get(self.passed_by.kind, "") if self.limit.hard else ""
        return f"{what} by {self.passed_by.text()}{why}"


class AuditBudgets:
    """Counts each budget by itself, entry by entry."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = limits
        self._senders: dict[int, NameSender] = {}
        self._over: dict[tuple[int, int], tuple[int, ...]] = {}
        self._has_begun = False
        self._journal = [BudgetSums()] * len(limits)
        self._said = [BudgetSums()] * len(limits)
        self._passed_by: list[PassedBy | None] = [None] * len(limits)

    def add(self, at: Position, entry: Entry, closed: Reserve | None) -> None:
        """Count an entry; `closed` is the reservation that it closes."""
        if not self._limits:
            return
        match entry:
            case Snapshot():
                self._begin(entry)
            case NameSender():
                self._senders.setdefault(entry.sender_id, entry)
            case Reserve():
                self._count(at, entry, entry, (0, 0, entry.amount_nusd))
            case Correct():
                self._count(at, entry, entry, (cost_nusd(entry.bill), -entry.unknown_nusd, 0))
            case Settle() | Void() | Expire() if closed is not None:
                spent_nusd = cost_nusd(entry.bill) if isinstance(entry, Settle) else 0
                unknown_nusd = entry.at_most_nusd if isinstance(entry, Expire) else 0
                self._count(at, entry, closed, (spent_nusd, unknown_nusd, -closed.amount_nusd))
            case _:
                pass

    def found(self) -> tuple[BudgetAudit, ...]:
        """Return every budget with its sums, in the order of the limits."""
        every = zip(self._limits, self._journal, self._said, self._passed_by, strict=True)
        return tuple(BudgetAudit(*one) for one in every)

    def _begin(self, snapshot: Snapshot) -> None:
        for sender in snapshot.senders:
            self._senders.setdefault(sender.sender_id, sender)
        reserved = [0] * len(self._limits)
        for reserve in snapshot.open:
            for index in self._indices(reserve.key_id, reserve.sender_id):
                if self._limits[index].holds(reserve.at_ns):
                    reserved[index] += reserve.amount_nusd
        if not self._has_begun:
            self._journal = _opening(self._limits, snapshot, reserved)
            self._has_begun = True
        balances = _balances(snapshot)
        for index, limit in enumerate(self._limits):
            if limit.period == TOTAL:
                reserved[index] = balances[limit.scope, limit.number].reserved_nusd
        self._said = _opening(self._limits, snapshot, reserved)

    def _count(
        self,
        at: Position,
        entry: Reserve | Settle | Void | Expire | Correct,
        of: Reserve | Correct,
        amounts_nusd: tuple[int, int, int],
    ) -> None:
        reserved_ns = of.reserved_ns if isinstance(of, Correct) else of.at_ns
        for index in self._indices(of.key_id, of.sender_id):
            limit = self._limits[index]
            if limit.holds(reserved_ns):
                before = self._journal[index]
                after = self._journal[index] = before.plus(*amounts_nusd)
                self._said[index] = self._said[index].plus(*amounts_nusd)
                is_known = entry.at_ns >= limit.since_ns + _KNOWN_WITHIN_NS
                if is_known and _is_over(limit, after) and not _is_over(limit, before):
                    self._passed_by[index] = PassedBy(_kind(entry), entry.request_id, entry.attempt, at)

    def _indices(self, key_id: int, sender_id: int) -> tuple[int, ...]:
        found = self._over.get((key_id, sender_id))
        if found is None:
            sender = self._senders.get(sender_id)
            team_id, tags = (0, ()) if sender is None else (sender.team_id, sender.tags)
            counts = {Scope.KEY: (key_id,), Scope.TEAM: (team_id,), Scope.TAG: tags}
            found = tuple(
                index for index, limit in enumerate(self._limits) if limit.number in counts[limit.scope]
            )
            self._over[key_id, sender_id] = found
        return found


def _opening(limits: Sequence[Limit], snapshot: Snapshot, reserved_nusd: Sequence[int]) -> list[BudgetSums]:
    """Return what a snapshot says of each budget, with what is reserved in its period."""
    balances = _balances(snapshot)
    spending = {(of.scope, of.number): of.quarters for of in snapshot.spending}
    sums = []
    for limit, nusd in zip(limits, reserved_nusd, strict=True):
        account = (limit.scope, limit.number)
        if limit.period == TOTAL:
            balance = balances[account]
            sums.append(BudgetSums(balance.spent_nusd, balance.unknown_nusd, nusd))
        else:
            quarters = spending.get(account, {}).items()
            earlier_nusd = sum(counted for quarter, counted in quarters if limit.holds(quarter * _QUARTER_NS))
            sums.append(BudgetSums(0, 0, nusd, earlier_nusd))
    return sums


def _balances(snapshot: Snapshot) -> Mapping[tuple[Scope, int], ScopeBalance]:
    """Return the balances of a snapshot, zeros for what it does not name."""
    scopes = ((Scope.KEY, snapshot.keys), (Scope.TEAM, snapshot.teams), (Scope.TAG, snapshot.tags))
    named = {(scope, balance.number): balance for scope, balances in scopes for balance in balances}
    return defaultdict(lambda: _NOTHING, named)


def _is_over(limit: Limit, sums: BudgetSums) -> bool:
    """Return whether a budget is passed: a soft one counts by what attempts cost, not by their bounds."""
    return (sums.committed_nusd if limit.hard else sums.counted_nusd) > limit.amount_nusd


def _kind(entry: Reserve | Settle | Void | Expire | Correct) -> str:
    match entry:
        case Reserve():
            return "reservation"
        case Settle():
            return "settlement"
        case Void():
            return "voiding"
        case Expire():
            return "expiry"
        case Correct():
            return "correction"
        case _:
            assert_never(entry)
