"""`entrepot config`: look at a configuration before it serves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from entrepot.catalog.load import load_settings
from entrepot.catalog.show import settings_text
from entrepot.cli.options import AsJson, DataDir
from entrepot.ledger.data_dir import DataDir as DataDirectory
from entrepot.ledger.data_dir import check_format
from entrepot.routing.policy import undeclared
from entrepot.routing.refuse import how_to_price

app = typer.Typer(help="Check a configuration, or show what it amounts to.", no_args_is_help=True)

ConfigFile = Annotated[Path, typer.Option("--config", help="The configuration file.")]


@app.command()
def check(data_dir: DataDir, config: ConfigFile = Path("entrepot.toml")) -> None:
    """Report every mistake of a configuration with file, key and line; exit 2 if there is one.

    A data directory that is there already has to be of a format that this entrepot knows.
    """
    settings = load_settings(config, os.environ)
    if DataDirectory(data_dir).format_file.exists():
        check_format(data_dir)
    typer.echo(f"{config}: {len(settings.hosts)} hosts, {len(settings.endpoints)} endpoints, no mistakes")
    for entry in settings.endpoints:
        if entry.endpoint.prices is None and entry.endpoint.tariff is None:
            hint = how_to_price(entry.endpoint)
            typer.echo(f"{entry.endpoint.name}: no price; keys with a budget cannot use it. {hint}", err=True)
        missing = undeclared((rule for rule in settings.policy.rules if rule.enforced), entry.endpoint)
        if missing:
            names = ", ".join(attribute.text for attribute in missing)
            typer.echo(f"{entry.endpoint.name}: not declared, so rules that need it deny: {names}", err=True)


@app.command()
def show(data_dir: DataDir, config: ConfigFile = Path("entrepot.toml"), as_json: AsJson = False) -> None:
    """Print the whole configuration with its defaults; secrets by their origin only."""
    typer.echo(f"data directory: {data_dir}", err=True)
    typer.echo(settings_text(load_settings(config, os.environ), as_json=as_json))
