"""How many requests an engine can serve for ever, and the verdict whether a load is more than that.

Above capacity the queue grows as long as the run lasts, so a TTFT of such a run says how long it was and
nothing of the host. The verdict compares the offered rate with the capacity that the clock and the limits
give: the shape of a finite run was not taken, since a short run of an overloaded host looks like a busy one.
"""

from dataclasses import dataclass

import numpy as np

from entrepot.tokenomics.arrivals import Requests
from entrepot.tokenomics.batching import Batching, Engine
from entrepot.tokenomics.clock import StepClock

_BATCHES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """A typical request. Units: tokens; `cached` of the prompt are not read again."""

    prompt: float
    output: float
    cached: float = 0.0

    @property
    def read(self) -> float:
        """Return the prompt tokens that are read."""
        return self.prompt - self.cached

    @property
    def pairs(self) -> float:
        """Return the pairs of tokens in the attention of the part that is read."""
        return self.read * self.cached + self.read * (self.read - 1.0) / 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """A load beside what can be served. Units: requests per second."""

    offered_rps: float
    capacity_rps: float

    @property
    def is_saturated(self) -> bool:
        """Return whether the queue grows with the length of the run."""
        return self.offered_rps >= self.capacity_rps

    @property
    def sentence(self) -> str:
        """Return the verdict as a sentence for people."""
        if self.is_saturated:
            return "saturated: TTFT grows with the length of the run"
        return f"steady: {self.offered_rps / self.capacity_rps:.0%} of the capacity"


def verdict(engine: Engine, requests: Requests) -> Saturation:
    """Return how the rate of these requests compares with the capacity at their mean lengths."""
    lengths = Lengths(
        prompt=float(requests.prompt_tokens.mean()),
        output=float(requests.output_tokens.mean()),
        cached=float(requests.cached_tokens.mean()),
    )
    return Saturation(offered_rps=requests.rate, capacity_rps=capacity_rps(engine, lengths))


def capacity_rps(engine: Engine, lengths: Lengths) -> float:
    """Return the requests per second that all replicas serve without a growing queue. Units: 1/s.

    The best batch is taken up to what the KV cache and the limits hold, in a steady state: as many prompts
    are read as answers end. Recomputing after preemption and idle moments are left out, so it is an upper
    bound.
    """
    clock, batching = engine.clock, engine.batching
    pool = engine.prefill
    if pool is None:
        return engine.replicas * _together_rps(clock, batching, lengths)
    reading = pool.replicas / _read_s(pool.clock, pool.batching, lengths)
    if lengths.output <= 1.0:
        return reading
    decoding = engine.replicas * max(
        batch / ((lengths.output - 1.0) * clock.step_s(batch, batch * _held(lengths)))
        for batch in _batches(clock, batching, lengths)
    )
    return min(reading, decoding)


def _together_rps(clock: StepClock, batching: Batching, lengths: Lengths) -> float:
    if lengths.output <= 1.0:
        return 1.0 / _read_s(clock, batching, lengths)
    steps = lengths.output - 1.0
    read_s = _read_s(clock, batching, lengths) if batching.prefill_first else 0.0
    best = 0.0
    for batch in _batches(clock, batching, lengths):
        if batching.prefill_first:
            seconds = read_s + steps * clock.step_s(batch, batch * _held(lengths)) / batch
        else:
            seconds = steps * _mixed_step_s(clock, batch, lengths) / batch
        best = max(best, 1.0 / seconds)
    return best


def _mixed_step_s(clock: StepClock, batch: float, lengths: Lengths) -> float:
    """Return the mean step with the prompts that ride along: one for every answer that ends."""
    prompts, held = batch / (lengths.output - 1.0), batch * _held(lengths)
    if prompts >= 1.0:
        return clock.step_s(batch, held, prompts * lengths.read, prompts * lengths.pairs)
    with_one_s = clock.step_s(batch, held, lengths.read, lengths.pairs)
    return (1.0 - prompts) * clock.step_s(batch, held) + prompts * with_one_s


def _read_s(clock: StepClock, batching: Batching, lengths: Lengths) -> float:
    """Return the seconds per prompt where steps read as many as they may and nothing else."""
    together = max(1.0, batching.max_batched_tokens // lengths.read)
    chunks = max(1.0, lengths.read / batching.max_batched_tokens)
    step_s = clock.step_s(0, 0, together * lengths.read / chunks, together * lengths.pairs / chunks)
    return step_s * chunks / together


def _held(lengths: Lengths) -> float:
    return lengths.prompt + lengths.output / 2.0


def _batches(clock: StepClock, batching: Batching, lengths: Lengths) -> list[float]:
    """Return batches from one to the largest that lasts."""
    per_sequence = _held(lengths) + batching.reserved_output * lengths.output / 2.0
    largest = min(float(batching.max_sequences), clock.kv_capacity_tokens / per_sequence)
    if not batching.prefill_first:
        largest = min(
            largest, batching.max_batched_tokens / (1.0 + lengths.read / max(lengths.output - 1.0, 1.0))
        )
    return [float(batch) for batch in np.geomspace(1.0, max(largest, 1.0), _BATCHES)]
