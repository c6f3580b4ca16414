"""`entrepot serve`: the gateway of a configuration file, in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from entrepot.catalog.load import load_settings
from entrepot.catalog.settings import Settings
from entrepot.cli.options import DataDir, LogLevel, LogLevelOption
from entrepot.cli.run import run_until_stopped
from entrepot.gateway.gateway import Gateway


def serve(
    data_dir: DataDir,
    config: Annotated[Path, typer.Option("--config", help="The configuration file.")] = Path("entrepot.toml"),
    host: Annotated[str | None, typer.Option(help="Listen here instead of server.host.")] = None,
    port: Annotated[int | None, typer.Option(help="Listen here instead of server.port.")] = None,
    console_port: Annotated[int | None, typer.Option(help="Instead of server.console_port.")] = None,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Serve the API of a configuration file until Ctrl-C or SIGTERM."""
    settings = with_ports(load_settings(config, os.environ), host=host, port=port, console_port=console_port)
    if not settings.endpoints:
        typer.echo(f"{config} configures no endpoint; add a [[hosts]] with [[hosts.endpoints]]", err=True)
        raise typer.Exit(2)

    async def announce(gateway: Gateway) -> None:
        scheme = "https" if settings.server.tls_certificate_file is not None else "http"
        print(f"ready {scheme}://{settings.server.host}:{settings.server.port}/v1", flush=True)

    sys.exit(run_until_stopped(settings, data_dir, announce, level=log_level.level))


def with_ports(
    settings: Settings, *, host: str | None, port: int | None, console_port: int | None
) -> Settings:
    """Return the settings with what the command line says instead of the file."""
    wanted = {"host": host, "port": port, "console_port": console_port}
    given = {name: value for name, value in wanted.items() if value is not None}
    return msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, **given))
