"""Money is exact: nothing is lost in reading, multiplying, adding or writing it."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.money import bound_nusd, line_nusd, nusd_from_usd, usd_text

amounts = st.integers(0, 10**18)
tokens = st.integers(0, 10**9)
unit_prices = st.integers(0, 10**13)


@given(amounts)
def test_an_amount_survives_being_written_and_read(nusd: int) -> None:
    """The text of an amount is the amount, to the nano-dollar."""
    assert nusd_from_usd(usd_text(nusd)) == nusd


@pytest.mark.parametrize(
    ("usd", "nusd"),
    [
        ("0", 0),
        ("0.55", 550_000_000),
        (Decimal("2.19"), 2_190_000_000),
        (3, 3_000_000_000),
        ("0.000000001", 1),
        ("1e-9", 1),
    ],
)
def test_dollars_become_nano_dollars(usd: str | int | Decimal, nusd: int) -> None:
    """Decimal text, integers and decimals are read exactly."""
    assert nusd_from_usd(usd) == nusd


@pytest.mark.parametrize(
    ("usd", "words"),
    [
        ("cheap", "not a decimal number"),
        ("", "not a decimal number"),
        ("-1", "finite number ≥ 0"),
        ("NaN", "finite number ≥ 0"),
        ("Infinity", "finite number ≥ 0"),
        ("0.0000000001", "finer than a nano-dollar"),
    ],
)
def test_what_is_no_amount_is_refused_by_name(usd: str, words: str) -> None:
    """The message holds what was seen and what was expected."""
    with pytest.raises(ValueError, match=words):
        nusd_from_usd(usd)


@given(tokens, unit_prices)
def test_a_line_is_rounded_to_the_nearest_nano_dollar(count: int, price: int) -> None:
    """The exact amount is at most half a nano-dollar away, and a half goes up."""
    exact = Fraction(count * price, 10**6)
    assert Fraction(-1, 2) < line_nusd(count, price) - exact <= Fraction(1, 2)


@given(tokens, unit_prices)
def test_a_bound_is_never_below_the_line(count: int, price: int) -> None:
    """What is reserved covers what is billed, and by less than a nano-dollar more than it must."""
    exact = Fraction(count * price, 10**6)
    assert line_nusd(count, price) <= bound_nusd(count, price)
    assert 0 <= bound_nusd(count, price) - exact < 1


@pytest.mark.parametrize(
    ("nusd", "text"),
    [
        (0, "0.00"),
        (6_570_000, "0.00657"),
        (1_500_000_000, "1.50"),
        (1, "0.000000001"),
        (-250_000_000, "-0.25"),
    ],
)
def test_an_amount_is_written_with_two_decimals_or_as_many_as_it_needs(nusd: int, text: str) -> None:
    """People read cents; the last nano-dollar is there when it counts."""
    assert usd_text(nusd) == text
