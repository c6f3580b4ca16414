"""What the entries add up to. Balances are never stored as truth: they are this fold, run again.

Two folds share one set of rules. `Balances` remembers open reservations only, so that a gateway can run
for months; `Totals` also remembers every id, so that it knows an entry that it has seen. What does not
fit is a `Conflict`, a value that the caller has to look at, and changes nothing.
"""

from collections.abc import Iterable
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
    KeyBalance,
    NameEndpoint,
    NamePrices,
    Reserve,
    Settle,
    Snapshot,
    entry_id,
)

_Id = TypeVar("_Id", int, AttemptId)
_Value = TypeVar("_Value")
_Name = TypeVar("_Name", NameEndpoint, NamePrices)


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
    """The fold of a journal: names, the sums of each key, and the reservations that are open.

    Units: nano-USD. Entries are applied in the journal's order.
    """

    def __init__(self) -> None:
        self.endpoints: dict[int, NameEndpoint] = {}
        self.prices: dict[int, NamePrices] = {}
        self.keys: dict[int, KeyBalance] = {}
        self.open: dict[AttemptId, Reserve] = {}

    def balance(self, key_id: int) -> KeyBalance:
        """Return the sums of a key, zero when nothing was written for it yet."""
        found = self.keys.get(key_id)
        if found is None:
            found = self.keys[key_id] = KeyBalance(key_id)
        return found

    def apply(self, entry: Entry) -> Conflict | None:
        """Apply any entry; return the conflict when it does not fit, and then change nothing."""
        match entry:
            case Reserve():
                return self.reserve(entry)
            case Correct():
                return self.correct(entry)
            case NameEndpoint():
                return _name(self.endpoints, entry.endpoint_id, entry)
            case NamePrices():
                return _name(self.prices, entry.price_version, entry)
            case Snapshot():
                return self._adopt(entry)
            case _:
                return self.close(entry)

    def reserve(self, entry: Reserve) -> Conflict | None:
        """Open a reservation; the same one again changes nothing."""
        attempt = (entry.request_id, entry.attempt)
        known = self.open.get(attempt)
        if known is not None:
            same = encode(known) == encode(entry)
            return None if same else Conflict(entry, ConflictReason.OTHER_CONTENT)
        self.open[attempt] = entry
        self.balance(entry.key_id).reserved_nusd += entry.amount_nusd
        return None

    def close(self, entry: Closing) -> Conflict | None:
        """Close the reservation of an attempt by what it cost, by nothing, or by *at most X*."""
        attempt = (entry.request_id, entry.attempt)
        reserve = self.open.get(attempt)
        if reserve is None:
            return Conflict(entry, ConflictReason.NOT_OPEN)
        if reserve.key_id != entry.key_id:
            return Conflict(entry, ConflictReason.OTHER_KEY)
        del self.open[attempt]
        balance = self.balance(entry.key_id)
        balance.reserved_nusd -= reserve.amount_nusd
        if isinstance(entry, Settle):
            balance.spent_nusd += entry.bill.total_nusd
        elif isinstance(entry, Expire):
            balance.unknown_nusd += entry.at_most_nusd
        return None

    def correct(self, entry: Correct) -> Conflict | None:
        """Add what became known about a closed attempt; it may pass a budget."""
        conflict = self.conflict_of(entry)
        if conflict is None:
            balance = self.balance(entry.key_id)
            balance.unknown_nusd -= entry.unknown_nusd
            balance.spent_nusd += entry.bill.total_nusd
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
        return Snapshot(
            tuple(_by_id(self.endpoints)),
            tuple(_by_id(self.prices)),
            tuple(msgspec.structs.replace(balance) for balance in _by_id(self.keys) if balance.is_used),
            tuple(msgspec.structs.replace(reserve, decision=b"") for reserve in _by_id(self.open)),
        )

    def _adopt(self, snapshot: Snapshot) -> Conflict | None:
        if self.endpoints or self.keys or self.prices:
            same = self.snapshot() == snapshot
            return None if same else Conflict(snapshot, ConflictReason.OTHER_CONTENT)
        self.endpoints = {entry.endpoint_id: entry for entry in snapshot.endpoints}
        self.prices = {entry.price_version: entry for entry in snapshot.prices}
        self.keys = {balance.key_id: msgspec.structs.replace(balance) for balance in snapshot.keys}
        self.open = {(reserve.request_id, reserve.attempt): reserve for reserve in snapshot.open}
        return None


class Totals:
    """The same fold with a memory of every id: an entry may come twice, and later under another content.

    For audits and tests; its memory grows with the entries.
    """

    def __init__(self) -> None:
        self.balances = Balances()
        self._seen: dict[EntryId, bytes] = {}

    def apply(self, entry: Entry) -> Conflict | None:
        """Apply any entry; the same one again changes nothing, another one under its id is a conflict."""
        if isinstance(entry, NameEndpoint | NamePrices | Snapshot):
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


def _name(table: dict[int, _Name], number: int, entry: _Name) -> Conflict | None:
    known = table.setdefault(number, entry)
    return None if known == entry else Conflict(entry, ConflictReason.OTHER_CONTENT)
