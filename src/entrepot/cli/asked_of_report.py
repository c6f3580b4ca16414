"""What a report is asked for: its window and its limits, from what a user types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from entrepot.cli.posted import key_names
from entrepot.ledger.keys.keys import list_tags, list_teams
from entrepot.ledger.reports.report import Dimension, GroupNames, Only

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_US = 1_000
_NS_PER_S = 1_000_000_000
_BACK_S = {"d": 86_400, "h": 3_600, "m": 60}
_BACK = re.compile(r"(\d+)([dhm])")

Since = Annotated[
    str | None,
    typer.Option(help="From this day or instant (UTC) on, 2025-11-24, or so long ago: 30d, 24h."),
]
Until = Annotated[str | None, typer.Option(help="Before this day or instant (UTC), or so long ago.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="Only this model; may be repeated.")]
Hosts = Annotated[list[str] | None, typer.Option("--host", help="Only this host; may be repeated.")]
Keys = Annotated[list[str] | None, typer.Option("--key", help="Only this key, by name or number.")]
Teams = Annotated[list[str] | None, typer.Option("--team", help="Only this team, by name or number.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Only this tag, by name or number.")]


class Asked(Struct, frozen=True):
    """The window and the limits of a report, and what its numbers are called.

    Units: Unix nanoseconds; None is without a limit.
    """

    since_ns: int | None
    until_ns: int | None
    only: Only
    called: GroupNames


class Limits(Struct, frozen=True):
    """The options that confine a report, as they were typed."""

    models: list[str] | None
    hosts: list[str] | None
    keys: list[str] | None
    teams: list[str] | None
    tags: list[str] | None


def asked(data_dir: Path, window: tuple[str | None, str | None], limits: Limits, now_ns: int) -> Asked:
    """Return what the options ask for.

    Units: `now_ns` Unix nanoseconds.
    Raises: typer.BadParameter for what is no instant, and for a key, team or tag that there is not.
    """
    since_ns, until_ns = (None if text is None else instant_ns(text, now_ns) for text in window)
    called = group_names(data_dir)
    only = Only(
        frozenset(limits.models or ()),
        frozenset(limits.hosts or ()),
        _numbers("key", limits.keys or (), called[Dimension.KEY]),
        _numbers("team", limits.teams or (), called[Dimension.TEAM]),
        _numbers("tag", limits.tags or (), called[Dimension.TAG]),
    )
    return Asked(since_ns, until_ns, only, called)


def group_names(data_dir: Path) -> dict[Dimension, dict[str, str]]:
    """Return what keys, teams and tags are called, by their numbers."""
    called = {
        Dimension.KEY: key_names(data_dir),
        Dimension.TEAM: list_teams(data_dir),
        Dimension.TAG: list_tags(data_dir),
    }
    return {
        dimension: {str(number): name for number, name in names.items()}
        for dimension, names in called.items()
    }


def _numbers(kind: str, wanted: Iterable[str], called: Mapping[str, str]) -> frozenset[int]:
    found: set[int] = set()
    for text in wanted:
        numbers = {int(number) for number, name in called.items() if name == text}
        if not numbers and text.isdecimal():
            numbers = {int(text)}
        if not numbers:
            there = ", ".join(sorted(called.values())) or "none"
            raise typer.BadParameter(f"there is no {kind} {text!r}; there are: {there}")
        found |= numbers
    return frozenset(found)


def instant_ns(text: str, now_ns: int) -> int:
    """Return the instant that `text` names: a day, an instant (UTC unless it says), or so long ago.

    Units: Unix nanoseconds. Raises: typer.BadParameter when it is none.
    """
    back = _BACK.fullmatch(text)
    if back is not None:
        return now_ns - int(back[1]) * _BACK_S[back[2]] * _NS_PER_S
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a day such as 2025-11-24, nor an instant, nor so long ago: 30d, 24h, 90m"
        ) from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return (instant - _EPOCH) // timedelta(microseconds=1) * _NS_PER_US


def deleted_text(attempts: int, where: str) -> str:
    """Return the warning that entries are gone which the question would need."""
    return (
        f"warning: retention deleted the entries of {attempts:,} attempts in {where}; they are missing here"
    )
