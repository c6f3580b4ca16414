"""Fits a host from points of its load: percentiles of TTFT and TPOT, and throughput, at a few rates.

A point is a run of a benchmark, so it is simulated as that run and the terms of a clock are moved until
percentiles agree. Two points seldom tell all terms apart: what they leave open comes from `Beliefs`, learnt
from other hosts, and shows in the intervals, which are wide wherever a prediction rests on a belief.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from entrepot.tokenomics.arrivals import Floats, requests_of
from entrepot.tokenomics.batching import Engine
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.least_squares import minimise

NOISE = (0.02, 0.05, 0.07, 0.10, 0.15)
"""Relative sd of throughput, TPOT p50 and p90, TTFT p50 and p90 around the engine that fits a host best: the
residuals of six vLLM configurations fitted with all their rows (cost_by_load_measured.csv)."""

_SHARED = (1.0, *(2.0**0.5,) * 4)  # p50 and p90 of a time err together: each counts for half
_FARTHEST = 2.0
_Z90 = 1.2816


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPoint:
    """One run of a benchmark: what was offered and what was measured (nan: not known).

    Units: 1/s, requests, tokens, s. `arrivals_s` are the runs to simulate, each an array (requests,): what
    was really offered if that is known, else several draws, whose outcomes are averaged. `log_bias` and
    `log_sd` say by how much engines that fit a host best are off at such a point, in the order of `NOISE`, as
    logarithms.
    """

    offered_rps: float
    prompt_tokens: int
    output_tokens: int
    arrivals_s: tuple[Floats, ...]
    throughput_rps: float = float("nan")
    tpot_p50_s: float = float("nan")
    tpot_p90_s: float = float("nan")
    ttft_p50_s: float = float("nan")
    ttft_p90_s: float = float("nan")
    log_bias: tuple[float, ...] = (0.0,) * len(NOISE)
    log_sd: tuple[float, ...] = NOISE

    @property
    def measured(self) -> Floats:
        """Return the measured figures: (5,), in the order of `NOISE`."""
        return np.array(
            [self.throughput_rps, self.tpot_p50_s, self.tpot_p90_s, self.ttft_p50_s, self.ttft_p90_s]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Beliefs:
    """What is thought of a host's terms before its points: each is lognormal.

    Shapes: (terms,). `log_mean` are logarithms of the terms' units, `log_sd` factors: 0.2 is about 20 %.
    """

    terms: tuple[str, ...]
    log_mean: Floats
    log_sd: Floats


Build = Callable[[Mapping[str, float]], Engine]
"""Makes an engine from the terms."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoadFit:
    """A fitted host. `log_covariance`: (terms, terms), of the logarithms; `squares` of its residuals."""

    beliefs: Beliefs
    log_terms: Floats
    log_covariance: Floats
    squares: float
    build: Build

    @property
    def terms(self) -> dict[str, float]:
        """Return the fitted terms by name."""
        return dict(zip(self.beliefs.terms, np.exp(self.log_terms).tolist(), strict=True))

    @property
    def engine(self) -> Engine:
        """Return the engine that the fitted terms make."""
        return self.build(self.terms)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prediction:
    """Predicted figures with 80 % intervals. Shapes: (5,), in the order of `NOISE`."""

    expected: Floats
    low: Floats
    high: Floats


def outcome(engine: Engine, point: LoadPoint) -> Floats:
    """Return what this point shows simulated: (5,), in the order of `NOISE`; the mean over its draws."""
    return np.asarray(_shown(engine, point).mean(axis=0), dtype=np.float64)


def _shown(engine: Engine, point: LoadPoint) -> Floats:
    """Return what each draw of this point shows: (draws, 5)."""
    shown = []
    for arrivals in point.arrivals_s:
        run = simulate(engine, requests_of(arrivals, point.prompt_tokens, point.output_tokens))
        rate = len(run.served) / run.duration_s if run.duration_s else 0.0
        tpot, ttft = np.nanpercentile(run.tpot_s, (50, 90)), np.nanpercentile(run.ttft_s, (50, 90))
        shown.append([rate, *tpot, *ttft])
    return np.asarray(shown, dtype=np.float64)


def fit_load(
    points: Sequence[LoadPoint], beliefs: Beliefs, build: Build, starts: Sequence[Mapping[str, float]] = ()
) -> LoadFit:
    """Return the terms most likely after these points.

    `starts` are further places to begin at, beside the beliefs, by term: where a limit only shows when it is
    reached (a full KV cache) the way from the other side is flat.
    """
    measured = np.stack([point.measured for point in points])
    bias = np.array([point.log_bias for point in points])
    noise = np.array([point.log_sd for point in points]) * np.asarray(_SHARED)

    def residuals(log_terms: Floats) -> Floats:
        engine = build(dict(zip(beliefs.terms, np.exp(log_terms).tolist(), strict=True)))
        shown = np.stack([outcome(engine, point) for point in points])
        off = np.clip(np.log(shown / measured) - bias, -_FARTHEST, _FARTHEST) / noise
        prior = (log_terms - beliefs.log_mean) / beliefs.log_sd
        return np.concatenate([np.nan_to_num(off).ravel(), prior])

    best = None
    for start in ({}, *starts):
        at = beliefs.log_mean.copy()
        for index, term in enumerate(beliefs.terms):
            if term in start:
                at[index] = np.log(start[term])
        found = minimise(residuals, at)
        if best is None or found.squares < best.squares:
            best = found
    assert best is not None
    return LoadFit(
        beliefs=beliefs,
        log_terms=best.at,
        log_covariance=best.covariance,
        squares=best.squares,
        build=build,
    )


def predict(fit: LoadFit, point: LoadPoint) -> Prediction:
    """Return what the fitted host would show at this point, with intervals of 80 %.

    The sd is that of the terms, carried through the simulation, that of a measurement and that of one draw:
    far from the loads that were fitted, terms that were not measured there dominate and the interval is wide.
    """
    shown = _shown(fit.engine, point)
    expected = shown.mean(axis=0)
    width = 0.1
    slopes = []
    for unit in np.eye(len(fit.log_terms)):
        terms = dict(zip(fit.beliefs.terms, np.exp(fit.log_terms + width * unit).tolist(), strict=True))
        slopes.append(np.log(outcome(fit.build(terms), point) / expected) / width)
    change = np.stack(slopes, axis=1)
    variance = np.einsum("ij,jk,ik->i", change, fit.log_covariance, change) + np.asarray(point.log_sd) ** 2
    if len(shown) > 1:
        variance = variance + np.var(np.log(shown), axis=0, ddof=1)
    spread = np.exp(_Z90 * np.sqrt(variance))
    return Prediction(expected=expected, low=expected / spread, high=expected * spread)


def without_latencies(point: LoadPoint) -> LoadPoint:
    """Return the point with its throughput alone: a capacity that is known, and no more."""
    unknown = float("nan")
    return replace(point, tpot_p50_s=unknown, tpot_p90_s=unknown, ttft_p50_s=unknown, ttft_p90_s=unknown)
