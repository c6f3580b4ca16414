"""Points of `entrepot plan validate` about the program: how fast it is, and the laws that its tests try."""

from __future__ import annotations

from itertools import product
from time import process_time

import numpy as np

from entrepot.catalog.architectures import find_architecture
from entrepot.catalog.hardware import find_hardware
from entrepot.catalog.step_times import load_step_times
from entrepot.cli.validation_points import Check, Point
from entrepot.tokenomics.arrivals import Requests, poisson_arrivals_s, requests_of
from entrepot.tokenomics.batching import Batching, Engine
from entrepot.tokenomics.capacity import Lengths, capacity_rps
from entrepot.tokenomics.choice import PointLimits, limit_costs
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.deployment_offer import DeploymentOffer
from entrepot.tokenomics.engine import simulate
from entrepot.tokenomics.frontier import Grid, points_of
from entrepot.tokenomics.linear_clock import LinearClock
from entrepot.tokenomics.load import RequestClass

SWEEP_S, TOKENS_PER_S, LINEAR = 2.0, 1e6, 1.25
_MODEL = "deepseek-ai/DeepSeek-R1"
_GPUS = ("h200", "b200", "b300", "gb200", "mi300x")
_LAYOUTS = ((8, 1, 1), (8, 1, 8), (1, 8, 8), (1, 16, 16))  # tp, dp, ep
_BATCHES, _CONTEXTS, _REPLICAS = 50, (1024, 2048, 4096, 8192, 16384), (1, 2)
_PROMPT, OUTPUT = 512, 256
_COUNTS, _QUICK_COUNTS = (5_000, 20_000), (1_000, 4_000)
_SEED = 1

_CLOCK = LinearClock(
    kv_capacity_tokens=544_000,
    base_s=6.3e-3,
    sequence_s=54e-6,
    held_s=3.4e-8,
    prompt_s=34e-6,
    reading_s=0.8e-3,
)
ENGINE = Engine(clock=_CLOCK, batching=Batching(max_sequences=256, steps_ahead=1), request_s=6e-3)
"""vLLM with Llama 3.1 8B on one H100: configuration C1 of cost_by_load_measured.csv, fitted whole."""

LAWS: dict[str, tuple[str, ...]] = {
    "conservation: Σ price × tokens = cost + margin to 1e-9": (
        "test_price.py::test_prices_bring_cost_and_margin_exactly",
        "test_price.py::test_pools_are_split_apart_and_add_up",
        "test_load.py::test_prices_pay_for_the_replica_at_every_load",
        "test_frontier.py::test_every_point_is_paid_for_exactly",
        "test_engine.py::test_prompt_tokens_are_conserved",
        "test_engine.py::test_every_request_is_answered_once_or_refused",
    ),
    "more bandwidth is never slower": ("test_step_time.py::test_more_bandwidth_is_never_slower",),
    "a larger batch never lowers throughput": (
        "test_step_time.py::test_a_larger_batch_never_lowers_throughput_below_the_limit_of_the_cache",
    ),
    "longer context never raises throughput": (
        "test_step_time.py::test_longer_context_never_raises_throughput",
    ),
    "more load is never dearer, a tighter limit never cheaper": (
        "test_load.py::test_more_load_is_never_dearer_per_token",
        "test_frontier.py::test_a_tighter_limit_never_costs_less",
    ),
    "scale": (
        "test_step_time.py::test_what_does_not_depend_on_load_scales_with_the_device",
        "test_step_time.py::test_the_clock_says_what_the_sum_of_parts_says",
        "test_engine.py::test_a_jump_over_equal_steps_is_the_sum_of_the_steps",
    ),
    "what is impossible is refused with the nearest that is not": (
        "test_deployment.py::test_a_plan_that_does_not_fit_is_refused_with_the_nearest_that_does",
        "test_frontier.py::test_a_limit_beyond_every_point_is_refused_with_the_floor_and_the_nearest",
        "test_load.py::test_a_load_beyond_the_full_batch_is_refused_with_the_most_that_is_possible",
    ),
}
"""Tests of tests/tokenomics by the law that they try."""


def speed(*, is_quick: bool) -> Point:
    """Return point 7: CPU seconds of a sweep, and simulated output tokens per CPU second."""
    points, seconds = _sweep()
    counts = _QUICK_COUNTS if is_quick else _COUNTS
    each = {count: _simulated_s(count) / count for count in counts}
    few, many = (each[count] for count in counts)
    rate = OUTPUT / max(few, many)
    return Point(
        7,
        "Speed, in CPU seconds of this machine",
        (
            Check("operating points", float(points), "10,000", points >= 10_000),
            Check("with front and costs of limits, s", seconds, f"≤ {SWEEP_S:g}", seconds <= SWEEP_S),
            Check("engine, output tokens/s", rate, f"≥ {TOKENS_PER_S:,.0f}", rate >= TOKENS_PER_S),
            Check(
                "four times the requests, time per request", many / few, f"≤ {LINEAR}", many <= LINEAR * few
            ),
        ),
    )


def laws() -> Point:
    """Return point 8: the property tests, by law; running them is `make test ARGS=tests/tokenomics`."""
    tables = {
        "tests of tests/tokenomics": {
            law: {"tests": ", ".join(name.partition("::")[2].removeprefix("test_") for name in names)}
            for law, names in LAWS.items()
        }
    }
    count = Check("laws with property tests", float(len(LAWS)))
    return Point(
        8, "Laws, as property tests", (count,), tables, ("run them: make test ARGS=tests/tokenomics",)
    )


def _sweep() -> tuple[int, float]:
    """Return how many operating points a sweep has and the CPU seconds it takes."""
    shape, coefficients = find_architecture(_MODEL).architecture, load_step_times()
    offers = tuple(
        DeploymentOffer.of(
            Deployment(architecture=shape, hardware=find_hardware(gpu), tp=tp, dp=dp, ep=ep),
            coefficients,
            tier="rental",
        )
        for gpu, (tp, dp, ep) in product(_GPUS, _LAYOUTS)
    )
    batches = tuple(float(batch) for batch in np.geomspace(1, 512, _BATCHES))
    grid = Grid(offers, batches, tuple(RequestClass(tokens, _PROMPT) for tokens in _CONTEXTS), _REPLICAS)
    began = process_time()
    points = points_of(grid)
    points.front()
    limit_costs(points, PointLimits(ttft_s=2.0, tokens_per_s=30.0, context_tokens=4096))
    return grid.size, process_time() - began


def overload(count: int) -> Requests:
    """Return so many requests, twice as many a second as `ENGINE` serves."""
    rate = 2.0 * capacity_rps(ENGINE, Lengths(prompt=_PROMPT, output=OUTPUT))
    return requests_of(poisson_arrivals_s(rate, count, np.random.default_rng(_SEED)), _PROMPT, OUTPUT)


def _simulated_s(count: int) -> float:
    """Return the CPU seconds that so many requests take on a replica with twice the load that it carries."""
    requests = overload(count)
    began = process_time()
    simulate(ENGINE, requests)
    return process_time() - began
