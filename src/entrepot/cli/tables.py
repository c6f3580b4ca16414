"""How commands show numbers and tables, so that all of them look alike.

A terminal decides the width; what goes to a file or a pipe is not folded, since a program may read it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from math import isnan
from textwrap import fill

import typer
from rich.console import Console
from rich.table import Table

from entrepot.domain.money import usd_text

_PIPE_COLUMNS = 250
_NS_PER_S = 1_000_000_000
NOTHING = "–"


def print_table(table: Table) -> None:
    """Print a table to stdout, as wide as the terminal, or unfolded where there is none."""
    _console().print(table)


def plain_table(
    *columns: str, left: Sequence[str] = (), fold: Sequence[str] | None = None, gap: int = 2
) -> Table:
    """Return an empty table with these columns, numbers to the right; those in `left` are texts.

    Where the terminal is too narrow only the texts in `fold` (all, when None) take more than one line: a
    number or an id in two pieces is none.
    """
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold", show_edge=False)
    for name in columns:
        table.add_column(
            name,
            justify="left" if name in left else "right",
            no_wrap=name not in (left if fold is None else fold),
            overflow="fold",
        )
    return table


def echo_wrapped(text: str, *, indent: str = "") -> None:
    """Print a sentence to stdout, folded between words where a terminal ends."""
    console = _console()
    typer.echo(fill(text, console.width, initial_indent=indent, subsequent_indent=indent))


def _console() -> Console:
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if has_width else _PIPE_COLUMNS, highlight=False)


def dollars(amount_nusd: int) -> str:
    """Return an exact amount with its sign: $0.25, or -$0.25. Units: nano-USD."""
    return f"-${usd_text(-amount_nusd)}" if amount_nusd < 0 else f"${usd_text(amount_nusd)}"


def usd_column(amounts_nusd: Sequence[int]) -> list[str]:
    """Return amounts in dollars, exact, with as many decimals as the finest of them needs.

    Units: nano-USD.
    """
    texts = [usd_text(amount) for amount in amounts_nusd]
    decimals = max((len(text.partition(".")[2]) for text in texts), default=2)
    return [text + "0" * (decimals - len(text.partition(".")[2])) for text in texts]


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
