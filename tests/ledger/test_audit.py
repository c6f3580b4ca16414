"""The audit finds what is wrong in the store, names the first entry of it, and trusts none of its code."""

from __future__ import annotations

import ast
import inspect
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from entrepot.domain.errors import DataError
from entrepot.ledger import audit as audit_module
from entrepot.ledger import audit_fold, audit_rows
from entrepot.ledger.audit import MOST_FINDINGS, STALE_AFTER_S, Audit, audit
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.entries import Correct, Expire, Reserve, Settle, Snapshot, Void, decode, encode
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.poster import run
from entrepot.ledger.segment import HEADER_BYTES, RECORD_HEAD, RECORD_HEAD_BYTES, record_bytes, segment_path
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


@pytest.mark.parametrize("table", ["reserves", "closings", "corrections", "decisions", "endpoints", "prices"])
def test_a_row_that_is_missing_is_found(posted: Path, table: str) -> None:
    """Whatever is gone from the store is named with its place in the journal."""
    first_column = {"endpoints": "endpoint_id", "prices": "price_version"}.get(table, "request_id")
    found = spoil(
        posted, f"DELETE FROM {table} WHERE {first_column} = (SELECT max({first_column}) FROM {table})"
    )
    assert found.findings[0].startswith("journal segment ")
    assert f"in {table} is missing in the store" in found.findings[0]


def test_a_row_that_no_entry_wrote_is_found(posted: Path) -> None:
    """Money that was added to the store by hand is not in the journal."""
    with closing(sqlite3.connect(DataDir(posted).store)) as database:
        names = [row[1] for row in database.execute("PRAGMA table_info(closings)")]
    others = ", ".join(name for name in names if name not in ("request_id", "attempt"))
    found = spoil(
        posted,
        f"INSERT INTO closings (request_id, attempt, {others}) "
        f"SELECT request_id, 9, {others} FROM closings WHERE kind = 2 LIMIT 1",
    )
    assert "attempt 9 in closings is in the store, and no entry of the journal wrote it" in found.findings[0]
    assert any("the sums of key" in text for text in found.findings)


def test_a_row_that_is_there_twice_is_found(posted: Path) -> None:
    """Even where a broken store has lost its unique ids."""
    found = spoil(
        posted,
        "ALTER TABLE closings RENAME TO kept",
        "CREATE TABLE closings AS SELECT * FROM kept",
        "INSERT INTO closings SELECT * FROM kept WHERE kind = 2 ORDER BY request_id LIMIT 1 OFFSET 10",
    )
    assert "in closings is in the store 2 times" in found.findings[0]
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


def test_balances_that_the_journal_itself_has_wrong_are_found(posted: Path) -> None:
    """Each segment opens with the balances that admission trusts: they are worked out again and compared."""
    path = segment_path(DataDir(posted).journal, 3)
    data = path.read_bytes()
    end = HEADER_BYTES + RECORD_HEAD_BYTES + RECORD_HEAD.unpack_from(data, HEADER_BYTES)[0]
    opening = decode(data[HEADER_BYTES + RECORD_HEAD_BYTES : end])
    assert isinstance(opening, Snapshot)
    opening.keys[0].spent_nusd += 1
    changed = data[:HEADER_BYTES] + record_bytes(encode(opening), HEADER_BYTES)
    assert len(changed) == end
    path.write_bytes(changed + data[end:])
    found = audit(posted, LATER_NS)
    assert not found.ok
    assert found.findings[0].startswith("journal segment 3, offset")
    assert "spent" in found.findings[0]


def test_an_attempt_that_is_closed_twice_is_found(tmp_path: Path) -> None:
    """The journal's own rules are checked as well: what is closed was open."""
    fold = audit_fold.AuditFold()
    assert fold.add(make.reserve()) is None
    assert fold.add(make.settle()) is None
    assert "is closed and was not open" in str(fold.add(make.void()))
    assert fold.add(make.reserve(2)) is None
    assert "is reserved twice" in str(fold.add(make.reserve(2)))
    assert "is corrected while it is open" in str(fold.add(make.correct(2)))


def test_a_store_that_is_not_there_cannot_be_audited(tmp_path: Path) -> None:
    """The message says what to do first."""
    Ledger.open(tmp_path, START_NS).close()
    with pytest.raises(DataError, match="nothing was posted yet"):
        audit(tmp_path, LATER_NS)


@pytest.mark.parametrize("module", [audit_module, audit_fold, audit_rows])
def test_the_audit_shares_no_code_with_what_it_audits(module: object) -> None:
    """A mistake in the store's code, or in the fold that admission trusts, cannot hide itself."""
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {
        "entrepot.ledger.store",
        "entrepot.ledger.rows",
        "entrepot.ledger.tables",
        "entrepot.ledger.report",
        "entrepot.ledger.entries.fold",
        "sqlalchemy",
    }


def test_every_entry_of_the_traffic_is_of_a_kind_that_is_compared(tmp_path: Path) -> None:
    """The traffic of these tests has every kind of entry, so that a clean audit means something."""
    written = write_requests(tmp_path, REQUESTS)
    kinds = {type(entry) for entry in written}
    assert kinds == {Reserve, Settle, Void, Expire, Correct}
    assert any(isinstance(entry, Reserve) and entry.decision for entry in written)
    assert any(isinstance(entry, Settle) and not entry.answer_id for entry in written)
