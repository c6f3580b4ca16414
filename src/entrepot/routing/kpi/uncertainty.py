"""Between which values an estimate lies: for shares, and for what varies in proportion.

Both go by the decayed count of observations, so that an interval widens as they age. What an assumption or a
declaration adds to an estimate does not narrow its interval as an observation would: a share of which nothing
was seen may be any. Quantiles of a beta distribution were not taken: they need a special function, for a
third digit that decayed counts do not have.
"""

from math import exp, sqrt
from statistics import NormalDist

from entrepot.domain.estimate import INTERVAL_SHARE

DEVIATIONS = NormalDist().inv_cdf((1.0 + INTERVAL_SHARE) / 2.0)
"""Standard deviations of a normal distribution on either side that hold `INTERVAL_SHARE`."""

LEAST_COUNT = 1e-9
"""Fewer observations are none."""

Ends = tuple[float, float]


def share_interval(share: float, count: float) -> Ends:
    """Return the interval of a share of 1, of which `count` observations are known.

    All true shares that such a share of so many observations does not contradict: it holds `share`, and is
    the wider the fewer they are, up to 0 to 1.
    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    share = min(max(share, 0.0), 1.0)
    if count < LEAST_COUNT:
        return 0.0, 1.0
    few = DEVIATIONS * DEVIATIONS / count
    centre = share + few / 2.0
    half = sqrt(few * (share * (1.0 - share) + few / 4.0))
    low, high = (centre - half) / (1.0 + few), (centre + half) / (1.0 + few)
    return min(max(low, 0.0), share), max(min(high, 1.0), share)


def level_interval(value: float, doubt: float) -> Ends:
    """Return the interval of a positive value; `doubt` is the standard deviation of its logarithm."""
    wide = exp(DEVIATIONS * doubt)
    return value / wide, value * wide


def doubt_of(count: float, *, spread: float, unseen: float) -> float:
    """Return the standard deviation of the logarithm of a mean of `count` observations.

    Units: `spread` is that of a single one, `unseen` that of the mean before there are any.
    """
    return 1.0 / sqrt(1.0 / (unseen * unseen) + count / (spread * spread))


def quantile_shares(share: float, count: float) -> Ends:
    """Return which quantiles of `count` samples are the interval of the quantile `share`."""
    if count < LEAST_COUNT:
        return 0.0, 1.0
    off = DEVIATIONS * sqrt(share * (1.0 - share) / count)
    return max(share - off, 0.0), min(share + off, 1.0)
