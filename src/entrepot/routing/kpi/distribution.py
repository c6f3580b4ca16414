"""A decayed distribution in logarithmic buckets: mean, quantiles and the tail, at one addition per sample.

A t-digest or a KLL sketch would give the same quantiles in ten times the code and cannot weigh its
samples by age as cheaply; a plain moving average has no quantiles and no tail to place a censored
sample in. Weights are *forward-decayed*: a sample keeps its weight and later ones weigh more, so that
nothing has to be multiplied when time passes (Cormode et al., "Forward Decay", ICDE 2009).
"""

from bisect import bisect_left
from itertools import accumulate
from math import exp, log
from operator import mul

GAMMA = 1.04
"""Each bucket is this factor wide: a quantile is off by 2 % at most. 1.02 would double the buckets, and with
them the time of a tail and of a quantile; decisions do not turn on one percent of a quantile."""

BUCKETS = 480
"""Buckets times log10(GAMMA): more than eight decades from the lowest value."""

_BUCKETS_PER_LOG = 1.0 / log(GAMMA)
CENTRES = tuple(exp((bucket + 0.5) / _BUCKETS_PER_LOG) for bucket in range(BUCKETS))
"""The middle of each bucket, as a multiple of the lowest value."""

_INFINITY = float("inf")
_NOTHING = 1e-9
"""A share of the weight below which a tail is rounding, not samples."""

Bucket = tuple[int, float]


class Distribution:
    """Weighted samples of a positive quantity; the holder knows the time and gives the weights.

    Units: values in the unit of the quantity, of which `lowest` is the smallest that is told apart; `weights`
    (of the buckets), `weight` (of all) and `total` (weight times value) in units of the holder's weights.
    """

    __slots__ = ("_log_lowest", "_offset", "lowest", "total", "weight", "weights")

    def __init__(self, lowest: float) -> None:
        self.lowest = lowest
        self._log_lowest = log(lowest)
        self._offset = self._log_lowest * _BUCKETS_PER_LOG
        self.weights = [0.0] * BUCKETS
        self.weight = 0.0
        self.total = 0.0

    def add(self, value: float, weight: float) -> float:
        """Count a sample that was seen whole; return its logarithm, at least that of the lowest value.

        Raises: ValueError when it is not a finite number ≥ 0: one such sample would spoil all sums for ever.
        """
        if self.lowest < value < _INFINITY:
            logarithm = log(value)
            bucket = int(logarithm * _BUCKETS_PER_LOG - self._offset)
            if bucket >= BUCKETS:
                bucket = BUCKETS - 1
        elif 0.0 <= value <= self.lowest:
            logarithm, bucket = self._log_lowest, 0
        else:
            raise ValueError(f"a sample of {value!r}: expected a finite number ≥ 0")
        self.weights[bucket] += weight
        self.weight += weight
        self.total += weight * value
        return logarithm

    def at_least(self, value: float, *, expected: float) -> float:
        """Return where a right-censored sample is counted: it would have been `value` or more.

        That is the mean of the samples beyond `value` (as the Kaplan-Meier estimator spreads it to its right,
        done once, on arrival); where none is beyond, the larger of `value` and `expected`. So it is never
        dropped, and what was cut short never passes for short.
        """
        return max(value, self.mean_beyond(value) or expected)

    def add_beyond(self, value: float, weight: float, *, expected: float) -> None:
        """Count a right-censored sample as spread over what was seen beyond `value`, in proportion.

        Where nothing was, it is counted once, at the larger of `value` and `expected`.
        """
        first = bucket_of(value, self.lowest)
        tail = self.weights[first:]
        beyond = sum(tail)
        if beyond <= self.weight * _NOTHING:
            self.add(max(value, expected), weight)
            return
        factor = weight / beyond
        self.weights[first:] = [kept + factor * kept for kept in tail]
        self.weight += weight
        self.total += factor * self.lowest * sum(map(mul, tail, CENTRES[first:]))

    def mean_beyond(self, value: float) -> float | None:
        """Return the mean of the samples of `value` or more, None when there are none."""
        first = bucket_of(value, self.lowest)
        tail = self.weights[first:]
        weight = sum(tail)
        if weight <= self.weight * _NOTHING:
            return None
        total: float = sum(map(mul, tail, CENTRES[first:]))
        return self.lowest * total / weight

    def mean(self) -> float | None:
        """Return the mean, exactly, or None without samples."""
        return self.total / self.weight if self.weight > 0 else None

    def quantile(self, share: float) -> float | None:
        """Return the value that `share` of the weight does not exceed, to 2 %, or None without samples."""
        running = list(accumulate(self.weights))
        if running[-1] <= 0:
            return None
        bucket = bisect_left(running, share * running[-1])
        return self.lowest * CENTRES[min(bucket, BUCKETS - 1)]

    def scale(self, factor: float) -> None:
        """Multiply all weights, when the holder moves its landmark."""
        self.weights = [weight * factor for weight in self.weights]
        self.weight *= factor
        self.total *= factor

    def buckets(self) -> list[Bucket]:
        """Return the buckets that hold anything, for keeping: (number, weight)."""
        return [(bucket, weight) for bucket, weight in enumerate(self.weights) if weight > 0]

    def restore(self, buckets: list[Bucket], *, total: float) -> None:
        """Take kept buckets in place of the present samples.

        Raises: ValueError when a number is out of range or not finite.
        """
        restored = [0.0] * BUCKETS
        for bucket, weight in buckets:
            if not (0 <= bucket < BUCKETS and 0 <= weight < float("inf")):
                raise ValueError(f"bucket {bucket} of {BUCKETS} with weight {weight!r}: expected finite ≥ 0")
            restored[bucket] = weight
        if not 0 <= total < float("inf"):
            raise ValueError(f"total {total!r}: expected a finite number ≥ 0")
        self.weights = restored
        self.weight = sum(restored)
        self.total = total


def bucket_of(value: float, lowest: float) -> int:
    """Return the number of the bucket that holds a value, when the first one begins at `lowest`."""
    if value <= lowest:
        return 0
    bucket = int(log(value / lowest) * _BUCKETS_PER_LOG)
    return bucket if bucket < BUCKETS else BUCKETS - 1
