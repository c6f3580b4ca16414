"""A split replica under random arrivals: two pools, two bills, and which of them is full first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.tokenomics.load import Mix, Overloaded, PricedReplica, ReplicaUnderLoad, RequestClass
from entrepot.tokenomics.price import USUAL_TIERS, Kind, Part, PriceList
from entrepot.tokenomics.priced_load import PricesByLoad, prices_by_load
from entrepot.tokenomics.reading import reading_of
from entrepot.tokenomics.split_replica import SplitReplica, SplitSteady
from tests.tokenomics.splits import DP16, LLAMA, TP2, TP4, TP8, split_offer

CHAT = Mix([RequestClass(4096, 1024)])
TIERED = Mix([RequestClass(1000, 500, share=0.9), RequestClass(40_000, 500, 8000, 0.1)], USUAL_TIERS)
R1 = split_offer((2, TP8), (1, DP16)).replica()


def steady(replica: SplitReplica, mix: Mix, rate_per_s: float) -> SplitSteady:
    """Return the state under a load that it can carry."""
    state = replica.steady(mix, rate_per_s)
    assert isinstance(state, SplitSteady)
    return state


def priced(replica: ReplicaUnderLoad, mix: Mix, rate_per_s: float, margin: float = 0.0) -> PriceList:
    """Return the prices at a load that it can carry."""
    prices = replica.price(mix, rate_per_s, margin=margin)
    assert isinstance(prices, PriceList)
    return prices


sizes = st.builds(
    RequestClass,
    uncached_tokens=st.one_of(st.just(0.0), st.floats(1, 50_000)),
    cached_tokens=st.one_of(st.just(0.0), st.floats(1, 50_000)),
    output_tokens=st.floats(1, 8_000),
    share=st.just(0.5),
)


@settings(deadline=None, max_examples=60)
@given(sizes, sizes, st.floats(1e-4, 1.0), st.floats(0, 3))
def test_prices_pay_for_both_pools_at_every_load(
    first: RequestClass, second: RequestClass, part: float, margin: float
) -> None:
    """To 1e-9, at any mix and part of the capacity."""
    mix = Mix([first, second], USUAL_TIERS)
    rate = R1.capacity_per_s(mix) * part
    prices = priced(R1, mix, rate, margin)
    assert prices.revenue_usd == pytest.approx(R1.usd_per_hour / 3600 * (1 + margin), rel=1e-9)
    assert prices.shares.sum() == pytest.approx(1)


def test_readers_are_busy_for_what_they_read_and_nothing_rides_along() -> None:
    """Rate × seconds of a prompt over the workers; steps of the decode pool are those of its clock."""
    rate = 1.5
    state = steady(R1, CHAT, rate)
    each = reading_of(R1.prefill, np.array([4096.0]), np.zeros(1))
    assert state.reading_share == pytest.approx(rate * each.alone_s[0] / 2)
    assert state.reading.busy_s.sum() == pytest.approx(2 * state.reading_share)
    held = state.batch * (4096 + 512)
    assert state.step_s == pytest.approx(R1.decode.clock.step_s(state.batch, held))
    assert state.in_flight > state.batch * state.busy_share
    assert state.tokens.sum() == pytest.approx(rate * 5120)


def test_each_decode_worker_has_its_part_of_the_load() -> None:
    """Three of them at three times the load are in the state of one."""
    one, three = (split_offer((9, TP8), (count, TP8)).replica() for count in (1, 3))
    alone, together = steady(one, CHAT, 0.5), steady(three, CHAT, 1.5)
    assert together.step_s == pytest.approx(alone.step_s)
    assert together.work.busy_s.sum() == pytest.approx(3 * alone.work.busy_s.sum())


def test_the_pool_that_is_full_first_is_named() -> None:
    """With the most that is possible: a price there still pays."""
    readers = R1.steady(CHAT, 1000.0)
    assert isinstance(readers, Overloaded)
    assert readers.reason.startswith("the prefill pool of 2 reads ")
    assert readers.most_per_s == R1.capacity_per_s(CHAT)
    many = split_offer((40, TP8), (2, TP8)).replica()
    writers = many.steady(CHAT, 1000.0)
    assert isinstance(writers, Overloaded)
    assert writers.reason.startswith("the decode pool of 2: in each a full batch of ")
    assert writers.most_per_s == pytest.approx(many.capacity_per_s(CHAT))
    for replica in (R1, many):
        assert priced(replica, CHAT, replica.capacity_per_s(CHAT)).conservation_error < 1e-9


@pytest.mark.parametrize(
    ("prefill", "decode", "words"),
    [
        (TP2, TP4, "the prefill pool of 1 cannot hold the longest prompt of 500,000 tokens"),
        (TP4, TP2, "the decode pool of 1: in each the KV cache holds"),
    ],
)
def test_a_request_that_a_pool_cannot_hold_is_refused_by_it(
    prefill: dict[str, int], decode: dict[str, int], words: str
) -> None:
    """At any load."""
    replica = split_offer((1, prefill), (1, decode), LLAMA, "h100").replica()
    mix = Mix([RequestClass(500_000, 100)])
    assert replica.capacity_per_s(mix) == 0
    refused = replica.steady(mix, 1e-6)
    assert isinstance(refused, Overloaded)
    assert refused.most_per_s == 0
    assert refused.reason.startswith(words)


def test_more_readers_cost_input_and_not_output() -> None:
    """The idle time of a pool is borne by those that it serves."""
    prices = [priced(split_offer((count, TP8), (1, DP16)).replica(), TIERED, 1.0) for count in (1, 4)]
    for tier in (0, 1):
        lean, ample = (one.usd_per_mtok[tier] for one in prices)
        assert ample[Kind.OUTPUT] == pytest.approx(lean[Kind.OUTPUT])
        assert ample[Kind.INPUT] > 1.5 * lean[Kind.INPUT]
    assert prices[1].shares[Part.IDLE] > prices[0].shares[Part.IDLE]
    assert prices[0].usd_per_mtok[1, Kind.INPUT] > prices[0].usd_per_mtok[0, Kind.INPUT]


def test_it_has_prices_at_the_three_loads() -> None:
    """Whatever asks for a replica's prices takes it."""
    found = prices_by_load(R1, CHAT, given_per_s=2.0, slo_per_s=6.0)
    assert isinstance(found, PricesByLoad)
    assert isinstance(found.given, PriceList)
    assert found.at_slo.price(Kind.OUTPUT) < found.given.price(Kind.OUTPUT)


def test_a_replica_that_gets_prompts_read_takes_no_time_for_them() -> None:
    """Its steps are faster, and input pays only for being held."""
    clock = R1.decode.clock
    whole, spared = PricedReplica(clock, 10.0), PricedReplica(clock, 10.0, reads_prompts=False)
    assert spared.step_s(CHAT, 64.0) == pytest.approx(clock.step_s(64.0, 64 * 4608.0))
    assert spared.step_s(CHAT, 64.0) < whole.step_s(CHAT, 64.0)
    assert priced(spared, CHAT, 1.0).shares[Part.PREFILL] == 0
