"""A gateway in this process, over real sockets and a real journal, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic, time_ns

from entrepot.catalog.settings import (
    EndpointSettings,
    HostSettings,
    LedgerSettings,
    PolicySettings,
    ServerSettings,
    Settings,
)
from entrepot.domain.claims import UNDECLARED, KeyClaims
from entrepot.domain.endpoint import Endpoint, Operation
from entrepot.domain.money import nusd_from_usd
from entrepot.domain.prices import Prices
from entrepot.domain.virtual import VirtualModel
from entrepot.gateway.gateway import Gateway
from entrepot.gateway.log import EventLog, Level
from entrepot.ledger.entries import Entry
from entrepot.ledger.journal.journal import SyncData, sync_data
from entrepot.ledger.journal.reader import JournalReader
from entrepot.ledger.keys.log import create_key
from entrepot.ledger.ledger import Ledger
from entrepot.routing.kpi.knowledge import Knowledge
from entrepot.routing.settings import RoutingSettings

MODEL = "test/model"
SEGMENT_BYTES = 1024 * 1024  # small, since each test has a journal of its own


def endpoint_at(
    base_url: str, host: str, *, usd_per_mtok: str = "1", **host_options: object
) -> EndpointSettings:
    """Return an endpoint of the test model at a host that needs no key."""
    price = nusd_from_usd(usd_per_mtok)
    return EndpointSettings(
        endpoint=Endpoint(
            name=f"{MODEL}@{host}",
            model=MODEL,
            host=host,
            prices=Prices(input_nusd_per_mtok=price, output_nusd_per_mtok=2 * price),
            context_tokens=100_000,
            operations=frozenset(Operation),
        ),
        host=HostSettings(name=host, base_url=base_url, auth="none", **host_options),  # type: ignore[arg-type]
        upstream_model="there",
    )


@dataclass
class Answer:
    """A client's view of a reply."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        """Return the body as an object."""
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


@dataclass
class GatewayHere:
    """A running gateway with one key, and what a test asks of it."""

    gateway: Gateway
    data_dir: Path
    port: int
    key: str
    log: io.StringIO

    def entries(self) -> list[Entry]:
        """Return all entries of the journal."""
        with JournalReader(self.data_dir / "journal") as reader:
            return [entry for _, entry in reader.entries()]

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection to the gateway."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    def request(self, payload: object, *, path: str = "/v1/chat/completions", headers: str = "") -> bytes:
        """Return the bytes of a POST with the key; bytes go in as they are."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return (
            f"POST {path} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {self.key}\r\n{headers}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def post(self, payload: object, *, path: str = "/v1/chat/completions", headers: str = "") -> Answer:
        """Return the reply to a POST on a connection of its own."""
        return await self.exchange(self.request(payload, path=path, headers=headers))

    async def get(self, path: str) -> Answer:
        """Return the reply to a GET with the key."""
        return await self.exchange(
            f"GET {path} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {self.key}\r\n\r\n".encode()
        )

    async def exchange(self, request: bytes) -> Answer:
        """Return the reply to raw bytes, read to its end."""
        reader, writer = await self.open()
        try:
            writer.write(request)
            await writer.drain()
            return await read_answer(reader)
        finally:
            writer.close()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Return one reply, de-chunked."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return Answer(int(status_line.split()[1]), headers, body)


@contextlib.asynccontextmanager
async def gateway_here(
    endpoints: Sequence[EndpointSettings],
    data_dir: Path,
    *,
    server: ServerSettings | None = None,
    ledger: LedgerSettings | None = None,
    sync: SyncData = sync_data,
    budget_nusd: int | None = None,
    virtual_models: Sequence[VirtualModel] = (),
    seed: int = 0,
    policy: PolicySettings | None = None,
    claims: KeyClaims = UNDECLARED,
) -> AsyncIterator[GatewayHere]:
    """Run a gateway over the endpoints on a free port, with exploration off."""
    hosts = {entry.host.name: entry.host for entry in endpoints}
    settings = Settings(
        server=server or ServerSettings(),
        ledger=ledger or LedgerSettings(),
        routing=RoutingSettings(exploration_share=0.0),
        policy=policy or PolicySettings(),
        hosts=tuple(hosts.values()),
        endpoints=tuple(endpoints),
        virtual_models=tuple(virtual_models),
    )
    log = io.StringIO()
    books = Ledger.open(data_dir, time_ns(), segment_bytes=SEGMENT_BYTES, sync=sync)
    secret = create_key(data_dir, "test", budget_nusd, time_ns(), claims=claims)
    books.refresh_keys()
    knowledge = Knowledge(
        tuple(entry.endpoint for entry in endpoints), {}, settings.routing, now_s=monotonic()
    )
    gateway = Gateway(settings, books, knowledge, EventLog(Level.DEBUG, log), Random(seed))
    listening = await asyncio.get_running_loop().create_server(gateway.listener.protocol, "127.0.0.1", 0)
    time_keeper = asyncio.create_task(gateway.keep_time())
    try:
        port = listening.sockets[0].getsockname()[1]
        yield GatewayHere(gateway, data_dir, port, secret, log)
    finally:
        listening.close()
        await gateway.drain(1.0)
        time_keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await time_keeper
        books.close()
