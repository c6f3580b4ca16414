"""The simulation: what holds in every run, and what a router is shown of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.domain.outcome import Outcome
from entrepot.replay.generated import generated_scenario
from entrepot.replay.routers import ORACLE, ROUTERS
from entrepot.replay.scenario import CacheFigures, Phase, PriceChange, ReplayScenario
from entrepot.replay.simulate import Run, fitting
from entrepot.replay.trace_files import load_trace
from tests.replay.builders import (
    V_USD_PER_HOUR,
    InOrder,
    endpoint,
    prices,
    run_of,
    scenario,
    steady_trace,
    trace,
)


def told_by(run: Run) -> tuple[object, ...]:
    """Return all of a run but the times that it took to compute."""
    return (
        run.scores,
        run.best_scores,
        run.seconds,
        run.dollars,
        run.answered,
        run.attempts,
        run.first_choices,
    )


@pytest.mark.parametrize("name", ROUTERS)
def test_the_same_seed_gives_the_same_run(name: str) -> None:
    """A figure in a report can be had again: every router is a function of trace, scenario and seed."""
    of, on = generated_scenario(3), load_trace("azure_2023_conv").first(300)
    runs = [told_by(run_of(of, on, ROUTERS[name], seed=seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@given(st.integers(0, 10_000), st.sampled_from(sorted(ROUTERS)))
@settings(max_examples=40, deadline=None)
def test_every_request_ends_and_nothing_stays_under_way(seed: int, name: str) -> None:
    """Whatever the scenario and the router: each request is answered or failed everywhere, once.

    First choices are as many as requests; attempts are at least as many, and at most one per endpoint and
    request; no expectation is below that of the best order; an answer takes time, and costs where it has a
    price.
    """
    of = generated_scenario(seed)
    on = fitting(load_trace("mooncake_conversation").first(80), of)
    run = run_of(of, on, ROUTERS[name], seed=seed)
    size = len(on.requests)
    assert run.in_flight == 0
    assert sum(run.first_choices) == size <= sum(run.attempts) <= size * len(of.endpoints)
    assert all(took > 0 for took in run.seconds)
    assert all(cost > 0 for cost, done in zip(run.dollars, run.answered, strict=True) if done)
    for score, best in zip(run.scores, run.best_scores, strict=True):
        assert math.isfinite(score)
        assert run.sent_on or score >= best * (1 - 1e-9)


def test_the_oracle_is_the_best_in_every_state() -> None:
    """One-shot: in the state before each request nobody's order has a lower true score than the oracle's."""
    of, on = generated_scenario(7), load_trace("azure_2023_conv").first(500)
    run = run_of(of, on, ROUTERS[ORACLE])
    assert run.scores == pytest.approx(run.best_scores)


def test_the_luck_of_a_request_does_not_depend_on_the_router() -> None:
    """Common random numbers: asked alone, an endpoint does the same, whoever else was asked before."""
    of = scenario(endpoint("a", spread_ttft=0.5, spread_tpot=0.5), endpoint("b", spread_ttft=0.5))
    on = steady_trace(50, every_s=100.0)
    alone, after = InOrder([0]), _Alternating()
    first, second = run_of(of, on, alone), run_of(of, on, lambda _: after)
    assert first.seconds[::2] == second.seconds[::2]
    assert first.seconds[1::2] != second.seconds[1::2]


class _Alternating(InOrder):
    """Asks endpoint 0 for even requests and 1 for odd ones."""

    def __init__(self) -> None:
        super().__init__([0])
        self._count = 0

    def choose(self, asked: object, now_s: float) -> Sequence[int]:
        self._count += 1
        return [(self._count - 1) % 2]


def test_a_router_learns_when_an_attempt_ends_and_not_before() -> None:
    """Answers take 2 s: what comes after one second is chosen without the first's outcome."""
    router = _Counting()
    run_of(scenario(endpoint()), trace((0.0, 10, 100), (1.0, 10, 100), (2.5, 10, 100)), lambda _: router)
    assert router.known == [0, 0, 1]


