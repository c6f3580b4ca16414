"""The front has all that nothing beats, and nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from entrepot.tokenomics.pareto import pareto
from entrepot.tokenomics.price import Array

small = arrays(np.float64, st.tuples(st.integers(0, 40), st.just(3)), elements=st.integers(0, 5).map(float))


@given(small)
def test_the_front_is_what_comparing_all_pairs_finds(costs: Array) -> None:
    """With ties, which stand or fall together."""
    expected = [not any((other <= row).all() and (other < row).any() for other in costs) for row in costs]
    assert list(pareto(costs)) == expected


def test_the_front_is_found_across_blocks() -> None:
    """More rows than are compared at once: a line of trade-offs, and everything behind it."""
    place = np.linspace(0, 1, 1500)
    line = np.stack([place, 1 - place], axis=1)
    behind = line + 0.01
    assert list(pareto(np.concatenate([behind, line]))) == [False] * 1500 + [True] * 1500


def test_what_is_infinite_or_missing_never_wins() -> None:
    """Points that do not fit are no alternatives, even where nothing else is."""
    costs = np.array([[1.0, np.inf], [np.nan, 0.0], [2.0, 2.0]])
    assert list(pareto(costs)) == [False, False, True]
    assert not pareto(costs[:2]).any()
