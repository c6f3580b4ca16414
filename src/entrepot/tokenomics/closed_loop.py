"""A closed loop of equal requests, simulated: what the points of a frontier say in closed form.

The frontier prices thousands of points by mean latencies; the few that are chosen are run, so that the spread
of TTFT, which no mean tells, is seen before anything is rented.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from entrepot.tokenomics.arrivals import Requests
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.load import RequestClass
from entrepot.tokenomics.results import Distribution, distribution
from entrepot.tokenomics.slo_capacity import Service

_RUNS = 6  # requests for each in flight, of which the first, which come at once, are not looked at
_BEGUN = 2
_FEWEST = 60


class ClosedLoop(Struct, frozen=True):
    """What requests get, and how many are answered. Units: seconds; requests/s."""

    ttft: Distribution
    tpot: Distribution
    requests_per_s: float


def closed_loop(service: Service, request: RequestClass, at_once: int) -> ClosedLoop:
    """Return what `at_once` requests get at any time, the next one sent when one is answered.

    Raises: ValueError when none is in flight.
    """
    count = max(_FEWEST, _RUNS * at_once)
    prompt = max(1, round(request.uncached_tokens + request.cached_tokens))
    requests = Requests(
        np.zeros(count),
        np.full(count, prompt),
        np.full(count, max(1, round(request.output_tokens))),
        np.full(count, min(prompt - 1, round(request.cached_tokens))),
    )
    run = service.seen(simulate(service.engine, requests, concurrency=at_once))
    later = run.part(min(_BEGUN * at_once, count // 2), count)
    ttft, tpot = distribution(later.ttft_s), distribution(later.tpot_s)
    answer_s = distribution(later.answer_s).mean
    return ClosedLoop(ttft, tpot, at_once / answer_s if answer_s > 0 else 0.0)
