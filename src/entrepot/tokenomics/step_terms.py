"""The time of a step as a sum of parts, each at the peak of what it uses: before any coefficient.

A roofline takes the largest of them. Measured steps follow the sum: kernels of one layer wait for each
other, so that what is bound by memory does not hide what is bound by arithmetic. Parts that no peak tells
(launching the kernels of a layer, scheduling a request) count 1 µs per occurrence, and the fit says how
many it takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entrepot.tokenomics.deployment import Deployment
from entrepot.tokenomics.precision import bytes_per_value

Floats = NDArray[np.float64]

TERMS = (
    "weights",  # reading all weights but routed experts
    "experts",  # reading the routed experts that the batch needs
    "kv",  # reading the cache
    "flops",  # multiplying by weights
    "attention_flops",
    "links",  # all-reduces of tensor parallelism, by volume
    "link_latency",  # and by their number
    "exchange",  # experts' all-to-all, by volume
    "layer",  # every layer, whatever is in it
    "moe_layer",  # and more for a layer with experts
    "linear_layer",  # or with linear attention
    "index_layer",  # or with an indexer of sparse attention
    "step",
    "request",  # scheduling and sampling, per sequence
    "request_layer",  # what each sequence costs in a layer besides reading its cache
    "stage",  # passing on to the next pipeline stage
    "prompt_flops",
    "prompt_attention",
    "prompt_links",
    "prompt_exchange",
    "prompt_layer",  # having a piece of a prompt in the step
    "prompt_experts",  # experts that are read for the prompt alone
)
"""The parts of a step, in the order of all arrays."""

PROMPT_TERMS = tuple(name for name in TERMS if name.startswith("prompt_"))
BATCH_TERMS = ("kv", "attention_flops", "flops", "links", "exchange", "request", "request_layer")
"""The parts in proportion to the batch; experts grow with it and end."""

LEAST_PIECE = 64.0  # prompt tokens below this are a mean over steps, most of which have none
_US = 1e-6
_ACTIVATION_BYTES = 2  # activations travel in 16 bits
_ALL_REDUCES = 2  # per layer: after attention and after the MLP
_RING = 2  # a ring's all-reduce sends everything twice: reduce-scatter, all-gather


class StepLoad(NamedTuple):
    """What a step does.

    Shapes: numbers, or arrays of one shape. Units: sequences; tokens that these hold in all; prompt tokens
    that are read; pairs of a prompt token and one before it.
    """

    decoding: Floats
    held_tokens: Floats
    prompt_tokens: Floats
    prompt_pairs: Floats


@dataclass(frozen=True, slots=True)
class TermScales:
    """What one deployment makes of each part: seconds at peak per unit of work.

    Units: names say per what: `_s` per step, `_s_per_token` per token of the batch and so on; `stage_share`
    part of a batch that is in one pipeline stage; `chosen_share` part of the experts that serve one token.
    """

    stage_share: float
    weights_s: float
    experts_s: float
    chosen_share: float
    full_kv_s: float
    index_kv_s: float
    window_kv_s: float
    window_tokens: float
    selected_tokens: float
    state_s_per_sequence: float
    flops_s_per_token: float
    full_pair_s: float
    index_pair_s: float
    window_pair_s: float
    prompt_full_pair_s: float
    prompt_window_pair_s: float
    links_s_per_token: float
    exchange_s_per_token: float
    prompt_exchange_s_per_token: float
    link_latency_s: float
    layers: int
    moe_layers: int
    linear_layers: int
    index_layers: int
    stages_s: float
    groups: int
    verified: float
    tokens_per_step: float


def term_scales(deployment: Deployment) -> TermScales:
    """Return the scales of a deployment.

    Pipeline stages: a batch is cut into `pp` micro-batches, and a sequence's token passes all stages, so
    that a step takes the time of the whole model for one micro-batch.
    """
    shape, device = deployment.architecture, deployment.hardware
    narrow, fixed = device.peak(deployment.precision), device.peak(deployment.fixed_precision)
    half = device.peak("bf16")
    cached = device.peak(deployment.cache_precision)  # prompts attend in the precision of the cache
    bandwidth, tp, dp = device.bandwidth_bytes_per_s, deployment.tp, deployment.dp
    stage_gpus = tp * dp
    kv_tp = min(tp, shape.kv_heads_shared)
    value_s = shape.kv_values_per_token_and_layer * bytes_per_value(deployment.cache_precision) / bandwidth
    per_group = 1.0 / dp  # the busiest of equal groups
    sparse = shape.index_values > 0
    chosen = shape.moe_layers * shape.experts_per_token * shape.expert_parameters
    full, window = shape.full_layers, shape.window_layers
    return TermScales(
        stage_share=1.0 / deployment.pp,
        weights_s=shape.fixed_parameters * bytes_per_value(deployment.fixed_precision) / tp / bandwidth,
        experts_s=shape.routed_parameters * bytes_per_value(deployment.precision) / stage_gpus / bandwidth,
        chosen_share=shape.experts_per_token / shape.experts if shape.experts else 0.0,
        full_kv_s=full * value_s / kv_tp * per_group,
        index_kv_s=full * shape.index_values / bandwidth * per_group,
        window_kv_s=window * value_s / kv_tp * per_group,
        window_tokens=float(shape.window_tokens),
        selected_tokens=float(shape.selected_tokens) or math.inf,
        state_s_per_sequence=2 * shape.state_bytes / tp / bandwidth * per_group,
        flops_s_per_token=2 * (shape.fixed_parameters / stage_gpus / fixed + chosen / stage_gpus / narrow),
        full_pair_s=full * shape.attention_dim / stage_gpus / half,
        index_pair_s=full * shape.index_dim / stage_gpus / half if sparse else 0.0,
        window_pair_s=window * shape.attention_dim / stage_gpus / half,
        prompt_full_pair_s=full * shape.prefill_attention_dim / stage_gpus / cached,
        prompt_window_pair_s=window * shape.prefill_attention_dim / stage_gpus / cached,
        links_s_per_token=_links(deployment) * per_group,
        exchange_s_per_token=0.0 if deployment.hides_exchange else _exchange(deployment),
        prompt_exchange_s_per_token=_exchange(deployment),
        link_latency_s=shape.layers * math.log2(tp) * _US,
        layers=shape.layers,
        moe_layers=shape.moe_layers,
        linear_layers=shape.linear_layers,
        index_layers=full if sparse else 0,
        stages_s=(deployment.pp - 1) * _US,
        groups=dp,
        verified=float(math.ceil(deployment.tokens_per_step)),
        tokens_per_step=deployment.tokens_per_step,
    )


def terms(scales: TermScales, load: StepLoad) -> Floats:
    """Return the parts of steps, in seconds at peak.

    Shapes: `load` arrays of n steps; the result (n, len(TERMS)).
    """
    batch, held = load.decoding * scales.stage_share, load.held_tokens * scales.stage_share
    prompt, pairs = load.prompt_tokens * scales.stage_share, load.prompt_pairs * scales.stage_share
    union = 1.0 - (1.0 - scales.chosen_share) ** (batch * scales.verified)
    decode = _decode_columns(scales, batch, held, union)
    prompts = _prompt_columns(scales, prompt, pairs, union)
    return np.stack([*(column / scales.tokens_per_step for column in decode), *prompts], axis=-1)


def _decode_columns(scales: TermScales, batch: Floats, held: Floats, union: Floats) -> list[Floats]:
    """Return the parts of one step of decoding: `verified` tokens of every sequence pass the weights."""
    tokens = batch * scales.verified
    context = held / np.maximum(batch, 1e-9)
    in_window = batch * np.minimum(context, scales.window_tokens)
    selected = batch * np.minimum(context, scales.selected_tokens)
    us = _US * np.ones_like(batch)
    cache_s = (
        scales.full_kv_s * selected
        + scales.index_kv_s * held
        + scales.window_kv_s * in_window
        + scales.state_s_per_sequence * batch
    )
    pairs_s = scales.full_pair_s * selected + scales.index_pair_s * held + scales.window_pair_s * in_window
    return [
        scales.weights_s / _US * us,
        scales.experts_s * union,
        cache_s,
        scales.flops_s_per_token * tokens,
        pairs_s * scales.verified,
        scales.links_s_per_token * tokens,
        scales.link_latency_s / _US * us,
        scales.exchange_s_per_token * tokens,
        scales.layers * us,
        scales.moe_layers * us,
        scales.linear_layers * us,
        scales.index_layers * us,
        1e3 * us,
        _US * batch,
        1e-2 * _US * scales.layers / scales.groups * batch,
        scales.stages_s / _US * us,
    ]


def _prompt_columns(scales: TermScales, prompt: Floats, pairs: Floats, union: Floats) -> list[Floats]:
    """Return the parts that prompt tokens add; `union` is the share of experts that are read anyway."""
    before = pairs / np.maximum(prompt, 1e-9)
    has_piece = np.minimum(prompt / LEAST_PIECE, 1.0)
    more = 1.0 - (1.0 - scales.chosen_share) ** np.maximum(prompt, LEAST_PIECE)
    pairs_s = (
        scales.prompt_full_pair_s * prompt * np.minimum(before, scales.selected_tokens)
        + scales.index_pair_s * pairs
        + scales.prompt_window_pair_s * prompt * np.minimum(before, scales.window_tokens)
    )
    return [
        scales.flops_s_per_token * prompt,
        pairs_s,
        scales.links_s_per_token * prompt,
        scales.prompt_exchange_s_per_token * prompt,
        scales.layers * _US * has_piece,
        scales.experts_s * has_piece * (1.0 - union) * more,
    ]


def _links(deployment: Deployment) -> float:
    """Return the seconds per token of the all-reduces of tensor parallelism, over a ring."""
    shape, tp = deployment.architecture, deployment.tp
    volume = _RING * _ALL_REDUCES * shape.layers * shape.hidden * _ACTIVATION_BYTES * (tp - 1) / tp
    return volume / _link(deployment, tp)


def _exchange(deployment: Deployment) -> float:
    """Return the seconds per token of sending tokens to their experts and back, in 8 bits there and 16 back.

    Only attention groups exchange: within one group every device has every token already. Between fast
    domains a token travels once to each domain that has one of its experts, and is copied inside (DeepEP,
    2025-02, its normal kernels).
    """
    shape, gpus = deployment.architecture, deployment.tp * deployment.dp
    if not deployment.exchanges:
        return 0.0
    device, chosen = deployment.hardware, shape.experts_per_token
    domains = max(1.0, gpus / device.domain_gpus)
    inside = min(gpus, device.domain_gpus)
    near = min(chosen, gpus) * (inside - 1) / inside / device.link_bytes_per_s
    far = (domains - 1) * (1 - (1 - 1 / domains) ** chosen) / device.node_link_bytes_per_s
    return shape.moe_layers * shape.hidden * (1 + _ACTIVATION_BYTES) * (near + far) / gpus


def _link(deployment: Deployment, gpus: int) -> float:
    """Return the bytes/s out of one device to the others of `gpus`: those beyond the fast link bind."""
    device = deployment.hardware
    if gpus <= device.domain_gpus:
        return device.link_bytes_per_s
    outside = (gpus - device.domain_gpus) / gpus
    return 1.0 / (outside / device.node_link_bytes_per_s + (1.0 - outside) / device.link_bytes_per_s)
