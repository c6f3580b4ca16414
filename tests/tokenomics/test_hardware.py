"""What devices do at best, by the precision of the weights."""

from __future__ import annotations

import pytest

from entrepot.catalog.hardware import find_hardware, load_hardware
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.precision import BYTES_PER_VALUE, bytes_per_value, computed_in


@pytest.mark.parametrize(
    ("device", "precision", "computed"),
    [
        ("h100", "fp8", "fp8"),
        ("h100", "nvfp4", "bf16"),
        ("h100", "mxfp4", "bf16"),
        ("h100", "int4", "bf16"),
        ("b200", "nvfp4", "fp4"),
        ("b200", "int4", "bf16"),
        ("b300", "int8", "bf16"),
        ("a100", "fp8", "bf16"),
        ("a100", "int8", "int8"),
        ("cpu", "Q4_K_M", "int8"),
        ("cpu", "bf16", "bf16"),
    ],
)
def test_weights_are_computed_in_what_the_device_has(device: str, precision: str, computed: str) -> None:
    """4-bit weights save bytes everywhere and operations only where there are units for them."""
    hardware = find_hardware(device)
    assert hardware.peak(precision) == hardware.peak_flops[computed]


def test_every_device_computes_with_every_precision_but_full_floats() -> None:
    """A plan fails for memory or time, never for a gap in the table."""
    for device in load_hardware():
        assert all(device.peak(precision) > 0 for precision in BYTES_PER_VALUE if precision != "fp32")


def test_a_device_without_the_precision_says_what_to_add() -> None:
    """The message names the keys of the file."""
    with pytest.raises(ConfigError, match="l4 has no peak for fp32: add fp32; it has"):
        find_hardware("l4").peak("fp32")


def test_a_tier_that_has_no_price_is_named_with_the_nearest() -> None:
    """A misspelt tier is no free hardware."""
    device = find_hardware("h800")
    assert device.hour_usd("rental") == 2.0
    with pytest.raises(ConfigError, match="did you mean rental"):
        device.hour_usd("rentel")


@pytest.mark.parametrize(
    ("precision", "value"),
    [("BF16", 2), ("float16", 2), ("nvfp4", 0.5625), ("mxfp4", 0.53125), ("Q8_0", 1.0625)],
)
def test_scales_count_as_bytes(precision: str, value: float) -> None:
    """Half a byte would be up to an eighth too little."""
    assert bytes_per_value(precision) == value


@pytest.mark.parametrize(("precision", "gib"), [("Q4_K_M", 8.43), ("Q6_K", 11.20), ("Q8_0", 14.51)])
def test_files_of_llama_cpp_have_the_size_that_was_published(precision: str, gib: float) -> None:
    """Phi-4 has 14.66 billion parameters; sizes from data/market/published_points.csv."""
    assert 14.66e9 * bytes_per_value(precision) / 2**30 == pytest.approx(gib, rel=0.02)


def test_an_unknown_precision_is_named_with_the_nearest() -> None:
    """A default would hide the mistake."""
    with pytest.raises(ConfigError, match="did you mean nvfp4"):
        bytes_per_value("nvfp44")
    with pytest.raises(ConfigError, match="known: bf16"):
        computed_in("?")
