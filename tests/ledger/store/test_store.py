"""The store has each entry once, gives it back as it was, and refuses what it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan, nan
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from entrepot.domain.errors import DataError
from entrepot.ledger.entries import Entry, OfAttempt, encode
from entrepot.ledger.history import Names
from entrepot.ledger.journal.segment import Position
from entrepot.ledger.store import migrations
from entrepot.ledger.store.store import REVISION, Store
from entrepot.ledger.store.tables import METADATA, POSITION
from tests.ledger import entry_makers as make
from tests.ledger.stores import BOTH, new_place

HERE = Position(1, 100)


@pytest.fixture(params=BOTH)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A new store, of either kind."""
    with new_place(request.param, tmp_path) as place, Store.open(place) as opened:
        yield opened


def rows(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Return everything that is in a store."""
    with store.engine.connect() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table))]
            for table in METADATA.sorted_tables
        }


def test_an_entry_that_is_posted_twice_is_there_once(store: Store) -> None:
    """A poster that dies after its commit posts the same again: nothing is doubled."""
    entries: list[Entry] = [make.reserve(), make.settle(), make.correct(), make.reserve(2), make.void(2)]
    store.post(entries, HERE)
    before = rows(store)
    store.post(entries[1:], HERE)
    assert rows(store) == before


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (make.reserve(1, 1_000), make.reserve(1, 2_000), "amount_nusd is 1000, posted was 2000"),
        (make.settle(1, 600), make.settle(1, 601), "output_nusd is 600, posted was 601"),
        (make.settle(1, 600), make.void(1), "kind is 2, posted was 3"),
        (make.correct(1, 50), make.correct(1, 51), "output_nusd is 50, posted was 51"),
    ],
)
def test_another_entry_under_the_same_id_is_refused_and_both_are_named(
    store: Store, first: OfAttempt, second: OfAttempt, says: str
) -> None:
    """Money is never overwritten: the id, the amount there and the amount posted are told."""
    store.post([first], HERE)
    with pytest.raises(DataError, match=says) as told:
        store.post([make.reserve(7), second], Position(1, 200))
    assert f"req-{first.request_id.hex()}" in str(told.value)


def test_a_batch_that_is_refused_leaves_rows_and_position_as_they_were(store: Store) -> None:
    """Entries and position are one transaction: all of it or nothing."""
    store.post([make.settle(1, 600)], HERE)
    before = rows(store)
    with pytest.raises(DataError):
        store.post([make.reserve(7), make.settle(1, 601)], Position(1, 200))
    assert rows(store) == before
    assert store.position() == HERE


@given(st.lists(st.one_of(make.reserves, make.settles, make.voids, make.expires, make.corrects), max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_entry_comes_back_as_it_was(store: Store, entries: list[OfAttempt]) -> None:
    """What the poster wrote is what `why` reads, bit for bit, not-a-number included."""
    for number, entry in enumerate(entries):
        request_id = number.to_bytes(16, "big")
        mine = msgspec.structs.replace(entry, request_id=request_id)
        reserve = make.reserve(number)
        reserve = msgspec.structs.replace(reserve, request_id=request_id, attempt=mine.attempt)
        with store.engine.begin() as connection:
            for table in METADATA.sorted_tables:
                connection.execute(table.delete())
        store.post([mine] if isinstance(mine, type(reserve)) else [reserve, mine], HERE)
        history = store.request(request_id)
        assert history is not None
        attempt = history.attempts[0]
        kept = [attempt.reserve, attempt.closing, *attempt.corrections]
        assert encode(mine) in [encode(found) for found in kept if found is not None]


def test_a_duration_that_was_not_measured_stays_unmeasured(store: Store) -> None:
    """Databases have no not-a-number; NULL stands for it, and comes back as nan, not as zero."""
    settle = msgspec.structs.replace(make.settle(), ttft_s=nan, tpot_s=nan)
    store.post([make.reserve(), settle], HERE)
    history = store.request(settle.request_id)
    assert history is not None
    closing = history.final.closing
    assert isinstance(closing, type(settle))
    assert isnan(closing.ttft_s)
    assert closing.answer_s == settle.answer_s


def test_names_come_back_and_belong_to_their_attempts(store: Store) -> None:
    """A history says which endpoint and which prices its numbers stand for."""
    endpoint = make.NameEndpoint(1, "m@h", "m", "h", owner_country="US", simulated=True)
    prices = make.NamePrices(1, 1, make.AT_NS, 550_000_000, 2_190_000_000, source="list")
    store.post([endpoint, prices, make.reserve(), make.settle()], HERE)
    assert store.names() == Names({1: endpoint}, {1: prices})
    history = store.request(make.request_id(1))
    assert history is not None
    assert (history.final.endpoint, history.final.prices) == (endpoint, prices)


def test_a_request_is_found_by_the_hosts_id_of_its_answer_the_newest_first(store: Store) -> None:
    """Hosts may repeat their ids; the last one is what a user asks about."""
    older = msgspec.structs.replace(make.settle(1), answer_id=b"chatcmpl-1")
    newer = msgspec.structs.replace(make.settle(2), answer_id=b"chatcmpl-1", at_ns=make.AT_NS + 9)
    store.post([make.reserve(1), make.reserve(2), newer, older], HERE)
    found = store.request_of_answer("chatcmpl-1")
    assert found is not None
    assert found.request_id == make.request_id(2)
    assert store.request_of_answer("chatcmpl-2") is None


def test_a_refusal_comes_back_with_the_names_of_its_rules(store: Store) -> None:
    """It is found by its id and by the start of it, is there once, and is no request that was served."""
    rules = make.NameRules(1, ("policy:0123456789ab", "rule:no-cn"))
    entry = make.refused(2, count=3)
    store.post([rules, make.reserve(1), entry], HERE)
    store.post([entry], HERE)
    history = store.refusal(entry.request_id)
    assert history is not None
    assert (history.entry, history.rules) == (entry, rules.rules)
    assert store.request(entry.request_id) is None
    assert store.refusal(make.request_id(1)) is None
    assert store.refused_between(make.request_id(1), make.request_id(9), 5) == [entry.request_id]
    assert store.ids_between(make.request_id(1), make.request_id(9), 5) == [make.request_id(1)]
    assert len(store.recent(9)) == 1


def test_recent_requests_come_newest_first_with_all_their_attempts(store: Store) -> None:
    """One row per request, however often it was tried."""
    store.post([make.reserve(1), make.reserve(2), make.reserve(2, attempt=2), make.reserve(3)], HERE)
    recent = store.recent(2)
    assert [history.request_id for history in recent] == [make.request_id(3), make.request_id(2)]
    assert len(recent[1].attempts) == 2


def test_requests_are_found_by_the_start_of_their_ids(store: Store) -> None:
    """What a table shows of an id is enough to ask with."""
    store.post([make.reserve(1), make.reserve(2)], HERE)
    assert store.ids_between(make.request_id(0), make.request_id(1), 5) == [make.request_id(1)]
    assert len(store.ids_between(make.request_id(0), make.request_id(9), 5)) == 2


def test_a_store_of_a_newer_revision_is_refused(store: Store) -> None:
    """An older program does not touch what it cannot know; it says what to do."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DataError, match=r"newer entrepot.*9999.*upgrade entrepot"):
        Store.open(store.place)
    with pytest.raises(DataError, match="9999"):
        Store.open_existing(store.place)


def test_a_store_that_is_not_there_is_not_made_by_a_reader(tmp_path: Path) -> None:
    """Only the poster makes a store; a reader says that nothing was posted."""
    with pytest.raises(DataError, match="nothing was posted"):
        Store.open_existing(tmp_path / "ledger.sqlite")
    assert not (tmp_path / "ledger.sqlite").exists()


def test_a_database_without_tables_is_not_filled_by_a_reader(tmp_path: Path) -> None:
    """The same for PostgreSQL, where the database is made by the operator."""
    with new_place("postgres", tmp_path) as place:
        with pytest.raises(DataError, match="nothing was posted"):
            Store.open_existing(place)
        with Store.open(place), Store.open_existing(place) as opened:
            assert opened.position() is None


def test_only_its_owner_may_read_a_store(tmp_path: Path) -> None:
    """What was spent is nobody else's business, in a directory that others can enter too."""
    with Store.open(tmp_path / "ledger.sqlite") as store:
        store.post([make.reserve()], HERE)
        for path in tmp_path.glob("ledger.sqlite*"):
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_store_belongs_to_one_journal(store: Store) -> None:
    """Two data directories in one database would mix their money; the message names both journals."""
    store.claim("a" * 32)
    store.claim("a" * 32)
    with pytest.raises(DataError, match=r"store of journal a{32}.*has journal b{32}.*its own database"):
        store.claim("b" * 32)


def test_the_migrations_make_the_tables_that_the_code_uses(store: Store) -> None:
    """The revisions are written by hand; nothing may be forgotten in them."""
    with store.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    assert differences == []


def test_the_revision_that_the_store_expects_is_the_last_one() -> None:
    """A new revision that nobody asks for would never be applied."""
    folder = Path(migrations.__file__).parent
    assert ScriptDirectory(str(folder)).get_current_head() == REVISION


def test_the_position_has_one_row(store: Store) -> None:
    """The position is replaced and not collected."""
    store.post([], HERE)
    store.post([], Position(2, 5))
    with store.engine.connect() as connection:
        assert len(connection.execute(select(POSITION)).all()) == 1
    assert store.position() == (2, 5)
