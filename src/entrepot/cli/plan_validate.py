"""`entrepot plan validate`: what the planner's models are worth, on data that are in the repository."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli.options import AsJson
from entrepot.cli.plan_validate_plot import draw_errors
from entrepot.cli.plots import drawing_of
from entrepot.cli.progress import progress_bar
from entrepot.cli.tables import echo_wrapped, print_columns
from entrepot.cli.validate_loads import QUICK_CONFIGS, LoadEvidence, cost_by_load, ttft_is_queueing
from entrepot.cli.validate_rows import own_rows
from entrepot.cli.validate_speed import laws, speed
from entrepot.cli.validate_steps import (
    StepEvidence,
    context_factors,
    deepseek_day,
    tpot_calibrated,
    tpot_unseen,
)
from entrepot.cli.validation_points import Point, Rows, Value, number_text
from entrepot.domain.errors import ConfigError
from entrepot.tokenomics.cost_by_load_settings import SETTINGS

_POINTS = range(1, 9)
_DRAWN = frozenset({2, 3})
_WHOLE = frozenset({"rows", "distinct", "from_tokens", "to_tokens"})


def validate(
    only: Annotated[str | None, typer.Option(help="Points to try, such as 1,2,6; all of them.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few rows of each: a trial of the command, no evidence.")
    ] = False,
    rows: Annotated[
        Path | None,
        typer.Option(
            help="Measurements of your own instead, a CSV with the columns of silicon_measured.csv."
        ),
    ] = None,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw TPOT of points 2 and 3, predicted by measured: .png, .svg, .pdf."),
    ] = None,
) -> None:
    """Try the planner's predictions on measurements that it has not seen; print every error and its target.

    Takes a few minutes. A target that is missed is shown as such and is no failure of the command.
    """
    if rows is not None:
        if only or quick or plot:
            raise ConfigError(("--rows has one point of its own: leave --only, --quick and --plot out",))
        _show([own_rows(rows)], as_json=as_json)
        return
    numbers = _numbers(only)
    if plot is not None:
        drawing_of(plot)
        if not _DRAWN & set(numbers):
            raise ConfigError((f"--only {only!r} has nothing to draw: --plot is of the points 2 and 3",))
    steps = StepEvidence(is_quick=quick)
    with progress_bar("points and configurations", _steps(numbers, is_quick=quick)) as progress:
        found = _tried(numbers, steps, progress, is_quick=quick)
    if plot is not None:
        draw_errors(steps.crossed[0], plot)
        typer.echo(f"drawn in {plot}", err=True)
    _show(found, as_json=as_json)


def _show(found: Sequence[Point], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({name: value for point in found for name, value in point.flat().items()}))
        return
    for point in found:
        _print(point)
    missed = [f"{point.number}: {c.name}" for point in found for c in point.checks if c.is_reached is False]
    total = sum(check.is_reached is not None for point in found for check in point.checks)
    if total:
        typer.echo(f"{total - len(missed)} of {total} targets are reached")


def _tried(
    numbers: Sequence[int], steps: StepEvidence, progress: Callable[[int], None], *, is_quick: bool
) -> list[Point]:
    """Return the points; `progress` is told how many of them and of their configurations are done."""
    done = count(1)

    def advance() -> None:
        progress(next(done))

    loads = LoadEvidence(is_quick=is_quick, advance=advance)
    points: dict[int, Callable[[], Point]] = {
        1: deepseek_day,
        2: lambda: tpot_unseen(steps),
        3: lambda: tpot_calibrated(steps),
        4: lambda: cost_by_load(loads),
        5: lambda: ttft_is_queueing(loads),
        6: context_factors,
        7: lambda: speed(is_quick=is_quick),
        8: laws,
    }
    found = []
    for number in numbers:
        found.append(points[number]())
        advance()
    return found


def _steps(numbers: Sequence[int], *, is_quick: bool) -> int:
    """Return how often progress is told: by point, and by configuration where engines are fitted."""
    fits = 2 if 4 in numbers else 1 if 5 in numbers else 0
    return len(numbers) + fits * (QUICK_CONFIGS if is_quick else len(SETTINGS))


def _numbers(text: str | None) -> list[int]:
    """Return the points that were asked for. Raises: ConfigError for what is none."""
    if text is None:
        return list(_POINTS)
    parts = text.replace(",", " ").split()
    if not parts or any(not part.isdigit() or int(part) not in _POINTS for part in parts):
        raise ConfigError((f"--only {text!r}: expected points from 1 to 8, such as 1,2,6",))
    return sorted({int(part) for part in parts})


def _print(point: Point) -> None:
    typer.echo(f"{point.number}  {point.title}" if point.number else point.title)
    columns = {
        "figure": [check.name for check in point.checks],
        "value": [check.text for check in point.checks],
        "target": [check.target for check in point.checks],
        "reached": [check.reached_text for check in point.checks],
    }
    print_columns(columns, left=("figure",))
    for title, rows in point.tables.items():
        typer.echo()
        _print_table(title, rows)
    for note in point.notes:
        echo_wrapped(note)
    typer.echo()


def _print_table(title: str, rows: Rows) -> None:
    names = list(dict.fromkeys(name for cells in rows.values() for name in cells))
    columns = {title: list(rows)} | {
        name: [_cell(name, cells.get(name, "")) for cells in rows.values()] for name in names
    }
    texts = tuple(name for name in names if any(isinstance(cells.get(name), str) for cells in rows.values()))
    print_columns(columns, left=(title, *texts), optional=tuple(reversed(names)))


def _cell(name: str, value: Value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if name in _WHOLE else number_text(value)
