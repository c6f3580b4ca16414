"""A report is the fold of the entries: exact, in the period of the reservation, corrections included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.domain.prices import Bill
from entrepot.ledger.entries import Correct, Entry, Expire, NameEndpoint, OfAttempt, Reserve, Settle
from entrepot.ledger.ledger import EndpointRef
from entrepot.ledger.report import DAY_NS, UNDECLARED, Dimension, Report, as_json, report
from entrepot.ledger.segment import Position
from entrepot.ledger.store import Store
from tests.ledger import entry_makers as make
from tests.ledger.traffic import ENDPOINTS, START_NS, Traffic

NAMES = tuple(
    NameEndpoint(number, endpoint.name, endpoint.model, endpoint.host, endpoint.owner_country)
    for number, endpoint in enumerate(ENDPOINTS, start=1)
)
GROUPS: dict[Dimension, Callable[[Reserve], str]] = {
    Dimension.HOST: lambda reserve: NAMES[reserve.endpoint_id - 1].host,
    Dimension.MODEL: lambda reserve: NAMES[reserve.endpoint_id - 1].model,
    Dimension.COUNTRY: lambda reserve: NAMES[reserve.endpoint_id - 1].owner_country or UNDECLARED,
    Dimension.KEY: lambda reserve: str(reserve.key_id),
    Dimension.DAY: lambda reserve: datetime.fromtimestamp(reserve.at_ns / 1e9, UTC).date().isoformat(),
}
SUMS = ("requests", "attempts", "tokens", "reasoning_tokens", "cost_nusd", "unknown_nusd", "reserved_nusd")


@contextmanager
def store_with(*entries: Entry) -> Iterator[Store]:
    """Open a new store that has these entries and the names of the endpoints."""
    with TemporaryDirectory() as folder, Store.open(Path(folder, "ledger.sqlite")) as store:
        store.post([*NAMES, *entries], Position(1, 1))
        yield store


def folded(entries: list[OfAttempt], group_of: Callable[[Reserve], str]) -> dict[str, dict[str, int]]:
    """Return the sums of each group, worked out one entry after the other."""
    reserves: dict[tuple[bytes, int], Reserve] = {}
    sums: dict[str, dict[str, int]] = {}
    for entry in entries:
        attempt = (entry.request_id, entry.attempt)
        if isinstance(entry, Reserve):
            reserves[attempt] = entry
        group = sums.setdefault(group_of(reserves[attempt]), dict.fromkeys(SUMS, 0))
        if isinstance(entry, Reserve):
            group["requests"] += entry.attempt == 1
            group["attempts"] += 1
            group["reserved_nusd"] += entry.amount_nusd
        elif not isinstance(entry, Correct):
            group["reserved_nusd"] -= reserves[attempt].amount_nusd
        if isinstance(entry, Settle | Correct):
            group["tokens"] += entry.usage.prompt_tokens + entry.usage.output_tokens
            group["reasoning_tokens"] += entry.usage.reasoning_tokens
            group["cost_nusd"] += entry.bill.total_nusd
        if isinstance(entry, Expire):
            group["unknown_nusd"] += entry.at_most_nusd
        elif isinstance(entry, Correct):
            group["unknown_nusd"] -= entry.unknown_nusd
    return sums


def sums_of(result: Report) -> dict[str, dict[str, int]]:
    """Return the same sums of a report."""
    return {row.group: {name: getattr(row, name) for name in SUMS} for row in result.rows}


@given(seed=st.integers(0, 2**32), requests=st.integers(0, 40), dropped=st.integers(0, 5))
@settings(max_examples=12, deadline=None)
def test_every_report_is_the_fold_of_the_entries(seed: int, requests: int, dropped: int) -> None:
    """By whichever dimension, each sum is that of the entries; the last attempts are still open."""
    refs = tuple(EndpointRef(name.endpoint_id, 1) for name in NAMES)
    traffic = Traffic(seed, refs)
    entries = [entry for _ in range(requests) for entry in traffic.request()]
    entries = entries[: max(0, len(entries) - dropped)]
    with store_with(*entries) as store:
        for by, group_of in GROUPS.items():
            result = report(store, by)
            assert sums_of(result) == folded(entries, group_of)
            for name in SUMS:
                assert getattr(result.total, name) == sum(getattr(row, name) for row in result.rows)


def test_an_attempt_belongs_to_the_day_in_which_it_was_reserved() -> None:
    """An answer that ends after midnight, and a correction next week, do not move what was reported."""
    reserve = msgspec.structs.replace(make.reserve(), at_ns=START_NS + DAY_NS - 1)
    settle = msgspec.structs.replace(make.settle(1, 600), at_ns=START_NS + DAY_NS + 5)
    correct = msgspec.structs.replace(make.correct(1, 50), at_ns=START_NS + 7 * DAY_NS)
    with store_with(reserve, settle, correct) as store:
        days = report(store, Dimension.DAY)
        assert [(row.group, row.cost_nusd) for row in days.rows] == [("2025-11-24", 650)]
        today = report(store, Dimension.HOST, since_ns=START_NS, until_ns=START_NS + DAY_NS)
        assert today.total.cost_nusd == 650
        later = report(store, Dimension.HOST, since_ns=START_NS + DAY_NS)
        assert later.rows == ()


def test_the_end_of_a_period_is_not_in_it() -> None:
    """Two periods that meet count every attempt once."""
    entries = [
        msgspec.structs.replace(make.reserve(number), at_ns=START_NS + number * DAY_NS)
        for number in (0, 1, 2)
    ]
    with store_with(*entries) as store:
        middle = START_NS + DAY_NS
        parts = [
            report(store, Dimension.HOST, since_ns=START_NS, until_ns=middle).total.attempts,
            report(store, Dimension.HOST, since_ns=middle, until_ns=START_NS + 3 * DAY_NS).total.attempts,
        ]
    assert parts == [1, 2]


def test_what_is_unknown_stands_apart_until_it_is_known() -> None:
    """Unknown is not zero and not a cost: a column of its own, emptied by the correction that resolves it."""
    known = msgspec.structs.replace(make.correct(1, 400, unknown_nusd=1_000), bill=Bill(output_nusd=400))
    with store_with(make.reserve(1), make.expire(1, 1_000)) as store:
        total = report(store, Dimension.HOST).total
        assert (total.cost_nusd, total.unknown_nusd) == (0, 1_000)
        store.post([known], Position(1, 2))
        total = report(store, Dimension.HOST).total
        assert (total.cost_nusd, total.unknown_nusd) == (400, 0)


def test_a_request_is_counted_where_its_first_attempt_went() -> None:
    """So the requests of all hosts add up to the requests that there were."""
    second = msgspec.structs.replace(make.reserve(1, attempt=2), endpoint_id=2)
    with store_with(make.reserve(1), make.void(1), second) as store:
        counts = {row.group: (row.requests, row.attempts) for row in report(store, Dimension.HOST).rows}
    assert counts == {"deepseek": (1, 1), "lambda": (0, 1)}


def test_shares_are_parts_of_the_whole() -> None:
    """Tokens and dollars have shares of their own; the dearest comes first."""
    other = msgspec.structs.replace(make.reserve(2), endpoint_id=2)
    settle = msgspec.structs.replace(make.settle(2, 1_800), endpoint_id=2)
    with store_with(make.reserve(1), make.settle(1, 600), other, settle) as store:
        result = report(store, Dimension.HOST)
    shares = [(row.group, row.token_share, row.cost_share) for row in result.rows]
    assert shares == [("lambda", 0.5, 0.75), ("deepseek", 0.5, 0.25)]
    assert (result.total.token_share, result.total.cost_share) == (1.0, 1.0)


def test_an_empty_report_has_a_total_of_zero() -> None:
    """Nothing was used: no division by it."""
    with store_with() as store:
        result = report(store, Dimension.MODEL)
    assert result.rows == ()
    assert (result.total.cost_nusd, result.total.token_share) == (0, 0.0)


def test_json_has_the_exact_amounts_and_the_names() -> None:
    """Integers for programs, exact decimals for people, and what a key is called."""
    with store_with(make.reserve(1), make.settle(1, 6_570_000)) as store:
        shown = as_json(report(store, Dimension.KEY), {"1": "team"})
    (row,) = msgspec.json.decode(msgspec.json.encode(shown))["rows"]
    assert (row["group"], row["name"]) == ("1", "team")
    assert (row["cost_nusd"], row["cost_usd"]) == (6_570_000, "0.00657")


@pytest.mark.parametrize("by", list(Dimension))
def test_an_endpoint_that_nobody_named_is_shown_and_not_lost(by: Dimension) -> None:
    """A hole in the names may not make money disappear."""
    unnamed = msgspec.structs.replace(make.reserve(), endpoint_id=99)
    settle = msgspec.structs.replace(make.settle(1, 600), endpoint_id=99)
    with store_with(unnamed, settle) as store:
        assert report(store, by).total.cost_nusd == 600
