"""`entrepot plan price`: what a token costs, by one conserved split of the bill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli import plan_options as options
from entrepot.cli.options import AsJson
from entrepot.cli.plan_day import show_day
from entrepot.cli.plan_load_plot import draw_loads
from entrepot.cli.plan_loads import load_columns, loads_json
from entrepot.cli.plots import drawing_of
from entrepot.cli.tables import print_columns
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.choice import PointLimits
from entrepot.tokenomics.deployment import TYPICAL
from entrepot.tokenomics.equilibrium import HOSTS_ELASTICITY, Demand
from entrepot.tokenomics.load import Mix, Overloaded
from entrepot.tokenomics.price import USUAL_TIERS
from entrepot.tokenomics.priced_load import PricesByLoad, prices_by_load


def price(
    *,
    fleet: Annotated[
        str | None, typer.Option(help="A day of a fleet: a name of data/tokenomics/fleets, or a TOML file.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model by its name, or a config.json.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Hardware by its name.")] = None,
    layout: options.Layout = "tp8",
    precision: options.Precision = None,
    backend: options.Backend = TYPICAL,
    hardware: options.HardwareFile = None,
    tier: options.Tier = "rental",
    request: options.Requests = None,
    load_per_s: Annotated[float | None, typer.Option(min=0, help="Requests per second of a replica.")] = None,
    ttft_s: options.Ttft = None,
    tokens_per_s: options.Speed = None,
    answer_s: options.Answer = None,
    cautious: options.Cautious = False,
    demand: Annotated[
        str | None, typer.Option(help="Requests/s of a replica that a price brings, RATE@USD_PER_REQUEST.")
    ] = None,
    elasticity: Annotated[float, typer.Option(max=0, help="Of that demand.")] = HOSTS_ELASTICITY,
    nodes: Annotated[float | None, typer.Option(min=0, help="Nodes of the fleet that are paid for.")] = None,
    margin: Annotated[float | None, typer.Option(min=-100, help="Percent of the cost, on top.")] = None,
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the prices: .png, .svg or .pdf.")] = None,
) -> None:
    """Split a bill over the tokens that it served: a fleet's day, or a replica at three loads.

    Each second is charged once: Σ price × tokens = cost + margin. A replica has a price at a load that is
    given, at its SLO's capacity, and at the load that the price itself brings.
    """
    if fleet is not None:
        show_day(fleet, model, gpu, nodes=nodes, margin=margin, as_json=as_json, plot=plot)
        return
    if plot is not None:
        drawing_of(plot)
    if model is None or gpu is None:
        raise ConfigError(("plan price needs --fleet, or --model and --gpu",))
    offers = options.offers_of(
        model, [gpu], [layout], backend=backend, precision=precision, tier=tier, hardware=hardware
    )
    mix = Mix(options.requests_of(request, shared=True), USUAL_TIERS)
    limits = options.limits_of(ttft_s, tokens_per_s, answer_s, is_cautious=cautious)
    asked = None if demand is None else _demand(demand, elasticity)
    _at_loads(
        options.usable(offers)[0], mix, limits, load_per_s, asked, margin=margin, as_json=as_json, plot=plot
    )


def _at_loads(
    offer: options.PlannedOffer,
    mix: Mix,
    limits: PointLimits,
    load_per_s: float | None,
    demand: Demand | None,
    *,
    margin: float | None,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Print, and draw, the prices of one replica at the loads that were asked for."""
    prices = prices_by_load(
        offer.replica(),
        mix,
        given_per_s=load_per_s,
        keeps=options.keeps_of(offer, mix, limits),
        demand=demand,
        margin=(margin or 0.0) / 100,
    )
    _show(offer, mix, prices, as_json=as_json)
    if plot is not None and isinstance(prices, PricesByLoad):
        draw_loads(offer, mix, prices, (margin or 0.0) / 100, plot)
        typer.echo(f"drawn in {plot}", err=True)


def _demand(text: str, elasticity: float) -> Demand:
    rate, _, usd = text.partition("@")
    try:
        return Demand(float(rate), float(usd), elasticity)
    except ValueError as error:
        form = "expected RATE@USD_PER_REQUEST, such as 2.5@0.001"
        raise ConfigError((f"--demand {text!r}: {form} ({error})",)) from None


def _show(offer: options.PlannedOffer, mix: Mix, prices: PricesByLoad | Overloaded, *, as_json: bool) -> None:
    if isinstance(prices, Overloaded):
        raise ConfigError((f"{offer.name}: {prices.reason}",))
    if as_json:
        typer.echo(json.dumps(loads_json(offer, mix, prices), indent=2))
        return
    typer.echo(f"one replica: {offer.name}, {offer.gpus} GPUs at ${offer.usd_per_hour:.2f} an hour")
    print_columns(load_columns(offer, mix, prices), left=("load", "context"), optional=("KV", "idle"))
    if isinstance(prices.given, Overloaded):
        typer.echo(f"the given load is beyond the replica: {prices.given.reason}", err=True)
    if prices.meeting is not None:
        typer.echo(f"the load that the price brings: {prices.meeting.sentence}")
