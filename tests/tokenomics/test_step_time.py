"""Step times and operating points: one sum, monotone in what physics is monotone in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.clock import StepClock
from entrepot.tokenomics.operating_point import Loads, mean_steps
from entrepot.tokenomics.step_terms import TERMS, StepLoad, term_scales, terms
from entrepot.tokenomics.step_time import OperatingPoints, StepTime, operating_points, points_of
from tests.tokenomics.test_deployment import LLAMA_70B, R1, deploy

SHIPPED = load_step_times()
PLANS: tuple[dict[str, Any], ...] = (
    {"model": LLAMA_70B, "gpu": "h100", "tp": 4, "backend": "vllm"},
    {"model": LLAMA_70B, "gpu": "b200", "tp": 2, "pp": 2},
    {"model": R1, "gpu": "h200", "tp": 8, "backend": "sglang"},
    {"model": R1, "gpu": "gb200", "dp": 16, "ep": 16, "precision": "fp4", "tokens_per_step": 1.8},
    {"model": "openai/gpt-oss-120b", "gpu": "h200", "precision": "mxfp4", "backend": "trtllm"},
    {"model": "zai-org/GLM-5", "gpu": "b200", "tp": 8, "backend": "sglang"},
    {"model": "Qwen/Qwen3.5-397B-A17B", "gpu": "b200", "tp": 8, "mode": "decode"},
    {"model": "meta-llama/Llama-3.1-8B", "gpu": "a100", "precision": "bf16"},
    {"model": R1, "gpu": "h200", "dp": 16, "ep": 16, "hides_exchange": True},
)
plans = st.sampled_from(PLANS)
tokens = st.integers(16, 30_000)


def points(
    plan: dict[str, Any], concurrency: list[float], prompt: list[float], output: list[float]
) -> OperatingPoints:
    """Return the operating points of a plan at loads that are broadcast."""
    shapes = np.broadcast_arrays(*(np.array(values, dtype=float) for values in (concurrency, prompt, output)))
    return operating_points(deploy(**plan), SHIPPED, Loads(*shapes))


@given(
    plan=plans,
    seed=st.integers(0, 1000),
    decoding=st.floats(0, 2000),
    context=st.floats(1, 1e5),
    prompt=st.one_of(st.just(0.0), st.floats(0.01, 16_384)),
    before=st.floats(0, 1e5),
)
def test_the_clock_says_what_the_sum_of_parts_says(
    plan: dict[str, Any], seed: int, decoding: float, context: float, prompt: float, before: float
) -> None:
    """The engine and the closed form would otherwise price two different machines."""
    deployment = deploy(**plan)
    values = np.exp(np.random.default_rng(seed).normal(size=len(TERMS)))
    clock: StepClock = StepTime.of(deployment, values)
    load = (decoding, decoding * context, prompt, prompt * before)
    parts = terms(term_scales(deployment), StepLoad(*(np.array([value]) for value in load)))
    assert clock.step_s(*load) == pytest.approx(float((parts @ values)[0]), rel=1e-9)
    assert clock.kv_capacity_tokens == deployment.kv_capacity_tokens


@settings(deadline=None)
@given(plan=plans, concurrency=st.integers(1, 2000), prompt=tokens, output=tokens, more=st.floats(1, 4))
def test_more_bandwidth_is_never_slower(
    plan: dict[str, Any], concurrency: int, prompt: int, output: int, more: float
) -> None:
    """Nor are more arithmetic and faster links: no step of a batch, and no answer of a closed loop.

    TPOT at a concurrency may rise by a little: who waits less for prompts has more in its batch.
    """
    slow = deploy(**plan)
    load = (float(concurrency), float(concurrency * (prompt + output)), float(prompt), 0.5 * prompt * prompt)
    step_s = StepTime.of(slow, SHIPPED.of(slow).values).step_s(*load)
    device = slow.hardware
    loads = Loads(np.array([float(concurrency)]), np.array([float(prompt)]), np.array([float(output)]))
    base = operating_points(slow, SHIPPED, loads)
    for better in (
        replace(device, bandwidth_bytes_per_s=device.bandwidth_bytes_per_s * more),
        replace(device, link_bytes_per_s=device.link_bytes_per_s * more),
        replace(device, peak_flops={name: peak * more for name, peak in device.peak_flops.items()}),
    ):
        fast = operating_points(replace(slow, hardware=better), SHIPPED, loads)
        assert fast.output_tokens_per_s[0] >= base.output_tokens_per_s[0] * (1 - 2e-3)
        clock = StepTime.of(replace(slow, hardware=better), SHIPPED.of(slow).values)
        assert clock.step_s(*load) <= step_s * (1 + 1e-9)


@settings(deadline=None)
@given(plan=plans, concurrency=st.integers(1, 2000), prompt=tokens, output=tokens)
def test_a_larger_batch_never_lowers_throughput_below_the_limit_of_the_cache(
    plan: dict[str, Any], concurrency: int, prompt: int, output: int
) -> None:
    """Batching is what makes tokens cheap; beyond the cache more requests wait, and bring nothing."""
    found = points(plan, [concurrency, concurrency + 1, concurrency * 2], [prompt], [output])
    if not found.is_full.any():
        assert np.all(np.diff(found.output_tokens_per_s) >= -2e-3 * found.output_tokens_per_s[:-1])


@settings(deadline=None)
@given(plan=plans, concurrency=st.integers(1, 2000), prompt=tokens, output=tokens, more=st.floats(1, 4))
def test_longer_context_never_raises_throughput(
    plan: dict[str, Any], concurrency: int, prompt: int, output: int, more: float
) -> None:
    """A longer prompt has more to read, and its cache more to hold."""
    found = points(plan, [concurrency], [prompt, prompt * more], [output])
    assert found.output_tokens_per_s[1] <= found.output_tokens_per_s[0] * (1 + 2e-3)


def test_what_does_not_depend_on_load_scales_with_the_device() -> None:
    """Twice the bandwidth, arithmetic and links halve all but what no peak tells."""
    plan = deploy(LLAMA_70B, "h100", tp=4)
    device = plan.hardware
    twice = replace(
        device,
        bandwidth_bytes_per_s=2 * device.bandwidth_bytes_per_s,
        link_bytes_per_s=2 * device.link_bytes_per_s,
        peak_flops={name: 2 * peak for name, peak in device.peak_flops.items()},
    )
    load = StepLoad(*(np.array([value]) for value in (32.0, 32e3, 512.0, 512e3)))
    slow, fast = (terms(term_scales(one), load)[0] for one in (plan, replace(plan, hardware=twice)))
    counted = {"link_latency", "layer", "step", "request", "request_layer", "prompt_layer"}
    for name, before, after in zip(TERMS, slow, fast, strict=True):
        assert after == pytest.approx(before if name in counted else before / 2), name


def test_requests_wait_where_the_cache_is_full() -> None:
    """Their TTFT is the wait, and throughput stays."""
    found = points(PLANS[0], [50, 2000, 4000], [8000], [500])
    assert list(found.is_full) == [False, True, True]
    assert found.output_tokens_per_s[2] == pytest.approx(found.output_tokens_per_s[1], rel=0.01)
    assert found.ttft_s[2] > 1.9 * found.ttft_s[1]


def test_what_was_never_measured_has_wider_intervals() -> None:
    """An interval that does not know what it does not know is decoration."""
    seen, unseen = (points(PLANS[at], [16], [1000], [1000]) for at in (0, 7))
    width = [float((one.tpot_high_s / one.tpot_low_s)[0]) for one in (seen, unseen)]
    assert width[1] > 1.3 * width[0]


def test_a_prefill_worker_reads_and_does_not_answer() -> None:
    """A split deployment's workers are planned apart."""
    clock = StepTime.of(prefill := deploy(R1, "h200", tp=8, mode="prefill"), SHIPPED.of(prefill).values)
    assert clock.step_s(0, 0, 8192, 8192 * 4096) > clock.step_s(0, 0, 4096, 4096 * 2048)


def test_ttft_is_the_waits_of_the_engine_until_the_cache_is_full() -> None:
    """Below, an engine has time for more; above, every further request waits for one to leave."""
    plan = deploy(LLAMA_70B, "h200", tp=4, backend="vllm")
    known = load_step_times().of(plan)
    at_once = np.array([1.0, 100.0, 500.0, 800.0, 1600.0])
    same = np.full(len(at_once), 2048.0), np.full(len(at_once), 512.0)
    mean = mean_steps(plan, known.values, Loads(at_once, *same))
    assert mean.is_full.tolist() == [False, False, False, True, True]
    loop = points_of(plan, known, Loads(at_once, *same))
    waits = mean.waits @ np.array(known.first_token.waits)
    assert (mean.least_ttft_s[:3] < waits[:3]).all()
    assert loop.ttft_s[:3] == pytest.approx(waits[:3])
    assert loop.requests_per_s[4] == pytest.approx(loop.requests_per_s[3], rel=0.02)
    assert loop.ttft_s[4] - loop.ttft_s[3] == pytest.approx(800 / loop.requests_per_s[3], rel=0.05)
