"""Draws what `entrepot plan` prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from entrepot.cli.plan_figures import KIND_NAMES, PART_NAMES, list_prices
from entrepot.cli.plots import COLOURS, GREY, drawing_of, open_frame, save
from entrepot.tokenomics.fleet import Day
from entrepot.tokenomics.frontier import Points
from entrepot.tokenomics.pareto import Mask
from entrepot.tokenomics.price import Kind, Part

_BAR = 0.8


def draw_prices(day: Day, path: Path) -> None:
    """Draw the parts of the bill beside the prices at cost, at the margin and as listed.

    Raises: ConfigError when matplotlib is missing, or the file cannot be of that kind or written.
    """
    figure_class, _ = drawing_of(path)
    figure = figure_class(figsize=(11, 4.8), layout="constrained")
    figure.suptitle(f"{day.fleet.title or day.fleet.name}: who pays for what")
    bill, prices = figure.subplots(1, 2, width_ratios=(1, 2))
    bottom = 0.0
    for part, colour in zip(Part, COLOURS, strict=False):
        share = max(0.0, float(day.at_cost.shares[part]))
        bill.bar([0], [share], _BAR, [bottom], label=PART_NAMES[part], color=colour, edgecolor="white")
        bottom += share
    bill.set_xticks([])
    bill.set_xlim(-0.5, 2.0)
    bill.set_title(f"the bill, ${day.cost_usd:,.0f}", fontsize="medium")
    bill.legend(frameon=False, loc="center right", reverse=True)
    series = {"at cost": [day.at_cost.price(kind) for kind in Kind]}
    if day.at_margin is not None:
        series[f"at {day.at_margin.margin:.0%} margin"] = [day.at_margin.price(kind) for kind in Kind]
    listed = list_prices(day.fleet)
    if listed is not None:
        series["listed"] = [listed[kind] for kind in Kind]
    width = _BAR / len(series)
    for place, (name, values) in enumerate(series.items()):
        at = [kind + (place - (len(series) - 1) / 2) * width for kind in Kind]
        prices.bar(at, values, width, label=name, color=COLOURS[place])
    prices.set_xticks(list(Kind), [KIND_NAMES[kind] for kind in Kind])
    prices.set_title("USD per million tokens", fontsize="medium")
    prices.legend(frameon=False, loc="upper left")
    for axes in (bill, prices):
        open_frame(axes)
    save(figure, path)


def draw_frontier(points: Points, front: Mask, chosen: int | None, model: str, path: Path) -> None:
    """Draw price against interactivity, a line per deployment, and the front over them.

    Raises: ConfigError when matplotlib is missing, or the file cannot be of that kind or written.
    """
    figure_class, formatter = drawing_of(path)
    figure = figure_class(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    speed, price = 1 / points.tpot_s, points.blended_usd_per_mtok()
    on_front = [int(offer) for offer in np.unique(points.offer[front])]
    for place, offer in enumerate(on_front):
        own = points.fits & (points.offer == offer)
        is_named = place < len(COLOURS)
        colour = COLOURS[place] if is_named else GREY
        name = points.grid.offers[offer].name if is_named else "others" if place == len(COLOURS) else None
        axes.plot(speed[own], price[own], ".", color=colour, markersize=3, alpha=0.4)
        best = front & own
        axes.plot(speed[best], price[best], "o", color=colour, label=name)
    if chosen is not None:
        axes.plot(
            speed[chosen], price[chosen], "*", color="black", markersize=14, label="cheapest in the SLO"
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(formatter(lambda usd, _: f"{usd:g}"))
    axes.set_xlabel("interactivity, tokens/s per user")
    axes.set_ylabel("USD per million tokens, 3 in to 1 out")
    axes.set_title(f"{model}: what a batch buys (large points: the front)")
    axes.grid(alpha=0.3)
    open_frame(axes)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(figure, path)
