"""What each kind of end teaches about an endpoint: one row per outcome, and the failure share."""

from __future__ import annotations

import pytest

from entrepot.domain.estimate import Basis, Estimate
from entrepot.domain.outcome import BLAMED, Outcome
from entrepot.routing.kpi.endpoint import (
    BOUND_TOKENS_PER_BYTE,
    FAILURE_FLOOR_S,
    EndpointMeasures,
    split_whole_answer,
)
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.outlook import Outlook
from entrepot.routing.kpi.priors import Priors
from tests.routing.builders import seen

PRIORS = Priors(
    ttft_s=Estimate(2.0, Basis.DECLARED),
    tpot_s=Estimate(0.02, Basis.DECLARED),
    failure_share=Estimate(0.01, Basis.ASSUMED),
)


def fresh() -> Outlook:
    """Return the outlook of an endpoint that was never used."""
    return Outlook(ttft_s=2.0, tpot_s=0.02, p_failure=0.01, failure_s=FAILURE_FLOOR_S)


def after(*observations: Observation, now_s: float = 0.0) -> tuple[EndpointMeasures, Outlook]:
    """Return measures and outlook after these observations, all of the same weight."""
    measures, outlook = EndpointMeasures(), fresh()
    for one in observations:
        measures.observe(one, 1.0, outlook)
        measures.refresh(outlook, PRIORS, 1.0, one.at_s)
    measures.refresh(outlook, PRIORS, 1.0, now_s)
    return measures, outlook


@pytest.mark.parametrize(
    ("outcome", "ttft_s", "counted", "tried", "failed", "timed"),
    [
        (Outcome.OK, 1.0, 1, 1, 0, 1),
        (Outcome.CANCELLED, 1.0, 1, 1, 0, 1),
        (Outcome.CANCELLED, None, 1, 0, 0, 1),
        (Outcome.FAILED, None, 1, 1, 1, 0),
        (Outcome.FAILED, 1.0, 1, 1, 1, 1),
        (Outcome.TRUNCATED, 1.0, 1, 1, 1, 1),
        (Outcome.TIMED_OUT, None, 1, 1, 1, 1),
        (Outcome.TIMED_OUT, 1.0, 1, 1, 1, 1),
        (Outcome.RATE_LIMITED, None, 1, 1, 1, 0),
        (Outcome.REFUSED, None, 0, 0, 0, 0),
    ],
)
def test_each_outcome_teaches_what_it_can(
    outcome: Outcome, ttft_s: float | None, counted: int, tried: int, failed: int, timed: int
) -> None:
    """A cancelled attempt is no failure, a timed-out one is both, a refused request says nothing."""
    measures, _ = after(seen(0, 0.0, outcome, ttft_s=ttft_s))
    assert (measures.observations, measures.trials, measures.failures) == (counted, tried, failed)
    assert measures.ttft.samples.weight == timed
    assert failed == (outcome in BLAMED)


def test_a_timeout_counts_as_at_least_the_time_that_was_waited() -> None:
    """300 s without a byte: TTFT is 300 s or more."""
    measures, _ = after(seen(0, 0.0, Outcome.TIMED_OUT, answer_s=300.0))
    assert measures.ttft.samples.mean() == 300.0


def test_a_cancel_before_the_first_content_counts_as_what_was_expected() -> None:
    """The client left after 0.1 s of an expected 2 s: it would have been about 2 s."""
    measures, _ = after(seen(0, 0.0, Outcome.CANCELLED, answer_s=0.1))
    assert measures.ttft.samples.mean() == 2.0


def test_the_failure_share_starts_as_assumed_and_follows_the_evidence() -> None:
    """Five failures of ten attempts, well mixed: between the assumed 1 % and a half, near the half."""
    mixed = [seen(0, 0.0, outcome, ttft_s=1.0) for outcome in (Outcome.TRUNCATED, Outcome.OK)] * 50
    _, outlook = after(*mixed)
    assert after()[1].p_failure == pytest.approx(0.01)
    assert outlook.p_failure == pytest.approx(0.5, abs=0.03)


