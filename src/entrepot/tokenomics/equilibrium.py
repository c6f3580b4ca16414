"""The load that a price itself brings, and the price that this load affords.

A host's fleet costs the same whether it is used or not, so its price falls with its load; the load falls with
the price. Published demand is elastic (−1.11): then what users would spend grows as the price falls, and an
equilibrium below capacity is a knife's edge, above which a host grows until it is full and below which it
loses every user. That is not an artefact to be iterated away: each crossing is reported with its stability.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from math import inf

import numpy as np
from msgspec import Struct

from entrepot.tokenomics.bracket import largest

HOSTS_ELASTICITY = -1.11
"""Across hosts of one model. Source: NBER, "The Emerging Market for Intelligence" (2025), as quoted in
data/market/market_2025.csv (published, secondary)."""

_LEAST_SHARE = 1e-6  # of capacity: nobody runs a replica for less
_PLACES = 241  # forty per decade of load: crossings closer than 6 % are not told apart


class Demand(Struct, frozen=True):
    """How much is asked for at a price: `load` at `price_usd`, and a power law from there.

    Units: requests per second (or any measure of load); USD per request (or any price of the same basket).
    Raises: ValueError unless load and price are above 0 and the elasticity below.
    """

    load: float
    price_usd: float
    elasticity: float = HOSTS_ELASTICITY

    def __post_init__(self) -> None:
        if not (0 < self.load < inf and 0 < self.price_usd < inf and self.elasticity < 0):
            raise ValueError(
                f"a demand of {self.load:g} at ${self.price_usd:g} with elasticity {self.elasticity:g}: "
                "expected a load and a price above 0, and an elasticity below 0"
            )

    def at(self, price_usd: float) -> float:
        """Return the load that a price brings."""
        return self.load * _power(price_usd / self.price_usd, self.elasticity)

    def price(self, load: float) -> float:
        """Return the price at which a load is asked for."""
        return self.price_usd * _power(load / self.load, 1 / self.elasticity)


def _power(base: float, exponent: float) -> float:
    """Return a power; infinity where it is larger than a number can be."""
    try:
        return float(base**exponent)
    except (OverflowError, ZeroDivisionError):
        return inf


class Crossing(Struct, frozen=True):
    """A load at which the price that pays for it brings just this load. A stable one is returned to."""

    load: float
    price_usd: float
    is_stable: bool


class Meeting(StrEnum):
    """How demand and cost meet."""

    BELOW_CAPACITY = "below capacity"
    AT_CAPACITY = "at capacity"
    NONE = "none"


class Equilibrium(Struct, frozen=True):
    """Where a host ends whose price follows its cost.

    Units: those of the demand. At capacity `price_usd` is what pays for a full fleet and `clearing_usd` the
    price at which no more is asked for than it has: the difference is the worth of what is scarce.
    `least_load` is the load below which the host loses its users (None when there is no such load). Without
    an equilibrium load and prices are 0, and `gap` is how much more than the users' price a full fleet costs:
    0.2 for 20 %.
    """

    meeting: Meeting
    load: float
    price_usd: float
    clearing_usd: float
    least_load: float | None
    gap: float
    crossings: tuple[Crossing, ...]

    @property
    def sentence(self) -> str:
        """Return what it means."""
        edge = (
            "" if self.least_load is None else f"; below a load of {self.least_load:.4g} it loses its users"
        )
        match self.meeting:
            case Meeting.BELOW_CAPACITY:
                return f"a load of {self.load:.4g} at ${self.price_usd:.4g}, which it returns to{edge}"
            case Meeting.AT_CAPACITY:
                scarce = f"${self.price_usd:.4g} would bring more, ${self.clearing_usd:.4g} clears the market"
                return f"at capacity, {self.load:.4g}: {scarce}{edge}"
            case Meeting.NONE:
                return f"none: even a full fleet costs {self.gap:.0%} more than users would pay for its load"


def equilibrium(price_at: Callable[[float], float], capacity: float, demand: Demand) -> Equilibrium:
    """Return where a host ends that sells at the price which pays for its load.

    `price_at` is the price that pays for a load, cost and margin, up to `capacity`: the largest load that
    keeps the SLO. Every change of sign of demand − load between a millionth of the capacity and all of it is
    bracketed and bisected.
    """

    def grows(load: float) -> bool:
        return demand.at(price_at(load)) > load

    loads = np.geomspace(capacity * _LEAST_SHARE, capacity, _PLACES)
    loads[-1] = capacity  # geomspace rounds, and beyond the capacity there is no price
    signs = [grows(float(load)) for load in loads]
    crossings = tuple(
        _crossing(grows, price_at, float(low), float(high), is_stable=before)
        for low, high, before, after in zip(loads, loads[1:], signs, signs[1:], strict=False)
        if before != after
    )
    edges = [one.load for one in crossings if not one.is_stable]
    edge = max(edges, default=None)
    full_usd, clearing_usd = price_at(capacity), demand.price(capacity)
    if signs[-1]:
        return Equilibrium(Meeting.AT_CAPACITY, capacity, full_usd, clearing_usd, edge, 0.0, crossings)
    stable = [one for one in crossings if one.is_stable]
    if not stable:
        gap = full_usd / clearing_usd - 1 if clearing_usd > 0 else inf
        return Equilibrium(Meeting.NONE, 0.0, 0.0, 0.0, None, gap, crossings)
    last = stable[-1]
    return Equilibrium(
        Meeting.BELOW_CAPACITY, last.load, last.price_usd, last.price_usd, edge, 0.0, crossings
    )


def _crossing(
    grows: Callable[[float], bool],
    price_at: Callable[[float], float],
    low: float,
    high: float,
    *,
    is_stable: bool,
) -> Crossing:
    """Return the crossing in a bracket: a load that grows below it and shrinks above is returned to."""
    load = largest(lambda at: grows(at) == is_stable, low, high)
    return Crossing(load, price_at(load), is_stable)
