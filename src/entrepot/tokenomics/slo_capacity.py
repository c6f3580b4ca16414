"""The largest load at which requests keep an SLO, found by simulating the engine: what a host can promise.

TTFT is queueing, and an SLO is about the slow tenth of requests: neither a mean nor a closed form says when
it is missed. So the engine is run at one load after another, with the same requests sent faster or slower,
until the share that keeps every limit falls below what was asked for. The answer is below saturation by
construction: above it, TTFT would be a matter of how long the run is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np
from msgspec import Struct

from entrepot.tokenomics.arrivals import Floats, Ints, Requests, gamma_arrivals_s
from entrepot.tokenomics.batching import Engine
from entrepot.tokenomics.capacity import Saturation, lengths_of, sustained_rps
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.load import Mix, Overloaded
from entrepot.tokenomics.results import Distribution, Limits, Run, distribution

SHARE = 0.9
"""Of requests that keep the SLO, unless another is asked for."""
MOST_REQUESTS = 30_000
"""Of a run: beyond, shares of 90 and 99 % change by less than the model's own error."""

_FEWEST_REQUESTS = 2_000
_FEWEST_TURNOVERS = 3.0  # fewer, and a run is its own beginning
_TURNOVERS = 8.0  # how often a run replaces the requests in flight, so that its beginning is forgotten
_WARM, _DRAINING = 0.25, 0.9  # the part of a run that is looked at: neither filling up nor running empty
_ALONE = 0.02  # of the capacity: requests hardly meet
_HALVINGS = 8
_NEARLY_FULL = 0.97  # of the capacity: what a backlog shows is known no better


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Workload:
    """Requests to be sent at any rate.

    Shapes: (requests,). Units: `at` arrivals in mean distances between them, the first at 0; tokens. With
    `is_whole` (a trace, whose bursts have their places) a run takes all of it and looks at all of it.
    """

    at: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints
    is_whole: bool = False

    def sent(self, rate_per_s: float, count: int) -> Requests:
        """Return the first `count` requests (all of a trace), sent at a rate. Units: requests/s."""
        first = slice(None) if self.is_whole else slice(count)
        return Requests(
            self.at[first] / rate_per_s,
            self.prompt_tokens[first],
            self.output_tokens[first],
            self.cached_tokens[first],
        )


def drawn_workload(mix: Mix, rng: np.random.Generator, *, cv: float = 1.0) -> Workload:
    """Return requests of the sizes of a mix in random order.

    `cv` is the standard deviation of their distances over the mean: 1 for Poisson arrivals, more for bursts.
    """
    shares = np.array([one.share for one in mix.classes])
    which = rng.choice(len(shares), size=MOST_REQUESTS, p=shares / shares.sum())
    sizes = np.array(
        [(one.uncached_tokens, one.cached_tokens, one.output_tokens) for one in mix.classes], dtype=np.int64
    )[which]
    prompt = np.maximum(sizes[:, 0] + sizes[:, 1], 1)
    return Workload(
        at=gamma_arrivals_s(1.0, MOST_REQUESTS, cv, rng),
        prompt_tokens=prompt,
        output_tokens=sizes[:, 2],
        cached_tokens=np.minimum(sizes[:, 1], prompt - 1),
    )


def trace_workload(requests: Requests) -> Workload:
    """Return the requests of a trace, with its lengths and its bursts, to be sent at other rates."""
    start_s = requests.arrival_s[0]
    return Workload(
        at=(requests.arrival_s - start_s) * requests.rate,
        prompt_tokens=requests.prompt_tokens,
        output_tokens=requests.output_tokens,
        cached_tokens=requests.cached_tokens,
        is_whole=True,
    )


class Service(Struct, frozen=True):
    """An engine as its users see it: `seen` adds to a run what comes beside its steps."""

    engine: Engine
    seen: Callable[[Run], Run]


class Trial(Struct, frozen=True):
    """What requests got at a load.

    Units: requests/s; parts of one; seconds. Where `saturation` says so, times tell the length of the run.
    """

    rate_per_s: float
    ttft: Distribution
    tpot: Distribution
    answer: Distribution
    met_share: float
    saturation: Saturation
    refused: int

    @property
    def goodput_per_s(self) -> float:
        """Return the requests per second that keep every limit; refused ones count as missed."""
        return self.rate_per_s * self.met_share


class SloCapacity(Struct, frozen=True):
    """The largest load that keeps an SLO, with what requests get at it. Units: requests/s.

    `full_per_s` is what the engine serves of a backlog, with no regard for an SLO.
    """

    trial: Trial
    full_per_s: float

    @property
    def rate_per_s(self) -> float:
        """Return that load."""
        return self.trial.rate_per_s


def tried(
    service: Service,
    workload: Workload,
    rate_per_s: float,
    limits: Limits,
    *,
    full_per_s: float | None = None,
) -> Trial:
    """Return what requests get at a load; `full_per_s` is `full_per_s_of` if that is known. Units: 1/s."""
    engine = service.engine
    full_per_s = full_per_s_of(service, workload) if full_per_s is None else full_per_s
    requests = workload.sent(rate_per_s, _count(engine, workload, rate_per_s / full_per_s))
    run = service.seen(simulate(engine, requests))
    looked = _looked_at(run, whole=workload.is_whole)
    return Trial(
        rate_per_s=rate_per_s,
        ttft=distribution(looked.ttft_s),
        tpot=distribution(looked.tpot_s),
        answer=distribution(looked.answer_s),
        met_share=looked.met_share(limits),
        saturation=Saturation(offered_rps=rate_per_s, capacity_rps=full_per_s),
        refused=len(looked.requests) - len(looked.served),
    )


