"""A jump is noticed within a few observations, and chance is hardly ever taken for one."""

from __future__ import annotations

from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.routing.kpi.shift import ALARM, MOST_AT_ONCE, SLACK, ShiftTest


def observations_until(surprise_mean: float, seed: int, most: int = 1000) -> int:
    """Return after how many normal surprises around this mean a jump is believed."""
    random, test = Random(seed), ShiftTest()
    return next(
        (count for count in range(1, most + 1) if test.has_jumped(random.gauss(surprise_mean, 1.0))), most
    )


@pytest.mark.parametrize("seed", range(4))
def test_chance_is_hardly_ever_taken_for_a_jump(seed: int) -> None:
    """At most a few false alarms in 50,000 surprises without any jump."""
    random, test = Random(seed), ShiftTest()
    assert sum(test.has_jumped(random.gauss(0.0, 1.0)) for _ in range(50_000)) <= 4


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_a_jump_of_three_standard_deviations_is_noticed_after_about_four(direction: float) -> None:
    """In both directions; hardly ever after more than eight."""
    counts = sorted(observations_until(3.0 * direction, seed) for seed in range(500))
    assert fmean(counts) < 5.0
    assert counts[-5] <= 8


@pytest.mark.parametrize(("jump", "most"), [(1.5, 16.0), (2.0, 9.0), (5.0, 3.5)])
def test_a_larger_jump_is_noticed_sooner(jump: float, most: float) -> None:
    """The evidence has to come together: the less each surprise says, the more it takes."""
    assert fmean(observations_until(jump, seed) for seed in range(200)) < most


def test_one_outlier_is_no_jump() -> None:
    """However far off: a stall of one answer says nothing of the next."""
    test = ShiftTest()
    assert not test.has_jumped(1e9)
    assert not any(test.has_jumped(0.0) for _ in range(20))
    assert ALARM > MOST_AT_ONCE - SLACK


def test_the_side_says_which_way_it_goes_and_since_when() -> None:
    """0 while nothing points to a jump, else the sign; after an alarm it still tells the direction."""
    test = ShiftTest()
    assert test.side == 0
    test.has_jumped(0.1)
    assert test.side == 0
    test.has_jumped(2.0)
    assert test.side == 1
    test.has_jumped(-1.0)
    test.has_jumped(-1.0)
    assert test.side == -1
    while not test.has_jumped(-3.0):
        assert test.side == -1
    assert test.side == -1
    test.has_jumped(0.0)
    assert test.side == 0


@given(st.lists(st.floats(-100, 100), max_size=60))
def test_the_two_directions_are_alike(surprises: list[float]) -> None:
    """Mirrored surprises jump at the same instants, to the other side."""
    one, other = ShiftTest(), ShiftTest()
    for surprise in surprises:
        assert one.has_jumped(surprise) == other.has_jumped(-surprise)
        assert one.side == -other.side
