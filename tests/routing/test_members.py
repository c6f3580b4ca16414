"""Virtual models: which of their models may answer, and what an answer of use costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.domain.endpoint import Model
from entrepot.domain.prices import Prices
from entrepot.domain.virtual import VirtualModel
from entrepot.routing.choose import Router
from entrepot.routing.decision import ExclusionReason
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.members import LEAST_SUCCESS_SHARE, Asked, asked_of
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import (
    chat,
    decide,
    declared,
    endpoint,
    hosts,
    prices,
    refuse,
    router_of,
    virtual_model,
)

CODER = "auto/cheap-coder"
A, B, C = "x/a", "x/b", "x/c"


def coders(
    virtual: VirtualModel, priced: dict[str, Prices] | None = None, models: dict[str, Model] | None = None
) -> Router:
    """Return a router of three models, each at one host, and a virtual one of them."""
    costs = priced or {A: prices("1", "1"), B: prices("2", "2"), C: prices("9", "9")}
    endpoints = tuple(endpoint(name[-1], cost, model=name) for name, cost in costs.items())
    models = models or {name: Model(name, verbosity_tokens=declared(1000.0)) for name in costs}
    settings = RoutingSettings(exploration_share=0.0)
    return Router(endpoints, models, settings, Knowledge(endpoints, models, settings), (virtual,))


def order(router: Router, **wishes: float) -> list[str]:
    """Return the hosts that a request for the virtual model is tried at."""
    return hosts(router, decide(router, chat(CODER, **wishes)))  # type: ignore[arg-type]


def test_the_cheapest_answer_of_use_wins_and_not_the_cheapest_answer() -> None:
    """A model at half the price of which two answers in five are of use costs more for each of those."""
    assert order(coders(virtual_model(CODER, {A: 0.9, B: 0.9, C: 0.9})), usd_per_hour=0.0) == ["a", "b", "c"]
    assert order(coders(virtual_model(CODER, {A: 0.4, B: 0.9, C: 0.9})), usd_per_hour=0.0) == ["b", "a", "c"]


@given(st.floats(0.02, 1.0), st.floats(0.0, 50.0))
def test_the_share_of_useful_answers_divides_the_score(share: float, usd_per_hour: float) -> None:
    """Dollars and waiting alike: who has to ask twice pays and waits twice."""
    certain, doubtful = (
        coders(virtual_model(CODER, {A: one}), {A: prices("1", "1")}) for one in (1.0, share)
    )
    scores = [
        decide(router, chat(CODER, usd_per_hour=usd_per_hour)).winner.score for router in (certain, doubtful)
    ]
    assert scores[1] == pytest.approx(scores[0] / share, rel=1e-9, abs=1e-15)


def test_the_forecast_of_each_member_uses_its_own_verbosity() -> None:
    """$/M tokens misleads: the dearer token says it in a twelfth of them."""
    models = {
        A: Model(A, verbosity_tokens=declared(12_000.0)),
        B: Model(B, verbosity_tokens=declared(1000.0)),
    }
    router = coders(
        virtual_model(CODER, {A: 0.9, B: 0.9}), {A: prices("1", "1"), B: prices("2", "5")}, models
    )
    assert order(router, usd_per_hour=0.0) == ["b", "a"]


def test_a_member_under_the_floor_is_excluded_and_told() -> None:
    """With what is known of it, and what was asked for; an unknown share is not above a floor."""
    router = coders(virtual_model(CODER, {A: 0.5, B: 0.9, C: None}, floor=0.8))
    decision = decide(router, chat(CODER))
    assert hosts(router, decision) == ["b"]
    assert [(gone.reason, gone.seen, gone.limit) for gone in decision.excluded] == [
        (ExclusionReason.QUALITY, 0.5, 0.8),
        (ExclusionReason.QUALITY, 0.0, 0.8),
    ]


def test_when_no_member_reaches_the_floor_the_request_is_refused() -> None:
    """The message tells the floor."""
    refusal = refuse(coders(virtual_model(CODER, {A: 0.5, B: 0.6}, floor=0.8)), chat(CODER))
    assert "under the floor of 80%" in refusal.message


def test_a_floor_of_the_virtual_model_does_not_bind_who_asks_for_the_member_itself() -> None:
    """Who names a model gets it."""
    router = coders(virtual_model(CODER, {A: 0.5, B: 0.9}, floor=0.8))
    assert hosts(router, decide(router, chat(A))) == ["a"]
    assert decide(router, chat(A)).winner.success_share == 1.0


def test_a_member_that_nobody_told_of_is_taken_to_be_as_good_as_the_worst() -> None:
    """Unknown must not look better than known; without any known share all are alike."""
    known = coders(virtual_model(CODER, {A: None, B: 0.9, C: 0.3}))
    asked = asked_of(known._virtual[CODER], known.models, known.knowledge)
    assert asked == [Asked(A, 0.3, None, 0.0), Asked(B, 0.9, 0.9, 0.0), Asked(C, 0.3, 0.3, 0.0)]
    unknown = coders(virtual_model(CODER, {A: None, B: None, C: None}))
    assert [
        one.success_share for one in asked_of(unknown._virtual[CODER], unknown.models, unknown.knowledge)
    ] == [1.0] * 3


def test_a_share_of_the_model_stands_where_the_member_has_none() -> None:
    """What the catalog says of a model holds in every virtual model; the member's own comes before it."""
    models = {name: Model(name, success_share=declared(0.7)) for name in (A, B, C)}
    router = coders(virtual_model(CODER, {A: None, B: 0.4}), models=models)
    shares = [one.success_share for one in asked_of(router._virtual[CODER], models, router.knowledge)]
    assert shares == [0.7, 0.4]


