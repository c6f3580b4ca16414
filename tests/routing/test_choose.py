"""Where requests go: break-even values of time to the cent, ties, preferences, exploration."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from entrepot.domain.endpoint import Model, Operation
from entrepot.domain.outcome import Outcome
from entrepot.domain.request import MaxPrice, Preferences, Request, Slo, Sort
from entrepot.routing.choose import MAX_PLANS, Router
from entrepot.routing.decision import Decision, ExclusionReason
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.score import break_even_usd_per_hour
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import (
    ANSWER_TOKENS,
    R1,
    chat,
    decide,
    declared,
    endpoint,
    hosts,
    prices,
    refuse,
    router_of,
    seen,
    winner,
)

OTHER = "meta/llama-4"


def six_hosts() -> Router:
    """Return R1's hosts of 2025 with the published prices and waiting times; speeds are equal."""
    return router_of(
        endpoint("deepseek", prices("0.55", "2.19", "0.14"), ttft_s=26.0, context_tokens=65_536),
        endpoint("parasail", prices("0.55", "3.50"), ttft_s=1.0),
        endpoint("friendli", prices("0.55", "4.00"), ttft_s=1.0),
        endpoint("azure", prices("0.55", "5.475"), ttft_s=1.0),
        endpoint("lambda", prices("0.55", "2.19"), ttft_s=5.0),
        endpoint("nebius", prices("0.55", "2.19"), ttft_s=5.5),
    )


@pytest.mark.parametrize(
    ("usd_out", "saved_s", "last_loss_usd", "first_win_usd"),
    [("3.50", 20.0, 0.70, 0.71), ("5.475", 25.0, 1.41, 1.42)],
)
def test_the_dear_fast_host_wins_from_the_cent_of_its_break_even(
    usd_out: str, saved_s: float, last_loss_usd: float, first_win_usd: float
) -> None:
    """3,000 output tokens: $3.50/M to save 20 s wins from $0.71/h, 2.5 times $2.19/M for 25 s from $1.42."""
    router = router_of(
        endpoint("cheap", prices(usd_out="2.19"), ttft_s=saved_s),
        endpoint("fast", prices(usd_out=usd_out), ttft_s=0.0),
    )
    extra_usd = (float(usd_out) - 2.19) * ANSWER_TOKENS / 1e6
    threshold = break_even_usd_per_hour(extra_usd=extra_usd, saved_s=saved_s)
    assert last_loss_usd < threshold <= first_win_usd
    assert winner(router, chat(usd_per_hour=last_loss_usd)) == "cheap"
    assert winner(router, chat(usd_per_hour=first_win_usd)) == "fast"


def test_less_wait_at_the_same_price_wins_above_nothing_and_ties_at_nothing() -> None:
    """At $0/h waiting is free: the two are equal, and the lower cached price decides."""
    router = router_of(
        endpoint("quick", prices("0.55", "2.19"), ttft_s=5.0),
        endpoint("caching", prices("0.55", "2.19", "0.14"), ttft_s=30.0),
    )
    assert winner(router, chat(usd_per_hour=0.01)) == "quick"
    tied = decide(router, chat(usd_per_hour=0.0))
    assert tied.candidates[0].score == pytest.approx(tied.candidates[1].score, rel=1e-12)
    assert hosts(router, tied) == ["caching", "quick"]


@pytest.mark.parametrize(
    ("usd_per_hour", "expected"), [(0.0, "deepseek"), (0.01, "lambda"), (50.0, "parasail")]
)
def test_the_paradox_of_2025_in_six_hosts(usd_per_hour: float, expected: str) -> None:
    """Who undercuts all others wins only where time is worth nothing; at $50/h the dear and prompt win."""
    assert winner(six_hosts(), chat(usd_per_hour=usd_per_hour)) == expected


def test_the_default_value_of_time_is_that_of_the_settings() -> None:
    """A request that sets none is scored at 5 USD/h, and the decision says so."""
    assert decide(six_hosts(), chat()).usd_per_hour == pytest.approx(5.0)


def test_equal_hosts_take_turns_by_least_use() -> None:
    """What ties in price and speed goes to the endpoint that was used least."""
    router = router_of(endpoint("a"), endpoint("b"))
    first = winner(router, chat())
    router.knowledge.started(0 if first == "a" else 1)
    router.knowledge.ended(0 if first == "a" else 1)
    assert winner(router, chat()) != first


