"""A duration of an endpoint (TTFT or TPOT): what it depends on, how it spreads, and when it has jumped.

The mean is a linear fit (`kpi.regression`) of observations that fade by time; a jump, once it is certain
(`kpi.shift`), makes it forget what was before. How far single durations lie from their mean is kept as a
distribution of the proportion, so that one host's limits and another's are read off the same table.
"""

from collections.abc import Sequence

from entrepot.routing.kpi.distribution import Bucket, Distribution
from entrepot.routing.kpi.regression import (
    FIRST_PRODUCT,
    SUMS,
    TOKENS_PER_UNIT,
    Coefficients,
    add_to,
    empty_sums,
    pull_towards,
    solved,
)
from entrepot.routing.kpi.shift import ShiftTest

LOWEST_S = 1e-4
"""The shortest duration that is told apart: 10,000 tokens/s."""

LOWEST_PART = 0.01
"""Of a duration in proportion to what was expected: a hundredth."""

PSEUDO_COUNT = 5.0
"""How many observations what was declared is worth: with five measured ones both weigh the same."""

LOAD_PSEUDO_COUNT = 10.0
"""The ridge: as if ten observations one attempt apart had shown no growth with load."""

LEAST_SPREAD = 0.05
"""No host is more regular than this: it is the width of our buckets and of a shared machine's clock."""

ASSUMED_SPREAD = 0.4
"""Standard deviation of the logarithm of a duration over its mean, until measured."""

KNOWN_AFTER = 8.0
"""Observations after which a surprise means something."""

NEW_PART = 1.0 / 64.0
"""The fit is made again when its observations have grown by this part: always while there are few."""


