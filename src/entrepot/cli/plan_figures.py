"""The columns and the JSON of a fleet's day: the same figures for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

import msgspec

from entrepot.cli.tables import NOTHING, share_text
from entrepot.tokenomics.fleet import Day, Fleet
from entrepot.tokenomics.price import Kind, Part, PriceList

KIND_NAMES: Mapping[Kind, str] = {Kind.INPUT: "input", Kind.CACHED: "cached input", Kind.OUTPUT: "output"}
PART_NAMES: Mapping[Part, str] = {
    Part.PREFILL: "prefill",
    Part.CACHED: "cached prefill",
    Part.DECODE: "decode",
    Part.KV: "KV residence",
    Part.IDLE: "idle readiness",
}
_RESULTS: Mapping[str, tuple[str, str]] = {
    "needed_nodes": ("nodes, by load and rates", "{:,.2f}"),
    "nodes": ("nodes paid for", "{:,.2f}"),
    "cost_usd": ("cost, USD", "{:,.0f}"),
    "revenue_usd": ("revenue at list prices, USD", "{:,.0f}"),
    "margin": ("margin on the cost", "{:.1%}"),
    "freed_nodes": ("nodes free beside the peak", "{:,.2f}"),
}


def result_columns(day: Day) -> dict[str, list[str]]:
    """Return what the day came to, beside what was published of it."""
    results, published = day.results(), day.fleet.published
    stated = [name for name in _RESULTS if name in results]
    columns = {
        "of the day": [_RESULTS[name][0] for name in stated],
        "ours": [_RESULTS[name][1].format(results[name]) for name in stated],
    }
    if published:
        columns["published"] = [
            _RESULTS[name][1].format(published[name].value) if name in published else NOTHING
            for name in stated
        ]
        columns["off by"] = [
            f"{results[name] / published[name].value - 1:+.3%}" if name in published else NOTHING
            for name in stated
        ]
    return columns


def bill_columns(day: Day) -> dict[str, list[str]]:
    """Return the parts of the bill."""
    prices = day.at_cost
    return {
        "the bill": [PART_NAMES[part] for part in Part],
        "USD": [f"{abs(prices.parts_usd[part]):,.0f}" for part in Part],
        "share": [share_text(abs(float(prices.shares[part]))) for part in Part],
    }


def price_columns(day: Day) -> dict[str, list[str]]:
    """Return the prices at cost, at the margin and as listed, and how far the list is from the cost."""
    columns = {
        "USD per million tokens": [KIND_NAMES[kind] for kind in Kind],
        "at cost": [_price(day.at_cost.price(kind)) for kind in Kind],
    }
    if day.at_margin is not None:
        columns[f"at {day.at_margin.margin:.0%} margin"] = [
            _price(day.at_margin.price(kind)) for kind in Kind
        ]
    listed = list_prices(day.fleet)
    if listed is not None:
        columns["listed"] = [_price(listed[kind]) for kind in Kind]
        columns["listed / cost"] = [_times(listed[kind], day.at_cost.price(kind)) for kind in Kind]
    return columns


def list_prices(fleet: Fleet) -> dict[Kind, float] | None:
    """Return the fleet's list prices, if it has them. Units: USD per million tokens."""
    prices = (fleet.input_usd_per_mtok, fleet.cached_usd_per_mtok, fleet.output_usd_per_mtok)
    found = {kind: price for kind, price in zip(Kind, prices, strict=True) if price is not None}
    return found if len(found) == len(Kind) else None


def day_json(day: Day) -> dict[str, object]:
    """Return the day for programs, with the source of every figure that went in."""
    fleet, listed = day.fleet, list_prices(day.fleet)
    return {
        "fleet": fleet.name,
        "title": fleet.title,
        "as_of": fleet.as_of,
        "model": fleet.model,
        "gpu": fleet.gpu,
        "results": day.results(),
        "published": {name: figure.value for name, figure in fleet.published.items()},
        "bill_usd": {PART_NAMES[part]: float(day.at_cost.parts_usd[part]) for part in Part},
        "usd_per_mtok": {
            "at_cost": prices_json(day.at_cost),
            "at_margin": None if day.at_margin is None else prices_json(day.at_margin),
            "listed": None if listed is None else {KIND_NAMES[kind]: listed[kind] for kind in Kind},
        },
        "margin": None if day.at_margin is None else day.at_margin.margin,
        "freed_gpu_hours": day.freed_gpu_hours,
        "freed_by_hour_nodes": list(day.freed_by_hour_nodes),
        "conservation_error": day.at_cost.conservation_error,
        "figures": {name: msgspec.to_builtins(figure) for name, figure in fleet.figures.items()},
    }


def prices_json(prices: PriceList) -> dict[str, float | None]:
    """Return the prices of the lowest tier by kind; None where no such token was served."""
    found = {KIND_NAMES[kind]: prices.price(kind) for kind in Kind}
    return {name: None if isnan(price) else price for name, price in found.items()}


def _price(usd_per_mtok: float) -> str:
    return NOTHING if isnan(usd_per_mtok) else f"{usd_per_mtok:.4f}"


def _times(listed: float, cost: float) -> str:
    return NOTHING if isnan(cost) or cost <= 0 else f"{listed / cost:.1f}×"
