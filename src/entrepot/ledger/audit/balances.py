"""The balances that budgets start from, worked out once more for the audit: by key, team, tag and quarter.

`entries.fold` keeps them for admission, and each segment of the journal opens with a snapshot of them. It
adds to all accounts at each entry; here sums are kept by sender and shared out when they are compared, so
that no mistake is made on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from msgspec import Struct, field

from entrepot.domain.money import usd_text
from entrepot.ledger.entries import NameSender, Reserve, Scope, ScopeBalance, Snapshot

Account = tuple[Scope, int]

_QUARTER_NS = 15 * 60 * 10**9
_DAY_QUARTERS = 96
_DAY_MAY_LAST_QUARTERS = (
    28 * 4
)  # days of 25 hours, and a month of the easternmost zone until UTC is in it, too
_FARTHEST_ZONE_QUARTERS = 14 * 4
_EPOCH_DAY = date(1970, 1, 1).toordinal()


class _Sums(Struct):
    """Of one sender or one account.

    Units: nano-USD; `quarters` quarters of an hour since 1970 in which it was reserved → nano-USD that count.
    """

    spent_nusd: int = 0
    unknown_nusd: int = 0
    reserved_nusd: int = 0
    quarters: dict[int, int] = field(default_factory=dict)

    def add(self, other: _Sums) -> None:
        self.spent_nusd += other.spent_nusd
        self.unknown_nusd += other.unknown_nusd
        self.reserved_nusd += other.reserved_nusd
        for quarter, counted_nusd in other.quarters.items():
            self.quarters[quarter] = self.quarters.get(quarter, 0) + counted_nusd

    @property
    def amounts(self) -> tuple[int, int, int]:
        return (self.spent_nusd, self.unknown_nusd, self.reserved_nusd)

    def text(self) -> str:
        spent, unknown, reserved = map(usd_text, self.amounts)
        return f"${spent} spent, ${unknown} unknown, ${reserved} reserved"


class AuditBalances:
    """What every key, team and tag spent, and what of it counts in a day or a month that may still run."""

    def __init__(self) -> None:
        self.senders: dict[int, NameSender] = {}
        self.newest_ns = 0
        self._of: dict[tuple[int, int], _Sums] = {}
        self._base: dict[Account, _Sums] = {}

    def begin(self, opening: Snapshot) -> None:
        """Start from the balances with which the oldest segment opens."""
        self.newest_ns = opening.newest_ns
        self._base = _said(opening)
        for sums in self._base.values():
            sums.reserved_nusd = 0  # which `difference` takes from what is open

    def count(
        self, key_id: int, sender_id: int, reserved_ns: int, spent_nusd: int, unknown_nusd: int
    ) -> None:
        """Add what an attempt that was reserved at that instant turned out to cost."""
        sums = self._of.get((key_id, sender_id))
        if sums is None:
            sums = self._of[(key_id, sender_id)] = _Sums()
        sums.spent_nusd += spent_nusd
        sums.unknown_nusd += unknown_nusd
        quarter = reserved_ns // _QUARTER_NS
        sums.quarters[quarter] = sums.quarters.get(quarter, 0) + spent_nusd + unknown_nusd

    def difference(self, snapshot: Snapshot, still_open: Iterable[Reserve]) -> str | None:
        """Return the first balance of a snapshot that is not what the entries before add up to, or None."""
        for sums in (*self._base.values(), *self._of.values()):
            sums.quarters = needed_quarters(sums.quarters, self.newest_ns)
        expected, said = self._by_account(still_open), _said(snapshot)
        for account in sorted(
            expected.keys() | said.keys(), key=lambda of: (list(Scope).index(of[0]), of[1])
        ):
            here, there = expected.get(account, _Sums()), said.get(account, _Sums())
            name = f"{account[0]} {account[1]}"
            if here.amounts != there.amounts:
                found = f"but the entries before add up to {here.text()}"
                return f"the balances of {name} are {there.text()}, {found}"
            problem = _quarters_differ(here.quarters, there.quarters)
            if problem:
                return f"the spending of {name} {problem}"
        if snapshot.newest_ns != self.newest_ns:
            return (
                f"the youngest reservation is said to be of {snapshot.newest_ns} ns, but the entries before "
                f"have one of {self.newest_ns} ns"
            )
        return None

    def _by_account(self, still_open: Iterable[Reserve]) -> dict[Account, _Sums]:
        of_senders = [(sender, sums) for sender, sums in self._of.items()]
        of_senders += [
            ((reserve.key_id, reserve.sender_id), _Sums(reserved_nusd=reserve.amount_nusd))
            for reserve in still_open
        ]
        accounts: dict[Account, _Sums] = {}
        for account, sums in self._base.items():
            accounts.setdefault(account, _Sums()).add(sums)
        for (key_id, sender_id), sums in of_senders:
            for account in self._accounts(key_id, sender_id):
                accounts.setdefault(account, _Sums()).add(sums)
        return accounts

    def _accounts(self, key_id: int, sender_id: int) -> list[Account]:
        accounts = [(Scope.KEY, key_id)]
        sender = self.senders.get(sender_id)
        if sender is not None:
            accounts += [(Scope.TEAM, sender.team_id)] if sender.team_id else []
            accounts += [(Scope.TAG, tag) for tag in sender.tags]
        return accounts


def needed_quarters(quarters: Mapping[int, int], newest_ns: int) -> dict[int, int]:
    """Return what a snapshot keeps of spending by quarter, when the youngest reservation is of that instant.

    A day that still runs somewhere began in the last 28 hours: these stay as they are. A month that still
    runs somewhere, in zones up to 14 hours from UTC, began within 14 hours of a first day in UTC: what is
    older is gone, these 28 hours stay as they are, and what lies between them and the last 28 hours counts
    for all zones alike and is added up at the end of the 28.
    """
    newest = newest_ns // _QUARTER_NS
    first_day = date.fromordinal(_EPOCH_DAY + max(0, newest - _FARTHEST_ZONE_QUARTERS) // _DAY_QUARTERS)
    month = (first_day.toordinal() - first_day.day + 1 - _EPOCH_DAY) * _DAY_QUARTERS
    month_from, month_to = month - _FARTHEST_ZONE_QUARTERS, month + _FARTHEST_ZONE_QUARTERS
    needed: dict[int, int] = {}
    for quarter, counted_nusd in quarters.items():
        at = quarter
        if quarter < newest - _DAY_MAY_LAST_QUARTERS:
            if quarter < month_from:
                continue
            at = min(quarter, month_to)
        needed[at] = needed.get(at, 0) + counted_nusd
    return needed


def _said(snapshot: Snapshot) -> dict[Account, _Sums]:
    scopes: tuple[tuple[Scope, tuple[ScopeBalance, ...]], ...] = (
        (Scope.KEY, snapshot.keys),
        (Scope.TEAM, snapshot.teams),
        (Scope.TAG, snapshot.tags),
    )
    said = {
        (scope, balance.number): _Sums(balance.spent_nusd, balance.unknown_nusd, balance.reserved_nusd)
        for scope, balances in scopes
        for balance in balances
    }
    for spending in snapshot.spending:
        said.setdefault((spending.scope, spending.number), _Sums()).quarters = dict(spending.quarters)
    return said


def _quarters_differ(here: Mapping[int, int], there: Mapping[int, int]) -> str:
    for quarter in sorted(here.keys() | there.keys()):
        said, found = there.get(quarter, 0), here.get(quarter, 0)
        if said != found:
            return (
                f"in the quarter of an hour {quarter} is ${usd_text(said)}, but the entries before add up to "
                f"${usd_text(found)}"
            )
    return ""
