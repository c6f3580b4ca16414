"""Split deployments of real models, for tests of what they do and cost."""

from __future__ import annotations

from entrepot.catalog.architectures import find_architecture
from entrepot.catalog.hardware import find_hardware
from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.split_offer import SplitOffer

COEFFICIENTS = load_step_times()
DEEPSEEK, LLAMA = "deepseek-ai/DeepSeek-R1", "meta-llama/Llama-3.1-70B"
TP2, TP4, TP8, DP8, DP16 = ({"tp": 2}, {"tp": 4}, {"tp": 8}, {"dp": 8, "ep": 8}, {"dp": 16, "ep": 16})


def deployed(model: str = DEEPSEEK, gpu: str = "h200", **sizes: int) -> Deployment:
    """Return a deployment of a model."""
    return Deployment(
        architecture=find_architecture(model).architecture, hardware=find_hardware(gpu), **sizes
    )


def split_offer(
    prefill: tuple[int, dict[str, int]],
    decode: tuple[int, dict[str, int]],
    model: str = DEEPSEEK,
    gpu: str = "h200",
) -> SplitOffer:
    """Return the offer of so many workers of each layout, which are rented."""
    pools = [(count, deployed(model, gpu, **sizes)) for count, sizes in (prefill, decode)]
    return SplitOffer.of(pools[0], pools[1], COEFFICIENTS, tier="rental")
