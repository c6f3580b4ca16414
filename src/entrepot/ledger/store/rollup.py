"""Adds up what a batch of new rows used, by the hour and the day in which it was reserved.

In the poster and not in a trigger or a view: a trigger would run for each row, and a view would read all of
them for each report. What a batch adds to one hour, endpoint, key, sender and set of rules is one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from entrepot.domain.ids import instant_ns
from entrepot.ledger.entries import NO_RULES, NO_SENDER, AttemptId

HOUR_NS = 3_600_000_000_000
HOURS_PER_DAY = 24

Row = tuple[Any, ...]
Place = tuple[int, int, int, int, int]  # the period, then endpoint, key, sender and rules
Sums = list[int]  # in the order of the columns of `usage_hours`
Reserved = tuple[Place, int]  # where an attempt counts, and the nano-USD that were set aside for it

_REQUESTS, _ATTEMPTS = 0, 1
_UNCACHED, _CACHED, _WRITTEN, _WRITTEN_1H, _OUTPUT, _REASONING = 2, 3, 4, 5, 6, 7
_COST, _UNKNOWN, _RESERVED = 8, 9, 10
_NOTHING = (0,) * 11


class NewRows(NamedTuple):
    """The rows of a batch that were not in the store before, in the form of its tables."""

    reserves: list[Row]
    closings: list[Row]
    corrections: list[Row]


Find = Callable[[list[AttemptId]], Mapping[AttemptId, Reserved]]


def reserved_of(row: Row) -> Reserved:
    """Return where the attempt of a row of `reserves` counts, and with how much."""
    return (row[2] // HOUR_NS, row[4], row[3], row[11], row[12]), row[6]


class UsageRollUp:
    """The sums of batch after batch; remembers the attempts under way, so that hardly any is looked up.

    Not for several threads. After a batch that failed make a new one.
    """

    def __init__(self) -> None:
        self._open: dict[AttemptId, Reserved] = {}

    def hours(self, new: NewRows, find: Find) -> dict[Place, Sums]:
        """Return what the new rows add to each row of `usage_hours`.

        `find` returns the reservations of attempts that are in the store; it is asked once for all that is
        not remembered, after the rows of this batch are in the store.
        """
        sums: dict[Place, Sums] = {}
        self._reserve(new.reserves, sums)
        missing = self._close(new.closings, sums)
        wanted = [row[:2] for row in (*missing, *new.corrections)]
        found = find(wanted) if wanted else {}
        for row in missing:
            # One that was reserved before the oldest segment that is kept counts by what it says itself.
            place, amount = found.get(row[:2]) or (_own_place(row, 0, NO_SENDER), 0)
            _add_closing(row, _at(sums, place), amount)
        for row in new.corrections:
            place, _ = found.get(row[:2]) or (_own_place(row, row[24], row[25]), 0)
            _add_correction(row, _at(sums, place))
        return sums

    def _reserve(self, rows: Iterable[Row], sums: dict[Place, Sums]) -> None:
        opened = self._open
        for row in rows:
            request_id, attempt, at_ns, key, endpoint, _, amount, _, _, _, _, sender, rules, _ = row
            place = (at_ns // HOUR_NS, endpoint, key, sender, rules)
            opened[request_id, attempt] = (place, amount)
            total = sums.get(place) or _at(sums, place)
            total[_REQUESTS] += attempt == 1
            total[_ATTEMPTS] += 1
            total[_RESERVED] += amount

    def _close(self, rows: Iterable[Row], sums: dict[Place, Sums]) -> list[Row]:
        """Add the closings of attempts that are remembered, forget those, and return the other closings."""
        take = self._open.pop
        missing = []
        for row in rows:
            reserved = take(row[:2], None)
            if reserved is None:
                missing.append(row)
            else:
                place, amount = reserved
                _add_closing(row, sums.get(place) or _at(sums, place), amount)
        return missing


def days(hours: Mapping[Place, Sums]) -> dict[Place, Sums]:
    """Return what these sums of hours add to each row of `usage_days`."""
    sums: dict[Place, Sums] = {}
    for place, hour in hours.items():
        total = _at(sums, (place[0] // HOURS_PER_DAY, *place[1:]))
        total[:] = map(int.__add__, total, hour)
    return sums


def _at(sums: dict[Place, Sums], place: Place) -> Sums:
    found = sums.get(place)
    if found is None:
        found = sums[place] = list(_NOTHING)
    return found


def _add_closing(row: Row, total: Sums, amount_nusd: int) -> None:
    uncached, cached, written, output, reasoning, written_1h, a, b, c, d, e, f, g, unknown = row[10:24]
    total[_UNCACHED] += uncached
    total[_CACHED] += cached
    total[_WRITTEN] += written
    total[_WRITTEN_1H] += written_1h
    total[_OUTPUT] += output
    total[_REASONING] += reasoning
    total[_COST] += a + b + c + d + e + f + g
    total[_UNKNOWN] += unknown
    total[_RESERVED] -= amount_nusd


def _add_correction(row: Row, total: Sums) -> None:
    uncached, cached, written, output, reasoning, written_1h = row[8:14]
    total[_UNCACHED] += uncached
    total[_CACHED] += cached
    total[_WRITTEN] += written
    total[_WRITTEN_1H] += written_1h
    total[_OUTPUT] += output
    total[_REASONING] += reasoning
    total[_COST] += sum(row[14:21])
    total[_UNKNOWN] -= row[21]


def _own_place(row: Row, reserved_ns: int, sender_id: int) -> Place:
    """Return where a closing or a correction counts whose reservation is not in the store."""
    at_ns = reserved_ns or instant_ns(row[0])
    return (at_ns // HOUR_NS, row[5], row[4], sender_id, NO_RULES)
