"""What the ledger says beside what clients and the journal say: each difference in a sentence.

`tests.e2e.differences` holds it against the hosts' log, as other tests do too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from tests.crash.books import Books
from tests.crash.clients import Seen
from tests.e2e.differences import DOUBLED, LEFT_OPEN, LOST, WRONG, Attempts, Difference
from tests.e2e.host_logs import Sums, booked

# Cut before a status, answered, over the budget, every host failed: all else is a fault of the gateway.
EXPECTED = (0, 200, 402, 502)


def against_clients(attempts: Attempts, seen: Iterable[Seen]) -> Iterator[Difference]:
    """Yield where the ledger contradicts what clients were told."""
    for answer in seen:
        if answer.status not in EXPECTED:
            yield Difference(WRONG, answer.request_id or "a request", f"got status {answer.status}")
        if answer.status != 200 or answer.request_id is None:
            continue
        of_request = attempts.by_request.get(answer.request_id)
        if of_request is None:
            yield Difference(LOST, answer.request_id, "a client saw its answer")
        elif answer.whole:
            yield from _whole_answer(of_request, answer, answer.request_id)


def _whole_answer(of_request: list[dict[str, Any]], answer: Seen, name: str) -> Iterator[Difference]:
    last = of_request[-1]
    if last["state"] != "settled" or last["estimated"]:
        how = "estimated" if last["estimated"] else last["state"]
        yield Difference(WRONG, name, f"a client saw the whole answer, and it is {how}")
        return
    if answer.usage is not None and _told(answer.usage) != _tokens(booked(last)):
        yield Difference(WRONG, name, f"a client was told {answer.usage}, settled is {booked(last)}")
    if answer.cost_usd is not None and Decimal(answer.cost_usd) != Decimal(last["cost_usd"]):
        yield Difference(WRONG, name, f"a client was told ${answer.cost_usd}, settled is ${last['cost_usd']}")


def _told(usage: dict[str, Any]) -> tuple[int, int, int]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return usage["prompt_tokens"], cached, usage.get("completion_tokens", 0)


def _tokens(sums: Sums) -> tuple[int, int, int]:
    return sums.prompt_tokens, sums.cached_tokens, sums.output_tokens


def against_journal(attempts: Attempts, books: Books) -> Iterator[Difference]:
    """Yield which attempts are not reserved and closed exactly once, and not once in the store."""
    for name in attempts.twice:
        yield Difference(DOUBLED, name, "is in the store twice")
    for name in books.reserved.keys() | books.closed.keys() | attempts.by_name.keys():
        reserved, closed = books.reserved[name], books.closed[name]
        if reserved > 1 or closed > 1:
            yield Difference(DOUBLED, name, f"the journal has it reserved {reserved}, closed {closed} times")
        if closed == 0:
            yield Difference(LEFT_OPEN, name, "the journal has no entry that closes it")
        if reserved == 0:
            yield Difference(LOST, name, "the journal has no reservation of it")
        if name not in attempts.by_name:
            yield Difference(LOST, name, "the journal has it, the store does not")
