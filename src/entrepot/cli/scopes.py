"""`entrepot team` and `entrepot tag`: what keys share beside their own budgets. One shape for both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from time import time_ns
from typing import Annotated

import typer

from entrepot.cli.budgets import (
    BudgetUsd,
    PeriodOption,
    SoftOption,
    ZoneOption,
    budgets_json,
    budgets_text,
    change_budget,
)
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.tables import print_columns
from entrepot.ledger.entries import Scope
from entrepot.ledger.keys.budgets import Period
from entrepot.ledger.keys.keys import KeyRing, ring_of
from entrepot.ledger.keys.log import create_tag, create_team

_CREATE = {Scope.TEAM: create_team, Scope.TAG: create_tag}

Name = Annotated[str, typer.Argument(help="What it is called.")]
NameOrId = Annotated[str, typer.Argument(help="Its name or its number.", metavar="NAME|ID")]


def scope_app(scope: Scope, about: str) -> typer.Typer:
    """Return the commands of teams or of tags."""
    app = typer.Typer(help=about, no_args_is_help=True)
    kind = scope.value

    def create(data_dir: DataDir, name: Name, as_json: AsJson = False) -> None:
        number = _CREATE[scope](data_dir, name, time_ns())
        typer.echo(
            json.dumps({"id": number, "name": name}) if as_json else f"{kind} {number}, {name}, is made"
        )

    def budget(
        data_dir: DataDir,
        name: NameOrId,
        usd: BudgetUsd,
        period: PeriodOption = Period.TOTAL,
        zone: ZoneOption = "UTC",
        soft: SoftOption = False,
        as_json: AsJson = False,
    ) -> None:
        change_budget(data_dir, scope, name, usd, period, zone, soft=soft, as_json=as_json)

    def list_(data_dir: DataDir, as_json: AsJson = False) -> None:
        _list(data_dir, scope, as_json=as_json)

    give = "`entrepot key create` or `entrepot key assign`"
    app.command("create", help=f"Make a {kind}; then give it to keys with {give}.")(create)
    app.command("budget", help=f"Set what a {kind} may spend in all, by day or month; `none` ends it.")(
        budget
    )
    app.command("list", help=f"List all {kind}s with their budgets and their keys.")(list_)
    return app


def _list(data_dir: Path, scope: Scope, *, as_json: bool) -> None:
    ring = ring_of(data_dir)
    names = ring.teams if scope is Scope.TEAM else ring.tags
    keys = {number: _keys_of(ring, scope, number) for number in names}
    if as_json:
        typer.echo(json.dumps([_as_json(ring, scope, number, names, keys) for number in names], indent=2))
    elif names:
        columns = {
            "id": [str(number) for number in names],
            "name": list(names.values()),
            "budgets": [budgets_text(ring, scope, number) for number in names],
            "keys": [", ".join(keys[number]) for number in names],
        }
        print_columns(columns, left=("name", "budgets", "keys"), optional=("keys",))
    else:
        typer.echo(f"no {scope.value}s yet; make one with: entrepot {scope.value} create NAME", err=True)


def _keys_of(ring: KeyRing, scope: Scope, number: int) -> list[str]:
    return [
        key.name
        for key in ring.by_id.values()
        if not key.revoked and (key.team_id == number if scope is Scope.TEAM else number in key.tags)
    ]


def _as_json(
    ring: KeyRing, scope: Scope, number: int, names: Mapping[int, str], keys: Mapping[int, list[str]]
) -> dict[str, object]:
    return {
        "id": number,
        "name": names[number],
        "budgets": budgets_json(ring, scope, number),
        "keys": keys[number],
    }


team = scope_app(Scope.TEAM, "Make, list and budget teams; a key belongs to one at most.")
tag = scope_app(
    Scope.TAG, "Make, list and budget tags; `research/eu` is narrower than `research` and counts for both."
)
