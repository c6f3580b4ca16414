"""One attempt's reply on its way from the host to the client, in three shapes.

`StreamRelay` forwards a stream as it comes, `PlainRelay` passes a whole reply on, `FoldRelay` reads
a stream and answers with one JSON reply, for hosts that do not cancel plain calls. All of them hold
back what they have until the first content is there, so that an attempt that fails before it can
be followed by another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

from entrepot.catalog.settings import HostSettings
from entrepot.domain.endpoint import Operation
from entrepot.domain.request import Request
from entrepot.gateway.exchange import Exchange
from entrepot.gateway.transcript import Feed
from entrepot.gateway.upstream import HostConnection
from entrepot.wire.answer import AnswerScan
from entrepot.wire.error_body import host_error
from entrepot.wire.fold import Fold
from entrepot.wire.plain_answer import PlainAnswer, plain_answer

MOST_ERROR_BYTES = 64 * 1024
MOST_PLAIN_BYTES = 64 * 1024 * 1024
ERROR_IN_STREAM = "the host reported an error in the stream"


class Relay:
    """What the three shapes share: the status, a failure's words, and the end.

    Units: monotonic seconds. `ended` is done when the attempt is over, whichever way. `failure` is
    set when it did not end well, with the host's own `words` beside it; `cancelled` when the client left;
    `timed_out` when we gave up; `stopped` when the gateway stops.
    """

    status = 0
    headers: Sequence[tuple[bytes, bytes]] = ()
    failure: str | None = None
    words = ""
    cancelled = False
    timed_out = False
    stopped = False
    unheard = False
    paused = False
    error_body = b""
    host: HostSettings
    _connection: HostConnection | None = None

    def __init__(self, exchange: Exchange, *, sent_s: float) -> None:
        self.exchange = exchange
        self.sent_s = sent_s
        self.seen_s = sent_s
        self.ended_s = sent_s
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def started(self) -> bool:
        """Return whether the client has been sent a part of this answer."""
        return False

    @property
    def flows(self) -> bool:
        """Return whether the first content has come, so that only a silence is too long."""
        return False

    @property
    def heard_s(self) -> float:
        """Return when the host was heard last, or when its silence began to count."""
        return self.seen_s

    def ride(self, connection: HostConnection) -> None:
        """Take the connection that the attempt is sent on."""
        self._connection = connection
        self.host = connection.host
        self.exchange.feeding = self
        if self.exchange.paused:
            self.pause()

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the status; an encoding that we did not ask for cannot be read."""
        self.status = status
        self.headers = headers
        for name, value in headers:
            if name == b"content-encoding" and value.lower() != b"identity":
                encoding = value.decode() if value.isalnum() else "of an odd name"
                self.give_up(f"answered with content-encoding {encoding}, which nobody asked for")

    def body(self, data: bytes) -> None:
        """Take body bytes: content of a 200, words about a failure otherwise."""
        self.seen_s = monotonic()
        if self.status == 200:
            self.content(data)
        elif len(self.error_body) < MOST_ERROR_BYTES:
            self.error_body += data[:MOST_ERROR_BYTES]

    def content(self, data: bytes) -> None:
        """Take bytes of a successful reply."""
        raise NotImplementedError

    def complete(self) -> None:
        """The host's reply is whole."""
        if self.status == 200:
            self.finish()
        self._end()

    def finish(self) -> None:
        """Conclude a successful reply; sets `failure` when it turns out to be none."""
        raise NotImplementedError

    def lost(self, reason: str, *, unheard: bool) -> None:
        """The connection broke; `unheard`: before a byte of the reply."""
        self.failure = reason
        self.unheard = unheard
        self._end()

    def client_gone(self) -> None:
        """The client left: the host is told by closing its connection."""
        self.cancelled = True
        self.give_up("client disconnected")

    def overdue(self, reason: str) -> None:
        """The host was silent for too long."""
        self.timed_out = True
        self.give_up(reason)

    def stop(self) -> None:
        """The gateway stops: nobody else is to blame for an attempt that is not over."""
        if not self.ended.done():
            self.stopped = True
            self.give_up("the gateway is stopping")

    def give_up(self, reason: str) -> None:
        """End the attempt from our side."""
        if self.ended.done():
            return
        self.failure = reason
        if self._connection is not None:
            self._connection.abort()
        self._end()

    def pause(self) -> None:
        """Stop reading from the host while the client is slower."""
        self.paused = True
        if self._connection is not None:
            self._connection.pause_reading()

    def resume(self) -> None:
        """Go on reading from the host; its silence counts from now."""
        self.paused = False
        self.seen_s = monotonic()
        if self._connection is not None:
            self._connection.resume_reading()

    def _end(self) -> None:
        if self.ended.done():
            return
        self.ended_s = monotonic()
        if self.paused:
            self.resume()
        self._connection = None
        self.exchange.feeding = None
        self.ended.set_result(None)


