"""The order of candidates, and its recomputation from what was stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.routing.decision import Candidate, Ranking, pack, unpack
from entrepot.routing.rank import ordered, to_explore, two_least, winner_of
from tests.routing.builders import chat, decide, endpoint, prices, router_of


def candidate(index: int, score: float, *, cached: int = 0, uses: int = 0, tier: int = 0) -> Candidate:
    """Return a candidate of which only its place matters."""
    return Candidate(
        endpoint_index=index,
        tier=tier,
        dollars=score,
        ttft_s=float(index),
        tpot_s=0.01,
        output_tokens=100.0,
        p_failure=0.0,
        dollars_wasted=0.0,
        failure_s=1.0,
        score=score,
        prompt_tokens=10.0,
        cached_tokens=0.0,
        cached_nusd_per_mtok=cached,
        uses=uses,
        observations=float(index),
    )


def order(*candidates: Candidate, ranking: Ranking = Ranking.SCORE) -> list[int]:
    """Return the indexes of the candidates in the order of trying."""
    return [one.endpoint_index for one in ordered(list(candidates), ranking)]


def test_the_least_score_is_first() -> None:
    """Candidates stand by score."""
    assert order(candidate(0, 3.0), candidate(1, 1.0), candidate(2, 2.0)) == [1, 2, 0]


def test_a_tie_goes_to_the_lower_cached_price_then_to_the_least_used() -> None:
    """Scores that differ by rounding are equal."""
    tied = [
        candidate(0, 0.1 + 0.2, cached=5),
        candidate(1, 0.3, cached=5, uses=1),
        candidate(2, 0.3 * (1 + 1e-13), cached=1, uses=9),
    ]
    assert order(*tied) == [2, 0, 1]


def test_scores_that_truly_differ_are_no_tie() -> None:
    """A part in a billion is a difference."""
    assert order(candidate(0, 1.0, cached=9), candidate(1, 1.0 + 1e-9, cached=1)) == [0, 1]


def test_free_candidates_tie_at_nothing() -> None:
    """Scores of zero are equal too: a relative tolerance must not divide by them."""
    assert order(candidate(0, 0.0, uses=2), candidate(1, 0.0, uses=1)) == [1, 0]


def test_a_tier_comes_before_the_score() -> None:
    """What the sender put first is first, even at a tie."""
    assert order(candidate(0, 1.0, tier=2), candidate(1, 9.0, tier=0), candidate(2, 1.0, tier=1)) == [1, 2, 0]


def test_by_speed_a_tie_goes_to_the_lower_score() -> None:
    """Equal tokens/s: what costs less in all is first."""
    assert order(candidate(0, 2.0), candidate(1, 1.0), ranking=Ranking.THROUGHPUT) == [1, 0]


@given(st.lists(st.floats(0, 10), min_size=2))
def test_the_two_least_are_the_first_two_of_the_sorted(values: list[float]) -> None:
    """One pass finds what sorting would."""
    assert two_least(values) == tuple(sorted(values)[:2])


def test_a_single_value_falls_back_to_itself() -> None:
    """Who is alone has no other to fall back to."""
    assert two_least([4.0]) == (4.0, 4.0)


@pytest.mark.parametrize(("draw_pick", "expected"), [(0.0, 0), (0.49, 0), (0.5, 1), (0.999, 1)])
def test_equally_unknown_candidates_are_drawn_evenly(draw_pick: float, expected: int) -> None:
    """The second draw picks among those that are known least."""
    pair = [replace(candidate(index, 1.0), observations=2.0) for index in (0, 1)]
    picked = to_explore([*pair, replace(candidate(2, 0.5), observations=3.0)], draw_pick)
    assert picked is pair[expected]


def test_exploration_stays_in_the_first_tier() -> None:
    """A later model, or an endpoint that the sender would rather not have, is not explored."""
    first, later = candidate(3, 1.0), replace(candidate(0, 1.0, tier=1), observations=0.0)
    assert to_explore([first, later], 0.0) is first


def test_a_corrupted_winner_is_seen() -> None:
    """The record says that another endpoint won than its own numbers do: the replay disagrees."""
    router = router_of(endpoint("a"), endpoint("b", prices("5", "5")), endpoint("c", prices("7", "7")))
    stored = unpack(pack(decide(router, chat()), [1, 2, 3]))
    assert winner_of(stored).endpoint_index == stored.winner.endpoint_index
    first, second, third = stored.candidates
    corrupted = replace(stored, candidates=(second, first, third))
    assert winner_of(corrupted).endpoint_index != corrupted.winner.endpoint_index


def test_a_corrupted_score_changes_nothing_of_the_replay() -> None:
    """The replay trusts the inputs and not the stored scores, so that a changed score is seen as well."""
    router = router_of(endpoint("a"), endpoint("b", prices("5", "5")))
    stored = unpack(pack(decide(router, chat()), [1, 2]))
    lying = replace(stored, candidates=tuple(replace(one, score=0.0) for one in stored.candidates))
    assert winner_of(lying).score == stored.winner.score


def test_an_explored_decision_replays_to_what_was_explored() -> None:
    """The draws are stored, so exploration is no exception from replay."""
    router = router_of(*(endpoint(host, prices("1", str(cost))) for cost, host in enumerate("abc", start=1)))
    router = type(router)(
        router.endpoints, router.models, replace(router.settings, exploration_share=1.0), router.knowledge
    )
    for draw_pick in (0.0, 0.34, 0.67, 0.99):
        decision = router.decide(chat(), now_s=0.0, draw=0.0, draw_pick=draw_pick)
        stored = unpack(pack(decision, [0, 1, 2]))  # type: ignore[arg-type]
        assert winner_of(stored).endpoint_index == stored.winner.endpoint_index
