"""What is written in the ledger: one frozen value per kind of entry, and the ids that make them idempotent.

Ids and numbers only: no names of keys, no prompts, no answers, so that a key's data can be erased while
its money stays. A settle repeats the ids of its reserve, which a join would give, so that a line of a
bill can be read alone.
"""

from enum import IntEnum
from math import nan

from msgspec import Struct

from entrepot.domain.endpoint import Operation
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage

MAX_ANSWER_ID_BYTES = (
    200  # hosts write 30 to 60; what is longer is cut, so that a settle always fits its room
)
NO_PRICE = 0  # the price version of an endpoint whose price nobody knows


class Kind(IntEnum):
    """The first byte of an encoded entry. Written to disk: append only, never reuse one."""

    RESERVE = 1
    SETTLE = 2
    VOID = 3
    EXPIRE = 4
    CORRECT = 5
    NAME_ENDPOINT = 6
    NAME_PRICES = 7
    SNAPSHOT = 8


class VoidReason(IntEnum):
    """Why an attempt cost nothing."""

    NOT_SENT = 1  # we gave up before the first byte went out
    NO_CONNECTION = 2  # the host was not reached
    HOST_STATUS = 3  # the host answered with an error status
    NO_CONTENT = 4  # the host ended before the first content and bills nothing then


class ExpireReason(IntEnum):
    """Why nobody knows what an attempt cost."""

    GATEWAY_DIED = 1  # the process that had reserved ended without settling
    NO_REPORT = 2  # the host took the request and never said what it cost


class CorrectReason(IntEnum):
    """Where the better knowledge of a correction comes from."""

    HOST_LOG = 1
    INVOICE = 2
    LATE_SETTLE = 3
    OPERATOR = 4


class Reserve(Struct, frozen=True, gc=False):
    """Money set aside for an attempt before its first byte goes out, with the decision that sends it.

    Units: `at_ns` Unix nanoseconds; nano-USD; `prompt_bytes` bytes of the request body. `attempt` counts
    from 1 within the request; `decision` is packed by `routing.decision.pack`.
    """

    request_id: bytes
    attempt: int
    at_ns: int
    key_id: int
    endpoint_id: int
    price_version: int
    amount_nusd: int
    prompt_bytes: int = 0
    operation: Operation = Operation.CHAT
    stream: bool = False
    choices: int = 1
    decision: bytes = b""


class Settle(Struct, frozen=True, gc=False):
    """What an attempt cost, line by line, and what was observed of it.

    Units: `at_ns` Unix nanoseconds; seconds, nan where there was nothing to measure; tokens, nano-USD.
    `first_tokens` tokens in the first chunk, `in_flight` our own requests at the endpoint when it was sent,
    `wire_bytes` of the answer. `censored`: the durations and tokens count as *at least*.
    `answer_id` is the host's own id of the answer.
    """

    request_id: bytes
    attempt: int
    at_ns: int
    key_id: int
    endpoint_id: int
    price_version: int
    outcome: Outcome
    http_status: int
    usage: Usage
    bill: Bill
    ttft_s: float = nan
    tpot_s: float = nan
    answer_s: float = nan
    first_tokens: int = 0
    in_flight: int = 0
    wire_bytes: int = 0
    censored: bool = False
    answer_id: bytes = b""


class Void(Struct, frozen=True, gc=False):
    """An attempt that cost nothing.

    Units: `at_ns` Unix nanoseconds; `answer_s` seconds until that was known. `http_status` is 0 when the
    host did not reply.
    """

    request_id: bytes
    attempt: int
    at_ns: int
    key_id: int
    endpoint_id: int
    outcome: Outcome
    reason: VoidReason
    http_status: int = 0
    answer_s: float = nan
    in_flight: int = 0


class Expire(Struct, frozen=True, gc=False):
    """An attempt of which nobody knows the cost: *unknown, at most X*. Counts X until it is corrected.

    Units: `at_ns` Unix nanoseconds; nano-USD; `answer_s` seconds until we gave up.
    """

    request_id: bytes
    attempt: int
    at_ns: int
    key_id: int
    endpoint_id: int
    price_version: int
    at_most_nusd: int
    outcome: Outcome
    reason: ExpireReason
    http_status: int = 0
    answer_s: float = nan
    in_flight: int = 0


