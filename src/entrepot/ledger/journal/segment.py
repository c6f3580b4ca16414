"""The file format of the journal: what writer, reader and recovery must agree on, in one place.

A segment is a header and then records: u32 length, u32 CRC, body. What follows the last record is
zeros (space that was allocated ahead) or the end of the file. A CRC starts from the record's offset, so
that bytes which were copied to another place, or which a host sent us in an id, never pass for a record.
A database file would do all this with locks and several writes per entry on the way of a request.
"""

from __future__ import annotations

from pathlib import Path
from struct import Struct as Layout
from typing import NamedTuple
from zlib import crc32

from msgspec import Struct

from entrepot.domain.errors import DataError

JOURNAL_FORMAT = 1
SUFFIX = ".seg"
SEAL_SUFFIX = ".seal"

_MAGIC = b"entrepot"
_HEADER = Layout("<8sIIQqI")
_HEADER_CRC = Layout("<I")
HEADER_BYTES = _HEADER.size
RECORD_HEAD = Layout("<II")
RECORD_HEAD_BYTES = RECORD_HEAD.size


class Position(NamedTuple):
    """A place in the journal: the number of a segment and a byte offset in it."""

    segment: int
    offset: int


class SegmentHeader(Struct, frozen=True):
    """What a segment says of itself.

    Units: `opened_ns` Unix nanoseconds. `first_sequence` counts the journal's records before this segment.
    """

    number: int
    first_sequence: int
    opened_ns: int

    def to_bytes(self) -> bytes:
        """Return the header as it stands at the start of the file."""
        packed = _HEADER.pack(_MAGIC, JOURNAL_FORMAT, self.number, self.first_sequence, self.opened_ns, 0)
        unchecked = packed[: -_HEADER_CRC.size]
        return unchecked + _HEADER_CRC.pack(crc32(unchecked))

    @staticmethod
    def from_bytes(data: bytes, path: Path) -> SegmentHeader:
        """Return the header that `data` starts with.

        Raises: DataError when it is damaged, or of a newer format.
        """
        if len(data) < HEADER_BYTES:
            raise DataError(f"{path}: the header ends after {len(data)} of {HEADER_BYTES} bytes")
        magic, version, number, first_sequence, opened_ns, crc = _HEADER.unpack_from(data)
        if magic != _MAGIC or crc != crc32(data[: HEADER_BYTES - _HEADER_CRC.size]):
            raise DataError(f"{path}: the header at offset 0 is damaged; restore the file from a backup")
        if version > JOURNAL_FORMAT:
            raise DataError(
                f"{path} has journal format {version}, this entrepot reads up to {JOURNAL_FORMAT}: "
                "upgrade entrepot"
            )
        return SegmentHeader(number, first_sequence, opened_ns)


def record_bytes(body: bytes, offset: int) -> bytes:
    """Return the record that holds `body` at this offset of its segment."""
    return RECORD_HEAD.pack(len(body), crc32(body, offset)) + body


def body_at(data: bytes, offset: int, *, base: int = 0) -> bytes | None:
    """Return the body of the whole record at `offset` of the segment, or None when there is none.

    `data` are the segment's bytes from offset `base` on.
    """
    start = offset - base
    if start < 0 or start + RECORD_HEAD_BYTES > len(data):
        return None
    length, crc = RECORD_HEAD.unpack_from(data, start)
    body = data[start + RECORD_HEAD_BYTES : start + RECORD_HEAD_BYTES + length]
    return body if 0 < length == len(body) and crc32(body, offset) == crc else None


def whole_record_after(data: bytes, offset: int, *, base: int = 0) -> int | None:
    """Return the offset of the first whole record behind `offset`, or None when nothing there is one.

    This tells damage in the middle from a torn tail: records are written one after the other, so what
    was being written when a process died has nothing whole behind it.
    """
    end = base + len(data.rstrip(b"\0"))
    for candidate in range(offset + 1, end - RECORD_HEAD_BYTES):
        if body_at(data, candidate, base=base) is not None:
            return candidate
    return None


def segment_path(directory: Path, number: int) -> Path:
    """Return the path of a segment."""
    return directory / f"{number:08d}{SUFFIX}"


def seal_path(directory: Path, number: int) -> Path:
    """Return the path of the seal of a closed segment."""
    return directory / f"{number:08d}{SEAL_SUFFIX}"


def segment_numbers(directory: Path) -> list[int]:
    """Return the numbers of the segments that are there, oldest first.

    Raises: DataError when one between them is missing.
    """
    try:
        listed = {int(path.stem) for path in directory.glob(f"*{SUFFIX}") if path.stem.isdecimal()}
    except FileNotFoundError:
        return []
    numbers = list(range(min(listed, default=1), max(listed, default=0) + 1))
    for number in numbers:
        # A listing may miss a file that is being made while it runs.
        if number not in listed and not segment_path(directory, number).exists():
            raise missing(segment_path(directory, number))
    return numbers


def missing(path: Path) -> DataError:
    """Return the fault of a segment that is not there although later ones are."""
    return DataError(f"{path} is missing, later ones are there: restore it from a backup")


def damage(path: Path, offset: int, what: str) -> DataError:
    """Return the fault of a segment that is damaged at an offset."""
    return DataError(
        f"{path} is damaged at offset {offset}: {what}. Nothing was skipped or changed; restore the file "
        "from a backup, or keep it and start with another data directory"
    )
