"""DeepSeek's published day, reproduced from its load and rates; and days that users describe themselves."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.catalog.data_files import data_path
from entrepot.catalog.fleets import load_fleet
from entrepot.tokenomics.fleet import Fleet, day_of
from entrepot.tokenomics.price import Kind, Part

DEEPSEEK = load_fleet("deepseek-2025")
OURS = Fleet(
    name="ours",
    uncached_tokens=8e9,
    cached_tokens=2e9,
    output_tokens=1e9,
    gpus_per_node=8,
    usd_per_gpu_hour=2.5,
    prefill_tokens_per_s=50_000,
    decode_tokens_per_s=10_000,
)


@pytest.mark.parametrize(
    ("figure", "expected", "within"),
    [
        ("needed_nodes", 226.75, 0.01),
        ("nodes", 226.75, 1e-9),
        ("cost_usd", 87_072, 1e-9),
        ("revenue_usd", 562_027, 0.001),
        ("margin", 5.45, 0.002),
        ("freed_nodes", 51, 0.01),
    ],
)
def test_deepseeks_day_is_reproduced(figure: str, expected: float, within: float) -> None:
    """From tokens and rates per node to each published result; the file states the same."""
    assert day_of(DEEPSEEK).results()[figure] == pytest.approx(expected, rel=within)
    assert DEEPSEEK.published[figure].value == expected


def test_the_fleet_has_the_figures_of_the_published_rows() -> None:
    """The shipped description and the collection of published points are one."""
    with data_path("market/published_points.csv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    gpus = DEEPSEEK.gpus_per_node
    assert float(rows["DS-prefill"]["in_tok_s_gpu"]) * gpus == DEEPSEEK.prefill_tokens_per_s
    assert float(rows["DS-decode"]["out_tok_s_gpu"]) * gpus == DEEPSEEK.decode_tokens_per_s
    assert float(rows["DS-fleet"]["usd_per_gpu_hr"]) == DEEPSEEK.usd_per_gpu_hour
    notes = rows["DS-fleet"]["notes"]
    for stated in ("608e9", "342e9", "168e9", "226.75", "278", "$87,072", "$562,027", "545%"):
        assert stated in notes
    assert DEEPSEEK.uncached_tokens + DEEPSEEK.cached_tokens == 608e9
    assert DEEPSEEK.output_tokens == 168e9


def test_the_days_bill_is_split_once_and_whole() -> None:
    """At cost and at the published margin; cached input cheapest, output dearest."""
    day = day_of(DEEPSEEK)
    assert day.at_margin is not None
    assert day.at_cost.revenue_usd == pytest.approx(87_072, rel=1e-9)
    assert day.at_margin.revenue_usd == pytest.approx(562_027, rel=1e-3)
    assert day.at_margin.conservation_error < 1e-9
    at_cost = [day.at_cost.price(kind) for kind in Kind]
    assert at_cost[Kind.CACHED] < at_cost[Kind.INPUT] < at_cost[Kind.OUTPUT]
    assert day.at_cost.shares.sum() == pytest.approx(1)


def test_keeping_the_peak_ready_all_day_is_a_part_of_the_price() -> None:
    """278 nodes instead of 226.75: the idle fifth is on every token; DeepSeek gave them to research."""
    lent, kept = day_of(DEEPSEEK), day_of(DEEPSEEK, nodes=278)
    assert kept.at_cost.shares[Part.IDLE] == pytest.approx(1 - DEEPSEEK.needed_nodes / 278)
    assert kept.at_cost.price(Kind.OUTPUT) / lent.at_cost.price(Kind.OUTPUT) == pytest.approx(278 / 226.75)
    assert lent.freed_gpu_hours == pytest.approx(51.25 * 8 * 24)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1, 5), st.floats(0, 10))
def test_any_days_prices_pay_for_it(ratio: float, kv_share: float, slack: float, margin: float) -> None:
    """Conserved to 1e-9, whatever is assumed of cached tokens and of KV."""
    fleet = replace(OURS, cached_cost_ratio=ratio, kv_share=kv_share)
    day = day_of(fleet, nodes=fleet.needed_nodes * slack)
    prices = day.at_cost.with_margin(margin)
    assert prices.revenue_usd == pytest.approx(day.cost_usd * (1 + margin), rel=1e-9)
    assert day.revenue_usd is None


def test_a_curve_says_when_nodes_are_free() -> None:
    """By hour, and its mean is what the day frees."""
    curve = tuple(5.0 + (hour % 12) for hour in range(24))
    day = day_of(replace(OURS, hourly_nodes=curve))
    assert day.nodes == pytest.approx(sum(curve) / 24)
    assert day.freed_by_hour_nodes[0] == max(curve) - curve[0]
    assert day.freed_nodes == pytest.approx(sum(day.freed_by_hour_nodes) / 24)


def test_fewer_nodes_than_the_load_takes_is_a_misstatement() -> None:
    """It names both numbers."""
    with pytest.raises(ValueError, match=r"1\.00 nodes are paid for, but its load and rates take 3\.47"):
        day_of(OURS, nodes=1.0)
