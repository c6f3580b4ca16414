"""Split deployments as offers against what was measured of them: latencies and requests per second.

TPOT out of sample is `tpot`'s. Here the shipped coefficients are used, which saw these rows; how first tokens
wait was fitted to engines that read and answer. What is tried is how the two pools work together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from entrepot.tokenomics.coefficients import Spread, StepCoefficients
from entrepot.tokenomics.first_token import run_of
from entrepot.tokenomics.frontier import Loads
from entrepot.tokenomics.measured_point import MeasuredPoint
from entrepot.tokenomics.reading import Workers
from entrepot.tokenomics.split_offer import FIRST_TOKEN, SIMULATED, SplitOffer
from entrepot.tokenomics.step_terms import Floats
from entrepot.tokenomics.validation.errors import Figures, coverage_figures, error_figures


def split_figures(
    points: Sequence[MeasuredPoint], coefficients: StepCoefficients, rng: np.random.Generator | None = None
) -> dict[str, Figures]:
    """Return the errors of those points that are split and say how many workers there were.

    Requests/s are a closed loop's: requests over the time of an answer. With `rng`, TTFT is simulated too, a
    tenth of a second for each. Nothing without such a point.
    """
    known = [point for point in points if point.prefill is not None and not point.assumed]
    if not known:
        return {}
    offers = [_offer(point, coefficients) for point in known]
    predicted = np.array([_predicted(offer, point) for offer, point in zip(offers, known, strict=True)])
    measured = np.array([(point.ttft_s, point.tpot_s) for point in known])
    output = np.array([point.output_tokens for point in known])
    rates = [1.0 / (times[:, 0] + output * times[:, 1]) for times in (predicted, measured)]
    even = np.ones(len(known))
    found = {
        "TPOT": error_figures(predicted[:, 1], measured[:, 1], even),
        "requests/s": error_figures(rates[0], rates[1], even),
        "TTFT in closed form": _of_ttft(predicted[:, 0], measured[:, 0], FIRST_TOKEN),
    }
    if rng is not None:
        pairs = zip(offers, known, strict=True)
        simulated = np.array([_simulated_s(offer, point, rng) for offer, point in pairs])
        found["TTFT simulated"] = _of_ttft(simulated, measured[:, 0], SIMULATED)
    return found


def _of_ttft(predicted: Floats, measured: Floats, spread: Spread) -> Figures:
    even = np.ones(len(measured))
    covered = coverage_figures(measured, predicted * spread.low, predicted * spread.high, even)
    return {**error_figures(predicted, measured, even), **covered}


def _offer(point: MeasuredPoint, coefficients: StepCoefficients) -> SplitOffer:
    """Return the point's deployment as an offer; what it costs is no matter."""
    prefill = point.prefill
    assert prefill is not None
    reads = Workers(prefill, coefficients.of(prefill), 0.0, max(point.prefill_workers, 1))
    return SplitOffer(reads, Workers(point.deployment, coefficients.of(point.deployment), 0.0, point.workers))


def _predicted(offer: SplitOffer, point: MeasuredPoint) -> tuple[float, float]:
    """Return TTFT and TPOT in closed form. Units: seconds."""
    sizes = (point.concurrency, point.prompt_tokens, 0.0, point.output_tokens)
    times = offer.run_times(Loads(*(np.array([size]) for size in sizes)))
    return float(times.ttft_s[0]), float(times.tpot_s[0])


def _simulated_s(offer: SplitOffer, point: MeasuredPoint, rng: np.random.Generator) -> float:
    """Return mean TTFT of the measurement's run as users of the simulated engine see it. Units: seconds."""
    service = offer.service()
    return float(np.nanmean(service.seen(run_of(point, service.engine, rng)).ttft_s))
