"""Request ids: 16 bytes that sort by time and cannot collide between starts of a gateway.

Random UUIDs would tell nothing about when; counters alone repeat after a restart. The first eight
bytes are the instant, so that a reader of the journal knows which segment to open; the rest is a
nonce of the process and a counter, so that a clock that steps back makes no duplicate.
"""

from hashlib import blake2b

REQUEST_ID_BYTES = 16


class RequestIds:
    """Gives out request ids of one process.

    Units: `nonce` 32 random bits, drawn by the caller at start-up.
    """

    def __init__(self, nonce: int) -> None:
        self._prefix = (nonce & 0xFFFF_FFFF) << 32
        self._count = 0

    def next(self, now_ns: int) -> bytes:
        """Return a new id made at the instant `now_ns` (Unix time in nanoseconds)."""
        self._count = (self._count + 1) & 0xFFFF_FFFF
        return (now_ns << 64 | self._prefix | self._count).to_bytes(REQUEST_ID_BYTES, "big")


def request_id_text(request_id: bytes) -> str:
    """Return the id as users see it: `req-` and 32 hexadecimal digits."""
    return "req-" + request_id.hex()


def request_id_from_text(text: str) -> bytes | None:
    """Return the id that `text` writes, or None when it is not one of ours."""
    digits = text.removeprefix("req-")
    if len(digits) != 2 * REQUEST_ID_BYTES:
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None


def task_id_of(key_id: int, name: bytes) -> int:
    """Return the number of what a client calls a task: a digest, so that no ledger holds its words.

    63 bits and never 0; the same name of another key is another task.
    """
    digest = blake2b(name, digest_size=8, key=key_id.to_bytes(8, "big")).digest()
    return int.from_bytes(digest, "big") >> 1 or 1


def session_of(key_id: int, name: bytes) -> int:
    """Return the number of what a sender calls its conversation: a digest, so that nobody keeps its words.

    63 bits and never 0; the same name of another key is another session, and no task has its number.
    """
    digest = blake2b(name, digest_size=8, key=key_id.to_bytes(8, "big"), person=b"session").digest()
    return int.from_bytes(digest, "big") >> 1 or 1


def instant_ns(request_id: bytes) -> int:
    """Return the instant at which the id was made, in Unix nanoseconds."""
    return int.from_bytes(request_id[:8], "big")
