"""`entrepot policy dry-run`: what rules would have made of the calls that the ledger holds."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from time import time_ns
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from entrepot.catalog.load import load_settings
from entrepot.catalog.load_rules import load_pack, pack_path
from entrepot.cli.asked_of_report import Since, Until, deleted_text, instant_ns
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.posted import posted_store
from entrepot.cli.tables import dollars, print_columns
from entrepot.domain.claims import Claims, claims_of
from entrepot.domain.endpoint import Endpoint
from entrepot.domain.errors import ConfigError
from entrepot.domain.money import usd_text
from entrepot.ledger.keys.keys import ring_of
from entrepot.ledger.reports.policy_dry_run import DryRun, Past, Sums, histories_between
from entrepot.ledger.reports.policy_dry_run import dry_run as judged
from entrepot.ledger.reports.usage_query import Window, deleted_attempts
from entrepot.ledger.store.store import Store
from entrepot.routing.policy import in_force_always


def dry_run(
    data_dir: DataDir,
    rules: Annotated[str, typer.Argument(help="A file of rules, or the name of a pack.", metavar="RULES")],
    since: Since = "30d",
    until: Until = None,
    config: Annotated[Path, typer.Option("--config", help="The configuration file.")] = Path("entrepot.toml"),
    as_json: AsJson = False,
) -> None:
    """Tell which calls rules would have moved or refused, and what that was expected to cost.

    All rules of the file count, drafts too, whenever they are valid. Only calls whose decision is kept are
    judged.
    """
    now_ns = time_ns()
    since_ns = None if since is None else instant_ns(since, now_ns)
    until_ns = now_ns if until is None else instant_ns(until, now_ns)
    try:
        read = load_pack(pack_path(rules, Path()), enforces_drafts=True)
    except FileNotFoundError:
        raise ConfigError(
            (f"{rules}: there is no such file or pack; `entrepot policy packs` lists them",)
        ) from None
    past = Past(_endpoints(config), _claims(data_dir), cache(partial(in_force_always, read)))
    with posted_store(data_dir) as store:
        found = _judged_with_progress(store, since_ns, until_ns, past)
        with store.engine.connect() as connection:
            deleted = deleted_attempts(connection, Window(since_ns, until_ns))
    if deleted:
        typer.echo(deleted_text(deleted, "this window"), err=True)
    if as_json:
        typer.echo(json.dumps(_as_json(found, deleted), indent=2))
    else:
        _print(found)


def _judged_with_progress(store: Store, since_ns: int | None, until_ns: int, past: Past) -> DryRun:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("judging", total=None)
        begin_ns = since_ns

        def told(at_ns: int) -> None:
            nonlocal begin_ns
            begin_ns = at_ns if begin_ns is None else begin_ns
            progress.update(task, total=max(1, until_ns - begin_ns), completed=at_ns - begin_ns)

        return judged(histories_between(store, since_ns, until_ns, told), past)


def _endpoints(config: Path) -> Mapping[str, Endpoint]:
    if not config.exists():
        typer.echo(f"warning: there is no {config}: endpoints are judged by what the ledger has", err=True)
        return {}
    settings = load_settings(config, os.environ, reads_secrets=False)
    return {entry.endpoint.name: entry.endpoint for entry in settings.endpoints}


def _claims(data_dir: Path) -> Mapping[int, Claims]:
    ring = ring_of(data_dir)
    return {
        key.key_id: claims_of(key.claims, frozenset(ring.tags[tag] for tag in ring.with_wider(key.tags)))
        for key in ring.by_id.values()
    }


def _print(found: DryRun) -> None:
    total = found.total
    typer.echo(
        f"{total.calls:,} calls judged: {total.calls - total.moved - total.refused:,} stay, "
        f"{total.moved:,} move, {total.refused:,} are refused"
    )
    if total.moved:
        typer.echo(
            f"moved calls were expected to cost ${total.expected_usd:.6f}, elsewhere "
            f"${total.expected_after_usd:.6f} ({total.difference_usd:+.6f})"
        )
    if total.moved or total.refused:
        typer.echo(f"moved and refused calls really cost {dollars(total.cost_nusd)}")
    for name, groups in (("rule", found.by_rule), ("model", found.by_model)):
        if groups:
            typer.echo()
            _print_groups(name, groups)
    for text in _notes(found):
        typer.echo(text, err=True)


def _print_groups(name: str, groups: Mapping[str, Sums]) -> None:
    rows = sorted(groups.items(), key=lambda item: (-item[1].moved - item[1].refused, item[0]))
    columns = {
        name: [group for group, _ in rows],
        "calls": [f"{sums.calls:,}" for _, sums in rows],
        "moved": [f"{sums.moved:,}" for _, sums in rows],
        "refused": [f"{sums.refused:,}" for _, sums in rows],
        "expected $": [f"{sums.expected_usd:.6f}" for _, sums in rows],
        "elsewhere $": [f"{sums.expected_after_usd:.6f}" for _, sums in rows],
        "really cost $": [usd_text(sums.cost_nusd) for _, sums in rows],
    }
    print_columns(columns, left=(name,), optional=("expected $", "really cost $"))


def _notes(found: DryRun) -> list[str]:
    notes = []
    if found.other_attempts:
        notes.append(f"{found.other_attempts:,} more calls stay, but an attempt of theirs could not")
    if found.without_decision:
        notes.append(f"{found.without_decision:,} calls have no kept decision and were not judged")
    if found.partly_known:
        names = ", ".join(sorted(found.partly_known))
        notes.append(f"not in the configuration, so known by countries and region only: {names}")
    if found.unknown_keys:
        notes.append(f"keys that are not known any more: {', '.join(map(str, sorted(found.unknown_keys)))}")
    notes.append("keys and endpoints are judged by what is declared today; what headers added is not kept")
    return notes


def _as_json(found: DryRun, deleted: int) -> dict[str, object]:
    return {
        "total": _sums_json(found.total),
        "rules": {name: _sums_json(sums) for name, sums in sorted(found.by_rule.items())},
        "models": {name: _sums_json(sums) for name, sums in sorted(found.by_model.items())},
        "other_attempts": found.other_attempts,
        "without_decision": found.without_decision,
        "deleted_attempts": deleted,
        "partly_known_endpoints": sorted(found.partly_known),
        "unknown_keys": sorted(found.unknown_keys),
    }


def _sums_json(sums: Sums) -> dict[str, object]:
    return {
        "calls": sums.calls,
        "moved": sums.moved,
        "refused": sums.refused,
        "expected_usd": sums.expected_usd,
        "expected_elsewhere_usd": sums.expected_after_usd,
        "difference_usd": sums.difference_usd,
        "cost_usd": usd_text(sums.cost_nusd),
    }