def test_a_host_that_fails_loses_to_a_slow_one() -> None:
    """A hundred refusals in a row, each in a millisecond, do not make the cheap host worth a try."""
    router = router_of(endpoint("dead", prices("0.1", "0.1"), ttft_s=0.1), endpoint("slow", ttft_s=60.0))
    assert winner(router, chat()) == "dead"
    for attempt in range(100):
        router.knowledge.observe(seen(0, 0.01 * attempt, Outcome.FAILED, answer_s=0.001))
    assert hosts(router, decide(router, chat(), now_s=1.0)) == ["slow", "dead"]


def test_a_host_that_failed_is_tried_again_when_time_has_passed() -> None:
    """A run of failures fades: a host that came back is not shut out for ever."""
    router = router_of(endpoint("dead", prices("0.1", "0.1"), ttft_s=0.1), endpoint("slow", ttft_s=60.0))
    for attempt in range(20):
        router.knowledge.observe(seen(0, 0.01 * attempt, Outcome.FAILED, answer_s=0.001))
    assert hosts(router, decide(router, chat(), now_s=3600.0)) == ["dead", "slow"]


def test_a_loaded_host_is_expected_to_be_slower() -> None:
    """Attempts of ours under way lengthen the forecast, once load was often seen to lengthen answers."""
    router = router_of(endpoint("a", ttft_s=1.0))
    for step in range(240):
        load = step % 6
        router.knowledge.observe(seen(0, float(step), ttft_s=1.0 + 2.0 * load, tpot_s=0.02, in_flight=load))
    idle = decide(router, chat(), now_s=240.0).winner.ttft_s
    for _ in range(5):
        router.knowledge.started(0)
    assert decide(router, chat(), now_s=240.0).winner.ttft_s == pytest.approx(idle + 10.0, rel=0.15)


def test_an_endpoint_without_a_price_is_taken_to_be_as_dear_as_its_dearest_peer() -> None:
    """Unknown is not cheap; with a budget, where the most has to be known, it is excluded."""
    unpriced = replace(endpoint("unpriced"), prices=None)
    router = router_of(endpoint("cheap", prices("1", "1")), endpoint("dear", prices("9", "9")), unpriced)
    decision = decide(router, chat())
    by_host = dict(zip(hosts(router, decision), decision.candidates, strict=True))
    assert by_host["unpriced"].dollars == by_host["dear"].dollars
    budgeted = router.decide(chat(), now_s=0.0, draw=1.0, needs_price=True)
    assert isinstance(budgeted, Decision)
    assert [gone.reason for gone in budgeted.excluded] == [ExclusionReason.NO_PRICE]


def test_the_limits_of_the_forecast_are_kept_by_every_candidate() -> None:
    """A host that is expected to miss a limit of the sender is no fallback either."""
    router = six_hosts()
    decision = decide(router, chat(slo=Slo(ttft_s=3.0, probability=0.8)))
    assert set(hosts(router, decision)) == {"parasail", "friendli", "azure"}
    assert {gone.reason for gone in decision.excluded} == {ExclusionReason.TTFT}


def test_a_prompt_that_may_not_fit_goes_to_the_larger_window() -> None:
    """By the cautious count of tokens DeepSeek's own window is too small, so it is excluded."""
    router = six_hosts()
    assert "deepseek" not in hosts(router, decide(router, chat(prompt_bytes=230_000)))


def test_a_prompt_that_fits_only_if_all_goes_as_expected_is_still_tried() -> None:
    """When no window holds it cautiously, one that holds it at the expected count of tokens is taken."""
    router = router_of(endpoint("only", context_tokens=65_536))
    assert winner(router, chat(prompt_bytes=230_000)) == "only"


def test_a_prompt_that_may_just_fit_is_tried_at_the_widest_window() -> None:
    """A host counts exactly and charges nothing for a refusal; ours would cost the sender the answer."""
    router = router_of(
        endpoint("wide", context_tokens=65_536),
        endpoint("narrow", prices("0.1", "0.2"), context_tokens=60_000),
    )
    decision = decide(router, chat(prompt_bytes=290_000))
    assert hosts(router, decision) == ["wide"]
    assert refuse(router, chat(prompt_bytes=600_000)).code == "context_length_exceeded"


