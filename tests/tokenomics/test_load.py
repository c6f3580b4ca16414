"""A replica under a steady load: batches that random arrivals make, and prices that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.tokenomics.load import Mix, Overloaded, PricedReplica, RequestClass, Steady
from entrepot.tokenomics.price import USUAL_TIERS, Kind, Part, PriceList
from tests.tokenomics.clocks import LinearClock

CHAT = Mix([RequestClass(1000, 500)])
REPLICA = PricedReplica(LinearClock(), usd_per_hour=16.0)


def steady(mix: Mix, rate: float, replica: PricedReplica = REPLICA) -> Steady:
    """Return the state under a load that the replica can carry."""
    state = replica.steady(mix, rate)
    assert isinstance(state, Steady)
    return state


def priced(mix: Mix, rate: float, replica: PricedReplica = REPLICA, margin: float = 0.0) -> PriceList:
    """Return the prices at a load that the replica can carry."""
    prices = replica.price(mix, rate, margin=margin)
    assert isinstance(prices, PriceList)
    return prices


sizes = st.builds(
    RequestClass,
    uncached_tokens=st.floats(0, 50_000),
    cached_tokens=st.one_of(st.just(0.0), st.floats(0, 50_000)),
    output_tokens=st.floats(1, 8_000),
    share=st.just(0.5),
)


@settings(deadline=None)
@given(sizes, sizes, st.floats(1e-4, 1.0), st.floats(0, 3))
def test_prices_pay_for_the_replica_at_every_load(
    first: RequestClass, second: RequestClass, part: float, margin: float
) -> None:
    """From a model of steps to prices by tier nothing is lost: to 1e-9, at any load and mix."""
    mix = Mix([first, second], USUAL_TIERS)
    rate = REPLICA.capacity_per_s(mix) * part
    prices = priced(mix, rate, margin=margin)
    assert prices.revenue_usd == pytest.approx(16.0 / 3600 * (1 + margin), rel=1e-9)
    state = steady(mix, rate)
    whole = state.work.busy_s.sum() + state.work.kv_busy_s
    assert whole == pytest.approx(state.busy_share, rel=1e-9)


def test_output_is_what_was_asked_for() -> None:
    """Little's law: requests in flight over a step is tokens per second."""
    state = steady(CHAT, 3.0)
    assert state.in_flight / state.step_s == pytest.approx(3.0 * 500, rel=1e-9)
    assert state.tokens.sum() == pytest.approx(3.0 * 1500)


def test_a_replica_without_much_to_do_is_empty_as_often_as_chance_says() -> None:
    """Idle for e^−N of the time, and never a batch below one."""
    state = steady(CHAT, 0.02)
    assert 1 - state.busy_share == pytest.approx(exp(-state.in_flight), rel=1e-6)
    assert state.batch >= 1
    assert priced(CHAT, 0.02).shares[Part.IDLE] == pytest.approx(exp(-state.in_flight), rel=1e-6)


@settings(deadline=None)
@given(st.floats(1e-3, 0.98))
def test_more_load_is_never_dearer_per_token(part: float) -> None:
    """What a batch buys: the same GPU-hour over more tokens; each user waits longer for a token."""
    most = REPLICA.capacity_per_s(CHAT)
    less, more = part * most, (part + 0.01) * most
    assert priced(CHAT, more).price(Kind.OUTPUT) < priced(CHAT, less).price(Kind.OUTPUT)
    assert steady(CHAT, more).step_s >= steady(CHAT, less).step_s


def test_a_long_context_pays_for_the_room_it_takes() -> None:
    """By tier: output beyond 32K costs more, though its arithmetic is the same."""
    mix = Mix([RequestClass(1000, 500, share=0.9), RequestClass(60_000, 500, share=0.1)], USUAL_TIERS)
    prices = priced(mix, 0.2)
    short, middle, long = prices.usd_per_mtok[:, Kind.INPUT]
    assert middle > short
    assert np.isnan(long)


def test_cached_tokens_are_cheap_and_not_free() -> None:
    """They are attended to and held as long as any, but not computed."""
    prices = priced(Mix([RequestClass(1000, 500, cached_tokens=3000)]), 2.0)
    assert 0 < prices.price(Kind.CACHED) < prices.price(Kind.INPUT) / 2


@settings(deadline=None)
@given(st.floats(1, 100_000), st.floats(1, 100_000), st.floats(1, 8000))
def test_a_cached_token_never_costs_more_than_one_that_is_read(
    uncached: float, cached: float, output: float
) -> None:
    """Even where attention is all there is: each pair is shared by its two tokens."""
    mix = Mix([RequestClass(uncached, output, cached)])
    prices = priced(mix, REPLICA.capacity_per_s(mix) / 2)
    assert prices.price(Kind.CACHED) <= prices.price(Kind.INPUT) * (1 + 1e-9)


def test_a_load_beyond_the_full_batch_is_refused_with_the_most_that_is_possible() -> None:
    """A queue that grows without end has no price."""
    most = REPLICA.capacity_per_s(CHAT)
    refused = REPLICA.price(CHAT, most * 1.01)
    assert isinstance(refused, Overloaded)
    assert refused.most_per_s == pytest.approx(most)
    assert steady(CHAT, most).busy_share == pytest.approx(1.0)


def test_a_request_that_does_not_fit_is_refused_by_its_size() -> None:
    """Even one of them: the message names what the cache holds and what the request needs."""
    refused = REPLICA.steady(Mix([RequestClass(500_000, 500)]), 0.1)
    assert isinstance(refused, Overloaded)
    assert refused.most_per_s == 0
    assert "holds 400,000 tokens, the longest request 500,500" in refused.reason


def test_a_limit_of_the_batch_holds_before_the_cache_is_full() -> None:
    """Engines have max_num_seqs."""
    small = PricedReplica(LinearClock(), usd_per_hour=16.0, most_batch=8)
    assert small.capacity_per_s(CHAT) < REPLICA.capacity_per_s(CHAT)
    assert steady(CHAT, small.capacity_per_s(CHAT), small).batch == pytest.approx(8)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ([RequestClass(10, 10, share=0.4)], "add up to 0.4"),
        ([RequestClass(-1, 10)], "fewer than 0 prompt tokens"),
        ([RequestClass(10, 0)], "than 1 of output"),
    ],
)
def test_sizes_that_cannot_be_are_refused(classes: list[RequestClass], words: str) -> None:
    """Before they become prices."""
    with pytest.raises(ValueError, match=words):
        Mix(classes)


@dataclass(frozen=True)
class LaunchingClock(LinearClock):
    """A clock whose steps with a prompt cost something once, whatever its length."""

    reading_s: float = 0.1

    def step_s(
        self, decoding: float, held_tokens: float, prompt_tokens: float = 0.0, prompt_pairs: float = 0.0
    ) -> float:
        """Return the seconds of one step."""
        plain = super().step_s(decoding, held_tokens, prompt_tokens, prompt_pairs)
        return plain + (self.reading_s if prompt_tokens else 0.0)


def test_what_reading_a_prompt_costs_once_is_paid_once_per_prompt() -> None:
    """A mean step has a little of a prompt, but real steps have a whole piece or none."""
    plain, launching = (
        steady(CHAT, 1.0, PricedReplica(clock, usd_per_hour=16.0))
        for clock in (LinearClock(), LaunchingClock())
    )
    more = launching.work.busy_s[0, Kind.INPUT] - plain.work.busy_s[0, Kind.INPUT]
    assert more == pytest.approx(1.0 * 0.1, rel=1e-6)
