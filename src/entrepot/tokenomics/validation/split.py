"""Split deployments as offers against what was measured of them: latencies and requests per second.

TPOT out of sample is `tpot`'s. Here the shipped coefficients are used, which saw these rows, as did the two
numbers of the closed form's TTFT: what is tried is how the two pools work together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from entrepot.tokenomics.coefficients import StepCoefficients
from entrepot.tokenomics.frontier import Loads
from entrepot.tokenomics.measured_point import MeasuredPoint
from entrepot.tokenomics.reading import Workers
from entrepot.tokenomics.split_offer import FIRST_TOKEN, SplitOffer
from entrepot.tokenomics.validation.errors import Figures, coverage_figures, error_figures


def split_figures(points: Sequence[MeasuredPoint], coefficients: StepCoefficients) -> dict[str, Figures]:
    """Return the errors of those points that are split and say how many workers there were.

    Requests/s are a closed loop's: requests over the time of an answer. Nothing without such a point.
    """
    known = [point for point in points if point.prefill is not None and not point.assumed]
    if not known:
        return {}
    predicted = np.array([_predicted(point, coefficients) for point in known])
    measured = np.array([(point.ttft_s, point.tpot_s) for point in known])
    output = np.array([point.output_tokens for point in known])
    at_once = np.array([point.concurrency for point in known])
    even = np.ones(len(known))
    rates = [at_once / (times[:, 0] + output * times[:, 1]) for times in (predicted, measured)]
    ttft_s = predicted[:, 0]
    return {
        "TPOT": error_figures(predicted[:, 1], measured[:, 1], even),
        "requests/s": error_figures(rates[0], rates[1], even),
        "TTFT": {
            **error_figures(ttft_s, measured[:, 0], even),
            **coverage_figures(measured[:, 0], ttft_s * FIRST_TOKEN.low, ttft_s * FIRST_TOKEN.high, even),
        },
    }


def _predicted(point: MeasuredPoint, coefficients: StepCoefficients) -> tuple[float, float]:
    """Return TTFT and TPOT in seconds of the point's deployment as an offer; what it costs is no matter."""
    prefill = point.prefill
    assert prefill is not None
    reads = Workers(prefill, coefficients.of(prefill), 0.0, max(point.prefill_workers, 1))
    writes = Workers(point.deployment, coefficients.of(point.deployment), 0.0, point.workers)
    sizes = (point.concurrency, point.prompt_tokens, 0.0, point.output_tokens)
    times = SplitOffer(reads, writes).times(Loads(*(np.array([size]) for size in sizes)))
    return float(times.ttft_s[0]), float(times.tpot_s[0])
