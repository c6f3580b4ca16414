"""The budgets as the log of keys says, and the periods that run: read once more for the audit.

`KeyRing` and `Budget.span` would give both, and are what admission trusts. So the log is read as the plain
JSON that it is, and a period is found by walking from quarter to quarter until the local date changes, where
`budgets` asks for the instant of a midnight.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from entrepot.domain.errors import DataError
from entrepot.domain.money import usd_text
from entrepot.ledger.entries import Scope

DAY, MONTH, TOTAL = PERIODS = ("day", "month", "total")

_QUARTER = timedelta(minutes=15)  # at which every time zone in use begins its days
_NS_PER_S = 10**9
_SCOPES = tuple(Scope)

_Id = tuple[Scope, int, str]


class Limit(Struct, frozen=True):
    """A budget in the period that runs.

    Units: nano-USD; Unix nanoseconds. `since_ns` is when it was last set. The period begins at `from_ns` and
    ends before `until_ns`, None for never. `name` is what people call the key, the team or the tag.
    """

    scope: Scope
    number: int
    name: str
    period: str
    zone: str
    hard: bool
    amount_nusd: int
    since_ns: int
    from_ns: int
    until_ns: int | None

    def holds(self, at_ns: int) -> bool:
        """Return whether what is reserved at an instant counts in the period. Units: Unix nanoseconds."""
        return self.from_ns <= at_ns and (self.until_ns is None or at_ns < self.until_ns)

    def whose(self) -> str:
        """Return whose it is: `team 2 research`."""
        return f"{self.scope.value} {self.number} {self.name}".rstrip()

    def text(self) -> str:
        """Return the limit in words: `$5.00 a month (hard, Europe/Berlin)`."""
        when = "in all" if self.period == TOTAL else f"a {self.period}"
        zone = "" if self.period == TOTAL or self.zone == "UTC" else f", {self.zone}"
        return f"${usd_text(self.amount_nusd)} {when} ({'hard' if self.hard else 'soft'}{zone})"


def read_limits(log: Path, at_ns: int) -> tuple[Limit, ...]:
    """Return the budgets of a log of keys, each in its period that holds an instant.

    Units: Unix nanoseconds. Ordered by scope, number and period.
    Raises: DataError when a line is damaged or names an unknown time zone.
    """
    budgets: dict[_Id, dict[str, Any]] = {}
    names: dict[tuple[Scope, int], str] = {}
    for number, event in _events(log):
        try:
            _take(event, budgets, names)
        except (KeyError, ValueError, TypeError) as error:
            raise _damaged(log, number, error) from error
    order = sorted(budgets, key=lambda of: (_SCOPES.index(of[0]), of[1], PERIODS.index(of[2])))
    return tuple(_limit(of, budgets[of], names.get(of[:2], ""), at_ns) for of in order)


def _events(log: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not log.exists():
        return
    lines = log.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):  # behind the last end of a line one may be being written
        try:
            yield number, dict(json.loads(line))
        except (ValueError, TypeError) as error:
            raise _damaged(log, number, error) from error


def _take(
    event: dict[str, Any], budgets: dict[_Id, dict[str, Any]], names: dict[tuple[Scope, int], str]
) -> None:
    of_key = {"scope": "key", "number": event.get("key_id"), "period": TOTAL}
    match event["event"]:
        case "create":
            names[Scope.KEY, int(event["key_id"])] = str(event["name"])
            if event.get("budget_nusd") is not None:
                _set(budgets, {**of_key, "at_ns": event["at_ns"], "amount_nusd": event["budget_nusd"]})
        case "budget":
            _set(budgets, {**of_key, "at_ns": event["at_ns"], "amount_nusd": event["budget_nusd"]})
        case "budget-of":
            _set(budgets, event)
        case "create-team":
            names[Scope.TEAM, int(event["team_id"])] = str(event["name"])
        case "create-tag":
            names[Scope.TAG, int(event["tag_id"])] = str(event["name"])
        case _:
            pass  # caps, rates, who is in which team now: the journal says for whom an attempt counts


def _set(budgets: dict[_Id, dict[str, Any]], event: dict[str, Any]) -> None:
    of = (Scope(event["scope"]), int(event["number"]), PERIODS[PERIODS.index(event["period"])])
    if event["amount_nusd"] is None:
        budgets.pop(of, None)
    else:
        budgets[of] = event


def _limit(of: _Id, event: dict[str, Any], name: str, at_ns: int) -> Limit:
    scope, number, period = of
    zone, hard = str(event.get("zone", "UTC")), bool(event.get("hard", True))
    from_ns, until_ns = period_of(period, at_ns, zone)
    amount_nusd, since_ns = int(event["amount_nusd"]), int(event["at_ns"])
    return Limit(scope, number, name, period, zone, hard, amount_nusd, since_ns, from_ns, until_ns)


def period_of(period: str, at_ns: int, zone: str) -> tuple[int, int | None]:
    """Return where the day or month that holds an instant begins and ends; None for never.

    Units: Unix nanoseconds.
    Raises: DataError when the time zone is unknown here.
    """
    if period == TOTAL:
        return 0, None
    try:
        local = UTC if zone == "UTC" else ZoneInfo(zone)
    except (ValueError, OSError, KeyError) as error:
        raise DataError(f"a budget is in the time zone {zone!r}, which is unknown here: {error}") from error
    seconds = at_ns // _NS_PER_S
    begin = datetime.fromtimestamp(seconds - seconds % int(_QUARTER.total_seconds()), UTC)
    same = _local_period(period, begin, local)
    end = begin + _QUARTER
    while _local_period(period, begin - _QUARTER, local) == same:
        begin -= _QUARTER
    while _local_period(period, end, local) == same:
        end += _QUARTER
    return int(begin.timestamp()) * _NS_PER_S, int(end.timestamp()) * _NS_PER_S


def _local_period(period: str, at: datetime, zone: tzinfo) -> date:
    day = at.astimezone(zone).date()
    return day if period == DAY else day.replace(day=1)


def _damaged(log: Path, line: int, error: Exception) -> DataError:
    return DataError(f"{log} is damaged in line {line}: {error}; restore it from a backup")