def test_failures_in_a_row_are_judged_on_their_own() -> None:
    """A thousand good answers do not hide an outage of ten attempts; the first success ends the suspicion."""
    good, bad = seen(0, 0.0, ttft_s=1.0), seen(0, 0.0, Outcome.FAILED)
    assert after(*[good] * 1000, *[bad] * 10)[1].p_failure > 0.9
    assert after(*[good] * 1000, *[bad] * 10, good)[1].p_failure < 0.02


def test_a_run_of_failures_fades() -> None:
    """After ten of its half-lives nothing is left of the run."""
    bad = seen(0, 0.0, Outcome.FAILED)
    good = [seen(0, 0.0, ttft_s=1.0)] * 1000
    assert after(*good, *[bad] * 10, now_s=600.0)[1].p_failure < 0.02


def test_a_failure_is_never_known_for_nothing() -> None:
    """A refusal in a millisecond is charged a second of waiting; one that took 40 s is charged them."""
    quick = [seen(0, 0.0, Outcome.FAILED, answer_s=0.001)] * 50
    slow = [seen(0, 0.0, Outcome.FAILED, answer_s=40.0)] * 500
    assert after(*quick)[1].failure_s == FAILURE_FLOOR_S
    assert after(*slow)[1].failure_s == pytest.approx(40.0, rel=0.02)


def test_failures_after_the_first_content_waste_dollars() -> None:
    """What a host wrote before it failed is billed; what failed before cost nothing."""
    early, late = seen(0, 0.0, Outcome.FAILED), seen(0, 0.0, Outcome.TRUNCATED, ttft_s=1.0)
    assert after(*[early] * 20)[1].wasted_share == 0.0
    assert after(*[late] * 500)[1].wasted_share == pytest.approx(1.0, abs=0.02)


def test_the_cached_share_is_shrunk_to_nothing_until_seen_often() -> None:
    """Nobody promised a cache hit: one observation is not yet a habit."""
    hit = Observation(0, 0.0, Outcome.OK, 2.0, ttft_s=1.0, prompt_tokens=1000, cached_tokens=800)
    assert after()[1].cached_share == 0.0
    assert after(hit)[1].cached_share == pytest.approx(0.8 / 6)
    assert after(*[hit] * 500)[1].cached_share == pytest.approx(0.8, abs=0.02)


def test_a_whole_answer_is_split_in_the_expected_proportions() -> None:
    """Of 11 s for 450 tokens, expected 2 + 9 s, 2 s are TTFT; of 22 s, twice as much of each."""
    for answer_s, factor in ((11.0, 1.0), (22.0, 2.0)):
        ttft_s, tpot_s = split_whole_answer(seen(answer_s=answer_s, output_tokens=450), fresh())
        assert ttft_s == pytest.approx(2.0 * factor)
        assert tpot_s == pytest.approx(0.02 * factor)


def test_a_whole_answer_without_output_is_all_waiting() -> None:
    """An embedding has a TTFT and nothing else; an answer of unknown length teaches nothing."""
    assert split_whole_answer(seen(answer_s=0.3, output_tokens=0), fresh()) == (0.3, None)
    assert split_whole_answer(seen(answer_s=0.3), fresh()) == (None, None)


def test_the_bound_of_tokens_per_byte_covers_what_was_seen() -> None:
    """Before: the shortest known event. Later: two deviations above the mean, and never below it."""
    streams = [
        Observation(0, 0.0, Outcome.OK, 2.0, ttft_s=1.0, output_tokens=100, wire_bytes=size)
        for size in (19_000, 20_000, 21_000)
    ]
    assert after()[0].stream_tokens_per_byte(1.0)[1] == BOUND_TOKENS_PER_BYTE
    expected, bound = after(*streams * 200)[0].stream_tokens_per_byte(1.0)
    assert expected == pytest.approx(1 / 200, rel=0.01)
    assert 1 / 19_000 * 100 <= bound < BOUND_TOKENS_PER_BYTE


def test_sums_of_another_length_are_refused() -> None:
    """A damaged or foreign state raises."""
    with pytest.raises(ValueError, match="expected 11"):
        EndpointMeasures().restore_sums([1.0])
