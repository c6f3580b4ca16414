"""One HTTP request of a client and the reply to it.

The listener parses, the gateway decides; this is all that they share. A reply is either whole
(`reply`) or streamed (`start`, `write`, `end`); what a client cannot take any more is dropped in
silence, and `closed` says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from entrepot.domain.errors import Refusal
from entrepot.domain.ids import request_id_text
from entrepot.gateway.headers import REASON_PHRASES
from entrepot.gateway.transcript import Transcript
from entrepot.wire.error_body import error_body, sse_error_event

_JSON = b"content-type: application/json\r\n"
_EVENT_STREAM = b"content-type: text/event-stream\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
_CLOSE = b"connection: close\r\n"


class Feeding(Protocol):
    """Who writes a streamed reply, as the client's connection sees it."""

    def client_gone(self) -> None:
        """The client has closed its connection."""

    def pause(self) -> None:
        """The client is slower: write nothing for now."""

    def resume(self) -> None:
        """The client takes bytes again."""


class Exchange:
    """A client's request, complete with its body, and the way to answer it.

    `path` and `query` are split at the first `?`; header names are lower-case. `feeding` is who
    writes the reply just now and has to know that the client left, or is slower (`paused`).
    `transcript` is there when what the client is sent shall be kept.
    """

    __slots__ = (
        "_ended",
        "_finished",
        "_transport",
        "body",
        "chunked",
        "closed",
        "feeding",
        "headers",
        "keep_alive",
        "method",
        "path",
        "paused",
        "query",
        "request_id",
        "started",
        "transcript",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        *,
        method: bytes,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        keep_alive: bool,
        http_1_0: bool,
        finished: Callable[[], None],
    ) -> None:
        self._transport = transport
        self.keep_alive = keep_alive
        self.chunked = not http_1_0
        self._finished = finished
        self.method = method
        self.path, _, self.query = target.partition(b"?")
        self.headers = headers
        self.body = body
        self.closed = False
        self.paused = False
        self.started = False
        self._ended = False
        self.request_id: bytes | None = None
        self.feeding: Feeding | None = None
        self.transcript: Transcript | None = None

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of the header `name` (lower-case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def reply(self, status: int, body: bytes, *, headers: bytes = b"", content_type: bytes = _JSON) -> None:
        """Send a whole reply. `headers` are lines that each end in a line break."""
        self.started = self._ended = True
        if self.closed:
            return
        if self.transcript is not None:
            self.transcript.note(body)
        self._transport.write(
            b"HTTP/1.1 %d %b\r\n%b%bcontent-length: %d\r\n%b\r\n%b"
            % (
                status,
                REASON_PHRASES.get(status, b"Status"),
                content_type,
                headers,
                len(body),
                b"" if self.keep_alive else _CLOSE,
                b"" if self.method == b"HEAD" else body,
            )
        )
        self._finished()

    def refuse(self, refusal: Refusal, *, headers: bytes = b"") -> None:
        """Send a refusal; in a stream that has started as its last event, which half an event may precede."""
        if self._ended:
            return
        text_id = None if self.request_id is None else request_id_text(self.request_id)
        if self.started:
            self.write(b"\n\n" + sse_error_event(refusal))
            self.end()
            return
        if text_id is not None:
            headers += b"x-request-id: %b\r\n" % text_id.encode()
        if refusal.retry_after_s is not None:
            headers += b"retry-after: %d\r\n" % max(1, round(refusal.retry_after_s))
        self.reply(refusal.http_status, error_body(refusal, text_id), headers=headers)

    def fail(self, refusal: Refusal) -> None:
        """Refuse after a fault of ours; when even that fails, close: a client must not wait for ever."""
        try:
            self.refuse(refusal)
        except BaseException:
            self._transport.abort()
            raise

    def start(self, headers: bytes) -> None:
        """Begin a streamed reply of server-sent events."""
        self.started = True
        if self.closed:
            return
        framing = b"transfer-encoding: chunked\r\n" if self.chunked else b""
        if not self.keep_alive:
            framing += _CLOSE
        self._transport.write(b"HTTP/1.1 200 OK\r\n%b%b%b\r\n" % (_EVENT_STREAM, headers, framing))

    def write(self, data: bytes) -> None:
        """Send a piece of a streamed reply, as one chunk."""
        if self.closed or not data:
            return
        if self.transcript is not None:
            self.transcript.note(data)
        if self.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._transport.write(data)

    def raw_writer(self) -> Callable[[bytes], None]:
        """Return what sends bytes as they are: for who frames each chunk itself, if `chunked`."""
        return self._transport.write

    def end(self) -> None:
        """End a streamed reply."""
        self._ended = True
        if self.closed:
            return
        if self.chunked:
            self._transport.write(b"0\r\n\r\n")
        self._finished()
