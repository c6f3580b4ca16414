"""A virtual model over 22 real models, whose answers and prices were measured in August 2025.

The arithmetic is done here again, on the rows of the file, and knows nothing of `routing/`.
"""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.measured_answers import (
    KINDS,
    PROMPT_TOKENS,
    TOKENS_PER_S,
    TTFT_S,
    Answer,
    ended_s,
    learned,
    measured_answers,
    measured_prices,
    request_for,
    virtual_name,
)
from entrepot.domain.errors import Refusal
from entrepot.routing.choose import Router
from entrepot.routing.decision import Decision, ExclusionReason

ALL = ""
FLOORS = (0.0, 0.88, 0.94)
PRICES = measured_prices()
ANSWERS = measured_answers(PRICES)
O3_MINI, MAGISTRAL = "openai/o3-mini-high", "mistralai/magistral-small-2506"

CLEARLY = 1.1
"""How much dearer the second must be for the least to be clear: what the routing expects of a model lies some
percent around the mean of its answers, by the order in which they came."""


def of_kind(kind: str) -> list[Answer]:
    """Return the answers of a kind, or all."""
    return [answer for answer in ANSWERS if kind in (ALL, answer.kind)]


def usd_per_success(kind: str, usd_per_hour: float, floor: float) -> dict[str, float]:
    """Return what a right answer costs by model, the least first: all that is spent by how many are right."""
    spent: dict[str, float] = {}
    right: dict[str, int] = {}
    count: dict[str, int] = {}
    for answer in of_kind(kind):
        price = PRICES[answer.model.partition("/")[2]]
        dollars = (PROMPT_TOKENS * float(price.usd_in) + answer.tokens * float(price.usd_out)) / 1e6
        waiting = usd_per_hour / 3600 * (TTFT_S + answer.tokens / TOKENS_PER_S)
        spent[answer.model] = spent.get(answer.model, 0.0) + dollars + waiting
        right[answer.model] = right.get(answer.model, 0) + answer.succeeded
        count[answer.model] = count.get(answer.model, 0) + 1
    costs = {model: spent[model] / right[model] for model in spent if right[model] >= floor * count[model]}
    return dict(sorted(costs.items(), key=lambda item: item[1]))


@cache
def router_of_kind(kind: str, seed: int = 0) -> Router:
    """Return a router that has seen all answers of a kind."""
    return learned(of_kind(kind), PRICES, seed=seed, floors=FLOORS)


def decided(router: Router, floor: float, usd_per_hour: float = 0.0) -> Decision:
    """Return the decision on a request for the virtual model with a floor, after all answers."""
    request = request_for(virtual_name(floor), usd_per_hour=usd_per_hour)
    decision = router.decide(request, now_s=ended_s(len(ANSWERS)), draw=0.5)
    assert isinstance(decision, Decision), decision
    return decision


def picked(router: Router, floor: float, usd_per_hour: float) -> str:
    """Return the model that is asked first."""
    return router.endpoints[decided(router, floor, usd_per_hour).winner.endpoint_index].model


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("kind", "floor", "usd_per_hour"),
    [
        ("knowledge", 0.0, 0.0),
        ("Math", 0.0, 0.0),
        ("logic puzzle", 0.88, 5.0),
        (ALL, 0.88, 0.0),
        (ALL, 0.94, 5.0),
    ],
)
def test_the_pick_is_the_least_cost_of_a_successful_answer(
    kind: str, floor: float, usd_per_hour: float, seed: int
) -> None:
    """In whatever order the answers came, where the least is clear."""
    costs = usd_per_success(kind, usd_per_hour, floor)
    least, second, *_ = costs
    assert costs[second] > CLEARLY * costs[least]
    assert picked(router_of_kind(kind, seed), floor, usd_per_hour) == least


@pytest.mark.parametrize("usd_per_hour", [0.0, 5.0])
@pytest.mark.parametrize("floor", FLOORS)
@pytest.mark.parametrize("kind", [ALL, *KINDS])
def test_where_the_least_is_not_clear_the_pick_is_near_it(
    kind: str, floor: float, usd_per_hour: float
) -> None:
    """Two models of nearly equal cost may change places, and nothing is lost by it."""
    costs = usd_per_success(kind, usd_per_hour, floor)
    assert costs[picked(router_of_kind(kind), floor, usd_per_hour)] <= CLEARLY * min(costs.values())


def test_a_dear_token_that_says_it_in_few_beats_a_cheap_one_that_needs_many() -> None:
    """$4.40 a million and 1,231 tokens an answer, against $1.50 and 9,888."""
    pair = [answer for answer in ANSWERS if answer.model in (O3_MINI, MAGISTRAL)]
    router = learned(pair, PRICES)
    output = {at.model: at.prices.output_nusd_per_mtok for at in router.endpoints if at.prices is not None}
    assert output[O3_MINI] > 2.9 * output[MAGISTRAL]
    assert picked(router, 0.0, 0.0) == O3_MINI


@pytest.mark.parametrize("floor", FLOORS[1:])
def test_a_floor_excludes_who_is_under_it_and_nobody_else(floor: float) -> None:
    """By what was told of the answers, with the share that was seen."""
    router = router_of_kind(ALL)
    decision = decided(router, floor)
    above = set(usd_per_success(ALL, 0.0, floor))
    assert {router.endpoints[one.endpoint_index].model for one in decision.candidates} == above
    assert len(decision.excluded) == len(router.endpoints) - len(above)
    for gone in decision.excluded:
        assert gone.reason is ExclusionReason.QUALITY
        assert 0.0 < gone.seen < gone.limit == floor


def test_a_model_of_which_nobody_told_is_not_taken_to_succeed() -> None:
    """It counts as the worst of the others, and no floor lets it pass."""
    router = learned(ANSWERS, PRICES, floors=FLOORS, unjudged={O3_MINI})
    shares = {
        router.endpoints[one.endpoint_index].model: one.success_share
        for one in decided(router, 0.0).candidates
    }
    assert shares[O3_MINI] == min(shares.values()) < 0.8
    assert O3_MINI in usd_per_success(ALL, 0.0, FLOORS[1])
    excluded = {router.endpoints[gone.endpoint_index].model for gone in decided(router, FLOORS[1]).excluded}
    assert O3_MINI in excluded


def test_with_a_floor_and_no_feedback_nobody_answers() -> None:
    """Unknown is not above a floor, however good the models are."""
    router = learned(ANSWERS[:500], PRICES, floors=FLOORS, unjudged={answer.model for answer in ANSWERS})
    refused = router.decide(request_for(virtual_name(FLOORS[1])), now_s=ended_s(500), draw=0.5)
    assert isinstance(refused, Refusal)
    assert "under the floor" in refused.message


def test_the_data_are_those_that_the_source_counted() -> None:
    """Every answer of a priced model is there, and the two that their limit cut are known as such."""
    assert len(ANSWERS) == 2083
    assert len({answer.model for answer in ANSWERS}) == 22
    assert [(one.model, one.succeeded) for one in ANSWERS if one.cut] == [(MAGISTRAL, False)] * 2
