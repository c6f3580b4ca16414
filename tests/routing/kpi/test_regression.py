"""The fit of a duration: it finds what made the data, is never negative, and gives way to its prior."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.routing.kpi.regression import (
    FIRST_PRODUCT,
    SUMS,
    TOKENS_PER_UNIT,
    Coefficients,
    add_to,
    empty_sums,
    pull_towards,
    solved,
)

NOTHING = (0.0, 0.0, 0.0, 0.0)
WEAK = (1e-9, 1e-9, 1e-9, 1e-9)
Row = tuple[float, int, float]

rows = st.lists(
    st.tuples(st.floats(0, 100_000), st.integers(0, 50), st.floats(1e-3, 100)), min_size=1, max_size=30
)
priors = st.tuples(*[st.floats(0, 10)] * 4)


def summed(observed: list[Row], weight: float = 1.0) -> list[float]:
    """Return the sums of (tokens, in flight, seconds) rows of one weight."""
    sums = empty_sums()
    for tokens, in_flight, seconds in observed:
        add_to(sums, tokens, in_flight, seconds, weight)
    return sums


def made(truth: Coefficients, spread: float = 0.0) -> list[Row]:
    """Return rows at all prompts and loads of a grid, which these coefficients made."""
    random = Random(5)
    level, per_unit, per_attempt, per_both = truth
    grid = product((0, 500, 4000, 30_000), (0, 1, 4, 12), range(5))
    return [
        (
            float(tokens),
            load,
            (level + tokens / 1000 * per_unit + load * (per_attempt + tokens / 1000 * per_both))
            * random.lognormvariate(0.0, spread),
        )
        for tokens, load, _ in grid
    ]


@pytest.mark.parametrize(
    "truth", [(2.0, 0.1, 0.5, 0.02), (0.3, 0.0, 0.0, 0.0), (0.0, 0.4, 0.0, 0.0), (1.0, 0.0, 0.25, 0.1)]
)
def test_the_coefficients_that_made_the_data_are_found(truth: Coefficients) -> None:
    """Without noise to a thousandth, whichever of them are nothing."""
    assert solved(summed(made(truth)), NOTHING, WEAK) == pytest.approx(truth, rel=1e-3, abs=1e-3)


def test_they_are_found_under_noise() -> None:
    """With durations spread by a third around their mean, to a fifth."""
    found = solved(summed(made((2.0, 0.1, 0.5, 0.02), spread=0.3) * 3), NOTHING, WEAK)
    assert found[1:] == pytest.approx((0.1, 0.5, 0.02), rel=0.4)


def test_without_observations_the_prior_stands() -> None:
    """Whatever its strength."""
    assert solved(empty_sums(), (3.0, 0.2, 0.1, 0.0), (1.0, 1.0, 2.0, 2.0)) == pytest.approx(
        (3.0, 0.2, 0.1, 0.0)
    )


def test_a_prior_counts_as_many_observations_as_its_strength() -> None:
    """Five of 1 s and a prior of 3 s with a strength of five: 2 s."""
    assert solved(summed([(0.0, 0, 1.0)] * 5), (3.0, 0.0, 0.0, 0.0), (5.0,) * 4)[0] == pytest.approx(2.0)


def test_a_part_that_would_be_negative_is_left_out_and_the_others_fit_without_it() -> None:
    """Answers that got shorter with load say that load does nothing, not that it helps."""
    level, _, per_attempt, _ = solved(summed([(0.0, 0, 3.0), (0.0, 9, 1.0)] * 50), NOTHING, WEAK)
    assert per_attempt == 0.0
    assert level == pytest.approx(2.0)


@given(rows, priors, st.floats(1e-3, 100))
def test_no_coefficient_is_ever_negative_or_infinite(
    observed: list[Row], prior: Coefficients, strength: float
) -> None:
    """Load and length never make an answer faster."""
    found = solved(summed(observed), prior, (strength,) * 4)
    assert all(0.0 <= value < 1e9 for value in found)


@given(rows, priors, st.floats(0.1, 10), st.sampled_from([2.0**-200, 0.5, 3.0, 2.0**200]))
def test_weights_mean_something_only_in_proportion(
    observed: list[Row], prior: Coefficients, strength: float, factor: float
) -> None:
    """Scaled sums and strengths give the same fit: the landmark of the decay does not matter."""
    plain = solved(summed(observed), prior, (strength,) * 4)
    scaled = solved([factor * kept for kept in summed(observed)], prior, (factor * strength,) * 4)
    assert scaled == pytest.approx(plain, rel=1e-6, abs=1e-6)


@given(rows, priors, st.floats(0.1, 10))
def test_no_other_coefficients_fit_better(observed: list[Row], prior: Coefficients, strength: float) -> None:
    """Where none was left out the fit has the least squared errors, the pull of the prior included."""

    def error(at: Coefficients) -> float:
        total = strength * sum((a - b) ** 2 for a, b in zip(at, prior, strict=True))
        for tokens, load, seconds in observed:
            u = tokens / TOKENS_PER_UNIT
            total += (at[0] + u * at[1] + load * (at[2] + u * at[3]) - seconds) ** 2
        return total

    found = solved(summed(observed), prior, (strength,) * 4)
    if all(value > 0.0 for value in found):
        least = error(found)
        for place, step in product(range(4), (-1e-3, 1e-3)):
            moved = list(found)
            moved[place] += step * max(1.0, moved[place])
            assert error((moved[0], moved[1], moved[2], moved[3])) >= least * (1 - 1e-9) - 1e-9


def test_the_sums_have_the_upper_triangle_and_the_products() -> None:
    """One row at 2,000 tokens and three attempts under way, written out."""
    sums = summed([(2000.0, 3, 5.0)])
    x = (1.0, 2.0, 3.0, 6.0)
    triangle = [x[i] * x[j] for i in range(4) for j in range(i, 4)]
    assert sums == pytest.approx([*triangle, *(5.0 * value for value in x)])
    assert (len(sums), FIRST_PRODUCT) == (SUMS, len(triangle))


@given(st.floats(0, 1e5), st.integers(0, 40), st.floats(0.01, 50))
def test_rows_without_a_prompt_or_a_load_are_summed_alike(tokens: float, load: int, seconds: float) -> None:
    """The short ways for zeros give what the long one gives."""
    u = tokens / TOKENS_PER_UNIT
    x = (1.0, u, float(load), u * load)
    expected = [x[i] * x[j] for i in range(4) for j in range(i, 4)] + [seconds * value for value in x]
    assert summed([(tokens, load, seconds)]) == pytest.approx(expected)


def test_a_pull_is_an_observation_of_one_coefficient() -> None:
    """It goes onto the diagonal and the product, and nowhere else."""
    sums = empty_sums()
    pull_towards(sums, (1.0, 2.0, 3.0, 4.0), (10.0, 20.0, 30.0, 40.0))
    kept = {place: value for place, value in enumerate(sums) if value}
    assert kept == {0: 10.0, 4: 20.0, 7: 30.0, 9: 40.0, 10: 10.0, 11: 40.0, 12: 90.0, 13: 160.0}


@given(
    st.lists(st.tuples(st.just(0.0), st.integers(0, 50), st.floats(1e-3, 100)), max_size=30),
    priors,
    st.floats(1e-6, 1e3),
)
def test_durations_without_tokens_are_fitted_as_others_are(
    observed: list[Row], prior: Coefficients, strength: float
) -> None:
    """The short way for them gives what the long way does, which a vanishing token makes it take."""
    sums, strengths = summed(observed), (strength, strength, 2 * strength, 2 * strength)
    short = solved(sums, prior, strengths)
    sums[1] = 1e-300
    assert short == pytest.approx(solved(sums, prior, strengths), rel=1e-9, abs=1e-12)
