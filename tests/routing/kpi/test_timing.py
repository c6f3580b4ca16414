"""A duration by prompt and load: shrunk to the prior, followed when it jumps, never falling with load."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.routing.kpi.regression import Coefficients
from entrepot.routing.kpi.timing import ASSUMED_SPREAD, LEAST_SPREAD, LOWEST_S, PSEUDO_COUNT, Timing

Row = tuple[float, int]
observed = st.lists(st.tuples(st.floats(1e-3, 100), st.integers(0, 50)), max_size=40)


def level(seconds: float) -> Coefficients:
    """Return the coefficients of a duration that depends on nothing."""
    return (seconds, 0.0, 0.0, 0.0)


def timed(rows: list[Row], prior_s: float = 1.0) -> Timing:
    """Return the timing of (seconds, others in flight) rows, fitted after each that matters."""
    timing = Timing(level(prior_s))
    for value_s, in_flight in rows:
        timing.add(value_s, 1.0, 0.0, in_flight)
        if timing.is_stale():
            timing.refit(level(prior_s), 1.0)
    return timing


def fitted(rows: list[Row], prior_s: float = 1.0, unit: float = 1.0) -> Timing:
    """Return the timing of the rows, fitted at last with an observation made now weighing `unit`."""
    timing = timed(rows, prior_s)
    timing.refit(level(prior_s), unit)
    return timing


def spread(count: int, mean_s: float, seed: int = 1) -> list[Row]:
    """Return durations around this mean as real hosts have them."""
    random = Random(seed)
    return [(mean_s * random.lognormvariate(-0.02, 0.2), 0) for _ in range(count)]


def test_before_any_sample_the_prior_stands() -> None:
    """Declared or assumed, with its part of the prompt and no load term."""
    timing = Timing((7.0, 0.5, 0.0, 0.0))
    assert timing.expected(0.0, 0.0) == 7.0
    assert timing.expected(2000.0, 9.0) == 8.0
    assert timing.log_spread == ASSUMED_SPREAD


def test_as_many_samples_as_the_pseudo_count_weigh_as_much_as_the_prior() -> None:
    """Five samples of 1 s against a prior of 1.5 s: halfway, as far as errors in proportion go."""
    assert fitted([(1.0, 0)] * int(PSEUDO_COUNT), prior_s=1.5).expected(0.0, 0) == pytest.approx(
        1.25, rel=0.05
    )


@pytest.mark.parametrize("prior_s", [0.01, 0.1, 10.0, 100.0])
def test_a_wrong_declaration_does_not_outweigh_a_few_dozen_observations(prior_s: float) -> None:
    """A host that declares a hundredth, or a hundred times, of what it takes is known for it soon."""
    assert fitted([(1.0, 0)] * 30, prior_s).expected(0.0, 0) == pytest.approx(1.0, rel=0.2)
    assert fitted([(1.0, 0)] * 5000, prior_s).expected(0.0, 0) == pytest.approx(1.0, rel=0.05)


def test_samples_that_have_lost_their_weight_give_way_to_the_prior() -> None:
    """When an observation made now weighs a thousand times as much, the old ones hardly count."""
    assert fitted([(1.0, 0)] * 10, 3.0, unit=1000.0).expected(0.0, 0) == pytest.approx(3.0, rel=0.01)


def test_a_growth_with_load_is_found() -> None:
    """1 s and half a second more for each attempt under way."""
    timing = fitted([(1.0 + 0.5 * load, load) for load in range(10)] * 40)
    assert timing.expected(0.0, 9) - timing.expected(0.0, 8) == pytest.approx(0.5, rel=0.05)
    assert timing.expected(0.0, 0) == pytest.approx(1.0, rel=0.1)


def test_few_samples_do_not_make_a_load_term() -> None:
    """Two samples fit any line; it is shrunk to none."""
    timing = fitted([(1.0, 0), (9.0, 1)], prior_s=5.0)
    assert timing.expected(0.0, 1) - timing.expected(0.0, 0) < 0.5


def test_prompt_and_load_are_told_apart() -> None:
    """TTFT = 0.5 s + 0.2 s per 1,000 tokens + 0.3 s per attempt under way, from mixed traffic."""
    random, timing = Random(3), Timing((0.5, 0.1, 0.0, 0.0))
    for _ in range(800):
        tokens, load = random.choice([100.0, 1000.0, 8000.0]), random.randrange(6)
        truth_s = 0.5 + 0.2 * tokens / 1000 + 0.3 * load
        timing.add(truth_s * random.lognormvariate(-0.005, 0.1), 1.0, tokens, load)
        if timing.is_stale():
            timing.refit((0.5, 0.1, 0.0, 0.0), 1.0)
    assert timing.expected(100.0, 0) == pytest.approx(0.52, rel=0.1)
    assert timing.expected(8000.0, 0) == pytest.approx(2.1, rel=0.1)
    assert timing.expected(100.0, 5) == pytest.approx(2.02, rel=0.1)
    assert timing.expected(8000.0, 5) == pytest.approx(3.6, rel=0.1)


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_a_threefold_jump_is_followed_within_ten_observations(factor: float) -> None:
    """Fading alone would take a half-life; what was before the jump is forgotten."""
    late = []
    for seed in range(20):
        timing = timed([*spread(200, 1.0, seed), *spread(10, factor, 100 + seed)])
        late.append(timing.expected(0.0, 0) / factor)
    assert sum(late) / len(late) == pytest.approx(1.0, rel=0.2)
    assert sum(0.7 < part < 1.4 for part in late) >= 18


def test_a_jump_is_told_when_it_is_noticed() -> None:
    """So that the holder fits anew at once; without one nothing is told."""
    timing = timed(spread(100, 1.0))
    assert not any(timing.add(value_s, 1.0, 0.0, 0) for value_s, _ in spread(50, 1.0, seed=2))
    assert any(timing.add(value_s, 1.0, 0.0, 0) for value_s, _ in spread(10, 4.0, seed=3))


def test_a_slow_drift_is_followed_by_fading() -> None:
    """Weights that grow with time: a mean that doubles over eight half-lives is followed to a tenth."""
    random, timing, count, half_life = Random(1), Timing(level(1.0)), 1600, 200
    for step in range(count):
        weight, truth_s = 2.0 ** (step / half_life), 1.0 + step / count
        timing.add(truth_s * random.lognormvariate(-0.02, 0.2), weight, 0.0, 0)
        timing.refit(level(1.0), weight)
    assert timing.expected(0.0, 0) == pytest.approx(2.0, rel=0.1)


def test_what_was_seen_far_too_low_does_not_weigh_for_ever() -> None:
    """Errors count in proportion to what is expected now, not to what was when each was seen."""
    timing = timed([*[(0.01, 0)] * 40, *[(1.0, 0)] * 40], prior_s=0.01)
    assert timing.expected(0.0, 0) == pytest.approx(1.0, rel=0.25)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.8])
def test_how_far_single_durations_lie_from_their_mean_is_learned(sigma: float) -> None:
    """The standard deviation of the logarithm, whatever the mean is; never less than a bucket."""
    random = Random(1)
    rows = [(3.0 * random.lognormvariate(-sigma * sigma / 2, sigma), 0) for _ in range(800)]
    assert fitted(rows, prior_s=3.0).log_spread == pytest.approx(sigma, rel=0.15)
    assert fitted([(3.0, 0)] * 800, prior_s=3.0).log_spread >= LEAST_SPREAD


@given(observed, st.floats(1e-3, 100))
def test_load_never_makes_faster_and_nothing_is_below_the_least(rows: list[Row], prior_s: float) -> None:
    """Whatever was seen, more attempts under way or a longer prompt never shorten a forecast."""
    timing = fitted(rows, prior_s)
    assert min(timing.fit) >= 0.0
    assert timing.expected(0.0, 0) >= LOWEST_S
    assert timing.expected(0.0, 5) >= timing.expected(0.0, 4)
    assert timing.expected(9000.0, 5) >= timing.expected(800.0, 5)


@given(observed, st.floats(1e-3, 100), st.sampled_from([2.0**-256, 0.5, 2.0**100]))
def test_moving_the_landmark_changes_no_estimate(rows: list[Row], prior_s: float, factor: float) -> None:
    """All weights, and that of an observation made now, by one factor."""
    plain, moved = timed(rows, prior_s), timed(rows, prior_s)
    moved.scale(factor)
    plain.refit(level(prior_s), 1.0)
    moved.refit(level(prior_s), factor)
    assert moved.fit == pytest.approx(plain.fit, rel=1e-6, abs=1e-6)
    assert moved.log_spread == pytest.approx(plain.log_spread)


def test_a_censored_duration_counts_as_at_least() -> None:
    """Clients that leave after a second say nothing good of a host that takes twenty."""
    timing = fitted([(20.0, 0)] * 40, prior_s=20.0)
    for _ in range(40):
        timing.add_at_least(1.0, 1.0, 0.0, 0)
    timing.refit(level(20.0), 1.0)
    assert timing.expected(0.0, 0) == pytest.approx(20.0, rel=0.03)


def test_censored_durations_that_are_longer_than_expected_lengthen_it() -> None:
    """Clients that waited 90 s in vain say that a host of 20 s has become slow."""
    timing = fitted([(20.0, 0)] * 40, prior_s=20.0)
    for _ in range(40):
        timing.add_at_least(90.0, 1.0, 0.0, 0)
        timing.refit(level(20.0), 1.0)
    assert timing.expected(0.0, 0) > 60.0


@given(observed, st.floats(0.1, 100))
def test_what_was_kept_comes_back(rows: list[Row], prior_s: float) -> None:
    """Buckets and sums are the whole state, but for a jump that was not certain yet."""
    first, second = timed(rows, prior_s), Timing(level(1.0))
    second.restore(first.samples.buckets(), first.parts.buckets(), first.kept())
    assert second.fit == first.fit
    first.refit(level(prior_s), 1.0)
    second.refit(level(prior_s), 1.0)
    assert second.fit == pytest.approx(first.fit)
    assert second.log_spread == first.log_spread
    assert second.parts.weights == first.parts.weights


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_kept_sums_that_cannot_be_are_refused(bad: float) -> None:
    """A damaged file raises instead of poisoning what is learned after it."""
    timing = Timing(level(1.0))
    kept = timing.kept()
    for place in range(len(kept)):
        with pytest.raises(ValueError, match="expected"):
            Timing(level(1.0)).restore([], [], [*kept[:place], bad, *kept[place + 1 :]])
    with pytest.raises(ValueError, match="expected"):
        Timing(level(1.0)).restore([], [], kept[:-1])
