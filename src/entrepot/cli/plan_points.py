"""Operating points as columns and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan

import numpy as np

from entrepot.cli.plan_figures import KIND_NAMES, PART_NAMES
from entrepot.cli.tables import NOTHING, count_text, seconds_text, share_text
from entrepot.tokenomics.choice import LimitCost
from entrepot.tokenomics.closed_loop import ClosedLoop
from entrepot.tokenomics.frontier import Points
from entrepot.tokenomics.price import Array, Kind, Part

OPTIONAL = ("GPUs", "idle", "cached $/M", "TTFT ≤", "tokens/s ≥", "context", "req/s")
"""The columns that a narrow terminal leaves out, the first first."""

_LIMIT_NAMES = {
    "ttft_s": "TTFT",
    "tokens_per_s": "interactivity",
    "answer_s": "answer time",
    "context_tokens": "context",
}


def point_columns(points: Points, places: Sequence[int]) -> dict[str, list[str]]:
    """Return points as columns, in the order of `places`; `≤` and `≥` are ends of the stated intervals."""
    at = np.asarray(places, dtype=np.int64)
    return {
        "deployment": [deployment_name(points, place) for place in places],
        "GPUs": [f"{gpus:.0f}" for gpus in points.gpus[at]],
        "batch": [f"{batch:.0f}" for batch in points.batch[at]],
        "context": [count_text(int(tokens)) for tokens in points.context_tokens[at]],
        "TTFT s": [seconds_text(seconds) for seconds in points.ttft_s[at]],
        "TTFT ≤": [seconds_text(seconds) for seconds in points.ttft_high_s[at]],
        "tokens/s/user": [f"{1 / tpot_s:.1f}" for tpot_s in points.tpot_s[at]],
        "tokens/s ≥": [f"{1 / tpot_s:.1f}" for tpot_s in points.tpot_high_s[at]],
        "req/s": [f"{rate:.3g}" for rate in points.sold_per_s[at]],
        "idle": [share_text(max(0.0, share)) for share in points.shares[at, Part.IDLE]],
        "input $/M": [usd_text(price) for price in points.usd_per_mtok[at, Kind.INPUT]],
        "cached $/M": [usd_text(price) for price in points.usd_per_mtok[at, Kind.CACHED]],
        "output $/M": [usd_text(price) for price in points.usd_per_mtok[at, Kind.OUTPUT]],
        "blend $/M": [usd_text(price) for price in points.blended_usd_per_mtok()[at]],
    }


def limit_columns(points: Points, costs: Sequence[LimitCost]) -> dict[str, list[str]]:
    """Return what each limit of an SLO costs."""
    return {
        "limit": [_LIMIT_NAMES[one.limit] for one in costs],
        "costs $/M": [usd_text(one.costs) for one in costs],
        "of the price without": [f"{one.share:+.0%}" for one in costs],
        "a tenth looser saves $/M": [usd_text(one.looser_saves) for one in costs],
        "without it": [
            f"{deployment_name(points, one.without)}, batch {points.batch[one.without]:.0f}" for one in costs
        ],
    }


def deployment_name(points: Points, place: int) -> str:
    """Return the name of a point's offer, with its replicas where there are several."""
    name, replicas = points.grid.offers[points.offer[place]].name, int(points.replicas[place])
    return name if replicas == 1 else f"{replicas} × {name}"


def point_json(points: Points, place: int) -> dict[str, object]:
    """Return a point for programs."""
    prices = points.usd_per_mtok[place]
    request = points.grid.requests[points.request[place]]
    return {
        "deployment": points.grid.offers[points.offer[place]].name,
        "replicas": int(points.replicas[place]),
        "gpus": float(points.gpus[place]),
        "batch": float(points.batch[place]),
        "uncached_tokens": request.uncached_tokens,
        "cached_tokens": request.cached_tokens,
        "output_tokens": request.output_tokens,
        "context_tokens": float(points.context_tokens[place]),
        "ttft_s": [float(points.ttft_s[place]), float(points.ttft_high_s[place])],
        "tpot_s": [float(points.tpot_s[place]), float(points.tpot_high_s[place])],
        "answer_s": [float(points.answer_s[place]), float(points.answer_high_s[place])],
        "capacity_per_s": float(points.capacity_per_s[place]),
        "sold_per_s": float(points.sold_per_s[place]),
        "usd_per_hour": float(points.usd_per_hour[place]),
        "usd_per_request": float(points.usd_per_request[place]),
        "usd_per_mtok": {KIND_NAMES[kind]: number(prices[kind]) for kind in Kind},
        "blended_usd_per_mtok": float(points.blended_usd_per_mtok()[place]),
        "shares": _shares(points.shares[place]),
    }


def simulated_text(seen: ClosedLoop) -> str:
    """Return what the engine says of a point, as a line."""
    ttft, tpot = seen.ttft, seen.tpot
    speeds = "" if isnan(tpot.p50) else f"; {1 / tpot.p50:.1f} tokens/s, of nine in ten {1 / tpot.p90:.1f}"
    waits = f"TTFT {seconds_text(ttft.p50)} s, of nine in ten {seconds_text(ttft.p90)}"
    return f"simulated: {seen.requests_per_s:.3g} requests/s of a replica; {waits}{speeds}"


def simulated_json(seen: ClosedLoop) -> dict[str, object]:
    """Return what the engine says of a point, for programs."""
    return {
        "requests_per_s": seen.requests_per_s,
        "ttft_s": {"p50": number(seen.ttft.p50), "p90": number(seen.ttft.p90)},
        "tpot_s": {"p50": number(seen.tpot.p50), "p90": number(seen.tpot.p90)},
    }


def _shares(shares: Array) -> dict[str, float]:
    return {PART_NAMES[part]: float(shares[part]) for part in Part}


def number(value: float) -> float | None:
    """Return a number as JSON has it: None where there is none."""
    return float(value) if isfinite(value) else None


def usd_text(usd_per_mtok: float) -> str:
    """Return a price with three digits."""
    return (
        NOTHING
        if isnan(usd_per_mtok)
        else f"{usd_per_mtok:.3g}"
        if usd_per_mtok < 100
        else f"{usd_per_mtok:.0f}"
    )
