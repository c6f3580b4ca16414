"""The price of one replica at three loads: a given one, the most that keeps an SLO, the one it brings.

A single "cost per token" of a deployment is the price at one of these loads, mostly unsaid which. The second
is what a host can promise, the third where it ends up.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.tokenomics.bracket import largest
from entrepot.tokenomics.equilibrium import Demand, Equilibrium, Meeting, equilibrium
from entrepot.tokenomics.load import Mix, Overloaded, ReplicaUnderLoad, Steady
from entrepot.tokenomics.price import PriceList

_ALONE = 1e-6  # of the capacity: no request meets another

Keeps = Callable[[Steady], bool]
"""Whether a state keeps an SLO. What keeps it under a load has to keep it under every smaller one."""


class PricesByLoad(Struct, frozen=True, eq=False):
    """Prices at the three loads; None where none was asked for, or there is no equilibrium.

    Units: requests/s of one replica.
    """

    given: PriceList | Overloaded | None
    slo_per_s: float
    at_slo: PriceList
    meeting: Equilibrium | None
    at_meeting: PriceList | None


def slo_capacity_per_s(replica: ReplicaUnderLoad, mix: Mix, keeps: Keeps | None = None) -> float | Overloaded:
    """Return the largest load at which the SLO is kept, or why a lone request misses it already.

    Units: requests/s of one replica.
    """
    most = replica.capacity_per_s(mix)
    alone = replica.steady(mix, most * _ALONE)
    if isinstance(alone, Overloaded):
        return alone
    if keeps is None:
        return most
    if not keeps(alone):
        floor = f"{1 / alone.step_s:.3g} tokens/s"
        return Overloaded(alone.rate_per_s, 0.0, f"the SLO is missed by a lone request, which gets {floor}")

    def is_kept(rate_per_s: float) -> bool:
        state = replica.steady(mix, rate_per_s)
        return not isinstance(state, Overloaded) and keeps(state)

    return largest(is_kept, most * _ALONE, most)


def prices_by_load(
    replica: ReplicaUnderLoad,
    mix: Mix,
    *,
    given_per_s: float | None = None,
    keeps: Keeps | None = None,
    demand: Demand | None = None,
    margin: float = 0.0,
) -> PricesByLoad | Overloaded:
    """Return the prices at the three loads, or why the SLO cannot be kept at any.

    `demand` is that for one replica: requests/s at a price in USD per request of the mix. The equilibrium is
    sought up to the SLO's capacity. Units: requests/s; `margin` a part of the cost.
    """
    slo_per_s = slo_capacity_per_s(replica, mix, keeps)
    if isinstance(slo_per_s, Overloaded):
        return slo_per_s
    meeting, at_meeting = None, None
    if demand is not None:
        usd_per_s = replica.usd_per_hour / SECONDS_PER_HOUR * (1 + margin)
        meeting = equilibrium(lambda load: usd_per_s / load, slo_per_s, demand)
        if meeting.meeting is not Meeting.NONE:
            at_meeting = _priced(replica, mix, meeting.load, margin)
    return PricesByLoad(
        given=None if given_per_s is None else replica.price(mix, given_per_s, margin=margin),
        slo_per_s=slo_per_s,
        at_slo=_priced(replica, mix, slo_per_s, margin),
        meeting=meeting,
        at_meeting=at_meeting,
    )


def _priced(replica: ReplicaUnderLoad, mix: Mix, rate_per_s: float, margin: float) -> PriceList:
    prices = replica.price(mix, rate_per_s, margin=margin)
    if isinstance(prices, Overloaded):
        raise AssertionError(f"a load within the capacity is refused: {prices.reason}")
    return prices
