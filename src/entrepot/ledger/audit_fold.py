"""What the entries add up to, worked out once more for the audit.

`entries.fold` keeps the balances that admission trusts; this fold checks them (each segment opens with
a snapshot of them), so it must not be the same code.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from entrepot.domain.ids import request_id_text
from entrepot.domain.money import usd_text
from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.ledger.entries import (
    AttemptId,
    Correct,
    Entry,
    Expire,
    Feedback,
    NameEndpoint,
    NamePrices,
    NameRules,
    NameSender,
    OfAttempt,
    Reserve,
    Settle,
    Snapshot,
    Void,
)


class Sums(Struct):
    """What a key or an endpoint used and cost.

    Units: `tokens` uncached, cached, cache-write, output, reasoning, cache-write for an hour; nano-USD.
    `unknown_nusd` is not in `cost_nusd`.
    """

    attempts: int = 0
    tokens: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
    cost_nusd: int = 0
    unknown_nusd: int = 0

    @property
    def prompt_and_output(self) -> int:
        """Return all tokens; reasoning is a part of the output."""
        uncached, cached, written, output, _reasoning, written_1h = self.tokens
        return uncached + cached + written + output + written_1h

    def copy(self) -> Sums:
        """Return the sums as they are now."""
        return msgspec.structs.replace(self)

    def text(self) -> str:
        """Return the sums in words."""
        tokens = "/".join(map(str, self.tokens))
        unknown = f", unknown at most ${usd_text(self.unknown_nusd)}" if self.unknown_nusd else ""
        return f"{self.attempts} attempts, {tokens} tokens, ${usd_text(self.cost_nusd)}{unknown}"

    def add(self, usage: Usage, bill: Bill) -> None:
        """Add an amount of tokens and money."""
        more = (
            usage.uncached_tokens,
            usage.cached_tokens,
            usage.cache_write_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            usage.cache_write_1h_tokens,
        )
        self.tokens = tuple(have + new for have, new in zip(self.tokens, more, strict=True))
        self.cost_nusd += (
            bill.uncached_nusd
            + bill.cached_nusd
            + bill.cache_write_nusd
            + bill.output_nusd
            + bill.request_nusd
            + bill.reasoning_nusd
            + bill.cache_write_1h_nusd
        )


class AuditFold:
    """The sums of each key and endpoint, and the reservations that are open, entry by entry.

    `names` are those of the endpoints. `starts_late` is set when the journal begins with balances that were
    not zero: its first segments are gone, and its sums are not from the beginning.
    """

    def __init__(self) -> None:
        self.keys: dict[int, Sums] = {}
        self.endpoints: dict[int, Sums] = {}
        self.open: dict[AttemptId, Reserve] = {}
        self.names: dict[int, str] = {}
        self.starts_late = False
        self._entries = 0
        self._base: Mapping[int, tuple[int, int]] = {}

    def add(self, entry: Entry) -> str | None:
        """Add an entry; return what is wrong with it, seen from those before, or None."""
        self._entries += 1
        match entry:
            case NamePrices() | NameSender() | NameRules() | Feedback():
                return None
            case NameEndpoint():
                self.names[entry.endpoint_id] = entry.name
                return None
            case Snapshot():
                return self._snapshot(entry)
            case _:
                return self._of_attempt(entry)

    def _of_attempt(self, entry: OfAttempt) -> str | None:
        attempt = (entry.request_id, entry.attempt)
        of_key = self.keys.setdefault(entry.key_id, Sums())
        of_endpoint = self.endpoints.setdefault(entry.endpoint_id, Sums())
        name = f"{request_id_text(entry.request_id)}, attempt {entry.attempt}"
        problem = None
        match entry:
            case Reserve():
                problem = f"{name} is reserved twice" if attempt in self.open else None
                self.open[attempt] = entry
                of_key.attempts += 1
                of_endpoint.attempts += 1
            case Correct():
                problem = f"{name} is corrected while it is open" if attempt in self.open else None
            case Settle() | Void() | Expire():
                reserve = self.open.pop(attempt, None)
                if reserve is None:
                    problem = f"{name} is closed and was not open"
                elif reserve.key_id != entry.key_id:
                    problem = f"{name} is reserved for key {reserve.key_id} and closed for {entry.key_id}"
        for sums in (of_key, of_endpoint):
            if isinstance(entry, Settle | Correct):
                sums.add(entry.usage, entry.bill)
            if isinstance(entry, Expire):
                sums.unknown_nusd += entry.at_most_nusd
            elif isinstance(entry, Correct):
                sums.unknown_nusd -= entry.unknown_nusd
        return problem

    def _snapshot(self, snapshot: Snapshot) -> str | None:
        self.names.update((name.endpoint_id, name.name) for name in snapshot.endpoints)
        said = {key.number: (key.spent_nusd, key.unknown_nusd, key.reserved_nusd) for key in snapshot.keys}
        if self._entries == 1:
            self._base = {number: (spent, unknown) for number, (spent, unknown, _) in said.items()}
            self.open = {(reserve.request_id, reserve.attempt): reserve for reserve in snapshot.open}
            self.starts_late = bool(said or self.open)
            return None
        for number in sorted(said.keys() | self.keys.keys() | self._base.keys()):
            found = self._balance(number)
            if found != said.get(number, (0, 0, 0)):
                there, here = _balance_text(said.get(number, (0, 0, 0))), _balance_text(found)
                return f"the balances of key {number} are {there}, but the entries before add up to {here}"
        if {(reserve.request_id, reserve.attempt) for reserve in snapshot.open} != self.open.keys():
            return "the open reservations are not those that the entries before leave open"
        return None

    def _balance(self, key_id: int) -> tuple[int, int, int]:
        sums = self.keys.get(key_id, Sums())
        spent, unknown = self._base.get(key_id, (0, 0))
        reserved = sum(reserve.amount_nusd for reserve in self.open.values() if reserve.key_id == key_id)
        return (spent + sums.cost_nusd, unknown + sums.unknown_nusd, reserved)


def _balance_text(balance: tuple[int, int, int]) -> str:
    spent, unknown, reserved = map(usd_text, balance)
    return f"${spent} spent, ${unknown} unknown, ${reserved} reserved"
