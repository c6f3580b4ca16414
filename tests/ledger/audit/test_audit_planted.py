"""One wrong row of each table and kind is planted, in both databases, and the audit names it first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from entrepot.ledger.audit.audit import audit
from entrepot.ledger.data_dir import DataDir
from tests.ledger.audited import (
    Database,
    copy_to_postgres,
    posted,
    postgres_at,
    postgres_schema,
    sqlite_of,
    why_no_postgres,
)
from tests.ledger.traffic import START_NS

REQUESTS = 40
LATER_NS = START_NS + 10**17
IDS = {
    "endpoints": ("endpoint_id",),
    "prices": ("price_version",),
    "senders": ("sender_id",),
    "rules": ("rules_id",),
    "reserves": ("request_id", "attempt"),
    "decisions": ("request_id", "attempt"),
    "closings": ("request_id", "attempt"),
    "corrections": ("request_id", "attempt", "correction_id"),
    "feedback": ("request_id", "task_id", "at_ns"),
    "usage_hours": ("hour", "endpoint_id", "key_id", "sender_id", "rules_id"),
    "usage_days": ("day", "endpoint_id", "key_id", "sender_id", "rules_id"),
}
CHANGES = [
    ("reserves", "amount_nusd", "amount_nusd + 1"),
    ("reserves", "at_ns", "at_ns - 1"),
    ("reserves", "sender_id", "sender_id + 1"),
    ("reserves", "rules_id", "rules_id + 1"),
    ("decisions", "decision", "request_id"),
    ("closings", "output_nusd", "output_nusd + 1"),
    ("closings", "cached_tokens", "cached_tokens - 1"),
    ("closings", "unknown_nusd", "unknown_nusd + 1"),
    ("closings", "outcome", "outcome + 1"),
    ("closings", "estimated", "NOT estimated"),
    ("corrections", "cache_write_1h_nusd", "cache_write_1h_nusd - 1"),
    ("corrections", "reserved_ns", "reserved_ns + 1"),
    ("feedback", "succeeded", "NOT succeeded"),
    ("endpoints", "host", "'elsewhere'"),
    ("endpoints", "owner_country", "NULL"),
    ("prices", "input_nusd_per_mtok", "input_nusd_per_mtok + 1"),
    ("senders", "team_id", "team_id + 1"),
    ("senders", "tags", "'3'"),
    ("rules", "rules", "'another'"),
    *((table, "cost_nusd", "cost_nusd + 1") for table in ("usage_hours", "usage_days")),
    *((table, "unknown_nusd", "unknown_nusd - 1") for table in ("usage_hours", "usage_days")),
    *((table, "requests", "requests + 1") for table in ("usage_hours", "usage_days")),
    *((table, "reserved_nusd", "1") for table in ("usage_hours", "usage_days")),
]


class Plant(NamedTuple):
    """A change at the row that has these ids, and what the first finding says of the row that is wrong then.

    `number` is the id that differs in a copy of the row which is added.
    """

    name: str
    table: str
    change: Callable[[Database, tuple[object, ...]], None]
    says: tuple[str, ...]
    number: str | None = None


def where(table: str) -> str:
    """Return the condition that selects a row by its ids."""
    return " AND ".join(f"{name} = ?" for name in IDS[table])


def changed(table: str, column: str, value: str) -> Plant:
    """Return the plant of a wrong value."""

    def change(database: Database, ids: tuple[object, ...]) -> None:
        database.execute(f"UPDATE {table} SET {column} = {value} WHERE {where(table)}", ids)

    return Plant(
        f"{table}.{column} = {value}",
        table,
        change,
        ("journal segment ", f"in {table}", f"{column} is ", " in the store and "),
    )


def missing(table: str) -> Plant:
    """Return the plant of a row that is gone."""

    def change(database: Database, ids: tuple[object, ...]) -> None:
        database.execute(f"DELETE FROM {table} WHERE {where(table)}", ids)

    return Plant(
        f"{table} missing", table, change, ("journal segment ", f"in {table}", "is missing in the store")
    )


def extra(table: str) -> Plant:
    """Return the plant of a row that is a copy under another id."""
    number = "endpoint_id" if table.startswith("usage") else IDS[table][-1]

    def change(database: Database, ids: tuple[object, ...]) -> None:
        names = database.columns(table)
        values = ", ".join("99" if name == number else name for name in names)
        columns = ", ".join(names)
        database.execute(
            f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} WHERE {where(table)}", ids
        )

    return Plant(f"{table} extra", table, change, (f"in {table}", "no entry of the journal"), number)


def doubled(table: str) -> Plant:
    """Return the plant of a row that is there twice, in a store that has lost its unique ids."""

    def change(database: Database, ids: tuple[object, ...]) -> None:
        database.execute(f"ALTER TABLE {table} RENAME TO kept")
        database.execute(f"CREATE TABLE {table} AS SELECT * FROM kept")
        database.execute(f"INSERT INTO {table} SELECT * FROM kept WHERE {where(table)}", ids)

    twice = "is in the store twice" if table.startswith("usage") else "is in the store 2 times"
    return Plant(f"{table} doubled", table, change, ("journal segment ", f"in {table}", twice))


PLANTS = [
    *(changed(*row) for row in CHANGES),
    *(kind(table) for table in IDS for kind in (missing, extra, doubled)),
]


def plant_and_audit(data_dir: Path, opened: AbstractContextManager[Database], plant: Plant) -> str:
    """Return what the audit says first of a row that was changed somewhere in the middle."""
    table = plant.table
    with opened as database:
        ids = ", ".join(IDS[table])
        if table == "closings":
            query = f"SELECT {ids} FROM closings WHERE kind = 2 ORDER BY {ids}"
        else:
            query = f"SELECT {ids} FROM {table} ORDER BY {ids}"
        rows = database.execute(query).fetchall()
        row = tuple(rows[len(rows) // 2])
        plant.change(database, row)
    found = audit(data_dir, LATER_NS)
    assert not found.ok
    first = found.findings[0]
    for name, value in zip(IDS[table], row, strict=True):
        number = 99 if name == plant.number else value
        text = f"req-{number.hex()}" if isinstance(number, bytes) else str(number)
        assert f"{name.removesuffix('_id')} {text}" in first
    return first


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose store is right."""
    data_dir = tmp_path_factory.mktemp("right")
    posted(data_dir, REQUESTS)
    assert audit(data_dir, LATER_NS).ok
    return data_dir


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.name for plant in PLANTS])
def test_a_wrong_row_in_sqlite_is_named_first(right: Path, tmp_path: Path, plant: Plant) -> None:
    """With its table, its ids, both values or what is wrong, and its place in the journal if it has one."""
    data_dir = Path(shutil.copytree(right, tmp_path / "data"))
    first = plant_and_audit(data_dir, sqlite_of(data_dir), plant)
    assert all(part in first for part in plant.says), first


