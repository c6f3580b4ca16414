"""Scenarios: what they say, what they become, and which mistakes they report."""

from __future__ import annotations

import csv
from decimal import Decimal

import pytest

from entrepot.catalog.data_files import data_path
from entrepot.catalog.reading import Reading
from entrepot.catalog.settings import EndpointSettings
from entrepot.domain.endpoint import Operation
from entrepot.domain.errors import ConfigError
from entrepot.domain.estimate import Basis
from entrepot.hosts.scenario import (
    Figure,
    Kind,
    SimulatedHost,
    load_scenario,
    parse_scenario,
    scenario_settings,
)
from tests.hosts.scenarios import scenario_text

R1_HOSTS = ["deepseek", "parasail", "friendli", "azure", "lambda", "nebius"]


def r1_hosts() -> dict[str, SimulatedHost]:
    """Return the hosts of the scenario that ships, by name."""
    return {host.name: host for host in load_scenario("deepseek-r1-2025").hosts}


def endpoints(names: list[str] | None = None) -> dict[str, EndpointSettings]:
    """Return the endpoints that the scenario becomes, by host."""
    _, _, entries = scenario_settings(load_scenario("deepseek-r1-2025"), "http://127.0.0.1:1", names)
    return {entry.host.name: entry for entry in entries}


def market(what: str, when: str) -> Decimal:
    """Return a figure of the market file that the scenario quotes."""
    with data_path("market/market_2025.csv").open(encoding="utf-8") as rows:
        found = [row["value"] for row in csv.DictReader(rows) if (row["what"], row["when"]) == (what, when)]
    assert len(found) == 1
    return Decimal(found[0])


def test_the_scenario_has_the_six_hosts_and_one_for_embeddings() -> None:
    """The six hosts of the market file, and a host of no company so that embeddings can be tried."""
    hosts = r1_hosts()
    assert list(hosts) == [*R1_HOSTS, "simulated"]
    assert {hosts[name].model.name for name in R1_HOSTS} == {"deepseek/deepseek-r1"}
    assert hosts["simulated"].model.operations == {Operation.EMBEDDING}


def test_published_figures_are_those_of_the_market_file() -> None:
    """No published number is typed twice with two values."""
    hosts = r1_hosts()
    deepseek, azure = hosts["deepseek"], hosts["azure"]
    assert deepseek.cached_input_usd_per_mtok is not None
    input_price = market("list price of DeepSeek-R1 input", "2025-01")
    output_price = market("list price of DeepSeek-R1 output", "2025-01")
    assert deepseek.input_usd_per_mtok.value == input_price
    assert deepseek.cached_input_usd_per_mtok.value == market(
        "list price of DeepSeek-R1 cached input", "2025-02"
    )
    assert deepseek.output_usd_per_mtok.value == output_price
    assert deepseek.context_tokens.value == market("context window of DeepSeek's own R1 service", "2025-05")
    wait = market("TTFT of DeepSeek's own R1 service", "2025-05")
    assert deepseek.ttft_s.value - azure.ttft_s.value == wait
    times = market("price of Azure over DeepSeek's", "2025-05")
    assert azure.output_usd_per_mtok.value == times * output_price
    assert azure.input_usd_per_mtok.value == times * input_price
    for name in ("lambda", "nebius"):
        assert hosts[name].output_usd_per_mtok.value == output_price
        assert hosts[name].input_usd_per_mtok.value == input_price
        assert hosts[name].context_tokens.value == market(
            "context window of Lambda and Nebius at DeepSeek's price", "2025-05"
        )
        assert hosts[name].ttft_s.value <= market("TTFT of most third-party R1-0528 hosts", "2025-05")
    for name in ("parasail", "friendli"):
        assert hosts[name].output_usd_per_mtok.value == Decimal("3.50")
        assert hosts[name].ttft_s.value < Decimal("0.5")
    assert all(20 <= hosts[name].tokens_per_s.value <= 60 for name in R1_HOSTS)


def test_only_deepseek_has_a_cached_price() -> None:
    """A cached price was published for DeepSeek alone; others charge all input alike."""
    cached = {name for name, host in r1_hosts().items() if host.cached_input_usd_per_mtok is not None}
    assert cached == {"deepseek"}


def test_every_figure_names_its_source() -> None:
    """Also those that were assumed say why."""
    for host in r1_hosts().values():
        figures = [getattr(host, name) for name in host.__struct_fields__]
        stated = [figure for figure in figures if isinstance(figure, Figure)]
        assert len(stated) > 5
        assert all(figure.source for figure in stated)


@pytest.mark.parametrize(
    ("usd_per_hour", "first"), [(0, {"deepseek"}), (2, {"parasail"}), (5, {"parasail"}), (100, {"parasail"})]
)
@pytest.mark.parametrize("tokens", [300, 3000])
def test_traffic_leaves_deepseek_between_0_and_2_usd_per_hour(
    usd_per_hour: int, first: set[str], tokens: int
) -> None:
    """The demo with `--hosts deepseek,parasail,azure`: what a waiting hour is worth decides."""
    assert _cheapest(["deepseek", "parasail", "azure"], usd_per_hour, tokens) == first


