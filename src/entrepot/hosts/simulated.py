"""Serves the hosts of a scenario: one process, every host below a path prefix of its own.

An asyncio protocol on llhttp, like the gateway's own side: a framework would spend more on a token than the
token is worth, and the tests would measure it. One process for all hosts, since a port and a process
for each would be slower to start and would tell nothing more.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import cast

import httptools
from msgspec import Struct
from msgspec.json import encode

from entrepot.domain.endpoint import Operation
from entrepot.hosts.behaviour import OK, RATE_LIMITED
from entrepot.hosts.scenario import Scenario
from entrepot.hosts.simulated_answer import Envelope, Tokens, embeddings_body, error_body, reply
from entrepot.hosts.simulated_log import HostLog, stats_body
from entrepot.hosts.simulated_request import Ask, count_tokens, parse_ask
from entrepot.hosts.simulated_serving import Accepted, Serving, ServingHost, ServingPlain, ServingStream
from entrepot.hosts.wheel import Wheel

MOST_BODY_BYTES = 64 * 1024 * 1024
MOST_PIPELINED = 16
BACKLOG = 4096
RETRY_AFTER = b"retry-after: 1\r\n"
_OPERATIONS = {operation.value: operation for operation in Operation}


class SimulatedHosts:
    """The hosts of a scenario, or those that `names` picks, ready to be served.

    Units: `speedup` divides every duration. Equal seeds give equal draws for equal sequences of requests.
    Raises: ConfigError when the scenario has no host of such a name.
    """

    def __init__(
        self,
        scenario: Scenario,
        names: Sequence[str] | None = None,
        *,
        speedup: float = 1.0,
        seed: int = 0,
        log_path: Path | None = None,
    ) -> None:
        picked = scenario.picked(names)
        self.log = HostLog(log_path)
        self.hosts = {
            host.name: ServingHost(host, scenario.name, self.log, seed=seed, speedup=speedup)
            for host in picked
        }
        self.wheel: Wheel
        self.connections: set[Connection] = set()
        self._nonce = secrets.token_hex(4)
        self._count = 0

    def number(self) -> str:
        """Return what makes the id of an answer unique, also between two starts."""
        self._count += 1
        return f"{self._nonce}{self._count:08x}"

    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
        """Return the listening server; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self.wheel = Wheel(loop)
        return await loop.create_server(lambda: Connection(self), host, port, backlog=BACKLOG)

    def close(self) -> None:
        """Give up what is under way, billed as far as it came, and close every connection and the log."""
        for connection in tuple(self.connections):
            connection.close()
        self.wheel.close()
        self.log.close()


@asynccontextmanager
async def serving(
    scenario: Scenario,
    names: Sequence[str] | None = None,
    *,
    port: int = 0,
    speedup: float = 1.0,
    seed: int = 0,
    log_path: Path | None = None,
) -> AsyncIterator[tuple[str, SimulatedHosts]]:
    """Serve a scenario on the loopback interface; the value is its base URL and its hosts."""
    hosts = SimulatedHosts(scenario, names, speedup=speedup, seed=seed, log_path=log_path)
    server = await hosts.listen(port=port)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", hosts
    finally:
        server.close()
        hosts.close()


class _Received(Struct, frozen=True):
    """A whole request."""

    method: str
    path: str
    body: bytes
    request_id: str | None
    keep_alive: bool
    version: str


