"""The history of a request as JSON, for `/v1/generation` and every `--json`.

Written out field by field: it is an interface that clients read, and must not follow each change of our
own values. Fields that OpenRouter's answer has as well bear its names and units.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import isnan

from entrepot.domain.ids import request_id_text
from entrepot.domain.money import NUSD_PER_USD, usd_text
from entrepot.domain.outcome import Outcome
from entrepot.ledger.entries import Closing, Correct, Expire, NamePrices, Settle, Void
from entrepot.ledger.history import AttemptHistory, RefusalHistory, RequestHistory
from entrepot.routing.decision import RULE_PREFIX

Json = Mapping[str, object]

_NS_PER_S = 1_000_000_000
_MS_PER_S = 1000.0


def history_json(history: RequestHistory) -> dict[str, object]:
    """Return the request with all its attempts.

    Units: as the names say; `total_cost` USD, `latency` and `generation_time` milliseconds, as OpenRouter has
    them. Amounts that end in `_usd` are exact decimals in text.
    """
    final = history.final
    settle = final.closing if isinstance(final.closing, Settle) else None
    usages = [attempt.usage for attempt in history.attempts]
    return {
        "id": request_id_text(history.request_id),
        "upstream_id": history.answer_ids[-1] if history.answer_ids else None,
        "created_at": instant_text(history.attempts[0].reserve.at_ns),
        "key_id": history.key_id,
        "model": final.endpoint.model if final.endpoint else None,
        "provider_name": final.endpoint.host if final.endpoint else None,
        "endpoint": final.endpoint.name if final.endpoint else None,
        "operation": final.reserve.operation.value,
        "streamed": final.reserve.stream,
        "state": state(final.closing),
        "outcome": None if final.closing is None else outcome_text(final.closing.outcome),
        "cancelled": final.closing is not None and final.closing.outcome is Outcome.CANCELLED,
        "cost_usd": usd_text(history.cost_nusd),
        "unknown_at_most_usd": usd_text(history.unknown_nusd),
        "total_cost": history.cost_nusd / NUSD_PER_USD,
        "tokens_prompt": sum(usage.prompt_tokens for usage in usages),
        "tokens_completion": sum(usage.output_tokens for usage in usages),
        "native_tokens_cached": sum(usage.cached_tokens for usage in usages),
        "native_tokens_reasoning": sum(usage.reasoning_tokens for usage in usages),
        "latency": _milliseconds(settle.ttft_s) if settle else None,
        "generation_time": _milliseconds(settle.answer_s - settle.ttft_s) if settle else None,
        "attempts": [attempt_json(attempt) for attempt in history.attempts],
    }


def refusal_json(history: RefusalHistory) -> dict[str, object]:
    """Return a request that rules refused, with the fields of one that was served as far as it has them."""
    entry = history.entry
    return {
        "id": request_id_text(entry.request_id),
        "created_at": instant_text(entry.at_ns),
        "key_id": entry.key_id,
        "operation": entry.operation.value,
        "state": "refused",
        "outcome": "policy_forbidden",
        "http_status": 403,
        "requests": entry.count,
        "rules": [name.removeprefix(RULE_PREFIX) for name in history.rules if name.startswith(RULE_PREFIX)],
        "cost_usd": usd_text(0),
        "unknown_at_most_usd": usd_text(0),
        "total_cost": 0.0,
        "attempts": [],
    }


def attempt_json(attempt: AttemptHistory) -> dict[str, object]:
    """Return one attempt: what was reserved, how it ended, every line of its bill, what was corrected."""
    reserve, closing, bill, usage = attempt.reserve, attempt.closing, attempt.bill, attempt.usage
    lines = {
        "uncached": (usage.uncached_tokens, bill.uncached_nusd),
        "cached": (usage.cached_tokens, bill.cached_nusd),
        "cache_write": (usage.cache_write_tokens, bill.cache_write_nusd),
        "cache_write_1h": (usage.cache_write_1h_tokens, bill.cache_write_1h_nusd),
        "output": (usage.spoken_tokens, bill.output_nusd),
        "reasoning": (usage.reasoning_tokens, bill.reasoning_nusd),
    }
    return {
        "attempt": reserve.attempt,
        "endpoint": attempt.endpoint.name if attempt.endpoint else None,
        "host": attempt.endpoint.host if attempt.endpoint else None,
        "model": attempt.endpoint.model if attempt.endpoint else None,
        "simulated": attempt.endpoint.simulated if attempt.endpoint else None,
        "reserved_at": instant_text(reserve.at_ns),
        "closed_at": None if closing is None else instant_text(closing.at_ns),
        "state": state(closing),
        **_closing_json(closing),
        "reserved_usd": usd_text(reserve.amount_nusd),
        "cost_usd": usd_text(bill.total_nusd),
        "unknown_at_most_usd": usd_text(attempt.unknown_nusd),
        "lines": {
            **{name: {"tokens": tokens, "usd": usd_text(nusd)} for name, (tokens, nusd) in lines.items()},
            "request": {"usd": usd_text(bill.request_nusd)},
        },
        "estimated": usage.estimated,
        "contradictory": usage.contradictory,
        "price_version": attempt.price_version,
        "prices": None if attempt.prices is None else _prices_json(attempt.prices),
        "corrections": [_correction_json(correction) for correction in attempt.corrections],
    }


def state(closing: Closing | None) -> str:
    """Return how an attempt stands: open, settled, void or expired."""
    match closing:
        case None:
            return "open"
        case Settle():
            return "settled"
        case Void():
            return "void"
        case Expire():
            return "expired"


def outcome_text(outcome: Outcome) -> str:
    """Return an outcome in words, such as `timed out`."""
    return outcome.name.lower().replace("_", " ")


def instant_text(at_ns: int) -> str:
    """Return an instant in UTC, to the millisecond, as ISO 8601 writes it."""
    seconds, rest = divmod(at_ns, _NS_PER_S)
    instant = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _closing_json(closing: Closing | None) -> Json:
    if closing is None:
        return {"outcome": None}
    shown: dict[str, object] = {
        "outcome": outcome_text(closing.outcome),
        "http_status": closing.http_status or None,
        "answer_s": _number(closing.answer_s),
        "in_flight": closing.in_flight,
    }
    match closing:
        case Settle():
            shown["ttft_s"] = _number(closing.ttft_s)
            shown["tpot_s"] = _number(closing.tpot_s)
            shown["wire_bytes"] = closing.wire_bytes
            shown["censored"] = closing.censored
            shown["answer_id"] = closing.answer_id.decode("utf-8", "replace") or None
        case Void() | Expire():
            shown["reason"] = closing.reason.name.lower().replace("_", " ")
    return shown


def _prices_json(prices: NamePrices) -> Json:
    """Prices in USD per million tokens: a price in nano-USD per million tokens is written like an amount."""
    return {
        "input_usd_per_mtok": usd_text(prices.input_nusd_per_mtok),
        "output_usd_per_mtok": usd_text(prices.output_nusd_per_mtok),
        "cached_usd_per_mtok": _usd(prices.cached_nusd_per_mtok),
        "cache_write_usd_per_mtok": _usd(prices.cache_write_nusd_per_mtok),
        "cache_write_1h_usd_per_mtok": _usd(prices.cache_write_1h_nusd_per_mtok),
        "reasoning_usd_per_mtok": _usd(prices.reasoning_nusd_per_mtok),
        "request_usd": usd_text(prices.request_nusd),
        "label": prices.label,
        "source": prices.source,
        "checked": prices.checked,
    }


def _usd(nusd: int | None) -> str | None:
    return None if nusd is None else usd_text(nusd)


def _correction_json(correction: Correct) -> Json:
    usage = correction.usage
    return {
        "at": instant_text(correction.at_ns),
        "reason": correction.reason.name.lower().replace("_", " "),
        "cost_usd": usd_text(correction.bill.total_nusd),
        "unknown_at_most_usd": usd_text(-correction.unknown_nusd),
        "uncached_tokens": usage.uncached_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "output_tokens": usage.output_tokens,
    }


def _number(seconds: float) -> float | None:
    return None if isnan(seconds) else seconds


def _milliseconds(seconds: float) -> float | None:
    return None if isnan(seconds) else round(seconds * _MS_PER_S, 3)
