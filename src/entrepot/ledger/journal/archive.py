"""Seals closed segments, and lets the old ones go: the poster does it, between two batches.

Not the gateway, whose event loop a digest of 64 MB would stop; and not a job of the system's, which could not
know what is posted. Every step may be repeated: a process that is killed in the middle of one leaves a file
more, never a file less.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from entrepot.domain.errors import DataError
from entrepot.ledger.data_dir import DataDir, sync_directory, write_atomically
from entrepot.ledger.entries import Snapshot, decode
from entrepot.ledger.journal.seal import Seal, digest_of, sums_of
from entrepot.ledger.journal.segment import (
    HEADER_BYTES,
    RECORD_HEAD,
    RECORD_HEAD_BYTES,
    SEAL_SUFFIX,
    Position,
    SegmentHeader,
    body_at,
    damage,
    seal_path,
    segment_numbers,
    segment_path,
)

KEPT_SEGMENTS = 2  # the present one, and the one before it: whose end a power cut may still have to find
ARCHIVED_SUFFIX = ".gz"
TIDY_S = 60.0  # how often old segments are looked for while no new one begins

_DAY_NS = 86_400 * 10**9
_PRIVATE = 0o700

Say = Callable[[str], None]


class Retention(Struct, frozen=True):
    """How long segments stay in the journal, and where they go then.

    Units: days since the newest entry; 0 is for ever. Without an `archive` they are deleted.
    """

    keep_days: float = 0.0
    archive: Path | None = None


class Checked(Struct, frozen=True):
    """What became of a sealed segment: its file (None: in neither place) and what is wrong with it."""

    number: int
    file: Path | None
    problem: str | None = None


class Archivist:
    """Tidies the journal of one data directory; what goes wrong is said, and tried again later."""

    def __init__(self, data_dir: DataDir, retention: Retention, say: Say) -> None:
        self._data_dir = data_dir
        self._retention = retention
        self._say = say
        self._segment = 0
        self._next_s = 0.0

    def tidy(self, posted: Position | None, *, now_ns: int, now_s: float) -> None:
        """Seal and let go what may be, when a segment was finished or some time has passed.

        Units: `now_ns` Unix nanoseconds, `now_s` monotonic seconds.
        """
        if posted is None or (posted.segment == self._segment and now_s < self._next_s):
            return
        self._segment, self._next_s = posted.segment, now_s + TIDY_S
        try:
            seal_closed(self._data_dir.journal, posted)
            with _locked(self._data_dir, fcntl.LOCK_EX | fcntl.LOCK_NB):
                let_go(self._data_dir.journal, posted, now_ns, self._retention)
        except BlockingIOError:
            pass  # a backup is being made
        except (DataError, OSError) as error:
            self._say(f"the journal is not tidied: {error}; posting goes on, next try in {TIDY_S:g} s")


@contextlib.contextmanager
def keeping_segments(data_dir: DataDir) -> Iterator[None]:
    """Let no segment go while this is held; several may hold it."""
    with _locked(data_dir, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def _locked(data_dir: DataDir, how: int) -> Iterator[None]:
    with (data_dir.path / "archive.lock").open("ab") as file:
        fcntl.flock(file, how)
        yield


def seal_closed(journal: Path, posted: Position) -> list[Seal]:
    """Seal each segment that is closed, wholly posted and not sealed yet; return the new seals.

    What is posted is on the disk: the poster syncs before it commits.
    Raises: DataError when a segment is damaged: then it gets no seal. OSError when one cannot be written.
    """
    seals = []
    for number in segment_numbers(journal):
        if number < posted.segment and not seal_path(journal, number).exists():
            seal = seal_of(journal, number)
            write_atomically(seal_path(journal, number), seal.to_json())
            seals.append(seal)
    return seals


def seal_of(journal: Path, number: int) -> Seal:
    """Return the seal that a closed segment should have by its content and by the next segment's opening.

    Raises: DataError when either is damaged, or they do not fit.
    """
    path = segment_path(journal, number)
    data = path.read_bytes()
    header = SegmentHeader.from_bytes(data, path)
    following, opening = _opening(segment_path(journal, number + 1))
    end, records = _whole_records(data)
    if data[end:].rstrip(b"\0"):
        raise damage(path, end, "a closed segment ends with a part of an entry")
    if header.first_sequence + records != following.first_sequence:
        before = following.first_sequence - header.first_sequence
        raise damage(path, end, f"it has {records} records, and by the next segment {before}")
    balances = decode(opening)
    if not isinstance(balances, Snapshot):
        raise damage(segment_path(journal, number + 1), HEADER_BYTES, "it does not open with the balances")
    return Seal(
        number=number,
        size_bytes=end,
        records=records,
        first_sequence=header.first_sequence,
        opened_ns=header.opened_ns,
        closed_ns=following.opened_ns,
        digest=digest_of(data[:end]),
        balances_digest=digest_of(opening),
        **sums_of(balances),
    )


def let_go(journal: Path, posted: Position, now_ns: int, retention: Retention) -> list[int]:
    """Archive or delete the segments that are old enough; return their numbers, the oldest first.

    Only sealed ones, and only while a whole segment behind each is posted too: the store commits
    without waiting for the disk, so a power cut may take it back a little.
    Raises: DataError when a segment is not what its seal says, OSError when the archive cannot be written.
    """
    gone: list[int] = []
    if not retention.keep_days:
        return gone
    before_ns = now_ns - int(retention.keep_days * _DAY_NS)
    for number in segment_numbers(journal)[:-KEPT_SEGMENTS]:
        path = segment_path(journal, number)
        if number + 1 >= posted.segment or not seal_path(journal, number).exists():
            break
        seal = read_seal(journal, number)
        if seal.closed_ns >= before_ns:
            break
        if retention.archive is not None:
            _archive(path, seal, retention.archive)
        path.unlink()
        gone.append(number)
    return gone


def read_seal(journal: Path, number: int) -> Seal:
    """Return the seal of a segment.

    Raises: DataError when there is none, or it is damaged.
    """
    path = seal_path(journal, number)
    try:
        return Seal.from_json(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} is missing: restore it from a backup") from None
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): restore it from a backup") from error


def verify(journal: Path, archive: Path | None) -> list[Checked]:
    """Return for each seal, the oldest first, whether the file that it is of is still the same.

    The segment behind the last seal is no further checked than that it opens with the sealed balances.
    Raises: DataError when a segment or a seal between others is missing.
    """
    kept = segment_numbers(journal)
    sealed = sorted(int(path.stem) for path in journal.glob(f"*{SEAL_SUFFIX}") if path.stem.isdecimal())
    checked = []
    for number in range(sealed[0], sealed[-1] + 1) if sealed else ():
        seal = read_seal(journal, number)
        files = [segment_path(journal, number)] if number in kept else []
        if archive is not None and archived_path(archive, number).exists():
            files.append(archived_path(archive, number))
        checked += [Checked(number, file, _difference(file, seal)) for file in files]
        if not files:
            checked.append(Checked(number, None))
    if sealed and sealed[-1] + 1 in kept:  # which has no seal of its own yet
        file = segment_path(journal, sealed[-1] + 1)
        if digest_of(_opening(file)[1]) != read_seal(journal, sealed[-1]).balances_digest:
            what = "opens with other balances than the segment before it had at its end"
            checked.append(Checked(sealed[-1] + 1, file, what))
    return checked


def archived_path(archive: Path, number: int) -> Path:
    """Return the path of an archived segment."""
    path = segment_path(archive, number)
    return path.with_name(path.name + ARCHIVED_SUFFIX)


def _archive(path: Path, seal: Seal, archive: Path) -> None:
    data = path.read_bytes()[: seal.size_bytes]
    if digest_of(data) != seal.digest:
        raise damage(path, _whole_records(data)[0], "it is not what its seal says")
    archive.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    archived = archived_path(archive, seal.number)
    write_atomically(archived, gzip.compress(data, mtime=0))
    sync_directory(archive)
    problem = _difference(archived, seal)
    if problem is not None:
        raise DataError(f"{archived} {problem} although it was just written; {path} is kept")


def _difference(file: Path, seal: Seal) -> str | None:
    """Return in which way a segment, archived or not, is not what its seal says; None when it is."""
    try:
        data = file.read_bytes()
        if file.suffix == ARCHIVED_SUFFIX:
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be read: {error}"
    rest = data[seal.size_bytes :].rstrip(b"\0")
    if not rest and digest_of(data[: seal.size_bytes]) == seal.digest:
        return None
    end, records = _whole_records(data)
    if end < seal.size_bytes:
        return f"differs from its seal: it is damaged at offset {end}, {seal.size_bytes} bytes were whole"
    return f"differs from its seal: it has {records} whole records, other than the {seal.records} sealed ones"


def _whole_records(data: bytes) -> tuple[int, int]:
    """Return where the whole records at the start of a segment end, and how many they are."""
    offset, records = HEADER_BYTES, 0
    while (body := body_at(data, offset)) is not None:
        offset += RECORD_HEAD_BYTES + len(body)
        records += 1
    return offset, records


def _opening(path: Path) -> tuple[SegmentHeader, bytes]:
    """Return the header of a segment, and the encoded balances that it opens with."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES + RECORD_HEAD_BYTES)
        header = SegmentHeader.from_bytes(head, path)
        length = RECORD_HEAD.unpack_from(head, HEADER_BYTES)[0] if len(head) > HEADER_BYTES else 0
        body = body_at(head + file.read(length), HEADER_BYTES)
    if body is None:
        raise damage(path, HEADER_BYTES, "no whole entry is there")
    return header, body
