"""Where two endpoints swap: against the scores themselves, at values of time on either side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.durations import SECONDS_PER_HOUR
from entrepot.routing.compare import Quote, ladder, swaps
from entrepot.routing.score import score
from tests.routing.builders import R1, endpoint, prices, router_of

quotes = st.builds(
    Quote,
    endpoint_index=st.just(0),
    dollars=st.floats(1e-5, 1.0),
    seconds=st.floats(0.1, 100.0),
    ttft_s=st.just(1.0),
    tokens_per_s=st.just(50.0),
    p_failure=st.floats(0.0, 0.3),
    dollars_wasted=st.floats(0.0, 0.01),
    failure_s=st.floats(1.0, 5.0),
)


def quote(index: int, dollars: float, seconds: float) -> Quote:
    """Return what is expected of an endpoint that never fails."""
    return Quote(index, dollars, seconds, 1.0, 50.0, 0.0, 0.0, 1.0)


def scored(one: Quote, fallback: Quote, usd_per_hour: float) -> float:
    """Return the score of asking one first and the other after a failure, by the objective itself."""
    usd_per_s = usd_per_hour / SECONDS_PER_HOUR
    then = fallback.dollars + usd_per_s * fallback.seconds
    return score(one.dollars, one.seconds, usd_per_s, one.p_failure, one.dollars_wasted, one.failure_s, then)


def test_the_published_example_swaps_where_arithmetic_says() -> None:
    """3,000 tokens at $2.19 and, 20 s sooner, at $3.50: $0.71 per hour (docs/concepts.md)."""
    (swap,) = swaps([quote(0, 3000 * 2.19e-6, 120.0), quote(1, 3000 * 3.50e-6, 100.0)])
    assert (swap.cheaper, swap.quicker) == (0, 1)
    assert swap.usd_per_hour == pytest.approx(0.7074, abs=1e-4)


def test_who_is_dearer_and_slower_never_swaps() -> None:
    """None stands for never, and comes last."""
    never = swaps([quote(0, 0.01, 5.0), quote(1, 0.02, 6.0), quote(2, 0.03, 1.0)])
    assert [swap.usd_per_hour is None for swap in never] == [False, False, True]
    assert (never[-1].pair, never[-1].cheaper, never[-1].quicker) == ((0, 1), 0, 0)


@given(quotes, quotes)
def test_below_a_swap_the_cheaper_one_scores_less_and_above_it_the_quicker_one(
    one: Quote, other: Quote
) -> None:
    """By the same score that requests are sent by, each the other's fallback."""
    of = [one, Quote(1, *[getattr(other, name) for name in Quote.__struct_fields__[1:]])]
    (swap,) = swaps(of)
    if swap.usd_per_hour is None:
        better, worse = of[swap.cheaper], of[1 - swap.cheaper]
        for usd_per_hour in (0.0, 5.0, 1000.0):
            assert scored(better, worse, usd_per_hour) <= scored(worse, better, usd_per_hour) + 1e-9
        return
    cheap, quick = of[swap.cheaper], of[swap.quicker]
    below, above = 0.9 * swap.usd_per_hour, 1.1 * swap.usd_per_hour + 1e-6
    assert scored(cheap, quick, below) <= scored(quick, cheap, below) + 1e-9
    assert scored(quick, cheap, above) <= scored(cheap, quick, above) + 1e-9


@given(st.lists(quotes, min_size=1, max_size=8))
def test_the_ladder_is_the_least_of_all_at_every_value_of_time(found: list[Quote]) -> None:
    """Between its steps nobody costs less than the one that it names, failures answered by oneself."""
    of = [
        Quote(index, *[getattr(one, name) for name in Quote.__struct_fields__[1:]])
        for index, one in enumerate(found)
    ]
    steps = ladder(of)
    assert [usd for usd, _ in steps] == sorted(usd for usd, _ in steps)
    for usd_per_hour in (0.0, 0.5, 5.0, 50.0, 5000.0):
        index = [at for usd, at in steps if usd <= usd_per_hour][-1]
        costs = [scored(one, one, usd_per_hour) for one in of]
        assert costs[index] == pytest.approx(min(costs), rel=1e-6)


def test_a_router_quotes_every_endpoint_whose_window_is_large_enough() -> None:
    """At the tokens that were asked for, whatever the model's verbosity is."""
    router = router_of(
        endpoint("a", prices("1", "2"), ttft_s=1.0, tokens_per_s=50.0),
        endpoint("small", context_tokens=1000),
    )
    (found,) = router.quotes(R1, prompt_tokens=1000.0, output_tokens=500.0, now_s=0.0)
    assert found.dollars == pytest.approx(0.002)
    assert found.seconds == pytest.approx(11.1, abs=0.05)
