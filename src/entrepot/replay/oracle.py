"""The router that knows the truth: every endpoint's figures of this second, its load, its cache, its prices.

It knows distributions and not draws, and it is greedy: it takes the order that is best for this request
and does not hold back for the sake of later ones. So a router that spreads load can come out a little
below 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrepot.domain.prices import Prices
from entrepot.replay.asked import Asked, Terms
from entrepot.routing.kpi.observation import Observation


class Oracle:
    """Chooses by the true expected score; with a limit of time, among the endpoints that truly meet it.

    The world was told to work its expectations out for this request just before (`World.expect`).
    """

    def __init__(self, terms: Terms) -> None:
        self._world = terms.world
        self._slo = terms.slo

    def choose(self, asked: Asked, now_s: float) -> Sequence[int]:
        """Return the order of least true score; under a limit, of those with a first that meets it."""
        answer_s = self._slo.answer_s
        if answer_s is None:
            return self._world.best_order()
        return self._world.best_order_within(answer_s, self._slo.probability)[0]

    def started(self, endpoint: int, number: int) -> int:
        """Count nothing: the world does."""
        return 0

    def ended(self, seen: Observation, number: int) -> None:
        """Learn nothing: all is known."""

    def reprice(self, prices: Mapping[int, Prices]) -> None:
        """Do nothing: the world has the prices."""
