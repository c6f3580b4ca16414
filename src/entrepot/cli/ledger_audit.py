"""`entrepot ledger audit`: is the store what the journal says, and was everything closed?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from time import time_ns
from typing import Annotated

import typer

from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.posted import key_names
from entrepot.cli.tables import NOTHING, print_columns, usd_column
from entrepot.domain.ids import request_id_text
from entrepot.domain.money import usd_text
from entrepot.ledger.audit.audit import STALE_AFTER_S, Audit, OpenReservation
from entrepot.ledger.audit.audit import audit as make_audit
from entrepot.ledger.audit.budgets import BudgetAudit, PassedBy
from entrepot.ledger.audit.sums import Compared
from entrepot.ledger.store.poster import catch_up

_MOST_OPEN_SHOWN = 10
_HOUR_S = 3600
_NS_PER_S = 10**9


def audit(
    data_dir: DataDir,
    stale_after_s: Annotated[
        float, typer.Option(min=0, help="A reservation open for longer than this is a mistake.")
    ] = STALE_AFTER_S,
    as_json: AsJson = False,
) -> None:
    """Work the totals out again from the journal, and exit 1 when the store differs from it."""
    catch_up(data_dir)
    found = make_audit(data_dir, time_ns(), stale_after_s=stale_after_s)
    if as_json:
        typer.echo(json.dumps(_as_json(found), indent=2))
    else:
        _print(found, key_names(data_dir))
    raise typer.Exit(0 if found.ok else 1)


def _print(found: Audit, names: dict[int, str]) -> None:
    pairs = found.compared
    if pairs:
        columns = {
            "sums of": [_sums_of(pair, names) for pair in pairs],
            "attempts": [f"{pair.journal.attempts:,}" for pair in pairs],
            "tokens": [f"{pair.journal.prompt_and_output:,}" for pair in pairs],
            "$": usd_column([pair.journal.cost_nusd for pair in pairs]),
            "unknown ≤ $": usd_column([pair.journal.unknown_nusd for pair in pairs]),
            "store": ["agrees" if pair.journal == pair.store else "DIFFERS" for pair in pairs],
        }
        print_columns(columns, left=("sums of", "store"), optional=("tokens", "attempts"))
    _print_budgets(found.budgets)
    for reservation in found.open[:_MOST_OPEN_SHOWN]:
        typer.echo(_open_text(reservation))
    if len(found.open) > _MOST_OPEN_SHOWN:
        typer.echo(f"and {len(found.open) - _MOST_OPEN_SHOWN} more open reservations")
    for text in found.findings:
        typer.echo(f"differs: {text}")
    if found.finding_count > len(found.findings):
        typer.echo(f"and {found.finding_count - len(found.findings)} more differences")
    typer.echo(_verdict(found))


def _print_budgets(budgets: tuple[BudgetAudit, ...]) -> None:
    """Print every budget in the period that runs, then which was passed and by what."""
    if not budgets:
        return
    typer.echo("")
    sums = [budget.journal for budget in budgets]
    columns = {
        "budget of": [budget.limit.whose() for budget in budgets],
        "limit": [budget.limit.text() for budget in budgets],
        "from (UTC)": [_period_text(budget.limit.from_ns) for budget in budgets],
        "spent $": usd_column([of.spent_nusd for of in sums]),
        "unknown ≤ $": usd_column([of.unknown_nusd for of in sums]),
        "before $": usd_column([of.earlier_nusd for of in sums]),
        "reserved $": usd_column([of.reserved_nusd for of in sums]),
        "left $": usd_column([budget.left_nusd for budget in budgets]),
        "state": [_state(budget) for budget in budgets],
    }
    if not any(of.earlier_nusd for of in sums):
        del columns["before $"]
    print_columns(columns, left=("budget of", "limit", "from (UTC)", "state"), optional=("from (UTC)",))
    for budget in budgets:
        if text := budget.passed_text():
            typer.echo(f"{'PASSED' if budget.is_passed and budget.limit.hard else 'passed'}: {text}")


def _period_text(from_ns: int) -> str:
    return f"{datetime.fromtimestamp(from_ns // _NS_PER_S, UTC):%Y-%m-%d %H:%M}" if from_ns else NOTHING


def _state(budget: BudgetAudit) -> str:
    agrees = "agrees" if budget.agrees else "DIFFERS"
    return f"{agrees}, passed" if budget.is_passed else agrees


def _sums_of(pair: Compared, names: dict[int, str]) -> str:
    name = names.get(pair.number, "") if pair.kind == "key" else pair.name
    return f"{pair.kind} {pair.number} {name}".rstrip()


def _verdict(found: Audit) -> str:
    parts = [f"{found.entries:,} entries compared"]
    if found.starts_late:
        begin = datetime.fromtimestamp(found.from_hour * _HOUR_S, UTC)
        said = f"roll-ups and sums from {begin:%Y-%m-%d %H:%M} UTC on"
        parts.append(f"{said} (older files were archived or deleted)")
    if found.unposted:
        parts.append(f"{found.unposted:,} not posted yet")
    parts.append(f"{found.finding_count:,} differences" if found.finding_count else "journal and store agree")
    passed = sum(budget.is_passed and budget.limit.hard for budget in found.budgets)
    if passed:
        parts.append(f"{passed} hard budgets are passed" if passed > 1 else "1 hard budget is passed")
    if found.stale:
        parts.append(f"{len(found.stale)} reservations were forgotten")
    elif found.open:
        parts.append(f"{len(found.open)} reservations open")
    else:
        parts.append("nothing is reserved")
    return ("ok: " if found.ok else "FAILED: ") + ", ".join(parts)


def _open_text(reservation: OpenReservation) -> str:
    return (
        f"open for {reservation.age_s:,.0f} s: {request_id_text(reservation.request_id)}, "
        f"attempt {reservation.attempt}, key {reservation.key_id}, ${usd_text(reservation.amount_nusd)}"
    )


def _as_json(found: Audit) -> dict[str, object]:
    return {
        "ok": found.ok,
        "entries": found.entries,
        "unposted": found.unposted,
        "from_hour": found.from_hour,
        "differences": found.finding_count,
        "findings": list(found.findings),
        "starts_late": found.starts_late,
        "sums": [_pair_json(pair) for pair in found.compared],
        "budgets": [_budget_json(budget) for budget in found.budgets],
        "open": [_open_json(reservation) for reservation in found.open],
        "stale": [_open_json(reservation) for reservation in found.stale],
    }


def _pair_json(pair: Compared) -> dict[str, object]:
    kinds = ("uncached", "cached", "cache_write", "output", "reasoning", "cache_write_1h")
    tokens = dict(zip(kinds, pair.journal.tokens, strict=True))
    return {
        "kind": pair.kind,
        "id": pair.number,
        "name": pair.name,
        "attempts": pair.journal.attempts,
        "tokens": tokens,
        "cost_nusd": pair.journal.cost_nusd,
        "unknown_nusd": pair.journal.unknown_nusd,
        "agrees": pair.journal == pair.store,
    }


def _budget_json(budget: BudgetAudit) -> dict[str, object]:
    limit, sums = budget.limit, budget.journal
    return {
        "scope": limit.scope.value,
        "id": limit.number,
        "name": limit.name,
        "period": limit.period,
        "zone": limit.zone,
        "hard": limit.hard,
        "limit_nusd": limit.amount_nusd,
        "from_ns": limit.from_ns,
        "until_ns": limit.until_ns,
        "spent_nusd": sums.spent_nusd,
        "unknown_nusd": sums.unknown_nusd,
        "earlier_nusd": sums.earlier_nusd,
        "reserved_nusd": sums.reserved_nusd,
        "left_nusd": budget.left_nusd,
        "passed": budget.is_passed,
        "passed_by": None if budget.passed_by is None else _passed_json(budget.passed_by),
        "agrees": budget.agrees,
    }


def _passed_json(entry: PassedBy) -> dict[str, object]:
    return {
        "kind": entry.kind,
        "id": request_id_text(entry.request_id),
        "attempt": entry.attempt,
        "segment": entry.at.segment,
        "offset": entry.at.offset,
    }


def _open_json(reservation: OpenReservation) -> dict[str, object]:
    return {
        "id": request_id_text(reservation.request_id),
        "attempt": reservation.attempt,
        "key_id": reservation.key_id,
        "reserved_nusd": reservation.amount_nusd,
        "age_s": round(reservation.age_s, 3),
    }
