"""`entrepot ledger reconcile`: a host's invoice or usage export beside the ledger."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from entrepot.catalog.load import load_settings
from entrepot.cli.asked_of_report import deleted_text
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.posted import posted_store
from entrepot.cli.tables import NOTHING, echo_wrapped, print_columns
from entrepot.domain.money import NUSD_PER_USD
from entrepot.ledger.reports.booked import booked
from entrepot.ledger.reports.invoice import COLUMNS, Invoice, read_invoice
from entrepot.ledger.reports.reconcile import Reconciliation, day_of
from entrepot.ledger.reports.reconcile import reconcile as line_up
from entrepot.ledger.reports.reconcile_causes import Finding
from entrepot.ledger.reports.usage_query import DAY_NS, Window

_NS_PER_S = 1_000_000_000


def reconcile(
    invoice: Annotated[Path, typer.Argument(help="The host's invoice or usage export, as CSV.")],
    *,
    data_dir: DataDir,
    host: Annotated[str, typer.Option(help="The host that it is from.")],
    month: Annotated[
        str | None, typer.Option(help="Only this month, 2026-10; without it, the days on the invoice.")
    ] = None,
    zone: Annotated[str, typer.Option(help="The time zone of the host's days: Asia/Shanghai.")] = "UTC",
    column: Annotated[
        list[str] | None,
        typer.Option(help=f"What a column is called: cost=amount_usd. Of {', '.join(COLUMNS)}."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--map", help="What a model is called there: their-name=developer/name."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A configuration, whose upstream_model names are known then.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every difference between an invoice and the ledger, with its likeliest cause; exit 1 if any."""
    tz = _zone(zone)
    lines = _read(invoice, dict(_pairs(column, "--column cost=amount_usd")))
    called = _upstream_names(config, host) | dict(_pairs(name, "--map their-name=developer/name"))
    days = _days(lines, month, tz)
    by_attempt = any(line.request_id for line in lines.lines)
    # A day more on either side: where the host's days begin elsewhere, its first attempts are there.
    window = Window(_start_ns(days[0], tz) - DAY_NS, _start_ns(days[1], tz) + DAY_NS)
    with posted_store(data_dir) as store:
        at_host = booked(store, host, window, by_attempt=by_attempt)
    if not at_host.versions and not at_host.pieces:
        raise typer.BadParameter(
            f"the ledger knows no host {host!r}: `entrepot ledger report --by host` has all"
        )
    if at_host.deleted_attempts:
        typer.echo(deleted_text(at_host.deleted_attempts, "these days"), err=True)
    result = line_up(lines, at_host, days, tz, called)
    if as_json:
        typer.echo(json.dumps(_as_json(result, host, days, zone), indent=2))
    else:
        _print(result)
    raise typer.Exit(0 if result.agrees else 1)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise typer.BadParameter(f"{name!r} is no time zone, such as UTC or Asia/Shanghai") from None


def _pairs(texts: list[str] | None, example: str) -> Iterable[tuple[str, str]]:
    for text in texts or ():
        left, sign, right = text.rpartition("=")
        if not (left and sign and right):
            raise typer.BadParameter(f"{text!r}: expected a pair, as in {example}")
        yield left, right


def _read(path: Path, columns: dict[str, str]) -> Invoice:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return read_invoice(file, columns)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"{path}: {error}") from error


def _upstream_names(config: Path | None, host: str) -> dict[str, str]:
    if config is None:
        return {}
    settings = load_settings(config, os.environ, reads_secrets=False)
    ours = [entry for entry in settings.endpoints if entry.endpoint.host == host]
    return {entry.upstream_model: entry.endpoint.model for entry in ours}


def _days(invoice: Invoice, month: str | None, tz: ZoneInfo) -> tuple[date, date]:
    """Return the first day and the one after the last."""
    if month is not None:
        try:
            first = date.fromisoformat(f"{month}-01")
        except ValueError:
            raise typer.BadParameter(f"{month!r} is no month, such as 2026-10") from None
        return first, (first + timedelta(days=31)).replace(day=1)
    found = [line.day if line.at_ns is None else day_of(line.at_ns, tz) for line in invoice.lines]
    days = [day for day in found if day is not None]
    if not days:
        raise typer.BadParameter("no line of the invoice has a day: give --month 2026-10")
    return min(days), max(days) + timedelta(days=1)


def _start_ns(day: date, tz: ZoneInfo) -> int:
    return int(datetime.combine(day, time(), tz).timestamp()) * _NS_PER_S


