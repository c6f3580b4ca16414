"""Forecasts are as sure as they say: a short seeded run; `make bench-routing` has the whole ones."""

from __future__ import annotations

import pytest

from entrepot.domain.request import Slo
from entrepot.replay.asked import Terms
from entrepot.replay.calibration import SHARES, Witness
from entrepot.replay.scenario_file import load_replay_scenario
from entrepot.replay.simulate import Simulation
from entrepot.replay.trace_files import load_trace

SLACK = (
    0.08  # of 600 answers a share of a half is off by 0.04 in one run of twenty, and learning takes a while
)


@pytest.mark.parametrize("scenario", ["steady", "drift"])
def test_intervals_hold_the_share_that_they_say(scenario: str) -> None:
    """50, 90 and 99 % of costs and times lie inside, neither fewer nor all of them."""
    witnesses: list[Witness] = []

    def watched(terms: Terms) -> Witness:
        witnesses.append(Witness(terms, every=5))
        return witnesses[0]

    trace = load_trace("azure_2023_conv").first(3000)
    simulation = Simulation(
        load_replay_scenario(scenario), trace, Slo(usd_per_hour=5.0), seed=3, router="watched", make=watched
    )
    simulation.whole()
    coverage = witnesses[0].coverage
    assert coverage.watched > 500
    for shares in coverage.shares():
        assert shares == pytest.approx(list(SHARES), abs=SLACK)
