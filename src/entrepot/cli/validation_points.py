"""What `entrepot plan validate` shows of a point: figures beside their targets, and tables without targets.

A figure that misses its target stands in the same table as those that reach it: the planner's errors are a
result that its users plan with, not a test that has to pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from msgspec import Struct

Value = float | str
Rows = Mapping[str, Mapping[str, Value]]
"""Rows of a table by name, and their cells by column."""


class Check(Struct, frozen=True):
    """A figure and what it should be; without a target `is_reached` is None.

    Units: those of its name; `is_part` is a part of 1, printed in percent.
    """

    name: str
    value: Value
    target: str = ""
    is_reached: bool | None = None
    is_part: bool = False

    @property
    def text(self) -> str:
        """Return the value for people."""
        return self.value if isinstance(self.value, str) else number_text(self.value, is_part=self.is_part)

    @property
    def reached_text(self) -> str:
        """Return whether the target is reached: yes, no, or nothing without one."""
        return "" if self.is_reached is None else "yes" if self.is_reached else "no"


class Point(Struct, frozen=True):
    """One point of what the planner has to show."""

    number: int
    title: str
    checks: tuple[Check, ...]
    tables: Mapping[str, Rows] = {}
    notes: tuple[str, ...] = ()

    def flat(self) -> dict[str, object]:
        """Return everything by one name each, such as `2 / TPOT, median / target`."""
        found: dict[str, object] = {}
        for check in self.checks:
            name = f"{self.number} / {check.name}"
            found[name] = _plain(check.value)
            if check.target:
                found[f"{name} / target"] = check.target
                found[f"{name} / reached"] = bool(check.is_reached)
        for title, rows in self.tables.items():
            for row, cells in rows.items():
                found |= {f"{self.number} / {title} / {row} / {key}": _plain(cells[key]) for key in cells}
        found |= {f"{self.number} / note {at}": note for at, note in enumerate(self.notes, start=1)}
        return found


def at_most(name: str, value: float, limit: float) -> Check:
    """Return a part of 1 that must not be more than a limit."""
    return Check(name, value, f"≤ {limit * 100:g} %", value <= limit, is_part=True)


def at_least(name: str, value: float, limit: float) -> Check:
    """Return a part of 1 that must not be less than a limit."""
    return Check(name, value, f"≥ {limit * 100:g} %", value >= limit, is_part=True)


def between(name: str, value: float, low: float, high: float) -> Check:
    """Return a part of 1 that has to be in a range."""
    return Check(name, value, f"{low * 100:g} to {high * 100:g} %", low <= value <= high, is_part=True)


def near(name: str, value: float, wanted: float, part: float) -> Check:
    """Return a figure that has to be within a part of another one."""
    off = abs(value / wanted - 1)
    return Check(name, value, f"{wanted:,g} ± {part * 100:g} %", off <= part)


def part(name: str, value: float) -> Check:
    """Return a part of 1 without a target."""
    return Check(name, value, is_part=True)


def number_text(value: float, *, is_part: bool = False) -> str:
    """Return a number for people: percent, or with four digits."""
    if not isfinite(value):
        return "–"
    if is_part:
        return f"{value * 100:.1f} %"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def _plain(value: Value) -> Value | None:
    return value if isinstance(value, str) or isfinite(value) else None
