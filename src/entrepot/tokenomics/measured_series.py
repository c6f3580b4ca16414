"""Groups measurements into series and joins those that are one measurement reported twice.

Splitting rows at random would test a model on what it was fitted to: dumps repeat each other, and
neighbours in a series differ by little more than the load. Whole series are held out, and what repeats is
held out together.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields
from itertools import pairwise

import numpy as np

from entrepot.tokenomics.coefficients import levels_of, version_key
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.measured_point import MeasuredPoint, shape_key
from entrepot.tokenomics.operating_point import Loads, MeanSteps, mean_steps
from entrepot.tokenomics.step_fit import Sample
from entrepot.tokenomics.step_terms import Floats

NEARLY_EQUAL = 0.01  # TPOT within this part at the same operating point is one measurement
ASSUMED_WEIGHT = 0.25  # of rows whose layout was assumed

CoefficientsOf = Callable[[MeasuredPoint], Floats]
"""What the parts of a step take on the deployment of a measurement. Shapes: (len(TERMS),)."""


class Groups:
    """Which measurements belong together.

    Shapes: n measurements. `held_out` numbers what has to be on one side of any split; `series` numbers
    series (equal but for the load); `distinct_weight` is 1 / n for a measurement that is there n times,
    `weight` less than that where its layout was assumed.
    """

    def __init__(self, points: Sequence[MeasuredPoint]) -> None:
        same, together, series = (_Union(len(points)) for _ in range(3))
        for members in _by(points, operating_key).values():
            members.sort(key=lambda at: points[at].tpot_s)
            for one, other in pairwise(members):
                if points[other].tpot_s <= points[one].tpot_s * (1 + NEARLY_EQUAL):
                    same.join(one, other)
                    together.join(one, other)
        for members in _by(points, series_key).values():
            for other in members[1:]:
                together.join(members[0], other)
                series.join(members[0], other)
        repeats = Counter(same.root(at) for at in range(len(points)))
        self.held_out = [together.root(at) for at in range(len(points))]
        self.series = [series.root(at) for at in range(len(points))]
        self.distinct_weight = np.array([1.0 / repeats[same.root(at)] for at in range(len(points))])
        trust = np.array([ASSUMED_WEIGHT if point.assumed else 1.0 for point in points])
        self.weight = self.distinct_weight * trust

    def folds(self, points: Sequence[MeasuredPoint], count: int = 5) -> list[int]:
        """Return the fold of each measurement: of like sizes, the same on every run."""
        sizes = Counter(self.held_out)
        order = sorted(sizes, key=lambda root: (-sizes[root], zlib.crc32(points[root].id.encode()), root))
        filled = [0] * count
        fold: dict[int, int] = {}
        for root in order:
            fold[root] = filled.index(min(filled))
            filled[fold[root]] += sizes[root]
        return [fold[root] for root in self.held_out]


def operating_key(point: MeasuredPoint) -> tuple[Hashable, ...]:
    """Return what two reports of one measurement have in common; names, backends and versions may differ."""
    return (*_layout_key(point), point.concurrency)


def series_key(point: MeasuredPoint) -> tuple[Hashable, ...]:
    """Return what the measurements of a series have in common: all but the load."""
    plan = point.deployment
    return (*_layout_key(point), plan.backend, plan.backend_version, plan.precision)


def _layout_key(point: MeasuredPoint) -> tuple[Hashable, ...]:
    plan = point.deployment
    return (
        plan.hardware.name,
        shape_key(plan.architecture),
        point.prompt_tokens,
        point.output_tokens,
        plan.tp,
        plan.pp,
        plan.dp,
        plan.ep,
        plan.mode,
    )


def straddling_pairs(points: Sequence[MeasuredPoint], folds: Sequence[int]) -> int:
    """Return how many pairs of nearly equal measurements are in different folds; should be 0."""
    pairs = 0
    for members in _by(points, operating_key).values():
        for place, one in enumerate(members):
            for other in members[place + 1 :]:
                ratio = points[one].tpot_s / points[other].tpot_s
                near = 1 / (1 + NEARLY_EQUAL) <= ratio <= 1 + NEARLY_EQUAL
                pairs += near and folds[one] != folds[other]
    return pairs


def sample_of(points: Sequence[MeasuredPoint], weight: Floats, of: CoefficientsOf) -> Sample:
    """Return the measurements as a fit takes them; `of` says what is known so far of a point's deployment.

    That much is needed: how many requests are being answered depends on how long steps take.
    """
    levels = [levels_of(point.deployment, is_assumed=bool(point.assumed)) for point in points]
    return Sample(
        parts=mean_steps_of(points, of).parts,
        log_tpot=np.log([point.tpot_s for point in points]),
        weight=weight,
        levels={factor: [one[factor] for one in levels] for factor in levels[0]},
        versions=[version_key(point.deployment) for point in points],
    )


def mean_steps_of(points: Sequence[MeasuredPoint], of: CoefficientsOf) -> MeanSteps:
    """Return the mean steps at measured operating points. Shapes: n points."""
    found = []
    for members in _by(points, _deployment_key).values():
        first = points[members[0]]
        mean = mean_steps(first.deployment, of(first), loads_of(points, members))
        found.append((members, mean))
    return joined(found)


def joined(parts: Sequence[tuple[Sequence[int], MeanSteps]]) -> MeanSteps:
    """Return the mean steps of n points from those of parts of them, each with the places of its points."""
    order = np.argsort(np.concatenate([members for members, _ in parts]))
    names = [field.name for field in fields(MeanSteps)]
    return MeanSteps(*(np.concatenate([getattr(mean, name) for _, mean in parts])[order] for name in names))


def loads_of(points: Sequence[MeasuredPoint], members: Sequence[int]) -> Loads:
    """Return the loads of measurements, per decode worker."""
    return Loads(
        concurrency=np.array([points[at].concurrency / points[at].workers for at in members]),
        prompt_tokens=np.array([points[at].prompt_tokens for at in members]),
        output_tokens=np.array([points[at].output_tokens for at in members]),
    )


def _deployment_key(point: MeasuredPoint) -> tuple[Hashable, ...]:
    plan: Deployment = point.deployment
    return (
        plan.architecture.name,
        plan.hardware.name,
        *(plan.backend, plan.backend_version, plan.precision, plan.others_precision, plan.kv_precision),
        *(plan.tp, plan.pp, plan.dp, plan.ep, plan.mode, plan.memory_utilisation, plan.tokens_per_step),
        bool(point.assumed),
    )


def _by(
    points: Sequence[MeasuredPoint], key: Callable[[MeasuredPoint], tuple[Hashable, ...]]
) -> dict[tuple[Hashable, ...], list[int]]:
    groups: dict[tuple[Hashable, ...], list[int]] = defaultdict(list)
    for at, point in enumerate(points):
        groups[key(point)].append(at)
    return groups


class _Union:
    """Sets that are joined pair by pair (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, at: int) -> int:
        """Return the number of the set that `at` is in."""
        while self._parent[at] != at:
            self._parent[at] = self._parent[self._parent[at]]
            at = self._parent[at]
        return at

    def join(self, one: int, other: int) -> None:
        """Make the sets of two members one."""
        self._parent[self.root(one)] = self.root(other)