def test_a_member_that_was_never_of_use_is_dear_and_not_infinitely_so() -> None:
    """It may still be the only one that serves."""
    router = coders(virtual_model(CODER, {A: 0.9, B: 0.9}))
    for _ in range(5000):
        router.judged(A, succeeded=False, now_s=0.0)
    asked = asked_of(router._virtual[CODER], router.models, router.knowledge)
    assert LEAST_SUCCESS_SHARE <= asked[0].success_share < 0.05
    assert order(router) == ["b", "a"]


def test_what_senders_tell_moves_the_choice() -> None:
    """A member that is declared good, and that senders find of no use, loses its place, and gets it back."""
    router = coders(virtual_model(CODER, {A: 0.9, B: 0.9}))
    assert order(router, usd_per_hour=0.0)[0] == "a"
    for _ in range(100):
        router.judged(A, succeeded=False, now_s=0.0)
    assert order(router, usd_per_hour=0.0)[0] == "b"
    for _ in range(1000):
        router.judged(A, succeeded=True, now_s=0.0)
    assert order(router, usd_per_hour=0.0)[0] == "a"


def test_a_member_that_falls_under_the_floor_by_what_senders_tell_is_excluded() -> None:
    """The floor is asked of what is known now."""
    router = coders(virtual_model(CODER, {A: 0.9, B: 0.9}, floor=0.8))
    assert set(order(router)) == {"a", "b"}
    for _ in range(30):
        router.judged(A, succeeded=False, now_s=0.0)
    assert order(router) == ["b"]


def test_a_list_may_mix_virtual_and_plain_models_and_each_counts_once() -> None:
    """What is named first decides how it is counted."""
    router = coders(virtual_model(CODER, {A: 0.5, B: 0.5}))
    decision = decide(router, chat(B, CODER, C, usd_per_hour=0.0))
    shares = {router.endpoints[c.endpoint_index].host: c.success_share for c in decision.candidates}
    assert shares == {"a": 0.5, "b": 1.0, "c": 1.0}


def test_a_virtual_model_is_among_the_nearest_names() -> None:
    """Who spells it wrongly is told."""
    assert CODER in refuse(coders(virtual_model(CODER, {A: 0.9})), chat("auto/cheap-codr")).message


def test_a_fallback_of_a_virtual_model_counts_by_its_own_share() -> None:
    """After a failure at one member another answers: its cost of a useful answer is what is waited for."""
    settings = RoutingSettings(exploration_share=0.0, assumed_failure_share=0.5)
    router = router_of(
        endpoint("a", prices("0", "1"), model=A),
        endpoint("b", prices("0", "1"), model=B),
        settings=settings,
        virtual=(virtual_model(CODER, {A: 1.0, B: 0.5}),),
    )
    first, second = decide(router, chat(CODER, usd_per_hour=0.0)).candidates
    assert (first.success_share, second.success_share) == (1.0, 0.5)
    d = first.dollars
    assert first.score == pytest.approx(0.5 * d + 0.5 * (d / 0.5))
    assert second.score == pytest.approx((0.5 * d + 0.5 * (d * 0.5)) / 0.5)


def test_in_order_the_members_stand_at_the_place_of_the_virtual_model() -> None:
    """One after the other, in the order of the file, whatever they cost."""
    router = coders(virtual_model(CODER, {B: 0.9, A: 0.9}))
    request = replace(chat(CODER, C), in_order=True)
    assert hosts(router, decide(router, request)) == ["b", "a", "c"]
