"""`entrepot key`: who may call, and how much they may spend."""

from __future__ import annotations

import json
from enum import StrEnum
from math import nan
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from entrepot.cli.budgets import (
    BudgetUsd,
    PeriodOption,
    SoftOption,
    ZoneOption,
    budgets_json,
    budgets_text,
    change_budget,
    names_in,
    nusd_of,
)
from entrepot.cli.declarations import (
    Country,
    DataClass,
    Declarations,
    DefenceContractor,
    Purpose,
    Sector,
    UsPerson,
    claims_json,
    claims_text,
)
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.tables import clock_text, print_columns, usd_column
from entrepot.domain.claims import UNDECLARED
from entrepot.domain.money import usd_text
from entrepot.ledger.entries import Scope
from entrepot.ledger.keys.budgets import Period
from entrepot.ledger.keys.events import KeyCaps, KeyLimits
from entrepot.ledger.keys.keys import Key, KeyRing, list_keys, ring_of
from entrepot.ledger.keys.log import (
    assign_key,
    create_key,
    declare_key,
    revoke_key,
    set_caps,
    set_limits,
    set_storing,
    set_value_of_time,
)

if TYPE_CHECKING:
    from entrepot.ledger.reports.report import ReportRow


class Switch(StrEnum):
    """What is switched per key."""

    ON = "on"
    OFF = "off"


NOT_SET = "none"
MOST = 1e9  # a finite end for what may be typed; requests are bounded by far less

app = typer.Typer(
    help="Make, list, limit and revoke API keys; a running gateway follows within a second.",
    no_args_is_help=True,
)

NameOrId = Annotated[str, typer.Argument(help="The name or the number of the key.", metavar="NAME|ID")]


