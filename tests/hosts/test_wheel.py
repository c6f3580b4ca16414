"""The timer that all streams share."""

from __future__ import annotations

import asyncio

import uvloop

from entrepot.hosts.wheel import Wheel


class Ticking:
    """Something that is due `times` times, `every_s` apart, and notes when it was called."""

    def __init__(self, wheel: Wheel, begin_s: float, every_s: float, times: int) -> None:
        self.begin_s = begin_s
        self.every_s = every_s
        self.times = times
        self.seen_s: list[float] = []
        self.done = asyncio.get_running_loop().create_future()
        wheel.add(self, begin_s)

    def step(self, now_s: float) -> float | None:
        """Note the instant; ask to be called again."""
        self.seen_s.append(now_s)
        if len(self.seen_s) == self.times:
            self.done.set_result(None)
            return None
        return self.begin_s + self.every_s * len(self.seen_s)


def test_everything_is_called_as_often_as_it_asked_and_never_early() -> None:
    """Many things at many paces on one timer; the later one does not delay the earlier."""

    async def run() -> list[Ticking]:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop)
        now_s = loop.time()
        ticking = [Ticking(wheel, now_s + 0.05 - 0.005 * n, 0.001 * (n + 1), 5 + n) for n in range(10)]
        async with asyncio.timeout(20):
            await asyncio.gather(*(each.done for each in ticking))
        return ticking

    for each in uvloop.run(run()):
        assert len(each.seen_s) == each.times
        due = [each.begin_s + each.every_s * count for count in range(each.times)]
        # An instant is a sum of floats: it may be told apart from its tick by less than a nanosecond.
        assert all(seen >= at - 1e-9 for seen, at in zip(each.seen_s, due, strict=True))


def test_what_is_late_is_called_at_once_and_what_is_closed_never() -> None:
    """An instant in the past is due now; a closed wheel forgets."""

    async def run() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        wheel, closed = Wheel(loop), Wheel(loop)
        late = Ticking(wheel, loop.time() - 5, 0.0, 3)
        forgotten = Ticking(closed, loop.time(), 0.0, 1)
        closed.close()
        async with asyncio.timeout(20):
            await late.done
        return len(late.seen_s), len(forgotten.seen_s)

    assert uvloop.run(run()) == (3, 0)