def test_lambda_and_nebius_tie_with_deepseek_at_0_and_win_above() -> None:
    """Same price and less wait: better as soon as time is worth anything."""
    assert _cheapest(R1_HOSTS, 0, 3000) == {"deepseek", "lambda", "nebius"}
    assert _cheapest(["deepseek", "lambda"], Decimal("0.000001"), 3000) == {"lambda"}
    assert _cheapest(["deepseek", "nebius"], Decimal("0.000001"), 3000) == {"nebius"}


def _cheapest(names: list[str], usd_per_hour: int | Decimal, tokens: int) -> set[str]:
    """Return the hosts with the least dollars + value of time × seconds; 100 prompt tokens, none cached."""

    def score(host: SimulatedHost) -> Decimal:
        dollars = (100 * host.input_usd_per_mtok.value + tokens * host.output_usd_per_mtok.value) / 1_000_000
        seconds = host.ttft_s.value + tokens / host.tokens_per_s.value
        return dollars + seconds * usd_per_hour / 3600

    hosts = r1_hosts()
    scores = {name: score(hosts[name]) for name in names}
    return {name for name, value in scores.items() if value == min(scores.values())}


def test_settings_carry_the_figures_as_declared_and_the_guesses_as_assumed() -> None:
    """A forecast made of a guess must not look like one made of a publication."""
    by_host = endpoints()
    deepseek, parasail = by_host["deepseek"].endpoint, by_host["parasail"].endpoint
    assert deepseek.name == "deepseek/deepseek-r1@deepseek"
    assert deepseek.simulated
    assert deepseek.prices is not None
    assert deepseek.prices.output_nusd_per_mtok == 2_190_000_000
    assert deepseek.prices.checked == "2025-05"
    assert deepseek.declared_ttft_s is not None
    assert (deepseek.declared_ttft_s.value, deepseek.declared_ttft_s.basis) == (26.0, Basis.DECLARED)
    assert parasail.declared_ttft_s is not None
    assert parasail.declared_ttft_s.basis is Basis.ASSUMED
    assert "near zero" in parasail.declared_ttft_s.source
    assert (deepseek.origin_country, deepseek.owner_country, parasail.owner_country) == ("CN", "CN", "US")


def test_hosts_are_reached_below_their_own_path_without_a_key() -> None:
    """One server, a prefix per host."""
    host = endpoints()["azure"].host
    assert host.base_url == "http://127.0.0.1:1/azure/v1"
    assert (host.auth, host.secret, host.simulated) == ("none", None, True)


def test_picking_hosts_keeps_those_on_standby() -> None:
    """Embeddings stay available whichever hosts are picked, and only served models are listed."""
    assert list(endpoints(["azure", "deepseek"])) == ["deepseek", "azure", "simulated"]


def test_an_unknown_host_is_refused_with_the_nearest() -> None:
    """A slip in `--hosts` must not start fewer hosts in silence."""
    with pytest.raises(ConfigError, match="no host 'nebus'; did you mean nebius"):
        endpoints(["nebus"])


def test_an_unknown_scenario_is_refused_with_the_nearest() -> None:
    """A name is looked up in data/scenarios, a path is not."""
    with pytest.raises(ConfigError, match="did you mean deepseek-r1-2025"):
        load_scenario("deepseek-r1-2024")
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read"):
        load_scenario("gone.toml")


def test_all_mistakes_are_reported_together_with_their_lines() -> None:
    """Four mistakes, four lines, in the order of the file."""
    text = scenario_text(ttft_s=-1, tokens_per_s=None, input_usd_per_mtok="0.0000000001")
    text = text.replace('origin_country = "CN"', 'origin_country = "China"')
    with pytest.raises(ConfigError) as caught:
        parse_scenario(Reading("s.toml", text))
    places = [problem.split(": ")[:2] for problem in caught.value.problems]
    assert places == [
        ["s.toml:6", "models[0].origin_country"],
        ["s.toml:8", "hosts[0]"],
        ["s.toml:12", "hosts[0].input_usd_per_mtok.value"],
        ["s.toml:14", "hosts[0].ttft_s.value"],
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('kind = "assumed"', 'kind = "guessed"', "'guessed' is not one of"),
        (', source = "a test" }', " }", "source is missing"),
        ('model = "deepseek/deepseek-r1"', 'model = "deepseek/r1"', "did you mean deepseek/deepseek-r1"),
        ("[[hosts]]", "[[host]]", "host: unknown key; did you mean hosts?"),
        ('name = "h"', 'name = "a/b"', "becomes a part of a URL"),
        ("value = 50", "value = true", "expected a number"),
        ("value = 50", 'value = "fast"', "'fast' is not a number"),
        ("value = 50", "value = inf", "is not a finite number"),
        ("value = 10,", "value = 1.5,", "is not a whole number"),
        ('name = "test"', "", "name is missing"),
        ('name = "deepseek/deepseek-r1"\norigin', 'name = "r1"\norigin', "not of the form developer/name"),
        ("standby = false", "standby = 1", "expected true or false, found an integer"),
    ],
)
def test_each_mistake_says_what_to_write(old: str, new: str, problem: str) -> None:
    """A row per kind of mistake."""
    text = scenario_text()
    assert old in text
    with pytest.raises(ConfigError) as caught:
        parse_scenario(Reading("s.toml", text.replace(old, new)))
    assert problem in str(caught.value)


def test_a_published_figure_is_declared_and_an_assumed_one_is_not() -> None:
    """Only what somebody stated counts as declared."""
    assert [kind.basis for kind in Kind] == [Basis.DECLARED] * 3 + [Basis.ASSUMED]
