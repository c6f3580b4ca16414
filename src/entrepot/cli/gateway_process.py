"""The process that `serve` and `demo` become: ledger, gateway, console and poster, ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import monotonic, time, time_ns

import msgspec

from entrepot.catalog.kept_rules import keep_rules
from entrepot.catalog.settings import LedgerSettings, ServerSettings, Settings
from entrepot.cli.console_address import CONSOLE_FILE, ConsoleAddress
from entrepot.cli.processes import Child
from entrepot.gateway.gateway import Gateway
from entrepot.gateway.log import EventLog
from entrepot.ledger.data_dir import DataDir, write_atomically
from entrepot.ledger.ledger import Ledger
from entrepot.ledger.store.place import note_store_place
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.policy import PolicySet

KNOWLEDGE_FILE = "knowledge.bin"
SAVE_INTERVAL_S = 5.0
POSTER_RESTART_S = 1.0
BACKLOG = 4096
COLLECTOR_THRESHOLD = 20_000  # new objects between two looks; CPython's own is 700

Announce = Callable[[Gateway], Awaitable[None]]


async def run_gateway(settings: Settings, data_dir: Path, log: EventLog, announce: Announce) -> None:
    """Run a gateway until SIGINT or SIGTERM; `announce` is called once it accepts requests.

    Raises: DataError when the data directory cannot be used; OSError when a port cannot be bound.
    """
    stop = _stop_event()
    ledger = Ledger.open(
        data_dir,
        time_ns(),
        segment_bytes=settings.ledger.segment_bytes,
        sync_interval_s=settings.ledger.sync_interval_s,
    )
    store = settings.ledger.store
    note_store_place(DataDir(data_dir), None if store is None else store.reveal())
    if ledger.expired:
        log.warning("recovered", expired_reservations=ledger.expired, cut_bytes=ledger.cut_bytes)
    async with contextlib.AsyncExitStack() as stack:  # ended from the bottom up
        stack.push_async_callback(_cancel, asyncio.create_task(_keep_poster(data_dir, settings.ledger, log)))
        stack.callback(ledger.close)
        keep_rules(data_dir, PolicySet(settings.policy.rules))
        gateway = Gateway(settings, ledger, _load_knowledge(data_dir, settings, log), log)
        asyncio.get_running_loop().set_exception_handler(gateway.loop_fault)
        for running in (gateway.keep_time(), _keep_knowledge(gateway, data_dir, log)):
            stack.push_async_callback(_cancel, asyncio.create_task(running))
        stack.callback(_save_knowledge, gateway, data_dir, log)
        stack.push_async_callback(gateway.drain, settings.server.shutdown_grace_s)
        server = await _listen(gateway, settings.server)
        stack.callback(server.close)
        await stack.enter_async_context(_console(gateway, settings.server, data_dir))
        log.info("ready", port=settings.server.port, endpoints=len(gateway.targets))
        _calm_collector()
        await announce(gateway)
        await stop.wait()
        log.info("stopping", requests_under_way=ledger.open_reservations)


def _calm_collector() -> None:
    """Let the cycle collector look at what is new only, and less often: requests make next to no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTOR_THRESHOLD, 20, 50)


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _listen(gateway: Gateway, server: ServerSettings) -> asyncio.Server:
    context: ssl.SSLContext | None = None
    if server.tls_certificate_file is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(server.tls_certificate_file, server.tls_key_file)
        context.set_alpn_protocols(["http/1.1"])
    loop = asyncio.get_running_loop()
    return await loop.create_server(
        gateway.listener.protocol, server.host, server.port, ssl=context, backlog=BACKLOG
    )


@contextlib.asynccontextmanager
async def _console(gateway: Gateway, server: ServerSettings, data_dir: Path) -> AsyncIterator[None]:
    from entrepot.console.app import console_server

    token = secrets.token_urlsafe(32)
    console = console_server(gateway, token, host=server.console_host, port=server.console_port)
    family = socket.AF_INET6 if ":" in server.console_host else socket.AF_INET
    # Bound here, since uvicorn ends the process when it cannot.
    listening = socket.create_server((server.console_host, server.console_port), family=family)
    task = asyncio.create_task(console.serve(sockets=[listening]))
    while not console.started:
        if task.done():
            task.result()
            raise OSError(f"the console could not start on {server.console_host}:{server.console_port}")
        await asyncio.sleep(0.01)
    name = f"[{server.console_host}]" if ":" in server.console_host else server.console_host
    address = ConsoleAddress(url=f"http://{name}:{server.console_port}", token=token)
    write_atomically(data_dir / CONSOLE_FILE, msgspec.json.encode(address))
    try:
        yield
    finally:
        (data_dir / CONSOLE_FILE).unlink(missing_ok=True)
        console.should_exit = True
        await task


def _load_knowledge(data_dir: Path, settings: Settings, log: EventLog) -> Knowledge:
    endpoints = tuple(entry.endpoint for entry in settings.endpoints)
    models = {model.name: model for model in settings.models}
    path = data_dir / KNOWLEDGE_FILE
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return Knowledge(endpoints, models, settings.routing, now_s=monotonic())
    try:
        away_s = max(time() - path.stat().st_mtime, 0.0)
        return Knowledge.from_bytes(
            stored, endpoints, models, settings.routing, now_s=monotonic(), away_s=away_s
        )
    except ValueError as error:
        log.warning("knowledge_discarded", file=str(path), problem=str(error))
        return Knowledge(endpoints, models, settings.routing, now_s=monotonic())


def _save_knowledge(gateway: Gateway, data_dir: Path, log: EventLog) -> None:
    """Write down what was learned; on a full disk what was written last time stays."""
    try:
        write_atomically(data_dir / KNOWLEDGE_FILE, gateway.knowledge.to_bytes(monotonic()))
    except OSError as error:
        log.warning("knowledge_not_saved", problem=str(error))


async def _keep_knowledge(gateway: Gateway, data_dir: Path, log: EventLog) -> None:
    while True:
        await asyncio.sleep(SAVE_INTERVAL_S)
        _save_knowledge(gateway, data_dir, log)


async def _keep_poster(data_dir: Path, ledger: LedgerSettings, log: EventLog) -> None:
    """Run the poster as a child; start it again when it dies: the journal waits meanwhile."""
    arguments = ["ledger", "post", "--follow", "--data-dir", str(data_dir)]
    arguments += ["--keep-days", str(ledger.keep_days)]
    if ledger.archive is not None:
        arguments += ["--archive", ledger.archive]
    arguments += ["--decisions-days", str(ledger.decisions_days), "--entries-days", str(ledger.entries_days)]
    arguments += ["--contents-days", str(ledger.contents_days), "--tasks-days", str(ledger.tasks_days)]
    poster = Child("poster", arguments)
    try:
        while True:
            await poster.start()
            status = await poster.wait()
            log.warning("poster_ended", status=status, next=f"started again in {POSTER_RESTART_S:g} s")
            await asyncio.sleep(POSTER_RESTART_S)
    finally:
        await poster.stop()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
