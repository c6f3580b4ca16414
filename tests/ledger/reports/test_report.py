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
from entrepot.ledger.entries import (
    Correct,
    Entry,
    Expire,
    NameEndpoint,
    NameRules,
    NameSender,
    OfAttempt,
    Reserve,
    Settle,
)
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.ledger import EndpointRef
from entrepot.ledger.reports.booked import booked
from entrepot.ledger.reports.report import DAY_NS, NONE, UNDECLARED, Dimension, Only, Report, as_json, report
from entrepot.ledger.reports.tasks import Task, tasks
from entrepot.ledger.reports.usage_query import Window
from entrepot.ledger.store.store import Store
from tests.ledger import entry_makers as make
from tests.ledger.in_postgres import in_postgres
from tests.ledger.traffic import ENDPOINTS, HOUR_NS, START_NS, Traffic
from tests.ledger.usage_oracle import check_usage

NAMES = tuple(
    NameEndpoint(
        number,
        endpoint.name,
        endpoint.model,
        endpoint.host,
        endpoint.owner_country,
        endpoint.origin_country,
        None,
        endpoint.host == "azure",
    )
    for number, endpoint in enumerate(ENDPOINTS, start=1)
)
SENDERS = (NameSender(1, 1, 7, (3,)), NameSender(2, 2, 7, (3, 4)), NameSender(3, 3, 8))
RULES = (NameRules(1, ("context",)), NameRules(2, ("context", "policy:0123456789ab", "quantization")))
Groups = Callable[[Reserve], tuple[str, ...]]
GROUPS: dict[Dimension, Groups] = {
    Dimension.HOST: lambda reserve: (NAMES[reserve.endpoint_id - 1].host,),
    Dimension.MODEL: lambda reserve: (NAMES[reserve.endpoint_id - 1].model,),
    Dimension.ENDPOINT: lambda reserve: (NAMES[reserve.endpoint_id - 1].name,),
    Dimension.COUNTRY: lambda reserve: (NAMES[reserve.endpoint_id - 1].owner_country or UNDECLARED,),
    Dimension.ORIGIN: lambda reserve: (NAMES[reserve.endpoint_id - 1].origin_country or UNDECLARED,),
    Dimension.REGION: lambda reserve: (UNDECLARED,),
    Dimension.KEY: lambda reserve: (str(reserve.key_id),),
    Dimension.TEAM: lambda reserve: ("8",) if reserve.key_id == 3 else ("7",),
    Dimension.TAG: lambda reserve: {1: ("3",), 2: ("3", "4"), 3: (NONE,)}[reserve.key_id],
    Dimension.RULE: lambda reserve: ((NONE,), ("context",), ("context", "quantization"))[reserve.rules_id],
    Dimension.HOUR: lambda reserve: (f"{moment(reserve):%Y-%m-%d %H:00}",),
    Dimension.DAY: lambda reserve: (moment(reserve).date().isoformat(),),
    Dimension.MONTH: lambda reserve: (f"{moment(reserve):%Y-%m}",),
}
SUMS = (
    "requests",
    "attempts",
    "simulated_attempts",
    "tokens",
    "reasoning_tokens",
    "cost_nusd",
    "unknown_nusd",
    "reserved_nusd",
)