@pytest.fixture(scope="module")
def in_postgres(right: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A data directory whose store is in PostgreSQL and right, and its URL."""
    if why_no_postgres():
        pytest.skip(why_no_postgres())
    data_dir = Path(shutil.copytree(right, tmp_path_factory.mktemp("postgres") / "data"))
    with postgres_schema(f"entrepot_audit_{os.getpid()}") as url:
        copy_to_postgres(data_dir, url)
        DataDir(data_dir).store.unlink()  # nothing may be read from there
        yield data_dir, url


def test_a_store_in_postgres_that_is_right_passes(in_postgres: tuple[Path, str], right: Path) -> None:
    """Every entry is compared, every sum is that of the same journal over SQLite."""
    found, over_sqlite = (audit(data_dir, LATER_NS) for data_dir in (in_postgres[0], right))
    assert found.ok, found.findings
    assert found == over_sqlite
    assert {pair.kind for pair in found.compared} == {"key", "team", "tag", "endpoint"}


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.name for plant in PLANTS])
def test_a_wrong_row_in_postgres_is_named_first(in_postgres: tuple[Path, str], plant: Plant) -> None:
    """As in SQLite: the audit reads both with the same queries."""
    data_dir, url = in_postgres
    table = plant.table
    with postgres_at(url) as database:
        database.execute(f"CREATE TABLE pristine (LIKE {table} INCLUDING ALL)")
        database.execute(f"INSERT INTO pristine SELECT * FROM {table}")
        try:
            first = plant_and_audit(data_dir, postgres_at(url), plant)
        finally:
            database.execute("DROP TABLE IF EXISTS kept")
            database.execute(f"DROP TABLE {table}")
            database.execute(f"ALTER TABLE pristine RENAME TO {table}")
    assert all(part in first for part in plant.says), first
