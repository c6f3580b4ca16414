"""A decision as bytes: small, exact where the winner depends on it, and refused when damaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.request import Preferences, Slo
from entrepot.routing.decision import Decision, Ranking, pack, unpack
from tests.routing.builders import chat, decide, endpoint, prices, router_of

IDS = [40, 50, 60, 70, 80, 90]


def six() -> Decision:
    """Return a decision among six candidates."""
    router = router_of(*(endpoint(f"h{number}", prices(f"0.{number}", "2")) for number in range(6)))
    return decide(router, chat(usd_per_hour=3.0, max_output_tokens=700))


def test_six_candidates_take_at_most_600_bytes() -> None:
    """A decision rides in every reserve entry, so its size is a promise."""
    assert len(pack(six(), IDS)) <= 600


def test_a_decision_comes_back_as_it_was() -> None:
    """Everything but the bound for the reservation survives; floats for the eye to seven digits."""
    decision = six()
    stored = unpack(pack(decision, IDS))
    assert stored.usd_per_s == decision.usd_per_s
    assert stored.draws == decision.draws
    for kept, was in zip(stored.candidates, decision.candidates, strict=True):
        assert kept.endpoint_index == IDS[was.endpoint_index]
        for field in ("tier", "dollars", "ttft_s", "tpot_s", "output_tokens", "p_failure", "dollars_wasted"):
            assert getattr(kept, field) == getattr(was, field)
        for field in ("failure_s", "score", "cached_nusd_per_mtok", "uses"):
            assert getattr(kept, field) == getattr(was, field)
        for field in ("observations", "prompt_tokens", "cached_tokens"):
            assert getattr(kept, field) == pytest.approx(getattr(was, field), rel=1e-6)
        assert kept.bound_prompt_tokens == 0


def test_exclusions_come_back_with_what_was_seen() -> None:
    """The reason, the value seen and the limit survive, with the ledger's id."""
    router = router_of(endpoint("slow", ttft_s=9.0), endpoint("fast", ttft_s=0.5))
    stored = unpack(pack(decide(router, chat(slo=Slo(ttft_s=2.0))), IDS))
    assert [(gone.endpoint_index, gone.reason.name, gone.seen, gone.limit) for gone in stored.excluded] == [
        (40, "TTFT", 9.0, 2.0)
    ]


@pytest.mark.parametrize(
    ("sort", "ranking"),
    [
        (None, Ranking.SCORE),
        ("price", Ranking.PRICE),
        ("throughput", Ranking.THROUGHPUT),
        ("latency", Ranking.LATENCY),
    ],
)
def test_the_ranking_is_stored(sort: str | None, ranking: Ranking) -> None:
    """A replay has to know by what the candidates were ordered."""
    router = router_of(endpoint("a"), endpoint("b"))
    decision = decide(router, chat(preferences=Preferences(sort=sort)))  # type: ignore[arg-type]
    assert unpack(pack(decision, IDS)).ranking is ranking


@given(st.integers(0, 599))
def test_a_cut_decision_is_refused(length: int) -> None:
    """Bytes that are not a whole decision raise, with a sentence that says what was expected."""
    data = pack(six(), IDS)
    with pytest.raises(ValueError, match="stored decision"):
        unpack(data[: min(length, len(data) - 1)])


def test_a_decision_of_a_later_format_is_refused() -> None:
    """An older reader does not guess at a newer format."""
    data = pack(six(), IDS)
    with pytest.raises(ValueError, match="format 9"):
        unpack(b"\x09" + data[1:])
