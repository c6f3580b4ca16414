"""The words of users in the store: moved in from the spool, read, let go by retention.

They have tables of their own that no report and no audit needs, so that deleting them changes no figure. With
`secure_delete` SQLite writes zeros over what is deleted: otherwise the bytes would stay in free pages.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.journal.spool import (
    Content,
    Kind,
    SpoolRecord,
    TaskText,
    closed_file,
    records_in,
    spool_files,
)
from entrepot.ledger.store.store import Store
from entrepot.ledger.store.tables import CONTENTS, TASKS

ROWS_PER_DELETE = 50  # of some megabytes each at the most: a transaction should end soon
DAY_NS = 86_400_000_000_000


class SpoolMover:
    """Moves a spool into a store, for the holder of the poster's lock."""

    def __init__(self, data_dir: DataDir) -> None:
        self._directory = data_dir.contents
        self._told: set[Path] = set()

    def move(self, store: Store) -> None:
        """Write what closed files of the spool hold into the store, and remove them after the commit.

        A crash between leaves the file, whose records are then there already. A file that cannot be read is
        told of once and left: money does not wait for words.
        Raises: StoreAway when the store cannot be written now.
        """
        for path in spool_files(self._directory):
            try:
                with closed_file(path) as data:
                    if data is not None:
                        self._move_file(store, path, data)
            except OSError as error:
                if path not in self._told:
                    self._told.add(path)
                    _warn(f"{path} cannot be moved into the store: {error.strerror}")

    def _move_file(self, store: Store, path: Path, data: bytes) -> None:
        records, torn_bytes = records_in(data)
        if records:
            with store.faults(), store.engine.begin() as connection:
                _write(connection, records)
        if torn_bytes:
            _warn(f"{path} ended with {torn_bytes:,} bytes that are no whole record; they are dropped")
        path.unlink()


def _warn(message: str) -> None:
    sys.stderr.write(f"entrepot: {message}\n")
    sys.stderr.flush()


def _write(connection: Connection, records: Sequence[SpoolRecord]) -> None:
    overwrite_deleted(connection)
    contents = [_content_row(record) for record in records if isinstance(record, Content)]
    tasks = [_task_row(record) for record in records if isinstance(record, TaskText)]
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    if contents:
        connection.execute(insert(CONTENTS).on_conflict_do_nothing(), contents)
    if tasks:
        statement = insert(TASKS)
        newer = statement.excluded.at_ns
        upsert = statement.on_conflict_do_update(
            index_elements=[TASKS.c.task_id], set_={"at_ns": newer}, where=newer > TASKS.c.at_ns
        )
        connection.execute(upsert, tasks)


def _content_row(content: Content) -> dict[str, object]:
    return msgspec.structs.asdict(content) | {"kind": content.kind.value}


def _task_row(task: TaskText) -> dict[str, object]:
    return msgspec.structs.asdict(task)


def overwrite_deleted(connection: Connection) -> None:
    """Have SQLite write zeros over what this connection deletes, or moves between pages, from here on."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def contents_of(store: Store, request_id: bytes) -> list[Content]:
    """Return what is stored of a request, its prompt first.

    Raises: StoreAway when the store cannot be read now.
    """
    query = (
        select(CONTENTS)
        .where(CONTENTS.c.request_id == request_id)
        .order_by(CONTENTS.c.attempt, CONTENTS.c.at_ns)
    )
    with store.faults(), store.engine.connect() as connection:
        rows = connection.execute(query).all()
    found = [Content(**{**row._mapping, "kind": Kind(row.kind)}) for row in rows]
    return sorted(found, key=lambda content: content.kind is not Kind.PROMPT)


def task_texts(store: Store, task_ids: Collection[int]) -> dict[int, str]:
    """Return what clients called these tasks; those that nobody named, or that were erased, are left out.

    Raises: StoreAway when the store cannot be read now.
    """
    query = select(TASKS.c.task_id, TASKS.c.text).where(TASKS.c.task_id.in_(task_ids))
    with store.faults(), store.engine.connect() as connection:
        return {row.task_id: row.text for row in connection.execute(query)}


def delete_of_key(store: Store, key_id: int) -> tuple[int, int]:
    """Delete all words of a key and return how many contents and how many texts of tasks there were.

    Raises: StoreAway when the store cannot be written now; what was deleted until then stays deleted.
    """
    contents, tasks = (_delete_all(store, table, key_id) for table in (CONTENTS, TASKS))
    return contents, tasks


def _delete_all(store: Store, table: Table, key_id: int) -> int:
    deleted = 0
    while True:
        with store.faults(), store.engine.begin() as connection:
            count = _delete_some(connection, table, table.c.key_id == key_id)
        deleted += count
        if count < ROWS_PER_DELETE:
            return deleted


def remove_deleted(store: Store) -> bool:
    """Take copies of what was deleted out of the database's files and return whether that could be done now.

    SQLite: its log of changes is emptied, unless others read it. PostgreSQL: dead rows are vacuumed.
    Raises: StoreAway when the store cannot be written now.
    """
    if store.engine.dialect.name == "sqlite":
        with store.faults(), store.engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            # Past SQLAlchemy, which would begin a transaction, within which this cannot be done.
            (is_busy, _, _) = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not is_busy
    alone = store.engine.execution_options(isolation_level="AUTOCOMMIT")
    with store.faults(), alone.connect() as connection:
        connection.exec_driver_sql(f"VACUUM {CONTENTS.name}, {TASKS.name}")
    return True


def delete_old(store: Store, now_ns: int, *, contents_days: float, tasks_days: float) -> bool:
    """Delete a little of what is too old and return whether there may be more.

    Units: days, 0 keeps for ever; those of tasks count since they were named last.
    Raises: StoreAway when the store cannot be written now.
    """
    more = False
    for table, days in ((CONTENTS, contents_days), (TASKS, tasks_days)):
        if days:
            with store.faults(), store.engine.begin() as connection:
                is_old = table.c.at_ns < now_ns - int(days * DAY_NS)
                more |= _delete_some(connection, table, is_old) == ROWS_PER_DELETE
    return more


def _delete_some(connection: Connection, table: Table, condition: ColumnElement[bool]) -> int:
    overwrite_deleted(connection)
    key = list(table.primary_key)
    found = connection.execute(select(*key).where(condition).limit(ROWS_PER_DELETE)).all()
    if found:
        connection.execute(delete(table).where(tuple_(*key).in_([tuple(row) for row in found])))
    return len(found)
