"""Connections of clients: bytes in, exchanges out, one at a time and in order.

An asyncio protocol on llhttp rather than a framework: a request costs one callback per header and
nothing per layer. Bounds are checked while the bytes arrive, before anything is kept.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from entrepot.catalog.settings import ServerSettings
from entrepot.domain.errors import Refusal
from entrepot.gateway.exchange import Exchange

Serve = Callable[[Exchange], None]

MOST_PIPELINED = 16  # requests that wait behind the one that is being answered
MOST_PIPELINED_BYTES = 1024 * 1024  # of one of them
LINGER_S = 5.0  # in which a client that was refused may read why, and stop sending
_HEADER_PUNCTUATION_BYTES = 4  # colon, space, line break
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class Listener:
    """All client connections of a gateway: their limits, and the sweep that closes silent ones."""

    def __init__(self, settings: ServerSettings, serve: Serve) -> None:
        self.settings = settings
        self.serve = serve
        self.connections: set[ClientConnection] = set()
        self.draining = False

    def protocol(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        return ClientConnection(self)

    def sweep(self, now_s: float) -> None:
        """Close connections that are idle for too long or too slow to send a request."""
        for connection in tuple(self.connections):
            connection.sweep(now_s)

    def drain(self) -> None:
        """Answer what is under way, close what is idle, keep nothing alive."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.close_if_idle()

    def close(self) -> None:
        """Close all connections at once."""
        for connection in tuple(self.connections):
            connection.abort()


