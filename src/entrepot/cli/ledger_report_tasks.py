"""`entrepot ledger report --by task` and `--tasks`: what a task costs, and one that succeeds."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from entrepot.cli.asked_of_report import Asked, deleted_text
from entrepot.cli.csv_output import write_csv
from entrepot.cli.posted import posted_store
from entrepot.cli.tables import NOTHING, count_text, print_columns, seconds_text, usd_column
from entrepot.ledger.reports.report import Dimension
from entrepot.ledger.reports.tasks import (
    Spent,
    Task,
    Tasks,
    TaskSummary,
    summaries,
    summary,
    summary_json,
    task_json,
    tasks,
)

_SHOWN = 50  # of the dearest; JSON and CSV have all


def show_tasks(data_dir: Path, what: Asked, output: tuple[bool, str | None]) -> None:
    """Print every task, the dearest first, and what they cost together."""
    found = _found(data_dir, what)
    total = summary(found)
    is_json, csv = output
    rows = [task_json(task) for task in found.tasks]
    if csv is not None:
        write_csv(rows, csv)
    if is_json:
        typer.echo(json.dumps({"by": "task", "rows": rows, "total": summary_json(total)}, indent=2))
    elif csv is None:
        _print_tasks(found.tasks, total)


def show_summaries(data_dir: Path, what: Asked, by: Dimension, output: tuple[bool, str | None]) -> None:
    """Print what tasks cost by model, endpoint or host."""
    found = _found(data_dir, what)
    try:
        groups = summaries(found, by)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    total = summary(found)
    is_json, csv = output
    rows = [summary_json(group) for group in groups]
    if csv is not None:
        write_csv(rows, csv)
    if is_json:
        typer.echo(json.dumps({"by": by.value, "rows": rows, "total": summary_json(total)}, indent=2))
    elif csv is None:
        _print_summaries(groups, total, by)


def _found(data_dir: Path, what: Asked) -> Tasks:
    with posted_store(data_dir) as store:
        found = tasks(store, since_ns=what.since_ns, until_ns=what.until_ns, only=what.only)
    if found.deleted_attempts:
        typer.echo(deleted_text(found.deleted_attempts, "this period"), err=True)
    return found


def _print_tasks(found: tuple[Task, ...], total: TaskSummary) -> None:
    if not found:
        typer.echo("no request named a task in this period: send x-entrepot-task", err=True)
        return
    shown = found[:_SHOWN]
    spent = [*(task.spent for task in shown), total.spent]
    print_columns(
        {
            "task": [*(task.text or task.task for task in shown), f"{total.tasks:,} tasks"],
            "key": [*(str(task.key_id) for task in shown), ""],
            "outcome": [*(task.outcome.value for task in shown), f"{total.succeeded:,} succeeded"],
            **_columns_of(spent),
            "elapsed s": [*(seconds_text(task.elapsed_s) for task in shown), NOTHING],
        },
        left=("task", "outcome"),
        optional=("elapsed s", "tokens"),
        is_last_bold=True,
    )
    if len(found) > len(shown):
        typer.echo(f"the {_SHOWN} dearest of {len(found):,}; --json and --csv have all", err=True)
    _print_notes(total)


def _print_summaries(groups: tuple[TaskSummary, ...], total: TaskSummary, by: Dimension) -> None:
    if not groups:
        typer.echo("no request named a task in this period: send x-entrepot-task", err=True)
        return
    rows = [*groups, total]
    print_columns(
        {
            by.value: [row.group for row in rows],
            "tasks": [count_text(row.tasks) for row in rows],
            "succeeded": [count_text(row.succeeded) for row in rows],
            "failed": [count_text(row.failed) for row in rows],
            "unreported": [count_text(row.unreported) for row in rows],
            **_columns_of([row.spent for row in rows]),
            "$/task": _dollars([row.cost_per_task_nusd for row in rows]),
            "$/success": _dollars([row.cost_per_success_nusd for row in rows]),
            "s/success": [seconds_text(row.seconds_per_success) for row in rows],
        },
        left=(by.value,),
        optional=("tokens", "attempts", "requests", "unreported"),
        is_last_bold=True,
    )
    if sum(group.tasks for group in groups) > total.tasks:
        typer.echo("a task of several groups counts in each, with what it spent there", err=True)
    _print_notes(total)


def _columns_of(spent: list[Spent]) -> dict[str, list[str]]:
    columns = {
        "requests": [count_text(part.requests) for part in spent],
        "attempts": [count_text(part.attempts) for part in spent],
        "tokens": [count_text(part.tokens) for part in spent],
        "seconds": [seconds_text(part.seconds) for part in spent],
        "$": usd_column([part.cost_nusd for part in spent], exact=False),
    }
    if any(part.unknown_nusd for part in spent):
        columns["unknown ≤ $"] = usd_column([part.unknown_nusd for part in spent], exact=False)
    return columns


def _dollars(amounts_nusd: list[int | None]) -> list[str]:
    texts = usd_column([amount or 0 for amount in amounts_nusd], exact=False)
    return [NOTHING if amount is None else text for text, amount in zip(texts, amounts_nusd, strict=True)]


def _print_notes(total: TaskSummary) -> None:
    (per_success,) = _dollars([total.cost_per_success_nusd])
    if total.succeeded:
        reported = total.succeeded + total.failed
        text = (
            f"${per_success} for each of {total.succeeded:,} that succeeded, of {reported:,} reported tasks"
        )
        typer.echo(text, err=True)
    if total.unreported:
        typer.echo(
            f"{total.unreported:,} tasks are unreported: POST /v1/feedback says how one ended", err=True
        )
    if total.spent.simulated_attempts:
        typer.echo("simulated attempts among them: no money was spent on those", err=True)
