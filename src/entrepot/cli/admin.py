"""Talks to the admin API of the gateway that runs on a data directory."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import typer

from entrepot.cli.console_address import CONSOLE_FILE, ConsoleAddress

TIMEOUT_S = 10.0


def console_address(data_dir: Path) -> ConsoleAddress | None:
    """Return where the console of the running gateway is, or None when none runs."""
    try:
        return msgspec.json.decode((data_dir / CONSOLE_FILE).read_bytes(), type=ConsoleAddress)
    except FileNotFoundError:
        return None


def ask(data_dir: Path, path: str, body: bytes | None = None) -> dict[str, Any]:
    """Return what the admin API answers to a GET, or to a POST of `body`.

    Raises: typer.Exit with a message when no gateway runs on the data directory or it refuses.
    """
    address = console_address(data_dir)
    if address is None:
        typer.echo(f"no gateway is running on {data_dir}; start one, or give its --data-dir", err=True)
        raise typer.Exit(1)
    headers = {"authorization": f"Bearer {address.token}", "content-type": "application/json"}
    request = urllib.request.Request(address.url + path, data=body, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            value: dict[str, Any] = json.load(answer)
            return value
    except urllib.error.HTTPError as error:
        problem = f"{address.url}{path} answered {error.code}: {error.read(500).decode(errors='replace')}"
    except urllib.error.URLError as error:
        problem = f"no gateway answers at {address.url} ({error.reason}): it was killed; start it again"
    typer.echo(problem, err=True)
    raise typer.Exit(1)
