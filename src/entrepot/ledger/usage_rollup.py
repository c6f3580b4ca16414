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

_REQUESTS, _ATTEMPTS, _COST, _UNKNOWN, _RESERVED = 0, 1, 8, 9, 10
_NOTHING = (0,) * 11


class Reserved(NamedTuple):
    """Where an attempt counts, and how much was set aside for it.

    Units: nano-USD.
    """

    place: Place
    amount_nusd: int


class NewRows(NamedTuple):
    """The rows of a batch that were not in the store before, in the form of its tables."""

    reserves: list[Row]
    closings: list[Row]
    corrections: list[Row]


Find = Callable[[list[AttemptId]], Mapping[AttemptId, Reserved]]


def reserved_of(row: Row) -> Reserved:
    """Return where the attempt of a row of `reserves` counts."""
    return Reserved((row[2] // HOUR_NS, row[4], row[3], row[11], row[12]), row[6])


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
        reserved = self._reservations(new, find)
        for row in new.closings:
            found = reserved.get(row[:2])
            if found is None:  # reserved before the oldest segment that is kept
                _close(row, _at(sums, _own_place(row, instant_ns(row[0]), NO_SENDER)), 0)
            else:
                _close(row, _at(sums, found.place), found.amount_nusd)
        for row in new.corrections:
            found = reserved.get(row[:2])
            place = _own_place(row, row[24], row[25]) if found is None else found.place
            _correct(row, _at(sums, place))
        return sums

    def _reserve(self, rows: Iterable[Row], sums: dict[Place, Sums]) -> None:
        for row in rows:
            reserved = reserved_of(row)
            self._open[row[:2]] = reserved
            total = _at(sums, reserved.place)
            total[_REQUESTS] += row[1] == 1
            total[_ATTEMPTS] += 1
            total[_RESERVED] += reserved.amount_nusd

    def _reservations(self, new: NewRows, find: Find) -> dict[AttemptId, Reserved]:
        """Return the reservations of all closings and corrections, and forget those that are closed now."""
        found: dict[AttemptId, Reserved] = {}
        unknown: list[AttemptId] = []
        for row in new.closings:
            attempt = row[:2]
            reserved = self._open.pop(attempt, None)
            if reserved is None:
                unknown.append(attempt)
            else:
                found[attempt] = reserved
        unknown += [row[:2] for row in new.corrections if row[:2] not in found]
        if unknown:
            found.update(find(unknown))
        return found


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


def _close(row: Row, total: Sums, amount_nusd: int) -> None:
    uncached, cached, cache_write, output, reasoning, cache_write_1h = row[10:16]
    total[2] += uncached
    total[3] += cached
    total[4] += cache_write
    total[5] += cache_write_1h
    total[6] += output
    total[7] += reasoning
    total[_COST] += sum(row[16:23])
    total[_UNKNOWN] += row[23]
    total[_RESERVED] -= amount_nusd


def _correct(row: Row, total: Sums) -> None:
    uncached, cached, cache_write, output, reasoning, cache_write_1h = row[8:14]
    total[2] += uncached
    total[3] += cached
    total[4] += cache_write
    total[5] += cache_write_1h
    total[6] += output
    total[7] += reasoning
    total[_COST] += sum(row[14:21])
    total[_UNKNOWN] -= row[21]


def _own_place(row: Row, reserved_ns: int, sender_id: int) -> Place:
    """Return where a row counts whose reservation is not there: by what it says itself."""
    key_id, endpoint_id = (row[4], row[5])
    at_ns = reserved_ns or instant_ns(row[0])
    return (at_ns // HOUR_NS, endpoint_id, key_id, sender_id, NO_RULES)
