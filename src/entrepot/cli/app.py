"""Assembles the commands; only the one that runs is imported, since children start with this too."""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from entrepot.domain.errors import ConfigError, DataError

# command → module below entrepot.cli, and its function or group in there; None: the group `app`
_COMMANDS: dict[str, tuple[str, str | None]] = {
    "serve": ("serve", "serve"),
    "demo": ("demo", "demo"),
    "config": ("config", None),
    "catalog": ("catalog", None),
    "endpoints": ("endpoints", None),
    "requests": ("requests", "requests"),
    "why": ("why", "why"),
    "key": ("key", None),
    "team": ("scopes", "team"),
    "tag": ("scopes", "tag"),
    "policy": ("policy", None),
    "ledger": ("ledger", None),
    "data": ("data", None),
    "replay": ("replay", "replay"),
    "plan": ("plan", None),
    "host": ("host", None),
}


def command_line(wanted: str | None) -> typer.Typer:
    """Return the command line with the command `wanted`, or with all of them when there is no such one."""
    app = typer.Typer(
        help="One API in front of every host of every model; each request goes where the answer costs least.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_root)
    names = [wanted] if wanted in _COMMANDS else list(_COMMANDS)
    for name in names:
        module_name, function = _COMMANDS[name]
        module = import_module(f"entrepot.cli.{module_name}")
        found = module.app if function is None else getattr(module, function)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _root() -> None:
    """One API in front of every host of every model; each request goes where the answer costs least."""


def main() -> None:
    """Run the command that the arguments name; expected faults become a message and an exit code."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    try:
        command_line(wanted)()
    except ConfigError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)
    except DataError as error:
        typer.echo(f"entrepot: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
