"""A duration of an endpoint (TTFT or TPOT) and how it grows with our own attempts under way there.

The load term is a ridge regression on five decayed sums. A queueing model would fit a saturated
endpoint better but needs its capacity, which is not known before it is reached.
"""

from entrepot.routing.kpi.distribution import Bucket, Distribution

LOWEST_S = 1e-4
"""The shortest duration that is told apart: 10,000 tokens/s."""

PSEUDO_COUNT = 5.0
"""How many observations what was declared is worth: with five measured ones both weigh the same."""

LOAD_PSEUDO_COUNT = 10.0
"""The ridge: as if ten observations one attempt apart had shown no growth with load."""

LEAST_SHARE = 0.1
"""The load term never takes more than nine tenths of the duration away for an idle endpoint."""


class Timing:
    """Decayed samples of one duration, each with the attempts then under way.

    Units: seconds (per token for TPOT); weights of the holder.
    """

    __slots__ = ("_load", "_load_product", "_load_square", "samples")

    def __init__(self) -> None:
        self.samples = Distribution(LOWEST_S)
        self._load = 0.0
        self._load_square = 0.0
        self._load_product = 0.0

    def add(self, value_s: float, weight: float, in_flight: int) -> None:
        """Count a sample seen whole, taken with `in_flight` other attempts under way."""
        self.samples.add(value_s, weight)
        if in_flight:
            load = weight * in_flight
            self._load += load
            self._load_square += load * in_flight
            self._load_product += load * value_s

    def add_at_least(self, value_s: float, weight: float, in_flight: int, *, expected: float) -> None:
        """Count a right-censored sample: `value_s` or longer, when `expected` is forecast."""
        self.add(self.samples.at_least(value_s, expected=expected), weight, in_flight)

    def forecast(self, prior_s: float, unit: float) -> tuple[float, float]:
        """Return the duration with nothing under way, and what each attempt under way adds (≥ 0).

        The mean is shrunk to `prior_s` by `PSEUDO_COUNT` observations, the slope to 0 by `LOAD_PSEUDO_COUNT`.
        Units: seconds; `unit` is the weight of an observation made now.
        """
        samples = self.samples
        weight = samples.weight
        pseudo = PSEUDO_COUNT * unit
        level_s = (samples.total + pseudo * prior_s) / (weight + pseudo)
        load = self._load
        if load <= 0.0 or weight <= 0.0:
            return level_s, 0.0
        mean_load = load / weight
        variation = self._load_square - load * mean_load
        slope_s = (self._load_product - load * samples.total / weight) / (
            variation + LOAD_PSEUDO_COUNT * unit
        )
        if slope_s <= 0.0:
            return level_s, 0.0
        idle_s = level_s - slope_s * mean_load
        least_s = LEAST_SHARE * level_s
        return (idle_s if idle_s > least_s else least_s), slope_s

    def scale(self, factor: float) -> None:
        """Multiply all weights, when the holder moves its landmark."""
        self.samples.scale(factor)
        self._load *= factor
        self._load_square *= factor
        self._load_product *= factor

    def sums(self) -> tuple[float, float, float, float]:
        """Return the sums for keeping: of the values, the load, its square, and load times value."""
        return self.samples.total, self._load, self._load_square, self._load_product

    def restore(self, buckets: list[Bucket], sums: tuple[float, float, float, float]) -> None:
        """Take kept buckets and sums in place of the present samples.

        Raises: ValueError when a number is out of range or not finite.
        """
        total, self._load, self._load_square, self._load_product = sums
        self.samples.restore(buckets, total=total)
        if not all(0 <= kept < float("inf") for kept in sums):
            raise ValueError(f"sums {sums!r}: expected finite numbers ≥ 0")
