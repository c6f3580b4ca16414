"""What each kind of end teaches about an endpoint: one row per outcome, and the failure share."""

from __future__ import annotations

import pytest

from entrepot.domain.outcome import BLAMED, Outcome
from entrepot.routing.kpi.endpoint import (
    BOUND_TOKENS_PER_BYTE,
    FAILURE_FLOOR_S,
    EndpointMeasures,
)
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.outlook import Outlook
from entrepot.routing.kpi.priors import ASSUMED_DOUBT
from tests.routing.builders import priors_of, seen

PRIORS = priors_of(ttft_s=2.0, tpot_s=0.02)
HALF_LIFE_S = 600.0


def fresh() -> Outlook:
    """Return the outlook of an endpoint that was never used."""
    measures, outlook = EndpointMeasures(PRIORS), Outlook()
    outlook.failure_s = FAILURE_FLOOR_S
    measures.refresh(outlook, PRIORS, 1.0, 0.0, HALF_LIFE_S)
    return outlook


def after(*observations: Observation, now_s: float = 0.0) -> tuple[EndpointMeasures, Outlook]:
    """Return measures and outlook after these observations, all of the same weight."""
    measures, outlook = EndpointMeasures(PRIORS), fresh()
    for one in observations:
        measures.observe(one, 1.0, one.prompt_tokens or 0.0)
        measures.refresh(outlook, PRIORS, 1.0, one.at_s, HALF_LIFE_S)
    measures.refresh(outlook, PRIORS, 1.0, now_s, HALF_LIFE_S)
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


GOOD = seen(0, 0.0, ttft_s=1.0)
BAD = seen(0, 0.0, Outcome.FAILED)


def test_the_failure_share_starts_as_assumed_and_follows_the_evidence() -> None:
    """Of a hundred attempts half failed, well mixed: near the half, five of the assumed 1 % weighed in."""
    mixed = [seen(0, 0.0, outcome, ttft_s=1.0) for outcome in (Outcome.TRUNCATED, Outcome.OK)] * 50
    assert after()[1].p_failure == pytest.approx(0.01)
    assert after(*mixed)[1].p_failure == pytest.approx(0.5 * 64 / 69 + 0.01 * 5 / 69, abs=0.01)


@pytest.mark.parametrize(("attempts", "least", "most"), [(0, 0.0, 0.01), (24, 0.2, 0.5), (64, 0.4, 0.5)])
def test_the_failure_share_follows_within_64_attempts(attempts: int, least: float, most: float) -> None:
    """A host that failed at nothing, and then at every second attempt, is known for it after 64 of them."""
    broken = [BAD if number % 2 else GOOD for number in range(1, attempts + 1)]
    assert least <= after(*[GOOD] * 1000, *broken)[1].p_failure <= most


def test_a_host_that_was_mended_is_soon_known_as_such() -> None:
    """Thousands of bad attempts are as good as forgotten after two hundred good ones."""
    broken = [BAD, GOOD] * 2000
    shares = [after(*broken, *[GOOD] * mended)[1].p_failure for mended in (0, 30, 64, 200)]
    assert shares[0] > 0.45
    assert shares[1] < 0.3
    assert shares[2] < 0.2
    assert shares[3] < 0.03


def test_failures_in_a_row_are_judged_on_their_own() -> None:
    """A thousand good answers do not hide an outage; the first success ends it, and leaves a bad record."""
    assert after(*[GOOD] * 1000, *[BAD] * 10)[1].p_failure > 0.99
    ended = after(*[GOOD] * 1000, *[BAD] * 10, GOOD)
    assert ended[0].run == 0.0
    assert ended[1].p_failure < 0.4
    assert after(*[GOOD] * 1000, *[BAD] * 3, GOOD)[1].p_failure < 0.06


@pytest.mark.parametrize(("run", "usually_sound", "usually_failing"), [(2, 0.99, 0.3), (3, 0.99, 0.7)])
def test_an_outage_is_judged_by_what_was_usual(
    run: int, usually_sound: float, usually_failing: float
) -> None:
    """Two failures in a row are an outage of a host that never failed, and chance at one that often does."""
    sound = after(*[GOOD] * 140, *[BAD] * run)[1].p_failure
    failing = after(*[*[GOOD] * 6, BAD, GOOD] * 20, *[BAD] * run)[1].p_failure
    assert sound > usually_sound
    assert failing < usually_failing
    assert after(*[*[GOOD] * 6, BAD, GOOD] * 20, *[BAD] * 6)[1].p_failure > 0.9


def test_a_run_of_failures_fades() -> None:
    """After ten of its half-lives nothing is left of the run: what remains is the share of the latest."""
    outage = [*[GOOD] * 1000, *[BAD] * 3]
    assert after(*outage)[1].p_failure > 0.99
    assert after(*outage, now_s=600.0)[1].p_failure < 0.06
    assert after(*outage, now_s=600.0)[0].run_at(600.0) < 0.01


def test_a_share_of_failures_that_may_be_past_is_doubted() -> None:
    """A host that fails seldom leaves nothing to find out; one that fails often may have been mended."""
    assert after(*[GOOD] * 100)[1].p_doubt == 0.0
    assert 0.02 < after(*[BAD, *[GOOD] * 4] * 50)[1].p_doubt < 0.2


def test_a_failure_is_never_known_for_nothing() -> None:
    """A refusal in a millisecond is charged a second of waiting; one that took 40 s is charged them."""
    quick = [seen(0, 0.0, Outcome.FAILED, answer_s=0.001)] * 50
    slow = [seen(0, 0.0, Outcome.FAILED, answer_s=40.0)] * 500
    assert after(*quick)[1].failure_s == FAILURE_FLOOR_S
    assert after(*slow)[1].failure_s == pytest.approx(40.0, rel=0.02)


