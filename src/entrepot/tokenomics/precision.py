"""How many bytes a number takes at each precision, and in what precision hardware computes with it.

Both are one table of names, so that a misspelt precision is an error and never a default: 4 bits with their
scales are up to an eighth more than half a byte, and whether a batch fits can hang on that.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from entrepot.domain.errors import ConfigError

_HALF = ("bf16", "fp16", "fp32")

BYTES_PER_VALUE: Mapping[str, float] = MappingProxyType(
    {
        "fp32": 4.0,
        "bf16": 2.0,
        "fp16": 2.0,
        "fp8": 1.0,  # one 4-byte scale per 128 × 128 block is 0.02 % and left out
        "int8": 1.0,  # one scale per channel is left out likewise
        "fp4": 0.5625,  # NVFP4, the usual one: an 8-bit scale per 16 values
        "nvfp4": 0.5625,
        "mxfp4": 0.53125,  # OCP MX: an 8-bit scale per 32 values
        "int4": 0.515625,  # a 16-bit scale per 128 values (AWQ, GPTQ); groups of 32 (Kimi K2.5) take 0.5625
        # llama.cpp: block sizes of ggml-common.h, in bytes per values of a block
        "q8_0": 34 / 32,
        "q6_k": 210 / 256,
        "q5_0": 22 / 32,
        "q5_k_m": 5.7036 / 8,  # a mixture: bits per weight of Llama 3.1 8B (tools/quantize/README.md)
        "q4_1": 20 / 32,
        "q4_0": 18 / 32,
        "q4_k_m": 4.8944 / 8,  # likewise; 4.94 for the Phi-4 of data/market/published_points.csv
    }
)
"""Bytes per stored value, with the scales that go with it, by precision in lower case."""

_COMPUTED_IN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fp32": ("fp32",),
        "bf16": _HALF,
        "fp16": ("fp16", "bf16", "fp32"),
        "fp8": ("fp8", *_HALF),
        "int8": ("int8", *_HALF),
        "fp4": ("fp4", *_HALF),  # without fp4 units the activations stay in 16 bits: not fp8
        "nvfp4": ("fp4", *_HALF),
        "mxfp4": ("fp4", *_HALF),
        "int4": _HALF,  # weights only: activations stay in 16 bits
        # llama.cpp quantises the activations to 8 bits for its dot products
        **{name: ("int8", *_HALF) for name in BYTES_PER_VALUE if name.startswith("q")},
    }
)

COMPUTED_PRECISIONS = ("fp32", "bf16", "fp16", "fp8", "int8", "fp4")
"""The precisions that hardware has units for."""


def precision_name(name: str) -> str:
    """Return the name of a precision as the tables here have it: `Q4_K_M` is `q4_k_m`.

    Raises: ConfigError when no precision is called so.
    """
    known = name.strip().lower()
    if known == "float16":  # of vLLM's command line
        return "fp16"
    if known == "bfloat16":
        return "bf16"
    if known not in BYTES_PER_VALUE:
        near = get_close_matches(known, BYTES_PER_VALUE, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(BYTES_PER_VALUE))}"
        raise ConfigError((f"no precision is called {name!r}; {hint}",))
    return known


def bytes_per_value(precision: str) -> float:
    """Return the bytes that a stored value takes, scales included.

    Raises: ConfigError when no precision is called so.
    """
    return BYTES_PER_VALUE[precision_name(precision)]


def computed_in(precision: str) -> tuple[str, ...]:
    """Return in what precisions matrices that are stored at `precision` can be multiplied, nearest first.

    Raises: ConfigError when no precision is called so.
    """
    return _COMPUTED_IN[precision_name(precision)]
