"""`entrepot ledger`: reports, the audit, the poster, and corrections from a host's own log."""

from __future__ import annotations

import json
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli.ledger_audit import audit
from entrepot.cli.ledger_correct import correct
from entrepot.cli.options import AsJson, DataDir, DieWithParent
from entrepot.cli.posted import key_names, posted_store
from entrepot.cli.tables import count_text, print_columns, share_text, usd_column
from entrepot.domain.money import usd_text
from entrepot.hosts.parent import die_with_parent
from entrepot.ledger.archive import Retention
from entrepot.ledger.poster import calm_collector, run
from entrepot.ledger.report import Dimension, Report, ReportRow
from entrepot.ledger.report import as_json as report_json
from entrepot.ledger.report import report as make_report
from entrepot.ledger.store_retention import StoreRetention

_NS_PER_S = 1_000_000_000
_OPTIONAL = ("reasoning", "written", "attempts", "cached", "tokens %")

app = typer.Typer(help="What was used, what it cost, and whether the books are right.", no_args_is_help=True)
app.command()(audit)
app.command()(correct)


@app.command()
def report(
    data_dir: DataDir,
    by: Annotated[Dimension, typer.Option(help="What to add up by.")],
    since: Annotated[str | None, typer.Option(help="From this day or instant on, UTC: 2025-11-24.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this day or instant, UTC.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show tokens, dollars and shares. A request belongs to the day (UTC) in which it was reserved."""
    since_ns, until_ns = (None if text is None else _instant_ns(text) for text in (since, until))
    with posted_store(data_dir) as store:
        result = make_report(store, by, since_ns=since_ns, until_ns=until_ns)
    names = {str(number): name for number, name in key_names(data_dir).items()} if by is Dimension.KEY else {}
    if as_json:
        typer.echo(json.dumps(report_json(result, names), indent=2))
        return
    _print_report(result, names)


@app.command()
def post(
    data_dir: DataDir,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C or SIGTERM.")] = False,
    keep_days: Annotated[
        float, typer.Option(min=0, help="Let go of posted journal files that are older; 0: of none.")
    ] = 0.0,
    archive: Annotated[
        Path | None,
        typer.Option(help="Where they go, relative to the data directory; none: deleted."),
    ] = None,
    decisions_days: Annotated[
        float, typer.Option(min=0, help="Delete decisions from the store that are older; 0: none.")
    ] = 0.0,
    entries_days: Annotated[
        float, typer.Option(min=0, help="Delete all entries of closed requests that are older; 0: none.")
    ] = 0.0,
    contents_days: Annotated[
        float, typer.Option(min=0, help="Delete prompts and answers that are older; 0: none.")
    ] = 0.0,
    tasks_days: Annotated[
        float, typer.Option(min=0, help="Delete the names of tasks that were not used for so long; 0: none.")
    ] = 0.0,
    parent: DieWithParent = None,
) -> None:
    """Move the journal into the store; a gateway does this by itself with a process of its own."""
    if parent is not None:
        die_with_parent(parent)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # In a thread of its own: a handler may interrupt `stop.wait` while that holds the lock of `stop`.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    calm_collector()
    posted = run(
        data_dir,
        follow=follow,
        stop=stop,
        retention=Retention(keep_days, None if archive is None else data_dir / archive),
        store_retention=StoreRetention(decisions_days, entries_days, contents_days, tasks_days),
    )
    if not follow:
        typer.echo(f"{posted:,} entries posted", err=True)


def _instant_ns(text: str) -> int:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a day such as 2025-11-24 nor an instant") from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return int(instant.timestamp()) * _NS_PER_S


def _print_report(result: Report, names: dict[str, str]) -> None:
    if not result.rows:
        typer.echo("nothing was reserved in this period", err=True)
        return
    rows = [*result.rows, result.total]
    first = result.by.value
    shown = {
        first: [_group_text(row, names) for row in rows],
        "requests": [count_text(row.requests) for row in rows],
        "attempts": [count_text(row.attempts) for row in rows],
        "uncached": [count_text(row.uncached_tokens) for row in rows],
        "cached": [count_text(row.cached_tokens) for row in rows],
        "written": [count_text(row.cache_write_tokens) for row in rows],
        "output": [count_text(row.output_tokens) for row in rows],
        "reasoning": [count_text(row.reasoning_tokens) for row in rows],
        "tokens %": [share_text(row.token_share) for row in rows],
        "$": usd_column([row.cost_nusd for row in rows], exact=False),
        "$ %": [share_text(row.cost_share) for row in rows],
        "unknown ≤ $": usd_column([row.unknown_nusd for row in rows], exact=False),
    }
    for name in _columns_to_leave_out(result.total):
        del shown[name]
    left_out = print_columns(shown, left=(first,), optional=_OPTIONAL, is_last_bold=True)
    _print_notes(result.total, has_reasoning="reasoning" in shown and "reasoning" not in left_out)


def _columns_to_leave_out(total: ReportRow) -> list[str]:
    """Return the columns that say nothing here: attempts that equal the requests, tokens that nobody used."""
    empty = {
        "attempts": total.attempts == total.requests,
        "cached": not total.cached_tokens,
        "written": not total.cache_write_tokens,
        "reasoning": not total.reasoning_tokens,
    }
    return [name for name, is_empty in empty.items() if is_empty]


def _print_notes(total: ReportRow, *, has_reasoning: bool) -> None:
    notes = []
    if has_reasoning:
        notes.append("reasoning tokens are a part of the output")
    if total.unknown_nusd:
        notes.append("unknown: attempts of which nobody knows the cost, at most; not in $")
    if total.simulated_attempts:
        notes.append("simulated: what the host it stands for would have charged; no money was spent")
    if total.reserved_nusd:
        notes.append(f"${usd_text(total.reserved_nusd)} is reserved by attempts under way; not in $")
    for note in notes:
        typer.echo(note, err=True)


def _group_text(row: ReportRow, names: dict[str, str]) -> str:
    text = f"{row.group} {names[row.group]}" if row.group in names else row.group
    if not row.simulated_attempts:
        return text
    return f"{text} ({'' if row.simulated_attempts == row.attempts else 'partly '}simulated)"
