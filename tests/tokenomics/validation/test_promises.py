"""What a plan is worth before anything was measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from msgspec.structs import replace

from entrepot.catalog.load_lessons import load_configurations, load_deployments
from entrepot.catalog.step_times import load_step_times
from entrepot.tokenomics.cost_by_load import unit_draws
from entrepot.tokenomics.deployment_offer import DeploymentOffer
from entrepot.tokenomics.validation.promises import TIMES, PromiseError, promise_errors, promise_figures

C1 = load_configurations()[0]
DRAWS = unit_draws(np.random.default_rng(1), 1)


def test_every_configuration_has_a_deployment_that_fits() -> None:
    """The card of the file has more memory than the usual one."""
    deployments = load_deployments()
    assert {one.name for one in load_configurations()} == set(deployments)
    for name, deployment in deployments.items():
        assert deployment.free_bytes_per_gpu > 0, name
        assert deployment.hardware.memory_bytes == pytest.approx(100.5e9)


def test_only_rows_below_saturation_are_promised_anything() -> None:
    """Above it a time is that of the length of the run."""
    offer = DeploymentOffer.of(load_deployments()["C1"], load_step_times(), tier="rental")
    found = promise_errors(C1, offer.service(), DRAWS)
    highest = max(row.throughput_rps for row in C1.rows)
    assert len(found) == sum(row.offered_rps < highest for row in C1.rows)
    device = replace(offer.deployment.hardware, bandwidth_bytes_per_s=1e12)
    slower = dataclasses.replace(offer, deployment=replace(offer.deployment, hardware=device))
    worse = promise_errors(C1, slower.service(), DRAWS)
    assert all(one.errors[0] > other.errors[0] for one, other in zip(worse, found, strict=True))


def test_errors_are_medians_by_engine_and_time() -> None:
    """With their sign beside."""
    found = [PromiseError("vllm", (at / 10, -at / 10, 0.0)) for at in (1, 2, 3)]
    figures = promise_figures(found)
    assert set(figures) == {f"vllm, {name}" for name in TIMES}
    assert figures["vllm, TPOT p50"] == {
        "rows": 3.0,
        "median": pytest.approx(0.2),
        "bias": pytest.approx(0.2),
    }
    assert figures["vllm, TTFT p50"]["bias"] == pytest.approx(-0.2)
