"""Whether forecasts are as sure as they say: how many outcomes lie inside the intervals given for them.

Of every few requests the intervals of its first choice are worked out when it is chosen, as a page would
show them, and held against what the answer then cost and how long it took. Attempts that fail have no answer
and no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from entrepot.domain.outcome import Outcome
from entrepot.replay.asked import Asked, Terms
from entrepot.replay.ours import Ours
from entrepot.routing.intervals import Interval
from entrepot.routing.kpi.observation import Observation

SHARES = (0.5, 0.9, 0.99)
EVERY = 7
"""Of so many requests one is watched: a tenth of a second of intervals for each second of replay."""


class Coverage(Struct):
    """How many answers were watched, and how many lay inside, by the share that should have."""

    watched: int
    dollars: dict[float, int]
    seconds: dict[float, int]

    def shares(self) -> tuple[list[float], list[float]]:
        """Return which shares lay inside, of the costs and of the times, in the order of `SHARES`."""
        count = max(self.watched, 1)
        return (
            [self.dollars[share] / count for share in SHARES],
            [self.seconds[share] / count for share in SHARES],
        )


class Witness(Ours):
    """Our router, with intervals for some of its requests. `coverage` is the result."""

    def __init__(self, terms: Terms, *, every: int = EVERY) -> None:
        super().__init__(terms)
        self._world = terms.world
        self._every = every
        self._given: dict[tuple[int, int], list[Interval]] = {}
        self.coverage = Coverage(0, dict.fromkeys(SHARES, 0), dict.fromkeys(SHARES, 0))

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the order, and keep the intervals of its first where the request is watched."""
        order = super().choose(asked, now_s)
        if order and asked.number % self._every == 0:
            request = self._request(asked, self._unlimited)
            self._given[(asked.number, order[0])] = self._router.intervals(
                request, order[0], now_s=now_s, shares=SHARES
            )
        return order

    def ended(self, seen: Observation, number: int) -> None:
        """Learn, and see where the outcome lies in the intervals."""
        given = self._given.pop((number, seen.endpoint_index), None)
        if given and seen.outcome is Outcome.OK:
            self.coverage.watched += 1
            dollars = self._dollars(seen)
            for interval in given:
                low, high = interval.dollars
                self.coverage.dollars[interval.share] += low <= dollars <= high
                low, high = interval.seconds
                self.coverage.seconds[interval.share] += low <= seen.answer_s <= high
        super().ended(seen, number)

    def _dollars(self, seen: Observation) -> float:
        at, prompt, cached = self._world.places[seen.endpoint_index], seen.prompt_tokens, seen.cached_tokens
        return (
            at.input_usd * ((prompt or 0) - cached)
            + at.cached_usd * cached
            + at.output_usd * (seen.output_tokens or 0)
        )