def test_a_batch_of_embeddings_is_measured_input_by_input() -> None:
    """A hundred short inputs fit a window that their sum would not; nothing is written, so N is 0."""
    router = router_of(
        replace(endpoint("vectors", context_tokens=512), operations=frozenset({Operation.EMBEDDING}))
    )
    batch = replace(chat(prompt_bytes=100_000), operation=Operation.EMBEDDING, choices=100)
    expected = decide(router, batch).winner
    assert expected.output_tokens == 0.0
    assert expected.seconds == expected.ttft_s


def test_choices_are_paid_each_and_waited_for_once() -> None:
    """Four choices cost the output of four and the time of one."""
    router = router_of(endpoint("a", prices("0", "2")))
    one, four = (decide(router, replace(chat(), choices=n)).winner for n in (1, 4))
    assert four.dollars == pytest.approx(4 * one.dollars)
    assert four.seconds == one.seconds


def test_the_sender_s_limit_caps_the_expected_answer() -> None:
    """An answer is not expected to be longer than its sender allows, and hardly shorter when all are cut."""
    expected = decide(router_of(endpoint("a")), chat(max_output_tokens=100)).winner.output_tokens
    assert 99.0 <= expected <= 100.0


def test_what_no_prompt_can_pass_is_told_for_the_reservation() -> None:
    """A token is at least a byte, and the template's allowance comes on top."""
    assert decide(router_of(endpoint("a")), chat(prompt_bytes=4000)).winner.bound_prompt_tokens > 4000


def test_order_comes_before_the_score_and_the_others_after() -> None:
    """`provider.order` is tried as listed (host or endpoint name, in any case), then the rest by score."""
    router = six_hosts()
    order = Preferences(order=("Azure", f"{R1}@FRIENDLI", "nobody"))
    assert hosts(router, decide(router, chat(preferences=order)))[:3] == ["azure", "friendli", "parasail"]


def test_order_without_fallbacks_is_all_that_is_tried() -> None:
    """With `allow_fallbacks: false` only the listed are tried, in their order."""
    router = six_hosts()
    decision = decide(router, chat(preferences=Preferences(order=("azure", "nebius"), allow_fallbacks=False)))
    assert hosts(router, decision) == ["azure", "nebius"]
    assert {gone.reason for gone in decision.excluded} == {ExclusionReason.NOT_IN_ORDER}


def test_without_fallbacks_only_the_best_is_tried() -> None:
    """`allow_fallbacks: false` alone leaves one candidate; the decision still tells of the others."""
    router = six_hosts()
    decision = decide(router, chat(preferences=Preferences(allow_fallbacks=False)))
    assert hosts(router, decision) == ["parasail"]
    assert [gone.reason for gone in decision.excluded] == [ExclusionReason.NO_FALLBACKS] * 5


def test_sort_by_price_is_a_value_of_time_of_nothing() -> None:
    """`sort: price` asks for the least dollars, whatever the value of time."""
    decision = decide(six_hosts(), chat(usd_per_hour=50.0, preferences=Preferences(sort="price")))
    assert decision.usd_per_s == 0.0
    assert hosts(six_hosts(), decision)[0] == "deepseek"


@pytest.mark.parametrize(("sort", "expected"), [("throughput", "fast"), ("latency", "prompt")])
def test_sort_by_speed_and_by_latency_ignore_the_price(sort: Sort, expected: str) -> None:
    """`sort: throughput` asks for the most tokens/s, `sort: latency` for the least TTFT."""
    router = router_of(
        endpoint("fast", prices("9", "9"), ttft_s=9.0, tokens_per_s=200.0),
        endpoint("prompt", prices("9", "9"), ttft_s=0.1, tokens_per_s=20.0),
        endpoint("cheap", prices("0.1", "0.1")),
    )
    assert winner(router, chat(preferences=Preferences(sort=sort))) == expected


@pytest.mark.parametrize(
    "preferences", [Preferences(max_ttft_s=2.0), Preferences(min_tokens_per_s=50.0, max_ttft_s=2.0)]
)
def test_a_preferred_speed_demotes_and_never_excludes(preferences: Preferences) -> None:
    """Hosts that miss it come after all that meet it."""
    router = six_hosts()
    order = hosts(router, decide(router, chat(usd_per_hour=0.0, preferences=preferences)))
    assert set(order[:3]) == {"parasail", "friendli", "azure"}
    assert set(order[3:]) == {"deepseek", "lambda", "nebius"}


