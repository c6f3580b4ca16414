"""Numbers in tables: exact where money is told, readable where people compare."""

from __future__ import annotations

from math import nan

import pytest

from entrepot.cli.tables import count_text, dollars, seconds_text, speed_text, usd_column


@pytest.mark.parametrize(
    ("amounts", "exact", "rounded"),
    [
        ([6_570_000, 0], ["0.00657", "0.00000"], ["0.00657", "0.00000"]),
        ([1_614_370_327_733, 540_910_906_302], ["1,614.370327733", "540.910906302"], ["1,614.37", "540.91"]),
        ([803_474_788, 1_060_878_976], ["0.803474788", "1.060878976"], ["0.8035", "1.0609"]),
        ([-67_600, 1], ["-0.000067600", "0.000000001"], ["-0.000067600", "0.000000001"]),
        ([2_000_000_000], ["2.00"], ["2.00"]),
        ([], [], []),
    ],
)
def test_a_column_of_dollars_has_one_number_of_decimals(
    amounts: list[int], exact: list[str], rounded: list[str]
) -> None:
    """Points stand below each other; rounded, the smallest amount keeps four digits."""
    assert usd_column(amounts) == exact
    assert usd_column(amounts, exact=False) == rounded


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999_999, "999,999"), (1_580_000, "1.58M"), (161_100_000, "161.1M"), (-5, "-5")],
)
def test_counts_are_exact_up_to_a_million(count: int, text: str) -> None:
    """Beyond, nobody reads the last digits of a table; --json has them."""
    assert count_text(count) == text


def test_what_was_not_measured_is_a_dash() -> None:
    """Not zero, and not nan."""
    assert {seconds_text(nan), seconds_text(None), speed_text(nan), speed_text(None)} == {"–"}
    assert (seconds_text(1.234), seconds_text(26.48), seconds_text(254.0)) == ("1.23", "26.5", "254")
    assert speed_text(0.02) == "50"


def test_a_sign_stands_before_the_dollar() -> None:
    """-$0.25 and not $-0.25."""
    assert (dollars(-250_000_000), dollars(1)) == ("-$0.25", "$0.000000001")
