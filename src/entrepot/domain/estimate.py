"""A number that knows where it comes from: measured, declared or assumed, how often, how long ago.

A bare float would let a guess pass for a measurement; every forecast and every page shows the
difference.
"""

from enum import StrEnum

from msgspec import Struct

INTERVAL_SHARE = 0.9
"""How surely the true value lies in the interval of an estimate, as much below it as above."""


class Basis(StrEnum):
    """Where a number comes from."""

    MEASURED = "measured"
    DECLARED = "declared"
    ASSUMED = "assumed"


class Estimate(Struct, frozen=True):
    """A value with its basis, the weight of its observations, the age of the youngest, and an interval.

    Units: `value` and `interval` in the unit of the field that holds it; `age_s` in seconds, None if not
    measured. `interval` holds the true value with `INTERVAL_SHARE`; None where nobody works it out.
    """

    value: float
    basis: Basis
    count: float = 0.0
    age_s: float | None = None
    source: str = ""
    interval: tuple[float, float] | None = None
