"""What an ended attempt cost, as the entry that closes its reservation.

It is known in four ways, and the difference is kept: the host reported usage; it did not, or its stream
was cut, and the tokens are estimated from bytes; it surely cost nothing; or nobody knows, *at most X*.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, nan
from time import monotonic

import msgspec
from msgspec import Struct

from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.gateway.attempt import Attempt
from entrepot.gateway.relay import PlainRelay, Relay, StreamRelay
from entrepot.ledger.entries import NO_PRICE, Closing, Expire, ExpireReason, Settle, Void, VoidReason
from entrepot.wire.parts import parts_of
from entrepot.wire.plain_answer import PlainAnswer

UNSEEN_CAUTION = 2.0  # a model may write faster than it does as a rule


class TokenBounds(Struct, frozen=True):
    """How many tokens a byte seldom passes, as learned: of a model's text, and of an endpoint's streams.

    Units: tokens per byte of text; output tokens per streamed byte, which are mostly not text.
    """

    per_text_byte: float
    per_stream_byte: float


Bounds = Callable[[], TokenBounds]
"""Asked only where tokens have to be estimated: most hosts report them."""


def closing_entry(attempt: Attempt, at_ns: int, bounds: Bounds) -> Closing:
    """Return the entry that closes the reservation of an attempt.

    Units: `at_ns` Unix nanoseconds.
    """
    relay = attempt.relay
    if relay is None or not attempt.sent:
        reason = VoidReason.NOT_SENT if attempt.fault is None else VoidReason.NO_CONNECTION
        return _void(attempt, at_ns, reason)
    if relay.status not in (0, 200):
        return _void(attempt, at_ns, VoidReason.HOST_STATUS)
    usage = _usage(attempt, relay, bounds)
    if usage is None:
        return _expire(attempt, relay, at_ns)
    return _settle(attempt, relay, usage, at_ns)


def _usage(attempt: Attempt, relay: Relay, bounds: Bounds) -> Usage | None:
    """Return the tokens: reported, else estimated from the bytes that came, else None (nobody knows)."""
    if isinstance(relay, PlainRelay):
        answer = relay.answer
        if answer is None or not answer.text_bytes:
            return None if answer is None else _reported(attempt, answer, bounds)
        output_tokens = ceil(answer.text_bytes * bounds().per_text_byte)
        return _estimated(attempt, output_tokens, bounds, answer.usage)
    assert isinstance(relay, StreamRelay)
    scan = relay.scan
    if scan.usage is not None and (scan.usage.output_tokens or scan.first_content_s is None):
        return scan.usage
    if scan.first_content_s is not None:
        output_tokens = scan.estimated_output_tokens(bounds().per_stream_byte)
        return _estimated(attempt, output_tokens, bounds, scan.usage)
    if relay.cancelled:
        return _estimated(attempt, _unseen_tokens(attempt, relay), bounds, None)
    return None


def _reported(attempt: Attempt, answer: PlainAnswer, bounds: Bounds) -> Usage | None:
    """Return what a reply without text reports; an embedding that reports nothing is its prompt."""
    if answer.usage is None and answer.text_bytes is not None:
        return _estimated(attempt, 0, bounds, None)
    return answer.usage


def _unseen_tokens(attempt: Attempt, relay: Relay) -> int:
    """Return what a model may have thought until its client left: twice what it writes in that time."""
    waited_s = (relay.ended_s - relay.sent_s) * attempt.target.time_scale
    return ceil(UNSEEN_CAUTION * waited_s / attempt.candidate.tpot_s)


def _estimated(attempt: Attempt, output_tokens: int, bounds: Bounds, reported: Usage | None) -> Usage | None:
    """Return tokens that the host did not report: of the prompt what its text seldom passes, all uncached.

    Neither passes what was reserved for it, which cannot be passed. With `reported` only the output is
    estimated: the host counted none of an answer that came. None where nobody can say what its images,
    recordings or files have.
    """
    call, candidate, target = attempt.call, attempt.candidate, attempt.target
    request = call.body.request
    output_tokens = min(output_tokens, target.most_output_tokens(request, attempt.output_limit))
    if reported is not None:
        return msgspec.structs.replace(
            reported, output_tokens=output_tokens, reasoning_tokens=0, estimated=True, contradictory=True
        )
    parts = parts_of(call.body.fields)
    if target.unbounded(parts) is not None:
        return None
    prompt_tokens = ceil(max(candidate.prompt_tokens, request.text_bytes * bounds().per_text_byte))
    return Usage(
        uncached_tokens=min(prompt_tokens, candidate.bound_prompt_tokens) + target.part_tokens(parts),
        output_tokens=output_tokens,
        estimated=True,
    )


def _settle(attempt: Attempt, relay: Relay, usage: Usage, at_ns: int) -> Settle:
    call, target = attempt.call, attempt.target
    card = target.pricing.billed_card(attempt.reserved_ns, at_ns, usage.prompt_tokens)
    ttft_s, tpot_s, first_tokens, wire_bytes = nan, nan, 0, 0
    answer_id: str | None = None
    if isinstance(relay, StreamRelay):
        scan = relay.scan
        if scan.first_content_s is not None:
            ttft_s = (scan.first_content_s - relay.sent_s) * target.time_scale
        tpot = None if usage.estimated else scan.tpot_s(usage.output_tokens // call.body.request.choices)
        tpot_s = nan if tpot is None else tpot * target.time_scale
        first_tokens, wire_bytes, answer_id = scan.first_tokens, scan.wire_bytes, scan.answer_id
    elif isinstance(relay, PlainRelay) and relay.answer is not None:
        answer_id = relay.answer.id
    return Settle(
        request_id=call.request_id,
        attempt=attempt.number,
        at_ns=at_ns,
        key_id=call.key_id,
        endpoint_id=target.ref.endpoint_id,
        price_version=card.price_version,
        outcome=attempt.outcome,
        http_status=relay.status,
        usage=usage,
        bill=Bill() if card.price_version == NO_PRICE else card.prices.bill(usage),
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        answer_s=(relay.ended_s - relay.sent_s) * target.time_scale,
        first_tokens=first_tokens,
        in_flight=attempt.in_flight,
        wire_bytes=wire_bytes,
        censored=attempt.censored,
        answer_id=b"" if answer_id is None else answer_id.encode(),
    )


def _void(attempt: Attempt, at_ns: int, reason: VoidReason) -> Void:
    return Void(
        request_id=attempt.call.request_id,
        attempt=attempt.number,
        at_ns=at_ns,
        key_id=attempt.call.key_id,
        endpoint_id=attempt.target.ref.endpoint_id,
        outcome=attempt.outcome,
        reason=reason,
        http_status=0 if attempt.relay is None else attempt.relay.status,
        answer_s=_lasted_s(attempt),
        in_flight=attempt.in_flight,
    )


def _expire(attempt: Attempt, relay: Relay, at_ns: int) -> Expire:
    return Expire(
        request_id=attempt.call.request_id,
        attempt=attempt.number,
        at_ns=at_ns,
        key_id=attempt.call.key_id,
        endpoint_id=attempt.target.ref.endpoint_id,
        price_version=attempt.card.price_version,
        at_most_nusd=attempt.bound_nusd,
        outcome=attempt.outcome,
        reason=ExpireReason.NO_REPORT,
        http_status=relay.status,
        answer_s=_lasted_s(attempt),
        in_flight=attempt.in_flight,
    )


def _lasted_s(attempt: Attempt) -> float:
    ended_s = monotonic() if attempt.relay is None else attempt.relay.ended_s
    return (ended_s - attempt.began_s) * attempt.target.time_scale
