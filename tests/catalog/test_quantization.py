"""What a checkpoint says of the precision of its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrepot.catalog.architectures import find_architecture
from entrepot.catalog.quantization import stated_precision
from entrepot.tokenomics.precision import precision_name
from tests.cli.command_line import entrepot

INT4 = {"weights": {"num_bits": 4, "type": "int"}}


@pytest.mark.parametrize(
    ("stated", "precision"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "gptq", "bits": 3}, ""),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4"),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": INT4}}, "int4"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "fp8",
        ),
        ({"quant_method": "compressed-tensors"}, ""),
        ({"quant_method": "of tomorrow"}, ""),
        ({}, ""),
    ],
)
def test_quantised_checkpoints_say_their_precision(stated: dict[str, object], precision: str) -> None:
    """Of what is not known nothing is said; what is said is a precision."""
    assert stated_precision({"quantization_config": stated}) == precision
    assert stated_precision({"text_config": {"quantization_config": stated}}) == precision
    if precision:
        assert precision_name(precision) == precision


def test_a_plan_takes_the_precision_of_the_checkpoint(tmp_path: Path) -> None:
    """Unless another is asked for."""
    config = {
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "quantization_config": {"quant_method": "awq", "bits": 4},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find_architecture(str(tmp_path)).precision == "int4"
    asked = ("plan", "compare", "--model", tmp_path, "--gpu", "h100", "--layout", "tp1", "--json")
    assert entrepot(*asked).json["deployments"][0]["deployment"].endswith("int4")
    assert entrepot(*asked, "--precision", "bf16").json["deployments"][0]["deployment"].endswith("bf16")


def test_models_that_are_published_quantised_are_planned_so() -> None:
    """gpt-oss has no other weights than those of 4 bits; what is published in more has the usual choice."""
    assert find_architecture("openai/gpt-oss-20b").precision == "mxfp4"
    assert find_architecture("meta-llama/Llama-3.1-8B").precision == ""
