"""`entrepot endpoints`: what a running gateway knows of each endpoint, and how sure it is."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from entrepot.cli.admin import ask
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.tables import print_table


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
    print_table(_table(rows))
    typer.echo("measured, declared or assumed: m, d, a; in brackets the weight of the observations", err=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("endpoint", overflow="fold")
    for name in ("$/M in", "$/M out", "context", "TTFT s", "tokens/s", "fails", "in flight"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        pricing, kpis = row["pricing"] or {}, row["kpis"]
        label = row["name"] + (" (simulated)" if row["simulated"] else "")
        table.add_row(
            label,
            pricing.get("input_usd_per_mtok", "?"),
            pricing.get("output_usd_per_mtok", "?"),
            f"{row['context_length']:,}",
            _shown(kpis["ttft_s"], "{:.2f}"),
            _shown(kpis["tokens_per_s"], "{:.0f}"),
            _shown(kpis["failure_share"], "{:.1%}"),
            str(kpis["in_flight"]),
        )
    return table


def _shown(estimate: dict[str, Any], form: str) -> str:
    count = f"({estimate['count']:.0f})" if estimate["basis"] == "measured" else ""
    return f"{form.format(estimate['value'])} {estimate['basis'][0]}{count}"
