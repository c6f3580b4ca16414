"""Prices are one split of the bill: nothing is lost, nothing is charged twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from entrepot.tokenomics.price import (
    ANY_CONTEXT,
    USUAL_TIERS,
    Array,
    Kind,
    Part,
    PriceList,
    Tier,
    Work,
    added,
    charged_twice_usd_per_mtok,
    price_list,
    split,
)

POSITIVE = st.floats(1e-6, 1e9)
SECONDS = st.one_of(st.just(0.0), st.floats(1e-3, 1e6))
TABLE = arrays(np.float64, (3, 3), elements=SECONDS)


def work(busy: Array, held: Array, kv_busy: float) -> Work:
    """Return the work of one pool; KV is read only where some is held."""
    return Work(busy, held, np.asarray(kv_busy if held.sum() > 0 else 0.0))


@given(TABLE, TABLE, SECONDS, POSITIVE, st.floats(1.0, 1e3), st.floats(-1, 20), TABLE)
def test_prices_bring_cost_and_margin_exactly(
    busy: Array, held: Array, kv_busy: float, cost: float, slack: float, margin: float, extra: Array
) -> None:
    """Σ price × tokens = cost + margin to 1e-9, for any work, idle time and margin."""
    asked = work(busy, held, kv_busy)
    seconds = float(busy.sum() + asked.kv_busy_s)
    tokens = np.where((busy > 0) | (held > 0), 1.0 + extra, extra)
    if seconds == 0:
        with pytest.raises(ValueError, match="nothing was served"):
            split(cost, 1.0, asked)
        return
    found = split(cost, seconds * slack, asked)
    assert found.parts_usd.sum() == pytest.approx(cost, rel=1e-9)
    assert found.kinds_usd.sum() == pytest.approx(cost, rel=1e-9)
    assert (found.parts_usd >= -1e-9 * cost).all()
    prices = price_list(found, tokens, tiers=USUAL_TIERS, margin=margin)
    assert prices.revenue_usd == pytest.approx(cost * (1 + margin), rel=1e-9, abs=cost * 1e-9)
    assert prices.flat.revenue_usd == pytest.approx(cost * (1 + margin), rel=1e-9, abs=cost * 1e-9)


@given(TABLE, TABLE, POSITIVE, POSITIVE)
def test_pools_are_split_apart_and_add_up(first: Array, second: Array, a_usd: float, b_usd: float) -> None:
    """The bill of a fleet is the sum of its pools, and so are the prices."""
    first, second = first + 1e-3, second + 1e-3
    pools = [
        split(usd, busy.sum() * 2, work(busy, np.zeros((3, 3)), 0.0))
        for usd, busy in ((a_usd, first), (b_usd, second))
    ]
    prices = price_list(added(pools), np.ones((3, 3)), tiers=USUAL_TIERS)
    assert prices.conservation_error < 1e-9
    assert prices.cost_usd == pytest.approx(a_usd + b_usd, rel=1e-12)


def simple(busy_s: tuple[float, float, float], available_s: float, *, kv_busy_s: float = 0.0) -> PriceList:
    """Return prices of $100 for a million tokens of each kind, all of which are held equally long."""
    busy = np.array([busy_s])
    found = split(100.0, available_s, Work(busy, np.ones((1, 3)), np.asarray(kv_busy_s)))
    return price_list(found, np.full((1, 3), 1e6), tiers=ANY_CONTEXT)


def test_each_part_of_the_bill_is_seen() -> None:
    """Half of the seconds were busy: the idle half is a part of its own, and a mark-up on all tokens."""
    prices = simple((20.0, 1.0, 26.0), 100.0, kv_busy_s=3.0)
    assert list(prices.parts_usd) == pytest.approx([20.0, 1.0, 26.0, 3.0, 50.0])
    assert prices.price(Kind.INPUT) == pytest.approx(42.0)
    assert prices.price(Kind.CACHED) == pytest.approx(4.0)
    assert prices.price(Kind.OUTPUT) == pytest.approx(54.0)
    assert prices.shares[Part.IDLE] == pytest.approx(0.5)


def test_who_holds_more_bytes_for_longer_pays_the_residence() -> None:
    """Two tiers with the same arithmetic: the one that holds three times the KV pays three times for it."""
    busy = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    held = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]])
    found = split(6.0, 6.0, Work(busy, held, np.asarray(4.0)))
    assert list(found.kinds_usd[:, Kind.OUTPUT]) == pytest.approx([2.0, 4.0])


def test_prices_of_arrays_are_those_of_each() -> None:
    """One function for one bill and for a frontier of ten thousand."""
    busy = np.random.default_rng(0).uniform(1, 2, (50, 1, 3))
    held, kv = np.ones((50, 1, 3)), np.full(50, 0.5)
    cost, available = np.linspace(1, 2, 50), busy.sum(axis=(-2, -1)) + np.linspace(0.5, 3, 50)
    whole = split(cost, available, Work(busy, held, kv))
    for row in (0, 17, 49):
        one = split(cost[row], available[row], Work(busy[row], held[row], kv[row]))
        assert whole.kinds_usd[row] == pytest.approx(one.kinds_usd)
        assert whole.parts_usd[row] == pytest.approx(one.parts_usd)


@pytest.mark.parametrize(
    ("busy_s", "available_s", "kv_busy_s", "words"),
    [
        ((1.0, 0.0, -1.0), 10.0, 0.0, "negative"),
        ((5.0, 0.0, 5.1), 10.0, 0.0, "1.01 times the seconds"),
        ((5.0, 0.0, 4.0), 10.0, 1.1, "1.01 times the seconds"),
        ((0.0, 0.0, 0.0), 10.0, 0.0, "an idle fleet has a cost and no price"),
    ],
)
def test_impossible_work_has_no_price(
    busy_s: tuple[float, float, float], available_s: float, kv_busy_s: float, words: str
) -> None:
    """Rather no price than one that hides a mistake of the model below."""
    with pytest.raises(ValueError, match=words):
        simple(busy_s, available_s, kv_busy_s=kv_busy_s)


def test_a_cost_without_tokens_is_a_mistake() -> None:
    """A price of nothing would lose money unseen."""
    found = split(1.0, 2.0, Work(np.ones((1, 3)) / 3, np.zeros((1, 3)), np.asarray(0.0)))
    with pytest.raises(ValueError, match="work and tokens disagree"):
        price_list(found, np.array([[1.0, 0.0, 1.0]]), tiers=ANY_CONTEXT)


def test_residence_without_holders_is_a_mistake() -> None:
    """Seconds of reading KV belong to somebody."""
    with pytest.raises(ValueError, match="nobody held any"):
        split(1.0, 9.0, Work(np.ones((1, 3)), np.zeros((1, 3)), np.asarray(1.0)))


def test_a_kind_that_was_not_served_has_no_price() -> None:
    """Not 0, which would read as free."""
    found = split(1.0, 2.0, Work(np.array([[1.0, 0.0, 1.0]]), np.zeros((1, 3)), np.asarray(0.0)))
    prices = price_list(found, np.array([[1.0, 0.0, 1.0]]), tiers=ANY_CONTEXT)
    assert np.isnan(prices.price(Kind.CACHED))
    assert prices.conservation_error == 0


def test_a_margin_below_the_whole_cost_is_refused() -> None:
    """Prices cannot be negative."""
    with pytest.raises(ValueError, match="at least -100%"):
        simple((1.0, 1.0, 1.0), 3.0).with_margin(-1.5)


def test_charging_the_hour_to_input_and_again_to_output_takes_it_twice() -> None:
    """InferenceX's two prices bring twice the cost; ours bring it once."""
    prices = simple((20.0, 0.0, 80.0), 100.0)
    twice = charged_twice_usd_per_mtok(100.0, 2e6, 1e6)
    assert twice[0] * 2 + twice[1] * 1 == pytest.approx(200.0)
    assert prices.revenue_usd == pytest.approx(100.0)


def test_tiers_are_named_by_their_limit() -> None:
    """As tables show them."""
    assert [tier.label for tier in USUAL_TIERS] == ["≤ 32K", "≤ 128K", "any"]
    assert Tier(500).label == "≤ 500"
