"""Measurements of one's own beside the shipped coefficients."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.measured_point import MeasuredPoint
from entrepot.tokenomics.operating_point import Loads
from entrepot.tokenomics.step_time import operating_points
from entrepot.tokenomics.validation.rows import predicted, row_figures, row_tables
from tests.tokenomics.test_first_token import POINTS

COEFFICIENTS = load_step_times()


def measured(point: MeasuredPoint, *, off: float) -> MeasuredPoint:
    """Return a point as a host would have measured it that is so many times as slow as predicted."""
    loads = Loads(*np.array([[point.concurrency, point.prompt_tokens, point.output_tokens]]).T)
    found = operating_points(point.deployment, COEFFICIENTS, loads)
    return replace(point, tpot_s=float(found.tpot_s[0]) * off, ttft_s=float(found.ttft_s[0]) * off)


def test_a_host_that_is_a_tenth_slower_shows_as_such() -> None:
    """TPOT and TTFT are what operating points say, so that both errors are those of the host."""
    points = [measured(point, off=1.1) for point in POINTS]
    figures = row_figures(predicted(points, COEFFICIENTS, ()))
    for name in ("TPOT", "TPOT, not fitted to", "mean TTFT, aggregated"):
        assert figures[name]["bias"] == pytest.approx(1 / 1.1 - 1, abs=1e-3)
        assert figures[name]["rows"] == len(points)


def test_rows_that_the_fit_has_seen_are_told_from_the_others() -> None:
    """Within a hundredth at the same operating point a row is the same measurement."""
    points = [measured(point, off=1.0) for point in POINTS]
    fitted = [replace(point, tpot_s=point.tpot_s * 1.005) for point in points[:5]]
    fitted += [replace(point, tpot_s=point.tpot_s * 1.05) for point in points[5:9]]
    found = predicted(points, COEFFICIENTS, fitted)
    assert found.is_seen.tolist() == [at < 5 for at in range(len(points))]
    assert row_figures(found)["TPOT, not fitted to"]["rows"] == len(points) - 5


def test_errors_are_told_by_what_a_host_is() -> None:
    """Backends and loads with enough rows."""
    points = [measured(point, off=1.2 if point.deployment.backend == "vllm" else 1.0) for point in POINTS]
    tables = row_tables(predicted(points, COEFFICIENTS, ()))
    assert tables["backend"]["sglang"]["median"] == pytest.approx(0.0, abs=1e-3)
    assert tables["backend"]["vllm"]["median"] == pytest.approx(1 - 1 / 1.2, abs=1e-3)
    assert {"gpu", "model", "mode", "load"} < set(tables)
