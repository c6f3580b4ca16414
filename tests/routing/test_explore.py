"""Exploring: what may be better is tried, within an allowance, and never against a limit."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.domain.request import Request, Slo
from entrepot.routing.choose import Router
from entrepot.routing.decision import Candidate
from entrepot.routing.explore import (
    FIRST_ALLOWANCE,
    MOST_ALLOWANCE,
    MOST_KEYS,
    Allowances,
    normal,
    to_explore,
)
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import chat, decide, endpoint, hosts, prices, router_of, seen

SHARE = 0.02
DIGITS = [*map(Random(1).getrandbits, [30] * 20_000)]
"""Of twenty thousand draws."""


def candidate(
    index: int, score: float, *, doubt: float = 0.5, steady: float = 0.0, tier: int = 0
) -> Candidate:
    """Return a candidate of which only its belief matters."""
    return Candidate(
        endpoint_index=index,
        tier=tier,
        dollars=score,
        ttft_s=0.0,
        tpot_s=0.0,
        output_tokens=0.0,
        p_failure=0.0,
        dollars_wasted=0.0,
        failure_s=1.0,
        score=score,
        prompt_tokens=0.0,
        cached_tokens=0.0,
        cached_nusd_per_mtok=0,
        uses=0,
        observations=0.0,
        steady_usd=steady,
        doubt=doubt,
    )


believed = st.lists(
    st.tuples(st.floats(0.1, 5), st.floats(0, 2), st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=8
)


def ranked(rows: list[tuple[float, float, float, int]]) -> list[Candidate]:
    """Return candidates of (score, doubt, steady part, tier) in their order."""
    made = [
        candidate(index, score, doubt=doubt, steady=score * steady, tier=tier)
        for index, (score, doubt, steady, tier) in enumerate(rows)
    ]
    return sorted(made, key=lambda one: (one.tier, one.score))


@given(believed, st.floats(0, 1, exclude_max=True), st.floats(0, 3))
def test_what_is_explored_costs_no_more_than_the_allowance_and_stays_in_the_first_tier(
    rows: list[tuple[float, float, float, int]], draw: float, allowance: float
) -> None:
    """Whatever is believed; the same draw finds the same."""
    candidates = ranked(rows)
    picked = to_explore(candidates, draw, allowance)
    assert picked is to_explore(candidates, draw, allowance)
    if picked is not None:
        assert picked is not candidates[0]
        assert picked.tier == candidates[0].tier
        assert picked.score - candidates[0].score <= allowance


@given(st.floats(0, 1, exclude_max=True))
def test_what_is_certainly_dearer_is_never_tried(draw: float) -> None:
    """Its steady part alone is above the best, or its doubt too small for any luck."""
    best = candidate(0, 1.0)
    for hopeless in (
        candidate(1, 2.0, steady=1.1),
        candidate(1, 2.0, doubt=0.1),
        candidate(1, 2.0, doubt=0.0),
    ):
        assert to_explore([best, hopeless], draw, 100.0) is None


def test_a_candidate_is_tried_as_often_as_it_is_believed_to_be_better() -> None:
    """Drawn from a log-normal belief around its score, the share of draws below the best."""
    rows = [candidate(0, 1.0), candidate(1, 1.2, doubt=0.5)]
    picks = sum(to_explore(rows, number / 4000, 10.0) is not None for number in range(4000))
    assert picks / 4000 == pytest.approx(0.454, abs=0.03)  # P(z < (ln(1/1.2) + 0.125) / 0.5)


@pytest.mark.parametrize("place", range(4))
def test_the_numbers_of_a_place_are_normally_distributed(place: int) -> None:
    """One draw serves all candidates, so that its bits are mixed for each."""
    values = [normal(digits, place) for digits in DIGITS]
    mean = sum(values) / len(values)
    assert mean == pytest.approx(0.0, abs=0.06)
    assert sum(value * value for value in values) / len(values) == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize(("one", "other"), [*combinations(range(12), 2)])
def test_the_numbers_of_two_places_have_nothing_to_do_with_each_other(one: int, other: int) -> None:
    """Or all would be lucky together; neither they nor their distances from the middle."""
    pairs = [(normal(digits, one), normal(digits, other)) for digits in DIGITS]
    assert sum(a * b for a, b in pairs) / len(pairs) == pytest.approx(0.0, abs=0.06)
    assert sum((a * a - 1.0) * (b * b - 1.0) for a, b in pairs) / len(pairs) == pytest.approx(0.0, abs=0.15)


@given(st.lists(st.tuples(st.floats(0.01, 2), st.floats(0, 1)), max_size=60), st.floats(0.001, 0.5))
def test_a_key_spends_at_most_its_share_and_what_it_began_with(
    requests: list[tuple[float, float]], share: float
) -> None:
    """The bound on regret by exploring: the share of what its requests cost, and the first allowance."""
    allowances, spent, cost = Allowances(share), 0.0, 0.0
    for best_usd, part in requests:
        left = allowances.of(1, best_usd)
        assert 0.0 <= left <= MOST_ALLOWANCE * best_usd
        allowances.spend(1, part * left)
        spent += part * left
        cost += best_usd
    first = requests[0][0] if requests else 0.0
    assert spent <= share * cost + FIRST_ALLOWANCE * first + 1e-9


def test_keys_have_allowances_of_their_own_and_are_bounded() -> None:
    """What one spends is not missing to another; the oldest key is forgotten first."""
    allowances = Allowances(SHARE)
    allowances.spend(1, allowances.of(1, 1.0))
    assert allowances.of(1, 1.0) == pytest.approx(SHARE)
    assert allowances.of(2, 1.0) == pytest.approx(min(FIRST_ALLOWANCE + SHARE, MOST_ALLOWANCE))
    for key in range(MOST_KEYS + 10):
        allowances.of(100 + key, 1.0)
    assert len(allowances._left) == MOST_KEYS
    assert Allowances(0.0).of(1, 1.0) == 0.0


def fleet(*, share: float = SHARE) -> Router:
    """Return a router of five hosts of like prices of which nothing is known."""
    return router_of(
        *(endpoint(f"h{number}", prices("0.55", f"2.{number}"), ttft_s=None) for number in range(5)),
        settings=RoutingSettings(exploration_share=share),
    )


@pytest.mark.parametrize("key_id", [0, 7])
@pytest.mark.parametrize("seed", range(3))
def test_the_regret_of_exploring_is_bounded_by_the_share_of_the_cost(seed: int, key_id: int) -> None:
    """As believed at each request: what was tried over the best, summed, against the share of the best."""
    router, random = fleet(), Random(seed)
    regret = cost = first = 0.0
    for step in range(1500):
        decision = decide(router, replace(chat(), key_id=key_id), now_s=float(step), draw=random.random())
        best_usd = min(one.score for one in decision.candidates)
        first = first or best_usd
        regret += decision.winner.score - best_usd
        cost += best_usd
        index = decision.winner.endpoint_index
        ttft_s = (1.0 + 2.0 * index) * random.lognormvariate(0.0, 0.3)
        router.knowledge.observe(seen(index, float(step), ttft_s=ttft_s, tpot_s=0.025, prompt_tokens=1000))
    assert 0.0 < regret <= SHARE * cost + FIRST_ALLOWANCE * first


def test_nothing_is_explored_where_time_is_worth_nothing_among_endpoints_of_one_model() -> None:
    """Dollars are certain there: what costs more costs more, whatever is not known of its speed."""
    router = fleet(share=1.0)
    for number in range(300):
        assert not decide(router, chat(usd_per_hour=0.0), draw=number / 300).explored


def test_among_models_the_doubt_of_their_lengths_is_explored_even_then() -> None:
    """A model of which nobody knows how much it says may be the cheaper one."""
    router = router_of(
        endpoint("a", prices("1", "2"), model="x/a"),
        endpoint("b", prices("1", "2.2"), model="x/b"),
        settings=RoutingSettings(exploration_share=1.0),
    )
    request = chat("x/a", "x/b", usd_per_hour=0.0)
    assert any(decide(router, request, draw=number / 100).explored for number in range(100))


def explored_share(router: Router, request: Request, index: int) -> float:
    """Return at how many of many draws an endpoint is explored, each by a key of its own."""
    count = 400
    picks = [
        decide(router, replace(request, key_id=1 + number), draw=number / count) for number in range(count)
    ]
    return sum(one.explored and one.winner.endpoint_index == index for one in picks) / count


def test_an_answer_under_way_counts_as_if_it_had_been_seen() -> None:
    """So that a burst does not all explore the same host: each attempt there leaves less to find out."""
    router = router_of(
        endpoint("a"), endpoint("b", prices("0.55", "9")), settings=RoutingSettings(exploration_share=1.0)
    )
    shares = [explored_share(router, chat(), 1)]
    for _ in range(2):
        for _ in range(4):
            router.knowledge.started(1)
        shares.append(explored_share(router, chat(), 1))
    assert shares[0] > 0.1
    assert shares[0] > 1.3 * shares[1]
    assert shares[1] >= shares[2]


def test_what_was_long_silent_is_explored_again() -> None:
    """Hosts are mended and models moved: what was slow an hour ago may be fast."""
    router = router_of(
        endpoint("a"), endpoint("b"), settings=RoutingSettings(exploration_share=1.0, half_life_s=100.0)
    )
    for step in range(200):
        router.knowledge.observe(seen(0, 0.1 * step, ttft_s=1.0, tpot_s=0.02, prompt_tokens=1000))
        router.knowledge.observe(seen(1, 0.1 * step, ttft_s=30.0, tpot_s=0.02, prompt_tokens=1000))
    request = chat(max_output_tokens=10)

    def explores(now_s: float) -> bool:
        keys = (replace(request, key_id=1 + number) for number in range(300))
        return any(
            decide(router, one, now_s=now_s, draw=place / 300).explored for place, one in enumerate(keys)
        )

    assert not explores(20.0)
    for step in range(30):
        router.knowledge.observe(seen(0, 990.0 + 0.1 * step, ttft_s=1.0, tpot_s=0.02, prompt_tokens=1000))
    assert explores(1000.0)


def test_what_is_explored_keeps_the_limits() -> None:
    """A limit is asked before anything is drawn."""
    router = fleet(share=1.0)
    for number in range(200):
        request = replace(chat(slo=Slo(ttft_s=3.0, probability=0.8, max_nusd=30_000_000)), key_id=number + 1)
        decision = decide(router, request, draw=number / 200)
        gone = {one.endpoint_index for one in decision.excluded}
        assert decision.winner.endpoint_index not in gone
        assert len(hosts(router, decision)) + len(gone) == 5
