"""Shares over time are those that the ledger was made with: parts of a model's tokens, and growth."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from entrepot.ledger.reports.report import Dimension, Only
from entrepot.ledger.reports.shares import Every, Part, Shares, shares
from entrepot.ledger.store.poster import catch_up
from entrepot.ledger.store.store import Store
from tests.ledger.made_shares import MODEL, own_shares, write_shares
from tests.ledger.usage_oracle import check_usage

ONLY = Only(models=frozenset({MODEL}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The store of a ledger with known shares, and the tokens of each month."""
    folder = tmp_path_factory.mktemp("shares")
    totals = write_shares(folder)
    assert catch_up(folder)
    with Store.open_existing(folder / "ledger.sqlite") as store:
        check_usage(store)
    return folder / "ledger.sqlite", totals


def shares_of(path: Path, by: Dimension, every: Every) -> Shares:
    """Return the shares of the model in a store."""
    with Store.open_existing(path) as store:
        return shares(store, by, every, only=ONLY)


def part_of(result: Shares, group: str) -> dict[str, Part]:
    """Return the parts of one group by period."""
    place = result.groups.index(group)
    return {period.period: period.parts[place] for period in result.periods}


def test_known_monthly_shares_are_returned_exactly(made: tuple[Path, dict[str, int]]) -> None:
    """Own platform 84 → 42 → 16 %, as published; the other model's tokens are in no share."""
    path, totals = made
    result = shares_of(path, Dimension.HOST, Every.MONTH)
    own = part_of(result, "deepseek")
    percent = {month: Fraction(own[month].tokens * 100, totals[month]) for month in totals}
    assert percent == {month: Fraction(share) for month, share in own_shares().items()}
    assert list(percent.values()) == [84, 42, 16]
    assert [own[month].share for month in totals] == [0.84, 0.42, 0.16]
    assert {period.period: period.all.tokens for period in result.periods if period.all.tokens} == totals


def test_growth_is_over_the_period_before_and_over_the_first(made: tuple[Path, dict[str, int]]) -> None:
    """A month without any use stands between the others, has no share, and nothing can have grown from it."""
    own = part_of(shares_of(made[0], Dimension.HOST, Every.MONTH), "deepseek")
    assert list(own) == ["2025-02", "2025-03", "2025-04", "2025-05"]
    assert [part.growth for part in own.values()] == [None, 2.0, 0.0, None]
    first = own["2025-02"].tokens
    assert own["2025-05"].growth_since_first == own["2025-05"].tokens / first
    assert own["2025-04"] == Part("deepseek", 0, None, 0.0, 0.0)


def test_a_group_has_not_grown_before_it_was_there(made: tuple[Path, dict[str, int]]) -> None:
    """In the weeks before its first tokens there is no factor, rather than a zero."""
    azure = list(part_of(shares_of(made[0], Dimension.HOST, Every.WEEK), "azure").values())
    assert (azure[0].tokens, azure[0].growth, azure[0].growth_since_first) == (0, None, None)
    assert next(part for part in azure if part.tokens).growth_since_first == 1.0


@pytest.mark.parametrize("every", list(Every))
@pytest.mark.parametrize("by", [Dimension.HOST, Dimension.COUNTRY, Dimension.REGION])
def test_shares_are_parts_of_the_whole_whatever_the_period(
    made: tuple[Path, dict[str, int]], by: Dimension, every: Every
) -> None:
    """Days, weeks from Monday and months: the tokens are the same, and each used period adds up to 1."""
    path, totals = made
    result = shares_of(path, by, every)
    assert sum(period.all.tokens for period in result.periods) == sum(totals.values())
    for period in result.periods:
        found = [part.share for part in period.parts if part.share is not None]
        assert sum(found) == (pytest.approx(1.0) if period.all.tokens else 0)
    assert result.simulated_attempts == result.attempts > 0


@pytest.mark.parametrize("by", [Dimension.TAG, Dimension.RULE, Dimension.DAY])
def test_groups_that_are_no_parts_of_a_whole_have_no_shares(
    made: tuple[Path, dict[str, int]], by: Dimension
) -> None:
    """Tags and rules overlap, days are periods: refused with what to take."""
    with pytest.raises(ValueError, match="take host, country or region"):
        shares_of(made[0], by, Every.MONTH)
