"""What predictions from two rows of a configuration are worth: the error of every other row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.domain.money import TOKENS_PER_MTOK
from entrepot.tokenomics.arrivals import requests_of
from entrepot.tokenomics.calibrate_load import predict
from entrepot.tokenomics.capacity import Saturation, sustained_rps
from entrepot.tokenomics.cost_by_load import (
    CALIBRATED_RPS,
    CAPACITY_RPS,
    KNEE_RPS,
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    Configuration,
    Lesson,
    fit_two,
    lesson_of,
    point_of,
    unit_draws,
)

_FITTED_DRAWS, _PREDICTED_DRAWS = 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RowError:
    """One predicted row: errors are relative, predicted over measured − 1.

    `trivial_error` is that of min(rate, capacity). `is_below` says that less was offered than the
    configuration's highest throughput: a measured fact, beside which `saturation` is predicted. `cost_inside`
    says whether the 80 % interval holds the measured cost, whose upper over lower end is `cost_width`.
    """

    config: str
    offered_rps: float
    cost_usd_per_mtok: float
    predicted_usd_per_mtok: float
    cost_error: float
    trivial_error: float
    tpot_p50_error: float
    ttft_p50_error: float
    ttft_p90_error: float
    is_below: bool
    saturation: Saturation
    cost_inside: bool
    cost_width: float


def lessons_of(configurations: Sequence[Configuration], rng: np.random.Generator) -> tuple[Lesson, ...]:
    """Return what every configuration teaches about others; about 8 s each."""
    draws = unit_draws(rng, _FITTED_DRAWS)
    return tuple(lesson_of(configuration, draws) for configuration in configurations)


def row_errors(
    configuration: Configuration,
    lessons: Sequence[Lesson],
    rng: np.random.Generator,
    *,
    capacity: bool = False,
) -> tuple[RowError, ...]:
    """Return the errors of every row that was not given.

    Given are the rows at 1 and 10 requests/s, with `capacity` the throughput at 100 requests/s as well.
    """
    given = {*CALIBRATED_RPS, CAPACITY_RPS} if capacity else set(CALIBRATED_RPS)
    known = configuration.row(CAPACITY_RPS) if capacity else None
    fit = fit_two(configuration, lessons, unit_draws(rng, _FITTED_DRAWS), known)
    draws = unit_draws(rng, _PREDICTED_DRAWS)
    served_rps = sustained_rps(fit.engine, requests_of(np.zeros(1), PROMPT_TOKENS, OUTPUT_TOKENS))
    highest_rps = max(row.throughput_rps for row in configuration.rows)
    errors = []
    for row in configuration.rows:
        if row.offered_rps in given:
            continue
        shown = predict(fit, point_of(row, configuration.setting, draws, known=False))
        rate, tpot, _, ttft_p50, ttft_p90 = shown.expected.tolist()
        plain_rps = min(row.offered_rps, known.throughput_rps if known else served_rps)
        unit = row.gpu_cost_usd_per_hour / SECONDS_PER_HOUR / OUTPUT_TOKENS * TOKENS_PER_MTOK
        errors.append(
            RowError(
                config=configuration.name,
                offered_rps=row.offered_rps,
                cost_usd_per_mtok=unit / row.throughput_rps,
                predicted_usd_per_mtok=unit / rate,
                cost_error=row.throughput_rps / rate - 1.0,
                trivial_error=row.throughput_rps / plain_rps - 1.0,
                tpot_p50_error=tpot / row.tpot_p50_s - 1.0,
                ttft_p50_error=ttft_p50 / row.ttft_p50_s - 1.0,
                ttft_p90_error=ttft_p90 / row.ttft_p90_s - 1.0,
                is_below=row.offered_rps < highest_rps,
                saturation=Saturation(offered_rps=row.offered_rps, capacity_rps=served_rps),
                cost_inside=bool(shown.low[0] <= row.throughput_rps <= shown.high[0]),
                cost_width=float(shown.high[0] / shown.low[0]),
            )
        )
    return tuple(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Absolute relative errors: their median, mean and greatest, and of how many (nan of none)."""

    median: float
    mean: float
    greatest: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The errors of all configurations together; times are of rows below saturation alone.

    `verdicts_right` is the part of rows whose predicted verdict is the measured `is_below`; `cost_coverage`
    and `cost_width` are of 80 % intervals.
    """

    cost: Spread
    cost_at_knee: Spread
    trivial_at_knee: Spread
    tpot_p50: Spread
    ttft_p50: Spread
    ttft_p90: Spread
    verdicts_right: float
    cost_coverage: float
    cost_width: float


def summarise(errors: Sequence[RowError]) -> Summary:
    """Return the summary of these errors."""
    knee = [error for error in errors if error.offered_rps in KNEE_RPS]
    below = [error for error in errors if error.is_below]
    return Summary(
        cost=_spread([error.cost_error for error in errors]),
        cost_at_knee=_spread([error.cost_error for error in knee]),
        trivial_at_knee=_spread([error.trivial_error for error in knee]),
        tpot_p50=_spread([error.tpot_p50_error for error in below]),
        ttft_p50=_spread([error.ttft_p50_error for error in below]),
        ttft_p90=_spread([error.ttft_p90_error for error in below]),
        verdicts_right=float(np.mean([error.saturation.is_saturated != error.is_below for error in errors])),
        cost_coverage=float(np.mean([error.cost_inside for error in errors])),
        cost_width=float(np.median([error.cost_width for error in errors])),
    )


def _spread(errors: Sequence[float]) -> Spread:
    if not errors:
        return Spread(median=float("nan"), mean=float("nan"), greatest=float("nan"), count=0)
    sizes = np.abs(np.asarray(errors))
    return Spread(
        median=float(np.median(sizes)),
        mean=float(sizes.mean()),
        greatest=float(sizes.max()),
        count=len(sizes),
    )
