"""Anybody's measurements beside what the shipped coefficients say of them: nothing is fitted here.

The cross-validation tells what the model is worth on rows that were held out of a fit. Who has rows of their
own wants to know what it is worth on those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from entrepot.tokenomics.coefficients import StepCoefficients
from entrepot.tokenomics.measured_point import MeasuredPoint
from entrepot.tokenomics.measured_series import NEARLY_EQUAL, mean_steps_of, operating_key
from entrepot.tokenomics.step_model import of_point
from entrepot.tokenomics.step_terms import Floats
from entrepot.tokenomics.validation.errors import (
    Figures,
    coverage_figures,
    error_figures,
    errors_by,
    load_name,
)


class Predicted(Struct, frozen=True, eq=False):
    """Measurements and what was predicted of them.

    Shapes: (n,). Units: seconds; `*_low` and `*_high` are the ends of 80 % intervals, as factors. `is_seen`
    says that the coefficients were fitted to the same measurement.
    """

    points: tuple[MeasuredPoint, ...]
    tpot_s: Floats
    tpot_low: Floats
    tpot_high: Floats
    ttft_s: Floats
    is_seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def predicted(
    points: Sequence[MeasuredPoint], coefficients: StepCoefficients, fitted: Sequence[MeasuredPoint]
) -> Predicted:
    """Return TPOT and TTFT of measurements by coefficients that were fitted to `fitted`. Shapes: n ≥ 1."""
    mean = mean_steps_of(points, of_point(coefficients))
    known = [coefficients.of(point.deployment, is_assumed=bool(point.assumed)) for point in points]
    waits = np.array([one.first_token.waits for one in known])
    by_key: dict[object, list[float]] = {}
    for point in fitted:
        by_key.setdefault(operating_key(point), []).append(point.tpot_s)
    seen = [
        any(abs(point.tpot_s / tpot_s - 1) <= NEARLY_EQUAL for tpot_s in by_key.get(operating_key(point), ()))
        for point in points
    ]
    return Predicted(
        points=tuple(points),
        tpot_s=mean.tpot_s,
        tpot_low=np.array([one.spread.low for one in known]),
        tpot_high=np.array([one.spread.high for one in known]),
        ttft_s=np.maximum((mean.waits * waits).sum(axis=1), mean.least_ttft_s),
        is_seen=np.array(seen, dtype=np.bool_),
    )


def row_figures(found: Predicted) -> dict[str, Figures]:
    """Return the errors of TPOT, in all and of rows that were not seen, its intervals, and mean TTFT."""
    unseen, whole = ~found.is_seen, np.array([not point.is_split for point in found.points])
    measured, every = _tpot(found), np.ones(len(found.points))
    figures = {
        "TPOT": error_figures(found.tpot_s, measured, every),
        "TPOT, not fitted to": error_figures(found.tpot_s[unseen], measured[unseen], every[unseen]),
    }
    if unseen.any():
        low, high = found.tpot_s * found.tpot_low, found.tpot_s * found.tpot_high
        figures["80 % intervals, not fitted to"] = coverage_figures(
            measured[unseen], low[unseen], high[unseen], every[unseen]
        )
    ttft = np.array([point.ttft_s for point in found.points])
    figures["mean TTFT, aggregated"] = error_figures(found.ttft_s[whole], ttft[whole], every[whole])
    return figures


def row_tables(found: Predicted) -> Mapping[str, Mapping[str, Figures]]:
    """Return the errors of TPOT by GPU, backend, model, mode and load."""
    plans, measured = [point.deployment for point in found.points], _tpot(found)
    keys = {
        "gpu": [plan.hardware.name for plan in plans],
        "backend": [plan.backend for plan in plans],
        "model": [plan.architecture.name for plan in plans],
        "mode": [point.deployment.mode + (", assumed" if point.assumed else "") for point in found.points],
        "load": [load_name(point.concurrency) for point in found.points],
    }
    every = np.ones(len(measured))
    return {
        name: errors_by(values.__getitem__, found.tpot_s, measured, every) for name, values in keys.items()
    }


def _tpot(found: Predicted) -> Floats:
    return np.array([point.tpot_s for point in found.points])
