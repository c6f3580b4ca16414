"""`entrepot plan`: what serving costs, from hardware and batch to the price of a token."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import typer

from entrepot.domain.errors import ConfigError

INSTALL_PLANNER = "pip install 'entrepot[planner]'"

# command → module below entrepot.cli, and its function in there
_COMMANDS: dict[str, tuple[str, str]] = {
    "price": ("plan_price", "price"),
    "frontier": ("plan_frontier", "frontier"),
    "capacity": ("plan_capacity", "capacity"),
    "compare": ("plan_compare", "compare"),
    "calibrate": ("plan_calibrate", "calibrate_host"),
    "validate": ("plan_validate", "validate"),
}
_ANY_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

app = typer.Typer(
    help="Prices, latencies and capacities of deployments: what a host's choices come to.",
    no_args_is_help=True,
)


def needs_numpy() -> None:
    """Needs numpy, which is not installed: pip install 'entrepot[planner]'."""
    raise ConfigError((f"the planner needs numpy, which is not installed: {INSTALL_PLANNER}",))


def add_commands(to: typer.Typer, *, has_numpy: bool) -> None:
    """Add all commands to a group; without numpy each of them says what to install."""
    for name, (module, function) in _COMMANDS.items():
        if has_numpy:
            to.command(name)(getattr(import_module(f"entrepot.cli.{module}"), function))
        else:
            to.command(name, context_settings=_ANY_ARGUMENTS)(needs_numpy)


@app.callback()
def _plan() -> None:
    """Prices, latencies and capacities of deployments: what a host's choices come to."""


add_commands(app, has_numpy=find_spec("numpy") is not None)
