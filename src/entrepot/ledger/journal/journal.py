"""Writes the journal: one `write` per entry, into space that was allocated before.

A killed process loses nothing, since what `write` was given is the kernel's; a power cut takes at most what
the last group sync had not reached. The sync and the allocation of the next segment run in a thread,
because both may take long; they share plain attributes with the writer, so that writing takes no lock. An
asyncio task would stop the relay for each sync, and a sync per entry would cost a thousand times the entry:
who must know that an entry is on the disk waits for the next sync, with all who wait at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from zlib import crc32

import msgspec
from msgspec import Struct

from entrepot.domain.errors import DataError
from entrepot.ledger.data_dir import sync_directory
from entrepot.ledger.entries import MAX_CLOSING_BYTES, Balances, decode
from entrepot.ledger.journal.segment import (
    HEADER_BYTES,
    RECORD_HEAD,
    RECORD_HEAD_BYTES,
    Position,
    SegmentHeader,
    body_at,
    damage,
    record_bytes,
    seal_path,
    segment_numbers,
    segment_path,
    whole_record_after,
)

CLOSING_ROOM_BYTES = RECORD_HEAD_BYTES + MAX_CLOSING_BYTES  # kept free for each open reservation

_PREPARED = "prepared.tmp"  # the next segment, allocated ahead by the thread
_PREPARED_NOW = "prepared-now.tmp"  # the same, when it is needed before the thread was there
_PRIVATE_FILE = 0o600

SyncData = Callable[[int], None]


def sync_data(fd: int) -> None:
    """Bring the content of an open file to the disk, with as much of its inode as reading it needs.

    Raises: OSError when the disk says that it did not keep it.
    """
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


class Recovered(Struct, frozen=True):
    """What a journal holds when it is opened: where it ends, what it adds up to, what was cut.

    Units: `cut_bytes` of a torn entry at the end. `sequence` counts all records so far.
    """

    end: Position
    sequence: int
    balances: Balances
    cut_bytes: int


class Prepared(Struct):
    """A file of zeros that waits to become a segment."""

    path: Path
    fd: int
    size_bytes: int


class Journal:
    """The one writer of a journal directory; appending is for one thread.

    `opening` returns the encoded snapshot with which a new segment begins; `now_ns` the instant that is
    noted in its header; `sync` brings an open file to the disk. Anyone may read `sequence` (all records
    so far), `position` and `fault`. A fault stays until the end: after a sync that failed nobody knows
    what of the file the disk has, and a second one that succeeds would not say.
    Units: bytes, seconds.
    Raises: DataError when the directory cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        recovered: Recovered | None,
        *,
        opening: Callable[[], bytes],
        now_ns: Callable[[], int],
        segment_bytes: int,
        sync_interval_s: float,
        sync: SyncData = sync_data,
    ) -> None:
        self._directory = directory
        self._opening = opening
        self._now_ns = now_ns
        self._segment_bytes = segment_bytes
        self._sync_interval_s = sync_interval_s
        self._sync_file = sync
        self.fault: str | None = None
        self.sequence = 0 if recovered is None else recovered.sequence
        self._number = self._offset = self._capacity = 0
        self._fd = -1
        self._prepared: Prepared | None = None
        self._files: list[int] = []  # what the next sync is of: closed segments, and last the present one
        self._synced = Position(0, 0)
        self._unsynced_since_s = time.monotonic()
        self._waiting: deque[asyncio.Future[str | None]] = deque()
        self._awake = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._stop = threading.Event()
        try:
            for name in (_PREPARED, _PREPARED_NOW):
                (directory / name).unlink(missing_ok=True)
            self._start(recovered)
        except OSError as error:
            raise DataError(f"{directory}: the journal cannot be opened: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
        self._thread.start()
        self._wake.set()

    @property
    def position(self) -> Position:
        """Return the place behind the last entry."""
        return Position(self._number, self._offset)

    def sync_age_s(self, now_s: float) -> float:
        """Return how long what was written waits for the disk: 0 when all of it is there.

        Units: `now_s` monotonic seconds.
        """
        return 0.0 if self._synced == self.position else max(0.0, now_s - self._unsynced_since_s)

    def segment_count(self) -> int:
        """Return how many segments the directory has. Reads it, so not for each request."""
        return len(segment_numbers(self._directory))

    async def durable(self) -> None:
        """Return once all that was written before this call is on the disk.

        It is synced at once, and one sync serves all who wait for it.
        Raises: DataError when the disk did not keep it.
        """
        synced: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(synced)
        self._hurry.set()
        self._wake.set()
        fault = await synced
        if fault is not None:
            raise DataError(fault)

    def append(self, body: bytes, room_bytes: int = 0) -> None:
        """Write an encoded entry, and keep `room_bytes` free behind it in the same segment.

        A new segment begins when both do not fit.
        Raises: DataError when the disk is full or broken; then nothing was written, and it may be tried
        again.
        """
        offset, length = self._offset, len(body)
        size = length + RECORD_HEAD_BYTES
        if offset + size + room_bytes > self._capacity:
            self._roll_over(size + room_bytes)
            offset = self._offset
        record = RECORD_HEAD.pack(length, crc32(body, offset)) + body
        try:
            written = os.pwrite(self._fd, record, offset)
            if written != size:
                _write_rest(self._fd, record, offset, written)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._offset = offset + size
        self.sequence += 1
        if not self._awake:
            self._unsynced_since_s = time.monotonic()
            self._awake = True
            self._wake.set()

    def close(self) -> None:
        """Bring everything to the disk and end the thread; a second call does nothing."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._hurry.set()
        self._wake.set()
        self._thread.join()
        os.close(self._fd)
        if self._prepared is not None:
            os.close(self._prepared.fd)
            self._prepared.path.unlink(missing_ok=True)

    def _start(self, recovered: Recovered | None) -> None:
        if recovered is None:
            self._open_segment(self._allocate(_PREPARED_NOW, self._segment_bytes), number=1)
            return
        self._number, self._offset = recovered.end
        path = segment_path(self._directory, self._number)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._files.append(self._fd)
        self._capacity = max(self._segment_bytes, self._offset)
        os.ftruncate(self._fd, self._offset)
        _reserve_space(self._fd, self._capacity)

    def _roll_over(self, needed: int) -> None:
        """Close the segment and begin the next; on failure the present one stays as it is."""
        made_ahead = prepared = self._prepared
        try:
            if prepared is None:
                prepared = self._allocate(_PREPARED_NOW, self._segment_bytes)
            self._open_segment(prepared, number=self._number + 1, needed=needed)
        except (OSError, OverflowError) as error:  # the disk, or sums that no snapshot can hold
            if prepared is not None:
                os.close(prepared.fd)
                prepared.path.unlink(missing_ok=True)
            raise self._cannot_write(error) from error
        finally:
            if made_ahead is not None:
                # Only now that its name is gone: seeing None, the thread makes a new file of that name.
                self._prepared = None
        self._awake = True
        self._wake.set()

    def _open_segment(self, prepared: Prepared, *, number: int, needed: int = 0) -> None:
        header = SegmentHeader(number, self.sequence, self._now_ns()).to_bytes()
        content = header + record_bytes(self._opening(), HEADER_BYTES)
        # Twice what is needed now: with many open reservations a segment still takes more than one entry.
        capacity = max(prepared.size_bytes, 2 * (len(content) + needed))
        if capacity > prepared.size_bytes:
            _reserve_space(prepared.fd, capacity)
        _write_rest(prepared.fd, content, 0, 0)
        prepared.path.rename(segment_path(self._directory, number))
        if self._fd >= 0:
            # A closed segment ends with its last entry, so that damage there is seen.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._offset)
        self._files.append(prepared.fd)  # in one step: what the thread syncs from here on has both files
        self._fd, self._number, self._offset, self._capacity = prepared.fd, number, len(content), capacity
        self.sequence += 1

    def _allocate(self, name: str, size_bytes: int) -> Prepared:
        path = self._directory / name
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _PRIVATE_FILE)
        try:
            _reserve_space(fd, size_bytes)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return Prepared(path, fd, size_bytes)

    def _cannot_write(self, error: OSError | OverflowError) -> DataError:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return DataError(
            f"the journal in {self._directory} cannot be written: {why}; "
            "free some space or repair the disk, requests are served again when it can be"
        )

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            self._wake.clear()
            if not self._waiting:
                self._prepare()
            self._hurry.wait(self._sync_interval_s)
            self._hurry.clear()
            self._awake = False  # an entry written from here on wakes the thread again
            self._sync()
            self._prepare()
        self._sync()  # what was written during the last one

    def _prepare(self) -> None:
        if self._prepared is None:
            # A full disk is told by the append that needs the space, which tries again.
            with contextlib.suppress(OSError):
                self._prepared = self._allocate(_PREPARED, self._segment_bytes)

    def _sync(self) -> None:
        """Bring all that was written before this call to the disk, and tell those who wait for it."""
        waiting = len(self._waiting)  # before the files are listed: theirs are among them
        position = self.position
        if self.fault is None and (waiting or position != self._synced):
            self._sync_files(position)
        if waiting:
            _tell([self._waiting.popleft() for _ in range(waiting)], self.fault)

    def _sync_files(self, position: Position) -> None:
        files = tuple(self._files)
        try:
            for fd in files:
                self._sync_file(fd)
            if position.segment != self._synced.segment:
                sync_directory(self._directory)
        except OSError as error:
            self.fault = f"the journal in {self._directory} cannot be synced: {error.strerror}"
        for fd in files[:-1]:
            os.close(fd)
        del self._files[: len(files) - 1]
        if self.fault is None:
            self._synced = position


def _tell(waiting: list[asyncio.Future[str | None]], fault: str | None) -> None:
    """Wake those who wait, in their own loops; one that is closed has nobody left who waits."""
    for loop in {future.get_loop() for future in waiting}:
        mine = [future for future in waiting if future.get_loop() is loop]
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_all, mine, fault)


def _set_all(futures: Iterable[asyncio.Future[str | None]], fault: str | None) -> None:
    for future in futures:
        if not future.done():  # cancelled: its client left
            future.set_result(fault)


def recover(directory: Path) -> Recovered | None:
    """Return what the journal in `directory` holds, or None when there is nothing in it yet.

    Reads the last segment only: its first record holds the fold of everything before.
    Raises: DataError when it is damaged other than by a torn entry at its end.
    """
    numbers = segment_numbers(directory)
    if not numbers:
        return None
    if seal_path(directory, numbers[-1]).exists():
        following = segment_path(directory, numbers[-1] + 1)
        raise DataError(f"{following} is missing: the one before it was closed; restore it from a backup")
    path = segment_path(directory, numbers[-1])
    data = path.read_bytes()
    if body_at(data, HEADER_BYTES) is None and whole_record_after(data, HEADER_BYTES) is None:
        # Its name reached the disk before a power cut, its content did not: nothing was written after.
        if len(numbers) == 1 and data.rstrip(b"\0"):
            raise damage(path, 0, "no whole entry is in it")
        if seal_path(directory, numbers[-1] - 1).exists():
            raise damage(path, 0, "no whole entry is in it, but one was when the segment before was sealed")
        path.unlink()
        before = recover(directory)
        cut_bytes = len(data.rstrip(b"\0"))
        return before and msgspec.structs.replace(before, cut_bytes=before.cut_bytes + cut_bytes)
    return _recover_segment(path, numbers[-1], data)


def _recover_segment(path: Path, number: int, data: bytes) -> Recovered:
    header = SegmentHeader.from_bytes(data, path)
    balances = Balances()
    offset, sequence = HEADER_BYTES, header.first_sequence
    while (body := body_at(data, offset)) is not None:
        try:
            conflict = balances.apply(decode(body))
        except ValueError as error:
            raise damage(path, offset, str(error)) from error
        if conflict is not None:
            raise damage(path, offset, conflict.reason)
        offset += RECORD_HEAD_BYTES + len(body)
        sequence += 1
    behind = whole_record_after(data, offset)
    if behind is not None:
        raise damage(path, offset, f"no whole entry is there, but one is at offset {behind}")
    cut_bytes = len(data[offset:].rstrip(b"\0"))
    return Recovered(Position(number, offset), sequence, balances, cut_bytes)


def _write_rest(fd: int, record: bytes, offset: int, written: int) -> None:
    while written < len(record):
        written += os.pwrite(fd, record[written:], offset + written)


def _reserve_space(fd: int, size_bytes: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size_bytes)
    else:
        os.ftruncate(fd, size_bytes)  # macOS: sparse, so a full disk shows at the write
