"""Draws the price of a replica's tokens against its load, and what its bill is for at each load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from entrepot.cli.plan_capacity_rows import GIVEN, WITHIN
from entrepot.cli.plan_figures import KIND_NAMES, PART_NAMES
from entrepot.cli.plan_loads import MEETING, rows_by_load
from entrepot.cli.plan_options import PlannedOffer
from entrepot.cli.plan_points import usd_text
from entrepot.cli.plots import COLOURS, drawing_of, log_numbers, open_frame, plain, save, spread
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.load import Mix, Steady
from entrepot.tokenomics.price import Array, Kind, Part, PriceList
from entrepot.tokenomics.price_curve import PriceCurve, price_curve
from entrepot.tokenomics.priced_load import PricesByLoad

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST_SHARE = 0.01  # of a full batch: below it a price says how idle a replica is, and nothing else
_MARGIN = 0.8  # of the least load that is marked, where the curve begins if that is less
_MARKS = {GIVEN: ("o", 7), WITHIN: ("s", 10), MEETING: ("D", 5)}  # small ones show within large ones
_STYLES = ("-", "--", ":")  # by context tier
_GAP = 0.055  # of the height of a panel: a line of text
_SHADE = "0.92"
_SPEEDS = 6
_DRAWN = 1e-3  # a part of the bill that is less is not seen


class _Mark(Struct, frozen=True):
    """A load that was asked about."""

    name: str
    state: Steady
    prices: PriceList


def draw_loads(
    offer: PlannedOffer, mix: Mix, prices: PricesByLoad, margin: float, path: Path, *, has_slo: bool
) -> None:
    """Draw prices by kind of token and the parts of the bill from 1 % of a full batch to all of it.

    Beyond the SLO's capacity, without an SLO (`has_slo`) beyond what is served for long, loads are shaded.
    Units: `margin` a part of the cost.
    Raises: ConfigError when matplotlib is missing, the file cannot be of that kind or written, or the margin
    leaves no price.
    """
    figure_class, _ = drawing_of(path)
    if margin <= -1:
        raise ConfigError(
            (f"a margin of {margin:.0%} of the cost leaves no price to draw: give a larger one",)
        )
    replica = offer.replica()
    marks = [_Mark(name, *found) for name, found in rows_by_load(offer, mix, prices).items()]
    least = replica.capacity_per_s(mix) * _LEAST_SHARE
    least = min([least, *(mark.state.rate_per_s * _MARGIN for mark in marks)])
    curve = price_curve(replica, mix, least_per_s=least, margin=margin)
    figure = figure_class(figsize=(11, 5.6), layout="constrained")
    figure.suptitle(plain(_title(offer, mix)))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlim(curve.rate_per_s[0], curve.rate_per_s[-1])
        log_numbers(axes.xaxis, curve.rate_per_s[0], curve.rate_per_s[-1])
        axes.set_xlabel(f"requests/s of a replica, up to a full batch at {curve.rate_per_s[-1]:.3g}")
        open_frame(axes)
    cost = f"at {margin:+.0%} of the cost" if margin else "at cost"
    left.set_ylabel(f"USD per million tokens, {cost}")
    _draw_prices(left, curve, mix, marks)
    _draw_limits(left, curve, prices, has_slo=has_slo)
    _draw_speeds(left, curve)
    right.set_ylabel(plain(f"% of the ${offer.usd_per_hour:,.2f} of an hour"))
    _draw_parts(right, curve, marks)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", frameon=False)
    save(figure, path)


def _title(offer: PlannedOffer, mix: Mix) -> str:
    uncached, cached, output = mix.tokens.sum(axis=0)
    read = f"{uncached:,.0f} tokens in" + (f", {cached:,.0f} cached" if cached else "")
    mean = "mean " if len(mix.classes) > 1 else ""
    return f"{offer.model} on {offer.name}: {mean}{read}, {output:,.0f} out"


def _draw_prices(axes: Axes, curve: PriceCurve, mix: Mix, marks: Sequence[_Mark]) -> None:
    """Draw a line per kind and context tier, named at its end, with the loads that were asked about on it."""
    tiers = np.flatnonzero(mix.tokens.sum(axis=1) > 0)
    lines = [
        (kind, tier, place)
        for place, tier in enumerate(tiers)
        for kind in Kind
        if (curve.usd_per_mtok[:, tier, kind] > 0).all()  # of no tokens, or free
    ]
    axes.set_yscale("log")
    for kind, tier, place in lines:
        axes.plot(
            curve.rate_per_s,
            curve.usd_per_mtok[:, tier, kind],
            _STYLES[place % len(_STYLES)],
            color=COLOURS[kind],
            linewidth=2,
        )
    for mark in marks:
        shape, size = _MARKS[mark.name]
        values = [float(mark.prices.usd_per_mtok[tier, kind]) for kind, tier, _ in lines]
        axes.plot(
            [mark.state.rate_per_s] * len(values),
            values,
            shape,
            markersize=size,
            color="black",
            fillstyle="none" if mark.name == WITHIN else "full",
            label=plain(_figures(mark)),
            zorder=3,
            clip_on=False,
        )
    low, high = axes.get_ylim()
    log_numbers(axes.yaxis, low, high, usd_text)
    names = [
        KIND_NAMES[kind] + (f", {mix.tiers[tier].label}" if len(tiers) > 1 else "") for kind, tier, _ in lines
    ]
    ends = np.array([curve.usd_per_mtok[-1, tier, kind] for kind, tier, _ in lines])
    places = (np.log(ends) - np.log(low)) / (np.log(high) - np.log(low))
    _name_ends(axes, places, [f"{name} {usd_text(end)}" for name, end in zip(names, ends, strict=True)])
    axes.grid(alpha=0.3)


def _figures(mark: _Mark) -> str:
    """Return what a host decides by at a load."""
    flat = mark.prices.flat
    prices = [f"{KIND_NAMES[kind]} {usd_text(flat.price(kind))}" for kind in Kind if flat.tokens[0, kind] > 0]
    state = mark.state
    speed = (
        f"{state.rate_per_s:.3g} requests/s, batch {state.batch:.0f}, {1 / state.step_s:.1f} tokens/s/user"
    )
    return f"{mark.name}: {speed}; $/M {', '.join(prices)}"


def _draw_limits(axes: Axes, curve: PriceCurve, prices: PricesByLoad, *, has_slo: bool) -> None:
    """Shade the loads at which nothing is promised, and draw the load below which users go away."""
    first, most = curve.rate_per_s[0], curve.rate_per_s[-1]
    if prices.slo_per_s < most * (1 - _LEAST_SHARE):
        axes.axvspan(
            prices.slo_per_s,
            most,
            color=_SHADE,
            zorder=0,
            label="the SLO is missed" if has_slo else "the queue grows",
        )
    edge = None if prices.meeting is None else prices.meeting.least_load
    if edge is not None and edge > first:
        axes.axvline(edge, color="black", linestyle=":", label=f"below {edge:.3g} requests/s users go away")


def _draw_speeds(axes: Axes, curve: PriceCurve) -> None:
    """Write along the top how fast each user is served at the loads below."""
    top = axes.secondary_xaxis("top")
    rates = curve.rate_per_s[:: (len(curve.rate_per_s) - 1) // _SPEEDS]
    speeds = 1 / np.interp(rates, curve.rate_per_s, curve.tpot_s)
    top.set_xticks(rates, [f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}" for speed in speeds])
    top.set_xticks([], minor=True)
    top.set_xlabel("tokens/s per user")
    top.spines["top"].set_visible(False)


def _draw_parts(axes: Axes, curve: PriceCurve, marks: Sequence[_Mark]) -> None:
    """Draw the parts of the bill on top of each other, named at a full batch with what they are there."""
    shares = np.maximum(curve.shares, 0.0) * 100
    bottom: Array = np.zeros(len(curve.rate_per_s))
    names, middles = [], []
    for part, colour in zip(Part, COLOURS, strict=False):
        own = shares[:, part]
        if own.max() < _DRAWN * 100:
            continue
        hatch = "///" if part is Part.IDLE else None
        axes.fill_between(
            curve.rate_per_s, bottom, bottom + own, facecolor=colour, edgecolor="white", hatch=hatch
        )
        names.append(f"{PART_NAMES[part]} {own[-1]:.0f} %")
        middles.append(float(bottom[-1] + own[-1] / 2) / 100)
        bottom = bottom + own
    for mark in marks:
        axes.axvline(mark.state.rate_per_s, color="black", linewidth=1)
        shape, size = _MARKS[mark.name]
        fill = "none" if mark.name == WITHIN else "full"
        axes.plot(
            [mark.state.rate_per_s],
            [100],
            shape,
            markersize=size,
            color="black",
            fillstyle=fill,
            clip_on=False,
        )
    axes.set_ylim(0, 100)
    _name_ends(axes, middles, names)


def _name_ends(axes: Axes, places: Sequence[float] | Array, names: Sequence[str]) -> None:
    """Write names right of a panel at parts of its height, moved apart where they would overlap."""
    for place, name in zip(spread([float(one) for one in places], _GAP), names, strict=True):
        axes.text(1.03, place, name, transform=axes.transAxes, va="center", fontsize="small")
