"""The stores of the crash test can be taken away: otherwise its outages would show nothing."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.crash.stores import POSTGRES, SQLITE, PostgresStore, store_of, why_no_server

pytestmark = pytest.mark.e2e


def test_while_sqlite_is_away_nobody_can_write(tmp_path: Path) -> None:
    """Another writer gets what the poster gets: the database is locked, until the outage is over."""
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite", timeout=0)) as database:
        database.execute("PRAGMA journal_mode=WAL")

        async def out_and_back() -> None:
            with store_of(SQLITE, tmp_path) as store:
                async with store.away():
                    with pytest.raises(sqlite3.OperationalError, match="locked"):
                        database.execute("CREATE TABLE of_the_outage (id INTEGER)")
                database.execute("CREATE TABLE of_the_time_after (id INTEGER)")

        asyncio.run(out_and_back())
        assert database.execute("SELECT name FROM sqlite_schema").fetchall() == [("of_the_time_after",)]


def test_while_postgres_is_away_connections_break_and_new_ones_are_refused(tmp_path: Path) -> None:
    """What is open is reset in the middle, what is new is refused, and afterwards all is as before."""
    absent = why_no_server()
    if absent is not None:
        pytest.skip(absent)

    async def out_and_back() -> None:
        with store_of(POSTGRES, tmp_path) as store:
            async with store.reachable():
                database = await psycopg.AsyncConnection.connect(store.setting, autocommit=True)
                await database.execute("CREATE TABLE of_the_time_before (id int)")
                async with store.away():
                    with pytest.raises(psycopg.OperationalError):
                        await database.execute("SELECT 1")
                    with pytest.raises(psycopg.OperationalError):
                        await psycopg.AsyncConnection.connect(store.setting)
                await database.close()
                async with await psycopg.AsyncConnection.connect(store.setting) as again:
                    rows = await again.execute("SELECT count(*) FROM of_the_time_before")
                    assert await rows.fetchone() == (0,)

    asyncio.run(out_and_back())


def test_the_address_of_the_proxy_keeps_login_database_and_options() -> None:
    """Only host and port are the proxy's."""
    setting = urlsplit(PostgresStore("postgresql://me:secret@db.example:5433/books?sslmode=prefer").setting)
    assert (setting.username, setting.password, setting.hostname) == ("me", "secret", "127.0.0.1")
    assert (setting.path, setting.query) == ("/books", "sslmode=prefer")
    assert setting.port != 5433
