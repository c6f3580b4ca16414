"""What is predicted of published systems: how throughput falls with context, and DeepSeek's own nodes.

No coefficient was fitted to any of it. The form of three terms was chosen knowing it: prompts attend in
the precision of the cache, effects on attention are held firmly, and the exchange of experts crosses nodes
once per node with a coefficient of its own for prompts. So it is no blind test. Rows come as arguments,
since this package reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from entrepot.tokenomics.coefficients import StepCoefficients
from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.operating_point import Loads
from entrepot.tokenomics.step_time import StepTime, operating_points

LARGEST_BATCH = 512.0
"""Sequences per attention group where all requests are queued and the cache would hold more. Assumed,
since nobody publishes what was run: the largest batch for which vLLM captures a CUDA graph (recalled,
not read again). The figures hang on it: all factors are within a quarter from 256 to 512, and three of
five are not with the cache alone as limit, which is why that error stands beside each
(`error_cache_only`)."""

CACHE_ONLY = 1e5  # sequences: more than any cache holds

PREFILL_TOKENS_PER_S_NODE = 73_700.0
DECODE_TOKENS_PER_S_NODE = 14_800.0
CACHED_SHARE = 342 / 608
"""Of DeepSeek's input tokens: open-infra-index, day 6, 2025-03-01, as are the two rates above and below."""
DECODE_CONTEXT_TOKENS = 4989.0
DECODE_TPOT_S = 0.0475  # 20 to 22 tokens/s, so 45 to 50 ms
_GPUS_PER_NODE = 8
_PREFILL_PROMPT_TOKENS = 4000.0  # assumed: a little less than the context while decoding, half of an answer
_PREFILL_TOKENS_PER_GPU = 8192.0  # assumed: a step's tokens per GPU; twice as many change it by less than 1 %


class ThroughputRow(Struct, frozen=True, kw_only=True):
    """Throughput that was published for a system with all requests queued.

    Units: mean tokens of prompts and outputs; output tokens/s per GPU.
    """

    deployment: Deployment
    prompt_tokens: float
    output_tokens: float
    output_tokens_per_s_gpu: float


def context_figures(
    rows: Sequence[ThroughputRow], coefficients: StepCoefficients
) -> list[dict[str, float | str]]:
    """Return by which factor throughput falls from a system's shortest prompts to longer ones.

    Units: `factor` and `predicted` are ratios; errors relative; `output_tokens_per_s_gpu` and
    `predicted_tokens_per_s_gpu` tokens/s at the longer prompts.
    """
    systems: dict[tuple[object, ...], list[ThroughputRow]] = {}
    for row in rows:
        plan = row.deployment
        key = (plan.architecture.name, plan.hardware.name, plan.gpus, row.output_tokens)
        systems.setdefault(key, []).append(row)
    found: list[dict[str, float | str]] = []
    for system in systems.values():
        short, *longer = sorted(system, key=lambda row: row.prompt_tokens)
        base = predicted_throughput(short, coefficients)
        base_cache = predicted_throughput(short, coefficients, largest_batch=CACHE_ONLY)
        for row in longer:
            predicted = predicted_throughput(row, coefficients)
            cached = predicted_throughput(row, coefficients, largest_batch=CACHE_ONLY)
            factor = short.output_tokens_per_s_gpu / row.output_tokens_per_s_gpu
            found.append(
                {
                    "model": row.deployment.architecture.name,
                    "gpu": row.deployment.hardware.name,
                    "from_tokens": short.prompt_tokens,
                    "to_tokens": row.prompt_tokens,
                    "factor": round(factor, 3),
                    "predicted": round(base / predicted, 3),
                    "error": round(base / predicted / factor - 1, 4),
                    "error_cache_only": round(base_cache / cached / factor - 1, 4),
                    "output_tokens_per_s_gpu": row.output_tokens_per_s_gpu,
                    "predicted_tokens_per_s_gpu": round(predicted, 1),
                }
            )
    return found


def predicted_throughput(
    row: ThroughputRow, coefficients: StepCoefficients, *, largest_batch: float = LARGEST_BATCH
) -> float:
    """Return the output tokens/s per GPU with all requests queued: cache or engine limit the batch."""
    loads = Loads(
        concurrency=np.array([largest_batch * row.deployment.dp]),
        prompt_tokens=np.array([row.prompt_tokens]),
        output_tokens=np.array([row.output_tokens]),
    )
    return float(operating_points(row.deployment, coefficients, loads).output_tokens_per_s_gpu[0])


def fleet_figures(
    prefill: Deployment, decode: Deployment, coefficients: StepCoefficients
) -> dict[str, float]:
    """Return the rates of DeepSeek's nodes as predicted, and their errors against what was published.

    `prefill` is 32 H800 with experts over all, `decode` 144. Input counts cached tokens, as published. The
    decode batch is what the published rate and TPOT imply. `decode_overlapped` is with `hides_exchange`, as
    DeepSeek does with a second micro-batch, `decode` with the exchange of experts added.
    """
    batch = DECODE_TOKENS_PER_S_NODE / _GPUS_PER_NODE * DECODE_TPOT_S * decode.gpus
    known = coefficients.of(decode)
    step_s = StepTime.of(decode, known.values).step_s(batch, batch * DECODE_CONTEXT_TOKENS)
    hidden = StepTime.of(replace(decode, hides_exchange=True), known.values)
    hidden_s = hidden.step_s(batch, batch * DECODE_CONTEXT_TOKENS)
    nodes = decode.gpus / _GPUS_PER_NODE
    read = prefill_rate(prefill, coefficients)
    return {
        "prefill_tokens_per_s_node": round(read, 0),
        "prefill_error": round(read / PREFILL_TOKENS_PER_S_NODE - 1, 4),
        "decode_tokens_per_s_node": round(batch / step_s / nodes, 0),
        "decode_error": round(batch / step_s / nodes / DECODE_TOKENS_PER_S_NODE - 1, 4),
        "decode_overlapped_tokens_per_s_node": round(batch / hidden_s / nodes, 0),
        "decode_overlapped_error": round(batch / hidden_s / nodes / DECODE_TOKENS_PER_S_NODE - 1, 4),
        "decode_batch_per_gpu": round(batch / decode.gpus, 1),
        "low_factor": known.spread.low,
        "high_factor": known.spread.high,
    }


def prefill_rate(prefill: Deployment, coefficients: StepCoefficients) -> float:
    """Return the input tokens/s per node, cached ones counted, of a prefill deployment.

    Each new token attends to the cached part of its prompt and, on average, to half of the rest.
    """
    new = _PREFILL_TOKENS_PER_GPU * prefill.gpus
    before = _PREFILL_PROMPT_TOKENS * (CACHED_SHARE + (1 - CACHED_SHARE) / 2)
    seconds = StepTime.of(prefill, coefficients.of(prefill).values).step_s(0.0, 0.0, new, new * before)
    return new / (1 - CACHED_SHARE) / seconds / (prefill.gpus / _GPUS_PER_NODE)
