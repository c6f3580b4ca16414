"""What an answer of a given size costs at each endpoint, and at which value of time one beats another.

A ranking at one value of time hides how close it is; a sender who does not know what an hour of waiting is
worth can read off between which values it does not matter.
"""

from collections.abc import Sequence
from itertools import combinations

from msgspec import Struct

from entrepot.domain.durations import SECONDS_PER_HOUR


class Quote(Struct, frozen=True):
    """What is expected of one endpoint.

    Units: USD, seconds, a probability. `dollars` and `seconds` are of an answer; a failure costs
    `dollars_wasted` and is known after `failure_s`.
    """

    endpoint_index: int
    dollars: float
    seconds: float
    ttft_s: float
    tokens_per_s: float
    p_failure: float
    dollars_wasted: float
    failure_s: float

    def after(self, fallback: "Quote | None") -> tuple[float, float]:
        """Return dollars and seconds of asking here first, and after a failure the fallback or here again."""
        then = fallback or self
        p = self.p_failure
        return (
            (1.0 - p) * self.dollars + p * (self.dollars_wasted + then.dollars),
            (1.0 - p) * self.seconds + p * (self.failure_s + then.seconds),
        )


class Swap(Struct, frozen=True):
    """Two endpoints: below `usd_per_hour` the cheaper one is better, above it the quicker one.

    Units: USD per hour of waiting; None where one is better at every value of time: it is both.
    """

    pair: tuple[int, int]
    cheaper: int
    quicker: int
    usd_per_hour: float | None


def swaps(quotes: Sequence[Quote]) -> list[Swap]:
    """Return where each pair of endpoints swaps, each the other's fallback; by value of time, never last."""
    found = [_swap(one, other) for one, other in combinations(quotes, 2)]
    return sorted(found, key=lambda swap: float("inf") if swap.usd_per_hour is None else swap.usd_per_hour)


def _swap(one: Quote, other: Quote) -> Swap:
    pair = (one.endpoint_index, other.endpoint_index)
    (one_usd, one_s), (other_usd, other_s) = one.after(other), other.after(one)
    if (other_usd, other_s) < (one_usd, one_s):
        one, other, one_usd, other_usd, one_s, other_s = other, one, other_usd, one_usd, other_s, one_s
    if other_s >= one_s:
        return Swap(pair, one.endpoint_index, one.endpoint_index, None)
    usd_per_s = (other_usd - one_usd) / (one_s - other_s)
    return Swap(pair, one.endpoint_index, other.endpoint_index, usd_per_s * SECONDS_PER_HOUR)


def ladder(quotes: Sequence[Quote]) -> list[tuple[float, int]]:
    """Return who is best from which value of time on: (USD per hour, endpoint), from 0 upwards.

    A failure falls back to the endpoint itself here, so that each has one line of cost over value of time;
    the best is the lowest of the lines.
    """
    lines = [(*quote.after(None), quote.endpoint_index) for quote in quotes]
    if not lines:
        return []
    usd, seconds, index = min(lines)
    steps = [(0.0, index)]
    while True:
        nexts = [
            ((other_usd - usd) / (seconds - other_s), other_s, other_usd, other)
            for other_usd, other_s, other in lines
            if other_s < seconds
        ]
        if not nexts:
            return steps
        usd_per_s, seconds, usd, index = min(nexts)
        steps.append((usd_per_s * SECONDS_PER_HOUR, index))
