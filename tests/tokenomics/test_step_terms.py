"""The parts of a step, against arithmetic by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.step_terms import TERMS, StepLoad, term_scales, terms
from tests.tokenomics.test_deployment import LLAMA_70B, R1, deploy


def parts(
    model: str,
    gpu: str,
    load: tuple[float, float, float, float],
    **choices: Any,  # noqa: ANN401 - any field of a deployment
) -> dict[str, float]:
    """Return the parts of one step by name."""
    scales = term_scales(deploy(model, gpu, **choices))
    row = terms(scales, StepLoad(*(np.array([value]) for value in load)))[0]
    return dict(zip(TERMS, (float(value) for value in row), strict=True))


DECODE = (64.0, 64_000.0, 0.0, 0.0)
PROMPT = (0.0, 0.0, 2048.0, 2048.0 * 1024.0)
LLAMA_FIXED = 69.5e9  # parameters but the input embedding
R1_EXPERT_BYTES = 58 * 256 * 3 * 7168 * 2048


@pytest.mark.parametrize(
    ("model", "load", "choices", "term", "seconds"),
    [
        (LLAMA_70B, DECODE, {}, "weights", LLAMA_FIXED / 4.8e12),
        (LLAMA_70B, DECODE, {"tp": 8}, "weights", LLAMA_FIXED / 8 / 4.8e12),
        (LLAMA_70B, DECODE, {"pp": 2}, "weights", LLAMA_FIXED / 4.8e12),
        (LLAMA_70B, DECODE, {}, "kv", 64_000 * 80 * 2 * 8 * 128 * 2 / 4.8e12),
        (LLAMA_70B, DECODE, {"pp": 2}, "kv", 32_000 * 80 * 2 * 8 * 128 * 2 / 4.8e12),
        (LLAMA_70B, DECODE, {"kv_precision": "fp8"}, "kv", 64_000 * 80 * 2 * 8 * 128 / 4.8e12),
        (LLAMA_70B, DECODE, {}, "flops", 64 * 2 * LLAMA_FIXED / 1978e12),
        (LLAMA_70B, DECODE, {}, "attention_flops", 64_000 * 80 * 4 * 64 * 128 / 989e12),
        (LLAMA_70B, DECODE, {"tp": 8}, "links", 64 * 2 * 2 * 80 * 8192 * 2 * 7 / 8 / 450e9),
        (LLAMA_70B, DECODE, {}, "links", 0.0),
        (LLAMA_70B, DECODE, {"tp": 8}, "link_latency", 80 * 3e-6),
        (LLAMA_70B, DECODE, {}, "layer", 80e-6),
        (LLAMA_70B, DECODE, {}, "experts", 0.0),
        (LLAMA_70B, PROMPT, {}, "prompt_flops", 2048 * 2 * LLAMA_FIXED / 1978e12),
        (LLAMA_70B, PROMPT, {}, "prompt_attention", 2048 * 1024 * 80 * 4 * 64 * 128 / 989e12),
        (R1, DECODE, {"tp": 8}, "experts", R1_EXPERT_BYTES * (1 - (1 - 8 / 256) ** 64) / 8 / 4.8e12),
        (R1, DECODE, {"tp": 8}, "kv", 64_000 * 61 * 576 * 2 / 4.8e12),
        (R1, DECODE, {"dp": 8, "ep": 8}, "kv", 8_000 * 61 * 576 * 2 / 4.8e12),
        (R1, DECODE, {"tp": 8}, "moe_layer", 58e-6),
        (R1, DECODE, {"tp": 8}, "exchange", 0.0),
        (R1, DECODE, {"dp": 8, "ep": 8, "hides_exchange": True}, "exchange", 0.0),
        (R1, DECODE, {"dp": 8, "ep": 8}, "exchange", 8 * 58 * 8 * 7 / 8 * 7168 * 3 / 450e9),
    ],
)
def test_a_part_is_what_hand_arithmetic_says(
    model: str, load: tuple[float, ...], choices: dict[str, Any], term: str, seconds: float
) -> None:
    """On an H200: 4.8 TB/s, 1,978 TFLOP/s in fp8, 450 GB/s of links."""
    found = parts(model, "h200", load, **choices)[term]  # type: ignore[arg-type]
    assert found == pytest.approx(seconds, rel=0.01, abs=1e-12)


def test_layers_with_a_window_read_no_more_than_it() -> None:
    """Half of gpt-oss reads 128 tokens at any context, or its long contexts would be twice as dear."""
    short, long = (
        parts("openai/gpt-oss-120b", "h200", (1.0, context, 0.0, 0.0), precision="mxfp4")["kv"]
        for context in (128.0, 128_000.0)
    )
    assert long / short == pytest.approx((1000 + 1) / 2, rel=1e-6)


def test_speculative_decoding_costs_verification_and_divides_the_rest() -> None:
    """Two tokens of each sequence pass the weights in a step that yields 1.8."""
    plain, ahead = (parts(R1, "h200", DECODE, tp=8, tokens_per_step=pace) for pace in (1.0, 1.8))
    assert ahead["weights"] == pytest.approx(plain["weights"] / 1.8)
    assert ahead["kv"] == pytest.approx(plain["kv"] / 1.8)
    assert ahead["flops"] == pytest.approx(plain["flops"] * 2 / 1.8)


def test_across_fast_domains_the_exchange_of_experts_is_dearer() -> None:
    """Two nodes are joined by a ninth of the bandwidth."""
    near, far = (
        parts(R1, "h100", (gpus * 64.0, gpus * 64e3, 0, 0), dp=gpus, ep=gpus)["exchange"] for gpus in (8, 16)
    )
    assert far > 1.5 * near


@pytest.mark.parametrize("gpu", ["h100", "h200", "h800", "b200", "b300", "mi300x"])
@pytest.mark.parametrize("gpus", [8, 16, 32, 128])
def test_what_is_assumed_to_be_hidden_is_shorter_than_what_hides_it(gpu: str, gpus: int) -> None:
    """By the fitted parts, at any batch of decode; between nodes that of prompts is not, and counts whole."""
    plan = deploy(R1, gpu, dp=gpus, ep=gpus, mode="decode")
    coefficients = load_step_times().of(plan).values
    for batch in (1.0, 16.0, 64.0, 256.0):
        load = StepLoad(*(np.array([size * gpus]) for size in (batch, batch * 2000, 0.0, 0.0)))
        seconds = terms(term_scales(plan), load)[0] * coefficients
        assert seconds[TERMS.index("exchange")] < seconds.sum() / 2
    hidden = {"dp": gpus, "ep": gpus, "hides_exchange": True}
    assert parts(R1, gpu, PROMPT, **hidden) == parts(R1, gpu, PROMPT, dp=gpus, ep=gpus)
