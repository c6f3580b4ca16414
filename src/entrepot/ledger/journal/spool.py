"""Words of users on their way to the store: prompts, answers, and what clients call their tasks.

They wait in files of their own beside the journal, which is kept and archived for the sake of money and must
not hold what may have to be erased. A queue in memory would be lost with the process, and a database would
hold up requests. A file is locked for as long as its writer may add to it, so whoever gets the lock knows
that it is closed, even after a kill.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from time import time_ns

import msgspec
from msgspec import Struct

from entrepot.domain.errors import DataError
from entrepot.ledger.journal.segment import RECORD_HEAD_BYTES, body_at, record_bytes

SUFFIX = ".spool"
FILE_BYTES = 16 * 1024 * 1024  # then the next file begins, so that the poster writes no endless transaction
MOST_WAITING_BYTES = 1024 * 1024 * 1024  # while a database is away the disk is for the journal
_PRIVATE = 0o700
_PRIVATE_FILE = 0o600


class Kind(StrEnum):
    """What a content is."""

    PROMPT = "prompt"
    ANSWER = "answer"


class Content(Struct, frozen=True, tag="content", array_like=True):
    """What a client sent, or was sent, as it was: the body without headers and without framing.

    Units: `at_ns` Unix nanoseconds. `truncated` says that there was more than is kept.
    """

    request_id: bytes
    attempt: int
    kind: Kind
    key_id: int
    at_ns: int
    truncated: bool
    body: bytes


class TaskText(Struct, frozen=True, tag="task", array_like=True):
    """What a client called a task, and when it last did, in Unix nanoseconds."""

    task_id: int
    key_id: int
    at_ns: int
    text: str


SpoolRecord = Content | TaskText
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(SpoolRecord).decode


class Spool:
    """The writing side, for one thread; the directory and the first file are made when there is something."""

    def __init__(
        self,
        directory: Path,
        *,
        file_bytes: int = FILE_BYTES,
        most_waiting_bytes: int = MOST_WAITING_BYTES,
    ) -> None:
        self._directory = directory
        self._file_bytes = file_bytes
        self._most_waiting_bytes = most_waiting_bytes
        self._fd = -1
        self._size_bytes = 0
        self._path: Path | None = None
        self._handed_over: Path | None = None

    def append(self, record: SpoolRecord) -> None:
        """Write a record with one call.

        Raises: DataError when it cannot be written; then no part of it stays.
        """
        try:
            if self._fd < 0:
                self._open()
            data = record_bytes(_encode(record), self._size_bytes)
            if os.write(self._fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with contextlib.suppress(OSError):
                if self._fd >= 0:
                    os.ftruncate(self._fd, self._size_bytes)
            self.close()
            raise DataError(f"the spool {self._directory} cannot be written: {error.strerror}") from error
        self._size_bytes += len(data)
        if self._size_bytes >= self._file_bytes:
            self.close()

    def hand_over(self) -> None:
        """Let the poster have what was written, unless it has not taken the last file yet."""
        if self._fd >= 0 and (self._handed_over is None or not self._handed_over.exists()):
            self.close()

    def close(self) -> None:
        """Let the poster have all that was written."""
        if self._fd >= 0:
            os.close(self._fd)
            self._handed_over, self._fd, self._size_bytes = self._path, -1, 0

    def _open(self) -> None:
        self._directory.mkdir(mode=_PRIVATE, exist_ok=True)
        waiting_bytes = sum(path.stat().st_size for path in spool_files(self._directory))
        if waiting_bytes >= self._most_waiting_bytes:
            raise OSError(errno.EDQUOT, f"{waiting_bytes:,} bytes wait there for the store already")
        while self._fd < 0:
            path = self._directory / f"{time_ns():020d}-{os.getpid()}{SUFFIX}"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, _PRIVATE_FILE)
            # A reader that was quicker took it for a closed, empty file and removes it.
            if _locked(fd) and os.fstat(fd).st_nlink:
                self._fd, self._path = fd, path
            else:
                os.close(fd)


def spool_files(directory: Path) -> list[Path]:
    """Return the files of a spool, the oldest first."""
    return sorted(directory.glob(f"*{SUFFIX}"))


@contextlib.contextmanager
def closed_file(path: Path) -> Iterator[bytes | None]:
    """Give what is in a file that has no writer any more, and keep other readers from it; else None."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file.read() if _locked(file.fileno()) and os.fstat(file.fileno()).st_nlink else None


def records_in(data: bytes) -> tuple[list[SpoolRecord], int]:
    """Return the whole records of a file, and how many bytes of a torn one follow them."""
    records: list[SpoolRecord] = []
    offset = 0
    while (body := body_at(data, offset)) is not None:
        try:
            records.append(_decode(body))
        except msgspec.MsgspecError:
            break
        offset += RECORD_HEAD_BYTES + len(body)
    return records, len(data) - offset


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