class _Counting(InOrder):
    """Keeps how many observations it had at each choice."""

    def __init__(self) -> None:
        super().__init__([0])
        self.known: list[int] = []

    def choose(self, asked: object, now_s: float) -> Sequence[int]:
        self.known.append(len(self.observations))
        return self.order


def test_our_own_requests_slow_each_other_down() -> None:
    """With a capacity of one, a second request that comes while the first is served takes twice as long."""
    on = trace((0.0, 1, 100), (1.0, 1, 100))
    run = run_of(scenario(endpoint(capacity_requests=1.0)), on, InOrder([0]))
    assert run.seconds == pytest.approx([2.0, 4.0])


def test_an_answer_is_observed_as_the_gateway_observes_it() -> None:
    """Times, tokens and bytes of an answer, the cached tokens that the host reports among them."""
    of = scenario(endpoint(cache=CacheFigures(100), prefill_tokens_per_s=1000.0))
    on = trace((0.0, 1500, 100), (100.0, 1500, 100), blocks={0: (1, 2), 1: (1, 2)})
    router = InOrder([0])
    run_of(of, on, router)
    first, second = router.observations
    assert (first.outcome, first.prompt_tokens, first.output_tokens, first.cached_tokens) == (
        Outcome.OK,
        1500,
        100,
        0,
    )
    assert (first.ttft_s, first.tpot_s, first.answer_s) == pytest.approx((2.5, 0.01, 3.5))
    assert (first.wire_bytes, first.at_s) == (20_000, pytest.approx(3.5))
    assert 3000 < first.prompt_bytes < 12_000
    assert second.cached_tokens == 1024
    assert second.ttft_s == pytest.approx(1.476)


@pytest.mark.parametrize(
    ("figures", "outcome", "after_s"),
    [
        ({"failure_share": 1.0, "failure_s": 4.0}, Outcome.FAILED, 4.0),
        ({"rate_limited_share": 1.0}, Outcome.RATE_LIMITED, 0.2),
        ({"context_tokens": 500}, Outcome.REFUSED, 0.2),
        ({"phases": (Phase(0.0, outage=True),), "failure_s": 7.0}, Outcome.FAILED, 7.0),
    ],
)
def test_after_a_failure_the_next_in_the_order_is_tried(
    figures: Mapping[str, object], outcome: Outcome, after_s: float
) -> None:
    """One row per failure before the answer: nothing is billed, the next begins when the failure is known."""
    router = InOrder([0, 1])
    run = run_of(scenario(endpoint("a", **figures), endpoint("b")), trace((0.0, 1000, 100)), router)
    failed, answered = router.observations
    assert (failed.outcome, failed.ttft_s, failed.output_tokens) == (outcome, None, None)
    assert failed.answer_s == pytest.approx(after_s)
    assert (answered.endpoint_index, answered.outcome) == (1, Outcome.OK)
    assert run.seconds == pytest.approx([after_s + 2.0])
    assert run.dollars == pytest.approx([0.0012])


def test_a_prompt_too_long_for_one_window_is_asked_of_larger_ones_only() -> None:
    """The second window is no larger than the first, which refused: it costs no attempt and no round trip."""
    of = scenario(
        endpoint("a", context_tokens=500), endpoint("b", context_tokens=500), endpoint("c", ttft_s=3.0)
    )
    run = run_of(of, trace((0.0, 1000, 100)), InOrder([0, 1, 2]))
    assert run.attempts == [1, 0, 1]
    assert run.seconds == pytest.approx([0.2 + 4.0])
    assert run.scores == pytest.approx([0.0012 + 4.2 * V_USD_PER_HOUR / 3600])


def test_a_cut_stream_is_billed_and_tried_elsewhere() -> None:
    """What was written before the break costs; the observation has its bytes and no token counts."""
    router = InOrder([0, 1])
    run = run_of(scenario(endpoint("a", cut_share=1.0), endpoint("b")), trace((0.0, 1000, 100)), router)
    cut, _ = router.observations
    assert cut.outcome is Outcome.TRUNCATED
    assert (cut.prompt_tokens, cut.output_tokens) == (None, None)
    written = cut.wire_bytes // 200
    assert 1 <= written <= 100
    assert run.dollars == pytest.approx([0.0012 + 0.001 + written * 2e-6])
    assert run.answered == [True]


