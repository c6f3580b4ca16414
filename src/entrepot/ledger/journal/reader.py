"""Reads the journal beside its writer: for the poster, the auditor, and the question why.

It follows the files by polling; a pipe or shared memory from the gateway would make a slow reader the
gateway's problem. Damage is never skipped: it ends the reading with the file and the offset.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from zlib import crc32

from entrepot.domain.errors import DataError
from entrepot.domain.ids import instant_ns
from entrepot.ledger.entries import (
    ANSWER_ID_OFFSET,
    MAX_ANSWER_ID_BYTES,
    REQUEST_ID_OFFSET,
    TASK_ID_OFFSETS,
    Entry,
    Expire,
    Feedback,
    OfAttempt,
    Refused,
    Reserve,
    Settle,
    Void,
    decode,
)
from entrepot.ledger.journal.segment import (
    HEADER_BYTES,
    RECORD_HEAD,
    RECORD_HEAD_BYTES,
    Position,
    SegmentHeader,
    body_at,
    damage,
    missing,
    segment_numbers,
    segment_path,
    whole_record_after,
)

_CHUNK_BYTES = 1 << 18  # a read costs nothing per entry, and little when nothing is new
MOST_TASK_SEGMENTS = 8  # half a gigabyte: a task whose answers are older is judged by the younger ones
_BLOCK_BYTES = 1 << 14  # no entry holds as many zeros, so behind a block of zeros nothing is written


class JournalReader:
    """A read-only view of the journal in `directory`, from `position` on (the oldest entry when None).

    Not for several threads. Close it, or use it as a context.
    """

    def __init__(self, directory: Path, position: Position | None = None) -> None:
        self._directory = directory
        self._position = position
        self._fd = -1
        self._open_segment = 0
        self._first_sequence = 0  # what the open segment's header says
        self._sequence: int | None = None  # of the next record, when its segment was read from the start

    @property
    def position(self) -> Position | None:
        """Return where to go on: behind the last entry given, or None while there is no journal."""
        return self._position

    def entries(self) -> Iterator[tuple[Position, Entry]]:
        """Yield each entry that is whole by now with the position at which it begins, then end.

        Call it again for what was written since; it goes on where it stopped.
        Raises: DataError when the journal is damaged, or the segment at the position was deleted.
        """
        return ((begin, self._decoded(body, begin)) for begin, body in self.bodies())

    def bodies(self) -> Iterator[tuple[Position, bytes]]:
        """Yield the bytes of each entry as `entries` would, for who makes something else of them.

        Raises: DataError as `entries`, but for bytes that are no entry.
        """
        if self._position is None:
            numbers = segment_numbers(self._directory)
            if not numbers:
                return
            self._descriptor(numbers[0])
            self._position = Position(numbers[0], HEADER_BYTES)
            self._sequence = self._first_sequence
        while True:
            yield from self._segment_bodies(self._position, closed=False)
            following = self._position.segment + 1
            if not self._exists(following):
                if self._exists(following + 1) and not self._exists(following):
                    raise missing(segment_path(self._directory, following))
                return
            # What was written between our last look and the roll-over; its end is final now.
            yield from self._segment_bodies(self._position, closed=True)
            self._go_on(following, self._position)

    def segment_end(self, number: int, *, closed: bool) -> int:
        """Return the offset behind the last whole entry of a segment by now; moves the reader there.

        Raises: DataError when it is damaged; when it is `closed`, also when a part of an entry follows.
        """
        self._position = Position(number, HEADER_BYTES)
        self._sequence = None
        for _ in self._segment_bodies(self._position, closed=closed):
            pass
        return self._position.offset

    def close(self) -> None:
        """Close the segment that is open; reading may go on later."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def find(self, request_id: bytes) -> list[Entry]:
        """Return all entries of a request in the order in which they were written.

        The instant in the id says from which segment on; older ones are read only when neither the first
        reservation nor a refusal is there, which happens when the clock was set back.
        Raises: DataError when a segment's header is damaged.
        """
        numbers = segment_numbers(self._directory)
        first = self._first_segment(numbers, instant_ns(request_id))
        found = [entry for number in numbers[first:] for entry in self._entries_of(number, request_id)]
        while first > 0 and not any(_is_first(entry) for entry in found):
            first -= 1
            found = [*self._entries_of(numbers[first], request_id), *found]
        return found

    def find_task(self, task_id: int) -> list[Entry]:
        """Return the reservations of a task, what closed each, and what was said of it or of its answers.

        In the order in which they were written, but a closing may come behind its reservation at once. Only
        the last `MOST_TASK_SEGMENTS` segments are read.
        Raises: DataError when a segment's header is damaged.
        """
        wanted = task_id.to_bytes(8, "little")
        found: list[Entry] = []
        unclosed: list[bytes] = []
        for number in segment_numbers(self._directory)[-MOST_TASK_SEGMENTS:]:
            data = self._bytes(number)
            asked, unclosed = unclosed, []
            for request_id in asked:
                closings = _closings_in(data, request_id, 0)
                found += closings
                unclosed += [] if closings else [request_id]
            hit = data.find(wanted)
            while hit >= 0:
                entry = _entry_of_task(data, hit, task_id)
                if entry is not None:
                    found.append(entry)
                if isinstance(entry, Reserve):
                    closings = _closings_in(data, entry.request_id, hit)
                    found += closings
                    unclosed += [] if closings else [entry.request_id]
                hit = data.find(wanted, hit + 1)
        return found

    def find_answer_id(self, answer_id: bytes, *, key_id: int | None = None) -> Settle | None:
        """Return the newest Settle (of one key, if given) of the answer that its host called so, or None."""
        wanted = answer_id[:MAX_ANSWER_ID_BYTES]
        if not wanted:
            return None
        for number in reversed(segment_numbers(self._directory)):
            data = self._bytes(number)
            hit = data.rfind(wanted)
            while hit >= 0:
                entry = _entry_at(data, hit - ANSWER_ID_OFFSET - RECORD_HEAD_BYTES)
                if isinstance(entry, Settle) and entry.answer_id == wanted and key_id in (None, entry.key_id):
                    return entry
                hit = data.rfind(wanted, 0, hit + len(wanted) - 1)
        return None

    def _go_on(self, following: int, end: Position) -> None:
        """Move to the next segment, whose header says how many records are before it."""
        self._descriptor(following)
        if self._sequence is not None and self._sequence != self._first_sequence:
            path = segment_path(self._directory, end.segment)
            what = f"{self._sequence} records end there, {self._first_sequence} were before the next segment"
            raise damage(path, end.offset, what)
        self._sequence = self._first_sequence
        self._position = Position(following, HEADER_BYTES)

    def _exists(self, number: int) -> bool:
        return segment_path(self._directory, number).exists()

    def _first_segment(self, numbers: list[int], at_ns: int) -> int:
        for index in range(len(numbers) - 1, 0, -1):
            path = segment_path(self._directory, numbers[index])
            try:
                with path.open("rb") as file:
                    head = file.read(HEADER_BYTES)
            except FileNotFoundError:
                return index + 1  # archived since the segments were listed
            if SegmentHeader.from_bytes(head, path).opened_ns < at_ns:
                return index
        return 0

    def _entries_of(self, number: int, request_id: bytes) -> Iterator[Entry]:
        data = self._bytes(number)
        hit = data.find(request_id)
        while hit >= 0:
            entry = _entry_at(data, hit - REQUEST_ID_OFFSET - RECORD_HEAD_BYTES)
            if isinstance(entry, OfAttempt | Feedback | Refused) and entry.request_id == request_id:
                yield entry
            hit = data.find(request_id, hit + 1)

    def _bytes(self, number: int) -> bytes:
        """Return a segment without the blocks that were preallocated and not written yet.

        An id of zeros would be found in each of their millions of bytes.
        """
        try:
            with segment_path(self._directory, number).open("rb") as file:
                blocks = range(-(-os.fstat(file.fileno()).st_size // _BLOCK_BYTES))
                written = bisect_left(blocks, True, key=lambda block: _is_zeros(file.fileno(), block))
                return file.read(written * _BLOCK_BYTES)
        except FileNotFoundError:
            return b""  # archived since the segments were listed

    def _segment_bodies(self, start: Position, *, closed: bool) -> Iterator[tuple[Position, bytes]]:
        number, offset = start
        fd = self._descriptor(number)
        size = _CHUNK_BYTES
        while size:
            data = os.pread(fd, size, offset)
            at, end = 0, len(data)
            while at + RECORD_HEAD_BYTES <= end:
                length, crc = RECORD_HEAD.unpack_from(data, at)
                after = at + RECORD_HEAD_BYTES + length
                body = data[at + RECORD_HEAD_BYTES : after]
                if after > end or not length or crc32(body, offset + at) != crc:
                    break
                begin = Position(number, offset + at)
                self._position = Position(number, offset + after)
                if self._sequence is not None:
                    self._sequence += 1
                yield begin, body
                at = after
            offset += at
            size = (
                _CHUNK_BYTES if at else self._size_to_read(fd, Position(number, offset), data, closed=closed)
            )

    def _size_to_read(self, fd: int, position: Position, data: bytes, *, closed: bool) -> int:
        """Return how many bytes to read to see the record at the position whole; 0 when it is not there yet.

        `data` were read there and do not begin with a whole record: it is longer than they are, or this
        is the end of what was written, or damage.
        """
        offset = position.offset
        available = os.fstat(fd).st_size - offset
        if len(data) >= RECORD_HEAD_BYTES:
            needed = RECORD_HEAD.unpack_from(data)[0] + RECORD_HEAD_BYTES
            if len(data) < needed <= available:
                return int(needed)
        if not closed and not data.rstrip(b"\0"):
            return 0
        rest = os.pread(fd, available, offset) if available > 0 else b""
        if not rest.rstrip(b"\0"):
            return 0
        behind = whole_record_after(rest, offset, base=offset)
        # What is behind was written later: a second look shows whole what was being written at the first.
        if body_at(os.pread(fd, available, offset), offset, base=offset) is not None:
            return available
        path = segment_path(self._directory, position.segment)
        if behind is not None:
            raise damage(path, offset, f"no whole entry is there, but one is at offset {behind}")
        if closed:
            raise damage(path, offset, "a closed segment ends with a part of an entry")
        return 0

    def _decoded(self, body: bytes, position: Position) -> Entry:
        try:
            return decode(body)
        except ValueError as error:
            path = segment_path(self._directory, position.segment)
            raise damage(path, position.offset, str(error)) from error

    def _descriptor(self, number: int) -> int:
        if self._fd >= 0 and self._open_segment == number:
            return self._fd
        self.close()
        path = segment_path(self._directory, number)
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise DataError(f"{path} is gone: read on from the oldest segment that is kept") from None
        self._open_segment = number
        header = SegmentHeader.from_bytes(os.pread(self._fd, HEADER_BYTES, 0), path)
        if header.number != number:
            raise damage(path, 0, f"its header says that it is segment {header.number}")
        self._first_sequence = header.first_sequence
        return self._fd


def _is_first(entry: Entry) -> bool:
    """Return whether nothing of its request was written before an entry."""
    return isinstance(entry, Refused) or (isinstance(entry, Reserve) and entry.attempt == 1)


def _is_zeros(fd: int, block: int) -> bool:
    return not os.pread(fd, _BLOCK_BYTES, block * _BLOCK_BYTES).rstrip(b"\0")


def _entry_of_task(data: bytes, hit: int, task_id: int) -> Reserve | Feedback | None:
    """Return the entry whose task's number stands at `hit`, or None when it stands there by chance."""
    for offset in TASK_ID_OFFSETS:
        entry = _entry_at(data, hit - offset - RECORD_HEAD_BYTES)
        if isinstance(entry, Reserve | Feedback) and entry.task_id == task_id:
            return entry
    return None


def _closings_in(data: bytes, request_id: bytes, start: int) -> list[Entry]:
    """Return the next closing of a request from an offset on, as a list of one or of none."""
    hit = data.find(request_id, start)
    while hit >= 0:
        entry = _entry_at(data, hit - REQUEST_ID_OFFSET - RECORD_HEAD_BYTES)
        if isinstance(entry, Settle | Void | Expire) and entry.request_id == request_id:
            return [entry]
        hit = data.find(request_id, hit + 1)
    return []


def _entry_at(data: bytes, offset: int) -> Entry | None:
    body = body_at(data, offset)
    try:
        return None if body is None else decode(body)
    except ValueError:
        return None
