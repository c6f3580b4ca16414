"""One timer for all streams of a server: what is due in the same millisecond is served in one go.

A task or a timer per stream costs several microseconds per token in the event loop; a heap of ticks with
a list each costs less than one.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from math import ceil
from typing import Protocol

TICK_S = 0.001
_NEVER = 2**63


class Due(Protocol):
    """Something that is due now and then."""

    def step(self, now_s: float) -> float | None:
        """Do what is due at `now_s`; return when to be called next, in the same clock, or None."""


class Wheel:
    """Calls what was added when it is due. Instants are those of the loop's clock, in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ticks: dict[int, list[Due]] = {}
        self._heap: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = _NEVER

    def add(self, due: Due, at_s: float) -> None:
        """Have `due.step` called at `at_s`, at most a tick late."""
        tick = ceil(at_s / TICK_S)
        waiting = self._ticks.get(tick)
        if waiting is not None:
            waiting.append(due)
            return
        self._ticks[tick] = [due]
        heappush(self._heap, tick)
        if tick < self._timer_tick:
            self._arm(tick)

    def close(self) -> None:
        """Forget everything."""
        self._ticks.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = _NEVER

    def _arm(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = tick
        self._timer = self._loop.call_at(tick * TICK_S, self._turn)

    def _turn(self) -> None:
        self._timer_tick = 0  # no timer while this runs: one is enough at the end
        now_s = self._loop.time()
        last = int(now_s / TICK_S)
        heap = self._heap
        while heap and heap[0] <= last:
            for due in self._ticks.pop(heappop(heap)):
                at_s = due.step(now_s)
                if at_s is not None:
                    self.add(due, max(at_s, now_s))
        self._timer_tick = _NEVER
        if heap:
            self._arm(heap[0])
