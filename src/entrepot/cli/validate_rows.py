"""`entrepot plan validate --rows FILE`: measurements of one's own beside what the planner says of them."""

from __future__ import annotations

from pathlib import Path

from entrepot.catalog.measured import silicon_rows
from entrepot.catalog.silicon import answerable
from entrepot.catalog.step_times import load_step_times
from entrepot.cli.validation_points import Check, Point, part
from entrepot.domain.errors import DataError
from entrepot.tokenomics.validation.rows import predicted, row_figures, row_tables


def own_rows(path: Path) -> Point:
    """Return the errors of the shipped coefficients on the rows of a file; nothing is fitted to them.

    Raises: DataError when the file is not of the form, or none of its rows can be predicted.
    """
    rows = silicon_rows(path)
    points, reasons = answerable(rows)
    if not points:
        told = "; ".join(f"{count} × {reason}" for reason, count in reasons.items())
        raise DataError(f"{path}: none of its {len(rows)} rows can be predicted: {told}")
    fitted, _ = answerable(silicon_rows())
    found = predicted(points, load_step_times(), fitted)
    figures = row_figures(found)
    checks = [
        Check("rows", float(len(rows))),
        part("answered", len(points) / len(rows)),
        Check("rows that the coefficients were fitted to", float(found.is_seen.sum())),
    ]
    for name, errors in figures.items():
        checks += [part(f"{name}: {key}", errors[key]) for key in ("median", "p90", "bias") if key in errors]
        if "covered" in errors:
            checks += [part(f"{name}: covered", errors["covered"]), Check(f"{name}: width", errors["width"])]
    return Point(
        0,
        f"{path.name}, predicted by the shipped coefficients",
        tuple(checks),
        {f"by {name}": rows for name, rows in row_tables(found).items() if rows},
        (
            "errors are parts of what was measured; bias is the median with its sign",
            *(f"not answered: {count} × {reason}" for reason, count in reasons.items()),
        ),
    )
