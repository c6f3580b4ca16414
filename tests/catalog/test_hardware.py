"""Hardware: what ships, and what stands in a file of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.catalog.hardware import find_hardware, load_hardware
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.hardware import TIERS

OWN = """
[[hardware]]
name = "H100"
memory_bytes = 80e9
bandwidth_bytes_per_s = 3.35e12
link_bytes_per_s = 450e9
domain_gpus = 8
node_link_bytes_per_s = 50e9
power_kw = 1.2
source = "our contract"
date = 2026-11-26
peak_flops = { bf16 = 989e12 }
usd_per_hour = { rental = 1.05 }
"""


def test_every_device_has_all_tiers_and_says_how_they_are_known() -> None:
    """A price that nobody published is labelled."""
    for device in load_hardware():
        assert set(device.usd_per_hour) == set(TIERS)
        assert device.source
    assert find_hardware("h100").basis("usd_per_hour.rental") == "published"
    assert find_hardware("a100").basis("usd_per_hour.rental") == "assumed"
    assert find_hardware("h800").basis("power_kw") == "derived"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("h100_sxm", "h100"),
        ("H100", "h100"),
        ("GB200 NVL72", "gb200"),
        ("A100 40GB", "a100_40"),
        ("b200-sxm", "b200"),
        ("cpu", "cpu_epyc_9554"),
    ],
)
def test_a_device_is_found_by_any_of_its_names(name: str, found: str) -> None:
    """Measurements and people write the same device differently."""
    assert find_hardware(name).name == found


def test_an_unknown_device_is_told_the_nearest() -> None:
    """Or all that are known when none is near."""
    with pytest.raises(ConfigError, match="did you mean h100"):
        find_hardware("h10")
    with pytest.raises(ConfigError, match="known: a100_40, a100"):
        find_hardware("?!")


def test_hardware_of_ones_own_replaces_what_ships(tmp_path: Path) -> None:
    """The price of one's own contract is the one that counts."""
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    devices = load_hardware(path)
    assert find_hardware("h100", devices).hour_usd("rental") == 1.05
    assert find_hardware("h200", devices) == find_hardware("h200")
    assert len(devices) == len(load_hardware())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("power_kw = 1.2", "", "power_kw is missing"),
        ("bf16 = 989e12", "bf61 = 989e12", "unknown key; did you mean bf16"),
        ("rental = 1.05", "rental = -1", "out of range"),
        ("domain_gpus = 8", "domain_gpus = 0", "out of range"),
        ("memory_bytes = 80e9", "memory_bytes = 80", "expected a number above 1e.08"),
        ("3.35e12", "3.35", "out of range: expected a number above 1e.08"),
        ("bf16 = 989e12", "bf16 = 989", "expected a number above 1e.08"),
        (
            "peak_flops = {",
            'assumed = ["power"]\npeak_flops = {',
            "'power' is no field; did you mean power_kw",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    """A device without power would be free to run."""
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace(old, new))
    with pytest.raises(ConfigError, match=words):
        load_hardware(path)
