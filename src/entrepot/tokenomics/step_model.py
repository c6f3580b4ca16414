"""Makes the coefficients of step times from measurements, with the errors they have on what they did not see.

What runs when the shipped file is made and again, fold by fold, when it is validated: one function for
both, so that the figures of the validation are those of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from entrepot.tokenomics.coefficients import (
    FACTORS,
    NO_SPREAD,
    DeploymentCoefficients,
    Spread,
    StepCoefficients,
    levels_of,
    spread_key,
    spread_of,
)
from entrepot.tokenomics.first_token import first_tokens_of, fit_first_tokens
from entrepot.tokenomics.measured_point import MeasuredPoint
from entrepot.tokenomics.measured_series import CoefficientsOf, Groups, joined, mean_steps_of, sample_of
from entrepot.tokenomics.operating_point import MeanSteps
from entrepot.tokenomics.step_fit import PRIORS, fit
from entrepot.tokenomics.step_terms import TERMS, Floats

_DIGITS = 4  # of logarithms: a hundredth of a percent


def fit_coefficients(
    points: Sequence[MeasuredPoint], groups: Groups | None = None, *, has_effects: bool = True
) -> StepCoefficients:
    """Return coefficients fitted to measurements, without spreads; without effects all is unseen.

    The requests being answered at each point depend on the coefficients, so that these are fitted three
    times: from priors, from what fits without effects, and from what fits with them.
    """
    groups = groups or Groups(points)
    start = np.exp([PRIORS[name][0] for name in TERMS])
    plain = fit(sample_of(points, groups.weight, lambda _: start))
    better = np.exp(plain.base)
    sample = sample_of(points, groups.weight, lambda _: better)
    plain = fit(sample)
    if not has_effects:
        return _coefficients((), groups, plain.base, plain.base, {}, {})
    rich = fit(sample, factors=FACTORS)
    found = _coefficients(points, groups, plain.base, rich.base, rich.effects, rich.versions)
    sample = sample_of(points, groups.weight, of_point(found))
    rich = fit(sample, factors=FACTORS)
    return _coefficients(points, groups, plain.base, rich.base, rich.effects, rich.versions)


def of_point(coefficients: StepCoefficients) -> CoefficientsOf:
    """Return what gives the coefficients of a measured point's deployment."""
    return lambda point: _known(coefficients, point).values


def _known(coefficients: StepCoefficients, point: MeasuredPoint) -> DeploymentCoefficients:
    return coefficients.of(point.deployment, is_assumed=bool(point.assumed))


class HeldOut(Struct, frozen=True, eq=False):
    """Predictions of measurements by fits that saw no other of their part.

    Shapes: n points, of all.
    """

    mean: MeanSteps
    known: tuple[DeploymentCoefficients, ...]

    @property
    def tpot_s(self) -> Floats:
        """Return TPOT as predicted: (n,), s."""
        return self.mean.tpot_s


def held_out(points: Sequence[MeasuredPoint], parts: Sequence[str], *, has_effects: bool = True) -> HeldOut:
    """Return the mean steps of every measurement, each predicted by a fit that saw no other of its part.

    Shapes: n points, the part of each. Devices and models that were never seen have no effects:
    `has_effects` off gives the same for them in a tenth of the time.
    """
    means, known = [], {}
    for part in sorted(set(parts)):
        outside = [point for point, own in zip(points, parts, strict=True) if own != part]
        at = [index for index, own in enumerate(parts) if own == part]
        found = fit_coefficients(outside, has_effects=has_effects)
        means.append((at, mean_steps_of([points[index] for index in at], of_point(found))))
        known.update({index: _known(found, points[index]) for index in at})
    return HeldOut(joined(means), tuple(known[index] for index in range(len(points))))


def fit_step_times(
    points: Sequence[MeasuredPoint], *, source: str, rng: np.random.Generator
) -> StepCoefficients:
    """Return coefficients with their errors out of sample: what is shipped."""
    groups = Groups(points)
    found = fit_coefficients(points, groups)
    folds = [str(fold) for fold in groups.folds(points)]
    unseen = held_out(points, folds)
    spreads, everything = spreads_of(points, groups, unseen.tpot_s)
    seen = first_tokens_of(points, unseen.mean, unseen.known, rng)
    return replace(
        found,
        spreads=spreads,
        everything=everything,
        unseen=unseen_spread([point for point in points if not point.is_split]),
        first_tokens=fit_first_tokens(seen, groups, folds).by_backend,
        source=source,
    )


def spreads_of(
    points: Sequence[MeasuredPoint], groups: Groups, tpot_s: Floats
) -> tuple[dict[str, Spread], Spread]:
    """Return the errors by `spread_key` and by mode, and of all.

    Shapes: n points; (n,) seconds predicted unseen.
    """
    residuals = np.log([point.tpot_s for point in points]) - np.log(tpot_s)
    certain = [index for index, point in enumerate(points) if not point.assumed]
    everything = _spread(residuals, groups, certain, None)
    by_mode: dict[str, list[int]] = {}
    by_key: dict[str, list[int]] = {}
    for index in certain:
        by_mode.setdefault(points[index].deployment.mode, []).append(index)
        by_key.setdefault(spread_key(points[index].deployment), []).append(index)
    spreads = {mode: _spread(residuals, groups, by_mode[mode], everything) for mode in sorted(by_mode)}
    for key in sorted(by_key):
        of_mode = spreads[points[by_key[key][0]].deployment.mode]
        spreads[key] = _spread(residuals, groups, by_key[key], of_mode)
    return spreads, everything


def _spread(residuals: Floats, groups: Groups, rows: Sequence[int], everything: Spread | None) -> Spread:
    series = len({groups.series[index] for index in rows})
    return spread_of(residuals[rows], groups.weight[rows], series=series, everything=everything)


def unseen_spread(points: Sequence[MeasuredPoint]) -> Spread:
    """Return the errors on devices and on models that were left out whole, both together."""
    groups = Groups(points)
    measured = np.log([point.tpot_s for point in points])
    residuals = []
    for factor in ("system", "model"):
        parts = [levels_of(point.deployment)[factor] for point in points]
        residuals.append(measured - np.log(held_out(points, parts, has_effects=False).tpot_s))
    both = np.concatenate(residuals)
    return spread_of(both, np.concatenate([groups.weight, groups.weight]), series=len(set(groups.series)))


def _coefficients(
    points: Sequence[MeasuredPoint],
    groups: Groups,
    overall: Floats,
    base: Floats,
    effects: Mapping[str, Mapping[str, Floats]],
    versions: Mapping[str, float],
) -> StepCoefficients:
    seen: dict[str, dict[str, set[int]]] = {factor: {} for factor in FACTORS}
    for point, series in zip(points, groups.series, strict=False):
        for factor, level in levels_of(point.deployment, is_assumed=bool(point.assumed)).items():
            seen[factor].setdefault(level, set()).add(series)
    return StepCoefficients(
        terms=TERMS,
        overall=_rounded(overall),
        base=_rounded(base),
        effects={
            factor: {level: _rounded(values) for level, values in by_level.items()}
            for factor, by_level in effects.items()
        },
        versions={version: round(shift, _DIGITS) for version, shift in versions.items()},
        series={factor: {level: len(at) for level, at in sorted(seen[factor].items())} for factor in FACTORS},
        spreads={},
        everything=NO_SPREAD,
        unseen=NO_SPREAD,
        first_tokens={},
    )


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values)
