"""Shapes of models: found by any of their names, or in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrepot.catalog.architectures import find_architecture, load_architectures
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.architecture import Architecture

SMALL = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 100,
}


def test_every_shape_has_a_source_and_no_name_is_given_twice() -> None:
    """A row without a source is a rumour; a name for two shapes is a coin toss."""
    shapes = load_architectures()
    assert all(shape.source and shape.date for shape in shapes)
    names = [name.lower() for shape in shapes for name in (shape.architecture.name, *shape.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("deepseek-r1", "deepseek-ai/DeepSeek-R1"),
        ("nvidia/DeepSeek-V3.1-NVFP4", "deepseek-ai/DeepSeek-V3"),
        ("zhipuai/GLM-5", "zai-org/GLM-5"),
        ("GPT-OSS-120B", "openai/gpt-oss-120b"),
        ("huggingface/smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M"),
    ],
)
def test_a_model_is_found_by_any_of_its_names(name: str, found: str) -> None:
    """Measurements, hosts and people name the same model differently."""
    assert find_architecture(name).architecture.name == found


@pytest.mark.parametrize(
    ("name", "found", "precision"),
    [
        ("RedHatAI/Meta-Llama-3.1-70B-Instruct-FP8", "meta-llama/Llama-3.1-70B", "fp8"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "Qwen/Qwen3-235B-A22B", "fp8"),
        ("nvidia/DeepSeek-R1-0528-NVFP4-v2", "deepseek-ai/DeepSeek-R1", "nvfp4"),
        ("nvidia/DeepSeek-V3.1-NVFP4", "deepseek-ai/DeepSeek-V3", "nvfp4"),
        ("Qwen/Qwen3-32B-AWQ", "Qwen/Qwen3-32B", "int4"),
        ("unsloth/Llama-3.1-8B-Instruct-bnb-4bit", "meta-llama/Llama-3.1-8B", "int4"),
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B", ""),
    ],
)
def test_a_checkpoint_has_the_shape_of_its_model(name: str, found: str, precision: str) -> None:
    """Tuned and quantised ones are as many as hosts; the name says in what precision they are."""
    shape = find_architecture(name)
    assert (shape.architecture.name, shape.precision) == (found, precision)


@pytest.mark.parametrize("name", ["deepseek-v2", "Qwen/Qwen3-Next-80B-A3B-Instruct", "acme/llama-instruct"])
def test_another_model_is_not_taken_for_a_checkpoint(name: str) -> None:
    """What is left of its name names nothing."""
    with pytest.raises(ConfigError, match="no model is called"):
        find_architecture(name)


def test_an_unknown_model_is_told_the_nearest() -> None:
    """And that its config.json would do."""
    with pytest.raises(ConfigError, match=r"did you mean glm-5\?; or name its config.json"):
        find_architecture("glm5")
    with pytest.raises(ConfigError, match=r"known: .*openai/gpt-oss-120b"):
        find_architecture("???")


def test_a_folder_with_a_config_json_is_a_model(tmp_path: Path) -> None:
    """A downloaded model is planned with as it lies there."""
    folder = tmp_path / "own-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMALL))
    for path in (folder, folder / "config.json"):
        assert find_architecture(str(path)).architecture == Architecture.from_config("own-model", SMALL)


@pytest.mark.parametrize(("text", "words"), [("{", "is no JSON"), ("[]", "expected an object")])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """The message says what was expected."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=words):
        find_architecture(str(tmp_path))


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    """It is no name of a model either."""
    with pytest.raises(ConfigError, match="cannot be read"):
        find_architecture(str(tmp_path / "config.json"))


def test_a_file_of_ones_own_reports_all_mistakes_with_their_lines(tmp_path: Path) -> None:
    """Each names the file, the line and the field."""
    path = tmp_path / "own.toml"
    path.write_text(
        '[[architectures]]\nname = "a/b"\nsource = "me"\n[architectures.config]\nhidden_size = 64\n'
        '[[architectures]]\nname = "c/d"\nalias = []\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_architectures(path)
    text = str(caught.value)
    assert "own.toml:4: architectures[0].config: a/b: num_hidden_layers is missing" in text
    assert "alias: unknown key; did you mean aliases?" in text
    assert "source is missing" in text