def test_what_a_failure_takes_is_a_mean_of_all_of_them() -> None:
    """However many attempts are forgotten for the share of failures: one in ten, each known after 3 s."""
    rows = [seen(0, 0.0, Outcome.FAILED, answer_s=3.0), *[GOOD] * 9] * 100
    assert after(*rows)[1].failure_s == pytest.approx(3.0, rel=0.05)


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


@pytest.mark.parametrize(("answer_s", "factor"), [(11.0, 1.0), (22.0, 2.0)])
def test_a_whole_answer_is_split_in_the_expected_proportions(answer_s: float, factor: float) -> None:
    """Of 11 s for 450 tokens, expected 2 + 9 s, 2 s are TTFT; of 22 s, twice as much of each."""
    measures, _ = after(seen(answer_s=answer_s, output_tokens=450))
    assert measures.ttft.samples.mean() == pytest.approx(2.0 * factor)
    assert measures.tpot.samples.mean() == pytest.approx(0.02 * factor)


def test_a_whole_answer_without_output_is_all_waiting() -> None:
    """An embedding has a TTFT and nothing else; an answer of unknown length teaches nothing."""
    measures, _ = after(seen(answer_s=0.3, output_tokens=0))
    assert (measures.ttft.samples.mean(), measures.tpot.samples.mean()) == (0.3, None)
    measures, _ = after(seen(answer_s=0.3))
    assert (measures.ttft.samples.mean(), measures.tpot.samples.mean()) == (None, None)


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
    with pytest.raises(ValueError, match="expected 25 finite"):
        EndpointMeasures(PRIORS).restore_sums([1.0])


def billed(
    *, billed_nusd: int, told_nusd: int | None, discount_nusd: int = 0, cached: int = 0, known: float = 0.0
) -> Observation:
    """Return a good answer to a prompt of 1,000 tokens with its bill and what the host says of it."""
    return Observation(
        0,
        0.0,
        Outcome.OK,
        2.0,
        ttft_s=1.0,
        prompt_tokens=1000,
        output_tokens=100,
        cached_tokens=cached,
        known_tokens=known,
        billed_nusd=billed_nusd,
        discount_nusd=discount_nusd,
        told_nusd=told_nusd,
    )


@pytest.mark.parametrize(("told", "factor"), [(None, 1.0), (1000, 1.0), (1100, 1.1), (900, 0.9)])
def test_what_is_paid_over_the_list_is_measured_where_the_host_tells_it(
    told: int | None, factor: float
) -> None:
    """A host that says nothing is taken at its list."""
    assert after(*[billed(billed_nusd=1000, told_nusd=told)] * 20)[1].price_factor == pytest.approx(factor)


@pytest.mark.parametrize(
    ("told", "honoured"), [(None, 1.0), (600, 1.0), (800, 0.5), (1000, 0.0), (1200, 0.0)]
)
def test_a_discount_on_cached_tokens_is_believed_as_far_as_it_was_given(
    told: int | None, honoured: float
) -> None:
    """Of a discount of 400 on a bill of 1,000: who bills 600 gave it, 800 half of it, 1,000 nothing."""
    one = billed(billed_nusd=600, discount_nusd=400, told_nusd=told, cached=500)
    outlook = after(*[one] * 20)[1]
    assert outlook.cached_honour == pytest.approx(honoured)
    assert outlook.price_factor == 1.0


def test_a_known_beginning_is_trusted_as_far_as_it_was_cached() -> None:
    """Nothing before one was sent; then half of it is blended with what is seen to be kept, or not kept."""
    assert after()[1].prefix_trust == 0.0
    keeps = billed(billed_nusd=0, told_nusd=None, cached=800, known=800.0)
    forgets = billed(billed_nusd=0, told_nusd=None, cached=0, known=800.0)
    assert after(keeps)[1].prefix_trust == pytest.approx((1.0 + 5 * 0.5) / 6)
    assert after(forgets)[1].prefix_trust == pytest.approx(5 * 0.5 / 6)
    assert after(*[keeps] * 300)[1].prefix_trust > 0.98
    assert after(*[forgets] * 300)[1].prefix_trust < 0.02


def test_what_is_cached_beyond_the_known_beginning_counts_as_its_usual_share() -> None:
    """A system prompt of others is cached without our having sent it."""
    one = billed(billed_nusd=0, told_nusd=None, cached=900, known=800.0)
    outlook = after(*[one] * 300)[1]
    assert outlook.prefix_trust > 0.98
    assert outlook.cached_share == pytest.approx(100 / 200, abs=0.02)


def test_a_429_under_our_load_is_capacity_and_no_failure() -> None:
    """With attempts of ours under way a 429 says where the limit is; without, the host refuses anybody."""
    loaded = after(*[seen(0, 0.0, Outcome.RATE_LIMITED, in_flight=9)] * 20)
    assert loaded[0].trials == 0.0
    assert loaded[1].refused is not None
    idle = after(*[seen(0, 0.0, Outcome.RATE_LIMITED)] * 20)
    assert (idle[0].trials, idle[0].limit, idle[1].refused) == (20.0, None, None)


def test_an_endpoint_that_was_long_silent_is_doubted_again() -> None:
    """The level of what was seen a hundred times is certain; ten half-lives later it is anybody's."""
    rows = [GOOD] * 100
    now, later = (after(*rows, now_s=at)[1].precision for at in (0.0, 10 * HALF_LIFE_S))
    assert now > 50 * later
    assert later < 1.0 / ASSUMED_DOUBT**2
