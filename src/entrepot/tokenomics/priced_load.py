"""The price of one replica at three loads: a given one, the most that keeps an SLO, the one it brings.

A single "cost per token" of a deployment is the price at one of these loads, mostly unsaid which. The second
is what a host can promise, the third where it ends up.
"""

from __future__ import annotations

from msgspec import Struct

from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.tokenomics.equilibrium import Demand, Equilibrium, Meeting, equilibrium
from entrepot.tokenomics.load import Mix, Overloaded, ReplicaUnderLoad
from entrepot.tokenomics.price import PriceList


class PricesByLoad(Struct, frozen=True, eq=False):
    """Prices at the three loads; None where none was asked for, or there is no equilibrium.

    Units: requests/s of one replica.
    """

    given: PriceList | Overloaded | None
    slo_per_s: float
    at_slo: PriceList
    meeting: Equilibrium | None
    at_meeting: PriceList | None


def prices_by_load(
    replica: ReplicaUnderLoad,
    mix: Mix,
    *,
    given_per_s: float | None = None,
    slo_per_s: float | None = None,
    demand: Demand | None = None,
    margin: float = 0.0,
) -> PricesByLoad | Overloaded:
    """Return the prices at the three loads, or why the replica carries none.

    `slo_per_s` is the most that keeps the SLO (`slo_capacity`), a full batch unless given. `demand` is that
    for one replica: requests/s at a price in USD per request of the mix. The equilibrium is sought up to the
    SLO's capacity. Units: requests/s; `margin` a part of the cost.
    """
    full_per_s = replica.capacity_per_s(mix)
    alone = replica.steady(mix, full_per_s)
    if isinstance(alone, Overloaded):
        return alone
    slo_per_s = full_per_s if slo_per_s is None else min(slo_per_s, full_per_s)
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
