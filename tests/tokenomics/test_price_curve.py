"""The prices of a replica along its loads: each point is that of its own load, and the ends are the ends."""

from __future__ import annotations

import numpy as np
import pytest

from entrepot.tokenomics.load import Mix, PricedReplica, RequestClass
from entrepot.tokenomics.price import Kind, Part, PriceList
from entrepot.tokenomics.price_curve import price_curve
from tests.tokenomics.clocks import LinearClock

CHAT = Mix([RequestClass(1000, 500)])
REPLICA = PricedReplica(LinearClock(), usd_per_hour=16.0)
MOST = REPLICA.capacity_per_s(CHAT)


def test_the_curve_goes_from_the_given_load_to_a_full_batch() -> None:
    """Its ends are exact: just beyond the last there is no price."""
    curve = price_curve(REPLICA, CHAT, least_per_s=MOST / 100)
    assert curve.rate_per_s[0] == pytest.approx(MOST / 100)
    assert curve.rate_per_s[-1] == MOST
    assert (np.diff(curve.rate_per_s) > 0).all()


def test_each_point_is_the_price_at_its_load() -> None:
    """With the margin, and all parts of the bill."""
    curve = price_curve(REPLICA, CHAT, least_per_s=MOST / 100, margin=0.5)
    for at in (0, 40, len(curve.rate_per_s) - 1):
        prices = REPLICA.price(CHAT, float(curve.rate_per_s[at]), margin=0.5)
        assert isinstance(prices, PriceList)
        assert curve.usd_per_mtok[at] == pytest.approx(prices.usd_per_mtok, nan_ok=True)
    assert curve.shares.sum(axis=1) == pytest.approx(1.0)


def test_a_busier_replica_is_cheaper_slower_and_less_idle() -> None:
    """What the picture shows."""
    curve = price_curve(REPLICA, CHAT, least_per_s=MOST / 100)
    assert (np.diff(curve.usd_per_mtok[:, 0, Kind.OUTPUT]) < 0).all()
    assert (np.diff(curve.tpot_s) > 0).all()
    assert (np.diff(curve.shares[:, Part.IDLE]) < 1e-12).all()


@pytest.mark.parametrize("least", [0.0, MOST, MOST * 2])
def test_a_curve_of_no_length_is_refused(least: float) -> None:
    """With both of its ends."""
    with pytest.raises(ValueError, match="expected two rising loads"):
        price_curve(REPLICA, CHAT, least_per_s=least)
