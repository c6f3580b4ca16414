"""Runs a gateway on uvloop and turns its faults into messages and exit codes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import typer
import uvloop

from entrepot.catalog.settings import Settings
from entrepot.cli.gateway_process import Announce, run_gateway
from entrepot.cli.processes import ChildFailed
from entrepot.domain.errors import DataError
from entrepot.gateway.log import EventLog, Level


def run_until_stopped(settings: Settings, data_dir: Path, announce: Announce, *, level: Level) -> int:
    """Return the exit code of a gateway that ran until it was told to stop: 0, or 1 if it could not start."""
    return run(run_gateway(settings, data_dir, EventLog(level), announce))


def run(main: Coroutine[None, None, None]) -> int:
    """Return the exit code of a coroutine run on uvloop: 0, or 1 with a message for an expected fault."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
    except (DataError, ChildFailed, OSError) as error:
        typer.echo(f"entrepot: {error}", err=True)
        return 1
    return 0
