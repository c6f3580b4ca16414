"""TPOT without calibration, on series, devices and models that the fit did not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from entrepot.domain.errors import DataError
from entrepot.tokenomics.coefficients import levels_of, spread_for
from entrepot.tokenomics.measured_point import MeasuredPoint
from entrepot.tokenomics.measured_series import Groups, straddling_pairs
from entrepot.tokenomics.step_model import HeldOut, held_out, spreads_of
from entrepot.tokenomics.step_terms import Floats
from entrepot.tokenomics.validation.errors import (
    Figures,
    coverage_figures,
    error_figures,
    errors_by,
    load_name,
)

_FOLDS = 5


class CrossValidation(Struct, frozen=True):
    """Measurements that are possible, and what fits without their own series predict of them."""

    points: tuple[MeasuredPoint, ...]
    groups: Groups
    folds: list[str]
    unseen: HeldOut


def cross_validated(points: Sequence[MeasuredPoint]) -> CrossValidation:
    """Return what five fits, each without a fifth of the series, predict of the rest.

    Shapes: n points, all of deployments that fit in memory.
    Raises: DataError when nearly equal measurements are in different folds: a test that is none.
    """
    groups = Groups(points)
    folds = groups.folds(points, _FOLDS)
    if straddling_pairs(points, folds):
        raise DataError("nearly equal measurements are in different folds: the split of series is wrong")
    names = [str(fold) for fold in folds]
    return CrossValidation(tuple(points), groups, names, held_out(points, names))


def tpot_figures(done: CrossValidation, *, rows: int) -> dict[str, object]:
    """Return the errors of TPOT: aggregated, by group, left out, split, and of all `rows` of the source."""
    points = done.points
    whole = [at for at, point in enumerate(points) if not point.is_split]
    known = [at for at, point in enumerate(points) if point.is_split and not point.assumed]
    assumed = [at for at, point in enumerate(points) if point.assumed]
    everything = error_figures(done.unseen.tpot_s, _measured(points), _plain_weight(done))
    return {
        "straddling_pairs": straddling_pairs(points, [int(fold) for fold in done.folds]),
        "aggregated": _errors(done, whole),
        "by": _by(done, whole),
        "gpu_left_out": left_out([points[at] for at in whole], "system"),
        "model_left_out": left_out([points[at] for at in whole], "model"),
        "split_known_workers": _errors(done, known),
        "split_assumed_workers": _errors(done, assumed),
        "all_rows": {**everything, "answered": round(len(points) / rows, 4)},
        "intervals": interval_figures(done, whole),
        "intervals_split": interval_figures(done, known),
    }


def left_out(points: Sequence[MeasuredPoint], factor: str) -> Figures:
    """Return the errors on levels of a factor (`system` or `model`), each by a fit that never saw it."""
    groups = Groups(points)
    parts = [levels_of(point.deployment)[factor] for point in points]
    unseen = held_out(points, parts, has_effects=False)
    return error_figures(unseen.tpot_s, _measured(points), groups.weight)


def interval_figures(done: CrossValidation, rows: Sequence[int]) -> Figures:
    """Return how many measurements are in their 80 % interval, each interval made without the row's fold."""
    low, high = np.zeros(len(done.points)), np.zeros(len(done.points))
    for fold in sorted(set(done.folds)):
        others = [at for at, own in enumerate(done.folds) if own != fold]
        seen = [done.points[at] for at in others]
        spreads, everything = spreads_of(seen, Groups(seen), done.unseen.tpot_s[others])
        for at, own in enumerate(done.folds):
            if own == fold:
                spread = spread_for(spreads, done.points[at].deployment, everything)
                low[at], high[at] = spread.low, spread.high
    asked = np.array(rows, dtype=np.int64)
    predicted = done.unseen.tpot_s[asked]
    measured, weight = _measured(done.points)[asked], done.groups.weight[asked]
    return coverage_figures(measured, predicted * low[asked], predicted * high[asked], weight)


def _by(done: CrossValidation, rows: Sequence[int]) -> dict[str, dict[str, Figures]]:
    at = np.array(rows, dtype=np.int64)
    predicted, measured = done.unseen.tpot_s[at], _measured(done.points)[at]
    weight = done.groups.weight[at]
    plans = [done.points[row].deployment for row in rows]
    loads = [done.points[row].concurrency for row in rows]
    everyone = np.arange(len(done.points))
    modes = [point.deployment.mode + (", assumed" if point.assumed else "") for point in done.points]
    return {
        "gpu": errors_by(lambda i: plans[i].hardware.name, predicted, measured, weight),
        "backend": errors_by(lambda i: plans[i].backend, predicted, measured, weight),
        "model": errors_by(lambda i: plans[i].architecture.name, predicted, measured, weight),
        "load": errors_by(lambda i: load_name(loads[i]), predicted, measured, weight),
        "mode": errors_by(
            lambda i: modes[i],
            done.unseen.tpot_s[everyone],
            _measured(done.points),
            _plain_weight(done),
        ),
    }


def _errors(done: CrossValidation, rows: Sequence[int]) -> Figures:
    at = np.array(rows, dtype=np.int64)
    return error_figures(done.unseen.tpot_s[at], _measured(done.points)[at], done.groups.weight[at])


def _measured(points: Sequence[MeasuredPoint]) -> Floats:
    return np.array([point.tpot_s for point in points])


def _plain_weight(done: CrossValidation) -> Floats:
    """Return weights that count every distinct measurement alike, those with an assumed layout too."""
    return done.groups.distinct_weight
