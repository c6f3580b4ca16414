"""`entrepot plan price`: what a token costs, by one conserved split of the bill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli import plan_options as options
from entrepot.cli import plan_slo as slo
from entrepot.cli.option_groups import with_groups
from entrepot.cli.options import AsJson
from entrepot.cli.plan_day import show_day
from entrepot.cli.plan_load_plot import draw_loads
from entrepot.cli.plan_loads import load_columns, loads_json, rows_by_load
from entrepot.cli.plan_options import PlannedOffer
from entrepot.cli.plots import drawing_of
from entrepot.cli.tables import echo_wrapped, print_columns
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.equilibrium import HOSTS_ELASTICITY, Demand
from entrepot.tokenomics.load import Mix, Overloaded
from entrepot.tokenomics.price import USUAL_TIERS
from entrepot.tokenomics.priced_load import PricesByLoad, prices_by_load
from entrepot.tokenomics.slo_capacity import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced(options.Deploying):
    """A model on hardware, unless a fleet is priced."""

    model: Annotated[str | None, typer.Option(help="A model by its name, or a config.json.")] = None
    gpu: Annotated[str | None, typer.Option(help="Hardware by its name.")] = None
    layout: options.Layout = "tp8"


@with_groups
def price(
    *,
    fleet: Annotated[
        str | None, typer.Option(help="A day of a fleet: a name of data/tokenomics/fleets, or a TOML file.")
    ] = None,
    nodes: Annotated[float | None, typer.Option(min=0, help="Nodes of the fleet that are paid for.")] = None,
    deployed: Priced,
    asked: slo.Asked,
    load_per_s: Annotated[float | None, typer.Option(min=0, help="Requests per second of a replica.")] = None,
    demand: Annotated[
        str | None, typer.Option(help="Requests/s of a replica that a price brings, RATE@USD_PER_REQUEST.")
    ] = None,
    elasticity: Annotated[
        float,
        typer.Option(max=0, help="Percent by which that demand changes when the price rises by one percent."),
    ] = HOSTS_ELASTICITY,
    margin: Annotated[float | None, typer.Option(min=-100, help="Percent of the cost, on top.")] = None,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw prices by load, or a fleet's: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Split a bill over the tokens that it served: a fleet's day, or a replica at three loads.

    Each second is charged once: Σ price × tokens = cost + margin. A replica has a price at a load that is
    given, at its SLO's capacity (the engine is simulated), and at the load that the price itself brings.
    """
    if fleet is not None:
        show_day(fleet, deployed.model, deployed.gpu, nodes=nodes, margin=margin, as_json=as_json, plot=plot)
        return
    if plot is not None:
        drawing_of(plot)
    if nodes is not None:
        raise ConfigError(("--nodes are those of a fleet: add --fleet, or leave it out",))
    if deployed.model is None or deployed.gpu is None:
        raise ConfigError(("plan price needs --fleet, or --model and --gpu",))
    options.above_zero("--load-per-s", load_per_s)
    offer = deployed.offers(deployed.model, [deployed.gpu], [deployed.layout])[0]
    wanted = None if demand is None else _demand(demand, elasticity)
    promise = asked.promise(USUAL_TIERS)
    _at_loads(offer, promise, load_per_s, wanted, margin=(margin or 0.0) / 100, as_json=as_json, plot=plot)


def _at_loads(
    offer: PlannedOffer,
    promise: slo.Promise,
    load_per_s: float | None,
    demand: Demand | None,
    *,
    margin: float,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Print, and draw, the prices of one replica at the loads that were asked for."""
    within = slo.capacity_of(offer, promise)
    prices = prices_by_load(
        offer.replica(),
        promise.mix,
        given_per_s=load_per_s,
        slo_per_s=within.rate_per_s,
        demand=demand,
        margin=margin,
    )
    if isinstance(prices, Overloaded):
        raise ConfigError((f"{offer.name}: {prices.reason}",))
    trials = {
        name: slo.trial_of(offer, promise, state.rate_per_s, full_per_s=within.full_per_s)
        for name, (state, _) in rows_by_load(offer, promise.mix, prices).items()
    }
    _show(offer, promise.mix, prices, trials, as_json=as_json)
    if plot is not None:
        draw_loads(offer, promise.mix, prices, margin, plot, has_slo=promise.has_limits)
        typer.echo(f"drawn in {plot}", err=True)


def _demand(text: str, elasticity: float) -> Demand:
    rate, _, usd = text.partition("@")
    try:
        return Demand(float(rate), float(usd), elasticity)
    except ValueError as error:
        form = "expected RATE@USD_PER_REQUEST, such as 2.5@0.001"
        raise ConfigError((f"--demand {text!r}: {form} ({error})",)) from None


def _show(
    offer: PlannedOffer,
    mix: Mix,
    prices: PricesByLoad,
    trials: Mapping[str, Trial],
    *,
    as_json: bool,
) -> None:
    if as_json:
        typer.echo(json.dumps(loads_json(offer, mix, prices, trials), indent=2))
        return
    typer.echo(f"one replica: {offer.name}, {offer.gpus} GPUs at ${offer.usd_per_hour:.2f} an hour")
    columns = load_columns(offer, mix, prices, trials)
    print_columns(columns, left=("load", "context"), optional=("KV", "idle", "batch"))
    if isinstance(prices.given, Overloaded):
        typer.echo(f"the given load is beyond the replica: {prices.given.reason}", err=True)
    if prices.meeting is not None:
        echo_wrapped(f"the load that the price brings: {prices.meeting.sentence}")
    for name, trial in trials.items():
        if trial.saturation.is_saturated:
            echo_wrapped(f"{name}: {trial.saturation.sentence}")
