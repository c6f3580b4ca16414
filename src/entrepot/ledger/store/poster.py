"""Moves the journal into the store: a process of its own, so that a database cannot slow a request.

The store remembers how far it came in the transaction that writes the entries, so a poster may be killed
anywhere: the next one goes on where the last commit ended. Posting from the gateway's event loop, or
from a queue in its memory, would lose rows with the process and hold requests up with the database.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from entrepot.domain.errors import DataError, StoreAway
from entrepot.ledger.data_dir import DataDir, check_format, journal_id, sync_directory
from entrepot.ledger.journal.archive import Archivist, Retention, Say
from entrepot.ledger.journal.posted import forget_posted, note_posted, posted_position
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.journal.segment import (
    HEADER_BYTES,
    RECORD_HEAD,
    RECORD_HEAD_BYTES,
    Position,
    damage,
    segment_numbers,
    segment_path,
)
from entrepot.ledger.store.body_rows import add_body
from entrepot.ledger.store.contents import SpoolMover
from entrepot.ledger.store.place import store_place
from entrepot.ledger.store.retention import StoreRetention, delete_some
from entrepot.ledger.store.rows import Rows
from entrepot.ledger.store.store import Store

BATCH_ENTRIES = 20_000  # per transaction: large enough that its cost vanishes, small enough to end soon
IDLE_FROM_S, IDLE_TO_S = 0.02, 0.25  # how soon a new entry is seen, and what an idle poster costs
RETRY_FROM_S, RETRY_TO_S = 0.25, 5.0  # while the database is locked or missing
REMIND_S = 60.0  # while a database is away a line says so this often, and not with every try
THIN_INTERVAL_S = 60.0  # between two looks for what retention no longer keeps
PATIENCE_S = 10.0  # how long a reader waits for the poster, and one that does not follow for the database
COLLECTOR_THRESHOLD = 200_000  # new objects between two looks for cycles: about once in a batch


def _to_stderr(message: str) -> None:
    sys.stderr.write(f"entrepot: {message}\n")
    sys.stderr.flush()


class Poster:
    """Posts the journal of a data directory into its store, batch by batch; the holder of `poster_lock`."""

    def __init__(self, data_dir: DataDir, *, batch_entries: int = BATCH_ENTRIES) -> None:
        self._data_dir = data_dir
        self.batch_entries = batch_entries
        self._store: Store | None = None
        self._reader = JournalReader(data_dir.journal)
        self._spool = SpoolMover(data_dir)
        self._bodies: Iterator[tuple[Position, bytes]] = iter(())
        self._synced_segment = 0
        self.posted: Position | None = None  # up to where the store has the journal

    def step(self) -> int:
        """Post one batch and return how many entries it had: 0 when all that was written is posted.

        Raises: DataError when journal and store do not fit or one is damaged; StoreAway when the store cannot
        be used now: a later call tries the same entries again.
        """
        try:
            return self._step()
        except BaseException:
            self.close()  # what was read and not committed is read again
            raise

    def thin(self, retention: StoreRetention, now_ns: int) -> bool:
        """Delete some of what is too old and return whether there may be more.

        Raises: StoreAway as `step`.
        """
        return retention.is_on and delete_some(self._opened(), retention, now_ns)

    def close(self) -> None:
        """Close the store and the journal; `step` opens them again at the store's position."""
        self._bodies = iter(())
        self._reader.close()
        if self._store is not None:
            self._store.close()
            self._store = None

    def _step(self) -> int:
        store = self._opened()
        self._spool.move(store)
        count, rows = self._read()
        if not count:
            self._bodies = self._reader.bodies()
            count, rows = self._read()
        position = self._reader.position
        if not count or position is None:
            return 0
        self._sync_journal(position.segment)
        store.post_rows(rows, position)
        self.posted = position
        note_posted(self._data_dir, position)
        return count

    def _read(self) -> tuple[int, Rows]:
        """Return how many entries come next, up to a batch, and their rows."""
        count, rows = 0, Rows()
        for begin, body in islice(self._bodies, self.batch_entries):
            try:
                add_body(rows, body)
            except ValueError as error:
                path = segment_path(self._data_dir.journal, begin.segment)
                raise damage(path, begin.offset, str(error)) from error
            count += 1
        return count, rows

    def _opened(self) -> Store:
        """Return the store; a file that was removed or replaced since is opened anew and filled again."""
        if self._store is not None and not self._store.is_replaced:
            return self._store
        self.close()
        store = Store.open(store_place(self._data_dir))
        try:
            store.claim(journal_id(self._data_dir))
            position = store.position()
            if position is None:
                forget_posted(self._data_dir)  # that was another store
            else:
                _check_position(self._data_dir.journal, position)
                note_posted(self._data_dir, position)  # a poster killed after its commit did not
        except BaseException:
            store.close()
            raise
        self._reader = JournalReader(self._data_dir.journal, position)
        self._synced_segment = 0 if position is None else position.segment
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


