"""Draws what step times predict of measurements that they have not seen, and how far off that is by load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from entrepot.cli.plots import COLOURS, drawing_of, log_numbers, open_frame, save
from entrepot.tokenomics.coefficients import weighted_quantile
from entrepot.tokenomics.pareto import Mask
from entrepot.tokenomics.price import Array
from entrepot.tokenomics.validation.errors import error_figures
from entrepot.tokenomics.validation.tpot import CrossValidation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAND = 0.2
_MS = 1e3
_MOST_ERROR = 1.0  # of the panel by load: what is further off stands at its edge
_FEWEST = 5  # measurements of a load whose spread is drawn
_ROOM = 1.2
_SHADE = "0.9"


def draw_errors(done: CrossValidation, path: Path) -> None:
    """Draw predicted against measured TPOT, and the error by load with its median, a tenth and nine tenths.

    Raises: ConfigError when matplotlib is missing, or the file cannot be of that kind or written.
    """
    figure_class, _ = drawing_of(path)
    measured = np.array([point.tpot_s for point in done.points])
    predicted = done.unseen.tpot_s
    load = np.array([point.concurrency for point in done.points])
    split = np.array([point.is_split for point in done.points])
    figure = figure_class(figsize=(11, 5.6), layout="constrained")
    figure.suptitle(
        f"TPOT that no fit had seen, aggregated: {_figures_text(done, predicted, measured, split)}"
    )
    left, right = figure.subplots(1, 2)
    _draw_pairs(left, predicted * _MS, measured * _MS, split)
    _draw_by_load(right, load, predicted / measured - 1, split, done.groups.weight)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3, frameon=False)
    save(figure, path)


def _figures_text(done: CrossValidation, predicted: Array, measured: Array, split: Mask) -> str:
    whole = np.flatnonzero(~split)
    found = error_figures(predicted[whole], measured[whole], done.groups.weight[whole])
    if "median" not in found:
        return f"{len(measured):,} rows"
    return f"median error {found['median']:.1%}, 90 % within {found['p90']:.1%}, bias {found['bias']:+.1%}"


def _draw_pairs(axes: Axes, predicted: Array, measured: Array, split: Mask) -> None:
    ends = np.array(
        [min(predicted.min(), measured.min()) / _ROOM, max(predicted.max(), measured.max()) * _ROOM]
    )
    axes.fill_between(ends, ends * (1 - _BAND), ends * (1 + _BAND), color=_SHADE, label=f"within {_BAND:.0%}")
    axes.plot(ends, ends, color="black", linewidth=1)
    for rows, name, mark, colour in _kinds(split):
        label = f"{name}: {int(rows.sum()):,}"
        axes.plot(
            measured[rows],
            predicted[rows],
            mark,
            color=colour,
            markersize=3,
            alpha=0.5,
            label=label,
            rasterized=True,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        log_numbers(axis, *ends)
    axes.set_xlabel("measured, ms per token")
    axes.set_ylabel("predicted, ms per token")
    open_frame(axes)


def _kinds(split: Mask) -> tuple[tuple[Mask, str, str, str], ...]:
    return (
        (~split, "aggregated", "o", COLOURS[0]),
        (split, "prompts read by other workers", "^", COLOURS[1]),
    )


def _draw_by_load(axes: Axes, load: Array, error: Array, split: Mask, weight: Array) -> None:
    """Draw the errors and, of those that are aggregated, their spread by doublings of the load."""
    axes.axhspan(-_BAND, _BAND, color=_SHADE, zorder=0)
    axes.axhline(0, color="black", linewidth=1)
    for rows, _, mark, colour in _kinds(split):
        axes.plot(
            load[rows],
            np.minimum(error[rows], _MOST_ERROR),
            mark,
            color=colour,
            markersize=3,
            alpha=0.3,
            rasterized=True,
        )
    doublings = np.round(np.log2(load))
    for doubling in np.unique(doublings):
        rows = (doublings == doubling) & ~split
        if rows.sum() >= _FEWEST:
            low, middle, high = (
                weighted_quantile(error[rows], weight[rows], part) for part in (0.1, 0.5, 0.9)
            )
            at = float(2**doubling)
            axes.plot([at, at], [low, min(high, _MOST_ERROR)], color="black", linewidth=2)
            axes.plot([at], [middle], "s", color="black", markersize=6)
    axes.set_xscale("log")
    log_numbers(axes.xaxis, float(load.min()), float(load.max()))
    axes.set_ylim(-_MOST_ERROR, _MOST_ERROR * 1.02)
    axes.yaxis.set_major_formatter("{x:+.0%}")
    axes.set_xlabel("requests at once")
    axes.set_ylabel("predicted beyond measured (at the edge: more)")
    axes.set_title("aggregated by load: median, 10 % to 90 %", fontsize="medium")
    open_frame(axes)