class Correct(Struct, frozen=True, gc=False):
    """What became known about a closed attempt later: differences to what was booked.

    Units: `usage` tokens and `bill` nano-USD to *add* (they may be negative); `unknown_nusd` is the part of
    *unknown, at most X* that this entry replaces (X for an expired attempt, 0 for a settled one).
    `correction_id` is the caller's, 0 ≤ id < 2^63, unique within the attempt.
    """

    request_id: bytes
    attempt: int
    at_ns: int
    key_id: int
    endpoint_id: int
    price_version: int
    correction_id: int
    reason: CorrectReason
    usage: Usage
    bill: Bill
    unknown_nusd: int = 0


class NameEndpoint(Struct, frozen=True):
    """What an `endpoint_id` stands for. Facts never change under an id: a changed endpoint gets a new one."""

    endpoint_id: int
    name: str
    model: str
    host: str
    owner_country: str | None = None
    origin_country: str | None = None
    region: str | None = None
    simulated: bool = False


class NamePrices(Struct, frozen=True):
    """What a `price_version` stands for, over all endpoints; `NO_PRICE` is never named.

    Units: nano-USD per million tokens, nano-USD per request. `at_ns` is when the version was first known.
    """

    price_version: int
    endpoint_id: int
    at_ns: int
    input_nusd_per_mtok: int
    output_nusd_per_mtok: int
    cached_nusd_per_mtok: int | None = None
    cache_write_nusd_per_mtok: int | None = None
    request_nusd: int = 0
    source: str = ""
    checked: str = ""


class KeyBalance(Struct):
    """The sums of one key.

    Units: nano-USD. `unknown_nusd` is what expired attempts cost at most; it counts until corrected.
    """

    key_id: int
    spent_nusd: int = 0
    reserved_nusd: int = 0
    unknown_nusd: int = 0

    @property
    def committed_nusd(self) -> int:
        """Return all that counts against a budget."""
        return self.spent_nusd + self.reserved_nusd + self.unknown_nusd

    @property
    def is_used(self) -> bool:
        """Return whether any sum differs from zero."""
        return bool(self.spent_nusd or self.reserved_nusd or self.unknown_nusd)


class Snapshot(Struct, frozen=True):
    """The fold of all entries before it; opens each segment, so that recovery reads the last one only.

    It does not know its position. `open` holds the reservations without their decisions; all four are
    ordered by id.
    """

    endpoints: tuple[NameEndpoint, ...] = ()
    prices: tuple[NamePrices, ...] = ()
    keys: tuple[KeyBalance, ...] = ()
    open: tuple[Reserve, ...] = ()


Closing = Settle | Void | Expire
OfAttempt = Reserve | Settle | Void | Expire | Correct
Entry = OfAttempt | NameEndpoint | NamePrices | Snapshot
AttemptId = tuple[bytes, int]
EntryId = tuple[bytes, int, Kind, int]


def entry_id(entry: OfAttempt) -> EntryId:
    """Return the id by which an entry is idempotent: request, attempt, kind, correction (0 if none)."""
    match entry:
        case Reserve():
            return (entry.request_id, entry.attempt, Kind.RESERVE, 0)
        case Settle():
            return (entry.request_id, entry.attempt, Kind.SETTLE, 0)
        case Void():
            return (entry.request_id, entry.attempt, Kind.VOID, 0)
        case Expire():
            return (entry.request_id, entry.attempt, Kind.EXPIRE, 0)
        case Correct():
            return (entry.request_id, entry.attempt, Kind.CORRECT, entry.correction_id)


def correction_of(expired: Expire, late: Settle, *, correction_id: int, reason: CorrectReason) -> Correct:
    """Return the correction that replaces *unknown, at most X* by what a late report says it was."""
    return Correct(
        late.request_id,
        late.attempt,
        late.at_ns,
        expired.key_id,
        expired.endpoint_id,
        late.price_version,
        correction_id,
        reason,
        late.usage,
        late.bill,
        expired.at_most_nusd,
    )
