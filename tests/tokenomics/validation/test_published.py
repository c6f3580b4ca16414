"""Published systems that were not fitted."""

from __future__ import annotations

from entrepot.catalog.measured import published_points
from entrepot.catalog.step_times import load_step_times
from entrepot.catalog.throughput import deepseek_fleet, throughput_rows
from entrepot.tokenomics.validation.published import context_figures, fleet_figures


def test_throughput_falls_with_context_as_published() -> None:
    """From 1K to 32K of input gpt-oss loses a factor of 13 to 15, Qwen3-235B of 24: within a quarter.

    Given an engine that batches at most 512: with the cache alone as limit gpt-oss on H200 is off by more.
    """
    rows = context_figures(throughput_rows(published_points()), load_step_times())
    longest = [row for row in rows if row["to_tokens"] == 32768]
    assert len(longest) == 5
    for row in longest:
        assert abs(float(row["error"])) <= 0.25, row


def test_deepseeks_own_prefill_nodes_are_predicted() -> None:
    """Without a coefficient fitted to them; in decode they hide the exchange of experts, which it adds."""
    figures = fleet_figures(*deepseek_fleet(), load_step_times())
    assert abs(figures["prefill_error"]) < 0.25
    assert figures["decode_error"] < figures["decode_overlapped_error"]
