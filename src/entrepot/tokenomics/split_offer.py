"""A split deployment as an offer: some workers read prompts, others write answers, and both are paid for.

It competes with whole deployments on the same frontier, so that it answers the same questions. Its latencies
are those of two stations in a closed loop, solved as arrays: an engine's run per point would take ten
thousand times as long, and both are held to each other by a test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from msgspec.structs import replace

from entrepot.tokenomics.batching import Batching, Engine, PrefillPool, Spread
from entrepot.tokenomics.clock import StepClock
from entrepot.tokenomics.coefficients import DeploymentCoefficients, StepCoefficients
from entrepot.tokenomics.coefficients import Spread as ErrorSpread
from entrepot.tokenomics.deployment import REFERENCE_CONTEXT, Deployment, refuse_memory
from entrepot.tokenomics.deployment_offer import assumption, sequences_held
from entrepot.tokenomics.first_token import engine_of, seen_by_users
from entrepot.tokenomics.frontier import Loads, PoolSeconds, Times
from entrepot.tokenomics.price import Array
from entrepot.tokenomics.reading import Reading, Workers, reading_of
from entrepot.tokenomics.slo_capacity import Service
from entrepot.tokenomics.split_replica import SplitReplica
from entrepot.tokenomics.step_terms import TERMS, StepLoad, TermScales, term_scales, terms

FIRST_TOKEN, SIMULATED = (
    ErrorSpread(low=0.94, high=6.4, rows=341),
    ErrorSpread(low=0.74, high=7.1, rows=341),
)
"""Between which factors of mean TTFT in closed form, and simulated, 80 % of measurements lie: those of
silicon_measured.csv that are split and say how many workers there were (`validation.split` finds them). How
first tokens wait was fitted to engines that read and answer (`first_token`): of split ones most are later."""
_KV = TERMS.index("kv")
_HALVINGS = 50  # of at most a few thousand requests: to a float's digits
_LEAST = 1e-9  # of sequences, where they divide


@dataclass(frozen=True, slots=True)
class SplitOffer:
    """Prefill workers and decode workers of one model, as one replica.

    Raises: ValueError when the two are of different models.
    """

    prefill: Workers
    decode: Workers

    def __post_init__(self) -> None:
        """Refuse two models."""
        models = [workers.deployment.architecture.name for workers in (self.prefill, self.decode)]
        if models[0] != models[1]:
            raise ValueError(f"prefill workers of {models[0]} cannot hand over to {models[1]}")

    @classmethod
    def of(
        cls,
        prefill: tuple[int, Deployment],
        decode: tuple[int, Deployment],
        coefficients: StepCoefficients,
        *,
        tier: str,
    ) -> SplitOffer:
        """Return the offer of so many workers of each deployment; the modes of these are set here.

        Raises: ConfigError when the hardware has no price for the tier.
        """
        reads, writes = (
            Workers.of(replace(deployment, mode=mode), coefficients, count=count, tier=tier)
            for mode, (count, deployment) in (("prefill", prefill), ("decode", decode))
        )
        return cls(reads, writes)

    @property
    def name(self) -> str:
        """Return the workers of both pools: `h200 2×tp8 → 1×dp16 ep16 fp8`."""
        reads, writes = self.prefill.deployment, self.decode.deployment
        same = (reads.hardware.name, reads.precision) == (writes.hardware.name, writes.precision)
        before = _workers_name(self.prefill) if same else f"{_workers_name(self.prefill)} {reads.precision}"
        device = "" if same else f"{writes.hardware.name} "
        after = f"{device}{_workers_name(self.decode)} {writes.precision}"
        return f"{reads.hardware.name} {before} → {after}{assumption(writes)}"

    @property
    def model(self) -> str:
        """Return the name of the model."""
        return self.decode.deployment.architecture.name

    @property
    def gpus(self) -> int:
        """Return the devices of both pools."""
        return self.prefill.gpus + self.decode.gpus

    @property
    def usd_per_hour(self) -> float:
        """Return what an hour of both pools costs."""
        return self.prefill.usd_per_hour + self.decode.usd_per_hour

    @property
    def usd_per_hour_by_tier(self) -> dict[str, float]:
        """Return what an hour of both pools costs by who pays for the hardware, where both have a price."""
        reads, writes = (pool.deployment.hardware.usd_per_hour for pool in (self.prefill, self.decode))
        return {
            tier: usd * self.prefill.gpus + writes[tier] * self.decode.gpus
            for tier, usd in reads.items()
            if tier in writes
        }

    @property
    def known(self) -> DeploymentCoefficients:
        """Return the coefficients that TPOT hangs on, and how first tokens wait: of the decode workers."""
        known = self.decode.known
        first = replace(known.first_token, spread=FIRST_TOKEN, simulated_spread=SIMULATED)
        return replace(known, first_token=first)

    @property
    def refusal(self) -> str | None:
        """Return which pool does not fit in memory, with its nearest that does; None when both fit."""
        found = []
        for pool in (self.prefill, self.decode):
            refused = refuse_memory(pool.deployment)
            if refused is not None:
                found.append(f"{pool.deployment.mode} workers: {refused.reason}")
        return "; ".join(found) or None

    @property
    def transfer_token_s(self) -> float:
        """Return the seconds per token of handing the KV of a prompt over.

        Assumed: all of it travels, cached tokens too, after the prompt was read, over the link between nodes
        of each device that has a part of it (copies, as of MLA's latent, travel at the same time), as written
        by the prefill worker, in contexts of 4,096 tokens; and nobody waits for the wire.
        """
        of = self.prefill.deployment
        cache = of.architecture.kv_bytes(REFERENCE_CONTEXT, of.cache_precision) / REFERENCE_CONTEXT
        return cache / min(_links(pool.deployment) for pool in (self.prefill, self.decode))

    @property
    def transfer_s(self) -> float:
        """Return the seconds per request of handing over what does not grow with its prompt: states."""
        links = min(_links(pool.deployment) for pool in (self.prefill, self.decode))
        return self.prefill.deployment.architecture.state_bytes / links

    def replica(self) -> SplitReplica:
        """Return one replica for loads with random arrivals."""
        return SplitReplica(self.prefill, self.decode)

    def engine(self, *, batching: Batching | None = None, replicas: int = 1) -> Engine:
        """Return so many replicas to be simulated, as one pool of each kind.

        `batching` is that of decode workers: the usual limits for each of their attention groups unless
        given. Requests go to the worker that has fewest. Prompts are read by attention groups, each at the
        pace at which all of its worker do, so that the groups are the replicas of the prefill pool.
        """
        usual = engine_of(self.decode.deployment, self.decode.clock)
        readers = self.prefill.deployment.dp
        prefill = PrefillPool(
            clock=_GroupClock(self.prefill.clock, readers),
            replicas=self.prefill.count * readers * replicas,
            transfer_s=self.transfer_s,
            transfer_token_s=self.transfer_token_s,
        )
        return dataclasses.replace(
            usual,
            batching=batching or usual.batching,
            replicas=self.decode.count * replicas,
            spread=Spread.LEAST_LOADED,
            prefill=prefill,
        )

    def service(self, *, replicas: int = 1, is_cautious: bool = False) -> Service:
        """Return the engine of so many replicas, and how users see its runs."""
        engine = self.engine(replicas=replicas)
        return Service(
            engine,
            partial(
                seen_by_users, known=self.known, clock=self.prefill.clock, groups=1, is_cautious=is_cautious
            ),
        )

    def times(self, loads: Loads) -> Times:
        """Return latencies and each pool's seconds at operating points, long after the loop began.

        Approximate mean value analysis of two stations (Schweitzer's: of what is there with N requests an
        arrival sees the part (N − 1) / N). Prompts wait for workers and are read (`reading`), and first
        tokens wait as in engines that do both (`first_token`).
        Then KV is handed over, and decode workers answer all at once, evenly spread, in steps that take
        longer the more decode on each. The number that decode is the one at which those and the others add
        up to N, and TTFT what Little's law leaves: beyond what can be read or held, waiting. Batches that
        the decode workers' cache cannot hold do not fit, nor prompts that no prefill worker can.
        """
        return self._times(loads, self.known.first_token.steady_waits)

    def run_times(self, loads: Loads) -> Times:
        """Return the same of a run as benchmarks make it, which begins with a burst of all prompts."""
        return self._times(loads, self.known.first_token.waits)

    def _times(self, loads: Loads, waits: Sequence[float]) -> Times:
        loop = _Loop.of(self, loads, waits)
        room = self.decode.count * sequences_held(self.decode.deployment, loop.prompt, loads.output_tokens)
        decoding, is_held = loop.solved(room)
        parts, each = loop.step_parts(decoding), loop.each(decoding)
        tpot_s = parts.sum(axis=1)
        rate = decoding / (loads.output_tokens * tpot_s)
        ttft_s = np.maximum(loads.batch - decoding, 0.0) / rate
        no = np.zeros_like(rate)
        read_s, cached_s, written_s = loop.reading.worker_s(rate) * loop.reading.kinds.T
        kv_s = parts[:, _KV] * loads.output_tokens / each
        decode_s = tpot_s * loads.output_tokens / each - kv_s
        reads = sequences_held(self.prefill.deployment, loop.prompt, no) > 0
        return Times(
            ttft_s=ttft_s,
            tpot_s=tpot_s,
            ttft_high_s=ttft_s * self.known.first_token.spread.high,
            tpot_high_s=tpot_s * self.known.spread.high,
            fits=is_held & reads,
            pools=(
                PoolSeconds(self.prefill.count, self.prefill.usd_per_hour, read_s, cached_s, written_s, no),
                PoolSeconds(self.decode.count, self.decode.usd_per_hour, no, no, decode_s, kv_s),
            ),
        )


@dataclass(frozen=True, slots=True)
class _Loop:
    """Requests that go round between the two pools. Shapes: (n,). Units: seconds, tokens."""

    loads: Loads
    workers: int
    scales: TermScales
    known: DeploymentCoefficients
    reading: Reading
    transfer_s: Array
    prompt: Array
    waits: Sequence[float]

    @classmethod
    def of(cls, offer: SplitOffer, loads: Loads, waits: Sequence[float]) -> _Loop:
        """Return the loop of an offer whose first tokens wait so."""
        prompt = loads.uncached_tokens + loads.cached_tokens
        return cls(
            loads=loads,
            workers=offer.decode.count,
            scales=term_scales(offer.decode.deployment),
            known=offer.decode.known,
            reading=reading_of(offer.prefill, loads.uncached_tokens, loads.cached_tokens),
            transfer_s=offer.transfer_s + offer.transfer_token_s * prompt,
            prompt=prompt,
            waits=waits,
        )

    def each(self, decoding: Array) -> Array:
        """Return the sequences of a decode worker that has any."""
        return np.maximum(decoding / self.workers, 1.0)

    def step_parts(self, decoding: Array) -> Array:
        """Return the seconds of the parts of a step when so many decode in all: (n, len(TERMS))."""
        each, nothing = self.each(decoding), np.zeros_like(decoding)
        held = each * (self.prompt + self.loads.output_tokens / 2)
        parts: Array = terms(self.scales, StepLoad(each, held, nothing, nothing)) * self.known.values
        return parts

    def requests(self, decoding: Array) -> Array:
        """Return the requests in the loop when so many decode; infinite where that many cannot be read."""
        step_s = self.step_parts(decoding).sum(axis=1)
        rate = decoding / (self.loads.output_tokens * step_s)
        seen = 1.0 - 1.0 / np.maximum(self.loads.batch, 1.0)
        own, steps, burst, second = self.waits
        burst_s = self.loads.batch * self.reading.least_s / self.reading.workers
        ttft_s = own * self.reading.latency_s(rate, seen) + steps * step_s + burst * burst_s + second
        ttft_s += self.transfer_s
        return np.where(rate > self.reading.most_per_s, np.inf, decoding + rate * ttft_s)

    def solved(self, room: Array) -> tuple[Array, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
        """Return how many decode, and whether the cache holds them. Shapes: `room` (n,), sequences."""
        most = np.maximum(np.minimum(self.loads.batch, room), _LEAST)
        is_held = self.requests(most) >= self.loads.batch * (1.0 - _LEAST)
        low, high = np.zeros_like(most), most
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            is_fewer = self.requests(middle) <= self.loads.batch
            low, high = np.where(is_fewer, middle, low), np.where(is_fewer, high, middle)
        return np.maximum(low, _LEAST / 2), is_held


@dataclass(frozen=True, slots=True)
class _GroupClock:
    """One attention group of a worker, whose other groups do as much at the same time: a `StepClock`."""

    worker: StepClock
    groups: int

    @property
    def kv_capacity_tokens(self) -> int:
        """Return how many tokens the cache of the group holds."""
        return self.worker.kv_capacity_tokens // self.groups

    def step_s(
        self, decoding: float, held_tokens: float, prompt_tokens: float = 0.0, prompt_pairs: float = 0.0
    ) -> float:
        """Return the seconds of one step; see `StepClock`."""
        work = (decoding, held_tokens, prompt_tokens, prompt_pairs)
        return self.worker.step_s(*(self.groups * amount for amount in work))


def _links(deployment: Deployment) -> float:
    """Return the bytes/s between nodes of the devices that have parts of one sequence's cache."""
    return deployment.kv_shards * deployment.hardware.node_link_bytes_per_s


def _workers_name(workers: Workers) -> str:
    of = workers.deployment
    sizes = {"tp": of.tp, "pp": of.pp, "dp": of.dp, "ep": of.ep}
    layout = " ".join(f"{key}{size}" for key, size in sizes.items() if size > 1)
    return f"{workers.count}×{layout or 'tp1'}"
