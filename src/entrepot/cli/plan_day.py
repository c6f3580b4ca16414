"""A fleet's day: the tables of `entrepot plan price --fleet`."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from entrepot.catalog.fleets import load_fleet
from entrepot.cli.plan_figures import bill_columns, day_json, price_columns, result_columns
from entrepot.cli.plan_plot import draw_prices
from entrepot.cli.plots import drawing_of
from entrepot.cli.tables import print_columns
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.fleet import Day, Fleet, day_of


def show_day(
    name: str,
    model: str | None,
    gpu: str | None,
    *,
    nodes: float | None,
    margin: float | None,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Print, and draw, what a day of a fleet came to. Units: nodes, percent of the cost.

    Raises: ConfigError when the fleet is of another model or hardware, or cannot be.
    """
    if plot is not None:
        drawing_of(plot)  # a wrong suffix or a missing library is said before the work
    fleet = load_fleet(name)
    _check(fleet, model, gpu)
    try:
        day = day_of(fleet, nodes=nodes, margin=None if margin is None else margin / 100)
    except ValueError as error:
        raise ConfigError((str(error),)) from None
    if plot is not None:
        draw_prices(day, plot)
        typer.echo(f"drawn in {plot}", err=True)
    if as_json:
        typer.echo(json.dumps(day_json(day), indent=2))
    else:
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
