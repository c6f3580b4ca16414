"""`entrepot ledger`: reports, hosts' invoices, the audit, the poster, and corrections from a host's log."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli.ledger_audit import audit
from entrepot.cli.ledger_correct import correct
from entrepot.cli.ledger_reconcile import reconcile
from entrepot.cli.ledger_report import report
from entrepot.cli.options import DataDir, DieWithParent
from entrepot.hosts.parent import die_with_parent
from entrepot.ledger.journal.archive import Retention
from entrepot.ledger.store.poster import calm_collector, run
from entrepot.ledger.store.retention import StoreRetention

app = typer.Typer(help="What was used, what it cost, and whether the books are right.", no_args_is_help=True)
app.command()(report)
app.command()(reconcile)
app.command()(audit)
app.command()(correct)


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
