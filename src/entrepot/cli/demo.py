"""`entrepot demo`: everything at once, without a key, a GPU or a database server.

A real small model on a real engine, six simulated hosts of DeepSeek-R1 with the figures published in
2025, and the gateway in front of both.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
from pathlib import Path
from time import time_ns
from typing import Annotated

import msgspec
import typer

from entrepot.catalog.settings import Secret, ServerSettings, Settings
from entrepot.cli.gateway_process import run_gateway
from entrepot.cli.host_simulate import LOG_NAME
from entrepot.cli.options import DataDir, LogLevel, LogLevelOption
from entrepot.cli.processes import Child
from entrepot.cli.run import run
from entrepot.gateway.gateway import Gateway
from entrepot.gateway.log import EventLog
from entrepot.hosts.local import LOCAL_API_KEY_VARIABLE, local_settings
from entrepot.hosts.scenario import load_scenario, scenario_settings
from entrepot.ledger.keys.keys import list_keys
from entrepot.ledger.keys.log import create_key, revoke_key
from entrepot.routing.settings import RoutingSettings

KEY_NAME = "demo"
READY_TIMEOUT_S = 60.0


class _Wanted(msgspec.Struct, frozen=True):
    """What the command line asked for."""

    scenario: str
    hosts: tuple[str, ...]
    speedup: float
    server: ServerSettings
    value_of_time_usd_per_hour: float
    local_model: bool


def demo(
    data_dir: DataDir,
    port: Annotated[int, typer.Option(help="Port of the API.")] = 8000,
    console_port: Annotated[int, typer.Option(help="Port of metrics and the admin API.")] = 8001,
    no_local_model: Annotated[
        bool, typer.Option("--no-local-model", help="Only the simulated hosts.")
    ] = False,
    scenario: Annotated[str, typer.Option(help="One of data/scenarios, or a file.")] = "deepseek-r1-2025",
    hosts: Annotated[str, typer.Option(help="Only these, with commas between.")] = "",
    speedup: Annotated[float, typer.Option(min=0.001, help="Simulated hosts run so much faster.")] = 1.0,
    usd_per_hour: Annotated[float, typer.Option(min=0.0, help="Default value of time.")] = 5.0,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Start a local model, six simulated hosts and the gateway; Ctrl-C ends all of them."""
    wanted = _Wanted(
        scenario=scenario,
        hosts=tuple(name.strip() for name in hosts.split(",") if name.strip()),
        speedup=speedup,
        server=ServerSettings(port=port, console_port=console_port),
        value_of_time_usd_per_hour=usd_per_hour,
        local_model=not no_local_model,
    )
    sys.exit(run(_run_demo(wanted, data_dir, EventLog(log_level.level))))


async def _run_demo(wanted: _Wanted, data_dir: Path, log: EventLog) -> None:
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with contextlib.AsyncExitStack() as stack:
        settings = await _start_hosts(wanted, data_dir, stack)

        async def announce(gateway: Gateway) -> None:
            key = _demo_key(data_dir)  # not before the data directory is ours: it ends the keys of others
            gateway.ledger.refresh_keys()
            print(f"ready http://{wanted.server.host}:{wanted.server.port}/v1 key={key}", flush=True)

        await run_gateway(settings, data_dir, log, announce)


async def _start_hosts(wanted: _Wanted, data_dir: Path, stack: contextlib.AsyncExitStack) -> Settings:
    """Start the children side by side and return the settings that point at them."""
    loaded = load_scenario(wanted.scenario)
    simulate = Child("simulated hosts", _simulate_arguments(wanted, data_dir))
    stack.push_async_callback(simulate.stop)
    await simulate.start()
    local: Child | None = None
    secret = secrets.token_urlsafe(32)
    if wanted.local_model:
        arguments = ["host", "local", "--port", "0"]
        local = Child("local model", arguments, {LOCAL_API_KEY_VARIABLE: secret})
        stack.push_async_callback(local.stop)
        await local.start()
    simulated_at = await simulate.ready(READY_TIMEOUT_S)
    models, hosts, endpoints = scenario_settings(loaded, simulated_at, wanted.hosts or None)
    if local is not None:
        local_at = await local.ready(READY_TIMEOUT_S)
        model, host, endpoint = local_settings(local_at, Secret(secret, "the demo"))
        models, hosts, endpoints = (*models, model), (*hosts, host), (*endpoints, endpoint)
    return Settings(
        server=wanted.server,
        routing=RoutingSettings(
            value_of_time_usd_per_hour=wanted.value_of_time_usd_per_hour, time_scale=wanted.speedup
        ),
        models=models,
        hosts=hosts,
        endpoints=endpoints,
    )


def _simulate_arguments(wanted: _Wanted, data_dir: Path) -> list[str]:
    arguments = ["host", "simulate", "--scenario", wanted.scenario, "--port", "0"]
    arguments += ["--speedup", str(wanted.speedup), "--log", str(data_dir / LOG_NAME)]
    if wanted.hosts:
        arguments += ["--hosts", ",".join(wanted.hosts)]
    return arguments


def _demo_key(data_dir: Path) -> str:
    """Return a new key; those of earlier demos end, since nobody can read them again."""
    for key in list_keys(data_dir):
        if key.name == KEY_NAME and not key.revoked:
            revoke_key(data_dir, str(key.key_id), time_ns())
    return create_key(data_dir, KEY_NAME, None, time_ns())