def _usd(amount_nusd: Decimal | int) -> str:
    """Return an exact amount in dollars with at least two decimals."""
    text = f"{Decimal(amount_nusd) / NUSD_PER_USD:f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def _signed(amount_nusd: Decimal) -> str:
    return _usd(amount_nusd) if amount_nusd < 0 else f"+{_usd(amount_nusd)}"


def _signed_dollars(amount_nusd: Decimal) -> str:
    sign, digits = ("-", -amount_nusd) if amount_nusd < 0 else ("+", amount_nusd)
    return f"{sign}${_usd(digits)}"


def _aligned(amounts: list[str | None]) -> list[str]:
    """Return the cells of a column of amounts, all with as many decimals as the finest."""
    places = max((len(text.partition(".")[2]) for text in amounts if text is not None), default=2)
    return [
        NOTHING if text is None else text + "0" * (places - len(text.partition(".")[2])) for text in amounts
    ]


def _print(result: Reconciliation) -> None:
    if result.findings:
        booked_of = {(one.day, one.model, one.attempt): one for one in result.compared}
        sides = [booked_of.get((one.day, one.model, one.attempt)) for one in result.findings]  # type: ignore[arg-type]
        columns = {
            "day": [NOTHING if one.day is None else one.day.isoformat() for one in result.findings],
            "model": [one.model or NOTHING for one in result.findings],
            "ledger $": _aligned([None if side is None else _usd(side.booked_nusd) for side in sides]),
            "invoice $": _aligned([None if side is None else _usd(side.billed_nusd) for side in sides]),
            "difference $": _aligned([_signed(one.nusd) for one in result.findings]),
            "likeliest cause": [one.cause.value for one in result.findings],
        }
        if any(one.attempt for one in result.findings):
            columns["attempt"] = [one.attempt for one in result.findings]
        print_columns(columns, left=("day", "model", "likeliest cause", "attempt"), optional=("ledger $",))
        typer.echo()
        for one in result.findings:
            echo_wrapped(_sentence(one), hanging=2)
        typer.echo()
    typer.echo(
        f"ledger ${_usd(result.booked_nusd)}, invoice ${_usd(result.billed_nusd)}, "
        f"difference {_signed_dollars(result.billed_nusd - result.booked_nusd)}"
    )
    if result.rounding_nusd:
        rest = f"{_signed_dollars(result.rounding_nusd)} of it is rounding to the invoice's own decimals"
        typer.echo(rest, err=True)
    if result.open_attempts:
        typer.echo(f"{result.open_attempts:,} attempts are still under way here", err=True)
    if result.agrees:
        typer.echo("the invoice and the ledger agree", err=True)


def _sentence(one: Finding) -> str:
    where = " ".join(part for part in ("" if one.day is None else one.day.isoformat(), one.model) if part)
    return f"{where or 'on the whole'}: {_signed_dollars(one.nusd)}: {one.cause.value}: {one.sentence}"


def _as_json(result: Reconciliation, host: str, days: tuple[date, date], zone: str) -> dict[str, object]:
    return {
        "host": host,
        "since": days[0].isoformat(),
        "until": days[1].isoformat(),
        "zone": zone,
        "agrees": result.agrees,
        **_amounts("booked", Decimal(result.booked_nusd)),
        **_amounts("billed", result.billed_nusd),
        **_amounts("difference", result.billed_nusd - result.booked_nusd),
        **_amounts("rounding", result.rounding_nusd),
        "open_attempts": result.open_attempts,
        "host_days_begin_earlier_h": result.offset_h,
        "findings": [_finding_json(one) for one in result.findings],
        "compared": [
            {
                "day": one.day.isoformat(),
                "model": one.model,
                **({"attempt": one.attempt} if one.attempt else {}),
                **_amounts("booked", Decimal(one.booked_nusd)),
                **_amounts("billed", one.billed_nusd),
                **_amounts("difference", one.billed_nusd - one.booked_nusd),
                "causes": [finding.cause.value for finding in one.findings],
            }
            for one in result.compared
        ],
    }


def _finding_json(one: Finding) -> dict[str, object]:
    return {
        "day": None if one.day is None else one.day.isoformat(),
        "model": one.model,
        "attempt": one.attempt or None,
        "line": one.line,
        "cause": one.cause.value,
        **_amounts("difference", one.nusd),
        "sentence": one.sentence,
    }


def _amounts(name: str, amount_nusd: Decimal) -> dict[str, object]:
    """Return an amount as exact dollars, and in nano-dollars: a whole number, or exact text if it is none."""
    is_whole = amount_nusd == amount_nusd.to_integral_value()
    nusd = int(amount_nusd) if is_whole else f"{amount_nusd:f}"
    return {f"{name}_usd": _usd(amount_nusd), f"{name}_nusd": nusd}
