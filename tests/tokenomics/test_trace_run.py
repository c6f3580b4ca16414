"""A trace on an engine: the same clock waits tens of milliseconds or minutes, by load and replicas."""

from __future__ import annotations

import numpy as np

from entrepot.tokenomics.arrivals import gamma_arrivals_s, requests_of
from entrepot.tokenomics.batching import Batching, Engine
from entrepot.tokenomics.linear_clock import LinearClock
from entrepot.tokenomics.trace_run import run_trace

CLOCK = LinearClock(kv_capacity_tokens=100_000, base_s=6e-3, sequence_s=5e-5, held_s=3e-8, prompt_s=3e-5)


def test_a_burst_makes_ttft_and_replicas_take_it_away() -> None:
    """The verdict tells the two apart, and a request that never fits is counted."""
    rng = np.random.default_rng(8)
    count = 3000
    prompts = rng.integers(100, 3000, count)
    prompts[7] = 200_000
    requests = requests_of(gamma_arrivals_s(14.0, count, 3.0, rng), prompts, rng.integers(20, 400, count))
    one, four = (
        run_trace(Engine(clock=CLOCK, batching=Batching(max_sequences=64), replicas=replicas), requests)
        for replicas in (1, 4)
    )
    assert one.refused == four.refused == 1
    assert one.saturation.is_saturated
    assert not four.saturation.is_saturated
    assert one.ttft.p50 > 20 * four.ttft.p50
    assert four.ttft.p50 < four.ttft.p90 < four.ttft.p99 < 60.0
    assert 0.0 < four.utilisation <= 1.0
