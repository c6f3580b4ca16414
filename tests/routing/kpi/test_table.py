"""A distribution ready for reading: quantiles, shares and capped means, against the samples themselves."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.routing.kpi.distribution import BUCKETS, GAMMA, Distribution
from entrepot.routing.kpi.table import WEIGHTS, Table, log_normal_shares

LOWEST = 1e-3
EMPTY = (0.0,) * BUCKETS
samples = st.lists(st.floats(LOWEST, 1e4), min_size=1, max_size=60)


def of(values: list[float], assumed: tuple[float, ...] = EMPTY, pseudo: float = 0.0) -> Table:
    """Return the table of the values, each of weight 1, and of an assumed shape."""
    distribution = Distribution(LOWEST)
    for value in values:
        distribution.add(value, 1.0)
    return Table(distribution, assumed, pseudo)


@settings(deadline=None)
@given(samples, st.floats(LOWEST, 1e4))
def test_the_share_up_to_a_value_is_that_of_the_samples(values: list[float], at: float) -> None:
    """To the width of a bucket: between the shares up to a bucket less and a bucket more."""
    share = of(values).share_up_to(at)
    low, high = (sum(value <= bound for value in values) / len(values) for bound in (at / GAMMA, at * GAMMA))
    assert low - 1e-9 <= share <= high + 1e-9


@settings(deadline=None)
@given(samples, st.floats(0.01, 1.0))
def test_a_quantile_is_the_sample_at_its_rank_to_a_bucket(values: list[float], share: float) -> None:
    """Its bucket holds the sample at that rank (or a neighbour where ranks round)."""
    ranked = sorted(values)
    told = of(values).quantile(share)
    exact = math.ceil(share * len(ranked)) - 1
    near = {ranked[min(max(rank, 0), len(ranked) - 1)] for rank in (exact - 1, exact, exact + 1)}
    assert any(value / GAMMA * 0.999 <= told <= value * GAMMA * 1.001 for value in near)


@settings(deadline=None)
@given(samples, st.floats(1e-4, 2e4))
def test_a_capped_mean_is_that_of_the_capped_samples(values: list[float], cap: float) -> None:
    """E[min(X, cap)], as counted one by one; never above the cap or the mean."""
    table = of(values)
    capped = table.mean_capped(cap)
    assert capped == pytest.approx(fmean(min(value, cap) for value in values), rel=GAMMA - 1)
    assert capped <= cap * 1.0000001


@settings(deadline=None)
@given(samples)
def test_the_mean_is_that_of_the_samples_to_half_a_bucket(values: list[float]) -> None:
    """It is taken from the buckets, so that shares, quantiles and means belong together."""
    assert of(values).mean == pytest.approx(fmean(values), rel=GAMMA**0.5 - 1 + 1e-6)


@settings(deadline=None)
@given(samples, st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_quantiles_and_shares_grow_with_what_is_asked(values: list[float], shares: list[float]) -> None:
    """And a quantile is not exceeded by less than its share, to a bucket."""
    table = of(values)
    told = [table.quantile(share) for share in sorted(shares)]
    assert told == sorted(told)
    for share in shares:
        assert table.share_up_to(table.quantile(share) * GAMMA) >= share - 1e-9


def test_the_points_stand_for_the_distribution() -> None:
    """Values with weights: their mean is near that of the samples, and so is what lies above any of them."""
    random = Random(1)
    values = [random.lognormvariate(0.0, 0.8) for _ in range(5000)]
    table = of(values)
    assert sum(WEIGHTS) == pytest.approx(1.0)
    assert list(table.points) == sorted(table.points, reverse=True)
    mean = sum(weight * point for weight, point in zip(WEIGHTS, table.points, strict=True))
    assert mean == pytest.approx(fmean(values), rel=0.05)
    for at in (0.5, 1.0, 2.0, 6.0):
        above = sum(weight for weight, point in zip(WEIGHTS, table.points, strict=True) if point > at)
        assert above == pytest.approx(sum(value > at for value in values) / len(values), abs=0.08)


@pytest.mark.parametrize(("mean", "spread"), [(1.0, 0.4), (1.0, 1.0), (20.0, 0.1)])
def test_an_assumed_shape_is_log_normal(mean: float, spread: float) -> None:
    """All of it, with its mean and its quantiles."""
    shares = log_normal_shares(LOWEST, mean, spread)
    assert sum(shares) == pytest.approx(1.0)
    table = Table(Distribution(LOWEST), shares, 7.0)
    assert table.mean == pytest.approx(mean, rel=0.01)
    median = mean * math.exp(-spread * spread / 2)
    assert table.quantile(0.5) == pytest.approx(median, rel=0.02)
    assert table.quantile(0.9) == pytest.approx(median * math.exp(1.2816 * spread), rel=0.03)


def test_an_assumed_shape_weighs_as_much_as_its_count_and_gives_way_to_samples() -> None:
    """Five samples at the median and a shape of five: between the two; of five hundred nothing is left."""
    shape = log_normal_shares(LOWEST, 1.0, 1.0)
    assumed, few, many = (of([0.6] * count, shape, 5.0).quantile(0.9) for count in (0, 5, 500))
    assert assumed > few > many
    assert many == pytest.approx(0.6, rel=0.05)


def test_nothing_is_below_nothing() -> None:
    """A limit of zero is kept by nobody; one far beyond the last bucket by all."""
    table = of([0.5, 5.0])
    assert table.share_up_to(0.0) == 0.0
    assert table.share_up_to(-1.0) == 0.0
    assert table.share_up_to(1e30) == 1.0
    assert table.mean_capped(0.0) == 0.0


def test_a_table_tells_what_was_known_when_it_was_made() -> None:
    """It is worked out when it is first read; what came in between does not change it."""
    distribution = Distribution(LOWEST)
    distribution.add(1.0, 1.0)
    table, read_at_once = Table(distribution, EMPTY, 0.0), Table(distribution, EMPTY, 0.0)
    told = (read_at_once.mean, read_at_once.quantile(0.5), read_at_once.share_up_to(2.0))
    distribution.add(100.0, 9.0)
    distribution.scale(0.5)
    assert (table.mean, table.quantile(0.5), table.share_up_to(2.0)) == told
