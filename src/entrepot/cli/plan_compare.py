"""`entrepot plan compare`: hardware and layouts side by side within an SLO, and hosting against buying."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer

from entrepot.cli import plan_options as options
from entrepot.cli.option_groups import with_groups
from entrepot.cli.options import AsJson
from entrepot.cli.plan_compare_plot import Bought, draw_deployments
from entrepot.cli.plan_frontier import BATCHES
from entrepot.cli.plan_options import PlannedOffer
from entrepot.cli.plan_points import OPTIONAL, deployment_name, point_columns, point_json
from entrepot.cli.plots import drawing_of
from entrepot.cli.progress import progress_bar
from entrepot.cli.tables import NOTHING, print_columns
from entrepot.domain.durations import SECONDS_PER_DAY
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.choice import PointLimits, Unmet, cheapest
from entrepot.tokenomics.frontier import Grid, Points, points_of
from entrepot.tokenomics.hosting import BreakEven, break_even
from entrepot.tokenomics.load import RequestClass

_API_FORM = "INPUT/OUTPUT or INPUT/CACHED/OUTPUT in USD per million tokens, such as 0.55/0.14/2.19"


@with_groups
def compare(
    *,
    deployed: options.ManyDeployments,
    request: options.Requests = None,
    ttft_s: options.Ttft = None,
    tokens_per_s: options.Speed = None,
    answer_s: options.Answer = None,
    cautious: options.Cautious = False,
    api: Annotated[str | None, typer.Option(help=f"An API's prices: {_API_FORM}.")] = None,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the prices, and hosting against --api: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Print the cheapest point of each deployment within an SLO, and from which load hosting beats an API.

    The break-even is that of the cheapest deployment, by who owns the hardware.
    """
    if plot is not None:
        drawing_of(plot)
    offers = deployed.all_offers()
    (one, *more) = options.requests_of(request, shared=False)
    if more:
        raise ConfigError(("plan compare takes one --request: prices of several sizes are plan price's",))
    listed = None if api is None else _api(api)
    with progress_bar("operating points", len(offers) * len(BATCHES)) as progress:
        points = points_of(Grid(offers, BATCHES, (one,)), progress=progress)
    limits = PointLimits(ttft_s, tokens_per_s, answer_s, is_cautious=cautious)
    best = _best(points, limits)
    even = () if listed is None else _break_even(points, offers, best[0], one, listed)
    if plot is not None:
        bought = Bought(deployment_name(points, best[0]), even, deployed.tier) if even else None
        draw_deployments(points, best, limits, title=_title(deployed.model, one), bought=bought, path=plot)
        typer.echo(f"drawn in {plot}", err=True)
    _show(points, best, even, as_json=as_json)


def _show(points: Points, best: Sequence[int], even: Sequence[BreakEven], *, as_json: bool) -> None:
    """Print the points, the cheapest first, and from which load the first of them beats the API."""
    if as_json:
        shown = {
            "deployments": [point_json(points, place) for place in best],
            "break_even": [msgspec.to_builtins(tier) for tier in even],
        }
        typer.echo(json.dumps(shown, indent=2))
        return
    print_columns(point_columns(points, best), left=("deployment",), optional=OPTIONAL)
    if even:
        typer.echo()
        bill = f"${even[0].api_usd_per_mtok:.3g} per million"
        typer.echo(f"hosting on {deployment_name(points, best[0])} against {bill}:")
        print_columns(_even_columns(even), left=("owned by",))


def _title(model: str, request: RequestClass) -> str:
    cached = f", {request.cached_tokens:,.0f} cached" if request.cached_tokens else ""
    return f"{model}: {request.uncached_tokens:,.0f} tokens in{cached}, {request.output_tokens:,.0f} out"


def _best(points: Points, limits: PointLimits) -> list[int]:
    """Return the cheapest point of each offer that keeps the limits, the cheapest first.

    Raises: ConfigError when none does.
    """
    price = points.blended_usd_per_mtok()
    found = []
    for offer in range(len(points.grid.offers)):
        own = np.where(points.offer == offer, price, np.inf)
        chosen = cheapest(points, limits, own)
        if isinstance(chosen, Unmet):
            raise ConfigError((f"no deployment keeps the SLO: {chosen.reason}",))
        if np.isfinite(own[chosen]):
            found.append(chosen)
        else:
            typer.echo(f"left out: {points.grid.offers[offer].name}: no batch keeps the SLO", err=True)
    return sorted(found, key=lambda place: float(price[place]))


def _break_even(
    points: Points,
    offers: Sequence[PlannedOffer],
    place: int,
    request: RequestClass,
    api: tuple[float, float, float],
) -> tuple[BreakEven, ...]:
    offer = offers[points.offer[place]]
    tokens = np.array([request.uncached_tokens, request.cached_tokens, request.output_tokens])
    return break_even(
        usd_per_hour=offer.usd_per_hour_by_tier,
        capacity_tokens_per_day=float(points.capacity_per_s[place] * tokens.sum() * SECONDS_PER_DAY),
        api_usd_per_mtok=float(tokens @ np.array(api) / tokens.sum()),
    )


def _api(text: str) -> tuple[float, float, float]:
    try:
        prices = [float(part) for part in text.split("/")]
    except ValueError:
        prices = []
    if len(prices) not in (2, 3) or not all(0 <= price < inf for price in prices):
        raise ConfigError((f"--api {text!r}: expected {_API_FORM}",))
    return prices[0], prices[1] if len(prices) == 3 else prices[0], prices[-1]


def _even_columns(even: Sequence[BreakEven]) -> dict[str, list[str]]:
    return {
        "owned by": [one.tier for one in even],
        "$/day": [f"{one.usd_per_day:,.0f}" for one in even],
        "full, $/M": [f"{one.full_usd_per_mtok:.3g}" for one in even],
        "cheaper from, Mtok/day": [_mtok(one.first_tokens_per_day) for one in even],
        "always from": [_mtok(one.always_tokens_per_day) for one in even],
        "a replica serves": [_mtok(one.capacity_tokens_per_day) for one in even],
    }


def _mtok(tokens: float | None) -> str:
    return NOTHING if tokens is None else f"{tokens / 1e6:,.1f}"
