"""A deployment as an offer: its closed-form latencies, and the seconds that a request takes of a replica.

The latencies are those that coefficients are fitted in (`operating_point`), so that the frontier's errors
are the validated ones. Cached tokens are added here, to first order: they are held and attended to and not
read, which for windows and sparse attention counts too much of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from entrepot.tokenomics.batching import Spread as Spreading
from entrepot.tokenomics.clock import PIECE_TOKENS
from entrepot.tokenomics.coefficients import DeploymentCoefficients, StepCoefficients
from entrepot.tokenomics.deployment import Deployment, refuse_memory
from entrepot.tokenomics.first_token import engine_of, seen_by_users
from entrepot.tokenomics.frontier import Loads, Times
from entrepot.tokenomics.load import PricedReplica
from entrepot.tokenomics.operating_point import Loads as Prompts
from entrepot.tokenomics.operating_point import mean_steps
from entrepot.tokenomics.price import Array
from entrepot.tokenomics.slo_capacity import Service
from entrepot.tokenomics.step_terms import PROMPT_TERMS, TERMS, StepLoad, term_scales, terms
from entrepot.tokenomics.step_time import StepTime

_IS_PROMPT = np.array([name in PROMPT_TERMS for name in TERMS])
_KV, _ATTENTION, _PROMPT_ATTENTION = (
    TERMS.index(name) for name in ("kv", "attention_flops", "prompt_attention")
)
_LEAST = 1e-9  # of tokens and sequences, where they divide


@dataclass(frozen=True, slots=True)
class DeploymentOffer:
    """A deployment at a price. Units: USD per hour of one GPU."""

    deployment: Deployment
    known: DeploymentCoefficients
    usd_per_gpu_hour: float

    @classmethod
    def of(cls, deployment: Deployment, coefficients: StepCoefficients, *, tier: str) -> DeploymentOffer:
        """Return the offer of a deployment to whoever pays for hardware by that tier.

        Raises: ConfigError when the hardware has no price for the tier.
        """
        hour_usd = deployment.hardware.hour_usd(tier)
        return cls(deployment, coefficients.of(deployment), hour_usd)

    @property
    def name(self) -> str:
        """Return hardware, layout, precision and engine."""
        of = self.deployment
        sizes = {"tp": of.tp, "pp": of.pp, "dp": of.dp, "ep": of.ep}
        layout = " ".join(f"{key}{size}" for key, size in sizes.items() if size > 1 or key == "tp")
        return f"{of.hardware.name} {layout} {of.precision}"

    @property
    def gpus(self) -> int:
        """Return the devices of one replica."""
        return self.deployment.gpus

    @property
    def usd_per_hour(self) -> float:
        """Return what an hour of one replica costs."""
        return self.usd_per_gpu_hour * self.gpus

    @property
    def refusal(self) -> str | None:
        """Return why it cannot serve at all, with the nearest that can; None when it can."""
        found = refuse_memory(self.deployment)
        return None if found is None else found.reason

    def replica(self) -> PricedReplica:
        """Return one replica for loads with random arrivals."""
        return PricedReplica(StepTime.of(self.deployment, self.known.values), self.usd_per_hour)

    def service(self, *, replicas: int = 1, is_cautious: bool = False) -> Service:
        """Return the engine of so many replicas, and how users see its runs."""
        clock = StepTime.of(self.deployment, self.known.values)
        engine = replace(engine_of(self.deployment, clock), replicas=replicas, spread=Spreading.LEAST_LOADED)
        return Service(
            engine,
            partial(
                seen_by_users,
                known=self.known,
                clock=clock,
                groups=self.deployment.dp,
                is_cautious=is_cautious,
            ),
        )

    def times(self, loads: Loads) -> Times:
        """Return latencies and the replica's seconds at operating points."""
        uncached, cached, output = loads.uncached_tokens, loads.cached_tokens, loads.output_tokens
        mean = mean_steps(self.deployment, self.known.values, Prompts(loads.batch, uncached, output))
        parts = mean.parts * self.known.values  # seconds of each part per output token of a sequence
        others = np.maximum(loads.batch - 1.0, 0.0) / np.maximum(loads.batch, 1.0)
        per_request = output / np.maximum(mean.decoding, _LEAST)
        prompt = self._prompt_parts(uncached, output, mean.decoding)
        prompt = np.minimum(prompt, _shared(parts * per_request[:, None], others))
        # pairs of cached tokens with uncached ones, beside those that these have among themselves: half of
        # each is the cached token's, half that of the one that looks at it
        across_s = prompt[:, _PROMPT_ATTENTION] * 2 * cached / np.maximum(uncached, 1.0)
        more = cached / np.maximum(uncached + output / 2, _LEAST)
        held_s = more * (parts[:, _KV] + parts[:, _ATTENTION])
        tpot_s = mean.tpot_s + held_s + others * across_s / per_request
        ttft_s = mean.ttft_s(self.known.first_token.waits) + held_s + across_s
        return Times(
            ttft_s=ttft_s,
            tpot_s=tpot_s,
            ttft_high_s=ttft_s * self.known.first_token.spread.high,
            tpot_high_s=tpot_s * self.known.spread.high,
            prefill_s=prompt[:, _IS_PROMPT].sum(axis=1) + across_s / 2,
            cached_s=across_s / 2,
            kv_s=(parts[:, _KV] * (1 + more)) * per_request,
            fits=loads.batch <= self._room(uncached + cached, output),
        )

    def _prompt_parts(self, uncached: Array, output: Array, decoding: Array) -> Array:
        """Return the seconds of each part that reading one prompt adds to steps: (n, len(TERMS))."""
        pieces = np.ceil(np.maximum(uncached, 1.0) / PIECE_TOKENS)
        each = uncached / pieces
        held = decoding * (uncached + output / 2)
        load = StepLoad(decoding, held, each, each * uncached / 2)
        parts: Array = terms(term_scales(self.deployment), load) * self.known.values * pieces[:, None]
        return parts

    def _room(self, prompt: Array, output: Array) -> Array:
        """Return how many sequences the cache holds at their mean length; 0 where one whole does not fit."""
        sizes, where = np.unique(np.stack([prompt, output], axis=1), axis=0, return_inverse=True)
        rooms = []
        for asked, answered in sizes:
            mean, whole = max(1, round(asked + answered / 2)), round(asked + answered)
            holds_one = self.deployment.kv_capacity(whole) >= whole * self.deployment.dp
            rooms.append(self.deployment.kv_capacity(mean) / mean if holds_one else 0.0)
        return np.array(rooms)[where.reshape(-1)]


def _shared(parts: Array, others: Array) -> Array:
    """Return the parts of reading one prompt, from mean steps in which several share what a piece costs once.

    Those leave one's own prompt out, for which no token of its answer waits: infinite for a lone request.
    """
    whole: Array = np.divide(
        parts, others[:, None], out=np.full_like(parts, np.inf), where=(others > 0.0)[:, None]
    )
    return whole