def test_models_are_one_set_under_the_objective() -> None:
    """A list of models is served by whichever costs least, whatever its place in the list."""
    router = router_of(
        endpoint("a"), endpoint("b", prices("5", "5")), endpoint("c", prices("1", "1"), model=OTHER)
    )
    assert hosts(router, decide(router, chat(R1, OTHER))) == ["c", "a", "b"]
    assert hosts(router, decide(router, chat(OTHER, R1))) == ["c", "a", "b"]


def test_models_are_tried_in_the_order_of_the_list_when_that_is_asked_for() -> None:
    """Every endpoint of the first model comes before any of the next, however much cheaper."""
    router = router_of(
        endpoint("a"), endpoint("b", prices("5", "5")), endpoint("c", prices("0", "0"), model=OTHER)
    )
    for models, expected in (((R1, OTHER), ["a", "b", "c"]), ((OTHER, R1), ["c", "a", "b"])):
        assert hosts(router, decide(router, replace(chat(*models), in_order=True))) == expected


def test_the_order_of_hosts_counts_within_the_order_of_models() -> None:
    """A host that the sender put first is not tried before a model that it put first."""
    router = router_of(endpoint("a"), endpoint("b"), endpoint("a", model=OTHER), endpoint("b", model=OTHER))
    request = replace(chat(R1, OTHER, preferences=Preferences(order=("b",))), in_order=True)
    tried = [router.endpoints[one.endpoint_index].name for one in decide(router, request).candidates]
    assert tried == [f"{R1}@b", f"{R1}@a", f"{OTHER}@b", f"{OTHER}@a"]


def test_a_dear_token_that_says_it_shortly_beats_a_cheap_one_that_says_it_at_length() -> None:
    """900 tokens at $10/M cost less than 12,000 at $2/M, and are there sooner."""
    endpoints = (
        endpoint("short", prices("1", "10"), model="a/terse"),
        endpoint("long", prices("0.2", "2"), model="a/verbose"),
    )
    models = {
        name: Model(name, verbosity_tokens=declared(tokens))
        for name, tokens in (("a/terse", 900.0), ("a/verbose", 12_000.0))
    }
    settings = RoutingSettings(exploration_share=0.0)
    router = Router(endpoints, models, settings, Knowledge(endpoints, models, settings))
    for usd_per_hour in (0.0, 5.0):
        assert winner(router, chat("a/terse", "a/verbose", usd_per_hour=usd_per_hour)) == "short"


def exploring(share: float = 0.02) -> Router:
    """Return a router of three hosts, of which the cheapest in all is known well, that explores."""
    router = router_of(
        endpoint("known"),
        endpoint("new", prices("0.60", "2.5")),
        endpoint("late", prices("0.1", "0.1"), ttft_s=500.0),
        settings=RoutingSettings(exploration_share=share),
    )
    for step in range(40):
        router.knowledge.observe(seen(0, 0.1 * step, ttft_s=1.0, tpot_s=0.02, prompt_tokens=0))
    return router


EVERY_DRAW = [number / 200 for number in range(200)]


def explored_hosts(router: Router, request: Request) -> set[str]:
    """Return who is explored by any of many draws, with allowances that are never used up."""
    found = set()
    for draw in EVERY_DRAW:
        fresh = Router(router.endpoints, router.models, router.settings, router.knowledge)
        decision = decide(fresh, request, now_s=4.0, draw=draw)
        if decision.explored:
            found.add(hosts(fresh, decision)[0])
    return found


def test_what_is_little_known_and_may_be_better_is_explored() -> None:
    """It is tried first, the others follow by score; the decision records the draw and the allowance."""
    router = exploring()
    decision = next(
        found
        for draw in EVERY_DRAW
        if (found := decide(router, chat(slo=Slo(ttft_s=60.0)), now_s=4.0, draw=draw)).explored
    )
    assert decision.draw in EVERY_DRAW
    assert decision.allowance_usd > decision.winner.score - decision.candidates[1].score
    assert hosts(router, decision) == ["new", "known"]


