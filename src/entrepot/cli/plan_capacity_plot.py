"""Draws what requests get of a replica at every load: TTFT, speed, and how many keep the SLO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from entrepot.cli import plan_slo as slo
from entrepot.cli.plan_capacity_rows import Capacity
from entrepot.cli.plots import COLOURS, drawing_of, log_numbers, open_frame, plain, save
from entrepot.tokenomics.slo_capacity import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOADS = 14
_LEAST, _MOST = 0.05, 0.98  # of the capacity: beyond, TTFT grows with the length of the run
_PERCENTILES = ("p50", "p90", "p99")


def draw_capacity(shown: Capacity, path: Path) -> None:
    """Draw TTFT, tokens/s per user and goodput from a twentieth of the capacity to almost all of it.

    Raises: ConfigError when matplotlib is missing, or the file cannot be of that kind or written.
    """
    figure_class, _ = drawing_of(path)
    full_per_s, within_per_s = shown.within.full_per_s, shown.within.rate_per_s
    loads = np.unique([*np.linspace(_LEAST * full_per_s, _MOST * full_per_s, _LOADS), within_per_s])
    trials = [slo.trial_of(shown.offer, shown.promise, float(load), full_per_s=full_per_s) for load in loads]
    figure = figure_class(figsize=(12, 4.6), layout="constrained")
    figure.suptitle(plain(f"{shown.offer.model} on {shown.offer.name}, simulated"))
    waits, speeds, kept = figure.subplots(1, 3)
    limits = shown.promise.limits
    _draw(waits, trials, [[getattr(one.ttft, name) for one in trials] for name in _PERCENTILES])
    waits.set_yscale("log")
    times = [one.ttft for one in trials]
    least, most = min(one.p50 for one in times), max(one.p99 for one in times)
    log_numbers(waits.yaxis, *(min(least, limits.ttft_s or least), max(most, limits.ttft_s or most)))
    _limit(waits, limits.ttft_s)
    waits.set_title("TTFT, s", fontsize="medium")
    _draw(speeds, trials, [[1 / getattr(one.tpot, name) for one in trials] for name in _PERCENTILES])
    speeds.set_ylim(bottom=0)
    _limit(speeds, None if limits.tpot_s is None else 1 / limits.tpot_s)
    speeds.set_title("tokens/s of a user", fontsize="medium")
    _draw_kept(kept, shown, trials)
    for axes in (waits, speeds, kept):
        axes.axvline(within_per_s, color=COLOURS[0], linewidth=1, linestyle="--")
        axes.set_xlabel(f"requests/s of a replica, which serves {full_per_s:.3g} at most")
        axes.set_xlim(0, full_per_s)
        axes.grid(alpha=0.3)
        open_frame(axes)
    figure.legend(*waits.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    save(figure, path)


def _draw(axes: Axes, trials: Sequence[Trial], columns: Sequence[Sequence[float]]) -> None:
    loads = [one.rate_per_s for one in trials]
    for name, values, colour in zip(_PERCENTILES, columns, COLOURS, strict=False):
        axes.plot(loads, values, "o-", markersize=3, color=colour, label=_name(name))


def _name(percentile: str) -> str:
    return {"p50": "half of the requests", "p90": "nine in ten", "p99": "99 of 100"}[percentile]


def _limit(axes: Axes, value: float | None) -> None:
    if value is not None:
        axes.axhline(value, color="black", linestyle=":", linewidth=1, label="the limit")


def _draw_kept(axes: Axes, shown: Capacity, trials: Sequence[Trial]) -> None:
    loads = [one.rate_per_s for one in trials]
    axes.plot(loads, loads, color="0.6", linewidth=1)
    axes.annotate("offered", (loads[-1], loads[-1]), ha="right", va="bottom", color="0.4")
    if shown.promise.has_limits:
        axes.plot(loads, [one.goodput_per_s for one in trials], "o-", markersize=3, color=COLOURS[0])
        axes.set_title("requests/s that keep the SLO", fontsize="medium")
        promised = f"{shown.promise.share:.0%} keep it: {shown.within.rate_per_s:.3g}/s"
    else:
        axes.set_title("requests/s", fontsize="medium")
        promised = f"{shown.within.rate_per_s:.3g}/s"
    axes.set_ylim(0, shown.within.full_per_s)
    axes.annotate(
        promised,
        (shown.within.rate_per_s, 0),
        xytext=(-4, 6),
        textcoords="offset points",
        ha="right",
        color=COLOURS[0],
    )