def test_a_request_that_fails_everywhere_is_not_answered() -> None:
    """The sender sees a failure after both attempts."""
    of = scenario(endpoint("a", failure_share=1.0), endpoint("b", failure_share=1.0, failure_s=2.0))
    run = run_of(of, steady_trace(3), InOrder([0, 1]))
    assert run.answered == [False] * 3
    assert run.seconds == pytest.approx([3.0] * 3)


def test_a_refusal_is_unanswered_and_starts_nothing() -> None:
    """A router that returns no endpoint has served nobody; its score is that of trying all as they stand."""
    run = run_of(scenario(endpoint()), steady_trace(2), InOrder([]))
    assert (run.answered, run.attempts) == ([False, False], [0])
    assert all(score > 0 for score in run.scores)


def test_who_is_sent_on_is_scored_where_it_arrives() -> None:
    """Both ask the full one first; 0.2 s later one of them has the cheap place, and the other pays more.

    In the state of their arrival both would have counted on the cheap place.
    """
    of = scenario(
        endpoint("full", most_requests=1, ttft_s=1000.0),
        endpoint("cheap", most_requests=1),
        endpoint("dear", prices=prices("100", "200")),
    )
    run = run_of(of, trace((0.0, 1000, 100), (1.0, 1000, 100), (1.1, 1000, 100)), InOrder([0, 1, 2]))
    round_trip, waiting = 0.2 * V_USD_PER_HOUR / 3600, 2.0 * V_USD_PER_HOUR / 3600
    assert run.scores[1] == pytest.approx(round_trip + 0.0012 + waiting)
    assert run.scores[2] == pytest.approx(2 * round_trip + 0.12 + waiting)
    assert run.sent_on == 3


def test_new_prices_are_told_to_the_router_and_charged() -> None:
    """Prices that change at 15 s are known to the third request's choice and on its bill."""
    new, router = prices("2", "4"), InOrder([0])
    run = run_of(scenario(endpoint(price_changes=(PriceChange(15.0, new),))), steady_trace(3), router)
    assert router.prices == [{0: new}]
    assert run.dollars == pytest.approx([0.0012, 0.0012, 0.0024])


def test_prompts_that_fit_nowhere_are_left_out() -> None:
    """Nobody can serve them, so they tell nothing of routers."""
    on = trace((0.0, 1000, 1), (1.0, 100_000, 1), (2.0, 99_999, 1))
    assert [one.prompt_tokens for one in fitting(on, scenario(endpoint())).requests] == [1000, 99_999]


def test_every_router_serves_a_prompt_only_where_it_fits() -> None:
    """A prompt of 5,000 tokens goes to the one window that holds it, whatever the rule prefers."""
    cheap: ReplayScenario = scenario(
        endpoint("a", context_tokens=1000, prices=prices("0.1", "0.1")),
        endpoint("b"),
        endpoint("c", context_tokens=2000),
    )
    for name, make in ROUTERS.items():
        run = run_of(cheap, steady_trace(5, prompt=5000), make)
        assert run.first_choices == [0, 5, 0], name


def test_the_value_of_time_moves_our_choice() -> None:
    """At $0 the cheap and slow one, at $50 an hour the dear and fast one."""
    of = scenario(
        endpoint("slow", ttft_s=20.0, declared_ttft_s=20.0, prices=prices("0.1", "0.2")),
        endpoint("fast", ttft_s=0.5, declared_ttft_s=0.5, prices=prices("3", "9")),
    )
    chosen = {
        value: run_of(of, steady_trace(50), ROUTERS["entrepot"], usd_per_hour=value).first_choices
        for value in (0.0, V_USD_PER_HOUR)
    }
    assert chosen[0.0][0] > 45
    assert chosen[V_USD_PER_HOUR][1] > 45
