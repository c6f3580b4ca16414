"""Prints every flat JSON object in build/*.json as one table of file, key and value.

Benchmarks and long tests write what they measured there. This is the one place to read it all, and a
nested value is an error here so that no figure hides from the table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

BUILD = Path(__file__).resolve().parent.parent / "build"

Row = tuple[str, str, str]


def rows_of(path: Path) -> list[Row]:
    """Return one (file, key, value) row for each entry of the flat JSON object in `path`.

    Raises:
        ValueError: the file is not JSON, not an object, or an entry is itself an object or a list.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}: not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path.name}: expected one flat object, found {type(record).__name__}")
    nested = [key for key, value in record.items() if isinstance(value, dict | list)]
    if nested:
        raise ValueError(f"{path.name}: expected flat values, found nested ones in {', '.join(nested)}")
    return [(path.name, key, str(value)) for key, value in record.items()]


def main() -> int:
    """Print the table; return 1 if there is nothing to show or a file is not flat."""
    rows: list[Row] = []
    problems: list[str] = []
    for path in sorted(BUILD.glob("*.json")):
        try:
            rows += rows_of(path)
        except ValueError as error:
            problems.append(str(error))
    if rows:
        _print_table(rows)
    else:
        problems.append(f"no figures in {BUILD}: run 'make bench' or 'make test' first")
    for problem in problems:
        print(f"evidence: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _print_table(rows: list[Row]) -> None:
    table = Table("file", "key")
    table.add_column("value", justify="right")
    previous = ""
    for file, key, value in rows:
        if previous and file != previous:
            table.add_section()
        table.add_row(file, key, value)
        previous = file
    console = Console()
    # Piped output keeps whole names: a table cut to 80 columns cannot be read by the next tool.
    console.print(table, width=None if console.is_terminal else 160)


if __name__ == "__main__":
    sys.exit(main())
