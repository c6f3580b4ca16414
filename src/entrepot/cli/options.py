"""Options that several commands share, so that they mean and read the same everywhere."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from entrepot.gateway.log import Level
from entrepot.ledger.data_dir import default_data_dir


class LogLevel(StrEnum):
    """What the event log holds: this level and those above."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def level(self) -> Level:
        """Return the level as the event log knows it."""
        return Level[self.name]


def _default() -> Path:
    return default_data_dir(os.environ)


DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir", help="Where keys, journal and store live.", default_factory=_default, show_default=False
    ),
]
OwnDataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Keep what it keeps in this folder; without it, nothing.")
]
RequestId = Annotated[str, typer.Argument(help="req-…, the start of it, or the host's own id of the answer.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
LogLevelOption = Annotated[LogLevel, typer.Option(help="The least level of event that stderr shows.")]
DieWithParent = Annotated[int | None, typer.Option("--die-with-parent", hidden=True, metavar="PID")]
