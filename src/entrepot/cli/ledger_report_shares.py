"""`entrepot ledger report --share`: each host's part of the tokens over time, as a table and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from entrepot.cli.asked_of_report import Asked
from entrepot.cli.csv_output import write_csv
from entrepot.cli.plots import draw_shares
from entrepot.cli.posted import posted_store
from entrepot.cli.tables import NOTHING, count_text, print_columns, share_text
from entrepot.ledger.reports.report import Dimension
from entrepot.ledger.reports.shares import Every, Shares, as_json, shares


def show_shares(
    data_dir: Path,
    what: Asked,
    by: Dimension,
    every: Every,
    output: tuple[bool, str | None, Path | None],
) -> None:
    """Print the shares as a table, JSON or CSV, and draw them where a file is named."""
    is_json, csv, plot = output
    with posted_store(data_dir) as store:
        try:
            result = shares(store, by, every, since_ns=what.since_ns, until_ns=what.until_ns, only=what.only)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    if plot is not None and result.periods:
        draw_shares(result, sorted(what.only.models), plot)
        typer.echo(f"drawn in {plot}", err=True)
    shown = as_json(result)
    if csv is not None:
        rows = shown["rows"]
        assert isinstance(rows, list)
        write_csv(rows, csv)
    if is_json:
        typer.echo(json.dumps(shown, indent=2))
    elif csv is None:
        _print(result)


def _print(result: Shares) -> None:
    if not result.periods:
        typer.echo("nothing was used in this period", err=True)
        return
    rows = [
        (period.period, part)
        for period in result.periods
        for part in ((*period.parts, period.all) if len(period.parts) > 1 else period.parts)
    ]
    print_columns(
        {
            result.every.value: [period for period, _ in rows],
            result.by.value: [part.group for _, part in rows],
            "share": [NOTHING if part.share is None else share_text(part.share) for _, part in rows],
            "tokens": [count_text(part.tokens) for _, part in rows],
            f"× last {result.every.value}": [_factor(part.growth) for _, part in rows],
            "× first": [_factor(part.growth_since_first) for _, part in rows],
        },
        left=(result.every.value, result.by.value),
    )
    if result.simulated_attempts:
        typer.echo(f"{simulated_text(result)}: nobody served these tokens", err=True)


def simulated_text(result: Shares) -> str:
    """Return `simulated` or `partly simulated`, or nothing."""
    if not result.simulated_attempts:
        return ""
    return "simulated" if result.simulated_attempts == result.attempts else "partly simulated"


def _factor(growth: float | None) -> str:
    return NOTHING if growth is None else f"{growth:.2f}"
