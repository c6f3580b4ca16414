"""What an ended attempt cost, as the entry that closes its reservation.

It is known in four ways, and the difference is kept: the host reported usage; the stream was cut and
its tokens are estimated from bytes; it surely cost nothing; or nobody knows, *at most X*.
"""

from __future__ import annotations

from math import nan
from time import monotonic

from entrepot.domain.prices import Bill
from entrepot.domain.usage import Usage
from entrepot.gateway.attempt import Attempt
from entrepot.gateway.relay import PlainRelay, Relay, StreamRelay
from entrepot.ledger.entries import NO_PRICE, Closing, Expire, ExpireReason, Settle, Void, VoidReason


def closing_entry(attempt: Attempt, at_ns: int, *, tokens_per_byte: float) -> Closing:
    """Return the entry that closes the reservation of an attempt.

    Units: `at_ns` Unix nanoseconds; `tokens_per_byte` output tokens per streamed byte, at its upper bound.
    """
    relay = attempt.relay
    if relay is None or not attempt.sent:
        reason = VoidReason.NOT_SENT if attempt.fault is None else VoidReason.NO_CONNECTION
        return _void(attempt, at_ns, reason)
    if relay.status not in (0, 200):
        return _void(attempt, at_ns, VoidReason.HOST_STATUS)
    usage = _usage(attempt, relay, tokens_per_byte)
    if usage is None:
        return _expire(attempt, relay, at_ns)
    return _settle(attempt, relay, usage, at_ns)


def _usage(attempt: Attempt, relay: Relay, tokens_per_byte: float) -> Usage | None:
    """Return the tokens: reported, else estimated from a stream's bytes, else None (nobody knows)."""
    if isinstance(relay, PlainRelay):
        return None if relay.answer is None else relay.answer.usage
    assert isinstance(relay, StreamRelay)
    if relay.scan.usage is not None:
        return relay.scan.usage
    if relay.scan.first_content_s is None and not relay.cancelled:
        return None
    return Usage(
        uncached_tokens=round(attempt.candidate.prompt_tokens),
        output_tokens=relay.scan.estimated_output_tokens(tokens_per_byte),
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
