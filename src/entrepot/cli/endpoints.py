"""`entrepot endpoints`: what a running gateway knows of each endpoint, and how sure it is."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from entrepot.cli.admin import ask
from entrepot.cli.endpoint_estimates import estimate_columns, unusual
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.tables import echo_wrapped, print_columns, seconds_text

app = typer.Typer(help="What a running gateway knows of each endpoint.", add_completion=False)


@app.callback(invoke_without_command=True)
def endpoints(
    context: typer.Context,
    data_dir: DataDir,
    model: Annotated[str | None, typer.Option(help="Only the endpoints of this model.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the endpoints of the running gateway with prices, context and KPIs."""
    if context.invoked_subcommand is not None:
        return
    rows = [row for row in ask(data_dir, "/admin/endpoints")["data"] if model in (None, row["model"])]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    print_columns(_columns(rows), left=("endpoint",), optional=("in flight", "fails", "context"), gap=1)
    for row in rows:
        for words in unusual(row["kpis"]):
            echo_wrapped(f"{_label(row)}: {words}", hanging=2)
    typer.echo("measured, declared or assumed: m, d, a; in brackets the weight of the observations", err=True)
    typer.echo("`entrepot endpoints show NAME` tells all estimates, with intervals and ages", err=True)


@app.command()
def show(
    data_dir: DataDir,
    name: Annotated[str, typer.Argument(help="An endpoint, model@host; or a part of one or several.")],
    as_json: AsJson = False,
) -> None:
    """Show every estimate of an endpoint: value, interval, basis, observations, age."""
    rows = ask(data_dir, "/admin/endpoints")["data"]
    found = [row for row in rows if row["name"] == name] or [row for row in rows if name in row["name"]]
    if not found:
        names = ", ".join(row["name"] for row in rows)
        typer.echo(f"no endpoint is called {name!r}; there are {names}", err=True)
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for number, row in enumerate(found):
        typer.echo(f"{chr(10) if number else ''}{_label(row)}, {row['kpis']['in_flight']} in flight\n")
        print_columns(estimate_columns(row["kpis"]), left=("", "basis"), optional=("age",))


@app.command()
def compare(
    data_dir: DataDir,
    model: Annotated[str, typer.Argument(help="A model, or a virtual one.")],
    tokens_in: Annotated[float, typer.Option(min=0, help="Tokens of the prompt.")] = 1000,
    tokens_out: Annotated[float, typer.Option(min=0, help="Tokens of the answer.")] = 500,
    as_json: AsJson = False,
) -> None:
    """Say at which value of time each pair of endpoints swaps, for an answer of this size, as of now."""
    query = urlencode({"model": model, "tokens_in": tokens_in, "tokens_out": tokens_out})
    told = ask(data_dir, f"/admin/compare?{query}")
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    rows = sorted(told["endpoints"], key=lambda row: row["dollars"])
    if not rows:
        typer.echo(f"no endpoint of {model} takes {tokens_in + tokens_out:,.0f} tokens", err=True)
        raise typer.Exit(1)
    typer.echo(f"{model}, {tokens_in:,.0f} tokens in, {tokens_out:,.0f} out, expected as of now\n")
    print_columns(
        {
            "endpoint": [_label(row) for row in rows],
            "$": [f"{row['dollars']:.6f}" if row["priced"] else "?" for row in rows],
            "seconds": [seconds_text(row["seconds"]) for row in rows],
            "TTFT s": [seconds_text(row["ttft_s"]) for row in rows],
            "tokens/s": [f"{row['tokens_per_s']:.0f}" for row in rows],
            "fails": [f"{row['p_failure']:.1%}" for row in rows],
            "known": [f"{row['basis']} ({row['observations']:.0f})" for row in rows],
        },
        left=("endpoint", "known"),
        optional=("TTFT s", "tokens/s", "fails"),
    )
    typer.echo("\nBest at a value of time")
    steps = {_per_hour(step["usd_per_hour"]): step for step in told["best_from"]}  # the last of equal ones
    for step in steps.values():
        typer.echo(f"  from {_per_hour(step['usd_per_hour']):>12}  {step['endpoint']}")
    typer.echo("\nEach pair: the first is better below the value of time, the second above it")
    for swap in told["swaps"]:
        if swap["usd_per_hour"] is None:
            other = next(name for name in swap["pair"] if name != swap["below"])
            typer.echo(f"  {'always':>12}  {swap['below']} | {other} is neither cheaper nor quicker")
        else:
            typer.echo(f"  {_per_hour(swap['usd_per_hour']):>12}  {swap['below']} | {swap['above']}")
    if any(row["simulated"] for row in rows):
        typer.echo("endpoints marked (simulated) are simulated", err=True)


def _per_hour(usd_per_hour: float) -> str:
    return f"${usd_per_hour:,.2f}/h"


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
