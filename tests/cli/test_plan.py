"""`entrepot plan`: DeepSeek's day as a command, and what it says when something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from entrepot.cli.plan import add_commands
from entrepot.domain.errors import ConfigError
from tests.cli.command_line import entrepot

DAY = ("plan", "price", "--model", "deepseek-ai/DeepSeek-R1", "--gpu", "h800", "--fleet", "deepseek-2025")


def test_deepseeks_day_is_one_command() -> None:
    """Nodes, cost, revenue, margin, freed nodes beside what was published; then the bill and the prices."""
    ran = entrepot(*DAY)
    assert ran.status == 0
    for shown in ("226.75", "87,072", "562,100", "545.6%", "51.25", "KV residence", "cached input"):
        assert shown in ran.out
    assert "off cost and margin by" in ran.err


def test_json_has_every_figure_with_its_source() -> None:
    """Also what was published, to compare with."""
    shown = entrepot(*DAY, "--json").json
    assert shown["results"]["cost_usd"] == pytest.approx(87_072)
    assert shown["published"]["revenue_usd"] == 562_027
    assert sum(shown["bill_usd"].values()) == pytest.approx(87_072, rel=1e-9)
    assert shown["usd_per_mtok"]["listed"] == {"input": 0.55, "cached input": 0.14, "output": 2.19}
    at_cost = shown["usd_per_mtok"]["at_cost"]
    assert at_cost["cached input"] < at_cost["input"] < at_cost["output"]
    assert all(figure["source"] for figure in shown["figures"].values())
    assert shown["conservation_error"] < 1e-9


def test_nodes_and_margin_can_be_asked_for() -> None:
    """The peak kept ready all day, sold at a fifth above cost."""
    shown = entrepot(*DAY, "--nodes", "278", "--margin", "20", "--json").json
    assert shown["bill_usd"]["idle readiness"] / shown["results"]["cost_usd"] == pytest.approx(
        0.184, abs=0.001
    )
    prices = shown["usd_per_mtok"]
    assert prices["at_margin"]["output"] == pytest.approx(1.2 * prices["at_cost"]["output"])


def test_prices_are_drawn(tmp_path: Path) -> None:
    """A picture where one was asked for."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "day.svg"
    ran = entrepot(*DAY, "--plot", path)
    assert ran.status == 0
    assert path.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fleet", "deepsek-2025"), "did you mean deepseek-2025"),
        (("--fleet", "deepseek-2025", "--gpu", "h100"), "is of the hardware h800, not h100"),
        (("--fleet", "deepseek-2025", "--model", "a/b"), "is of the model deepseek-ai/DeepSeek-R1, not a/b"),
        (("--fleet", "deepseek-2025", "--nodes", "100"), "100.00 nodes are paid for, but"),
        (("--fleet", "deepseek-2025", "--plot", "day.txt"), "would be drawn as .txt"),
    ],
)
def test_what_cannot_be_is_refused_by_name(arguments: tuple[str, ...], words: str) -> None:
    """Exit 2, before any work."""
    ran = entrepot("plan", "price", *arguments)
    assert ran.status == 2
    assert words in ran.err


def test_without_numpy_each_command_says_what_to_install() -> None:
    """Whatever its options; the other commands do not need it."""
    group = typer.Typer()
    group.callback()(lambda: None)
    add_commands(group, has_numpy=False)
    ended = CliRunner().invoke(group, ["price", "--fleet", "x"])
    assert isinstance(ended.exception, ConfigError)
    assert "pip install 'entrepot[planner]'" in str(ended.exception)


SWEEP = ("plan", "frontier", "--model", "Llama-3.3-70B-Instruct", "--gpu", "h100", "--gpu", "b200")


def test_a_sweep_shows_the_front_the_cheapest_and_what_limits_cost() -> None:
    """Three tables; who does not fit is told on stderr."""
    ran = entrepot(*SWEEP, "--precision", "bf16", "--tokens-per-s", "30", "--ttft-s", "3", columns=220)
    assert ran.status == 0
    for shown in ("the front:", "the cheapest within the SLO:", "interactivity", "blend $/M"):
        assert shown in ran.out
    assert "left out: h100 tp1 bf16" in ran.err


