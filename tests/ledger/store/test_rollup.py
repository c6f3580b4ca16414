"""The roll-ups are the sum of the entries, whatever came in which batch, and nothing counts twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Table, select

from entrepot.domain.errors import DataError
from entrepot.ledger.entries import Correct, Entry, Expire, OfAttempt, Reserve, Settle, Void
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.ledger import EndpointRef
from entrepot.ledger.store import migrations
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.tables import USAGE_DAYS, USAGE_HOURS
from tests.ledger import entry_makers as make
from tests.ledger.stores import BOTH, new_place
from tests.ledger.traffic import Traffic

HOUR_NS = 3_600_000_000_000
HERE = Position(1, 100)
REFS = (EndpointRef(1, 1), EndpointRef(2, 2), EndpointRef(3, 3))


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A new store, of either kind."""
    with new_place(request.param, tmp_path) as place, Store.open(place) as opened:
        yield opened


def traffic(seed: int, requests: int = 120) -> list[OfAttempt]:
    """Return entries of some days, with senders and rules."""
    rng, made = Random(seed), Traffic(seed, REFS)
    entries: list[OfAttempt] = []
    for _ in range(requests):
        sender, rules = rng.randrange(3), rng.randrange(2)
        for entry in made.request():
            match entry:
                case Reserve():
                    entries.append(msgspec.structs.replace(entry, sender_id=sender, rules_id=rules))
                case Correct():
                    entries.append(msgspec.structs.replace(entry, sender_id=sender))
                case _:
                    entries.append(entry)
    return entries


def expected(entries: Sequence[OfAttempt], period_ns: int) -> dict[tuple[int, ...], dict[str, int]]:
    """Return the sums worked out entry by entry, in the plainest way."""
    reserves = {(one.request_id, one.attempt): one for one in entries if isinstance(one, Reserve)}
    sums: dict[tuple[int, ...], Counter[str]] = {}
    for entry in entries:
        reserve = reserves[entry.request_id, entry.attempt]
        place = (
            reserve.at_ns // period_ns,
            reserve.endpoint_id,
            reserve.key_id,
            reserve.sender_id,
            reserve.rules_id,
        )
        total = sums.setdefault(place, Counter())
        match entry:
            case Reserve():
                total["requests"] += entry.attempt == 1
                total["attempts"] += 1
                total["reserved_nusd"] += entry.amount_nusd
            case Settle() | Correct():
                for kind in ("uncached", "cached", "cache_write", "cache_write_1h", "output", "reasoning"):
                    total[f"{kind}_tokens"] += getattr(entry.usage, f"{kind}_tokens")
                total["cost_nusd"] += sum(msgspec.structs.astuple(entry.bill))
            case Expire():
                total["unknown_nusd"] += entry.at_most_nusd
            case Void():
                pass
        if isinstance(entry, Correct):
            total["unknown_nusd"] -= entry.unknown_nusd
        elif not isinstance(entry, Reserve):
            total["reserved_nusd"] -= reserve.amount_nusd
    names = [column.name for column in USAGE_HOURS.c if not column.primary_key]
    return {place: {name: total[name] for name in names} for place, total in sums.items()}


def stored(store: Store, table: Table) -> dict[tuple[int, ...], dict[str, int]]:
    """Return what a roll-up holds."""
    names = [column.name for column in table.c if not column.primary_key]
    with store.engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(select(table))]
    return {row[:5]: dict(zip(names, row[5:], strict=True)) for row in rows}


def assert_right(store: Store, entries: Sequence[OfAttempt]) -> None:
    """Both roll-ups equal the sums of the entries."""
    assert stored(store, USAGE_HOURS) == expected(entries, HOUR_NS)
    assert stored(store, USAGE_DAYS) == expected(entries, 24 * HOUR_NS)


