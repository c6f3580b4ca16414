"""What ended attempts teach, taken in beside the answers: many at a time, bad news at once.

An observation changes a hundred numbers that the code of a request does not touch: taken in between two
requests it finds nothing of itself in the processor's caches and leaves little of theirs, and the rows that
it makes are made again by the next. A thread would need locks around what each choice reads.
"""

from __future__ import annotations

import asyncio

from entrepot.domain.outcome import Outcome
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.observation import Observation

LATEST_S = 0.01
"""The choice knows of an answer after this time at the latest: no forecast of a duration turns on it."""

MOST_KEPT = 64
"""As many are taken in without waiting: what is done at once must not hold up the streams for long."""

_OK = Outcome.OK


class Lessons:
    """Keeps good answers back for some milliseconds; anything else counts from the next choice on.

    Each is taken in after those that ended before it. Whoever asks `Knowledge` for estimates, or for its
    bytes, has in them what was kept back.
    """

    def __init__(self, knowledge: Knowledge, loop: asyncio.AbstractEventLoop) -> None:
        self._knowledge = knowledge
        self._loop = loop
        self._is_due = False

    def learn(self, seen: Observation) -> None:
        """Take in one ended attempt, soon or now."""
        kept = self._knowledge.keep(seen)
        if seen.outcome is not _OK or kept >= MOST_KEPT:
            self._knowledge.take_in()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_later(LATEST_S, self._take_in)

    def _take_in(self) -> None:
        self._is_due = False
        self._knowledge.take_in()
