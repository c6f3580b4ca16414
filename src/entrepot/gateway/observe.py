"""What one attempt taught about its endpoint and its model."""

from __future__ import annotations

from math import isnan

from entrepot.domain.money import line_nusd
from entrepot.domain.usage import PricedUsage, Usage
from entrepot.gateway.attempt import Attempt
from entrepot.ledger.entries import Closing, Settle
from entrepot.routing.kpi.observation import Observation


def observation(attempt: Attempt, closing: Closing, now_s: float) -> Observation:
    """Return the observation of an attempt that ended; durations as they are in its ledger entry.

    Units: `now_s` monotonic seconds.
    """
    settled = closing if isinstance(closing, Settle) else None
    request = attempt.call.body.request
    reported = settled is not None and not settled.usage.estimated
    return Observation(
        endpoint_index=attempt.target.index,
        at_s=now_s,
        outcome=closing.outcome,
        ttft_s=_known(settled.ttft_s) if settled is not None else None,
        tpot_s=_known(settled.tpot_s) if settled is not None else None,
        answer_s=closing.answer_s,
        prompt_bytes=0 if request.attachment_bytes else request.prompt_bytes,
        prompt_tokens=settled.usage.prompt_tokens if settled is not None and reported else None,
        cached_tokens=settled.usage.cached_tokens if settled is not None and reported else 0,
        output_tokens=settled.usage.output_tokens if settled is not None and reported else None,
        choices=request.choices,
        wire_bytes=settled.wire_bytes if settled is not None else 0,
        in_flight=attempt.in_flight,
        censored=attempt.censored,
        known_tokens=attempt.known_tokens,
        key_id=request.key_id,
        tag_id=request.tag_id,
        billed_nusd=settled.bill.total_nusd if settled is not None else 0,
        discount_nusd=_discount_nusd(attempt, settled) if settled is not None and reported else 0,
        told_nusd=_told_nusd(settled.usage) if settled is not None and reported else None,
    )


def _told_nusd(usage: Usage) -> int | None:
    return usage.told_nusd if isinstance(usage, PricedUsage) else None


def _discount_nusd(attempt: Attempt, settled: Settle) -> int:
    """Return what the bill has less because tokens were cached."""
    cached = settled.usage.cached_tokens
    if not cached:
        return 0
    undiscounted = line_nusd(cached, attempt.card.prices.input_nusd_per_mtok)
    return max(undiscounted - settled.bill.cached_nusd, 0)


def _known(seconds: float) -> float | None:
    return None if isnan(seconds) else seconds