@pytest.mark.parametrize("seed", range(2))
def test_the_roll_ups_are_the_sum_of_the_entries_however_they_are_batched(store: Store, seed: int) -> None:
    """Closings and corrections find their reservation in this batch, an earlier one, or an earlier run."""
    entries, rng = traffic(seed), Random(seed)
    done = 0
    while done < len(entries):
        batch = entries[done : done + rng.randrange(1, 40)]
        store.post(batch, Position(1, done))
        done += len(batch)
        if rng.random() < 0.3:  # as after a restart: nothing is remembered
            with Store.open(store.place) as other:
                other.post([], Position(1, done))
                other.post(entries[done : done + 7], Position(1, done))
                done += len(entries[done : done + 7])
    assert_right(store, entries)


@pytest.mark.parametrize("seed", range(2))
def test_what_is_posted_again_does_not_count_again(store: Store, seed: int) -> None:
    """Of a batch that is partly there only the new entries are added to the sums."""
    entries, rng = traffic(seed, 40), Random(seed)
    store.post(entries[:100], HERE)
    for _ in range(4):
        first = rng.randrange(len(entries) - 1)
        store.post(entries[first : rng.randrange(first + 1, len(entries) + 1)], HERE)
    store.post(entries, HERE)
    store.post(entries + entries[:10], HERE)  # twice in one batch, too
    assert_right(store, entries)


def test_a_batch_that_fails_leaves_no_sums_behind(store: Store) -> None:
    """Neither in the store nor in what the next batch adds."""
    entries = traffic(3, 20)
    store.post(entries[:10], HERE)
    changed = [
        msgspec.structs.replace(one, amount_nusd=1) for one in entries[:10] if isinstance(one, Reserve)
    ]
    with pytest.raises(DataError, match="another entry"):
        store.post([*entries[10:], *changed], HERE)
    store.post(entries[10:], HERE)
    assert_right(store, entries)


def test_an_attempt_under_way_is_reserved_until_it_closes(store: Store) -> None:
    """The reserved sum is what a report shows as not yet known."""
    store.post([make.reserve(1, 1_000), make.reserve(2, 500)], HERE)
    store.post([make.expire(1, 1_000)], HERE)
    (hour,) = stored(store, USAGE_HOURS).values()
    assert (hour["reserved_nusd"], hour["unknown_nusd"], hour["cost_nusd"]) == (500, 1_000, 0)
    store.post([make.correct(1, 50, unknown_nusd=1_000), make.void(2)], HERE)
    (hour,) = stored(store, USAGE_HOURS).values()
    assert (hour["reserved_nusd"], hour["unknown_nusd"], hour["cost_nusd"]) == (0, 0, 50)


def test_a_closing_whose_reservation_is_not_kept_counts_by_its_own_ids(store: Store) -> None:
    """A store made anew from a journal whose first segments are gone: the money is not lost."""
    late: list[Entry] = [
        make.settle(1, 600),
        msgspec.structs.replace(make.correct(1, 50), reserved_ns=make.AT_NS),
    ]
    store.post(late, HERE)
    (hour,) = stored(store, USAGE_HOURS).items()
    assert hour[0] == (make.AT_NS // HOUR_NS, 1, 1, 0, 0)
    assert (hour[1]["requests"], hour[1]["reserved_nusd"], hour[1]["cost_nusd"]) == (0, 0, 650)


def test_entries_from_before_the_roll_ups_are_added_up_by_the_migration(store: Store) -> None:
    """A store that an older version filled has right sums after the upgrade, by the hour and by the day."""
    entries = traffic(5)
    store.post(entries, HERE)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM usage_hours")
        connection.exec_driver_sql("UPDATE usage_days SET attempts = attempts + 1")  # of a version in between
        for table in ("journal", "retention", "contents", "tasks", "refusals"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        connection.exec_driver_sql("CREATE INDEX closings_answer_id ON closings (answer_id)")
        config.attributes["connection"] = connection
        command.stamp(config, "0002")
    with Store.open(store.place) as upgraded:
        assert_right(upgraded, entries)
