"""Measured split deployments as offers."""

from __future__ import annotations

from entrepot.catalog.measured import silicon_rows
from entrepot.catalog.silicon import measured_points
from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.validation.split import split_figures


def test_two_pools_work_together_as_measured() -> None:
    """Of 341 rows whose workers are known, which coefficients and two numbers of TTFT were fitted to."""
    found = split_figures(measured_points(silicon_rows()), load_step_times())
    assert found["TPOT"]["rows"] == 341
    assert found["TPOT"]["median"] < 0.08
    assert found["requests/s"]["median"] < 0.10
    assert found["TTFT"]["median"] < 0.45
    assert 0.75 < found["TTFT"]["covered"] < 0.85


def test_without_a_split_row_there_is_nothing_to_say() -> None:
    """As in a quick trial of a few rows."""
    points = [point for point in measured_points(silicon_rows()) if not point.is_split]
    assert split_figures(points[:5], load_step_times()) == {}
