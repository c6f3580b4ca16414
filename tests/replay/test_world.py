"""The true expected score: against draws, by hand, and as the measure that nobody beats."""

from __future__ import annotations

from itertools import permutations
from statistics import fmean

import pytest

from entrepot.replay.scenario import CacheFigures, Drift, Phase, PriceChange, ReplayModel
from entrepot.replay.trace import TraceRequest
from entrepot.replay.world import LEAST_ANSWERED
from tests.replay.builders import (
    MODEL,
    V_USD_PER_S,
    InOrder,
    endpoint,
    prices,
    run_of,
    scenario,
    steady_trace,
    trace,
    world,
)

ONE = TraceRequest(0.0, 1000, 100)
FLAWED = {
    "spread_ttft": 0.5,
    "spread_tpot": 0.3,
    "failure_share": 0.1,
    "failure_s": 4.0,
    "rate_limited_share": 0.1,
    "cut_share": 0.15,
}


def test_the_score_is_dollars_and_waiting() -> None:
    """1000 tokens in at $1/M, 100 out at $2/M, 1 s + 100 × 0.01 s at a cent a second: $0.0012 + $0.02."""
    state = world(scenario(endpoint()), steady_trace(1))
    state.expect(0, ONE, 0.0)
    assert state.order_score([0]) == pytest.approx(0.0012 + V_USD_PER_S * 2.0)


def test_load_lengthens_both_times_of_one_more_request() -> None:
    """`capacity_requests` under way double TTFT (prefill included) and the time per token."""
    at = endpoint(capacity_requests=4.0, prefill_tokens_per_s=1000.0)
    state = world(scenario(at), steady_trace(1))
    state.places[0].in_flight = 4
    state.expect(0, ONE, 0.0)
    assert state.order_score([0]) == pytest.approx(0.0012 + V_USD_PER_S * 2.0 * (1.0 + 1.0 + 1.0))


def test_a_failure_costs_its_time_what_was_billed_and_the_rest_of_the_order() -> None:
    """By hand: a fails half of the time after 4 s and goes on to b, which always answers."""
    at, other = endpoint("a", failure_share=0.5, failure_s=4.0), endpoint("b", ttft_s=3.0)
    state = world(scenario(at, other), steady_trace(1))
    state.expect(0, ONE, 0.0)
    a, b = 0.0012 + V_USD_PER_S * 2.0, 0.0012 + V_USD_PER_S * 4.0
    assert state.order_score([0, 1]) == pytest.approx(0.5 * a + 0.5 * (V_USD_PER_S * 4.0 + b))
    assert state.order_score([1, 0]) == pytest.approx(b)


def test_after_the_last_the_sender_starts_again() -> None:
    """Alone with half of its attempts failing: one failure is expected per answer."""
    state = world(scenario(endpoint(failure_share=0.5, failure_s=4.0)), steady_trace(1))
    state.expect(0, ONE, 0.0)
    assert state.order_score([0]) == pytest.approx(0.0012 + V_USD_PER_S * (2.0 + 4.0))


def test_who_leaves_fallbacks_out_is_scored_with_them() -> None:
    """An order of one endpoint costs what it costs with the others behind it, and never less."""
    figures = [(1.0, 0.3), (2.0, 0.1), (3.0, 0.0)]
    of = scenario(*(endpoint(str(ttft_s), ttft_s=ttft_s, failure_share=share) for ttft_s, share in figures))
    state = world(of, steady_trace(1))
    state.expect(0, ONE, 0.0)
    assert state.order_score([0]) == state.order_score([0, 1, 2])
    assert state.order_score([2]) == state.order_score([2, 0, 1])


