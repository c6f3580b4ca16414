"""One replica, three loads, three prices: given, promised, and where the price itself leads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.tokenomics.equilibrium import Demand, Meeting
from entrepot.tokenomics.load import Mix, Overloaded, PricedReplica, RequestClass
from entrepot.tokenomics.price import Kind, PriceList
from entrepot.tokenomics.priced_load import PricesByLoad, prices_by_load
from tests.tokenomics.clocks import LinearClock

CHAT = Mix([RequestClass(1000, 500)])
REPLICA = PricedReplica(LinearClock(), usd_per_hour=16.0)
USD_PER_S = 16.0 / 3600


def found(**asked: object) -> PricesByLoad:
    """Return the prices of the replica, which there are."""
    prices = prices_by_load(REPLICA, CHAT, **asked)  # type: ignore[arg-type]
    assert isinstance(prices, PricesByLoad)
    return prices


@settings(deadline=None)
@given(st.floats(0.01, 0.9), st.floats(1.01, 2))
def test_a_smaller_promise_is_a_higher_price(part: float, smaller: float) -> None:
    """What keeps a tighter SLO is a smaller load, on which the same bill falls."""
    most = REPLICA.capacity_per_s(CHAT)
    prices, tighter = found(slo_per_s=part * most), found(slo_per_s=part * most / smaller)
    assert tighter.at_slo.price(Kind.OUTPUT) > prices.at_slo.price(Kind.OUTPUT)


def test_without_an_slo_the_full_batch_is_the_capacity() -> None:
    """The KV cache is the limit then."""
    assert found().slo_per_s == REPLICA.capacity_per_s(CHAT)


def test_no_promise_is_beyond_a_full_batch() -> None:
    """What was simulated may be a rounding above what the closed form carries."""
    most = REPLICA.capacity_per_s(CHAT)
    assert found(slo_per_s=most * 1.01).slo_per_s == most


def test_requests_that_do_not_fit_have_no_price() -> None:
    """Refused with what fits."""
    refused = prices_by_load(REPLICA, Mix([RequestClass(100_000_000, 1)]))
    assert isinstance(refused, Overloaded)
    assert "the KV cache holds" in refused.reason


def test_every_price_pays_for_the_replica() -> None:
    """At each of the three loads, with a margin."""
    demand = Demand(load=1.0, price_usd=USD_PER_S, elasticity=-0.5)
    prices = found(given_per_s=0.5, slo_per_s=2.0, demand=demand, margin=0.25)
    assert isinstance(prices.given, PriceList)
    assert prices.at_meeting is not None
    for one in (prices.given, prices.at_slo, prices.at_meeting):
        assert one.revenue_usd == pytest.approx(USD_PER_S * 1.25, rel=1e-9)


def test_the_load_that_the_price_brings_is_asked_for_at_this_price() -> None:
    """A fixed point of demand and cost."""
    demand = Demand(load=1.0, price_usd=USD_PER_S, elasticity=-0.5)
    prices = found(demand=demand, margin=0.25)
    assert prices.meeting is not None
    assert prices.meeting.meeting is Meeting.BELOW_CAPACITY
    assert demand.at(prices.meeting.price_usd) == pytest.approx(prices.meeting.load, rel=1e-6)
    assert prices.meeting.load == pytest.approx(0.8, rel=1e-6)


def test_more_demand_than_the_slo_lets_in_is_said_to_be_at_capacity() -> None:
    """With the price that clears it."""
    prices = found(slo_per_s=1.0, demand=Demand(load=50.0, price_usd=USD_PER_S))
    assert prices.meeting is not None
    assert prices.meeting.meeting is Meeting.AT_CAPACITY
    assert prices.meeting.load == prices.slo_per_s
    assert prices.meeting.clearing_usd > prices.meeting.price_usd


def test_where_nobody_pays_the_bill_there_is_no_price() -> None:
    """And the reason is a sentence."""
    prices = found(demand=Demand(load=0.01, price_usd=USD_PER_S / 100))
    assert prices.at_meeting is None
    assert prices.meeting is not None
    assert prices.meeting.sentence.startswith("none: even a full fleet costs")
