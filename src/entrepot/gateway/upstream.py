"""Connections to hosts: a pool per host, and the protocol that feeds an attempt.

HTTP/1.1 with keep-alive and one request at a time per connection (docs/decisions: HTTP/1.1). Names
are resolved for each new connection, and no connection is kept longer than `MOST_AGE_S`, so that a
host that moves is followed.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol, cast
from urllib.parse import SplitResult, urlsplit

import httptools

from entrepot.catalog.settings import HostSettings
from entrepot.domain.errors import HostFault
from entrepot.gateway.proxy import open_tunnel

MOST_AGE_S = 300.0
MOST_IDLE_S = 50.0
_KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout=(\d{1,6})")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Answering(Protocol):
    """Who takes what a host sends for one attempt."""

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the status and the headers (names in lower case)."""

    def body(self, data: bytes) -> None:
        """Take all body bytes of one read."""

    def complete(self) -> None:
        """The reply is whole."""

    def lost(self, reason: str, *, unheard: bool) -> None:
        """The connection ended before the reply was whole; `unheard`: before any byte of it."""


class HostConnection(asyncio.Protocol):
    """One connection to a host; at most one attempt at a time rides on it.

    `deliver` takes the body bytes of each read: `Answering.body`, until the attempt sets something
    that costs less.
    """

    def __init__(self, pool: HostPool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._answering: Answering | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # llhttp calls the list itself: no Python frame per piece
        self._parser = httptools.HttpResponseParser(self)
        self._pieces_of_reply = 0
        self._heard = False
        self._whole = False
        self._surplus = False
        self._reusable = False
        self._until_close = False
        self.closed = False
        self.opened_s = 0.0
        self.idle_since_s = 0.0
        self.deliver: Callable[[bytes], None]
        self.most_idle_s = MOST_IDLE_S
        self.used = 0

    @property
    def host(self) -> HostSettings:
        """Return the host that this connection leads to."""
        return self._pool.host

    def send(self, head: bytes, body: bytes, answering: Answering) -> None:
        """Send one request; `answering` takes what comes back."""
        self._answering = answering
        self.deliver = answering.body
        self._headers = []
        self._heard = self._whole = self._reusable = False
        self._until_close = False
        self.used += 1
        if len(body) < 65536:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def abort(self) -> None:
        """Close at once: the host sees that nobody waits any more."""
        self._answering = None
        self.closed = True
        self._transport.abort()

    def pause_reading(self) -> None:
        """Read nothing more from the host for now."""
        if not self.closed:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the host again."""
        if not self.closed:
            self._transport.resume_reading()

    # -- transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; its bytes wait for the first request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not derive from it
        self._pool.made(self)

    def data_received(self, data: bytes) -> None:
        """Parse one read and pass its body on in one piece; in mid-reply there is nothing else to do."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._whole:
                self._fail(f"reply is not well-formed HTTP/1.1 ({error})")
                return
            self._surplus = True
        pieces = self._pieces
        if len(pieces) == 1 and not self._whole and self._answering is not None:
            self.deliver(pieces.pop())
        else:
            self._parsed(pieces)

    def _parsed(self, pieces: list[bytes]) -> None:
        """Pass several pieces on as one, and end a reply that is whole."""
        if self._answering is None:
            self.abort()  # bytes that nobody asked for
            return
        if self._surplus:
            del pieces[self._pieces_of_reply :]
        if pieces:
            piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self.deliver(piece)
        if self._whole and self._answering is not None:
            self._end()

    def eof_received(self) -> bool:
        """Close when the host closes its side."""
        self.closed = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End the attempt: whole if its reply runs until the close, lost otherwise."""
        self.closed = True
        self._pool.dropped(self)
        if self._answering is None:
            return
        if exc is None and self._until_close and self._headers:
            self._end()
        else:
            self._fail(
                "connection closed" if exc is None else f"connection lost ({_cause(exc)})",
                unheard=not self._heard,
            )

    # -- parser callbacks (on_body is the list of pieces itself)

    def on_message_begin(self) -> None:
        """Note that the host replies; what it sends behind a whole reply belongs to nobody."""
        self._heard = True
        self._surplus = self._whole

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Pass the head on; without a length the body runs until the close."""
        if self._surplus or self._answering is None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._headers = []
            return
        until_close = True
        for name, value in self._headers:
            if name == b"content-length" or name == b"transfer-encoding":  # noqa: PLR1714 - this is per header
                until_close = False
            elif name == b"keep-alive":
                self._note_keep_alive(value)
        self._until_close = until_close
        self._answering.head(status, self._headers)

    def on_message_complete(self) -> None:
        """Note that the reply is whole, unless it was an interim one."""
        if self._parser.get_status_code() >= 200 and not self._whole:
            self._whole = True
            self._headers = []
            self._pieces_of_reply = len(self._pieces)
            self._reusable = self._parser.should_keep_alive()  # llhttp knows it only here

    def _note_keep_alive(self, value: bytes) -> None:
        """Let go before the host does: a request that crosses its close is lost."""
        found = _KEEP_ALIVE_TIMEOUT.search(value)
        if found is not None:
            self.most_idle_s = min(MOST_IDLE_S, int(found[1]) - 1.0)

    def _end(self) -> None:
        answering, self._answering = self._answering, None
        assert answering is not None
        if self._may_be_used_again():
            self._pool.give_back(self)
        else:
            self.abort()
        answering.complete()

    def _may_be_used_again(self) -> bool:
        """Return whether a next request can follow, with nothing left over from this one on either side."""
        if self.closed or self._surplus or not self._reusable:
            return False
        return not self._transport.get_write_buffer_size()

    def _fail(self, reason: str, *, unheard: bool = False) -> None:
        answering = self._answering
        self.abort()
        if answering is not None:
            answering.lost(reason, unheard=unheard)


class HostPool:
    """The connections to one host."""

    def __init__(self, host: HostSettings) -> None:
        self.host = host
        self._url = urlsplit(host.base_url)
        self._port = self._url.port or _DEFAULT_PORTS[self._url.scheme]
        self._tls = _tls_context(host, self._url)
        self._idle: deque[HostConnection] = deque()
        self._connections: set[HostConnection] = set()
        self._opening = 0

    @property
    def authority(self) -> str:
        """Return the value of the Host header."""
        name = self._url.hostname or ""
        name = f"[{name}]" if ":" in name else name
        return name if self._port == _DEFAULT_PORTS[self._url.scheme] else f"{name}:{self._port}"

    @property
    def path(self) -> str:
        """Return the path below which the host's API lies, without a slash at its end."""
        return self._url.path.rstrip("/")

    @property
    def target_prefix(self) -> str:
        """Return what stands before the path in a request line: the whole URL for a plain-HTTP proxy."""
        if self.host.proxy is None or self._tls is not None:
            return self.path
        return f"http://{self.authority}{self.path}"

    @property
    def open_connections(self) -> int:
        """Return how many connections are open or being opened."""
        return self._opening + len(self._connections)

    def take(self) -> HostConnection | None:
        """Return an idle connection, the youngest first, or None."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    async def connect(self) -> HostConnection:
        """Open a connection.

        Raises: HostFault when the host cannot be reached in `connect_timeout_s`, or when all of
        `max_connections` are in use.
        """
        if self.open_connections >= self.host.max_connections:
            raise HostFault(f"all {self.host.max_connections} connections to {self.host.name} are in use")
        self._opening += 1
        try:
            async with asyncio.timeout(self.host.connect_timeout_s):
                connection = await self._open_one()
        except TimeoutError:
            raise HostFault(
                f"no connection to {self.authority} in {self.host.connect_timeout_s:g} s"
            ) from None
        except (OSError, ssl.SSLError) as error:
            raise HostFault(f"no connection to {self.authority}: {error}") from error
        finally:
            self._opening -= 1
        connection.opened_s = monotonic()
        return connection

    async def _open_one(self) -> HostConnection:
        loop = asyncio.get_running_loop()
        name = self._url.hostname or ""
        if self.host.proxy is not None and self._tls is not None:
            target = f"[{name}]:{self._port}" if ":" in name else f"{name}:{self._port}"
            return await open_tunnel(self.host.proxy, target, self._tls, name, lambda: HostConnection(self))
        address = (name, self._port)
        if self.host.proxy is not None:
            proxy = urlsplit(self.host.proxy)
            address = (proxy.hostname or "", proxy.port or 8080)
        _, connection = await loop.create_connection(
            lambda: HostConnection(self),
            address[0],
            address[1],
            ssl=self._tls,
            server_hostname=name if self._tls is not None else None,
        )
        return connection

    def give_back(self, connection: HostConnection) -> None:
        """Keep a connection for the next attempt."""
        connection.idle_since_s = monotonic()
        self._idle.append(connection)

    def made(self, connection: HostConnection) -> None:
        """Count a connection that has opened."""
        self._connections.add(connection)

    def dropped(self, connection: HostConnection) -> None:
        """Forget a connection that has closed."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now_s: float) -> None:
        """Close connections that are idle or old: a host would, mid-request at worst."""
        for connection in tuple(self._idle):
            if (
                now_s - connection.idle_since_s > connection.most_idle_s
                or now_s - connection.opened_s > MOST_AGE_S
            ):
                connection.abort()

    def close(self) -> None:
        """Close all connections."""
        for connection in tuple(self._connections):
            connection.abort()


def _cause(error: Exception) -> str:
    """Return what may be told of an error: that of a socket, but of a fault of ours its kind alone."""
    return str(error) if isinstance(error, OSError) else type(error).__name__


def _tls_context(host: HostSettings, url: SplitResult) -> ssl.SSLContext | None:
    if url.scheme != "https":
        return None
    context = ssl.create_default_context(cafile=None if host.ca_file is None else str(host.ca_file))
    context.set_alpn_protocols(["http/1.1"])
    return context
