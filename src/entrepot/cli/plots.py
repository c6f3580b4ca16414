"""What commands draw: pictures of tables that they also print, for those who would rather look than read.

Made by matplotlib, which is an extra: it is imported when something is drawn, and a missing one is said
with its install line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log10, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entrepot.domain.errors import ConfigError
from entrepot.ledger.reports.shares import Shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INSTALL_PLOT = "pip install 'entrepot[plot]'"
_SUFFIXES = (".png", ".svg", ".pdf")
_MOST_GROUPS = 7  # more colours than that nobody tells apart; the rest is drawn as one
_MOST_LABELLED = 8  # periods whose shares still have room for their numbers
_LEAST_LABELLED = 0.05  # a share too thin for a number
_MOST_TICKS = 12
# Okabe and Ito's colours, told apart by people who see few; grey is for the rest.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_DARK = ("#0072B2", "#D55E00", "#009E73")  # white numbers read better on these
GREY = "#999999"
_REST = "others"

Series = list[tuple[str, str, list[int]]]  # a group, its colour, its tokens by period


def draw_shares(result: Shares, models: Sequence[str], path: Path) -> None:
    """Draw the shares as stacked bars beside the tokens of each group, into a file by its suffix.

    Raises: ConfigError when matplotlib is missing, or the file cannot be of that kind or written.
    """
    figure_class, formatter = drawing_of(path)
    series = _series(result)
    labels = [period.period for period in result.periods]
    figure = figure_class(figsize=(11, 4.8), layout="constrained")
    title = f"Where the tokens of {' and '.join(models) or 'all models'} are served, by {result.by.value}"
    if result.simulated_attempts:
        is_all = result.simulated_attempts == result.attempts
        title += f" ({'' if is_all else 'partly '}simulated)"
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    _draw_parts(left, series, labels)
    _draw_tokens(right, series, labels)
    for axes in (left, right):
        _label_periods(axes, labels)
    left.yaxis.set_major_formatter(formatter(lambda share, _: f"{share:.0%}"))
    right.yaxis.set_major_formatter(formatter(lambda tokens, _: _short(tokens)))
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=len(series), frameon=False
    )
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a picture into a file.

    Raises: ConfigError when it cannot be written.
    """
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ConfigError((f"{path} cannot be written: {error.strerror}",)) from error


def drawing_of(path: Path) -> tuple[Any, Any]:
    """Return the figure and the formatter; not pyplot, which would look for a screen.

    Raises: ConfigError when matplotlib is missing, or `path` does not name a kind of picture.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError((f"{path} would be drawn as {path.suffix or 'nothing'}: expected {_SUFFIXES}",))
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter
    except ImportError as error:
        raise ConfigError((f"plots need matplotlib ({error}): {INSTALL_PLOT}",)) from None
    return Figure, FuncFormatter


def _series(result: Shares) -> Series:
    """Return the groups with the most tokens, the first at the bottom, and the rest as one."""
    columns = [[period.parts[at].tokens for period in result.periods] for at in range(len(result.groups))]
    named = list(zip(result.groups, COLOURS, columns, strict=False))[:_MOST_GROUPS]
    rest = columns[_MOST_GROUPS:]
    if rest:
        named.append((_REST, GREY, [sum(amounts) for amounts in zip(*rest, strict=True)]))
    return named


def _draw_parts(axes: Axes, series: Series, labels: list[str]) -> None:
    totals = [sum(amounts) for amounts in zip(*(tokens for *_, tokens in series), strict=True)]
    bottoms = [0.0] * len(labels)
    for group, colour, tokens in series:
        parts = [amount / total if total else 0.0 for amount, total in zip(tokens, totals, strict=True)]
        axes.bar(range(len(labels)), parts, 0.8, bottoms, label=group, color=colour, edgecolor="white")
        for at, (part, bottom) in enumerate(zip(parts, bottoms, strict=True)):
            if part >= _LEAST_LABELLED and len(labels) <= _MOST_LABELLED:
                ink = "white" if colour in _DARK else "black"
                axes.text(at, bottom + part / 2, f"{part:.0%}", ha="center", va="center", color=ink)
        bottoms = [bottom + part for bottom, part in zip(bottoms, parts, strict=True)]
    for at, total in enumerate(totals):
        if not total and len(labels) <= _MOST_LABELLED:
            axes.text(at, 0.5, "no tokens", ha="center", va="center", color=GREY, rotation=90)
    axes.set_ylim(0, 1)
    axes.set_title("share of tokens", fontsize="medium")
    open_frame(axes)


def _draw_tokens(axes: Axes, series: Series, labels: list[str]) -> None:
    used = [at for at in range(len(labels)) if any(tokens[at] for *_, tokens in series)]
    for _, colour, tokens in series:
        # Dots across periods in which nothing was used at all: nobody knows what would have been.
        axes.plot(used, [tokens[at] for at in used], color=colour, linestyle=":", linewidth=1)
        known = [amount if at in used else nan for at, amount in enumerate(tokens)]
        axes.plot(range(len(labels)), known, color=colour, marker="o", markersize=4)
    axes.set_ylim(bottom=0)
    axes.set_xlim(-0.4, len(labels) - 0.6)
    axes.set_title("tokens", fontsize="medium")
    axes.grid(axis="y", alpha=0.3)
    open_frame(axes)


def open_frame(axes: Axes) -> None:
    """Draw no line above and to the right of the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def log_numbers(axis: Axis, least: float, most: float, text: Callable[[float], str] = "{:g}".format) -> None:
    """Label a logarithmic axis between two values with plain numbers: a few, whatever its length."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = log10(most / least)
    within = (1.0,) if decades > 3.5 else (1.0, 3.0) if decades > 2.2 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=within, numticks=_MOST_TICKS))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_formatter(NullFormatter())


def plain(text: str) -> str:
    """Return a text in which two amounts of dollars are not taken for a formula between them."""
    return text.replace("$", r"\$")


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places of a panel's height, 0 to 1, moved apart in their order: neighbours have that gap."""
    groups: list[tuple[float, list[int]]] = []
    for at in sorted(range(len(places)), key=places.__getitem__):
        middle, members = places[at], [at]
        while True:
            half = gap * (len(members) - 1) / 2
            middle = max(half, min(1 - half, middle))
            if not groups or middle - groups[-1][0] >= gap * (len(members) + len(groups[-1][1])) / 2:
                break
            before, others = groups.pop()
            middle = (before * len(others) + middle * len(members)) / (len(others) + len(members))
            members = others + members
        groups.append((middle, members))
    found = [0.0] * len(places)
    for middle, members in groups:
        for number, at in enumerate(members):
            found[at] = middle + (number - (len(members) - 1) / 2) * gap
    return found


def _label_periods(axes: Axes, labels: list[str]) -> None:
    step = -(-len(labels) // _MOST_TICKS)
    places = range(0, len(labels), step)
    is_long = len(labels) > 4 and len(labels[0]) > len("2025-02")
    axes.set_xticks(
        places,
        [labels[at] for at in places],
        rotation=45 if is_long else 0,
        ha="right" if is_long else "center",
    )


def _short(tokens: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(tokens) >= size:
            return f"{tokens / size:g}{letter}"
    return f"{tokens:g}"
