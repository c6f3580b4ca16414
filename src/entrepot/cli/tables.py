"""How commands show numbers and tables, so that all of them look alike.

Columns of plain text, and not a table library's cells: a number or an id that is folded into two lines is
none, so a terminal that is too narrow loses whole columns, the least telling first, and says so. What goes
to a file or a pipe has all columns, since a program may read it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from math import isnan
from textwrap import fill

import typer

from entrepot.domain.money import NUSD_PER_USD, usd_text

NOTHING = "–"
_PIPE_COLUMNS = 1000
_NS_PER_S = 1_000_000_000
_SIGNIFICANT = 4  # digits of the smallest amount in a column
_MOST_DECIMALS = 9  # a nano-dollar


def print_columns(
    columns: Mapping[str, Sequence[str]],
    *,
    left: Sequence[str] = (),
    optional: Sequence[str] = (),
    widths: Mapping[str, int] | None = None,
    gap: int = 2,
    header: bool = True,
    is_last_bold: bool = False,
) -> Sequence[str]:
    """Print columns to stdout, numbers to the right and those in `left` as texts; return what was left out.

    Columns in `optional` are left out, from the first on, until the rest fits. `widths` are least widths, by
    which lines that are printed one by one align.
    """
    size = {
        name: max((widths or {}).get(name, 0), len(name) if header else 0, *map(len, cells), 0)
        for name, cells in columns.items()
    }
    dropped: list[str] = []
    for name in optional:
        if sum(size.values()) + gap * (len(size) - 1) <= _columns_of_terminal():
            break
        if size.pop(name, None) is not None:
            dropped.append(name)
    lines = [tuple(size)] if header else []
    lines += zip(*(columns[name] for name in size), strict=True)
    for number, line in enumerate(lines):
        cells = (
            cell.ljust(width) if name in left else cell.rjust(width)
            for cell, (name, width) in zip(line, size.items(), strict=True)
        )
        is_bold = (header and number == 0) or (is_last_bold and number == len(lines) - 1)
        text = (" " * gap).join(cells).rstrip()
        typer.echo(typer.style(text, bold=True) if is_bold and sys.stdout.isatty() else text)
    if dropped:
        typer.echo(f"left out, as the terminal is narrow: {', '.join(dropped)}; --json has all", err=True)
    return dropped


def echo_wrapped(text: str, *, indent: int = 0, hanging: int = 0) -> None:
    """Print a sentence to stdout, folded between words where a terminal ends.

    All lines are indented by `indent` spaces, those after the first by `hanging` more.
    """
    first, others = " " * indent, " " * (indent + hanging)
    typer.echo(fill(text, _columns_of_terminal(), initial_indent=first, subsequent_indent=others))


def _columns_of_terminal() -> int:
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return shutil.get_terminal_size().columns if has_width else _PIPE_COLUMNS


def dollars(amount_nusd: int) -> str:
    """Return an exact amount with its sign: $0.25, or -$0.25. Units: nano-USD."""
    return f"-${usd_text(-amount_nusd)}" if amount_nusd < 0 else f"${usd_text(amount_nusd)}"


def usd_column(amounts_nusd: Sequence[int], *, exact: bool = True) -> list[str]:
    """Return amounts in dollars, all with as many decimals as the finest of them needs.

    Units: nano-USD. Unless `exact`, four digits of the smallest are enough, and the rest is rounded.
    """
    decimals = max((len(usd_text(amount).partition(".")[2]) for amount in amounts_nusd), default=2)
    least = min((abs(amount) for amount in amounts_nusd if amount), default=0)
    if least and not exact:
        digits_before_point = len(str(least)) - _MOST_DECIMALS
        decimals = min(decimals, max(2, _SIGNIFICANT - digits_before_point))
    step = Decimal(1).scaleb(-decimals)
    return [
        f"{(Decimal(amount) / NUSD_PER_USD).quantize(step, ROUND_HALF_EVEN):,f}" for amount in amounts_nusd
    ]


def count_text(number: int) -> str:
    """Return a count: exact, or in millions with three digits or four."""
    if abs(number) < 1_000_000:
        return f"{number:,}"
    return f"{number / 1e6:.2f}M" if abs(number) < 10_000_000 else f"{number / 1e6:,.1f}M"


def share_text(share: float) -> str:
    """Return a part of 1 in percent."""
    return f"{share:.1%}"


def seconds_text(seconds: float | None) -> str:
    """Return a duration with about three digits."""
    if seconds is None or isnan(seconds):
        return NOTHING
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}"


def speed_text(tpot_s: float | None) -> str:
    """Return tokens per second, of a duration per token."""
    return NOTHING if tpot_s is None or isnan(tpot_s) or tpot_s <= 0 else f"{1 / tpot_s:.0f}"


def clock_text(at_ns: int, now_ns: int) -> str:
    """Return an instant in UTC: the time of today, or the day and the time. Units: Unix nanoseconds."""
    at, now = (datetime.fromtimestamp(instant // _NS_PER_S, UTC) for instant in (at_ns, now_ns))
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{at:%m-%d %H:%M}"