class ClientConnection(asyncio.Protocol):
    """One connection: parses requests, queues what is pipelined, and hands over one at a time."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._settings = listener.settings
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._in_message = False
        self._rejected = False
        self._rejection: Refusal | None = None
        self._paused = False
        self._unsent_bytes = 0
        self._since_s: float | None = None
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._head_bytes = 0
        self._body_bytes = 0
        self._in_head = True

    # -- transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse a connection too many; keep the others."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not derive from it
        if len(self._listener.connections) >= self._settings.max_connections:
            self._transport.abort()
            self._rejected = True
            return
        self._listener.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange under way that its client is gone."""
        self._listener.connections.discard(self)
        self._client_left()

    def _client_left(self) -> None:
        self._waiting.clear()
        current = self._current
        if current is not None:
            current.closed = True
            if current.feeding is not None:
                current.feeding.client_gone()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; on a violation answer once and close."""
        if self._rejected:
            return
        pieces, known = self._pieces, len(self._pieces)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._reject(_refusal(400, "malformed_http", "the request is not well-formed HTTP/1.1"))
        if self._pieces is not pieces or len(pieces) > known:
            return
        self._head_bytes += len(data)  # a read without a byte of a body: of a head, of trailers
        if self._head_bytes > self._settings.max_header_bytes and self._in_message:
            self._reject_headers()

    def eof_received(self) -> bool:
        """Close when the client closes its side: nobody reads the answer, not even what waits to be sent."""
        self._client_left()
        return False

    def pause_writing(self) -> None:
        """Pass on that the client is slower than the host."""
        self._paused = True
        self._since_s = None
        if self._current is not None:
            self._current.paused = True
            if self._current.feeding is not None:
                self._current.feeding.pause()

    def resume_writing(self) -> None:
        """Pass on that the client takes bytes again."""
        self._paused = False
        self._since_s = None
        if self._current is not None:
            self._current.paused = False
            if self._current.feeding is not None:
                self._current.feeding.resume()

    # -- parser callbacks

    def on_message_begin(self) -> None:
        """Start a request; the time for it counts from now."""
        self._in_message = True
        self._since_s = None
        self._reset()

    def on_url(self, url: bytes) -> None:
        """Collect the target, which may arrive in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, and drop trailers: they would be headers that nobody checked."""
        if self._in_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the announced length before a byte of the body is kept."""
        self._in_head = False
        if self._parser.should_upgrade():
            return
        head_bytes = len(self._target)
        awaits_leave = False
        for name, value in self._headers:
            head_bytes += len(name) + len(value) + _HEADER_PUNCTUATION_BYTES
            if name == b"content-length":
                if int(value) > self._settings.max_body_bytes:
                    self._reject_body()
            elif name == b"expect" and value.lower() == b"100-continue":
                awaits_leave = True
        if head_bytes > self._settings.max_header_bytes:
            self._reject_headers()
        if awaits_leave and not self._rejected and self._current is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body within the limit."""
        self._body_bytes += len(body)
        if self._body_bytes <= self._settings.max_body_bytes:
            self._pieces.append(body)
        else:
            self._reject_body()

    def on_message_complete(self) -> None:
        """Hand the request over, or queue it behind the one under way."""
        if self._parser.should_upgrade():
            return
        self._in_message = False
        self._in_head = True
        self._head_bytes = 0
        self._since_s = None
        if self._rejected:
            return
        pieces = self._pieces
        http_1_0 = self._parser.get_http_version() == "1.0"
        exchange = Exchange(
            self._transport,
            method=self._parser.get_method(),
            target=self._target,
            headers=self._headers,
            body=pieces[0] if len(pieces) == 1 else b"".join(pieces),
            keep_alive=self._parser.should_keep_alive() and not (http_1_0 or self._listener.draining),
            http_1_0=http_1_0,
            finished=self._finished,
        )
        if self._current is None:
            self._begin(exchange)
        else:
            self._waiting.append(exchange)
            if len(self._waiting) >= MOST_PIPELINED or self._body_bytes > MOST_PIPELINED_BYTES:
                self._transport.pause_reading()  # which also means not to see the client leave

    def _decline_upgrade(self, rest: bytes) -> None:
        """Go on as if no upgrade had been offered: HTTP clients of Java offer h2c with every request.

        llhttp takes what follows for another protocol, so the request is put before a new parser without
        the offer. CONNECT is always one.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._reject(_refusal(405, "method_not_allowed", "this is no proxy; send plain HTTP/1.1"))
            return
        version = self._parser.get_http_version().encode()
        head = b"%b %b HTTP/%b\r\n" % (method, self._target, version)
        head += b"".join(b"%b: %b\r\n" % line for line in self._headers if line[0] != b"upgrade")
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(b"%b\r\n%b" % (head, rest))

    # -- sequence

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        exchange.paused = self._paused
        if exchange.header(b"content-encoding") is not None:
            refusal = self._decompress(exchange)
            if refusal is not None:
                exchange.refuse(refusal)
                return
        self._listener.serve(exchange)

    def _finished(self) -> None:
        ended, self._current = self._current, None
        self._since_s = None
        if ended is None or not ended.keep_alive or self._listener.draining:
            self._transport.close()
        elif self._waiting:
            following = self._waiting.popleft()
            self._transport.resume_reading()
            self._begin(following)
        elif self._rejection is not None:
            self._say_rejection(self._rejection)

    def _decompress(self, exchange: Exchange) -> Refusal | None:
        encoding = (exchange.header(b"content-encoding") or b"").strip().lower()
        if encoding in (b"", b"identity"):
            return None
        if encoding not in (b"gzip", b"deflate"):
            return _refusal(
                415,
                "unsupported_encoding",
                f"content-encoding {encoding.decode('latin-1')!r} is not supported; "
                "send the body uncompressed, gzip or deflate",
            )
        limit = self._settings.max_body_bytes
        inflate = zlib.decompressobj(_GZIP_WINDOW if encoding == b"gzip" else zlib.MAX_WBITS)
        try:
            body = inflate.decompress(exchange.body, limit + 1)
        except zlib.error as error:
            return _refusal(400, "bad_encoding", f"the body is not valid {encoding.decode()}: {error}")
        if len(body) > limit:
            return _body_too_large(limit)
        if not inflate.eof or inflate.unused_data:
            wrong = "goes on behind its end" if inflate.eof else "is cut short"
            return _refusal(400, "bad_encoding", f"the {encoding.decode()} body {wrong}")
        exchange.body = body
        return None

    # -- refusals before there is an exchange

    def _reject_headers(self) -> None:
        limit = self._settings.max_header_bytes
        message = f"the headers are larger than {limit:,} bytes; send fewer"
        self._reject(_refusal(431, "headers_too_large", message))

    def _reject_body(self) -> None:
        self._reject(_body_too_large(self._settings.max_body_bytes))

    def _reject(self, refusal: Refusal) -> None:
        """Read no more requests from this client, and say why, behind the replies that are under way."""
        if self._rejected:
            return
        self._rejected = True
        if self._current is None:
            self._say_rejection(refusal)
        else:
            self._rejection = refusal

    def _say_rejection(self, refusal: Refusal) -> None:
        exchange = Exchange(
            self._transport,
            method=b"",
            target=b"",
            headers=[],
            body=b"",
            keep_alive=False,
            http_1_0=False,
            finished=self._linger,
        )
        exchange.refuse(refusal)

    def _linger(self) -> None:
        """Let the client read: to close now, with bytes of its request unread, would reset its connection."""
        self._since_s = None
        if self._transport.can_write_eof():
            self._transport.write_eof()

    # -- time

    def sweep(self, now_s: float) -> None:
        """Close when nothing came, or nothing was taken, for the time that is allowed."""
        if self._current is not None and not self._paused:
            return
        unsent_bytes = self._transport.get_write_buffer_size()
        if self._since_s is None or unsent_bytes != self._unsent_bytes:
            self._unsent_bytes, self._since_s = unsent_bytes, now_s
        elif now_s - self._since_s > self._patience_s:
            self._lose_patience()

    @property
    def _patience_s(self) -> float:
        if self._rejected:
            return LINGER_S
        owes = self._paused or self._in_message or self._transport.is_closing()
        return self._settings.request_timeout_s if owes else self._settings.keep_alive_s

    def _lose_patience(self) -> None:
        if self._paused or self._rejected or self._transport.is_closing():
            self._transport.abort()
        elif self._in_message:
            message = f"no complete request within {self._settings.request_timeout_s:g} s"
            self._reject(_refusal(408, "request_timeout", message))
        else:
            self._since_s = None
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def close_if_idle(self) -> None:
        """Close unless a request is under way."""
        if self._current is None and not self._in_message:
            self._transport.close()


def _refusal(status: int, code: str, message: str) -> Refusal:
    return Refusal(http_status=status, type="invalid_request_error", code=code, message=message)


def _body_too_large(limit: int) -> Refusal:
    return _refusal(
        413,
        "body_too_large",
        f"the body is larger than {limit:,} bytes; send less, or raise server.max_body_bytes",
    )
