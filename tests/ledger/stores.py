"""Stores for tests: a SQLite file, or a schema of its own in a real PostgreSQL that is dropped afterwards.

`ENTREPOT_TEST_POSTGRES_URL` names a database in which schemas may be made; without it the one at
127.0.0.1:5432 is tried. Where there is none the tests that need one are skipped and say so.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest

from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.store.place import PostgresDatabase, StorePlace, note_store_place

VARIABLE = "ENTREPOT_TEST_POSTGRES_URL"
DEFAULT_URL = "postgresql://postgres@127.0.0.1:5432/test"
SQLITE, POSTGRES = "sqlite", "postgres"
BOTH = (SQLITE, POSTGRES)


def server_url() -> str:
    """Return the address of the PostgreSQL that tests may use."""
    return os.environ.get(VARIABLE, DEFAULT_URL)


@cache
def _problem() -> str | None:
    try:
        psycopg.connect(server_url(), connect_timeout=3).close()
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return None


def need_postgres() -> None:
    """Skip the test where there is no PostgreSQL."""
    problem = _problem()
    if problem is not None:
        pytest.skip(
            f"no PostgreSQL at {server_url()} ({problem}); set {VARIABLE} to postgresql://user@host/db"
        )


def asked(sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what the server answers to a statement, given on a connection of its own."""
    with psycopg.connect(server_url(), autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), values)
        return cursor.fetchall() if cursor.description else []


def address(schema: str, *, port: int | None = None) -> str:
    """Return the address of a schema in the server; with `port` on 127.0.0.1, where a proxy may be."""
    parts = urlsplit(server_url())
    if port is not None:
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        parts = parts._replace(netloc=f"{user}127.0.0.1:{port}")
    option = f"options={quote(f'-csearch_path={schema}', safe='')}"
    query = f"{parts.query}&{option}" if parts.query else option
    return parts._replace(query=query).geturl()


@contextmanager
def new_schema() -> Iterator[str]:
    """Make a schema and drop it in the end, whoever is still connected."""
    need_postgres()
    name = f"entrepot_test_{secrets.token_hex(8)}"
    asked(f"CREATE SCHEMA {name}")
    try:
        yield name
    finally:
        asked(f"DROP SCHEMA {name} CASCADE")


@contextmanager
def new_place(kind: str, directory: Path) -> Iterator[StorePlace]:
    """Give the place of a new store."""
    if kind == SQLITE:
        yield directory / "ledger.sqlite"
        return
    with new_schema() as schema:
        yield PostgresDatabase(address(schema))


@contextmanager
def data_dir_with(kind: str, directory: Path) -> Iterator[Path]:
    """Give a data directory whose store is of that kind."""
    with new_place(kind, directory) as place:
        if isinstance(place, PostgresDatabase):
            note_store_place(DataDir(directory), place.address)
        yield directory
