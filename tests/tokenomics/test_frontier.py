"""Operating points of a grid: priced by the one split, cheapest within limits, refused with the nearest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.tokenomics.choice import PointLimits, Unmet, cheapest, limit_costs
from entrepot.tokenomics.frontier import Grid, Points, points_of
from entrepot.tokenomics.load import RequestClass
from entrepot.tokenomics.price import Part
from tests.tokenomics.offers import LinearOffer

BATCHES = (1.0, 4.0, 16.0, 64.0, 256.0)
GRID = Grid(
    offers=(LinearOffer("slow", 4, 6.0), LinearOffer("fast", 8, 20.0, speed=2.0)),
    batches=BATCHES,
    requests=(RequestClass(1000, 500), RequestClass(8000, 500, cached_tokens=4000)),
    replicas=(1, 3),
)
POINTS = points_of(GRID)


def revenue_per_s(points: Points) -> list[float]:
    """Return Σ price × tokens sold of each point."""
    found = []
    for place in range(len(points)):
        request = points.grid.requests[points.request[place]]
        tokens = np.array([request.uncached_tokens, request.cached_tokens, request.output_tokens])
        earned = np.nansum(points.usd_per_mtok[place] * tokens) * points.sold_per_s[place] / 1e6
        found.append(float(earned))
    return found


def test_every_combination_is_there_once() -> None:
    """Offers × batches × requests × replicas."""
    assert len(POINTS) == GRID.size == 2 * 5 * 2 * 2
    rows = zip(POINTS.offer, POINTS.request, POINTS.batch, POINTS.replicas, strict=True)
    assert len(set(rows)) == GRID.size


@given(st.floats(0, 4), st.one_of(st.none(), st.floats(0.01, 5)))
def test_every_point_is_paid_for_exactly(margin: float, demand: float | None) -> None:
    """Σ price × tokens = cost + margin on each of them to 1e-9, with idle time and without."""
    points = points_of(GRID, margin=margin, demand_per_s=demand)
    due = points.usd_per_hour / 3600 * (1 + margin)
    assert revenue_per_s(points) == pytest.approx(due, rel=1e-9)
    assert points.shares.sum(axis=1) == pytest.approx(1.0, rel=1e-9)


def test_a_larger_batch_is_cheaper_and_slower() -> None:
    """The trade-off that everything here is about."""
    of_one = (POINTS.offer == 0) & (POINTS.request == 0) & (POINTS.replicas == 1)
    assert (np.diff(POINTS.blended_usd_per_mtok()[of_one]) < 0).all()
    assert (np.diff(POINTS.tpot_s[of_one]) > 0).all()
    assert (np.diff(POINTS.capacity_per_s[of_one]) > 0).all()


def test_a_demand_below_what_is_rented_leaves_idle_time_in_the_price() -> None:
    """Whole replicas: half of them idle is half of the bill; what cannot serve the demand does not fit."""
    roomy = points_of(GRID, demand_per_s=0.05)
    busiest = roomy.sold_per_s / roomy.capacity_per_s
    assert roomy.shares[:, Part.IDLE] == pytest.approx(1 - busiest, abs=1e-9)
    tight = points_of(GRID, demand_per_s=2.0)
    assert (tight.capacity_per_s[tight.fits] >= 2.0).all()
    assert tight.fits.sum() < POINTS.fits.sum()


def test_no_point_of_the_front_is_beaten_and_none_off_it_is_better() -> None:
    """In TTFT, interactivity, context and price."""
    front = POINTS.front()
    price = POINTS.blended_usd_per_mtok()
    assert 0 < front.sum() < len(POINTS)
    assert not front[~POINTS.fits].any()
    for place in np.flatnonzero(POINTS.fits & ~front):
        better = (
            (POINTS.ttft_s <= POINTS.ttft_s[place])
            & (POINTS.tpot_s <= POINTS.tpot_s[place])
            & (POINTS.context_tokens >= POINTS.context_tokens[place])
            & (price <= price[place])
            & front
        )
        assert better.any()


def test_the_cheapest_within_limits_keeps_them_and_nothing_that_keeps_them_is_cheaper() -> None:
    """Over all limits at once."""
    limits = PointLimits(ttft_s=0.2, tokens_per_s=30.0, context_tokens=1500)
    place = cheapest(POINTS, limits)
    assert not isinstance(place, Unmet)
    kept = POINTS.fits & (POINTS.ttft_s <= 0.2) & (POINTS.tpot_s <= 1 / 30) & (POINTS.context_tokens >= 1500)
    assert kept[place]
    assert POINTS.blended_usd_per_mtok()[place] == POINTS.blended_usd_per_mtok()[kept].min()


@given(st.floats(0.02, 5), st.floats(1.0, 200), st.floats(1.01, 3))
def test_a_tighter_limit_never_costs_less(ttft_s: float, speed: float, tighter: float) -> None:
    """Monotone in each limit: and what was refused stays refused."""
    price = POINTS.blended_usd_per_mtok()
    loose = cheapest(POINTS, PointLimits(ttft_s=ttft_s, tokens_per_s=speed))
    for tight_limits in (
        PointLimits(ttft_s=ttft_s / tighter, tokens_per_s=speed),
        PointLimits(ttft_s=ttft_s, tokens_per_s=speed * tighter),
    ):
        tight = cheapest(POINTS, tight_limits)
        if isinstance(loose, Unmet):
            assert isinstance(tight, Unmet)
        elif not isinstance(tight, Unmet):
            assert price[tight] >= price[loose]


def test_caution_keeps_the_limits_at_the_upper_end_of_the_interval() -> None:
    """A point estimate within the SLO is half a promise."""
    free = cheapest(POINTS, PointLimits())
    assert not isinstance(free, Unmet)
    speed = float(0.95 / POINTS.tpot_s[free])
    bold = cheapest(POINTS, PointLimits(tokens_per_s=speed))
    careful = cheapest(POINTS, PointLimits(tokens_per_s=speed, is_cautious=True))
    assert not isinstance(bold, Unmet)
    assert not isinstance(careful, Unmet)
    assert POINTS.tpot_high_s[careful] <= 1 / speed < POINTS.tpot_high_s[bold]


def test_each_limit_has_a_price_and_a_slack_one_none() -> None:
    """Taken away alone; loosening saves at most as much."""
    limits = PointLimits(ttft_s=60.0, tokens_per_s=70.0, context_tokens=1500)
    costs = {one.limit: one for one in limit_costs(POINTS, limits)}
    assert costs["ttft_s"].costs == 0
    assert costs["tokens_per_s"].costs > 0
    for one in costs.values():
        assert 0 <= one.looser_saves <= one.costs + 1e-12


def test_a_limit_beyond_every_point_is_refused_with_the_floor_and_the_nearest() -> None:
    """What is asked, what is possible, and which point comes nearest."""
    refused = cheapest(POINTS, PointLimits(ttft_s=0.001))
    assert isinstance(refused, Unmet)
    floor = POINTS.ttft_s[POINTS.fits].min()
    assert refused.floors == {"ttft_s": pytest.approx(floor)}
    assert refused.nearest is not None
    assert POINTS.ttft_s[refused.nearest] == floor
    assert refused.by == pytest.approx(floor / 0.001)
    assert "TTFT of 0.001 s is beyond every point: the best is TTFT of 0.0" in refused.reason
    assert limit_costs(POINTS, PointLimits(ttft_s=0.001)) == ()


def test_limits_that_exclude_each_other_are_told_apart_from_floors() -> None:
    """Each can be kept, both cannot: the nearest misses its worst by least."""
    refused = cheapest(POINTS, PointLimits(tokens_per_s=1 / POINTS.tpot_s.min(), context_tokens=12_500))
    assert isinstance(refused, Unmet)
    assert refused.floors == {}
    assert "not all of them together" in refused.reason
    assert refused.by < 1.5


def test_what_does_not_fit_in_memory_is_refused_in_the_offers_words() -> None:
    """And its points win nothing."""
    grid = Grid((LinearOffer("big", refusal="takes 700 GB, has 640: take 16 GPUs"),), BATCHES, GRID.requests)
    points = points_of(grid)
    assert not points.front().any()
    refused = cheapest(points, PointLimits())
    assert isinstance(refused, Unmet)
    assert refused.nearest is None
    assert "take 16 GPUs" in refused.reason


def test_progress_is_told_after_each_offer() -> None:
    """For a bar: how many points are done."""
    done: list[int] = []
    points_of(GRID, progress=done.append)
    assert done == [20, 40]
