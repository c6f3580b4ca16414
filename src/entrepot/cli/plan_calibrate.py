"""`entrepot plan calibrate`: the clock of a host, from records of what it answered."""

from __future__ import annotations

import json
from pathlib import Path
from time import time_ns
from typing import Annotated

import numpy as np
import typer
from msgspec import Struct

from entrepot.cli import plan_options as options
from entrepot.cli.asked_of_report import Since, instant_ns
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.plan_calibrate_plot import draw_calibration
from entrepot.cli.plan_records import COLUMNS, OPTIONAL, file_records, ledger_records
from entrepot.cli.plots import drawing_of
from entrepot.cli.tables import count_text, echo_wrapped, print_columns
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.calibrate import Calibration, Interval, calibrate
from entrepot.tokenomics.clock import StepClock
from entrepot.tokenomics.deployment import TYPICAL
from entrepot.tokenomics.records import Records
from entrepot.tokenomics.split_offer import SplitOffer

DEFAULT_KV_TOKENS = 1_000_000
_BEYOND = (2.0, 4.0, 8.0)
_PLAIN = (
    ("every step", "ms", 1e3),
    ("each sequence in it", "µs", 1e6),
    ("1,000 tokens held", "µs", 1e9),
    ("1,000 prompt tokens read", "ms", 1e6),
    ("each request, once", "ms", 1e3),
)
_SCALES = (
    ("every step", "× expected", 1.0),
    ("what grows with the batch", "× expected", 1.0),
    ("reading prompts", "× expected", 1.0),
    ("each request, once", "ms", 1e3),
)


class _Load(Struct, frozen=True):
    """TPOT at a batch. Units: sequences, seconds per token."""

    batch: float
    where: str
    tpot: Interval


def calibrate_host(
    records: Annotated[
        Path | None,
        typer.Argument(
            help=f"A CSV with {','.join(COLUMNS)} and perhaps {OPTIONAL}, or a .jsonl with an object of "
            "these a line."
        ),
    ] = None,
    *,
    data_dir: DataDir,
    endpoint: Annotated[
        str | None, typer.Option(help="Take the answers of this endpoint from the ledger instead.")
    ] = None,
    since: Since = "7d",
    kv_capacity_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens that the host's cache holds; not needed with a model.")
    ] = DEFAULT_KV_TOKENS,
    model: Annotated[str | None, typer.Option(help="What it runs, by name or config.json.")] = None,
    gpu: Annotated[str | None, typer.Option(help="On which hardware.")] = None,
    layout: options.Layout = "tp8",
    precision: options.Precision = None,
    backend: options.Backend = TYPICAL,
    as_json: AsJson = False,
    plot: Annotated[Path | None, typer.Option(help="Draw records and fit into a .png, .svg or .pdf.")] = None,
) -> None:
    """Fit the clock of a host from its records; say how far to trust it, and whether they reach saturation.

    Times are seconds, of answers that ended well. With --model and --gpu the model of steps is scaled instead
    of fitted from nothing, which needs fewer records and says more about loads that were not seen.
    """
    if plot is not None:
        drawing_of(plot)
    shape = _shape(model, gpu, layout, precision, backend)
    seen = _seen(records, endpoint, since, data_dir)
    fitted = calibrate(seen, kv_capacity_tokens=kv_capacity_tokens, shape=shape)
    context = float(np.mean(seen.prompt_tokens + seen.output_tokens / 2))
    loads = _loads(fitted, context)
    if plot is not None:
        name = records.name if records is not None else str(endpoint)
        draw_calibration(fitted, seen, context_tokens=context, name=name, path=plot)
        typer.echo(f"drawn in {plot}", err=True)
    if as_json:
        typer.echo(json.dumps(_as_json(fitted, loads, context, len(seen.start_s)), indent=2))
    else:
        _print(fitted, loads, context, len(seen.start_s))


