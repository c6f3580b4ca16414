"""Dollars and seconds of one endpoint, by the formulas of the design, and the limits by distribution."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from entrepot.domain.endpoint import Operation
from entrepot.domain.prices import Prices
from entrepot.domain.request import Slo
from entrepot.routing.forecast import (
    TEMPLATE_TOKENS,
    Option,
    cautious_dollars,
    forecast,
    misses,
    option,
    seconds_quantile,
    share_in_time,
    size,
    tier_of,
)
from entrepot.routing.kpi.outlook import Outlook
from entrepot.routing.kpi.table import WEIGHTS
from tests.routing.builders import chat, endpoint, model_row, prices, row_of, spread_table


def row() -> Outlook:
    """Return an endpoint of 2 s and 50 tokens/s that gets slower with load and caches a fifth."""
    outlook = row_of()
    outlook.ttft_s, outlook.tpot_s, outlook.p_failure, outlook.failure_s = 2.0, 0.02, 0.1, 3.0
    outlook.ttft_per_in_flight_s, outlook.tpot_per_in_flight_s = 0.5, 0.001
    outlook.ttft_per_token_s, outlook.ttft_per_both_s = 0.001, 0.0001
    outlook.cached_share, outlook.wasted_share = 0.2, 0.5
    outlook.at_load()
    return outlook


def priced(*tiers: tuple[int, Prices], outlook: Outlook | None = None) -> Option:
    """Return an option with these prices by length of the prompt."""
    return option(0, endpoint("a"), outlook or row(), tiers, model_position=0, tier=0)


DEAR = prices("1", "10", "0.1")


def test_a_forecast_is_the_formula_of_the_design() -> None:
    """dollars = p_in·(n_in − h) + p_cached·h + p_out·N; seconds = TTFT + N·TPOT at the load of now."""
    outlook = row()
    outlook.in_flight = 4
    outlook.at_load()
    expected = forecast(priced((0, DEAR), outlook=outlook), size(chat(prompt_bytes=4000), model_row()))
    assert expected.cached_tokens == pytest.approx(200.0)
    assert expected.dollars == pytest.approx((800 * 1 + 200 * 0.1 + 500 * 10) / 1e6)
    assert expected.ttft_s == pytest.approx(2.0 + 0.8 + 4 * (0.5 + 0.08))
    assert expected.tpot_s == pytest.approx(0.024)
    assert expected.seconds == pytest.approx(expected.ttft_s + 500 * 0.024)
    assert expected.dollars_wasted == pytest.approx(expected.dollars / 2)


def test_a_beginning_that_was_sent_there_is_cached_as_far_as_the_host_is_trusted() -> None:
    """Of the known part the trusted share is cached, of the rest the usual share."""
    outlook = row()
    outlook.prefix_trust = 0.9
    at, of = priced((0, DEAR), outlook=outlook), size(chat(prompt_bytes=4000), model_row())
    assert forecast(at, of, 600.0).cached_tokens == pytest.approx(0.9 * 600 + 0.2 * 400)
    assert forecast(at, of, 5000.0).cached_tokens == pytest.approx(900.0)
    assert forecast(at, of, 600.0).seconds < forecast(at, of).seconds


def test_a_discount_that_is_not_given_is_not_expected() -> None:
    """Of a host that honours half of its discount on cached tokens half is counted on."""
    outlook = row()
    outlook.cached_honour = 0.5
    expected = forecast(priced((0, DEAR), outlook=outlook), size(chat(prompt_bytes=4000), model_row()))
    assert expected.dollars == pytest.approx((800 + 200 * (0.1 + 0.45) + 5000) / 1e6)


def test_what_is_paid_over_the_list_is_expected_again() -> None:
    """A host that bills a tenth more than its prices say is a tenth dearer."""
    listed, billed = row(), row()
    billed.price_factor = 1.1
    of = size(chat(), model_row())
    at_list, at_bill = (forecast(priced((0, DEAR), outlook=outlook), of) for outlook in (listed, billed))
    assert at_bill.dollars == pytest.approx(1.1 * at_list.dollars)


def test_a_price_per_request_is_added() -> None:
    """Some hosts charge for the call as such."""
    per_request = replace(prices("0", "0"), request_nusd=5_000_000)
    assert forecast(priced((0, per_request)), size(chat(), model_row())).dollars == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("prompt_tokens", "usd_per_mtok"), [(200_000, 1.0), (200_001, 2.0), (400_000, 2.0), (400_001, 3.0)]
)
def test_a_long_prompt_has_the_prices_of_its_tier(prompt_tokens: int, usd_per_mtok: float) -> None:
    """A prompt of more tokens than a tier begins at is billed at it as a whole."""
    outlook = row()
    outlook.cached_share = 0.0
    tiers = [(at, prices(str(usd), str(10 * usd))) for at, usd in ((0, 1), (200_000, 2), (400_000, 3))]
    at = priced(*tiers, outlook=outlook)
    of = size(chat(prompt_bytes=4 * prompt_tokens), model_row())
    dollars = usd_per_mtok * (prompt_tokens + 10 * 500) / 1e6
    assert forecast(at, of).dollars == pytest.approx(dollars)
    assert tier_of(at, of).input_usd == pytest.approx(usd_per_mtok / 1e6)


def test_the_cautious_dollars_take_the_whole_prompt_uncached_and_long() -> None:
    """What a limit on dollars is compared with: the cautious prompt, and the answer at the probability."""
    at, of = priced((0, DEAR)), size(chat(prompt_bytes=4000), model_row())
    longest = of.output_quantile(0.9)
    assert longest > 2 * 500
    assert cautious_dollars(at, of, 0.9, 1) == pytest.approx((2000 * 1 + longest * 10) / 1e6)
    assert cautious_dollars(at, of, 0.9, 3) == pytest.approx((2000 * 1 + 3 * longest * 10) / 1e6)
    capped = size(chat(prompt_bytes=4000, max_output_tokens=600), model_row())
    assert cautious_dollars(at, capped, 0.9, 1) == pytest.approx((2000 * 1 + 600 * 10) / 1e6)


@pytest.mark.parametrize(
    ("operation", "choices", "limit", "window", "most"),
    [
        (Operation.CHAT, 1, None, 2001, 500),
        (Operation.CHAT, 4, None, 2001, 500),
        (Operation.CHAT, 1, 100, 2100, 100),
        (Operation.CHAT, 1, 8000, 10_000, 500),
        (Operation.COMPLETION, 4, 100, 600, 100),
        (Operation.EMBEDDING, 4, None, 500, 0),
        (Operation.EMBEDDING, 1, None, 2000, 0),
    ],
)
def test_the_size_of_a_request(
    operation: Operation, choices: int, limit: int | None, window: int, most: int
) -> None:
    """The window holds one prompt, cautiously, and the longest answer; choices share a prompt in a chat."""
    request = replace(chat(prompt_bytes=4000, max_output_tokens=limit), operation=operation, choices=choices)
    measured = size(request, model_row())
    assert measured.prompt_tokens == 1000.0
    assert measured.context_tokens == window
    assert 0.75 * most <= measured.output_tokens <= most
    assert measured.billed_output_tokens == measured.output_tokens * choices
    assert measured.bound_prompt_tokens == 4000 + TEMPLATE_TOKENS
    assert size(request, model_row(), tokens_per_byte=0.25).context_tokens < window


@given(st.integers(1, 20_000))
def test_an_answer_that_may_be_cut_is_expected_at_the_mean_of_the_cut_lengths(limit: int) -> None:
    """E[min(N, L)], and not min(E[N], L): by the points that stand for the distribution."""
    of = size(chat(max_output_tokens=limit), model_row())
    scale = of.mean_tokens / of.lengths.mean
    points = zip(of.lengths.points, WEIGHTS, strict=True)
    cut = sum(weight * min(scale * point, float(limit)) for point, weight in points)
    assert of.output_tokens == pytest.approx(cut, rel=0.08)
    assert of.output_tokens <= min(of.mean_tokens, limit)
    assert of.output_quantile(0.99) <= limit


def test_an_attachment_fills_no_context_window() -> None:
    """A picture of a megabyte is not a quarter of a million tokens; its bytes stay in the bound."""
    request = replace(chat(prompt_bytes=1_000_400), attachment_bytes=1_000_000)
    of = size(request, model_row())
    assert of.prompt_tokens == 100
    assert of.bound_prompt_tokens == 1_000_400 + TEMPLATE_TOKENS


def test_a_429_of_our_own_load_is_a_failure_that_is_expected_only_under_load() -> None:
    """The share of the present load counts on top of the failures at any load."""
    outlook = row()
    outlook.refused = [0.0, 0.0, 0.5, *[1.0] * 17]
    of = size(chat(), model_row())
    at = priced((0, DEAR), outlook=outlook)
    for load, p_failure in ((0, 0.1), (1, 0.1 + 0.9 * 0.5), (100, 1.0)):
        outlook.in_flight = load
        outlook.at_load()
        assert forecast(at, of).p_failure == pytest.approx(p_failure)


@settings(deadline=None)
@given(
    st.floats(0.05, 1.5),
    st.floats(0.01, 60.0),
    st.floats(1e-3, 0.2),
    st.floats(0.05, 0.95),
    st.none() | st.integers(1, 4000),
)
def test_the_quantile_of_the_answer_time_inverts_the_share_in_time(
    spread: float, ttft_s: float, tpot_s: float, share: float, limit: int | None
) -> None:
    """What is promised with a probability holds with it, and a tenth less does not hold with much more."""
    outlook = row()
    outlook.ttft_s, outlook.tpot_s, outlook.answers = ttft_s, tpot_s, spread_table(spread)
    outlook.at_load()
    at, of = priced((0, DEAR), outlook=outlook), size(chat(max_output_tokens=limit), model_row())
    expected = forecast(at, of)
    seconds = seconds_quantile(at, of, expected, share)
    assert share_in_time(at, of, expected, seconds) >= share
    assert share_in_time(at, of, expected, 0.9 * seconds) <= share + 0.02


def test_limits_are_held_by_the_distribution_and_not_by_the_mean() -> None:
    """A host of 2 s on average keeps 2.2 s at even odds and not at 99 %."""
    outlook = row_of(endpoint("a", ttft_s=2.0))
    outlook.ttfts = outlook.tpots = outlook.answers = spread_table(0.4)
    at, of = priced((0, DEAR), outlook=outlook), size(chat(prompt_bytes=0), model_row())
    expected = forecast(at, of)
    assert misses(at, of, expected, Slo(ttft_s=2.2, probability=0.5), 1) == {}
    missed = misses(at, of, expected, Slo(ttft_s=2.2, probability=0.99), 1)
    assert list(missed) == ["ttft_s"]
    kept_s, limit_s = missed["ttft_s"]
    assert limit_s == 2.2
    assert misses(at, of, expected, Slo(ttft_s=kept_s * 1.05, probability=0.99), 1) == {}
    assert misses(at, of, expected, Slo(ttft_s=kept_s * 0.95, probability=0.99), 1) != {}


def test_every_limit_that_is_missed_is_told_with_what_can_be_had() -> None:
    """Dollars, first token, speed and answer time; what is offered is worse than the limit."""
    at, of = priced((0, DEAR)), size(chat(), model_row())
    expected = forecast(at, of)
    slo = Slo(ttft_s=0.5, tokens_per_s=500.0, answer_s=3.0, max_nusd=1)
    missed = misses(at, of, expected, slo, 1)
    assert list(missed) == ["max_usd", "ttft_s", "tokens_per_s", "answer_s"]
    for name, (had, limit) in missed.items():
        assert had < limit if name == "tokens_per_s" else had > limit
