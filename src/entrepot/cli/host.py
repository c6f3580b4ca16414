"""`entrepot host`: hosts that we run ourselves, on this machine."""

from __future__ import annotations

import typer

from entrepot.cli.host_local import local
from entrepot.cli.host_simulate import simulate

app = typer.Typer(help="Run a host on this machine: a local model, or simulated ones.", no_args_is_help=True)
app.command()(local)
app.command()(simulate)
