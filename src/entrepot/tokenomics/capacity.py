"""How many requests an engine can serve for ever, and the verdict whether a load is more than that.

Above capacity the queue grows as long as the run lasts, so a TTFT of such a run says how long it was and
nothing of the host. The verdict compares the offered rate with what the engine serves of a backlog of the
same requests. The shape of the run itself was not taken, since a short run of an overloaded host looks like a
busy one; nor the closed form, which knows no recomputing: a cache that is filled to the brim and preempts
serves a tenth less, of answers whose lengths differ much a third.
"""

from dataclasses import dataclass

import numpy as np

from entrepot.tokenomics.arrivals import Requests
from entrepot.tokenomics.batching import Batching, Engine
from entrepot.tokenomics.clock import StepClock
from entrepot.tokenomics.engine import simulate

_BATCHES = 64


_BACKLOG = 12.0  # batches: so that its middle is as full as it gets
_FEWEST, _MOST = 500, 30_000  # requests of a backlog
_BEGUN, _DRAINS = 0.2, 0.85  # of the answers; before and after, the batch fills and empties


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """A typical request.

    Units: tokens; `cached` of the prompt are not read again. `held_tokens` are the mean of a sequence while
    it is answered: more than prompt and half of the answer where lengths differ, as long ones stay longer.
    """

    prompt: float
    output: float
    cached: float = 0.0
    held_tokens: float | None = None

    @property
    def held(self) -> float:
        """Return the tokens that a sequence holds on average."""
        return self.prompt + self.output / 2.0 if self.held_tokens is None else self.held_tokens

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


def lengths_of(requests: Requests) -> Lengths:
    """Return the mean of requests."""
    prompt, output = requests.prompt_tokens, requests.output_tokens
    return Lengths(
        prompt=float(prompt.mean()),
        output=float(output.mean()),
        cached=float(requests.cached_tokens.mean()),
        held_tokens=float(np.dot(output, prompt + output / 2.0) / output.sum()),
    )


def verdict(engine: Engine, requests: Requests) -> Saturation:
    """Return how the rate of these requests compares with what the engine serves of a backlog of them."""
    return Saturation(offered_rps=requests.rate, capacity_rps=sustained_rps(engine, requests))


def sustained_rps(engine: Engine, requests: Requests) -> float:
    """Return the requests per second that all replicas answer while more are always waiting. Units: 1/s.

    The requests are repeated, or cut, to some batches of them; their arrivals do not matter.
    """
    lengths = lengths_of(requests)
    batch = engine.replicas * _batches(engine.clock, engine.batching, lengths)[-1]
    count = int(np.clip(_BACKLOG * batch, _FEWEST, _MOST))
    prompt, output, cached = (
        np.resize(tokens, count)
        for tokens in (requests.prompt_tokens, requests.output_tokens, requests.cached_tokens)
    )
    run = simulate(engine, Requests(np.zeros(count), prompt, output, cached))
    ended = np.sort(run.finished_s[run.served])
    first, last = round(len(ended) * _BEGUN), round(len(ended) * _DRAINS) - 1
    if last <= first or ended[last] <= ended[first]:
        return capacity_rps(engine, lengths)
    return float((last - first) / (ended[last] - ended[first]))


def capacity_rps(engine: Engine, lengths: Lengths) -> float:
    """Return the requests per second that all replicas serve without a growing queue, in closed form.

    The best batch is taken up to what the KV cache and the limits hold, in a steady state: as many prompts
    are read as answers end. Recomputing after preemption and idle moments are left out, so it is about an
    upper bound; `sustained_rps` is what is left of it. Units: 1/s.
    """
    clock, batching = engine.clock, engine.batching
    pool = engine.prefill
    if pool is None:
        return engine.replicas * _together_rps(clock, batching, lengths)
    reading = pool.replicas / _read_s(pool.clock, pool.batching, lengths)
    if lengths.output <= 1.0:
        return reading
    decoding = engine.replicas * max(
        batch / ((lengths.output - 1.0) * clock.step_s(batch, batch * lengths.held))
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
            seconds = read_s + steps * clock.step_s(batch, batch * lengths.held) / batch
        else:
            seconds = steps * _mixed_step_s(clock, batch, lengths) / batch
        best = max(best, 1.0 / seconds)
    return best


def _mixed_step_s(clock: StepClock, batch: float, lengths: Lengths) -> float:
    """Return the mean step with the prompts that ride along: one for every answer that ends."""
    prompts, held = batch / (lengths.output - 1.0), batch * lengths.held
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


def _batches(clock: StepClock, batching: Batching, lengths: Lengths) -> list[float]:
    """Return batches from one to the largest that lasts."""
    per_sequence = lengths.held + batching.reserved_output * lengths.output / 2.0
    largest = min(float(batching.max_sequences), clock.kv_capacity_tokens / per_sequence)
    if not batching.prefill_first:
        largest = min(
            largest, batching.max_batched_tokens / (1.0 + lengths.read / max(lengths.output - 1.0, 1.0))
        )
    return [float(batch) for batch in np.geomspace(1.0, max(largest, 1.0), _BATCHES)]
