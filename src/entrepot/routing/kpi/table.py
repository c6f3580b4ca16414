"""A distribution made ready for reading: shares, quantiles and capped means at one look-up each.

Made when enough was observed, not per request, and worked out when it is first read: most requests set no
limit that asks for one. It blends what was measured with an assumed shape, which counts as `PSEUDO_COUNT`
observations: with few of them, or old ones, it is wide.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import erf, exp, log, sqrt
from operator import mul

from entrepot.routing.kpi.distribution import BUCKETS, CENTRES, GAMMA, Distribution, bucket_of

_WIDTH = log(GAMMA)

_STEPS = ((0.5, 4), (0.75, 4), (0.9, 6), (0.97, 6), (0.99, 4), (0.999, 3), (1.0, 1))
"""Up to which share of a distribution it is represented by how many values: finely where limits are set."""


def _points() -> tuple[tuple[float, float], ...]:
    """Return (share, weight) of the values that stand for a distribution in a sum over it, highest first."""
    points, begin = [], 0.0
    for end, count in _STEPS:
        width = (end - begin) / count
        points += [(begin + (place + 0.5) * width, width) for place in range(count)]
        begin = end
    return tuple(reversed(points))


_POINTS = _points()
WEIGHTS = tuple(weight for _, weight in _POINTS)
"""Of the `points` of every table, in their order."""


class Table:
    """The blended distribution of a positive quantity.

    Units: those of the quantity. `points` stand for it in a sum over it, highest first, with `WEIGHTS`.
    """

    __slots__ = (
        "_assumed",
        "_lowest",
        "_mean",
        "_points",
        "_pseudo",
        "_running",
        "_running_values",
        "_weights",
        "_whole",
    )

    def __init__(self, samples: Distribution, assumed: Sequence[float], pseudo: float) -> None:
        """Blend `samples` as they are now with the shares `assumed` of its buckets.

        Those have the weight `pseudo` in all.
        """
        self._weights = samples.weights.copy()
        self._assumed = assumed
        self._pseudo = pseudo
        self._lowest = samples.lowest
        self._whole = self._mean = 0.0
        self._running: list[float] = []
        self._running_values: list[float] = []
        self._points: tuple[float, ...] = ()

    def _blend(self) -> None:
        pseudo, blended = self._pseudo, zip(self._weights, self._assumed, strict=True)
        weights = [weight + pseudo * share for weight, share in blended]
        self._weights.clear()
        self._running = list(accumulate(weights))
        self._running_values = list(accumulate(map(mul, weights, CENTRES)))
        self._whole = self._running[-1] or 1.0
        self._mean = self._lowest * self._running_values[-1] / self._whole

    @property
    def mean(self) -> float:
        """Return the mean of the distribution."""
        if not self._running:
            self._blend()
        return self._mean

    @property
    def points(self) -> tuple[float, ...]:
        """Return the values that stand for the distribution; made when first asked for."""
        if not self._points:
            self._points = tuple(self.quantile(share) for share, _ in _POINTS)
        return self._points

    def share_up_to(self, value: float) -> float:
        """Return the share of the distribution that `value` is not exceeded by."""
        if not self._running:
            self._blend()
        if value <= self._lowest:
            return self._running[0] / self._whole if value > 0.0 else 0.0
        return self._running[bucket_of(value, self._lowest)] / self._whole

    def quantile(self, share: float) -> float:
        """Return the value that `share` of the distribution does not exceed, to the width of a bucket."""
        if not self._running:
            self._blend()
        bucket = min(bisect_left(self._running, share * self._whole), BUCKETS - 1)
        before = self._running[bucket - 1] if bucket else 0.0
        inside = (share * self._whole - before) / max(self._running[bucket] - before, 1e-300)
        return self._lowest * CENTRES[bucket] * exp(_WIDTH * (min(max(inside, 0.0), 1.0) - 0.5))

    def mean_capped(self, cap: float) -> float:
        """Return the mean of the values when all above `cap` are cut to it."""
        if not self._running:
            self._blend()
        if cap <= self._lowest:
            return cap
        bucket = bucket_of(cap, self._lowest)
        if bucket == 0:
            return min(cap, self._mean)
        below, values = self._running[bucket - 1], self._running_values[bucket - 1]
        return (self._lowest * values + cap * (self._whole - below)) / self._whole


@lru_cache(maxsize=16)
def log_normal_shares(lowest: float, mean: float, spread: float) -> tuple[float, ...]:
    """Return the shares that the buckets from `lowest` on have of a log-normal distribution.

    Units: `spread` is the standard deviation of the logarithm.
    """
    centre = log(mean) - spread * spread / 2
    edges = (
        0.5 * (1.0 + erf((log(lowest) + _WIDTH * bucket - centre) / (spread * sqrt(2.0))))
        for bucket in range(1, BUCKETS)
    )
    running = [*edges, 1.0]
    return tuple(after - before for before, after in zip([0.0, *running[:-1]], running, strict=True))
