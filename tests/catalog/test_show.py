"""`config show` prints what would load to the same settings, and no secret."""

from __future__ import annotations

import json
from pathlib import Path

from entrepot.catalog.data_files import data_path
from entrepot.catalog.load import load_settings
from entrepot.catalog.settings import HostSettings, Secret, Settings
from entrepot.catalog.show import NOT_SHOWN, settings_text

ENVIRONMENT = {"DEEPSEEK_API_KEY": "hunter2", "AZURE_API_KEY": "hunter3"}


def test_what_is_shown_loads_to_the_same_settings(tmp_path: Path) -> None:
    """Defaults spelled out change nothing."""
    loaded = load_settings(data_path("examples/entrepot.toml"), ENVIRONMENT)
    text = settings_text(loaded)
    file = tmp_path / "entrepot.toml"
    file.write_text(text)
    again = load_settings(file, ENVIRONMENT)
    assert settings_text(again) == text
    assert (again.server, again.ledger, again.routing, again.caps) == (
        loaded.server,
        loaded.ledger,
        loaded.routing,
        loaded.caps,
    )
    assert [entry.endpoint for entry in again.endpoints] == [entry.endpoint for entry in loaded.endpoints]
    assert again.models == loaded.models


def test_secrets_are_shown_as_where_they_come_from() -> None:
    """In both forms; also what is named like a credential elsewhere, and a proxy's password."""
    loaded = load_settings(data_path("examples/entrepot.toml"), ENVIRONMENT)
    host = HostSettings(
        "x",
        "https://x.example/v1",
        secret=Secret("hunter4", "the demo"),
        headers={"X-Api-Key": "hunter5", "x-team": "blue"},
        query={"sig": "hunter6", "api-version": "1"},
        proxy="http://me:hunter7@proxy:3128",
    )
    shown = Settings(hosts=(*loaded.hosts, host), endpoints=loaded.endpoints)
    for as_json in (False, True):
        text = settings_text(shown, as_json=as_json)
        assert "hunter" not in text
        assert all(part in text for part in ("DEEPSEEK_API_KEY", "the demo", NOT_SHOWN, "blue", "proxy:3128"))


def test_json_has_the_names_of_the_file() -> None:
    """Endpoints inside of their hosts, prices as exact texts, instants of price checks as dates."""
    loaded = load_settings(data_path("examples/entrepot.toml"), ENVIRONMENT)
    data = json.loads(settings_text(loaded, as_json=True))
    assert data["server"]["port"] == 8000
    assert data["hosts"][0]["key"] == {"env": "DEEPSEEK_API_KEY"}
    assert data["hosts"][0]["endpoints"][0]["cached_input_usd_per_mtok"] == "0.003"
    assert data["hosts"][2]["endpoints"][0]["operations"] == ["chat/completions", "completions"]


def test_texts_with_quotes_and_control_characters_survive(tmp_path: Path) -> None:
    """Whatever a text holds, it is written as TOML reads it."""
    odd = 'a "quoted" \\ text\twith\x7f\x01 and ü😀'
    file = tmp_path / "entrepot.toml"
    file.write_text(
        '[[hosts]]\nname = "h"\nbase_url = "http://x/v1"\n[hosts.query]\n'
        f'"a b" = {json.dumps(odd, ensure_ascii=False).replace(chr(127), "u007f")}\n'
        '[[hosts.endpoints]]\nmodel = "a/b"\ncontext_tokens = 1\n'
    )
    loaded = load_settings(file, {})
    file.write_text(settings_text(loaded))
    assert load_settings(file, {}).hosts == loaded.hosts
