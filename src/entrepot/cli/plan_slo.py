"""What `entrepot plan price|capacity` promise: requests and an SLO, tried on the engine at several loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from msgspec import Struct

from entrepot.cli import plan_options as options
from entrepot.cli.plan_options import PlannedOffer
from entrepot.cli.progress import progress_bar
from entrepot.cli.trace_requests import trace_requests
from entrepot.domain.errors import ConfigError
from entrepot.replay.trace_files import load_trace
from entrepot.tokenomics.arrivals import Requests
from entrepot.tokenomics.load import Mix, Overloaded, RequestClass
from entrepot.tokenomics.price import Tier
from entrepot.tokenomics.results import Limits
from entrepot.tokenomics.slo_capacity import (
    SHARE,
    TRIALS,
    SloCapacity,
    Trial,
    Workload,
    drawn_workload,
    slo_capacity,
    trace_workload,
    tried,
)

Share = Annotated[float, typer.Option("--share", min=0, max=1, help="Of requests that have to keep the SLO.")]
Burst = Annotated[
    float,
    typer.Option(
        "--burst", min=0.01, help="Deviation of the times between arrivals, over their mean: 1 is Poisson."
    ),
]
Trace = Annotated[
    str | None,
    typer.Option(
        "--trace", help="Lengths and bursts of a trace, such as azure_2023_conv or a file, for --request."
    ),
]
PrefixCache = Annotated[
    int,
    typer.Option(
        "--prefix-cache",
        min=0,
        help="Tokens of earlier prompts that a replica keeps, for a trace with blocks.",
    ),
]
_SEED = 1
_SIZES = 64  # of the requests of a trace, for prices: by context, equally many in each


class Promise(Struct, frozen=True):
    """Requests and what most of them have to keep.

    Units: `share` a part of the requests. With `is_cautious` the upper ends of the intervals have to.
    """

    mix: Mix
    workload: Workload
    limits: Limits
    share: float = SHARE
    is_cautious: bool = False

    @property
    def has_limits(self) -> bool:
        """Return whether anything is promised."""
        return self.limits != Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Requests, and an SLO that most of them have to keep."""

    request: options.Requests = None
    trace: Trace = None
    prefix_cache: PrefixCache = 0
    burst: Burst = 1.0
    ttft_s: options.Ttft = None
    tokens_per_s: options.Speed = None
    answer_s: options.Answer = None
    share: Share = SHARE
    cautious: options.Cautious = False

    def promise(self, tiers: tuple[Tier, ...]) -> Promise:
        """Return the requests, of some sizes or of a trace, and the SLO.

        Raises: ConfigError when both are given, or a text is not of its form; DataError for a trace.
        """
        if self.trace is not None and self.request:
            raise ConfigError(("--trace has the lengths of its own requests: leave --request out",))
        if self.trace is not None and self.burst != 1.0:
            raise ConfigError(("--trace has its own bursts: leave --burst out",))
        if self.trace is None and self.prefix_cache:
            raise ConfigError(
                ("--prefix-cache keeps what prompts of a --trace share: add one, or leave it out",)
            )
        if self.share <= 0:
            raise ConfigError(
                ("--share 0 promises nothing to anybody: expected a part above 0, such as 0.9",)
            )
        if self.trace is None:
            mix = Mix(options.requests_of(self.request, shared=True), tiers)
            workload = drawn_workload(mix, np.random.default_rng(_SEED), cv=self.burst)
        else:
            sent = _trace_requests(self.trace, self.prefix_cache)
            mix, workload = Mix(_classes(sent), tiers), trace_workload(sent)
        limits = Limits(
            ttft_s=self.ttft_s,
            tpot_s=1 / self.tokens_per_s if self.tokens_per_s else None,
            answer_s=self.answer_s,
        )
        return Promise(mix, workload, limits, self.share, self.cautious)


def capacity_of(offer: PlannedOffer, promise: Promise) -> SloCapacity:
    """Return the largest load of a replica that keeps the promise.

    Raises: ConfigError when not even a request that meets nobody keeps it, or none fits.
    """
    alone = offer.replica().steady(promise.mix, 1e-9)
    if isinstance(alone, Overloaded):
        raise ConfigError((f"{offer.name}: {alone.reason}",))
    done = 0
    with progress_bar("loads tried on the engine", TRIALS) as progress:

        def advance() -> None:
            nonlocal done
            done += 1
            progress(done)

        found = slo_capacity(
            offer.service(is_cautious=promise.is_cautious),
            promise.workload,
            promise.limits,
            share=promise.share,
            advance=advance,
        )
        progress(TRIALS)
    if isinstance(found, Overloaded):
        raise ConfigError((f"{offer.name}: {found.reason}",))
    return found


def trial_of(
    offer: PlannedOffer, promise: Promise, rate_per_s: float, *, full_per_s: float | None = None
) -> Trial:
    """Return what requests get of a replica at a load, of which it serves `full_per_s`. Units: requests/s."""
    service = offer.service(is_cautious=promise.is_cautious)
    return tried(service, promise.workload, rate_per_s, promise.limits, full_per_s=full_per_s)


def _trace_requests(name: str, prefix_cache_tokens: int) -> Requests:
    trace = load_trace(name)
    if len(trace.requests) < 2 or trace.span_s <= 0:
        raise ConfigError((f"--trace {name}: its requests all come at once: a load needs some time",))
    return trace_requests(trace, prefix_cache_tokens=prefix_cache_tokens)


def _classes(sent: Requests) -> tuple[RequestClass, ...]:
    """Return the sizes of a trace's requests: means of equally many, from short to long contexts."""
    order = np.argsort(sent.prompt_tokens + sent.output_tokens, kind="stable")
    parts = [part for part in np.array_split(order, min(_SIZES, len(order))) if len(part)]
    return tuple(
        RequestClass(
            float((sent.prompt_tokens - sent.cached_tokens)[part].mean()),
            float(sent.output_tokens[part].mean()),
            float(sent.cached_tokens[part].mean()),
            share=len(part) / len(order),
        )
        for part in parts
    )
