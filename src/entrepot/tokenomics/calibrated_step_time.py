"""Bends the fitted step times of one deployment through a few of its own measurements.

A scale for all of a step would leave its shape to the fit; a straight line in the load would forget the
physics. In between: parts that do not depend on the load, those that grow with the batch, experts, and
prompts are scaled apart, each shrunk to the model as far as the measurements do not tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from entrepot.tokenomics.coefficients import DeploymentCoefficients, Spread
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.operating_point import Loads, mean_steps
from entrepot.tokenomics.step_terms import BATCH_TERMS, PROMPT_TERMS, TERMS, Floats

MEASURED_SIGMA = 0.02  # log units: two runs of one configuration differ by about this
SCALE_SIGMA = 0.15  # log units: how far a group of parts is off the model; the best of 0.15 and 0.35
COMMON_SIGMA = 0.25  # and all of them together
CALIBRATED = Spread(low=0.91, high=1.10)
"""80 % of the errors out of sample of models that are bent through one middle load."""

_ROUNDS = 12
_ENOUGH = 1e-4  # log units
_LEAST, _MOST = np.log(0.05), np.log(20.0)  # a scale beyond is a mistake in the records, not a machine


class LoadPoint(Struct, frozen=True, kw_only=True):
    """TPOT that was measured at a load.

    Units: requests at once on the replica, mean tokens of prompts and outputs, mean seconds.
    """

    concurrency: float
    prompt_tokens: float
    output_tokens: float
    tpot_s: float


def calibrated(
    deployment: Deployment, known: DeploymentCoefficients, points: Sequence[LoadPoint]
) -> DeploymentCoefficients:
    """Return the coefficients of a deployment, bent through points that were measured on it.

    The spread is that of predictions from one measured load: `CALIBRATED`.
    """
    if not points:
        return known
    loads = loads_at(points)
    target = np.log([point.tpot_s for point in points])
    scales = np.zeros(len(_GROUPS) + 1)
    precision = 1.0 / np.array([COMMON_SIGMA, *[SCALE_SIGMA] * len(_GROUPS)]) ** 2
    for _ in range(_ROUNDS):
        mean = mean_steps(deployment, _scaled(known.values, scales), loads)
        parts = mean.parts * _scaled(known.values, scales)
        share = parts @ _MEMBERS.T / mean.tpot_s[:, None]
        slope = np.hstack([np.ones((len(points), 1)), share])
        residual = target - np.log(mean.tpot_s)
        matrix = slope.T @ slope / MEASURED_SIGMA**2 + np.diag(precision)
        move = np.linalg.solve(matrix, slope.T @ residual / MEASURED_SIGMA**2 - precision * scales)
        scales = np.clip(scales + np.clip(move, -1.0, 1.0), _LEAST, _MOST)
        if np.max(np.abs(move)) < _ENOUGH:
            break
    return replace(known, values=_scaled(known.values, scales), spread=CALIBRATED)


def loads_at(points: Sequence[LoadPoint]) -> Loads:
    """Return the loads of measured points. Shapes: arrays (n,)."""
    return Loads(
        concurrency=np.array([point.concurrency for point in points]),
        prompt_tokens=np.array([point.prompt_tokens for point in points]),
        output_tokens=np.array([point.output_tokens for point in points]),
    )


_EXPERTS = ("experts",)
_FIXED = tuple(name for name in TERMS if name not in {*BATCH_TERMS, *PROMPT_TERMS, *_EXPERTS})
_GROUPS = (_FIXED, BATCH_TERMS, _EXPERTS, PROMPT_TERMS)
_MEMBERS: Floats = np.array([[float(name in group) for name in TERMS] for group in _GROUPS])


def _scaled(values: Floats, scales: Floats) -> Floats:
    """Return the coefficients with the common scale and those of groups. Shapes: (terms,), (1 + groups,)."""
    bent: Floats = values * np.exp(scales[0] + scales[1:] @ _MEMBERS)
    return bent
