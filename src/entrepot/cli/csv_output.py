"""CSV of what a command found: the same members as its JSON, one line for each row."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

STDOUT = "-"
CsvFile = Annotated[
    str | None, typer.Option("--csv", metavar="FILE", help="Write CSV to this file; - is stdout.")
]


def write_csv(rows: Sequence[Mapping[str, object]], target: str) -> None:
    """Write rows with a header to a file, or to stdout when it is called `-`."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    if target == STDOUT:
        typer.echo(text.getvalue(), nl=False)
        return
    try:
        Path(target).write_text(text.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise typer.BadParameter(f"{target} cannot be written: {error.strerror}") from error
    typer.echo(f"{len(rows):,} rows in {target}", err=True)
