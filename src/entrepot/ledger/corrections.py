"""The true-up: lines up a host's own log with what we booked, and says what to correct.

The host's log is the truth about what it did. Entries are never changed: what differs becomes a
correction, a difference to add. Since it is worked out from what is booked by then, the same log a
second time gives none. Pure: reading the log and writing the corrections is done by `cli.ledger_correct`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from hashlib import blake2b

import msgspec
from msgspec import Struct

from entrepot.domain.ids import request_id_from_text, request_id_text
from entrepot.domain.money import NUSD_PER_USD
from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.ledger.entries import AttemptId, Correct, CorrectReason
from entrepot.ledger.history import AttemptHistory

_ID_BITS = 63  # a database's integers are signed


class HostLogLine(Struct, frozen=True):
    """One line of a host's log: an attempt as the host counted it.

    Units: tokens; USD. `request_id` is the `x-request-id` that we sent, `req-…-ATTEMPT`. As in OpenAI's
    usage, `cached_tokens` are a part of `prompt_tokens`. Without `cost_usd` our prices give the cost.
    """

    request_id: str | None
    host: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cost_usd: Decimal | None = None
    outcome: str = ""


class Correction(Struct, frozen=True):
    """A correction on its way to the ledger's owner, as the admin API takes it.

    Units: tokens and nano-USD to add, which may be negative; `unknown_nusd` is the part of *unknown, at
    most X* that it replaces.
    """

    request_id: str
    attempt: int
    key_id: int
    endpoint_id: int
    price_version: int
    correction_id: int
    reason: CorrectReason
    usage: Usage
    bill: Bill
    unknown_nusd: int = 0
    reserved_ns: int = 0
    sender_id: int = 0

    def entry(self, at_ns: int) -> Correct:
        """Return the entry to write. Units: `at_ns` Unix nanoseconds.

        Raises: ValueError when `request_id` is not one of ours.
        """
        request_id = request_id_from_text(self.request_id)
        if request_id is None:
            raise ValueError(f"{self.request_id!r} is not a request id, such as req-0123…")
        return Correct(
            request_id,
            self.attempt,
            at_ns,
            self.key_id,
            self.endpoint_id,
            self.price_version,
            self.correction_id,
            self.reason,
            self.usage,
            self.bill,
            self.unknown_nusd,
            self.reserved_ns,
            self.sender_id,
        )


class TrueUp(Struct, frozen=True):
    """What a host's log says beside the ledger: corrections to write, and attempts that agree.

    `open` are still under way here: to be compared later. `problems` are sentences about lines that could
    not be lined up.
    """

    corrections: tuple[Correction, ...]
    agreed: int
    open: int
    problems: tuple[str, ...]


def attempt_of(request_id: str) -> AttemptId | None:
    """Return the attempt that an `x-request-id` of ours names, or None when it is not one of ours."""
    text, _, number = request_id.rpartition("-")
    found = request_id_from_text(text)
    return None if found is None or not number.isdecimal() else (found, int(number))


def corrections(lines: Iterable[HostLogLine], attempts: Mapping[AttemptId, AttemptHistory]) -> TrueUp:
    """Return what has to be corrected so that the ledger says of each attempt what the host's log says."""
    found: list[Correction] = []
    problems: list[str] = []
    seen: dict[AttemptId, HostLogLine] = {}
    agreed = still_open = 0
    for line in lines:
        attempt_id = None if line.request_id is None else attempt_of(line.request_id)
        attempt = None if attempt_id is None else attempts.get(attempt_id)
        problem = _problem(line, attempt)
        if attempt_id is None or attempt is None or problem:
            problems.append(f"{line.request_id or 'a request without an id'} at {line.host}: {problem}")
            continue
        if attempt_id in seen:
            if seen[attempt_id] != line:
                problems.append(f"{line.request_id} at {line.host}: the log has it twice, with other numbers")
            continue
        seen[attempt_id] = line
        if attempt.closing is None:
            still_open += 1
        elif (correction := _correction(line, attempt)) is None:
            agreed += 1
        else:
            found.append(correction)
    return TrueUp(tuple(found), agreed, still_open, tuple(problems))


