"""Host or buy, and GPUs that are free: staircases of whole replicas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.hosting import BreakEven, break_even, freed


def of_one(usd_per_hour: float, capacity: float, api: float) -> BreakEven:
    """Return the break-even of a single tier."""
    return break_even(
        usd_per_hour={"rental": usd_per_hour}, capacity_tokens_per_day=capacity, api_usd_per_mtok=api
    )[0]


@given(st.floats(0.1, 100), st.floats(1e6, 1e10), st.floats(1.02, 50))
def test_hosting_is_cheaper_from_the_break_even_on(hour: float, capacity: float, times: float) -> None:
    """At the first load it costs the same; beyond the second one it never costs more, at any load."""
    found = of_one(hour, capacity, times * hour * 24 / capacity * 1e6)
    assert found.first_tokens_per_day is not None
    assert found.always_tokens_per_day is not None
    first, always = found.first_tokens_per_day, found.always_tokens_per_day
    assert found.hosting_usd(first) == pytest.approx(found.buying_usd(first))
    assert first <= always
    for factor in (1.0001, 1.01, 1.1, 1.5, 2, 3.7, 10):
        assert found.hosting_usd(always * factor) <= found.buying_usd(always * factor) * (1 + 1e-9)
    for step in range(1, 6):
        load = max(always, capacity * step) * 1.000001
        assert found.hosting_usd(load) <= found.buying_usd(load) * (1 + 1e-5)


def test_a_second_replica_can_make_hosting_dearer_again() -> None:
    """At a bill of 1.5 times a full replica: from two thirds full on, and again from one and a third."""
    found = of_one(1.0, 24e6, 1.5)
    assert found.first_tokens_per_day == pytest.approx(16e6)
    assert found.hosting_usd(25e6) > found.buying_usd(25e6)
    assert found.always_tokens_per_day == pytest.approx(32e6)


def test_where_even_a_full_replica_is_dearer_there_is_no_break_even() -> None:
    """Then both prices are the answer."""
    found = of_one(10.0, 24e6, 5.0)
    assert found.first_tokens_per_day is None
    assert found.always_tokens_per_day is None
    assert (found.full_usd_per_mtok, found.api_usd_per_mtok) == (10.0, 5.0)


def test_each_ownership_tier_has_its_own_the_cheapest_first() -> None:
    """Owners of GPUs break even before those who rent."""
    tiers = {"rental": 2.0, "own_hyperscaler": 1.3, "own_neocloud": 1.7}
    found = break_even(usd_per_hour=tiers, capacity_tokens_per_day=1e9, api_usd_per_mtok=2.0)
    assert [one.tier for one in found] == ["own_hyperscaler", "own_neocloud", "rental"]
    assert found[0].first_tokens_per_day < found[2].first_tokens_per_day  # type: ignore[operator]


def test_nothing_can_be_compared_with_nothing() -> None:
    """A free API or a replica without capacity is a slip."""
    with pytest.raises(ConfigError, match="all three have to be above 0"):
        of_one(1.0, 0.0, 1.0)


def test_batching_harder_and_the_night_free_gpus() -> None:
    """Twice the load per replica halves the peak; the rest of the day leaves what it does not use."""
    load = [10.0] * 12 + [40.0] * 12
    found = freed(load, now=(8, 5.0), harder=(8, 10.0))
    assert (found.peak_gpus, found.by_batching) == (32, 32)
    assert found.by_hour[0] == 24
    assert found.mean_by_curve == 12
    assert found.mean == 44


def test_without_load_the_question_is_refused() -> None:
    """Everything would be free."""
    with pytest.raises(ValueError, match="no load at any hour"):
        freed([0.0] * 24, now=(8, 1.0), harder=(8, 2.0))
