"""Fleets are files that users write, too: every mistake at once, with its line and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.catalog.fleets import fleet_names, load_fleet
from entrepot.domain.errors import ConfigError

OWN = """
name = "own"
model = "a/b"
gpu = "h100"
[day]
input_tokens = { value = 1e9, kind = "measured", source = "our ledger" }
output_tokens = { value = 1e8, kind = "measured", source = "our ledger" }
[nodes]
gpus = { value = 8, kind = "measured", source = "our rack" }
usd_per_gpu_hour = { value = 2.5, kind = "published", source = "our contract" }
prefill_tokens_per_s = { value = 50000, kind = "measured", source = "our load test" }
decode_tokens_per_s = { value = 9000, kind = "measured", source = "our load test" }
"""


def problems_of(text: str, tmp_path: Path) -> str:
    """Return what is wrong with a file, a line each."""
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_fleet(str(path))
    return str(caught.value)


def test_what_ships_can_be_read_and_every_figure_has_a_source() -> None:
    """A number without a source is nobody's."""
    for name in fleet_names():
        fleet = load_fleet(name)
        assert fleet.name == name
        assert fleet.figures
        for figure in (*fleet.figures.values(), *fleet.published.values()):
            assert figure.source


def test_a_file_of_ones_own_needs_no_more_than_load_and_rates(tmp_path: Path) -> None:
    """No prices, no cache, no curve: then the price is what it has to be."""
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    fleet = load_fleet(str(path))
    assert fleet.cached_tokens == 0
    assert fleet.input_usd_per_mtok is None
    assert fleet.used_nodes == fleet.needed_nodes


def test_a_curve_of_the_day_is_read(tmp_path: Path) -> None:
    """24 numbers."""
    path = tmp_path / "own.toml"
    curve = ", ".join(str(5 + hour % 3) for hour in range(24))
    path.write_text(OWN + f'hourly = {{ values = [{curve}], kind = "measured", source = "our scheduler" }}\n')
    assert load_fleet(str(path)).hourly_nodes[:4] == (5, 6, 7, 5)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('name = "own"', "", "name is missing"),
        ("value = 1e9", "value = -1", "day.input_tokens.value: -1 is out of range"),
        (
            'kind = "measured", source = "our rack"',
            'kind = "guessed", source = "x"',
            "'guessed' is not one of",
        ),
        ("value = 8, ", "", "value is missing; write the number"),
        ("decode_tokens_per_s", "decode_tokens_per_sec", "did you mean decode_tokens_per_s?"),
        (
            "[nodes]",
            'cached_tokens = { value = 2e9, kind = "measured", source = "x" }\n[nodes]',
            "2e+09 are more than the 1e+09 of input",
        ),
        (
            "[nodes]",
            '[prices]\ninput_usd_per_mtok = { value = 1, kind = "assumed", source = "x" }\n[nodes]',
            "write all three, or none",
        ),
        (
            "[nodes]",
            '[nodes]\nhourly = { values = [1], kind = "assumed", source = "x" }',
            "expected 24 numbers",
        ),
        ("[nodes]", "[nodes]\npeak = 9", "expected a table, found an integer"),
    ],
)
def test_mistakes_are_named_with_their_place(before: str, after: str, words: str, tmp_path: Path) -> None:
    """One row per mistake."""
    assert before in OWN
    assert words in problems_of(OWN.replace(before, after), tmp_path)


def test_an_unknown_fleet_names_the_nearest() -> None:
    """A typo costs no search."""
    with pytest.raises(ConfigError, match="did you mean deepseek-2025"):
        load_fleet("deepsek-2025")
