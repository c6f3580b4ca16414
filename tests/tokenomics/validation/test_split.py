"""Measured split deployments as offers."""

from __future__ import annotations

import numpy as np

from entrepot.catalog.measured import silicon_rows
from entrepot.catalog.silicon import measured_points
from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.validation.split import split_figures


def test_two_pools_work_together_as_measured() -> None:
    """Of 341 rows whose workers are known: coefficients saw them, how first tokens wait did not."""
    points = measured_points(silicon_rows())
    found = split_figures(points, load_step_times())
    assert found["TPOT"]["rows"] == 341
    assert found["TPOT"]["median"] < 0.08
    assert found["requests/s"]["median"] < 0.10
    assert found["TTFT in closed form"]["median"] < 0.40
    assert 0.75 < found["TTFT in closed form"]["covered"] < 0.85
    few = [point for point in points if point.concurrency <= 64]
    simulated = split_figures(few[::8], load_step_times(), np.random.default_rng(1))["TTFT simulated"]
    assert simulated["rows"] > 10
    assert simulated["median"] < 0.6


def test_without_a_split_row_there_is_nothing_to_say() -> None:
    """As in a quick trial of a few rows."""
    points = [point for point in measured_points(silicon_rows()) if not point.is_split]
    assert split_figures(points[:5], load_step_times()) == {}
