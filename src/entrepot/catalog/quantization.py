"""In what precision a checkpoint keeps its weights, by the `quantization_config` of its config.json.

Only what is named there: a checkpoint that was quantised and does not say so cannot be told from another.
"""

from __future__ import annotations

from collections.abc import Mapping

from entrepot.tokenomics.config_fields import NESTED

_BY_METHOD = {
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "mxfp4": "mxfp4",
    "awq": "int4",
    "gptq": "int4",
    "bitsandbytes": "int8",
    "modelopt": "fp8",
    "compressed-tensors": "",
}
_BY_BITS = {4: "int4", 8: "int8"}


def stated_precision(config: Mapping[str, object]) -> str:
    """Return the precision of quantised weights that a configuration states, empty when it states none."""
    for part in (config, *(config.get(key) for key in NESTED)):
        if isinstance(part, Mapping) and isinstance(stated := part.get("quantization_config"), Mapping):
            return _precision(stated)
    return ""


def _precision(stated: Mapping[str, object]) -> str:
    method = str(stated.get("quant_method") or "").lower()
    if "nvfp4" in f"{stated.get('quant_algo')} {stated.get('format')}".lower():
        return "nvfp4"
    if method == "compressed-tensors":
        return _of_groups(stated.get("config_groups"))
    if method == "bitsandbytes" and stated.get("load_in_4bit") is True:
        return "int4"
    bits = stated.get("bits")
    if method in ("awq", "gptq") and isinstance(bits, int):
        return _BY_BITS.get(bits, "")
    return _BY_METHOD.get(method, "")


def _of_groups(groups: object) -> str:
    """Return the precision of the weights of the first group that has any: compressed-tensors' form."""
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            bits, kind = weights.get("num_bits"), weights.get("type")
            if kind == "float":
                return {8: "fp8", 4: "nvfp4"}.get(bits, "") if isinstance(bits, int) else ""
            return _BY_BITS.get(bits, "") if isinstance(bits, int) else ""
    return ""
