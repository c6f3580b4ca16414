"""Runs commands in this process as a shell would: arguments in, status and two streams out."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from entrepot.cli import main


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """Return stdout as JSON."""
        return json.loads(self.out)


def entrepot(*arguments: str | os.PathLike[str], columns: int = 100) -> Ran:
    """Return how `entrepot ARGUMENTS` ended in a terminal of so many columns."""
    out, err = io.StringIO(), io.StringIO()
    status: int | str | None = 0
    with (
        patch.object(sys, "argv", ["entrepot", *map(str, arguments)]),
        patch.dict(os.environ, {"COLUMNS": str(columns)}),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
    assert not isinstance(status, str)
    return Ran(status or 0, out.getvalue(), err.getvalue())
