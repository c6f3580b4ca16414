"""The snapshot with which a segment opens: read, or written anew with something wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from entrepot.ledger.entries import Snapshot, decode, encode
from entrepot.ledger.journal.segment import (
    HEADER_BYTES,
    RECORD_HEAD,
    RECORD_HEAD_BYTES,
    record_bytes,
    segment_path,
)

Change = Callable[[Snapshot], dict[str, object]]


def change_opening(journal: Path, number: int, change: Change) -> None:
    """Change fields of the snapshot of a segment; all entries are whole, with the CRC of their places."""
    path = segment_path(journal, number)
    data = path.read_bytes()
    position = HEADER_BYTES + RECORD_HEAD_BYTES + RECORD_HEAD.unpack_from(data, HEADER_BYTES)[0]
    opening = decode(data[HEADER_BYTES + RECORD_HEAD_BYTES : position])
    assert isinstance(opening, Snapshot)
    rewritten = data[:HEADER_BYTES] + record_bytes(
        encode(msgspec.structs.replace(opening, **change(opening))), HEADER_BYTES
    )
    while RECORD_HEAD.unpack_from(data, position)[0]:
        length = RECORD_HEAD.unpack_from(data, position)[0]
        body = data[position + RECORD_HEAD_BYTES : position + RECORD_HEAD_BYTES + length]
        rewritten += record_bytes(body, len(rewritten))
        position += RECORD_HEAD_BYTES + length
        if position + RECORD_HEAD_BYTES > len(data):
            break
    path.write_bytes(rewritten)