def test_a_host_that_would_need_luck_is_seldom_explored() -> None:
    """A host that declares nothing and costs half as much again is the better one at one draw in eight."""
    new = endpoint("new", prices("0.55", "12"), ttft_s=None, tokens_per_s=None)
    router = router_of(endpoint("known"), new, settings=RoutingSettings())
    for step in range(40):
        router.knowledge.observe(seen(0, 0.1 * step, ttft_s=1.0, tpot_s=0.02, prompt_tokens=0))
    explored = 0
    for draw in EVERY_DRAW:
        fresh = Router(router.endpoints, router.models, router.settings, router.knowledge)
        explored += decide(fresh, chat(), now_s=4.0, draw=draw).explored
    assert 0.05 < explored / len(EVERY_DRAW) < 0.25


def test_a_share_of_nothing_never_explores() -> None:
    """Not even among equals, where it would cost nothing: who switched it off gets the same host again."""
    router = router_of(endpoint("a"), endpoint("b"), endpoint("c"))
    assert explored_hosts(router, chat()) == set()


def test_exploration_breaks_no_limit() -> None:
    """An endpoint that is expected to miss a limit is not explored, however little is known of it."""
    router = exploring(share=1.0)
    assert "new" in explored_hosts(router, chat())
    limited = chat(preferences=Preferences(max_price=MaxPrice(output_nusd_per_mtok=2_400_000_000)))
    assert "new" not in explored_hosts(router, limited)
    hurried = chat(slo=Slo(answer_s=400.0, probability=0.5))
    assert "late" not in explored_hosts(router, hurried)


@pytest.mark.parametrize(
    "preferences",
    [Preferences(order=("known",)), Preferences(sort="latency"), Preferences(allow_fallbacks=False)],
)
def test_an_order_of_the_sender_s_own_is_not_explored_against(preferences: Preferences) -> None:
    """Who asked for an order, or for the best alone, gets it."""
    assert explored_hosts(exploring(share=1.0), chat(preferences=preferences)) == set()


def test_what_is_known_well_is_not_explored() -> None:
    """When every endpoint has recent observations in plenty, exploring buys nothing."""
    router = router_of(
        endpoint("a"), endpoint("b", prices("9", "9")), settings=RoutingSettings(exploration_share=1.0)
    )
    assert explored_hosts(router, chat()) == {"b"}
    for step in range(40):
        for index in (0, 1):
            router.knowledge.observe(seen(index, 0.1 * step, ttft_s=1.0, tpot_s=0.02, prompt_tokens=0))
    assert explored_hosts(router, chat()) == set()


def test_plans_of_senders_that_never_repeat_themselves_are_bounded() -> None:
    """Preferences come from clients: what is remembered of them must not grow for ever."""
    router = router_of(endpoint("a"))
    for number in range(MAX_PLANS + 10):
        decide(router, chat(preferences=Preferences(ignore=(f"host-{number}",))))
    assert len(router._plans) <= MAX_PLANS


def test_a_new_price_counts_from_the_next_request_on() -> None:
    """Plans that were made with the old one are forgotten; the same price again forgets nothing."""
    router = router_of(endpoint("a", prices("0.10", "0.10")), endpoint("b", prices("0.20", "0.20")))
    assert winner(router, chat()) == "a"
    router.reprice({0: ((0, prices("0.90", "0.90")),)})
    assert winner(router, chat()) == "b"
    known = router.endpoints
    router.reprice({0: ((0, prices("0.90", "0.90")),)})
    assert router.endpoints is known
    router.reprice({0: ((0, prices("0.10", "0.10")),)})
    assert winner(router, chat()) == "a"


def test_a_price_that_became_unknown_is_refused_to_budgets_and_not_taken_for_cheap() -> None:
    """It is scored at the dearest of the others, and a limit on prices excludes it."""
    router = router_of(endpoint("a", prices("0.10", "0.10")), endpoint("b", prices("0.20", "0.20")))
    router.reprice({0: None})
    limited = chat(preferences=Preferences(max_price=MaxPrice(input_nusd_per_mtok=10**9)))
    decision = decide(router, limited)
    assert [gone.reason for gone in decision.excluded] == [ExclusionReason.NO_PRICE]
    assert winner(router, limited) == "b"
    router.reprice({1: None})
    assert refuse(router, chat(), needs_price=True).code == "no_priced_endpoint"
