"""`entrepot endpoints`: what a running gateway knows of each endpoint, and how sure it is."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from entrepot.cli.admin import ask
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.tables import print_columns


def endpoints(
    data_dir: DataDir,
    model: Annotated[str | None, typer.Argument(help="Only the endpoints of this model.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the endpoints of the running gateway with prices, context and KPIs."""
    rows = [row for row in ask(data_dir, "/admin/endpoints")["data"] if model in (None, row["model"])]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    print_columns(_columns(rows), left=("endpoint",), optional=("in flight", "fails", "context"), gap=1)
    typer.echo("measured, declared or assumed: m, d, a; in brackets the weight of the observations", err=True)


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    pricing = [row["pricing"] or {} for row in rows]
    kpis = [row["kpis"] for row in rows]
    return {
        "endpoint": [_label(row) for row in rows],
        "$/M in": [prices.get("input_usd_per_mtok", "?") for prices in pricing],
        "$/M out": [prices.get("output_usd_per_mtok", "?") for prices in pricing],
        "context": [f"{row['context_length']:,}" for row in rows],
        "TTFT s": [_shown(of["ttft_s"], "{:.2f}") for of in kpis],
        "tokens/s": [_shown(of["tokens_per_s"], "{:.0f}") for of in kpis],
        "fails": [_shown(of["failure_share"], "{:.1%}") for of in kpis],
        "in flight": [str(of["in_flight"]) for of in kpis],
    }


def _label(row: dict[str, Any]) -> str:
    """Return the name without the model's developer, which would push a column off the screen."""
    name = row["name"].partition("/")[2] or row["name"]
    return f"{name} (simulated)" if row["simulated"] else name


def _shown(estimate: dict[str, Any], form: str) -> str:
    count = f"({estimate['count']:.0f})" if estimate["basis"] == "measured" else ""
    return f"{form.format(estimate['value'])} {estimate['basis'][0]}{count}"
