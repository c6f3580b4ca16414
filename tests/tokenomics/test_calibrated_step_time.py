"""A model bent through a host's own measurements."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.calibrated_step_time import LoadPoint, calibrated, loads_at
from entrepot.tokenomics.coefficients import DeploymentCoefficients
from entrepot.tokenomics.operating_point import mean_steps
from entrepot.tokenomics.step_terms import BATCH_TERMS, TERMS
from tests.tokenomics.test_deployment import LLAMA_70B, deploy

PLAN = deploy(LLAMA_70B, "h100", tp=4, backend="vllm")
KNOWN = load_step_times().of(PLAN)
LOADS = [
    LoadPoint(concurrency=c, prompt_tokens=1000, output_tokens=1000, tpot_s=0) for c in (1, 8, 32, 64, 128)
]


def measured(values: DeploymentCoefficients) -> list[LoadPoint]:
    """Return the loads as a host with such coefficients would have measured them."""
    seconds = mean_steps(PLAN, values.values, loads_at(LOADS)).tpot_s
    return [
        LoadPoint(concurrency=one.concurrency, prompt_tokens=1000, output_tokens=1000, tpot_s=float(tpot))
        for one, tpot in zip(LOADS, seconds, strict=True)
    ]


def slower(*, batch: float, rest: float) -> DeploymentCoefficients:
    """Return the coefficients of a host whose batch and rest take so many times the model's."""
    scale = np.array([batch if name in BATCH_TERMS else rest for name in TERMS])
    return replace(KNOWN, values=KNOWN.values * scale)


@pytest.mark.parametrize(("batch", "rest"), [(1.0, 1.0), (1.3, 1.3), (1.5, 1.0), (0.8, 1.2)])
def test_two_loads_tell_what_is_between_them(batch: float, rest: float) -> None:
    """A host that is slower throughout, or only at load, is known from its lowest and its highest load."""
    truth = measured(slower(batch=batch, rest=rest))
    bent = calibrated(PLAN, KNOWN, (truth[0], truth[-1]))
    found = mean_steps(PLAN, bent.values, loads_at(truth)).tpot_s
    assert found == pytest.approx([point.tpot_s for point in truth], rel=0.03)


def test_without_points_nothing_is_bent() -> None:
    """Calibration by nothing is the model."""
    assert calibrated(PLAN, KNOWN, ()) is KNOWN


def test_a_point_that_no_machine_could_have_measured_does_not_break_it() -> None:
    """Records hold mistakes; the result stays finite."""
    odd = LoadPoint(concurrency=8, prompt_tokens=1000, output_tokens=1000, tpot_s=1e-7)
    assert np.isfinite(calibrated(PLAN, KNOWN, (odd,)).values).all()
