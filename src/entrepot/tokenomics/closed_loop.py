"""A closed loop of like requests, simulated: what the points of a frontier say in closed form.

The frontier prices thousands of points by mean latencies; the few that are chosen are run, so that the spread
of TTFT, which no mean tells, is seen before anything is rented. Their answers differ by a tenth, as those of
measured runs do: equal ones would end in one step for ever, and all prompts be read at once in the next.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from entrepot.tokenomics.arrivals import Ints, Requests
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.load import RequestClass
from entrepot.tokenomics.results import Distribution, distribution
from entrepot.tokenomics.slo_capacity import Service

_RUNS = 6  # requests for each in flight, of which the first, which come at once, are not looked at
_BEGUN = 2
_FEWEST = 60
_SPREAD = 0.1  # of the length of answers, to either side: benchmarks take 0.8 to 1.0 of the longest
_GOLDEN = (5**0.5 - 1) / 2  # multiples of it, without their whole part, fill an interval evenly


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
        _answers(request.output_tokens, count),
        np.full(count, min(prompt - 1, round(request.cached_tokens))),
    )
    run = service.seen(simulate(service.engine, requests, concurrency=at_once))
    later = run.part(min(_BEGUN * at_once, count // 2), count)
    ttft, tpot = distribution(later.ttft_s), distribution(later.tpot_s)
    answer_s = distribution(later.answer_s).mean
    return ClosedLoop(ttft, tpot, at_once / answer_s if answer_s > 0 else 0.0)


def _answers(mean: float, count: int) -> Ints:
    """Return lengths of answers around a mean, evenly spread and in no order. Units: tokens."""
    part = 2 * (np.arange(count) * _GOLDEN % 1.0) - 1
    return np.maximum(1, np.round(mean + part * max(1.0, _SPREAD * mean) * (mean > 1))).astype(np.int64)