def test_a_world_in_outage_costs_a_hundred_rounds_and_an_answer() -> None:
    """Nobody waits for ever; an answer that nobody gives is not free, even where only dollars count."""
    of = scenario(
        endpoint("a", phases=(Phase(0.0, outage=True),), failure_s=4.0),
        endpoint("b", most_requests=1, prices=prices("0.5", "1")),
    )
    for usd_per_s in (0.0, V_USD_PER_S):
        state = world(of, steady_trace(1), usd_per_s)
        state.places[1].in_flight = 1
        state.expect(0, ONE, 0.0)
        answer = 0.0006 + usd_per_s * 2.0
        rounds = usd_per_s * (4.0 + 0.2) / LEAST_ANSWERED
        assert state.order_score([0, 1]) == pytest.approx(rounds + answer)


@pytest.mark.parametrize("order", [[0], [0, 1]])
def test_the_expected_score_is_the_mean_of_the_draws(order: list[int]) -> None:
    """Over 30,000 requests without load, drawn dollars and seconds come to what was expected of them.

    Failures, 429s, cut streams, noise and answers of changing length included; a sender whose order is
    through starts again, as the score takes it.
    """
    both = (endpoint("a", **FLAWED), endpoint("b", **{**FLAWED, "ttft_s": 3.0, "cut_share": 0.0}))
    of = scenario(*both[: len(order)])
    on = trace(*((number * 1000.0, 1000, 50 if number % 2 else 150) for number in range(30_000)))
    run = run_of(of, on, InOrder(order))
    spent = sum(run.dollars) + V_USD_PER_S * sum(run.seconds)
    assert spent / sum(run.answered) == pytest.approx(fmean(run.scores), rel=0.01)


def test_the_expected_attainment_is_the_share_that_is_in_time() -> None:
    """How probable a whole answer within 3 s was said to be, and how many were."""
    flawed = endpoint("a", **{**FLAWED, "cut_share": 0.02})
    of = scenario(flawed, endpoint("b", ttft_s=0.3, spread_ttft=0.5))
    on = trace(*((number * 1000.0, 1000, 20 + number % 300) for number in range(20_000)))
    run = run_of(of, on, InOrder([0, 1]), answer_s=3.0)
    share = fmean(done and took <= 3.0 for done, took in zip(run.answered, run.seconds, strict=True))
    assert share == pytest.approx(fmean(run.attained), abs=0.01)


def test_the_best_order_is_the_best_of_all_orders() -> None:
    """Ordering by cost per answer finds what trying all 120 orders finds."""
    figures = [(0.5, 1.0, 0.3), (0.9, 5.0, 0.05), (0.2, 0.2, 0.8), (3.0, 1.0, 0.0), (0.4, 9.0, 0.4)]
    of = scenario(
        *(
            endpoint(str(place), ttft_s=ttft_s, failure_s=failure_s, failure_share=share)
            for place, (ttft_s, failure_s, share) in enumerate(figures)
        )
    )
    state = world(of, steady_trace(1))
    state.expect(0, ONE, 0.0)
    least = min(state.order_score(order) for order in permutations(range(5)))
    assert state.order_score(state.best_order()) == pytest.approx(least)


def test_within_a_limit_the_best_order_begins_with_who_holds_it() -> None:
    """The cheap one takes 11 s; asked for 5 s the fast one comes first, asked for 0.1 s the nearest."""
    of = scenario(
        endpoint("slow", ttft_s=10.0, prices=prices("0.01", "0.01")),
        endpoint("fast", ttft_s=0.5, prices=prices("90", "900")),
    )
    state = world(of, steady_trace(1))
    state.expect(0, ONE, 0.0)
    assert state.best_order()[0] == 0
    assert state.best_order_within(5.0, 0.9) == ([1, 0], 1.0)
    assert state.best_order_within(20.0, 0.9) == ([0, 1], 1.0)
    assert state.best_order_within(0.1, 0.9)[1] == 0.0


def test_a_full_or_too_small_endpoint_refuses() -> None:
    """A 429 above `most_requests`, a refusal above the window: certain failures, known after a round trip."""
    of = scenario(endpoint("full", most_requests=2), endpoint("small", context_tokens=1000), endpoint("c"))
    state = world(of, steady_trace(1))
    state.places[0].in_flight = 2
    state.expect(0, ONE, 0.0)
    assert state.failures == [1.0, 1.0, 0.0]
    assert state.best_order()[0] == 2


