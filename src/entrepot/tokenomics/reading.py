"""Workers that only read prompts: how many they read together, how long that takes and how long one waits.

A worker is not a server of one customer at a time: what waits is read in one step, up to a step's tokens, and
shares what the step costs whatever is in it. A plain queue would call such workers full long before they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from entrepot.tokenomics.clock import PIECE_TOKENS
from entrepot.tokenomics.coefficients import DeploymentCoefficients, StepCoefficients
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.price import Array, Kind
from entrepot.tokenomics.step_terms import TERMS, StepLoad, term_scales, terms
from entrepot.tokenomics.step_time import StepTime

_ATTENTION = TERMS.index("prompt_attention")
_FULLEST = 0.999  # of what can be read: a queue is infinite beyond, and long enough here
_LEAST = 1e-12  # where it divides


@dataclass(frozen=True, slots=True)
class Workers:
    """Workers of one kind in a replica of a split deployment. Units: USD per hour of one GPU.

    Raises: ValueError for less than one.
    """

    deployment: Deployment
    known: DeploymentCoefficients
    usd_per_gpu_hour: float
    count: int = 1

    def __post_init__(self) -> None:
        """Refuse a pool of none."""
        if self.count < 1:
            raise ValueError(f"{self.count} {self.deployment.mode} workers: a pool has at least one")

    @classmethod
    def of(cls, deployment: Deployment, coefficients: StepCoefficients, *, count: int, tier: str) -> Workers:
        """Return so many workers to whoever pays for hardware by that tier.

        Raises: ConfigError when the hardware has no price for the tier.
        """
        return cls(deployment, coefficients.of(deployment), deployment.hardware.hour_usd(tier), count)

    @property
    def gpus(self) -> int:
        """Return the devices of all of them."""
        return self.deployment.gpus * self.count

    @property
    def usd_per_hour(self) -> float:
        """Return what an hour of all of them costs."""
        return self.usd_per_gpu_hour * self.gpus

    @property
    def clock(self) -> StepTime:
        """Return the clock of one of them."""
        return StepTime.of(self.deployment, self.known.values)


@dataclass(frozen=True, slots=True)
class Reading:
    """How prefill workers read prompts of n sizes.

    Shapes: (n,); `kinds` (n, 3), what part of the time is for each `Kind` of token. Units: `alone_s` seconds
    of the step (or steps) of one prompt in each attention group, `full_s` of a step with `most` in each.
    """

    workers: int
    groups: int
    alone_s: Array
    full_s: Array
    most: Array
    kinds: Array

    @property
    def most_per_s(self) -> Array:
        """Return the prompts per second of full steps: no rate is above it."""
        return self.workers * self.groups * self.most / self.full_s

    @property
    def least_s(self) -> Array:
        """Return the seconds of a worker that a prompt takes in full steps."""
        return self.full_s / self.most / self.groups

    def worker_s(self, rate_per_s: Array) -> Array:
        """Return the seconds of a worker that a prompt takes: the fewer, the more are read at once."""
        return self._step_s(rate_per_s) / self._together(rate_per_s) / self.groups

    def latency_s(self, rate_per_s: Array, seen: Array) -> Array:
        """Return the seconds from a prompt's arrival to its first token at a rate.

        Its own step, half of the step in progress, and the queue that does not fit in the next one. `seen` is
        the part of the others' rate that an arrival meets: 1 of random arrivals. With one prompt per step and
        one worker that is the queue of random arrivals and constant service (Pollaczek-Khinchine); several
        take prompts in turn, so that theirs come more evenly.
        """
        step_s = self._step_s(rate_per_s)
        each = rate_per_s * seen / (self.workers * self.groups)
        reads = np.minimum(each * self.alone_s, 1.0)  # the part of the time in which a group does
        used = np.minimum(rate_per_s * seen / self.most_per_s, _FULLEST)
        queue = used ** (self.most + 1) / (1.0 - used) / (self.workers * self.groups)
        latency: Array = step_s + step_s / 2 * reads + self.full_s / 2 * queue
        return latency

    def mean(self, share: Array) -> Reading:
        """Return how a mix of these sizes is read. Shapes: `share` (n,), adds up to 1; the result (1,)."""
        least = self.full_s / self.most
        alone, most = share @ self.alone_s, 1.0 / (share @ (1.0 / self.most))
        full = np.clip((share @ least) * most, alone, alone * most)
        kinds = (share * least) @ self.kinds / (share @ least)
        return Reading(
            self.workers, self.groups, np.array([alone]), np.array([full]), np.array([most]), kinds[None, :]
        )

    def _together(self, rate_per_s: Array) -> Array:
        """Return how many prompts a step reads in each group: those that came during the one before."""
        each = rate_per_s / (self.workers * self.groups)
        once_s, more_s = self._once_and_more_s()
        came = each * once_s / np.maximum(1.0 - each * more_s, _LEAST)
        together: Array = np.clip(came, 1.0, self.most)
        return together

    def _step_s(self, rate_per_s: Array) -> Array:
        once_s, more_s = self._once_and_more_s()
        seconds: Array = once_s + more_s * self._together(rate_per_s)
        return seconds

    def _once_and_more_s(self) -> tuple[Array, Array]:
        """Return the seconds of a step whatever it reads, and those that each prompt adds."""
        further = self.most - 1.0
        more = np.where(further > 0, (self.full_s - self.alone_s) / np.maximum(further, _LEAST), 0.0)
        return self.alone_s - more, more


def reading_of(workers: Workers, uncached: Array, cached: Array) -> Reading:
    """Return how workers read prompts whose cached part they have.

    Every attention group reads prompts of its own, at the pace at which all do, up to 8,192 tokens a step.
    A prompt that is cached whole still has its last token read. Shapes: (n,). Units: tokens.
    """
    groups = workers.deployment.dp
    read = np.maximum(uncached, 1.0)
    pairs = read * (read / 2 + cached)
    pieces = np.ceil(read / PIECE_TOKENS)
    most = np.maximum(PIECE_TOKENS / read, 1.0)
    lone = _parts(workers, groups * read / pieces, groups * pairs / pieces) * pieces[:, None]
    together = np.where(
        (most > 1.0)[:, None], _parts(workers, groups * most * read, groups * most * pairs), lone
    )
    alone_s = lone.sum(axis=1)
    full_s = np.clip(together.sum(axis=1), alone_s, alone_s * most)
    attention = together[:, _ATTENTION] / together.sum(axis=1)
    # a pair needs both its tokens: half of it is the cached one's, half that of the one that looks at it
    across = attention * read * cached / pairs / 2
    kinds = np.stack([1.0 - across, across, np.zeros_like(across)], axis=1)
    kinds[uncached <= 0] = np.eye(len(Kind))[Kind.CACHED]
    kinds[(uncached <= 0) & (cached <= 0)] = np.eye(len(Kind))[Kind.OUTPUT]
    return Reading(workers.count, groups, alone_s, full_s, most, kinds)


def _parts(workers: Workers, prompt: Array, pairs: Array) -> Array:
    """Return the seconds of the parts of steps that only read: (n, len(TERMS))."""
    nothing = np.zeros_like(prompt)
    load = StepLoad(nothing, nothing, prompt, pairs)
    parts: Array = terms(term_scales(workers.deployment), load) * workers.known.values
    return parts
