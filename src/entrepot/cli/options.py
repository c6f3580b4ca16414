"""Options that several commands share, so that they mean and read the same everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from entrepot.ledger.data_dir import default_data_dir


def _default() -> Path:
    return default_data_dir(os.environ)


DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir", help="Where keys, journal and store live.", default_factory=_default, show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DieWithParent = Annotated[bool, typer.Option("--die-with-parent", hidden=True)]
