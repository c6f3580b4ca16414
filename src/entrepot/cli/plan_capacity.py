"""`entrepot plan capacity`: what replicas carry within an SLO, how many a demand takes, and what is free."""

from __future__ import annotations

import json
from math import ceil
from typing import Annotated

import typer

from entrepot.cli import plan_options as options
from entrepot.cli.options import AsJson
from entrepot.cli.tables import print_columns, share_text
from entrepot.domain.durations import HOURS_PER_DAY, SECONDS_PER_DAY, SECONDS_PER_HOUR
from entrepot.domain.errors import ConfigError
from entrepot.domain.money import TOKENS_PER_MTOK
from entrepot.tokenomics.deployment import TYPICAL
from entrepot.tokenomics.hosting import Freed, freed
from entrepot.tokenomics.load import Mix, Overloaded, Steady
from entrepot.tokenomics.price import ANY_CONTEXT
from entrepot.tokenomics.priced_load import slo_capacity_per_s

WITHIN, FULL = "within the SLO", "full batch"


def capacity(
    *,
    model: options.Model,
    gpu: options.Gpu,
    layout: options.Layout = "tp8",
    precision: options.Precision = None,
    backend: options.Backend = TYPICAL,
    hardware: options.HardwareFile = None,
    tier: options.Tier = "rental",
    request: options.Requests = None,
    ttft_s: options.Ttft = None,
    tokens_per_s: options.Speed = None,
    answer_s: options.Answer = None,
    cautious: options.Cautious = False,
    demand_per_s: Annotated[
        float | None, typer.Option(min=0, help="Requests per second at the peak of the day.")
    ] = None,
    hourly: Annotated[
        str | None, typer.Option(help="The day's curve: 24 numbers, of which the largest is the peak.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the largest load within an SLO and with a full batch; size a fleet for a demand, hour by hour.

    Loads have random arrivals. Between the two lies what batching harder frees; below the peak, the night.
    """
    found = options.offers_of(
        model, [gpu], [layout], backend=backend, precision=precision, tier=tier, hardware=hardware
    )
    offer = options.usable(found)[0]
    mix = Mix(options.requests_of(request, shared=True), ANY_CONTEXT)
    limits = options.limits_of(ttft_s, tokens_per_s, answer_s, is_cautious=cautious)
    curve = _curve(hourly)
    states = {
        WITHIN: _state(
            offer, mix, slo_capacity_per_s(offer.replica(), mix, options.keeps_of(offer, mix, limits))
        ),
        FULL: _state(offer, mix, slo_capacity_per_s(offer.replica(), mix)),
    }
    free = None
    if demand_per_s:
        loads = [demand_per_s * part for part in curve]
        free = freed(
            loads, now=(offer.gpus, states[WITHIN].rate_per_s), harder=(offer.gpus, states[FULL].rate_per_s)
        )
    if as_json:
        typer.echo(json.dumps(_as_json(offer, mix, states, demand_per_s, free), indent=2))
    else:
        _print(offer, mix, states, demand_per_s, free)


def _state(offer: options.PlannedOffer, mix: Mix, rate_per_s: float | Overloaded) -> Steady:
    state = rate_per_s if isinstance(rate_per_s, Overloaded) else offer.replica().steady(mix, rate_per_s)
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
    if len(numbers) != HOURS_PER_DAY or min(numbers) < 0 or max(numbers) <= 0:
        raise ConfigError(
            (f"--hourly {text!r}: expected {HOURS_PER_DAY} numbers of at least 0, one per hour",)
        )
    return [number / max(numbers) for number in numbers]


def _print(
    offer: options.PlannedOffer,
    mix: Mix,
    states: dict[str, Steady],
    demand_per_s: float | None,
    free: Freed | None,
) -> None:
    tokens = float(mix.tokens.sum())
    usd_per_s = offer.usd_per_hour / SECONDS_PER_HOUR
    typer.echo(f"one replica: {offer.name}, {offer.gpus} GPUs at ${offer.usd_per_hour:.2f} an hour")
    columns = {
        "load": list(states),
        "req/s": [f"{state.rate_per_s:.3g}" for state in states.values()],
        "batch": [f"{state.batch:.1f}" for state in states.values()],
        "tokens/s/user": [f"{1 / state.step_s:.1f}" for state in states.values()],
        "Mtok/day": [
            f"{state.rate_per_s * tokens * SECONDS_PER_DAY / TOKENS_PER_MTOK:,.0f}"
            for state in states.values()
        ],
        "$/M all tokens": [
            f"{usd_per_s / state.rate_per_s / tokens * TOKENS_PER_MTOK:.3g}" for state in states.values()
        ],
    }
    if demand_per_s:
        counts = [_replicas(demand_per_s, state) for state in states.values()]
        busy = [
            demand_per_s / count / state.rate_per_s
            for count, state in zip(counts, states.values(), strict=True)
        ]
        columns["replicas"] = [f"{count}" for count in counts]
        columns["GPUs"] = [f"{count * offer.gpus}" for count in counts]
        columns["$/h"] = [f"{count * offer.usd_per_hour:,.2f}" for count in counts]
        columns["of capacity"] = [share_text(part) for part in busy]
    print_columns(columns, left=("load",))
    if free is not None:
        typer.echo(
            f"free for something else: {free.by_batching:.0f} GPUs at the peak by full batches, and of the "
            f"{free.peak_gpus:.0f} that these take {free.mean_by_curve:.1f} on average by the day's curve"
        )


def _replicas(demand_per_s: float, state: Steady) -> int:
    return max(1, ceil(demand_per_s / state.rate_per_s * (1 - 1e-12)))


def _as_json(
    offer: options.PlannedOffer,
    mix: Mix,
    states: dict[str, Steady],
    demand_per_s: float | None,
    free: Freed | None,
) -> dict[str, object]:
    return {
        "deployment": offer.name,
        "gpus": offer.gpus,
        "usd_per_hour": offer.usd_per_hour,
        "tokens_per_request": float(mix.tokens.sum()),
        "loads": {
            name: {
                "requests_per_s": state.rate_per_s,
                "batch": state.batch,
                "tpot_s": state.step_s,
                "replicas": _replicas(demand_per_s, state) if demand_per_s else None,
            }
            for name, state in states.items()
        },
        "freed_gpus": None
        if free is None
        else {
            "by_batching": free.by_batching,
            "by_hour": list(free.by_hour),
            "mean_by_curve": free.mean_by_curve,
        },
    }
