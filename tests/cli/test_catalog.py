"""`entrepot catalog prices`: every number, where it comes from and what applies at an instant."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from entrepot.catalog import list_prices
from entrepot.catalog.data_files import data_path
from tests.cli.command_line import Ran, entrepot

R1, V4 = "deepseek/deepseek-r1", "deepseek/deepseek-v4-pro"
PACKAGE = f"genai-prices {version('genai-prices')}"


def prices(model: str, *more: str, columns: int = 200) -> Ran:
    """Return the command's answer on the examples that ship."""
    config = data_path("examples/prices.toml")
    return entrepot("catalog", "prices", model, "--config", config, *more, columns=columns)


def test_the_rate_of_the_hour_is_marked() -> None:
    """At night in 2025, with the hours in words, the source, the day of its check and what decides."""
    ran = prices(R1, "--at", "2025-03-01T00:29:59Z")
    assert ran.status == 0
    night, plain = ran.out.splitlines()[2:4]
    assert night.startswith("16:30–00:30 UTC, from 2025-02-26 16:30 UTC, until 2025-09-05 16:00 UTC  now")
    assert night.split()[-4:] == ["0.135", "0.035", "0.55", "1"]
    assert "now" not in plain
    assert "is completed counts" in ran.out
    assert "source 1: api-docs.deepseek.com, Models & Pricing, 2025" in ran.out
    assert "checked 2026-11-26" in ran.out


@pytest.mark.parametrize(
    ("at", "when"),
    [
        ("2026-08-24T02:00", "09:00–12:00 Asia/Shanghai, from 2026-08-16 16:00 UTC"),
        ("2026-08-24T10:00:00+08:00", "09:00–12:00 Asia/Shanghai, from 2026-08-16 16:00 UTC"),
        ("2026-08-24T05:00Z", "from 2026-08-16 16:00 UTC"),
        ("2026-10-02T02:00Z", "from 2026-09-30 16:00 UTC, until 2026-10-07 16:00 UTC"),
        ("2026-08-29", "00:00–24:00 Asia/Shanghai, Sat, Sun, from 2026-08-22 16:00 UTC"),
    ],
)
def test_programs_get_every_rate_and_which_applies(at: str, when: str) -> None:
    """JSON with the keys of the file; an instant without an offset is in UTC."""
    (found,) = prices(V4, "--json", "--at", at).json["endpoints"]
    (applying,) = [rate for rate in found["rates"] if rate["applies"]]
    assert applying["when"] == when
    assert len(found["rates"]) == 6
    assert all(rate["source"] and rate["checked"] == "2026-10-27" for rate in found["rates"])


def test_tiers_apply_side_by_side() -> None:
    """Which one a request has depends on its prompt and not on the hour."""
    (found,) = prices("google/gemini-2.5-pro", "--json").json["endpoints"]
    assert [(rate["applies"], rate["above_prompt_tokens"]) for rate in found["rates"]] == [
        (True, 200000),
        (True, None),
    ]


def test_prices_that_are_over_are_told_to_be_unknown() -> None:
    """Not shown as if they were still true."""
    assert "No price is valid at this instant" in prices(R1, "--at", "2026-01-01").out


def test_lists_of_other_providers_are_shown_with_the_packages_version() -> None:
    """Also for a model that no endpoint has yet."""
    for model in ("mistralai/mistral-large", "gpt-4o-mini"):
        ran = prices(model)
        assert ran.status == 0
        assert f"listed by {PACKAGE}" in ran.out
    assert "openai/gpt-4o-mini" in ran.out
    assert {one["provider"] for one in prices("gpt-4o-mini", "--json").json["listed"]} >= {"openai"}


def test_an_endpoint_with_a_list_price_says_so() -> None:
    """Version, provider, the provider's name of the model."""
    assert f"source 1: {PACKAGE}, mistral/mistral-large" in prices("mistralai/mistral-large").out


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    """Exit 1; the message goes to stderr."""
    ran = prices("deepseek/deepseek-r9-of-nobody")
    assert (ran.status, ran.out) == (1, "")
    assert "nearest: deepseek/deepseek-r1" in ran.err


def test_an_instant_that_is_none_is_wrong_usage() -> None:
    """Exit 2 with what was expected."""
    ran = prices(R1, "--at", "tomorrow")
    assert ran.status == 2
    assert "'tomorrow' is not an instant" in ran.err


def test_an_unpriced_endpoint_says_what_to_write(tmp_path: Path) -> None:
    """The same words as the refusal of a key with a budget."""
    file = tmp_path / "entrepot.toml"
    file.write_text(
        '[[hosts]]\nname = "h"\nbase_url = "http://127.0.0.1:1/v1"\nauth = "none"\n'
        '[[hosts.endpoints]]\nmodel = "a/b"\ncontext_tokens = 1000\n'
    )
    ran = entrepot("catalog", "prices", "a/b", "--config", file, columns=300)
    assert "unknown: keys with a budget cannot use it" in ran.out
    assert "write input_usd_per_mtok and output_usd_per_mtok into the [[hosts.endpoints]] of a/b" in ran.out


def test_without_the_package_the_install_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The prices of the configuration are shown all the same."""
    monkeypatch.setattr(list_prices, "find_spec", lambda _: None)
    ran = prices(R1)
    assert ran.status == 0
    assert "0.135" in ran.out
    assert "pip install 'entrepot[prices]'" in ran.err
    assert prices(R1, "--json").json["list"] == {"package": None, "install": "pip install 'entrepot[prices]'"}


def test_a_check_of_the_configuration_names_what_has_no_price(tmp_path: Path) -> None:
    """It is no mistake, so the status is 0; what to write goes to stderr."""
    file = tmp_path / "entrepot.toml"
    file.write_text(
        '[[hosts]]\nname = "h"\nbase_url = "http://127.0.0.1:1/v1"\nauth = "none"\n'
        '[[hosts.endpoints]]\nmodel = "a/b"\ncontext_tokens = 1000\n'
    )
    ran = entrepot("config", "check", "--config", file, "--data-dir", tmp_path / "data")
    assert ran.status == 0
    assert "a/b@h: no price; keys with a budget cannot use it. In the configuration, write" in ran.err
