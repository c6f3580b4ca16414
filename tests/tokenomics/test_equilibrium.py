"""The load that a price brings: found by bracketing, with its stability, or said to be none."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.tokenomics.equilibrium import HOSTS_ELASTICITY, Demand, Meeting, equilibrium

COST = 10.0
CAPACITY = 100.0


def price_at(load: float) -> float:
    """Return the price at which a fleet that costs the same at every load is paid."""
    assert 0 < load <= CAPACITY
    return COST / load


@given(st.floats(1e-3, 90), st.floats(-0.9, -0.1))
def test_inelastic_demand_meets_cost_at_one_stable_load(load: float, elasticity: float) -> None:
    """Whoever cuts the price loses money: one crossing, and the host returns to it."""
    demand = Demand(load, COST / load, elasticity)
    found = equilibrium(price_at, CAPACITY, demand)
    assert found.meeting is Meeting.BELOW_CAPACITY
    assert found.load == pytest.approx(load, rel=1e-6)
    assert found.price_usd * found.load == pytest.approx(COST)
    assert found.least_load is None
    assert demand.at(found.price_usd) == pytest.approx(found.load, rel=1e-6)


@given(st.floats(1e-3, 90))
def test_elastic_demand_makes_the_crossing_a_knifes_edge(load: float) -> None:
    """At the published −1.11 a host grows until it is full, or loses everyone below the crossing."""
    found = equilibrium(price_at, CAPACITY, Demand(load, COST / load))
    assert found.meeting is Meeting.AT_CAPACITY
    assert found.load == CAPACITY
    assert found.clearing_usd > found.price_usd
    assert found.least_load == pytest.approx(load, rel=1e-6)
    assert [one.is_stable for one in found.crossings] == [False]
    assert "loses its users" in found.sentence


def test_a_fleet_that_nobody_would_pay_for_has_no_equilibrium() -> None:
    """It says by how much it is too dear, even when full."""
    found = equilibrium(price_at, CAPACITY, Demand(50.0, 0.1))
    assert found.meeting is Meeting.NONE
    assert found.gap == pytest.approx(0.1 / Demand(50.0, 0.1).price(CAPACITY) - 1)
    assert found.sentence.startswith("none: even a full fleet costs 87% more")


def test_more_users_never_mean_a_lower_load() -> None:
    """Monotone in demand, through all three outcomes."""
    loads = [equilibrium(price_at, CAPACITY, Demand(size, 0.2)).load for size in range(1, 400, 7)]
    assert loads == sorted(loads)
    assert loads[0] == 0
    assert loads[-1] == CAPACITY


def test_a_demand_beyond_all_numbers_fills_the_host() -> None:
    """A power that overflows is more than anyone has; so is what a price of nothing brings."""
    assert Demand(1e300, 1e300).at(0.001) == inf
    assert Demand(2.0, 0.001, -1000.0).at(1e-9) == inf
    assert Demand(2.0, 0.001).at(0.0) == inf
    assert equilibrium(lambda load: 0.001 / load, 5.0, Demand(1e300, 1e300)).meeting is Meeting.AT_CAPACITY


def test_a_demand_below_all_numbers_leaves_the_host_empty() -> None:
    """No price is low enough: a full fleet costs infinitely more than users would pay."""
    found = equilibrium(lambda load: 0.001 / load, 5.0, Demand(1e-300, 1e-300))
    assert (found.meeting, found.gap) == (Meeting.NONE, inf)


def test_the_elasticity_is_the_published_one_unless_given() -> None:
    """−1.11, across hosts of one model."""
    assert Demand(1.0, 1.0).elasticity == HOSTS_ELASTICITY == -1.11
    assert Demand(100.0, 1.0).at(1.1) == pytest.approx(100 * 1.1**-1.11)


@pytest.mark.parametrize(
    ("load", "price", "elasticity"), [(0, 1, -1), (1, 0, -1), (inf, 1, -1), (1, inf, -1), (1, 1, 0.5)]
)
def test_a_demand_that_cannot_be_is_refused(load: float, price: float, elasticity: float) -> None:
    """Named with what was expected."""
    with pytest.raises(ValueError, match="expected a load and a price above 0"):
        Demand(load, price, elasticity)
