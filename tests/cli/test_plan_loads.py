"""`entrepot plan price|capacity|compare` of a model on hardware."""

from __future__ import annotations

from math import ceil

import pytest

from tests.cli.command_line import entrepot

ON = ("--model", "deepseek-ai/DeepSeek-R1", "--gpu", "h200")
R1 = (*ON, "--layout", "dp8_ep8", "--request", "1000:500@0.9", "--request", "40000+8000:500@0.1")
CURVE = "1 1 1 1 1 1 2 3 4 6 8 9 9 8 8 8 8 7 6 5 4 3 2 1"


def test_a_replica_has_prices_at_three_loads_by_tier() -> None:
    """Given, promised, and where the price leads; each conserved."""
    shown = entrepot(
        "plan", "price", *R1, "--load-per-s", "0.5", "--tokens-per-s", "20", "--demand", "2@0.01", "--json"
    ).json
    assert set(shown["loads"]) == {"as given", "most within the SLO", "that the price brings"}
    for load in shown["loads"].values():
        assert load["conservation_error"] < 1e-9
        assert load["usd_per_mtok"]["≤ 128K"]["input"] > load["usd_per_mtok"]["≤ 32K"]["input"]
        assert load["usd_per_mtok"]["any"]["input"] is None
    promised = shown["loads"]["most within the SLO"]["simulated"]
    assert promised["met_share"] >= 0.9
    assert 1 / promised["tpot_s"]["p90"] == pytest.approx(20, rel=0.1)
    assert shown["meeting"]["kind"] == "at capacity"


def test_the_prices_are_a_table_and_the_equilibrium_a_sentence() -> None:
    """For people."""
    ran = entrepot("plan", "price", *R1, "--demand", "0.1@0.00001", columns=200)
    assert "most within the SLO" in ran.out
    assert "the load that the price brings: none: even a full fleet costs" in ran.out


def test_a_load_beyond_the_replica_is_said_beside_the_rest() -> None:
    """The other prices stand."""
    ran = entrepot("plan", "price", *R1, "--load-per-s", "5000", columns=200)
    assert ran.status == 0
    assert "the given load is beyond the replica: a full batch of" in ran.err


def test_capacity_sizes_a_fleet_and_says_what_is_free() -> None:
    """Whole replicas; harder batches free the peak, the curve the night."""
    shown = entrepot(
        *(
            "plan",
            "capacity",
            *R1,
            "--tokens-per-s",
            "20",
            "--demand-per-s",
            "30",
            "--hourly",
            CURVE,
            "--json",
        )
    ).json
    within, full = shown["loads"]["most within the SLO"], shown["loads"]["full batch"]
    fleet = shown["fleet"]
    assert fleet["replicas"] <= ceil(30 / within["requests_per_s"])
    assert fleet["replicas"] * full["requests_per_s"] >= 30
    assert fleet["simulated"]["met_share"] >= 0.9
    assert full["requests_per_s"] > within["requests_per_s"]
    assert full["simulated"] is None
    for load in (within, full):
        assert load["usd_per_mtok_of_all_tokens"] * load["mtok_per_day"] == pytest.approx(
            24 * shown["usd_per_hour"]
        )
    harder = ceil(30 / within["requests_per_s"]) - ceil(30 / full["requests_per_s"])
    assert shown["freed_gpus"]["by_batching"] == harder * 8
    assert len(shown["freed_gpus"]["by_hour"]) == 24
    assert min(shown["freed_gpus"]["by_hour"]) == 0
    ran = entrepot("plan", "capacity", *R1, "--demand-per-s", "30", columns=200)
    assert "free for something else" in ran.out
    assert "no SLO was given" in ran.out


def test_a_load_beyond_the_capacity_is_said_to_grow_a_queue() -> None:
    """No TTFT, no goodput: they would be those of the length of the run."""
    asked = ("plan", "capacity", *R1, "--load-per-s", "5000")
    given = entrepot(*asked, "--json").json["loads"]["as given"]["simulated"]
    assert given["verdict"] == "saturated: TTFT grows with the length of the run"
    assert given["ttft_s"]["p90"] is None
    assert given["goodput_per_s"] is None
    assert "as given: saturated: TTFT grows with the length of the run" in entrepot(*asked, columns=250).out


def test_a_trace_has_its_own_lengths_and_bursts() -> None:
    """Prompts that the cache still has are not read again, and input that is cached has its own price."""
    asked = ("plan", "price", *ON, "--layout", "dp8_ep8", "--trace", "mooncake_conversation", "--json")
    plain = entrepot(*asked).json["loads"]["most within the SLO"]
    cached = entrepot(*asked, "--prefix-cache", "5000000").json["loads"]["most within the SLO"]
    assert cached["requests_per_s"] > plain["requests_per_s"]
    assert cached["usd_per_mtok"]["≤ 32K"]["cached input"] < cached["usd_per_mtok"]["≤ 32K"]["input"]


