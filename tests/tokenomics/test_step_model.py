"""Fitting step times: deterministic, held out by series, and finding what measurements were made from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from entrepot.catalog.measured import silicon_rows
from entrepot.catalog.silicon import measured_points
from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.coefficients import Spread, spread_of
from entrepot.tokenomics.deployment import refuse_memory
from entrepot.tokenomics.measured_point import MeasuredPoint
from entrepot.tokenomics.measured_series import Groups, mean_steps_of, straddling_pairs
from entrepot.tokenomics.step_model import fit_coefficients, of_point
from entrepot.tokenomics.step_terms import TERMS

SCRIPT = Path(__file__).parents[2] / "scripts" / "fit_step_times.py"


@pytest.fixture(scope="module")
def every_point() -> tuple[MeasuredPoint, ...]:
    """Return all measurements that are possible."""
    points = measured_points(silicon_rows())
    return tuple(point for point in points if refuse_memory(point.deployment) is None)


def test_almost_every_row_becomes_a_measurement(every_point: tuple[MeasuredPoint, ...]) -> None:
    """15 rows have no concurrency and a few cannot be: more than 98 % remain."""
    assert len(every_point) >= 0.98 * len(silicon_rows())


def test_the_shipped_file_is_what_the_script_makes() -> None:
    """It names by digest the data and priors it was made from; change one and it has to be made again."""
    spec = importlib.util.spec_from_file_location("fit_step_times", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert load_step_times().source == script.source_text(), "run scripts/fit_step_times.py"
    assert load_step_times().terms == TERMS


def test_a_fit_of_the_same_measurements_is_the_same(every_point: tuple[MeasuredPoint, ...]) -> None:
    """Shipped coefficients that cannot be made again could not be trusted."""
    some = every_point[::40]
    assert fit_coefficients(some) == fit_coefficients(some)


def test_no_pair_of_equal_measurements_is_on_both_sides_of_a_split(
    every_point: tuple[MeasuredPoint, ...],
) -> None:
    """Three dumps repeat each other; a split of rows would test the model on what it was fitted to."""
    groups = Groups(every_point)
    folds = groups.folds(every_point)
    assert straddling_pairs(every_point, folds) == 0
    assert straddling_pairs(every_point, list(range(len(every_point)))) > 500
    sizes = np.bincount(folds)
    assert sizes.max() < 1.1 * sizes.min()


def test_a_fit_finds_what_measurements_were_made_from(every_point: tuple[MeasuredPoint, ...]) -> None:
    """Measurements made by the model itself, of shipped coefficients, are predicted again."""
    some = every_point[::12]
    truth = replace(load_step_times(), series={"system": {}, "model": {}})
    made = mean_steps_of(some, of_point(truth)).tpot_s
    points = [replace(point, tpot_s=float(seconds)) for point, seconds in zip(some, made, strict=True)]
    found = fit_coefficients(points, has_effects=False)
    again = mean_steps_of(points, of_point(found)).tpot_s
    assert np.median(np.abs(again / made - 1)) < 0.02


def test_an_interval_is_wider_where_there_was_little_data() -> None:
    """Two series that happened to agree prove nothing."""
    everything = Spread(low=0.9, high=1.1, series=500, rows=3000)
    residuals, weight = np.linspace(-0.1, 0.1, 40), np.ones(40)
    one, few, many = (
        spread_of(residuals, weight, series=series, everything=everything) for series in (1, 2, 200)
    )
    widths = [np.log(spread.high / spread.low) for spread in (one, few, many)]
    assert widths[0] > 1.4 * widths[2]
    assert widths[0] > widths[1] > 1.2 * widths[2]
