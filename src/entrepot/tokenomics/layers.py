"""Counts the layers of a model by kind: full, windowed or linear attention, dense or with experts.

Makers state this in half a dozen ways: lists of kinds, intervals, patterns, a first dense part. What serving
costs depends on the counts alone, so that order is not kept.
"""

from __future__ import annotations

from msgspec import Struct

from entrepot.tokenomics.config_fields import ConfigFields

_FULL = {"full_attention", "attention", "global_attention", "global", "deepseek_sparse_attention"}
_WINDOW = {"sliding_attention", "chunked_attention", "local_attention", "sliding", "local"}
_LINEAR = {"linear_attention", "gated_delta_net", "linear"}
_SPARSE = {"sparse", "moe"}
_ALTERNATING = {"gemma2", "gpt_oss"}  # every other layer has a window, and old configurations do not say so

_NOT_MODELLED = {
    "hybrid_override_pattern": "Mamba layers",
    "layers_block_type": "Mamba layers",
    "mamba_num_heads": "Mamba layers",
    "hybrid_layer_pattern": "windows with heads of their own",
    "compress_ratios": "attention to compressed tokens",
    "sparse_attention_config": "block-sparse attention",
    "linear_attn_config": "Kimi's linear attention",
    "block_configs": "layers that differ in width",
    "global_head_dim": "full layers with heads of their own",
    "routed_expert_hidden_size": "experts of another width",
}
"""Fields that change the costs in ways that are not modelled: an answer without them would be wrong."""


class AttentionLayers(Struct, frozen=True):
    """How many layers attend to everything, to a window, or keep a state of fixed size.

    Units: layers; `window_tokens` tokens, 0 without windows.
    """

    full: int
    window: int
    linear: int
    window_tokens: int


def attention_layers(fields: ConfigFields, layers: int) -> AttentionLayers:
    """Return the layers by kind of attention; mistakes are noted in `fields`."""
    for key, what in _NOT_MODELLED.items():
        if fields.has(key):
            fields.problem(f"{key} says that the model has {what}, which is not modelled")
    if not all(fields.sequence("attn_type_list") or ()):  # MiniMax: 1 is softmax attention, 0 is not
        fields.problem("attn_type_list says that the model has lightning attention, which is not modelled")
    kinds = fields.sequence("layer_types")
    if kinds is None and fields.has("attention_chunk_size"):
        fields.problem("attention_chunk_size stands without layer_types; add the kind of every layer")
    interval = fields.optional("full_attention_interval")
    if kinds is not None:
        full, window, linear = _of_kinds(fields, layers, kinds)
    elif interval:
        full, window, linear = layers // interval, 0, layers - layers // interval
    else:
        window = _window_layers(fields, layers)
        full, linear = layers - window, 0
    tokens = (
        fields.required("tokens of the window", "sliding_window", "attention_chunk_size") if window else 0
    )
    return AttentionLayers(full, window, linear, tokens)


def moe_layers(fields: ConfigFields, layers: int) -> int:
    """Return how many layers have routed experts, of a model that has experts at all."""
    kinds = fields.sequence("mlp_layer_types")
    if kinds is not None:
        return sum(kind in _SPARSE for kind in kinds)
    pattern = fields.sequence("moe_layer_freq")
    if pattern is not None:
        return sum(bool(entry) for entry in pattern)
    first = fields.count("first_k_dense_replace")
    dense = set(fields.sequence("mlp_only_layers") or ())
    every = fields.optional("moe_layer_freq")
    if every:  # DeepSeek counts from the first layer, Qwen and Llama from one before it
        return sum(at % every == 0 for at in range(first, layers) if at not in dense)
    step = fields.optional("decoder_sparse_step", "interleave_moe_layer_step") or 1
    return sum((at + 1) % step == 0 for at in range(first, layers) if at not in dense)


def _of_kinds(fields: ConfigFields, layers: int, kinds: tuple[object, ...]) -> tuple[int, int, int]:
    if len(kinds) != layers:
        fields.problem(f"layer_types has {len(kinds)} entries and num_hidden_layers is {layers}")
    unknown = {str(kind) for kind in kinds} - _FULL - _WINDOW - _LINEAR
    if unknown:
        known = ", ".join(sorted({"full_attention", "sliding_attention", "linear_attention"}))
        fields.problem(f"layer_types has {', '.join(sorted(unknown))}, which is not modelled; known: {known}")
    return (
        sum(kind in _FULL for kind in kinds),
        sum(kind in _WINDOW for kind in kinds),
        sum(kind in _LINEAR for kind in kinds),
    )


def _window_layers(fields: ConfigFields, layers: int) -> int:
    if not fields.has("sliding_window") or not fields.flag("use_sliding_window", default=True):
        return 0
    pattern = fields.optional("sliding_window_pattern")
    if pattern:
        return layers - layers // pattern
    if fields.text("model_type").removesuffix("_text") in _ALTERNATING:
        return layers - layers // 2
    first = fields.optional("max_window_layers")  # of Qwen2: the layers before it attend to everything
    return layers if first is None else max(layers - first, 0)
