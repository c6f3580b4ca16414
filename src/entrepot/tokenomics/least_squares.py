"""Nonlinear least squares in a few unknowns whose function is a simulation: derivatives are differences.

Levenberg and Marquardt's method in twenty lines, since a simulation has no derivative and scipy would be the
only dependency of this package beside numpy.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from entrepot.tokenomics.arrivals import Floats

_STEP = 0.03
_LONGEST = 0.7
_ROUNDS = 12
_TRIES = 6
_ENOUGH = 1e-3


class Minimum(NamedTuple):
    """Where the squares are least. Shapes: (unknowns,), (unknowns, unknowns)."""

    at: Floats
    covariance: Floats
    squares: float


def minimise(residuals: Callable[[Floats], Floats], start: Floats) -> Minimum:
    """Return the point near `start` with the least sum of squared residuals.

    Unknowns are logarithms or of that size: differences are 0.03 wide, which steps over the small jumps that
    a simulation has where an event changes its place. The covariance is of residuals in units of their own
    sd.
    """
    at, here = start.copy(), residuals(start)
    damping = 0.01
    slopes = _slopes(residuals, at, here)
    for _ in range(_ROUNDS):
        step = _better(residuals, at, here, slopes, damping)
        if step is None:
            break
        damping = step.damping
        gained = 1.0 - float(step.there @ step.there) / float(here @ here)
        at, here = at + step.move, step.there
        slopes = _slopes(residuals, at, here)
        if gained < _ENOUGH:
            break
    normal = slopes.T @ slopes
    covariance = np.asarray(np.linalg.inv(normal + 1e-9 * np.eye(len(at))), dtype=np.float64)
    return Minimum(at, covariance, float(here @ here))


class _Step(NamedTuple):
    move: Floats
    there: Floats
    damping: float


def _better(
    residuals: Callable[[Floats], Floats], at: Floats, here: Floats, slopes: Floats, damping: float
) -> _Step | None:
    squares = float(here @ here)
    normal = slopes.T @ slopes + 1e-9 * np.eye(len(at))
    for _ in range(_TRIES):
        move = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -slopes.T @ here)
        move = np.clip(move, -_LONGEST, _LONGEST)
        there = residuals(at + move)
        if float(there @ there) < squares:
            return _Step(move, there, damping / 5.0)
        damping = damping * 10.0 + 0.01
    return None


def _slopes(residuals: Callable[[Floats], Floats], at: Floats, here: Floats) -> Floats:
    columns = [(residuals(at + _STEP * unit) - here) / _STEP for unit in np.eye(len(at))]
    return np.stack(columns, axis=1)
