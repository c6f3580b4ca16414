"""Dollars and seconds of one endpoint, by the formulas of the design."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from entrepot.domain.endpoint import Operation
from entrepot.routing.forecast import TEMPLATE_TOKENS, cautious_dollars, forecast, option, size
from entrepot.routing.kpi.outlook import ModelOutlook, Outlook
from tests.routing.builders import chat, endpoint, prices


def model() -> ModelOutlook:
    """Return a model of 500 tokens per answer, 4 bytes per token, cautiously 2."""
    outlook = ModelOutlook()
    outlook.verbosity_tokens = 500.0
    outlook.tokens_per_byte, outlook.cautious_tokens_per_byte = 0.25, 0.5
    return outlook


def row() -> Outlook:
    """Return an endpoint of 2 s and 50 tokens/s that gets slower with load and caches a fifth."""
    outlook = Outlook(ttft_s=2.0, tpot_s=0.02, p_failure=0.1, failure_s=3.0)
    outlook.ttft_per_in_flight_s, outlook.tpot_per_in_flight_s = 0.5, 0.001
    outlook.cached_share, outlook.wasted_share = 0.2, 0.5
    return outlook


def test_a_forecast_is_the_formula_of_the_design() -> None:
    """dollars = p_in·(n_in − h) + p_cached·h + p_out·N; seconds = TTFT + N·TPOT at the load of now."""
    outlook = row()
    outlook.in_flight = 4
    at = option(0, endpoint("a"), outlook, prices("1", "10", "0.1"), model_position=0, tier=0)
    expected = forecast(at, size(chat(prompt_bytes=4000), model()))
    assert expected.cached_tokens == pytest.approx(200.0)
    assert expected.dollars == pytest.approx((800 * 1 + 200 * 0.1 + 500 * 10) / 1e6)
    assert expected.ttft_s == pytest.approx(4.0)
    assert expected.tpot_s == pytest.approx(0.024)
    assert expected.seconds == pytest.approx(4.0 + 500 * 0.024)
    assert expected.dollars_wasted == pytest.approx(expected.dollars / 2)


def test_a_price_per_request_is_added() -> None:
    """Some hosts charge for the call as such."""
    priced = replace(prices("0", "0"), request_nusd=5_000_000)
    at = option(0, endpoint("a"), row(), priced, model_position=0, tier=0)
    assert forecast(at, size(chat(), model())).dollars == pytest.approx(0.005)


def test_the_cautious_dollars_take_the_whole_prompt_uncached_and_long() -> None:
    """What a limit on dollars is compared with."""
    at = option(0, endpoint("a"), row(), prices("1", "10", "0.1"), model_position=0, tier=0)
    assert cautious_dollars(at, size(chat(prompt_bytes=4000), model())) == pytest.approx(
        (2000 * 1 + 500 * 10) / 1e6
    )


@pytest.mark.parametrize(
    ("operation", "choices", "limit", "window", "output"),
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
    operation: Operation, choices: int, limit: int | None, window: int, output: int
) -> None:
    """The window holds one prompt, cautiously, and the longest answer; choices share a prompt in a chat."""
    request = replace(chat(prompt_bytes=4000, max_output_tokens=limit), operation=operation, choices=choices)
    measured = size(request, model())
    assert measured.prompt_tokens == 1000.0
    assert measured.context_tokens == window
    assert measured.output_tokens == output
    assert measured.billed_output_tokens == output * choices
    assert measured.bound_prompt_tokens == 4000 + TEMPLATE_TOKENS
    assert size(request, model(), cautious=False).context_tokens < window


def test_an_attachment_fills_no_context_window() -> None:
    """A picture of a megabyte is not a quarter of a million tokens; its bytes stay in the bound."""
    request = replace(chat(prompt_bytes=1_000_400), attachment_bytes=1_000_000)
    of = size(request, model())
    assert of.prompt_tokens == 100
    assert of.bound_prompt_tokens == 1_000_400 + TEMPLATE_TOKENS
