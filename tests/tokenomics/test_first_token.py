"""First tokens wait by engine: fitted to what was measured, and added to what is simulated."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.arrivals import even_arrivals_s, requests_of
from entrepot.tokenomics.batching import Engine
from entrepot.tokenomics.coefficients import UNFITTED, DeploymentCoefficients
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.first_token import (
    FirstTokens,
    engine_of,
    first_tokens_of,
    fit_first_tokens,
    reading_alone_s,
    seen_by_users,
)
from entrepot.tokenomics.measured_point import MeasuredPoint
from entrepot.tokenomics.measured_series import Groups, mean_steps_of
from entrepot.tokenomics.operating_point import WAITS
from entrepot.tokenomics.step_time import StepTime
from tests.tokenomics.test_deployment import LLAMA_70B, deploy

PLAN = deploy(LLAMA_70B, "h100", tp=4, backend="vllm")
KNOWN = load_step_times().of(PLAN)
CLOCK = StepTime.of(PLAN, KNOWN.values)
POINTS = [
    MeasuredPoint(
        id=f"{backend} {gpus} {at_once} {prompt}",
        deployment=deploy(LLAMA_70B, "h100", tp=gpus, backend=backend),
        concurrency=at_once,
        prompt_tokens=prompt,
        output_tokens=100,
        ttft_s=1.0,
        tpot_s=0.02,
    )
    for backend in ("vllm", "sglang")
    for gpus in (2, 8)
    for at_once in (1, 4, 16, 32)
    for prompt in (500, 2000, 8000)
]


def seen() -> FirstTokens:
    """Return the first tokens of the points, with TTFT that is made of known waits."""
    known = [load_step_times().of(point.deployment) for point in POINTS]
    values = {point.id: one.values for point, one in zip(POINTS, known, strict=True)}
    mean = mean_steps_of(POINTS, lambda point: values[point.id])
    found = first_tokens_of(POINTS, mean, known, np.random.default_rng(1))
    times = np.array([[1.2, 20.0, 0.05] if one == "sglang" else [1.0, 3.0, 0.01] for one in found.backends])
    return replace(found, ttft_s=(found.simulated * times).sum(axis=1))


def test_engines_are_told_apart_by_how_long_first_tokens_wait() -> None:
    """TTFT that was made of many steps on one engine and few on the other is predicted without its fold."""
    points = seen()
    found = fit_first_tokens(points, Groups(POINTS), [str(point.concurrency) for point in POINTS])
    steps = {backend: first.simulated[1] for backend, first in found.by_backend.items()}
    assert steps["sglang"] > 2 * steps["vllm"]
    assert len(found.by_backend["typical"].waits) == len(WAITS)
    errors = np.abs(found.simulated_s / points.ttft_s - 1)
    assert np.median(errors) < 0.05
    together = points.simulated @ found.by_backend["typical"].simulated
    assert np.median(np.abs(together / points.ttft_s - 1)) > 3 * np.median(errors)


def test_rows_of_split_deployments_say_nothing_of_first_tokens() -> None:
    """Their prompts are read elsewhere: no run is made for them."""
    split = [replace(point, deployment=replace(point.deployment, mode="decode")) for point in POINTS[:2]]
    known = [load_step_times().of(point.deployment) for point in split]
    mean = mean_steps_of(split, lambda _: known[0].values)
    assert not len(first_tokens_of(split, mean, known, np.random.default_rng(1)).rows)


def waiting(*times: float) -> DeploymentCoefficients:
    """Return coefficients whose first tokens wait so."""
    return replace(KNOWN, first_token=replace(UNFITTED, simulated=times))


def test_waits_make_first_tokens_and_answers_late_and_leave_tpot_alone() -> None:
    """Half a second of every request is in its TTFT and in its answer time."""
    requests = requests_of(even_arrivals_s(1.0, 20), 1000, 50)
    run = simulate(Engine(clock=CLOCK), requests)
    same = seen_by_users(run, waiting(1.0, 0.0, 0.0), clock=CLOCK, groups=1)
    late = seen_by_users(run, waiting(1.0, 0.0, 0.5), clock=CLOCK, groups=1)
    assert same.first_s == pytest.approx(run.first_s)
    assert late.ttft_s == pytest.approx(run.ttft_s + 0.5)
    assert late.answer_s == pytest.approx(run.answer_s + 0.5)
    assert late.tpot_s == pytest.approx(run.tpot_s)


def test_steps_that_are_waited_for_are_as_long_as_the_runs() -> None:
    """Ten steps of waiting are ten mean TPOT."""
    run = simulate(Engine(clock=CLOCK), requests_of(even_arrivals_s(1.0, 20), 1000, 50))
    late = seen_by_users(run, waiting(1.0, 10.0, 0.0), clock=CLOCK, groups=1)
    assert late.ttft_s == pytest.approx(run.ttft_s + 10 * run.tpot_s.mean())


def test_the_cautious_see_the_upper_ends() -> None:
    """Both TTFT and TPOT are as long as one in ten of the measurements at most."""
    run = simulate(Engine(clock=CLOCK), requests_of(even_arrivals_s(1.0, 20), 1000, 50))
    plain, cautious = (
        seen_by_users(run, KNOWN, clock=CLOCK, groups=1, is_cautious=is_cautious)
        for is_cautious in (False, True)
    )
    assert cautious.ttft_s == pytest.approx(plain.ttft_s * KNOWN.first_token.simulated_spread.high)
    assert cautious.tpot_s == pytest.approx(plain.tpot_s * KNOWN.spread.high)


def test_one_prompt_is_read_by_one_attention_group() -> None:
    """The clock spreads prompts over all groups; a lone one takes as many times as long as there are."""
    alone_s = CLOCK.step_s(1, 2000, 2000, 2000 * 1000) - CLOCK.step_s(1, 2000)
    assert reading_alone_s(CLOCK, 2000, groups=1) == 0.0
    assert reading_alone_s(CLOCK, 2000, groups=8) == pytest.approx(7 * alone_s)


def test_attention_groups_have_limits_of_their_own() -> None:
    """Sixteen groups decode sixteen times as many sequences as one engine may."""
    assert engine_of(replace(PLAN, dp=16), CLOCK).batching.max_sequences == 16 * 1024
    assert engine_of(PLAN, CLOCK, at_least=5000).batching.max_sequences == 5000
