"""What the ledger says of attempts beside what the hosts' log says: each difference in a sentence.

The ledger is asked as a user asks it. One attempt at a time, since equal totals may hide two differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.e2e.host_logs import NUSD_PER_USD, Sums, booked, sums_of

LOST, DOUBLED, LEFT_OPEN, WRONG = "lost", "doubled", "left open", "wrong"
UNKNOWN = "unknown_at_most_usd"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be, of an attempt or a request (`name`)."""

    kind: str
    name: str
    text: str


@dataclass
class Attempts:
    """All attempts of a ledger by the names under which hosts saw them, as `requests --json` tells them."""

    by_name: dict[str, dict[str, Any]]
    by_request: dict[str, list[dict[str, Any]]]
    twice: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, requests: Iterable[dict[str, Any]]) -> Attempts:
        """Return the attempts of these requests."""
        attempts = cls({}, {})
        for request in requests:
            attempts.by_request.setdefault(request["id"], []).extend(request["attempts"])
            for attempt in request["attempts"]:
                name = f"{request['id']}-{attempt['attempt']}"
                if name in attempts.by_name:
                    attempts.twice.append(name)
                attempts.by_name[name] = attempt
        return attempts

    def unknown(self) -> dict[str, dict[str, Any]]:
        """Return those that are *unknown, at most X*."""
        return {name: attempt for name, attempt in self.by_name.items() if _nusd(attempt, UNKNOWN)}

    def unseen(self, lines: Sequence[dict[str, Any]]) -> dict[str, Sums]:
        """Return, by host, what was booked by an estimate for attempts that never reached their host.

        A client that leaves while its request is on the way leaves nobody who could know.
        """
        seen = {line["request_id"] for line in lines}
        sums: dict[str, Sums] = {}
        for name, attempt in self.by_name.items():
            if name not in seen and attempt["estimated"]:
                sums[attempt["host"]] = sums.get(attempt["host"], Sums()) + booked(attempt)
        return sums


def _nusd(attempt: dict[str, Any], name: str) -> int:
    return int(Decimal(attempt[name]) * NUSD_PER_USD)


def against_hosts(attempts: Attempts, lines: Sequence[dict[str, Any]]) -> Iterator[Difference]:
    """Yield where the ledger contradicts the hosts' log, in attempts that were corrected by it or not."""
    seen = Counter(line["request_id"] for line in lines)
    for name, times in seen.items():
        if times > 1:
            yield Difference(DOUBLED, name, f"was sent to a host {times} times")
    for line in lines:
        attempt = attempts.by_name.get(line["request_id"])
        if attempt is None:
            yield Difference(LOST, line["request_id"], f"the ledger has nothing of {line}")
        else:
            yield from _attempt_and_line(attempt, line)
    for name, attempt in attempts.by_name.items():
        if attempt["state"] == "open":
            yield Difference(LEFT_OPEN, name, f"${attempt['reserved_usd']} are still reserved")
        if name not in seen and attempt["state"] == "settled":
            is_guess = attempt["estimated"] and attempt["outcome"] == "cancelled"
            if not is_guess:
                yield Difference(WRONG, name, f"settled {booked(attempt)}, of which no host knows")


def _attempt_and_line(attempt: dict[str, Any], line: dict[str, Any]) -> Iterator[Difference]:
    name, truth = line["request_id"], sums_of(line)
    match attempt["state"]:
        case "void" if truth != Sums():
            yield Difference(LOST, name, f"is void ({attempt['reason']}), the host billed {truth}")
        case "settled" if not attempt["estimated"] and booked(attempt) != truth:
            yield Difference(WRONG, name, f"settled {booked(attempt)}, the host billed {truth}")
        case "expired" if attempt["corrections"] and booked(attempt) != truth:
            yield Difference(WRONG, name, f"corrected to {booked(attempt)}, the host billed {truth}")
        case "expired" if not attempt["corrections"] and _nusd(attempt, UNKNOWN) < truth.cost_nusd:
            at_most = attempt[UNKNOWN]
            yield Difference(WRONG, name, f"unknown, at most ${at_most}, the host billed {truth}")
    if attempt["host"] != line["host"]:
        yield Difference(WRONG, name, f"is at {attempt['host']} here, and was at {line['host']}")
