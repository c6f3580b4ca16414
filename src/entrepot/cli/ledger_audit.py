"""`entrepot ledger audit`: is the store what the journal says, and was everything closed?"""

from __future__ import annotations

import json
from time import time_ns
from typing import Annotated

import typer

from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.posted import key_names
from entrepot.cli.tables import print_columns, usd_column
from entrepot.domain.ids import request_id_text
from entrepot.domain.money import usd_text
from entrepot.ledger.audit import STALE_AFTER_S, Audit, Compared, OpenReservation
from entrepot.ledger.audit import audit as make_audit
from entrepot.ledger.poster import catch_up

_MOST_OPEN_SHOWN = 10


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
            "store": [_agreement(pair, is_late=found.starts_late) for pair in pairs],
        }
        print_columns(columns, left=("sums of", "store"), optional=("tokens", "attempts"))
    for reservation in found.open[:_MOST_OPEN_SHOWN]:
        typer.echo(_open_text(reservation))
    if len(found.open) > _MOST_OPEN_SHOWN:
        typer.echo(f"and {len(found.open) - _MOST_OPEN_SHOWN} more open reservations")
    for text in found.findings:
        typer.echo(f"differs: {text}")
    if found.finding_count > len(found.findings):
        typer.echo(f"and {found.finding_count - len(found.findings)} more differences")
    typer.echo(_verdict(found))


def _sums_of(pair: Compared, names: dict[int, str]) -> str:
    name = names.get(pair.number, "") if pair.kind == "key" else pair.name
    return f"{pair.kind} {pair.number} {name}".rstrip()


def _agreement(pair: Compared, *, is_late: bool) -> str:
    if is_late:
        return "has more"
    return "agrees" if pair.journal == pair.store else "DIFFERS"


def _verdict(found: Audit) -> str:
    parts = [f"{found.entries:,} entries compared"]
    if found.unposted:
        parts.append(f"{found.unposted:,} not posted yet")
    parts.append(f"{found.finding_count:,} differences" if found.finding_count else "journal and store agree")
    if found.starts_late:
        parts.append("of what the journal still has (older files were archived or deleted)")
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
        "differences": found.finding_count,
        "findings": list(found.findings),
        "starts_late": found.starts_late,
        "sums": [_pair_json(pair, is_late=found.starts_late) for pair in found.compared],
        "open": [_open_json(reservation) for reservation in found.open],
        "stale": [_open_json(reservation) for reservation in found.stale],
    }


def _pair_json(pair: Compared, *, is_late: bool) -> dict[str, object]:
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
        "agrees": None if is_late else pair.journal == pair.store,
    }


def _open_json(reservation: OpenReservation) -> dict[str, object]:
    return {
        "id": request_id_text(reservation.request_id),
        "attempt": reservation.attempt,
        "key_id": reservation.key_id,
        "reserved_nusd": reservation.amount_nusd,
        "age_s": round(reservation.age_s, 3),
    }
