"""Draws what `entrepot plan` prints."""

from __future__ import annotations

from pathlib import Path

from entrepot.cli.plan_figures import KIND_NAMES, PART_NAMES, list_prices
from entrepot.cli.plots import COLOURS, drawing_of, open_frame, save
from entrepot.tokenomics.fleet import Day
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
