"""Bills: each token once, and never more than was reserved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from entrepot.domain.prices import Bill, Prices
from entrepot.domain.usage import Usage

unit_price = st.integers(0, 10**12) | st.sampled_from([0, 499_999, 500_000, 500_001])
count = st.integers(0, 10**7) | st.integers(0, 3)
price_lists = st.builds(
    Prices,
    input_nusd_per_mtok=unit_price,
    output_nusd_per_mtok=unit_price,
    cached_nusd_per_mtok=st.none() | unit_price,
    cache_write_nusd_per_mtok=st.none() | unit_price,
    cache_write_1h_nusd_per_mtok=st.none() | unit_price,
    reasoning_nusd_per_mtok=st.none() | unit_price,
    request_nusd=st.integers(0, 10**9),
)
usages = st.builds(
    lambda spoken, reasoning, **prompt: Usage(
        output_tokens=spoken + reasoning, reasoning_tokens=reasoning, **prompt
    ),
    count,
    count,
    uncached_tokens=count,
    cached_tokens=count,
    cache_write_tokens=count,
    cache_write_1h_tokens=count,
)


def test_a_bill_has_a_line_for_each_kind_of_token() -> None:
    """A thousand of each at $1, $0.10, $1.25 and $2 per million, and a cent for the call."""
    prices = Prices(10**9, 2 * 10**9, 10**8, 125 * 10**7, request_nusd=10**7)
    bill = prices.bill(Usage(1000, 1000, 1000, 1000))
    assert bill == Bill(1_000_000, 100_000, 1_250_000, 2_000_000, 10_000_000)
    assert bill.total_nusd == 14_350_000


def test_cached_and_written_tokens_cost_the_input_price_when_none_is_declared() -> None:
    """A host that declares no cached price charges cached tokens like any other."""
    prices = Prices(input_nusd_per_mtok=10**9, output_nusd_per_mtok=0)
    assert prices.cached_or_input_nusd_per_mtok == 10**9
    assert prices.bill(Usage(1000, 1000, 1000)).total_nusd == 3_000_000


def test_a_free_cache_is_free() -> None:
    """A declared price of 0 is a price, and not one that is missing."""
    assert Prices(10**9, 0, cached_nusd_per_mtok=0).bill(Usage(cached_tokens=10**6)).total_nusd == 0


def test_reasoning_has_a_line_of_its_own_and_is_billed_once() -> None:
    """Reasoning tokens are inside the output: its line holds the others, at the same price if none is set."""
    thought, silent = Usage(output_tokens=1000, reasoning_tokens=900), Usage(output_tokens=1000)
    bill = Prices(0, 10**9).bill(thought)
    assert (bill.output_nusd, bill.reasoning_nusd) == (100_000, 900_000)
    assert bill.total_nusd == Prices(0, 10**9).bill(silent).total_nusd
    assert Prices(0, 10**9, reasoning_nusd_per_mtok=3 * 10**9).bill(thought).reasoning_nusd == 2_700_000


def test_cache_writes_for_an_hour_have_a_line_and_a_price_of_their_own() -> None:
    """Without a price of their own they cost what shorter ones do, and those what input does."""
    usage = Usage(cache_write_tokens=1000, cache_write_1h_tokens=2000)
    tiers = Prices(3 * 10**9, 0, None, 3_750_000_000, cache_write_1h_nusd_per_mtok=6 * 10**9).bill(usage)
    assert (tiers.cache_write_nusd, tiers.cache_write_1h_nusd) == (3_750_000, 12_000_000)
    assert Prices(3 * 10**9, 0, None, 3_750_000_000).bill(usage).cache_write_1h_nusd == 7_500_000
    assert Prices(3 * 10**9, 0).bill(usage).cache_write_1h_nusd == 6_000_000


@given(price_lists, usages)
def test_the_total_is_the_sum_of_the_lines(prices: Prices, usage: Usage) -> None:
    """No line is left out of the total."""
    bill = prices.bill(usage)
    lines = astuple(bill)
    assert bill.total_nusd == sum(lines)
    assert all(line >= 0 for line in lines)


@given(price_lists, usages, count, count)
def test_a_bill_never_passes_the_bound_of_its_tokens(
    prices: Prices, usage: Usage, more_prompt: int, more_output: int
) -> None:
    """However the prompt splits into kinds and their lines are rounded, the reservation covers it."""
    bound = prices.bound_nusd(usage.prompt_tokens + more_prompt, usage.output_tokens + more_output)
    assert prices.bill(usage).total_nusd <= bound


def test_a_bound_covers_lines_that_are_all_rounded_up() -> None:
    """One token of each kind at half a nano-dollar is billed six, of an exact three."""
    prices = Prices(500_000, 500_000, 500_000, 500_000, 0, "", "", 500_000, 500_000)
    usage = Usage(1, 1, 1, 2, 1, 1)
    assert prices.bill(usage).total_nusd == 6
    assert prices.bound_nusd(usage.prompt_tokens, usage.output_tokens) == 6


def test_what_is_free_is_bounded_by_nothing() -> None:
    """A budget of nothing can still pay for a model that costs nothing."""
    assert Prices(0, 0).bound_nusd(10**6, 10**6) == 0


@given(price_lists, count, count)
def test_more_tokens_never_cost_less(prices: Prices, few: int, more: int) -> None:
    """Bills grow with tokens."""
    less, all_of_them = (prices.bill(Usage(tokens, output_tokens=tokens)) for tokens in (few, few + more))
    assert less.total_nusd <= all_of_them.total_nusd