def test_a_sweep_as_json_keeps_the_slo() -> None:
    """Intervals, prices by kind, parts of the bill."""
    shown = entrepot(*SWEEP, "--tokens-per-s", "30", "--cautious", "--layout", "tp8", "--json").json
    best = shown["cheapest"]
    assert 1 / best["tpot_s"][1] >= 30
    assert sum(best["shares"].values()) == pytest.approx(1.0)
    assert shown["limits"][0]["costs_usd_per_mtok"] > 0
    prices = [one["blended_usd_per_mtok"] for one in shown["front"]]
    assert prices == sorted(prices)


def test_an_slo_beyond_the_floor_is_refused_with_the_nearest() -> None:
    """Exit 1: a check that failed, not a misuse."""
    ran = entrepot(*SWEEP, "--tokens-per-s", "5000", columns=220)
    assert ran.status == 1
    assert "5e+03 tokens/s per user is beyond every point: the best is" in ran.err
    assert "nearest:" in ran.out


def test_a_sweep_without_a_point_is_refused_and_not_drawn(tmp_path: Path) -> None:
    """An empty picture would be looked at."""
    path = tmp_path / "front.svg"
    ran = entrepot(*SWEEP, "--layout", "tp8", "--request", "90000000:5", "--plot", path)
    assert (ran.status, path.exists()) == (2, False)
    assert "ask for a shorter request" in ran.err


def test_a_limit_of_no_seconds_is_refused_with_what_is_reached() -> None:
    """In JSON that any parser takes: no NaN, no Infinity."""
    ran = entrepot(*SWEEP, "--layout", "tp8", "--ttft-s", "0", "--json")
    assert ran.status == 1
    refused = ran.json["refused"]
    assert refused["floors"]["ttft_s"] == pytest.approx(min(one["ttft_s"][0] for one in ran.json["front"]))
    assert not {"NaN", "Infinity"} & set(ran.out.replace(",", " ").split())


def test_a_host_that_gives_everything_away_pays_nothing_for_limits() -> None:
    """Nothing is divided by its price."""
    shown = entrepot(*SWEEP, "--layout", "tp8", "--ttft-s", "3", "--margin", "-100", "--json").json
    assert shown["limits"][0]["share"] == 0.0


def test_a_front_is_drawn(tmp_path: Path) -> None:
    """A line per deployment."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "front.svg"
    assert entrepot(*SWEEP, "--layout", "tp8", "--plot", path).status == 0
    assert path.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--request", "many"), "expected UNCACHED[+CACHED]:OUTPUT[@SHARE]"),
        (("--layout", "xp8"), "expected sizes such as tp8"),
        (("--gpu", "h1000"), "no hardware is called 'h1000'"),
        (("--tier", "lease"), "no price for the tier 'lease'"),
        (("--layout", "tp1", "--precision", "bf16"), "takes 1"),
        (("--layout", "tp99999999999"), "at most 1024 GPUs"),
        (("--layout", "99999xtp8+tp8"), "at most 1024 workers of a kind"),
        (("--layout", "tp8_ep3"), "3 is none"),
        (("--layout", "ep8"), "8 is none"),
        (("--backend", "lmdeploy"), "expected one of sglang, trtllm, typical, vllm"),
        (("--request", "0+4000:5"), "at least one token that is read"),
        (("--request", "99999999999999999999:5"), "at most 100,000,000 of each"),
        (("--demand-per-s", "0"), "nobody is there to bear the cost"),
        (("--demand-per-s", "inf"), "--demand-per-s inf: expected a finite number"),
        (("--tokens-per-step", "inf"), "--tokens-per-step inf: expected a finite number"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_by_name(arguments: tuple[str, ...], words: str) -> None:
    """Exit 2, with what was expected."""
    ran = entrepot("plan", "frontier", "--model", "Llama-3.3-70B-Instruct", "--gpu", "h100", *arguments)
    assert ran.status == 2
    assert words in ran.err
