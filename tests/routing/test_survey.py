"""Who keeps the limits, by distributions and with failures; who comes nearest; prices by hour and length."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.domain.outcome import Outcome
from entrepot.domain.request import Slo
from entrepot.routing.choose import Router
from entrepot.routing.decision import Decision, ExclusionReason, Ranking, pack, unpack
from entrepot.routing.rank import winner_of
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import R1, chat, decide, endpoint, hosts, prices, refuse, router_of, seen

STEADY, WILD = 0, 1
TOKENS = 200


def two_spreads() -> Router:
    """Return a router of a steady host of 10 s and a wild one of 8 s on average, both known well."""
    random = Random(1)
    router = router_of(
        endpoint("steady", ttft_s=6.0), endpoint("wild", ttft_s=4.0), verbosity=TOKENS, settings=quiet()
    )
    for step in range(400):
        for index, ttft_s, spread in ((STEADY, 6.0, 0.05), (WILD, 4.0, 1.0)):
            factor = random.lognormvariate(-spread * spread / 2, spread)
            router.knowledge.observe(
                seen(
                    index,
                    0.1 * step,
                    answer_s=factor * (ttft_s + TOKENS * 0.02),
                    ttft_s=factor * ttft_s,
                    tpot_s=factor * 0.02,
                    output_tokens=TOKENS,
                    prompt_tokens=0,
                )
            )
    return router


def quiet(share: float = 0.0) -> RoutingSettings:
    """Return settings that never explore."""
    return RoutingSettings(exploration_share=share)


def test_the_lower_mean_with_the_wider_spread_is_refused_where_certainty_is_asked_for() -> None:
    """At even odds the wild host is taken for its mean; at 97 % only the steady one keeps 14 s."""
    router = two_spreads()
    request = chat(slo=Slo(answer_s=14.0, probability=0.5), prompt_bytes=0)
    assert hosts(router, decide(router, request, now_s=40.0)) == ["wild", "steady"]
    sure = decide(router, replace(request, slo=Slo(answer_s=14.0, probability=0.97)), now_s=40.0)
    assert hosts(router, sure) == ["steady"]
    assert [gone.reason for gone in sure.excluded] == [ExclusionReason.IN_TIME]
    assert sure.winner.p_in_time >= 0.97


def test_the_same_for_the_first_token() -> None:
    """A limit on TTFT is held by its own distribution."""
    router = two_spreads()
    for probability, expected in ((0.5, {"wild", "steady"}), (0.97, {"steady"})):
        slo = Slo(ttft_s=7.5, probability=probability)
        assert set(hosts(router, decide(router, chat(slo=slo, prompt_bytes=0), now_s=40.0))) == expected


def failing(share: float, failure_s: float) -> Router:
    """Return a router of a host that fails at this share of attempts, and a slow one that never fails."""
    router = router_of(
        endpoint("quick", ttft_s=1.0), endpoint("slow", ttft_s=30.0), verbosity=TOKENS, settings=quiet()
    )
    random = Random(2)
    for step in range(300):
        outcome = Outcome.FAILED if random.random() < share else Outcome.OK
        router.knowledge.observe(seen(0, 0.1 * step, outcome, answer_s=failure_s))
    router.knowledge.observe(seen(0, 30.0, Outcome.OK))  # so that it is no outage
    return router


@pytest.mark.parametrize(
    ("share", "failure_s", "most"), [(0.0, 1.0, 1.0), (0.3, 1.0, 0.9), (0.3, 100.0, 0.9), (0.6, 1.0, 0.7)]
)
def test_the_chance_to_be_in_time_counts_failures(share: float, failure_s: float, most: float) -> None:
    """What fails answers late, when its fallback is too slow, or the failure is known too late."""
    router = failing(share, failure_s)
    slo = Slo(answer_s=15.0, probability=0.2)
    decision = decide(router, chat(slo=slo, prompt_bytes=0, max_output_tokens=100), now_s=30.0)
    assert 0.2 <= decision.winner.p_in_time <= most
    if share == 0.0:
        assert decision.winner.p_in_time > 0.9


def test_a_fallback_in_time_saves_a_failure() -> None:
    """With a second quick host a failure that is known at once costs little of the chance to be in time."""
    lone, helped = (
        router_of(
            *fleet,
            verbosity=TOKENS,
            settings=RoutingSettings(exploration_share=0.0, assumed_failure_share=0.3),
        )
        for fleet in (
            (endpoint("quick"), endpoint("slow", ttft_s=60.0)),
            (endpoint("quick"), endpoint("also")),
        )
    )
    slo = Slo(answer_s=20.0, probability=0.2)
    chances = [decide(router, chat(slo=slo)).candidates[0].p_in_time for router in (lone, helped)]
    assert chances[1] > chances[0] + 0.2


def test_when_nobody_is_in_time_the_request_is_refused_with_the_best_that_can_be_had() -> None:
    """The sender learns what to loosen the limit to."""
    router = router_of(endpoint("a", ttft_s=30.0), endpoint("b", ttft_s=20.0))
    refusal = refuse(router, chat(slo=Slo(answer_s=5.0)))
    assert refusal.code == "slo_unattainable"
    assert "the soonest answer may take" in refusal.message
    offer, _, _ = refusal.message.partition(f"; {R1}")
    assert f"{R1}@b)" in offer


def test_or_goes_to_the_nearest_where_that_was_asked_for() -> None:
    """To the endpoint that misses the limits by the least factor, whatever it costs; the decision says so."""
    router = router_of(
        endpoint("far", prices("0", "0"), ttft_s=60.0), endpoint("near", prices("9", "9"), ttft_s=8.0)
    )
    decision = decide(router, chat(slo=Slo(ttft_s=2.0, serves_nearest=True)))
    assert hosts(router, decision) == ["near", "far"]
    assert decision.ranking is Ranking.NEAREST
    assert 1.0 < decision.winner.miss < decision.candidates[1].miss
    stored = unpack(pack(decision, [5, 6]))
    assert (stored.ranking, winner_of(stored).endpoint_index) == (Ranking.NEAREST, 6)


def test_the_nearest_is_asked_only_when_nobody_keeps_the_limits() -> None:
    """Whoever keeps them is a candidate alone."""
    router = router_of(endpoint("far", prices("0", "0"), ttft_s=60.0), endpoint("near", ttft_s=1.0))
    decision = decide(router, chat(slo=Slo(ttft_s=3.0, serves_nearest=True)))
    assert (hosts(router, decision), decision.ranking) == (["near"], Ranking.SCORE)


def test_the_nearest_still_has_to_hold_the_request() -> None:
    """A window is no limit of the sender's that it could waive."""
    router = router_of(endpoint("small", context_tokens=1000))
    request = chat(slo=Slo(ttft_s=0.01, serves_nearest=True), prompt_bytes=10**6)
    assert refuse(router, request).code == "context_length_exceeded"


