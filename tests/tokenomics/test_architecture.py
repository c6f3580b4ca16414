"""What a model's shape says about its weights, its cache and its arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.catalog.architectures import find_architecture
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.architecture import Architecture

LLAMA: dict[str, object] = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
MIXTRAL = {**LLAMA, "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2}
DEEPSEEK: dict[str, object] = {
    "num_hidden_layers": 61,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "vocab_size": 129280,
    "tie_word_embeddings": False,
}
GPT_OSS: dict[str, object] = {
    "model_type": "gpt_oss",
    "num_hidden_layers": 36,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "num_local_experts": 128,
    "experts_per_token": 4,
    "sliding_window": 128,
    "vocab_size": 201088,
    "tie_word_embeddings": False,
}
QWEN35: dict[str, object] = {
    "architectures": ["Qwen3_5MoeForConditionalGeneration"],
    "tie_word_embeddings": False,
    "vision_config": {"hidden_size": 1152},
    "text_config": {
        "num_hidden_layers": 60,
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "attn_output_gate": True,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 15,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 64,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "num_experts": 512,
        "num_experts_per_tok": 10,
        "moe_intermediate_size": 1024,
        "shared_expert_intermediate_size": 1024,
        "vocab_size": 248320,
    },
}

# Billions, as the makers' model cards and reports state them. Whether the active ones contain the input
# embedding differs by maker. Cards round: half a unit of the last digit is allowed beside the 2 %.
PUBLISHED = (
    ("deepseek-ai/DeepSeek-R1", 671, 37, 1.0, "with"),
    ("deepseek-ai/DeepSeek-V3", 671, 37, 1.0, "with"),
    ("meta-llama/Llama-3.1-8B", 8.03, 8.03, 0.01, "with"),
    ("meta-llama/Llama-3.1-70B", 70.6, 70.6, 0.1, "with"),
    ("meta-llama/Llama-3.1-405B", 405.9, 405.9, 0.1, "with"),
    ("meta-llama/Llama-3.3-70B-Instruct", 70.6, 70.6, 0.1, "with"),
    ("Qwen/Qwen3-32B", 32.8, 32.8, 0.1, "with"),
    ("Qwen/Qwen3-30B-A3B", 30.5, 3.3, 0.1, "with"),
    ("Qwen/Qwen3-235B-A22B", 235, 22, 1.0, "with"),
    ("Qwen/Qwen3.5-397B-A17B", 397, 17, 1.0, "with"),
    ("openai/gpt-oss-20b", 20.9, 3.6, 0.1, "without"),
    ("openai/gpt-oss-120b", 116.8, 5.1, 0.1, "without"),
    ("moonshotai/Kimi-K2", 1030, 32, 1.0, "without"),
    ("moonshotai/Kimi-K2.5", 1030, 32, 1.0, "without"),
    ("zai-org/GLM-5", 744, 40, 1.0, "without"),
    ("MiniMaxAI/MiniMax-M2.5", 230, 10, 1.0, "without"),
    ("mistralai/Mixtral-8x7B-v0.1", 46.7, 12.9, 0.1, "with"),
    ("HuggingFaceTB/SmolLM2-135M", 0.1345, 0.1345, 0.0001, "with"),
    ("HuggingFaceTB/SmolLM2-360M", 0.362, 0.362, 0.001, "with"),
    ("HuggingFaceTB/SmolLM2-1.7B", 1.71, 1.71, 0.01, "with"),
)


def shape(config: Mapping[str, object]) -> Architecture:
    """Return the architecture of a configuration."""
    return Architecture.from_config("made", config)


def facts(architecture: Architecture) -> list[object]:
    """Return all but the name."""
    return [getattr(architecture, field) for field in Architecture.__struct_fields__ if field != "name"]


@pytest.mark.parametrize(("name", "total", "active", "unit", "embedding"), PUBLISHED)
def test_parameters_are_those_that_the_maker_published(
    name: str, total: float, active: float, unit: float, embedding: str
) -> None:
    """A shape that misses a matrix, or counts one twice, would misstate memory and speed alike."""
    model = find_architecture(name).architecture
    counted = model.active_parameters if embedding == "with" else model.computed_parameters
    assert model.total_parameters / 1e9 == pytest.approx(total, rel=0.02)
    assert counted / 1e9 == pytest.approx(active, abs=0.02 * active + unit / 2)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("meta-llama/Llama-3.1-8B", LLAMA),
        ("mistralai/Mixtral-8x7B-v0.1", MIXTRAL),
        ("deepseek-ai/DeepSeek-V3", DEEPSEEK),
        ("openai/gpt-oss-120b", GPT_OSS),
        ("Qwen/Qwen3.5-397B-A17B", QWEN35),
    ],
)
def test_a_config_json_gives_what_ships(name: str, config: Mapping[str, object]) -> None:
    """Whoever plans with the file of the model itself gets the same answer, whatever fields are called."""
    assert facts(shape(config)) == facts(find_architecture(name).architecture)


def test_the_cache_of_a_latent_is_one_for_all_heads() -> None:
    """MLA keeps 576 values per token and layer, which tensor parallelism cannot split."""
    model = shape(DEEPSEEK)
    assert (model.is_mla, model.kv_values_per_token_and_layer, model.kv_heads_shared) == (True, 576, 1)
    assert model.kv_bytes_per_token("bf16") == 61 * 576 * 2
    assert model.attention_dim == 2 * 128 * (2 * 512 + 64)
    assert model.prefill_attention_dim == 2 * 128 * (128 + 64 + 128)
    assert (model.moe_layers, model.dense_layers, model.expert_parameters) == (58, 3, 3 * 7168 * 2048)


def test_grouped_heads_share_their_cache() -> None:
    """Llama 3.1 8B keeps 128 KiB per token in bf16."""
    model = shape(LLAMA)
    assert model.kv_bytes(1000, "bf16") == 1000 * 128 * 1024
    assert (model.kv_heads_shared, model.attention_dim) == (8, 4 * 32 * 128)


def test_a_window_ends_its_part_of_the_cache() -> None:
    """Half of gpt-oss keeps 128 tokens only, however long the sequence."""
    model = shape(GPT_OSS)
    assert (model.full_layers, model.window_layers, model.window_tokens) == (18, 18, 128)
    per_layer = 2 * 8 * 64 * 2
    assert model.kv_bytes(10_000, "bf16") == per_layer * 18 * (10_000 + 128)
    assert model.kv_bytes(100, "bf16") == 100 * model.kv_bytes_per_token("bf16")


def test_linear_layers_keep_a_state_instead_of_a_cache() -> None:
    """Qwen3.5 caches 15 of 60 layers; the others take the same for a long sequence as for a short one."""
    model = shape(QWEN35)
    assert (model.full_layers, model.linear_layers) == (15, 45)
    assert model.kv_bytes_per_token("bf16") == 15 * 2 * 2 * 256 * 2
    assert model.linear_state_values == 64 * 128 * 128 + 3 * (2 * 16 * 128 + 64 * 128)
    assert model.state_bytes == 45 * model.linear_state_values * 4


def test_sparse_attention_keeps_all_and_reads_some() -> None:
    """GLM-5 attends to 2,048 tokens: a long cache has to fit in memory, but is not read whole."""
    model = find_architecture("zai-org/GLM-5").architecture
    assert model.kv_read_bytes(2048, "fp8") == model.kv_bytes(2048, "fp8")
    assert model.kv_read_bytes(100_000, "fp8") < 0.25 * model.kv_bytes(100_000, "fp8")
    dense = find_architecture("deepseek-ai/DeepSeek-V3").architecture
    assert dense.kv_read_bytes(100_000, "fp8") == dense.kv_bytes(100_000, "fp8")


def test_a_checkpoint_may_quantise_its_experts_alone() -> None:
    """gpt-oss-120b is 60.8 GiB on disk (its model card): experts in mxfp4, the rest in bf16."""
    model = shape(GPT_OSS)
    assert model.weight_bytes("mxfp4", others="bf16") / 2**30 == pytest.approx(60.8, rel=0.02)
    assert model.weight_bytes("bf16") == 2 * model.total_parameters


def test_arithmetic_is_two_operations_per_parameter_and_the_attention() -> None:
    """What decoding computes beyond its weights grows with the context."""
    model = shape(LLAMA)
    assert model.flops_per_token(0) == 2 * model.computed_parameters
    assert model.flops_per_token(1000) - model.flops_per_token(0) == 32 * 4 * 32 * 128 * 1000


def test_a_tied_embedding_counts_once() -> None:
    """The output layer is the table of the input: it is read whole in each step, and there is no other."""
    tied, untied = shape({**LLAMA, "tie_word_embeddings": True}), shape(LLAMA)
    assert untied.total_parameters - tied.total_parameters == 128256 * 4096
    assert untied.fixed_parameters == tied.fixed_parameters


@pytest.mark.parametrize("field", ["num_hidden_layers", "hidden_size", "vocab_size", "intermediate_size"])
def test_a_missing_field_is_named_with_what_to_add(field: str) -> None:
    """A default would be a wrong plan; the message says what to write."""
    with pytest.raises(ConfigError, match=rf"{field} is missing.*add the "):
        shape({key: value for key, value in LLAMA.items() if key != field})


def test_all_missing_fields_are_reported_together() -> None:
    """One run tells all that has to be added."""
    with pytest.raises(ConfigError) as caught:
        shape({"kv_lora_rank": 512, "num_hidden_layers": 2})
    assert len(caught.value.problems) == 7


def test_a_field_of_the_wrong_type_is_not_called_missing() -> None:
    """It is there: whoever looks for it finds it."""
    with pytest.raises(ConfigError) as caught:
        shape({**LLAMA, "num_hidden_layers": "32"})
    assert [problem for problem in caught.value.problems if "num_hidden_layers" in problem] == [
        "made: num_hidden_layers is '32'; expected a whole number"
    ]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"hybrid_override_pattern": "M-M*"}, "Mamba"),
        ({"layer_types": ["mamba"] * 32}, "mamba, which is not modelled"),
        ({"layer_types": ["full_attention"]}, "1 entries and num_hidden_layers is 32"),
        ({"attention_chunk_size": 8192}, "add the kind of every layer"),
        ({"num_hidden_layers": "32"}, "expected a whole number"),
        ({"num_experts": 4, "num_experts_per_tok": 8}, "takes 8 experts and there are 4"),
        ({"layer_types": ["linear_attention"] * 32}, "linear_num_key_heads is missing"),
        ({"attn_type_list": [1, 0]}, "lightning"),
        ({"head_dim": None, "hidden_size": 8}, "a head has none; add head_dim"),
        ({"num_key_value_heads": 64}, "64 heads of keys and values for 32 attention heads"),
    ],
)
def test_what_is_not_modelled_is_refused(extra: Mapping[str, object], words: str) -> None:
    """A number that leaves half of the layers out would be believed."""
    with pytest.raises(ConfigError, match=words):
        shape({**LLAMA, **extra})


@pytest.mark.parametrize(
    ("extra", "moe_layers"),
    [
        ({}, 32),
        ({"first_k_dense_replace": 3}, 29),
        ({"decoder_sparse_step": 2}, 16),
        ({"mlp_only_layers": [0, 1]}, 30),
        ({"moe_layer_freq": [0] * 4 + [1] * 28}, 28),
        ({"mlp_layer_types": ["dense"] + ["sparse"] * 31}, 31),
    ],
)
def test_dense_layers_are_found_however_they_are_stated(extra: Mapping[str, object], moe_layers: int) -> None:
    """Makers state which layers have experts in six ways."""
    assert shape({**MIXTRAL, **extra}).moe_layers == moe_layers


@pytest.mark.parametrize(
    ("extra", "window_layers"),
    [
        ({"sliding_window": 4096}, 32),
        ({"sliding_window": None}, 0),
        ({"sliding_window": 4096, "use_sliding_window": False}, 0),
        ({"sliding_window": 4096, "sliding_window_pattern": 6}, 27),
        ({"sliding_window": 4096, "model_type": "gemma2"}, 16),
        ({"sliding_window": 4096, "max_window_layers": 28}, 4),
    ],
)
def test_windows_are_found_however_they_are_stated(extra: Mapping[str, object], window_layers: int) -> None:
    """A window that is overlooked makes long sequences too dear."""
    assert shape({**LLAMA, **extra}).window_layers == window_layers


@given(
    layers=st.integers(1, 100),
    more=st.integers(1, 20),
    context=st.integers(0, 200_000),
    precision=st.sampled_from(["bf16", "fp8", "nvfp4", "Q4_K_M"]),
    config=st.sampled_from([LLAMA, MIXTRAL, GPT_OSS]),
)
def test_more_layers_never_take_less(
    layers: int, more: int, context: int, precision: str, config: Mapping[str, object]
) -> None:
    """Bytes and operations grow with layers and context, and a step never reads more than is kept."""
    small, large = (shape({**config, "num_hidden_layers": count}) for count in (layers, layers + more))
    assert small.weight_bytes(precision) < large.weight_bytes(precision)
    assert small.kv_bytes(context, precision) <= large.kv_bytes(context, precision)
    assert small.flops_per_token(context) < large.flops_per_token(context)
    assert large.kv_bytes(context, precision) <= large.kv_bytes(context + 1, precision)
    assert large.kv_read_bytes(context, precision) <= large.kv_bytes(context, precision)
    assert large.kv_bytes(context, precision) <= context * large.kv_bytes_per_token(precision) * (1 + 1e-12)
    assert large.fixed_parameters <= large.computed_parameters <= large.active_parameters
    assert large.active_parameters <= large.total_parameters
