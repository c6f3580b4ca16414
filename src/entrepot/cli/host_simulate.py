"""`entrepot host simulate`: many simulated hosts in one process, each below a path of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from entrepot.catalog.show import hosts_toml
from entrepot.cli.options import DieWithParent, OwnDataDir
from entrepot.cli.run import run
from entrepot.hosts.parent import die_with_parent
from entrepot.hosts.scenario import Scenario, load_scenario, scenario_settings
from entrepot.hosts.simulated import serving

DEFAULT_PORT = 8100
LOG_NAME = "simulated-hosts.jsonl"  # in the data directory


def simulate(
    scenario: Annotated[
        str, typer.Option(help="A scenario of data/scenarios, or a file.")
    ] = "deepseek-r1-2025",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = DEFAULT_PORT,
    hosts: Annotated[str, typer.Option(help="Only these hosts, with commas between.")] = "",
    speedup: Annotated[float, typer.Option(min=0.001, help="Run this many times faster.")] = 1.0,
    log: Annotated[
        Path | None,
        typer.Option(help="Append what each request was billed, as JSON lines."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of lengths, times and failures.")] = 0,
    data_dir: OwnDataDir = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the blocks for entrepot.toml and end.")
    ] = False,
    parent: DieWithParent = None,
) -> None:
    """Serve simulated hosts until Ctrl-C or SIGTERM; every answer says that it is simulated."""
    if parent is not None:
        die_with_parent(parent)
    loaded = load_scenario(scenario)
    picked = [name.strip() for name in hosts.split(",") if name.strip()] or None
    if print_config:
        models, host_settings, endpoints = scenario_settings(
            loaded, f"http://127.0.0.1:{port or DEFAULT_PORT}", picked
        )
        typer.echo(hosts_toml(models, host_settings, endpoints), nl=False)
        return
    if log is None and data_dir is not None:
        log = data_dir / LOG_NAME
    sys.exit(run(_serve(loaded, picked, port, speedup, seed, log)))


async def _serve(
    scenario: Scenario, names: list[str] | None, port: int, speedup: float, seed: int, log: Path | None
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        running = serving(scenario, names, port=port, speedup=speedup, seed=seed, log_path=log)
        base_url, _ = await stack.enter_async_context(running)
        print(f"ready {base_url}", flush=True)
        await stop.wait()