def slo_capacity(
    service: Service,
    workload: Workload,
    limits: Limits,
    *,
    share: float = SHARE,
    advance: Callable[[], None] | None = None,
) -> SloCapacity | Overloaded:
    """Return the largest load at which `share` of requests keep every limit, or why a lone one misses them.

    `advance` is called after each of at most `TRIALS` runs. Raises: ValueError for a share outside 0…1.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"a share of {share:g} of requests: expected a part above 0 and at most 1")
    full_per_s = full_per_s_of(service, workload)

    def trial(rate_per_s: float) -> Trial:
        found = tried(service, workload, rate_per_s, limits, full_per_s=full_per_s)
        if advance is not None:
            advance()
        return found

    best = trial(full_per_s * _ALONE)
    if best.met_share < share:
        return _beyond(best, limits, share)
    low, high = full_per_s * _ALONE, full_per_s * _NEARLY_FULL
    top = trial(high)
    if top.met_share >= share:
        return SloCapacity(top, full_per_s)
    for _ in range(_HALVINGS):
        middle = trial((low + high) / 2)
        if middle.met_share >= share:
            low, best = middle.rate_per_s, middle
        else:
            high = middle.rate_per_s
    return SloCapacity(best, full_per_s)


class Sized(Struct, frozen=True):
    """How many replicas a demand takes, and what its requests get of them.

    `trial` is None where so many replicas are too much to simulate; then each is filled as one alone.
    """

    replicas: int
    trial: Trial | None


def replicas_for(
    demand_per_s: float,
    one: SloCapacity,
    service_of: Callable[[int], Service],
    workload: Workload,
    limits: Limits,
    *,
    share: float = SHARE,
) -> Sized:
    """Return the least replicas, behind one queue, of which a demand gets the SLO.

    Several share their bursts, so that fewer may do than what one carries says. Units: requests/s.
    """
    count = max(1, ceil(demand_per_s / one.rate_per_s * (1 - 1e-12)))
    least = max(1, ceil(demand_per_s / one.full_per_s * (1 - 1e-12)))
    found = Sized(count, None)
    for replicas in range(count, least - 1, -1):
        service = service_of(replicas)
        full_per_s = replicas * one.full_per_s
        in_flight = _in_flight(service.engine, workload, demand_per_s / full_per_s)
        if not workload.is_whole and in_flight * _FEWEST_TURNOVERS > MOST_REQUESTS:
            break
        trial = tried(service, workload, demand_per_s, limits, full_per_s=full_per_s)
        if trial.met_share < share and replicas < count:
            break
        found = Sized(replicas, trial)
    return found


TRIALS = _HALVINGS + 2
"""Of the search for a capacity, at most."""


def full_per_s_of(service: Service, workload: Workload) -> float:
    """Return the requests/s that are answered of a backlog: no load beyond it is served for long."""
    return sustained_rps(service.engine, workload.sent(1.0, MOST_REQUESTS))


def _count(engine: Engine, workload: Workload, part: float) -> int:
    """Return how many requests replace those in flight several times; `part` of the capacity is offered."""
    in_flight = _in_flight(engine, workload, part)
    return int(np.clip(_TURNOVERS * in_flight, _FEWEST_REQUESTS, MOST_REQUESTS))


def _in_flight(engine: Engine, workload: Workload, part: float) -> float:
    """Return about how many requests are in flight at most, at a part of the capacity."""
    held = lengths_of(workload.sent(1.0, MOST_REQUESTS)).held
    room = min(engine.batching.max_sequences, engine.clock.kv_capacity_tokens / held)
    return engine.replicas * room * min(1.0, part)


def _looked_at(run: Run, *, whole: bool) -> Run:
    if whole:
        return run
    count = len(run.requests)
    return run.part(round(count * _WARM), round(count * _DRAINING))


def _beyond(alone: Trial, limits: Limits, share: float) -> Overloaded:
    """Return the refusal of an SLO that not even a lone request keeps, with what it gets instead."""
    floors = [
        f"{what} of {reached:.3g} s (asked: {asked:.3g})"
        for what, reached, asked in (
            ("TTFT", alone.ttft.p90, limits.ttft_s),
            ("time per token", alone.tpot.p90, limits.tpot_s),
            ("answer time", alone.answer.p90, limits.answer_s),
        )
        if asked is not None
    ]
    got = ", ".join(floors)
    little = f"{alone.rate_per_s:.2g} requests/s already, where requests hardly meet"
    reason = f"the SLO is missed at {little}: {alone.met_share:.0%} of them keep it"
    if alone.refused:
        reason = f"{alone.refused} requests do not fit in the KV cache, and {reason}"
    nearest = f"{reason}, {share:.0%} were asked for; nine tenths of them get a {got}"
    return Overloaded(alone.rate_per_s, 0.0, nearest)
