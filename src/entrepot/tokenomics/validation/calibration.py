"""TPOT of a series calibrated by a few of its own loads, against a straight line through the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from entrepot.tokenomics.calibrated_step_time import LoadPoint, calibrated, loads_at
from entrepot.tokenomics.coefficients import DeploymentCoefficients
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.operating_point import mean_steps
from entrepot.tokenomics.step_terms import Floats
from entrepot.tokenomics.validation.errors import Figures, error_figures
from entrepot.tokenomics.validation.tpot import CrossValidation

_FEWEST_LOADS = 3


class Series(Struct, frozen=True):
    """The loads of one configuration, ascending, and what was known of it from other series."""

    deployment: Deployment
    known: DeploymentCoefficients
    points: tuple[LoadPoint, ...]


def calibration_figures(done: CrossValidation) -> dict[str, Figures]:
    """Return the errors of TPOT between, beyond and around the loads that a series is calibrated by.

    The model that is bent has not seen the series. `line_*` are those of a straight line in concurrency.
    """
    found: dict[str, list[tuple[float, float]]] = {
        name: [] for name in ("between", "beyond", "around_middle", "line_between", "line_beyond")
    }
    for series in _series(done):
        points = series.points
        first, last, middle = points[0], points[-1], points[len(points) // 2]
        found["between"] += _pairs(series, (first, last), points[1:-1])
        found["beyond"] += _pairs(series, points[:2], points[-1:])
        others = [point for point in points if point is not middle]
        found["around_middle"] += _pairs(series, (middle,), others)
        found["line_between"] += _line_pairs((first, last), points[1:-1])
        found["line_beyond"] += _line_pairs(points[:2], points[-1:])
    return {name: _figures(pairs) for name, pairs in found.items()}


def _series(done: CrossValidation) -> list[Series]:
    """Return the aggregated series with at least three loads; repeats of a load are their median."""
    by_series: dict[int, dict[float, list[int]]] = {}
    for at, (point, series) in enumerate(zip(done.points, done.groups.series, strict=True)):
        if not point.is_split:
            by_series.setdefault(series, {}).setdefault(point.concurrency, []).append(at)
    found = []
    for loads in by_series.values():
        if len(loads) < _FEWEST_LOADS:
            continue
        rows = [loads[concurrency] for concurrency in sorted(loads)]
        first = rows[0][0]
        plan, known = done.points[first].deployment, done.unseen.known[first]
        found.append(Series(plan, known, tuple(_load_point(done, same) for same in rows)))
    return found


def _load_point(done: CrossValidation, rows: Sequence[int]) -> LoadPoint:
    point = done.points[rows[0]]
    return LoadPoint(
        concurrency=point.concurrency,
        prompt_tokens=point.prompt_tokens,
        output_tokens=point.output_tokens,
        tpot_s=float(np.median([done.points[row].tpot_s for row in rows])),
    )


def _pairs(
    series: Series, given: Sequence[LoadPoint], asked: Sequence[LoadPoint]
) -> list[tuple[float, float]]:
    known = calibrated(series.deployment, series.known, given)
    predicted: Floats = mean_steps(series.deployment, known.values, loads_at(asked)).tpot_s
    return [(float(one), point.tpot_s) for one, point in zip(predicted, asked, strict=True)]


def _line_pairs(given: Sequence[LoadPoint], asked: Sequence[LoadPoint]) -> list[tuple[float, float]]:
    low, high = given
    slope = (high.tpot_s - low.tpot_s) / (high.concurrency - low.concurrency)
    return [(low.tpot_s + slope * (one.concurrency - low.concurrency), one.tpot_s) for one in asked]


def _figures(pairs: Sequence[tuple[float, float]]) -> Figures:
    predicted, measured = (np.array(column) for column in zip(*pairs, strict=True))
    return error_figures(predicted, measured, np.ones(len(pairs)))
