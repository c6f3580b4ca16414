"""Calibration from points of load: what two low loads tell of a full batch, and how honest the rest is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from entrepot.tokenomics.arrivals import Floats
from entrepot.tokenomics.calibrate_load import (
    NOISE,
    Beliefs,
    LoadPoint,
    fit_load,
    outcome,
    predict,
    without_latencies,
)
from entrepot.tokenomics.cost_by_load import (
    OUTPUT_TOKENS,
    RUN_REQUESTS,
    Lesson,
    LoadRow,
    beliefs_from,
    configurations,
    engine_of,
    point_of,
    unit_draws,
)
from entrepot.tokenomics.cost_by_load_report import row_errors, summarise
from entrepot.tokenomics.cost_by_load_settings import SETTINGS
from entrepot.tokenomics.least_squares import minimise

TRUTH = {"base_s": 6e-3, "sequence_s": 20e-6, "prompt_s": 35e-6, "reading_s": 1e-3, "request_s": 6e-3}
RATES = (1.0, 10.0, 25.0, 50.0, 100.0)


def rows_of(config: str, terms: Mapping[str, float]) -> list[LoadRow]:
    """Return rows that an engine with these terms measures, in one draw of its own."""
    setting, draws = SETTINGS[config], unit_draws(np.random.default_rng(99), 1)
    rows = []
    for rate in RATES:
        blank = LoadRow(
            config=config,
            offered_rps=rate,
            throughput_rps=rate,
            tpot_p50_s=1.0,
            tpot_p90_s=1.0,
            ttft_p50_s=1.0,
            ttft_p90_s=1.0,
            answer_p50_s=1.0,
            gpu_cost_usd_per_hour=6.98,
        )
        shown = outcome(engine_of(setting, terms), point_of(blank, setting, draws, known=False)).tolist()
        throughput, tpot_p50, tpot_p90, ttft_p50, ttft_p90 = shown
        rows.append(
            replace(
                blank,
                throughput_rps=throughput,
                tpot_p50_s=tpot_p50,
                tpot_p90_s=tpot_p90,
                ttft_p50_s=ttft_p50,
                ttft_p90_s=ttft_p90,
                answer_p50_s=ttft_p50 + OUTPUT_TOKENS * tpot_p50,
            )
        )
    return rows


def lesson(config: str, factor: float) -> Lesson:
    """Return what a configuration whose terms are so many times C1's would teach."""
    scales = {"prompt_s": 35e-6 / (2 * 8.03e9 / 989.5e12)}
    terms = {term: scales.get(term, value) * factor for term, value in TRUTH.items()}
    return Lesson(config=config, engine="vllm", terms=terms, log_off=((0.0,) * 5, (0.0,) * 5))


LESSONS = (lesson("C1", 9.0), lesson("C2", 0.8), lesson("C4", 1.0), lesson("C6", 1.2))


def test_two_low_loads_and_the_lessons_of_others_predict_the_knee() -> None:
    """Rows that the engine made are predicted within 10 %, and their own lesson is not used."""
    (configuration,) = configurations(rows_of("C1", TRUTH), SETTINGS)
    errors = row_errors(configuration, LESSONS, np.random.default_rng(4))

    summary = summarise(errors)
    assert [error.offered_rps for error in errors] == [25.0, 50.0, 100.0]
    assert summary.cost.greatest < 0.10
    assert summary.cost_coverage == 1.0
    said = errors[-1].saturation
    assert said.is_saturated
    assert said.sentence == "saturated: TTFT grows with the length of the run"


def test_a_given_capacity_narrows_what_is_open() -> None:
    """The throughput of a saturated run says what a full batch costs."""
    (configuration,) = configurations(rows_of("C1", TRUTH), SETTINGS)
    plain, given = (
        row_errors(configuration, LESSONS, np.random.default_rng(4), capacity=known)
        for known in (False, True)
    )
    assert [error.offered_rps for error in given] == [25.0, 50.0]
    assert given[1].cost_width < plain[1].cost_width
    assert abs(given[1].cost_error) < 0.05


