"""What is known of the configurations of cost_by_load_measured.csv before anything is measured.

The file says "H100"; its 6.98 USD per GPU and hour is Azure's price of one H100 NVL (NC40ads H100 v5), up to
377 W were drawn (a PCIe card ends at 350 W), and C3 held more prompts at once than 80 GB could: so 94 GB and
3.9 TB/s are assumed. Weights: parameters of the model cards times bytes; embeddings stay 16 bit in fp8. Keys
and values: 2 × layers × heads × head size × 2 bytes of each model's config.json.
"""

from collections.abc import Mapping
from types import MappingProxyType

from entrepot.tokenomics.cost_by_load import Setting

_GB = 1e9
_H100_NVL_BYTES, _H100_NVL_BANDWIDTH = 100.5 * _GB, 3.9e12  # 95,830 MiB; NVIDIA H100 NVL datasheet
_FLOPS_16, _FLOPS_8 = 989.5e12, 1979e12  # dense, of the SXM card: the ratio between models is what matters
_LLAMA_8B = {"kv_token_bytes": 2.0 * 32 * 8 * 128 * 2, "token_flop": 2 * 8.03e9}
_QWEN_30B = {"kv_token_bytes": 2.0 * 48 * 4 * 128 * 2, "token_flop": 2 * 3.35e9, "expert_share": 8 / 128}
_MIXTRAL = {"kv_token_bytes": 2.0 * 32 * 8 * 128 * 2, "token_flop": 2 * 12.9e9, "expert_share": 2 / 8}


def _setting(
    engine: str,
    weight_gb: float,
    model: Mapping[str, float],
    *,
    flops: float,
    gpus: int = 1,
    experts_gb: float = 0,
) -> Setting:
    return Setting(
        engine=engine,
        weight_bytes=weight_gb * _GB,
        kv_token_bytes=model["kv_token_bytes"],
        token_flop=model["token_flop"],
        memory_bytes=gpus * _H100_NVL_BYTES,
        bandwidth=gpus * _H100_NVL_BANDWIDTH,
        flops=gpus * flops,
        experts_bytes=experts_gb * _GB,
        expert_share=model.get("expert_share", 0.0),
    )


def _of_engine(engine: str, letter: str) -> dict[str, Setting]:
    return {
        f"{letter}1": _setting(engine, 16.06, _LLAMA_8B, flops=_FLOPS_16),
        f"{letter}2": _setting(engine, 9.1, _LLAMA_8B, flops=_FLOPS_8),
        f"{letter}3": _setting(engine, 61.1, _QWEN_30B, flops=_FLOPS_16, experts_gb=58.0),
        f"{letter}4": _setting(engine, 31.2, _QWEN_30B, flops=_FLOPS_8, experts_gb=29.0),
    }


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    _of_engine("vllm", "C")
    | {
        "C5": _setting("vllm", 93.4, _MIXTRAL, flops=_FLOPS_16, gpus=2, experts_gb=90.2),
        "C6": _setting("vllm", 47.3, _MIXTRAL, flops=_FLOPS_8, gpus=2, experts_gb=45.1),
    }
    | _of_engine("sglang", "S")
)
"""By the name of the configuration."""
