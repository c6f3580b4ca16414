"""Moves the journal into the store: a process of its own, so that a database cannot slow a request.

The store remembers how far it came in the transaction that writes the entries, so a poster may be killed
anywhere: the next one goes on where the last commit ended. Posting from the gateway's event loop, or
from a queue in its memory, would lose rows with the process and hold requests up with the database.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sqlalchemy.exc import DatabaseError, OperationalError

from entrepot.domain.errors import DataError
from entrepot.ledger.archive import Archivist, Retention, Say
from entrepot.ledger.data_dir import DataDir, check_format, note_posted, posted_position, sync_directory
from entrepot.ledger.entries import Entry
from entrepot.ledger.reader import JournalReader
from entrepot.ledger.segment import (
    HEADER_BYTES,
    RECORD_HEAD,
    RECORD_HEAD_BYTES,
    Position,
    segment_numbers,
    segment_path,
)
from entrepot.ledger.store import Store

BATCH_ENTRIES = 10_000  # per transaction: large enough that its cost vanishes, small enough to end soon
IDLE_FROM_S, IDLE_TO_S = 0.02, 0.25  # how soon a new entry is seen, and what an idle poster costs
RETRY_FROM_S, RETRY_TO_S = 0.25, 5.0  # while the database is locked or missing
PATIENCE_S = 10.0  # how long a reader waits for the poster, and one that does not follow for the database


def _to_stderr(message: str) -> None:
    sys.stderr.write(f"entrepot: {message}\n")
    sys.stderr.flush()


class Poster:
    """Posts the journal of a data directory into its store, batch by batch; the holder of `poster_lock`."""

    def __init__(self, data_dir: DataDir, *, batch_entries: int = BATCH_ENTRIES) -> None:
        self._data_dir = data_dir
        self.batch_entries = batch_entries
        self._store: Store | None = None
        self._inode = 0
        self._reader = JournalReader(data_dir.journal)
        self._entries: Iterator[Entry] = iter(())
        self._synced_segment = 0
        self.posted: Position | None = None  # up to where the store has the journal

    def step(self) -> int:
        """Post one batch and return how many entries it had: 0 when all that was written is posted.

        Raises: DataError when journal and store do not fit or one is damaged; OperationalError when the
        store cannot be used now: a later call tries the same entries again.
        """
        try:
            return self._step()
        except BaseException as error:
            self.close()  # what was read and not committed is read again
            if isinstance(error, DatabaseError) and not isinstance(error, OperationalError):
                raise DataError(
                    f"{self._data_dir.store} is damaged ({error.orig}): move it away, and it is made anew "
                    "from the journal"
                ) from error
            raise

    def close(self) -> None:
        """Close the store and the journal; `step` opens them again at the store's position."""
        self._entries = iter(())
        self._reader.close()
        if self._store is not None:
            self._store.close()
            self._store = None

    def _step(self) -> int:
        store = self._opened()
        batch = list(islice(self._entries, self.batch_entries))
        if not batch:
            self._entries = _entries_of(self._reader)
            batch = list(islice(self._entries, self.batch_entries))
        position = self._reader.position
        if not batch or position is None:
            return 0
        self._sync_journal(position.segment)
        store.post(batch, position)
        self.posted = position
        note_posted(self._data_dir, position)
        return len(batch)

    def _opened(self) -> Store:
        """Return the store; a file that was removed or replaced since is opened anew and filled again."""
        if self._store is not None and _inode(self._data_dir.store) == self._inode:
            return self._store
        self.close()
        store = Store.open(self._data_dir.store)
        try:
            position = store.position()
            if position is not None:
                _check_position(self._data_dir.journal, position)
                note_posted(self._data_dir, position)  # a poster killed after its commit did not
        except BaseException:
            store.close()
            raise
        self._reader = JournalReader(self._data_dir.journal, position)
        self._synced_segment = 0 if position is None else position.segment
        self._inode = _inode(self._data_dir.store)
        self._store, self.posted = store, position
        return store

    def _sync_journal(self, segment: int) -> None:
        """Bring what was read to the disk: after a power cut the store may not remember more than it."""
        for number in segment_numbers(self._data_dir.journal):
            if self._synced_segment <= number <= segment:
                with segment_path(self._data_dir.journal, number).open("rb") as file:
                    os.fsync(file.fileno())
        if segment != self._synced_segment:
            sync_directory(self._data_dir.journal)
        self._synced_segment = segment


