"""Which of many alternatives no other beats in everything."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_BLOCK = 256  # rows that are compared with the whole front at once


def pareto(costs: Array) -> Mask:
    """Return which rows no other row dominates: nowhere worse, and better somewhere.

    Shapes: (rows, objectives), smaller is better; infinite and missing (NaN) ones never win. Equal rows
    stand or fall together. In the order of their sum of ranks nobody is dominated by a later row, so each
    block is compared with the front so far and with itself: n × front, not n².
    """
    rows = np.flatnonzero(np.isfinite(costs).all(axis=1))
    distinct, place = np.unique(costs[rows], axis=0, return_inverse=True)
    ranks = np.zeros(len(distinct), dtype=np.int64)
    for column in distinct.T:
        ranks += np.unique(column, return_inverse=True)[1].reshape(-1)  # equal values have equal ranks
    ordered = np.argsort(ranks, kind="stable")
    front = np.empty((0, costs.shape[1]))
    is_best = np.zeros(len(distinct), dtype=bool)
    for start in range(0, len(ordered), _BLOCK):
        block = ordered[start : start + _BLOCK]
        block = block[~_dominated(distinct[block], front)]
        block = block[~_dominated(distinct[block], distinct[block])]
        is_best[block] = True
        front = np.concatenate([front, distinct[block]])
    kept = np.zeros(len(costs), dtype=bool)
    kept[rows] = is_best[place.reshape(-1)]
    return kept


def _dominated(rows: Array, by: Array) -> Mask:
    """Return which rows some row of `by` dominates; both (n, objectives)."""
    no_worse = np.ones((len(rows), len(by)), dtype=bool)
    better = np.zeros_like(no_worse)
    for at in range(rows.shape[1]):
        no_worse &= by[None, :, at] <= rows[:, None, at]
        better |= by[None, :, at] < rows[:, None, at]
    return np.asarray((no_worse & better).any(axis=1))
