"""Estimates as they are shown, each with basis, count, age, and an interval that widens with age."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.domain.estimate import INTERVAL_SHARE, Basis, Estimate
from entrepot.domain.outcome import Outcome
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.kpi.observation import Observation
from entrepot.routing.kpi.uncertainty import doubt_of, level_interval, quantile_shares, share_interval
from entrepot.routing.settings import RoutingSettings
from tests.routing.builders import R1, endpoint, seen

SETTINGS = RoutingSettings(half_life_s=100.0)
FLEET = (endpoint("a", ttft_s=None, tokens_per_s=None),)
SHARES = (
    *("failure_share", "rate_limited_share", "truncated_share"),
    *("cached_share", "prefix_trust", "cached_honour"),
)


def knowing(observations: list[Observation]) -> Knowledge:
    """Return knowledge of one endpoint that took in these observations."""
    knowledge = Knowledge(FLEET, {}, SETTINGS)
    for one in observations:
        knowledge.observe(one)
    return knowledge


def estimates(knowledge: Knowledge, now_s: float = 0.0) -> dict[str, Estimate]:
    """Return the estimates of the endpoint."""
    return knowledge.kpis(0, now_s).estimates()


def told(count: int, *, cached: int = 0, known: float = 0.0, billed: int, paid: int) -> list[Observation]:
    """Return answers to 1,000 tokens; what cached tokens ought to save is half a nano-dollar each."""
    one = replace(seen(0, 0.0, ttft_s=1.0, output_tokens=100), prompt_tokens=1000, prompt_bytes=4000)
    one = replace(one, cached_tokens=cached, known_tokens=known, discount_nusd=cached // 2)
    return [replace(one, billed_nusd=billed, told_nusd=paid)] * count


def width(name: str, estimate: Estimate) -> float:
    """Return how wide the interval of an estimate is: the difference for shares, else the proportion."""
    assert estimate.interval is not None
    low, high = estimate.interval
    return high - low if name in SHARES else high / low


@given(st.floats(0.0, 1.0), st.floats(0.0, 1e6), st.floats(1.0, 100.0))
def test_the_interval_of_a_share_holds_it_and_widens_as_observations_fade(
    share: float, count: float, times: float
) -> None:
    """That of fewer observations holds that of more; none are known: from nothing to all."""
    low, high = share_interval(share, count)
    assert 0.0 <= low <= share <= high <= 1.0
    wider = share_interval(share, count / times)
    assert wider[0] <= low + 1e-9
    assert wider[1] >= high - 1e-9
    assert share_interval(share, 0.0) == (0.0, 1.0)


def test_the_interval_of_a_share_is_that_of_the_book() -> None:
    """Worked out by hand: of ten half, at 90 %, Wilson gives 27 % to 73 %."""
    assert share_interval(0.5, 10.0) == pytest.approx((0.2694, 0.7306), abs=1e-3)
    assert share_interval(0.0, 10.0) == pytest.approx((0.0, 0.2130), abs=1e-3)


@given(st.floats(0.0, 1e6), st.floats(0.01, 3.0), st.floats(0.01, 3.0), st.floats(1.0, 100.0))
def test_a_mean_is_the_surer_the_more_it_rests_on(
    count: float, spread: float, unseen: float, times: float
) -> None:
    """Never less sure than without any, and never surer than the single ones allow."""
    doubt = doubt_of(count, spread=spread, unseen=unseen)
    assert 0.0 < doubt <= doubt_of(count / times, spread=spread, unseen=unseen) <= unseen * (1 + 1e-9)
    low, high = level_interval(7.0, doubt)
    assert low < 7.0 < high
    assert low * high == pytest.approx(49.0)


@given(st.floats(0.01, 0.99), st.floats(0.0, 1e6))
def test_a_quantile_lies_among_those_around_it(share: float, count: float) -> None:
    """Few samples do not tell the median from the greatest."""
    below, above = quantile_shares(share, count)
    assert 0.0 <= below <= share <= above <= 1.0


def test_without_observations_all_is_assumed_and_nothing_is_sure() -> None:
    """Basis, count and age say so, and a share may be any."""
    for name, one in estimates(knowing([])).items():
        assert (one.basis, one.count, one.age_s) == (Basis.ASSUMED, 0.0, None), name
        assert one.interval is not None
        assert one.interval[0] <= one.value <= one.interval[1], name
        assert name not in SHARES or one.interval == (0.0, 1.0), name


OUTCOMES = st.sampled_from([Outcome.OK, Outcome.OK, Outcome.RATE_LIMITED, Outcome.TRUNCATED, Outcome.FAILED])


@given(
    st.lists(st.tuples(OUTCOMES, st.floats(0.1, 30.0), st.integers(0, 900), st.integers(500, 2000))),
    st.floats(0.0, 2000.0),
)
def test_every_interval_holds_its_estimate_whatever_was_seen(
    ended: list[tuple[Outcome, float, int, int]], silent_s: float
) -> None:
    """And says how sure, how many and how old."""
    knowledge = knowing(
        [
            replace(
                told(1, cached=cached, known=cached / 2, billed=1000, paid=paid)[0],
                outcome=outcome,
                ttft_s=ttft_s,
                at_s=float(number),
            )
            for number, (outcome, ttft_s, cached, paid) in enumerate(ended)
        ]
    )
    now_s = len(ended) + silent_s
    for name, one in estimates(knowledge, now_s).items():
        assert one.interval is not None
        assert one.interval[0] <= one.value <= one.interval[1], name
        assert (one.age_s is None) == (one.count == 0.0), name
        assert one.basis is not Basis.MEASURED or one.count >= 5.0, name


def test_every_interval_widens_with_age() -> None:
    """Five half-lives after the last answer less is known than at once, of all of them."""
    answers = [
        *told(20, cached=500, known=600.0, billed=1000, paid=1100),
        *[replace(one, tpot_s=0.02) for one in told(20, billed=1000, paid=1000)],
        *[replace(one, wire_bytes=20_000) for one in told(20, billed=1000, paid=1000)],
        *[seen(0, 0.0, outcome) for outcome in (Outcome.RATE_LIMITED, Outcome.TRUNCATED) for _ in range(5)],
    ]
    knowledge = knowing([replace(one, at_s=0.1 * number) for number, one in enumerate(answers)])
    before, after = estimates(knowledge, 5.0), estimates(knowledge, 500.0)
    for name, one in before.items():
        assert width(name, after[name]) > width(name, one), name
        assert after[name].count < one.count, name


def test_429s_and_broken_answers_are_shares_of_all_attempts() -> None:
    """Of forty attempts ten were answered 429 and six broke off."""
    knowledge = knowing(
        [
            *told(24, billed=0, paid=0),
            *[seen(0, 0.0, Outcome.RATE_LIMITED)] * 10,
            *[seen(0, 0.0, Outcome.TRUNCATED, ttft_s=1.0)] * 6,
        ]
    )
    found = estimates(knowledge)
    limited, broken = found["rate_limited_share"], found["truncated_share"]
    assert (limited.value, limited.count, limited.basis) == (0.25, 40.0, Basis.MEASURED)
    assert (broken.value, broken.count, broken.basis) == (0.15, 40.0, Basis.MEASURED)
    assert limited.interval == pytest.approx(share_interval(0.25, 40.0))


def test_a_discount_that_is_given_by_half_is_told_with_the_answers_that_show_it() -> None:
    """What was saved of what ought to be; answers without cached tokens say nothing of it."""
    knowledge = knowing(
        [*told(8, cached=800, known=900.0, billed=600, paid=800), *told(3, billed=1000, paid=1000)]
    )
    found = estimates(knowledge)
    honour = found["cached_honour"]
    assert (honour.value, honour.count, honour.basis) == (0.5, 8.0, Basis.MEASURED)
    assert found["prefix_trust"].count == 8.0
    assert found["cached_share"].count == 11.0
    assert found["price_factor"].basis is Basis.ASSUMED
    assert found["price_factor"].count == 3.0


def test_a_price_that_varies_is_less_sure_than_one_that_is_always_the_same() -> None:
    """Both charge a tenth more than is listed, one of them now this and now that."""
    steady = estimates(knowing(told(40, billed=1000, paid=1100)))["price_factor"]
    varied = told(20, billed=1000, paid=600) + told(20, billed=1000, paid=1600)
    changing = estimates(knowing(varied))["price_factor"]
    assert steady.value == changing.value == pytest.approx(1.1)
    assert (steady.count, steady.basis) == (40.0, Basis.MEASURED)
    assert width("price_factor", changing) > 1.1 > width("price_factor", steady)


def test_the_interval_of_what_is_measured_holds_the_truth_as_often_as_it_says() -> None:
    """Nine in ten of three hundred endpoints that answer every fifth attempt with a 429."""
    random, held = Random(7), 0
    for _ in range(300):
        limited = sum(random.random() < 0.2 for _ in range(60))
        low, high = share_interval(limited / 60, 60.0)
        held += low <= 0.2 <= high
    assert held / 300 == pytest.approx(INTERVAL_SHARE, abs=0.05)


def test_the_estimates_of_a_model_have_intervals_too() -> None:
    """Its answers fade as those of an endpoint do."""
    knowledge = knowing(told(50, billed=0, paid=0))
    before, after = knowledge.model_kpis(R1, 1.0), knowledge.model_kpis(R1, 1e6)
    for one, later in (
        (before.verbosity_tokens, after.verbosity_tokens),
        (before.bytes_per_token, after.bytes_per_token),
    ):
        assert one.interval is not None
        assert one.interval[0] <= one.value <= one.interval[1]
        assert width("", later) > width("", one)
