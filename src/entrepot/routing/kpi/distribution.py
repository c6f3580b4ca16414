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
_CENTRES = tuple(exp((bucket + 0.5) / _BUCKETS_PER_LOG) for bucket in range(BUCKETS))
_INFINITY = float("inf")
_NOTHING = 1e-9
"""A share of the weight below which a tail is rounding, not samples."""

Bucket = tuple[int, float]


class Distribution:
    """Weighted samples of a positive quantity; the holder knows the time and gives the weights.

    Units: values in the unit of the quantity, of which `lowest` is the smallest that is told apart; `weight`
    and `total` (weight times value) in units of the holder's weights.
    """

    __slots__ = ("_buckets", "_lowest", "_offset", "total", "weight")

    def __init__(self, lowest: float) -> None:
        self._lowest = lowest
        self._offset = log(lowest) * _BUCKETS_PER_LOG
        self._buckets = [0.0] * BUCKETS
        self.weight = 0.0
        self.total = 0.0

    def add(self, value: float, weight: float) -> None:
        """Count a sample that was seen whole.

        Raises: ValueError when it is not a finite number ≥ 0: one such sample would spoil all sums for ever.
        """
        bucket = 0
        if self._lowest < value < _INFINITY:
            bucket = int(log(value) * _BUCKETS_PER_LOG - self._offset)
            if bucket >= BUCKETS:
                bucket = BUCKETS - 1
        elif not 0.0 <= value <= self._lowest:
            raise ValueError(f"a sample of {value!r}: expected a finite number ≥ 0")
        self._buckets[bucket] += weight
        self.weight += weight
        self.total += weight * value

    def at_least(self, value: float, *, expected: float) -> float:
        """Return where a right-censored sample is counted: it would have been `value` or more.

        That is the mean of the samples beyond `value` (as the Kaplan-Meier estimator spreads it to its right,
        done once, on arrival); where none is beyond, the larger of `value` and `expected`. So it is never
        dropped, and what was cut short never passes for short.
        """
        return max(value, self.mean_beyond(value) or expected)

    def mean_beyond(self, value: float) -> float | None:
        """Return the mean of the samples of `value` or more, None when there are none."""
        first = self._bucket_of(value)
        tail = self._buckets[first:]
        weight = sum(tail)
        if weight <= self.weight * _NOTHING:
            return None
        total: float = sum(map(mul, tail, _CENTRES[first:]))
        return self._lowest * total / weight

    def mean(self) -> float | None:
        """Return the mean, exactly, or None without samples."""
        return self.total / self.weight if self.weight > 0 else None

    def quantile(self, share: float) -> float | None:
        """Return the value that `share` of the weight does not exceed, to 2 %, or None without samples."""
        running = list(accumulate(self._buckets))
        if running[-1] <= 0:
            return None
        bucket = bisect_left(running, share * running[-1])
        return self._lowest * _CENTRES[min(bucket, BUCKETS - 1)]

    def scale(self, factor: float) -> None:
        """Multiply all weights, when the holder moves its landmark."""
        self._buckets = [weight * factor for weight in self._buckets]
        self.weight *= factor
        self.total *= factor

    def buckets(self) -> list[Bucket]:
        """Return the buckets that hold anything, for keeping: (number, weight)."""
        return [(bucket, weight) for bucket, weight in enumerate(self._buckets) if weight > 0]

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
        self._buckets = restored
        self.weight = sum(restored)
        self.total = total

    def _bucket_of(self, value: float) -> int:
        if value <= self._lowest:
            return 0
        return min(int(log(value) * _BUCKETS_PER_LOG - self._offset), BUCKETS - 1)
