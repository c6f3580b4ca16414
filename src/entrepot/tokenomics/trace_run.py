"""A trace on an engine: the distributions of waiting and whether the load is more than can be served."""

from dataclasses import dataclass

from entrepot.tokenomics.arrivals import Requests
from entrepot.tokenomics.batching import Engine
from entrepot.tokenomics.capacity import Saturation, verdict
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.results import Distribution, distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRun:
    """What a trace showed. Units: s, s/token, parts of one, tokens/s; `refused` requests could never fit."""

    ttft: Distribution
    tpot: Distribution
    answer: Distribution
    saturation: Saturation
    utilisation: float
    output_tokens_per_s: float
    preemptions: int
    refused: int


def run_trace(engine: Engine, requests: Requests) -> TraceRun:
    """Return what an engine does with the requests of a trace, as distributions.

    TTFT is queueing: the same clock shows tens of milliseconds or minutes, by the trace's bursts and the
    replicas. Where the verdict is "saturated" the distributions tell how long the trace was.
    """
    run = simulate(engine, requests)
    return TraceRun(
        ttft=distribution(run.ttft_s),
        tpot=distribution(run.tpot_s),
        answer=distribution(run.answer_s),
        saturation=verdict(engine, requests),
        utilisation=run.utilisation,
        output_tokens_per_s=run.output_tokens_per_s,
        preemptions=run.preemptions,
        refused=len(requests) - len(run.served),
    )
