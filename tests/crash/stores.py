"""The stores that a crash run posts into, each with a way to take it away from the poster for a while.

SQLite is taken away by another process that holds its lock, as a backup or a careless reader does.
PostgreSQL is reached through a proxy of ours, which resets what is open and refuses what is new: to the
poster that is a server that was stopped, and other users of the server notice nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.sql import SQL, Identifier

from entrepot.catalog.settings import LedgerSettings
from tests.crash.schedule import outages
from tests.e2e.programs import POLL_S

POSTGRES_VARIABLE = "ENTREPOT_TEST_POSTGRES_URL"
POSTGRES_URL = "postgresql://127.0.0.1:5432/postgres"
SQLITE, POSTGRES = "sqlite", "postgres"
MOST_AWAITED_S = 1.0  # for the poster to write; it may be dead, or the store away


class Store(Protocol):
    """A store under test. `setting` is its address for `ledger.store`, empty for the file of SQLite."""

    setting: str

    def reachable(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Return a block in which the store can be reached."""

    def away(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Return a block in which it cannot be written."""

    async def written_to(self) -> None:
        """Return as soon as the poster begins to write, or after `MOST_AWAITED_S` if it does not."""


class SqliteStore:
    """The file in the data directory."""

    setting = ""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "ledger.sqlite"

    @contextlib.asynccontextmanager
    async def reachable(self) -> AsyncIterator[None]:
        """Do nothing: a file is there."""
        yield

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Hold the lock of the database, once there is one to hold and nobody else holds it."""
        while not self._path.exists():
            await asyncio.sleep(POLL_S)
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None, timeout=0)) as database:
            while True:
                with contextlib.suppress(sqlite3.OperationalError):
                    database.execute("BEGIN EXCLUSIVE")
                    break
                await asyncio.sleep(0)  # the poster holds it for milliseconds; in between is when it hurts
            try:
                yield
            finally:
                database.execute("ROLLBACK")

    async def written_to(self) -> None:
        """Return when the write-ahead log changes; looked at without a pause, since the writing is short."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOST_AWAITED_S):
                before = self._changed_ns()
                while self._changed_ns() == before:
                    await asyncio.sleep(0)

    def _changed_ns(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self._path.with_name(self._path.name + "-wal").stat().st_mtime_ns
        return 0


class PostgresStore:
    """A fresh database of the server at `url`, behind a proxy; made by `postgres_store`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._open: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self._written = asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        login = "".join(parts.netloc.rpartition("@")[:2])
        self.setting = urlunsplit(parts._replace(netloc=f"{login}127.0.0.1:{self._port}"))

    @contextlib.asynccontextmanager
    async def reachable(self) -> AsyncIterator[None]:
        """Pass connections on to the server."""
        await self._listen()
        try:
            yield
        finally:
            await self._stop()

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Reset all connections and refuse new ones."""
        await self._stop()
        try:
            yield
        finally:
            await self._listen()

    async def written_to(self) -> None:
        """Return when the poster sends something."""
        self._written.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOST_AWAITED_S):
                await self._written.wait()

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(self._pass_on, "127.0.0.1", self._port)

    async def _stop(self) -> None:
        assert self._listening is not None
        self._listening.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        await self._listening.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        both = {writer}
        self._open.add(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._server)
            both.add(server_writer)
            self._open.add(server_writer)
            to_server = _pump(reader, server_writer, self._written.set)
            await asyncio.gather(to_server, _pump(server_reader, writer, bool))
        finally:
            self._open -= both
            for side in both:
                side.transport.abort()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[], object]
) -> None:
    """Copy bytes, and note that some came, until one side is gone; then end the other."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            note()
            writer.write(data)
            await writer.drain()
    writer.close()


def postgres_url() -> str:
    """Return the address of the server for tests."""
    return os.environ.get(POSTGRES_VARIABLE, POSTGRES_URL)


def why_no_postgres() -> str | None:
    """Return why there can be no run with PostgreSQL, and how there can be, or None when all is well."""
    if "store" not in LedgerSettings.__struct_fields__:
        return "no PostgreSQL store yet"
    return why_no_server()


def why_no_server() -> str | None:
    """Return why no PostgreSQL server answers, and what to do, or None when one does."""
    try:
        psycopg.connect(postgres_url(), connect_timeout=3).close()
    except psycopg.OperationalError as error:
        return f"no PostgreSQL ({str(error).strip()}): start one, or set {POSTGRES_VARIABLE} to its URL"
    return None


@contextlib.contextmanager
def store_of(kind: str, data_dir: Path) -> Iterator[Store]:
    """Give a store of its kind for a data directory; what was made for it is removed afterwards."""
    if kind == SQLITE:
        yield SqliteStore(data_dir)
        return
    name = f"entrepot_crash_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_url(), autocommit=True) as server:
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            yield PostgresStore(urlunsplit(urlsplit(postgres_url())._replace(path=f"/{name}")))
        finally:
            server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


class Outages:
    """Takes a store away at seeded times; `count` and `away_s` tell how often and for how long."""

    def __init__(self, seed: int, store: Store) -> None:
        self.count = 0
        self.away_s = 0.0
        self._seed = seed
        self._store = store
        self._one_at_a_time = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let outages happen until the block is left."""
        task = asyncio.create_task(self._go_on())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _go_on(self) -> None:
        for outage in outages(self._seed):
            await asyncio.sleep(outage.after_s)
            if outage.at_work:
                await self._store.written_to()
            await self.one(outage.lasts_s)

    async def one(self, lasts_s: float) -> None:
        """Take the store away for so long, now or when it is back from another outage."""
        async with self._one_at_a_time, self._store.away():
            self.count += 1
            self.away_s += lasts_s
            await asyncio.sleep(lasts_s)
