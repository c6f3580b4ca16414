"""docs/reference/configuration.md knows every key that the parser knows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from entrepot.catalog.settings import HostSettings, LedgerSettings, RequestCaps, ServerSettings
from entrepot.domain.endpoint import Endpoint, Model
from entrepot.routing.settings import RoutingSettings

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "configuration.md"
# Fields that the file writes under another key, or that follow from others.
WRITTEN_AS = {
    "secret": "key",
    "declared_ttft_s": "ttft_s",
    "declared_tokens_per_s": "tokens_per_s",
    "prices": "input_usd_per_mtok",
    "tariff": "rates",
    "host": "name",
}


@pytest.mark.parametrize(
    "settings",
    [ServerSettings, LedgerSettings, RoutingSettings, RequestCaps, Model, HostSettings, Endpoint],
)
def test_every_setting_is_described(settings: type[msgspec.Struct]) -> None:
    """A key that nobody can look up might as well not exist."""
    text = REFERENCE.read_text(encoding="utf-8")
    missing = [name for name in settings.__struct_fields__ if f"`{WRITTEN_AS.get(name, name)}`" not in text]
    assert missing == []


@pytest.mark.parametrize("settings", [ServerSettings(), LedgerSettings(), RoutingSettings(), RequestCaps()])
def test_defaults_are_the_described_ones(settings: msgspec.Struct) -> None:
    """Numbers in the tables are the program's."""
    text = REFERENCE.read_text(encoding="utf-8").replace(",", " ").replace(")", " ").replace("(", " ")
    defaults = [
        value for value in msgspec.structs.asdict(settings).values() if isinstance(value, int | float)
    ]
    missing = [
        value
        for value in defaults
        if not any(f" {form} " in text for form in (f"{value}", f"{value:g}", f"{value:.0f}"))
    ]
    assert missing == []
