"""`entrepot key`: who may call, and how much they may spend."""

from __future__ import annotations

import json
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.tables import NOTHING, clock_text, print_columns, usd_column
from entrepot.domain.money import nusd_from_usd, usd_text
from entrepot.ledger.key_events import KeyCaps
from entrepot.ledger.key_log import create_key, revoke_key, set_budget, set_caps
from entrepot.ledger.keys import Key, list_keys

if TYPE_CHECKING:
    from entrepot.ledger.report import ReportRow

MOST = 1e9  # a finite end for what may be typed; requests are bounded by far less

app = typer.Typer(
    help="Make, list, limit and revoke API keys; a running gateway follows within a second.",
    no_args_is_help=True,
)

NameOrId = Annotated[str, typer.Argument(help="The name or the number of the key.", metavar="NAME|ID")]


@app.command()
def create(
    data_dir: DataDir,
    name: Annotated[str, typer.Option(help="What you call it; no two keys in use share a name.")],
    budget_usd: Annotated[
        str | None, typer.Option(help="The most that it may ever spend, such as 25 or 0.50.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown this once: only a digest of it is kept."""
    budget_nusd = None if budget_usd is None else _nusd(budget_usd)
    secret = create_key(data_dir, name, budget_nusd, time_ns())
    key = next(key for key in list_keys(data_dir) if key.name == name and not key.revoked)
    if as_json:
        typer.echo(json.dumps({"key": secret, "id": key.key_id, "name": key.name}))
        return
    typer.echo(secret)
    typer.echo(
        f"key {key.key_id}, {key.name}, has {_limit_text(budget_nusd)}. The key is shown this once: keep it, "
        "we keep only a digest of it.",
        err=True,
    )


@app.command("list")
def list_(data_dir: DataDir, as_json: AsJson = False) -> None:
    """List all keys with what they spent."""
    keys = list_keys(data_dir)
    spent = _spent(data_dir) if keys else {}
    if as_json:
        typer.echo(json.dumps([_as_json(key, spent.get(str(key.key_id))) for key in keys], indent=2))
    elif keys:
        _print(keys, spent)
    else:
        typer.echo("no keys yet; make one with: entrepot key create --name NAME", err=True)


@app.command()
def revoke(data_dir: DataDir, key: NameOrId, as_json: AsJson = False) -> None:
    """End a key. What it spent stays in the ledger."""
    revoked = revoke_key(data_dir, key, time_ns())
    if as_json:
        typer.echo(json.dumps({"id": revoked.key_id, "name": revoked.name, "revoked": True}))
    else:
        typer.echo(f"key {revoked.key_id}, {revoked.name}, is revoked; a gateway refuses it within a second")


@app.command()
def budget(
    data_dir: DataDir,
    key: NameOrId,
    usd: Annotated[str, typer.Argument(help="The most that it may ever spend in dollars, or `none`.")],
    as_json: AsJson = False,
) -> None:
    """Set the budget of a key, or take it away."""
    changed = set_budget(data_dir, key, None if usd == "none" else _nusd(usd), time_ns())
    if as_json:
        typer.echo(json.dumps(_as_json(changed, None)))
    else:
        limit = _limit_text(changed.budget_nusd)
        typer.echo(f"key {changed.key_id}, {changed.name}, has {limit}; a gateway knows within a second")


@app.command()
def caps(
    data_dir: DataDir,
    key: NameOrId,
    usd_per_hour: Annotated[
        float | None, typer.Option(min=0, max=MOST, help="The dearest value of time that a request may name.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, max=MOST, help="The longest time that a limit may name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set the largest values that requests with a key may ask for; without options, the configured ones."""
    changed = set_caps(data_dir, key, KeyCaps(usd_per_hour, seconds), time_ns())
    if as_json:
        typer.echo(
            json.dumps({"id": changed.key_id, "name": changed.name, **msgspec.structs.asdict(changed.caps)})
        )
        return
    shown = [
        f"{name} {value:g}"
        for name, value in msgspec.structs.asdict(changed.caps).items()
        if value is not None
    ]
    text = ", ".join(shown) or "the configuration's"
    typer.echo(f"caps of key {changed.key_id}, {changed.name}: {text}; a gateway knows within a second")


def _limit_text(budget_nusd: int | None) -> str:
    return "no budget" if budget_nusd is None else f"a budget of ${usd_text(budget_nusd)}"


def _nusd(usd: str) -> int:
    try:
        return nusd_from_usd(usd)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _spent(data_dir: Path) -> dict[str, ReportRow]:
    """Return the sums of each key by its number; none while nothing was ever served here."""
    from entrepot.cli.posted import posted_store
    from entrepot.ledger.report import Dimension, report

    with posted_store(data_dir) as store:
        return {row.group: row for row in report(store, Dimension.KEY).rows}


def _print(keys: tuple[Key, ...], spent: dict[str, ReportRow]) -> None:
    now_ns = time_ns()
    rows = [spent.get(str(key.key_id)) for key in keys]
    budgets = [NOTHING if key.budget_nusd is None else usd_text(key.budget_nusd) for key in keys]
    columns = {
        "id": [str(key.key_id) for key in keys],
        "name": [key.name for key in keys],
        "requests": [f"{row.requests if row else 0:,}" for row in rows],
        "spent $": usd_column([_counted_nusd(row) for row in rows]),
        "budget $": budgets,
        "created (UTC)": [clock_text(key.created_ns, now_ns) for key in keys],
        "": ["revoked" if key.revoked else "" for key in keys],
    }
    print_columns(columns, left=("name", "created (UTC)", ""))


def _counted_nusd(row: ReportRow | None) -> int:
    """Return what counts against a budget: spent, or unknown and counted at the most."""
    return row.cost_nusd + row.unknown_nusd if row else 0


def _as_json(key: Key, row: ReportRow | None) -> dict[str, object]:
    return {
        "id": key.key_id,
        "name": key.name,
        "revoked": key.revoked,
        "budget_usd": None if key.budget_nusd is None else usd_text(key.budget_nusd),
        "requests": row.requests if row else 0,
        "spent_usd": usd_text(row.cost_nusd if row else 0),
        "unknown_at_most_usd": usd_text(row.unknown_nusd if row else 0),
        "reserved_usd": usd_text(row.reserved_nusd if row else 0),
    }
