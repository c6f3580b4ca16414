"""Engines under offered load as the planner promises them to somebody who has measured nothing.

Everything else about these runs is calibrated by two of their rows. This is what a plan is worth before: step
times and waits fitted to other hosts' closed loops, on GPUs and engines that were set up by somebody else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from entrepot.tokenomics.arrivals import Floats, requests_of
from entrepot.tokenomics.cost_by_load import OUTPUT_TOKENS, PROMPT_TOKENS, Configuration, point_of
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.slo_capacity import Service
from entrepot.tokenomics.validation.errors import Figures

TIMES = ("TPOT p50", "TTFT p50", "TTFT p90")


class PromiseError(Struct, frozen=True):
    """Relative errors of one row, predicted over measured − 1, in the order of `TIMES`."""

    engine: str
    errors: tuple[float, float, float]


def promise_errors(
    configuration: Configuration, service: Service, draws: Sequence[Floats]
) -> tuple[PromiseError, ...]:
    """Return the errors of every row below saturation: less was offered than the highest throughput."""
    highest_rps = max(row.throughput_rps for row in configuration.rows)
    found = []
    for row in configuration.rows:
        if row.offered_rps >= highest_rps:
            continue
        times = []
        for arrivals_s in point_of(row, configuration.setting, draws, known=False).arrivals_s:
            run = service.seen(
                simulate(service.engine, requests_of(arrivals_s, PROMPT_TOKENS, OUTPUT_TOKENS))
            )
            times.append([np.median(run.tpot_s), *np.percentile(run.ttft_s, (50, 90))])
        measured = np.array([row.tpot_p50_s, row.ttft_p50_s, row.ttft_p90_s])
        tpot, ttft_p50, ttft_p90 = (np.mean(times, axis=0) / measured - 1.0).tolist()
        found.append(PromiseError(configuration.setting.engine, (tpot, ttft_p50, ttft_p90)))
    return tuple(found)


def promise_figures(found: Sequence[PromiseError]) -> dict[str, Figures]:
    """Return median absolute error and bias of each time, by engine."""
    figures = {}
    for engine in sorted({one.engine for one in found}):
        errors = np.array([one.errors for one in found if one.engine == engine])
        for name, column in zip(TIMES, errors.T, strict=True):
            figures[f"{engine}, {name}"] = {
                "rows": float(len(column)),
                "median": float(np.median(np.abs(column))),
                "bias": float(np.median(column)),
            }
    return figures
