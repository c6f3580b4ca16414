"""What the entries add up to, worked out once more for the audit.

`entries.fold` keeps the balances that admission trusts; this fold checks them (each segment opens with
a snapshot of them), so it must not be the same code.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from entrepot.domain.ids import request_id_text
from entrepot.domain.prices import Bill
from entrepot.ledger.audit.balances import AuditBalances
from entrepot.ledger.entries import (
    AttemptId,
    Closing,
    Correct,
    Entry,
    Expire,
    Feedback,
    Name,
    NameEndpoint,
    NamePrices,
    NameRules,
    NameSender,
    Refused,
    Reserve,
    Settle,
    Snapshot,
    Void,
)


class AuditFold:
    """The names, the balances and the reservations that are open, entry by entry.

    `opening` is the snapshot with which the journal begins, when it tells of attempts: its first segments are
    gone then, and nothing is known from the beginning.
    """

    def __init__(self) -> None:
        self.open: dict[AttemptId, Reserve] = {}
        self.opening: Snapshot | None = None
        self.balances = AuditBalances()
        self._names: dict[tuple[str, int], Name] = {}
        self._entries = 0

    def endpoint(self, endpoint_id: int) -> str:
        """Return the name of an endpoint, empty when it has none."""
        name = self._names.get(("endpoint", endpoint_id))
        return name.name if isinstance(name, NameEndpoint) else ""

    def closed_by(self, entry: Entry) -> Reserve | None:
        """Return the open reservation that an entry is about to close, or None."""
        if isinstance(entry, Settle | Void | Expire):
            return self.open.get((entry.request_id, entry.attempt))
        return None

    def add(self, entry: Entry) -> str | None:
        """Add an entry; return what is wrong with it, seen from those before, or None."""
        self._entries += 1
        match entry:
            case Feedback() | Refused():
                return None
            case Snapshot():
                return self._snapshot(entry)
            case Reserve():
                return self._reserve(entry)
            case Correct():
                return self._correct(entry)
            case Settle() | Void() | Expire():
                return self._close(entry)
            case _:
                return self._name(entry)

    def _reserve(self, entry: Reserve) -> str | None:
        attempt = (entry.request_id, entry.attempt)
        problem = f"{_attempt_text(entry)} is reserved twice" if attempt in self.open else None
        self.open[attempt] = entry
        self.balances.newest_ns = max(self.balances.newest_ns, entry.at_ns)
        return problem

    def _close(self, entry: Closing) -> str | None:
        reserve = self.open.pop((entry.request_id, entry.attempt), None)
        if reserve is None:
            return f"{_attempt_text(entry)} is closed and was not open"
        spent_nusd = cost_nusd(entry.bill) if isinstance(entry, Settle) else 0
        unknown_nusd = entry.at_most_nusd if isinstance(entry, Expire) else 0
        if spent_nusd or unknown_nusd:
            who = (reserve.key_id, reserve.sender_id)
            self.balances.count(*who, reserve.at_ns, spent_nusd, unknown_nusd)
        if reserve.key_id != entry.key_id:
            return (
                f"{_attempt_text(entry)} is reserved for key {reserve.key_id} and closed for {entry.key_id}"
            )
        return None

    def _correct(self, entry: Correct) -> str | None:
        who = (entry.key_id, entry.sender_id)
        self.balances.count(*who, entry.reserved_ns, cost_nusd(entry.bill), -entry.unknown_nusd)
        if (entry.request_id, entry.attempt) in self.open:
            return f"{_attempt_text(entry)} is corrected while it is open"
        return None

    def _name(self, entry: Name) -> str | None:
        kind, number = _named(entry)
        known = self._names.setdefault((kind, number), entry)
        if isinstance(entry, NameSender):
            self.balances.senders.setdefault(number, entry)
        return None if known == entry else f"{kind} {number} is named a second time, and otherwise"

    def _snapshot(self, snapshot: Snapshot) -> str | None:
        if self._entries == 1:
            self.balances.begin(snapshot)
            self.open = {(reserve.request_id, reserve.attempt): reserve for reserve in snapshot.open}
            if snapshot.keys or snapshot.open or snapshot.newest_ns:
                self.opening = snapshot
            for name in snapshot.names:
                self._name(name)
            return None
        problem = self._names_problem(snapshot) or self.balances.difference(snapshot, self.open.values())
        if problem is not None:
            return problem
        without_decisions = {
            attempt: msgspec.structs.replace(reserve, decision=b"") for attempt, reserve in self.open.items()
        }
        if {(reserve.request_id, reserve.attempt): reserve for reserve in snapshot.open} != without_decisions:
            return "the open reservations are not those that the entries before leave open"
        return None

    def _names_problem(self, snapshot: Snapshot) -> str | None:
        said = {_named(name): name for name in snapshot.names}
        for kind, number in sorted(said.keys() | self._names.keys()):
            if said.get((kind, number)) != self._names.get((kind, number)):
                return f"{kind} {number} is not named in the snapshot as in the entries before"
        return None


def cost_nusd(bill: Bill) -> int:
    """Return what all lines of a bill cost.

    Units: nano-USD.
    """
    return (
        bill.uncached_nusd
        + bill.cached_nusd
        + bill.cache_write_nusd
        + bill.output_nusd
        + bill.request_nusd
        + bill.reasoning_nusd
        + bill.cache_write_1h_nusd
    )


def _named(entry: Name) -> tuple[str, int]:
    match entry:
        case NameEndpoint():
            return "endpoint", entry.endpoint_id
        case NamePrices():
            return "price version", entry.price_version
        case NameSender():
            return "sender", entry.sender_id
        case NameRules():
            return "rules", entry.rules_id
        case _:
            assert_never(entry)


def _attempt_text(entry: Reserve | Closing | Correct) -> str:
    return f"{request_id_text(entry.request_id)}, attempt {entry.attempt}"
