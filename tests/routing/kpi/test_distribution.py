"""The decayed histogram: exact means, quantiles to two percent, censored samples that count as at least."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.routing.kpi.distribution import BUCKETS, GAMMA, Distribution

HALF_BUCKET = math.sqrt(GAMMA)
samples = st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=50)


def of(values: list[float], weight: float = 1.0) -> Distribution:
    """Return the distribution of the values, each with the same weight."""
    distribution = Distribution(1e-4)
    for value in values:
        distribution.add(value, weight)
    return distribution


@given(samples)
def test_the_mean_is_exact(values: list[float]) -> None:
    """Sums are kept beside the buckets, so the mean has no error of the buckets."""
    assert of(values).mean() == pytest.approx(sum(values) / len(values))


@given(samples, st.floats(0.01, 1.0))
def test_a_quantile_is_within_half_a_bucket(values: list[float], share: float) -> None:
    """The value told is within 2 % of the sample at that rank (or of one beside it, where ranks round)."""
    ranked = sorted(values)
    told = of(values).quantile(share)
    assert told is not None
    exact = math.ceil(share * len(ranked)) - 1
    near = {ranked[min(max(rank, 0), len(ranked) - 1)] for rank in (exact - 1, exact, exact + 1)}
    assert any(value / HALF_BUCKET * 0.999 <= told <= value * HALF_BUCKET * 1.001 for value in near)


def test_nothing_was_seen_of_an_empty_distribution() -> None:
    """Without samples there is no mean, no quantile and no tail."""
    empty = Distribution(1e-4)
    assert (empty.mean(), empty.quantile(0.5), empty.mean_beyond(1.0)) == (None, None, None)


def test_heavier_samples_count_for_more() -> None:
    """A weight of three is three samples."""
    distribution = of([1.0])
    distribution.add(5.0, 3.0)
    assert distribution.mean() == 4.0
    assert distribution.quantile(0.5) == pytest.approx(5.0, rel=0.02)


@given(samples, st.floats(1e-3, 1e4))
def test_a_censored_sample_counts_as_at_least_and_never_lowers_the_mean(
    values: list[float], cut: float
) -> None:
    """It is placed at or beyond where it was cut; impatient clients do not make a slow host look fast."""
    distribution = of(values)
    before = sum(values) / len(values)
    placed = distribution.at_least(cut, expected=before)
    assert placed >= cut
    distribution.add(placed, 1.0)
    after = distribution.mean()
    assert after is not None
    assert after >= before / HALF_BUCKET


def test_a_censored_sample_is_placed_by_the_samples_beyond_it() -> None:
    """Cut at 5 s of 1, 10 and 30 s: the answer would have taken 10 or 30 s."""
    assert of([1.0, 10.0, 30.0]).at_least(5.0, expected=1.0) == pytest.approx(20.0, rel=0.02)


def test_a_censored_sample_beyond_all_others_is_placed_where_it_was_cut() -> None:
    """Nothing is known beyond 40 s, and it took at least as long."""
    assert of([1.0, 10.0, 30.0]).at_least(40.0, expected=1.0) == 40.0


def test_a_censored_sample_before_any_other_is_placed_as_expected() -> None:
    """A client that leaves after a second does not make a declared 25 s a second."""
    assert Distribution(1e-4).at_least(1.0, expected=25.0) == 25.0


def test_moving_the_landmark_changes_no_estimate() -> None:
    """All weights by one factor: the same mean and quantiles."""
    distribution = of([1.0, 2.0, 9.0])
    before = distribution.mean(), distribution.quantile(0.5), distribution.mean_beyond(1.5)
    distribution.scale(2.0**-200)
    after = distribution.mean(), distribution.quantile(0.5), distribution.mean_beyond(1.5)
    assert after == pytest.approx(before)


@given(samples)
def test_what_was_kept_comes_back(values: list[float]) -> None:
    """Buckets and total are the whole state."""
    first, second = of(values), Distribution(1e-4)
    second.restore(first.buckets(), total=first.total)
    assert (second.mean(), second.quantile(0.9)) == pytest.approx((first.mean(), first.quantile(0.9)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_sample_that_is_no_duration_is_refused(value: float) -> None:
    """One NaN would make every later mean a NaN."""
    with pytest.raises(ValueError, match="expected a finite number"):
        Distribution(1e-4).add(value, 1.0)


@pytest.mark.parametrize(("value", "told"), [(0.0, 1e-4), (1e-9, 1e-4), (1e12, 1e-4 * GAMMA**BUCKETS)])
def test_samples_out_of_range_go_to_the_outermost_buckets(value: float, told: float) -> None:
    """They are counted, and their mean stays exact."""
    distribution = of([value])
    assert distribution.mean() == value
    assert distribution.quantile(0.5) == pytest.approx(told, rel=0.03)


@pytest.mark.parametrize(
    ("buckets", "total"),
    [([(BUCKETS, 1.0)], 1.0), ([(-1, 1.0)], 1.0), ([(0, math.nan)], 1.0), ([], math.inf)],
)
def test_kept_buckets_that_cannot_be_are_refused(buckets: list[tuple[int, float]], total: float) -> None:
    """A damaged file raises instead of poisoning what is learned after it."""
    with pytest.raises(ValueError, match="expected"):
        Distribution(1e-4).restore(buckets, total=total)
