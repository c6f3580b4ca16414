"""What was used by the hour, worked out once more for the audit, and compared with the store's roll-ups.

One row for each hour, endpoint, key, sender and rules, as the store has it; its days and the sums by key,
team, tag and endpoint follow from these rows. So the memory grows with the hours, not with the entries.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from msgspec import Struct

from entrepot.ledger.audit.compare import HOUR_NS, MOST_FINDINGS, Findings, Posted, place
from entrepot.ledger.audit.fold import cost_nusd
from entrepot.ledger.audit.view import StoreView
from entrepot.ledger.entries import (
    Closing,
    Correct,
    Entry,
    Expire,
    Reserve,
    Settle,
    Void,
)
from entrepot.ledger.journal.segment import Position

CORRECTIONS_AT_ONCE = 200_000  # whose reservations are looked for with one reading of the journal
MEASURES = (
    "requests",
    "attempts",
    "uncached_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nusd",
    "unknown_nusd",
    "reserved_nusd",
)
_IDS = ("endpoint_id", "key_id", "sender_id", "rules_id")
_REQUESTS, _ATTEMPTS, _COST, _UNKNOWN, _RESERVED = 0, 1, 8, 9, 10
_HOURS_A_DAY = 24

UsageId = tuple[int, int, int, int, int]  # hour or day, endpoint, key, sender, rules


class UsageRow(Struct):
    """The sums of an hour or a day, in the order of `MEASURES`, and the first entry that belongs to it."""

    first: Position
    sums: list[int]


class AuditUsage:
    """The roll-up by hour of the entries that are posted.

    `posted` gives the entries again. A correction counts where the reservation of its attempt does, which is
    long closed by then: to remember each would take memory without bound, so the journal is read once more,
    if there is any correction.
    """

    def __init__(self, posted: Posted) -> None:
        self.hours: dict[UsageId, UsageRow] = {}
        self._posted = posted
        self._corrections: list[tuple[Position, Correct]] = []

    def add(self, at: Position, entry: Entry, reserve: Reserve | None) -> None:
        """Add an entry; `reserve` is the open reservation that it closes, if it closes one."""
        match entry:
            case Reserve():
                sums = self._row(at, entry)
                sums[_REQUESTS] += entry.attempt == 1
                sums[_ATTEMPTS] += 1
                sums[_RESERVED] += entry.amount_nusd
            case Settle() | Void() | Expire():
                if reserve is not None:
                    self._close(self._row(at, reserve), entry, reserve)
            case Correct():
                self._corrections.append((at, entry))
                if len(self._corrections) >= CORRECTIONS_AT_ONCE:
                    self.finish()
            case _:  # names, feedback and refusals used nothing, and a snapshot repeats
                return

    def finish(self) -> None:
        """Add the corrections that wait for their reservations."""
        if not self._corrections:
            return
        corrected = {(entry.request_id, entry.attempt) for _, entry in self._corrections}
        reserves = {
            attempt: entry
            for _, entry in self._posted()
            if isinstance(entry, Reserve) and (attempt := (entry.request_id, entry.attempt)) in corrected
        }
        for at, entry in self._corrections:
            reserve = reserves.get((entry.request_id, entry.attempt))
            if reserve is not None:  # else it was reserved before what is kept, and its hour is not compared
                sums = self._row(at, reserve)
                _add_lines(sums, entry)
                sums[_UNKNOWN] -= entry.unknown_nusd
        self._corrections.clear()

    def days(self) -> dict[UsageId, UsageRow]:
        """Return the same by day."""
        days: dict[UsageId, UsageRow] = {}
        for (hour, *others), row in self.hours.items():
            of = (hour // _HOURS_A_DAY, others[0], others[1], others[2], others[3])
            day = days.get(of)
            if day is None:
                days[of] = UsageRow(row.first, list(row.sums))
            else:
                day.first = min(day.first, row.first)
                day.sums = [have + more for have, more in zip(day.sums, row.sums, strict=True)]
        return days

    def _row(self, at: Position, reserve: Reserve) -> list[int]:
        of = (
            reserve.at_ns // HOUR_NS,
            reserve.endpoint_id,
            reserve.key_id,
            reserve.sender_id,
            reserve.rules_id,
        )
        row = self.hours.get(of)
        if row is None:
            row = self.hours[of] = UsageRow(at, [0] * len(MEASURES))
        return row.sums

    @staticmethod
    def _close(sums: list[int], entry: Closing, reserve: Reserve) -> None:
        sums[_RESERVED] -= reserve.amount_nusd
        if isinstance(entry, Settle):
            _add_lines(sums, entry)
        elif isinstance(entry, Expire):
            sums[_UNKNOWN] += entry.at_most_nusd


def _add_lines(sums: list[int], entry: Settle | Correct) -> None:
    usage = entry.usage
    sums[2] += usage.uncached_tokens
    sums[3] += usage.cached_tokens
    sums[4] += usage.cache_write_tokens
    sums[5] += usage.cache_write_1h_tokens
    sums[6] += usage.output_tokens
    sums[7] += usage.reasoning_tokens
    sums[_COST] += cost_nusd(entry.bill)


def compare_usage(view: StoreView, usage: AuditUsage, findings: Findings, *, from_hour: int) -> None:
    """Add each row of the roll-ups that differs, of hours (and whole days) from one on."""
    first_day = -(-from_hour // _HOURS_A_DAY)
    _compare(view, "usage_hours", "hour", usage.hours, findings, from_hour)
    _compare(view, "usage_days", "day", usage.days(), findings, first_day)


def _compare(
    view: StoreView,
    table: str,
    period: str,
    expected: Mapping[UsageId, UsageRow],
    findings: Findings,
    begin: int,
) -> None:
    names = ", ".join((period, *_IDS, *MEASURES))
    missing = {of for of, row in expected.items() if of[0] >= begin and any(row.sums)}
    seen: set[UsageId] = set()
    differences: list[tuple[Position, str]] = []
    for number, endpoint, key, sender, rules, *stored in view.scan(
        f"SELECT {names} FROM {table} WHERE {period} >= ?", (begin,)
    ):
        of = (number, endpoint, key, sender, rules)
        row = expected.get(of)
        told = "is in the store twice" if of in seen else _difference(row, stored)
        if told:
            differences.append(_told(table, period, of, row, told))
        seen.add(of)
    for of in missing - seen:
        differences.append(_told(table, period, of, expected[of], "is missing in the store"))
    for _, text in heapq.nsmallest(MOST_FINDINGS, differences):
        findings.add(text)
    findings.count += max(0, len(differences) - MOST_FINDINGS)


_NOWHERE = Position(2**62, 0)  # a row that no entry belongs to is named after those that one does


def _difference(expected: UsageRow | None, stored: list[int]) -> str:
    sums = [0] * len(MEASURES) if expected is None else expected.sums
    return ", ".join(
        f"{name} is {there} in the store and {here} in the journal"
        for name, there, here in zip(MEASURES, stored, sums, strict=True)
        if there != here
    )


def _told(table: str, period: str, of: UsageId, expected: UsageRow | None, told: str) -> tuple[Position, str]:
    number, endpoint, key, sender, rules = of
    whose = f"endpoint {endpoint}, key {key}, sender {sender}, rules {rules}"
    row = f"the row of {period} {number}, {whose} in {table}"
    if expected is None:
        return _NOWHERE, f"{row} belongs to no entry of the journal: {told}"
    first = "(this entry is the first that belongs to it)"
    return expected.first, f"{place(expected.first)}: {row} {first}: {told}"
