"""The objective of every choice: what an answer is expected to cost, in dollars, with its waiting.

One function of plain arithmetic, so that the gateway (floats), the replay and the market (numpy arrays)
choose by the same line; a vectorised copy would drift from it.
"""

from typing import Protocol, Self, TypeVar

from entrepot.domain.durations import SECONDS_PER_HOUR


class Quantity(Protocol):
    """A number, or an array of numbers, that adds and multiplies with its like."""

    def __add__(self, other: Self, /) -> Self:
        """Return the sum."""
        ...

    def __mul__(self, other: Self, /) -> Self:
        """Return the product, element by element."""
        ...

    def __rsub__(self, other: float, /) -> Self:
        """Return a plain number less this."""
        ...


Q = TypeVar("Q", bound=Quantity)


def score(
    dollars: Q, seconds: Q, usd_per_s: Q, p_failure: Q, dollars_wasted: Q, failure_s: Q, fallback_score: Q
) -> Q:
    """Return the expected cost of asking this endpoint first, a failed attempt and its fallback included.

    Shapes: scalars, or arrays that broadcast together. Units: USD, seconds, USD per second of waiting;
    `p_failure` a probability; `failure_s` the seconds until a failure is known. Source: DESIGN.md §4.
    """
    answered = dollars + usd_per_s * seconds
    failed = dollars_wasted + usd_per_s * failure_s + fallback_score
    return (1.0 - p_failure) * answered + p_failure * failed


def break_even_usd_per_hour(*, extra_usd: float, saved_s: float) -> float:
    """Return the value of time from which paying `extra_usd` more to wait `saved_s` less is worth it.

    0 when it costs nothing more, infinity when it costs more and saves nothing.
    Units: USD per answer, seconds per answer; USD per hour out.
    """
    if extra_usd <= 0:
        return 0.0
    if saved_s <= 0:
        return float("inf")
    return extra_usd / saved_s * SECONDS_PER_HOUR
