"""Fits the coefficients of step times to measurements: additive parts, in the logarithm of TPOT.

Ordinary least squares in seconds would fit the slowest systems and no other; a product of efficiencies cannot
say that a layer takes its time whatever is in it. Gauss-Newton on logarithms of coefficients keeps each one
positive; a Huber loss keeps rows that no physics explains from bending it; a prior at what each kind of
hardware usually reaches stands where the measurements say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entrepot.tokenomics.step_terms import TERMS, Floats

HUBER = 0.1  # log units: beyond a tenth a residual counts by its size, not by its square
PRIOR_STRENGTH = 10.0
EFFECT_STRENGTH = 2.0
VERSION_STRENGTH = 3.0
_ROUNDS = 40
_ENOUGH = 1e-5
_LARGEST_STEP = 1.5
LOWEST, HIGHEST = -8.0, 6.0  # logarithms of coefficients: no part is off its peak by more

PRIORS: Mapping[str, tuple[float, float]] = {
    "weights": (0.2, 2.0),
    "experts": (0.3, 2.0),
    "kv": (0.3, 2.0),
    "flops": (0.4, 1.0),
    "attention_flops": (0.4, 1.0),
    "links": (0.4, 0.3),
    "link_latency": (0.7, 0.1),
    "exchange": (0.5, 0.5),
    "layer": (2.5, 0.1),
    "moe_layer": (2.5, 0.1),
    "linear_layer": (2.5, 0.1),
    "index_layer": (3.6, 0.5),
    "step": (0.3, 0.02),
    "request": (0.3, 0.02),
    "request_layer": (0.3, 0.02),
    "stage": (2.5, 1.0),
    "prompt_flops": (0.4, 2.0),
    "prompt_attention": (0.6, 1.0),
    "prompt_links": (0.4, 0.3),
    "prompt_exchange": (0.3, 1.0),
    "prompt_layer": (0.3, 0.02),
    "prompt_experts": (0.3, 1.0),
}
"""Logarithm of each coefficient before any measurement, and how firmly. Reads reach 75 to 80 % of the
bandwidth and matrices 65 % of the peak; links 70 %; a layer launches about ten kernels and its indexer
about thirteen, of 3 µs each (what one takes on these devices at least, by aiconfigurator-core 0.12.0,
`mem_empirical_constant_latency`)."""

_SHARED: Mapping[str, float] = {"prompt_attention": 5.0, "attention_flops": 5.0, "kv": 2.0}
"""How many times as firmly effects are held at none: attention is one kernel on all systems, and what short
contexts leave undecided would be multiplied at long ones."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Measurements as the fit sees them.

    Shapes: `parts` (n, len(TERMS)) seconds at peak; `log_tpot`, `weight` (n,); `levels` n texts by factor;
    `versions` n texts.
    """

    parts: Floats
    log_tpot: Floats
    weight: Floats
    levels: Mapping[str, Sequence[str]]
    versions: Sequence[str]

    def take(self, index: NDArray[np.int64]) -> Sample:
        """Return the sample of the rows at `index`."""
        return Sample(
            self.parts[index],
            self.log_tpot[index],
            self.weight[index],
            {name: [texts[i] for i in index] for name, texts in self.levels.items()},
            [self.versions[i] for i in index],
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """Logarithms of coefficients: of all, and what each level of a factor and each version add.

    Shapes: `base` and each effect (len(TERMS),).
    """

    base: Floats
    effects: Mapping[str, Mapping[str, Floats]]
    versions: Mapping[str, float]


def fit(sample: Sample, *, factors: Sequence[str] = (), strength: float = EFFECT_STRENGTH) -> Fit:
    """Return the coefficients that explain a sample, with effects by level of the named factors.

    Without factors it also has no effects by version: what holds for systems that were never seen.
    """
    names = [sorted(set(sample.levels[factor])) for factor in factors]
    versions = sorted(set(sample.versions)) if factors else []
    rows = len(sample.log_tpot)
    blocks = [np.ones((rows, 1))]
    blocks += [_dummies(sample.levels[factor], levels) for factor, levels in zip(factors, names, strict=True)]
    problem = _Problem(
        sample=sample,
        design=np.hstack(blocks),
        shifts=_dummies(sample.versions, versions),
        strength=strength,
    )
    beta, shift = problem.solve()
    effects: dict[str, dict[str, Floats]] = {}
    row = 1
    for factor, levels in zip(factors, names, strict=True):
        effects[factor] = {level: beta[row + at] for at, level in enumerate(levels)}
        row += len(levels)
    return Fit(beta[0], effects, dict(zip(versions, (float(value) for value in shift), strict=True)))


def _dummies(texts: Sequence[str], levels: Sequence[str]) -> Floats:
    column = {level: at for at, level in enumerate(levels)}
    matrix = np.zeros((len(texts), len(levels)))
    if levels:
        matrix[np.arange(len(texts)), [column[text] for text in texts]] = 1.0
    return matrix


class _Problem:
    """The penalised loss of a sample, and its minimum by damped Gauss-Newton steps."""

    def __init__(self, *, sample: Sample, design: Floats, shifts: Floats, strength: float) -> None:
        self._sample, self._design, self._shifts = sample, design, shifts
        groups = design.shape[1]
        self._prior = np.zeros((groups, len(TERMS)))
        self._penalty = strength * np.tile([_SHARED.get(name, 1.0) for name in TERMS], (groups, 1))
        self._prior[0] = [PRIORS[name][0] for name in TERMS]
        self._penalty[0] = [PRIOR_STRENGTH * PRIORS[name][1] for name in TERMS]

    def solve(self) -> tuple[Floats, Floats]:
        """Return the coefficients by group and the shifts by version."""
        beta, shift, damping = self._prior.copy(), np.zeros(self._shifts.shape[1]), 1.0
        loss = self._loss(beta, shift)
        for _ in range(_ROUNDS):
            hessian, gradient = self._slope(beta, shift)
            for _ in range(8):
                step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
                moved = beta + np.clip(step[: beta.size].reshape(beta.shape), -_LARGEST_STEP, _LARGEST_STEP)
                shifted = shift + step[beta.size :]
                better = self._loss(moved, shifted)
                if better < loss:
                    break
                damping *= 4
            else:
                break
            beta, shift, damping = moved, shifted, max(damping / 5, 1e-6)
            if loss - better < _ENOUGH * loss:
                break
            loss = better
        return beta, shift

    def _predicted(self, beta: Floats, shift: Floats) -> tuple[Floats, Floats]:
        parts = self._sample.parts * np.exp(np.clip(self._design @ beta, LOWEST, HIGHEST))
        return parts, np.log(parts.sum(axis=1)) + self._shifts @ shift

    def _loss(self, beta: Floats, shift: Floats) -> float:
        residual = np.abs(self._sample.log_tpot - self._predicted(beta, shift)[1])
        cost = np.where(residual < HUBER, residual * residual / 2, HUBER * (residual - HUBER / 2)) / HUBER
        prior = float((self._penalty * (beta - self._prior) ** 2).sum())
        return float((self._sample.weight * cost).sum()) + 0.5 * (
            prior + VERSION_STRENGTH * float((shift * shift).sum())
        )

    def _slope(self, beta: Floats, shift: Floats) -> tuple[Floats, Floats]:
        """Return the Gauss-Newton matrix and the downhill direction."""
        parts, predicted = self._predicted(beta, shift)
        residual = self._sample.log_tpot - predicted
        weight = self._sample.weight / np.maximum(np.abs(residual), HUBER)
        share = parts / parts.sum(axis=1, keepdims=True)
        jacobian = (self._design[:, :, None] * share[:, None, :]).reshape(len(residual), -1)
        jacobian = np.hstack([jacobian, self._shifts])
        hessian = jacobian.T @ (jacobian * weight[:, None])
        penalty = np.concatenate([self._penalty.ravel(), np.full(len(shift), VERSION_STRENGTH)])
        away = np.concatenate([(beta - self._prior).ravel(), shift])
        hessian[np.diag_indices_from(hessian)] += penalty
        return hessian, jacobian.T @ (weight * residual) - penalty * away
