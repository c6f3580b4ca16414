"""`entrepot ledger report`: what was used and what it cost, by any dimension, over any window."""

from __future__ import annotations

import json
from pathlib import Path
from time import time_ns
from typing import Annotated

import typer

from entrepot.cli.asked_of_report import (
    Asked,
    Hosts,
    Keys,
    Limits,
    Models,
    Since,
    Tags,
    Teams,
    Until,
    asked,
    deleted_text,
)
from entrepot.cli.csv_output import STDOUT, CsvFile, write_csv
from entrepot.cli.ledger_report_shares import show_shares
from entrepot.cli.ledger_report_tasks import show_summaries, show_tasks
from entrepot.cli.options import AsJson, DataDir
from entrepot.cli.posted import posted_store
from entrepot.cli.tables import count_text, print_columns, share_text, usd_column
from entrepot.ledger.reports.report import (
    MOST_DIMENSIONS,
    Dimension,
    GroupNames,
    Report,
    ReportRow,
    as_json,
    row_json,
)
from entrepot.ledger.reports.report import report as make_report
from entrepot.ledger.reports.shares import Every

_TASK = "task"
_OPTIONAL = ("reasoning", "written", "attempts", "cached", "tokens %")


def report(
    *,
    data_dir: DataDir,
    by: Annotated[
        str | None,
        typer.Option(
            help=f"What to add up by: {', '.join(Dimension)} or {_TASK}; up to three, as in host,day."
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    model: Models = None,
    host: Hosts = None,
    key: Keys = None,
    team: Teams = None,
    tag: Tags = None,
    share: Annotated[
        bool, typer.Option("--share", help="Each host's (country's, region's) part of the tokens over time.")
    ] = False,
    every: Annotated[Every, typer.Option(help="How long the periods of --share are.")] = Every.MONTH,
    plot: Annotated[
        Path | None, typer.Option(help="Draw --share into this file: .png, .svg or .pdf.")
    ] = None,
    tasks: Annotated[
        bool,
        typer.Option("--tasks", help="What tasks cost, and successful ones, by model, endpoint or host."),
    ] = False,
    as_json: AsJson = False,
    csv: CsvFile = None,
) -> None:
    """Show tokens, dollars and shares. A request belongs to the period (UTC) in which it was reserved."""
    if as_json and csv == STDOUT:
        raise typer.BadParameter("stdout can hold JSON or CSV: give --csv a file")
    if plot is not None and not share:
        raise typer.BadParameter("--plot draws shares: add --share")
    limits = Limits(model, host, key, team, tag)
    what = asked(data_dir, (since, until), limits, time_ns())
    if share:
        show_shares(data_dir, what, _one(by or "host"), every, (as_json, csv, plot))
    elif tasks:
        show_summaries(data_dir, what, _one(by or "model"), (as_json, csv))
    elif by == _TASK:
        show_tasks(data_dir, what, (as_json, csv))
    else:
        _show_report(data_dir, what, _dimensions(by or "host"), (as_json, csv))


def _dimensions(text: str) -> tuple[Dimension, ...]:
    names = text.split(",")
    unknown = [name for name in names if name not in list(Dimension)]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(Dimension)}, {_TASK}")
    if len(names) > MOST_DIMENSIONS or len(set(names)) < len(names):
        raise typer.BadParameter(f"{text!r}: expected up to {MOST_DIMENSIONS} different ones")
    return tuple(map(Dimension, names))


def _one(text: str) -> Dimension:
    first, *others = _dimensions(text)
    if others:
        raise typer.BadParameter(f"{text!r}: expected one, such as {first.value}")
    return first


def _show_report(
    data_dir: Path, what: Asked, by: tuple[Dimension, ...], output: tuple[bool, str | None]
) -> None:
    is_json, csv = output
    with posted_store(data_dir) as store:
        result = make_report(store, *by, since_ns=what.since_ns, until_ns=what.until_ns, only=what.only)
    if csv is not None:
        write_csv([row_json(row, by, what.called) for row in result.rows], csv)
    if is_json:
        typer.echo(json.dumps(as_json(result, what.called), indent=2))
    elif csv is None:
        _print_report(result, what.called)


def _print_report(result: Report, called: GroupNames) -> None:
    if not result.rows:
        typer.echo("nothing was reserved in this period", err=True)
        return
    rows = [*result.rows, result.total]
    shown = {
        **_group_columns(result, called),
        "requests": [count_text(row.requests) for row in rows],
        "attempts": [count_text(row.attempts) for row in rows],
        "uncached": [count_text(row.uncached_tokens) for row in rows],
        "cached": [count_text(row.cached_tokens) for row in rows],
        "written": [count_text(row.cache_write_tokens + row.cache_write_1h_tokens) for row in rows],
        "output": [count_text(row.output_tokens) for row in rows],
        "reasoning": [count_text(row.reasoning_tokens) for row in rows],
        "tokens %": [share_text(row.token_share) for row in rows],
        "$": usd_column([row.cost_nusd for row in rows], exact=False),
        "$ %": [share_text(row.cost_share) for row in rows],
        "unknown ≤ $": usd_column([row.unknown_nusd for row in rows], exact=False),
        "reserved $": usd_column([row.reserved_nusd for row in rows], exact=False),
    }
    for name in _columns_to_leave_out(result.total):
        del shown[name]
    left = tuple(dimension.value for dimension in result.by)
    left_out = print_columns(shown, left=left, optional=_OPTIONAL, is_last_bold=True)
    _print_notes(result, has_reasoning="reasoning" in shown and "reasoning" not in left_out)


def _group_columns(result: Report, called: GroupNames) -> dict[str, list[str]]:
    """Return a column for each dimension; the last says which rows are simulated."""
    columns: dict[str, list[str]] = {}
    for place, dimension in enumerate(result.by):
        names = called.get(dimension, {})
        texts = [row.groups[place] for row in result.rows]
        columns[dimension.value] = [f"{text} {names[text]}" if text in names else text for text in texts]
    last = columns[result.by[-1].value]
    last[:] = [text + _simulated(row) for text, row in zip(last, result.rows, strict=True)]
    for place, cells in enumerate(columns.values()):
        cells.append(
            "" if place else result.total.group + ("" if len(columns) > 1 else _simulated(result.total))
        )
    return columns


def _simulated(row: ReportRow) -> str:
    if not row.simulated_attempts:
        return ""
    return f" ({'' if row.simulated_attempts == row.attempts else 'partly '}simulated)"


def _columns_to_leave_out(total: ReportRow) -> list[str]:
    """Return the columns that say nothing here: attempts that equal the requests, tokens that nobody used."""
    empty = {
        "attempts": total.attempts == total.requests,
        "cached": not total.cached_tokens,
        "written": not total.cache_write_tokens + total.cache_write_1h_tokens,
        "reasoning": not total.reasoning_tokens,
        "reserved $": not total.reserved_nusd,
    }
    return [name for name, is_empty in empty.items() if is_empty]


def _print_notes(result: Report, *, has_reasoning: bool) -> None:
    total, notes = result.total, []
    if has_reasoning:
        notes.append("reasoning tokens are a part of the output")
    if result.overlaps:
        notes.append("groups overlap: a request counts in each of its groups, and once in the total")
    if result.deleted_attempts:
        notes.append(deleted_text(result.deleted_attempts, "the hours at its ends"))
    if total.unknown_nusd:
        notes.append("unknown: attempts of which nobody knows the cost, at most; not in $")
    if total.simulated_attempts:
        notes.append("simulated: what the host it stands for would have charged; no money was spent")
    if total.reserved_nusd:
        notes.append("reserved: for attempts under way; not in $")
    for note in notes:
        typer.echo(note, err=True)
