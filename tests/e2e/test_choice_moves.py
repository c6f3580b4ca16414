"""What an hour of waiting is worth decides where requests go, as anyone can see who counts them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.gateways import R1, Running, chat, demo

REQUESTS = 20
# Without local model, since only the simulated hosts have prices; 50 times faster, since they take minutes.
FLAGS = ("--no-local-model", "--speedup", "50")


@pytest.fixture(scope="module")
def three_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return a demo of the cheapest host and two that sell speed, with a default of $2 per hour."""
    directory = tmp_path_factory.mktemp("three") / "data"
    with demo(directory, "--hosts", "deepseek,parasail,azure", "--usd-per-hour", "2", *FLAGS) as here:
        yield here


@pytest.fixture(scope="module")
def six_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return a demo of all hosts."""
    with demo(tmp_path_factory.mktemp("six") / "data", *FLAGS) as here:
        yield here


def chosen_hosts(here: Running, usd_per_hour: float | None) -> Counter[str]:
    """Return how many of 20 requests were sent to which host first, those that explored left out.

    `usd_per_hour` None leaves the value of time to the gateway's default.
    """
    slo = {} if usd_per_hour is None else {"slo": {"usd_per_hour": usd_per_hour}}
    reasons = asyncio.run(_reasons(here, slo))
    asked = here.ask("requests", "--limit", str(REQUESTS))
    assert {request["id"] for request in asked} == set(reasons)
    return Counter(
        request["attempts"][0]["host"] for request in asked if "explored" not in reasons[request["id"]]
    )


async def _reasons(here: Running, slo: dict[str, object]) -> dict[str, str]:
    """Return the reason that each of 20 answers carries, by request id."""
    async with here.async_client() as client:
        ask = client.chat.completions.with_raw_response.create
        answers = await asyncio.gather(
            *(ask(**chat(max_tokens=3000), extra_body=slo) for _ in range(REQUESTS))
        )
    return {answer.headers["x-request-id"]: answer.headers["x-entrepot-reason"] for answer in answers}


def test_requests_leave_the_cheapest_host_between_nothing_and_two_dollars_an_hour(
    three_hosts: Running,
) -> None:
    """At $0 per hour all go to DeepSeek's host; at $2, asked for or by default, none does."""
    patient = chosen_hosts(three_hosts, 0)
    assert set(patient) == {"deepseek"}, patient
    for usd_per_hour in (2, None):
        hurried = chosen_hosts(three_hosts, usd_per_hour)
        assert "deepseek" not in hurried, hurried
        assert hurried["parasail"] > 0, hurried


@pytest.mark.parametrize("usd_per_hour", [0.05, 5])
def test_where_others_ask_the_same_price_and_wait_less_none_is_left_at_the_cheapest(
    six_hosts: Running, usd_per_hour: float
) -> None:
    """Lambda and Nebius ask DeepSeek's price and answer sooner: any value of time above 0 moves all."""
    hosts = chosen_hosts(six_hosts, usd_per_hour)
    assert (
        sum(hosts.values()) >= REQUESTS / 4
    )  # at five cents an hour the two are as good as equal, and both tried
    assert "deepseek" not in hosts, hosts


def test_sorting_by_price_beats_the_default_value_of_time(six_hosts: Running) -> None:
    """`sort: price` means that time is worth nothing, whatever the gateway's default is."""
    answer = six_hosts.post(chat(max_tokens=50, provider={"sort": "price", "only": ["deepseek", "parasail"]}))
    assert answer.headers["x-entrepot-endpoint"] == f"{R1}@deepseek"
