"""The order of candidates, and its recomputation from what was stored."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.routing.choose import Router
from entrepot.routing.decision import Candidate, Decision, Ranking, pack, unpack
from entrepot.routing.rank import STORED, expected_score, ordered, two_least, winner_of
from entrepot.routing.settings import RoutingSettings
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


def three() -> Decision:
    """Return a decision among three hosts of different prices, as it is stored."""
    router = router_of(endpoint("a"), endpoint("b", prices("5", "5")), endpoint("c", prices("7", "7")))
    return unpack(pack(decide(router, chat()), [1, 2, 3]))


def test_a_corrupted_winner_is_seen() -> None:
    """The record says that another endpoint won than its own numbers do: the replay disagrees."""
    stored = three()
    assert winner_of(stored).endpoint_index == stored.winner.endpoint_index
    first, second, third = stored.candidates
    corrupted = replace(stored, candidates=(second, first, third))
    assert winner_of(corrupted).endpoint_index != corrupted.winner.endpoint_index


def test_a_corrupted_score_changes_nothing_of_the_replay() -> None:
    """The replay trusts the inputs and not the stored scores, so that a changed score is seen as well."""
    stored = three()
    lying = replace(stored, candidates=tuple(replace(one, score=0.0) for one in stored.candidates))
    assert winner_of(lying).score == pytest.approx(stored.winner.score, rel=STORED)
    assert winner_of(lying).score != lying.winner.score


@pytest.mark.parametrize("field", ["score", "dollars", "ttft_s", "tpot_s", "output_tokens"])
@pytest.mark.parametrize("factor", [0.5, 0.999, 1.001, 2.0])
def test_a_corrupted_part_of_the_winner_is_seen(field: str, factor: float) -> None:
    """Its score, or a part that the score is made of: by a thousandth, its recomputed score differs."""
    stored = three()
    one = stored.winner
    lying = replace(one, **{field: factor * getattr(one, field)})
    changed = replace(stored, candidates=(lying, *stored.candidates[1:]))
    found = winner_of(changed)
    assert (found.endpoint_index, found.score) != (lying.endpoint_index, lying.score)


@pytest.mark.parametrize("place", [1, 2])
def test_a_loser_made_to_look_dear_is_seen(place: int) -> None:
    """Whoever hides a better candidate by its stored score is found out: the score is made again."""
    stored = three()
    first, *others = stored.candidates
    others[place - 1] = replace(others[place - 1], dollars=first.dollars / 2)
    assert winner_of(replace(stored, candidates=(first, *others))).endpoint_index != first.endpoint_index


def test_a_virtual_answer_replays_by_the_cost_of_a_successful_one() -> None:
    """The share of useful answers is stored, and divides the score of the replay too."""
    dear = replace(candidate(0, 1.0), dollars=0.9, success_share=1.0)
    cheap = replace(candidate(1, 1.0), dollars=0.5, success_share=0.5)
    scored = [replace(one, score=expected_score(one, 0.0, 9.0)) for one in (dear, cheap)]
    assert winner_of(Decision(0.0, 0.0, 0.0, tuple(scored))).endpoint_index == 0


def exploring(count: int) -> Router:
    """Return a router of this many equal hosts whose allowance is large."""
    return router_of(
        *(endpoint(f"h{number}") for number in range(count)), settings=RoutingSettings(exploration_share=1.0)
    )


def test_an_explored_decision_replays_to_what_was_explored() -> None:
    """The draw and the allowance are stored, so that exploring is no exception: not even among equals."""
    explored = 0
    for number in range(200):
        decision = decide(exploring(5), chat(), draw=number / 200)
        stored = unpack(pack(decision, range(5)))
        explored += decision.explored
        assert winner_of(stored).endpoint_index == stored.winner.endpoint_index
    assert explored > 50


def test_an_explored_decision_whose_pick_was_exchanged_is_seen() -> None:
    """What was picked follows from the draw: another one in its place is a mismatch."""
    router = router_of(
        *(endpoint(f"h{number}", prices("0.55", f"2.{number}")) for number in range(1, 6)),
        settings=RoutingSettings(exploration_share=1.0),
    )
    seen_any = False
    for number in range(100):
        decision = decide(router, chat(), draw=number / 100)
        if decision.explored:
            stored = unpack(pack(decision, range(5)))
            first, second, *rest = stored.candidates
            swapped = replace(stored, candidates=(second, first, *rest))
            assert winner_of(stored).endpoint_index == first.endpoint_index
            assert winner_of(swapped).endpoint_index != second.endpoint_index
            seen_any = True
    assert seen_any


def test_an_explored_decision_of_the_first_version_cannot_be_replayed() -> None:
    """It was picked by a rule that is gone; the message says so instead of crying foul."""
    explored = replace(three(), allowance_usd=math.nan, explored=True)
    with pytest.raises(ValueError, match="earlier version"):
        winner_of(explored)
    assert winner_of(replace(explored, explored=False)).endpoint_index == 1
