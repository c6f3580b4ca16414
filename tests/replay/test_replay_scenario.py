"""Scenario files of the replay: all mistakes at once, and what the shipped ones promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.catalog.reading import Reading
from entrepot.domain.errors import ConfigError
from entrepot.domain.money import nusd_from_usd
from entrepot.replay.generated import generated_scenario
from entrepot.replay.scenario import Drift, told
from entrepot.replay.scenario_file import load_replay_scenario, parse_replay_scenario, replay_scenario_names

WHOLE = """
name = "mine"
title = "Mine"

[[models]]
name = "test/model"
verbosity = 2.0
declared_verbosity_tokens = 300
[[models.drifts]]
what = "verbosity"
period_s = 100
amplitude = 0.5

[[endpoints]]
host = "a"
model = "test/model"
input_usd_per_mtok = "0.55"
cached_input_usd_per_mtok = "0.14"
output_usd_per_mtok = "2.19"
context_tokens = 65536
ttft_s = 1.5
tokens_per_s = 40
prefill_tokens_per_s = 8000
capacity_requests = 100
most_requests = 300
spread_ttft = 0.3
spread_tpot = 0.1
failure_share = 0.01
failure_s = 3
rate_limited_share = 0.02
cut_share = 0.005
cache = { most_blocks = 1000, ttl_s = 300 }
honours_cached_price = false
declared_ttft_s = 0.5
declared_tokens_per_s = 80
[[endpoints.phases]]
from_s = 60
until_s = 120
outage = true
[[endpoints.drifts]]
what = "ttft_s"
period_s = 600
amplitude = 0.7
phase = 0.25
[[endpoints.price_changes]]
at_s = 90
input_usd_per_mtok = "1.10"
output_usd_per_mtok = "4.38"
"""


def parsed(text: str) -> object:
    """Return the scenario of a text."""
    return parse_replay_scenario(Reading("mine.toml", text))


def test_every_key_is_read() -> None:
    """A file with all keys gives a scenario with all of them, prices exact."""
    scenario = parse_replay_scenario(Reading("mine.toml", WHOLE))
    (model,), (endpoint,) = scenario.models, scenario.endpoints
    assert (model.verbosity, model.declared_verbosity_tokens, model.drifts[0].period_s) == (2.0, 300.0, 100.0)
    assert endpoint.prices.input_nusd_per_mtok == nusd_from_usd("0.55")
    assert endpoint.prices.cached_nusd_per_mtok == nusd_from_usd("0.14")
    assert (endpoint.most_requests, endpoint.failure_s, endpoint.honours_cached_price) == (300, 3.0, False)
    assert endpoint.cache is not None
    assert (endpoint.cache.most_blocks, endpoint.cache.ttl_s) == (1000, 300.0)
    assert endpoint.phases[0].outage
    assert endpoint.drifts == (Drift("ttft_s", 600.0, 0.7, 0.25),)
    assert endpoint.price_changes[0].prices.output_nusd_per_mtok == nusd_from_usd("4.38")


def test_a_router_is_told_what_is_declared_and_not_what_is_true() -> None:
    """The declared speed is false on purpose; the true one stays with the world."""
    (endpoint,), models = told(parse_replay_scenario(Reading("mine.toml", WHOLE)))
    assert endpoint.declared_ttft_s is not None
    assert endpoint.declared_ttft_s.value == 0.5
    assert endpoint.declared_tokens_per_s is not None
    assert endpoint.declared_tokens_per_s.value == 80.0
    assert endpoint.simulated
    declared = models["test/model"].verbosity_tokens
    assert declared is not None
    assert declared.value == 300.0


def test_all_mistakes_are_told_at_once_each_with_its_line() -> None:
    """A file with nine mistakes is refused with nine lines, in the order of the file."""
    text = (
        WHOLE.replace('name = "test/model"\nverb', 'name = "model"\nverb')
        .replace("ttft_s = 1.5\n", "")
        .replace("tokens_per_s = 40", "tokens_per_s = 0")
        .replace('output_usd_per_mtok = "2.19"', 'output_usd_per_mtok = "cheap"')
        .replace("failure_share = 0.01", "failure_share = 1.5")
        .replace("until_s = 120", "until_s = 30")
        .replace('what = "ttft_s"', 'what = "mood"')
        .replace("most_requests = 300", "most_request = 300")
    )
    with pytest.raises(ConfigError) as error:
        parsed(text)
    said = "\n".join(error.value.problems)
    for part in (
        "'model' is not of the form developer/name",
        "'test/model' is not described",
        "ttft_s is missing",
        "endpoints[0].tokens_per_s: 0 is out of range",
        "'cheap' is not a decimal number of dollars",
        "endpoints[0].failure_share: 1.5 is out of range",
        "30 is not after from_s = 60",
        "'mood' is not one of capacity_requests, tokens_per_s, ttft_s",
        "endpoints[0].most_request: unknown key; did you mean most_requests?",
    ):
        assert part in said
    assert all(problem.startswith("mine.toml:") for problem in error.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("verbosity = 2.0", "verbosity = 2.0\nverbosity_tokens = 5", "verbosity_tokens is given"),
        ("verbosity = 2.0", "verbosity_spread = 0.5", "verbosity_tokens is absent"),
        ("cut_share = 0.005", "cut_share = 0.98", "with rate_limited_share and cut_share it passes 1"),
        ('host = "a"', 'host = "a"\ncolour = "red"', "colour: unknown key"),
        ("cache = { most_blocks = 1000, ttl_s = 300 }", "cache = { ttl_s = 300 }", "most_blocks is missing"),
        ("at_s = 90", "", "at_s is missing"),
    ],
)
def test_what_contradicts_itself_is_refused(old: str, new: str, said: str) -> None:
    """One row per rule that looks at more than one key, or at tables inside tables."""
    with pytest.raises(ConfigError, match=said):
        parsed(WHOLE.replace(old, new))


def test_a_file_without_endpoints_is_refused() -> None:
    """Nothing to choose from is a mistake of the file, not of the run."""
    with pytest.raises(ConfigError) as error:
        parsed('name = "x"\ntitle = "x"\n')
    assert "models is missing" in str(error.value)
    assert "endpoints is missing" in str(error.value)


def test_the_same_endpoint_twice_is_refused() -> None:
    """Two endpoints of one name could not be told apart in a report."""
    block = WHOLE[WHOLE.index("[[endpoints]]") : WHOLE.index("[[endpoints.phases]]")]
    with pytest.raises(ConfigError, match="test/model@a is described twice"):
        parsed(WHOLE + block)


@pytest.mark.parametrize("name", replay_scenario_names())
def test_a_shipped_scenario_has_six_endpoints_and_its_own_name(name: str) -> None:
    """Each is found under the name that it bears."""
    scenario = load_replay_scenario(name)
    assert scenario.name == name
    assert len(scenario.endpoints) == 6


def test_the_promised_scenarios_ship() -> None:
    """The seven kinds that `make bench-routing` is measured on."""
    promised = {"steady", "load-sensitive", "drift", "outage", "price-band", "verbosity-spread"}
    assert promised | {"long-context-prefix"} <= set(replay_scenario_names())


def test_a_scenario_is_found_by_path_too(tmp_path: Path) -> None:
    """A file of one's own is named by its path."""
    path = tmp_path / "mine.toml"
    path.write_text(WHOLE)
    assert load_replay_scenario(str(path)).name == "mine"


def test_equal_seeds_make_equal_scenarios_and_others_do_not() -> None:
    """`generated:SEED` can be named in a report and made again."""
    assert load_replay_scenario("generated:1000") == generated_scenario(1000)
    assert generated_scenario(1000) != generated_scenario(1001)


def test_generated_scenarios_mix_all_features() -> None:
    """Over a few dozen seeds everything that can move or fail occurs somewhere."""
    made = [generated_scenario(seed) for seed in range(40)]
    endpoints = [one for scenario in made for one in scenario.endpoints]
    for feature in ("phases", "drifts", "price_changes", "cache", "most_requests", "declared_ttft_s"):
        assert any(getattr(one, feature) for one in endpoints), feature
        assert not all(getattr(one, feature) for one in endpoints), feature
    assert any(not one.honours_cached_price for one in endpoints)
    assert {len(scenario.models) for scenario in made} == {1, 2, 3}


@pytest.mark.parametrize(
    ("name", "said"),
    [("steadi", "did you mean steady"), ("generated:x", "expected a whole number after generated:")],
)
def test_an_unknown_scenario_is_said(name: str, said: str) -> None:
    """A slip is answered with the nearest name."""
    with pytest.raises(ConfigError, match=said):
        load_replay_scenario(name)
