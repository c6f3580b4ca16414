"""Capacity is learned from 429s under load: where it begins, and that below it a host stays usable."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.routing.kpi.load_limit import CLASSES, LoadLimit, load_class


def limited(capacity: int, count: int = 600, always: float = 0.0) -> LoadLimit:
    """Return what is learned of a host that refuses from `capacity` on, and a share `always`."""
    random, limit = Random(1), LoadLimit()
    for _ in range(count):
        load = random.randrange(40)
        limit.add(load, 1.0, 1.0, refused=load >= capacity or random.random() < always)
    return limit


def test_low_load_stays_usable_when_high_load_is_refused() -> None:
    """A host for ten at once answers the first of us, and refuses the thirtieth."""
    shares = limited(10).shares
    assert shares[load_class(0)] < 0.05
    assert shares[load_class(4)] < 0.05
    assert shares[load_class(30)] > 0.9


def test_one_429_under_load_does_not_shut_out_the_idle_host() -> None:
    """Even when nothing else was ever seen there."""
    limit = LoadLimit()
    limit.add(20, 1.0, 1.0, refused=True)
    assert limit.shares[load_class(0)] == 0.0
    assert 0.2 < limit.shares[load_class(20)] < 0.5


def test_loads_that_were_never_reached_are_taken_to_be_as_bad_as_the_last() -> None:
    """Nobody refuses less when more is under way."""
    limit = LoadLimit()
    for _ in range(50):
        limit.add(8, 1.0, 1.0, refused=True)
    assert limit.shares[load_class(200)] >= limit.shares[load_class(8)] > 0.9


def test_a_host_that_refuses_some_at_any_load_is_told_from_one_that_is_full() -> None:
    """Since others share it: the share at low load is that of any load."""
    shares = limited(1000, count=6000, always=0.2).shares
    assert shares[load_class(2)] == pytest.approx(0.2, abs=0.07)
    assert shares[load_class(30)] < 0.3


def test_capacity_that_came_back_is_found_again() -> None:
    """When refusals have faded to a thousandth, new answers count."""
    limit = limited(10)
    limit.scale(1e-3)
    for _ in range(30):
        limit.add(30, 1.0, 1.0, refused=False)
    assert limit.shares[load_class(30)] < 0.1


@given(st.lists(st.tuples(st.integers(0, 5000), st.booleans()), max_size=50))
def test_shares_never_fall_with_load_and_are_shares(rows: list[tuple[int, bool]]) -> None:
    """Whatever was seen."""
    limit = LoadLimit()
    for load, refused in rows:
        limit.add(load, 1.0, 1.0, refused=refused)
    assert limit.shares == sorted(limit.shares)
    assert all(0.0 <= share < 1.0 for share in limit.shares)


@given(st.integers(0, 100_000))
def test_classes_grow_with_the_load_and_are_bounded(load: int) -> None:
    """Two for each doubling."""
    assert 0 <= load_class(load) <= load_class(load + 1) < CLASSES


def test_what_was_kept_comes_back_and_damage_is_refused() -> None:
    """The counts are the whole state."""
    first, second = limited(10), LoadLimit()
    second.restore(first.tried, first.refused)
    second.refresh(1.0)
    assert second.shares == first.shares
    for damaged in ([1.0], [-1.0] * CLASSES, [float("nan")] * CLASSES, [float("inf")] * CLASSES):
        with pytest.raises(ValueError, match="finite numbers"):
            second.restore(damaged, first.refused)
