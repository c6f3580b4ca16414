"""A deployment as an offer: its closed-form latencies, and the seconds that a request takes of a replica.

The latencies are those that coefficients are fitted in (`operating_point`), so that the frontier's errors
are the validated ones. Cached tokens are added here, to first order: they are held and attended to and not
read, which for windows and sparse attention counts too much of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from entrepot.tokenomics.batching import Batching, Engine
from entrepot.tokenomics.batching import Spread as Spreading
from entrepot.tokenomics.clock import PIECE_TOKENS
from entrepot.tokenomics.coefficients import DeploymentCoefficients, StepCoefficients
from entrepot.tokenomics.deployment import Deployment, refuse_memory
from entrepot.tokenomics.first_token import engine_of, seen_by_users
from entrepot.tokenomics.frontier import Loads, Times, whole_replica
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
        return f"{of.hardware.name} {layout} {of.precision}{assumption(of)}"

    @property
    def model(self) -> str:
        """Return the name of the model."""
        return self.deployment.architecture.name

    @property
    def usd_per_hour_by_tier(self) -> dict[str, float]:
        """Return what an hour of one replica costs by who pays for the hardware."""
        hours = self.deployment.hardware.usd_per_hour
        return {tier: usd * self.gpus for tier, usd in hours.items()}

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

    def engine(self, *, batching: Batching | None = None, replicas: int = 1) -> Engine:
        """Return so many replicas to be simulated; with the usual limits of a scheduler unless given.

        Requests go to the replica that has fewest.
        """
        usual = engine_of(self.deployment, StepTime.of(self.deployment, self.known.values))
        return replace(
            usual,
            batching=batching or usual.batching,
            replicas=replicas,
            spread=Spreading.LEAST_LOADED,
        )

    def service(self, *, replicas: int = 1, is_cautious: bool = False) -> Service:
        """Return the engine of so many replicas, and how users see its runs."""
        engine = self.engine(replicas=replicas)
        return Service(
            engine,
            partial(
                seen_by_users,
                known=self.known,
                clock=engine.clock,
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
        ttft_s = mean.ttft_s(self.known.first_token.steady_waits) + held_s + across_s
        pool = whole_replica(
            self.usd_per_hour,
            loads,
            ttft_s + output * tpot_s,
            prefill_s=prompt[:, _IS_PROMPT].sum(axis=1) + across_s / 2,
            cached_s=across_s / 2,
            kv_s=(parts[:, _KV] * (1 + more)) * per_request,
        )
        return Times(
            ttft_s=ttft_s,
            tpot_s=tpot_s,
            ttft_high_s=ttft_s * self.known.first_token.spread.high,
            tpot_high_s=tpot_s * self.known.spread.high,
            fits=loads.batch <= sequences_held(self.deployment, uncached + cached, output),
            pools=(pool,),
        )

    def _prompt_parts(self, uncached: Array, output: Array, decoding: Array) -> Array:
        """Return the seconds of each part that reading one prompt adds to steps: (n, len(TERMS))."""
        pieces = np.ceil(np.maximum(uncached, 1.0) / PIECE_TOKENS)
        each = uncached / pieces
        held = decoding * (uncached + output / 2)
        load = StepLoad(decoding, held, each, each * uncached / 2)
        parts: Array = terms(term_scales(self.deployment), load) * self.known.values * pieces[:, None]
        return parts


def sequences_held(deployment: Deployment, prompt: Array, output: Array) -> Array:
    """Return how many sequences the cache holds at their mean length; 0 where one whole does not fit.

    Shapes: (n,). Units: tokens.
    """
    sizes, where = np.unique(np.stack([prompt, output], axis=1), axis=0, return_inverse=True)
    rooms = []
    for asked, answered in sizes:
        mean, whole = max(1, round(asked + answered / 2)), max(1, round(asked + answered))
        holds_one = deployment.kv_capacity(whole) >= whole * deployment.dp
        rooms.append(deployment.kv_capacity(mean) / mean if holds_one else 0.0)
    return np.array(rooms)[where.reshape(-1)]


def assumption(deployment: Deployment) -> str:
    """Return what a name says of an exchange that is assumed to be hidden; nothing where there is none."""
    hidden = deployment.exchanges and deployment.hides_exchange
    return ", exchange hidden (assumed)" if hidden else ""


def _shared(parts: Array, others: Array) -> Array:
    """Return the parts of reading one prompt, from mean steps in which several share what a piece costs once.

    Those leave one's own prompt out, for which no token of its answer waits: infinite for a lone request.
    """
    whole: Array = np.divide(
        parts, others[:, None], out=np.full_like(parts, np.inf), where=(others > 0.0)[:, None]
    )
    return whole
