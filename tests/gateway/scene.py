"""The stage of these tests: a gateway, scripted hosts behind it, and what was written in the ledger.

The hosts are called a, b, c and cost 1, 2, 3 USD per million tokens, so that with equal (no) knowledge
they are tried in this order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from entrepot.catalog.settings import EndpointSettings, LedgerSettings, PolicySettings, ServerSettings
from entrepot.domain.claims import UNDECLARED, KeyClaims
from entrepot.domain.virtual import VirtualModel
from entrepot.ledger.entries import Closing, Entry, Expire, NameEndpoint, Reserve, Settle, Void
from entrepot.ledger.journal.journal import SyncData, sync_data
from entrepot.testing.gateway_here import MODEL, GatewayHere, endpoint_at, gateway_here
from entrepot.testing.scripted_host import ScriptedHost

DEADLINE_S = 10.0
_NAMES = "abc"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Scene:
    """A running gateway and the hosts behind it, in the order of their prices."""

    here: GatewayHere
    hosts: tuple[ScriptedHost, ...]

    @property
    def a(self) -> ScriptedHost:
        """Return the host that is tried first."""
        return self.hosts[0]

    @property
    def b(self) -> ScriptedHost:
        """Return the host that is tried next."""
        return self.hosts[1]

    async def ended(self) -> list[str]:
        """Return how each attempt ended, once none is open: `host entry-kind OUTCOME why`."""
        await until(lambda: not self.here.gateway.ledger.open_reservations, "an attempt is still open")
        balance = self.here.gateway.ledger.balances.balance(1)
        assert balance.reserved_nusd == 0
        return attempts_in(self.here.entries())

    def settles(self) -> list[Settle]:
        """Return the settle entries of the journal."""
        return [entry for entry in self.here.entries() if isinstance(entry, Settle)]

    def reserves(self) -> list[Reserve]:
        """Return the reserve entries of the journal."""
        return [entry for entry in self.here.entries() if isinstance(entry, Reserve)]


@contextlib.asynccontextmanager
async def scene(
    data_dir: Path,
    *,
    hosts: int = 2,
    server: ServerSettings | None = None,
    ledger: LedgerSettings | None = None,
    sync: SyncData = sync_data,
    budget_nusd: int | None = None,
    virtual_models: Sequence[VirtualModel] = (),
    change: Callable[[EndpointSettings], EndpointSettings] | None = None,
    policy: PolicySettings | None = None,
    claims: KeyClaims = UNDECLARED,
    **host_options: object,
) -> AsyncIterator[Scene]:
    """Run a gateway over so many scripted hosts; `change` may alter their endpoints."""
    async with contextlib.AsyncExitStack() as stack:
        running = [await stack.enter_async_context(ScriptedHost()) for _ in range(hosts)]
        endpoints = [
            endpoint_at(host.base_url, name, usd_per_mtok=str(price), **host_options)
            for price, (name, host) in enumerate(zip(_NAMES, running, strict=False), start=1)
        ]
        if change is not None:
            endpoints = [change(endpoint) for endpoint in endpoints]
        here = await stack.enter_async_context(
            gateway_here(
                endpoints,
                data_dir,
                server=server,
                ledger=ledger,
                sync=sync,
                budget_nusd=budget_nusd,
                policy=policy,
                claims=claims,
                virtual_models=virtual_models,
            )
        )
        yield Scene(here, tuple(running))


@contextlib.asynccontextmanager
async def host_that(serve: Serve, **options: Any) -> AsyncIterator[str]:  # noqa: ANN401 - as asyncio's own
    """Run a host whose connections are served by `serve`, for what no script can say; yield its base URL.

    `options` are those of `asyncio.start_server`.
    """
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving[task] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0, **options)
    scheme = "https" if options.get("ssl") else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task, writer in serving.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*serving, return_exceptions=True)


def chat(text: str = "Hello", **fields: object) -> dict[str, object]:
    """Return the body of a chat request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


async def until(condition: Callable[[], object], what: str = "it did not happen") -> None:
    """Wait until the condition holds; fail with `what` at the deadline."""
    give_up_s = monotonic() + DEADLINE_S
    while not condition():
        assert monotonic() < give_up_s, what
        await asyncio.sleep(0.002)


async def until_later(seconds: float) -> None:
    """Wait so long: for what must *not* happen meanwhile."""
    then_s = monotonic() + seconds
    await until(lambda: monotonic() >= then_s)


def attempts_in(entries: list[Entry]) -> list[str]:
    """Return each attempt with the entry that closed it; fail where one has none, or two."""
    names = {entry.endpoint_id: entry.host for entry in entries if isinstance(entry, NameEndpoint)}
    closings: dict[tuple[bytes, int], Closing] = {}
    for entry in entries:
        if isinstance(entry, Settle | Void | Expire):
            assert (entry.request_id, entry.attempt) not in closings, "closed twice"
            closings[entry.request_id, entry.attempt] = entry
    return [
        f"{names[entry.endpoint_id]} {_shown(closings[entry.request_id, entry.attempt])}"
        for entry in entries
        if isinstance(entry, Reserve)
    ]


def _shown(closing: Closing) -> str:
    match closing:
        case Settle():
            return f"settle {closing.outcome.name}{' estimated' if closing.usage.estimated else ''}"
        case Void() | Expire():
            return f"{type(closing).__name__.lower()} {closing.outcome.name} {closing.reason.name}"