def _problem(line: HostLogLine, attempt: AttemptHistory | None) -> str:
    if attempt is None:
        return "the ledger has no such attempt"
    if attempt.endpoint is not None and attempt.endpoint.host != line.host:
        return f"the ledger has it at the host {attempt.endpoint.host}"
    if not 0 <= line.cached_tokens <= line.prompt_tokens or line.completion_tokens < 0:
        return "its tokens contradict each other"
    return ""


def _correction(line: HostLogLine, attempt: AttemptHistory) -> Correction | None:
    reserve = attempt.reserve
    uncached, cached, written, output, reasoning, written_1h = _differences(
        _usage(line, attempt.usage), attempt.usage
    )
    usage = Usage(uncached, cached, written, output, reasoning, written_1h)
    bill = Bill(*_differences(_bill(line, attempt), attempt.bill))
    if not attempt.unknown_nusd and usage == Usage() and bill == Bill():
        return None
    return Correction(
        request_id=request_id_text(reserve.request_id),
        attempt=reserve.attempt,
        key_id=reserve.key_id,
        endpoint_id=reserve.endpoint_id,
        price_version=attempt.price_version,
        correction_id=_correction_id(attempt, line),
        reason=CorrectReason.HOST_LOG,
        usage=usage,
        bill=bill,
        unknown_nusd=attempt.unknown_nusd,
        reserved_ns=reserve.at_ns,
        sender_id=reserve.sender_id,
    )


def _usage(line: HostLogLine, booked: Usage) -> Usage:
    """Return the tokens that the log says; of what it is silent about, what is booked.

    Cache writes are inside the log's prompt tokens, reasoning inside its completion tokens.
    """
    uncached = line.prompt_tokens - line.cached_tokens
    cache_write = min(booked.cache_write_tokens, uncached)
    cache_write_1h = min(booked.cache_write_1h_tokens, uncached - cache_write)
    return Usage(
        uncached_tokens=uncached - cache_write - cache_write_1h,
        cached_tokens=line.cached_tokens,
        cache_write_tokens=cache_write,
        output_tokens=line.completion_tokens,
        reasoning_tokens=min(booked.reasoning_tokens, line.completion_tokens),
        cache_write_1h_tokens=cache_write_1h,
    )


def _bill(line: HostLogLine, attempt: AttemptHistory) -> Bill:
    """Return the lines by our prices; what the host's own sum differs by stands with the request's fees."""
    if attempt.prices is None:
        bill = Bill()
    elif line.prompt_tokens or line.completion_tokens:
        bill = attempt.prices.prices.bill(_usage(line, attempt.usage))
    else:
        bill = Bill()  # the host did no work: no fee either, unless its log says so
    if line.cost_usd is None:
        return attempt.bill if attempt.prices is None else bill
    cost_nusd = int((line.cost_usd * NUSD_PER_USD).to_integral_value(ROUND_HALF_UP))
    return msgspec.structs.replace(bill, request_nusd=bill.request_nusd + cost_nusd - bill.total_nusd)


def _differences(new: Usage | Bill, old: Usage | Bill) -> tuple[int, ...]:
    """Return new minus old, number by number; flags are left out, and are not set in a difference."""
    pairs = zip(msgspec.structs.astuple(new), msgspec.structs.astuple(old), strict=True)
    return tuple(after - before for after, before in pairs if not isinstance(after, bool))


def _correction_id(attempt: AttemptHistory, line: HostLogLine) -> int:
    """Return an id that is the same for the same knowledge at the same state of the ledger, and no other."""
    known = f"{len(attempt.corrections)} {line}".encode()
    return int.from_bytes(blake2b(known, digest_size=8).digest(), "big") >> (64 - _ID_BITS)
