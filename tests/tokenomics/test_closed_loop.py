"""A chosen point of a frontier, run."""

from __future__ import annotations

import pytest

from entrepot.tokenomics.batching import Engine
from entrepot.tokenomics.closed_loop import closed_loop
from entrepot.tokenomics.load import RequestClass
from entrepot.tokenomics.slo_capacity import Service
from tests.tokenomics.clocks import LinearClock

SERVICE = Service(Engine(clock=LinearClock()), lambda run: run)


@pytest.mark.parametrize("at_once", [1, 8, 64])
def test_a_closed_loop_keeps_so_many_requests_in_flight(at_once: int) -> None:
    """Little's law: those in flight are rate times answer time; a crowd is slower and does more."""
    found = closed_loop(SERVICE, RequestClass(800, 100, 200), at_once)
    answer_s = found.ttft.mean + 99 * found.tpot.mean
    assert found.requests_per_s * answer_s == pytest.approx(at_once, rel=0.02)
    alone = closed_loop(SERVICE, RequestClass(800, 100, 200), 1)
    assert found.requests_per_s >= alone.requests_per_s
    assert found.tpot.p50 >= alone.tpot.p50 * (1 - 1e-9)


def test_requests_do_not_end_together_for_ever() -> None:
    """A crowd that begins at once is forgotten: else each waits for the prompts of most others."""
    found, alone = (closed_loop(SERVICE, RequestClass(800, 500), at_once) for at_once in (64, 1))
    assert found.ttft.p90 < 4 * alone.ttft.p90


def test_nobody_in_flight_is_refused() -> None:
    """A loop of nobody has no latency."""
    with pytest.raises(ValueError, match="at least one request"):
        closed_loop(SERVICE, RequestClass(10, 10), 0)
