"""The objective itself, and the break-even value of time that follows from it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.routing.score import break_even_usd_per_hour, score

money = st.floats(0, 10)
seconds = st.floats(0, 1000)
share = st.floats(0, 1)


def test_a_host_that_never_fails_costs_its_dollars_and_its_seconds() -> None:
    """With no failures the score is dollars plus the value of the time, whatever the fallback."""
    assert score(0.01, 20.0, 0.001, 0.0, 5.0, 5.0, 5.0) == pytest.approx(0.03)


def test_a_host_that_always_fails_costs_the_failure_and_the_fallback() -> None:
    """With P_f = 1 nothing of its own price and speed counts."""
    assert score(0.01, 20.0, 0.001, 1.0, 0.002, 3.0, 0.5) == pytest.approx(0.002 + 0.003 + 0.5)


def test_a_fast_failure_costs_more_than_a_slow_success() -> None:
    """A host that fails at once costs more than the slow one that it falls back to."""
    slow_success = score(0.01, 60.0, 0.001, 0.0, 0.0, 0.0, 9.0)
    fast_failure = score(0.0, 0.1, 0.001, 1.0, 0.0, 0.1, slow_success)
    assert fast_failure > slow_success


@given(money, seconds, share, share, money, seconds, money)
def test_arrays_and_scalars_give_the_same_score(
    dollars: float, time_s: float, usd_per_s: float, p: float, wasted: float, known_s: float, fallback: float
) -> None:
    """The market's arrays and the gateway's floats go through one line: equal to the last bit."""
    scalar = score(dollars, time_s, usd_per_s, p, wasted, known_s, fallback)
    inputs = [
        np.array([value, value]) for value in (dollars, time_s, usd_per_s, p, wasted, known_s, fallback)
    ]
    assert list(score(*inputs)) == [scalar, scalar]


@given(money, seconds, share, share, money, seconds, money, money)
def test_a_dearer_answer_never_scores_less(
    dollars: float,
    time_s: float,
    usd_per_s: float,
    p: float,
    wasted: float,
    known_s: float,
    fallback: float,
    more: float,
) -> None:
    """The score grows with each cost."""
    base = score(dollars, time_s, usd_per_s, p, wasted, known_s, fallback)
    slack = 1e-9 * (1.0 + base)
    assert score(dollars + more, time_s, usd_per_s, p, wasted, known_s, fallback) >= base - slack
    assert score(dollars, time_s + more, usd_per_s, p, wasted, known_s, fallback) >= base - slack
    assert score(dollars, time_s, usd_per_s, p, wasted, known_s, fallback + more) >= base - slack


@pytest.mark.parametrize(
    ("extra_usd", "saved_s", "expected"),
    [
        (0.00393, 20.0, 0.7074),
        (0.009855, 25.0, 1.41912),
        (0.0, 20.0, 0.0),
        (-0.001, 20.0, 0.0),
        (0.001, 0.0, math.inf),
        (0.001, -1.0, math.inf),
    ],
)
def test_the_break_even_is_the_extra_price_over_the_time_saved(
    extra_usd: float, saved_s: float, expected: float
) -> None:
    """$0.00393 over 20 s is $0.71/h and $0.009855 over 25 s is $1.42/h; free speed pays at once."""
    assert break_even_usd_per_hour(extra_usd=extra_usd, saved_s=saved_s) == pytest.approx(expected)


@given(st.floats(1e-6, 1), st.floats(1e-3, 1000))
def test_at_the_break_even_both_scores_are_equal(extra_usd: float, saved_s: float) -> None:
    """The closed form and the score agree on where two hosts swap."""
    usd_per_s = break_even_usd_per_hour(extra_usd=extra_usd, saved_s=saved_s) / SECONDS_PER_HOUR
    dear_fast = score(0.01 + extra_usd, 5.0, usd_per_s, 0.0, 0.0, 0.0, 0.0)
    cheap_slow = score(0.01, 5.0 + saved_s, usd_per_s, 0.0, 0.0, 0.0, 0.0)
    assert dear_fast == pytest.approx(cheap_slow)
