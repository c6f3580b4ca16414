"""Moves the store of a data directory into another database, while nobody writes it.

A new store that the poster fills from the journal needs no such thing, but has no older rows than the
journal: where its first segments were let go, the rows of years are in the store alone.
"""

from __future__ import annotations

from pathlib import Path

from entrepot.domain.errors import DataError
from entrepot.ledger.data_dir import DataDir, Lock, check_format, sync_directory
from entrepot.ledger.store.place import PostgresDatabase, StorePlace, note_store_place, store_place
from entrepot.ledger.store.poster import poster_lock
from entrepot.ledger.store.table_copy import copy_store


def move_store(data_dir: Path, database: PostgresDatabase | None) -> tuple[StorePlace, int]:
    """Copy the store into a database (None: the SQLite file), make that the store, and return the old place.

    Beside it the count of rows. The old store stays as it was. All commands find the new one, and the poster
    goes on in it where it was.
    Raises: DataError when a gateway or a poster is at work, or there are rows at the new place; StoreAway
    when one of the two cannot be used now. Then the store is where it was.
    """
    check_format(data_dir)
    directory = DataDir(data_dir)
    source, target = store_place(directory), directory.store if database is None else database
    if source == target:
        raise DataError(f"the store is in {target} already")
    owner = Lock(data_dir)
    try:
        with poster_lock(directory) as held:
            if not held:
                raise DataError(f"a poster is at work on {data_dir}: stop it, and what runs it, then move")
            count = copy_store(source, target) or 0
            sync_directory(data_dir)  # a new file is on the disk before it is the store
            note_store_place(directory, None if database is None else database.address)
    finally:
        owner.release()
    return source, count