@app.command()
def create(
    data_dir: DataDir,
    *,
    name: Annotated[str, typer.Option(help="What you call it; no two keys in use share a name.")],
    budget_usd: Annotated[
        str | None, typer.Option(help="The most that it may ever spend, such as 25 or 0.50.")
    ] = None,
    team: Annotated[str | None, typer.Option(help="The team whose budgets count it too.")] = None,
    tags: Annotated[str, typer.Option(help="Its tags, with commas between.")] = "",
    country: Country = None,
    us_person: UsPerson = None,
    defence_contractor: DefenceContractor = None,
    sector: Sector = None,
    data_class: DataClass = None,
    purpose: Purpose = None,
    value_of_time: Annotated[
        str,
        typer.Option(
            metavar="USD_PER_HOUR",
            help="What an hour of waiting is worth where a request does not say so.",
        ),
    ] = NOT_SET,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown this once: only a digest of it is kept.

    What is declared of its sender is what rules go by; what is not declared counts as what protects.
    """
    budget_nusd = None if budget_usd is None else nusd_of(budget_usd)
    declared = Declarations(country, us_person, defence_contractor, sector, data_class, purpose)
    secret = create_key(
        data_dir,
        name,
        budget_nusd,
        time_ns(),
        team=team,
        tags=names_in(tags),
        claims=declared.over(UNDECLARED),
        usd_per_hour=_usd_per_hour(value_of_time),
    )
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
        ring = ring_of(data_dir)
        typer.echo(json.dumps([_as_json(ring, key, spent.get(str(key.key_id))) for key in keys], indent=2))
    elif keys:
        _print(data_dir, keys, spent)
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
    usd: BudgetUsd,
    period: PeriodOption = Period.TOTAL,
    zone: ZoneOption = "UTC",
    soft: SoftOption = False,
    as_json: AsJson = False,
) -> None:
    """Set what a key may spend in all, by day or by month, or take that budget away."""
    change_budget(data_dir, Scope.KEY, key, usd, period, zone, soft=soft, as_json=as_json)


@app.command()
def assign(
    data_dir: DataDir,
    key: NameOrId,
    team: Annotated[str | None, typer.Option(help="Its team; without this option it is in none.")] = None,
    tags: Annotated[str, typer.Option(help="Its tags, with commas between; without, it has none.")] = "",
    as_json: AsJson = False,
) -> None:
    """Put a key into a team and give it tags; what it spends from here on counts for them."""
    changed = assign_key(data_dir, key, team, names_in(tags), time_ns())
    ring = ring_of(data_dir)
    shown = {"team": ring.teams.get(changed.team_id), "tags": [ring.tags[tag] for tag in changed.tags]}
    if as_json:
        typer.echo(json.dumps({"id": changed.key_id, "name": changed.name, **shown}))
        return
    of_team = f"in team {shown['team']}" if changed.team_id else "in no team"
    tagged = ", ".join(ring.tags[tag] for tag in changed.tags) or "none"
    typer.echo(f"key {changed.key_id}, {changed.name}, is {of_team}; its tags: {tagged}")


@app.command()
def limits(
    data_dir: DataDir,
    key: NameOrId,
    requests_per_min: Annotated[int | None, typer.Option(min=0, help="In any 60 seconds.")] = None,
    tokens_per_min: Annotated[
        int | None, typer.Option(min=0, help="Prompt and output, in any 60 seconds.")
    ] = None,
    concurrent_requests: Annotated[int | None, typer.Option(min=0, help="Under way at once.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set how much a key may ask for at once; without options it is unlimited."""
    wanted = KeyLimits(requests_per_min, tokens_per_min, concurrent_requests)
    changed = set_limits(data_dir, key, wanted, time_ns())
    values = msgspec.structs.asdict(changed.limits)
    if as_json:
        typer.echo(json.dumps({"id": changed.key_id, "name": changed.name, **values}))
        return
    shown = [f"{value:,} {name.replace('_', ' ')}" for name, value in values.items() if value is not None]
    text = ", ".join(shown) or "none"
    typer.echo(f"limits of key {changed.key_id}, {changed.name}: {text}; a gateway knows within a second")


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


@app.command("set")
def set_(
    data_dir: DataDir,
    key: NameOrId,
    *,
    value_of_time: Annotated[
        str | None,
        typer.Option(
            metavar="USD_PER_HOUR|none",
            help="What an hour of waiting is worth where a request does not say so; none: as configured.",
        ),
    ] = None,
    country: Country = None,
    us_person: UsPerson = None,
    defence_contractor: DefenceContractor = None,
    sector: Sector = None,
    data_class: DataClass = None,
    purpose: Purpose = None,
    as_json: AsJson = False,
) -> None:
    """Set what requests with a key go by where they do not say so themselves, and declare their sender.

    Rules ask for the declarations. What is not named stays as it is; unknown takes a declaration back.
    """
    declared = Declarations(country, us_person, defence_contractor, sector, data_class, purpose)
    if declared.is_empty and value_of_time is None:
        raise typer.BadParameter("say what is set, such as --country DE or --value-of-time 20")
    changed = _set(data_dir, key, value_of_time, declared)
    if as_json:
        claims = claims_json(changed.claims)
        shown = {"id": changed.key_id, "name": changed.name, "usd_per_hour": changed.usd_per_hour}
        typer.echo(json.dumps({**shown, "claims": claims}))
        return
    whose = f"of key {changed.key_id}, {changed.name}"
    if value_of_time is not None:
        value = "the configuration's" if changed.usd_per_hour is None else f"${changed.usd_per_hour:g}/h"
        typer.echo(f"the value of time {whose}: {value}; a gateway knows within a second")
    if not declared.is_empty:
        text = claims_text(changed.claims) or "nothing"
        typer.echo(f"declared {whose}: {text}; a gateway knows within a second")


def _set(data_dir: Path, key: str, value_of_time: str | None, declared: Declarations) -> Key:
    if value_of_time is not None:
        changed = set_value_of_time(data_dir, key, _usd_per_hour(value_of_time), time_ns())
        if declared.is_empty:
            return changed
    return declare_key(data_dir, key, declared.over, time_ns())


@app.command()
def contents(
    data_dir: DataDir,
    key: NameOrId,
    switch: Annotated[Switch, typer.Argument(help="Whether they are stored from here on.")],
    as_json: AsJson = False,
) -> None:
    """Store prompts and answers of a key from now on, or stop; those that are stored stay."""
    changed = set_storing(data_dir, key, time_ns(), stored=switch is Switch.ON)
    if as_json:
        shown = {"id": changed.key_id, "name": changed.name, "stores_contents": changed.stores_contents}
        typer.echo(json.dumps(shown))
        return
    verb = "are" if changed.stores_contents else "are not"
    typer.echo(
        f"prompts and answers of key {changed.key_id}, {changed.name}, {verb} stored from now on; a gateway "
        "knows within a second"
    )


def _usd_per_hour(text: str) -> float | None:
    if text.strip().lower() == NOT_SET:
        return None
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not 0 <= value <= MOST:
        raise typer.BadParameter(f"{text!r} is no value of time: expected USD per hour, such as 20, or none")
    return value


def _limit_text(budget_nusd: int | None) -> str:
    return "no budget" if budget_nusd is None else f"a budget of ${usd_text(budget_nusd)}"


def _spent(data_dir: Path) -> dict[str, ReportRow]:
    """Return the sums of each key by its number; none while nothing was ever served here."""
    from entrepot.cli.posted import posted_store
    from entrepot.ledger.reports.report import Dimension, report

    with posted_store(data_dir) as store:
        return {row.group: row for row in report(store, Dimension.KEY).rows}


def _print(data_dir: Path, keys: tuple[Key, ...], spent: dict[str, ReportRow]) -> None:
    now_ns = time_ns()
    rows = [spent.get(str(key.key_id)) for key in keys]
    ring = ring_of(data_dir)
    columns = {
        "id": [str(key.key_id) for key in keys],
        "name": [key.name for key in keys],
        "requests": [f"{row.requests if row else 0:,}" for row in rows],
        "spent $": usd_column([_counted_nusd(row) for row in rows]),
        "budgets": [budgets_text(ring, Scope.KEY, key.key_id) for key in keys],
        "team": [ring.teams.get(key.team_id, "") for key in keys],
        "tags": [", ".join(ring.tags[tag] for tag in key.tags) for key in keys],
        "limits": [_limits_text(key.limits) for key in keys],
        "declared": [claims_text(key.claims) for key in keys],
        "time $/h": ["" if key.usd_per_hour is None else f"{key.usd_per_hour:g}" for key in keys],
        "contents": ["stored" if key.stores_contents else "" for key in keys],
        "created (UTC)": [clock_text(key.created_ns, now_ns) for key in keys],
        "": ["revoked" if key.revoked else "" for key in keys],
    }
    for name in ("team", "tags", "limits", "declared", "time $/h", "contents"):
        if not any(columns[name]):
            del columns[name]
    left = ("name", "budgets", "team", "tags", "limits", "declared", "contents", "created (UTC)", "")
    optional = ("created (UTC)", "declared", "limits", "tags", "team", "time $/h", "contents")
    print_columns(columns, left=left, optional=optional)


def _limits_text(limits: KeyLimits) -> str:
    units = {"requests_per_min": "req/min", "tokens_per_min": "tok/min", "concurrent_requests": "at once"}
    values = msgspec.structs.asdict(limits)
    return ", ".join(f"{values[name]:,} {unit}" for name, unit in units.items() if values[name] is not None)


def _counted_nusd(row: ReportRow | None) -> int:
    """Return what counts against a budget: spent, or unknown and counted at the most."""
    return row.cost_nusd + row.unknown_nusd if row else 0


def _as_json(ring: KeyRing, key: Key, row: ReportRow | None) -> dict[str, object]:
    return {
        "id": key.key_id,
        "name": key.name,
        "revoked": key.revoked,
        "budget_usd": None if key.budget_nusd is None else usd_text(key.budget_nusd),
        "budgets": budgets_json(ring, Scope.KEY, key.key_id),
        "team": ring.teams.get(key.team_id),
        "tags": [ring.tags[tag] for tag in key.tags],
        "limits": msgspec.structs.asdict(key.limits),
        "claims": claims_json(key.claims),
        "usd_per_hour": key.usd_per_hour,
        "stores_contents": key.stores_contents,
        "requests": row.requests if row else 0,
        "spent_usd": usd_text(row.cost_nusd if row else 0),
        "unknown_at_most_usd": usd_text(row.unknown_nusd if row else 0),
        "reserved_usd": usd_text(row.reserved_nusd if row else 0),
    }
