"""The cheapest operating point within an SLO, what each limit of the SLO costs, and what is nearest if none.

A limit is priced by taking it away, or loosening it, alone: the saving is what it costs now. Multipliers of
an optimiser would be zero or undefined here, since points are discrete.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from entrepot.tokenomics.frontier import Points
from entrepot.tokenomics.price import Array

LOOSER = 0.10  # how far a limit is loosened to see what a little of it costs
_LEAST = 1e-9  # a limit of 0 is missed by a factor too: one that is not infinite


class PointLimits(Struct, frozen=True):
    """What a point has to keep; None for no limit.

    Units: seconds; tokens/s/user; tokens of context. With `is_cautious` the upper ends of the stated
    intervals have to keep them.
    """

    ttft_s: float | None = None
    tokens_per_s: float | None = None
    answer_s: float | None = None
    context_tokens: float | None = None
    is_cautious: bool = False


LIMITS = ("ttft_s", "tokens_per_s", "answer_s", "context_tokens")
_AT_LEAST = ("tokens_per_s", "context_tokens")
_UNITS = {
    "ttft_s": "TTFT of {:.3g} s",
    "tokens_per_s": "{:.3g} tokens/s per user",
    "answer_s": "answers in {:.3g} s",
    "context_tokens": "a context of {:,.0f} tokens",
}


class Unmet(Struct, frozen=True):
    """Why no point keeps the limits.

    `floors` are the best that any point reaches, by limit, of those that none keeps even alone; `nearest` is
    the place of the point that misses its worst limit by least (`by`: 1.2 for a fifth), None when nothing
    fits at all. `refusals` are the offers' own, such as not enough memory.
    """

    reason: str
    nearest: int | None
    by: float
    floors: dict[str, float]
    refusals: tuple[str, ...] = ()


class LimitCost(Struct, frozen=True):
    """What one limit costs. Units: USD per million tokens of the basket, as a whole and of that without it.

    `without` and `looser` are the places of the cheapest points with the limit gone, and a tenth looser.
    """

    limit: str
    costs: float
    share: float
    looser_saves: float
    without: int
    looser: int


def cheapest(points: Points, limits: PointLimits, prices: Array | None = None) -> int | Unmet:
    """Return the place of the cheapest point that keeps the limits, or why there is none.

    Shapes: `prices` (n,), the basket's if not given. Of equal ones the fastest in the answer wins.
    """
    cost = points.blended_usd_per_mtok() if prices is None else prices
    misses = _misses(points, limits)
    kept = points.fits & (misses <= 1.0).all(axis=1)
    if not kept.any():
        return _unmet(points, limits, misses)
    places = np.flatnonzero(kept)
    return int(places[np.lexsort((points.answer_s[places], cost[places]))[0]])


def limit_costs(points: Points, limits: PointLimits, prices: Array | None = None) -> tuple[LimitCost, ...]:
    """Return what each limit that is set costs, the dearest first; nothing when no point keeps them all."""
    cost = points.blended_usd_per_mtok() if prices is None else prices
    chosen = cheapest(points, limits, cost)
    if isinstance(chosen, Unmet):
        return ()
    found = []
    for name in LIMITS:
        value = getattr(limits, name)
        if value is None:
            continue
        loosened = value * (1 - LOOSER) if name in _AT_LEAST else value * (1 + LOOSER)
        without = cheapest(points, replace(limits, **{name: None}), cost)
        looser = cheapest(points, replace(limits, **{name: loosened}), cost)
        if isinstance(without, Unmet) or isinstance(looser, Unmet):
            raise AssertionError("fewer limits leave more points: the chosen one is among them")
        costs = float(cost[chosen] - cost[without])
        found.append(
            LimitCost(
                limit=name,
                costs=costs,
                share=costs / float(cost[without]) if costs else 0.0,
                looser_saves=float(cost[chosen] - cost[looser]),
                without=without,
                looser=looser,
            )
        )
    return tuple(sorted(found, key=lambda one: -one.costs))


def _misses(points: Points, limits: PointLimits) -> Array:
    """Return by which factor each point misses each limit, at most 1 where it keeps it: (n, limits)."""
    is_cautious = limits.is_cautious
    reached = {
        "ttft_s": points.ttft_high_s if is_cautious else points.ttft_s,
        "tokens_per_s": 1.0 / (points.tpot_high_s if is_cautious else points.tpot_s),
        "answer_s": points.answer_high_s if is_cautious else points.answer_s,
        "context_tokens": points.context_tokens,
    }
    columns = []
    for name in LIMITS:
        value = getattr(limits, name)
        if value is None:
            columns.append(np.zeros(len(points)))
        elif name in _AT_LEAST:
            columns.append(value / reached[name])
        else:
            columns.append(reached[name] / max(value, _LEAST))
    return np.stack(columns, axis=1)


def _unmet(points: Points, limits: PointLimits, misses: Array) -> Unmet:
    refusals = tuple(offer.refusal for offer in points.grid.offers if offer.refusal is not None)
    if not points.fits.any():
        reason = "no operating point fits in memory and serves the load"
        return Unmet("; ".join((reason, *refusals)), None, 0.0, {}, refusals)
    worst = np.where(points.fits, misses.max(axis=1), np.inf)
    nearest = int(np.argmin(worst))
    best = misses[points.fits].min(axis=0)
    floors = {}
    for name, miss in zip(LIMITS, best, strict=True):
        if miss > 1.0:
            value = getattr(limits, name)
            floors[name] = float(value / miss if name in _AT_LEAST else max(value, _LEAST) * miss)
    if floors:
        said = [
            f"{_UNITS[name].format(getattr(limits, name))} is beyond every point: "
            f"the best is {_UNITS[name].format(floor)}"
            for name, floor in floors.items()
        ]
        reason = "; ".join(said)
    else:
        reason = "each limit can be kept alone, but not all of them together"
    return Unmet(reason, nearest, float(worst[nearest]), floors, refusals)
