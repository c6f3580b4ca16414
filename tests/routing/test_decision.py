"""A decision as bytes: small, exact where the winner depends on it, and refused when damaged."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.domain.request import Preferences, Slo
from entrepot.routing.decision import (
    FORMAT_VERSION,
    Candidate,
    Decision,
    Exclusion,
    ExclusionReason,
    Ranking,
    pack,
    unpack,
)
from entrepot.routing.rank import winner_of
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
    """Everything but the bound for the reservation survives: the score exactly, its parts to seven digits."""
    decision = six()
    stored = unpack(pack(decision, IDS))
    assert stored.usd_per_s == decision.usd_per_s
    assert stored.draw == decision.draw
    assert stored.allowance_usd == decision.allowance_usd
    for kept, was in zip(stored.candidates, decision.candidates, strict=True):
        assert kept.endpoint_index == IDS[was.endpoint_index]
        for field in ("tier", "score", "cached_nusd_per_mtok", "uses"):
            assert getattr(kept, field) == getattr(was, field)
        for field in set(Candidate.__struct_fields__) - {"endpoint_index", "bound_prompt_tokens"}:
            assert getattr(kept, field) == pytest.approx(getattr(was, field), rel=1e-6)
        assert kept.bound_prompt_tokens == 0


def test_exclusions_come_back_with_what_was_seen() -> None:
    """The reason, the value seen and the limit survive, with the ledger's id."""
    router = router_of(endpoint("slow", ttft_s=9.0), endpoint("fast", ttft_s=0.5))
    stored = unpack(pack(decide(router, chat(slo=Slo(ttft_s=2.0))), IDS))
    (gone,) = stored.excluded
    assert (gone.endpoint_index, gone.reason, gone.limit) == (40, ExclusionReason.TTFT, 2.0)
    assert gone.seen > 9.0


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


def test_what_was_added_to_a_candidate_comes_back() -> None:
    """The share of useful answers, the certain part, the doubt, the chance to be in time, and the miss."""
    decision = six()
    added = {"success_share": 0.25, "steady_usd": 0.5, "doubt": 0.75, "p_in_time": 0.875, "miss": 1.5}
    one = replace(decision.winner, **added)
    kept = unpack(pack(replace(decision, candidates=(one,)), IDS)).winner
    assert {name: getattr(kept, name) for name in added} == added


def of_version_1(*, explored: bool) -> bytes:
    """Return a decision of two candidates and an exclusion as the first version wrote it, byte by byte."""
    header = struct.pack("<BBHHddd", 1, 0 << 1 | explored, 2, 1, 5.0 / 3600, 0.25, 0.75)
    row = "<IHIfffqdddddddd"
    first = struct.pack(
        row, 7, 2, 30, 12.5, 1000.0, 10.0, 140_000_000, 0.004, 1.5, 0.02, 500.0, 0.01, 0.0, 1.0, 0.1
    )
    second = struct.pack(
        row, 8, 2, 31, 0.0, 1000.0, 0.0, 550_000_000, 0.009, 1.5, 0.02, 500.0, 0.01, 0.0, 1.0, 0.2
    )
    return header + first + second + struct.pack("<IBff", 9, 61, 4.0, 2.0)


def test_a_decision_of_the_first_version_is_still_read() -> None:
    """Journals are kept for years: what an earlier release decided can still be told and replayed."""
    stored = unpack(of_version_1(explored=False))
    assert FORMAT_VERSION > 1
    assert [one.endpoint_index for one in stored.candidates] == [7, 8]
    assert stored.usd_per_hour == pytest.approx(5.0)
    assert (stored.draw, stored.explored, stored.ranking) == (0.25, False, Ranking.SCORE)
    assert math.isnan(stored.allowance_usd)
    assert stored.excluded == (Exclusion(9, ExclusionReason.TTFT, 4.0, 2.0),)
    one = stored.winner
    assert (one.tier, one.uses, one.observations, one.cached_nusd_per_mtok) == (2, 30, 12.5, 140_000_000)
    assert (one.dollars, one.seconds, one.p_failure, one.score) == (0.004, 11.5, 0.01, 0.1)
    assert (one.success_share, one.steady_usd, one.doubt, one.p_in_time, one.miss) == (
        1.0,
        0.0,
        0.0,
        1.0,
        0.0,
    )
    assert winner_of(stored).endpoint_index == 7


@given(st.integers(0, 200))
def test_a_cut_decision_of_the_first_version_is_refused(length: int) -> None:
    """As of the present one."""
    data = of_version_1(explored=True)
    with pytest.raises(ValueError, match="stored decision"):
        unpack(data[: min(length, len(data) - 1)])


def test_twenty_excluded_endpoints_take_thirteen_bytes_each() -> None:
    """What an exclusion costs in the journal is a promise too."""
    decision = six()
    excluded = tuple(
        Exclusion(0, reason, 1.0, 2.0) for reason in [*set(ExclusionReason) - {ExclusionReason.RULE}][:20]
    )
    assert len(pack(replace(decision, excluded=excluded), IDS)) == len(pack(decision, IDS)) + 13 * 20
    assert unpack(pack(replace(decision, excluded=excluded), IDS)).excluded == tuple(
        replace(gone, endpoint_index=IDS[0]) for gone in excluded
    )
