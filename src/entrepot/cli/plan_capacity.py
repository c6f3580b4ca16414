"""`entrepot plan capacity`: what replicas carry within an SLO, how many a demand takes, and what is free."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli import plan_options as options
from entrepot.cli import plan_slo as slo
from entrepot.cli.option_groups import with_groups
from entrepot.cli.options import AsJson
from entrepot.cli.plan_capacity_plot import draw_capacity
from entrepot.cli.plan_capacity_rows import (
    FULL,
    GIVEN,
    OPTIONAL,
    WITHIN,
    Capacity,
    Fleet,
    Row,
    capacity_columns,
    capacity_json,
)
from entrepot.cli.plan_options import PlannedOffer
from entrepot.cli.plots import drawing_of
from entrepot.cli.tables import echo_wrapped, print_columns, seconds_text, share_text
from entrepot.domain.durations import HOURS_PER_DAY
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.hosting import freed
from entrepot.tokenomics.load import Overloaded, Steady
from entrepot.tokenomics.price import ANY_CONTEXT
from entrepot.tokenomics.slo_capacity import SloCapacity, replicas_for


@with_groups
def capacity(
    *,
    deployed: options.OneDeployment,
    asked: slo.Asked,
    load_per_s: Annotated[
        float | None, typer.Option(min=0, help="Requests per second of a replica to try besides.")
    ] = None,
    demand_per_s: Annotated[
        float | None, typer.Option(min=0, help="Requests per second at the peak of the day.")
    ] = None,
    hourly: Annotated[
        str | None, typer.Option(help="The day's curve: 24 numbers, of which the largest is the peak.")
    ] = None,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw TTFT, speed and goodput by load: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Find the largest load within an SLO by simulating the engine; size a fleet for a demand, hour by hour.

    Arrivals are random, or a trace's. The SLO is kept by a share of the requests, 90 % unless given; goodput
    are the requests that keep it. Between it and a full batch lies what batching harder frees; below the
    peak, the night.
    """
    if plot is not None:
        drawing_of(plot)
    options.above_zero("--load-per-s", load_per_s)
    options.above_zero("--demand-per-s", demand_per_s)
    if hourly is not None and demand_per_s is None:
        raise ConfigError(("--hourly is the curve of a demand: add --demand-per-s, that of its peak",))
    curve = _curve(hourly)
    shown = _found(deployed.offer(), asked.promise(ANY_CONTEXT), load_per_s, demand_per_s, curve)
    if as_json:
        typer.echo(json.dumps(capacity_json(shown), indent=2))
    else:
        _print(shown)
    if plot is not None:
        draw_capacity(shown, plot)
        typer.echo(f"drawn in {plot}", err=True)


def _found(
    offer: PlannedOffer,
    promise: slo.Promise,
    load_per_s: float | None,
    demand_per_s: float | None,
    curve: list[float],
) -> Capacity:
    """Return the loads that were found and the one that was asked for, and the fleet of a demand."""
    within = slo.capacity_of(offer, promise)
    full_per_s = min(within.full_per_s, offer.replica().capacity_per_s(promise.mix))
    rows = [
        Row(WITHIN, _state(offer, promise, min(within.rate_per_s, full_per_s)), within.trial),
        Row(FULL, _state(offer, promise, full_per_s), None),
    ]
    if load_per_s is not None:
        given = slo.trial_of(offer, promise, load_per_s, full_per_s=within.full_per_s)
        rows.insert(0, Row(GIVEN, _state(offer, promise, min(load_per_s, full_per_s)), given))
    fleet = None
    if demand_per_s is not None:
        fleet = _fleet(offer, promise, within, full_per_s, demand_per_s, curve)
    return Capacity(offer, promise, within, tuple(rows), fleet)


def _fleet(
    offer: PlannedOffer,
    promise: slo.Promise,
    within: SloCapacity,
    full_per_s: float,
    demand_per_s: float,
    curve: list[float],
) -> Fleet:
    sized = replicas_for(
        demand_per_s,
        within,
        lambda replicas: offer.service(replicas=replicas, is_cautious=promise.is_cautious),
        promise.workload,
        promise.limits,
        share=promise.share,
    )
    free = freed(
        [demand_per_s * part for part in curve],
        now=(offer.gpus, within.rate_per_s),
        harder=(offer.gpus, full_per_s),
    )
    return Fleet(demand_per_s, sized, free)


def _state(offer: PlannedOffer, promise: slo.Promise, rate_per_s: float) -> Steady:
    state = offer.replica().steady(promise.mix, rate_per_s)
    if isinstance(state, Overloaded):
        raise ConfigError((f"{offer.name}: {state.reason}",))
    return state


def _curve(text: str | None) -> list[float]:
    """Return the parts of the peak by hour. Raises: ConfigError unless there are 24 numbers, one above 0."""
    if text is None:
        return [1.0] * HOURS_PER_DAY
    try:
        numbers = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != HOURS_PER_DAY or not all(0 <= one < inf for one in numbers) or max(numbers) <= 0:
        raise ConfigError(
            (f"--hourly {text!r}: expected {HOURS_PER_DAY} numbers of at least 0, one per hour",)
        )
    return [number / max(numbers) for number in numbers]


def _print(shown: Capacity) -> None:
    offer, promise = shown.offer, shown.promise
    typer.echo(f"one replica: {offer.name}, {offer.gpus} GPUs at ${offer.usd_per_hour:.2f} an hour")
    print_columns(capacity_columns(shown), left=("load",), optional=OPTIONAL)
    for row in shown.rows:
        if row.trial is not None and row.trial.saturation.is_saturated:
            typer.echo(f"{row.name}: {row.trial.saturation.sentence}")
    if not promise.has_limits:
        typer.echo("no SLO was given: within one of --ttft-s, --tokens-per-s or --answer-s a load is smaller")
    if shown.fleet is not None:
        _print_fleet(shown, shown.fleet)


def _print_fleet(shown: Capacity, fleet: Fleet) -> None:
    offer, sized, free = shown.offer, fleet.sized, fleet.free
    gpus = sized.replicas * offer.gpus
    usd = sized.replicas * offer.usd_per_hour
    typer.echo()
    cost = f"{gpus} GPUs at ${usd:,.2f} an hour"
    replicas = "1 replica" if sized.replicas == 1 else f"{sized.replicas} replicas"
    said = f"{fleet.demand_per_s:g} requests/s take {replicas}, {cost}"
    if sized.trial is None:
        echo_wrapped(f"{said}, each filled as one alone: so many together were not simulated")
    else:
        kept = f"{share_text(sized.trial.met_share)} of them keep the SLO" if shown.promise.has_limits else ""
        waits = f"TTFT {seconds_text(sized.trial.ttft.p50)} s, p90 {seconds_text(sized.trial.ttft.p90)} s"
        queue = "" if sized.replicas == 1 else ", behind one queue"
        echo_wrapped("; ".join(part for part in (f"{said}{queue}", waits, kept) if part))
    echo_wrapped(
        f"free for something else: {free.by_batching:.0f} GPUs at the peak by full batches, and of the "
        f"{free.peak_gpus:.0f} that these take {free.mean_by_curve:.1f} on average by the day's curve"
    )
