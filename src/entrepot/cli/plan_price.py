"""`entrepot plan price`: what a token costs, by one conserved split of the bill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from entrepot.catalog.fleets import load_fleet
from entrepot.cli.options import AsJson
from entrepot.cli.plan_figures import (
    bill_columns,
    day_json,
    price_columns,
    result_columns,
)
from entrepot.cli.plan_plot import draw_prices
from entrepot.cli.plots import drawing_of
from entrepot.cli.tables import print_columns
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.fleet import Day, Fleet, day_of


def price(
    *,
    fleet: Annotated[
        str, typer.Option(help="A fleet of data/tokenomics/fleets by its name, or a TOML file.")
    ],
    model: Annotated[str | None, typer.Option(help="The model that the fleet has to serve.")] = None,
    gpu: Annotated[str | None, typer.Option(help="The hardware that the fleet has to have.")] = None,
    nodes: Annotated[
        float | None, typer.Option(min=0, help="Nodes that are paid for; those in use unless given.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(min=-100, help="Percent of the cost; that of its list prices unless given."),
    ] = None,
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the prices into a .png, .svg or .pdf.")] = None,
) -> None:
    """Split the bill of a fleet's day over its tokens: prices at cost, at a margin, and as listed.

    Each second of each node is charged once: Σ price × tokens = cost + margin.
    """
    if plot is not None:
        drawing_of(plot)  # a wrong suffix or a missing library is said before the work
    of = load_fleet(fleet)
    _check(of, model, gpu)
    day = _day(of, nodes, margin)
    if plot is not None:
        draw_prices(day, plot)
        typer.echo(f"drawn in {plot}", err=True)
    if as_json:
        typer.echo(json.dumps(day_json(day), indent=2))
        return
    _print(day)


def _check(fleet: Fleet, model: str | None, gpu: str | None) -> None:
    """Refuse a fleet of another model or other hardware than was asked for."""
    asked = (("model", model, fleet.model), ("hardware", gpu, fleet.gpu))
    problems = tuple(
        f"fleet {fleet.name} is of the {what} {has}, not {wanted}: leave that out, or name another fleet"
        for what, wanted, has in asked
        if wanted is not None and wanted.lower() != has.lower()
    )
    if problems:
        raise ConfigError(problems)


def _day(fleet: Fleet, nodes: float | None, margin: float | None) -> Day:
    try:
        return day_of(fleet, nodes=nodes, margin=None if margin is None else margin / 100)
    except ValueError as error:
        raise ConfigError((str(error),)) from None


def _print(day: Day) -> None:
    fleet = day.fleet
    typer.echo(f"{fleet.title or fleet.name}: {fleet.model} on {fleet.gpu}")
    typer.echo()
    print_columns(result_columns(day), left=("of the day",))
    typer.echo()
    print_columns(bill_columns(day), left=("the bill",))
    typer.echo()
    print_columns(price_columns(day), left=("USD per million tokens",))
    error = day.at_cost.conservation_error
    typer.echo(f"Σ price × tokens is off cost and margin by {error:.1e} of the cost", err=True)