class Timing:
    """Decayed samples of one duration, each with the prompt and the load that it was taken at.

    Units: seconds (per token for TPOT); weights of the holder. `samples` are as they were, `parts` in
    proportion to what was expected of each. `weight` is what the fit rests on: less than that of `samples`
    after a jump. `log_spread` is the standard deviation of the logarithm of the parts.
    """

    __slots__ = (
        "_log",
        "_log_square",
        "_log_weight",
        "_new_weight",
        "_recent",
        "_recent_weight",
        "_shift",
        "fit",
        "log_spread",
        "parts",
        "samples",
        "sums",
        "weight",
    )

    def __init__(self, fit: Coefficients) -> None:
        self.samples = Distribution(LOWEST_S)
        self.parts = Distribution(LOWEST_PART)
        self.sums = empty_sums()
        self.fit = fit
        self.log_spread = ASSUMED_SPREAD
        self._recent = empty_sums()
        self._shift = ShiftTest()
        self.weight = self._new_weight = self._recent_weight = 0.0
        self._log_weight = self._log = self._log_square = 0.0

    def expected(self, uncached_tokens: float, in_flight: float) -> float:
        """Return the expected duration. Units: tokens, attempts already under way."""
        level, per_unit, per_attempt, per_both = self.fit
        u = uncached_tokens / TOKENS_PER_UNIT
        value_s = level + per_unit * u + in_flight * (per_attempt + per_both * u)
        return value_s if value_s > LOWEST_S else LOWEST_S

    def add(
        self,
        value_s: float,
        weight: float,
        uncached_tokens: float,
        in_flight: int,
        expected_s: float | None = None,
    ) -> bool:
        """Count a sample seen whole; return whether the duration has jumped, so that the fit is stale.

        Units: `weight` of the holder, that of an observation made now; `expected_s` is what `expected` says
        of it, where the caller asked already.
        """
        if expected_s is None:
            expected_s = self.expected(uncached_tokens, in_flight)
        relative = weight / (expected_s * expected_s)
        self.samples.add(value_s, weight)
        surprise = self.parts.add(value_s / expected_s, weight)
        add_to(self.sums, uncached_tokens, in_flight, value_s, relative)
        self.weight += weight
        self._new_weight += weight
        log_weight, log_sum = self._log_weight, self._log
        self._log_weight = log_weight + weight
        self._log = log_sum + weight * surprise
        self._log_square += weight * surprise * surprise
        if log_weight < KNOWN_AFTER * weight:
            return False
        shift = self._shift
        before = shift.side
        jumped = shift.has_jumped((surprise - log_sum / log_weight) / self.log_spread)
        side = shift.side
        if side != before:
            self._recent, self._recent_weight = empty_sums(), 0.0
        if side:
            add_to(self._recent, uncached_tokens, in_flight, value_s, relative)
            self._recent_weight += weight
        if jumped:
            self._forget(weight)
        return jumped

    def add_at_least(self, value_s: float, weight: float, uncached_tokens: float, in_flight: int) -> bool:
        """Count a right-censored sample: `value_s` or longer."""
        expected_s = self.expected(uncached_tokens, in_flight)
        part = self.parts.at_least(value_s / expected_s, expected=1.0)
        return self.add(part * expected_s, weight, uncached_tokens, in_flight)

    def _forget(self, unit: float) -> None:
        """Let only what was seen since the jump count, and the old fit as a shape of little weight."""
        level, per_unit, per_attempt, per_both = self.fit
        part = self._recent[FIRST_PRODUCT] / max(_fitted(self._recent, self.fit), LOWEST_S)
        target = (part * level, part * per_unit, part * per_attempt, part * per_both)
        self.sums = [kept / (part * part) for kept in self._recent]
        pull_towards(self.sums, target, strengths(level_of(target), PSEUDO_COUNT * unit))
        self.fit = target
        self.weight = self._new_weight = self._recent_weight
        self._recent, self._recent_weight = empty_sums(), 0.0
        self._log = self._log_weight * -0.5 * self.log_spread * self.log_spread
        self._log_square = self._log_weight * (self.log_spread**2 + 0.25 * self.log_spread**4)

    def is_stale(self) -> bool:
        """Return whether enough is new for another fit."""
        return self._new_weight > NEW_PART * self.weight

    def refit(self, prior: Coefficients, unit: float) -> None:
        """Make the fit and the spread again; `unit` is the weight of an observation made now.

        The weights in the sums are those of errors in proportion to the fit. When it moves they are
        converted, or the few that were seen while it was far too low would outweigh all others for ever.
        """
        if not self.weight:  # the prior alone: most endpoints of a large catalog were never asked
            self.fit = prior
            return
        pseudo, before, sums = PSEUDO_COUNT * unit, self.fit, self.sums
        level_s = max(prior[0] + prior[1], before[0] + before[1], LOWEST_S)
        self.fit = after = solved(sums, prior, strengths(level_s, pseudo))
        was_s, is_s = _fitted(sums, before), _fitted(sums, after)
        if was_s > 0.0 and is_s > 0.0:
            factor = (was_s / is_s) ** 2
            self.sums = [factor * kept for kept in sums]
            if self._recent_weight:
                self._recent = [factor * kept for kept in self._recent]
        weight = self._log_weight + pseudo
        mean = self._log / weight
        spread = (self._log_square + pseudo * ASSUMED_SPREAD**2) / weight - mean * mean
        self.log_spread = max(spread, LEAST_SPREAD**2) ** 0.5
        self._new_weight = 0.0

    def scale(self, factor: float) -> None:
        """Multiply all weights, when the holder moves its landmark."""
        self.samples.scale(factor)
        self.parts.scale(factor)
        self.sums = [factor * kept for kept in self.sums]
        self._recent = [factor * kept for kept in self._recent]
        self.weight *= factor
        self._new_weight *= factor
        self._recent_weight *= factor
        self._log_weight *= factor
        self._log *= factor
        self._log_square *= factor

    def kept(self) -> list[float]:
        """Return what has to be kept beside the buckets: totals, sums of the fit and of the logarithms."""
        logs = (self._log_weight, self._log, self._log_square)
        return [self.samples.total, self.parts.total, self.weight, *logs, *self.fit, *self.sums]

    def restore(self, samples: list[Bucket], parts: list[Bucket], kept: Sequence[float]) -> None:
        """Take kept buckets and sums in place of the present samples.

        Raises: ValueError when a number is out of range or not finite.
        """
        if len(kept) != _KEPT or not all(abs(value) < float("inf") for value in kept):
            raise ValueError(f"sums {kept!r}: expected {_KEPT} finite numbers")
        self.samples.restore(samples, total=kept[0])
        self.parts.restore(parts, total=kept[1])
        self.weight = self._new_weight = kept[2]
        self._log_weight, self._log, self._log_square = kept[3:6]
        self.fit = (kept[6], kept[7], kept[8], kept[9])
        self.sums = list(kept[10:])


_KEPT = 6 + 4 + SUMS


def strengths(level_s: float, pseudo: float) -> Coefficients:
    """Return how strongly each coefficient is pulled to its prior, as weights of relative errors.

    Units: seconds; `pseudo` in weights of the holder.
    """
    whole = pseudo / (level_s * level_s)
    load = whole * (LOAD_PSEUDO_COUNT / PSEUDO_COUNT)
    return whole, whole, load, load


def level_of(fit: Coefficients) -> float:
    """Return the duration of a short prompt on an idle host, by which errors are scaled."""
    return max(fit[0] + fit[1], LOWEST_S)


def _fitted(sums: Sequence[float], fit: Coefficients) -> float:
    """Return what the durations in `sums` would add up to by this fit."""
    return sums[0] * fit[0] + sums[1] * fit[1] + sums[2] * fit[2] + sums[3] * fit[3]
