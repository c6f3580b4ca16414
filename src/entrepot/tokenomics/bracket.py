"""Where a monotone answer changes: bisection, as models of steps have kinks that derivatives miss."""

from __future__ import annotations

from collections.abc import Callable

_HALVINGS = 200  # more than a float's bits: the bracket closes before


def largest(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return the largest number between `low` and `high` for which it holds; it holds at `low`.

    What holds at a number has to hold at every smaller one.
    """
    if holds(high):
        return high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if holds(middle):
            low = middle
        else:
            high = middle
    return low