def run(
    data_dir: Path,
    *,
    follow: bool,
    stop: threading.Event | None = None,
    say: Say = _to_stderr,
    batch_entries: int = BATCH_ENTRIES,
    retention: Retention | None = None,
) -> int:
    """Post the journal and return how many entries were posted; with `follow` go on until `stop` is set.

    Closed segments are sealed, and let go by the `retention`, between batches. A locked or missing database,
    and a full disk, are tried again. While another poster is at work, one that follows waits
    to take over.
    Raises: DataError when the directory, its journal or its store cannot be used; without `follow` also
    when another poster does not finish, or the database does not come back, within `PATIENCE_S`.
    """
    check_format(data_dir)
    stop = threading.Event() if stop is None else stop
    deadline_s = None if follow else time.monotonic() + PATIENCE_S
    with contextlib.ExitStack() as stack:
        while not stack.enter_context(poster_lock(DataDir(data_dir))):
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise DataError(f"another poster is at work on {data_dir}: let it finish, or stop it")
            if stop.wait(IDLE_TO_S):
                return 0
        poster = Poster(DataDir(data_dir), batch_entries=batch_entries)
        stack.callback(poster.close)
        archivist = Archivist(DataDir(data_dir), retention or Retention(), say)
        return _post_until(poster, archivist, stop, deadline_s, say)


def _post_until(
    poster: Poster, archivist: Archivist, stop: threading.Event, deadline_s: float | None, say: Say
) -> int:
    posted, idle_s, retry_s = 0, IDLE_FROM_S, RETRY_FROM_S
    while not stop.is_set():
        try:
            count = poster.step()
        except (OperationalError, OSError) as error:
            why = error.orig if isinstance(error, OperationalError) else error
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise DataError(f"the store cannot be written: {why}; nothing is lost") from error
            say(f"the store cannot be written ({why}); nothing is lost, next try in {retry_s:g} s")
            stop.wait(retry_s)
            retry_s = min(2 * retry_s, RETRY_TO_S)
            continue
        archivist.tidy(poster.posted, now_ns=time.time_ns(), now_s=time.monotonic())
        posted += count
        retry_s = RETRY_FROM_S
        if count:
            idle_s = IDLE_FROM_S
        elif deadline_s is not None:
            break
        if count < poster.batch_entries:
            stop.wait(idle_s)
            idle_s = min(2 * idle_s, IDLE_TO_S)
    return posted


def catch_up(data_dir: Path, *, patience_s: float = PATIENCE_S) -> bool:
    """Return whether the store has all that was in the journal when this was called.

    Posts what is left, or waits while a poster does so; gives up after `patience_s` seconds.
    Raises: DataError when the directory, its journal or its store cannot be used.
    """
    check_format(data_dir)
    directory = DataDir(data_dir)
    deadline_s = time.monotonic() + patience_s
    end: Position | None = None
    while True:
        with poster_lock(directory) as held:
            if held:
                return _post_rest(directory, deadline_s)
        posted = posted_position(directory)
        if end is None:
            end = _end_of_journal(directory, posted)
        if end is None or (posted is not None and posted >= end):
            return True
        if time.monotonic() > deadline_s:
            return False
        time.sleep(IDLE_FROM_S)


def _post_rest(directory: DataDir, deadline_s: float) -> bool:
    poster = Poster(directory)
    try:
        while True:
            try:
                if not poster.step():
                    return True
            except OperationalError:
                if time.monotonic() > deadline_s:
                    return False
                time.sleep(IDLE_FROM_S)
    finally:
        poster.close()


@contextlib.contextmanager
def poster_lock(directory: DataDir) -> Iterator[bool]:
    """Hold the right to post into a store; gives False when another process has it."""
    with (directory.path / "poster.lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _entries_of(reader: JournalReader) -> Iterator[Entry]:
    return (entry for _, entry in reader.entries())


def _end_of_journal(directory: DataDir, posted: Position | None) -> Position | None:
    with JournalReader(directory.journal, posted) as reader:
        for _ in reader.entries():
            pass
        return reader.position


def _check_position(journal: Path, position: Position) -> None:
    """Raise DataError unless an entry of the journal ends at the position."""
    number, end = position
    numbers = segment_numbers(journal)
    offset = HEADER_BYTES
    if number in numbers:
        data = segment_path(journal, number).read_bytes()
        while offset < min(end, len(data) - RECORD_HEAD_BYTES) and data[offset : offset + 4] != b"\0\0\0\0":
            offset += RECORD_HEAD_BYTES + RECORD_HEAD.unpack_from(data, offset)[0]
    if offset != end:
        raise DataError(
            f"the store is posted up to segment {number}, offset {end}, where no entry of the journal in "
            f"{journal} ends: restore both from one backup, or move the store away to have it made anew"
        )


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