def _shape(
    model: str | None, gpu: str | None, layout: str, precision: str | None, backend: str
) -> StepClock | None:
    if model is None and gpu is None:
        return None
    if model is None or gpu is None:
        raise ConfigError(("plan calibrate needs --model and --gpu together, or neither",))
    deployed = options.Deploying(precision=precision, backend=backend)
    offer = deployed.offers(model, [gpu], [layout])[0]
    if isinstance(offer, SplitOffer):
        reason = "records of split workers have two clocks: give the layout of one engine, such as tp8"
        raise ConfigError((f"--layout {layout!r}: {reason}",))
    return offer.replica().clock


def _seen(records: Path | None, endpoint: str | None, since: str | None, data_dir: Path) -> Records:
    if (records is None) == (endpoint is None):
        raise ConfigError(
            ("plan calibrate needs either a file of records (.csv, .jsonl) or --endpoint NAME",)
        )
    if records is not None:
        return file_records(records)
    assert endpoint is not None
    return ledger_records(data_dir, endpoint, instant_ns(since or "7d", time_ns()))


def _loads(fitted: Calibration, context: float) -> list[_Load]:
    """Return TPOT over the batches that were seen, and beyond them."""
    least, most = fitted.batches
    inside = dict.fromkeys((least, (least * most) ** 0.5, most))
    batches = [(batch, "seen") for batch in inside]
    batches += [(most * times, f"{times:g} × the most seen") for times in _BEYOND]
    return [_Load(batch, where, fitted.tpot(batch=batch, context_tokens=context)) for batch, where in batches]


def _print(fitted: Calibration, loads: list[_Load], context: float, count: int) -> None:
    least, most = fitted.batches
    typer.echo(f"{count:,} records, {least:.1f} to {most:.1f} sequences at once")
    typer.echo()
    terms = _PLAIN if fitted.shape is None else _SCALES
    sds = np.sqrt(np.diag(fitted.covariance))
    columns = {
        "the clock": [name for name, _, _ in terms],
        "costs": [
            f"{value * scale:.3g}" for value, (*_, scale) in zip(fitted.coefficients, terms, strict=True)
        ],
        "±": [f"{sd * scale:.2g}" for sd, (*_, scale) in zip(sds, terms, strict=True)],
        "unit": [unit for _, unit, _ in terms],
    }
    print_columns(columns, left=("the clock", "unit"))
    typer.echo()
    title = f"sequences of {count_text(round(context))} tokens"
    shown = {
        title: [f"{load.batch:.1f}" for load in loads],
        "tokens/s/user": [f"{1 / load.tpot.expected:.1f}" for load in loads],
        "TPOT ms": [f"{load.tpot.expected * 1e3:.2f}" for load in loads],
        "80 % from": [f"{load.tpot.low * 1e3:.2f}" for load in loads],
        "to": [f"{load.tpot.high * 1e3:.2f}" for load in loads],
        "load": [load.where for load in loads],
    }
    print_columns(shown, left=("load",))
    typer.echo()
    echo_wrapped(fitted.reach.sentence)


def _as_json(fitted: Calibration, loads: list[_Load], context: float, count: int) -> dict[str, object]:
    terms = _PLAIN if fitted.shape is None else _SCALES
    reach = fitted.reach
    return {
        "records": count,
        "batches": list(fitted.batches),
        "context_tokens": context,
        "clock": {
            name: {"value": float(value) * scale, "unit": unit}
            for value, (name, unit, scale) in zip(fitted.coefficients, terms, strict=True)
        },
        "residual_sd": fitted.residual_sd,
        "loads": [
            {
                "batch": load.batch,
                "load": load.where,
                "tpot_s": load.tpot.expected,
                "tpot_low_s": load.tpot.low,
                "tpot_high_s": load.tpot.high,
            }
            for load in loads
        ],
        "saturation": {
            "is_reached": reach.is_reached,
            "queued_share": reach.queued_share,
            "highest_rps": reach.highest_rps,
            "most_in_flight": reach.most_in_flight,
            "verdict": reach.sentence,
        },
    }
