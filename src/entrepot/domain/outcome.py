"""How an attempt ended, in the few kinds that money and knowledge tell apart.

An HTTP status would not do: a cut stream is a 200, and a host's 401 is our fault while its 400 is the
client's.
"""

from enum import IntEnum


class Outcome(IntEnum):
    """How one attempt ended. The numbers are stored in the journal: never give one a new meaning.

    `OK`            the answer came to its end; an answer cut by `max_tokens` is one (and is censored)
    `CANCELLED`     the client left, or a better attempt won: the host is not to blame
    `FAILED`        no connection, an error of the host or one sent in the stream, also its 401, 402, 403
                    and 404, which say that we cannot use it
    `TRUNCATED`     the stream broke off after its first content
    `TIMED_OUT`     a limit of ours passed before the first content, or in a silence after it
    `REFUSED`       the host found fault with the request itself (400, 413, 422): says nothing of the host
    `RATE_LIMITED`  the host answered 429, or said that it is overloaded
    """

    OK = 0
    CANCELLED = 1
    FAILED = 2
    TRUNCATED = 3
    TIMED_OUT = 4
    REFUSED = 5
    RATE_LIMITED = 6

    @property
    def blames_endpoint(self) -> bool:
        """Return whether the endpoint failed, so that its failure share rises."""
        return self in BLAMED


BLAMED = frozenset({Outcome.FAILED, Outcome.TRUNCATED, Outcome.TIMED_OUT, Outcome.RATE_LIMITED})