class Connection(asyncio.Protocol):
    """One connection of a client: requests are answered in order, one at a time."""

    def __init__(self, hosts: SimulatedHosts) -> None:
        self._hosts = hosts
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[_Received] = deque()
        self._serving: Serving | None = None
        self._keep_alive = True
        self._closed = False
        self.on_message_begin()

    # -- transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not its subclasses
        self._hosts.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.abort()

    def eof_received(self) -> bool:
        """Close when the client closes its side."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop making tokens and bill those that were made."""
        self._closed = True
        self._hosts.connections.discard(self)
        self._waiting.clear()
        if self._serving is not None:
            self._serving.gone(self._loop.time())

    def pause_writing(self) -> None:
        """Make no tokens that nobody reads."""
        if self._serving is not None:
            self._serving.pause(paused=True)

    def resume_writing(self) -> None:
        """Go on."""
        if self._serving is not None:
            self._serving.pause(paused=False)

    # -- parser callbacks

    def on_message_begin(self) -> None:
        """Start a request."""
        self._target = b""
        self._request_id: str | None = None
        self._pieces: list[bytes] = []
        self._bytes = 0

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the id of the request; nothing else matters here."""
        if name.lower() == b"x-request-id":
            self._request_id = value.decode("latin-1")
        elif name.lower() == b"expect":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._bytes += len(body)
        if self._bytes > MOST_BODY_BYTES:
            self._transport.abort()
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Answer the request, or queue it behind the one under way."""
        received = _Received(
            method=self._parser.get_method().decode("ascii"),
            path=self._target.split(b"?", 1)[0].decode("latin-1"),
            body=b"".join(self._pieces),
            request_id=self._request_id,
            keep_alive=self._parser.should_keep_alive(),
            version=self._parser.get_http_version(),
        )
        if self._serving is None and not self._waiting:
            self._answer(received)
        elif len(self._waiting) < MOST_PIPELINED:
            self._waiting.append(received)
        else:
            self._transport.abort()

    # -- answering

    def close(self) -> None:
        """Give up what is under way and close."""
        if self._serving is not None:
            self._serving.stop(self._loop.time())
        self._transport.abort()

    def _finished(self) -> None:
        self._serving = None
        if self._closed:
            return
        if not self._keep_alive:
            self._transport.close()
            return
        while self._waiting and self._serving is None:
            self._answer(self._waiting.popleft())

    def _send(self, received: _Received, status: int, body: bytes, extra: bytes = b"") -> None:
        self._transport.write(reply(status, body, keep_alive=received.keep_alive, extra=extra))
        if not received.keep_alive:
            self._transport.close()

    def _refuse(self, received: _Received, status: int, code: str, message: str) -> None:
        kind = "invalid_request_error" if status < 500 else "server_error"
        self._send(received, status, error_body(message, kind, code))

    def _answer(self, received: _Received) -> None:
        self._keep_alive = received.keep_alive
        if received.version != "1.1":
            self._refuse(
                received, 505, "http_version", f"HTTP/{received.version} is not served; use HTTP/1.1"
            )
            return
        host_name, _, below = received.path.lstrip("/").partition("/")
        if received.method == "GET" and host_name in ("_log", "_stats"):
            self._send(received, OK, self._report(host_name))
            return
        host = self._hosts.hosts.get(host_name)
        operation = _OPERATIONS.get(below.removeprefix("v1/")) if below.startswith("v1/") else None
        if host is None:
            known = ", ".join(f"/{name}/v1" for name in self._hosts.hosts)
            self._refuse(received, 404, "unknown_host", f"{received.path} is not below one of {known}")
        elif below == "v1/models" and received.method == "GET":
            self._send(received, OK, _models_body(host))
        elif operation is None:
            self._refuse(received, 404, "unknown_path", f"{received.path} is not served")
        elif received.method != "POST":
            self._refuse(received, 405, "wrong_method", f"{received.method} is not served here; use POST")
        else:
            self._serve(received, host, operation)

    def _serve(self, received: _Received, host: ServingHost, operation: Operation) -> None:
        ask = parse_ask(operation, received.body)
        refusal = (400, "bad_request", ask) if isinstance(ask, str) else _objection(ask, host, operation)
        if refusal is not None:
            self._unbilled(received, host, refusal[0])
            self._refuse(received, *refusal)
            return
        assert isinstance(ask, Ask)
        tokens = ask.prompt_tokens
        cached = 0 if host.cache is None else sum(host.cache.look_up(prompt) for prompt in ask.prompts)
        plan = host.behaviour.plan(
            uncached_tokens=tokens - cached,
            choices=ask.choices,
            most_tokens=ask.most_tokens,
            room_tokens=int(host.host.context_tokens.value) - max(map(count_tokens, ask.prompts)),
            in_flight=host.totals.in_flight + 1,
        )
        if plan.status != OK:
            self._fail(received, host, plan.status)
            return
        accepted = Accepted(
            host=host,
            transport=self._transport,
            plan=plan,
            prompt=Tokens(tokens, cached),
            request_id=received.request_id,
            began_s=self._loop.time(),
            keep_alive=received.keep_alive,
            wake=lambda serving: self._hosts.wheel.add(serving, self._loop.time()),
            finished=self._finished,
        )
        self._serving = serving = self._begin(accepted, ask, operation)
        self._hosts.wheel.add(serving, serving.due_s)

    def _begin(self, accepted: Accepted, ask: Ask, operation: Operation) -> Serving:
        host, plan = accepted.host, accepted.plan
        dimension = host.host.model.dimension
        if dimension is not None:
            return ServingPlain(
                accepted,
                lambda tokens: embeddings_body(ask.model, ask.prompts, dimension, tokens, base64=ask.base64),
            )
        envelope = Envelope(
            operation, self._hosts.number(), ask.model, int(time()), with_usage=ask.include_usage
        )
        if ask.stream:
            return ServingStream(accepted, envelope, include_usage=ask.include_usage)

        def write(tokens: Tokens) -> bytes:
            return envelope.plain([host.words.text(length) for length in plan.lengths], plan.whole, tokens)

        return ServingPlain(accepted, write)

    def _fail(self, received: _Received, host: ServingHost, status: int) -> None:
        self._unbilled(received, host, status)
        if status == RATE_LIMITED:
            body = error_body("too many requests", "rate_limit_error", "rate_limit_exceeded")
            self._send(received, status, body, RETRY_AFTER)
        else:
            self._send(received, status, error_body("the host failed", "server_error", "internal_error"))

    def _unbilled(self, received: _Received, host: ServingHost, status: int) -> None:
        host.bill(received.request_id, Tokens(0), "error", stream=False, status=status)

    def _report(self, name: str) -> bytes:
        hosts = self._hosts
        if name == "_log":
            return encode(list(hosts.log.records))
        return stats_body({host_name: host.totals for host_name, host in hosts.hosts.items()})


