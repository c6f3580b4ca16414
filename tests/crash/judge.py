"""The verdict on a run: a user's commands on the data directory, beside what hosts and clients saw."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.crash.books import Books
from tests.crash.clients import Seen
from tests.crash.comparison import against_clients, against_journal
from tests.e2e.differences import (
    DOUBLED,
    LEFT_OPEN,
    LOST,
    UNKNOWN,
    WRONG,
    Attempts,
    Difference,
    against_hosts,
)
from tests.e2e.host_logs import Hosts, Sums, ledger_sums
from tests.e2e.programs import json_of

MOST_REQUESTS = 10_000_000


@dataclass(frozen=True)
class Verdict:
    """What was found, and how much was looked at.

    `unknown` attempts were *unknown, at most X* before the hosts' log was read, `never_sent` are so still:
    their host never saw them. `states` counts attempts by how they ended.
    """

    differences: list[Difference]
    requests: int
    attempts: int
    states: Counter[str]
    unknown: int
    never_sent: int
    host_lines: int

    def count(self, kind: str) -> int:
        """Return how many differences of a kind there are."""
        return sum(found.kind == kind for found in self.differences)


def judge(
    data_dir: Path, hosts: Hosts, books: Books, seen: Sequence[Seen], budgets_usd: Mapping[int, str]
) -> Verdict:
    """Return the verdict on a data directory whose gateway has ended; the hosts' log corrects it on the way.

    `budgets_usd` are the hard budgets by the number of their key.
    """
    where = ("--data-dir", str(data_dir))
    requests = json_of("requests", "--limit", str(MOST_REQUESTS), *where)
    attempts, lines = Attempts.of(requests), hosts.lines()
    found = [
        *against_hosts(attempts, lines),
        *against_clients(attempts, seen),
        *against_journal(attempts, books),
        *_budgets(requests, budgets_usd),
    ]
    corrected = json_of("ledger", "correct", str(hosts.log), *where, status=None)
    found += [Difference(WRONG, "correct", problem) for problem in corrected["problems"]]
    report = json_of("ledger", "report", "--by", "host", *where)
    found += _totals(report, hosts.sums(), attempts.unseen(lines))
    found += _audit(json_of("ledger", "audit", *where, status=None))
    unknown = attempts.unknown()
    known = {line["request_id"] for line in lines}
    return Verdict(
        found,
        requests=len(requests),
        attempts=len(attempts.by_name),
        states=Counter(attempt["state"] for attempt in attempts.by_name.values()),
        unknown=len(unknown),
        never_sent=len(unknown.keys() - known),
        host_lines=len(lines),
    )


def _budgets(requests: Sequence[dict[str, Any]], budgets_usd: Mapping[int, str]) -> list[Difference]:
    """Return which hard budgets were passed by what was spent and may have been spent."""
    spent_usd: dict[int, Decimal] = defaultdict(Decimal)
    for request in requests:
        spent_usd[request["key_id"]] += Decimal(request["cost_usd"]) + Decimal(request[UNKNOWN])
    return [
        Difference(WRONG, f"key {key}", f"${spent_usd[key]} of a budget of ${budget} are spent")
        for key, budget in budgets_usd.items()
        if spent_usd[key] > Decimal(budget)
    ]


def _totals(
    report: dict[str, Any], hosts: Mapping[str, Sums], unseen: Mapping[str, Sums]
) -> list[Difference]:
    """Return which hosts' totals differ from their log, once that has corrected the ledger."""
    booked = ledger_sums(report)
    found = []
    for host in sorted(booked.keys() | hosts.keys()):
        here, there = booked.get(host, Sums()), hosts.get(host, Sums()) + unseen.get(host, Sums())
        if here != there:
            kind = LOST if here.cost_nusd < there.cost_nusd else DOUBLED
            found.append(
                Difference(kind, f"host {host}", f"its log adds up to {there}, the ledger to {here}")
            )
    reserved_nusd = report["total"]["reserved_nusd"]
    if reserved_nusd:
        found.append(Difference(LEFT_OPEN, "the report", f"has {reserved_nusd} nano-dollars reserved"))
    return found


def _audit(audit: dict[str, Any]) -> list[Difference]:
    found = [Difference(LEFT_OPEN, "the audit", f"finds open: {item}") for item in audit["open"]]
    if not audit["ok"] or audit["unposted"]:
        found.append(Difference(WRONG, "the audit", f"is not content: {audit}"))
    return found