class StreamRelay(Relay):
    """Forwards a stream to a client that asked for one."""

    def __init__(
        self,
        exchange: Exchange,
        scan: AnswerScan,
        *,
        choices: int,
        sent_s: float,
        reply_headers: Callable[[], bytes],
    ) -> None:
        super().__init__(exchange, sent_s=sent_s)
        self.scan = scan
        self._choices = choices
        self._reply_headers = reply_headers

    @property
    def started(self) -> bool:
        """Return whether the client has been sent a part of this answer."""
        return self.exchange.started

    @property
    def flows(self) -> bool:
        """Return whether the first content has come, so that only a silence is too long."""
        return self.scan.started

    def body(self, data: bytes) -> None:
        """Take body bytes until the first content is among them; `_forwarding` takes the others."""
        if self.status != 200:
            super().body(data)
            return
        self.seen_s = now_s = monotonic()
        out = self.scan.feed(data, now_s)
        if out:
            self.exchange.start(self._reply_headers())
            self.exchange.write(out)
            if self._connection is not None:
                self._connection.deliver = self._forwarding()
        elif self.scan.error is not None:
            self._fail_by_error()

    def _fail_by_error(self) -> None:
        self.words = str(self.scan.error)
        self.give_up(ERROR_IN_STREAM)

    @property
    def heard_s(self) -> float:
        """Return when the host was heard last; the scan knows it of the chunks that it was fed."""
        return max(self.seen_s, self.scan.last_feed_s)

    def _forwarding(self) -> Callable[[bytes], None]:
        """Return what takes each further chunk: three calls, everything else bound in advance."""
        feed: Feed = self.scan.feed
        write = self.exchange.raw_writer()
        if self.exchange.transcript is not None:
            feed = self.exchange.transcript.noting(feed)
        if not self.exchange.chunked:
            return lambda data: write(feed(data, monotonic()))

        def forward(data: bytes) -> None:
            out = feed(data, monotonic())
            if out:
                write(b"%x\r\n%b\r\n" % (len(out), out))

        return forward

    def finish(self) -> None:
        """Send what is held back."""
        self._conclude()
        if self.failure is None or self.exchange.started:
            rest = self.scan.flush()
            if not self.exchange.started:
                self.exchange.start(self._reply_headers())
            self.exchange.write(rest)

    def lost(self, reason: str, *, unheard: bool) -> None:
        """The connection broke: what came so far is all there is, which may be the whole answer."""
        if self._is_whole():
            self.complete()
        else:
            super().lost(reason, unheard=unheard)

    def client_gone(self) -> None:
        """The client left; one that had the whole answer by then, and read no further, cancelled nothing."""
        if self.started and self._is_whole() and self.scan.usage is not None:
            if self._connection is not None:
                self._connection.abort()
            self.complete()
        else:
            super().client_gone()

    def _is_whole(self) -> bool:
        """Return whether what came so far is a whole answer; more is not read after it."""
        self.scan.finish(self.heard_s)
        scan = self.scan
        return self.status == 200 and scan.done and scan.error is None and self._choices == 1

    def _conclude(self) -> None:
        """Read the end of the stream; one that never said that it is over was cut."""
        self.scan.finish(self.heard_s)
        if self.scan.error is not None:
            self.words = str(self.scan.error)
            self.failure = ERROR_IN_STREAM
        elif not self.scan.done:
            self.failure = "the stream ended without a finish reason"

    def give_up(self, reason: str) -> None:
        """End the attempt from our side, with what was seen so far."""
        if not self.ended.done():
            self.scan.finish(self.heard_s)
        super().give_up(reason)


class FoldRelay(StreamRelay):
    """Reads a stream for a client that asked for a whole reply."""

    def __init__(self, exchange: Exchange, scan: AnswerScan, request: Request, *, sent_s: float) -> None:
        super().__init__(exchange, scan, choices=request.choices, sent_s=sent_s, reply_headers=bytes)
        self._fold = Fold(request.operation, choices=request.choices)
        self.reply: bytes | None = None

    @property
    def started(self) -> bool:
        """Return whether the client has been sent a part of this answer: never before its end."""
        return False

    def body(self, data: bytes) -> None:
        """Take body bytes and keep them for the fold."""
        if self.status != 200:
            Relay.body(self, data)
            return
        self.seen_s = monotonic()
        self.scan.feed(data, self.seen_s)
        if self.scan.error is not None:
            self._fail_by_error()
            return
        self._fold.feed(data)
        if self._fold.failure is not None:
            self.give_up(self._fold.failure)

    def finish(self) -> None:
        """Fold the stream into the reply."""
        self._conclude()
        if self.failure is None:
            self.reply = self._fold.json()
            if self.reply is None:
                self.failure = self._fold.failure


class PlainRelay(Relay):
    """Passes a whole reply on."""

    def __init__(self, exchange: Exchange, operation: Operation, *, sent_s: float) -> None:
        super().__init__(exchange, sent_s=sent_s)
        self._operation = operation
        self._pieces: list[bytes] = []
        self._bytes = 0
        self.reply: bytes | None = None
        self.answer: PlainAnswer | None = None

    def content(self, data: bytes) -> None:
        """Keep a piece of the reply, within bounds."""
        self._bytes += len(data)
        if self._bytes > MOST_PLAIN_BYTES:
            self.give_up(f"reply is larger than {MOST_PLAIN_BYTES:,} bytes")
            return
        self._pieces.append(data)

    def finish(self) -> None:
        """Read id, usage and finish reason out of the reply; the bytes stay as they are."""
        reply = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self.answer = plain_answer(reply, self._operation)
        if self.answer is None:
            self.failure = "the reply is no answer in JSON"
            self.words = str(host_error(reply)) if reply.lstrip()[:1] == b"{" else ""
        else:
            self.reply = reply
