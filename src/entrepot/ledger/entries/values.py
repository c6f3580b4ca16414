"""What is written in the ledger: one frozen value per kind of entry, and the ids that make them idempotent.

Ids and numbers only: no names of keys, no prompts, no answers, so that a key's data can be erased while
its money stays. A settle repeats the ids of its reserve, which a join would give, so that a line of a
bill can be read alone.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from math import nan

from msgspec import Struct, field

from entrepot.domain.endpoint import Operation
from entrepot.domain.outcome import Outcome
from entrepot.domain.prices import Bill, Prices
from entrepot.domain.usage import Usage

MAX_ANSWER_ID_BYTES = (
    200  # hosts write 30 to 60; what is longer is cut, so that a settle always fits its room
)
NO_PRICE = 0  # the price version of an endpoint whose price nobody knows
NO_SENDER = 0  # a key that is in no team and bears no tags
NO_RULES = 0  # no rule excluded an endpoint
NO_TASK = 0  # the client named no task


class Kind(IntEnum):
    """What an entry is: the low bits of its first byte. Written to disk: append only, never reuse one."""

    RESERVE = 1
    SETTLE = 2
    VOID = 3
    EXPIRE = 4
    CORRECT = 5
    NAME_ENDPOINT = 6
    NAME_PRICES = 7
    SNAPSHOT = 8
    NAME_SENDER = 9
    NAME_RULES = 10
    FEEDBACK = 11
    REFUSED = 12


class Scope(StrEnum):
    """Whose money is counted: a budget belongs to one key, one team or one tag."""

    KEY = "key"
    TEAM = "team"
    TAG = "tag"


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
    from 1 within the request; `decision` is packed by `routing.decision.pack`. `sender_id` names the team and
    the tags that it counts for, `rules_id` the rules that excluded endpoints, `task_id` what the client
    calls the task (a digest).
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
    sender_id: int = NO_SENDER
    rules_id: int = NO_RULES
    task_id: int = NO_TASK


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
    `correction_id` is the caller's, 0 ≤ id < 2^63, unique within the attempt. `reserved_ns` and `sender_id`
    are those of the reservation, since the money belongs to its period and its team.
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
    reserved_ns: int = 0
    sender_id: int = NO_SENDER


class Feedback(Struct, frozen=True, gc=False):
    """What a client says of an answer or of a task; the last word on either counts.

    Units: `at_ns` Unix nanoseconds; `score` the client's own, nan when it gave none. `request_id` is zeros
    when it speaks of the whole task.
    """

    request_id: bytes
    at_ns: int
    key_id: int
    task_id: int
    succeeded: bool
    score: float = nan


class Refused(Struct, frozen=True, gc=False):
    """A request that rules alone kept from being served: evidence, and no money.

    Units: `at_ns` Unix nanoseconds. `grounds` are packed by `routing.forbidden`, `rules_id` names the rules
    and the version of their set. `count` requests are told by it: of a key that is refused many
    times in a minute the later ones are kept together, under the id and the instant of the first of them.
    """

    request_id: bytes
    at_ns: int
    key_id: int
    operation: Operation
    grounds: bytes
    sender_id: int = NO_SENDER
    rules_id: int = NO_RULES
    count: int = 1


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
    cache_write_1h_nusd_per_mtok: int | None = None
    reasoning_nusd_per_mtok: int | None = None
    label: str = ""

    @property
    def prices(self) -> Prices:
        """Return the prices that were named."""
        return Prices(
            self.input_nusd_per_mtok,
            self.output_nusd_per_mtok,
            self.cached_nusd_per_mtok,
            self.cache_write_nusd_per_mtok,
            self.request_nusd,
            self.source,
            self.checked,
            self.cache_write_1h_nusd_per_mtok,
            self.reasoning_nusd_per_mtok,
            self.label,
        )


class NameSender(Struct, frozen=True):
    """What a `sender_id` stands for: the team and the tags that a key's attempts count for.

    `team_id` is 0 for a key in no team; `tags` are in order, those above a narrower one among them.
    """

    sender_id: int
    key_id: int
    team_id: int = 0
    tags: tuple[int, ...] = ()


class NameRules(Struct, frozen=True):
    """What a `rules_id` stands for: the rules that excluded endpoints, in order."""

    rules_id: int
    rules: tuple[str, ...]


class ScopeBalance(Struct):
    """The sums of one key, team or tag.

    Units: nano-USD. `unknown_nusd` is what expired attempts cost at most; it counts until corrected.
    """

    number: int = field(name="key_id")  # as the first format of snapshots calls it
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


class Spending(Struct, frozen=True):
    """What counted lately for a key, team or tag: by the quarter of an hour in which it was reserved.

    Units: quarters of an hour since 1970 → nano-USD, spent or unknown. From these a budget of a day or a
    month in any time zone knows what is left when a gateway starts, or when it is set.
    """

    scope: Scope
    number: int
    quarters: dict[int, int]


class Snapshot(Struct, frozen=True):
    """The fold of all entries before it; opens each segment, so that recovery reads the last one only.

    It does not know its position. `open` holds the reservations without their decisions; everything is
    ordered by id. `newest_ns` is the instant of the youngest reservation: what `spending` keeps depends on
    it.
    """

    endpoints: tuple[NameEndpoint, ...] = ()
    prices: tuple[NamePrices, ...] = ()
    keys: tuple[ScopeBalance, ...] = ()
    open: tuple[Reserve, ...] = ()
    teams: tuple[ScopeBalance, ...] = ()
    tags: tuple[ScopeBalance, ...] = ()
    senders: tuple[NameSender, ...] = ()
    rules: tuple[NameRules, ...] = ()
    spending: tuple[Spending, ...] = ()
    newest_ns: int = 0

    @property
    def names(self) -> tuple[Name, ...]:
        """Return everything that was named so far."""
        return (*self.endpoints, *self.prices, *self.senders, *self.rules)


Closing = Settle | Void | Expire
OfAttempt = Reserve | Settle | Void | Expire | Correct
Name = NameEndpoint | NamePrices | NameSender | NameRules
Entry = OfAttempt | Name | Feedback | Refused | Snapshot
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