def test_beliefs_are_those_of_others_in_units_of_physics() -> None:
    """A model of twice the work per token is expected to take twice the time per prompt token."""
    rows = rows_of("C1", TRUTH)
    (small,) = configurations(rows, SETTINGS)
    double = replace(small, setting=replace(small.setting, token_flop=2 * small.setting.token_flop))
    here, there = (beliefs_from(LESSONS, configuration) for configuration in (small, double))
    index = here.terms.index("prompt_s")

    assert there.log_mean[index] - here.log_mean[index] == pytest.approx(np.log(2.0))


def test_what_was_not_measured_rests_on_beliefs_and_looks_like_it() -> None:
    """One light load leaves the cost of a full batch to the beliefs: their width is the interval's."""
    setting, draws = SETTINGS["C1"], unit_draws(np.random.default_rng(5), 1)
    row = rows_of("C1", TRUTH)[0]
    light = point_of(row, setting, draws, known=True)
    terms = tuple(TRUTH)
    beliefs = Beliefs(
        terms=terms,
        log_mean=np.log(np.array([TRUTH[term] for term in terms])),
        log_sd=np.full(len(terms), 0.3),
    )
    fit = fit_load([light], beliefs, lambda values: engine_of(setting, values))
    near, far = (
        predict(fit, point_of(replace(row, offered_rps=rate), setting, draws, known=False))
        for rate in (1.0, 50.0)
    )
    assert fit.terms["base_s"] == pytest.approx(TRUTH["base_s"], rel=0.1)
    assert np.log(far.high[1] / far.low[1]) > 1.5 * np.log(near.high[1] / near.low[1])


def test_a_benchmark_s_arrivals_are_those_of_its_tool() -> None:
    """vLLM's end at 500/rate; SGLang's begin at once and end by chance, of a known row where it shows."""
    draws = unit_draws(np.random.default_rng(6), 2)
    row = rows_of("C1", TRUTH)[1]
    vllm = point_of(row, SETTINGS["C1"], draws, known=False)
    free = point_of(row, SETTINGS["S1"], draws, known=False)
    known = point_of(row, SETTINGS["S1"], draws, known=True)

    assert all(arrivals[-1] == pytest.approx(RUN_REQUESTS / 10.0) for arrivals in vllm.arrivals_s)
    assert all(arrivals[0] == 0.0 for arrivals in free.arrivals_s)
    assert free.arrivals_s[0][-1] != pytest.approx(free.arrivals_s[1][-1])
    shown_s = RUN_REQUESTS / row.throughput_rps - row.answer_p50_s
    assert all(arrivals[-1] == pytest.approx(shown_s) for arrivals in known.arrivals_s)


def test_a_point_without_latencies_keeps_its_throughput() -> None:
    """A capacity that is known tells no waiting."""
    point = LoadPoint(
        offered_rps=1.0,
        prompt_tokens=8,
        output_tokens=8,
        arrivals_s=(np.zeros(1),),
        throughput_rps=3.0,
        tpot_p50_s=0.1,
        ttft_p90_s=0.2,
    )
    measured = without_latencies(point).measured
    assert measured[0] == 3.0
    assert np.isnan(measured[1:]).all()
    assert len(measured) == len(NOISE)


def test_least_squares_find_a_curved_minimum() -> None:
    """Rosenbrock's valley, and the covariance of a line."""

    def valley(at: Floats) -> Floats:
        return np.array([10.0 * (at[1] - at[0] ** 2), 1.0 - at[0]])

    assert minimise(valley, np.array([0.5, 0.5])).squares < 1e-2
    line = minimise(lambda at: np.array([2.0 * at[0] - 4.0, 4.0 * at[1]]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(line.at, [2.0, 0.0], atol=0.02)
    np.testing.assert_allclose(np.diag(line.covariance), [1 / 4, 1 / 16], rtol=1e-3)
