"""Errors of predictions in the few figures by which models of speed are compared."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from entrepot.tokenomics.coefficients import weighted_quantile
from entrepot.tokenomics.step_terms import Floats

Figures = dict[str, float]
_LOADS = ((8, "up to 8 requests"), (64, "9 to 64"), (512, "65 to 512"), (np.inf, "more than 512"))
_FEWEST = 5  # rows of a group that is reported


def error_figures(predicted: Floats, measured: Floats, weight: Floats) -> Figures:
    """Return the median and 90 % of the absolute relative error, and the median with its sign.

    Shapes: (n,). Units: errors are parts of what was measured; `rows` rows, `distinct` the sum of weights.
    """
    if not len(measured):
        return {"rows": 0.0}
    error = predicted / measured - 1.0
    return {
        "rows": float(len(error)),
        "distinct": round(float(weight.sum()), 1),
        "median": _rounded(weighted_quantile(np.abs(error), weight, 0.5)),
        "p90": _rounded(weighted_quantile(np.abs(error), weight, 0.9)),
        "bias": _rounded(weighted_quantile(error, weight, 0.5)),
    }


def coverage_figures(measured: Floats, low: Floats, high: Floats, weight: Floats) -> Figures:
    """Return which part of measurements is in its interval, and the median width, high / low.

    Shapes: (n,).
    """
    inside = (measured >= low) & (measured <= high)
    return {
        "rows": float(len(measured)),
        "covered": _rounded(float((weight * inside).sum() / weight.sum())),
        "width": _rounded(weighted_quantile(high / low, weight, 0.5)),
    }


def errors_by(
    key: Callable[[int], Hashable], predicted: Floats, measured: Floats, weight: Floats
) -> dict[str, Figures]:
    """Return the error figures of each group of rows; `key` says the group of a row by its number."""
    groups: dict[str, list[int]] = {}
    for at in range(len(measured)):
        groups.setdefault(str(key(at)), []).append(at)
    return {
        name: error_figures(predicted[rows], measured[rows], weight[rows])
        for name, rows in sorted(groups.items())
        if len(rows) >= _FEWEST
    }


def load_name(concurrency: float) -> str:
    """Return what tables call a load. Units: requests at once."""
    return next(name for most, name in _LOADS if concurrency <= most)


def take(values: Floats, rows: Sequence[int]) -> Floats:
    """Return the values of some rows; of none an empty array."""
    return values[np.array(rows, dtype=np.int64)]


def _rounded(value: float) -> float:
    return round(float(value), 4)
