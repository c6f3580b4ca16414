"""Measurements that ship: every row is read, typed, and in our units."""

from __future__ import annotations

import pytest

from entrepot.catalog.architectures import find_architecture, load_architectures
from entrepot.catalog.hardware import find_hardware, load_hardware
from entrepot.catalog.measured import context_rows, cost_by_load_rows, published_points, silicon_rows


def test_measured_configurations_are_in_seconds() -> None:
    """The first row of the file, and how many there are."""
    rows = silicon_rows()
    assert len(rows) == 3347
    first = rows[0]
    assert (first.ttft_s, first.tpot_s) == pytest.approx((0.08444808648737308, 0.011360924929644645))
    assert (first.concurrency, first.batch_size, first.prefill_tp_size) == (16, 16, None)
    assert sum(row.concurrency is None for row in rows) == 15


def test_every_measurement_is_of_a_model_and_a_device_that_we_know() -> None:
    """A fit needs the shape of each."""
    shapes, devices = load_architectures(), load_hardware()
    for model in {row.model_path for row in silicon_rows()}:
        find_architecture(model, shapes)
    for model in {row.model for row in (*cost_by_load_rows(), *context_rows())}:
        find_architecture(model, shapes)
    for system in {row.system for row in silicon_rows()} | {row.hardware for row in cost_by_load_rows()}:
        find_hardware(system, devices)


def test_costs_by_load_follow_from_throughput_and_the_price_of_the_hour() -> None:
    """USD per million tokens is the hour's price over the hour's tokens."""
    rows = cost_by_load_rows()
    assert len(rows) == 70
    for row in rows:
        cost = row.gpu_usd_per_hour / (row.output_tokens_per_s * 3600) * 1e6
        assert row.cost_usd_per_mtok == pytest.approx(cost, rel=1e-3)
        assert row.ttft_p50_s <= row.ttft_p99_s


def test_measurements_by_length_of_prompt_are_read() -> None:
    """All on 8×H200 with 128 tokens out."""
    rows = context_rows()
    assert len(rows) == 169
    assert {row.osl for row in rows} == {128}
    assert rows[0].ttft_p50_s == pytest.approx(0.265, abs=1e-3)


def test_a_published_range_is_kept_as_text_and_not_as_a_number() -> None:
    """The middle of 45-50 ms is nobody's measurement."""
    points = {point.id: point for point in published_points()}
    assert len(points) == 42
    decode = points["DS-decode"]
    assert (decode.tpot_s, decode.as_published["tpot_s"]) == (None, "45-50")
    assert decode.output_tokens_per_s_gpu == 1850
    assert sum(len(point.as_published) for point in points.values()) == 9
    assert points["YOB-H100-8B-c1"].tpot_s == pytest.approx(0.00648)
