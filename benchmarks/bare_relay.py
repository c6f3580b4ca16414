"""A relay with nothing but the shape of the hot path: what that shape costs in Python.

The gateway's data plane is asyncio protocols on uvloop with llhttp on both sides (DESIGN.md §6).
This file is that and no more: it looks a key up, reads two fields of the body, looks the model
up, takes a pooled connection to the one host, takes the answer out of its framing and puts it into
its own, finds the usage and keeps a record in memory. No choice, no money, no journal, no limits,
next to no error paths. `gateway.py` measures it beside the gateway, so the distance between the
two is the price of everything that the gateway does besides relaying; a recorded figure from
another machine could not tell that from the machine.

    python benchmarks/bare_relay.py --port 8001 --upstream-port 9001 --key SECRET
"""

import argparse
import asyncio
import time
from collections import deque
from typing import Any, NamedTuple

import httptools
import msgspec
import uvloop

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
JSON_ANSWER = b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
LAST_CHUNK = b"0\r\n\r\n"
KEPT_RECORDS = 10_000
LISTEN_BACKLOG = 4096


class Wanted(msgspec.Struct):
    """The two fields of a request body that a relay needs; msgspec skips the others."""

    model: str
    stream: bool = False


class Usage(msgspec.Struct):
    """The token counts of an answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Answer(msgspec.Struct):
    """The part of an answer, or of its last event, that holds the usage."""

    usage: Usage | None = None


class Record(NamedTuple):
    """What is kept of one request."""

    key_id: int
    model: str
    status: int
    duration_s: float
    body_bytes: int
    prompt_tokens: int
    completion_tokens: int


class Tables:
    """Everything that the connections share."""

    def __init__(self, *, key: str, model: str, upstream_port: int) -> None:
        self.keys = {f"Bearer {key}".encode(): 1}
        self.hosts = {model: ("127.0.0.1", upstream_port)}
        self.idle: dict[tuple[str, int], list[HostConnection]] = {}
        self.records: deque[Record] = deque(maxlen=KEPT_RECORDS)
        self.read_wanted = msgspec.json.Decoder(Wanted).decode
        self.read_answer = msgspec.json.Decoder(Answer).decode


class HostConnection(asyncio.Protocol):
    """One kept connection to the host; serves one client at a time."""

    def __init__(self, tables: Tables, address: tuple[str, int]) -> None:
        self.tables = tables
        self.address = address
        self.parser = httptools.HttpResponseParser(self)
        self.pieces: list[bytes] = []
        self.complete = False
        self.client: ClientConnection | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        idle = self.tables.idle.get(self.address, [])
        if self in idle:
            idle.remove(self)
        if self.client is not None:
            self.client.on_host_failed()

    def ask(self, client: "ClientConnection", request: bytes) -> None:
        """Sends `request`; what comes back goes to `client`."""
        self.client = client
        self.complete = False
        self.transport.write(request)

    def abandon(self) -> None:
        """Ends the connection because its client has gone."""
        self.client = None
        self.transport.close()

    def on_body(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        self.complete = True

    def data_received(self, data: bytes) -> None:
        client = self.client
        if client is None:
            self.transport.close()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()
            return
        if client.streaming:
            self.relay_events(client)
        if self.complete:
            self.finish(client)

    def relay_events(self, client: "ClientConnection") -> None:
        """Passes on what one read brought as one chunk."""
        pieces = self.pieces
        if not pieces:
            if self.complete:
                client.transport.write(LAST_CHUNK)
            return
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        out = b"%x\r\n%b\r\n" % (len(body), body)
        if client.body_bytes == 0:
            out = STREAM_HEAD + out
        if self.complete:
            out += LAST_CHUNK
        client.body_bytes += len(body)
        client.tail = client.last_piece
        client.last_piece = body
        client.transport.write(out)

    def finish(self, client: "ClientConnection") -> None:
        """Ends the exchange and gives the connection back."""
        status = self.parser.get_status_code()
        if not client.streaming:
            body = b"".join(self.pieces)
            self.pieces.clear()
            client.body_bytes = len(body)
            client.last_piece = body
            client.transport.write(JSON_ANSWER % (status, len(body), body))
        self.client = None
        if self.parser.should_keep_alive():
            self.tables.idle.setdefault(self.address, []).append(self)
        else:
            self.transport.close()
        client.finish(status)


class ClientConnection(asyncio.Protocol):
    """One connection of a client; one request at a time, no pipelining."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.parser = httptools.HttpRequestParser(self)
        self.transport: Any = None
        self.host: HostConnection | None = None
        self.authorization = b""
        self.pieces: list[bytes] = []
        self.streaming = False
        self.model = ""
        self.key_id = 0
        self.start_s = 0.0
        self.body_bytes = 0
        self.tail = b""
        self.last_piece = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.host is not None:
            self.host.abandon()
            self.host = None

    def pause_writing(self) -> None:
        if self.host is not None:
            self.host.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.host is not None:
            self.host.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.refuse(400, b'{"error":"not HTTP"}')
            self.transport.close()

    def on_message_begin(self) -> None:
        self.authorization = b""
        self.pieces = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 13 and name.lower() == b"authorization":
            self.authorization = value

    def on_body(self, data: bytes) -> None:
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        self.start_s = time.perf_counter()
        key_id = self.tables.keys.get(self.authorization)
        if key_id is None:
            self.refuse(401, b'{"error":"unknown key"}')
            return
        body = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        try:
            wanted = self.tables.read_wanted(body)
        except msgspec.DecodeError:
            self.refuse(400, b'{"error":"not a chat completion"}')
            return
        address = self.tables.hosts.get(wanted.model)
        if address is None:
            self.refuse(404, b'{"error":"unknown model"}')
            return
        self.key_id = key_id
        self.model = wanted.model
        self.streaming = wanted.stream
        self.body_bytes = 0
        self.tail = self.last_piece = b""
        self.send(address, body)

    def send(self, address: tuple[str, int], body: bytes) -> None:
        """Asks the host over a kept connection, or over a new one where none is idle."""
        request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: %b:%d\r\nAuthorization: Bearer none\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (address[0].encode(), address[1], len(body), body)
        )
        idle = self.tables.idle.get(address)
        if idle:
            self.host = idle.pop()
            self.host.ask(self, request)
        else:
            asyncio.get_running_loop().create_task(self.connect(address, request))

    async def connect(self, address: tuple[str, int], request: bytes) -> None:
        """Opens a connection to the host and asks over it."""
        loop = asyncio.get_running_loop()
        try:
            _, host = await loop.create_connection(lambda: HostConnection(self.tables, address), *address)
        except OSError:
            self.on_host_failed()
            return
        if self.transport.is_closing():
            host.abandon()
            return
        self.host = host
        host.ask(self, request)

    def refuse(self, status: int, body: bytes) -> None:
        """Answers without asking the host."""
        self.transport.write(JSON_ANSWER % (status, len(body), body))

    def on_host_failed(self) -> None:
        self.host = None
        if self.body_bytes:
            self.transport.close()
        else:
            self.refuse(502, b'{"error":"the host failed"}')

    def finish(self, status: int) -> None:
        """Keeps the record of a complete exchange."""
        self.host = None
        usage = self.usage()
        self.tables.records.append(
            Record(
                self.key_id,
                self.model,
                status,
                time.perf_counter() - self.start_s,
                self.body_bytes,
                usage.prompt_tokens,
                usage.completion_tokens,
            )
        )
        if not self.parser.should_keep_alive():
            self.transport.close()

    def usage(self) -> Usage:
        """The usage of the JSON answer, or of the last event of the stream that names it."""
        text = self.last_piece
        if self.streaming:
            text = self.tail + text
            at = text.rfind(b'"usage":{')
            text = text[text.rfind(b"data: ", 0, at) + 6 : text.find(b"\n", at)]
        try:
            return self.tables.read_answer(text).usage or Usage()
        except msgspec.DecodeError:
            return Usage()


async def serve(options: argparse.Namespace) -> None:
    """Serves until the process is ended or its time is over."""
    tables = Tables(key=options.key, model=options.model, upstream_port=options.upstream_port)
    server = await asyncio.get_running_loop().create_server(
        lambda: ClientConnection(tables), "127.0.0.1", options.port, backlog=LISTEN_BACKLOG
    )
    async with server:
        await asyncio.sleep(options.lifetime_s)


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream-port", type=int, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--model", default="bench/model")
    parser.add_argument("--lifetime-s", type=float, default=1800.0)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
