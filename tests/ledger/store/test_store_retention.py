"""Retention deletes what is old and closed, nothing else, and the sums stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import func, select

from entrepot.ledger.entries import Entry
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.store.poster import run
from entrepot.ledger.store.retention import DAY_NS, StoreRetention, delete_some
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.tables import CLOSINGS, DECISIONS, METADATA, RESERVES, RETENTION, USAGE_HOURS
from tests.ledger import entry_makers as make
from tests.ledger.posted import stored
from tests.ledger.stores import BOTH, new_place
from tests.ledger.traffic import write_requests

HERE = Position(1, 100)
NOW_NS = make.AT_NS + 10 * DAY_NS


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A new store, of either kind."""
    with new_place(request.param, tmp_path) as place, Store.open(place) as opened:
        yield opened


def dated(entry: Entry, days_ago: float) -> Entry:
    """Return an entry with the id and the instant of some days ago."""
    at_ns = NOW_NS - int(days_ago * DAY_NS)
    number = int.from_bytes(entry.request_id[8:], "big")  # type: ignore[union-attr]
    return msgspec.structs.replace(entry, request_id=make.request_id(number, at_ns), at_ns=at_ns)


def counts(store: Store) -> dict[str, int]:
    """Return how many rows each table has."""
    with store.engine.connect() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in METADATA.sorted_tables
        }


def filled(store: Store) -> None:
    """Post a request of 9, 5 and 1 days ago each, and one of 9 days ago that is half open."""
    store.post(
        [
            *(dated(entry, 9) for entry in (make.reserve(1), make.settle(1), make.correct(1))),
            *(dated(entry, 5) for entry in (make.reserve(2), make.settle(2))),
            *(dated(entry, 1) for entry in (make.reserve(3), make.settle(3))),
            *(dated(entry, 9) for entry in (make.reserve(4), make.settle(4), make.reserve(4, attempt=2))),
        ],
        HERE,
    )


def test_old_decisions_go_and_the_money_stays(store: Store) -> None:
    """Those of closed attempts only; what is under way may still be asked about."""
    filled(store)
    before = counts(store)
    assert not delete_some(store, StoreRetention(decisions_days=7), NOW_NS)
    assert counts(store) == before | {"decisions": 3, "retention": 1}
    with store.engine.connect() as connection:
        left = connection.execute(select(DECISIONS.c.request_id, DECISIONS.c.attempt)).all()
        assert sorted(attempt for _, attempt in left) == [1, 1, 2]


def test_old_entries_go_as_whole_requests_once_all_is_closed(store: Store) -> None:
    """A request with an open attempt stays; the roll-ups know what has gone."""
    filled(store)
    with store.engine.connect() as connection:
        sums = connection.execute(select(USAGE_HOURS)).all()
    assert not delete_some(store, StoreRetention(entries_days=3), NOW_NS)
    with store.engine.connect() as connection:
        assert connection.execute(select(USAGE_HOURS)).all() == sums
        noted = connection.execute(select(RETENTION)).all()
    kept = counts(store)
    assert (kept["reserves"], kept["closings"], kept["corrections"], kept["decisions"]) == (3, 2, 0, 3)
    assert noted == [("entries", NOW_NS - 3 * DAY_NS)]


def test_old_refusals_go_with_the_entries(store: Store) -> None:
    """They are kept as long as the money of requests that were served, and no longer."""
    store.post([dated(make.refused(7), 9), dated(make.refused(8), 1)], HERE)
    assert not delete_some(store, StoreRetention(decisions_days=4), NOW_NS)
    assert counts(store)["refusals"] == 2
    assert delete_some(store, StoreRetention(entries_days=0.5), NOW_NS, most=1)
    assert counts(store)["refusals"] == 1
    assert not delete_some(store, StoreRetention(entries_days=4), NOW_NS)
    assert counts(store)["refusals"] == 1


def test_nothing_is_deleted_that_is_kept_for_ever(store: Store) -> None:
    """0 days are the default: no retention."""
    filled(store)
    before = counts(store)
    assert not StoreRetention().is_on
    assert not delete_some(store, StoreRetention(), NOW_NS)
    assert counts(store) == before


def test_much_is_deleted_a_little_at_a_time(store: Store) -> None:
    """Each call is a short transaction and says whether more is left."""
    for number in range(5):
        store.post([dated(make.reserve(number), 9), dated(make.settle(number), 9)], HERE)
    more = [delete_some(store, StoreRetention(entries_days=1), NOW_NS, most=2) for _ in range(3)]
    assert more == [True, True, False]
    assert counts(store)["reserves"] == 0


def test_a_correction_of_a_deleted_attempt_still_counts_in_its_hour(store: Store) -> None:
    """It says itself when and for whom it was reserved."""
    store.post([dated(make.reserve(1), 9), dated(make.settle(1), 9)], HERE)
    delete_some(store, StoreRetention(entries_days=1), NOW_NS)
    late = msgspec.structs.replace(dated(make.correct(1), 9), reserved_ns=NOW_NS - 9 * DAY_NS)
    store.post([late], HERE)
    with store.engine.connect() as connection:
        assert connection.execute(select(USAGE_HOURS.c.cost_nusd)).scalars().all() == [650]


def test_the_poster_applies_the_retention(tmp_path: Path) -> None:
    """What was posted is thinned by the same run."""
    written = write_requests(tmp_path, 20)  # of a year ago
    run(tmp_path, follow=False, store_retention=StoreRetention(decisions_days=1))
    with Store.open(tmp_path / "ledger.sqlite") as opened:
        left = counts(opened)
    assert left[DECISIONS.name] == 0
    assert left[RESERVES.name] + left[CLOSINGS.name] > len(written) / 2
    run(tmp_path, follow=False, store_retention=StoreRetention(entries_days=1))
    assert stored(tmp_path) == []
