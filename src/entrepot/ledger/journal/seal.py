"""What is written down of a segment when it is closed, so that a change of it later is seen.

A value and its JSON, nothing else: `archive` makes it, and a person can read it. The CRC of each record
finds what a disk did; the digest of all of them also finds records that were left out or put in.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec
from msgspec import Struct

from entrepot.domain.money import usd_text
from entrepot.ledger.entries import Snapshot

DIGEST_BYTES = 32


class Seal(Struct, frozen=True, forbid_unknown_fields=True):
    """What a closed segment was.

    Units: `size_bytes` up to its last entry's end; Unix nanoseconds; USD as exact decimals, the sums of all
    keys at its end. The digests are BLAKE2b-256: of those bytes, and of the balances at its end as the
    next segment opens with them. `first_sequence` counts the journal's records before it.
    """

    number: int
    size_bytes: int
    records: int
    first_sequence: int
    opened_ns: int
    closed_ns: int
    digest: str
    balances_digest: str
    spent_usd: str
    reserved_usd: str
    unknown_usd: str

    def to_json(self) -> bytes:
        """Return the seal as its file holds it."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @staticmethod
    def from_json(data: bytes) -> Seal:
        """Return the seal that a file holds.

        Raises: ValueError when it is not whole.
        """
        return msgspec.json.decode(data, type=Seal)


def digest_of(data: bytes) -> str:
    """Return the BLAKE2b-256 of some bytes in hexadecimal digits."""
    return blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def sums_of(balances: Snapshot) -> dict[str, str]:
    """Return the sums over all keys, as a seal names them. Units: USD as exact decimals."""
    return {
        f"{name}_usd": usd_text(sum(getattr(key, f"{name}_nusd") for key in balances.keys))
        for name in ("spent", "reserved", "unknown")
    }
