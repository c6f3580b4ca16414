"""The estimates of an endpoint as people read them: a table of all, and sentences about what is unusual."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from entrepot.cli.tables import NOTHING, seconds_text, share_text

MUCH = 0.02
"""Of answers 429 or cut, and of a price: below it nobody looks for another host."""

HONOURED = 0.95
"""Less of a discount is missed on an invoice."""

_SHARES = {
    "failure_share": "fails",
    "rate_limited_share": "answers 429",
    "truncated_share": "breaks off",
    "cached_share": "prompt tokens cached",
    "prefix_trust": "cached of what it was sent lately",
    "cached_honour": "cached discount honoured",
}
_SECONDS = {
    "ttft_s": "TTFT, at the present load, s",
    "ttft_p50_s": "TTFT, median, s",
    "ttft_p95_s": "TTFT, 95 %, s",
    "failure_s": "a failure takes, s",
}
_MILLISECONDS = {
    "tpot_s": "TPOT, at the present load, ms",
    "tpot_p50_s": "TPOT, median, ms",
    "tpot_p95_s": "TPOT, 95 %, ms",
}
_NUMBERS = {
    "tokens_per_s": "tokens/s",
    "price_factor": "paid / listed",
    "stream_tokens_per_byte": "tokens/byte of a stream",
}
_TITLES = {**_SECONDS, **_MILLISECONDS, **_NUMBERS, **_SHARES}
_ORDER = (
    *("ttft_s", "ttft_p50_s", "ttft_p95_s", "tpot_s", "tpot_p50_s", "tpot_p95_s", "tokens_per_s"),
    *("failure_share", "failure_s", "rate_limited_share", "truncated_share"),
    *("cached_share", "prefix_trust", "cached_honour", "price_factor", "stream_tokens_per_byte"),
)


def estimate_columns(kpis: dict[str, Any]) -> dict[str, list[str]]:
    """Return the columns of a table with a line for each estimate that the gateway told."""
    names = [name for name in _ORDER if name in kpis]
    told = [kpis[name] for name in names]
    return {
        "": [_TITLES[name] for name in names],
        "value": [_text(name, one["value"]) for name, one in zip(names, told, strict=True)],
        _heading(told): [_interval(name, one) for name, one in zip(names, told, strict=True)],
        "basis": [one["basis"] for one in told],
        "observations": [f"{one['count']:,.1f}" for one in told],
        "age": [_age(one["age_s"]) for one in told],
    }


def unusual(kpis: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each thing that was measured of an endpoint and that others do not do."""
    for name, words in (("rate_limited_share", "of attempts answered 429"), ("truncated_share", "broke off")):
        one = kpis[name]
        if _measured(one) and one["value"] >= MUCH:
            yield f"{share_text(one['value'])} {words} {_surely(name, one)}"
    factor, honour = kpis["price_factor"], kpis["cached_honour"]
    if _measured(factor) and abs(factor["value"] - 1.0) >= MUCH:
        yield f"charges {factor['value']:.2f} times its list price {_surely('price_factor', factor)}"
    if _measured(honour) and honour["value"] < HONOURED:
        honoured = share_text(honour["value"])
        yield f"honours {honoured} of its discount on cached tokens {_surely('cached_honour', honour)}"


def _measured(estimate: dict[str, Any]) -> bool:
    return bool(estimate["basis"] == "measured")


def _surely(name: str, estimate: dict[str, Any]) -> str:
    return f"({_interval(name, estimate)}, {estimate['count']:.0f} observations)"


def _heading(told: list[dict[str, Any]]) -> str:
    shares = [one["interval"]["share"] for one in told if one["interval"] is not None]
    return f"{shares[0]:.0%} interval" if shares else "interval"


def _interval(name: str, estimate: dict[str, Any]) -> str:
    interval = estimate["interval"]
    if interval is None:
        return NOTHING
    return f"{_text(name, interval['low'])} to {_text(name, interval['high'])}"


def _text(name: str, value: float) -> str:
    if name in _SHARES:
        return share_text(value)
    if name in _SECONDS:
        return seconds_text(value)
    if name in _MILLISECONDS:
        return f"{1000 * value:.1f}"
    return f"{value:.5f}" if name == "stream_tokens_per_byte" else f"{value:.2f}"


def _age(age_s: float | None) -> str:
    if age_s is None:
        return NOTHING
    if age_s < 120:
        return f"{age_s:.0f} s"
    return f"{age_s / 60:.0f} min" if age_s < 7200 else f"{age_s / 3600:.0f} h"
