"""A number that knows where it comes from: measured, declared or assumed, how often, how long ago.

A bare float would let a guess pass for a measurement; every forecast and every page shows the
difference.
"""

from enum import StrEnum

from msgspec import Struct


class Basis(StrEnum):
    """Where a number comes from."""

    MEASURED = "measured"
    DECLARED = "declared"
    ASSUMED = "assumed"


class Estimate(Struct, frozen=True):
    """A value with its basis, the weight of its observations, and the age of the youngest.

    Units: `value` in the unit of the field that holds it; `age_s` in seconds, None if not measured.
    """

    value: float
    basis: Basis
    count: float = 0.0
    age_s: float | None = None
    source: str = ""
