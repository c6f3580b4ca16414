"""What `key`, `team` and `tag` share: how a budget is set, and how budgets are shown."""

from __future__ import annotations

import json
from pathlib import Path
from time import time_ns
from typing import Annotated

import typer

from entrepot.cli.tables import NOTHING
from entrepot.domain.money import nusd_from_usd, usd_text
from entrepot.ledger.entries import Scope
from entrepot.ledger.keys.budgets import Budget, BudgetId, Period
from entrepot.ledger.keys.keys import KeyRing
from entrepot.ledger.keys.log import set_budget_of

BudgetUsd = Annotated[str, typer.Argument(help="The most that may be spent, in dollars, or `none`.")]
PeriodOption = Annotated[Period, typer.Option(help="Over which time it counts.")]
ZoneOption = Annotated[str, typer.Option(help="The time zone in which days and months begin: Europe/Berlin.")]
SoftOption = Annotated[bool, typer.Option("--soft", help="Warn when it is passed, and refuse nothing.")]


def change_budget(
    data_dir: Path,
    scope: Scope,
    name_or_id: str,
    usd: str,
    period: Period,
    zone: str,
    *,
    soft: bool,
    as_json: bool,
) -> None:
    """Set or take away a budget, and say what it is now."""
    amount_nusd = None if usd == "none" else nusd_of(usd)
    changed = set_budget_of(
        data_dir, scope, name_or_id, amount_nusd, time_ns(), period=period, zone=zone, hard=not soft
    )
    if as_json:
        shown = None if changed is None else budget_json(changed)
        typer.echo(json.dumps({scope.value: name_or_id, "period": period.value, "budget": shown}))
        return
    which = "" if period is Period.TOTAL else f" by {period.value}"
    limit = f"no budget{which}" if changed is None else f"a budget of {changed.limit_text()}"
    typer.echo(f"{scope.value} {name_or_id} has {limit}; a gateway knows within a second")


def budget_json(budget: Budget) -> dict[str, object]:
    """Return a budget for `--json`."""
    return {
        "usd": usd_text(budget.amount_nusd),
        "period": budget.period.value,
        "zone": budget.zone,
        "hard": budget.hard,
    }


def budgets_of(ring: KeyRing, scope: Scope, number: int) -> list[Budget]:
    """Return the budgets of a key, a team or a tag."""
    found = (ring.budgets.get(BudgetId(scope, number, period)) for period in Period)
    return [budget for budget in found if budget is not None]


def budgets_json(ring: KeyRing, scope: Scope, number: int) -> list[dict[str, object]]:
    """Return the budgets of a key, a team or a tag for `--json`."""
    return [budget_json(budget) for budget in budgets_of(ring, scope, number)]


def budgets_text(ring: KeyRing, scope: Scope, number: int) -> str:
    """Return the budgets of a key, a team or a tag in words."""
    return ", ".join(budget.limit_text() for budget in budgets_of(ring, scope, number)) or NOTHING


def names_in(text: str) -> tuple[str, ...]:
    """Return the names in a text with commas between."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def nusd_of(usd: str) -> int:
    """Return an amount in dollars that was typed, as nano-USD.

    Raises: typer.BadParameter when it is none.
    """
    try:
        return nusd_from_usd(usd)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
