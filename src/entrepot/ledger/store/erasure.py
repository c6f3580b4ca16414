"""Erases the words of a key: what was stored of its requests, the names of its tasks, its own name.

Money lines, budgets and feedback stay, under the key's number: they are ids and numbers. Deleting a request's
entries instead would change what the ledger adds up to, and what an invoice is compared with.
"""

from __future__ import annotations

import time
from pathlib import Path

from msgspec import Struct

from entrepot.domain.errors import ConfigError, DataError, StoreAway
from entrepot.ledger.data_dir import DataDir
from entrepot.ledger.journal.spool import spool_files
from entrepot.ledger.keys.keys import Key, ring_of
from entrepot.ledger.keys.log import erase_key_name
from entrepot.ledger.store.contents import delete_of_key, remove_deleted
from entrepot.ledger.store.place import store_place
from entrepot.ledger.store.poster import PATIENCE_S, catch_up
from entrepot.ledger.store.store import Store

_POLL_S = 0.02


class Erased(Struct, frozen=True):
    """What was erased of a key: how many prompts and answers, and how many names of tasks."""

    key_id: int
    contents: int
    tasks: int


def key_to_erase(path: Path, name_or_id: str) -> Key:
    """Return the one key, revoked or not, that is or was called so, or has this number.

    Raises: ConfigError when there is none, or several.
    """
    keys = ring_of(path).by_id.values()
    found = [key for key in keys if name_or_id in (key.name, str(key.key_id))]
    if not found:
        raise ConfigError((f"no key is or was called {name_or_id!r}; `entrepot key list` shows all",))
    if len(found) > 1:
        numbers = ", ".join(str(key.key_id) for key in found)
        raise ConfigError(
            (f"several keys are or were called {name_or_id!r}: name one by its number, {numbers}",)
        )
    return found[0]


def empty_spool(path: Path, *, patience_s: float = PATIENCE_S) -> bool:
    """Return whether the store has all words that waited in the spool when this was called.

    Moves them, or waits while a poster does so; gives up after `patience_s` seconds.
    Raises: DataError when the directory, its journal or its store cannot be used.
    """
    deadline_s = time.monotonic() + patience_s
    waiting = spool_files(DataDir(path).contents)
    while True:
        catch_up(path, patience_s=max(deadline_s - time.monotonic(), 0.0))
        waiting = [file for file in waiting if file.exists()]
        if not waiting:
            return True
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)


def erase(path: Path, key_id: int, *, patience_s: float = PATIENCE_S) -> Erased:
    """Erase the words of a key, its name last, and return what there was; a second time finds nothing.

    Words of requests that are under way may be stored afterwards, if the key still stores them.
    Raises: DataError when the store or the spool cannot be used; what was erased until then is gone.
    """
    if not empty_spool(path, patience_s=patience_s):
        raise DataError(
            f"the spool in {DataDir(path).contents} is not empty yet, so nothing was erased: see what the "
            "poster says, and try again"
        )
    deadline_s = time.monotonic() + patience_s
    contents = tasks = 0
    while True:
        try:
            with Store.open_existing(store_place(DataDir(path))) as store:
                more_contents, more_tasks = delete_of_key(store, key_id)
                contents, tasks = contents + more_contents, tasks + more_tasks
                if remove_deleted(store):
                    break
            problem = "another process reads the store"
        except StoreAway as error:
            problem = str(error)
        if time.monotonic() > deadline_s:
            raise DataError(
                f"not all bytes are gone: {problem}; the key keeps its name until then, try again"
            )
        time.sleep(_POLL_S)
    erase_key_name(path, key_id)
    return Erased(key_id, contents, tasks)
