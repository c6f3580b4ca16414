"""`entrepot plan frontier`: what batch, hardware and layout buy, and what an SLO costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from entrepot.cli import plan_options as options
from entrepot.cli.option_groups import with_groups
from entrepot.cli.options import AsJson
from entrepot.cli.plan_plot import draw_frontier
from entrepot.cli.plan_points import (
    OPTIONAL,
    limit_columns,
    point_columns,
    point_json,
    simulated_json,
    simulated_text,
)
from entrepot.cli.plots import drawing_of
from entrepot.cli.progress import progress_bar
from entrepot.cli.tables import print_columns
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.choice import PointLimits, Unmet, cheapest, limit_costs
from entrepot.tokenomics.closed_loop import ClosedLoop, closed_loop
from entrepot.tokenomics.frontier import Grid, Points, points_of
from entrepot.tokenomics.pareto import Mask

BATCHES = tuple(float(batch) for batch in np.unique(np.geomspace(1, 2048, 34).round()))
_SHOWN = 24


@with_groups
def frontier(
    *,
    deployed: options.ManyDeployments,
    request: options.Requests = None,
    ttft_s: options.Ttft = None,
    tokens_per_s: options.Speed = None,
    answer_s: options.Answer = None,
    context: options.Context = None,
    cautious: options.Cautious = False,
    demand_per_s: Annotated[
        float | None, typer.Option(min=0, help="Requests per second that are sold; the rest is idle.")
    ] = None,
    replicas: Annotated[
        list[int] | None, typer.Option(min=1, help="May be repeated; 1 unless given.")
    ] = None,
    margin: options.Margin = 0.0,
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the front into a .png, .svg or .pdf.")] = None,
) -> None:
    """Sweep hardware, layouts and batches; print the front, the cheapest within an SLO, and what limits cost.

    Prices are of a basket of three uncached input tokens to one of output, by one conserved split.
    """
    if plot is not None:
        drawing_of(plot)
    options.above_zero("--demand-per-s", demand_per_s)
    offers = deployed.all_offers()
    requests = options.requests_of(request, shared=False)
    grid = Grid(offers, BATCHES, requests, tuple(replicas or (1,)))
    with progress_bar("operating points", grid.size) as progress:
        points = points_of(grid, demand_per_s=demand_per_s, margin=margin / 100, progress=progress)
    limits = PointLimits(ttft_s, tokens_per_s, answer_s, context, is_cautious=cautious)
    chosen = cheapest(points, limits)
    seen = None if isinstance(chosen, Unmet) else _simulated(points, offers, chosen)
    _show(points, limits, chosen, seen, deployed.model, as_json=as_json, plot=plot)


def _simulated(points: Points, offers: Sequence[options.PlannedOffer], place: int) -> ClosedLoop:
    """Return what the engine says of a point: the spread of TTFT is in no mean."""
    service = offers[points.offer[place]].service()
    request = points.grid.requests[points.request[place]]
    return closed_loop(service, request, max(1, round(float(points.batch[place]))))


def _show(
    points: Points,
    limits: PointLimits,
    chosen: int | Unmet,
    seen: ClosedLoop | None,
    model: str,
    *,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Draw and print; end with 1 when no point keeps the SLO.

    Raises: ConfigError when there is no point at all.
    """
    if not points.fits.any():
        need = "no batch of such requests fits in memory and serves the demand"
        raise ConfigError((f"{need}: add GPUs or replicas, or ask for a shorter request",))
    front = points.front()
    if plot is not None:
        draw_frontier(points, front, chosen if isinstance(chosen, int) else None, model, plot)
        typer.echo(f"drawn in {plot}", err=True)
    if as_json:
        typer.echo(json.dumps(_as_json(points, front, chosen, seen, limits), indent=2))
    else:
        _print(points, front, chosen, seen, limits)
    if isinstance(chosen, Unmet):
        raise typer.Exit(1)


def _print(
    points: Points, front: Mask, chosen: int | Unmet, seen: ClosedLoop | None, limits: PointLimits
) -> None:
    places = _by_price(points, front)
    shown = places[:: max(1, -(-len(places) // _SHOWN))]
    typer.echo(f"the front: {len(places)} of {len(points)} operating points, {len(shown)} shown")
    print_columns(point_columns(points, shown), left=("deployment",), optional=OPTIONAL)
    typer.echo()
    if isinstance(chosen, Unmet):
        typer.echo(f"no point keeps the SLO: {chosen.reason}", err=True)
        if chosen.nearest is not None:
            typer.echo("nearest:")
            print_columns(point_columns(points, [chosen.nearest]), left=("deployment",), optional=OPTIONAL)
        return
    typer.echo("the cheapest within the SLO:")
    print_columns(point_columns(points, [chosen]), left=("deployment",), optional=OPTIONAL)
    if seen is not None:
        typer.echo(simulated_text(seen))
    costs = limit_costs(points, limits)
    if costs:
        typer.echo()
        print_columns(limit_columns(points, costs), left=("limit", "without it"))


def _by_price(points: Points, front: Mask) -> list[int]:
    places = np.flatnonzero(front)
    return [int(place) for place in places[np.argsort(points.blended_usd_per_mtok()[places])]]


def _as_json(
    points: Points, front: Mask, chosen: int | Unmet, seen: ClosedLoop | None, limits: PointLimits
) -> dict[str, object]:
    unmet = chosen if isinstance(chosen, Unmet) else None
    return {
        "points": len(points),
        "front": [point_json(points, place) for place in _by_price(points, front)],
        "cheapest": None if isinstance(chosen, Unmet) else point_json(points, chosen),
        "simulated": None if seen is None else simulated_json(seen),
        "refused": None
        if unmet is None
        else {"reason": unmet.reason, "floors": unmet.floors, "by": unmet.by},
        "nearest": None if unmet is None or unmet.nearest is None else point_json(points, unmet.nearest),
        "limits": [
            {
                "limit": one.limit,
                "costs_usd_per_mtok": one.costs,
                "share": one.share,
                "a_tenth_looser_saves_usd_per_mtok": one.looser_saves,
                "without": point_json(points, one.without),
            }
            for one in limit_costs(points, limits)
        ],
    }
