"""What a model's shape says about serving it: weights, cache and arithmetic per token.

Taken from `config.json` alone, so that a model nobody here knows can be planned with. The sizes of the
checkpoint's files would be exact, but say nothing of a cache or of what a single token reads. Biases, norms,
vision encoders and layers that only predict further tokens (MTP) are left out: together under 1 % of a model.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from entrepot.tokenomics.config_fields import ConfigFields
from entrepot.tokenomics.layers import AttentionLayers, attention_layers, moe_layers
from entrepot.tokenomics.precision import bytes_per_value

_GATED_MLP = 3  # gate, up and down projection: a SwiGLU, as in every model since Llama
_FLOPS_PER_PARAMETER = 2  # one multiplication, one addition
_FLOPS_PER_STATE_VALUE = (
    6  # delta rule: read by the key, update, read by the query; 2 each (arXiv 2412.06464)
)
_CONV_KERNEL = 4  # `linear_conv_kernel_dim` of Qwen3-Next, where a configuration has none
_STATE_BYTES = 4  # engines keep the recurrent state in fp32 (`mamba_ssm_dtype` of Qwen3.5)
_INDEX_BYTES = 132 / 128  # keys of the sparse indexer are fp8 with a 4-byte scale per 128 (DeepSeek-V3.2)
_ALWAYS_GATED = {"qwen3_next", "qwen3_next_text"}  # their attention has an output gate that no field tells
_ONE_SHARED = {"llama4_text"}  # one shared expert of the width of the others, that no field tells
_DENSE_WIDTH = ("intermediate_size_mlp", "dense_intermediate_size")  # beside experts of another width
_CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts", "moe_topk")
_SHARED_WIDTH = (
    "shared_expert_intermediate_size",
    "shared_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "share_expert_dim",
)


class Architecture(Struct, frozen=True, kw_only=True):
    """The shape of a model, reduced to what serving costs depend on.

    Units: `hidden`, `vocabulary`, `head_dim` values; `*_layers` layers; `window_tokens` tokens, 0 without
    windows; `*_parameters` parameters, of one expert of one layer or of one layer of its kind;
    `attention_dim` and `prefill_attention_dim` FLOP per pair of a query and a cached token in one layer;
    `linear_state_values` values per sequence and linear layer. `selected_tokens` is how many cached tokens
    sparse attention picks per query in a full layer, 0 when it reads all of them; for the picking it keeps
    `index_values` more values per token and layer and spends `index_dim` FLOP per pair.
    """

    name: str
    hidden: int
    vocabulary: int
    heads: int
    kv_heads: int
    head_dim: int
    full_layers: int
    window_layers: int = 0
    window_tokens: int = 0
    linear_layers: int = 0
    moe_layers: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_parameters: int = 0
    shared_parameters: int = 0
    dense_mlp_parameters: int = 0
    attention_parameters: int = 0
    linear_parameters: int = 0
    linear_state_values: int = 0
    kv_values_per_token_and_layer: int
    attention_dim: int
    prefill_attention_dim: int
    is_mla: bool = False
    is_tied: bool = False
    selected_tokens: int = 0
    index_values: int = 0
    index_dim: int = 0

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, object]) -> Architecture:
        """Return the architecture that a Hugging Face `config.json` describes.

        Raises: ConfigError with every field that is missing or unusable, and what to add.
        """
        fields = ConfigFields(name, config)
        layers = fields.required("number of layers", "num_hidden_layers", "n_layer", "n_layers")
        hidden = fields.required("width of the model", "hidden_size", "n_embd", "d_model")
        kinds = attention_layers(fields, layers)
        attention = _latent(fields, hidden) if fields.has("kv_lora_rank") else _grouped(fields, hidden)
        mlp = _mlp(fields, layers, hidden)
        linear = _linear(fields, hidden) if kinds.linear else _Linear(0, 0)
        vocabulary = fields.required("size of the vocabulary", "vocab_size", "n_vocab")
        is_tied = fields.flag("tie_word_embeddings", default=True)  # the default of transformers
        fields.finish()
        return cls(
            name=name,
            hidden=hidden,
            vocabulary=vocabulary,
            is_tied=is_tied,
            **_layer_facts(kinds),
            **_attention_facts(attention),
            is_mla=attention.is_mla,
            moe_layers=mlp.moe_layers,
            experts=mlp.experts,
            experts_per_token=mlp.experts_per_token,
            expert_parameters=mlp.expert,
            shared_parameters=mlp.shared,
            dense_mlp_parameters=mlp.dense,
            linear_parameters=linear.parameters,
            linear_state_values=linear.state_values,
        )

    @property
    def layers(self) -> int:
        """The number of layers of every kind."""
        return self.full_layers + self.window_layers + self.linear_layers

    @property
    def dense_layers(self) -> int:
        """The number of layers without routed experts."""
        return self.layers - self.moe_layers

    @property
    def kv_heads_shared(self) -> int:
        """Into how many parts tensor parallelism can split the cache: beyond, it is copied.

        The latent of MLA is one for all heads, so that it is never split.
        """
        return 1 if self.is_mla else self.kv_heads

    @property
    def embedding_parameters(self) -> int:
        """The parameters of the table that tokens are looked up in; 0 when the output layer is that table."""
        return 0 if self.is_tied else self.vocabulary * self.hidden

    @property
    def routed_parameters(self) -> int:
        """The parameters of all routed experts of all layers."""
        return self.moe_layers * self.experts * self.expert_parameters

    @property
    def fixed_parameters(self) -> int:
        """The parameters that a step reads whatever is in its batch: no routed expert, no input embedding."""
        return (
            (self.full_layers + self.window_layers) * self.attention_parameters
            + self.linear_layers * self.linear_parameters
            + self.moe_layers * self.shared_parameters
            + self.dense_layers * self.dense_mlp_parameters
            + self.vocabulary * self.hidden
        )

    @property
    def total_parameters(self) -> int:
        """All parameters."""
        return self.fixed_parameters + self.routed_parameters + self.embedding_parameters

    @property
    def computed_parameters(self) -> int:
        """The parameters that a token is multiplied by: looking it up in the input embedding is none."""
        return self.fixed_parameters + self.moe_layers * self.experts_per_token * self.expert_parameters

    @property
    def active_parameters(self) -> int:
        """The parameters per token with the input embedding, as DeepSeek, Qwen and Mistral count them.

        OpenAI, Moonshot, Z.ai and MiniMax leave the embedding out: `computed_parameters`.
        """
        return self.computed_parameters + self.embedding_parameters

    @property
    def state_bytes(self) -> float:
        """The bytes that the linear layers keep per sequence, however long it is."""
        return float(self.linear_layers * self.linear_state_values * _STATE_BYTES)

    def weight_bytes(self, precision: str, *, others: str | None = None) -> float:
        """Return the bytes of all weights.

        `others` is the precision of all but the routed experts, where a checkpoint quantises those alone, as
        gpt-oss (mxfp4) and Kimi K2.5 (int4) do; without it all weights have the same.

        Raises: ConfigError when no precision is called so.
        """
        rest = self.total_parameters - self.routed_parameters
        return self.routed_parameters * bytes_per_value(precision) + rest * bytes_per_value(
            others or precision
        )

    def flops_per_token(self, context: int) -> float:
        """Return the FLOP of one more token after `context` cached ones, as decoding does them."""
        full = self.full_layers * (self.attention_dim * self._selected(context) + self.index_dim * context)
        window = self.window_layers * self.attention_dim * min(context, self.window_tokens)
        linear = self.linear_layers * self.linear_state_values * _FLOPS_PER_STATE_VALUE
        return float(_FLOPS_PER_PARAMETER * self.computed_parameters + full + window + linear)

    def kv_bytes_per_token(self, precision: str) -> float:
        """Return the bytes that a token adds to the cache while it is inside every window.

        Raises: ConfigError when no precision is called so.
        """
        return self.kv_bytes(1, precision)

    def kv_bytes(self, context: int, precision: str) -> float:
        """Return the bytes that the cache of one sequence of `context` tokens takes; windows end it.

        The state of linear layers is not in it: see `state_bytes`.

        Raises: ConfigError when no precision is called so.
        """
        return self._cache_bytes(context, context, precision)

    def kv_read_bytes(self, context: int, precision: str) -> float:
        """Return the bytes of a sequence's cache that a decoding step reads: less than all if sparse.

        Raises: ConfigError when no precision is called so.
        """
        return self._cache_bytes(context, self._selected(context), precision)

    def _cache_bytes(self, context: int, full_tokens: int, precision: str) -> float:
        tokens = self.full_layers * full_tokens + self.window_layers * min(context, self.window_tokens)
        index = self.full_layers * context * self.index_values * _INDEX_BYTES
        return tokens * self.kv_values_per_token_and_layer * bytes_per_value(precision) + index

    def _selected(self, context: int) -> int:
        return min(context, self.selected_tokens) if self.selected_tokens else context


class _Attention(Struct, frozen=True):
    heads: int
    kv_heads: int
    head_dim: int
    parameters: int
    kv_values: int
    decode_dim: int
    prefill_dim: int
    is_mla: bool = False
    selected_tokens: int = 0
    index_values: int = 0
    index_dim: int = 0


class _Mlp(Struct, frozen=True):
    dense: int
    moe_layers: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert: int = 0
    shared: int = 0


class _Linear(Struct, frozen=True):
    parameters: int
    state_values: int


def _layer_facts(kinds: AttentionLayers) -> dict[str, int]:
    return {
        "full_layers": kinds.full,
        "window_layers": kinds.window,
        "window_tokens": kinds.window_tokens,
        "linear_layers": kinds.linear,
    }


def _attention_facts(attention: _Attention) -> dict[str, int]:
    return {
        "heads": attention.heads,
        "kv_heads": attention.kv_heads,
        "head_dim": attention.head_dim,
        "attention_parameters": attention.parameters,
        "kv_values_per_token_and_layer": attention.kv_values,
        "attention_dim": attention.decode_dim,
        "prefill_attention_dim": attention.prefill_dim,
        "selected_tokens": attention.selected_tokens,
        "index_values": attention.index_values,
        "index_dim": attention.index_dim,
    }


def _heads(fields: ConfigFields) -> int:
    return fields.required("number of attention heads", "num_attention_heads", "n_head", "n_heads")


def _grouped(fields: ConfigFields, hidden: int) -> _Attention:
    """Return attention with heads that share keys and values, or not (MHA, MQA, GQA)."""
    heads = _heads(fields)
    kv_heads = fields.optional("num_key_value_heads", "num_kv_heads", "n_head_kv") or heads
    dim = fields.optional("head_dim", "kv_channels") or hidden // heads
    if dim < 1:
        fields.problem(f"{heads} attention heads share a width of {hidden}: a head has none; add head_dim")
    if kv_heads > heads:
        fields.problem(f"there are {kv_heads} heads of keys and values for {heads} attention heads")
    is_gated = fields.flag("attn_output_gate", default=fields.text("model_type") in _ALWAYS_GATED)
    queries = heads * dim * (2 if is_gated else 1)
    parameters = hidden * (queries + 2 * kv_heads * dim) + heads * dim * hidden
    pair = 4 * heads * dim  # query × key, and weight × value
    return _Attention(heads, kv_heads, dim, parameters, 2 * kv_heads * dim, pair, pair)


def _latent(fields: ConfigFields, hidden: int) -> _Attention:
    """Return attention over a latent that all heads share (MLA).

    Decoding absorbs the up-projections and attends to the latent itself; prefill expands it to heads.

    Source: DeepSeek-V2, arXiv 2405.04434, section 2.1 and appendix C; the indexer of sparse attention:
    DeepSeek-V3.2-Exp, section 2.1.
    """
    heads = _heads(fields)
    latent = fields.required("rank of the latent of keys and values", "kv_lora_rank")
    query_rank = fields.count("q_lora_rank")
    rope = fields.required("part of a query head that carries the position", "qk_rope_head_dim")
    nope = fields.required("part of a query head without position", "qk_nope_head_dim")
    value = fields.required("size of a value head", "v_head_dim")
    query = heads * (nope + rope)
    index_heads, index_dim = fields.count("index_n_heads"), fields.count("index_head_dim")
    parameters = (
        ((hidden + query) * query_rank if query_rank else hidden * query)
        + hidden * (latent + rope)
        + latent * heads * (nope + value)
        + heads * value * hidden
        + index_heads * index_dim * (query_rank or hidden)
        + hidden * (index_dim + index_heads)
    )
    return _Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=nope + rope,
        parameters=parameters,
        kv_values=latent + rope,
        decode_dim=2 * heads * (2 * latent + rope),
        prefill_dim=2 * heads * (nope + rope + value),
        is_mla=True,
        selected_tokens=fields.count("index_topk"),
        index_values=index_dim,
        index_dim=2 * index_heads * index_dim,
    )


def _mlp(fields: ConfigFields, layers: int, hidden: int) -> _Mlp:
    experts = fields.count("n_routed_experts", "num_experts", "num_local_experts")
    sparse = moe_layers(fields, layers) if experts > 1 else 0
    dense = 0
    if sparse < layers:
        width = fields.optional(*_DENSE_WIDTH) or fields.required(
            "width of the dense MLP", "intermediate_size", "n_inner"
        )
        dense = _GATED_MLP * hidden * width
    if not sparse:
        return _Mlp(dense)
    chosen = fields.required("number of experts per token", *_CHOSEN)
    width = fields.required("width of an expert", "moe_intermediate_size", "intermediate_size")
    shared = fields.optional(*_SHARED_WIDTH)
    if shared is None:
        default = 1 if fields.text("model_type") in _ONE_SHARED else 0
        shared = (fields.optional("n_shared_experts", "num_shared_experts") or default) * width
    router = hidden * experts
    if chosen > experts:
        fields.problem(f"a token takes {chosen} experts and there are {experts}")
    return _Mlp(
        dense, sparse, experts, chosen, _GATED_MLP * hidden * width, _GATED_MLP * hidden * shared + router
    )


def _linear(fields: ConfigFields, hidden: int) -> _Linear:
    """Return a layer that keeps a state of fixed size instead of a cache: the gated delta rule.

    Source: Gated Delta Networks, arXiv 2412.06464; Qwen3NextGatedDeltaNet of transformers.
    """
    key_heads = fields.required("key heads of linear attention", "linear_num_key_heads")
    value_heads = fields.required("value heads of linear attention", "linear_num_value_heads")
    key_dim = fields.required("size of a key head of linear attention", "linear_key_head_dim")
    value_dim = fields.required("size of a value head of linear attention", "linear_value_head_dim")
    kernel = fields.optional("linear_conv_kernel_dim") or _CONV_KERNEL
    keys, values = key_heads * key_dim, value_heads * value_dim
    mixed = 2 * keys + values  # queries, keys and values pass a short convolution
    inputs = hidden * (mixed + values + 2 * value_heads)  # with the output gate, the decay and the step size
    return _Linear(
        parameters=inputs + mixed * kernel + values * hidden,
        state_values=value_heads * key_dim * value_dim + mixed * (kernel - 1),
    )
