"""One replica, three loads, three prices: given, promised, and where the price itself leads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.tokenomics.equilibrium import Demand, Meeting
from entrepot.tokenomics.load import Mix, Overloaded, PricedReplica, RequestClass, Steady
from entrepot.tokenomics.price import Kind, PriceList
from entrepot.tokenomics.priced_load import Keeps, PricesByLoad, prices_by_load, slo_capacity_per_s
from tests.tokenomics.clocks import LinearClock

CHAT = Mix([RequestClass(1000, 500)])
REPLICA = PricedReplica(LinearClock(), usd_per_hour=16.0)
USD_PER_S = 16.0 / 3600


def speed(tokens_per_s: float) -> Keeps:
    """Return the SLO of so many tokens/s per user."""
    return lambda state: 1 / state.step_s >= tokens_per_s


def found(**asked: object) -> PricesByLoad:
    """Return the prices of the replica, which there are."""
    prices = prices_by_load(REPLICA, CHAT, **asked)  # type: ignore[arg-type]
    assert isinstance(prices, PricesByLoad)
    return prices


@settings(deadline=None)
@given(st.floats(35, 95), st.floats(1.01, 2))
def test_a_faster_promise_is_a_smaller_load_and_a_higher_price(slo: float, faster: float) -> None:
    """The SLO is kept at its capacity and missed just above; a tighter one costs more."""
    prices = found(keeps=speed(slo))
    state = REPLICA.steady(CHAT, prices.slo_per_s)
    assert isinstance(state, Steady)
    assert 1 / state.step_s == pytest.approx(slo, rel=1e-6)
    tighter = slo_capacity_per_s(REPLICA, CHAT, speed(slo * faster))
    if isinstance(tighter, Overloaded):
        return
    assert tighter < prices.slo_per_s
    dearer = REPLICA.price(CHAT, tighter)
    assert isinstance(dearer, PriceList)
    assert dearer.price(Kind.OUTPUT) > prices.at_slo.price(Kind.OUTPUT)


def test_without_an_slo_the_full_batch_is_the_capacity() -> None:
    """The KV cache is the limit then."""
    assert found().slo_per_s == REPLICA.capacity_per_s(CHAT)


def test_a_promise_below_the_floor_is_refused_with_the_floor() -> None:
    """No batch is small enough."""
    refused = prices_by_load(REPLICA, CHAT, keeps=speed(1000.0))
    assert isinstance(refused, Overloaded)
    assert "missed by a lone request, which gets 9" in refused.reason


def test_every_price_pays_for_the_replica() -> None:
    """At each of the three loads, with a margin."""
    demand = Demand(load=1.0, price_usd=USD_PER_S, elasticity=-0.5)
    prices = found(given_per_s=0.5, keeps=speed(40.0), demand=demand, margin=0.25)
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
    prices = found(keeps=speed(60.0), demand=Demand(load=50.0, price_usd=USD_PER_S))
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
