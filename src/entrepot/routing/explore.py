"""Tries what is little known when it may well be better, and keeps what that costs within an allowance.

Discounted Thompson sampling: each candidate that might beat the best is drawn from what is believed of it,
and tried when its draw wins. Belief widens as observations fade, so that no host is forgotten for ever;
attempts that are still under way count as if they had been seen, so that a burst does not all explore the
same host. What a try is expected to cost more than the best is taken from an allowance of the sender's key,
which grows with what its requests cost: pure sampling has no bound, and a fixed share of requests explores as
much when it is dear as when it is free. Source: V. Raj and S. Kalyani, "Taming non-stationary bandits", 2017
(discounted sampling).
"""

from collections import OrderedDict
from collections.abc import Sequence
from math import exp
from statistics import NormalDist

from entrepot.routing.decision import Candidate

MOST_LUCK = 2.5
"""Standard deviations: what could not win with as much luck is not drawn."""

FIRST_ALLOWANCE = 10.0
MOST_ALLOWANCE = 10.0
"""Of the best score: what a key may spend on exploring at its first request, and save up at most."""

MOST_KEYS = 65_536
_QUANTILES = 4096
_GOLDEN = 0x9E37_79B9_7F4A_7C15
_MIX = 0xBF58_476D_1CE4_E5B9
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_DIGITS = 30
"""Binary digits of a draw that are used: a product of two such numbers is still a small integer."""

_PLACES = 64
"""Candidates whose draws are told apart; further ones use the same again."""


class Allowances:
    """What each key may still spend on exploring, in units of the score. Units: USD; `share` of 1."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._left: OrderedDict[int, float] = OrderedDict()

    def of(self, key_id: int, best_usd: float) -> float:
        """Return what may be spent on the next request of a key, whose best score is `best_usd`."""
        if self._share <= 0.0:
            return 0.0
        left = self._left.get(key_id)
        if left is None:
            left = FIRST_ALLOWANCE * best_usd
            if len(self._left) >= MOST_KEYS:
                self._left.popitem(last=False)
        left = min(left + self._share * best_usd, MOST_ALLOWANCE * best_usd)
        self._left[key_id] = left
        return left

    def spend(self, key_id: int, usd: float) -> None:
        """Take from what a key may spend."""
        self._left[key_id] = self._left.get(key_id, 0.0) - usd


def to_explore(candidates: Sequence[Candidate], draw: float, allowance_usd: float) -> Candidate | None:
    """Return the candidate to try in place of the first one, or None.

    `candidates` are ordered by their scores; only those of the first tier are asked. `draw` is uniform in [0,
    1).
    """
    best = candidates[0]
    tier, least, found = best.tier, best.score, None
    dearest = least + allowance_usd
    digits = int(draw * 2.0**_DIGITS)
    for place, candidate in enumerate(candidates):
        expected, doubt, steady = candidate.score, candidate.doubt, candidate.steady_usd
        if expected > dearest or candidate.tier != tier:
            break
        if not place or not doubt or steady >= least:
            continue
        unsure = expected - steady
        if steady + unsure * exp(-MOST_LUCK * doubt) >= least:
            continue
        drawn = steady + unsure * exp(doubt * normal(digits, place) - 0.5 * doubt * doubt)
        if drawn < least:
            least, found = drawn, candidate
    return found


def normal(digits: int, place: int) -> float:
    """Return a number that is normally distributed over all draws, another one for each place.

    One draw has to do for all candidates, since it is stored with the decision: its first `_DIGITS` digits
    are hashed with a multiplier of the place's own. Source: M. Dietzfelbinger et al., "A reliable randomized
    algorithm for the closest-pair problem", 1997 (multiply-shift).
    """
    return _NORMALS[((digits * _MULTIPLIERS[place % _PLACES]) >> _SHIFT) % _QUANTILES]


def _mixed(place: int) -> int:
    """Return 64 digits that have nothing to do with those of other places (SplitMix64)."""
    mixed = (place + 1) * _GOLDEN & _MASK
    mixed = (mixed ^ (mixed >> 30)) * _MIX & _MASK
    mixed = (mixed ^ (mixed >> 27)) * _GOLDEN & _MASK
    return mixed ^ (mixed >> 31)


_MULTIPLIERS = tuple(_mixed(place) % (1 << _DIGITS) | 1 for place in range(_PLACES))
_SHIFT = _DIGITS - _QUANTILES.bit_length() + 1
_NORMALS: tuple[float, ...] = tuple(
    NormalDist().inv_cdf((place + 0.5) / _QUANTILES) for place in range(_QUANTILES)
)
