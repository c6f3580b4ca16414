"""Draws deployments by the price of their cheapest batch within an SLO, and a day of hosting or buying."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from entrepot.cli.plan_points import deployment_name, usd_text
from entrepot.cli.plots import COLOURS, drawing_of, log_numbers, open_frame, plain, save
from entrepot.cli.tables import seconds_text
from entrepot.domain.money import TOKENS_PER_MTOK
from entrepot.tokenomics.choice import PointLimits
from entrepot.tokenomics.frontier import Points
from entrepot.tokenomics.hosting import BreakEven
from entrepot.tokenomics.price import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_BARS = 20
_CUT = 5.0  # times the median price: a dearer one would leave the others no room, and its bar is cut
_BAR_INCHES = 0.3
_FRAME_INCHES = 1.4
_PANEL_INCHES = 4.2
_LEAST_ROWS = 4
_BEFORE, _BEYOND = 0.2, 2.5  # times the loads that are marked: where the second panel begins and ends
_COLUMNS = {"$/M": 0.14, "TTFT s": 0.32, "tokens/s/user": 0.65, "batch": 0.83, "GPUs": 1.0}  # right ends
_WHOLE_MTOK = 100
_TIER_STYLES = ("--", "-.", ":")


class Bought(Struct, frozen=True):
    """Hosting on one deployment against an API, by who owns the hardware; `tier` is the one asked about."""

    deployment: str
    even: tuple[BreakEven, ...]
    tier: str


def draw_deployments(
    points: Points,
    places: Sequence[int],
    limits: PointLimits,
    *,
    title: str,
    bought: Bought | None,
    path: Path,
) -> None:
    """Draw the cheapest point of each deployment as a bar with its figures, and hosting against buying below.

    Raises: ConfigError when matplotlib is missing, or the file cannot be of that kind or written.
    """
    figure_class, _ = drawing_of(path)
    shown = places[:_MOST_BARS]
    bars_inches = _FRAME_INCHES + _BAR_INCHES * max(len(shown), _LEAST_ROWS)
    heights = [bars_inches] if bought is None else [bars_inches, _PANEL_INCHES]
    figure = figure_class(figsize=(11, sum(heights)), layout="constrained")
    figure.suptitle(plain(f"{title}{_limits_text(limits)}"))
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=(5, 4))
    bars = figure.add_subplot(grid[0, 0])
    price = points.blended_usd_per_mtok()[np.asarray(shown, dtype=np.int64)]
    _draw_bars(bars, price, [deployment_name(points, place) for place in shown])
    left_out = len(places) - len(shown)
    more = f"; not drawn: {left_out} dearer" if left_out else ""
    bars.set_xlabel(f"USD per million tokens, 3 in to 1 out{more}")
    _write_figures(figure.add_subplot(grid[0, 1], sharey=bars), points, shown)
    if bought is not None:
        hosting = figure.add_subplot(grid[1, :])
        _draw_hosting(hosting, bought)
        figure.legend(
            *hosting.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
        )
    save(figure, path)


def _limits_text(limits: PointLimits) -> str:
    parts = (
        (limits.ttft_s, "TTFT ≤ {:g} s"),
        (limits.tokens_per_s, "≥ {:g} tokens/s per user"),
        (limits.answer_s, "answers in {:g} s"),
    )
    kept = [text.format(limit) for limit, text in parts if limit is not None]
    sure = ", at the upper ends of the intervals" if limits.is_cautious else ""
    return f"\n{', '.join(kept)}{sure}" if kept else ""


def _draw_bars(axes: Axes, price: Array, names: Sequence[str]) -> None:
    """Draw the bars, the cheapest at the top, and cut those that would leave the others no room."""
    rows = range(len(names))
    most = min(float(price.max()), float(np.median(price)) * _CUT)
    axes.barh(rows, np.minimum(price, most), 0.7, color=COLOURS[0])
    for row in rows:
        if price[row] > most:
            axes.text(most, row, "» ", color="white", ha="right", va="center", fontweight="bold")
    axes.set_yticks(rows, names)
    axes.set_ylim(max(len(names), _LEAST_ROWS) - 0.5, -0.5)
    axes.set_xlim(0, most)
    axes.set_axisbelow(True)
    axes.grid(axis="x", alpha=0.3)
    open_frame(axes)


def _write_figures(axes: Axes, points: Points, places: Sequence[int]) -> None:
    """Write the figures of each bar beside it, in columns."""
    axes.set_axis_off()
    at = np.asarray(places, dtype=np.int64)
    cells = (
        [usd_text(one) for one in points.blended_usd_per_mtok()[at]],
        [seconds_text(one) for one in points.ttft_s[at]],
        [f"{1 / one:.1f}" for one in points.tpot_s[at]],
        [f"{one:.0f}" for one in points.batch[at]],
        [f"{one:.0f}" for one in points.gpus[at]],
    )
    for (name, right), texts in zip(_COLUMNS.items(), cells, strict=True):
        axes.text(right, -0.8, name, ha="right", va="bottom", fontweight="bold")
        for row, text in enumerate(texts):
            axes.text(right, row, text, ha="right", va="center")


def _draw_hosting(axes: Axes, bought: Bought) -> None:
    """Draw what a day costs by its load: stairs of whole replicas by owner, and the bill as a line."""
    asked = next(one for one in bought.even if one.tier == bought.tier)
    loads = _loads(bought.even, asked)
    mtok = loads / TOKENS_PER_MTOK
    bill = np.array([asked.buying_usd(load) for load in loads])
    label = plain(f"buying at ${asked.api_usd_per_mtok:.3g}/M")
    axes.loglog(mtok, bill, color=COLOURS[1], linewidth=2, label=label)
    others = [one for one in bought.even if one is not asked]
    for one, style in zip([asked, *others], ["-", *_TIER_STYLES], strict=False):
        usd = np.array([one.hosting_usd(load) for load in loads])
        colour, width = (COLOURS[0], 2) if one is asked else ("0.5", 1)
        label = plain(f"hosting, {one.tier}: ${one.usd_per_day:,.0f} a replica")
        axes.plot(mtok, usd, style, color=colour, linewidth=width, label=label)
    axes.set_xlim(mtok[0], mtok[-1])
    log_numbers(axes.xaxis, mtok[0], mtok[-1], "{:,.6g}".format)
    log_numbers(axes.yaxis, *axes.get_ylim(), "{:,.6g}".format)
    _mark_crossings(axes, asked)
    axes.set_xlabel("Mtok/day, in and out")
    axes.set_ylabel("USD per day")
    axes.set_title(plain(f"hosting on {bought.deployment} or buying: {_verdict(asked)}"), fontsize="medium")
    axes.grid(alpha=0.3)
    open_frame(axes)


def _loads(even: Sequence[BreakEven], asked: BreakEven) -> Array:
    """Return loads around the crossings and the second replica, and both sides of each step of the stairs."""
    firsts = [one.usd_per_day / one.api_usd_per_mtok * TOKENS_PER_MTOK for one in even]
    first = min(*firsts, asked.capacity_tokens_per_day)
    last = max(*firsts, asked.always_tokens_per_day or 0.0, asked.capacity_tokens_per_day)
    loads = np.geomspace(first * _BEFORE, last * _BEYOND, 400)
    steps = np.arange(1, loads[-1] // asked.capacity_tokens_per_day + 1) * asked.capacity_tokens_per_day
    return np.sort(np.concatenate([loads, steps, steps * (1 + 1e-9)]))


def _mark_crossings(axes: Axes, asked: BreakEven) -> None:
    """Mark from which load hosting is cheaper, and from which always."""
    first, always = asked.first_tokens_per_day, asked.always_tokens_per_day
    if first is None or always is None:
        return
    marks = [(first, "cheaper from", "none"), (always, "always from", "full")]
    if first == always:
        marks = [(first, "cheaper from", "full")]
    for load, name, fill in marks:
        axes.plot(
            [load / TOKENS_PER_MTOK],
            [asked.buying_usd(load)],
            "o",
            color="black",
            markersize=8,
            fillstyle=fill,
            label=f"{name} {_mtok_text(load)} Mtok/day",
        )


def _mtok_text(tokens: float) -> str:
    mtok = tokens / TOKENS_PER_MTOK
    return f"{mtok:,.0f}" if mtok >= _WHOLE_MTOK else f"{mtok:.3g}"


def _verdict(asked: BreakEven) -> str:
    if asked.first_tokens_per_day is None:
        full, bill = usd_text(asked.full_usd_per_mtok), usd_text(asked.api_usd_per_mtok)
        return f"a full replica costs ${full}/M against ${bill}/M, hosting never pays"
    part = asked.first_tokens_per_day / asked.capacity_tokens_per_day
    return f"one replica pays from {part:.0%} of what it can serve"