def test_bursts_and_larger_shares_lower_what_is_promised() -> None:
    """And speculative decoding raises it."""
    asked = (
        "plan",
        "capacity",
        *ON,
        "--layout",
        "dp8_ep8",
        "--ttft-s",
        "4",
        "--tokens-per-s",
        "20",
        "--json",
    )
    rates = [
        entrepot(*asked, *more).json["loads"]["most within the SLO"]["requests_per_s"]
        for more in ((), ("--burst", "3"), ("--share", "0.99"), ("--cautious",), ("--tokens-per-step", "2.5"))
    ]
    assert max(rates[1:4]) < rates[0] < rates[4]


def test_hosting_is_compared_with_an_api_by_who_owns_the_hardware() -> None:
    """Deployments the cheapest first; three tiers; the bill of the same request."""
    asked = ("plan", "compare", *ON, "--gpu", "b200", "--layout", "tp8", "--layout", "dp8_ep8")
    asked = (*asked, "--tokens-per-s", "25", "--request", "3000+1000:800", "--api", "0.55/0.14/2.19")
    shown = entrepot(*asked, "--json").json
    prices = [one["blended_usd_per_mtok"] for one in shown["deployments"]]
    assert prices == sorted(prices)
    assert len(shown["break_even"]) == 3
    for one in shown["break_even"]:
        assert one["api_usd_per_mtok"] == pytest.approx((3000 * 0.55 + 1000 * 0.14 + 800 * 2.19) / 4800)
        assert one["first_tokens_per_day"] == pytest.approx(
            one["usd_per_day"] / one["api_usd_per_mtok"] * 1e6
        )
    ran = entrepot(*asked, columns=220)
    assert "cheaper from, Mtok/day" in ran.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("price", *ON, "--layout", "dp8_ep8", "--tokens-per-s", "9000"),
            "where requests hardly meet",
        ),
        (("capacity", *ON, "--trace", "azure_2023_conv", "--request", "1:1"), "leave --request out"),
        (("capacity", *ON, "--trace", "nothing_like_it"), "nothing_like_it"),
        (("capacity", *ON, "--share", "0"), "promises nothing"),
        (("capacity", *ON, "--plot", "x.gif"), "would be drawn as .gif"),
        (("price", *ON, "--layout", "dp8_ep8", "--demand", "2"), "expected RATE@USD_PER_REQUEST"),
        (("price", "--model", "deepseek-ai/DeepSeek-R1"), "needs --fleet, or --model and --gpu"),
        (("price", *ON, "--layout", "tp2"), "nearest that fits"),
        (("price", *ON, "--request", "9000000:5"), "use more GPUs or a shorter context"),
        (("price", *ON, "--request", "10:5@0"), "add up to 0"),
        (("capacity", *ON, "--demand-per-s", "5", "--hourly", "1 2 3"), "expected 24 numbers"),
        (("capacity", *ON, "--demand-per-s", "5", "--hourly", "nan" + " 1" * 23), "expected 24 numbers"),
        (("capacity", *ON, "--hourly", "1 " * 24), "add --demand-per-s"),
        (("capacity", *ON, "--prefix-cache", "5000"), "what prompts of a --trace share"),
        (("capacity", *ON, "--trace", "azure_2023_conv", "--burst", "2"), "leave --burst out"),
        (("capacity", *ON, "--burst", "inf"), "--burst inf: expected a finite number"),
        (("capacity", *ON, "--load-per-s", "0"), "nobody is there to bear the cost"),
        (("price", *ON, "--load-per-s", "0"), "nobody is there to bear the cost"),
        (("price", *ON, "--nodes", "5"), "add --fleet"),
        (("price", *ON, "--layout", "dp8_ep8", "--demand", "inf@1"), "expected RATE@USD_PER_REQUEST"),
        (("compare", *ON, "--api", "nan/1"), "expected INPUT/OUTPUT"),
        (("compare", *ON, "--api", "cheap"), "expected INPUT/OUTPUT or INPUT/CACHED/OUTPUT"),
        (("compare", *ON, "--request", "1:1", "--request", "2:2"), "takes one --request"),
        (("compare", *ON, "--tokens-per-s", "9000"), "no deployment keeps the SLO"),
    ],
)
def test_what_cannot_be_is_refused_by_name(arguments: tuple[str, ...], words: str) -> None:
    """Exit 2, with what was expected or is nearest."""
    ran = entrepot("plan", *arguments)
    assert ran.status == 2
    assert words in ran.err
