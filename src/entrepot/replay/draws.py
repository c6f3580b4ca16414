"""The luck of a replay: a function of seed, request and place, so that every router meets the same.

A generator that is read in the order of events would give each router other draws, and differences between
routers would drown in them (common random numbers; Law, "Simulation Modeling and Analysis", ch. 11).
"""

from __future__ import annotations

from math import exp
from statistics import NormalDist

_MASK = (1 << 64) - 1
_BITS = 12
_CELLS = 1 << _BITS
_CELL_MASK = _CELLS - 1
# The middles of 4096 equal parts of the normal distribution: one look-up instead of a logarithm and a sine.
_NORMALS = tuple(NormalDist().inv_cdf((cell + 0.5) / _CELLS) for cell in range(_CELLS))
_PER_UNIT = 1.0 / (1 << 32)

PROMPT_BYTES_PLACE = 1_000_001
LENGTH_PLACE = 2_000_001
"""Places that are no endpoints: what is drawn once per request, or per request and model."""


def mixed(number: int) -> int:
    """Return 64 bits, each of which depends on all of `number`.

    Source: splitmix64 (Steele, Lea and Flood, 2014).
    """
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


class Draws:
    """All draws of one seed."""

    __slots__ = ("_key",)

    def __init__(self, seed: int) -> None:
        self._key = mixed(seed)

    def of(self, request: int, place: int) -> tuple[float, float, float]:
        """Return two standard normal draws and a uniform one in [0, 1): the same for the same arguments."""
        bits = mixed(self._key ^ (request << 24) ^ place)
        return _NORMALS[bits & _CELL_MASK], _NORMALS[bits >> _BITS & _CELL_MASK], (bits >> 32) * _PER_UNIT


def log_normal(normal: float, spread: float) -> float:
    """Return the log-normal factor of mean 1 that belongs to a standard normal draw."""
    return exp(spread * normal - 0.5 * spread * spread) if spread else 1.0


def normal_quantile(share: float) -> float:
    """Return what `share` (in [0, 1)) of the standard normal distribution lies below, to a part in 4096."""
    return _NORMALS[int(share * _CELLS)]
