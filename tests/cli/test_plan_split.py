"""`entrepot plan` of workers that read and others that answer, and of an exchange that is hidden."""

from __future__ import annotations

import pytest

from tests.cli.command_line import entrepot

ON = ("--model", "deepseek-ai/DeepSeek-R1", "--gpu", "h200", "--request", "4096:1024")
SPLIT = ("--layout", "2xtp8+1xdp16_ep16")
NAME = "h200 2×tp8 → 1×dp16 ep16 fp8"


def test_split_and_whole_deployments_stand_side_by_side() -> None:
    """With their break-even; counts are 1 unless given, and × is as good as x."""
    asked = ("plan", "compare", *ON, *SPLIT, "--layout", "tp8+2×tp8", "--layout", "dp16_ep16")
    shown = entrepot(*asked, "--tokens-per-s", "20", "--api", "0.55/2.19", "--json").json
    found = {one["deployment"]: one for one in shown["deployments"]}
    assert set(found) == {NAME, "h200 1×tp8 → 2×tp8 fp8", "h200 tp1 dp16 ep16 fp8"}
    assert found[NAME]["gpus"] == 32
    assert len(shown["break_even"]) == 3


def test_a_split_layout_is_on_the_front_with_its_batches() -> None:
    """Prices, intervals and shares as any other."""
    shown = entrepot("plan", "frontier", *ON, *SPLIT, "--tokens-per-s", "20", "--json").json
    best = shown["cheapest"]
    assert best["deployment"] == NAME
    assert 1 / best["tpot_s"][0] >= 20
    assert sum(best["shares"].values()) == pytest.approx(1.0)


def test_a_split_replica_has_prices_at_loads() -> None:
    """Conserved; the pool that binds is named where a load is too much."""
    shown = entrepot("plan", "price", *ON, *SPLIT, "--load-per-s", "3", "--tokens-per-s", "25", "--json").json
    assert shown["gpus"] == 32
    for load in shown["loads"].values():
        assert load["conservation_error"] < 1e-9
    assert shown["loads"]["as given"]["shares"]["idle readiness"] > 0.2
    ran = entrepot("plan", "price", *ON, *SPLIT, "--load-per-s", "500", columns=200)
    assert "beyond the replica: the prefill pool of 2 reads" in ran.err


def test_a_fleet_of_split_replicas_is_sized() -> None:
    """As of any other."""
    shown = entrepot("plan", "capacity", *ON, *SPLIT, "--demand-per-s", "30", "--json").json
    assert shown["fleet"]["replicas"] >= 2
    assert shown["fleet"]["gpus"] == 32 * shown["fleet"]["replicas"]


def test_a_hidden_exchange_is_faster_and_said_to_be_assumed() -> None:
    """In every name; where nothing is exchanged nothing is said."""
    asked = ("plan", "compare", *ON, "--layout", "tp8", *SPLIT, "--tokens-per-s", "20", "--json")
    plain, hidden = (entrepot(*asked, *more).json["deployments"] for more in ((), ("--hide-exchange",)))
    speed = {one["deployment"]: one["capacity_per_s"] for one in (*plain, *hidden)}
    assert speed[f"{NAME}, exchange hidden (assumed)"] > speed[NAME]
    assert "h200 tp8 fp8" in {one["deployment"] for one in hidden}


@pytest.mark.parametrize(
    "layout", ["2xtp8", "tp8+", "tp8+tp8+tp8", "0xtp8+tp8", "2xtp8+x", "tp8+tp8_tp8", "-1xtp8+tp8"]
)
def test_a_layout_that_cannot_be_read_is_refused_with_the_form(layout: str) -> None:
    """Exit 2."""
    ran = entrepot("plan", "frontier", *ON, "--layout", layout)
    assert ran.status == 2
    assert "or prefill and decode workers such as 2xtp8+1xdp16_ep16" in ran.err


def test_the_pool_that_does_not_fit_is_named() -> None:
    """With the nearest that does."""
    ran = entrepot("plan", "price", *ON, "--layout", "tp2+tp8")
    assert ran.status == 2
    assert "prefill workers: deepseek-ai/DeepSeek-R1 at fp8" in ran.err
    assert "nearest that fits" in ran.err


def test_records_of_split_workers_calibrate_no_single_clock() -> None:
    """One layout of one engine is asked for."""
    ran = entrepot("plan", "calibrate", *ON[:4], *SPLIT, "--endpoint", "x")
    assert ran.status == 2
    assert "give the layout of one engine" in ran.err