@settings(deadline=None)
@given(st.floats(0.5, 200.0), st.floats(0.05, 0.99), st.floats(0.05, 0.99))
def test_more_time_and_less_certainty_never_lose_a_candidate(
    answer_s: float, probability: float, other: float
) -> None:
    """A limit that is looser in one respect excludes no endpoint that the tighter one did not."""
    router = router_of(
        *(
            endpoint(f"h{number}", ttft_s=1.0 + 7.0 * number, tokens_per_s=20.0 + 9 * number)
            for number in range(4)
        ),
        verbosity=300.0,
    )
    low, high = sorted((probability, other))
    tight = router.decide(chat(slo=Slo(answer_s=answer_s, probability=high)), now_s=0.0, draw=0.0)
    for slo in (Slo(answer_s=answer_s * 1.5, probability=high), Slo(answer_s=answer_s, probability=low)):
        loose = router.decide(chat(slo=slo), now_s=0.0, draw=0.0)
        if isinstance(tight, Decision):
            assert isinstance(loose, Decision)
            assert set(hosts(router, tight)) <= set(hosts(router, loose))


def test_a_prompt_above_200_000_tokens_is_scored_at_the_dearer_tier() -> None:
    """A host that doubles its prices there loses long prompts, and long ones only."""
    window = 1_000_000
    router = router_of(
        endpoint("tiered", prices("1", "5"), context_tokens=window),
        endpoint("flat", prices("1.5", "7"), context_tokens=window),
    )
    router.reprice({0: ((0, prices("1", "5")), (200_000, prices("2", "10")))})
    short, long = chat(prompt_bytes=4 * 150_000), chat(prompt_bytes=4 * 250_000)
    assert hosts(router, decide(router, short)) == ["tiered", "flat"]
    assert hosts(router, decide(router, long)) == ["flat", "tiered"]
    tiered = next(one for one in decide(router, long).candidates if one.endpoint_index == 0)
    assert tiered.dollars == pytest.approx((250_000 * 2 + 3000 * 10) / 1e6)
    router.reprice({0: ((0, prices("1", "5")),)})
    assert hosts(router, decide(router, long)) == ["tiered", "flat"]


def test_an_hour_of_other_prices_moves_the_choice_and_back() -> None:
    """DeepSeek was at half price at night: whoever keeps prices by the hour tells the router of each."""
    day, night = prices("0.55", "2.19"), prices("0.135", "0.55")
    router = router_of(endpoint("deepseek", day), endpoint("other", prices("0.3", "1.2")))
    request = chat(usd_per_hour=0.0)
    assert hosts(router, decide(router, request))[0] == "other"
    router.reprice({0: ((0, night),)})
    at_night = decide(router, request)
    assert hosts(router, at_night)[0] == "deepseek"
    assert at_night.winner.dollars == pytest.approx((1000 * 0.135 + 3000 * 0.55) / 1e6)
    router.reprice({0: ((0, day),)})
    assert hosts(router, decide(router, request))[0] == "other"
