"""What fits in memory, and what is said when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from entrepot.catalog.architectures import find_architecture
from entrepot.catalog.hardware import find_hardware
from entrepot.tokenomics.deployment import Deployment, refuse_memory

R1, LLAMA_70B = "deepseek-ai/DeepSeek-R1", "meta-llama/Llama-3.1-70B"


def deploy(model: str, gpu: str, **choices: Any) -> Deployment:  # noqa: ANN401 - any field of it
    """Return a deployment of shipped facts."""
    return Deployment(
        architecture=find_architecture(model).architecture, hardware=find_hardware(gpu), **choices
    )


def test_a_latent_cache_is_copied_over_tensor_parallelism_and_split_heads_are_not() -> None:
    """Each GPU needs the whole latent of MLA, so that tp makes no room for more sequences."""
    for model, factor in ((R1, 1), (LLAMA_70B, 8)):
        one, eight = (deploy(model, "h200", tp=tp).kv_bytes_per_gpu(1000) for tp in (1, 8))
        assert one / eight == pytest.approx(factor)
    assert deploy(LLAMA_70B, "h200", tp=16).kv_bytes_per_gpu(1000) == pytest.approx(
        deploy(LLAMA_70B, "h200", tp=8).kv_bytes_per_gpu(1000)
    ), "eight heads of keys are copied beyond eight GPUs"


def test_attention_groups_hold_their_own_sequences_and_copy_the_weights_of_attention() -> None:
    """Data parallelism of attention is bought with memory for weights."""
    split, copied = deploy(R1, "h200", tp=8), deploy(R1, "h200", dp=8, ep=8)
    assert copied.weight_bytes_per_gpu > split.weight_bytes_per_gpu
    assert copied.kv_capacity_tokens > 5 * split.kv_capacity_tokens


def test_what_fits_is_not_refused() -> None:
    """R1 runs on eight H200: that is how it is served."""
    assert refuse_memory(deploy(R1, "h200", tp=8)) is None


@pytest.mark.parametrize(
    ("model", "gpu", "choices", "word"),
    [
        (LLAMA_70B, "h100", {"precision": "bf16"}, "2 devices|weights at fp8"),
        (R1, "h200", {"tp": 4}, "8 devices|weights at fp4"),
        (R1, "h100", {"tp": 8, "precision": "fp4", "memory_utilisation": 0.5}, "16 devices"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_with_the_nearest_that_does(
    model: str, gpu: str, choices: dict[str, Any], word: str
) -> None:
    """A refusal without a way on leaves the reader to search for it."""
    refusal = refuse_memory(deploy(model, gpu, **choices))
    assert refusal is not None
    assert refusal.nearest is not None
    assert refuse_memory(refusal.nearest) is None
    assert any(part in refusal.reason for part in word.split("|")), refusal.reason


def test_the_cache_is_kept_in_what_the_backend_takes_by_default() -> None:
    """Whether a long context fits can hang on it."""
    assert deploy(R1, "h200", backend="vllm").cache_precision == "bf16"
    assert deploy(R1, "h200", backend="trtllm").cache_precision == "fp8"
    assert deploy(R1, "h200", backend="vllm", kv_precision="fp8").cache_precision == "fp8"
