"""The verdict on a run: a user's commands on the data directory, beside what hosts and clients saw."""

from __future__ import annotations

import json
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
from tests.e2e.programs import command, json_of

MOST_REQUESTS = 10_000_000


@dataclass(frozen=True)
class Verdict:
    """What was found, and how much was looked at.

    `corrected` attempts were corrected by the hosts' log on the way. `unknown` ones were *unknown, at most X*
    at the end, before the log was read once more; `never_sent` are so still: their host never saw them.
    `states` counts attempts by how they ended.
    """

    differences: list[Difference]
    requests: int
    attempts: int
    states: Counter[str]
    unknown: int
    never_sent: int
    corrected: int
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
    true_up = _asked("ledger", "correct", str(hosts.log), *where)
    found += [Difference(WRONG, "correct", problem) for problem in true_up["problems"]]
    report = json_of("ledger", "report", "--by", "host", *where)
    found += _totals(report, hosts.sums(), attempts.unseen(lines))
    found += _audit(_asked("ledger", "audit", *where))
    unknown = attempts.unknown()
    known = {line["request_id"] for line in lines}
    return Verdict(
        found,
        requests=len(requests),
        attempts=len(attempts.by_name),
        states=Counter(attempt["state"] for attempt in attempts.by_name.values()),
        unknown=len(unknown),
        never_sent=len(unknown.keys() - known),
        corrected=sum(bool(attempt["corrections"]) for attempt in attempts.by_name.values()),
        host_lines=len(lines),
    )


def _asked(*arguments: str) -> Any:  # noqa: ANN401 - whatever the command says
    """Return what a command says with `--json`, whichever its status; one that says nothing has failed."""
    ended = command(*arguments, "--json", status=None)
    assert ended.stdout, f"{arguments}: {ended.returncode}\n{ended.stderr}"
    return json.loads(ended.stdout)


def _budgets(requests: Sequence[dict[str, Any]], budgets_usd: Mapping[int, str]) -> list[Difference]:
    """Return which hard budgets were passed by what was spent and may have been spent."""
    spent_usd: dict[int, Decimal] = defaultdict(Decimal)
    for request in requests:
        spent_usd[request["key_id"]] += _amount(request) - sum(
            max(Decimal(0), _amount(correction))  # which alone may pass a budget
            for attempt in request["attempts"]
            for correction in attempt["corrections"]
        )
    return [
        Difference(WRONG, f"key {key}", f"${spent_usd[key]} of a budget of ${budget} are spent")
        for key, budget in budgets_usd.items()
        if spent_usd[key] > Decimal(budget)
    ]


def _amount(told: Mapping[str, Any]) -> Decimal:
    """Return what counts against a budget, in USD: what is known, and what is unknown at its most."""
    return Decimal(told["cost_usd"]) + Decimal(told[UNKNOWN])


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