def moment(reserve: Reserve) -> datetime:
    """Return when an attempt was reserved, to the second."""
    return datetime.fromtimestamp(reserve.at_ns // 10**9, UTC)


@contextmanager
def store_with(*entries: Entry) -> Iterator[Store]:
    """Open a new store that has these entries, the names of the endpoints and the roll-ups."""
    with TemporaryDirectory() as folder, Store.open(Path(folder, "ledger.sqlite")) as store:
        store.post([*NAMES, *SENDERS, *RULES, *entries], Position(1, 1))
        check_usage(store)
        yield store


def traffic(seed: int, requests: int, *, dropped: int = 0) -> list[OfAttempt]:
    """Return seeded entries with senders and rules; the last `dropped` are missing, so attempts are open."""
    made = Traffic(seed, tuple(EndpointRef(name.endpoint_id, 1) for name in NAMES))
    entries = [entry for _ in range(requests) for entry in made.request()]
    entries = entries[: max(0, len(entries) - dropped)]
    return [
        msgspec.structs.replace(
            entry, sender_id=entry.key_id, rules_id=entry.at_ns % 3, task_id=entry.at_ns % 5
        )
        if isinstance(entry, Reserve)
        else entry
        for entry in entries
    ]


def folded(entries: list[OfAttempt], group_of: Groups) -> dict[str, dict[str, int]]:
    """Return the sums of each group, worked out one entry after the other."""
    reserves: dict[tuple[bytes, int], Reserve] = {}
    sums: dict[str, dict[str, int]] = {}
    for entry in entries:
        attempt = (entry.request_id, entry.attempt)
        if isinstance(entry, Reserve):
            reserves[attempt] = entry
        for name in group_of(reserves[attempt]):
            _count(sums.setdefault(name, dict.fromkeys(SUMS, 0)), entry, reserves[attempt])
    return sums


def _count(group: dict[str, int], entry: OfAttempt, reserve: Reserve) -> None:
    if isinstance(entry, Reserve):
        group["requests"] += entry.attempt == 1
        group["attempts"] += 1
        group["simulated_attempts"] += NAMES[entry.endpoint_id - 1].simulated
        group["reserved_nusd"] += entry.amount_nusd
    elif not isinstance(entry, Correct):
        group["reserved_nusd"] -= reserve.amount_nusd
    if isinstance(entry, Settle | Correct):
        group["tokens"] += entry.usage.prompt_tokens + entry.usage.output_tokens
        group["reasoning_tokens"] += entry.usage.reasoning_tokens
        group["cost_nusd"] += entry.bill.total_nusd
    if isinstance(entry, Expire):
        group["unknown_nusd"] += entry.at_most_nusd
    elif isinstance(entry, Correct):
        group["unknown_nusd"] -= entry.unknown_nusd


def in_window(entries: list[OfAttempt], since_ns: int | None, until_ns: int | None) -> list[OfAttempt]:
    """Return the entries of the attempts that were reserved in the window."""
    at_ns = {
        (entry.request_id, entry.attempt): entry.at_ns for entry in entries if isinstance(entry, Reserve)
    }
    since = -(2**63) if since_ns is None else since_ns
    until = 2**63 if until_ns is None else until_ns
    return [entry for entry in entries if since <= at_ns[entry.request_id, entry.attempt] < until]


def sums_of(result: Report) -> dict[str, dict[str, int]]:
    """Return the same sums of a report."""
    return {row.group: {name: getattr(row, name) for name in SUMS} for row in result.rows}


# On an hour, beside one, in the middle, and before and after everything; None is without a limit.
_instants = st.none() | st.builds(
    lambda hours, ns: START_NS + hours * HOUR_NS + ns,
    st.integers(-2, 100),
    st.sampled_from((0, -1, 1, 17**9)),
)


@given(
    seed=st.integers(0, 2**32),
    requests=st.integers(0, 60),
    dropped=st.integers(0, 5),
    windows=st.lists(st.tuples(_instants, _instants), min_size=2, max_size=4),
)
@settings(max_examples=12, deadline=None)
def test_every_report_is_the_fold_of_the_entries(
    seed: int, requests: int, dropped: int, windows: list[tuple[int | None, int | None]]
) -> None:
    """By whichever dimension and over whichever window, each sum is that of the entries; some are open."""
    entries = traffic(seed, requests, dropped=dropped)
    with store_with(*entries) as store:
        for since_ns, until_ns in [(None, None), *windows]:
            inside = in_window(entries, since_ns, until_ns)
            total = folded(inside, lambda _: ("total",)).get("total", dict.fromkeys(SUMS, 0))
            for by, group_of in GROUPS.items():
                result = report(store, by, since_ns=since_ns, until_ns=until_ns)
                assert sums_of(result) == folded(inside, group_of)
                assert {name: getattr(result.total, name) for name in SUMS} == total


def test_whole_days_and_hours_come_from_the_roll_ups_and_the_rest_from_the_entries() -> None:
    """Without the entries of whole hours a report says the same: it is fast because it does not read them."""
    first, last = START_NS + 5 * HOUR_NS + 1, START_NS + 3 * DAY_NS + 2 * HOUR_NS + 7
    entries = traffic(1, 120)
    with store_with(*entries) as store:
        before = report(store, Dimension.HOST, since_ns=first, until_ns=last)
        with store.engine.begin() as connection:
            for table in ("closings", "corrections", "reserves"):
                connection.exec_driver_sql(
                    f"DELETE FROM {table} WHERE request_id IN (SELECT request_id FROM reserves "
                    f"WHERE at_ns >= {START_NS + 6 * HOUR_NS} AND at_ns < {last - 7})"
                )
        assert report(store, Dimension.HOST, since_ns=first, until_ns=last) == before
    assert before.total.attempts > 50


def test_a_window_that_begins_in_an_hour_without_entries_says_so() -> None:
    """Retention deletes entries and keeps the sums: whole hours stay exact, a part of an hour cannot be."""
    entries = traffic(1, 120)
    half = START_NS + 5 * HOUR_NS + HOUR_NS // 2
    with store_with(*entries) as store:
        before = report(store, Dimension.HOST, since_ns=half)
        with store.engine.begin() as connection:
            connection.exec_driver_sql(f"DELETE FROM reserves WHERE at_ns < {START_NS + 6 * HOUR_NS}")
        after = report(store, Dimension.HOST, since_ns=half)
        whole = report(store, Dimension.HOST, since_ns=START_NS + 5 * HOUR_NS)
    in_hour = in_window(entries, START_NS + 5 * HOUR_NS, START_NS + 6 * HOUR_NS)
    assert (before.deleted_attempts, whole.deleted_attempts) == (0, 0)
    assert after.deleted_attempts == sum(isinstance(entry, Reserve) for entry in in_hour) > 0


def exact(task: Task) -> tuple[object, ...]:
    """Return what of a task does not depend on the order in which floats are added up."""
    spent = msgspec.structs.asdict(task.spent)
    seconds = spent.pop("seconds")
    return task.task, task.key_id, task.outcome, spent, round(seconds, 6), task.elapsed_s


def test_postgresql_gives_the_same_report() -> None:
    """The same rows in both databases: the same sums, of whatever window and dimensions."""
    entries = traffic(5, 80, dropped=1)
    windows = ((None, None), (START_NS + 5 * HOUR_NS + 1, START_NS + 3 * DAY_NS - 7))
    with store_with(*entries) as store, in_postgres(store) as copy:
        for since_ns, until_ns in windows:
            for by in (*((one,) for one in Dimension), (Dimension.TAG, Dimension.DAY, Dimension.HOST)):
                wanted = report(store, *by, since_ns=since_ns, until_ns=until_ns)
                assert report(copy, *by, since_ns=since_ns, until_ns=until_ns) == wanted
            found, there = (tasks(one, since_ns=since_ns, until_ns=until_ns) for one in (copy, store))
            assert list(map(exact, found.tasks)) == list(map(exact, there.tasks)) != []
            window = Window(since_ns, until_ns)
            for by_attempt in (False, True):
                pieces = booked(copy, "lambda", window, by_attempt=by_attempt).pieces
                wanted_pieces = booked(store, "lambda", window, by_attempt=by_attempt).pieces
                assert sorted(map(repr, pieces)) == sorted(map(repr, wanted_pieces))


def test_several_dimensions_are_all_pairs_within_the_first() -> None:
    """By host and day: the dearest host first, its days in order, and the same sums as by either."""
    entries = traffic(2, 80)
    with store_with(*entries) as store:
        both = report(store, Dimension.HOST, Dimension.DAY)
        hosts = report(store, Dimension.HOST)
    pairs = folded(
        entries, lambda one: (f"{GROUPS[Dimension.HOST](one)[0]}, {GROUPS[Dimension.DAY](one)[0]}",)
    )
    assert sums_of(both) == pairs
    assert both.total == msgspec.structs.replace(hosts.total)
    assert list(dict.fromkeys(row.groups[0] for row in both.rows)) == [row.group for row in hosts.rows]
    for host in hosts.rows:
        days = [row.groups[1] for row in both.rows if row.groups[0] == host.group]
        assert days == sorted(days)


def test_a_request_with_two_tags_counts_in_both_and_once_in_the_total() -> None:
    """The report says that its groups overlap; those of hosts never do."""
    entries = [
        msgspec.structs.replace(entry, sender_id=2) if isinstance(entry, Reserve) else entry
        for entry in (make.reserve(1), make.settle(1, 600))
    ]
    with store_with(*entries) as store:
        tags, hosts = report(store, Dimension.TAG), report(store, Dimension.HOST)
    assert [(row.group, row.cost_nusd) for row in tags.rows] == [("3", 600), ("4", 600)]
    assert (tags.total.cost_nusd, tags.total.requests) == (600, 1)
    assert (tags.overlaps, hosts.overlaps) == (True, False)


@pytest.mark.parametrize(
    ("only", "keeps"),
    [
        (Only(models=frozenset({"deepseek/deepseek-r1"})), lambda one: one.endpoint_id < 4),
        (Only(hosts=frozenset({"lambda", "local"})), lambda one: one.endpoint_id in (2, 4)),
        (Only(keys=frozenset({2})), lambda one: one.key_id == 2),
        (Only(teams=frozenset({7})), lambda one: one.key_id < 3),
        (Only(tags=frozenset({4})), lambda one: one.key_id == 2),
        (
            Only(hosts=frozenset({"azure"}), keys=frozenset({1})),
            lambda one: (one.endpoint_id, one.key_id) == (3, 1),
        ),
    ],
)
def test_a_report_may_be_confined(only: Only, keeps: Callable[[Reserve], bool]) -> None:
    """To models, hosts, keys, teams and tags: rows and total are those of the fold of what is left."""
    entries = traffic(3, 60)
    attempts = {(one.request_id, one.attempt) for one in entries if isinstance(one, Reserve) and keeps(one)}
    left = [entry for entry in entries if (entry.request_id, entry.attempt) in attempts]
    with store_with(*entries) as store:
        result = report(store, Dimension.DAY, only=only)
    assert sums_of(result) == folded(left, GROUPS[Dimension.DAY])
    assert result.total.attempts == len(attempts) > 0


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
    for later, sums in (((), (0, 1_000)), ((known,), (400, 0))):
        with store_with(make.reserve(1), make.expire(1, 1_000), *later) as store:
            total = report(store, Dimension.HOST).total
            assert (total.cost_nusd, total.unknown_nusd) == sums


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
        shown = as_json(report(store, Dimension.KEY), {Dimension.KEY: {"1": "team"}})
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
