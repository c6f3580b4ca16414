"""What the entries add up to. Balances are never stored as truth: they are this fold, run again.

Two folds share one set of rules. `Balances` remembers open reservations only, so that a gateway can run
for months; `Totals` also remembers every id, so that it knows an entry that it has seen. What does not
fit is a `Conflict`, a value that the caller has to look at, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

import msgspec
from msgspec import Struct

from entrepot.ledger.entries.encoding import encode
from entrepot.ledger.entries.values import (
    AttemptId,
    Closing,
    Correct,
    Entry,
    EntryId,
    Expire,
    Feedback,
    Name,
    NameEndpoint,
    NamePrices,
    NameRules,
    NameSender,
    Refused,
    Reserve,
    Scope,
    ScopeBalance,
    Settle,
    Snapshot,
    Spending,
    Void,
    entry_id,
)

QUARTER_NS = 900 * 10**9
"""A quarter of an hour: every time zone in use begins its days and months at one."""

_RECENT_QUARTERS = 28 * 4  # days of 25 hours, and the month of the easternmost zone until it is that of UTC
_ZONES_QUARTERS = 14 * 4  # zones differ from UTC by at most so much
_NS_PER_S = 10**9

_Id = TypeVar("_Id", int, AttemptId)
_Value = TypeVar("_Value")
_Name = TypeVar("_Name", NameEndpoint, NamePrices, NameSender, NameRules)


class ConflictReason(StrEnum):
    """Why an entry does not fit those before it."""

    OTHER_CONTENT = "the same id was written before with other content"
    NOT_OPEN = "the attempt has no open reservation: it was never reserved, or is closed; send a correction"
    OTHER_KEY = "the reservation was made for another key"
    STILL_OPEN = "the attempt is still open: settle it, then correct"
    UNKNOWN_EXCEEDED = "more is resolved than is unknown for this key"


class Conflict(Struct, frozen=True):
    """An entry that was not applied, and why."""

    entry: Entry
    reason: ConflictReason


class Balances:
    """The fold of a journal: names, the sums of keys, teams and tags, and the reservations that are open.

    Units: nano-USD. Entries are applied in the journal's order. `spending` holds what counted lately by the
    quarter of an hour in which it was reserved; what no running day or month can need is merged or forgotten
    whenever a snapshot is taken.
    """

    def __init__(self) -> None:
        self.endpoints: dict[int, NameEndpoint] = {}
        self.prices: dict[int, NamePrices] = {}
        self.senders: dict[int, NameSender] = {}
        self.rules: dict[int, NameRules] = {}
        self.scopes: dict[Scope, dict[int, ScopeBalance]] = {scope: {} for scope in Scope}
        self.spending: dict[tuple[Scope, int], dict[int, int]] = {}
        self.open: dict[AttemptId, Reserve] = {}
        self.newest_ns = 0
        self._counted: dict[tuple[int, int], tuple[_Account, ...]] = {}

    def balance(self, number: int, scope: Scope = Scope.KEY) -> ScopeBalance:
        """Return the sums of a key (a team, a tag), zero when nothing was written for it yet."""
        balances = self.scopes[scope]
        found = balances.get(number)
        if found is None:
            found = balances[number] = ScopeBalance(number)
        return found

    def apply(self, entry: Entry) -> Conflict | None:
        """Apply any entry; return the conflict when it does not fit, and then change nothing."""
        match entry:
            case Reserve():
                return self.reserve(entry)
            case Correct():
                return self.correct(entry)
            case Settle() | Void() | Expire():
                return self.close(entry)
            case Snapshot():
                return self._adopt(entry)
            case Feedback() | Refused():
                return None
            case _:
                return self._name(entry)

    def _name(self, entry: Name) -> Conflict | None:
        match entry:
            case NameEndpoint():
                return _named(self.endpoints, entry.endpoint_id, entry)
            case NamePrices():
                return _named(self.prices, entry.price_version, entry)
            case NameSender():
                return _named(self.senders, entry.sender_id, entry)
            case NameRules():
                return _named(self.rules, entry.rules_id, entry)

    def reserve(self, entry: Reserve) -> Conflict | None:
        """Open a reservation; the same one again changes nothing."""
        attempt = (entry.request_id, entry.attempt)
        known = self.open.get(attempt)
        if known is not None:
            same = encode(known) == encode(entry)
            return None if same else Conflict(entry, ConflictReason.OTHER_CONTENT)
        self.opened(attempt, entry)
        return None

    def opened(self, attempt: AttemptId, entry: Reserve) -> None:
        """Count a reservation of an attempt that has none."""
        self.open[attempt] = entry
        at_ns, amount_nusd, newest_ns = entry.at_ns, entry.amount_nusd, self.newest_ns
        self.newest_ns = at_ns if at_ns > newest_ns else newest_ns
        accounts = self._counted.get((entry.key_id, entry.sender_id))
        for account in accounts or self._accounts(entry.key_id, entry.sender_id):
            account.balance.reserved_nusd += amount_nusd

    def close(self, entry: Closing) -> Conflict | None:
        """Close the reservation of an attempt by what it cost, by nothing, or by *at most X*."""
        attempt = (entry.request_id, entry.attempt)
        reserve = self.open.get(attempt)
        if reserve is None:
            return Conflict(entry, ConflictReason.NOT_OPEN)
        if reserve.key_id != entry.key_id:
            return Conflict(entry, ConflictReason.OTHER_KEY)
        match entry:
            case Settle():
                self.closed(attempt, reserve, entry.bill.total_nusd, 0)
            case Void():
                self.closed(attempt, reserve, 0, 0)
            case Expire():
                self.closed(attempt, reserve, 0, entry.at_most_nusd)
        return None

    def closed(self, attempt: AttemptId, reserve: Reserve, spent_nusd: int, unknown_nusd: int) -> None:
        """Count an open reservation as closed: by what was spent, or is *unknown, at most* so much."""
        del self.open[attempt]
        amount_nusd, quarter = reserve.amount_nusd, reserve.at_ns // QUARTER_NS
        counted_nusd = spent_nusd + unknown_nusd
        accounts = self._counted.get((reserve.key_id, reserve.sender_id))
        for account in accounts or self._accounts(reserve.key_id, reserve.sender_id):
            balance, quarters = account.balance, account.quarters
            balance.reserved_nusd -= amount_nusd
            if counted_nusd:
                balance.spent_nusd += spent_nusd
                balance.unknown_nusd += unknown_nusd
                quarters[quarter] = quarters.get(quarter, 0) + counted_nusd

    def correct(self, entry: Correct) -> Conflict | None:
        """Add what became known about a closed attempt; it may pass a budget."""
        conflict = self.conflict_of(entry)
        if conflict is None:
            quarter = entry.reserved_ns // QUARTER_NS
            for account in self._accounts(entry.key_id, entry.sender_id):
                account.count(quarter, entry.bill.total_nusd, -entry.unknown_nusd)
        return conflict

    def conflict_of(self, entry: Correct) -> Conflict | None:
        """Return why a correction does not fit, or None; changes nothing."""
        if (entry.request_id, entry.attempt) in self.open:
            return Conflict(entry, ConflictReason.STILL_OPEN)
        if not 0 <= entry.unknown_nusd <= self.balance(entry.key_id).unknown_nusd:
            return Conflict(entry, ConflictReason.UNKNOWN_EXCEEDED)
        return None

    def snapshot(self) -> Snapshot:
        """Return the whole fold as one value that does not depend on where it was taken."""
        kept = _kept_quarters(self.newest_ns)
        for spending in self.spending.values():
            kept.merge(spending)
        return Snapshot(
            endpoints=tuple(_by_id(self.endpoints)),
            prices=tuple(_by_id(self.prices)),
            keys=self._used(Scope.KEY),
            open=tuple(msgspec.structs.replace(reserve, decision=b"") for reserve in _by_id(self.open)),
            teams=self._used(Scope.TEAM),
            tags=self._used(Scope.TAG),
            senders=tuple(_by_id(self.senders)),
            rules=tuple(_by_id(self.rules)),
            spending=tuple(
                Spending(scope, number, dict(sorted(quarters.items())))
                for (scope, number), quarters in sorted(self.spending.items())
                if quarters
            ),
            newest_ns=self.newest_ns,
        )

    def _used(self, scope: Scope) -> tuple[ScopeBalance, ...]:
        balances = _by_id(self.scopes[scope])
        return tuple(msgspec.structs.replace(balance) for balance in balances if balance.is_used)

    def _accounts(self, key_id: int, sender_id: int) -> tuple[_Account, ...]:
        """Return whatever counts an attempt of this sender: its key, its team, each of its tags."""
        found = self._counted.get((key_id, sender_id))
        if found is None:
            sender = self.senders.get(sender_id, NameSender(sender_id, key_id))
            teams = ((Scope.TEAM, sender.team_id),) if sender.team_id else ()
            scopes = ((Scope.KEY, key_id), *teams, *((Scope.TAG, tag) for tag in sender.tags))
            found = tuple(
                _Account(self.balance(number, scope), self.spending.setdefault((scope, number), {}))
                for scope, number in scopes
            )
            self._counted[(key_id, sender_id)] = found
        return found

    def _adopt(self, snapshot: Snapshot) -> Conflict | None:
        if self.endpoints or self.prices or any(self.scopes.values()):
            same = self.snapshot() == snapshot
            return None if same else Conflict(snapshot, ConflictReason.OTHER_CONTENT)
        self.endpoints = {entry.endpoint_id: entry for entry in snapshot.endpoints}
        self.prices = {entry.price_version: entry for entry in snapshot.prices}
        self.senders = {entry.sender_id: entry for entry in snapshot.senders}
        self.rules = {entry.rules_id: entry for entry in snapshot.rules}
        for scope, kept in zip(Scope, (snapshot.keys, snapshot.teams, snapshot.tags), strict=True):
            self.scopes[scope] = {balance.number: msgspec.structs.replace(balance) for balance in kept}
        self.spending = {(entry.scope, entry.number): dict(entry.quarters) for entry in snapshot.spending}
        self.open = {(reserve.request_id, reserve.attempt): reserve for reserve in snapshot.open}
        self.newest_ns = snapshot.newest_ns
        self._counted = {}
        return None


class _Account(Struct, frozen=True):
    """The two places in which the fold counts for one key, team or tag."""

    balance: ScopeBalance
    quarters: dict[int, int]

    def count(self, quarter: int, spent_nusd: int, unknown_nusd: int) -> None:
        self.balance.spent_nusd += spent_nusd
        self.balance.unknown_nusd += unknown_nusd
        counted_nusd = spent_nusd + unknown_nusd
        if counted_nusd:
            self.quarters[quarter] = self.quarters.get(quarter, 0) + counted_nusd


class _Kept(Struct, frozen=True):
    """Which quarters a day or a month that runs in any time zone can still need one by one.

    Units: quarters of an hour since 1970. Those from `month` to `month_begun`, in which some zone's month
    began, and those from `day` on. What lies between is needed as a sum, and stands at `month_begun`.
    """

    month: int
    month_begun: int
    day: int

    def merge(self, quarters: dict[int, int]) -> None:
        for quarter in [quarter for quarter in quarters if quarter < self.day]:
            if quarter < self.month:
                del quarters[quarter]
            elif quarter > self.month_begun:
                counted_nusd = quarters.pop(quarter)
                quarters[self.month_begun] = quarters.get(self.month_begun, 0) + counted_nusd


def _kept_quarters(newest_ns: int) -> _Kept:
    newest = newest_ns // QUARTER_NS
    # The month that still runs somewhere: west of Greenwich the last one does, hours after its end in UTC.
    seconds = (newest - _ZONES_QUARTERS) * QUARTER_NS // _NS_PER_S
    begun = datetime.fromtimestamp(max(seconds, 0), UTC).replace(day=1, hour=0, minute=0, second=0)
    month = int(begun.timestamp()) * _NS_PER_S // QUARTER_NS
    return _Kept(month - _ZONES_QUARTERS, month + _ZONES_QUARTERS, newest - _RECENT_QUARTERS)


class Totals:
    """The same fold with a memory of every id: an entry may come twice, and later under another content.

    For audits and tests; its memory grows with the entries.
    """

    def __init__(self) -> None:
        self.balances = Balances()
        self._seen: dict[EntryId, bytes] = {}

    def apply(self, entry: Entry) -> Conflict | None:
        """Apply any entry; the same one again changes nothing, another one under its id is a conflict."""
        if isinstance(entry, Name | Feedback | Refused | Snapshot):
            return self.balances.apply(entry)
        key, content = entry_id(entry), encode(entry)
        seen = self._seen.get(key)
        if seen is not None:
            return None if seen == content else Conflict(entry, ConflictReason.OTHER_CONTENT)
        conflict = self.balances.apply(entry)
        if conflict is None:
            self._seen[key] = content
        return conflict


def _by_id(table: dict[_Id, _Value]) -> Iterable[_Value]:
    return (table[key] for key in sorted(table))


def _named(table: dict[int, _Name], number: int, entry: _Name) -> Conflict | None:
    known = table.setdefault(number, entry)
    return None if known == entry else Conflict(entry, ConflictReason.OTHER_CONTENT)
