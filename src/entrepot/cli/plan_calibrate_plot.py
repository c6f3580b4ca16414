"""Draws a fitted host over the records that it was fitted to: what was measured against what is expected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from entrepot.cli.plots import COLOURS, drawing_of, log_numbers, open_frame, plain, save
from entrepot.cli.tables import count_text, share_text
from entrepot.tokenomics.arrivals import Floats
from entrepot.tokenomics.calibrate import Calibration
from entrepot.tokenomics.records import Records, Work, active_weight, work_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BEYOND = 4.0  # times the batches seen, in both directions: there the interval is seen to widen
_PLACES = 97
_MOST_POINTS = 3_000  # more are a blot
_USUAL = 99.0  # percentile: a stall of the network shall not flatten all others
_ROOM = 1.05
_MS = 1e3
_SHADE = "0.93"


def draw_calibration(
    fitted: Calibration, records: Records, *, context_tokens: float, name: str, path: Path
) -> None:
    """Draw TPOT by batch, records as points under the fit with its interval, and TTFT by requests in flight.

    The fit is drawn with prompts that are read meanwhile, as many as in the records, and without any.
    Raises: ConfigError when matplotlib is missing, or the file cannot be of that kind or written.
    """
    figure_class, _ = drawing_of(path)
    figure = figure_class(figsize=(11, 5.2), layout="constrained")
    figure.suptitle(plain(f"{name}: {fitted.reach.sentence}"))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    work = work_of(records)
    _draw_tpot(left, fitted, records, work, context_tokens)
    _draw_ttft(right, fitted, records, work)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    save(figure, path)


def _draw_tpot(axes: Axes, fitted: Calibration, records: Records, work: Work, context_tokens: float) -> None:
    told = np.flatnonzero(work.steps > 0)
    some = told[:: -(-len(told) // _MOST_POINTS) or 1]
    measured = (records.duration_s - records.ttft_s)[some] / work.steps[some] * _MS
    axes.plot(
        work.batch[some],
        measured,
        ".",
        color=COLOURS[0],
        markersize=4,
        alpha=0.5,
        rasterized=True,
        label=f"measured: {len(told):,} records"
        + (f", {len(some):,} drawn" if len(some) < len(told) else ""),
    )
    least, most = fitted.batches
    batches = np.geomspace(max(least / _BEYOND, 1.0), most * _BEYOND, _PLACES)
    highest = _draw_fit(axes, fitted, batches, work, context_tokens)
    for begin, end in ((batches[0], least), (most, batches[-1])):
        axes.axvspan(begin, end, color=_SHADE, zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(batches[0], batches[-1])
    log_numbers(axes.xaxis, batches[0], batches[-1])
    usual = float(np.percentile(measured, _USUAL)) if len(measured) else 0.0
    axes.set_ylim(0, max(highest, usual) * _ROOM)
    axes.set_xlabel("sequences at once (shaded: outside of the loads seen)")
    axes.set_ylabel("TPOT, ms per token")
    axes.grid(alpha=0.3)
    open_frame(axes)


def _draw_fit(axes: Axes, fitted: Calibration, batches: Floats, work: Work, context_tokens: float) -> float:
    """Draw what the fit expects of batches, with its interval; return the highest that it goes, in ms."""
    steps = max(float(work.sequence_steps.sum()), 1.0)
    held, read = float(work.held_steps.sum()) / steps, float(work.prompt_tokens.sum()) / steps
    reading = [fitted.tpot(batch=b, context_tokens=held, prompt_tokens=b * read) for b in batches.tolist()]
    alone = [fitted.tpot(batch=b, context_tokens=context_tokens) for b in batches.tolist()]
    high = _ms([one.high for one in reading])
    axes.fill_between(
        batches,
        _ms([one.low for one in reading]),
        high,
        color="0.6",
        alpha=0.4,
        label="its 80 % interval, of what records have on average",
    )
    expected = _ms([one.expected for one in reading])
    axes.plot(batches, expected, color="black", label="fitted, prompts read meanwhile as seen")
    axes.plot(
        batches,
        _ms([one.expected for one in alone]),
        "--",
        color="black",
        linewidth=1,
        label=f"fitted, nothing read: {count_text(round(context_tokens))} tokens a sequence",
    )
    return float(high.max())


def _draw_ttft(axes: Axes, fitted: Calibration, records: Records, work: Work) -> None:
    own = active_weight(records.start_s, records.end_s, np.ones(len(records.start_s)), records.start_s)
    in_flight = np.maximum(own * work.others, 1.0)
    some = slice(None, None, -(-len(own) // _MOST_POINTS))
    axes.loglog(
        in_flight[some], records.ttft_s[some], ".", color=COLOURS[0], markersize=4, alpha=0.5, rasterized=True
    )
    log_numbers(axes.xaxis, *axes.get_xlim())
    log_numbers(axes.yaxis, *axes.get_ylim())
    axes.set_xlabel("requests in flight when it was sent")
    axes.set_ylabel("TTFT, s")
    queued = share_text(fitted.reach.queued_share)
    axes.set_title(f"at the highest load {queued} waited for others", fontsize="medium")
    axes.grid(alpha=0.3)
    open_frame(axes)


def _ms(seconds: Sequence[float]) -> Floats:
    return np.array(seconds) * _MS