def _objection(ask: Ask, host: ServingHost, operation: Operation) -> tuple[int, str, str] | None:
    """Return status, code and message of what the host finds fault with, or None."""
    figures, model = host.host, host.host.model
    if ask.model != model.name:
        return 404, "model_not_found", f"{figures.name} serves {model.name}, not {ask.model}"
    if operation not in model.operations:
        return 400, "unsupported_operation", f"{model.name} does not do {operation.value}"
    context = int(figures.context_tokens.value)
    prompt_tokens = max(map(count_tokens, ask.prompts))
    most_tokens = 0 if model.dimension is not None else ask.most_tokens or 1
    if prompt_tokens + most_tokens > context:
        message = f"{prompt_tokens:,} + {most_tokens:,} tokens do not fit the context window of {context:,}"
        return 400, "context_length_exceeded", message
    if ask.dimensions not in (None, model.dimension):
        return (
            400,
            "unsupported_dimensions",
            f"{model.name} has {model.dimension} dimensions, not {ask.dimensions}",
        )
    return None


def _models_body(host: ServingHost) -> bytes:
    figures = host.host
    listed = {
        "id": figures.model.name,
        "object": "model",
        "created": 0,
        "owned_by": f"{figures.name} (simulated)",
        "context_length": int(figures.context_tokens.value),
    }
    return encode({"object": "list", "data": [listed]})
