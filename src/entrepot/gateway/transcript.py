"""What a client was sent, noted while it is sent, for a key whose answers are stored.

Exchanges of other keys have none, and what forwards their chunks knows of none. Notes are taken where bytes
leave for the client and not where they come from the host: an attempt that failed unseen, or a usage report
that the client did not ask for, is no part of its answer.
"""

from __future__ import annotations

from collections.abc import Callable

MOST_BODY_BYTES = 4 * 1024 * 1024  # of a prompt, and of an answer, which waits in memory for its end
Feed = Callable[[bytes, float], bytes]


class Transcript:
    """The body that a client was sent, up to a bound. `attempt` is the number of the last one."""

    __slots__ = ("_pieces", "_room_bytes", "attempt", "truncated")

    def __init__(self, room_bytes: int = MOST_BODY_BYTES) -> None:
        self._pieces: list[bytes] = []
        self._room_bytes = room_bytes
        self.attempt = 1
        self.truncated = False

    @property
    def body(self) -> bytes:
        """Return what was noted."""
        return b"".join(self._pieces)

    def note(self, data: bytes) -> None:
        """Note bytes that are sent to the client."""
        if len(data) > self._room_bytes:
            self.truncated = True
            data = data[: self._room_bytes]
        if data:
            self._pieces.append(data)
            self._room_bytes -= len(data)

    def noting(self, feed: Feed) -> Feed:
        """Return a function that notes what `feed` gives to be forwarded."""

        def feed_and_note(data: bytes, now_s: float) -> bytes:
            out = feed(data, now_s)
            self.note(out)
            return out

        return feed_and_note
