"""The audit finds what is wrong in the store, names the first entry of it, and trusts none of its code."""

from __future__ import annotations

import ast
import inspect
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from entrepot.domain.errors import DataError
from entrepot.ledger.audit import audit as audit_module
from entrepot.ledger.audit.audit import STALE_AFTER_S, Audit, audit
from entrepot.ledger.audit.compare import HOUR_NS, MOST_FINDINGS
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Correct, Expire, Reserve, Settle, Void
from entrepot.ledger.journal.segment import segment_numbers, segment_path
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.store.poster import run
from tests.ledger import audited
from tests.ledger import entry_makers as make
from tests.ledger.traffic import ENDPOINTS, SECOND_NS, START_NS, write, write_requests

REQUESTS = 60
LATER_NS = START_NS + 10**17


@pytest.fixture
def posted(tmp_path: Path) -> Path:
    """A data directory with some requests, all posted."""
    write_requests(tmp_path, REQUESTS, segment_bytes=16 * 1024)
    run(tmp_path, follow=False)
    return tmp_path


def spoil(data_dir: Path, *statements: str) -> Audit:
    """Change the store behind the poster's back, and audit it."""
    with closing(sqlite3.connect(DataDir(data_dir).store, isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
    return audit(data_dir, LATER_NS)


def test_a_store_that_is_right_passes(posted: Path) -> None:
    """Every entry is compared, every sum agrees, nothing is open."""
    found = audit(posted, LATER_NS)
    assert found.ok
    assert found.findings == ()
    assert found.entries > 2 * REQUESTS
    assert {(pair.kind, pair.number) for pair in found.compared} >= {("key", 1), ("endpoint", 1)}
    assert all(pair.journal == pair.store for pair in found.compared)
    assert (found.unposted, found.open) == (0, ())


def test_a_wrong_amount_is_found_with_entry_column_and_both_values(posted: Path) -> None:
    """The first wrong row is named by its request; its sums differ too."""
    with closing(sqlite3.connect(DataDir(posted).store)) as database:
        wrong, cost = database.execute(
            "SELECT hex(request_id), output_nusd FROM closings WHERE kind = 2 LIMIT 1 OFFSET 30"
        ).fetchone()
    found = spoil(
        posted,
        f"UPDATE closings SET output_nusd = output_nusd + 7 WHERE request_id = x'{wrong}' AND kind = 2",
    )
    assert not found.ok
    assert f"req-{wrong.lower()}" in found.findings[0]
    assert f"output_nusd is {cost + 7} in the store and {cost} in the journal" in " ".join(found.findings)
    assert any("the sums of key" in text for text in found.findings)


def test_the_first_of_many_differences_is_the_first_in_the_journal(posted: Path) -> None:
    """What went wrong first is where to look; the rest is counted."""
    found = spoil(posted, "UPDATE reserves SET amount_nusd = amount_nusd + 1")
    with closing(sqlite3.connect(DataDir(posted).store)) as database:
        first, count = database.execute("SELECT hex(min(request_id)), count(*) FROM reserves").fetchone()
    assert f"req-{first.lower()}" in found.findings[0]
    assert found.finding_count == count
    assert len(found.findings) == MOST_FINDINGS


def test_open_reservations_are_listed_and_fail_only_when_they_are_old(tmp_path: Path) -> None:
    """A stream under way is no mistake; one that nobody will ever settle is."""
    ledger = Ledger.open(tmp_path, START_NS)
    ledger.register(ENDPOINTS[0])
    for number in (1, 2):
        write(ledger, make.reserve(number, 1_000))
    run(tmp_path, follow=False)
    soon = audit(tmp_path, make.AT_NS + SECOND_NS)
    assert soon.ok
    assert [(entry.amount_nusd, entry.age_s) for entry in soon.open] == [(1_000, 1.0)] * 2
    late = audit(tmp_path, make.AT_NS + int((STALE_AFTER_S + 1) * SECOND_NS))
    assert not late.ok
    assert len(late.stale) == 2
    ledger.close()


def test_what_is_not_posted_yet_is_counted_and_no_mistake(posted: Path) -> None:
    """A poster that is behind is late, not wrong."""
    written = write_requests(posted, 5, seed=3)
    found = audit(posted, LATER_NS)
    assert found.ok
    assert found.unposted == len(written)


def test_a_store_that_is_not_there_cannot_be_audited(tmp_path: Path) -> None:
    """The message says what to do first."""
    Ledger.open(tmp_path, START_NS).close()
    with pytest.raises(DataError, match="nothing was posted yet"):
        audit(tmp_path, LATER_NS)


@pytest.fixture
def late(tmp_path: Path) -> Path:
    """A data directory whose journal has lost its first half, after all of it was posted."""
    audited.posted(tmp_path, REQUESTS)
    journal = DataDir(tmp_path).journal
    numbers = segment_numbers(journal)
    for number in numbers[: len(numbers) // 2]:
        segment_path(journal, number).unlink()
    return tmp_path


def test_a_journal_that_starts_late_is_compared_as_far_as_it_goes(late: Path) -> None:
    """Entries from its first snapshot on; roll-ups and sums of the hours that lie wholly behind that."""
    found = audit(late, LATER_NS)
    assert found.ok, found.findings
    assert START_NS // HOUR_NS < found.from_hour < START_NS // HOUR_NS + 2 * REQUESTS
    assert 0 < found.entries < audited_entries(late)
    assert sum(pair.journal.attempts for pair in found.compared if pair.kind == "endpoint") > 0


def audited_entries(data_dir: Path) -> int:
    """Return how many attempts and ends of attempts a store has."""
    with audited.sqlite_of(data_dir) as database:
        return sum(
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("reserves", "closings", "corrections", "feedback")
        )


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE usage_hours SET cost_nusd = cost_nusd + 1 WHERE hour = {last}", "in usage_hours"),
        ("UPDATE usage_days SET attempts = 0 WHERE day = {last} / 24", "in usage_days"),
        ("DELETE FROM usage_hours WHERE hour = {last}", "in usage_hours"),
        (
            "DELETE FROM closings WHERE request_id = (SELECT max(request_id) FROM closings)",
            "in closings is mis",
        ),
        (
            "INSERT INTO feedback SELECT request_id, 1, 1, key_id, succeeded, score FROM feedback "
            "WHERE request_id = (SELECT max(request_id) FROM feedback)",
            "in feedback is in the store, and no entry",
        ),
    ],
)
def test_a_late_journal_still_finds_what_is_wrong_in_its_own_time(
    late: Path, statement: str, says: str
) -> None:
    """The same rows are named as by a whole journal."""
    with audited.sqlite_of(late) as database:
        ((last,),) = database.execute("SELECT max(hour) FROM usage_hours").fetchall()
    found = spoil(late, statement.format(last=last))
    assert says in found.findings[0]


def test_a_late_journal_knows_nothing_of_what_was_before_it(late: Path) -> None:
    """What cannot be compared is not called wrong."""
    found = spoil(
        late,
        "DELETE FROM closings WHERE request_id = (SELECT min(request_id) FROM closings)",
        "DELETE FROM usage_hours WHERE hour = (SELECT min(hour) FROM usage_hours)",
    )
    assert found.ok, found.findings


def test_rows_that_retention_took_are_not_missed(tmp_path: Path) -> None:
    """The store says up to where they were taken; what is missing behind that is wrong."""
    audited.posted(tmp_path, REQUESTS)
    with audited.sqlite_of(tmp_path) as database:
        middle_ns = START_NS + REQUESTS // 2 * HOUR_NS
        bound = (middle_ns << 64).to_bytes(16, "big")
        for table in ("reserves", "decisions", "closings", "corrections"):
            database.execute(f"DELETE FROM {table} WHERE request_id < ?", (bound,))
        assert not audit(tmp_path, LATER_NS).ok
        database.execute("CREATE TABLE IF NOT EXISTS retention (what TEXT PRIMARY KEY, before_ns BIGINT)")
        database.execute("INSERT INTO retention VALUES ('entries', ?)", (middle_ns,))
    found = audit(tmp_path, LATER_NS)
    assert found.ok, found.findings
    found = spoil(tmp_path, "DELETE FROM closings WHERE request_id = (SELECT max(request_id) FROM closings)")
    assert "in closings is missing" in found.findings[0]


def test_the_audit_shares_no_code_with_what_it_audits() -> None:
    """A mistake in the store's code, or in the fold that admission trusts, cannot hide itself."""
    folder = Path(inspect.getfile(audit_module)).parent
    modules = sorted(folder.glob("*.py"))
    assert len(modules) > 5
    allowed = {"data_dir", "entries", "journal.reader", "journal.segment"}
    allowed |= {f"audit.{path.stem}" for path in modules}
    for path in modules:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        ours = {name.removeprefix("entrepot.ledger.") for name in imported if ".ledger" in name}
        assert ours <= allowed, path.name
        assert "sqlalchemy" not in imported
        taken = {
            name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "entrepot.ledger.entries"
            for name in node.names
        }
        assert not taken & {"Balances", "Totals", "Conflict", "QUARTER_NS"}, path.name


def test_every_entry_of_the_traffic_is_of_a_kind_that_is_compared(tmp_path: Path) -> None:
    """The traffic of these tests has every kind of entry, so that a clean audit means something."""
    written = write_requests(tmp_path, REQUESTS)
    kinds = {type(entry) for entry in written}
    assert kinds == {Reserve, Settle, Void, Expire, Correct}
    assert any(isinstance(entry, Reserve) and entry.decision for entry in written)
    assert any(isinstance(entry, Settle) and not entry.answer_id for entry in written)
