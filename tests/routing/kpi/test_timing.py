"""A duration and its growth with load: shrunk to the prior, never falling with load."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.routing.kpi.timing import LEAST_SHARE, PSEUDO_COUNT, Timing

observed = st.lists(st.tuples(st.floats(1e-3, 100), st.integers(0, 50)), max_size=40)


def timed(rows: list[tuple[float, int]]) -> Timing:
    """Return the timing of (seconds, others in flight) rows."""
    timing = Timing()
    for value_s, in_flight in rows:
        timing.add(value_s, 1.0, in_flight)
    return timing


def test_before_any_sample_the_prior_stands() -> None:
    """Declared or assumed, with no load term."""
    assert Timing().forecast(7.0, 1.0) == (7.0, 0.0)


def test_as_many_samples_as_the_pseudo_count_weigh_as_much_as_the_prior() -> None:
    """Five samples of 1 s against a prior of 3 s: 2 s."""
    assert timed([(1.0, 0)] * int(PSEUDO_COUNT)).forecast(3.0, 1.0)[0] == pytest.approx(2.0)


def test_many_samples_leave_nothing_of_the_prior() -> None:
    """A declared figure does not outlive the evidence."""
    assert timed([(1.0, 0)] * 5000).forecast(30.0, 1.0)[0] == pytest.approx(1.0, rel=0.05)


def test_samples_that_have_lost_their_weight_give_way_to_the_prior() -> None:
    """When an observation made now weighs a thousand times as much, the old ones hardly count."""
    assert timed([(1.0, 0)] * 10).forecast(3.0, 1000.0)[0] == pytest.approx(3.0, rel=0.01)


def test_a_growth_with_load_is_found() -> None:
    """1 s and half a second more for each attempt under way."""
    idle_s, slope_s = timed([(1.0 + 0.5 * load, load) for load in range(10)] * 20).forecast(1.0, 1.0)
    assert slope_s == pytest.approx(0.5, rel=0.05)
    assert idle_s == pytest.approx(1.0, rel=0.25)


def test_few_samples_do_not_make_a_load_term() -> None:
    """Two samples fit any line; it is shrunk to none."""
    _, slope_s = timed([(1.0, 0), (9.0, 1)]).forecast(5.0, 1.0)
    assert slope_s < 0.5


@given(observed, st.floats(0, 100))
def test_load_never_makes_faster_and_nothing_is_below_zero(
    rows: list[tuple[float, int]], prior_s: float
) -> None:
    """Whatever was seen, more attempts under way never shorten a forecast."""
    timing = timed(rows)
    idle_s, slope_s = timing.forecast(prior_s, 1.0)
    mean = timing.samples.mean() or 0.0
    assert slope_s >= 0.0
    assert idle_s >= LEAST_SHARE * min(mean or prior_s, prior_s) * 0.999


def test_a_censored_duration_counts_as_at_least() -> None:
    """Clients that leave after a second say nothing good of a host that takes twenty."""
    timing = timed([(20.0, 0)] * 10)
    for _ in range(10):
        timing.add_at_least(1.0, 1.0, 0, expected=20.0)
    assert timing.forecast(20.0, 1.0)[0] == pytest.approx(20.0, rel=0.02)


@given(observed, st.floats(0.1, 100))
def test_what_was_kept_comes_back(rows: list[tuple[float, int]], prior_s: float) -> None:
    """Buckets and sums are the whole state."""
    first, second = timed(rows), Timing()
    second.restore(first.samples.buckets(), first.sums())
    assert second.forecast(prior_s, 1.0) == pytest.approx(first.forecast(prior_s, 1.0))


def test_kept_sums_that_cannot_be_are_refused() -> None:
    """A damaged file raises instead of poisoning what is learned after it."""
    with pytest.raises(ValueError, match="expected"):
        Timing().restore([], (0.0, float("nan"), 0.0, 0.0))
