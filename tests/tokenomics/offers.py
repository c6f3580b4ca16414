"""Offers with the simplest latencies: enough to hold the frontier to its claims."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from entrepot.tokenomics.frontier import Loads, Times, whole_replica
from tests.tokenomics.clocks import LinearClock

CLOCK = LinearClock()


@dataclass(frozen=True)
class LinearOffer:
    """A replica whose steps are linear, read without waiting. Units: as an offer's; `high` is a factor."""

    name: str = "linear"
    gpus: int = 8
    usd_per_hour: float = 16.0
    refusal: str | None = None
    high: float = 1.2
    speed: float = 1.0

    def times(self, loads: Loads) -> Times:
        """Return latencies at operating points."""
        clock, output = CLOCK, loads.output_tokens
        prompt = loads.uncached_tokens + loads.cached_tokens
        held = loads.batch * (prompt + output / 2)
        prefill_s = loads.uncached_tokens * clock.prompt_s / self.speed
        cached_s = loads.uncached_tokens * loads.cached_tokens * clock.pair_s / self.speed
        kv_s = output * (prompt + output / 2) * clock.held_s / self.speed
        step_s = (clock.fixed_s + clock.sequence_s * loads.batch + clock.held_s * held) / self.speed
        tpot_s = step_s + loads.batch * (prefill_s + cached_s) / output
        ttft_s = prefill_s + cached_s + step_s
        fits = np.asarray(loads.batch * (prompt + output) <= clock.kv_capacity_tokens)
        high = self.high
        pool = whole_replica(
            self.usd_per_hour,
            loads,
            ttft_s + output * tpot_s,
            prefill_s=prefill_s,
            cached_s=cached_s,
            kv_s=kv_s,
        )
        return Times(ttft_s, tpot_s, ttft_s * high, tpot_s * high, fits, (pool,))
