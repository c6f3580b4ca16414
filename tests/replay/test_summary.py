"""Means, intervals over seeds, and regret."""

from __future__ import annotations

import pytest

from entrepot.replay.oracle import Oracle
from entrepot.replay.summary import cumulative_regret, interval, means, results
from tests.replay.builders import V_USD_PER_S, InOrder, endpoint, run_of, scenario, steady_trace


def test_an_interval_is_students() -> None:
    """Of five values with mean 3 and deviation 1.58: 2.776 × 1.58 / √5."""
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3.0
    assert found.half == pytest.approx(1.963, abs=0.001)


def test_one_seed_has_no_interval() -> None:
    """Nothing is known of how much seeds differ."""
    assert interval([2.0]).half is None


def test_a_worse_choice_has_a_ratio_and_a_regret() -> None:
    """Answers of 4 s beside 2 s: a dearer score, and twice the difference after two requests."""
    of, on = scenario(endpoint("fast"), endpoint("slow", ttft_s=3.0)), steady_trace(2)
    runs = {"worse": run_of(of, on, InOrder([1, 0])), "oracle": run_of(of, on, Oracle)}
    worse, oracle = results([means(runs)])
    expected = (0.0012 + V_USD_PER_S * 4.0) / (0.0012 + V_USD_PER_S * 2.0)
    assert (worse.ratio.mean, oracle.ratio.mean) == pytest.approx((expected, 1.0))
    assert worse.first_choices == (0.0, 1.0)
    assert cumulative_regret(runs["worse"], runs["oracle"]) == pytest.approx([0.02, 0.04])
    assert worse.in_time is None


def test_time_limits_are_judged_where_the_oracle_can() -> None:
    """Every other request is too long for anybody: of the possible ones the slow choice meets none."""
    of = scenario(endpoint("fast"), endpoint("slow", ttft_s=3.0))
    on = steady_trace(4)
    runs = {
        "worse": run_of(of, on, InOrder([1, 0]), answer_s=3.0),
        "oracle": run_of(of, on, Oracle, answer_s=3.0),
    }
    worse, oracle = (means(runs, 3.0)[name].in_time for name in runs)
    assert oracle is not None
    assert worse is not None
    assert (oracle.share, oracle.possible, oracle.where_possible) == (1.0, 1.0, 1.0)
    assert (worse.share, worse.expected, worse.where_possible) == (0.0, 0.0, 0.0)