def calm_collector() -> None:
    """Let the cycle collector look less often: rows make no cycles, and looking was a quarter of the work.

    For a process that only posts; `run` may be called in others, too.
    """
    gc.freeze()
    gc.set_threshold(COLLECTOR_THRESHOLD, 20, 50)


class Outage:
    """The time in which the store cannot be used: how long to wait, and what to say without flooding a log.

    Units: seconds, by a clock that does not jump.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._since_s: float | None = None
        self._said_s = 0.0
        self._said = ""
        self._wait_s = RETRY_FROM_S

    def failed(self, problem: str, now_s: float) -> float:
        """Say what is new, or what has lasted, and return how long to wait before the next try."""
        if self._since_s is None:
            self._since_s, self._wait_s = now_s, RETRY_FROM_S
        if problem != self._said or now_s - self._said_s >= REMIND_S:
            lasted_s = now_s - self._since_s
            since = f" since {lasted_s:.0f} s" if lasted_s >= 1 else ""
            self._say(f"{problem}{since}; nothing is lost, the journal waits and is tried again")
            self._said, self._said_s = problem, now_s
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, RETRY_TO_S)
        return wait_s

    def over(self, now_s: float) -> None:
        """Say that it is over, if there was one."""
        if self._since_s is not None:
            self._say(f"the store can be used again after {now_s - self._since_s:.1f} s")
            self._since_s, self._said = None, ""


def run(
    data_dir: Path,
    *,
    follow: bool,
    stop: threading.Event | None = None,
    say: Say = _to_stderr,
    batch_entries: int = BATCH_ENTRIES,
    retention: Retention | None = None,
    store_retention: StoreRetention | None = None,
) -> int:
    """Post the journal and return how many entries were posted; with `follow` go on until `stop` is set.

    Closed segments are sealed, and let go by the `retention`, between batches; what `store_retention` no
    longer keeps is deleted while there is nothing to post. A locked or missing database, and a full disk, are
    tried again. While another poster is at work, one that follows waits to take over.
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
        tidying = (
            Archivist(DataDir(data_dir), retention or Retention(), say),
            Thinning(poster, store_retention or StoreRetention()),
        )
        return _post_until(poster, tidying, stop, deadline_s, say)


class Thinning:
    """Applies the retention of the store now and then."""

    def __init__(self, poster: Poster, retention: StoreRetention) -> None:
        self._poster = poster
        self._retention = retention
        self._next_s = 0.0

    def tidy(self, *, now_ns: int, now_s: float) -> None:
        """Delete a little, if it is time; what is left follows with the next call."""
        if now_s >= self._next_s and not self._poster.thin(self._retention, now_ns):
            self._next_s = now_s + THIN_INTERVAL_S


def _post_until(
    poster: Poster,
    tidying: tuple[Archivist, Thinning],
    stop: threading.Event,
    deadline_s: float | None,
    say: Say,
) -> int:
    archivist, thinning = tidying
    posted, idle_s, outage = 0, IDLE_FROM_S, Outage(say)
    while not stop.is_set():
        try:
            count = poster.step()
            posted += count
            archivist.tidy(poster.posted, now_ns=time.time_ns(), now_s=time.monotonic())
            if count < poster.batch_entries:
                thinning.tidy(now_ns=time.time_ns(), now_s=time.monotonic())
        except (StoreAway, OSError) as error:
            if deadline_s is not None and time.monotonic() > deadline_s:
                raise DataError(f"{error}; nothing is lost") from error
            stop.wait(outage.failed(str(error), time.monotonic()))
            continue
        outage.over(time.monotonic())
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
            except StoreAway:
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