@pytest.mark.parametrize(
    ("order", "tried"),
    [
        ([0, 1, 2, 3, 4], [0, 2, 3, 4]),
        ([2, 1, 0], [2]),
        ([1, 0, 4, 2], [1, 4, 2]),
        ([3, 0, 1, 4], [3, 0, 4]),
        ([4, 3], [4, 3]),
        ([], []),
    ],
)
def test_after_a_refusal_by_length_only_larger_windows_are_tried(order: list[int], tried: list[int]) -> None:
    """As in the gateway: who said that the prompt is too long spares those with no larger window."""
    windows = (500, 500, 1000, 2000, 3000)
    ends = [endpoint(f"e{place}", context_tokens=window) for place, window in enumerate(windows)]
    state = world(scenario(*ends), steady_trace(1))
    state.expect(0, TraceRequest(0.0, 1000, 100), 0.0)
    assert list(state.tried(order)) == tried
    state.expect(0, TraceRequest(0.0, 100, 100), 0.0)
    assert list(state.tried(order)) == order


def test_drifts_and_phases_act_in_their_seconds_only() -> None:
    """A quarter of a period in, a drift is at its height; a phase is over at `until_s`."""
    at = endpoint(
        drifts=(Drift("ttft_s", 400.0, 0.5),),
        phases=(Phase(50.0, 60.0, tokens_per_s_times=0.5, background_requests=3.0),),
    )
    state = world(scenario(at), steady_trace(1))
    place = state.places[0]
    assert (place.ttft_s, place.tpot_s, place.others) == (1.0, 0.01, 0.0)
    state.move(55.0)
    assert (place.tpot_s, place.others) == (0.02, 3.0)
    state.move(60.0)
    assert place.others == 0.0
    state.move(100.0)
    assert place.ttft_s == pytest.approx(2.718281828**0.5)


def test_prices_change_at_their_time_and_are_told_once() -> None:
    """`move` says which prices are new, so that routers hear of them."""
    new = prices("3", "6")
    state = world(scenario(endpoint(price_changes=(PriceChange(100.0, new),))), steady_trace(1))
    assert state.move(99.0) == {}
    assert state.move(100.5) == {0: new}
    assert state.move(101.5) == {}
    state.expect(0, ONE, 101.5)
    assert state.order_score([0]) == pytest.approx(0.0036 + V_USD_PER_S * 2.0)


@pytest.mark.parametrize(("honours", "usd_per_mtok"), [(True, 0.1), (False, 1.0)])
def test_cached_tokens_cost_their_price_where_it_is_honoured(*, honours: bool, usd_per_mtok: float) -> None:
    """1024 of 1500 tokens were seen before: not computed again, and charged as the host really charges."""
    at = endpoint(
        prices=prices("1", "2", "0.1"),
        cache=CacheFigures(10),
        honours_cached_price=honours,
        prefill_tokens_per_s=1000.0,
    )
    state = world(scenario(at), steady_trace(1))
    cache = state.places[0].cache
    assert cache is not None
    cache.add((1, 2), 0.0)
    state.expect(0, TraceRequest(0.0, 1500, 100, (1, 2, 9)), 0.0)
    dollars = (476 * 1.0 + 1024 * usd_per_mtok + 100 * 2.0) / 1e6
    assert state.order_score([0]) == pytest.approx(dollars + V_USD_PER_S * (1.0 + 0.476 + 1.0))


def test_a_verbose_model_writes_more_of_the_same_answer() -> None:
    """Verbosity multiplies the trace's lengths; drawn lengths have the mean that was given."""
    models = [ReplayModel(MODEL, verbosity=3.0), ReplayModel("test/drawn", verbosity_tokens=700.0)]
    state = world(scenario(endpoint(), endpoint("b", model="test/drawn"), models=models), steady_trace(1))
    assert [place.mean_tokens for place in state.places] == [300.0, 700.0]
