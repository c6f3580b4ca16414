"""The prices of a replica from almost no load to a full batch: `priced_load` has three points of it."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from entrepot.tokenomics.load import Mix, Overloaded, ReplicaUnderLoad, Steady
from entrepot.tokenomics.price import Array, PriceList

_PLACES = 97  # forty-eight per decade of two: a curve without corners


class PriceCurve(Struct, frozen=True, eq=False):
    """Prices and the parts of the bill along the loads of a replica, ascending.

    Shapes: (n,); `usd_per_mtok` (n, tiers, kinds), `shares` (n, parts). Units: requests/s of one replica;
    seconds per token; USD per million tokens.
    """

    rate_per_s: Array
    tpot_s: Array
    usd_per_mtok: Array
    shares: Array


def price_curve(
    replica: ReplicaUnderLoad, mix: Mix, *, least_per_s: float, margin: float = 0.0
) -> PriceCurve:
    """Return the prices from a load to that of a full batch, in equal ratios.

    Units: requests/s; `margin` a part of the cost.
    Raises: ValueError when not one request fits, or `least_per_s` is not below a full batch.
    """
    most = replica.capacity_per_s(mix)
    if not 0 < least_per_s < most:
        raise ValueError(f"a curve from {least_per_s:g} to {most:g} requests/s: expected two rising loads")
    rates = np.geomspace(least_per_s, most, _PLACES)
    rates[-1] = most  # geomspace rounds, and beyond a full batch there is no price
    found = [_priced(replica, mix, float(rate), margin) for rate in rates]
    return PriceCurve(
        rate_per_s=rates,
        tpot_s=np.array([state.step_s for state, _ in found]),
        usd_per_mtok=np.stack([prices.usd_per_mtok for _, prices in found]),
        shares=np.stack([prices.shares for _, prices in found]),
    )


def _priced(
    replica: ReplicaUnderLoad, mix: Mix, rate_per_s: float, margin: float
) -> tuple[Steady, PriceList]:
    state, prices = replica.steady(mix, rate_per_s), replica.price(mix, rate_per_s, margin=margin)
    if isinstance(state, Overloaded) or isinstance(prices, Overloaded):
        raise AssertionError(f"a load of {rate_per_s:g} requests/s, within the capacity, is refused")
    return state, prices
