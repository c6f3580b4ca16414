"""What a simulated run shows: times per request, distributions, throughput and goodput."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from entrepot.tokenomics.arrivals import Floats, Ints, Requests

PERCENTILES = (50.0, 90.0, 99.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Mean and percentiles of a time, in seconds (nan without any)."""

    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """An SLO on one request: seconds, seconds per token, seconds; `None` limits nothing."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    answer_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Run:
    """A finished run.

    Shapes: times (requests,) in the order of `requests`; nan where the request was refused because it could
    never fit. Units: seconds since the start; tokens. `arrival_s` differs from `requests` in a closed loop
    only.
    """

    requests: Requests
    arrival_s: Floats
    first_s: Floats
    finished_s: Floats
    busy_s: float
    replicas: int
    steps: int
    kv_peak_share: float
    preemptions: int
    read_tokens: int
    cached_tokens: int

    @property
    def served(self) -> Ints:
        """Return the indices of the requests that were answered."""
        return np.flatnonzero(~np.isnan(self.finished_s))

    @property
    def ttft_s(self) -> Floats:
        """Return the wait for the first token per request: (requests,), s."""
        return self.first_s - self.arrival_s

    @property
    def tpot_s(self) -> Floats:
        """Return the seconds per token after the first: (requests,), s/token; nan for one token."""
        following = (self.requests.output_tokens - 1).astype(np.float64)
        following[following == 0] = np.nan
        return (self.finished_s - self.first_s) / following

    @property
    def answer_s(self) -> Floats:
        """Return the time until the last token per request: (requests,), s."""
        return self.finished_s - self.arrival_s

    @property
    def duration_s(self) -> float:
        """Return the time of the last completion: what a benchmark divides by, drain included."""
        return float(np.nanmax(self.finished_s)) if len(self.served) else 0.0

    @property
    def output_tokens_per_s(self) -> float:
        """Return output tokens over the duration."""
        tokens = int(self.requests.output_tokens[self.served].sum())
        return tokens / self.duration_s if self.duration_s else 0.0

    @property
    def utilisation(self) -> float:
        """Return the part of the duration in which replicas computed, of all together."""
        return self.busy_s / (self.duration_s * self.replicas) if self.duration_s else 0.0

    def part(self, first: int, end: int) -> Run:
        """Return the run as its requests from `first` to before `end` saw it; totals stay those of all."""
        requests, places = self.requests, slice(first, end)
        return replace(
            self,
            requests=Requests(
                requests.arrival_s[places],
                requests.prompt_tokens[places],
                requests.output_tokens[places],
                requests.cached_tokens[places],
            ),
            arrival_s=self.arrival_s[places],
            first_s=self.first_s[places],
            finished_s=self.finished_s[places],
        )

    def goodput(self, limits: Limits) -> float:
        """Return requests per second that met every limit; those refused count as missed. Units: 1/s."""
        return self.met_share(limits) * len(self.requests) / self.duration_s if self.duration_s else 0.0

    def met_share(self, limits: Limits) -> float:
        """Return the part of all requests, refused ones included, that met every limit."""
        met = ~np.isnan(self.finished_s)
        pairs = ((limits.ttft_s, self.ttft_s), (limits.answer_s, self.answer_s))
        for limit, seconds in pairs:
            if limit is not None:
                met &= np.nan_to_num(seconds, nan=np.inf) <= limit
        if limits.tpot_s is not None:
            met &= np.nan_to_num(self.tpot_s, nan=0.0) <= limits.tpot_s
        return float(met.mean())


def distribution(seconds: Floats) -> Distribution:
    """Return mean and percentiles of the values that are not nan. Shape: (any,)."""
    known = seconds[~np.isnan(seconds)]
    if not len(known):
        return Distribution(mean=float("nan"), p50=float("nan"), p90=float("nan"), p99=float("nan"))
    p50, p90, p99 = (float(value) for value in np.percentile(known, PERCENTILES))
    return Distribution(mean=float(known.mean()), p50=p50, p90=p90, p99=p99)
