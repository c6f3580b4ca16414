"""How long first tokens wait, beyond what steps explain: fitted to mean TTFT, by backend.

Engines look for new requests only every few steps, and some hold tokens back to send several at once: a lone
prompt on an idle SGLang waits as long as twenty of its steps, on vLLM as two. Neither a roofline nor a queue
says so, and it differs by engine more than by hardware. TPOT says nothing of it, so that it is fitted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from msgspec import Struct

from entrepot.tokenomics.arrivals import Ints, requests_of
from entrepot.tokenomics.batching import Batching, Engine
from entrepot.tokenomics.clock import PIECE_TOKENS, StepClock
from entrepot.tokenomics.coefficients import NO_SPREAD, DeploymentCoefficients, FirstToken, Spread, spread_of
from entrepot.tokenomics.deployment import TYPICAL, Deployment
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.least_squares import minimise
from entrepot.tokenomics.measured_point import MeasuredPoint
from entrepot.tokenomics.measured_series import Groups
from entrepot.tokenomics.operating_point import MeanSteps
from entrepot.tokenomics.results import Run, distribution
from entrepot.tokenomics.step_terms import Floats
from entrepot.tokenomics.step_time import StepTime

SIMULATED = ("what the engine says", "a step", "a second")
_BATCHING = {
    "sglang": Batching(prefill_first=True, reserved_output=0.7),
    "trtllm": Batching(reserved_output=1.0),
}
"""SGLang reads prompts before it decodes and reserves room for 0.7 of the answers (its
`schedule-conservativeness`); TensorRT-LLM never evicts what it has begun (GUARANTEED_NO_EVICT). vLLM reads
prompts beside decoding and preempts."""
_RUN = 10  # requests per one in flight, as InferenceX's and aiconfigurator's runs have
_LEAST_RUN, _MOST_RUN = 3, 4_000  # the largest runs are cut: their mean is settled long before
_SHORTEST, _LONGEST = 0.8 / 0.9, 1.0 / 0.9  # of the mean length: requests draw 0.8 to 1.0 of the nominal one
_START = -0.5
_LOW, _HIGH = -7.0, 5.0  # logarithms of how often something is held
_NEAR = 0.3  # how firmly an engine is held near all of them: doubling a part costs less than one row
_SOFT = 0.2  # log units: beyond a fifth a residual counts by its size, not by its square


class FirstTokens(Struct, frozen=True, eq=False):
    """Measured TTFT beside what it may be a sum of.

    Shapes: n measurements; `waits` (n, len(WAITS)), `simulated` (n, len(SIMULATED)); `rows` are those whose
    TTFT says something: prompts of split deployments are read elsewhere, and where the cache is full TTFT is
    the queue's. Units: seconds.
    """

    backends: tuple[str, ...]
    rows: Ints
    ttft_s: Floats
    waits: Floats
    least_ttft_s: Floats
    simulated: Floats


def first_tokens_of(
    points: Sequence[MeasuredPoint],
    mean: MeanSteps,
    known: Sequence[DeploymentCoefficients],
    rng: np.random.Generator,
) -> FirstTokens:
    """Return the first tokens of measurements, by the coefficients that each is predicted with.

    Shapes: n points, of all arguments. Ten milliseconds of simulation for each.
    """
    simulated = np.full((len(points), len(SIMULATED)), np.nan)
    for at, (point, own) in enumerate(zip(points, known, strict=True)):
        if not point.is_split and not mean.is_full[at]:
            simulated[at] = simulated_waits(point, own, rng)
    return FirstTokens(
        backends=tuple(point.deployment.backend for point in points),
        rows=np.flatnonzero(np.isfinite(simulated).all(axis=1)),
        ttft_s=np.array([point.ttft_s for point in points]),
        waits=mean.waits,
        least_ttft_s=mean.least_ttft_s,
        simulated=simulated,
    )


def simulated_waits(point: MeasuredPoint, known: DeploymentCoefficients, rng: np.random.Generator) -> Floats:
    """Return what the engine says of a measured point's first tokens and steps. Shapes: (len(SIMULATED),).

    The run is the measurement's: a closed loop that begins with a burst, and lengths from 0.8 to 1.0.
    """
    clock = StepTime.of(point.deployment, known.values)
    at_least = max(1, round(point.concurrency))
    run = run_of(point, engine_of(point.deployment, clock, at_least=at_least), rng)
    ttft_s = float(np.nanmean(run.ttft_s)) if len(run.served) else np.nan
    alone_s = reading_alone_s(clock, point.prompt_tokens, groups=point.deployment.dp)
    tpot_s = float(np.nanmean(run.tpot_s)) if len(run.served) else np.nan
    return np.array([ttft_s + alone_s, tpot_s, 1.0])


def run_of(point: MeasuredPoint, engine: Engine, rng: np.random.Generator) -> Run:
    """Return what an engine does with the run of a measurement: a closed loop that begins with a burst."""
    at_once = max(1, round(point.concurrency))
    count = min(_RUN * at_once, max(_LEAST_RUN * at_once, _MOST_RUN))
    prompts, answers = (_lengths(mean, count, rng) for mean in (point.prompt_tokens, point.output_tokens))
    return simulate(engine, requests_of(np.zeros(count), prompts, answers), concurrency=at_once)


def engine_of(deployment: Deployment, clock: StepClock, *, at_least: int = 1) -> Engine:
    """Return the engine of a deployment with usual limits, that may decode `at_least` so many at once.

    Each attention group is an engine with limits of its own.
    """
    usual = _BATCHING.get(deployment.backend, Batching())
    sequences = max(usual.max_sequences * deployment.dp, at_least)
    tokens = max(usual.max_batched_tokens * deployment.dp, sequences)
    batching = replace(usual, max_sequences=sequences, max_batched_tokens=tokens)
    return Engine(clock=clock, batching=batching)


def reading_alone_s(clock: StepClock, tokens: float, *, groups: int) -> float:
    """Return what reading one prompt takes longer because one of `groups` attention groups reads it.

    The clock spreads the prompts of a step over all groups, which one prompt cannot be.
    """
    if groups == 1:
        return 0.0
    pieces = np.ceil(tokens / PIECE_TOKENS)
    each = tokens / pieces
    with_s = clock.step_s(1.0, tokens, each, each * tokens / 2)
    return float((groups - 1) * pieces * (with_s - clock.step_s(1.0, tokens)))


def seen_by_users(
    run: Run, known: DeploymentCoefficients, *, clock: StepClock, groups: int, is_cautious: bool = False
) -> Run:
    """Return a run of a deployment with the waits that are not in its steps, in every TTFT and answer.

    `clock` and `groups` are those of what reads prompts. With `is_cautious` times are the upper ends of their
    80 % intervals.
    """
    of_engine, of_step, of_request = known.first_token.simulated
    late, slow = (known.first_token.simulated_spread.high, known.spread.high) if is_cautious else (1.0, 1.0)
    prompts, which = np.unique(run.requests.prompt_tokens - run.requests.cached_tokens, return_inverse=True)
    alone_s = np.array([reading_alone_s(clock, float(tokens), groups=groups) for tokens in prompts])[which]
    tpot_s = distribution(run.tpot_s).mean  # not a number where nothing follows a first token
    step_s = 0.0 if np.isnan(tpot_s) else tpot_s
    ttft_s = (of_engine * (run.ttft_s + alone_s) + of_step * step_s + of_request) * late
    first_s = run.arrival_s + ttft_s
    return replace(run, first_s=first_s, finished_s=first_s + (run.finished_s - run.first_s) * slow)


def _lengths(mean: float, count: int, rng: np.random.Generator) -> Ints:
    low, high = max(1, round(mean * _SHORTEST)), max(1, round(mean * _LONGEST))
    return np.asarray(rng.integers(low, high + 1, count), dtype=np.int64)


class FirstTokenFit(Struct, frozen=True, eq=False):
    """How first tokens wait by backend, and TTFT as it is predicted of folds that were not seen.

    Shapes: `closed_s` and `simulated_s` (n,), not a number where TTFT says nothing of the engine.
    """

    by_backend: dict[str, FirstToken]
    closed_s: Floats
    simulated_s: Floats


def fit_first_tokens(seen: FirstTokens, groups: Groups, folds: Sequence[str]) -> FirstTokenFit:
    """Return how first tokens wait, with the errors of what did not see what it predicts.

    Shapes: n measurements, the fold of each.
    """
    closed, simulated = np.full(len(folds), np.nan), np.full(len(folds), np.nan)
    parts = np.array(folds)
    for part in sorted(set(folds)):
        others = _fits(seen, groups.weight, seen.rows[parts[seen.rows] != part])
        for at in seen.rows[parts[seen.rows] == part]:
            waits, of_engine = others.get(seen.backends[at]) or others[TYPICAL]
            closed[at] = max(seen.waits[at] @ waits, seen.least_ttft_s[at])
            simulated[at] = seen.simulated[at] @ of_engine
    found = {}
    for backend, (waits, of_engine) in _fits(seen, groups.weight, seen.rows).items():
        own = _rows(seen, seen.rows, backend)
        found[backend] = FirstToken(
            waits=_rounded(waits),
            spread=_spread(seen, groups, own, closed),
            simulated=_rounded(of_engine),
            simulated_spread=_spread(seen, groups, own, simulated),
        )
    return FirstTokenFit(found, closed, simulated)


def _fits(seen: FirstTokens, weight: Floats, rows: Ints) -> dict[str, tuple[Floats, Floats]]:
    """Return how often TTFT holds what it is a sum of, by backend and of all, from some rows."""
    found: dict[str, tuple[Floats, Floats]] = {}
    for backend in (TYPICAL, *sorted(set(seen.backends))):
        own = _rows(seen, rows, backend)
        closed, simulated = found.get(TYPICAL, (None, None))
        if len(own):
            found[backend] = (
                _times(seen.waits[own], seen.ttft_s[own], weight[own], near=closed),
                _times(seen.simulated[own], seen.ttft_s[own], weight[own], near=simulated),
            )
    return found


def _rows(seen: FirstTokens, rows: Ints, backend: str) -> Ints:
    if backend == TYPICAL:
        return rows
    return np.array([row for row in rows if seen.backends[row] == backend], dtype=np.int64)


def _times(columns: Floats, ttft_s: Floats, weight: Floats, *, near: Floats | None) -> Floats:
    """Return the positive sum of columns nearest in logarithm, by a loss that forgives what is far off.

    What the rows leave undecided stays `near` what all engines have.
    """
    log_ttft, root = np.log(ttft_s), np.sqrt(weight)
    start = np.full(columns.shape[1], _START) if near is None else np.log(near)
    held = 0.0 if near is None else _NEAR

    def residuals(logs: Floats) -> Floats:
        off = np.log(columns @ np.exp(np.clip(logs, _LOW, _HIGH))) - log_ttft
        far = np.sqrt(1.0 + (off / _SOFT) ** 2)
        losses = root * np.sign(off) * _SOFT * np.sqrt(2.0 * (far - 1.0))
        return np.concatenate([losses, held * (logs - start)])

    return np.exp(np.clip(minimise(residuals, start).at, _LOW, _HIGH))


def _spread(seen: FirstTokens, groups: Groups, rows: Ints, predicted_s: Floats) -> Spread:
    if not len(rows):
        return NO_SPREAD
    residuals = np.log(seen.ttft_s[rows] / predicted_s[rows])
    return spread_of(residuals, groups.weight[rows], series=len({groups.series[row] for row in rows}))


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
